"""Who gives way when memory is short: weights, caps, freezing, flushing, and starting a guest on a
host whose memory is all in tmem.

Guests' kernels put pages as they are told (tests/lab/served.py). For pressure there is little
memory to fight over: guest1 gives up some of its own, and that is all that tmem finds.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from served import EFROZEN, EPHEMERAL, MISS, OK, PERSISTENT, Served, give_up, listing, tmemctl
from shells import run

from common.errors import LabError
from common.units import PAGE_BYTES
from lab.emulator.process import UNLIMITED
from lab.hosts.emulated import EmulatedHost
from lab.hosts.guests import Disks, create_script
from lab.lifecycle import DEFAULT_GUESTS, DEFAULT_HOST

pytestmark = pytest.mark.lab

PAGES_PER_MIB = 2**20 // PAGE_BYTES
GIVEN_UP_MIB = 40
GIVEN_UP = GIVEN_UP_MIB * PAGES_PER_MIB
MORE_THAN_ALL = GIVEN_UP * 5 // 4
TOLERANCE = 0.05
"""How far a share may be from its weight, of all ephemeral pages."""


@pytest.fixture
def small(host: EmulatedHost) -> EmulatedHost:
    """The host with GIVEN_UP_MIB, and a little more, for tmem; also when the test before has
    changed that.
    """
    give_up(host, GIVEN_UP_MIB)
    return host


@pytest.fixture
def guests(small: EmulatedHost) -> Iterator[list[Served]]:
    """The three guests without pools, weights, caps or freezes."""
    found = [Served(small, name) for name in small.guests]
    for guest in found:
        guest.load()
    settings = (f"tmemctl set {guest.domid} --weight 0 --cap 0; tmemctl thaw {guest.domid}" for guest in found)
    tmemctl(small, f"thaw all; {'; '.join(settings)}")
    yield found
    tmemctl(small, "thaw all")


def held(guest: Served) -> int:
    return int(guest.client()["Ec"])


def free_mib(host: EmulatedHost) -> int:
    return int(run(host, "dom0", "xl info | awk '$1 == \"free_memory\" { print $3 }'"))


def put_at_once(guests: list[Served], pools: list[int], count: int) -> None:
    """Equal pressure: every guest puts the same number of pages at the same time."""
    with ThreadPoolExecutor(len(guests)) as threads:
        for answers in threads.map(lambda pair: pair[0].put(pair[1], count), zip(guests, pools, strict=True)):
            assert sum(answers.values()) == count
            assert answers[OK] >= count * 999 // 1000, (
                "an ephemeral page is refused only when others were quicker, time and again"
            )


def test_shares_converge_to_the_weights(guests: list[Served], small: EmulatedHost) -> None:
    """The test that the historical comparison fails: it took from clients that were under their
    share.
    """
    weights = [1, 2, 5]
    for guest, weight in zip(guests, weights, strict=True):
        tmemctl(small, f"set {guest.domid} --weight {weight}")
        assert guest.client()["ww"] == weight
    pools = [guest.pool() for guest in guests]
    put_at_once(guests, pools, MORE_THAN_ALL)
    pages = [held(guest) for guest in guests]
    assert sum(pages) > GIVEN_UP / 2, "too little memory was left to say anything"
    for number, weight in zip(pages, weights, strict=True):
        assert number / sum(pages) == pytest.approx(weight / sum(weights), abs=TOLERANCE), f"{pages} for {weights}"

    # New weights make new shares, whatever was there before.
    for guest, weight in zip(guests, reversed(weights), strict=True):
        tmemctl(small, f"set {guest.domid} --weight {weight}")
    put_at_once(guests, [guest.pool() for guest in guests], MORE_THAN_ALL)
    pages = [held(guest) for guest in guests]
    for number, weight in zip(pages, reversed(weights), strict=True):
        assert number / sum(pages) == pytest.approx(weight / sum(weights), abs=TOLERANCE), (
            f"{pages} for {weights}[::-1]"
        )


def test_who_is_over_its_share_gives_way_though_others_have_older_pages(
    guests: list[Served], small: EmulatedHost
) -> None:
    modest, greedy, _ = guests
    few = GIVEN_UP // 10
    for guest in (modest, greedy):
        tmemctl(small, f"set {guest.domid} --weight 10")
    pool = modest.pool()
    assert modest.put(pool, few) == {OK: few}
    assert greedy.put(greedy.pool(), MORE_THAN_ALL) == {OK: MORE_THAN_ALL}
    assert greedy.client()["evicted"] > 0
    assert held(modest) == few
    assert modest.get(pool, few) == {OK: few}


def test_without_weights_the_oldest_pages_give_way(guests: list[Served]) -> None:
    modest, greedy, _ = guests
    few = GIVEN_UP // 10
    pool = modest.pool()
    assert modest.put(pool, few) == {OK: few}
    assert greedy.put(greedy.pool(), MORE_THAN_ALL) == {OK: MORE_THAN_ALL}
    assert held(modest) == 0
    assert modest.get(pool, few) == {MISS: few}


def test_where_others_have_weights_a_guest_without_one_gives_way_first(
    guests: list[Served], small: EmulatedHost
) -> None:
    without, weighted, _ = guests
    few = GIVEN_UP // 10
    tmemctl(small, f"set {weighted.domid} --weight 1")
    pool = weighted.pool()
    assert weighted.put(pool, few) == {OK: few}
    assert without.put(without.pool(), MORE_THAN_ALL) == {OK: MORE_THAN_ALL}
    assert weighted.get(pool, few) == {OK: few}


def test_a_cap_is_never_exceeded_and_the_oldest_page_gives_way(guests: list[Served], small: EmulatedHost) -> None:
    guest, other, _ = guests
    tmemctl(small, f"set {guest.domid} --cap 300")
    assert guest.client()["ca"] == 300
    pools = [guest.pool(), guest.pool()]
    others = other.pool()
    assert other.put(others, 500) == {OK: 500}
    for pool in pools:
        for first in range(0, 500, 125):
            assert guest.put(pool, 125, first=first) == {OK: 125}
            assert held(guest) <= 300
    assert held(guest) == 300
    assert guest.get(pools[0], 500) == {MISS: 500}
    assert guest.get(pools[1], 200) == {MISS: 200}
    assert guest.get(pools[1], 300, first=200) == {OK: 300}
    # Persistent pages are not meant, and nobody else has paid.
    assert held(other) == 500
    assert other.get(others, 500) == {OK: 500}


def test_a_lowered_cap_takes_effect_at_once(guests: list[Served], small: EmulatedHost) -> None:
    guest = guests[0]
    pool = guest.pool()
    assert guest.put(pool, 2000) == {OK: 2000}
    tmemctl(small, f"set {guest.domid} --cap 150")
    assert held(guest) == 150
    assert guest.get(pool, 1850) == {MISS: 1850}
    assert guest.get(pool, 150, first=1850) == {OK: 150}
    tmemctl(small, f"set {guest.domid} --cap 0")
    assert guest.put(pool, 2000) == {OK: 2000}
    assert held(guest) == 2000


def test_settings_that_make_no_sense_are_refused(guests: list[Served], small: EmulatedHost) -> None:
    domid = guests[0].domid
    for arguments in (
        f"set {domid} --weight 65536",
        f"set {domid} --weight -1",
        f"set {domid} --cap many",
        f"set {domid} --cap",
        f"set {domid}",
        "set all --weight 1",
        "set 4000 --weight 1",
        "freeze 4000",
        f"shared-auth {domid} 1234 yes",
        f"shared-auth {domid} 00112233445566778899aabbccddeeff perhaps",
    ):
        with pytest.raises(LabError):
            tmemctl(small, arguments)
    found = guests[0].client()
    assert (found["ww"], found["ca"], found["fr"]) == (0, 0, 0)


def test_a_frozen_guest_puts_nothing_and_loses_what_it_would_replace(guests: list[Served], small: EmulatedHost) -> None:
    guest, other, _ = guests
    pools = {flags: guest.pool(flags) for flags in (EPHEMERAL, PERSISTENT)}
    others = other.pool()
    for pool in pools.values():
        assert guest.put(pool, 20) == {OK: 20}
    tmemctl(small, f"freeze {guest.domid}")
    assert guest.client()["fr"] == 1
    assert other.client()["fr"] == 0
    assert other.put(others, 20) == {OK: 20}
    for pool in pools.values():
        # Ten duplicates, whose older pages have to go, and ten new ones.
        assert guest.put(pool, 20, first=10, seed=99) == {EFROZEN: 20}
        assert guest.get(pool, 20, first=10) == {MISS: 20}
        assert guest.get(pool, 10) == {OK: 10}
        assert guest.flush(pool, 10) == {OK: 10}
    tmemctl(small, f"thaw {guest.domid}")
    for pool in pools.values():
        assert guest.put(pool, 20, seed=5) == {OK: 20}
        assert guest.get(pool, 20, seed=5) == {OK: 20}


def test_freezing_all_means_those_who_come_later_too(guests: list[Served], small: EmulatedHost) -> None:
    early, late, alone = guests
    pool = early.pool()
    tmemctl(small, f"freeze {alone.domid}")
    tmemctl(small, "freeze all")
    assert listing(small)["frozen"] is True
    assert early.put(pool, 5) == {EFROZEN: 5}
    late_pool, lone_pool = late.pool(), alone.pool()
    assert late.put(late_pool, 5) == {EFROZEN: 5}
    assert late.client()["fr"] == 1
    tmemctl(small, "thaw all")
    assert listing(small)["frozen"] is False
    assert early.put(pool, 5) == {OK: 5}
    assert late.put(late_pool, 5) == {OK: 5}
    # Who was frozen by number stays so.
    assert alone.put(lone_pool, 5) == {EFROZEN: 5}
    tmemctl(small, f"thaw {alone.domid}")
    assert alone.put(lone_pool, 5) == {OK: 5}


def test_what_is_freeable_can_be_flushed_and_is_free_then(guests: list[Served], small: EmulatedHost) -> None:
    guest, other, _ = guests
    mib = GIVEN_UP_MIB // 4
    pages = mib * PAGES_PER_MIB
    before = int(tmemctl(small, "freeable"))
    persistent = other.pool(PERSISTENT)
    pool, others = guest.pool(), other.pool()
    assert guest.put(pool, pages) == {OK: pages}
    assert other.put(others, 100) == {OK: 100}
    assert abs(int(tmemctl(small, "freeable")) - before - mib) <= 1
    # Persistent pages can't be taken back.
    kept = other.put(persistent, 20).get(OK, 0)
    free_before = free_mib(small)
    flushed = json.loads(tmemctl(small, f"flush {guest.domid} {pages // 2} --json"))
    # Each page gives its frame; those that held the records of 63 pages come with them.
    gone = flushed["dropped"]
    assert pages // 2 <= flushed["freed"] <= pages // 2 + 4
    assert flushed["freed"] * 62 // 64 <= gone <= flushed["freed"]
    assert held(guest) == pages - gone
    assert abs(free_mib(small) - free_before - mib / 2) <= 1
    assert guest.get(pool, gone) == {MISS: gone}, "the oldest go first"
    assert int(tmemctl(small, "flush all 1000000")) >= pages - gone + 100
    assert int(tmemctl(small, "freeable")) == 0
    assert json.loads(tmemctl(small, "flush all 1 --json")) == {"freed": 0, "dropped": 0}
    assert held(guest) == held(other) == 0
    assert other.get(persistent, 20).get(OK, 0) == kept


def test_a_guest_that_balloons_up_gets_what_tmem_holds(guests: list[Served], small: EmulatedHost) -> None:
    """Nobody freezes, asks or flushes here: Xen's heap takes from tmem what it lacks."""
    grower, keeper, _ = guests
    assert keeper.put(keeper.pool(), MORE_THAN_ALL) == {OK: MORE_THAN_ALL}
    before, free = held(keeper), free_mib(small)
    more = GIVEN_UP_MIB // 2
    assert free < more, "memory is to be short"
    wanted = DEFAULT_GUESTS.memory_start_mib - GIVEN_UP_MIB + more
    grown = f"[ $(xl list {grower.name} | awk 'NR == 2 {{ print $3 }}') -ge {wanted - 1} ]"
    script = f"xl mem-set {grower.name} {wanted}m; for i in $(seq 30); do {grown} && exit 0; sleep 1; done; exit 1"
    run(small, "dom0", script, timeout=60)
    assert before - held(keeper) >= (more - free - 2) * PAGES_PER_MIB


