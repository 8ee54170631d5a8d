"""What prepares servers, on two emulated ones with plain Debian 13: `./inv test --servers` starts
them, bare, before these tests, which go on from one another.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from common.errors import LabError
from lab import inventory, new_inventory, paths, servers
from lab.emulator.servers import INVENTORY, KEY, SERVERS
from lab.hosts.physical import dom0_endpoint
from lab.hosts.server_boot import Entry, ServerBoot
from lab.inventory import HostEntry
from lab.new_inventory import Wanted
from lab.remote.ssh import DOM0, Connections, socket_folder

COME_BACK_SECONDS = 240
SERVERS_BY_PLACE = dict(zip(("server1", "server2"), SERVERS, strict=True))
"""Name that lab.init gives -> the emulated server's own, which the power hook needs."""

HOOK = "./inv servers.cycle --server $OVERCOMMIT_SERVER"


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An inventory of both as lab.init writes it."""
    file = tmp_path_factory.mktemp("inventory") / "plain.yml"
    hosts = ",".join(f"127.0.0.1:{server.port}" for server in SERVERS.values())
    wanted = Wanted(str(file), hosts, key=str(KEY), disks="/dev/vdb,/dev/vdc,/dev/vdd,/dev/vde", dom0_memory="768 MiB")
    planned = new_inventory.complete(wanted, None)
    written, _ = new_inventory.write(planned, new_inventory.scan(planned.servers))
    return written


@contextmanager
def connected(entry: HostEntry) -> Iterator[Connections]:
    """A server, reached as everything here is."""
    folder = paths.host_dir(entry.lab, entry.name) / "test"
    connections = Connections(folder / "ssh_config", socket_folder(folder))
    connections.configure([dom0_endpoint(entry, folder / "known_hosts")])
    try:
        yield connections
    finally:
        connections.drop()


def listing(connections: Connections) -> str:
    """What unprovision has to leave as it was: packages and their marks, the boot's default, files
    of /etc and /boot with their digests.
    """
    return connections.run(
        DOM0,
        "dpkg-query -W -f '${db:Status-Abbrev} ${Package}\\n'; apt-mark showmanual; grub-editenv list; "
        "cat /root/.ssh/authorized_keys; "
        "find /etc /boot -xdev ! -type d ! -path /boot/grub/grub.cfg -printf '%p %m %l\\n' | sort; "
        "find /etc -xdev -type f -exec sha256sum {} + | sort -k 2; grep -c menuentry /boot/grub/grub.cfg",
        timeout=120,
    )


def difference(before: str, after: str) -> list[str]:
    """Lines that came, or went."""
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), lineterm="", n=0)
    return [line for line in lines if not line.startswith(("---", "+++", "@@"))]


@pytest.fixture(scope="module")
def before(lab: Path) -> dict[str, str]:
    """The servers as they were installed."""
    found = {}
    for entry in inventory.load(lab).hosts:
        with connected(entry) as connections:
            found[entry.name] = listing(connections)
    return found


def test_bare_servers_have_nothing_in_the_way_but_are_virtual(lab: Path) -> None:
    bios, uefi = servers.check(lab)
    for each in (bios, uefi):
        assert each.facts is not None, each.findings
        assert [finding.what for finding in each.findings if finding.severity == "blocks"] == []
        assert (each.facts.distribution, each.facts.release) == ("debian", "13")
        assert each.facts.kernel_is_dom0s
        assert each.facts.grub_device == "part"
        assert each.facts.hypervisor is None
        assert {disk.is_block for disk in each.facts.disks} == {True}
        assert any("virtual machine" in finding.what for finding in each.findings)
    assert bios.facts is not None
    assert uefi.facts is not None
    assert (bios.facts.firmware, uefi.facts.firmware) == ("bios", "uefi")
    assert bios.facts.secure_boot is None
    assert uefi.facts.secure_boot is not True


def test_each_server_has_a_host_key_of_its_own_and_another_is_refused(lab: Path) -> None:
    recorded = inventory.known_hosts(lab)
    lines = recorded.read_text().splitlines()
    keys = {line.split()[2] for line in lines}
    assert len(keys) == len(lines)
    first, second = (f"]:{server.port} " for server in SERVERS.values())
    swapped = [line.replace(first, second) if first in line else line.replace(second, first) for line in lines]
    recorded.write_text("\n".join(swapped) + "\n")
    try:
        for each in servers.check(lab):
            assert [finding.what for finding in each.findings] == ["its host key is not the recorded one"]
    finally:
        recorded.write_text("\n".join(lines) + "\n")


def test_the_lab_of_the_inventory_is_these_servers(lab: Path) -> None:
    assert [each.host for each in servers.check(INVENTORY) if each.facts is not None] == ["bios1", "uefi1"]


def test_a_hypervisor_that_is_none_costs_nothing_but_a_power_cycle(lab: Path, before: dict[str, str]) -> None:
    _, entry = inventory.load(lab).hosts
    broken = Entry("overcommit-broken", "tmem")
    told: list[str] = []
    with connected(entry) as connections:
        # As it would be after a disk's error, or a copy that was cut short.
        connections.run(
            DOM0,
            f"head -c 4096 /dev/urandom > /boot/{broken.name}.gz; cp /boot/grub/grub.cfg /root/grub.cfg; "
            f"printf 'menuentry broken --id %s {{\n multiboot2 /boot/%s.gz\n}}\n' {broken.name} {broken.name} "
            ">> /boot/grub/grub.cfg",
        )
        boot = ServerBoot(
            SERVERS_BY_PLACE[entry.name], connections, told.append, power_hook=HOOK, come_back=COME_BACK_SECONDS / 3
        )
        with pytest.raises(LabError, match="and is back in its old system") as raised:
            boot.enter(broken)
        assert "Nothing is lost" in raised.value.remedy
        assert "it does not come back: cycling its power" in told
        connections.run(DOM0, f"mv /root/grub.cfg /boot/grub/grub.cfg; rm /boot/{broken.name}.gz")
        assert boot.state().entry is None
        assert difference(before[entry.name], listing(connections)) == []


def test_bare_servers_become_xen_hosts(lab: Path, before: dict[str, str]) -> None:
    told: list[str] = []
    done = servers.provision(lab, told.append, come_back=COME_BACK_SECONDS)
    assert [str(each.error) for each in done if each.error] == [], told[-20:]
    assert all(each.changed and each.booted for each in done)
    for each in servers.check(lab):
        assert each.facts is not None
        assert each.facts.dom0
        assert "dom0_vcpus_pin" in str(each.facts.xen_options)
        assert each.facts.grub_default == "saved"
        default = dict(each.facts.grub_variables)["saved_entry"]
        assert default.startswith("overcommit-")
        assert f"overcommit.entry={default}" in each.facts.kernel_options
        assert not each.blocked


def test_a_second_time_changes_nothing(lab: Path) -> None:
    done = servers.provision(lab, come_back=COME_BACK_SECONDS)
    assert [each.line().partition(": ")[2] for each in done] == ["nothing had to be changed"] * 2


def test_unprovision_leaves_the_servers_as_they_were(lab: Path, before: dict[str, str]) -> None:
    done = servers.unprovision(lab, come_back=COME_BACK_SECONDS)
    assert [str(each.error) for each in done if each.error] == []
    for entry, each in zip(inventory.load(lab).hosts, done, strict=True):
        assert each.left == ()
        with connected(entry) as connections:
            assert difference(before[entry.name], listing(connections)) == []
