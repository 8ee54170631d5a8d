"""Student's t for ratios: known values, coverage, and the edges (one repetition, zeros, constants, gaps)."""

from __future__ import annotations

import math

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


def test_a_zero_has_no_interval_and_is_not_dropped() -> None:
    got = statistics.ratio({1: 0.0, 2: 10.0}, {1: 10.0, 2: 10.0}, blocked=True)
    assert (got.estimate, got.low, got.n) == (0.5, None, 2)
    assert "0" in got.note
    assert statistics.ratio({1: 5.0}, {1: 0.0}, blocked=True).estimate is None


def test_missing_is_left_out_and_never_zero() -> None:
    got = statistics.ratio({1: None, 2: 50.0, 3: math.nan}, {1: 100.0, 2: 100.0, 3: 100.0}, blocked=True)
    assert (got.n, got.estimate) == (1, 0.5)
    assert statistics.centre([None, 4.0, math.nan]).mean == 4.0
    empty = statistics.centre([None])
    assert (empty.n, empty.mean) == (0, None)
    assert statistics.ratio({1: None}, {1: 3.0}, blocked=False).estimate is None
    assert statistics.ratio({}, {1: 3.0}, blocked=True).estimate is None


def test_constant_data_gives_a_point_not_a_nan() -> None:
    paired = statistics.paired_ratio([0.1, 0.1, 0.1], [0.2, 0.2, 0.2])
    welch = statistics.welch_ratio([0.1, 0.1, 0.1], [0.2, 0.2, 0.2])
    for got in (paired, welch):
        assert got.estimate == got.low == got.high == pytest.approx(0.5)
        assert got.p == 0.0
        assert "no variation" in got.note
    assert statistics.paired_ratio([3.0, 3.0], [3.0, 3.0]).p == 1.0
    assert statistics.centre([0.1, 0.1, 0.1]).low == 0.1


def test_pairing_uses_the_block_and_not_the_position() -> None:
    got = statistics.ratio({2: 40.0, 1: 5.0}, {1: 10.0, 2: 80.0}, blocked=True)
    assert got.estimate == got.low == pytest.approx(0.5)


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
