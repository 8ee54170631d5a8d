"""What a reviewer would throw out of the verdicts: a control that felt nothing, sizes that were
never compared, certainty by accident.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from pathlib import Path

import analysis_campaign as made_up
import pytest

from analysis import claims, load, report, sections, totals
from campaigns.records import CellRecord, Claim, Comparison, Expectation
from common.metrics import Metric

Values = Callable[[CellRecord], float | None]


def _claim(direction: str = "decrease", *, metric: str = "sectors_read", **options: object) -> Claim:
    expectation = Expectation(direction, **options)  # type: ignore[arg-type]
    compare = Comparison("selfballoon+tmem", "selfballoon")
    return Claim("c", "s", "src", "quoted", metric, "sum", compare, expectation)


def _judge(
    tmp_path: Path,
    claim: Claim,
    values: Values,
    *,
    repetitions: int = 5,
    felt: float | None = 5000.0,
    levels: Sequence[dict[str, object]] = ({},),
    **options: object,
) -> list[claims.Verdict]:
    """Verdicts on cells of one guest whose metric has these values, and in which each guest
    reclaimed so many pages.
    """

    def change(record: CellRecord) -> CellRecord:
        metrics = [Metric(claim.metric, "sectors", values(record), "guest1")]
        if felt is not None:
            metrics.append(Metric("pages_reclaimed", "pages", felt, "guest1"))
            metrics.append(Metric("refaults", "pages", 0, "guest1"))
            metrics.append(Metric("memory_stall_seconds", "s", 0.0, "guest1"))
        metrics.append(Metric("wall_seconds", "s", 100.0, "guest1"))
        return dataclasses.replace(record, metrics=tuple(metrics))

    directory = made_up.write_campaign(
        tmp_path,
        repetitions=repetitions,
        levels=levels,
        claims=[claim],
        change=change,
        samples=False,
        **options,  # type: ignore[arg-type]
    )
    return claims.judge(load.load(directory))


def _spread(record: CellRecord, factor: float, noise: float = 0.01) -> float:
    """1000 × factor for tmem, 1000 for others, with a spread between repetitions that pairs do
    not share.
    """
    tmem = "tmem" in record.policy
    wobble = noise * (-1) ** record.repetition if tmem else 0.0
    return round(100_000 * (factor if tmem else 1.0) * (1 + 0.01 * record.repetition + wobble))


def test_what_the_control_never_felt_cannot_be_relieved(tmp_path: Path) -> None:
    """The published campaigns' "contradicted, p < 0.0001": no static cell had reclaimed a page."""
    for factor in (0.6, 1.56):
        (got,) = _judge(tmp_path / str(factor), _claim(ratio_best=0.48), lambda r, f=factor: _spread(r, f), felt=0)
        assert got.verdict == "not testable here"
        assert got.magnitude is not None
        assert got.magnitude.word == "not testable here"
        assert (got.p, got.p_adjusted, got.testable) == (None, None, False)
        assert got.wording.startswith("Not testable here: selfballoon felt too little")
        assert (
            "0 pages reclaimed, 0 refaults, 0 % of the time waiting for memory, in the least of 5 cells" in got.wording
        )
        assert got.ratio.estimate == pytest.approx(factor, rel=0.02), "the figure is told all the same"


def test_what_was_not_measured_is_not_taken_for_felt(tmp_path: Path) -> None:
    (got,) = _judge(tmp_path, _claim(), lambda r: _spread(r, 0.6), felt=None)
    assert got.verdict == "not testable here"
    assert "pages reclaimed not measured" in got.reason


def test_one_cell_of_the_control_that_felt_nothing_is_enough_to_doubt(tmp_path: Path) -> None:
    claim = _claim()

    def change(record: CellRecord) -> CellRecord:
        if record.cell != "selfballoon.r2":
            return record
        quiet = {"pages_reclaimed", "refaults", "memory_stall_seconds"}
        return dataclasses.replace(
            record, metrics=tuple(dataclasses.replace(m, value=0) if m.name in quiet else m for m in record.metrics)
        )

    directory = made_up.write_campaign(tmp_path, claims=[claim], change=change, samples=False)
    assert claims.judge(load.load(directory))[0].verdict == "not testable here"
    loud = made_up.write_campaign(tmp_path, claims=[claim], samples=False, name="loud")
    assert claims.judge(load.load(loud))[0].verdict == "supports"


