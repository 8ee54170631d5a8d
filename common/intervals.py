"""Student's t, as much of it as campaigns and their analysis share. No other interval is drawn."""

from __future__ import annotations

import math
from collections.abc import Sequence

LEVEL = 0.95
"""Confidence level of every interval that is drawn or printed."""


def mean(values: Sequence[float]) -> float:
    """The arithmetic mean, the same bits on every Python: `sum` adds in another way from 3.12
    on.
    """
    return math.fsum(values) / len(values)


def equal(values: Sequence[float]) -> bool:
    """Whether nothing varies."""
    return all(value == values[0] for value in values)


def variance(values: Sequence[float]) -> float:
    """Sample variance (n - 1). Equal values give exactly 0, whatever rounding does to their
    mean.
    """
    if equal(values):
        return 0.0
    centre = mean(values)
    return math.fsum((value - centre) ** 2 for value in values) / (len(values) - 1)


def quantile(level: float, freedom: float) -> float:
    """Of Student's t: how many standard errors an interval of this level reaches to either side."""
    from scipy import stats  # a second: whoever only plans needs none of it

    return float(stats.t.ppf(0.5 + level / 2, freedom))


def of_logarithms(logs: Sequence[float], level: float) -> tuple[float, float]:
    """The interval of a geometric mean, from at least two logarithms."""
    middle = mean(logs)
    half = quantile(level, len(logs) - 1) * math.sqrt(variance(logs) / len(logs))
    return math.exp(middle - half), math.exp(middle + half)
