"""Looking at servers: what is told of one becomes facts, and facts become findings; one server's
failure is not another's.
"""

from __future__ import annotations

import ast
import json
import subprocess
import time
from pathlib import Path

import pytest
import yaml
from invoke.exceptions import Exit

from common.errors import UsageError
from lab import inventory, paths, servers
from lab.hosts import server_facts, server_findings
from lab.hosts.guests import ROOT_DISK_MIB
from lab.hosts.server_facts import Facts
from lab.hosts.server_finding import Finding
from lab.inventory import GuestDisks, Physical
from lab.remote.ssh import DOM0, CommandError, Connections, UnreachableError

DATA = Path(__file__).resolve().parents[1] / "data" / "servers"
ASKED, ANSWERED = 1764332400.0, 1764332401.0
DISKS = [GuestDisks(root="/dev/vg0/guest1-root", swap="/dev/vg0/guest1-swap")]
DECLARED = Physical(kind="physical", guest_disks=DISKS, dom0_memory="1 GiB")  # type: ignore[arg-type]


def facts(name: str = "metal", *changes: tuple[str, str]) -> Facts:
    """Facts of a captured server. changes: a line, or its beginning, -> lines in its place."""
    lines = (DATA / f"{name}.txt").read_text().splitlines()
    for begin, new in changes:
        at = next((number for number, line in enumerate(lines) if line.startswith(begin)), len(lines))
        lines[at : at + 1] = new.splitlines()
    return server_facts.parse("\n".join(lines), asked=ASKED, answered=ANSWERED)


def found(*changes: tuple[str, str], declared: Physical = DECLARED) -> list[Finding]:
    return server_findings.examine(facts("metal", *changes), declared, servers.intent())


def test_a_bare_server_is_read() -> None:
    server = facts()
    assert (server.distribution, server.release, server.root) == ("debian", "13", True)
    assert (server.cpus, server.memory) == (16, 65805444 * 1024)
    assert (server.firmware, server.secure_boot, server.grub_menu) == ("uefi", False, True)
    assert server.free == (("/boot", 401234 * 1024), ("/var/lib", 84012345 * 1024))
    assert server.bridges == (("br0", ("eno2",)),)
    assert (server.ssh_interface, server.ssh_passwords, server.ssh_keys) == ("eno1", False, 2)
    root, swap = server.disks
    assert (root.name, root.real, root.size) == ("/dev/vg0/guest1-root", "/dev/dm-0", 8 * 2**30)
    assert (root.signature, root.use, swap.is_block) == (None, "", True)
    # Between the controller's question and the answer a second passed, and on the server 0.8 of it.
    assert server.clock is not None
    assert (server.clock.least, server.clock.most) == (-0.1, 0.1)


def test_a_bare_server_has_nothing_in_the_way_and_is_told_what_would_change() -> None:
    findings = found()
    assert {each.severity for each in findings} == {"notes"}
    said = "\n".join(each.what for each in findings)
    for words in (
        "16 processors",
        "64263 MiB of memory: about 63079 MiB for guests beside dom0's 1024",
        "bare metal: Supermicro SYS-5019C-M",
        "boots by UEFI",
        "console=ttyS1,115200, IPMI",
        "SSH comes in by eno1 (192.0.2.7), which is not touched",
        "other bridges, which stay as they are: br0",
        "provisioning would install bridge-utils, sysstat, xen-utils-4.20, xen-utils-common, qemu-utils; ",
        "write /etc/grub.d/42_overcommit; write ",
        "make the isolated bridge xenbr0 (10.77.0.1/24)",
        "now: no hypervisor",
    ):
        assert words in said


@pytest.mark.parametrize("name", ["bios", "uefi"])
def test_the_emulated_servers_as_installed_are_read(name: str) -> None:
    server = facts(name)
    assert (server.distribution, server.release, server.root, server.init) == ("debian", "13", True, "systemd")
    assert (server.firmware, server.secure_boot, server.grub_menu, server.grub_device) == (name, None, True, "part")
    assert (server.ssh_interface, server.ssh_address, server.ssh_passwords) == ("enp0s3", "10.0.2.15", True)
    assert [(disk.is_block, disk.size, disk.signature, disk.use) for disk in server.disks[:2]] == [
        (True, 4 * 2**30, None, ""),
        (True, 512 * 2**20, None, ""),
    ]
    assert server.virtualization == "qemu"


