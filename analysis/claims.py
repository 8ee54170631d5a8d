"""Does a campaign support what the literature says, contradict it, or leave it open?

Each claim is one ratio treatment ÷ control per combination of factor levels. The verdict is a test's: the claims of a
campaign are one family, with Holm's correction. `decrease` and `increase` are tested against a ratio of 1 in both
directions; `unchanged` needs evidence too: supported only when the ratio is shown to lie within the tolerance.
With one repetition nothing is tested, and the words say "observed".

How well the published figure is known (evidence) decides the words, never the verdict: nothing is called reproduced
against a figure that is only recalled.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import pandas as pd

from analysis import statistics, totals
from analysis.load import Results
from campaigns.records import Claim

ALPHA = 0.05
"""Family-wise rate of wrong verdicts that are not "leaves open"."""

Word = Literal["supports", "contradicts", "leaves open"]


@dataclass(frozen=True)
class Verdict:
    """What a campaign says about one claim at one combination of factor levels.

    leaning: what the estimate alone says, before asking whether it could be chance; None when there is no estimate.
    p: of the test behind the leaning, uncorrected; p_adjusted: by Holm over the campaign's claims. None: not tested.
    """

    claim: Claim
    levels: str
    verdict: Word
    ratio: statistics.Ratio
    leaning: Word | None
    p: float | None
    p_adjusted: float | None
    reason: str
    wording: str


def judge(results: Results) -> list[Verdict]:
    """A verdict per claim and factor levels, in the order of the experiment."""
    judged = [_lean(results, claim, levels) for claim in results.record.claims for levels in results.levels]
    adjusted = statistics.holm([verdict.p for verdict in judged])
    return [_decide(results, verdict, p) for verdict, p in zip(judged, adjusted, strict=True)]


def _lean(results: Results, claim: Claim, levels: str) -> Verdict:
    treatment, control = claim.compare.treatment, claim.compare.control
    ratio = totals.ratio_of(
        results, (claim.metric,), claim.aggregate, treatment=treatment, control=control, levels=levels
    )
    leaning, p = _test(claim, ratio)
    return Verdict(claim, levels, "leaves open", ratio, leaning, p, None, "", "")


def _test(claim: Claim, ratio: statistics.Ratio) -> tuple[Word | None, float | None]:
    """Which way the estimate points, and the probability of such data if it pointed nowhere (or the other way)."""
    if ratio.estimate is None:
        return None, None
    expected = claim.expectation
    if expected.direction != "unchanged":
        if ratio.estimate == 1:
            return None, ratio.p
        fell = ratio.estimate < 1
        return ("supports" if fell == (expected.direction == "decrease") else "contradicts"), ratio.p
    if expected.tolerance is None:
        return None, None
    low, high = 1 - expected.tolerance, 1 + expected.tolerance
    if low <= ratio.estimate <= high:
        outside = [ratio.p_beyond(low, "below"), ratio.p_beyond(high, "above")]
        found = statistics.present(outside)
        return "supports", max(found) if len(found) == 2 else None
    side: Literal["below", "above"] = "above" if ratio.estimate < low else "below"
    p = ratio.p_beyond(low if ratio.estimate < low else high, side)
    return "contradicts", None if p is None else min(1.0, 2 * p)


def _decide(results: Results, verdict: Verdict, p_adjusted: float | None) -> Verdict:
    word: Word = "leaves open"
    if verdict.leaning and p_adjusted is not None and p_adjusted < ALPHA:
        word = verdict.leaning
    decided = dataclasses.replace(verdict, verdict=word, p_adjusted=p_adjusted)
    decided = dataclasses.replace(decided, reason=_reason(results, decided))
    return dataclasses.replace(decided, wording=_wording(results, decided))


def _reason(results: Results, verdict: Verdict) -> str:
    claim, ratio = verdict.claim, verdict.ratio
    if ratio.estimate is None:
        lacking = [
            policy
            for policy in (claim.compare.treatment, claim.compare.control)
            if not results.at(policy, verdict.levels)
        ]
        if lacking:
            return f"no complete cell of {' or '.join(lacking)}"
        return ratio.note or "nothing to divide by"
    if claim.expectation.direction == "unchanged" and claim.expectation.tolerance is None:
        return "the experiment declares no tolerance, so 'unchanged' cannot be tested"
    if verdict.p_adjusted is None:
        return ratio.note or "not tested"
    shown = f"{format_p(verdict.p_adjusted)} after Holm's correction"
    if verdict.verdict == "leaves open":
        return f"could be chance: {shown}"
    return f"{shown}; {ratio.note}" if ratio.note else shown


def format_p(p: float) -> str:
    """A p value in words, never rounded to 0."""
    return "p < 0.0001" if p < 0.0001 else f"p = {p:.2g}"


def format_ratio(ratio: statistics.Ratio) -> str:
    """`0.61 (95 % interval 0.55 to 0.68, n = 5)`, or without an interval and why."""
    if ratio.estimate is None:
        return f"no ratio ({ratio.note or 'nothing to divide by'})"
    if ratio.low is None or ratio.high is None:
        return f"{ratio.estimate:.3g} (n = {ratio.n}; {ratio.note})"
    return f"{ratio.estimate:.3g} ({100 * statistics.LEVEL:.0f} % interval {ratio.low:.3g} to {ratio.high:.3g}, n = {ratio.n})"


def published(claim: Claim) -> str:
    """The published range of the ratio in words; empty when none was published."""
    low, high = claim.expectation.ratio_low, claim.expectation.ratio_high
    if low is not None and high is not None:
        return f"{low:.3g}" if low == high else f"{low:.3g} to {high:.3g}"
    if low is not None:
        return f"{low:.3g} or more"
    return f"{high:.3g} or less" if high is not None else ""


def _wording(results: Results, verdict: Verdict) -> str:
    claim, ratio = verdict.claim, verdict.ratio
    compared = f"{claim.compare.treatment} ÷ {claim.compare.control}, {claim.metric} ({claim.aggregate} over guests): {format_ratio(ratio)}"
    if ratio.estimate is None:
        return f"Left open: {verdict.reason}."
    if verdict.p_adjusted is None:
        seen = {
            "supports": "in line with the claim",
            "contradicts": "not in line with the claim",
            None: "no difference",
        }
        said = f"Observed, not tested: {seen[verdict.leaning]}. {compared}."
    elif verdict.verdict == "leaves open":
        said = f"Left open, {verdict.reason}. {compared}."
    elif verdict.verdict == "contradicts":
        said = f"Contradicted ({verdict.reason}). {compared}."
    else:
        said = f"{_supported(claim, ratio)} ({verdict.reason}). {compared}."
    return " ".join([said, *_remarks(results, verdict)])


def _supported(claim: Claim, ratio: statistics.Ratio) -> str:
    if claim.expectation.tolerance is not None:
        return f"Supported within {100 * claim.expectation.tolerance:.3g} %"
    if claim.evidence == "recalled":
        return "Supported in direction"
    if published(claim) and _overlaps(claim, ratio):
        return "Reproduced in direction, and the interval meets the published range"
    return "Supported in direction"


def _overlaps(claim: Claim, ratio: statistics.Ratio) -> bool:
    """Whether the interval and the published range have a point in common."""
    if ratio.low is None or ratio.high is None:
        return False
    low, high = claim.expectation.ratio_low, claim.expectation.ratio_high
    return (low is None or ratio.high >= low) and (high is None or ratio.low <= high)


def _remarks(results: Results, verdict: Verdict) -> list[str]:
    claim = verdict.claim
    remarks = []
    if figure := published(claim):
        remarks.append(f"Published: {figure} ({claim.evidence}).")
    if claim.evidence == "recalled":
        remarks.append("The source is recalled, its text could not be read, so only the direction can be compared.")
    if _is_time(results, claim) and emulated(results):
        remarks.append("Times are the emulated machine's.")
    return remarks


def _is_time(results: Results, claim: Claim) -> bool:
    return any(spec.name == claim.metric and spec.unit in ("s", "seconds") for spec in results.record.metrics)


def emulated(results: Results) -> bool:
    """Whether any cell of the campaign ran on an emulated host."""
    return any(cell.host_kind == "emulated" for cell in results.records)


def frame(verdicts: Sequence[Verdict]) -> pd.DataFrame:
    """Verdicts as a table."""
    texts = {
        "claim": [v.claim.id for v in verdicts],
        "levels": [v.levels for v in verdicts],
        "metric": [v.claim.metric for v in verdicts],
        "treatment": [v.claim.compare.treatment for v in verdicts],
        "control": [v.claim.compare.control for v in verdicts],
        "evidence": [v.claim.evidence for v in verdicts],
        "verdict": [v.verdict for v in verdicts],
        "method": [v.ratio.method for v in verdicts],
        "reason": [v.reason for v in verdicts],
        "wording": [v.wording for v in verdicts],
    }
    figures = {
        "ratio": [v.ratio.estimate for v in verdicts],
        "low": [v.ratio.low for v in verdicts],
        "high": [v.ratio.high for v in verdicts],
        "p": [v.p for v in verdicts],
        "p_adjusted": [v.p_adjusted for v in verdicts],
    }
    columns = {name: pd.Series(values, dtype="string") for name, values in texts.items()}
    columns |= {"n": pd.Series([v.ratio.n for v in verdicts], dtype="int64")}
    columns |= {name: pd.Series(values, dtype="Float64") for name, values in figures.items()}
    return pd.DataFrame(columns)
