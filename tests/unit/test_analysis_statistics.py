"""Student's t for ratios: known values, coverage, and the edges (one repetition, zeros,
constants, gaps).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats

from analysis import statistics


def test_paired_interval_is_scipys_on_the_logarithms() -> None:
    above, below = [110.0, 95.0, 130.0, 101.0], [200.0, 210.0, 190.0, 205.0]
    got = statistics.paired_ratio(above, below)
    reference = stats.ttest_rel(np.log(above), np.log(below))
    interval = reference.confidence_interval(0.95)
    assert got.p == pytest.approx(reference.pvalue)
    assert got.estimate == pytest.approx(math.exp(np.mean(np.log(above) - np.log(below))))
    assert (got.low, got.high) == (pytest.approx(math.exp(interval.low)), pytest.approx(math.exp(interval.high)))
    assert (got.n, got.method) == (4, "paired t")


def test_unpaired_interval_is_scipys_welch() -> None:
    above, below = [110.0, 95.0, 130.0], [200.0, 210.0, 190.0, 205.0, 260.0]
    got = statistics.welch_ratio(above, below)
    reference = stats.ttest_ind(np.log(above), np.log(below), equal_var=False)
    interval = reference.confidence_interval(0.95)
    assert got.p == pytest.approx(reference.pvalue)
    assert (got.low, got.high) == (pytest.approx(math.exp(interval.low)), pytest.approx(math.exp(interval.high)))
    assert (got.n, got.method) == (3, "Welch t")


def test_centre_by_hand() -> None:
    # logs 0, 1, 2: mean 1, standard error 1/sqrt(3), t(0.975, 2) = 4.30265
    got = statistics.centre([1.0, math.e, math.e**2])
    half = 4.302652729911275 / math.sqrt(3)
    assert got.mean == pytest.approx(math.e)
    assert (got.low, got.high) == (pytest.approx(math.exp(1 - half)), pytest.approx(math.exp(1 + half)))


@pytest.mark.parametrize("n", [3, 5])
def test_coverage_is_what_it_promises(n: int) -> None:
    random = np.random.default_rng(20090713)
    truth, runs, hits = 0.6, 1500, 0
    for _ in range(runs):
        block = random.normal(0, 0.2, n)
        below = np.exp(8 + block + random.normal(0, 0.1, n))
        above = truth * np.exp(8 + block + random.normal(0, 0.1, n))
        got = statistics.paired_ratio(above.tolist(), below.tolist())
        assert got.low is not None
        assert got.high is not None
        hits += got.low <= truth <= got.high
    assert 0.93 <= hits / runs <= 0.97


def test_one_repetition_has_a_ratio_and_no_interval() -> None:
    for blocked in (True, False):
        got = statistics.ratio({1: 50.0}, {1: 100.0}, blocked=blocked)
        assert got.estimate == pytest.approx(0.5)
        assert (got.low, got.high, got.p, got.tested) == (None, None, None, False)
        assert "one repetition" in got.note
    assert statistics.centre([7.0]).low is None


def test_a_zero_is_tested_on_the_linear_scale_and_not_dropped() -> None:
    above, below = [0.0, 410.0, 395.0, 402.0, 391.0], [810.0, 790.0, 805.0, 801.0, 798.0]
    got = statistics.paired_ratio(above, below)
    assert got.estimate == pytest.approx(math.fsum(above) / math.fsum(below))
    assert got.p == pytest.approx(stats.ttest_rel(above, below).pvalue)
    assert got.method == "paired Fieller"
    assert "0" in got.note
    for bound in (got.low, got.high):  # Fieller: the ends are where a t test of the difference just rejects
        assert bound is not None
        moved = stats.ttest_rel(above, [bound * value for value in below])
        assert moved.pvalue == pytest.approx(0.05)
    assert got.p_beyond(0.6, "above") == pytest.approx(
        stats.ttest_rel(above, [0.6 * value for value in below], alternative="less").pvalue
    )
    alone = statistics.welch_ratio(above, below)
    assert alone.estimate == got.estimate
    assert alone.p is not None
    assert alone.p < 0.05


def test_reading_nothing_at_all_is_the_largest_effect_and_not_an_open_question() -> None:
    for got in (
        statistics.paired_ratio([0.0] * 5, [810.0, 790.0, 805.0, 801.0, 798.0]),
        statistics.welch_ratio([0.0] * 5, [810.0, 790.0, 805.0, 801.0, 798.0]),
        statistics.paired_ratio([0.0] * 3, [800.0] * 3),
    ):
        assert got.estimate == 0
        assert got.p is not None
        assert 0 < got.p < 0.001
        assert got.fell
        assert got.high is not None
        assert got.high < 0.01
    nothing = statistics.paired_ratio([0.0] * 5, [0.0] * 5)
    assert (nothing.estimate, nothing.p) == (None, None)
    assert "both sides are 0" in nothing.note
    grown = statistics.paired_ratio([810.0, 790.0, 805.0], [0.0] * 3)
    assert (grown.estimate, grown.low, grown.fell) == (None, None, False)
    assert grown.p is not None
    assert grown.p < 0.001
    assert statistics.ratio({1: 5.0}, {1: 0.0}, blocked=True).estimate is None


def test_a_control_that_cannot_be_told_from_zero_leaves_the_ratio_without_an_upper_end() -> None:
    got = statistics.paired_ratio([10.0, 12.0, 9.0], [0.0, 1.0, 30.0])
    assert got.low is not None
    assert got.high is None
    assert "no upper end" in got.note


def test_fieller_covers_what_it_promises() -> None:
    random = np.random.default_rng(2012)
    truth, runs, hits = 0.1, 1500, 0
    for _ in range(runs):
        below = random.normal(100, 8, 5)
        above = truth * 100 + random.normal(0, 4, 5)
        sides = [math.fsum(values) / 5 for values in (above, below)]
        linear = statistics.Linear(
            sides[0],
            sides[1],
            float(np.var(above, ddof=1)) / 5,
            float(np.var(below, ddof=1)) / 5,
            float(np.cov(above, below)[0, 1]) / 5,
            4,
        )
        low, high = statistics._fieller(linear, float(stats.t.ppf(0.975, 4)))
        hits += low <= truth <= (math.inf if high is None else high)
    assert 0.93 <= hits / runs <= 0.97


def test_missing_is_left_out_and_never_zero() -> None:
    got = statistics.ratio({1: None, 2: 50.0, 3: math.nan}, {1: 100.0, 2: 100.0, 3: 100.0}, blocked=True)
    assert (got.n, got.estimate) == (1, 0.5)
    assert statistics.centre([None, 4.0, math.nan]).mean == 4.0
    empty = statistics.centre([None])
    assert (empty.n, empty.mean) == (0, None)
    assert statistics.ratio({1: None}, {1: 3.0}, blocked=False).estimate is None
    assert statistics.ratio({}, {1: 3.0}, blocked=True).estimate is None


@pytest.mark.parametrize("compare", [statistics.paired_ratio, statistics.welch_ratio])
def test_no_variation_is_no_certainty(compare: Callable[[list[float], list[float]], statistics.Ratio]) -> None:
    """Values without variation are as exact as their resolution, and two of them can agree by
    chance.
    """
    twice = compare([100.0, 100.0], [200.0, 200.0])
    assert (twice.estimate, twice.p, twice.low, twice.tested) == (pytest.approx(0.5), None, None, False)
    assert "two repetitions without variation" in twice.note
    thrice = compare([100.0, 100.0, 100.0], [200.0, 200.0, 200.0])
    assert thrice.p is not None
    assert 0 < thrice.p < 0.001
    assert thrice.low is not None
    assert thrice.high is not None
    assert thrice.low < 0.5 < thrice.high
    assert "no variation" in thrice.note
    assert compare([3.0, 3.0, 3.0], [3.0, 3.0, 3.0]).p == 1.0
    noise = compare([0.1, 0.3, 0.7], [0.2, 0.6, 1.4])  # equal ratios, to within binary fractions
    assert noise.p is not None
    assert noise.p > 1e-6
    few = compare([1.0, 1.0, 1.0], [2.0, 2.0, 2.0])
    assert few.p is not None
    assert few.p > thrice.p, "one against two is less than a hundred against two hundred"
    assert statistics.centre([0.1, 0.1, 0.1]).low == 0.1


@pytest.mark.parametrize(
    ("treatment", "baseline"),
    [([0, 8], [0, 8]), ([1, 2], [0, 1]), ([1, 6, 12], [0, 5, 11]), ([3, 0, 9, 4], [3, 0, 9, 4])],
)
def test_pairs_that_differ_by_the_same_everywhere_are_no_certainty(
    treatment: list[float], baseline: list[float]
) -> None:
    """Their differences have no variance, but values have a resolution, on either side."""
    got = statistics.paired_ratio(treatment, baseline)
    assert got.p is not None
    assert got.linear is not None
    least = sum(1 / 12 for _ in treatment) / len(treatment) ** 2
    for bound in (0.5, 1.0, 2.0):
        distance = got.linear.above - bound * got.linear.below
        assert abs(got.linear.t(bound)) <= abs(distance) / math.sqrt(least * (1 + bound**2)) + 1e-9
    if treatment == baseline:
        assert got.p == pytest.approx(1)
    made = statistics.ratio_of_sums(dict(enumerate(zip(treatment, baseline, strict=True))), boots={})
    assert made.p == got.p


def test_within_a_range_of_two_ends_it_is_as_hard_to_be_as_of_one() -> None:
    """Five pairs about 1: what "at most 1.05" leaves open, "within 5 %" must not support."""
    logs = [0.022 * math.sqrt(5) * each for each in (-1.265, -0.632, 0.0, 0.632, 1.265)]
    got = statistics.paired_ratio([1e6 * math.exp(each) for each in logs], [1e6] * 5)
    _, one = statistics.placed(got, 0, 1.05)
    _, two = statistics.placed(got, 1 / 1.05, 1.05)
    assert one is not None
    assert two == pytest.approx(one)
    assert two > 0.05


def test_resolution_is_the_step_that_values_have() -> None:
    assert statistics.resolution([100.0, 2500.0, 0.0]) == 1
    assert statistics.resolution([157.13, 158.0]) == pytest.approx(0.01)
    assert statistics.resolution([]) == 1


def test_pairing_uses_the_block_and_not_the_position() -> None:
    got = statistics.ratio({2: 40.0, 1: 5.0}, {1: 10.0, 2: 80.0}, blocked=True)
    assert got.estimate == pytest.approx(0.5)
    swapped = statistics.ratio({1: 40.0, 2: 5.0}, {1: 10.0, 2: 80.0}, blocked=True)
    assert swapped.estimate == pytest.approx(0.5)
    assert swapped.tested, "here they differ between blocks"
    assert not got.tested


def test_runs_of_one_boot_are_averaged_before_boots_are_compared() -> None:
    """What a boot was dealt is shared by its runs: nine cells of three boots are three values,
    not nine.
    """
    random = np.random.default_rng(7)
    above, below, boots = {}, {}, {}
    for boot, effect in ((1, 0.4), (2, 0.6), (3, 0.8)):
        for run in range(3):
            key = (boot, run)
            boots[key] = boot
            below[key] = float(1000 + random.normal(0, 2))
            above[key] = below[key] * effect
    got = statistics.ratio(above, below, blocked=True, boots=boots)
    logs = np.log([0.4, 0.6, 0.8])
    interval = stats.ttest_1samp(logs, 0).confidence_interval(0.95)
    assert (got.n, got.repeated, got.boots, got.runs) == (3, "boot", 3, 9)
    assert got.estimate == pytest.approx(math.exp(logs.mean()))
    assert (got.low, got.high) == (pytest.approx(math.exp(interval.low)), pytest.approx(math.exp(interval.high)))
    as_runs = statistics.ratio(above, below, blocked=True)
    assert (as_runs.n, as_runs.repeated) == (9, "run")
    assert as_runs.high is not None
    assert got.high is not None
    assert as_runs.high < got.high, "runs taken for boots would promise too much"
    centre = statistics.centre(below, boots=boots)
    assert (centre.n, centre.repeated) == (3, "boot")


def test_coverage_with_boots_is_what_it_promises_and_without_them_is_not() -> None:
    random = np.random.default_rng(20190713)
    truth, runs, right, wrong = 0.7, 800, 0, 0
    boots = {(boot, run): boot for boot in range(3) for run in range(3)}
    for _ in range(runs):
        shift = random.normal(0, 0.1, 3)
        below = {key: float(np.exp(8 + random.normal(0, 0.02))) for key in boots}
        above = {key: truth * float(np.exp(8 + shift[boot] + random.normal(0, 0.02))) for key, boot in boots.items()}
        for each, counted in ((boots, True), (None, False)):
            got = statistics.ratio(above, below, blocked=True, boots=each)
            assert got.low is not None
            assert got.high is not None
            hit = got.low <= truth <= got.high
            right, wrong = right + (hit and counted), wrong + (hit and not counted)
    assert 0.93 <= right / runs <= 0.97
    assert wrong / runs < 0.85


def test_repetitions_in_words() -> None:
    assert statistics.repetitions(1, 5) == "5 runs of one boot"
    assert statistics.repetitions(1, 1) == "1 run of one boot"
    assert statistics.repetitions(3, 9) == "3 boots of 3 runs each"
    assert statistics.repetitions(3, 3) == "3 boots"
    assert statistics.repetitions(3, 8) == "3 boots with 8 runs in all"


def test_a_ratio_says_what_it_divided() -> None:
    got = statistics.ratio({1: 50.0, 2: 60.0, 3: 70.0}, {1: 100.0, 3: 110.0, 4: 90.0}, blocked=True)
    assert got.used == ((1, 3), (1, 3))
    assert got.treatment == pytest.approx(math.sqrt(50 * 70))
    assert got.control == pytest.approx(math.sqrt(100 * 110))
    assert got.treatment is not None
    assert got.control is not None
    assert got.treatment / got.control == pytest.approx(got.estimate)


def test_pairs_of_unequal_length_are_refused() -> None:
    with pytest.raises(ValueError, match="as many"):
        statistics.paired_ratio([1.0], [1.0, 2.0])


def test_holm_by_hand() -> None:
    # sorted .01 .02 .03 .04: times 4 3 2 1, then running maximum
    assert statistics.holm([0.04, 0.01, 0.03, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert statistics.holm([None, 0.03, None]) == [None, 0.03, None]
    assert statistics.holm([0.9, 0.8]) == [1.0, 1.0]
    assert statistics.holm([]) == []


def test_a_small_spread_is_not_rounded_to_none() -> None:
    """Ramble's bug: a coefficient of variation rounded to 0.0 looks like certainty."""
    got = statistics.centre([100.0, 100.0001, 100.0002])
    assert got.low is not None
    assert got.high is not None
    assert 0 < got.high - got.low < 0.001


@pytest.mark.parametrize("scale", [1e300, 1e-300])
def test_a_figure_at_the_end_of_what_floating_point_can_hold_is_no_crash(scale: float) -> None:
    treatment, control = [1.0 * scale, 1.1 * scale, 1.2 * scale], [2.0, 2.2, 2.4]
    for found in (statistics.paired_ratio(treatment, control), statistics.welch_ratio(treatment, control)):
        assert found.estimate == pytest.approx(scale / 2)
        assert found.p is not None
        assert found.p < 0.001
