"""What stands in the way of making a server a Xen host of the testbed, what a researcher should
know of it, and what would be changed: pure functions of what the server told and of what the
inventory declares.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from ipaddress import IPv4Interface, IPv4Network

from lab.hosts import server_disks
from lab.hosts.server_facts import Facts, virtual_machine
from lab.hosts.server_finding import MIB, SEVERITIES, Check, Finding, Intent
from lab.inventory import Physical

DOM0_LEAST_MIB = 512
"""Room for a stock kernel with its initial RAM disk, systemd and the toolstack. An emulated host's
dom0, which is trimmed, works in 384.
"""

GUEST_LEAST_MIB = 256
XEN_MIB = 160
"""What Xen keeps for itself on a small server."""

FREE_LEAST = {"/boot": 32 * MIB, "/var/lib": 1024 * MIB}
"""Folder -> what a boot entry, or packages and the guests' image, take there at most."""

KERNEL_MIB = 160
"""What Debian's kernel takes in /boot, with its initial RAM disk made anew beside the old one."""

FREE_AGAIN = 16 * MIB
"""Where all of it lies already: another hypervisor, and files of a few pages."""

CLOCK_S = 1.0
"""A clock that is wrong by more than this puts a server's samples beside the others'."""

BLOCKING_PROGRAMS = {
    "python3": "Ansible works through it",
    "apt-get": "packages are installed by it",
    "systemctl": "services are managed by it",
    "update-grub": "the boot menu is written by it",
    "grub-reboot": "the first boot into the new hypervisor is one-time by it",
}
"""Programs that a server needs -> why."""

PACKAGE_OF = {"update-grub": "grub2-common", "grub-reboot": "grub2-common", "systemctl": "systemd", "apt-get": "apt"}

VIRTUAL_TIMES = (
    "Counts hold. Compare times only within a campaign, and only where its memory and processors are its own."
)

GRUB_WRITES = ("ext2", "ext3", "ext4", "xfs", "vfat", "fat")
"""File systems on which GRUB can write its environment while it boots."""


def examine(facts: Facts, declared: Physical, intent: Intent) -> list[Finding]:
    """Every finding, those that block first."""
    found = [each for check in CHECKS for each in check(facts, declared, intent)]
    return sorted(found, key=lambda each: SEVERITIES.index(each.severity))


def _user(facts: Facts, _declared: Physical, _intent: Intent) -> Iterator[Finding]:
    if not facts.root:
        yield Finding(
            "blocks",
            "the login is not root's",
            "ansible_user of the inventory",
            "packages, boot entries and guests are root's; as another user, less is seen here, too",
            "Let root in by a key (PermitRootLogin prohibit-password), and leave ansible_user: root.",
        )


def _system(facts: Facts, _declared: Physical, _intent: Intent) -> Iterator[Finding]:
    if (facts.distribution, facts.release) != ("debian", "13"):
        name = f"{facts.distribution or 'an unknown system'} {facts.release or ''}".strip()
        yield Finding(
            "blocks",
            f"it runs {name}",
            "/etc/os-release",
            "packages and hypervisor are Debian 13's",
            "Install Debian 13 (trixie) there, or upgrade to it.",
        )
    for program, why in BLOCKING_PROGRAMS.items():
        if program not in facts.programs:
            yield Finding(
                "blocks",
                f"it has no {program}",
                why=why,
                remedy=f"apt-get install {PACKAGE_OF.get(program, program)}",
            )
    if facts.init not in {"systemd", None}:
        yield Finding(
            "blocks", f"its init is {facts.init}", "/proc/1/comm", "services are systemd's", "Boot it with systemd."
        )
    if facts.kernel_is_dom0s is False:
        yield Finding(
            "warns",
            f"its kernel {facts.kernel} cannot be dom0's",
            f"/boot/config-{facts.kernel}",
            "CONFIG_XEN_DOM0 is not set, as in kernels for clouds",
            "Provisioning installs linux-image-amd64, and boots the newest that can be.",
        )