@pytest.mark.parametrize(
    ("relief", "verdict"),
    [
        ({"pages_reclaimed": 6000}, "not testable here"),
        ({"pages_reclaimed": 4000}, "supports"),
        ({"refaults": 1}, "not testable here"),
        ({"refaults": 1, "pages_reclaimed": 4000}, "supports"),
        ({"memory_stall": 0.001}, "not testable here"),
    ],
)
def test_the_experiment_says_how_much_is_enough(tmp_path: Path, relief: dict[str, float], verdict: str) -> None:
    (got,) = _judge(tmp_path, _claim(), lambda r: _spread(r, 0.6), gates={"relief": relief})
    assert got.verdict == verdict


def test_pressure_stall_is_a_share_of_the_guests_time(tmp_path: Path) -> None:
    results = load.load(made_up.write_campaign(tmp_path, repetitions=1, samples=False))
    (got, *_) = claims.judge(results)
    assert got.felt is not None
    (cell,) = results.at(got.claim.compare.control, "")
    stalled = [each.value for each in cell.metrics if each.name == "memory_stall_seconds" and each.value is not None]
    seconds = totals.run_seconds(results, cell)
    assert len(stalled) == len(made_up.GUESTS)
    assert seconds is not None
    assert got.felt.memory_stall == pytest.approx(math.fsum(stalled) / (3 * seconds))


def test_only_claims_of_relief_need_a_control_that_suffered(tmp_path: Path) -> None:
    worse = _claim("increase")
    (got,) = _judge(tmp_path / "a", worse, lambda r: _spread(r, 1.6), felt=0)
    assert (got.verdict, got.felt) == ("supports", None)
    (told,) = _judge(tmp_path / "b", dataclasses.replace(worse, relief=True), lambda r: _spread(r, 1.6), felt=0)
    assert told.verdict == "not testable here"
    (waived,) = _judge(tmp_path / "c", dataclasses.replace(_claim(), relief=False), lambda r: _spread(r, 0.6), felt=0)
    assert waived.verdict == "supports"


def test_a_claim_that_is_not_testable_leaves_the_others_their_family(tmp_path: Path) -> None:
    able = dataclasses.replace(_claim(), relief=False)
    claims_ = [able, dataclasses.replace(able, id="d", relief=True)]

    def change(record: CellRecord) -> CellRecord:
        metrics = (Metric("sectors_read", "sectors", _spread(record, 0.97, 0.02), "guest1"),)
        return dataclasses.replace(record, metrics=metrics)

    directory = made_up.write_campaign(tmp_path, repetitions=5, claims=claims_, change=change, samples=False)
    first, second = claims.judge(load.load(directory))
    assert second.verdict == "not testable here"
    assert first.p is not None
    assert first.p_adjusted == first.p


def test_every_verdict_says_whose_choice_the_control_is(tmp_path: Path) -> None:
    (ours,) = _judge(tmp_path / "a", _claim(), lambda r: _spread(r, 0.6))
    assert "Control: selfballoon; the source names none, it is our choice." in ours.wording
    (theirs,) = _judge(tmp_path / "b", dataclasses.replace(_claim(), control_from="source"), lambda r: _spread(r, 0.6))
    assert "Control: selfballoon; the source names it." in theirs.wording


def test_a_thousandth_fewer_is_a_direction_and_no_reproduction(tmp_path: Path) -> None:
    (got,) = _judge(tmp_path, _claim(ratio_best=0.48), lambda r: _spread(r, 0.999, 1e-5))
    assert got.verdict == "supports"
    assert got.magnitude is not None
    assert got.magnitude.word == "falls short"
    assert got.magnitude.p_adjusted is not None
    assert got.magnitude.p_adjusted < 0.001
    assert got.wording.startswith("Supported in direction")
    assert "falls short" in got.wording
    assert "reproduced" not in got.wording.lower()
    old = _claim(ratio_low=0.48)
    (same,) = _judge(tmp_path / "old", old, lambda r: _spread(r, 0.999, 1e-5))
    assert same.magnitude == got.magnitude, "a range that is open towards no effect is an `up to`"


