"""Whatever keeps a new hypervisor from coming up, a server is back in its old system afterwards,
and a person is told what happened and what to do.

Four failures on two servers, two at a time, each from the state in which all is installed and
nothing was booted yet.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import pytest
from pair import Pair, Told, both, connected, installed_entry

from common.errors import LabError
from lab import inventory
from lab.emulator import servers as emulated
from lab.emulator.servers import SERVERS
from lab.hosts.server_boot import ServerBoot, State
from lab.inventory import Physical
from lab.remote.ssh import DOM0

MENU = "/boot/grub/grub.cfg"
OURS = "/--id overcommit-/,/^}/"
"""Lines of the menu that are our entry's, for sed."""

CUT = """\
[Unit]
ConditionKernelCommandLine=overcommit.entry
After=overcommit-bridge.service ssh.service
[Service]
Type=oneshot
ExecStart=/usr/sbin/ip link set dev enp0s3 master xenbr0
[Install]
WantedBy=multi-user.target
"""


@dataclass(frozen=True)
class Failure:
    """script: makes it, on the server, as root. come_back: seconds until its power is cycled;
    enough for the new system to have come up where it can.
    """

    server: str
    script: str
    come_back: float


FAILURES = {
    "corrupted hypervisor": Failure(
        "uefi1", "dd if=/dev/urandom of=$(echo /boot/overcommit-*.gz) bs=1k seek=100 count=200 conv=notrunc", 300
    ),
    # Without its initial RAM disk it finds no root file system.
    "dom0 panics": Failure("bios1", f"sed -i '{OURS}{{/initrd/d}}' {MENU}", 300),
    "bridge cuts SSH": Failure(
        "uefi1",
        f"printf '{CUT}' > /etc/systemd/system/cut.service; systemctl enable cut.service",
        240,
    ),
    "dom0 memory too small": Failure(
        "bios1", f"sed -i '{OURS}s/dom0_mem=768M,max:768M/dom0_mem=80M,max:80M/' {MENU}", 240
    ),
}


@dataclass(frozen=True)
class Outcome:
    """What became of a server. after: as it was found in the end. told: what was said meanwhile."""

    error: LabError | None
    after: State
    told: Told
    seconds: float


@pytest.fixture(scope="module")
def outcomes(pair: Pair, tell: Callable[[str], None]) -> dict[str, Outcome]:
    pair.at("installed")
    entries = {entry.name: entry for entry in inventory.load(pair.lab()).hosts}
    found: dict[str, Outcome] = {}

    def suffer(server: str) -> None:
        for number, (name, failure) in enumerate(
            (name, each) for name, each in FAILURES.items() if each.server == server
        ):
            if number:
                emulated.restore(SERVERS[server], "installed")
            settings = entries[server].settings
            assert isinstance(settings, Physical)
            told = Told(lambda text, name=name: tell(f"{name}: {text}"))  # type: ignore[misc]
            with connected(entries[server]) as connections:
                entry = installed_entry(connections)
                connections.run(DOM0, failure.script)
                boot = ServerBoot(
                    server, connections, told, power_hook=settings.power_hook, come_back=failure.come_back
                )
                began = time.monotonic()
                error = None
                try:
                    boot.enter(entry)
                except LabError as raised:
                    error = raised
                seconds = time.monotonic() - began
                found[name] = Outcome(error, boot.state(), told, seconds)
                tell(f"{name}: {seconds:.0f} s: {error}")

    both(suffer)
    return found


def is_back_in_its_old_system(outcome: Outcome) -> str:
    """And a person can follow: what was said."""
    assert outcome.error is not None, outcome.told.lines
    assert outcome.error.what.endswith("and is back in its old system")
    assert outcome.error.where.startswith("boot entry overcommit-")
    assert outcome.error.remedy.startswith("Nothing is lost.")
    assert (outcome.after.entry, outcome.after.xen, outcome.after.confirmed) == (None, None, None)
    assert outcome.after.default == "0"
    return outcome.error.why


def test_a_corrupted_hypervisor(outcomes: dict[str, Outcome]) -> None:
    outcome = outcomes["corrupted hypervisor"]
    assert "GRUB could not load it" in is_back_in_its_old_system(outcome)
    assert not outcome.told.says("cycling its power")  # GRUB went on by itself


def test_a_dom0_kernel_that_panics(outcomes: dict[str, Outcome]) -> None:
    outcome = outcomes["dom0 panics"]
    assert "Xen or dom0's kernel ended early, and its default was started" in is_back_in_its_old_system(outcome)
    assert not outcome.told.says("cycling its power")  # it restarted by itself


def test_a_bridge_that_cuts_ssh(outcomes: dict[str, Outcome]) -> None:
    outcome = outcomes["bridge cuts SSH"]
    assert "its power was cycled" in is_back_in_its_old_system(outcome)
    assert outcome.told.says("it does not come back: cycling its power")


def test_too_little_memory_for_dom0(outcomes: dict[str, Outcome]) -> None:
    is_back_in_its_old_system(outcomes["dom0 memory too small"])
