"""Compression and deduplication in tmem: nothing is lost by them, they save what they should, and
everything is given back.

The whole conformance suite runs again with each setting. Then pages of known contents are held in
guests (`mode=hold` of tmem/linux/test), while dom0 looks at tmem's counters. Without the mechanism
each of these tests fails: the counters would say that nothing was saved.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from shells import run

from lab.hosts.emulated import EmulatedHost
from lab.remote.ssh import DOM0
from tests.lab.test_conformance import RESULTS, SECONDS, Verdict, cases, parse_ktap

pytestmark = pytest.mark.lab

VERIFIED = Path(RESULTS).with_name("verified")
INDEX = 48
"""Frames that the index of the pages held here takes at most: records, buckets, roots."""
PAGES = 1024
SETTINGS = {"compress": "--compress 1 --dedup 0", "dedup": "--compress 0 --dedup 1", "both": "--compress 1 --dedup 1"}


class Tmem:
    """tmem as dom0 sees it, and pages that guests hold there."""

    def __init__(self, host: EmulatedHost) -> None:
        self.host = host
        self.domids = {name: int(host.run(DOM0, f"xl domid {name}")) for name in host.guests}
        for name in host.guests:  # a guest has settings from its first pool on
            with self.hold(name, pages=1):
                pass
        # What the guests keep for their first pools, and the table of contents, come from memory
        # that the suite counts on.
        self.give_up("guest3", 16)

    def give_up(self, guest: str, mib: int) -> None:
        """Shrink a guest, so that Xen has as much free."""
        wanted = self.charged(guest) // 256 - mib
        run(self.host, DOM0, f"xl mem-set {guest} {wanted}")
        shrunk = f"until [ $(xl list {guest} | awk 'NR == 2 {{ print $3 }}') -le {wanted} ]; do sleep 0.5; done"
        run(self.host, DOM0, shrunk, timeout=SECONDS)

    def read(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(run(self.host, DOM0, "tmemctl list --json"))
        return found

    def total(self) -> dict[str, int]:
        """The G line, and `used`: frames that contents and their index take, without those that
        are only at hand.
        """
        counters: dict[str, int] = self.read()["global"]
        return counters | {"used": counters["Fc"] - counters["Ta"]}

    def client(self, guest: str) -> dict[str, Any]:
        return next(each for each in self.read()["clients"] if each["CI"] == self.domids[guest])

    def charged(self, guest: str) -> int:
        """Pages that count for the domain's limit."""
        samples = self.host.read_counters()
        found = next(each.value for each in samples if each.source == guest and each.counter == "memory")
        assert found is not None
        return int(found)

    def set(self, guest: str, settings: str) -> None:
        run(self.host, DOM0, f"tmemctl set {self.domids[guest]} {settings}")

    @contextmanager
    def hold(
        self, guest: str, *, pages: int, content: str = "noise", copies: int = 1, persistent: bool = False
    ) -> Iterator[Callable[[], dict[str, int]]]:
        """Pages in a pool of the guest's, for a while. The function that it gives gets them all
        and counts how they came back.
        """
        options = f"samples={pages} content={content} copies={copies} persistent={int(persistent)}"
        report = run(self.host, guest, f"modprobe tmem_test mode=hold {options} && cat {RESULTS}", timeout=SECONDS)
        try:
            assert f"hold held={pages}" in report, report
            yield lambda: _counts(run(self.host, guest, f"cat {VERIFIED}", timeout=SECONDS))
        finally:
            run(self.host, guest, "rmmod tmem_test", timeout=SECONDS)


def _counts(text: str) -> dict[str, int]:
    return {name: int(count) for name, count in re.findall(r"(\w+)=(\d+)", text)}


def all_right(pages: int) -> dict[str, int]:
    return {"right": pages, "missed": 0, "wrong": 0}


@pytest.fixture(scope="module")
def tmem(host: EmulatedHost) -> Tmem:
    return Tmem(host)


@dataclass(frozen=True)
class Suite:
    """A run of the conformance suite: its verdicts, the settings that it ran with, and what it
    added to the client's counters.
    """

    verdicts: Mapping[str, Verdict]
    setting: str
    compressed: int
    deduplicated: int


