"""A guest with pages in frontswap is saved, restored, migrated, checkpointed: none of its pages is
lost.

Xen's stream has no place for what tmem holds of a guest, so its driver drains frontswap when it is
to be suspended, or refuses. Each test fills a guest's memory beyond its balloon with a pattern
(tests/lab/pattern.c), suspends it, and lets it verify every page.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from served import OK, PERSISTENT, Served
from suspendable import GUEST, IMAGE, SECONDS, Suspendable, hold

from lab.emulator.process import UNLIMITED
from lab.hosts.emulated import EmulatedHost
from lab.lifecycle import DEFAULT_GUESTS, DEFAULT_HOST, OpenLab

pytestmark = pytest.mark.lab

BALLOON_MIB = 96
PATTERN_MIB = 76
LARGE_PATTERN_MIB = 92
SMALL_SWAP_MIB = 64
"""With the large pattern about 44 MiB of it are taken, and neither the 20 that are left nor
memory have room for those.
"""
UNDRAINED = 1000
"""Pages that a driver leaves in Xen."""


def loads_of(host: EmulatedHost) -> int:
    """Pages that came back from the guest's frontswap so far."""
    return int(host.run(GUEST, "cat /sys/kernel/debug/frontswap/loads"))


def prepare(host: EmulatedHost, pattern_mib: int, swap_mib: int | None = None) -> Suspendable:
    host.reset(DEFAULT_HOST, DEFAULT_GUESTS)
    host.limit_disks(UNLIMITED)
    # Room for a second copy of the guest while it migrates.
    host.run("dom0", "xl destroy guest3", timeout=SECONDS)
    host.run("dom0", f"xl mem-set {GUEST} {BALLOON_MIB}m", timeout=SECONDS)
    if swap_mib is not None:
        script = f"swapoff /dev/xvdb && mkswap /dev/xvdb {swap_mib * 1024} > /dev/null && swapon /dev/xvdb"
        host.run(GUEST, script, timeout=SECONDS)
    # Without the self-* mechanisms: what is in frontswap stays there.
    host.run(GUEST, "modprobe tmem selfballooning=0 selfshrinking=0")
    wait_for_balloon(host)
    Suspendable(host, pattern_mib).allow(DEFAULT_GUESTS.memory_max_mib)
    return hold(host, pattern_mib)


def wait_for_balloon(host: EmulatedHost) -> None:
    deadline = time.monotonic() + SECONDS
    while int(host.run("dom0", f"xl list {GUEST} | awk 'NR == 2 {{ print $3 }}'")) > BALLOON_MIB + 1:
        assert time.monotonic() < deadline, "the guest does not shrink"
        time.sleep(1)


@pytest.fixture(scope="module")
def guest_with_pages(lab: OpenLab) -> Iterator[Suspendable]:
    """One guest for all that it survives: each test leaves it as it found it, with its pattern
    in frontswap.
    """
    host = lab.hosts[0]
    assert isinstance(host, EmulatedHost), "the tests reset the host to a snapshot"
    made = prepare(host, PATTERN_MIB)
    assert made.pools().get("PP", 0) > 1000, "the pattern is to be in frontswap, for a good part"
    yield made
    host.disconnect()


def test_save_and_restore_lose_no_page(guest_with_pages: Suspendable) -> None:
    before = guest_with_pages.pools()["PP"]
    guest_with_pages.save_and_restore()
    guest_with_pages.goes_on_whole(before, DEFAULT_GUESTS.memory_max_mib)