BLOCKS = [
    ("user: 0", "user: 1000", "the login is not root's"),
    ("release", "release: debian 12", "it runs debian 12"),
    ("release", "", "it runs an unknown system"),
    ("program: python3", "", "it has no python3"),
    ("program: grub-reboot", "", "it has no grub-reboot"),
    ("init", "init: runit", "its init is runit"),
    ("architecture", "architecture: aarch64", "its processor is aarch64"),
    ("memory_kib", "memory_kib: 1400000", "leave 183 MiB for guests"),
    ("virtualization", "virtualization: docker", "it is a container (docker)"),
    ("virtualization", "virtualization: xen\nhypervisor: xen", "it is itself a guest of Xen"),
    ("secure_boot", "secure_boot: 1", "Secure Boot is on"),
    ("grub_menu", "", "it has no boot menu of GRUB"),
    ("grub_device", "grub_device: lvm", "a one-time boot would not be one"),
    ("grub_device", "grub_device: raid1", "a one-time boot would not be one"),
    ("grub_filesystem", "grub_filesystem: btrfs", "a one-time boot would not be one"),
    ("free_kib: /boot", "free_kib: /boot 20000", "19 MiB are free in /boot"),
    ("free_kib: /var", "free_kib: /var/lib 500000", "488 MiB are free in /var/lib"),
    ("bridge", "bridge: xenbr0 eno1", "it has a bridge xenbr0 with an uplink"),
    ("ssh_interface", "ssh_interface: xenbr0", "it has a bridge xenbr0 with an uplink"),
    ("address: eno1", "address: eno1 10.77.0.9/16", "the guests' network 10.77.0.0/24 is in use"),
    ("no such line", "ssh_client: 10.77.0.9", "the controller, 10.77.0.9, is in the guests' network 10.77.0.0/24"),
    ("no such line", "route: eno2 10.77.0.0/16", "a route, 10.77.0.0/16 by eno2, is in the guests' network"),
    (
        "guest",
        "guest: libvirt mail\nguest: qemu process 71",
        "guests of others run there: libvirt mail, qemu process 71",
    ),
    ("guest", "guest: xen router", "guests of others run there: xen router"),
    (
        "disk: name=/dev/vg0/guest1-root",
        "disk: name=/dev/vg0/guest1-root kind=none",
        "there is no /dev/vg0/guest1-root",
    ),
    ("disk: name=/dev/vg0/guest1-root", "disk: name=/dev/vg0/guest1-root kind=other", "is no block device"),
    (
        "disk: name=/dev/vg0/guest1-root",
        "disk: name=/dev/vg0/guest1-root kind=block real=/dev/dm-0 bytes=1073741824 signature= partitions=0 use=",
        "/dev/vg0/guest1-root has 1024 MiB",
    ),
    (
        "disk: name=/dev/vg0/guest1-root",
        "disk: name=/dev/vg0/guest1-root kind=block real=/dev/sda bytes=9589934592 signature=gpt partitions=3 use=",
        "/dev/vg0/guest1-root is in use",
    ),
    (
        "disk: name=/dev/vg0/guest1-root",
        "disk: name=/dev/vg0/guest1-root kind=block real=/dev/sda bytes=9589934592 signature= partitions=0 use=/a b",
        "/dev/vg0/guest1-root is in use",
    ),
    (
        "disk: name=/dev/vg0/guest1-root",
        "disk: name=/dev/vg0/guest1-root kind=block real=/dev/dm-0 bytes=9589934592 signature=ext4 partitions=0 use=",
        "/dev/vg0/guest1-root has something on it: ext4",
    ),
    (
        "disk: name=/dev/vg0/guest1-root",
        "disk: name=/dev/vg0/guest1-root kind=block real=/dev/dm-1 bytes=9589934592 signature= partitions=0 use=",
        "/dev/dm-1 is meant for two disks",
    ),
]