@pytest.mark.long
def test_a_guest_starts_on_a_host_whose_memory_is_all_in_tmem(host: EmulatedHost) -> None:
    """The lab's own start: frozen, asked, flushed, created, thawed - while another guest does
    its best to keep all memory in tmem.
    """
    host.reset(DEFAULT_HOST, DEFAULT_GUESTS)
    host.limit_disks(UNLIMITED)
    host.run("dom0", "xl destroy guest3; for i in $(seq 30); do xl list | grep -q '(null)' || exit 0; sleep 1; done")
    guest = Served(host, "guest1")
    guest.load()
    pool = guest.pool()
    room = DEFAULT_GUESTS.memory_start_mib
    object_id = 1
    while not (before := guest.client()["evicted"]):
        assert guest.put(pool, 4096, object_id=object_id) == {OK: 4096}
        object_id += 1
    assert free_mib(host) < room // 4
    assert free_mib(host) + int(tmemctl(host, "freeable")) >= room

    with ThreadPoolExecutor(1) as threads:
        creation = threads.submit(host.create, DEFAULT_GUESTS, [3])
        answers: dict[int, int] = {}
        while not creation.done():
            for answer, count in guest.put(pool, 512, object_id=1000).items():
                answers[answer] = answers.get(answer, 0) + count
        creation.result()
    host.connections.wait("guest3", 300)
    assert host.run("guest3", "hostname").strip() == "guest3"
    assert answers.get(EFROZEN, 0) > 0, "guests were not frozen during the start"
    assert guest.client()["evicted"] - before >= (room - 16) * PAGES_PER_MIB
    assert listing(host)["frozen"] is False
    assert guest.put(pool, 10, object_id=2000) == {OK: 10}


