"""A host with one guest that boots a kernel as Debian ships it, with the driver: what tests of
these kernels share. What is done in the guest is stock.py and exercise.c.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import programs
from accounts import client
from beside import host_beside

from common.needs import Needs
from lab.api import GuestSizing, HostSizing
from lab.emulator.process import UNLIMITED
from lab.hosts.emulated import EmulatedHost
from lab.kernels import PV, GuestType, KernelName
from lab.lifecycle import OpenLab
from lab.remote.ssh import DOM0
from policies import apply
from policies import registry as policies

GUEST = "guest1"
START_MIB, MOST_MIB = 192, 256
FREE_MIB = 256
"""What Xen has for tmem."""

PAGES_PER_MIB = 256

RACE_S, RACE_STEP_S = 900, 30

PATTERN_MIB = 150
"""Of which a part is swapped, and less than Xen allows at most."""

ROOM_MIB = 184
"""For all that is swapped: a page that is only read keeps its slot, and its copy in Xen, until half
of the swap is in use."""

HELD_MIB = 140
"""Of a guest that is saved or migrated, which its kernel leaves about 100 of."""

LIMIT_MIB = START_MIB + 32
"""With what may be in frontswap. While a guest migrates there are two of it, and Xen keeps the
pages of the first.
"""

SOME_MIB = 12
SIZES = "/sys/kernel/mm/transparent_hugepage"
LARGE = f"{SIZES}/hugepages-64kB"

OBJECTS = 256
"""Of a swap device in Xen, see tmem/linux/persistent.c."""

NEIGHBOURS_MIB = 32

CHANGES, EXERCISED_KIB = 3000, 256
"""Of a file by exercise.c, and its size at most."""

CLONED_PAGES = 1500


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

    def reads_a_file_again_without_its_disk(self, mib: int, folder: str = "/root") -> None:
        """One that is larger than memory."""
        found = self.trial("files", mib, folder)
        pages = mib * PAGES_PER_MIB
        assert all(each["same"] for each in found["passes"])
        for each in found["passes"][1:]:
            assert each["hits"] > 0.9 * pages, found
            assert each["sectors"] < 0.02 * 8 * pages, found  # what else the guest reads meanwhile
        assert found["counters"]["ephemeral.put.failed"] == found["counters"]["ephemeral.get.failed"] == 0

    def swaps(self) -> None:
        """And all that it swapped comes back."""
        found = self.trial("swap", 200, timeout=900)  # PVH guests are slow where QEMU emulates
        assert found["wrong"] == 0
        assert found["persistent.put.done"] > 1000
        assert found["persistent.get.done"] > 1000

    def swapped(self, allowance_mib: int) -> dict[str, Any]:
        """What came of the pattern's pages, `written` of them to the disk."""
        written = "awk '$3 == \"xvdb\" { print $10 / 8 }' /proc/diskstats"
        self.host.run(DOM0, f"xl mem-max {GUEST} {START_MIB + allowance_mib}")
        before = float(self.sh(written))
        found = self.trial("swap", PATTERN_MIB)
        self.sh("sync")
        found["written"] = float(self.sh(written)) - before
        print(f"{self.boots}: allowed {allowance_mib} MiB: {found}", file=sys.stderr)
        assert found["wrong"] == 0
        assert found["persistent.put.failed"] == found["persistent.get.failed"] == 0
        return found

    def swaps_large_folios_whole(self) -> None:
        """Of 64 KiB: all pages of one or, where Xen has no room for the last of them, none."""
        told = self._folios()
        before = int(self.sh(f"echo always > {LARGE}/enabled; cat {LARGE}/stats/zswpout"))
        try:
            found = self.swapped(ROOM_MIB)
            large = int(self.sh(f"cat {LARGE}/stats/zswpout")) - before
            partly = self.swapped(SOME_MIB)
        finally:
            self.sh(f"echo inherit > {LARGE}/enabled")
        grown = {name: count - told[name] for name, count in self._folios().items()}
        print(f"{self.boots}: {large} folios of 64 KiB: {grown}", file=sys.stderr)
        assert large > 100
        assert found["persistent.put.done"] >= 16 * large
        assert partly["persistent.put.no_memory"] > 100
        assert grown["swap_puts"] >= large
        assert grown["swap_undone"] > 0
        self.host.run(DOM0, f"xl mem-max {GUEST} {MOST_MIB}")

    def swaps_in_by_the_page_where_xen_has_some(self) -> None:
        """From a device that is as fast as memory, of which the kernel would bring back large
        folios, when Xen has some of their pages and the device has the others.
        """
        self.host.run(DOM0, f"xl mem-max {GUEST} {START_MIB + SOME_MIB}")
        size = f"{2 * NEIGHBOURS_MIB}M"
        self.sh(
            f"modprobe zram && echo {size} > /sys/block/zram0/disksize && mkswap /dev/zram0 > /dev/null && "
            "swapon -p 100 /dev/zram0"
        )
        try:
            found = self.trial("neighbours", NEIGHBOURS_MIB)
            held = int(self.sh("awk '{ print $3 }' /sys/block/zram0/stat"))
        finally:
            self.sh(f"echo inherit > {LARGE}/enabled; swapoff /dev/zram0", 240)
            self.host.run(DOM0, f"xl mem-max {GUEST} {MOST_MIB}")
        print(f"{self.boots}: {found}, {held} sectors of zram read", file=sys.stderr)
        assert found["wrong"] == 0
        assert found["persistent.put.done"] > 500
        assert found["persistent.put.no_memory"] > 500
        assert held > 8 * 500

    def _folios(self) -> dict[str, int]:
        """What became of large folios, as the driver has counted."""
        lines = self.sh("cat /sys/kernel/debug/tmem/folios").splitlines()
        return {name: int(count) for name, count in map(str.split, lines)}

    def leaves_no_page_in_swap(self) -> None:
        """When its device is off."""
        before = self.trial("counters")
        self.sh("swapoff /dev/xvdb", 240)
        assert [pool["Pc"] for pool in self.pools("P")] == [0]
        # whatever became of its slots, all that Xen may have of the device is asked to go
        assert self.grown(before)["persistent.flush_object.done"] == OBJECTS
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

    def program(self, name: str) -> str:
        """Where one of this folder's is in the guest."""
        return programs.hand_over(self.host, GUEST, name)

    def grown(self, before: dict[str, Any]) -> dict[str, int]:
        """What the driver's counters have counted since."""
        return {name: count - before[name] for name, count in self.trial("counters").items()}

    def changes_a_file_in_every_way(
        self, folder: str, seed: int, *, lacks: Sequence[str] = (), direct: str | None = None
    ) -> None:
        """And it is never read as it was before. lacks: operations that its file system has not;
        of torn and short writes, one or both are not tried with this seed. direct: the same folder
        by another path, for what is read and written directly.
        """
        exercise, before = self.program("exercise"), self.trial("counters")
        other = f"{direct}/exercised" if direct else ""
        found = json.loads(self.sh(f"{exercise} {folder}/exercised {seed} {CHANGES} {EXERCISED_KIB} {other}", 400))
        grown = self.grown(before)
        print(f"{self.boots}: {folder}: {found} {grown}", file=sys.stderr)
        assert found.pop("wrong") == 0
        fails = {"torn_write": seed % 3 and seed % 2, "short_write": seed % 3 and not seed % 2}  # as exercise.c
        lacking = {*lacks, *(name for name, tried in fails.items() if not tried)}
        assert {name for name, each in found.items() if not each["done"]} == lacking
        tried = [each["done"] for name, each in found.items() if name not in lacking]
        # a write that is to fail in the middle seldom does
        assert min(tried) > CHANGES / 200, f"something was hardly tried: {found}"
        assert grown["ephemeral.get.done"] > CHANGES / 3, "Xen had nothing that could have been read wrong"
        assert grown["ephemeral.put.failed"] == grown["ephemeral.get.failed"] == 0

    def shares_some_of_a_files_blocks(self, folder: str) -> None:
        """Another file's, until who does it is killed: those that were shared are read as they are
        now, and the others as before.
        """
        found = self.trial("clones", CLONED_PAGES, folder, timeout=600)
        print(f"{self.boots}: {folder}: {found}", file=sys.stderr)
        assert found["kept"] > 0.9 * CLONED_PAGES
        assert 0 < found["cloned"] < CLONED_PAGES, "no clone ended in the middle"
        assert found["wrong"] == 0

    def races_for_a_file(self, folder: str, hits: int, *, direct: str | None = None) -> None:
        """Written directly, read, and evicted, all at the same time, until so many pages came from
        Xen: none was of before. direct: as above.
        """
        race, before = self.program("race"), self.trial("counters")
        other = f"{direct}/raced" if direct else ""
        writes, deadline = 0, time.monotonic() + RACE_S
        while (grown := self.grown(before))["ephemeral.get.done"] < hits:
            assert time.monotonic() < deadline, f"only {grown} came from Xen"
            found = json.loads(self.sh(f"{race} {folder}/raced {RACE_STEP_S} {other}", 2 * RACE_STEP_S + 60))
            print(f"{self.boots}: {folder}: {found}, {grown['ephemeral.get.done']} hits before", file=sys.stderr)
            assert found["stale"] == 0
            writes += found["writes"]
        print(f"{self.boots}: {folder}: {writes} writes, {grown}", file=sys.stderr)
        assert writes > 100
        assert grown["ephemeral.put.failed"] == grown["ephemeral.get.failed"] == 0