@pytest.mark.parametrize(("begin", "new", "said"), BLOCKS, ids=[f"{begin}: {said}" for begin, _, said in BLOCKS])
def test_what_stands_in_the_way_is_said_first_and_with_what_to_do(begin: str, new: str, said: str) -> None:
    first, *_ = found((begin, new))
    assert first.severity == "blocks"
    assert said in first.what
    assert first.remedy


USED = (
    "disk: name=/dev/vg0/guest1-root",
    "disk: name=/dev/vg0/guest1-root kind=block real=/dev/dm-0 bytes=9589934592 signature=ext4 partitions=0 use=",
)
"""A disk that has something on it."""


def test_what_guests_had_before_or_somebody_gives_up_may_be_written_over() -> None:
    known = ("no such line", "guest_disk: /dev/vg0/guest1-root")
    assert {each.severity for each in found(USED, known)} == {"notes"}
    given = Physical.model_validate(
        {
            "kind": "physical",
            "guest_disks": [{"root": "/dev/vg0/guest1-root", "swap": "/dev/vg0/guest1-swap", "erase": True}],
            "dom0_memory": "1 GiB",
        }
    )
    assert {each.severity for each in found(USED, declared=given)} == {"notes"}


def test_a_name_that_goes_by_the_order_of_disks_is_warned_of() -> None:
    line = "disk: name=/dev/sdc kind=block real=/dev/sdc bytes=9589934592 signature= partitions=0 use="
    first, *_ = found(("disk: name=/dev/vg0/guest1-root", line))
    assert (first.severity, first.what) == ("warns", "/dev/sdc can be another disk after a restart")


def test_a_kernel_that_is_still_to_be_installed_needs_its_room() -> None:
    small = ("free_kib: /boot", "free_kib: /boot 100000")
    assert {each.severity for each in found(small)} == {"notes"}
    first, *_ = found(small, ("package: linux-image-amd64", ""))
    assert (first.severity, first.what) == ("blocks", "97 MiB are free in /boot")


WARNS = [
    ("kernel_dom0", "kernel_dom0: 0", "cannot be dom0's"),
    ("cpus", "cpus: 1", "it has one processor"),
    ("ssh_passwords", "ssh_passwords: yes", "logins with passwords will end"),
    ("file", "file: /etc/xen/xl.conf", "its /etc/xen/xl.conf will be replaced"),
]


@pytest.mark.parametrize(("begin", "new", "said"), WARNS, ids=[said for _, _, said in WARNS])
def test_what_works_but_wants_a_look_is_a_warning(begin: str, new: str, said: str) -> None:
    first, *rest = found((begin, new))
    assert first.severity == "warns"
    assert said in first.what
    assert first.remedy
    assert {each.severity for each in rest} == {"notes"}