@pytest.mark.long
def test_a_start_that_fails_or_is_ended_thaws_the_host(host: EmulatedHost) -> None:
    guest = Served(host, "guest1")
    guest.load()
    pool = guest.pool()
    # So small that there is room for it. But its name is taken, so that xl refuses.
    small_guest = replace(DEFAULT_GUESTS, memory_start_mib=1)
    with pytest.raises(LabError, match="failed") as refused:
        host.create(small_guest, [3])
    assert "no room" not in str(refused.value)
    assert listing(host)["frozen"] is False
    assert guest.put(pool, 1) == {OK: 1}

    with pytest.raises(LabError, match="there is no room for guest3: it needs 60000 MiB"):
        host.create(replace(DEFAULT_GUESTS, memory_start_mib=60000), [3])
    assert listing(host)["frozen"] is False

    # Ended from outside in the middle of it, as by a time limit.
    script = create_script(small_guest, [Disks("/dev/null", "/dev/null")], only=[1])
    slow = script.replace("xl create", "tmemctl list --json > /run/during; sleep 100; xl create")
    with pytest.raises(LabError, match="did not end within"):
        host.run("dom0", slow, timeout=12)
    assert '"frozen":true' in host.run("dom0", "cat /run/during")
    assert listing(host)["frozen"] is False
    assert guest.put(pool, 1, first=5) == {OK: 1}
