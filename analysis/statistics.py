"""Means, ratios between memory policies and their intervals: Student's t, on the log scale, never a bootstrap.

Why: at the few repetitions a testbed affords (n = 3 to 10) a bootstrap interval of a nominal 95 % covers far less
(72 % at n = 3, simulated), and constant data breaks it; t on the logarithms covers what it promises. Ratios multiply,
so their logarithms are what is averaged: an estimate is a ratio of geometric means.

The unit is the cell. Guests of one cell share a host and are not repetitions of each other.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from scipy import stats

LEVEL = 0.95
"""Confidence level of every interval that is drawn or printed."""

Method = Literal["paired t", "Welch t", "none"]
Block: TypeAlias = "int | str"


@dataclass(frozen=True)
class Centre:
    """Where the values of one policy lie. `low` and `high` are None with fewer than two values.

    mean: the geometric mean when every value is positive, otherwise the arithmetic mean (`scale` says which).
    """

    n: int
    mean: float | None
    low: float | None
    high: float | None
    scale: Literal["log", "linear"]
    note: str = ""


@dataclass(frozen=True)
class Ratio:
    """A metric under one policy divided by the same metric under a baseline, dimensionless.

    n: pairs when paired, otherwise the smaller group. `low`, `high` and `p` (two-sided, against a ratio of 1) are None
    when nothing could be tested; `note` then says why. `estimate` is None when there is nothing to divide.
    error, freedom: standard error of the logarithm and its degrees of freedom, None when not tested.
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

    @property
    def tested(self) -> bool:
        """Whether there is an interval to judge by."""
        return self.low is not None and self.high is not None

    def p_beyond(self, bound: float, side: Literal["below", "above"]) -> float | None:
        """One-sided p against a true ratio at or beyond a bound: `below` tests "ratio <= bound". None when not tested."""
        if self.estimate is None or self.error is None or self.freedom is None or bound <= 0:
            return None
        distance = math.log(self.estimate) - math.log(bound)
        distance = distance if side == "below" else -distance
        if self.error == 0:
            return 0.0 if distance > 0 else 1.0
        return float(stats.t.sf(distance / self.error, self.freedom))


def present(values: Iterable[float | None]) -> list[float]:
    """The values that are there. None and NaN are missing, and missing is not 0."""
    return [float(value) for value in values if value is not None and not math.isnan(value)]


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def _variance(values: Sequence[float]) -> float:
    """Sample variance (n - 1). Equal values give exactly 0, whatever rounding does to their mean."""
    if all(value == values[0] for value in values):
        return 0.0
    mean = _mean(values)
    return math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1)


def _t(level: float, freedom: float) -> float:
    return float(stats.t.ppf(0.5 + level / 2, freedom))


def centre(values: Iterable[float | None], level: float = LEVEL) -> Centre:
    """Mean and interval of one group of cells."""
    found = present(values)
    positive = bool(found) and min(found) > 0
    scale: Literal["log", "linear"] = "log" if positive else "linear"
    if not found:
        return Centre(0, None, None, None, scale, "no value")
    scaled = [math.log(value) for value in found] if positive else found
    if len(found) == 1:
        return Centre(1, found[0], None, None, scale, "one repetition: no interval")
    variance = _variance(scaled)
    if variance == 0:
        return Centre(len(found), found[0], found[0], found[0], scale, "no variation between repetitions")
    mean = _mean(scaled)
    half = _t(level, len(found) - 1) * math.sqrt(variance / len(found))
    back = math.exp if positive else float
    return Centre(len(found), back(mean), back(mean - half), back(mean + half), scale)


def _from_logs(mean: float, error: float, freedom: float, *, n: int, method: Method, level: float) -> Ratio:
    if error == 0:
        note = "no variation between repetitions"
        return Ratio(
            n, math.exp(mean), math.exp(mean), math.exp(mean), 0.0 if mean else 1.0, method, note, 0.0, freedom
        )
    half = _t(level, freedom) * error
    p = float(2 * stats.t.sf(abs(mean) / error, freedom))
    return Ratio(n, math.exp(mean), math.exp(mean - half), math.exp(mean + half), p, method, "", error, freedom)


def _untested(treatment: Sequence[float], baseline: Sequence[float], note: str) -> Ratio:
    """A ratio without a test: of arithmetic means, because zeros have no logarithm."""
    below = _mean(baseline)
    n = min(len(treatment), len(baseline))
    return Ratio(n, _mean(treatment) / below if below > 0 else None, None, None, None, "none", note)


def paired_ratio(treatment: Sequence[float], baseline: Sequence[float], level: float = LEVEL) -> Ratio:
    """Interval of treatment ÷ baseline from pairs (same block): t on the differences of logarithms."""
    if len(treatment) != len(baseline):
        raise ValueError("pairs need as many values on both sides")
    if not treatment:
        return Ratio(0, None, None, None, None, "none", "no pair of complete cells")
    if min(*treatment, *baseline) <= 0:
        return _untested(treatment, baseline, "a value is 0: no interval on the log scale")
    if len(treatment) == 1:
        return _untested(treatment, baseline, "one repetition: no interval")
    logs = [math.log(above / below) for above, below in zip(treatment, baseline, strict=True)]
    n = len(logs)
    return _from_logs(_mean(logs), math.sqrt(_variance(logs) / n), n - 1, n=n, method="paired t", level=level)


def welch_ratio(treatment: Sequence[float], baseline: Sequence[float], level: float = LEVEL) -> Ratio:
    """Interval of treatment ÷ baseline from independent groups: Welch's t on the logarithms."""
    n = min(len(treatment), len(baseline))
    if n == 0:
        return Ratio(0, None, None, None, None, "none", "no complete cell on one side")
    if min(*treatment, *baseline) <= 0:
        return _untested(treatment, baseline, "a value is 0: no interval on the log scale")
    above, below = [math.log(value) for value in treatment], [math.log(value) for value in baseline]
    mean = _mean(above) - _mean(below)
    if n == 1:
        note = "one repetition: no interval"
        return Ratio(1, math.exp(mean), None, None, None, "none", note)
    parts = (_variance(above) / len(above), _variance(below) / len(below))
    error = math.sqrt(sum(parts))
    freedom = math.inf
    if error > 0:
        freedom = sum(parts) ** 2 / (parts[0] ** 2 / (len(above) - 1) + parts[1] ** 2 / (len(below) - 1))
    return _from_logs(mean, error, freedom, n=n, method="Welch t", level=level)


def ratio(
    treatment: Mapping[Block, float | None],
    baseline: Mapping[Block, float | None],
    *,
    blocked: bool,
    level: float = LEVEL,
) -> Ratio:
    """Treatment ÷ baseline from values by block (or repetition).

    blocked: the plan ran both policies within each block, so blocks are pairs; a block that lacks one side is left
    out. Otherwise the groups are taken as independent.
    """
    if blocked:
        shared = [key for key in treatment if key in baseline]
        pairs = [
            (above[0], below[0])
            for key in shared
            if (above := present([treatment[key]])) and (below := present([baseline[key]]))
        ]
        return paired_ratio([above for above, _ in pairs], [below for _, below in pairs], level)
    return welch_ratio(present(treatment.values()), present(baseline.values()), level)


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Holm's step-down adjustment over one family. None (not tested) stays None and does not enlarge the family."""
    tested = sorted((p, index) for index, p in enumerate(p_values) if p is not None)
    adjusted: list[float | None] = [None] * len(p_values)
    highest = 0.0
    for rank, (p, index) in enumerate(tested):
        highest = max(highest, min(1.0, (len(tested) - rank) * p))
        adjusted[index] = highest
    return adjusted
