"""Operations on tmem, asked of a guest's kernel from here: the module tmem_test with mode=serve,
see tmem/linux/test/serve.c.
"""

from __future__ import annotations

import json
from functools import cached_property
from typing import Any

from shells import run

from lab.hosts.emulated import EmulatedHost
from lab.lifecycle import DEFAULT_GUESTS
from lab.remote.served import FOLDER, Answers, asking, parse_answers

# Answers of the ABI.
OK = 1
MISS = 0
EPERM = -1
ENOMEM = -12
ENODEV = -19
EFROZEN = -1000
EEMPTY = -1001

EPHEMERAL = 0
PERSISTENT = 1
SHARED = 2

POOLS = 16
"""The most that a guest can have."""


class Served:
    """One guest whose kernel does what it is asked. No driver may be loaded beside it."""

    def __init__(self, host: EmulatedHost, name: str) -> None:
        self.host = host
        self.name = name

    def load(self) -> None:
        """Begin, or begin anew: without any pool."""
        script = (
            "grep -q ^tmem_test /proc/modules || exec modprobe tmem_test mode=serve; pool=0; "
            f"while [ $pool -lt {POOLS} ]; do echo destroy $pool > {FOLDER}/command; pool=$((pool + 1)); done"
        )
        run(self.host, self.name, script, timeout=120)

    def ask(self, command: str, *, timeout: float = 300.0) -> Answers:
        """Do a command and count its answers."""
        return parse_answers(run(self.host, self.name, asking(command), timeout=timeout))

    def pool(self, flags: int = EPHEMERAL, uuid: tuple[int, int] = (0, 0)) -> int:
        """Make a pool. Its number, or the error that was answered."""
        (number,) = self.ask(f"pool {flags:x} {uuid[0]:x} {uuid[1]:x}")
        return number

    def destroy(self, pool: int) -> Answers:
        return self.ask(f"destroy {pool}")

    def put(self, pool: int, count: int, *, first: int = 0, object_id: int = 1, seed: int = 0) -> Answers:
        return self.ask(f"put {pool} {object_id} {first} {count} {seed}")

    def get(self, pool: int, count: int, *, first: int = 0, object_id: int = 1, seed: int = 0) -> Answers:
        return self.ask(f"get {pool} {object_id} {first} {count} {seed}")

    def flush(self, pool: int, count: int, *, first: int = 0, object_id: int = 1) -> Answers:
        return self.ask(f"flush {pool} {object_id} {first} {count}")

    def flush_object(self, pool: int, object_id: int = 1) -> Answers:
        return self.ask(f"flush_object {pool} {object_id}")

    @cached_property
    def domid(self) -> int:
        return int(run(self.host, "dom0", f"xl domid {self.name}"))

    def client(self) -> dict[str, Any]:
        """What Xen says of this guest's client, as `tmemctl list -l --json` has it."""
        domid = self.domid
        (found,) = (client for client in listing(self.host)["clients"] if client["CI"] == domid)
        return dict(found)


def give_up(host: EmulatedHost, mib: int) -> None:
    """Let guest1 give up some of its memory: that, and a little more, is what tmem finds."""
    left = DEFAULT_GUESTS.memory_start_mib - mib
    script = (
        f"xl mem-set guest1 {left}m; for i in $(seq 60); do "
        f"[ $(xl list guest1 | awk 'NR == 2 {{ print $3 }}') -le {left + 1} ] && exit 0; sleep 1; done; exit 1"
    )
    run(host, "dom0", script, timeout=90)


def listing(host: EmulatedHost) -> dict[str, Any]:
    """All that tmemctl tells."""
    return dict(json.loads(tmemctl(host, "list -l --json")))


def tmemctl(host: EmulatedHost, arguments: str) -> str:
    return run(host, "dom0", f"tmemctl {arguments}", timeout=120)
