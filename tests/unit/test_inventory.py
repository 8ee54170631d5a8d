"""Inventories: what is read, and that every mistake is named with its key."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from common.errors import InvalidFileError
from lab import inventory, paths
from lab.inventory import Emulated, Physical


def write(folder: Path, text: str, name: str = "mine.yml") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def host(lines: str) -> str:
    return "xen_hosts:\n  hosts:\n    xen1:\n" + "".join(f"      {line}\n" for line in lines.splitlines())


SERVER = "lab_kind: physical\nlab_dom0_memory: 1 GiB\nlab_guest_disks: [{root: /dev/vdb, swap: /dev/vdc}]"


def test_the_default_lab_is_one_throttled_emulated_host() -> None:
    found = inventory.load(paths.INVENTORY / "emulated.yml")
    assert found.name == "emulated"
    (entry,) = found.hosts
    assert isinstance(entry.settings, Emulated)
    assert (entry.settings.disk_iops, entry.settings.disk_bandwidth) == (200, 4 * 2**20)
    assert entry.settings.ssh_port is None


def test_the_example_of_a_physical_lab_is_valid() -> None:
    (entry,) = inventory.load(paths.INVENTORY / "physical.example.yml").hosts
    assert isinstance(entry.settings, Physical)
    assert entry.settings.dom0_memory == 2**30
    assert entry.connection == {"ansible_user": "root", "ansible_host": "server1.example.org"}


def test_the_example_asks_for_disks_that_hold_a_guests_file_system() -> None:
    role = yaml.safe_load((paths.PLAYBOOKS / "roles" / "guest_image" / "defaults" / "main.yml").read_text())
    size = str(role["guest_image_size"]).replace("G", " GiB")
    assert f"root (at least {size})" in (paths.INVENTORY / "physical.example.yml").read_text()


@pytest.mark.parametrize(
    ("file", "hypervisor"),
    [("emulated", "xen"), ("xen-debug", "xen_debug"), ("xen-4.17", "xen_4_17"), ("xen-newest", "xen_newest")],
)
def test_labs_of_other_hypervisors_differ_in_nothing_else(file: str, hypervisor: str) -> None:
    (entry,) = inventory.load(paths.INVENTORY / f"{file}.yml").hosts
    assert entry.settings == Emulated(kind="emulated", hypervisor=hypervisor)


def test_the_lab_of_instructions_is_emulated() -> None:
    (entry,) = inventory.load(paths.INVENTORY / "instructions.yml").hosts
    assert entry.settings == Emulated(kind="emulated", accelerator="tcg", icount=True)


def test_ansible_structure_below_all_is_understood(tmp_path: Path) -> None:
    text = """
all:
  vars: {lab_kind: emulated, lab_disk_iops: none}
  children:
    xen_hosts:
      vars: {lab_disk_iops: 300}
      hosts:
        a: {lab_disk_iops: 400}
        b:
