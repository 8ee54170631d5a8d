"""A trace tells what guests did, in the order in which Xen did it: the replay takes the pages that
Xen took. What a reader loses is told, and one that is killed leaves nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from served import EPHEMERAL, MISS, OK, PERSISTENT, Answers, Served, give_up, listing
from shells import run

from analysis import eviction, replay, trace
from analysis.requests import of_trace
from analysis.trace import Kind, Trace
from common.units import PAGE_BYTES
from lab.hosts.emulated import EmulatedHost

pytestmark = pytest.mark.lab

GIVEN_UP_MIB = 12
HELD = GIVEN_UP_MIB * 2**20 // PAGE_BYTES
"""About what tmem finds."""
SMALL_ROOM = 4096


@pytest.fixture(scope="module")
def small(host: EmulatedHost) -> EmulatedHost:
    """The host with little memory for tmem."""
    give_up(host, GIVEN_UP_MIB)
    return host


@pytest.fixture
def guests(small: EmulatedHost) -> list[Served]:
    """The three guests without pools."""
    found = [Served(small, name) for name in small.guests]
    for guest in found:
        guest.load()
    return found


@pytest.fixture
def recorded(small: EmulatedHost, tmp_path: Path) -> Iterator[Callable[[], Trace]]:
    """A trace is being recorded; what is called ends it, and reads it."""
    recording = small.trace(tmp_path / f"some{trace.SUFFIX}")

    def end() -> Trace:
        return trace.load(recording.stop().file)

    yield end
    recording.abandon()


def at_once(guests: list[Served], do: Callable[[Served], Answers]) -> list[Answers]:
    with ThreadPoolExecutor(len(guests)) as threads:
        return list(threads.map(do, guests))


def test_the_replay_takes_the_pages_that_xen_took(guests: list[Served], recorded: Callable[[], Trace]) -> None:
    """Three guests put more than there is room for, at once, and get some of it, twice over."""
    pools = {guest.name: guest.pool() for guest in guests}
    evicted = {guest.name: guest.client()["evicted"] for guest in guests}
    hits: Counter[int] = Counter()
    for first in (0, HELD // 4):
        for answers in at_once(guests, lambda guest, at=first: guest.put(pools[guest.name], HELD // 2, first=at)):
            assert answers[OK] >= HELD // 2 - 10
        for answers in at_once(guests, lambda guest, at=first: guest.get(pools[guest.name], HELD // 4, first=at)):
            hits.update(answers)
        assert guests[0].flush(pools[guests[0].name], 50, first=HELD // 2) == {OK: 50}
    evicted = {guest.name: guest.client()["evicted"] - evicted[guest.name] for guest in guests}
    found = recorded()

    assert found.lost == 0
    assert found.count(Kind.HIT) == hits[OK] > 0
    assert found.count(Kind.MISS) == hits[MISS] > 0
    assert found.count(Kind.EVICTED) == sum(evicted.values()) > 0
    for guest in guests:
        mine = found.records[found.records["domain"] == guest.domid]
        assert (mine["kind"] == Kind.EVICTED).sum() == evicted[guest.name]
        assert set(mine["object"] & 15) == {pools[guest.name]}
        # each guest's pages are in the order in which it put them
        first_puts = mine["index"][mine["kind"] == Kind.PUT][: HELD // 3]
        assert list(first_puts) == sorted(first_puts)
    assert eviction.counted_hits(found) == found.count(Kind.HIT)
    requests = of_trace(found)
    of_guest = replay.follow(requests, by_guest=True)
    assert (of_guest.hits, of_guest.same) == (of_guest.told, of_guest.evictions)
    # Not so where the replay chooses the guest: all put within few ticks of the clock that
    # compares them.


def test_kinds_are_what_was_done(guests: list[Served], recorded: Callable[[], Trace]) -> None:
    guest = guests[1]
    ephemeral, persistent = guest.pool(EPHEMERAL), guest.pool(PERSISTENT)
    assert guest.put(ephemeral, 3) == {OK: 3}
    assert guest.put(ephemeral, 1) == {OK: 1}
    assert guest.put(persistent, 2) == {OK: 2}
    assert guest.get(persistent, 1) == {OK: 1}
    assert guest.flush(persistent, 3) == {OK: 3}
    assert guest.flush_object(ephemeral) == {OK: 1}
    assert guest.destroy(ephemeral) == {OK: 1}
    found = recorded()
    mine = found.records[found.records["domain"] == guest.domid]
    kinds = [(Kind(int(each["kind"])).name, int(each["object"]) & 15, int(each["index"])) for each in mine]
    assert kinds == [
        ("POOL", ephemeral, 0),
        ("POOL", persistent, 1),
        *(("PUT", ephemeral, index) for index in range(3)),
        ("OVER", ephemeral, 0),
        *(("PUT", persistent, index) for index in range(2)),
        ("HIT", persistent, 0),
        ("FLUSH", persistent, 0),
        ("FLUSH", persistent, 1),
        ("NO_FLUSH", persistent, 2),
        ("OBJECT", ephemeral, 0),
        ("POOL_GONE", ephemeral, 0),
    ]
    assert all(later >= earlier for earlier, later in zip(mine["time"], mine["time"][1:], strict=False))


def test_what_a_late_reader_loses_is_told(guests: list[Served], small: EmulatedHost, tmp_path: Path) -> None:
    """The reader stands still while more is done than Xen keeps; no guest waits for it."""
    from lab.remote.traces import Recording

    guest = guests[2]
    pool = guest.pool()
    recording = Recording(small.connections, tmp_path / f"some{trace.SUFFIX}", room=SMALL_ROOM)
    try:
        run(small, "dom0", "pkill -STOP -x tmemctl", timeout=30)
        assert guest.flush(pool, 3 * SMALL_ROOM) == {OK: 3 * SMALL_ROOM}
        run(small, "dom0", "pkill -CONT -x tmemctl", timeout=30)
        done = recording.stop()
    finally:
        recording.abandon()
    found = trace.load(done.file)
    flushes = found.records[(found.records["domain"] == guest.domid) & (found.records["kind"] == Kind.NO_FLUSH)]
    assert done.lost == found.lost > 0
    assert SMALL_ROOM <= len(flushes) < 3 * SMALL_ROOM
    assert found.lost + len(flushes) >= 3 * SMALL_ROOM
    assert list(flushes["index"][-SMALL_ROOM:]) == list(range(2 * SMALL_ROOM, 3 * SMALL_ROOM))


def test_a_reader_whose_session_breaks_leaves_no_trace(small: EmulatedHost, tmp_path: Path) -> None:
    """And a guest that dies while it is traced leaves nothing either."""
    recording = small.trace(tmp_path / f"first{trace.SUFFIX}")
    recording._process.kill()
    # tmemctl looks at its input ten times a second
    ended = "for i in $(seq 60); do pgrep -x tmemctl > /dev/null || exit 0; sleep 1; done; exit 1"
    run(small, "dom0", ended, timeout=90)
    recording.abandon()
    second = small.trace(tmp_path / f"second{trace.SUFFIX}")
    assert trace.load(second.stop().file).lost == 0


def test_a_guest_that_dies_is_told(host: EmulatedHost, tmp_path: Path) -> None:
    guest = Served(host, "guest3")
    guest.load()
    pools = [guest.pool(), guest.pool(PERSISTENT)]
    assert guest.put(pools[0], 300) == {OK: 300}
    recording = host.trace(tmp_path / f"some{trace.SUFFIX}")
    domid = guest.domid
    run(host, "dom0", "xl destroy guest3", timeout=60)
    found = trace.load(recording.stop().file)
    mine = found.records[(found.records["domain"] == domid) & (found.records["kind"] == Kind.POOL_GONE)]
    assert sorted(int(each) for each in mine["object"]) == sorted(pools)
    assert domid not in {client["CI"] for client in listing(host)["clients"]}
