"""Replays of traces: the hypervisor's hits come out, other orders' do not, and no order has more
than the bound.
"""

from __future__ import annotations

import json
import random
import sys
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from invoke.context import Context
from invoke.exceptions import Exit
from made_traces import Made, trace

from analysis import eviction, replay
from analysis.requests import Op, Requests, of_trace
from analysis.trace import SHARED, Kind, Trace
from common import environments
from common.errors import ResultsError
from tasks import tmem as tmem_tasks

Row = tuple[int, int, int, int]
NAME = 0x1230
"""An object of pool 0."""


def requests(*asked: tuple[Op, int]) -> Requests:
    op, page = zip(*asked, strict=True)
    return Requests(np.array(op, "u1"), np.array(page, "i4"), np.ones(max(page) + 1, "u2"), 0, 0)


def told(found: Requests) -> list[tuple[Op, int]]:
    return [(Op(op), page) for op, page in found]


# --- records become requests ----------------------------------------------------------------------


def test_operations_become_requests() -> None:
    rows = [(Kind.PUT, 1, NAME, 1), (Kind.OVER, 1, NAME, 1), (Kind.PUT, 1, NAME, 2), (Kind.HIT, 1, NAME, 1)]
    rows += [(Kind.MISS, 1, NAME, 1), (Kind.EVICTED, 1, NAME, 2), (Kind.FAILED, 1, NAME, 2)]
    rows += [(Kind.REFUSED, 1, NAME, 2), (Kind.FLUSH, 1, NAME, 3), (Kind.NO_FLUSH, 2, NAME, 1)]
    found = of_trace(trace(rows))
    assert told(found) == [
        (Op.PUT, 0),
        (Op.PUT, 0),
        (Op.PUT, 1),
        (Op.HIT, 0),
        (Op.MISS, 0),
        (Op.EVICT, 1),
        (Op.DROP, 1),
        (Op.DROP, 2),
        (Op.DROP, 3),
    ]
    assert list(found.guests) == [1, 1, 1, 2]
    assert (found.inherited, found.left_out, found.gets) == (0, 0, 2)


def test_objects_and_pools_go_with_all_that_a_cache_may_have_of_them() -> None:
    """Also with a page that the hypervisor had evicted, and that another policy may still hold;
    not with one that was got.
    """
    rows = [(Kind.PUT, 1, NAME, index) for index in range(3)]
    rows += [(Kind.EVICTED, 1, NAME, 0), (Kind.HIT, 1, NAME, 1), (Kind.OBJECT, 1, NAME, 0)]
    rows += [(Kind.NO_OBJECT, 1, NAME, 0), (Kind.PUT, 1, NAME + 1, 7), (Kind.PUT, 1, NAME, 8)]
    rows += [(Kind.PUT, 2, NAME + 1, 9), (Kind.POOL_GONE, 1, 1, 0)]
    drops = [page for op, page in told(of_trace(trace(rows))) if op == Op.DROP]
    assert drops == [0, 2, 3]


def test_hits_of_pages_that_were_there_before_are_counted_apart() -> None:
    rows = [(Kind.HIT, 1, NAME, 1), (Kind.EVICTED, 1, NAME, 2), (Kind.PUT, 1, NAME, 3), (Kind.HIT, 1, NAME, 3)]
    found = of_trace(trace([*rows, (Kind.HIT, 1, NAME, 3)]))
    assert [op for op, _ in told(found)] == [Op.PUT, Op.HIT]
    assert found.inherited == 2


def test_persistent_and_shared_pools_are_left_out() -> None:
    """A pool's kind holds from the beginning, and until another has its number."""
    rows: list[Row] = [(Kind.PUT, 1, NAME + 1, 1), (Kind.POOL, 1, 1, 1), (Kind.HIT, 1, NAME + 1, 1)]
    rows += [(Kind.POOL_GONE, 1, 1, 1), (Kind.POOL, 1, 1, 0), (Kind.PUT, 1, NAME + 1, 1)]
    rows += [(Kind.PUT, SHARED, NAME, 1), (Kind.POOL, 2, 1, 2), (Kind.MISS, 2, NAME + 1, 0)]
    found = of_trace(trace(rows))
    assert told(found) == [(Op.PUT, 0)]
    assert found.left_out == 4


# --- LRU that follows the hypervisor --------------------------------------------------------------