def test_every_finding_that_is_more_than_a_note_has_a_remedy() -> None:
    """Also those that no test above makes."""
    calls = [
        node
        for name in ("hosts/server_findings.py", "hosts/server_disks.py", "servers.py")
        for node in ast.walk(ast.parse((paths.REPO / "lab" / name).read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Finding"
    ]
    assert len(calls) > 40
    for call in calls:
        if ast.literal_eval(call.args[0]) == "notes":
            continue
        given = call.args[4:] + [word.value for word in call.keywords if word.arg == "remedy"]
        assert len(given) == 1, ast.unparse(call)
        assert ast.unparse(given[0]) not in {"''", '""'}, ast.unparse(call)


def test_a_server_without_a_console_is_warned_of() -> None:
    (warned,) = [
        each for each in found(("kernel_options", "kernel_options: quiet"), ("ipmi", "")) if each.severity == "warns"
    ]
    assert warned.what == "no out-of-band console is seen"


@pytest.mark.parametrize(
    ("lines", "severity", "said"),
    [
        ("virtualization: none", "notes", "bare metal"),
        ("virtualization: kvm\ncpu_flag: hypervisor", "warns", "virtual machine (kvm)"),
        ("virtualization: vmware\ncpu_flag: hypervisor", "warns", "virtual machine (vmware)"),
        ("cpu_flag: hypervisor", "warns", "virtual machine (of an unknown hypervisor)"),
        ("", "notes", "probably bare metal"),
    ],
)
def test_bare_metal_and_virtual_machines_are_told_apart(lines: str, severity: str, said: str) -> None:
    assert any(said in each.what and each.severity == severity for each in found(("virtualization", lines)))


@pytest.mark.parametrize(("flag", "said"), [("ept", "offers nested paging (ept)"), ("lm", "offers no nested paging")])
def test_a_virtual_machines_paging_is_told(flag: str, said: str) -> None:
    findings = found(("virtualization", "virtualization: kvm"), ("cpu_flag: ept", f"cpu_flag: {flag}"))
    assert any(said in each.why for each in findings)


@pytest.mark.parametrize(
    ("vendor", "product", "virtual"),
    [
        ("QEMU", "Standard PC (i440FX + PIIX, 1996)", True),
        ("Amazon EC2", "c5.large", True),
        ("Amazon EC2", "c5.metal", False),
        ("Microsoft Corporation", "Virtual Machine", True),
        ("Microsoft Corporation", "Surface Pro", False),
        ("Oracle Corporation", "SUN FIRE X4170", False),
        ("Supermicro", "SYS-5019C-M", False),
    ],
)
def test_below_xen_a_virtual_machine_is_told_by_its_firmware(vendor: str, product: str, virtual: bool) -> None:
    findings = found(
        ("dmi_sys_vendor", f"dmi_sys_vendor: {vendor}"),
        ("dmi_product_name", f"dmi_product_name: {product}"),
        ("virtualization", "virtualization: none\ndom0: control_d"),
    )
    said = [each.severity for each in findings if f"virtual machine ({vendor} {product})" in each.what]
    assert said == (["warns"] if virtual else [])
    assert (server_facts.virtual_machine(vendor, product) is not None) is virtual


def test_dom0s_console_is_not_the_machines() -> None:
    dom0 = ("virtualization", "virtualization: none\ndom0: control_d\nxen_options: tmem console=vga")
    serial = ("virtualization", "virtualization: none\ndom0: control_d\nxen_options: tmem console=com1,vga com1=115200")
    mute = [("kernel_options", "kernel_options: console=hvc0"), ("ipmi", "")]
    assert any("no out-of-band console" in each.what for each in found(dom0, *mute))
    assert any(each.what == "out-of-band: console=com1,vga" for each in found(serial, *mute))


def test_what_is_shown_of_a_server_is_what_guests_have() -> None:
    declared = DECLARED.model_copy(update={"memory": 1280 * 2**20})
    (blocked,) = [each for each in found(declared=declared) if each.severity == "blocks"]
    assert blocked.what == "its 1280 MiB leave 96 MiB for guests"
    assert "lab_memory" in blocked.where


def test_a_metal_machine_of_ec2_is_no_virtual_one() -> None:
    amazon = ("dmi_sys_vendor", "dmi_sys_vendor: Amazon EC2")
    metal = found(
        amazon, ("dmi_product_name", "dmi_product_name: c5.metal"), ("virtualization", "virtualization: amazon")
    )
    assert [each.severity for each in metal if "EC2" in each.what] == ["notes"]
    nitro = found(
        amazon, ("dmi_product_name", "dmi_product_name: c5.large"), ("virtualization", "virtualization: amazon")
    )
    assert [each.severity for each in nitro if "virtual machine (amazon)" in each.what] == ["warns"]


@pytest.mark.parametrize(
    ("offset", "said"), [(3.5, "its clock is 3.4 s ahead of the controller's"), (-3.5, "its clock is 3.4 s behind")]
)
def test_a_clock_that_is_off_is_warned_of_by_what_is_certain(offset: float, said: str) -> None:
    clocks = [("clock: ", f"cl: {ASKED + at + offset}") for at in (0.1, 0.9)]
    text = [new.replace("cl:", "clock:") for _, new in clocks]
    findings = found(*clocks, ("no such line", "\n".join(text)))
    assert [each.what for each in findings if each.severity == "warns" and said in each.what]


STORAGE = {"guests": 2, "swap": "1 GiB", "volume_group": "vg1"}
FREE = "disk: name=/dev/sdb kind=block real=/dev/sdb bytes=21474836480 signature= partitions=0 use="


def stored(*changes: tuple[str, str], **more: object) -> list[tuple[str, str]]:
    """What is said of storage that provisioning would make."""
    storage = {**STORAGE, **more}
    declared = Physical(kind="physical", guest_storage=storage, dom0_memory="1 GiB")  # type: ignore[arg-type]
    lines = [(f"disk: name=/dev/vg0/guest1-{part}", "") for part in ("root", "swap")]
    findings = found(*lines, *changes, declared=declared)
    assert all(each.remedy for each in findings if each.severity == "blocks")
    return [(each.severity, each.what) for each in findings if each.severity != "notes"]


def test_storage_that_can_be_made_is_fine() -> None:
    assert stored(("no such line", "volume_group: vg1 10737418240")) == []
    assert stored(("no such line", FREE), device="/dev/sdb") == []
    erased = FREE.replace("signature=", "signature=ext4")
    assert stored(("no such line", erased), device="/dev/sdb", erase=True) == []


def test_storage_that_is_made_already_needs_no_more() -> None:
    volumes = [f"volume: /dev/vg1/overcommit_guest{number}_{part}" for number in (1, 2) for part in ("root", "swap")]
    assert stored(("no such line", "\n".join(["volume_group: vg1 0", *volumes]))) == []


FILES = {"volume_group": None, "folder": "/srv/guests"}


def test_sparse_files_have_to_fit_when_all_of_them_is_written() -> None:
    needed = 2 * (ROOT_DISK_MIB + 1024) + 512
    for free, said in ((needed, []), (needed - 1, [("blocks", f"{needed - 1} MiB are free in /srv/guests")])):
        assert stored(("no such line", f"free_kib: /srv/guests {free << 10}"), **FILES) == said
    taken = f"guest_file_kib: overcommit_guest1_root {ROOT_DISK_MIB << 10}"
    there = f"free_kib: /srv/guests {(needed - ROOT_DISK_MIB) << 10}\n{taken}"
    assert stored(("no such line", there), **FILES) == []


def test_files_that_would_be_made_are_told() -> None:
    declared = Physical(kind="physical", guest_storage={**STORAGE, **FILES}, dom0_memory="1 GiB")  # type: ignore[arg-type]
    (note,) = [
        each.what
        for each in found(("no", "guest_file_kib: overcommit_guest1_root 8"), declared=declared)
        if "sparse" in each.what
    ]
    names = "overcommit_guest1_swap, overcommit_guest2_root, overcommit_guest2_swap"
    assert f"make the sparse files {names} in /srv/guests" in note


def test_the_room_for_files_is_told_of_a_folder_that_is_not_there_yet(tmp_path: Path) -> None:
    script = server_facts.script(["bash"], [], str(tmp_path / "not" / "yet"))
    text = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True).stdout
    told = server_facts.parse(text, asked=0, answered=1)
    assert dict(told.free)[str(tmp_path / "not" / "yet")] > 0
    (tmp_path / "not" / "yet").mkdir(parents=True)
    (tmp_path / "not" / "yet" / "overcommit_guest1_root").write_bytes(bytes(65536))
    text = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True).stdout
    ((name, taken),) = server_facts.parse(text, asked=0, answered=1).guest_files
    assert (name, taken >= 65536) == ("overcommit_guest1_root", True)


