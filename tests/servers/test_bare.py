"""Looking at servers that know nothing of Xen."""

from __future__ import annotations

from pathlib import Path

import pytest
from pair import NAMES, Pair, connected, difference, listing

from lab import inventory, new_inventory, servers
from lab.emulator.servers import KEY, SERVERS
from lab.new_inventory import Wanted


@pytest.fixture(scope="module", autouse=True)
def _bare(pair: Pair) -> None:
    pair.at("bare")


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An inventory of both as lab.init writes it."""
    file = tmp_path_factory.mktemp("inventory") / "plain.yml"
    hosts = ",".join(f"127.0.0.1:{server.port}" for server in SERVERS.values())
    wanted = Wanted(str(file), hosts, key=str(KEY), disks="/dev/vdb,/dev/vdc,/dev/vdd,/dev/vde", dom0_memory="768 MiB")
    planned = new_inventory.complete(wanted, None)
    written, _ = new_inventory.write(planned, new_inventory.scan(planned.servers))
    return written


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


def test_what_would_be_changed_is_told_and_nothing_is(pair: Pair) -> None:
    lab = pair.lab()
    for each in servers.provision(lab, only_look=True):
        assert each.error is None
        assert each.plan is not None
        text = "\n".join(each.plan)
        for words in (
            "install bridge-utils, sysstat, xen-utils-4.20",
            "Copy the hypervisor",
            "GRUB_DEFAULT=saved",
            "Install tmemctl",
            "Copy the guests' kernel and image: guest.qcow2",
            "start it into overcommit-",
        ):
            assert words in text
    for entry in inventory.load(lab).hosts:
        with connected(entry) as connections:
            assert difference(pair.before(entry.name), listing(connections)) == []
    assert tuple(entry.name for entry in inventory.load(lab).hosts) == NAMES
