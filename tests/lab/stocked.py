"""A host with one guest that boots a kernel as Debian ships it, with the driver: what tests of
these kernels share. What is done in the guest is stock.py and exercise.c.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from accounts import client
from beside import host_beside

from common.needs import Needs
from lab.api import GuestSizing, HostSizing
from lab.emulator.process import UNLIMITED
from lab.hosts.emulated import EmulatedHost
from lab.kernels import PV, GuestType, KernelName
from lab.lifecycle import OpenLab
from policies import apply
from policies import registry as policies

GUEST = "guest1"
START_MIB, MOST_MIB = 192, 256
FREE_MIB = 256
"""What Xen has for tmem."""

PAGES_PER_MIB = 256

EXERCISE = "/root/exercise"


@dataclass(frozen=True)
class Stock:
    """The host with its guest, and the kernel that the guest booted."""

    host: EmulatedHost
    boots: KernelName

    def sh(self, script: str, timeout: float = 60) -> str:
        """What a script in the guest prints."""
        return self.host.run(GUEST, script, timeout=timeout)

    def trial(self, *words: object, timeout: float = 400) -> dict[str, Any]:
        """What stock.py finds in the guest."""
        found: dict[str, Any] = json.loads(self.sh(f"python3 /run/stock.py {' '.join(map(str, words))}", timeout))
        return found

    def has_kib(self) -> int:
        """The guest's memory, as its balloon has it."""
        return int(self.sh("cat /sys/devices/system/xen_memory/xen_memory0/info/current_kb"))

    def pools(self, kind: str) -> list[dict[str, Any]]:
        """The guest's pools of a kind, E or P, as Xen has them."""
        return [pool for pool in client(self.host, GUEST)["pools"] if pool["PT"].startswith(kind)]

    def reads_a_file_again_without_its_disk(self, mib: int) -> None:
        """One that is larger than memory."""
        found = self.trial("files", mib, "/root")
        pages = mib * PAGES_PER_MIB
        assert all(each["same"] for each in found["passes"])
        for each in found["passes"][1:]:
            assert each["hits"] > 0.9 * pages
            assert each["sectors"] < 0.02 * 8 * pages  # what else the guest reads meanwhile
        assert found["counters"]["ephemeral.put.failed"] == found["counters"]["ephemeral.get.failed"] == 0

    def swaps(self) -> None:
        """And all that it swapped comes back."""
        found = self.trial("swap", 200)
        assert found["wrong"] == 0
        assert found["persistent.put.done"] > 1000
        assert found["persistent.get.done"] > 1000

    def leaves_no_page_in_swap(self) -> None:
        """When its device is off."""
        self.sh("swapoff /dev/xvdb", 240)
        assert [pool["Pc"] for pool in self.pools("P")] == [0]
        self.sh("swapon /dev/xvdb")

    def counts_at_rest(self) -> tuple[dict[str, Any], dict[str, int]]:
        """What Xen and the guest have counted, which is the same: also of pools that are gone,
        such as that of a file system that was unmounted, which took its own counts with it.
        """
        for _ in range(10):  # until nothing happened in between
            before = self.trial("counters")
            known = client(self.host, GUEST)
            if before == (after := self.trial("counters")):
                break
            time.sleep(2)
        assert before == after, "the guest was never at rest"
        assert known["Ge"] == after["ephemeral.get.done"]
        assert known["Gp"] == after["persistent.get.done"]
        assert known["Pp"] == after["persistent.put.done"]
        return known, after

    def compile_exercise(self) -> None:
        """Make EXERCISE there."""
        source = Path(__file__).with_name("exercise.c").read_bytes()
        self.host.run(GUEST, f"cat > {EXERCISE}.c && gcc -O2 -o {EXERCISE} {EXERCISE}.c", stdin=source, timeout=120)


@contextmanager
def booted(
    lab: OpenLab,
    inventory_path: Path,
    boots: KernelName,
    policy: str,
    *,
    packages: Sequence[str] = (),
    booted_as: GuestType = PV,
) -> Iterator[Stock]:
    """A host beside the lab's, which is stopped meanwhile. Its guest has the driver as the policy
    has it loaded, and may have more memory than it has, so that its swapped pages have an
    allowance. packages: what else its image needs.
    """
    needs = Needs(packages=tuple(packages), kernels=(boots,))
    with host_beside(lab, inventory_path, needs, "stock") as host:
        sizing = GuestSizing(1, 1, MOST_MIB, START_MIB, MOST_MIB, boots=boots, type=booted_as)
        host.reset(HostSizing(START_MIB + FREE_MIB, 384, 2), sizing)
        host.limit_disks(UNLIMITED)
        host.run(GUEST, "cat > /run/stock.py", stdin=Path(__file__).with_name("stock.py").read_bytes())
        host.set_memory({GUEST: START_MIB}, {GUEST: MOST_MIB})
        suited = apply.suited(policies.parse(policy), boots)
        host.load_driver(apply.parameters(suited), dict.fromkeys(suited.at_release, 0))
        yield Stock(host, boots)
