"""Guests with Debian's own kernels, whose driver serves xfs and btrfs beside ext4: what is read
again comes from Xen and is right, however files change, and whoever reads while others write.

xfs and btrfs have to be named when the driver is loaded.
Builds the artifacts of these kernels and an image with the programs that make file systems.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from stocked import GUEST, Stock, booted

from campaigns.kernel_log import findings
from lab.build import builder
from lab.kernels import KERNELS, KernelName
from lab.lifecycle import OpenLab

pytestmark = [pytest.mark.lab, pytest.mark.long]

DISK, DISK_MIB = "/dev/xvdb", 512
"""Else the guest's swap disk."""

THERE, OTHER = "/run/there", "/run/other"
"""The same file system, mounted twice."""

FILE_MIB = 160
"""More than such a guest has memory for files."""

RACED_HITS = 50_000
"""On each file system with each kernel: 300,000 in all."""

MAKE = {"ext4": "mkfs.ext4 -q -F", "xfs": "mkfs.xfs -q -f", "btrfs": "mkfs.btrfs -q -f"}
LACKS = {"ext4": ("clone", "encoded_write"), "xfs": ("encoded_write",), "btrfs": ("collapse", "insert")}
"""File system -> what it does not do with files."""

WHOLE = {"debian-7": ("btrfs",)}
"""Kernel -> file systems that write all that is asked for or nothing, so that no write is short."""

ENDS_IN_THE_MIDDLE = ("btrfs",)
"""File systems whose clones go by the extent, each of which is a write of its own here. xfs joins
them: its clone is done or not begun.
"""

SEEDS = {"ext4": (1, 2, 5), "xfs": (3, 6, 9), "btrfs": (1, 2, 5)}
"""File system -> of exercise.c. The last is for writes by another mount point."""


@dataclass(frozen=True)
class Mounted:
    """A guest that has a file system on DISK."""

    stock: Stock
    kind: str

    @property
    def lacks(self) -> list[str]:
        """Operations that it has not on this kernel."""
        whole = self.kind in WHOLE.get(self.stock.boots, ())
        return [*LACKS[self.kind], *(["short_write"] if whole else [])]


class Guests:
    """One guest at a time: that of the kernel that was asked for last."""

    def __init__(self, lab: OpenLab, inventory_path: Path) -> None:
        self._lab = lab
        self._path = inventory_path
        self._open = ExitStack()
        self._last: Stock | None = None

    def of(self, boots: KernelName) -> Stock:
        if self._last is None or self._last.boots != boots:
            self.close()
            self._last = self._open.enter_context(served(self._lab, self._path, boots))
        return self._last

    def close(self) -> None:
        self._last = None
        self._open.close()


@contextmanager
def served(lab: OpenLab, inventory_path: Path, boots: KernelName) -> Iterator[Stock]:
    """A guest whose driver serves all these file systems."""
    programs = ["btrfs-progs", "e2fsprogs", "xfsprogs"]
    with booted(
        lab, inventory_path, boots, "static+tmem", packages=programs, swap_mib=DISK_MIB, filesystems=",".join(MAKE)
    ) as found:
        modules = builder.artifact(KERNELS[boots].artifact).outputs["beside.tar"].read_bytes()
        found.host.run(GUEST, "tar -C /usr -x && depmod", stdin=modules, timeout=240)
        found.sh(f"swapoff {DISK}; mkdir -p {THERE} {OTHER}", 240)
        yield found


@pytest.fixture(scope="module")
def guests(lab: OpenLab, inventory_path: Path) -> Iterator[Guests]:
    made = Guests(lab, inventory_path)
    try:
        yield made
    finally:
        made.close()


TRIED = [(boots, kind) for boots, each in KERNELS.items() if not each.own_hooks for kind in MAKE]


# One parameter: with two, pytest's order would have a host booted for each of their pairs.
@pytest.fixture(scope="module", params=TRIED, ids="-".join)
def mounted(guests: Guests, request: pytest.FixtureRequest) -> Iterator[Mounted]:
    boots, kind = request.param
    guest = guests.of(boots)
    before = len(guest.pools("E"))
    guest.sh(f"{MAKE[kind]} {DISK} && mount -t {kind} {DISK} {THERE} && mount --bind {THERE} {OTHER}", 120)
    yield Mounted(guest, kind)
    guest.sh(f"umount {OTHER} {THERE}", 120)
    assert len(guest.pools("E")) == before


def test_a_file_that_is_larger_than_memory_is_read_again_without_its_disk(mounted: Mounted) -> None:
    mounted.stock.reads_a_file_again_without_its_disk(FILE_MIB, THERE)


def test_a_file_is_right_however_it_changes(mounted: Mounted) -> None:
    for seed in SEEDS[mounted.kind][:-1]:
        mounted.stock.changes_a_file_in_every_way(THERE, seed, lacks=mounted.lacks)
    if mounted.kind in ENDS_IN_THE_MIDDLE:
        mounted.stock.shares_some_of_a_files_blocks(THERE)


def test_it_is_right_when_it_is_written_directly_by_another_mount_point(mounted: Mounted) -> None:
    mounted.stock.changes_a_file_in_every_way(THERE, SEEDS[mounted.kind][-1], lacks=mounted.lacks, direct=OTHER)


def test_nobody_reads_what_a_direct_write_has_replaced(mounted: Mounted) -> None:
    mounted.stock.races_for_a_file(THERE, RACED_HITS, direct=OTHER)


def test_neither_kernel_nor_xen_has_anything_to_say(mounted: Mounted) -> None:
    assert findings(mounted.stock.host.kernel_log()) == []