def test_snapshots_take_a_volume_more_and_room_for_what_changes() -> None:
    made = 2 * (ROOT_DISK_MIB + 1024)
    all_of_it = made + ROOT_DISK_MIB + 2 * 80
    for free, said in (
        (all_of_it, []),
        (all_of_it - 1, [("blocks", f"the volume group vg1 has {all_of_it - 1} MiB free")]),
    ):
        assert stored(("no such line", f"volume_group: vg1 {free << 20}"), reset="snapshot") == said
    names = [f"overcommit_guest{number}_{part}" for number in (1, 2) for part in ("root", "swap")]
    volumes = "\n".join(f"volume: /dev/vg1/{name}" for name in (*names, "overcommit_image"))
    assert stored(("no such line", f"volume_group: vg1 0\n{volumes}"), reset="snapshot") == []


@pytest.mark.parametrize(
    ("line", "more", "said"),
    [
        ("volume_group: vg1 10737418239", {}, "the volume group vg1 has 10239 MiB free"),
        ("volume_group: vg0 10737418240", {}, "there is no volume group vg1"),
        (FREE.replace("kind=block", "kind=none"), {"device": "/dev/sdb"}, "there is no /dev/sdb"),
        (FREE.replace("21474836480", "10737418240"), {"device": "/dev/sdb"}, "/dev/sdb has 10240 MiB"),
        (FREE.replace("signature=", "signature=ext4"), {"device": "/dev/sdb"}, "/dev/sdb would have to be erased"),
        (FREE.replace("use=", "use=/srv"), {"device": "/dev/sdb", "erase": True}, "/dev/sdb is in use"),
        (FREE.replace("partitions=0", "partitions=2"), {"device": "/dev/sdb", "erase": True}, "/dev/sdb is in use"),
    ],
)
def test_storage_that_cannot_be_made_is_refused(line: str, more: dict[str, object], said: str) -> None:
    assert stored(("no such line", line), **more)[0] == ("blocks", said)