def _hardware(facts: Facts, declared: Physical, _intent: Intent) -> Iterator[Finding]:
    if facts.architecture not in {"x86_64", None}:
        yield Finding(
            "blocks",
            f"its processor is {facts.architecture}",
            "uname -m",
            "hypervisor and guests are x86-64",
            "Use an x86-64 server.",
        )
    if facts.cpus is not None and not facts.dom0:
        if facts.cpus < 2:
            yield Finding(
                "warns",
                "it has one processor",
                "/proc/cpuinfo",
                "dom0 and the guests will share it, and disturb each other's times",
                "Compare counts on it, not times.",
            )
        else:
            yield Finding("notes", f"{facts.cpus} processors, {facts.cpu_model or 'of an unknown model'}")
    dom0 = declared.dom0_memory // MIB
    if dom0 < DOM0_LEAST_MIB:
        yield Finding(
            "blocks",
            f"{dom0} MiB are too little for dom0",
            "lab_dom0_memory of the inventory",
            "Debian 13 and the toolstack would not come up in it",
            f"Say at least `lab_dom0_memory: {DOM0_LEAST_MIB} MiB`.",
        )
    if facts.memory is not None:
        memory = min(facts.memory, declared.memory or facts.memory) // MIB
        left = memory - dom0 - XEN_MIB
        if left < GUEST_LEAST_MIB:
            yield Finding(
                "blocks",
                f"its {memory} MiB leave {max(left, 0)} MiB for guests",
                f"lab_dom0_memory{' and lab_memory' if declared.memory else ''} of the inventory",
                f"dom0 keeps {dom0} MiB, Xen about {XEN_MIB}",
                "Give dom0 less, or use a server with more memory.",
            )
        else:
            yield Finding(
                "notes",
                f"{memory} MiB of memory{' are used' if declared.memory else ''}: "
                f"about {left} MiB for guests beside dom0's {dom0}",
            )


def _virtualization(facts: Facts, _declared: Physical, _intent: Intent) -> Iterator[Finding]:
    kind, product = facts.virtualization, facts.product or ""
    if kind in {"docker", "lxc", "lxc-libvirt", "podman", "systemd-nspawn", "openvz", "wsl"}:
        yield Finding(
            "blocks", f"it is a container ({kind})", "systemd-detect-virt", "it boots no hypervisor", "Use its host."
        )
    elif facts.hypervisor == "xen" and not facts.dom0:
        yield Finding(
            "blocks", "it is itself a guest of Xen", "/sys/hypervisor/type", "Xen does not run in it", "Use another."
        )
    elif (facts.vendor or "").startswith("Amazon") and ".metal" in product:
        yield Finding(
            "notes", f"an EC2 machine without a hypervisor below ({product}): times are those of the hardware"
        )
    elif facts.dom0 and (below := virtual_machine(facts.vendor or "", product)) is not None:
        yield Finding(
            "warns",
            f"it is a virtual machine ({below})",
            "/sys/class/dmi/id",
            "the machine below shares its memory and processors",
            VIRTUAL_TIMES,
        )
    elif facts.dom0 or kind == "none":
        yield Finding("notes", f"bare metal: {facts.vendor or '?'} {product}".rstrip())
    elif kind is None and "hypervisor" not in facts.cpu_flags:
        yield Finding("notes", "probably bare metal: nothing says that it is virtual")
    else:
        paging = facts.cpu_flags & {"ept", "npt"}
        nested = (
            f"its virtual processor offers nested paging ({', '.join(sorted(paging))})"
            if paging
            else "its virtual processor offers no nested paging"
        )
        yield Finding(
            "warns",
            f"it is a virtual machine ({kind or 'of an unknown hypervisor'})",
            "systemd-detect-virt",
            f"{nested}; PV guests do without, but the machine below shares its memory and processors",
            VIRTUAL_TIMES,
        )