@pytest.fixture(
    scope="module",
    params=["both", pytest.param("compress", marks=pytest.mark.long), pytest.param("dedup", marks=pytest.mark.long)],
)
def suite(request: pytest.FixtureRequest, tmem: Tmem) -> Suite:
    tmem.set("guest1", SETTINGS[request.param])
    before = tmem.client("guest1")
    script = f"modprobe tmem_test && cat {RESULTS}; status=$?; rmmod tmem_test; exit $status"
    verdicts = parse_ktap(run(tmem.host, "guest1", script, timeout=SECONDS))
    after = tmem.client("guest1")
    return Suite(verdicts, request.param, after["cp"] - before["cp"], after["deduplicated"] - before["deduplicated"])


@pytest.mark.parametrize("case", cases())
def test_tmem_keeps_its_abi_with(suite: Suite, case: str) -> None:
    verdict = suite.verdicts.get(case)
    assert verdict is not None, "the module in the guest has no such case: is its artifact older than the source?"
    if verdict.outcome == "skipped":
        pytest.skip(verdict.reason)
    assert verdict.outcome == "passed", verdict.reason


def test_the_suite_used_what_was_set(suite: Suite) -> None:
    assert (suite.compressed > 100) == (suite.setting in ("compress", "both"))
    assert (suite.deduplicated > 10) == (suite.setting in ("dedup", "both"))


def test_nothing_of_the_suite_is_left(suite: Suite, tmem: Tmem) -> None:
    counters = tmem.client("guest1")
    for tag in ("Ec", "persistent", "objects", "short_bytes", "lz4_bytes"):
        assert counters[tag] == 0, tag
    assert counters["frames"] - counters["free_frames"] == counters["nodes"] < INDEX


@pytest.mark.parametrize("persistent", [False, True])
def test_compression_saves_frames(tmem: Tmem, persistent: bool) -> None:
    used: dict[int, int] = {}
    charged: dict[int, int] = {}
    for compress in (0, 1):
        tmem.set("guest1", f"--compress {compress} --dedup 0")
        before, client = tmem.total(), tmem.client("guest1")
        with tmem.hold("guest1", pages=PAGES, content="text", persistent=persistent) as verify:
            held = tmem.total()
            used[compress] = held["used"] - before["used"]
            charged[compress] = tmem.charged("guest1")
            stored = tmem.client("guest1")["cp"] - client["cp"]
            written = tmem.client("guest1")["cb"] - client["cb"]
            assert stored == (PAGES if compress else 0)
            assert held["Gz"] - before["Gz"] == written
            assert verify() == all_right(PAGES)
    assert used[0] >= PAGES
    assert used[1] <= 0.7 * PAGES + INDEX
    if persistent:
        saved = charged[0] - charged[1]
        assert 0.3 * PAGES <= saved <= PAGES, "the domain has to be charged by what it takes"


def test_incompressible_pages_are_stored_whole(tmem: Tmem) -> None:
    tmem.set("guest1", "--compress 1 --dedup 0")
    before, client = tmem.total(), tmem.client("guest1")
    with tmem.hold("guest1", pages=PAGES, content="noise", persistent=True) as verify:
        held, now = tmem.total(), tmem.client("guest1")
        assert now["cn"] - client["cn"] == PAGES
        assert now["cp"] == client["cp"]
        assert PAGES <= held["used"] - before["used"] <= PAGES + INDEX
        assert verify() == all_right(PAGES)


@pytest.mark.parametrize("setting", sorted(SETTINGS))
def test_pages_of_zeros_need_no_frames(tmem: Tmem, setting: str) -> None:
    tmem.set("guest1", SETTINGS[setting])
    before = tmem.total()["used"]
    with tmem.hold("guest1", pages=PAGES, content="zero") as verify:
        assert tmem.total()["used"] - before <= INDEX
        assert verify() == all_right(PAGES)


def test_records_of_persistent_zeros_are_paid_for(tmem: Tmem) -> None:
    """A page of zeros takes no frame, but its record does its part: 63 to a slab, and a page of
    buckets for six of those.
    """
    tmem.set("guest1", SETTINGS["compress"])
    charged = {}
    for pages in (1, PAGES):  # the module first balloons memory out, the same for both
        with tmem.hold("guest1", pages=pages, content="zero", persistent=True) as verify:
            charged[pages] = tmem.charged("guest1")
            assert verify() == all_right(pages)
    paid = charged[PAGES] - charged[1]
    assert PAGES // 63 - 1 <= paid <= PAGES // 63 * 5 // 4 + 3