def test_too_little_for_dom0_is_refused() -> None:
    declared = Physical(kind="physical", guest_disks=DISKS, dom0_memory="256 MiB")  # type: ignore[arg-type]
    first, *_ = found(declared=declared)
    assert (first.severity, first.what) == ("blocks", "256 MiB are too little for dom0")


def test_a_server_that_is_provisioned_is_said_to_be() -> None:
    done = "\n".join(
        [f"file: {file}" for file in server_findings.WRITTEN]
        + [f"package: {name}" for name in servers.intent().packages]
    )
    findings = found(
        ("no such line", done),
        ("virtualization", "virtualization: none\nhypervisor: xen\ndom0: control_d\nxen_options: dom0_mem=1024M tmem"),
        ("memory_kib", "memory_kib: 900000\nxen_memory_mib: 32768"),
        ("bridge", "bridge: xenbr0 vif1.0 vif2.0"),
        ("guest", "guest: xen guest1"),
        ("free_kib: /var", "free_kib: /var/lib 500000"),  # the guests' image has taken it
    )
    assert {each.severity for each in findings} == {"notes"}
    assert "it is provisioned, and runs the testbed's hypervisor" in [each.what for each in findings]
    assert any(each.what.startswith("32768 MiB of memory") for each in findings)


def test_a_guests_file_system_is_as_large_as_its_image() -> None:
    role = yaml.safe_load((paths.PLAYBOOKS / "roles" / "guest_image" / "defaults" / "main.yml").read_text())
    assert role["guest_image_size"] == f"{ROOT_DISK_MIB // 1024}G"


