"""Where the host's pages are, and tmem_test.ko run in a guest: what tests compare before and
after something that must not harm anybody.
"""

from __future__ import annotations

import json
import re
import time
from dataclasses import dataclass
from typing import Any

from shells import run

from lab.counters import parse
from lab.hosts.emulated import EmulatedHost
from lab.remote.ssh import DOM0

RESULTS = "/sys/kernel/debug/tmem_test/results"
TROUBLE = re.compile(
    r"\bWARN(ING)?\b|\bBUG\b|Assertion|Xen call trace|[Pp]anic|FATAL|Oops|[Gg]eneral protection|[Uu]nhandled"
)


IN_PARTS = 4
"""Pages that may be Xen's own in one account and not in the other, at most. Seen: one, in either
direction, while a guest made and destroyed pools and dom0 evicted; tmem's frames added up exactly
then (adds_up), so it was not tmem's. Most likely Xen's small allocations, which share pages; who
held it was not traced."""


@dataclass(frozen=True)
class Accounts:
    """Where the host's pages are. free: Xen's heap; tmem: held by tmem; charged: to domains,
    with their persistent pages, which are tmem's too.
    """

    free: int
    tmem: int
    charged: int
    persistent: int

    @property
    def total(self) -> int:
        return self.free + self.tmem + self.charged - self.persistent


def tmem(host: EmulatedHost) -> dict[str, Any]:
    """All that tmemctl tells."""
    found: dict[str, Any] = json.loads(run(host, "dom0", "tmemctl list -l --json"))
    return found


def accounts(host: EmulatedHost) -> Accounts:
    """The accounts now. A guest that is dead has nothing."""
    read = pages(host)
    held = tmem(host)["global"]
    return Accounts(
        free=read["hypervisor"],
        tmem=held["Fc"],
        charged=sum(read[name] for name in host.guests),
        persistent=held["persistent"],
    )


def pages(host: EmulatedHost) -> dict[str, int]:
    """By name of a guest what its domain is charged for, and by `hypervisor` what is free."""
    host.agents.start([])  # that of dom0: a dead guest's would be waited for
    samples, _ = parse.parse_host(host.agents.ask({DOM0: "once"})[DOM0], list(host.guests))
    found = {each.source: each.value for each in samples if each.counter in ("memory", "free_memory")}
    assert found["hypervisor"] is not None, "Xen's free memory could not be read"
    return {name: int(found.get(name) or 0) for name in ("hypervisor", *host.guests)}


def adds_up(host: EmulatedHost) -> bool:
    """Whether what tmem holds of Xen's heap is what its pages, its index and its frames at hand
    take. Where no pages are packed.
    """
    held = tmem(host)["global"]
    return bool(held["Fc"] == held["Ec"] + held["persistent"] + held["Nc"] + held["Ta"])


def domain(host: EmulatedHost, guest: str) -> int:
    return int(run(host, "dom0", f"xl domid {guest}"))


def client(host: EmulatedHost, guest: str) -> dict[str, Any]:
    """What Xen says of a guest that has, or had, a pool."""
    number = domain(host, guest)
    (found,) = (each for each in tmem(host)["clients"] if each["CI"] == number)
    return dict(found)


def run_module(host: EmulatedHost, guest: str, parameters: str, timeout: float = 300.0) -> str:
    """What the module reports. Fails when its case did, or the guest does not answer."""
    script = f"modprobe tmem_test {parameters} && cat {RESULTS}; status=$?; rmmod tmem_test; exit $status"
    report = host.run(guest, script, timeout=timeout)
    assert re.search(r"^ok 1 \w+$", report, re.MULTILINE), report
    return report


def settle(host: EmulatedHost, guest: str) -> None:
    """Wait until the guest's balloon is where its target is: the module lowers it and sets it
    back.
    """
    script = (
        "cd /sys/devices/system/xen_memory/xen_memory0; for i in $(seq 600); do "
        "[ $(cat target_kb) = $(cat info/current_kb) ] && exit 0; sleep 0.1; done; exit 1"
    )
    host.run(guest, script, timeout=120)


def destroy(host: EmulatedHost, *guests: str) -> None:
    """End guests, at the same time, and wait until nothing of their domains is left: neither in
    tmem nor with Xen.
    """
    doomed = {domain(host, guest) for guest in guests}
    ends = " & ".join(f"xl destroy {guest}" for guest in guests)
    run(host, "dom0", f"{ends} & wait", timeout=120)
    deadline = time.monotonic() + 60
    while doomed & ({each["CI"] for each in tmem(host)["clients"]} | domains(host)):
        assert time.monotonic() < deadline, f"of domains {doomed} something is left"
        time.sleep(0.2)


def domains(host: EmulatedHost) -> set[int]:
    """All that Xen knows, also those that are dying, and have no name any more."""
    return {int(line.split()[-5]) for line in run(host, "dom0", "xl list").splitlines()[1:]}


def complaints(host: EmulatedHost) -> list[str]:
    """Lines of Xen's log that it should not have."""
    return [line for line in host.run("dom0", "xl dmesg").splitlines() if TROUBLE.search(line)]
