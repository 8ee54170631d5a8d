"""Guests' disks that provisioning makes: logical volumes on a second disk, which is not written to
unless it is named, and not while something is on it that nobody said may go; and sparse files.
"""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from pair import COME_BACK_SECONDS, Pair, Told, connected
from reach import reached

from lab import inventory, servers
from lab.api import GuestSizing, HostSizing
from lab.hosts.guests import address, bridge
from lab.hosts.physical import PhysicalHost
from lab.inventory import HostEntry
from lab.remote.ssh import DOM0

DECLARED = """\
    lab_guest_disks:
      - { root: /dev/vdb, swap: /dev/vdc }
      - { root: /dev/vdd, swap: /dev/vde }
"""
STORAGE = "{ guests: 2, swap: 256 MiB, volume_group: guests, device: /dev/vdf, erase: %s, reset: snapshot }"
MOUNTED = "/srv/guests"
SPARSE = f"{{ guests: 2, swap: 256 MiB, folder: {MOUNTED}/disks }}"
CONTENT = "head -c 64M /dev/vdf | sha256sum | head -c 64; blkid -p -s UUID -o value /dev/vdf"
GUESTS = GuestSizing(count=2, vcpus=1, memory_max_mib=256, memory_start_mib=192, swap_mib=256)
HOST = HostSizing(guest_memory_mib=1220, dom0_memory_mib=768, vcpus=2)


@pytest.fixture(scope="module", autouse=True)
def _provisioned(pair: Pair) -> None:
    pair.at("provisioned")


def lab(pair: Pair, erase: str) -> Path:
    return pair.lab((DECLARED, f"    lab_guest_storage: {STORAGE % erase}\n"), only="bios1")


def test_a_disk_with_something_on_it_is_refused_and_stays(pair: Pair) -> None:
    (entry,) = inventory.load(lab(pair, "false")).hosts
    with connected(entry) as connections:
        connections.run(DOM0, "mkfs.ext4 -q -F /dev/vdf 64M")
        before = connections.run(DOM0, CONTENT)
        (refused,) = servers.provision(lab(pair, "false"), come_back=COME_BACK_SECONDS)
        assert refused.error is not None
        assert refused.error.what == "/dev/vdf would have to be erased"
        assert "ext4" in refused.error.why
        assert "erase: true" in refused.error.remedy
        after = connections.run(DOM0, CONTENT)
        assert after == before


def guests_start_as_new(entry: HostEntry, told: Told, disks: str) -> None:
    """Guests run on the disks that are in this folder, reach dom0 and nobody else, and find nothing
    of what the last ones wrote.
    """
    host = PhysicalHost(entry.lab, entry, told)
    try:
        try_twice(host, told, disks)
    finally:
        host.disconnect()


def try_twice(host: PhysicalHost, told: Told, disks: str) -> None:
    """On disks that are made ready anew in between."""
    began = time.monotonic()
    host.reset(HOST, GUESTS)
    first = time.monotonic() - began
    assert host.run("guest1", "cat /proc/sys/kernel/hostname").strip() == "guest1"
    assert f"{disks}/overcommit_guest2_root" in host.run("dom0", "cat /var/lib/overcommit/guests/guest2.cfg")
    swaps = host.run("guest2", "cat /proc/swaps").splitlines()[1:]
    assert [line.split()[0] for line in swaps] == ["/dev/xvdb"]
    dom0 = str(bridge().ip)
    assert reached(host, "guest1", [dom0, address(2)]) == [dom0]
    host.run("guest1", "echo changed > /root/changed; sync")
    began = time.monotonic()
    host.reset(HOST, GUESTS)
    told(f"guests on {disks}: {first:.0f} s at first, then {time.monotonic() - began:.0f} s")
    assert host.run("guest1", "[ -e /root/changed ] || echo as new").strip() == "as new"


def test_volumes_are_made_of_the_disk_that_is_named_and_guests_run_on_them(pair: Pair, told: Told) -> None:
    path = lab(pair, "true")
    (entry,) = inventory.load(path).hosts
    (made,) = servers.provision(path, told, come_back=COME_BACK_SECONDS)
    assert made.error is None, made.error
    assert made.changed
    with connected(entry) as connections:
        found = connections.run(DOM0, "lvs --noheadings -o lv_name,lv_size --units m guests")
        names = [line.split() for line in found.splitlines() if line.strip()]
        assert names == [
            ["overcommit_guest1_root", "4096.00m"],
            ["overcommit_guest1_swap", "256.00m"],
            ["overcommit_guest2_root", "4096.00m"],
            ["overcommit_guest2_swap", "256.00m"],
        ]
    assert [each.plan for each in servers.provision(path, only_look=True)] == [()]
    guests_start_as_new(entry, told, "/dev/guests")
    with connected(entry) as connections:
        origins = connections.run(DOM0, "lvs --noheadings -o origin guests/overcommit_guest1_root").strip()
        assert origins == "overcommit_image"
        (gone,) = servers.unprovision(path, told, come_back=COME_BACK_SECONDS)
        assert (gone.error, gone.left) == (None, ())
        assert connections.run(DOM0, "vgs --noheadings; blkid -p /dev/vdf || true").strip() == ""


def test_guests_run_on_sparse_files_of_a_folder(pair: Pair, told: Told) -> None:
    pair.at("provisioned")
    path = pair.lab((DECLARED, f"    lab_guest_storage: {SPARSE}\n"), only="bios1")
    (entry,) = inventory.load(path).hosts
    with connected(entry) as connections:
        connections.run(DOM0, f"mkfs.ext4 -q /dev/vdf; mkdir {MOUNTED}; mount /dev/vdf {MOUNTED}")
    (made,) = servers.provision(path, told, come_back=COME_BACK_SECONDS)
    assert made.error is None, made.error
    assert made.changed
    with connected(entry) as connections:
        found = connections.run(DOM0, f"cd {MOUNTED}/disks; stat -c '%n %s' *; du -sm . | cut -f 1").split()
        assert found[:-1] == [
            *("overcommit_guest1_root", f"{4096 << 20}", "overcommit_guest1_swap", f"{256 << 20}"),
            *("overcommit_guest2_root", f"{4096 << 20}", "overcommit_guest2_swap", f"{256 << 20}"),
        ]
        assert int(found[-1]) < 64  # MiB: nothing is written yet
    assert [each.plan for each in servers.provision(path, only_look=True)] == [()]
    guests_start_as_new(entry, told, "/dev/overcommit")
    with connected(entry) as connections:
        (gone,) = servers.unprovision(path, told, come_back=COME_BACK_SECONDS)
        assert (gone.error, gone.left) == (None, ())
        assert connections.run(DOM0, "losetup --noheadings --list; ls -d /dev/overcommit || true").strip() == ""
        assert connections.run(DOM0, f"mount /dev/vdf {MOUNTED}; ls {MOUNTED}").split() == ["lost+found"]