@pytest.mark.parametrize(
    ("expectation", "factor", "noise", "word"),
    [
        ({"ratio_best": 0.48}, 0.40, 0.01, "reached"),
        ({"ratio_best": 0.48}, 0.60, 0.01, "falls short"),
        ({"ratio_best": 0.48}, 0.48, 0.05, "leaves open"),
        ({"ratio_best": 0.48, "tolerance": 0.1}, 0.49, 0.01, "reached"),
        ({"ratio_low": 0.48, "ratio_high": 0.69}, 0.60, 0.01, "reached"),
        ({"ratio_low": 0.48, "ratio_high": 0.69}, 0.30, 0.01, "exceeds"),
        ({"ratio_low": 0.48, "ratio_high": 0.69}, 0.90, 0.01, "falls short"),
        ({"ratio_low": 0.48, "ratio_high": 0.69}, 0.68, 0.05, "leaves open"),
        ({"ratio_high": 0.8}, 0.6, 0.01, "reached"),
        ({"ratio_high": 0.8}, 0.9, 0.01, "falls short"),
        ({"ratio_low": 0.6, "ratio_high": 0.6}, 0.6, 0.01, "leaves open"),
        ({"ratio_low": 0.6, "ratio_high": 0.6, "tolerance": 0.05}, 0.6, 0.01, "reached"),
    ],
)
def test_magnitudes(tmp_path: Path, expectation: dict[str, float], factor: float, noise: float, word: str) -> None:
    (got,) = _judge(tmp_path, _claim(**expectation), lambda r: _spread(r, factor, noise))
    assert got.verdict == "supports"
    assert got.magnitude is not None
    assert got.magnitude.word == word
    assert ("Reproduced" in got.wording) == (word == "reached")


def test_magnitudes_of_an_increase_are_the_mirror_image(tmp_path: Path) -> None:
    for name, expectation, factor, word in (
        ("best", {"ratio_best": 1.5}, 1.8, "reached"),
        ("short", {"ratio_best": 1.5}, 1.2, "falls short"),
        ("range", {"ratio_low": 1.2, "ratio_high": 1.5}, 1.8, "exceeds"),
    ):
        claim = _claim("increase", **expectation)
        (got,) = _judge(tmp_path / name, claim, lambda r, f=factor: _spread(r, f))
        assert got.magnitude is not None
        assert got.magnitude.word == word


def test_a_best_case_is_judged_at_the_best_level_and_pays_for_the_choice(tmp_path: Path) -> None:
    factors = {2: 0.7, 8: 0.6, 16: 0.4}
    levels = [{"jobs": jobs} for jobs in factors]
    claim = _claim(ratio_best=0.48)
    got = _judge(tmp_path, claim, lambda r: _spread(r, factors[int(str(r.levels["jobs"]))]), levels=levels)
    words = {v.levels: v.magnitude.word for v in got if v.magnitude}
    assert words == {"jobs=2": "leaves open", "jobs=8": "leaves open", "jobs=16": "reached"}
    (alone,) = _judge(tmp_path / "alone", claim, lambda r: _spread(r, 0.4))
    best = next(v.magnitude for v in got if v.levels == "jobs=16")
    assert best is not None
    assert best.p == pytest.approx(3 * alone.magnitude.p)  # type: ignore[union-attr,operator]
    assert "judged at the best level, jobs=16" in got[0].wording


def test_a_recalled_figure_is_never_reached(tmp_path: Path) -> None:
    claim = dataclasses.replace(_claim(ratio_low=0.5, ratio_high=0.7), evidence="recalled")
    (got,) = _judge(tmp_path, claim, lambda r: _spread(r, 0.6))
    assert got.verdict == "supports"
    assert got.magnitude is not None
    assert got.magnitude.word == "leaves open"
    assert "recalled" in got.magnitude.reason
    assert "reproduced" not in got.wording.lower()


def test_no_reads_at_all_is_the_largest_effect_there_is(tmp_path: Path) -> None:
    for name, noise in (("spread", 0.01), ("constant", 0.0)):
        (got,) = _judge(
            tmp_path / name,
            _claim(ratio_best=0.48),
            lambda r, n=noise: 0 if "tmem" in r.policy else 100_000 * (1 + n * r.repetition),
        )
        assert got.verdict == "supports"
        assert got.magnitude is not None
        assert got.magnitude.word == "reached"
        assert got.p is not None
        assert 0 < got.p < 0.001


def test_one_cell_that_read_nothing_is_not_the_end_of_the_test(tmp_path: Path) -> None:
    def values(record: CellRecord) -> float:
        return 0 if record.cell == "selfballoon+tmem.r3" else _spread(record, 0.2)

    (got,) = _judge(tmp_path, _claim(), values)
    assert got.verdict == "supports"
    assert got.ratio.method == "paired Fieller"
    assert got.ratio.tested
    assert "a value is 0" in got.reason


def test_a_control_of_nothing_is_no_division_by_nothing(tmp_path: Path) -> None:
    (got,) = _judge(tmp_path, _claim(), lambda r: _spread(r, 0.6) if "tmem" in r.policy else 0)
    assert got.verdict == "contradicts"
    assert got.ratio.estimate is None
    (none,) = _judge(tmp_path / "none", _claim(), lambda r: 0)
    assert (none.verdict, none.p) == ("leaves open", None)
    assert "both sides are 0" in none.wording


