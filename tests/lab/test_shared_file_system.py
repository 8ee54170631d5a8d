"""Two guests mount one file system image, and what one of them has read the other need not: a
shared pool, used as it is meant.

OCFS2 asks for a shared pool when it is mounted, by the UUID of its volume; with a read-only device
it needs no cluster. The volume is on a drive of the host that was the third guest's.
"""

from __future__ import annotations

import re
from typing import Any

import pytest
from served import listing, tmemctl
from shells import run

from lab.emulator.process import UNLIMITED
from lab.hosts.emulated import EmulatedHost
from lab.lifecycle import DEFAULT_GUESTS, DEFAULT_HOST, OpenLab

pytestmark = [pytest.mark.lab, pytest.mark.long]

MIB = 12
PAGES = MIB * 256
FIRST, SECOND = "guest1", "guest2"
VOLUME = "/dev/xvdc"
VOLUME_BLOCKS = 25600
SECONDS = 200


@pytest.fixture(scope="module")
def volume(lab: OpenLab) -> tuple[EmulatedHost, str]:
    """A host whose first two guests have the driver and the same volume, read-only; with its
    UUID. The third guest has gone.
    """
    host = lab.hosts[0]
    assert isinstance(host, EmulatedHost), "the tests reset the host to a snapshot"
    host.reset(DEFAULT_HOST, DEFAULT_GUESTS)
    host.limit_disks(UNLIMITED)
    drive = run(host, "dom0", "xenstore-read /local/domain/0/backend/vbd/$(xl domid guest3)/51728/params").strip()
    run(host, "dom0", "xl destroy guest3; while xl list | grep -q '(null)'; do sleep 0.5; done", timeout=SECONDS)
    attach(host, drive, FIRST, "w")
    script = (
        f"wipefs -aq {VOLUME} && mkfs.ocfs2 -q -M local -N 1 -b 4096 -C 4096 -J size=4M {VOLUME} {VOLUME_BLOCKS} && "
        f"mount -i -t ocfs2 {VOLUME} /mnt && "
        f"dd if=/dev/urandom of=/mnt/file bs=1M count={MIB} "
        f"status=none && umount /mnt && blkid -o value -s UUID {VOLUME}"
    )
    uuid = run(host, FIRST, script, timeout=SECONDS).strip()
    assert re.fullmatch(r"[0-9a-f-]{36}", uuid), uuid
    run(host, "dom0", f"xl block-detach {FIRST} xvdc; while xl block-list {FIRST} | grep -q 51744; do sleep 0.5; done")
    for guest in (FIRST, SECOND):
        attach(host, drive, guest, "r")
        run(host, guest, "modprobe tmem selfballooning=0 selfshrinking=0")
    return host, uuid


def attach(host: EmulatedHost, drive: str, guest: str, mode: str) -> None:
    run(host, "dom0", f"xl block-attach {guest} phy:{drive},xvdc,{mode},script=block-overcommit", timeout=SECONDS)
    run(host, guest, f"while [ ! -b {VOLUME} ]; do sleep 0.2; done", timeout=SECONDS)


def mount_and_read(host: EmulatedHost, guest: str) -> tuple[str, int]:
    """Mount, read the file, evict it from the page cache: its checksum, and the sectors that
    this took from the volume.
    """
    script = (
        f"sectors() {{ awk '$3 == \"xvdc\" {{ print $6 }}' /proc/diskstats; "
        f"}}; mount -i -t ocfs2 -o ro {VOLUME} /mnt; before=$(sectors); "
        "sum=$(sha256sum < /mnt/file); after=$(sectors); echo 1 "
        "> /proc/sys/vm/drop_caches; echo $sum $((after - before))"
    )
    digest, _dash, sectors = run(host, guest, script, timeout=SECONDS).split()
    return digest, int(sectors)


def shared(host: EmulatedHost) -> list[dict[str, Any]]:
    return list(listing(host)["shared"])


def test_what_one_guest_has_read_the_other_gets_from_xen(volume: tuple[EmulatedHost, str]) -> None:
    host, uuid = volume
    for guest in (FIRST, SECOND):
        tmemctl(host, f"shared-auth {int(run(host, 'dom0', f'xl domid {guest}'))} {uuid} yes")
    digest, sectors = mount_and_read(host, FIRST)
    assert sectors >= PAGES * 8, "the first guest has to read the disk"
    (pool,) = shared(host)
    assert (pool["SC"], pool["PT"]) == (1, "ES")
    assert pool["Pc"] >= 0.9 * PAGES, "what it read has to be in Xen when it is evicted"

    again, few = mount_and_read(host, SECOND)
    assert again == digest
    assert few < 0.2 * sectors, f"the second guest read {few} sectors of {sectors}"
    (pool,) = shared(host)
    assert pool["SC"] == 2
    assert pool["gs"] >= 0.8 * PAGES
    for guest in (FIRST, SECOND):
        run(host, guest, "umount /mnt", timeout=SECONDS)
    assert shared(host) == [], "the pool goes with the last mount"


def test_a_guest_that_was_not_let_in_reads_the_disk(volume: tuple[EmulatedHost, str]) -> None:
    host, uuid = volume
    first, second = (int(run(host, "dom0", f"xl domid {guest}")) for guest in (FIRST, SECOND))
    for domid, leave in ((first, "yes"), (second, "yes"), (second, "no")):
        tmemctl(host, f"shared-auth {domid} {uuid} {leave}")
    digest, _ = mount_and_read(host, FIRST)
    again, all_of_them = mount_and_read(host, SECOND)
    assert again == digest
    assert all_of_them >= PAGES * 8
    assert [pool["SC"] for pool in shared(host)] == [1]
    for guest in (FIRST, SECOND):
        run(host, guest, "umount /mnt", timeout=SECONDS)