def hypervisor(seed: int, *, frames: int = 200, newest: bool = False, steps: int = 12000) -> Iterator[Row]:
    """Records of a tmem of three guests, simply said: the guest whose oldest page is the oldest
    gives up to four of its oldest. newest: its newest instead.
    """
    draw = random.Random(seed)
    held: dict[int, OrderedDict[tuple[int, int], int]] = {guest: OrderedDict() for guest in (1, 2, 3)}

    def victims() -> Iterator[Row]:
        guest = min((each for each in held if held[each]), key=lambda each: next(iter(held[each].values())))
        for _ in range(min(4, len(held[guest]))):
            name, index = held[guest].popitem(last=newest)[0]
            yield Kind.EVICTED, guest, name, index

    for step in range(steps):
        guest = draw.choice((1, 1, 2, 3))
        index = int(400 * draw.random() ** 2)
        page = (NAME + 16 * (index % 5), index)
        mine, now = held[guest], step // 40
        doing = draw.random()
        if doing < 0.5 and page in mine:
            mine[page] = now
            mine.move_to_end(page)
            yield Kind.OVER, guest, *page
        elif doing < 0.5:
            if sum(map(len, held.values())) >= frames:
                yield from victims()
            mine[page] = now
            yield Kind.PUT, guest, *page
        elif doing < 0.95:
            yield Kind.MISS if mine.pop(page, None) is None else Kind.HIT, guest, *page
        elif doing < 0.99:
            yield Kind.NO_FLUSH if mine.pop(page, None) is None else Kind.FLUSH, guest, *page
        else:
            gone = [each for each in mine if each[0] == page[0]]
            for each in gone:
                del mine[each]
            yield Kind.OBJECT if gone else Kind.NO_OBJECT, guest, page[0], 0


@pytest.mark.parametrize("seed", [1, 2, 2009])
def test_lru_has_the_hypervisors_hits(seed: int) -> None:
    found = of_trace(trace(hypervisor(seed)))
    of_guest = replay.follow(found, by_guest=True)
    assert of_guest.evictions > 400
    assert of_guest.told > 1000
    assert (of_guest.hits, of_guest.same) == (of_guest.told, of_guest.evictions)
    of_all = replay.follow(found)
    assert of_all.evictions == of_guest.evictions
    assert of_all.difference is not None
    assert abs(of_all.difference) <= eviction.CLOSE


@pytest.mark.parametrize("by_guest", [False, True])
def test_another_order_than_the_hypervisors_is_noticed(by_guest: bool) -> None:
    found = replay.follow(of_trace(trace(hypervisor(1, newest=True))), by_guest=by_guest)
    assert found.same < found.evictions / 2
    assert found.difference is not None
    assert abs(found.difference) > eviction.CLOSE


def test_without_hits_nothing_is_shown() -> None:
    assert replay.follow(requests((Op.PUT, 0), (Op.EVICT, 0), (Op.MISS, 0))).difference is None


def test_level_is_what_the_hypervisor_held() -> None:
    asked = [(Op.PUT, 0), (Op.PUT, 1), (Op.PUT, 2), (Op.PUT, 2), (Op.EVICT, 0), (Op.HIT, 1), (Op.EVICT, 2)]
    assert replay.level(requests(*asked)) == replay.Level(3, 2)
    assert replay.level(requests((Op.PUT, 0))) == replay.Level(1, None)


# --- room for so many pages -----------------------------------------------------------------------


def test_lru_evicts_what_was_put_longest_ago() -> None:
    asked = [(Op.PUT, 0), (Op.PUT, 1), (Op.PUT, 0), (Op.PUT, 2), (Op.MISS, 1), (Op.MISS, 0), (Op.MISS, 0)]
    assert replay.lru(requests(*asked), 2) == 1
    assert replay.lru(requests(*asked), 3) == 2


def test_a_put_is_wanted_by_the_next_get_of_its_page_only() -> None:
    asked = [(Op.PUT, 0), (Op.PUT, 0), (Op.EVICT, 0), (Op.MISS, 0), (Op.PUT, 1), (Op.DROP, 1), (Op.MISS, 1)]
    never = replay.NEVER
    assert list(replay.next_gets(requests(*asked))) == [never, 3, never, never, never, never, never]


def most_hits(asked: Sequence[tuple[Op, int]], pages: int) -> int:
    """By trying everything that a cache could keep."""
    states = {frozenset[int](): 0}
    for op, page in asked:
        after: dict[frozenset[int], int] = {}
        for held, hits in states.items():
            choices = [held - {page}]
            if op == Op.PUT:
                choices += [kept | {page} for kept in (held, *(held - {each} for each in held))]
            gained = hits + (op in {Op.HIT, Op.MISS} and page in held)
            for each in choices:
                if len(each) <= pages:
                    after[each] = max(after.get(each, 0), gained)
        states = after
    return max(states.values())


def test_nothing_has_more_hits_than_the_bound_and_something_has_as_many() -> None:
    draw = random.Random(7)
    reached = set()
    for _ in range(300):
        asked = [(draw.choice((Op.PUT, Op.PUT, Op.MISS, Op.MISS, Op.DROP)), draw.randrange(5)) for _ in range(16)]
        for pages in (1, 2, 3):
            best = replay.bound(requests(*asked), pages)
            assert best == most_hits(asked, pages)
            reached.add(best - replay.lru(requests(*asked), pages))
    assert min(reached) == 0
    assert max(reached) > 0