def test_two_repetitions_without_variation_are_observed_and_not_tested(tmp_path: Path) -> None:
    (got,) = _judge(
        tmp_path, _claim(ratio_best=0.48), lambda r: 40_000 if "tmem" in r.policy else 100_000, repetitions=2
    )
    assert (got.verdict, got.p, got.ratio.low) == ("leaves open", None, None)
    assert got.wording.startswith("Observed, not tested: in line with the claim.")
    assert "two repetitions without variation" in got.wording
    (five,) = _judge(tmp_path / "five", _claim(), lambda r: 40_000 if "tmem" in r.policy else 100_000)
    assert five.verdict == "supports"
    assert five.p


def test_the_interval_names_the_level_that_was_repeated(tmp_path: Path) -> None:
    (runs,) = _judge(tmp_path / "runs", _claim(), lambda r: _spread(r, 0.6))
    assert "n = 5 runs of one boot" in runs.wording
    shift = {1: 0.5, 2: 0.6, 3: 0.7}

    def values(record: CellRecord) -> float:
        return _spread(record, shift[record.boot or 1])

    (boots,) = _judge(tmp_path / "boots", _claim(), values, repetitions=9, boots=3)
    assert "n = 3 boots of 3 runs each" in boots.wording
    assert (boots.ratio.n, boots.ratio.repeated) == (3, "boot")


def test_an_interval_over_few_boots_has_the_range_of_single_runs_beside_it(tmp_path: Path) -> None:
    """Three boots whose runs spanned 1.009 to 1.135 had means of 1.06, 1.07 and 1.07."""

    def values(record: CellRecord) -> float:
        effect = {1: 1.0, 2: 1.1, 3: 1.21}[record.run or 1] * (1 + 0.001 * (record.boot or 1))
        return 100_000 * (effect if "tmem" in record.policy else 1)

    (got,) = _judge(tmp_path, _claim("increase"), values, repetitions=9, boots=3)
    assert got.ratio.single == (pytest.approx(1.001), pytest.approx(1.21 * 1.003))
    assert got.ratio.high is not None
    assert got.ratio.high < got.ratio.single[1]  # type: ignore[index]
    assert "single runs 1 to 1.21, n = 3 boots of 3 runs each" in got.wording
    row = claims.frame([got]).iloc[0]
    assert (row["single_low"], row["single_high"]) == got.ratio.single
    results = load.load(tmp_path / "made-up")
    table = next(part for part in sections.compared(results) if isinstance(part, sections.Table))
    assert table.columns[-3:] == ("95 % interval", "single runs", "over")
    mine = next(row for row in table.rows if row[0] == "selfballoon+tmem ÷ selfballoon" and "sectors read" in row[2])
    assert mine[-2] == "1 to 1.21"
    assert "single runs 1.00 to 1.21" in report.paragraph(results)
    assert "the range of single runs, pairs of one block each" in sections.repetition(results)


@pytest.mark.parametrize(("repetitions", "boots"), [(3, 3), (5, None), (12, 6)])
def test_runs_that_are_the_repetitions_or_are_of_many_boots_are_not_told_twice(
    tmp_path: Path, repetitions: int, boots: int | None
) -> None:
    (got,) = _judge(tmp_path, _claim(), lambda r: _spread(r, 0.6), repetitions=repetitions, boots=boots)
    assert (got.ratio.single, "single runs" in got.wording) == (None, False)
    results = load.load(tmp_path / "made-up")
    assert "single runs" not in sections.repetition(results)
    assert "single runs" not in "\n".join(sections.compared(results))


def test_the_tables_hold_both_verdicts_and_what_the_control_felt(tmp_path: Path) -> None:
    got = claims.frame(_judge(tmp_path, _claim(ratio_best=0.48), lambda r: _spread(r, 1.56), felt=0))
    row = got.iloc[0]
    assert (row["verdict"], row["magnitude"], row["control_from"]) == ("not testable here",) * 2 + ("ours",)
    assert (row["control_pages_reclaimed"], row["control_refaults"], row["testable"]) == (0, 0, False)
    assert (row["repeated"], row["boots"], row["runs"], row["published"]) == ("run", 1, 5, "0.48 at best")


@pytest.mark.parametrize("name", ["reference", "reference-repeated"])
def test_the_published_campaigns_claim_nothing_of_a_control_that_felt_nothing(name: str) -> None:
    results = load.load(Path(__file__).resolve().parents[2] / "results" / name)
    for verdict in claims.judge(results):
        if verdict.felt is None:  # nothing of it was measured: a starved cell has no times
            assert verdict.verdict == "leaves open"
            continue
        quiet = verdict.felt.pages_reclaimed == 0 and verdict.felt.refaults == 0 and not verdict.felt.memory_stall
        assert not quiet or verdict.verdict == "not testable here"