def _boot(facts: Facts, _declared: Physical, _intent: Intent) -> Iterator[Finding]:
    if facts.secure_boot:
        yield Finding(
            "blocks",
            "Secure Boot is on",
            "its firmware",
            "the testbed's hypervisor has no signature, and would be refused at boot",
            "Turn Secure Boot off in the firmware's setup.",
        )
    if not facts.grub_menu:
        yield Finding(
            "blocks",
            "it has no boot menu of GRUB",
            "/boot/grub/grub.cfg",
            "the hypervisor is one more entry there",
            "Install GRUB: grub-pc for BIOS, grub-efi-amd64 for UEFI.",
        )
    elif facts.grub_device in {"lvm", "crypt"} or (facts.grub_device or "").startswith("raid"):
        yield _not_once(f"/boot/grub lies on {facts.grub_device}")
    elif facts.grub_filesystem is not None and facts.grub_filesystem not in GRUB_WRITES:
        yield _not_once(f"/boot/grub lies on {facts.grub_filesystem}")
    if facts.firmware is not None:
        yield Finding("notes", f"boots by {facts.firmware.upper()}; GRUB_DEFAULT={facts.grub_default or 'not set'}")
    # dom0's own console is always Xen's.
    said = (facts.xen_options or "").split() if facts.dom0 else facts.kernel_options
    serial = [word for word in said if word.startswith(("console=ttyS", "console=hvc", "console=com"))]
    if not serial and not facts.ipmi:
        yield Finding(
            "warns",
            "no out-of-band console is seen",
            "/proc/cmdline, /dev/ipmi*",
            "if it does not come back from a boot, only a power cycle helps, and nobody sees why",
            "Know how to power-cycle it, or add console=ttyS0 to GRUB_CMDLINE_LINUX where there is a serial line.",
        )
    else:
        yield Finding("notes", f"out-of-band: {', '.join([*serial, *(['IPMI'] if facts.ipmi else [])])}")


def _not_once(what: str) -> Finding:
    return Finding(
        "blocks",
        "a one-time boot would not be one",
        what,
        "GRUB cannot write there, so it would choose the new hypervisor again after a power cycle",
        "Put /boot on a plain partition with ext4.",
    )


def _space(facts: Facts, _declared: Physical, _intent: Intent) -> Iterator[Finding]:
    there = "/var/lib/overcommit/guest.qcow2" in facts.files
    for folder, free in facts.free:
        least = FREE_AGAIN if there else FREE_LEAST.get(folder, 0)
        if folder == "/boot" and "linux-image-amd64" not in facts.packages:
            least += KERNEL_MIB * MIB
        if free < least:
            yield Finding(
                "blocks",
                f"{free // MIB} MiB are free in {folder}",
                folder,
                f"up to {least // MIB} MiB are put there",
                "Free space: old kernels (apt-get autoremove) and packages' archives (apt-get clean) take most.",
            )


def _network(facts: Facts, _declared: Physical, intent: Intent) -> Iterator[Finding]:
    ours = IPv4Interface(intent.address)
    bridges = dict(facts.bridges)
    foreign = [port for port in bridges.get(intent.bridge, ()) if not port.startswith("vif")]
    if foreign or facts.ssh_interface == intent.bridge:
        yield Finding(
            "blocks",
            f"it has a bridge {intent.bridge} with an uplink",
            f"{intent.bridge}: {', '.join(foreign) or 'SSH comes in by it'}",
            "the guests' bridge is isolated, and has that name",
            "Give that bridge another name.",
        )
    for interface, address in facts.addresses:
        network = _network_of(address)
        if interface != intent.bridge and network is not None and network.overlaps(ours.network):
            yield Finding(
                "blocks",
                f"the guests' network {ours.network} is in use",
                f"{interface}, {address}",
                "dom0 would send what is meant for others to the guests",
                "Give that interface another network, or change xen_host_bridge_address in "
                "playbooks/roles/xen_host/defaults/main.yml.",
            )
    for what, where, network in _behind(facts, intent):
        if network.overlaps(ours.network):
            yield Finding(
                "blocks",
                f"{what} is in the guests' network {ours.network}",
                where,
                "dom0 would send what is meant for it to the guests, and SSH would be cut",
                "Change xen_host_bridge_address in playbooks/roles/xen_host/defaults/main.yml.",
            )
    if others := sorted(set(bridges) - {intent.bridge}):
        yield Finding("notes", f"other bridges, which stay as they are: {', '.join(others)}")
    if facts.ssh_interface:
        yield Finding("notes", f"SSH comes in by {facts.ssh_interface} ({facts.ssh_address}), which is not touched")
    if facts.ssh_passwords:
        yield Finding(
            "warns",
            "logins with passwords will end",
            "/etc/ssh/sshd_config.d/00-overcommit.conf",
            f"provisioning lets keys in alone; root has {facts.ssh_keys} of them",
            "See that everybody who needs the server has a key there.",
        )


