"""A guest with pages in frontswap is saved, restored, migrated, checkpointed: none of its pages is
lost.

Xen's stream has no place for what tmem holds of a guest, so its driver drains frontswap when it is
to be suspended, or refuses. Each test fills a guest's memory beyond its balloon with a pattern
(tests/lab/pattern.c), suspends it, and lets it verify every page.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from served import OK, PERSISTENT, Served

from common.errors import LabError
from lab.emulator.process import UNLIMITED
from lab.hosts.emulated import EmulatedHost
from lab.lifecycle import DEFAULT_GUESTS, DEFAULT_HOST, OpenLab

pytestmark = pytest.mark.lab

GUEST = "guest1"
BALLOON_MIB = 96
PATTERN_MIB = 76
LARGE_PATTERN_MIB = 92
SMALL_SWAP_MIB = 64
"""With the large pattern about 44 MiB of it are taken, and neither the 20 that are left nor
memory have room for those.
"""
UNDRAINED = 1000
"""Pages that a driver leaves in Xen."""
IMAGE = "/root/guest.save"
SECONDS = 300
"""Bound for any single step, in seconds."""


@dataclass(frozen=True)
class Suspendable:
    """A guest that holds a pattern of so many MiB, part of it in frontswap."""

    host: EmulatedHost
    pattern_mib: int

    def pools(self) -> dict[str, int]:
        """Pages that Xen holds of the guest now, by kind of pool (EP, PP): absent when there is
        no such pool.
        """
        domain = int(self.host.run("dom0", f"xl domid {GUEST}"))
        listing = json.loads(self.host.run("dom0", "tmemctl list -l --json"))
        found: dict[str, int] = {}
        for client in listing["clients"]:
            for pool in client["pools"] if client["CI"] == domain else ():
                found[pool["PT"]] = found.get(pool["PT"], 0) + pool["Pc"]
        return found

    def loads(self) -> int:
        """Pages that came back from frontswap so far."""
        return int(self.host.run(GUEST, "cat /sys/kernel/debug/frontswap/loads"))

    def wait_for_persistent(self, least: int) -> None:
        deadline = time.monotonic() + SECONDS
        while self.pools().get("PP", 0) < least:
            assert time.monotonic() < deadline, f"Xen holds {self.pools()} pages, not {least} persistent ones"
            time.sleep(2)

    def verify(self) -> None:
        """Every page of the pattern is what it was."""
        said = self.host.run(
            GUEST,
            "rm -f /run/pattern; pkill -USR1 -x pattern && while [ "
            "! -s /run/pattern ]; do sleep 1; done; cat /run/pattern",
            timeout=SECONDS,
        )
        pages = self.pattern_mib * 256
        assert re.fullmatch(rf"checked {pages} wrong 0 first 0\n", said), said

    def reconnect(self) -> None:
        """Sessions of before the guest was away are dead or slow: begin new ones, and wait until
        it answers.
        """
        self.host.disconnect()
        deadline = time.monotonic() + SECONDS
        while not self._answers():
            assert time.monotonic() < deadline, "the guest does not answer any more"
            time.sleep(2)

    def _answers(self) -> bool:
        try:
            self.host.run(GUEST, "true", timeout=30)
        except LabError:
            return False
        return True

    def log(self) -> str:
        return self.host.run(GUEST, "dmesg | tail -40")


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
    allow(host)
    source = (Path(__file__).parent / "pattern.c").read_bytes()
    host.run(GUEST, "cat > /root/pattern.c && gcc -O2 -o /root/pattern /root/pattern.c", timeout=SECONDS, stdin=source)
    host.run(
        GUEST,
        f"(setsid /root/pattern {pattern_mib} 7 /run/pattern < /dev/null > /dev/null 2>&1 &); "
        "while [ ! -s /run/pattern ]; do sleep 1; pgrep -x pattern > /dev/null || exit 1; done",
        timeout=SECONDS,
    )
    return Suspendable(host, pattern_mib)


def wait_for_balloon(host: EmulatedHost) -> None:
    deadline = time.monotonic() + SECONDS
    while int(host.run("dom0", f"xl list {GUEST} | awk 'NR == 2 {{ print $3 }}'")) > BALLOON_MIB + 1:
        assert time.monotonic() < deadline, "the guest does not shrink"
        time.sleep(1)


def allow(host: EmulatedHost) -> None:
    """Let the guest have more than its balloon, which is what frontswap may use: `xl mem-set`
    and `xl restore` take it away.
    """
    host.run("dom0", f"xl mem-max {GUEST} {DEFAULT_GUESTS.memory_max_mib}")


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


def goes_on_whole(guest: Suspendable, before: int) -> None:
    """After it came to another domain: it has pools again, its pages return to frontswap, and
    all are right.
    """
    guest.reconnect()
    allow(guest.host)
    assert "drained: " in guest.log()
    guest.wait_for_persistent(before // 2)
    assert "EP" in guest.pools()
    guest.verify()
    assert "is lost" not in guest.log()


def test_save_and_restore_lose_no_page(guest_with_pages: Suspendable) -> None:
    guest, host = guest_with_pages, guest_with_pages.host
    before, domain = guest.pools()["PP"], host.run("dom0", f"xl domid {GUEST}")
    host.run("dom0", f"xl save {GUEST} {IMAGE}", timeout=SECONDS)
    assert GUEST not in host.run("dom0", "xl list; tmemctl list -l")
    host.run("dom0", f"xl restore {IMAGE} && rm {IMAGE}", timeout=SECONDS)
    assert host.run("dom0", f"xl domid {GUEST}") != domain
    goes_on_whole(guest, before)


@pytest.mark.long
def test_a_local_migration_loses_no_page(guest_with_pages: Suspendable) -> None:
    """Nor does a page stay behind that came from Xen while the guest's memory was copied: Xen
    writes it, and the guest's page tables don't tell.
    """
    guest, host = guest_with_pages, guest_with_pages.host
    before, domain = guest.pools()["PP"], host.run("dom0", f"xl domid {GUEST}")
    loads = guest.loads()
    reading = "while [ -e /run/reading ] && pkill -USR1 -x pattern; do sleep 1; done"
    host.run(GUEST, f"touch /run/reading; (setsid sh -c '{reading}' < /dev/null > /dev/null 2>&1 &)")
    host.run("dom0", f"xl migrate -s '' {GUEST} 'xl migrate-receive'", timeout=SECONDS)
    assert host.run("dom0", f"xl domid {GUEST}") != domain
    guest.reconnect()
    host.run(GUEST, "rm /run/reading")
    assert guest.loads() - loads > before // 2, "too little was read from Xen meanwhile"
    goes_on_whole(guest, before)


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
    before, domain = guest.pools()["PP"], host.run("dom0", f"xl domid {GUEST}")
    status = host.run(
        "dom0", f"xl save {GUEST} {IMAGE} > /dev/null 2>&1 && echo saved || echo refused", timeout=SECONDS
    )
    assert status == "refused\n"
    assert host.run("dom0", f"xl domid {GUEST}") == domain
    told = host.run("dom0", f"xenstore-read /local/domain/{int(domain)}/data/tmem-suspend")
    assert told.startswith("refused: ")
    assert "no room in memory and swap" in told
    guest.reconnect()
    assert "suspending is refused" in guest.log()
    assert guest.pools()["PP"] > 0.9 * before
    guest.verify()
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
    allow(host)
    guest, sessions = Served(host, GUEST), Suspendable(host, 0)
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
