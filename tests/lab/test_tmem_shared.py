"""Pools that guests share: what one puts the other gets, and nobody else, whatever UUID they guess.

Guests' kernels do as they are told (tests/lab/served.py); the control domain lets them in.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from served import EEMPTY, EFROZEN, ENODEV, EPERM, MISS, OK, PERSISTENT, SHARED, Served, give_up, listing, tmemctl
from shells import run

from common.errors import LabError
from lab.hosts.emulated import EmulatedHost

pytestmark = pytest.mark.lab

UUID = "6f1f3a5c-0011-4e2b-9d5e-8899aabbccdd"
OTHER = "6f1f3a5c-0011-4e2b-9d5e-8899aabbccde"
MOST_SHARED = 16


def words(uuid: str) -> tuple[int, int]:
    """A UUID as a guest names it to Xen: its 16 bytes as two words of an x86."""
    raw = bytes.fromhex(uuid.replace("-", ""))
    return int.from_bytes(raw[:8], "little"), int.from_bytes(raw[8:], "little")


def let_in(guest: Served, uuid: str = UUID) -> None:
    tmemctl(guest.host, f"shared-auth {guest.domid} {uuid} yes")


def shared_pools(host: EmulatedHost) -> list[dict[str, Any]]:
    return list(listing(host)["shared"])


@pytest.fixture(scope="module")
def roomy(host: EmulatedHost) -> EmulatedHost:
    """The host with memory for all pages of these tests, so that nothing is evicted."""
    give_up(host, 40)
    return host


@pytest.fixture
def guests(roomy: EmulatedHost) -> Iterator[list[Served]]:
    """The guests without pools, let in nowhere."""
    host = roomy
    found = [Served(host, name) for name in host.guests]
    for guest in found:
        guest.load()
    yield found
    for guest in found:
        guest.load()
    withdrawn = (f"tmemctl shared-auth {guest.domid} {uuid} no" for guest in found for uuid in (UUID, OTHER))
    run(host, "dom0", f"{'; '.join(withdrawn)}; true")
    assert shared_pools(host) == [], "a pool outlived its sharers"


@pytest.fixture
def sharers(guests: list[Served]) -> list[tuple[Served, int]]:
    """Two guests in the same pool, each with its own number for it."""
    found = []
    for guest, before in zip(guests[:2], (0, 1), strict=True):
        let_in(guest)
        for _ in range(before):
            guest.pool()
        found.append((guest, guest.pool(SHARED, words(UUID))))
    assert found[0][1] != found[1][1]
    return found


def test_what_one_puts_the_other_gets_again_and_again(sharers: list[tuple[Served, int]]) -> None:
    (one, pool), (two, pool2) = sharers
    assert two.get(pool2, 1) == {EEMPTY: 1}
    assert one.put(pool, 200, seed=7) == {OK: 200}
    for _ in range(2):
        assert two.get(pool2, 200, seed=7) == {OK: 200}
        assert one.get(pool, 200, seed=7) == {OK: 200}
    assert two.get(pool2, 10, object_id=2) == {MISS: 10}
    # The last content counts, whoever put it.
    assert two.put(pool2, 100, seed=8) == {OK: 100}
    assert one.get(pool, 100, seed=8) == {OK: 100}
    assert one.get(pool, 100, first=100, seed=7) == {OK: 100}


def test_what_one_flushes_is_gone_for_all(sharers: list[tuple[Served, int]]) -> None:
    (one, pool), (two, pool2) = sharers
    assert one.put(pool, 300) == {OK: 300}
    assert one.put(pool, 50, object_id=2) == {OK: 50}
    assert two.flush(pool2, 100) == {OK: 100}
    assert one.get(pool, 100) == {MISS: 100}
    assert one.get(pool, 200, first=100) == {OK: 200}
    assert two.flush_object(pool2) == {OK: 1}
    assert one.get(pool, 300) == {MISS: 300}
    assert one.get(pool, 50, object_id=2) == {OK: 50}


def test_who_is_not_let_in_gets_a_private_pool(guests: list[Served]) -> None:
    one, stranger, other = guests
    let_in(one)
    let_in(other, OTHER)
    pool = one.pool(SHARED, words(UUID))
    assert one.put(pool, 100) == {OK: 100}
    for guest in (stranger, other):
        private = guest.pool(SHARED, words(UUID))
        assert private >= 0
        assert guest.get(private, 100) == {EEMPTY: 100}
        assert guest.put(private, 50, seed=9) == {OK: 50}
        assert guest.flush(private, 50, first=50) == {OK: 50}
        assert [found["PT"] for found in guest.client()["pools"]] == ["EP"]
        # A private page is gone once it is got.
        assert guest.get(private, 50, seed=9) == {OK: 50}
        assert guest.get(private, 50, seed=9) == {MISS: 50}
    assert one.get(pool, 100) == {OK: 100}
    assert [found["SC"] for found in shared_pools(one.host)] == [1]


def test_leave_can_be_withdrawn_before_a_guest_joins(guests: list[Served]) -> None:
    one, two, _ = guests
    for guest in (one, two):
        let_in(guest)
        let_in(guest)  # twice is once
    tmemctl(one.host, f"shared-auth {two.domid} {UUID} no")
    with pytest.raises(LabError, match="not let in"):
        tmemctl(one.host, f"shared-auth {two.domid} {UUID} no")
    pool, private = one.pool(SHARED, words(UUID)), two.pool(SHARED, words(UUID))
    assert one.put(pool, 10) == {OK: 10}
    assert two.get(private, 10) == {EEMPTY: 10}


def test_who_has_joined_stays_when_leave_is_withdrawn(sharers: list[tuple[Served, int]]) -> None:
    """Its flushes have to reach the others as long as it uses their file system."""
    (one, pool), (two, pool2) = sharers
    tmemctl(two.host, f"shared-auth {two.domid} {UUID} no")
    assert one.put(pool, 10) == {OK: 10}
    assert two.flush(pool2, 10) == {OK: 10}
    assert one.get(pool, 10) == {MISS: 10}
    assert two.destroy(pool2) == {1: 1}
    assert two.get(two.pool(SHARED, words(UUID)), 1) == {EEMPTY: 1}


def test_the_pool_goes_with_its_last_sharer(sharers: list[tuple[Served, int]]) -> None:
    (one, pool), (two, pool2) = sharers
    assert one.put(pool, 3000) == {OK: 3000}
    assert one.destroy(pool) == {1: 1}
    assert one.get(pool, 1) == {ENODEV: 1}
    assert two.get(pool2, 3000) == {OK: 3000}
    # Back again, it finds what was there.
    pool = one.pool(SHARED, words(UUID))
    assert one.get(pool, 3000) == {OK: 3000}
    assert one.destroy(pool) == {1: 1}
    assert two.destroy(pool2) == {1: 1}
    assert shared_pools(one.host) == []
    pool = one.pool(SHARED, words(UUID))
    assert one.get(pool, 1) == {EEMPTY: 1}


def test_shared_and_persistent_is_impossible(guests: list[Served]) -> None:
    let_in(guests[0])
    assert guests[0].pool(SHARED | PERSISTENT, words(UUID)) == EPERM


def test_sixteen_pools_are_shared_and_no_more(guests: list[Served]) -> None:
    one, two, _ = guests
    uuids = [f"{number:032x}" for number in range(1, MOST_SHARED + 1)]
    for uuid in uuids:
        let_in(one, uuid)
    with pytest.raises(LabError, match="16 shared pools already"):
        let_in(one, OTHER)
    let_in(two, OTHER)
    pools = [one.pool(SHARED, words(uuid)) for uuid in uuids]
    assert pools == list(range(MOST_SHARED))
    assert two.pool(SHARED, words(OTHER)) == EPERM
    assert one.destroy(pools[3]) == {1: 1}
    assert two.pool(SHARED, words(OTHER)) >= 0
    for uuid in uuids:
        tmemctl(one.host, f"shared-auth {one.domid} {uuid} no")


def test_a_frozen_sharer_drops_what_it_would_replace(sharers: list[tuple[Served, int]]) -> None:
    (one, pool), (two, pool2) = sharers
    assert one.put(pool, 20) == {OK: 20}
    tmemctl(one.host, f"freeze {one.domid}")
    assert one.put(pool, 10, seed=4) == {EFROZEN: 10}
    assert two.get(pool2, 10) == {MISS: 10}
    assert two.put(pool2, 10, seed=5) == {OK: 10}
    assert one.get(pool, 10, seed=5) == {OK: 10}
    tmemctl(one.host, "freeze all")
    assert two.put(pool2, 10, seed=6) == {EFROZEN: 10}
    assert one.get(pool, 10) == {MISS: 10}
    tmemctl(one.host, f"thaw all; tmemctl thaw {one.domid}")
    assert one.put(pool, 10) == {OK: 10}


def test_pages_of_a_shared_pool_count_once_and_are_nobodys(sharers: list[tuple[Served, int]]) -> None:
    (one, pool), (two, pool2) = sharers
    host = one.host
    freeable = int(tmemctl(host, "freeable"))
    assert one.put(pool, 2560) == {OK: 2560}
    assert two.put(pool2, 2560, seed=3) == {OK: 2560}
    assert abs(int(tmemctl(host, "freeable")) - freeable - 10) <= 1
    assert one.client()["Ec"] == two.client()["Ec"] == 0
    assert listing(host)["global"]["Ec"] == 2560
    (found,) = shared_pools(host)
    first, second = words(UUID)
    wanted = {"PT": "ES", "U0": f"{first:x}", "U1": f"{second:x}", "SC": 2, "Pc": 2560, "ps": 5120, "pr": 2560}
    assert wanted.items() <= found.items()
    lines = [line for line in tmemctl(host, "list -l").splitlines() if line.startswith("S=")]
    (line,) = lines
    assert re.match(rf"S=SI:\d+,PT:ES,U0:{first:x},U1:{second:x},SC:2,Pc:2560,Pm:2560,Oc:1,Om:1,", line), line
    assert int(tmemctl(host, "flush all 100000")) >= 2560
    assert two.get(pool2, 2560, seed=3) == {MISS: 2560}
    assert shared_pools(host)[0]["evicted"] == 2560


def test_a_shared_pool_has_the_cap_and_weight_of_its_greatest_sharer(sharers: list[tuple[Served, int]]) -> None:
    (one, pool), (two, pool2) = sharers
    host = one.host
    tmemctl(host, f"set {one.domid} --weight 3 --cap 100")
    assert [(found["weight"], found["cap"]) for found in shared_pools(host)] == [(3, 0)]
    tmemctl(host, f"set {two.domid} --weight 2 --cap 200")
    assert [(found["weight"], found["cap"]) for found in shared_pools(host)] == [(3, 200)]
    assert one.put(pool, 500) == {OK: 500}
    assert two.get(pool2, 300) == {MISS: 300}
    assert two.get(pool2, 200, first=300) == {OK: 200}
    assert shared_pools(host)[0]["Pm"] == 200
    assert two.destroy(pool2) == {1: 1}
    assert [(found["weight"], found["cap"]) for found in shared_pools(host)] == [(3, 100)]
    for guest in (one, two):
        tmemctl(host, f"set {guest.domid} --weight 0 --cap 0")


def test_sharers_that_come_and_go_at_once_harm_nobody(guests: list[Served]) -> None:
    """Joining, using and leaving on three processors: what the last one leaves is emptied while
    others come back.
    """
    for guest in guests:
        let_in(guest)

    def come_and_go(guest: Served) -> None:
        for turn in range(8):
            pool = guest.pool(SHARED, words(UUID))
            assert pool >= 0
            assert guest.put(pool, 300, object_id=turn) == {OK: 300}
            assert guest.get(pool, 300, object_id=turn).keys() <= {OK, MISS}
            assert guest.destroy(pool) == {1: 1}

    with ThreadPoolExecutor(len(guests)) as threads:
        list(threads.map(come_and_go, guests))
    assert shared_pools(guests[0].host) == []


def test_a_sharer_that_dies_leaves_the_pool_to_the_others(
    sharers: list[tuple[Served, int]], guests: list[Served]
) -> None:
    """Last in this file: the guest is gone afterwards."""
    (one, pool), (two, pool2) = sharers
    host = one.host
    assert two.put(pool2, 1000) == {OK: 1000}
    host.run(
        "dom0", f"xl destroy {two.name}; for i in $(seq 30); do xl list | grep -q '(null)' || exit 0; sleep 1; done"
    )
    guests.remove(two)
    assert [found["SC"] for found in shared_pools(host)] == [1]
    assert one.get(pool, 1000) == {OK: 1000}
