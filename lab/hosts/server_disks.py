"""Findings about the disks that are meant for a server's guests, and about what volumes are to be
made of.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

from common.units import format_size
from lab.hosts.guests import ROOT_DISK_MIB
from lab.hosts.server_facts import Disk, Facts
from lab.hosts.server_finding import MIB, Finding, Intent
from lab.inventory import GuestStorage, Physical

FOLDER_SLACK = 512 * MIB
"""What the file system of guests' files keeps: logs, packages, GRUB's environment."""

GROUP_MIB = 64
"""What a volume group keeps of its device for itself, generously: its extents are of 4 MiB."""


def storage(facts: Facts, declared: Physical, _intent: Intent) -> Iterator[Finding]:
    """Volumes that are to be made."""
    wanted = declared.guest_storage
    if wanted is None:
        return
    where = "lab_guest_storage of the inventory"
    if wanted.folder is not None:
        yield from _files(facts, wanted, wanted.folder, where)
        return
    prefix = f"/dev/{wanted.volume_group}/"
    there = {name.removeprefix(prefix) for name in facts.volumes if name.startswith(prefix)}
    needed = wanted.missing_mib(ROOT_DISK_MIB, there) * MIB
    groups = dict(facts.volume_groups)
    if wanted.volume_group in groups:
        if groups[wanted.volume_group] < needed:
            yield Finding(
                "blocks",
                f"the volume group {wanted.volume_group} has {groups[wanted.volume_group] // MIB} MiB free",
                where,
                f"the guests' volumes take {needed // MIB} MiB more",
                "Say fewer guests, or give the group another device (vgextend).",
            )
        return
    device = next((disk for disk in facts.disks if disk.name == wanted.device), None)
    if device is None:
        yield Finding(
            "blocks",
            f"there is no volume group {wanted.volume_group}",
            where,
            "and no device is named to make it of",
            f"vgcreate {wanted.volume_group} DEVICE, or say `device: /dev/…` there: it is written over.",
        )
        return
    yield from _disk(device, needed + GROUP_MIB * MIB, where)
    if device.signature and not device.use and not device.partitions and not wanted.erase:
        yield Finding(
            "blocks",
            f"{device.name} would have to be erased",
            where,
            f"it has something on it: {device.signature}",
            "If nobody needs it, say `erase: true` there; or name another device.",
        )


def _may_be_written(disk: Disk, where: str, *, known: bool, erase: bool) -> Iterator[Finding]:
    """known: an earlier provisioning found that it may be."""
    if re.match(r"/dev/(sd[a-z]|nvme\d)", disk.name):
        yield Finding(
            "warns",
            f"{disk.name} can be another disk after a restart",
            where,
            "such names go by the order in which disks are found",
            "Name it as /dev/disk/by-id has it.",
        )
    if disk.signature and not (known or erase or disk.use or disk.partitions):
        yield Finding(
            "blocks",
            f"{disk.name} has something on it: {disk.signature}",
            where,
            "it would be written over before every cell",
            "If nobody needs it, say `erase: true` beside its name; or name another device.",
        )


def _files(facts: Facts, wanted: GuestStorage, folder: str, where: str) -> Iterator[Finding]:
    """Sparse files: they have to fit when all of them is written."""
    taken = dict(facts.guest_files)
    sizes = wanted.sizes(ROOT_DISK_MIB)
    needed = sum(max(0, mib * MIB - taken.get(name, 0)) for name, mib in sizes.items())
    free = dict(facts.free).get(folder)
    if free is not None and free < needed + FOLDER_SLACK:
        yield Finding(
            "blocks",
            f"{free // MIB} MiB are free in {folder}",
            where,
            f"the guests' files take up to {needed // MIB} MiB more there, and {FOLDER_SLACK // MIB} have to stay free",
            "Say fewer guests, or another folder.",
        )


def steps(facts: Facts, declared: Physical) -> list[str]:
    """What provisioning would make."""
    wanted = declared.guest_storage
    if wanted is None:
        return []
    if wanted.folder is not None:
        absent = [name for name in wanted.sizes(ROOT_DISK_MIB) if name not in dict(facts.guest_files)]
        return [f"make the sparse files {', '.join(absent)} in {wanted.folder}"] if absent else []
    found = []
    if wanted.volume_group not in dict(facts.volume_groups):
        found.append(f"make the volume group {wanted.volume_group} of {wanted.device}")
    names = [name for pair in wanted.volumes() for name in pair]
    missing = [name for name in names if f"/dev/{wanted.volume_group}/{name}" not in facts.volumes]
    return [*found, f"make the volumes {', '.join(missing)} in {wanted.volume_group}"] if missing else found


def disks(facts: Facts, declared: Physical, _intent: Intent) -> Iterator[Finding]:
    if declared.guest_storage is not None:
        return
    where = "lab_guest_disks of the inventory"
    least = {each.root: ROOT_DISK_MIB * MIB for each in declared.guest_disks}
    erased = {name for each in declared.guest_disks if each.erase for name in (each.root, each.swap)}
    for disk in facts.disks:
        yield from _disk(disk, least.get(disk.name, 0), where)
        yield from _may_be_written(disk, where, known=disk.name in facts.guest_disks, erase=disk.name in erased)
    times = Counter(disk.real for disk in facts.disks if disk.real)
    for real in sorted(name for name, count in times.items() if count > 1):
        alike = sorted({disk.name for disk in facts.disks if disk.real == real})
        yield Finding(
            "blocks",
            f"{real} is meant for two disks",
            f"{where}: {', '.join(alike)}",
            "two guests would write over each other",
            "Name each device once.",
        )


def _disk(disk: Disk, least: int, where: str) -> Iterator[Finding]:
    if not disk.exists or not disk.is_block:
        yield Finding(
            "blocks",
            f"there is no {disk.name}" if not disk.exists else f"{disk.name} is no block device",
            where,
            remedy="Make it (lvcreate --size 4G --name guest1-root VG), or name another.",
        )
        return
    if disk.use or disk.partitions:
        yield Finding(
            "blocks",
            f"{disk.name} is in use",
            where,
            disk.use or f"it has {disk.partitions} partitions",
            "Name a device that nothing else uses.",
        )
    if disk.size is not None and disk.size < least:
        yield Finding(
            "blocks",
            f"{disk.name} has {disk.size // MIB} MiB",
            where,
            f"a guest's file system needs {format_size(least)}",
            "Name a larger one.",
        )
