"""Is an effect as large as the published one? A verdict of its own, beside the direction's: 0.1 %
fewer is not 52 % fewer.

A published range is reached when the ratio is shown to lie within it. "Up to 52 % fewer" is a claim
about the best case, and is judged as one: among the factor levels of a campaign the one with the
largest effect is tested, with p multiplied by the number of levels it was picked from; it reaches
the figure when it is shown to be as large or larger, and falls short when it is shown to be
smaller. Falling short of a best case does not contradict it: others need not reach it. `tolerance`
widens a figure to a relative range. All p are two-sided, and corrected by Holm over a campaign's
claims.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from analysis import statistics
from campaigns.records import BOUNDED, Claim

Size = Literal["reached", "falls short", "exceeds", "leaves open", "not testable here"]

Judged = tuple[Claim, str, statistics.Ratio, bool]
"""Claim, factor levels, ratio, and whether the claim is testable there."""


@dataclass(frozen=True)
class Magnitude:
    """Whether an effect is as large as published. leaning: what the estimate alone says. p:
    uncorrected; None: not tested here.
    """

    word: Size
    leaning: Size | None
    p: float | None
    p_adjusted: float | None
    reason: str


def published(claim: Claim) -> str:
    """The published figure of the ratio in words; empty when none was published."""
    expected = claim.expectation
    if (best := expected.best) is not None:
        return f"{best:.3g} at best"
    low, high = expected.ratio_low, expected.ratio_high
    if low is not None and high is not None:
        return f"{low:.3g}" if low == high else f"{low:.3g} to {high:.3g}"
    if low is not None:
        return f"{low:.3g} or more"
    return f"{high:.3g} or less" if high is not None else ""


def judge(judged: Sequence[Judged], alpha: float) -> list[Magnitude | None]:
    """A verdict on the size of each effect, in the same order; None where no figure was
    published.
    """
    found = [_lean(judged, index) for index in range(len(judged))]
    adjusted = statistics.holm([each.p if each else None for each in found])
    return [
        None if each is None else _decide(judged[index][0], each, p, alpha)
        for index, (each, p) in enumerate(zip(found, adjusted, strict=True))
    ]


def _lean(judged: Sequence[Judged], index: int) -> Magnitude | None:
    claim, levels, ratio, testable = judged[index]
    if not published(claim) or claim.expectation.direction in BOUNDED:
        return None
    if not testable:
        return Magnitude("not testable here", None, None, None, "as the direction")
    if claim.evidence == "recalled":
        why = "the published figure is recalled, its text could not be read"
        return Magnitude("leaves open", None, None, None, why)
    leaning, p = _test(claim, ratio)
    choice, best = _choice(judged, claim) if claim.expectation.best is not None else (1, levels)
    if p is not None and best != levels:
        return Magnitude("leaves open", leaning, None, None, f"a best case is judged at the best level, {best}")
    why = "" if p is not None else ratio.note or "not tested"
    return Magnitude("leaves open", leaning, None if p is None else min(1.0, p * choice), None, why)


def _choice(judged: Sequence[Judged], claim: Claim) -> tuple[int, str]:
    """From how many factor levels a claim's best case is picked, and at which it lies."""
    rivals = [
        (other, levels) for at, levels, other, able in judged if at is claim and able and other.estimate is not None
    ]
    if not rivals:
        return 1, ""
    return len(rivals), min(rivals, key=lambda each: _size(claim, each[0]))[1]


def _size(claim: Claim, ratio: statistics.Ratio) -> float:
    """Smaller is the larger effect in the claimed direction."""
    estimate = math.nan if ratio.estimate is None else ratio.estimate
    return estimate if claim.expectation.direction == "decrease" else -estimate


def _test(claim: Claim, ratio: statistics.Ratio) -> tuple[Size | None, float | None]:
    """On which side of the published figure the estimate lies, and a two-sided p of that."""
    if ratio.estimate is None:
        return None, None
    place, p = statistics.placed(ratio, *_bounds(claim))
    if place == "within":
        return "reached", p
    larger = "below" if claim.expectation.direction == "decrease" else "above"
    return ("exceeds" if place == larger else "falls short"), p


def _bounds(claim: Claim) -> tuple[float, float]:
    """The range of ratios that counts as the published figure: from 0 or to infinity where it is
    open.
    """
    expected = claim.expectation
    tolerance = expected.tolerance or 0.0
    low, high = expected.ratio_low, expected.ratio_high
    if (best := expected.best) is not None:
        low, high = (None, best) if expected.direction == "decrease" else (best, None)
    return (
        0.0 if low is None else low * (1 - tolerance),
        math.inf if high is None else high * (1 + tolerance),
    )


def _decide(claim: Claim, each: Magnitude, p_adjusted: float | None, alpha: float) -> Magnitude:
    if p_adjusted is None or each.leaning is None:
        return each
    figure = "best case" if claim.expectation.best is not None else "figure"
    shown = f"{'p < 0.0001' if p_adjusted < 0.0001 else f'p = {p_adjusted:.2g}'} after Holm's correction"
    word: Size = each.leaning if p_adjusted < alpha else "leaves open"
    if word == "leaves open":
        reason = f"it cannot be told from the published {figure} of {published(claim)}: {shown}"
    elif word == "reached":
        reason = f"it is shown to be the published {figure} of {published(claim)} or more of an effect: {shown}"
        if claim.expectation.best is None:
            reason = f"it is shown to lie within the published {figure} of {published(claim)}: {shown}"
    elif word == "exceeds":
        reason = f"the effect is larger than the published {figure} of {published(claim)}: {shown}"
    else:
        reason = f"the effect is smaller than the published {figure} of {published(claim)}: {shown}"
    return replace(each, word=word, p_adjusted=p_adjusted, reason=reason)