@pytest.mark.parametrize("setting", sorted(SETTINGS))
def test_evicting_zeros_yields_the_frames_of_their_records(tmem: Tmem, setting: str) -> None:
    tmem.set("guest1", SETTINGS[setting])
    with tmem.hold("guest1", pages=PAGES, content="zero"):
        held = tmem.client("guest1")["Ec"]
        flushed = json.loads(run(tmem.host, DOM0, f"tmemctl flush {tmem.domids['guest1']} {PAGES} --json"))
        assert flushed["dropped"] == held
        assert held // 64 <= flushed["freed"]
        assert tmem.client("guest1")["Ec"] == 0


def test_tails_of_zeros_are_not_stored(tmem: Tmem) -> None:
    tmem.set("guest1", "--compress 1 --dedup 0")
    before = tmem.total()
    with tmem.hold("guest1", pages=PAGES, content="tail") as verify:
        held = tmem.total()
        stored = held["Zt"] - before["Zt"]
        assert 0 < stored < PAGES * 4096 // 2
        assert stored // 4096 <= held["used"] - before["used"] <= 0.85 * PAGES
        assert verify() == all_right(PAGES)


def test_equal_pages_of_guests_that_agree_share_frames(tmem: Tmem) -> None:
    tmem.set("guest1", "--compress 0 --dedup 1")
    tmem.set("guest2", "--compress 0 --dedup 1")
    tmem.set("guest3", "--compress 0 --dedup 0")
    contents = PAGES // 4
    before = tmem.total()
    with tmem.hold("guest2", pages=contents) as verify_second:
        with tmem.hold("guest1", pages=PAGES, copies=4) as verify_first:
            held = tmem.total()
            assert held["Ec"] - before["Ec"] == PAGES + contents
            assert held["Sc"] - before["Sc"] == contents
            assert held["Gd"] - before["Gd"] == PAGES
            assert contents <= held["used"] - before["used"] <= contents + INDEX
            # Who has not opted in neither finds nor offers anything.
            with tmem.hold("guest3", pages=contents) as verify_third:
                third = tmem.total()
                assert third["Gd"] == held["Gd"]
                assert third["Sc"] - held["Sc"] == contents
                assert third["used"] - held["used"] >= contents
                assert verify_third() == all_right(contents)
            assert verify_first() == all_right(PAGES)
        # One that shared them has gone.
        left = tmem.total()
        assert left["Sc"] - before["Sc"] == contents
        assert left["used"] - before["used"] >= contents
        assert verify_second() == all_right(contents)
    end = tmem.total()
    assert end["Sc"] == end["Ec"] == 0
    assert end["used"] <= before["used"] + INDEX


def test_persistent_pages_are_never_shared(tmem: Tmem) -> None:
    tmem.set("guest1", "--compress 0 --dedup 1")
    before = tmem.total()
    with tmem.hold("guest1", pages=PAGES, copies=4, persistent=True) as verify:
        held = tmem.total()
        assert held["Gd"] == before["Gd"]
        assert held["used"] - before["used"] >= PAGES
        assert verify() == all_right(PAGES)


@pytest.mark.parametrize("content", ["text", "noise", "tail"])
@pytest.mark.parametrize("setting", sorted(SETTINGS))
def test_evicting_yields_whole_frames(tmem: Tmem, setting: str, content: str) -> None:
    wanted = 100
    tmem.set("guest1", SETTINGS[setting])
    with tmem.hold("guest1", pages=PAGES, content=content) as verify:
        before = tmem.total()
        given = int(run(tmem.host, DOM0, f"tmemctl flush {tmem.domids['guest1']} {wanted}"))
        after = tmem.total()
        assert given >= wanted
        assert given <= before["Fc"] - after["Fc"] <= given + INDEX
        dropped = before["Ec"] - after["Ec"]
        assert dropped == after["Et"] - before["Et"] > 0
        assert verify() == {"right": PAGES - dropped, "missed": dropped, "wrong": 0}


def test_settings_are_changed_by_the_control_domain_and_told(tmem: Tmem) -> None:
    tmem.set("guest1", "--compress 1 --dedup 1")
    client = tmem.client("guest1")
    assert (client["co"], client["dedup"]) == (1, 1)
    lines = run(tmem.host, DOM0, "tmemctl list -l")
    assert re.search(rf"^C=CI:{tmem.domids['guest1']},.*\bco:1,", lines, re.MULTILINE)
    tmem.set("guest1", "--compress 0 --dedup 0")
    client = tmem.client("guest1")
    assert (client["co"], client["dedup"]) == (0, 0)
    refused = run(tmem.host, DOM0, f"tmemctl set {tmem.domids['guest1']} --compress 2; echo status $?")
    assert refused.strip().endswith("status 2")
