"""What managers decide: as the originals did, within bounds whatever guests report, and by the
rules that were published.
"""

from __future__ import annotations

import ast
import json
import shutil
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from policies import decide, managers
from policies.managers import balloon, collaborative, mom, proxmox, psi, qmemman, smartmem, squeezed
from policies.managers.base import MOST, Change, Guest, Seen, freed_first

ROOT = Path(__file__).resolve().parents[2]
RECORDED = sorted((ROOT / "tests/data/managers").glob("*.json"))
MIB = 2**20
GIB = 2**30
UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""Nothing here is about time, and the machine may be busy."""


# --- The originals ------------------------------------------------------------------------------


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.stem)
def test_every_recorded_state_is_decided_as_the_original_did(path: Path) -> None:
    recorded = json.loads(path.read_text())
    assert len(recorded) >= 16
    decided = decide.decisions(path.stem.partition("-")[0], str(path))
    assert decided == [{"targets": each["targets"]} for each in recorded]


# --- Any state ----------------------------------------------------------------------------------

SIZES = st.one_of(
    st.integers(0, MOST),
    st.integers(0, 4 * GIB),
    st.integers(0, 300).map(lambda mib: mib * MIB),
    st.sampled_from([0, 1, 4095, 4096, 200 * MIB, GIB, MOST]),
)
"""Amounts: ordinary ones, round ones, and absurd ones."""

STATES = [(name, form) for name in managers.names() for form in managers.get(name).FORMS]
REPORTS = {"used", "free", "clean", "dirty", "stalled", "refaulted", "puts", "hits", "misses", "lost"}
"""Keys of a guest that are its own word, and so may be anything."""


def _values(name: str, hint: Any, least: int, *, of_guest: bool) -> st.SearchStrategy[Any]:
    if hint is bool:
        return st.sampled_from([False, False, False, True])
    signed = SIZES | SIZES.map(lambda size: -size) if least < 0 or (of_guest and name in REPORTS) else SIZES
    return signed | st.none() if type(None) in get_args(hint) else signed


@st.composite
def records(draw: st.DrawFn, record: type, *, of_guest: bool = False) -> Any:
    hints = get_type_hints(record)
    found = {}
    for each in fields(record):
        hint = hints[each.name]
        if get_origin(hint) is tuple:
            guests = draw(st.lists(records(get_args(hint)[0], of_guest=True), max_size=5))
            found[each.name] = tuple(replace(guest, domain=number) for number, guest in enumerate(guests))
        else:
            found[each.name] = draw(_values(each.name, hint, each.metadata["least"], of_guest=of_guest))
    if {"minimum", "maximum"} <= found.keys():
        found["minimum"], found["maximum"] = sorted((found["minimum"], found["maximum"]))
    return record(**found)


@pytest.mark.parametrize(("name", "form"), STATES, ids=lambda value: getattr(value, "__name__", value))
@UNHURRIED
@given(data=st.data())
def test_no_state_and_no_report_makes_a_manager_fail_or_leave_its_bounds(
    name: str, form: type, data: st.DataObject
) -> None:
    state = data.draw(records(form))
    decision = managers.get(name).decide(state)
    assert decision == managers.get(name).decide(state)
    guests = {each.domain: each for each in state.domains}
    for pairs in (decision.targets, decision.weights or (), decision.caps or ()):
        domains = [domain for domain, _ in pairs]
        assert len(set(domains)) == len(domains)
        assert set(domains) <= guests.keys()
    for domain, target in decision.targets:
        guest = guests[domain]
        assert isinstance(target, int)
        # for a request a twentieth more is taken, as in the original: it may be more than there is
        assert target >= (-(guest.actual // 20) - 1 if form is qmemman.Request else 0)
        assert target <= guest.maximum or target <= guest.actual
        if target < guest.actual:
            assert target >= getattr(guest, "minimum", target)
    for _, weight in decision.weights or ():
        assert 1 <= weight <= smartmem.MOST_WEIGHT
    for _, cap in decision.caps or ():
        assert cap >= 0


@pytest.mark.parametrize("name", ["squeezed", "psi", "collaborative"])
@UNHURRIED
@given(data=st.data())
def test_who_hands_out_memory_has_it(name: str, data: st.DataObject) -> None:
    manager = managers.get(name)
    state = data.draw(records(manager.FORMS[0]))
    actual = {each.domain: each.actual for each in state.domains}
    targets = manager.decide(state).targets
    assert sum(max(target - actual[domain], 0) for domain, target in targets) <= max(state.free, 0)
    gives = [target < actual[domain] for domain, target in targets]
    assert gives == sorted(gives, reverse=True)


@UNHURRIED
@given(data=st.data())
def test_psi_rests_while_it_would_decide_the_same(data: st.DataObject) -> None:
    state = data.draw(records(psi.State))
    rest = managers.rests(psi, state, psi.PUBLISHED)  # type: ignore[arg-type]
    assert 0 <= rest <= managers.MOST_REST
    for later in range(int(rest)):
        domains = tuple(replace(each, seconds=each.seconds + later) for each in state.domains)
        assert psi.decide(replace(state, domains=domains)) == psi.decide(state)


@UNHURRIED
@given(data=st.data())
def test_balloon_rests_until_its_next_step(data: st.DataObject) -> None:
    times = st.integers(0, 20_000)
    schedule = data.draw(st.lists(st.builds(balloon.Step, times, st.integers(0, 2), SIZES), max_size=4))
    parameters = balloon.Parameters(tuple(sorted(schedule, key=lambda step: step.at)))
    state = replace(data.draw(records(balloon.State)), elapsed=data.draw(times))
    rest = managers.rests(balloon, state, parameters)  # type: ignore[arg-type]
    assert rest > 0
    before = replace(state, elapsed=state.elapsed + round(rest * 1000) - 2)
    if before.elapsed >= state.elapsed:
        assert balloon.decide(before, parameters) == balloon.decide(state, parameters)
    begun = [step for step in schedule if step.at > state.elapsed and step.at <= state.elapsed + round(rest * 1000)]
    assert bool(begun) == (rest < managers.MOST_REST)


@pytest.mark.parametrize("name", ["qmemman", "mom", "psi", "hotplug", "collaborative", "smartmem"])
@UNHURRIED
@given(data=st.data())
def test_a_guest_without_a_report_is_left_out_and_changes_nothing(name: str, data: st.DataObject) -> None:
    manager = managers.get(name)
    state = data.draw(records(manager.FORMS[0]))
    silent = tuple(each for each in state.domains if any(value is None for value in vars(each).values()))
    decision = manager.decide(state)
    assert not {each.domain for each in silent} & {domain for domain, _ in decision.targets}
    assert (
        manager.decide(replace(state, domains=tuple(each for each in state.domains if each not in silent))) == decision
    )


@pytest.mark.parametrize("module", [qmemman, squeezed], ids=lambda module: module.__name__.rpartition(".")[2])
@UNHURRIED
@given(data=st.data())
def test_a_stuck_guest_is_left_out_and_changes_nothing(module: Any, data: st.DataObject) -> None:
    state = data.draw(records(module.State))
    following = replace(state, domains=tuple(each for each in state.domains if not each.no_progress))
    assert module.decide(state) == module.decide(following)


@UNHURRIED
@given(data=st.data())
def test_qmemman_hands_out_no_more_than_there_is(data: st.DataObject) -> None:
    ordinary = st.integers(0, 64 * GIB)
    guest = st.builds(
        qmemman.Domain,
        domain=st.just(0),
        actual=ordinary,
        maximum=ordinary,
        used=ordinary | st.none(),
        no_progress=st.booleans(),
    )
    guests = data.draw(st.lists(guest, max_size=8))
    numbered = tuple(replace(each, domain=number) for number, each in enumerate(guests))
    state = qmemman.State(data.draw(st.integers(-GIB, 64 * GIB)), numbered)
    actual = {each.domain: each.actual for each in numbered}
    assert sum(target - actual[domain] for domain, target in qmemman.decide(state).targets) <= max(state.free, 0)


@UNHURRIED
@given(data=st.data())
def test_proxmox_and_mom_take_small_steps(data: st.DataObject) -> None:
    state = data.draw(records(proxmox.State))
    actual = {each.domain: each.actual for each in state.domains}
    assert all(abs(target - actual[domain]) <= state.maxchange for domain, target in proxmox.decide(state).targets)
    hosts = data.draw(records(mom.State))
    actual = {each.domain: each.actual for each in hosts.domains}
    assert all(target >= int(0.95 * actual[domain]) for domain, target in mom.decide(hosts).targets)


# --- qmemman ------------------------------------------------------------------------------------


def guest(domain: int, actual: int, maximum: int, used: int | None, *, no_progress: bool = False) -> qmemman.Domain:
    return qmemman.Domain(domain, actual * MIB, maximum * MIB, None if used is None else used * MIB, no_progress)


def test_qmemman_knows_dom0_by_its_number() -> None:
    assert qmemman.preferred(guest(1, 500, 4096, 100)) == 200 * MIB
    assert qmemman.preferred(guest(0, 500, 4096, 100)) == int(100 * MIB * 1.3 + 350 * MIB)
    assert qmemman.preferred(guest(0, 500, 400, 100)) == 400 * MIB


@pytest.mark.parametrize("used", [10**9, -(10**9), 0])
def test_a_lying_guest_costs_the_others_no_more_than_its_maximum_says(used: int) -> None:
    liar = guest(2, 256, 512, used)
    honest = guest(1, 300, 1024, 150)
    told = dict(qmemman.decide(qmemman.State(0, (honest, liar))).targets)
    believed = replace(liar, used=min(max(used, 0), 512) * MIB)
    assert told == dict(qmemman.decide(qmemman.State(0, (honest, believed))).targets)


def test_an_idle_fat_guest_gives_to_one_that_starves() -> None:
    state = qmemman.State(0, (guest(1, 4000, 4096, 100), guest(2, 300, 4096, 290)))
    targets = qmemman.decide(state).targets
    assert [domain for domain, _ in targets] == [1, 2]  # who shrinks comes first
    assert dict(targets)[1] < 4000 * MIB
    assert dict(targets)[2] > 290 * 1.3 * MIB


@pytest.mark.parametrize(("surplus", "targets"), [(9, ((2, 999 * 300 * MIB // 1000),)), (10, ((1, 200 * MIB),))])
def test_when_memory_is_short_qmemman_does_not_ask_who_could_give_little(surplus: int, targets: object) -> None:
    state = qmemman.State(0, (guest(1, 200 + surplus, 1024, 100), guest(2, 300, 1024, 300)))
    assert qmemman.decide(state).targets == targets


def test_what_a_request_can_have_is_what_is_beyond_preferred_sizes() -> None:
    fat = guest(1, 600, 1024, 200)
    assert qmemman.decide(qmemman.Request(340 * MIB, (fat,))).targets == ((1, int(600 * MIB - 340 * MIB * 1.05)),)
    assert qmemman.decide(qmemman.Request(341 * MIB, (fat,))).targets == ()
    assert qmemman.decide(qmemman.Request(1, (replace(fat, no_progress=True),))).targets == ()
    assert qmemman.decide(qmemman.Request(0, ())).targets == ()


def test_targets_that_no_guest_can_have_are_the_originals_too() -> None:
    """What its rules make of an idle guest of 16 GiB, and of one that has more than its maximum,
    which is below the least preferred size. The daemon keeps bounds (actions.py).
    """
    idle = guest(1, 16 * 1024, 16 * 1024, 0)
    assert qmemman.decide(qmemman.Request(16184 * MIB, (idle,))).targets == ((1, int((16384 - 16184 * 1.05) * MIB)),)
    small = guest(1, 300, 128, 100)
    assert qmemman.decide(qmemman.State(-200 * MIB, (small,))).targets == ((1, 200 * MIB),)


@pytest.mark.parametrize(
    ("free", "used", "worth"), [(0, 390, False), (10, 390, False), (200, 390, True), (-16, 390, True), (20, 400, True)]
)
def test_qmemman_acts_only_on_what_is_worth_it(free: int, used: int, worth: bool) -> None:
    state = qmemman.State(free * MIB, (guest(1, 510, 4096, used),))
    assert qmemman.worth_acting(state, qmemman.decide(state)) is worth


def test_qmemman_counts_what_lies_free_as_a_change() -> None:
    """Two guests that would get 49 MiB each of 100: both together are more than 150."""
    alike = tuple(guest(number, 400, 4096, 200) for number in (1, 2))
    state = qmemman.State(100 * MIB, alike)
    decision = qmemman.decide(state)
    assert sum(target - 400 * MIB for _, target in decision.targets) < 150 * MIB
    assert qmemman.worth_acting(state, decision)


@pytest.mark.parametrize(
    ("actual", "target", "used", "left_out"),
    [
        (400, 300, 100, True),  # holds more than it was told, and than it needs
        (400, 300, 350, False),  # would starve at its last target
        (400, 320, 100, True),
        (324, 300, 100, False),  # near enough
        (300, 400, 100, False),  # was to grow, and did not: the original marks nobody for that
    ],
)
def test_qmemman_leaves_out_only_who_holds_what_it_does_not_need(
    actual: int, target: int, used: int, left_out: bool
) -> None:
    told = dict.fromkeys(qmemman.COUNTERS, 0) | {"meminfo.MemTotal": used * 1024}
    stuck = Guest(1, "guest1", actual * MIB, target * MIB, 0, 4096 * MIB, told, follows=False)
    (found,) = qmemman.state(Seen(0, 0, 0, (stuck,))).domains
    assert found.no_progress is left_out
    (follows,) = qmemman.state(Seen(0, 0, 0, (replace(stuck, follows=True),))).domains
    assert not follows.no_progress


def test_nobody_is_named_twice_where_any_donation_is_asked_for() -> None:
    parameters = qmemman.Parameters(least_donation=0)
    just_right = guest(1, 260, 4096, 200)
    assert [domain for domain, _ in qmemman.decide(qmemman.State(0, (just_right,)), parameters).targets] == [1]


# --- The others ---------------------------------------------------------------------------------


def test_squeezed_has_everybody_equally_far_between_their_bounds() -> None:
    domains = (
        squeezed.Domain(1, 400 * MIB, 100 * MIB, 500 * MIB, no_progress=False),
        squeezed.Domain(2, 100 * MIB, 100 * MIB, 300 * MIB, no_progress=False),
        squeezed.Domain(3, 999 * MIB, 100 * MIB, 300 * MIB, no_progress=True),
    )
    first = squeezed.decide(squeezed.State(72 * MIB, domains))
    assert first.targets == ((1, 300 * MIB),)  # half way; nothing is free yet for the other
    freed = (replace(domains[0], actual=300 * MIB), *domains[1:])
    assert squeezed.decide(squeezed.State(172 * MIB, freed)).targets == ((2, 200 * MIB),)


def test_squeezed_goes_to_the_minima_when_even_they_do_not_fit() -> None:
    domains = (squeezed.Domain(1, 150 * MIB, 100 * MIB, 500 * MIB, no_progress=False),)
    assert squeezed.decide(squeezed.State(0, domains)).targets == ((1, 100 * MIB),)


@pytest.mark.parametrize(
    ("free", "used", "target"),
    [
        (300, 400, 1050),  # enough: by 5 %
        (300, 900, 1100),  # to used and 20 % of what it has
        (300, 1500, 1200),  # to the maximum
        (100, 400, 950),  # short: by 5 %
        (100, 880, 980),  # to used and 10 %: half of the host's 20 % are free
        (100, 899, None),  # to 999, which is not worth it
        (100, 950, None),  # never upwards while the host is short
        (50, 990, 990),  # extreme: nothing is left free in the guest
        (20, 990, 960),  # less than it uses: it is to swap
    ],
)
def test_mom_follows_its_rules(free: int, used: int, target: int | None) -> None:
    domain = mom.Domain(1, 1000 * MIB, 200 * MIB, 1200 * MIB, used * MIB)
    decided = dict(mom.decide(mom.State(1000 * MIB, free * MIB, (domain,))).targets)
    assert decided.get(1) == (pytest.approx(target * MIB, abs=1) if target else None)


@pytest.mark.parametrize(
    ("stalled", "seconds", "target"),
    [
        (0, 6, 99.0),  # no pressure: gives 1 %
        (0, 5, None),  # but only at the interval's end
        (5_000, 6, 99.96),  # half the pressure: (2 ÷ 10)² of 1 %
        (10_000, 6, 99.99),  # just as much as is wanted
        (20_000, 0, 101.0),  # twice the pressure: (2 ÷ 20)²
        (200_000, 0, 150.0),  # twenty times: all, but the maximum says less
        (MOST, 0, 150.0),
    ],
)
def test_psi_gives_and_takes_as_senpai_does(stalled: int, seconds: int, target: float | None) -> None:
    domain = psi.Domain(1, 100 * MIB, 50 * MIB, 150 * MIB, stalled, seconds)
    decided = dict(psi.decide(psi.State(GIB, (domain,))).targets)
    assert decided.get(1) == (pytest.approx(target * MIB, abs=4096) if target else None)


@pytest.mark.parametrize(("since", "seconds"), [(0.99, 1), (5.99, 6), (6.01, 6), (5.4, 5)])
def test_psi_counts_whole_seconds_though_a_target_takes_a_moment(since: float, seconds: int) -> None:
    told = Guest(1, "guest1", MIB, MIB, 0, 2 * MIB, {"psi.memory.some": 1}, since_change=since)
    (found,) = psi.state(Seen(0, 0, 0, (told,))).domains
    assert found.seconds == seconds


def reporting(domain: int, **report: int) -> collaborative.Domain:
    nothing = {"free": 0, "clean": 0, "dirty": 0, "stalled": 0, "refaulted": 0}
    return collaborative.Domain(domain, 200 * MIB, 50 * MIB, 400 * MIB, **{**nothing, **report})


def test_collaborative_takes_unused_memory_at_once_and_clean_memory_only_for_somebody() -> None:
    rich = reporting(1, free=60 * MIB, clean=80 * MIB, dirty=40 * MIB)
    needy = reporting(2, refaulted=40 * MIB)
    alone = collaborative.decide(collaborative.State(0, (rich,)))
    assert alone.targets == ((1, 150 * MIB),)  # its free memory but 5 % of what it has
    enough = replace(needy, actual=380 * MIB)
    assert collaborative.decide(collaborative.State(0, (rich, enough))).targets == alone.targets
    short = collaborative.decide(collaborative.State(-20 * MIB, (rich, needy)))
    assert short.targets == ((1, 140 * MIB),)  # 60 are missing, 50 are unused, so 10 of the clean ones
    handed_out = collaborative.decide(collaborative.State(30 * MIB, (replace(rich, free=0, clean=0), needy)))
    assert handed_out.targets == ((2, 230 * MIB),)


def test_collaborative_takes_nothing_from_who_would_read_it_again_nor_what_is_dirty() -> None:
    for report in ({"refaulted": 2 * MIB}, {"stalled": 20_000}):
        pressed = reporting(1, free=60 * MIB, clean=80 * MIB, **report)
        assert collaborative.decide(collaborative.State(-100 * MIB, (pressed,))).targets == ()
    assert collaborative.decide(collaborative.State(-100 * MIB, (reporting(1, dirty=100 * MIB),))).targets == ()


def test_smartmem_goes_by_what_came_back_and_not_by_what_was_put() -> None:
    reader = smartmem.Domain(1, 500, puts=1000, hits=300, misses=100, lost=100)
    streamer = smartmem.Domain(2, 500, puts=9000, hits=0, misses=9000, lost=0)
    without = smartmem.Domain(3, 0, puts=None, hits=None, misses=None, lost=None)
    decision = smartmem.decide(smartmem.State(20_000, (reader, streamer, without)))
    assert decision.weights == ((1, 750), (2, 250))
    assert decision.caps == ((1, 0), (2, 1000))
    assert decision.targets == ()


def test_smartmem_treats_all_alike_when_nobody_gains() -> None:
    idle = tuple(smartmem.Domain(number, 500, puts=0, hits=0, misses=0, lost=0) for number in (1, 2))
    decision = smartmem.decide(smartmem.State(0, idle))
    assert decision.weights == ((1, 500), (2, 500))
    assert decision.caps == ((1, 0), (2, 0))


def test_growth_is_cut_alike_for_all_to_what_is_free() -> None:
    changes = (Change(1, 100, 300), Change(2, 500, 400), Change(3, 100, 200), Change(4, 7, 7))
    assert freed_first(changes, 30) == ((2, 400), (1, 120), (3, 110))
    assert freed_first(changes, 1000) == ((2, 400), (1, 300), (3, 200))
    assert freed_first(changes, -5) == ((2, 400),)


# --- Their modules ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", managers.names())
def test_every_key_and_constant_is_documented(name: str) -> None:
    manager = managers.get(name)
    assert isinstance(manager.PUBLISHED, manager.Parameters)
    for record in (manager.Parameters, *manager.FORMS):
        assert is_dataclass(record)
        for each in _all_fields(record):
            assert each.metadata["doc"], each.name


def _all_fields(record: Any) -> Iterable[Any]:
    for each in fields(record):
        yield each
        hint = get_type_hints(record)[each.name]
        if get_origin(hint) is tuple:
            yield from fields(get_args(hint)[0])


def test_they_import_the_standard_library_and_their_neighbours_only() -> None:
    for path in (ROOT / "policies/managers").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = []
            if isinstance(node, ast.Import):
                names = [each.name for each in node.names]
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                names = [node.module or ""]
            assert all(each.partition(".")[0] in sys.stdlib_module_names for each in names), (path.name, names)


def test_they_work_alone_under_a_bare_python_as_in_dom0(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "policies/managers", tmp_path / "carried", ignore=shutil.ignore_patterns("__pycache__"))
    program = (
        f"import sys; sys.path[:0] = [{str(tmp_path)!r}]; import carried; "
        "print(*[carried.get(name).FORMS[0].__name__ for name in carried.names()])"
    )
    done = subprocess.run([sys.executable, "-I", "-S", "-c", program], check=True, capture_output=True, text=True)
    assert done.stdout.split() == ["State"] * len(managers.names())