@pytest.mark.long
def test_a_local_migration_loses_no_page(guest_with_pages: Suspendable) -> None:
    """Nor does a page stay behind that came from Xen while the guest's memory was copied: Xen
    writes it, and the guest's page tables don't tell.
    """
    guest, host = guest_with_pages, guest_with_pages.host
    before, loads = guest.pools()["PP"], loads_of(host)
    reading = "while [ -e /run/reading ] && pkill -USR1 -x pattern; do sleep 1; done"
    host.run(GUEST, f"touch /run/reading; (setsid sh -c '{reading}' < /dev/null > /dev/null 2>&1 &)")
    guest.migrate()
    guest.reconnect()
    host.run(GUEST, "rm /run/reading")
    assert loads_of(host) - loads > before // 2, "too little was read from Xen meanwhile"
    guest.goes_on_whole(before, DEFAULT_GUESTS.memory_max_mib)


@pytest.mark.long
def test_a_checkpoint_leaves_the_pages_where_they_are(guest_with_pages: Suspendable) -> None:
    guest, host = guest_with_pages, guest_with_pages.host
    before, domain = guest.pools()["PP"], host.run("dom0", f"xl domid {GUEST}")
    host.run("dom0", f"xl save -c {GUEST} {IMAGE} && rm {IMAGE}", timeout=SECONDS)
    assert host.run("dom0", f"xl domid {GUEST}") == domain
    guest.reconnect()
    assert "drained: " in guest.log()
    # What was evicted to make room for the copies went to the disk, and nothing came back from Xen
    # meanwhile but a few pages in use.
    assert guest.pools()["PP"] > 0.9 * before
    guest.verify()


@pytest.mark.long
def test_a_guest_that_cannot_be_drained_refuses_and_goes_on(lab: OpenLab) -> None:
    host = lab.hosts[0]
    assert isinstance(host, EmulatedHost)
    guest = prepare(host, LARGE_PATTERN_MIB, SMALL_SWAP_MIB)
    guest.refuses_to_be_saved(guest.pools()["PP"])
    # With room it is a guest like any other: nothing of the refusal is left behind.
    host.run("dom0", f"xl mem-set {GUEST} {DEFAULT_GUESTS.memory_max_mib}m", timeout=SECONDS)
    host.run("dom0", f"xl save {GUEST} {IMAGE} && xl restore {IMAGE} && rm {IMAGE}", timeout=SECONDS)
    guest.reconnect()
    guest.verify()


@pytest.mark.long
def test_a_guest_that_does_not_drain_is_not_saved_and_goes_on(lab: OpenLab) -> None:
    """As the drivers of Linux up to 5.2: nobody has copies of what only Xen holds. Here it is
    the module that tests drive.
    """
    host = lab.hosts[0]
    assert isinstance(host, EmulatedHost)
    host.reset(DEFAULT_HOST, DEFAULT_GUESTS)
    host.limit_disks(UNLIMITED)
    host.run("dom0", f"xl mem-set {GUEST} {BALLOON_MIB}m", timeout=SECONDS)
    wait_for_balloon(host)
    guest, sessions = Served(host, GUEST), Suspendable(host, 0)
    sessions.allow(DEFAULT_GUESTS.memory_max_mib)
    guest.load()
    pool = guest.pool(PERSISTENT)
    assert guest.put(pool, UNDRAINED) == {OK: UNDRAINED}
    domain = guest.domid
    save = f"xl save {GUEST} {IMAGE} > /dev/null 2>&1 && echo saved || echo refused"
    assert host.run("dom0", save, timeout=SECONDS) == "refused\n"
    assert int(host.run("dom0", f"xl domid {GUEST}")) == domain
    told = host.run("dom0", "xl dmesg | grep 'tmem: ' | tail -1")
    assert f"d{domain} may not be suspended: it would lose {UNDRAINED} swapped pages" in told
    sessions.reconnect()
    assert guest.get(pool, UNDRAINED) == {OK: UNDRAINED}
    # Nothing of the refusal is left behind.
    guest.destroy(pool)
    host.run("dom0", f"xl save {GUEST} {IMAGE} && xl restore {IMAGE} && rm {IMAGE}", timeout=SECONDS)
    sessions.reconnect()
    assert int(host.run("dom0", f"xl domid {GUEST}")) != domain
