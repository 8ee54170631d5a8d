"""How many repetitions a claim needs, at the variance that a campaign has shown.

The test behind a verdict is Student's t on the logarithms of paired ratios (statistics.py). Its
power, when the true ratio is r and the logarithm of a pair's ratio has standard deviation s, is
that of the noncentral t distribution with n - 1 degrees of freedom and noncentrality |ln r| √n ÷ s.
The standard deviation is taken from the level that was repeated: between boots where there were
several, else between runs of one boot, which says nothing of what another boot would add. Holm's
correction is met at its worst: the level is divided by the number of claims. Groups that are no
pairs are taken for pairs, which asks for a little more than they need. A claim of no effect needs
so many that the ratio which was seen is told from its nearer bound.

A standard deviation of few repetitions is itself uncertain; `cautious` is its upper 80 % confidence
limit, and the number that follows from it is the one to plan with.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from scipy import stats

from analysis import claims, statistics
from analysis.claims import Verdict
from campaigns.records import BOUNDED
from common.text import wrapped

WANTED = 0.8
"""The power that a plan is made for."""

MOST = 100
"""Repetitions beyond which a claim is not worth asking on this testbed."""

CAUTION = 0.8


@dataclass(frozen=True)
class Need:
    """What a claim needs at factor levels. ratio: the one to be told from 1. spread: standard
    deviation of the logarithm of a ratio; cautious: its upper limit. needed, needed_cautious:
    repetitions at the level `repeated`; None: more than MOST. why: where nothing can be said, the
    reason.
    """

    claim: str
    levels: str
    source: str
    ratio: float | None
    n: int
    repeated: statistics.Repeated
    spread: float | None
    cautious: float | None
    needed: int | None
    needed_cautious: int | None
    why: str = ""


def power(ratio: float, spread: float, n: int, alpha: float) -> float:
    """The probability that a two-sided paired t test at `alpha` tells a ratio from 1 with n
    pairs.
    """
    if n < 2:
        return 0.0
    freedom = n - 1
    edge = float(stats.t.ppf(1 - alpha / 2, freedom))
    shift = abs(math.log(ratio)) * math.sqrt(n) / spread
    # The other tail is a wrong verdict: it finds a difference, of the wrong sign.
    found = float(stats.nct.sf(edge, freedom, shift))
    return found if math.isfinite(found) else 1.0


def repetitions(ratio: float, spread: float, alpha: float, wanted: float = WANTED) -> int | None:
    """The fewest pairs with which a ratio is told from 1 with the wanted power; None when more
    than MOST.
    """
    return next((n for n in range(2, MOST + 1) if power(ratio, spread, n, alpha) >= wanted), None)


def needs(verdicts: Sequence[Verdict]) -> list[Need]:
    """Of each claim at each levels: for the published ratio where there is one, and for the ratio
    that was seen.
    """
    alpha = claims.ALPHA / max(1, len(verdicts))
    found = []
    for verdict in verdicts:
        seen = verdict.ratio.estimate
        best = _published(verdict)
        for source, ratio in (("published", best), ("seen", seen)):
            if source == "published" and best is None:
                continue
            found.append(_need(verdict, source, ratio, alpha / verdict.ratio.looks))
    return found


def _published(verdict: Verdict) -> float | None:
    """The published figure that is nearest to no effect, so that no number is too small for it."""
    expected = verdict.claim.expectation
    known = statistics.present([expected.ratio_best, expected.ratio_low, expected.ratio_high])
    effects = [value for value in known if value > 0 and value != 1]
    return min(effects, key=lambda value: abs(math.log(value)), default=None)


def _need(verdict: Verdict, source: str, ratio: float | None, alpha: float) -> Need:
    seen = verdict.ratio
    why = _reason(verdict, ratio)
    away = _from_bounds(verdict, ratio) if not why and ratio is not None else ratio
    if why or seen.error is None or seen.freedom is None or away is None:
        return Need(verdict.claim.id, verdict.levels, source, ratio, seen.n, seen.repeated, None, None, None, None, why)
    spread = seen.error * math.sqrt(seen.n)
    cautious = spread * math.sqrt(seen.freedom / float(stats.chi2.ppf(1 - CAUTION, seen.freedom)))
    return Need(
        verdict.claim.id,
        verdict.levels,
        source,
        ratio,
        seen.n,
        seen.repeated,
        spread,
        cautious,
        repetitions(away, spread, alpha),
        repetitions(away, cautious, alpha),
    )


def _from_bounds(verdict: Verdict, ratio: float) -> float:
    """The ratio that has to be told from 1: of a claim of no effect, what lies between the ratio
    and the nearer bound.
    """
    if verdict.claim.expectation.direction not in BOUNDED:
        return ratio
    low, high = verdict.claim.expectation.bounds
    away = [bound / ratio for bound in (low, high) if 0 < bound < math.inf]
    return min(away, key=lambda each: abs(math.log(each)))


def _reason(verdict: Verdict, ratio: float | None) -> str:
    if ratio is None or ratio <= 0:
        return verdict.ratio.note or "no ratio was seen"
    if verdict.ratio.error is None:
        return verdict.ratio.note or "its variance is not known"
    if verdict.claim.expectation.direction in BOUNDED:
        low, high = verdict.claim.expectation.bounds
        return "" if low < ratio < high else "it lies outside the tolerance, where no number shows that it is within"
    return "the ratio is 1: there is nothing to tell" if ratio == 1 else ""


def _count(needed: int | None, repeated: str) -> str:
    return f"more than {MOST} {repeated}s" if needed is None else f"{needed} {repeated}s"


def lines(found: Sequence[Need], campaign: str, boots: int, runs: int) -> list[str]:
    """For people: what the claims of an experiment need, and what it has. boots, runs: planned."""
    if not found:
        return ["the experiment declares no claims, so none needs a repetition"]
    has = statistics.repetitions(boots, boots * runs)
    first = (
        f"repetitions that a claim needs to be told from no effect with a chance of {100 * WANTED:.0f} %, at the "
        f"variance seen in {campaign}; planned are {has}"
    )
    last = (
        f"cautious: for a variance that {campaign} makes larger than the true one with a chance of "
        f"{100 * CAUTION:.0f} %; all at Holm's strictest level"
    )
    runs_only = any(each.repeated == "run" and not each.why for each in found)
    more = "variance was seen between runs of one boot: another boot may add to it, so plan boots"
    told = [line for each in _alike(found) for line in _of_claim(each)]
    return wrapped(first, *told, last, *([more] if runs_only else []))


def _alike(found: Sequence[Need]) -> list[list[Need]]:
    """Those of one claim at the same levels together."""
    return [list(each) for _, each in itertools.groupby(found, key=lambda need: (need.claim, need.levels))]


def _of_claim(found: Sequence[Need]) -> Iterator[str]:
    """What was seen of a claim, then what it needs: a line for each ratio."""
    one = found[0]
    at = f" at {one.levels}" if one.levels else ""
    spread = next((each for each in found if each.spread is not None), None)
    known = f", spread of ln ratio {spread.spread:.3g} (at most {spread.cautious:.3g})" if spread else ""
    yield f"{one.claim}{at}: {one.n} {one.repeated}{'' if one.n == 1 else 's'} seen{known}"
    for each in found:
        ratio = "no ratio" if each.ratio is None else f"ratio {each.ratio:.3g}"
        needed = f"{_count(each.needed, each.repeated)}, cautious {_count(each.needed_cautious, each.repeated)}"
        yield f"    {ratio} ({each.source}): {each.why or needed}"