@contextmanager
def booted(
    lab: OpenLab,
    inventory_path: Path,
    boots: KernelName,
    policy: str,
    *,
    packages: Sequence[str] = (),
    booted_as: GuestType = PV,
    swap_mib: int = MOST_MIB,
    filesystems: str | None = None,
) -> Iterator[Stock]:
    """A host beside the lab's, which is stopped meanwhile. Its guest has the driver as the policy
    has it loaded, and may have more memory than it has, so that its swapped pages have an
    allowance. packages: what else its image needs. filesystems: the driver's parameter.
    """
    needs = Needs(packages=tuple(packages), kernels=(boots,))
    with host_beside(lab, inventory_path, needs, "stock") as host:
        sizing = GuestSizing(1, 1, MOST_MIB, START_MIB, swap_mib, boots=boots, type=booted_as)
        host.reset(HostSizing(START_MIB + FREE_MIB, 384, 2), sizing)
        host.limit_disks(UNLIMITED)
        host.run(GUEST, "cat > /run/stock.py", stdin=Path(__file__).with_name("stock.py").read_bytes())
        host.set_memory({GUEST: START_MIB}, {GUEST: MOST_MIB})
        if filesystems:
            host.run(GUEST, f"echo options tmem filesystems={filesystems} > /etc/modprobe.d/tmem.conf")
        suited = apply.suited(policies.parse(policy), boots)
        host.load_driver(apply.parameters(suited), dict.fromkeys(suited.at_release, 0))
        yield Stock(host, boots)
