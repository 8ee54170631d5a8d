"""Means, ratios between memory policies and their intervals: Student's t, never a bootstrap, at the
level that was repeated.

Why: at the few repetitions a testbed affords (n = 3 to 10) a bootstrap interval of a nominal 95 %
covers far less (72 % at n = 3, simulated), and constant data breaks it; t on the logarithms covers
what it promises. Ratios multiply, so their logarithms are what is averaged: an estimate is a ratio
of geometric means. Where a value is 0, which has no logarithm, the ratio is one of arithmetic
means, and its interval is Fieller's: the ratios r for which a t test finds no difference between
the treatment and r times the control.

The unit is the cell: guests of one cell share a host and are not repetitions of each other. Where
runs are nested in boots the unit is the boot: runs of one boot share whatever that boot was dealt,
so they are averaged first, and n counts boots. With one boot, n counts its runs, and the interval
says nothing about another boot.

No error is taken to be smaller than the resolution of the values allows: counts that do not vary at
all are equal to within half a count, not exactly. Two repetitions without variation are not tested:
two can agree by chance.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any, Literal, TypeAlias, TypeVar

from scipy import stats

from common import intervals

LEVEL = intervals.LEVEL
mean = intervals.mean
_equal = intervals.equal
_t = intervals.quantile
_variance = intervals.variance

Method = Literal["paired t", "Welch t", "paired Fieller", "Welch Fieller", "none"]
Block: TypeAlias = Hashable
K = TypeVar("K", bound=Hashable)
"""What names a cell of one policy, and the same for its pair under another."""
Repeated = Literal["run", "boot"]
"""The level of repetition that an interval covers."""

_LEAST_RELATIVE_ERROR = 1e-9
"""Of any value: far below what can be measured, far above the noise of binary fractions."""

ALIKE_TWICE = "two repetitions without variation: nothing says how large chance is"


@dataclass(frozen=True)
class Centre:
    """Where the values of one policy lie. `low` and `high` are None with fewer than two values.

    n: at the level `repeated`. mean: the geometric mean when every value is positive, otherwise the
    arithmetic mean (`scale` says which).
    """

    n: int
    mean: float | None
    low: float | None
    high: float | None
    scale: Literal["log", "linear"]
    note: str = ""
    repeated: Repeated = "run"


@dataclass(frozen=True)
class Linear:
    """Two means and the variances of these means, on the linear scale: what a ratio with zeros
    is tested by.
    """

    above: float
    below: float
    above_variance: float
    below_variance: float
    covariance: float
    freedom: float

    def t(self, bound: float) -> float:
        """Of the difference between the treatment and bound × control; positive when the
        treatment is more.
        """
        variance = self.above_variance + bound**2 * self.below_variance - 2 * bound * self.covariance
        return (self.above - bound * self.below) / math.sqrt(variance)


@dataclass(frozen=True)
class Ratio:
    """A metric under one policy divided by the same metric under a baseline, dimensionless.

    n: pairs when paired, otherwise the smaller group, counted at the level `repeated`. `low`,
    `high` and `p` (two-sided, against a ratio of 1) are None when nothing could be tested; `note`
    then says why. `estimate` is None when there is nothing to divide by. `high` alone is None when
    the control cannot be told from 0: the interval has no upper end. error, freedom: standard error
    of the logarithm and its degrees of freedom; linear: the same where a value is 0. treatment,
    control: the means that were divided, over the cells of `used` (keys, as they were given) and no
    others. boots, runs: boots that were used, and cells per policy in all of them. looks: of how
    many looks this is one, where the data chose the sample size: `p` and the interval are for all
    of them together. single: the least and the largest ratio of a pair of runs, where few boots
    have several each.
    """

    n: int
    estimate: float | None
    low: float | None
    high: float | None
    p: float | None
    method: Method
    note: str = ""
    error: float | None = None
    freedom: float | None = None
    linear: Linear | None = None
    treatment: float | None = None
    control: float | None = None
    used: tuple[tuple[Block, ...], tuple[Block, ...]] = ((), ())
    repeated: Repeated = "run"
    boots: int = 1
    runs: int = 0
    looks: int = 1
    single: tuple[float, float] | None = None

    @property
    def tested(self) -> bool:
        """Whether there is an interval to judge by."""
        return self.low is not None

    @property
    def fell(self) -> bool | None:
        """Whether the treatment has less than its control; None when they are equal, or nothing
        was measured.
        """
        if self.treatment is None or self.control is None or self.estimate == 1 or self.treatment == self.control:
            return None
        return self.treatment < self.control

    def p_beyond(self, bound: float, side: Literal["below", "above"]) -> float | None:
        """One-sided p against a true ratio at or beyond a bound: `below` tests "ratio <= bound".
        None when not tested.
        """
        if bound <= 0 or self.p is None:
            return None
        if self.linear is not None:
            distance, freedom = self.linear.t(bound), self.linear.freedom
        elif self.estimate is not None and self.error and self.freedom is not None:
            distance, freedom = (math.log(self.estimate) - math.log(bound)) / self.error, self.freedom
        else:
            return None
        return min(1.0, self.looks * float(stats.t.sf(distance if side == "below" else -distance, freedom)))


def present(values: Iterable[float | None]) -> list[float]:
    """The values that are there. None and NaN are missing, and missing is not 0."""
    return [float(value) for value in values if value is not None and not math.isnan(value)]


def placed(ratio: Ratio, low: float, high: float) -> tuple[Literal["below", "within", "above"], float | None]:
    """Where an estimate lies against a range, which is from 0 or to infinity where it is open, and
    p of such data if it lay elsewhere, two-sided; of a range with two ends, beyond the worse one.
    Nothing to divide by is above all.
    """
    estimate = math.inf if ratio.estimate is None else ratio.estimate
    if estimate < low:
        return "below", _doubled(ratio.p_beyond(low, "above"))
    if estimate > high:
        return "above", _doubled(ratio.p_beyond(high, "below"))
    ends = []
    if low > 0:
        ends.append(ratio.p_beyond(low, "below"))
    if math.isfinite(high):
        ends.append(ratio.p_beyond(high, "above"))
    known = present(ends)
    if len(known) < len(ends):
        return "within", None
    return "within", _doubled(max(known, default=None))


def _doubled(p: float | None) -> float | None:
    return None if p is None else min(1.0, 2 * p)


def mean_of_all(values: Sequence[float | None]) -> float | None:
    """The mean, where every value is there; None where one is missing, or there are none."""
    known = present(values)
    return mean(known) if known and len(known) == len(values) else None


def geometric_mean(values: Sequence[float]) -> float:
    """Of positive values; of equal values it is that value."""
    return values[0] if _equal(values) else math.exp(mean([math.log(value) for value in values]))


def _covariance(left: Sequence[float], right: Sequence[float]) -> float:
    if _equal(left) or _equal(right):
        return 0.0
    means = mean(left), mean(right)
    return math.fsum((a - means[0]) * (b - means[1]) for a, b in zip(left, right, strict=True)) / (len(left) - 1)


def resolution(values: Sequence[float]) -> float:
    """The step that values of one kind have: 1 for whole numbers, 0.01 for what is given in
    hundredths.
    """
    exponents = [Decimal(repr(float(value))).normalize().as_tuple().exponent for value in values if value]
    return 10.0 ** min([0, *[int(exponent) for exponent in exponents]])


def _rounding(values: Sequence[float]) -> list[float]:
    """The variance that the resolution alone gives each value: of a uniform error of one step,
    step² ÷ 12.
    """
    step = resolution(values)
    return [max(step**2 / 12, _squared(_LEAST_RELATIVE_ERROR * value)) for value in values]


def _squared(value: float) -> float:
    """`value ** 2` raises where the square is out of range."""
    return value * value


def _relative_rounding(values: Sequence[float]) -> list[float]:
    """The same of the logarithms."""
    step = resolution(values)
    return [
        variance / square if math.isfinite(square) and square > 0 else max(step / value, _LEAST_RELATIVE_ERROR) ** 2
        for variance, value in zip(_rounding(values), values, strict=True)
        for square in (_squared(value),)
    ]


def centre(
    values: Mapping[Any, float | None] | Iterable[float | None],
    level: float = LEVEL,
    *,
    boots: Mapping[Any, int] | None = None,
    linear: bool = False,
) -> Centre:
    """Mean and interval of one group of cells. boots: key of a value -> the boot it was measured
    in. linear: by arithmetic means also where every value is positive, as what it is divided by is.
    """
    given: dict[Hashable, float | None] = dict(values) if isinstance(values, Mapping) else dict(enumerate(values))
    there = {key: value[0] for key, each in given.items() if (value := present([each]))}
    positive = bool(there) and min(there.values()) > 0 and not linear
    of: dict[Hashable, int] = dict(boots or {})
    repeated: Repeated = "boot" if _count(there, of) > 1 else "run"
    found = _each_boot(there, of, positive=positive) if repeated == "boot" else list(there.values())
    scale: Literal["log", "linear"] = "log" if positive else "linear"
    if not found:
        return Centre(0, None, None, None, scale, "no value")
    scaled = [math.log(value) for value in found] if positive else found
    if len(found) == 1:
        return Centre(1, found[0], None, None, scale, "one repetition: no interval", repeated)
    variance = _variance(scaled)
    if variance == 0:
        return Centre(len(found), found[0], found[0], found[0], scale, "no variation between repetitions", repeated)
    middle = mean(scaled)
    half = _t(level, len(found) - 1) * math.sqrt(variance / len(found))
    back = math.exp if positive else float
    return Centre(len(found), back(middle), back(middle - half), back(middle + half), scale, "", repeated)


def _count(keys: Iterable[K], boots: Mapping[K, int]) -> int:
    """How many boots these cells ran in; a record that names none is of the one boot that there
    was.
    """
    return len({boots.get(key, 1) for key in keys})


def _each_boot(values: Mapping[K, float], boots: Mapping[K, int], *, positive: bool) -> list[float]:
    """One value per boot: the mean of its runs, a geometric one where every value is positive."""
    groups: dict[int, list[float]] = {}
    for key, value in values.items():
        groups.setdefault(boots.get(key, 1), []).append(value)
    return [(geometric_mean if positive else mean)(groups[boot]) for boot in sorted(groups)]


def _from_logs(
    middle: float,
    error: float,
    least: float,
    freedom: float,
    *,
    n: int,
    method: Method,
    level: float,
) -> Ratio:
    """A ratio from the mean of logarithms. least: the error that the values' resolution gives it
    at least.
    """
    estimate = math.exp(middle)
    if error <= least and n == 2:
        return Ratio(n, estimate, None, None, None, "none", ALIKE_TWICE)
    note = "no variation between repetitions but their resolution" if error <= least else ""
    error = max(error, least)
    half = _t(level, freedom) * error
    p = float(2 * stats.t.sf(abs(middle) / error, freedom))
    return Ratio(n, estimate, math.exp(middle - half), math.exp(middle + half), p, method, note, error, freedom)


def _from_means(linear: Linear, *, alike: bool, n: int, method: Method, level: float) -> Ratio:
    """A ratio of arithmetic means with Fieller's interval. alike: nothing varied but by the
    values' resolution.
    """
    estimate = linear.above / linear.below if linear.below > 0 else None
    if linear.above == 0 and linear.below == 0:
        return Ratio(n, None, None, None, None, "none", "both sides are 0 in every cell: nothing to compare")
    if alike and n == 2:
        return Ratio(n, estimate, None, None, None, "none", ALIKE_TWICE)
    low, high = _fieller(linear, _t(level, linear.freedom))
    p = float(2 * stats.t.sf(abs(linear.t(1.0)), linear.freedom))
    notes = ["a value is 0: a ratio of arithmetic means, with Fieller's interval"]
    if estimate is None:
        notes = ["the control is 0 in every cell: nothing to divide by"]
    elif high is None:
        notes.append("the control cannot be told from 0, so the ratio has no upper end")
    return Ratio(n, estimate, None if estimate is None else low, high, p, method, "; ".join(notes), None, None, linear)


def _fieller(linear: Linear, t: float) -> tuple[float, float | None]:
    """The ratios of two means of which none is below 0 that a t test does not reject. high None:
    no upper end.
    """
    square = linear.below**2 - t**2 * linear.below_variance
    half = linear.above * linear.below - t**2 * linear.covariance
    rest = linear.above**2 - t**2 * linear.above_variance
    root = math.sqrt(max(0.0, half**2 - square * rest))
    if square <= 0:  # then only a lower end can be had, and only where a ratio of 0 is rejected
        return (max(0.0, rest / (half + root)) if rest > 0 and half + root > 0 else 0.0), None
    return max(0.0, (half - root) / square), max(0.0, (half + root) / square)


def _untested(treatment: Sequence[float], baseline: Sequence[float], note: str) -> Ratio:
    """A ratio without a test: of the only values there are."""
    above, below = mean(treatment), mean(baseline)
    n = min(len(treatment), len(baseline))
    return Ratio(n, above / below if below > 0 else None, None, None, None, "none", note)


def paired_ratio(treatment: Sequence[float], baseline: Sequence[float], level: float = LEVEL) -> Ratio:
    """Interval of treatment ÷ baseline from pairs (same block): t on the differences of
    logarithms.
    """
    if len(treatment) != len(baseline):
        raise ValueError("pairs need as many values on both sides")
    if not treatment:
        return Ratio(0, None, None, None, None, "none", "no pair of complete cells")
    n = len(treatment)
    if min(*treatment, *baseline) > 0:
        means = geometric_mean(treatment), geometric_mean(baseline)
    else:
        means = mean(treatment), mean(baseline)
    return replace(_paired(treatment, baseline, n, level), treatment=means[0], control=means[1])


def _paired(treatment: Sequence[float], baseline: Sequence[float], n: int, level: float) -> Ratio:
    if n == 1:
        return _untested(treatment, baseline, "one repetition: no interval")
    if min(*treatment, *baseline) <= 0:
        return _paired_linear(treatment, baseline, n, level)
    logs = [math.log(above / below) for above, below in zip(treatment, baseline, strict=True)]
    least = math.sqrt(math.fsum([*_relative_rounding(treatment), *_relative_rounding(baseline)])) / n
    error = math.sqrt(_variance(logs) / n)
    return _from_logs(mean(logs), error, least, n - 1, n=n, method="paired t", level=level)


def _paired_linear(treatment: Sequence[float], baseline: Sequence[float], n: int, level: float) -> Ratio:
    rounding = math.fsum(_rounding(treatment)) / n**2, math.fsum(_rounding(baseline)) / n**2
    variances = _variance(treatment) / n, _variance(baseline) / n
    alike = variances[0] <= rounding[0] and variances[1] <= rounding[1]
    parts = max(variances[0], rounding[0]), max(variances[1], rounding[1])
    # What the resolution gives each side is of that side alone, so differences have it at least.
    most = math.sqrt(math.prod(part - least for part, least in zip(parts, rounding, strict=True)))
    shared = max(-most, min(most, _covariance(treatment, baseline) / n))
    linear = Linear(mean(treatment), mean(baseline), *parts, shared, n - 1)
    return _from_means(linear, alike=alike, n=n, method="paired Fieller", level=level)


def ratio_of_sums(pairs: Mapping[K, tuple[float, float]], *, boots: Mapping[K, int], level: float = LEVEL) -> Ratio:
    """Ratio of the sums of two figures that add up and were measured together, with Fieller's
    interval.

    None of the interval when there is one pair, or when the second figure is not above 0 on
    average.
    """
    if not pairs:
        return Ratio(0, None, None, None, None, "none", "no pair of complete cells")
    several = _count(pairs, boots)
    above, below = ({key: pair[side] for key, pair in pairs.items()} for side in (0, 1))
    sides = [_each_boot(side, boots, positive=False) if several > 1 else list(side.values()) for side in (above, below)]
    n = len(sides[0])
    if n == 1 or mean(sides[1]) <= 0:
        made = _untested(sides[0], sides[1], "one repetition: no interval" if n == 1 else "nothing to divide by")
    else:
        made = _paired_linear(sides[0], sides[1], n, level)
        made = replace(made, note=made.note.replace("a value is 0: a", "a"))
    return replace(
        made,
        treatment=mean(sides[0]),
        control=mean(sides[1]),
        repeated="boot" if several > 1 else "run",
        boots=several,
        runs=len(pairs),
    )


def welch_ratio(treatment: Sequence[float], baseline: Sequence[float], level: float = LEVEL) -> Ratio:
    """Interval of treatment ÷ baseline from independent groups: Welch's t on the logarithms."""
    if not treatment or not baseline:
        return Ratio(0, None, None, None, None, "none", "no complete cell on one side")
    positive = min(*treatment, *baseline) > 0
    means = [(geometric_mean if positive else mean)(side) for side in (treatment, baseline)]
    return replace(_welch(treatment, baseline, positive, level), treatment=means[0], control=means[1])


