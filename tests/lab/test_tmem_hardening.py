"""What a guest cannot make of tmem: its frames are nobody's to map, Xen never works on its pages
for long in one go, and nothing of it outlives it.

How long is not measured here, where times are those of an emulated machine
(benchmarks/tmem_holds.py does that), but counted: steps under a lock (tag S of `T=`), and how often
the guest's only processor could do something else during one operation.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from accounts import IN_PARTS, accounts, client, complaints, destroy, pages, run_module, settle, tmem
from served import FOLDER, OK, Served, give_up, listing, tmemctl
from shells import run

from lab.emulator.process import UNLIMITED
from lab.hosts.emulated import EmulatedHost

pytestmark = pytest.mark.lab

HOSTILE, VICTIM, DOOMED = "guest1", "guest2", "guest3"
BATCH = 64
"""Pages that one step may take, by tmem/README.md."""

PAGES = 8192
ROOM_MIB = 40
"""What guest1 gives up: more than those pages."""

MIDDLE_S = 4
"""How long guests work until they are killed."""
LEVELS = ("Ec", "Oc", "Nc", "Pc", "Fc", "Sc", "Ta", "persistent", "Zt", "Gz")
"""All that tmem can hold."""

RINGS, TRIES = 8, 6
"""How often the guest's timer rings during an operation between whose steps the guest runs, in two
of some tries. It rings about twenty times, seldom never, where another program keeps QEMU from its
own timers; when all is done in one go, it rings once or twice, afterwards."""

ASKED = 10
BY_CHANCE = 48
"""Pages that a guest may have evicted in a second for memory at an address (tmem/README.md)."""
ENOUGH = 1000
"""Pages that make the heap have more than its reserve."""

SECRET = "e45938a1"
"""The mark of a secret, as it is in memory (tmem/linux/test/secrets.c)."""
RECORD = (0x0B1EC75EC4E75A1E).to_bytes(8, "little").hex()
"""The mark of the objects that they are in: Xen's records have it, and the guest's stack."""
LURE = "1f3b5d79"
"""A mark in memory that is the guest's own."""
DOMID_IO, DOMID_XEN = 0x7FF1, 0x7FF2
SHARED_BY_XEN = 64
"""Frames of Xen that a guest has beside its memory, at most: of the grant table, and one of
general information.
"""


@pytest.fixture(scope="module")
def roomy(host: EmulatedHost) -> EmulatedHost:
    """A host whose guests keep what they have, but guest1, which leaves room for PAGES."""
    host.limit_disks(UNLIMITED)
    give_up(host, ROOM_MIB)
    return host


# --- frames -------------------------------------------------------------------------------------


def test_nobody_maps_a_frame_of_tmem(roomy: EmulatedHost) -> None:
    """Neither a guest, which tries all frames of the machine, its own pages' among them, nor
    dom0, which may map those of all domains.
    """
    host = roomy
    run_module(host, VICTIM, "mode=secrets")
    before = accounts(host)
    held = client(host, VICTIM)
    assert held["persistent"] > 0
    assert held["Ec"] > 0
    frames = []
    for guest in (HOSTILE, VICTIM):
        found = re.search(r"map tried=(\d+) ours=(\d+) shared=(\d+)", run_module(host, guest, "mode=map"))
        assert found is not None
        tried, ours, shared = (int(number) for number in found.groups())
        frames.append(tried + ours)
        # All but its own, and so those of tmem, Xen's and the other guests'.
        assert tried - shared >= before.tmem + before.free + before.charged - before.persistent - ours
        assert 0 < shared <= SHARED_BY_XEN

    settle(host, VICTIM)
    host.run(VICTIM, f"printf '%.0s{_escaped(LURE)}' $(seq 2000) > /run/lure")
    held = client(host, VICTIM)
    own = pages(host)[VICTIM] - held["persistent"]
    script = (Path(__file__).parent / "foreign.py").read_bytes()
    arguments = f"256 {frames[0] - 1} {DOMID_IO},{DOMID_XEN},{held['CI']} {SECRET},{RECORD},{LURE}"
    looked = json.loads(host.run("dom0", f"python3 - {arguments}", stdin=script, timeout=300))
    for domain, counts in looked.items():
        found_marks = (counts[SECRET], int(domain) >= DOMID_IO and counts[RECORD])
        assert found_marks == (0, 0), f"dom0 can map secrets or records as pages of domain {domain}: {looked}"
    # It would have found them: it sees all of the guest's memory.
    seen = looked[str(held["CI"])]
    assert seen[LURE] > 0
    assert 0 <= seen["mapped"] - own <= SHARED_BY_XEN

    run_module(host, VICTIM, "mode=verify")
    tmemctl(host, "flush all 100000")
    settle(host, HOSTILE)
    assert abs(accounts(host).total - before.total) <= IN_PARTS
    run_module(host, VICTIM, "mode=forget")
    assert complaints(host) == []


def _escaped(mark: str) -> str:
    return "".join(f"\\{byte:03o}" for byte in bytes.fromhex(mark))


# --- bounded steps ------------------------------------------------------------------------------


def steps(host: EmulatedHost) -> int:
    return int(listing(host)["timings"]["S"]["n"])