def test_this_machine_can_be_looked_at_and_nothing_complains() -> None:
    asked = time.time()
    done = subprocess.run(
        ["sh", "-c", server_facts.script(["bash", "no-such-package"], ["/dev/null", "/dev/no-such"])],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    facts = server_facts.parse(done.stdout, asked=asked, answered=time.time())
    assert facts.cpus
    assert facts.memory
    assert facts.kernel == Path("/proc/sys/kernel/osrelease").read_text().strip()
    assert facts.clock is not None
    assert facts.clock.least <= 0 <= facts.clock.most
    assert [(each.name, each.exists, each.is_block) for each in facts.disks] == [
        ("/dev/null", True, False),
        ("/dev/no-such", False, False),
    ]


def test_a_server_that_tells_nothing_is_no_defect() -> None:
    facts = server_facts.parse("", asked=0, answered=1)
    assert facts.memory is None
    assert facts.clock is None
    assert any(each.severity == "blocks" for each in server_findings.examine(facts, DECLARED, servers.intent()))


# --- several servers ------------------------------------------------------------------------------

LAB = """\
xen_hosts:
  vars: {lab_kind: physical, lab_dom0_memory: 1 GiB, lab_guest_disks: [{root: /dev/vg0/guest1-root, swap: /dev/sdb}]}
  hosts:
    good: {ansible_host: 192.0.2.7}
    bad: {ansible_host: 192.0.2.8}
    gone: {ansible_host: 192.0.2.9, ansible_port: 2222}
"""


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("OVERCOMMIT_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "mine.yml"
    path.write_text(LAB)
    addresses: dict[Connections, str] = {}

    def opened(self: Connections, name: str) -> None:
        text = self.config.read_text()
        addresses[self] = next(each for each in ("192.0.2.7", "192.0.2.8", "192.0.2.9") if each in text)
        if addresses[self] == "192.0.2.9":
            raise UnreachableError(f"{name} cannot be reached by SSH", where="ssh …", why="Connection refused")

    def run(self: Connections, name: str, script: str, **_options: object) -> str:
        assert name == DOM0
        assert "/dev/vg0/guest1-root /dev/sdb" in script
        if addresses[self] == "192.0.2.8":
            raise CommandError("a command on dom0 did not end within 60 s", where="dom0: looking at the server")
        return (DATA / "metal.txt").read_text()

    monkeypatch.setattr(Connections, "open", opened)
    monkeypatch.setattr(Connections, "run", run)
    return path


def test_one_servers_failure_does_not_stop_the_others(lab: Path) -> None:
    told: list[str] = []
    good, bad, gone = servers.check(lab, told.append)
    assert (good.host, good.facts is not None, good.blocked) == ("good", True, False)
    assert (bad.host, bad.facts, bad.blocked) == ("bad", None, True)
    assert bad.findings[0].what == "a command on dom0 did not end within 60 s"
    assert (gone.host, gone.findings[0].why) == ("gone", "Connection refused")
    assert "root's key" in gone.findings[0].remedy
    assert sorted(told) == ["bad: could not be asked", "gone: could not be asked", "good: looked at"]


def test_what_was_found_can_be_read_by_programs_and_people(lab: Path) -> None:
    good, _, gone = servers.check(lab)
    record = json.loads(json.dumps(good.record()))
    assert (record["blocked"], record["facts"]["cpus"]) == (False, 16)
    assert record["facts"]["packages"] == sorted(record["facts"]["packages"])
    assert gone.record()["facts"] is None
    lines = list(gone.lines())
    assert lines[:2] == ["gone: not reached", "  blocks  it cannot be reached by SSH"]
    assert lines[2].split() == ["where:", "ssh", "…"]
    assert lines[3].split() == ["why:", "Connection", "refused"]
    assert lines[4].split()[0] == "do:"


def test_the_task_ends_with_a_code_when_something_is_in_the_way(lab: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from invoke.context import Context

    from tasks.lab import check

    with pytest.raises(Exit) as raised:
        check(Context(), inventory=str(lab), json=True)
    assert raised.value.code == 6
    assert [each["host"] for each in json.loads(capsys.readouterr().out)] == ["good", "bad", "gone"]
    lab.write_text("\n".join(line for line in LAB.splitlines() if "bad:" not in line and "gone:" not in line))
    check(Context(), inventory=str(lab))
    assert capsys.readouterr().out.startswith("good: debian 13, Linux 6.12.43+deb13-amd64\n")


def test_a_lab_without_servers_has_nothing_to_look_at() -> None:
    with pytest.raises(UsageError, match="no physical hosts"):
        servers.check(paths.INVENTORY / "emulated.yml")


def test_a_changed_host_key_is_said_to_be_one() -> None:
    error = UnreachableError("dom0 cannot be reached by SSH", where="ssh", why="Host key verification failed.")
    assert servers._unreached(error).what == "its host key is not the recorded one"


def test_recorded_host_keys_are_strict_and_a_campaigns_connections_stay(lab: Path) -> None:
    servers.check(lab)
    folder = paths.host_dir("mine", "good")
    assert not (folder / "ssh_config").exists()
    config = (folder / "check" / "ssh_config").read_text()
    assert "StrictHostKeyChecking accept-new" in config
    assert "HostKeyAlias" not in config
    inventory.known_hosts(lab).write_text("192.0.2.7 ssh-ed25519 AAAA\n")
    servers.check(lab)
    config = (folder / "check" / "ssh_config").read_text()
    assert "StrictHostKeyChecking yes" in config
    assert f'UserKnownHostsFile "{lab.with_suffix(".known_hosts")}"' in config
    assert "known_hosts " not in config.replace(".known_hosts", "")