def _welch(treatment: Sequence[float], baseline: Sequence[float], positive: bool, level: float) -> Ratio:
    n = min(len(treatment), len(baseline))
    if n == 1:
        note = "one repetition: no interval"
        if not positive:
            return _untested(treatment, baseline, note)
        return Ratio(1, geometric_mean(treatment) / geometric_mean(baseline), None, None, None, "none", note)
    sides = [[math.log(value) for value in side] if positive else list(side) for side in (treatment, baseline)]
    rounding = [
        math.fsum((_relative_rounding if positive else _rounding)(side)) / len(side) ** 2
        for side in (treatment, baseline)
    ]
    seen = [_variance(side) / len(side) for side in sides]
    parts = [max(pair) for pair in zip(seen, rounding, strict=True)]
    alike = all(variance <= least for variance, least in zip(seen, rounding, strict=True))
    if not positive:
        linear = Linear(mean(treatment), mean(baseline), parts[0], parts[1], 0.0, n - 1)
        return _from_means(linear, alike=alike, n=n, method="Welch Fieller", level=level)
    error = math.sqrt(math.fsum(parts))
    shares = [part**2 / (len(side) - 1) for part, side in zip(parts, sides, strict=True)]
    freedom = math.fsum(parts) ** 2 / math.fsum(shares)
    least = error if alike else 0.0
    return _from_logs(mean(sides[0]) - mean(sides[1]), error, least, freedom, n=n, method="Welch t", level=level)