def full(host: EmulatedHost, name: str) -> tuple[Served, int]:
    """A guest with PAGES of one object in a pool."""
    guest = Served(host, name)
    guest.load()
    pool = guest.pool()
    assert guest.put(pool, PAGES) == {OK: PAGES}
    assert guest.client()["Ec"] == PAGES
    return guest, pool


@pytest.mark.parametrize(
    "empty", [Served.destroy, Served.flush_object], ids=["a pool is destroyed", "an object is flushed"]
)
def test_many_pages_go_in_small_steps_between_which_the_guest_runs(
    roomy: EmulatedHost, empty: Callable[[Served, int], dict[int, int]]
) -> None:
    rings: list[int] = []
    while sum(each >= RINGS for each in rings) < 2:
        assert len(rings) < TRIES, f"the guest's timer rang {rings} times"
        guest, pool = full(roomy, VICTIM)
        before = steps(roomy)
        assert empty(guest, pool) == {OK: 1}
        assert guest.client()["Ec"] == 0
        assert steps(roomy) - before >= PAGES // BATCH
        rings.append(int(run(roomy, VICTIM, f"cat {FOLDER}/rings")))


def test_a_cap_is_lowered_in_small_steps(roomy: EmulatedHost) -> None:
    guest, _ = full(roomy, VICTIM)
    before = steps(roomy)
    tmemctl(roomy, f"set {guest.domid} --cap 1")
    assert guest.client()["Ec"] == 1
    assert steps(roomy) - before >= PAGES // BATCH
    tmemctl(roomy, f"set {guest.domid} --cap 0")


def test_memory_at_an_address_costs_others_nothing(roomy: EmulatedHost) -> None:
    """The lowest frames are Xen's. A guest that asks for one of them drives nobody's pages out
    while Xen has others, and few a second where it has not.
    """
    guest, _ = full(roomy, VICTIM)

    def asked() -> int:
        before, began = int(tmem(roomy)["global"]["Et"]), time.monotonic()
        for _ in range(ASKED):
            assert guest.ask("reserve 13") == {0: 1}
        evicted = int(tmem(roomy)["global"]["Et"]) - before
        # The emulated host's clock may be ahead of ours by some.
        return evicted - int(BY_CHANCE * 1.5 * (time.monotonic() - began)) - 2 * BY_CHANCE if scarce else evicted

    scarce = False
    tmemctl(roomy, f"flush all {ENOUGH}")
    assert asked() == 0
    scarce = True
    assert guest.put(0, 4 * PAGES, first=PAGES) == {OK: 4 * PAGES}
    assert asked() <= 0
    assert guest.client()["Ec"] > PAGES // 2


# --- guests that die ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Death:
    """What the end of a guest came to that had PAGES in a pool and did nothing. given: pages
    that were Xen's own, for a domain of that kind.
    """

    steps: int
    given: int


@pytest.fixture(scope="module")
def death(roomy: EmulatedHost) -> Death:
    for guest in (HOSTILE, VICTIM):  # clients from now on, as those have to be who are compared
        served = Served(roomy, guest)
        served.load()
        served.destroy(served.pool())
        run(roomy, guest, "rmmod tmem_test")
    full(roomy, DOOMED)
    before, total = steps(roomy), accounts(roomy).total
    destroy(roomy, DOOMED)
    return Death(steps(roomy) - before, accounts(roomy).total - total)


def test_a_guest_with_many_pages_dies_in_small_steps(death: Death) -> None:
    assert death.steps >= PAGES // BATCH


def test_guests_killed_in_the_middle_leave_nothing(roomy: EmulatedHost, death: Death) -> None:
    """One among hostile operations, one while it puts and flushes thousands of pages: each
    leaves what a guest leaves that did nothing.
    """
    host = roomy
    before = accounts(host).total
    _in_background(host, HOSTILE, "modprobe tmem_test mode=fuzz operations=4000000000")
    commands = (f"put 0 1 0 {PAGES} 7", f"flush 0 1 0 {PAGES // 2}", "flush_object 0 1", "destroy 0", "pool 0 0 0")
    again = "; ".join(f"echo {command} > command" for command in commands)
    _in_background(
        host,
        VICTIM,
        f"modprobe tmem_test mode=serve; cd {FOLDER}; echo pool 0 0 0 > command; while :; do {again}; done",
    )
    operations = tmem(host)["global"]["Tt"]
    time.sleep(MIDDLE_S)
    during = {name: client(host, name) for name in (HOSTILE, VICTIM)}
    assert all(each["pools"] and each["frames"] for each in during.values()), during
    assert tmem(host)["global"]["Tt"] - operations > PAGES, "they are to be in the middle of it"
    destroy(host, HOSTILE, VICTIM)
    left = tmem(host)
    assert left["clients"] == []
    assert {tag: left["global"][tag] for tag in LEVELS} == dict.fromkeys(LEVELS, 0)
    assert 2 * death.given <= accounts(host).total - before <= 2 * death.given + IN_PARTS
    assert complaints(host) == []


def _in_background(host: EmulatedHost, guest: str, script: str) -> None:
    run(host, guest, f"(setsid sh -c '{script}' < /dev/null > /dev/null 2>&1 &)")