"""
    found = {entry.name: entry.settings for entry in inventory.load(write(tmp_path, text)).hosts}
    assert isinstance(found["a"], Emulated)
    assert isinstance(found["b"], Emulated)
    assert (found["a"].disk_iops, found["b"].disk_iops) == (400, 300)


@pytest.mark.parametrize(
    ("text", "where", "said"),
    [
        (
            host("lab_kind: emulated\nlab_disk_iop: 5"),
            "xen_hosts.hosts.xen1.lab_disk_iop",
            "Did you mean lab_disk_iops?",
        ),
        (host("lab_kind: emulated\nlab_disk_iops: 5"), "xen1.lab_disk_iops", "greater than or equal to 10"),
        (host("lab_kind: emulated\nlab_disk_bandwidth: 4 MB"), "xen1.lab_disk_bandwidth", "unknown unit 'MB'"),
        (
            host("lab_kind: emulated\nlab_disk_bandwidth: 4000000"),
            "xen1.lab_disk_bandwidth",
            "not a quantity with a unit",
        ),
        (
            host("lab_kind: emulated\nlab_icount: true"),
            "xen1.lab_icount",
            "say lab_accelerator: tcg, too",
        ),
        (host("lab_kind: emulated\nlab_ssh_port: 22"), "xen1.lab_ssh_port", "1024"),
        (host("lab_kind: emulated\nlab_accelerator: hvf"), "xen1.lab_accelerator", "'kvm'"),
        (
            host("lab_kind: emulated\nlab_hypervisor: xen-debug"),
            "xen1.lab_hypervisor",
            "no such hypervisor; there are xen, xen_debug, xen_4_17, xen_newest",
        ),
        (host("lab_kind: emulated\nlab_hypervisor: 4"), "xen1.lab_hypervisor", "string"),
        (host("lab_kind: emulate"), "xen1.lab_kind", "emulated or physical"),
        (host(f"{SERVER}\nansible_port: a b"), "xen1.ansible_port", "`ansible_port: 2222`"),
        (host(f"{SERVER}\nansible_port:"), "xen1.ansible_port", "no usable value"),
        (host(f"{SERVER}\nansible_port: 65536"), "xen1.ansible_port", "it is 65536"),
        (host(f"{SERVER}\nansible_port: true"), "xen1.ansible_port", "no usable value"),
        (host(f"{SERVER}\nansible_host: -oProxyCommand=x"), "xen1.ansible_host", "no usable value"),
        (host(f"{SERVER}\nansible_host: [192.0.2.7]"), "xen1.ansible_host", "no usable value"),
        (host(f"{SERVER}\nansible_user: ''"), "xen1.ansible_user", "`ansible_user: root`"),
        (host(f"{SERVER}\nansible_ssh_private_key_file: {{a: 1}}"), "xen1.ansible_ssh_private_key_file", "id_ed25519"),
        (host("lab_knd: emulated"), "xen1.lab_knd", "Did you mean lab_kind?"),
        (host("lab_kind: physical\nlab_dom0_memory: 1 GiB"), "xen1.lab_guest_disks", "required"),
        (host("lab_kind: emulated\ncolour: red"), "xen1.colour", "unknown key"),
        ("xen_host:\n  hosts: {}\n", "xen_host", "Did you mean xen_hosts?"),
        ("xen_hosts:\n  hosts:\n", "xen_hosts.hosts", "no hosts"),
        ("xen_hosts:\n  hosts:\n", "xen_hosts.hosts", "xen1: {lab_kind: emulated}"),
        ("xen_hosts:\n  hosts:\n    1: {lab_kind: emulated}\n", "xen_hosts.hosts.1", "needs quotes"),
        ("xen_hosts:\n  hosts:\n    Xen_1: {lab_kind: emulated}\n", "xen_hosts.hosts.Xen_1", "it is 'Xen_1'"),
        (
            host("lab_kind: emulated\nlab_disk_bandwidth: 4 MB"),
            "xen1.lab_disk_bandwidth",
            "4 MiB` or `lab_disk_bandwidth: none`",
        ),
        (host("lab_kind: physical\nlab_dom0_memory: 1 GiB"), "xen1.lab_guest_disks", "physical.example.yml"),
        ("xen_hosts:\n  hosts: [a]\n", "xen_hosts.hosts", "no mapping"),
        ("- a\n", "mine.yml", "not a mapping of groups"),
        ("a: [\n", "mine.yml", "cannot be read"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, text: str, where: str, said: str) -> None:
    with pytest.raises(InvalidFileError) as raised:
        inventory.load(write(tmp_path, text))
    assert where in raised.value.where
    assert said in str(raised.value)
    assert "mine.yml" in raised.value.where


@pytest.mark.parametrize(
    ("text", "line", "key"),
    [
        ("xen_hosts:\n  hosts:\n    a: {lab_kind: emulated}\n    a: {lab_kind: emulated}\n", 4, "a"),
        (
            "xen_hosts: {hosts: {a: {lab_kind: emulated}}}\nxen_hosts: {hosts: {b: {lab_kind: emulated}}}\n",
            2,
            "xen_hosts",
        ),
        ("xen_hosts:\n  vars: {lab_kind: emulated,\n    lab_kind: physical}\n  hosts: {a: }\n", 3, "lab_kind"),
        ("xen_hosts:\n  hosts: {a: {lab_kind: emulated, lab_ssh_port: 1, lab_ssh_port: 2}}\n", 2, "lab_ssh_port"),
    ],
)
def test_what_is_there_twice_is_refused(tmp_path: Path, text: str, line: int, key: str) -> None:
    """The last counted, and the others were gone without a word."""
    with pytest.raises(InvalidFileError, match=f"'{key}' is there twice") as raised:
        inventory.load(write(tmp_path, text))
    assert raised.value.where.endswith(f"mine.yml:{line}")


def test_keys_of_others_may_be_overwritten(tmp_path: Path) -> None:
    text = "xen_hosts:\n  vars: &all {lab_kind: emulated, lab_ssh_port: 2222}\n"
    text += (
        "  hosts:\n    a: {<<: *all, lab_ssh_port: 2223}\n    b: &b {<<: *all}\n    c: {<<: *b, lab_ssh_port: 2224}\n"
    )
    ports = [entry.settings.ssh_port for entry in inventory.load(write(tmp_path, text)).hosts]  # type: ignore[union-attr]
    assert ports == [2223, 2222, 2224]


@pytest.mark.parametrize("second", ["ansible_host: 192.0.2.1", "ansible_host: 192.0.2.1, ansible_port: 22"])
def test_one_server_cannot_be_two_hosts(tmp_path: Path, second: str) -> None:
    disks = "lab_kind: physical, lab_dom0_memory: 1 GiB, lab_guest_disks: [{root: /dev/a, swap: /dev/b}]"
    first = f"xen_hosts:\n  hosts:\n    a: {{{disks}, ansible_host: 192.0.2.1}}\n"
    with pytest.raises(InvalidFileError, match="two hosts are one machine"):
        inventory.load(write(tmp_path, f"{first}    b: {{{disks}, {second}}}\n"))
    apart = f"{first}    b: {{{disks}, ansible_host: 192.0.2.1, ansible_port: 2222}}\n"
    assert len(inventory.load(write(tmp_path, apart)).hosts) == 2


@pytest.mark.parametrize("digits", [400, 5000])
def test_a_number_that_nobody_means_is_refused_with_its_file(tmp_path: Path, digits: int) -> None:
    with pytest.raises(InvalidFileError) as raised:
        inventory.load(write(tmp_path, host(f"lab_kind: emulated\nlab_ssh_port: {'9' * digits}")))
    assert "mine.yml" in raised.value.where
    assert len(str(raised.value)) < 500


def test_a_missing_file_tells_which_there_are(tmp_path: Path) -> None:
    write(tmp_path, host("lab_kind: emulated"), "other.yml")
    with pytest.raises(InvalidFileError, match="no such inventory") as raised:
        inventory.load(tmp_path / "mine.yml")
    assert "other.yml" in raised.value.remedy


def test_two_hosts_cannot_have_one_port(tmp_path: Path) -> None:
    text = "xen_hosts:\n  vars: {lab_kind: emulated, lab_ssh_port: 2222}\n  hosts:\n    a:\n    b:\n"
    with pytest.raises(InvalidFileError, match="SSH port 2222"):
        inventory.load(write(tmp_path, text))


def test_a_file_name_that_cannot_name_a_lab_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidFileError, match="cannot name a lab"):
        inventory.load(write(tmp_path, host("lab_kind: emulated"), "My Lab.yml"))


STORAGE = "lab_kind: physical\nlab_dom0_memory: 1 GiB\n"
VOLUMES = "lab_guest_storage: {guests: 2, swap: 1 GiB, volume_group: vg0}"


def test_the_guests_disks_can_be_volumes_that_are_made(tmp_path: Path) -> None:
    text = host(f"{STORAGE}lab_guest_storage: {{guests: 2, swap: 1536 MiB, volume_group: vg0, device: /dev/sdb}}")
    (entry,) = inventory.load(write(tmp_path, text)).hosts
    assert isinstance(entry.settings, Physical)
    storage = entry.settings.guest_storage
    assert storage is not None
    assert (storage.device, storage.erase, storage.swap_mib) == ("/dev/sdb", False, 1536)
    assert [(each.root, each.swap) for each in entry.settings.disks] == [
        ("/dev/vg0/overcommit_guest1_root", "/dev/vg0/overcommit_guest1_swap"),
        ("/dev/vg0/overcommit_guest2_root", "/dev/vg0/overcommit_guest2_swap"),
    ]


@pytest.mark.parametrize(
    ("lines", "where"),
    [
        ("", "lab_guest_disks"),
        (f"lab_guest_disks: [{{root: /dev/a, swap: /dev/b}}]\n{VOLUMES}", "lab_guest_disks"),
        ("lab_guest_storage: {guests: 0, swap: 1 GiB, volume_group: vg0}", "lab_guest_storage.guests"),
        ("lab_guest_storage: {guests: 1, swap: 1, volume_group: vg0}", "lab_guest_storage.swap"),
        ("lab_guest_storage: {guests: 1, swap: 1 GiB, volume_group: 'vg0; reboot'}", "lab_guest_storage.volume_group"),
        ("lab_guest_storage: {guests: 1, swap: 1 GiB, volume_group: vg0, device: sdb}", "lab_guest_storage.device"),
        ("lab_guest_storage: {guests: 1, swap: 1 GiB, volume_group: vg0, format: true}", "lab_guest_storage.format"),
    ],
)
def test_storage_that_says_too_much_or_too_little_is_refused(tmp_path: Path, lines: str, where: str) -> None:
    with pytest.raises(InvalidFileError) as raised:
        inventory.load(write(tmp_path, host(STORAGE + lines)))
    assert where in raised.value.where


def test_two_hosts_of_one_machine_do_not_clash() -> None:
    found = inventory.load(paths.INVENTORY / "two-hosts.yml")
    assert [host.name for host in found.hosts] == ["xen1", "xen2"]
    settings = [host.settings for host in found.hosts]
    assert all(isinstance(each, inventory.Emulated) and each.ssh_port is None for each in settings)
    assert settings[0] == settings[1], "a campaign's hosts are alike"