def _behind(facts: Facts, intent: Intent) -> Iterator[tuple[str, str, IPv4Network]]:
    """What the server reaches by others: who, where that was seen, and the network."""
    client = _network_of(facts.ssh_client or "")
    if client is not None:
        yield f"the controller, {facts.ssh_client},", "SSH_CONNECTION", client
    local = {network for _, address in facts.addresses if (network := _network_of(address)) is not None}
    for interface, target in facts.routes:
        network = _network_of(target)
        if network is not None and interface != intent.bridge and network not in local:
            yield f"a route, {target} by {interface},", "ip route", network


def _network_of(address: str) -> IPv4Network | None:
    try:
        return IPv4Interface(address).network
    except ValueError:
        return None


def _clock(facts: Facts, _declared: Physical, _intent: Intent) -> Iterator[Finding]:
    clock = facts.clock
    if clock is not None and (clock.least > CLOCK_S or clock.most < -CLOCK_S):
        nearest = clock.least if clock.least > 0 else clock.most
        yield Finding(
            "warns",
            f"its clock is {abs(nearest):.1f} s {'ahead of' if nearest > 0 else 'behind'} the controller's",
            "date",
            "samples and logs of several servers are put side by side by their times",
            "apt-get install systemd-timesyncd (or chrony), there and here.",
        )
    elif facts.clock_synchronized is False:
        yield Finding(
            "notes",
            "its clock is right now, but nothing keeps it",
            "timedatectl",
            "",
            "apt-get install systemd-timesyncd",
        )


def _guests(facts: Facts, _declared: Physical, _intent: Intent) -> Iterator[Finding]:
    others = [each for each in facts.guests if not each.startswith("xen guest")]
    if others:
        yield Finding(
            "blocks",
            f"guests of others run there: {', '.join(others[:5])}{' …' if len(others) > 5 else ''}",
            "xl list, virsh list, processes",
            "the new hypervisor is booted without asking them, and KVM does not run under it",
            "Move or end them; a server of the testbed has no other duties.",
        )


def steps(facts: Facts, declared: Physical, intent: Intent) -> list[str]:
    """What provisioning would change, as far as a look tells."""
    missing = [each for each in intent.packages if each not in facts.packages]
    found = []
    if missing:
        found.append(f"install {', '.join(missing)}")
    found += [f"write {file}" for file in WRITTEN if file not in facts.files]
    if intent.bridge not in dict(facts.bridges):
        found.append(f"make the isolated bridge {intent.bridge} ({intent.address})")
    found += server_disks.steps(facts, declared)
    if "tmem" not in (facts.xen_options or "").split():
        now = f"Xen {facts.xen_version}" if facts.xen_version else "no hypervisor"
        found.append(f"boot the testbed's hypervisor (now: {now})")
    return found


def _changes(facts: Facts, declared: Physical, intent: Intent) -> Iterator[Finding]:
    if found := steps(facts, declared, intent):
        yield Finding("notes", f"provisioning would {'; '.join(found)}")
    else:
        yield Finding("notes", "it is provisioned, and runs the testbed's hypervisor")
    if "/etc/xen/xl.conf" in facts.files and "/etc/grub.d/42_overcommit" not in facts.files:
        yield Finding(
            "warns",
            "its /etc/xen/xl.conf will be replaced",
            "/etc/xen/xl.conf",
            "memory is what the testbed studies, so nothing else may move it",
            "Keep a copy, if it was changed.",
        )


WRITTEN = (
    "/etc/grub.d/42_overcommit",
    "/etc/default/grub.d/zz-overcommit.cfg",
    "/etc/ssh/sshd_config.d/00-overcommit.conf",
    "/usr/local/sbin/tmemctl",
    "/var/lib/overcommit/guest.qcow2",
)
"""Files that show whether a server is provisioned."""

CHECKS: Sequence[Check] = (
    _user,
    _system,
    _hardware,
    _virtualization,
    _boot,
    _space,
    _network,
    _clock,
    _guests,
    server_disks.disks,
    server_disks.storage,
    _changes,
)
