"""Guests of a Xen host: their names, addresses, configurations, and the dom0 commands that make
and end them.

Everything here is text for dom0 (POSIX sh around `xl`), so it serves an emulated and a physical
host alike. Memory words: `memory` is what the guest starts with, `maxmem` what its kernel sizes its
tables for; the target (`xl mem-set`) is what its balloon driver is told; Xen's own limit (`xl
mem-max`) is what it may hold. `xl mem-set` also lowers Xen's limit to the target, so a guest that
balloons by itself needs the limit raised again.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cache
from ipaddress import IPv4Interface

from common.errors import LabError
from lab import paths
from lab.api import GuestSizing
from lab.kernels import KERNELS, PVH
from lab.remote import scripts

STATE = "/var/lib/overcommit"
"""Folder of dom0 with the guests' kernels and configurations."""

ROOT_DISK_MIB = 4096
"""Size of a guest's root disk, programs and sources included (playbooks/roles/guest_image,
guest_image_size).
"""

SELFBALLOON = "/sys/devices/system/xen_memory/xen_memory0/selfballoon"
"""Folder of a guest with the driver's settings."""

START_SECONDS = 300
"""Bound for creating all guests; a second or two each natively, 25 emulated."""

FIRST_ADDRESS = 10
"""The guests' addresses follow this one of the bridge's network."""

ROOM_MIB = 8
"""What Xen needs for a guest beside the guest's memory, generously: page tables, frames of grant
tables, vCPUs.
"""

HARDWARE = "hvm"
"""What Xen calls hardware virtualisation among the capabilities that `xl info` lists."""

XEN_GUEST_MIB = 1
SHADOW_VCPU_MIB = 1
SHADOW_SHARE = 1 / 128
"""What Xen keeps for a guest: in any case; of a PVH guest for each vCPU, and as a share of the most
that it may have: its page tables by another name, for which `xl` asks so much.
"""

GONE_SECONDS = 60
"""Time that guests which were ended get to give back their last page."""


@dataclass(frozen=True)
class Disks:
    """Block devices of dom0 that one guest uses."""

    root: str
    swap: str


def names(count: int) -> list[str]:
    return [f"guest{number}" for number in range(1, count + 1)]


def address(number: int) -> str:
    """Address of the guest with this number, counted from 1, on the guests' bridge."""
    return str(bridge().network.network_address + FIRST_ADDRESS + number)


@cache
def bridge() -> IPv4Interface:
    """dom0's address on the guests' bridge, and the network there: what the role xen_host gives
    it.
    """
    import yaml

    declared = yaml.safe_load((paths.PLAYBOOKS / "roles" / "xen_host" / "defaults" / "main.yml").read_text())
    return IPv4Interface(declared["xen_host_bridge_address"])


def check_kernel(sizing: GuestSizing, there: Collection[str]) -> None:
    """LabError when the guests' kernel is not there. there: the files of dom0 that guests boot."""
    if missing := set(KERNELS[sizing.boots].files.values()).difference(there):
        raise LabError(
            f"the lab was opened without the guests' kernel {sizing.boots}",
            where=", ".join(sorted(missing)),
            remedy="Ask for it when the lab is opened: ./inv lab.up --kernel, or guests.kernel of an experiment.",
        )


def xen_mib(sizing: GuestSizing) -> int:
    """What Xen keeps for the guests beside their memory, in MiB."""
    return XEN_GUEST_MIB * sizing.count + math.ceil(math.fsum(_shadows_mib(sizing)))


def _shadows_mib(sizing: GuestSizing) -> list[float]:
    """Of each guest, what Xen keeps for its page tables."""
    if sizing.type != PVH:
        return [0.0] * sizing.count
    return [SHADOW_VCPU_MIB * own.vcpus + SHADOW_SHARE * own.memory_max_mib for own in sizing.every]


def check_hardware(host: str, told: str) -> None:
    """LabError when the host cannot run PVH guests. told: what `xl info` says there."""
    found = re.search(r"^virt_caps\s*:(.*)$", told, re.MULTILINE)
    able = found[1].split() if found else []
    if HARDWARE not in able:
        raise LabError(
            f"{host} cannot run PVH guests",
            where=f"xl info, virt_caps: {' '.join(able) or 'it is not there'}",
            why="Xen has found no hardware virtualisation (AMD-V, VT-x) there that it could use",
            remedy="Switch it on in a server's firmware. An emulated host has AMD-V under software emulation "
            "(lab_accelerator: tcg), and under KVM what KVM lends it (the module's parameter nested=1). "
            "Or leave guests.type out: paravirtual guests run anywhere.",
        )


def configuration(number: int, sizing: GuestSizing, disks: Disks, *, native_tsc: bool = False) -> str:
    """The xl configuration of a guest.

    native_tsc: let the guest read the time-stamp counter itself. Xen otherwise traps every reading
    where it does not trust the counter, as under QEMU, whose counter is sound: a trap for each look
    at the clock costs more than the work in between.
    """
    name = f"guest{number}"
    kernel = [
        "root=/dev/xvda",
        "rw",
        "console=hvc0",
        f"ip={address(number)}::{bridge().ip}:{bridge().netmask}:{name}:eth0:off",
        f"hostname={name}",
        # Statistics of memory pressure, where the kernel has them.
        "psi=1",
        *sizing.kernel,
    ]
    own = sizing.own(number)
    booted = KERNELS[sizing.boots].files
    swap = f', "phy:{disks.swap},xvdb,w,script=block-overcommit"' if sizing.swap_mib else ""
    lines = [
        "# Written by the testbed.",
        f'name = "{name}"',
        f'type = "{sizing.type}"',
        f'kernel = "{STATE}/{booted["vmlinuz"]}"',
        *([f'ramdisk = "{STATE}/{booted["initrd.img"]}"'] if "initrd.img" in booted else []),
        f'extra = "{" ".join(kernel)}"',
        f"vcpus = {own.vcpus}",
        f"memory = {own.memory_start_mib}",
        f"maxmem = {own.memory_max_mib}",
        f'disk = ["phy:{disks.root},xvda,w,script=block-overcommit"{swap}]',
        f'vif = ["mac=00:16:3e:77:00:{number:02x},bridge=xenbr0,script=vif-overcommit"]',
        *(['tsc_mode = "native"'] if native_tsc else []),
        'on_poweroff = "destroy"',
        'on_crash = "preserve"',
        'on_reboot = "preserve"',
    ]
    return "\n".join(lines) + "\n"


def create_script(
    sizing: GuestSizing, disks: Sequence[Disks], *, native_tsc: bool = False, only: Collection[int] | None = None
) -> str:
    """Sh for dom0: write the configurations and create the guests. Tmem gives back what they lack,
    if it holds so much.

    only: the numbers of the guests to create, counted from 1; all of them by default.
    """
    words: list[str | int] = []
    for number, each in enumerate(disks[: sizing.count], start=1):
        if only is None or number in only:
            text = configuration(number, sizing, each, native_tsc=native_tsc)
            words += [f"guest{number}", sizing.own(number).memory_start_mib, text]
    room = ROOM_MIB + math.ceil(max(_shadows_mib(sizing)))
    return scripts.command("create-guests.sh", f"{STATE}/guests", room, *words)


def destroy_script() -> str:
    """Sh for dom0: end every guest whose name is one of ours."""
    return scripts.command("destroy-guests.sh", GONE_SECONDS)