def test_a_guests_curve_falls_with_its_memory() -> None:
    found = of_trace(trace(hypervisor(3))).of(1)
    curve = replay.curve(found, [10, 50, 250])
    values = [value for value in curve.values() if value is not None]
    assert values == sorted(values, reverse=True)
    assert values[0] > values[-1]
    assert replay.curve(requests((Op.PUT, 0)), [5]) == {5: None}


# --- with libCacheSim -----------------------------------------------------------------------------


@pytest.fixture
def python(tmp_path: Path) -> Path:
    """An interpreter whose libCacheSim is made up."""
    path = tmp_path / "python"
    fake = Path(__file__).parent / "fake_libcachesim"
    path.write_text(f'#!/bin/sh\n[ "$1" = -I ] && shift\nPYTHONPATH={fake} exec {sys.executable} "$@"\n')
    path.chmod(0o755)
    return path


def with_counters(found: Trace, before: dict[int, int], after: dict[int, int]) -> Trace:
    told = ({"clients": [{"CI": guest, "Ge": hits} for guest, hits in each.items()]} for each in (before, after))
    return Trace(found.records, (), 0, 0, *told)


def test_policies_are_compared_in_parts_of_what_the_hypervisor_held(python: Path) -> None:
    made = trace(hypervisor(2))
    hits = made.count(Kind.HIT)
    found = eviction.compare(with_counters(made, {1: 5}, {1: hits + 4, 3: 1}), python)
    assert (found.told, found.inherited, found.counted) == (hits, 0, hits)
    assert found.agrees
    assert found.level.most == 200
    whole = found.level.evicting
    assert whole is not None
    assert found.sizes == (round(whole / 4), round(whole / 2), whole, 2 * whole)
    assert list(found.hits) == ["LRU", "FIFO", "SIEVE", "S3-FIFO", "ARC", "LFU", "Belady", eviction.BEST]
    requested = of_trace(made)
    for pages in found.sizes:
        assert found.hits["LRU"][pages] == replay.lru(requested, pages)
        assert replay.bound(requested, pages) == found.hits[eviction.BEST][pages] >= found.hits["LRU"][pages]
    assert sorted(found.curves) == [1, 2, 3]
    columns, rows = found.table()
    assert columns == ["hits of gets", *(f"{pages} pages" for pages in found.sizes)]
    assert rows[0] == ["LRU", *(f"{found.hits['LRU'][pages] / found.gets:.3f}" for pages in found.sizes)]
    assert f"{hits} of {found.gets} gets" in "\n".join(found.lines())
    assert found.record()["agrees"] is True


def test_small_rooms_are_not_made_up(python: Path) -> None:
    found = eviction.compare(trace(hypervisor(2, steps=500)), python, [8, 40])
    assert found.sizes == (8, 40)
    assert found.hits["S3-FIFO"][8] is None
    assert found.hits["S3-FIFO"][40] is not None
    assert found.table()[1][3][1] == "–"


@pytest.mark.parametrize(
    ("wrong", "said"), [("fifo", "do not agree"), ("stays", "ended with code 1"), ("grows", "ended with code 1")]
)
def test_a_libcachesim_that_goes_wrong_is_told(
    python: Path, wrong: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_LIBCACHESIM", wrong)
    with pytest.raises(ResultsError, match=said):
        eviction.compare(trace(hypervisor(2, steps=9000)), python, [50, 100, 150])


def test_counters_that_do_not_tell_are_no_figure() -> None:
    """A guest that has gone has taken its count along; in a shared pool, guests count the hits."""
    made = trace([(Kind.PUT, 1, NAME, 1)])
    assert eviction.counted_hits(with_counters(made, {1: 5}, {1: 9})) == 4
    assert eviction.counted_hits(with_counters(made, {1: 5, 2: 1}, {1: 9})) is None
    shared = trace([(Kind.HIT, SHARED, NAME, 1)])
    assert eviction.counted_hits(with_counters(shared, {1: 5}, {1: 9})) is None


def test_a_trace_of_nothing_compares_nothing(python: Path) -> None:
    found = eviction.compare(trace([]), python)
    assert found.agrees is None
    assert found.sizes == (eviction.LEAST,)
    assert found.table()[1][0] == ["LRU", "–"]


def test_the_task_says_what_each_policy_would_have_hit(
    python: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(environments, "interpreter", lambda _lock, _folder: python)
    path = Made().begin().add(hypervisor(2, steps=4000)).end().write(tmp_path / "some.trace.zst")
    tmem_tasks.replay.body(Context(), file=str(path), pages="30,60")
    said = capsys.readouterr().out
    assert "S3-FIFO" in said
    assert "60 pages" in said
    tmem_tasks.replay.body(Context(), file=str(path), pages="30", json=True)
    assert json.loads(capsys.readouterr().out)["hits"]["LRU"]["30"] > 0
    other = Made().begin().add(hypervisor(1, newest=True)).end().write(tmp_path / "other.trace.zst")
    with pytest.raises(Exit) as caught:
        tmem_tasks.replay.body(Context(), file=str(other), pages="30")
    assert caught.value.code == ResultsError.exit_code