def ratio(
    treatment: Mapping[K, float | None],
    baseline: Mapping[K, float | None],
    *,
    blocked: bool,
    boots: Mapping[K, int] | None = None,
    looks: int = 1,
) -> Ratio:
    """Treatment ÷ baseline from values by block (or cell).

    blocked: the plan ran both policies within each block, so blocks are pairs; a block that lacks
    one side is left out. Otherwise the groups are taken as independent. boots: block (or cell) ->
    the boot it was measured in; with more than one, the runs of a boot are averaged first. looks:
    of how many this is one (Bonferroni).
    """
    sides = [
        {key: value[0] for key, each in side.items() if (value := present([each]))} for side in (treatment, baseline)
    ]
    if blocked:
        sides = [{key: side[key] for key in sides[0] if key in sides[1]} for side in sides]
    found = [*sides[0].values(), *sides[1].values()]
    positive = bool(found) and min(found) > 0
    boots = boots or {}
    several = _count((key for side in sides for key in side), boots)
    above, below = (
        _each_boot(side, boots, positive=positive) if several > 1 else list(side.values()) for side in sides
    )
    made = (paired_ratio if blocked else welch_ratio)(above, below, at_each(looks))
    return replace(
        made,
        p=None if made.p is None else min(1.0, looks * made.p),
        looks=looks,
        used=(tuple(sides[0]), tuple(sides[1])),
        repeated="boot" if several > 1 else "run",
        boots=several,
        runs=min(len(sides[0]), len(sides[1])),
    )


def at_each(looks: int) -> float:
    """The level of each of so many looks, so that all of them together have LEVEL."""
    return 1 - (1 - LEVEL) / looks if looks > 1 else LEVEL


def repetitions(boots: int, runs: int) -> str:
    """What was repeated, in words: `5 runs of one boot`, `3 boots of 3 runs each`, `3 boots with
    8 runs in all`.
    """
    if boots <= 1:
        return f"{runs} run{'' if runs == 1 else 's'} of one boot"
    each, rest = divmod(runs, boots)
    if rest:
        return f"{boots} boots with {runs} runs in all"
    return f"{boots} boots" if each == 1 else f"{boots} boots of {each} runs each"


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Holm's step-down adjustment over one family. None (not tested) stays None and does not
    enlarge the family.
    """
    tested = sorted((p, index) for index, p in enumerate(p_values) if p is not None)
    adjusted: list[float | None] = [None] * len(p_values)
    highest = 0.0
    for rank, (p, index) in enumerate(tested):
        highest = max(highest, min(1.0, (len(tested) - rank) * p))
        adjusted[index] = highest
    return adjusted
