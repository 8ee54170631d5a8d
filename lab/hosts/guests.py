"""Guests of a Xen host: their names, addresses, configurations, and the dom0 commands that make
them and give them memory.

Everything here is text for dom0 (POSIX sh around `xl`), so it serves an emulated and a physical
host alike. Memory words: `memory` is what the guest starts with, `maxmem` what its kernel sizes its
tables for; the target (`xl mem-set`) is what its balloon driver is told; Xen's own limit (`xl
mem-max`) is what it may hold. `xl mem-set` also lowers Xen's limit to the target, so a guest that
balloons by itself needs the limit raised again.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from ipaddress import IPv4Interface
from typing import Literal

from lab import paths
from lab.api import GuestSizing, MemorySwap, TmemSettings
from lab.remote import scripts

STATE = "/var/lib/overcommit"
"""Folder of dom0 with the guests' kernel and configurations."""

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

GONE_SECONDS = 60
"""Time that guests which were ended get to give back their last page."""

BALLOON_SECONDS = 120
"""Time that a guest gets to reach its memory target."""


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
    swap = f', "phy:{disks.swap},xvdb,w,script=block-overcommit"' if sizing.swap_mib else ""
    lines = [
        "# Written by the testbed.",
        f'name = "{name}"',
        'type = "pv"',
        f'kernel = "{STATE}/vmlinuz"',
        f'extra = "{" ".join(kernel)}"',
        f"vcpus = {sizing.vcpus}",
        f"memory = {sizing.memory_start_mib}",
        f"maxmem = {sizing.memory_max_mib}",
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
            words += [f"guest{number}", sizing.memory_start_mib, text]
    return scripts.command("create-guests.sh", f"{STATE}/guests", ROOM_MIB, *words)


def destroy_script() -> str:
    """Sh for dom0: end every guest whose name is one of ours."""
    return scripts.command("destroy-guests.sh", GONE_SECONDS)


def memory_script(targets_mib: Mapping[str, int], limits_mib: Mapping[str, int]) -> str:
    """Sh for dom0: give guests these targets and wait until they have them; then let each hold up
    to its limit.

    A guest may miss its target by 1 MiB: libxl leaves that much to a domain.
    """
    wanted = " ".join(f"{name}={mib}" for name, mib in targets_mib.items())
    parts = [
        "set -e",
        *(f"xl mem-set {name} {mib}m" for name, mib in targets_mib.items()),
        f"deadline=$(( $(date +%s) + {BALLOON_SECONDS} ))",
        "while :; do",
        f"  late=$(xl list | awk -v wanted='{wanted}' '",
        '    BEGIN { count = split(wanted, pairs, " ")',
        '        for (i = 1; i <= count; i++) { split(pairs[i], pair, "="); target[pair[1]] = pair[2] } }',
        "    $1 in target && ($3 - target[$1] > 1 || target[$1] - $3 > 1) { print $1, $3 }')",
        '  [ -z "$late" ] && break',
        '  if [ "$(date +%s)" -gt $deadline ]; then',
        f'    echo "guests did not reach their memory within {BALLOON_SECONDS} s: $late (MiB)" >&2; exit 1',
        "  fi",
        "  sleep 1",
        "done",
    ]
    parts += [f"xl mem-max {name} {mib}m" for name, mib in limits_mib.items() if mib > targets_mib[name]]
    return "\n".join(parts)


def tmem_script(settings: TmemSettings, guests: Collection[str]) -> str:
    """Sh for dom0: tell tmem how it keeps these guests' pages; empty where there is nothing to
    tell.
    """
    switches = [
        f"--{name} {int(value)}"
        for name, value in (("compress", settings.compress), ("dedup", settings.dedup))
        if value is not None
    ]
    lines = []
    for guest in guests:
        options = [
            *switches,
            *([f"--weight {settings.weights[guest]}"] if guest in settings.weights else []),
            *([f"--cap {settings.caps[guest]}"] if guest in settings.caps else []),
        ]
        if settings.frozen and not options:
            options = ["--weight 0"]  # what it has: Xen knows a guest from its first setting, and freezes no other
        if options:
            lines.append(f'tmemctl set "$(xl domid {guest})" {" ".join(options)}')
        if settings.frozen:
            lines.append(f'tmemctl freeze "$(xl domid {guest})"')
    return "\n".join(["set -e", *lines]) if lines else ""


def sysctl_script(settings: Mapping[str, int]) -> str:
    """Sh for a guest: write these settings of its kernel."""
    return _settings_script({f"/proc/sys/{name.replace('.', '/')}": value for name, value in settings.items()})


def _settings_script(values: Mapping[str, int]) -> str:
    """Sh: write each value to its file, and check that it is what the kernel then has."""
    return "\n".join(
        f'echo {value} > {path} && [ "$(cat {path})" = {value} ]'
        f' || {{ echo "{path} does not take {value}" >&2; exit 1; }}'
        for path, value in values.items()
    )


def driver_script(parameters: Mapping[str, bool], settings: Mapping[str, int] | None = None) -> str:
    """Sh for a guest: load the driver, check that it took the parameters, and give it its settings
    in sysfs.
    """
    checks = []
    for name, on in parameters.items():
        path = f"/sys/module/tmem/parameters/{name}"
        checks.append(
            f'[ ! -r {path} ] || [ "$(cat {path})" = {"Y" if on else "N"} ]'
            f' || {{ echo "{name} is not {"Y" if on else "N"}" >&2; exit 1; }}'
        )
    written = _settings_script({f"{SELFBALLOON}/{name}": value for name, value in (settings or {}).items()})
    words = " ".join(f"{name}={int(on)}" for name, on in parameters.items())
    return "\n".join([f"modprobe tmem {words} || exit", *checks, *([written] if written else [])])


def swap_script(step: Literal["prepare", "release"], swap: MemorySwap) -> str:
    """Sh for a guest: a step of swap in its own memory."""
    return scripts.command("memory-swap.sh", step, swap.kind, *(swap.options if step == "prepare" else ()))
