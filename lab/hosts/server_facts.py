"""What a server is before the testbed touches it: what lab/remote/check-server.sh printed, as a
record. What a server could not tell is None, or empty.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from lab.remote import scripts

VIRTUAL = {
    "Amazon": r"^(?!.*\.metal)",
    "QEMU": "",
    "KVM": "",
    "Red Hat": "(KVM|RHEV|oVirt|KubeVirt)",
    "OpenStack Foundation": "",
    "VMware": "",
    "innotek GmbH": "",
    "Oracle Corporation": "VirtualBox",
    "Microsoft Corporation": "Virtual Machine",
    "Xen": "",
    "Parallels": "",
    "BHYVE": "",
    "Bochs": "",
    "Google": "Compute Engine",
    "DigitalOcean": "",
    "Hetzner": "vServer",
    "Nutanix": "AHV",
}
"""How a virtual machine's vendor begins -> what is in its product's name, where the vendor makes
hardware as well.
"""


def virtual_machine(vendor: str, product: str) -> str | None:
    """What a machine says it is, where that is a virtual one; None for hardware. By its firmware's
    tables, since Xen's dom0 sees no other sign.
    """
    known = any(vendor.startswith(each) and re.search(what, product) for each, what in VIRTUAL.items())
    return f"{vendor} {product}".strip() if known else None


@dataclass(frozen=True)
class Disk:
    """A block device that is meant for a guest. exists: False where there is nothing of that name.

    real: its name without links. size in bytes. signature: of a file system, partition table or
    volume. use: where it is mounted, and what holds it; empty for a device that nobody uses.
    """

    name: str
    exists: bool
    is_block: bool
    real: str | None = None
    size: int | None = None
    signature: str | None = None
    partitions: int = 0
    use: str = ""


@dataclass(frozen=True)
class Clock:
    """A server's clock less the controller's, in seconds: it lies between these two."""

    least: float
    most: float


@dataclass(frozen=True)
class Facts:
    """A server. memory and free in bytes. addresses: interface -> with prefix; bridges: name -> its
    ports; free: folder -> what a file there can take; volume_groups: name -> what is free there;
    guest_files: guests' disks that are files -> what they take already; guest_disks: devices that
    provisioning has recorded as the guests'; routes: interface -> networks behind it; ssh_client:
    whom it is asked by.

    kernel_is_dom0s: its kernel can be dom0's. dom0: it runs as Xen's control domain.
    secure_boot None: it has none. ssh_keys: how many may log in as root.
    """

    root: bool
    distribution: str | None
    release: str | None
    kernel: str | None
    kernel_is_dom0s: bool | None
    init: str | None
    programs: frozenset[str]
    architecture: str | None
    cpus: int | None
    cpu_model: str | None
    cpu_flags: frozenset[str]
    memory: int | None
    virtualization: str | None
    vendor: str | None
    product: str | None
    hypervisor: str | None
    dom0: bool
    xen_version: str | None
    xen_options: str | None
    firmware: str | None
    secure_boot: bool | None
    grub_menu: bool
    grub_default: str | None
    grub_variables: tuple[tuple[str, str], ...]
    grub_filesystem: str | None
    grub_device: str | None
    kernel_options: tuple[str, ...]
    ipmi: bool
    free: tuple[tuple[str, int], ...]
    bridges: tuple[tuple[str, tuple[str, ...]], ...]
    addresses: tuple[tuple[str, str], ...]
    routes: tuple[tuple[str, str], ...]
    ssh_client: str | None
    ssh_address: str | None
    ssh_interface: str | None
    ssh_passwords: bool | None
    ssh_keys: int
    clock: Clock | None
    clock_synchronized: bool | None
    guests: tuple[str, ...]
    files: frozenset[str]
    guest_disks: frozenset[str]
    packages: frozenset[str]
    disks: tuple[Disk, ...]
    volume_groups: tuple[tuple[str, int], ...]
    volumes: frozenset[str]
    guest_files: tuple[tuple[str, int], ...]


def script(packages: Sequence[str], disks: Sequence[str], folder: str | None = None) -> str:
    """Sh for a server: tell the facts. packages: of which to tell whether they are installed;
    disks: which to look at; folder: of guests' disks that are files.
    """
    return scripts.command("check-server.sh", "|".join(packages), folder or "", *disks)


def parse(text: str, *, asked: float, answered: float) -> Facts:
    """Facts of what the script printed. asked, answered: the controller's clock before and after it
    ran, in epoch seconds.
    """
    told: defaultdict[str, list[str]] = defaultdict(list)
    for line in text.splitlines():
        key, colon, value = line.partition(": ")
        if colon:
            told[key].append(value.strip())

    def first(key: str) -> str | None:
        return told[key][0] if told[key] else None

    def number(key: str) -> int | None:
        value = first(key)
        return int(value) if value is not None and value.isdecimal() else None

    def yes(key: str, word: str) -> bool | None:
        value = first(key)
        return None if value is None else value == word

    def pairs(key: str) -> list[tuple[str, str]]:
        return [(name, rest.strip()) for name, _, rest in (value.partition(" ") for value in told[key])]

    distribution, _, release = (first("release") or "").partition(" ")
    memory_kib, xen_mib = number("memory_kib"), number("xen_memory_mib")
    return Facts(
        root=first("user") == "0",
        distribution=distribution or None,
        release=release or None,
        kernel=first("kernel"),
        kernel_is_dom0s=yes("kernel_dom0", "1"),
        init=first("init"),
        programs=frozenset(told["program"]),
        architecture=first("architecture"),
        cpus=number("cpus"),
        cpu_model=first("cpu_model"),
        cpu_flags=frozenset(told["cpu_flag"]),
        # dom0 has only a part of what Xen has.
        memory=xen_mib * 2**20 if xen_mib else memory_kib * 1024 if memory_kib else None,
        virtualization=first("virtualization"),
        vendor=first("dmi_sys_vendor"),
        product=first("dmi_product_name"),
        hypervisor=first("hypervisor"),
        dom0=first("dom0") is not None,
        xen_version=first("xen_version"),
        xen_options=first("xen_options"),
        firmware=first("firmware"),
        secure_boot=yes("secure_boot", "1"),
        grub_menu=first("grub_menu") is not None,
        grub_default=first("grub_default"),
        grub_variables=tuple(
            (name, value) for name, _, value in (line.partition("=") for line in told["grub_variable"])
        ),
        grub_filesystem=first("grub_filesystem"),
        grub_device=first("grub_device"),
        kernel_options=tuple((first("kernel_options") or "").split()),
        ipmi=bool(told["ipmi"]),
        free=tuple((folder, int(kib) * 1024) for folder, kib in pairs("free_kib") if kib.isdecimal()),
        bridges=tuple((name, tuple(ports.split())) for name, ports in pairs("bridge")),
        addresses=tuple(pairs("address")),
        routes=tuple(pairs("route")),
        ssh_client=first("ssh_client"),
        ssh_address=first("ssh_address"),
        ssh_interface=first("ssh_interface"),
        ssh_passwords=yes("ssh_passwords", "yes"),
        ssh_keys=number("ssh_keys") or 0,
        clock=_clock(told["clock"], asked, answered),
        clock_synchronized=yes("clock_synchronized", "yes"),
        guests=tuple(told["guest"]),
        files=frozenset(told["file"]),
        guest_disks=frozenset(told["guest_disk"]),
        packages=frozenset(told["package"]),
        disks=tuple(_disk(line) for line in told["disk"]),
        volume_groups=tuple((name, int(free)) for name, free in pairs("volume_group") if free.isdecimal()),
        volumes=frozenset(told["volume"]),
        guest_files=tuple((name, int(kib) * 1024) for name, kib in pairs("guest_file_kib") if kib.isdecimal()),
    )


def _clock(told: list[str], asked: float, answered: float) -> Clock | None:
    """The first time was read after the controller asked, the last before it had the answer."""
    try:
        first, last = (float(each) for each in told)
    except ValueError:
        return None
    return Clock(round(last - answered, 3), round(first - asked, 3))


def _disk(line: str) -> Disk:
    words, _, use = line.partition(" use=")
    fields = dict(word.partition("=")[::2] for word in words.split())
    size = fields.get("bytes", "")
    return Disk(
        fields.get("name", ""),
        exists=fields.get("kind") != "none",
        is_block=fields.get("kind") == "block",
        real=fields.get("real"),
        size=int(size) if size.isdecimal() else None,
        signature=fields.get("signature") or None,
        partitions=int(fields.get("partitions") or 0),
        use=use.strip(),
    )
