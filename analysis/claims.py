"""Does a campaign support what the literature says, contradict it, or leave it open – or could it
not tell at all?

Each claim is one ratio treatment ÷ control per combination of factor levels, and gets two verdicts.
The direction is tested against a ratio of 1, both ways; `unchanged` needs evidence too, and is
supported only when the ratio is shown to lie within the tolerance, as are `at_most` and `at_least`,
which are claims about one side: what costs less than nothing does not contradict that it costs
nothing. The magnitude (magnitude.py) is tested against the published figure. Each of the two is one
family over the campaign's claims, with Holm's correction. With one repetition nothing is tested,
and the words say "observed".

A claim of relief is testable only where its control felt what is to be relieved (pressure.py), one
about disks and tmem only where Xen took most of the swapped pages, and tmem returned a page
(refused.py), a claim about time only where times are a real machine's; elsewhere the verdict is
"not testable here", with the reason, and enters no family. GiB·min are a time, too, but where the
runs under both policies took as long, as those do that end by the clock, they are memory alone.

How well the published figure is known (evidence) decides the words, never the direction's verdict:
nothing is called reproduced against a figure that is only recalled, nor without the direction and
the magnitude both shown.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import pandas as pd

from analysis import magnitude, pressure, refused, statistics, totals
from analysis.load import Results
from analysis.magnitude import Magnitude
from analysis.pressure import Felt
from analysis.refused import Offered, Returned
from campaigns.records import BOUNDED, Claim
from common.metrics import is_timed

ALPHA = 0.05
"""Family-wise rate of wrong verdicts that are not "leaves open"."""

AS_LONG = 1.05
"""Runs of two policies took as long when neither took more times as long as the other."""

OURS = "our expectation"
"""How the source of such a claim begins, also in campaigns from before `evidence: ours`."""

Word = Literal["supports", "contradicts", "leaves open", "not testable here"]


@dataclass(frozen=True)
class Verdict:
    """What a campaign says about one claim at one combination of factor levels.

    verdict: of the direction. leaning: what the estimate alone says of it, before asking whether it
    could be chance; None when there is no estimate. p: of the test behind the leaning, uncorrected;
    p_adjusted: by Holm over the campaign's claims. None: not tested. magnitude: None when no figure
    was published. felt: what the control felt, of a claim of relief; None of any other. untimed:
    why it says nothing of time, where it is about a time that is none of a real machine's. offered:
    what Xen took of the swapped pages, of a claim about disks with tmem against without. returned:
    what came back of tmem, of a claim that disks do less with it.
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
    magnitude: Magnitude | None = None
    felt: Felt | None = None
    untimed: str = ""
    offered: Offered | None = None
    returned: Returned | None = None

    @property
    def testable(self) -> bool:
        """Whether the control felt what is to be relieved, swapped pages got into tmem, pages came
        back from it, and times mean something, if they have to.
        """
        asked = (self.felt, self.offered, self.returned)
        return all(each is None or each.enough for each in asked) and not self.untimed


def judge(results: Results) -> list[Verdict]:
    """A verdict per claim and factor levels, in the order of the experiment."""
    judged = [_lean(results, claim, levels) for claim in results.campaign.claims for levels in results.levels]
    adjusted = statistics.holm([verdict.p for verdict in judged])
    judged = [dataclasses.replace(verdict, p_adjusted=p) for verdict, p in zip(judged, adjusted, strict=True)]
    sizes = magnitude.judge([(each.claim, each.levels, each.ratio, each.testable) for each in judged], ALPHA)
    return [
        _decide(results, dataclasses.replace(each, magnitude=size)) for each, size in zip(judged, sizes, strict=True)
    ]


def _lean(results: Results, claim: Claim, levels: str) -> Verdict:
    treatment, control = claim.compare.treatment, claim.compare.control
    ratio = totals.ratio_of(
        results,
        (claim.metric,),
        claim.aggregate,
        treatment=treatment,
        control=control,
        levels=levels,
        group=claim.group,
    )
    above, below = totals.used_cells(results, ratio, treatment, control, levels)
    felt = None
    if ratio.n and pressure.is_relief(results, claim):
        felt = pressure.felt(results, control, below, claim.group)
    offered = refused.offered(results, claim, above)
    leaning, p = _test(claim, ratio)
    untimed = _untimed(results, claim, levels) if _is_time(results, claim) and emulated(results) else ""
    verdict = Verdict(
        claim,
        levels,
        "leaves open",
        ratio,
        leaning,
        p,
        None,
        "",
        "",
        felt=felt,
        untimed=untimed,
        offered=offered,
        returned=refused.returned(results, claim, above),
    )
    return verdict if verdict.testable else dataclasses.replace(verdict, verdict="not testable here", p=None)


def _test(claim: Claim, ratio: statistics.Ratio) -> tuple[Word | None, float | None]:
    """Which way the estimate points, and the probability of such data if it pointed nowhere (or
    the other way).
    """
    expected = claim.expectation
    if expected.direction not in BOUNDED:
        if ratio.fell is None:
            return None, ratio.p
        return ("supports" if ratio.fell == (expected.direction == "decrease") else "contradicts"), ratio.p
    if expected.tolerance is None or ratio.treatment is None or (ratio.estimate is None and ratio.p is None):
        return None, None
    place, p = statistics.placed(ratio, *expected.bounds)
    return ("supports" if place == "within" else "contradicts"), p


def _decide(results: Results, verdict: Verdict) -> Verdict:
    word = verdict.verdict
    if verdict.testable and verdict.leaning and verdict.p_adjusted is not None and verdict.p_adjusted < ALPHA:
        word = verdict.leaning
    decided = dataclasses.replace(verdict, verdict=word)
    decided = dataclasses.replace(decided, reason=_reason(results, decided))
    return dataclasses.replace(decided, wording=_wording(results, decided))


def _reason(results: Results, verdict: Verdict) -> str:
    claim, ratio = verdict.claim, verdict.ratio
    if not verdict.testable:
        return _untestable(verdict)
    if ratio.estimate is None and ratio.p is None:
        lacking = [
            policy
            for policy in (claim.compare.treatment, claim.compare.control)
            if not results.at(policy, verdict.levels)
        ]
        left_out = [policy for policy in lacking if (policy, verdict.levels) not in results.planned]
        if lacking:
            which = f", and the plan leaves out {' and '.join(left_out)} there" if left_out else ""
            return f"no complete cell of {' or '.join(lacking)}{which}"
        return ratio.note or "nothing to divide by"
    if claim.expectation.direction in BOUNDED and claim.expectation.tolerance is None:
        return f"the experiment declares no tolerance, so '{claim.expectation.direction}' cannot be tested"
    if verdict.p_adjusted is None:
        return ratio.note or "not tested"
    shown = f"{format_p(verdict.p_adjusted)} after Holm's correction"
    if verdict.verdict == "leaves open":
        shown = f"could be chance: {shown}"
    return f"{shown}; {ratio.note}" if ratio.note else shown


def _untestable(verdict: Verdict) -> str:
    if verdict.felt is not None and not verdict.felt.enough:
        return (
            f"{verdict.felt.control} felt too little that could be relieved "
            f"({verdict.felt.text}; {verdict.felt.demanded} would do)"
        )
    if verdict.offered is not None and not verdict.offered.enough:
        return f"{verdict.offered.text}, and the rest went to their disks as without tmem"
    if verdict.returned is not None and not verdict.returned.enough:
        return f"tmem returned no page under {verdict.returned.treatment}, so what disks did is none of its doing"
    return verdict.untimed


def _untimed(results: Results, claim: Claim, levels: str) -> str:
    """Why a claim about a time of an emulated host cannot be tested; nothing where it can be."""
    spec = results.campaign.spec(claim.metric)
    treatment, control = claim.compare.treatment, claim.compare.control
    if spec is not None and spec.unit == "GiB·min":
        took = totals.ratio_of(
            results, ("run_seconds",), "sum", treatment=treatment, control=control, levels=levels
        ).estimate
        if took is not None and abs(math.log(took)) <= math.log(AS_LONG):
            return ""
        if took is not None:
            return (
                f"its minutes are the emulated machine's, and from the release to the last guest's end {treatment} "
                f"took {took:.3g} times as long as {control}"
            )
    return "times are the emulated machine's, whose disk and processor are not in proportion to any real one's"


def format_p(p: float) -> str:
    """A p value in words, never rounded to 0."""
    return "p < 0.0001" if p < 0.0001 else f"p = {p:.2g}"


def format_ratio(ratio: statistics.Ratio) -> str:
    """`0.61 (95 % interval 0.55 to 0.68, n = 5 runs of one boot)`, or without an interval and
    why.
    """
    if ratio.estimate is None:
        return f"no ratio ({ratio.note or 'nothing to divide by'})"
    n = statistics.repetitions(ratio.boots, ratio.runs)
    if not ratio.tested or ratio.low is None:
        return f"{ratio.estimate:.3g} (n = {n}; {ratio.note})"
    return f"{ratio.estimate:.3g} ({', '.join(filter(None, [interval(ratio), single(ratio)]))}, n = {n})"


def interval(ratio: statistics.Ratio) -> str:
    """`95 % interval 0.55 to 0.68`; empty without one."""
    if ratio.low is None:
        return ""
    end = f"to {ratio.high:.3g}" if ratio.high is not None else "without an upper end"
    return f"{100 * statistics.LEVEL:.0f} % interval {ratio.low:.3g} {end}"


def single(ratio: statistics.Ratio) -> str:
    """`single runs 1.01 to 1.14`, where few boots have several runs each: their means may be alike
    by luck, and then the interval is narrower than what runs show. Else empty.
    """
    return "" if ratio.single is None else f"single runs {ratio.single[0]:.3g} to {ratio.single[1]:.3g}"


def evidence(claim: Claim) -> str:
    """How well the published figure is known, as the claim has it; `ours` of what nobody published,
    also in campaigns from before there was that word.
    """
    return "ours" if claim.source.startswith(OURS) else claim.evidence


def published(claim: Claim) -> str:
    """The published figure of the ratio in words; empty when none was published."""
    return magnitude.published(claim)


def _wording(results: Results, verdict: Verdict) -> str:
    claim, ratio = verdict.claim, verdict.ratio
    compared = (
        f"{claim.compare.treatment} ÷ {claim.compare.control}, {claim.metric} "
        f"({claim.aggregate} over {f'guests of {claim.group}' if claim.group else 'guests'}): {format_ratio(ratio)}"
    )
    if ratio.estimate is None and ratio.p is None:
        return f"{'Left open' if verdict.testable else 'Not testable here'}: {verdict.reason}."
    if verdict.verdict == "not testable here":
        said = f"Not testable here: {verdict.reason}. {compared}."
    elif verdict.p_adjusted is None:
        seen = {
            "supports": "in line with the claim",
            "contradicts": "not in line with the claim",
        }
        said = f"Observed, not tested: {seen.get(verdict.leaning or '', 'no difference')}. {compared}."
    elif verdict.verdict == "leaves open":
        said = f"Left open, {verdict.reason}. {compared}."
    elif verdict.verdict == "contradicts":
        said = f"Contradicted ({verdict.reason}). {compared}."
    else:
        said = f"{_supported(verdict)} ({verdict.reason}). {compared}."
    return " ".join([said, *_remarks(results, verdict)])


def _supported(verdict: Verdict) -> str:
    claim = verdict.claim
    if claim.expectation.direction in BOUNDED and claim.expectation.tolerance is not None:
        return f"Supported within {100 * claim.expectation.tolerance:.3g} %"
    if claim.evidence in ("quoted", "source") and verdict.magnitude is not None and verdict.magnitude.word == "reached":
        return "Reproduced in direction and magnitude"
    return "Supported in direction"


def _remarks(results: Results, verdict: Verdict) -> list[str]:
    claim = verdict.claim
    remarks = []
    if figure := published(claim):
        remarks.append(f"{'Expected' if evidence(claim) == 'ours' else 'Published'}: {figure} ({evidence(claim)}).")
    if verdict.magnitude is not None and verdict.testable and verdict.ratio.p is not None:
        remarks.append(f"Magnitude: {verdict.magnitude.word}, {verdict.magnitude.reason}.")
    if verdict.felt is not None and verdict.felt.enough:
        remarks.append(f"{verdict.felt.control} felt {verdict.felt.text}.")
    if verdict.offered is not None and verdict.offered.enough and verdict.offered.text:
        remarks.append(f"{verdict.offered.text}.")
    whose = "the source names it" if claim.control_from == "source" else "the source names none, it is our choice"
    remarks.append(f"Control: {claim.compare.control}; {whose}.")
    if evidence(claim) == "ours":
        remarks.append("Nobody published it: the expectation is ours.")
    elif evidence(claim) == "recalled":
        remarks.append("The source is recalled, its text could not be read, so only the direction can be compared.")
    if verdict.untimed:
        remarks.append("Times are the emulated machine's.")
    if _is_time(results, claim) and virtual(results):
        remarks.append("Times are a virtual machine's, which shares what it runs on.")
    return remarks


def _is_time(results: Results, claim: Claim) -> bool:
    spec = results.campaign.spec(claim.metric)
    return spec is not None and is_timed(spec.unit)


def emulated(results: Results) -> bool:
    """Whether any cell of the campaign ran on an emulated host."""
    return any(cell.host_kind == "emulated" for cell in results.complete)


def virtual(results: Results) -> list[str]:
    """What those servers of the campaign say they are that are virtual machines."""
    return sorted({cell.accelerator for cell in results.complete if cell.host_kind != "emulated" and cell.accelerator})


def frame(verdicts: Sequence[Verdict]) -> pd.DataFrame:
    """Verdicts as a table."""
    texts = {
        "claim": [v.claim.id for v in verdicts],
        "levels": [v.levels for v in verdicts],
        "metric": [v.claim.metric for v in verdicts],
        "treatment": [v.claim.compare.treatment for v in verdicts],
        "control": [v.claim.compare.control for v in verdicts],
        "control_from": [v.claim.control_from for v in verdicts],
        "evidence": [evidence(v.claim) for v in verdicts],
        "published": [published(v.claim) or None for v in verdicts],
        "verdict": [v.verdict for v in verdicts],
        "magnitude": [v.magnitude.word if v.magnitude else None for v in verdicts],
        "method": [v.ratio.method for v in verdicts],
        "repeated": [v.ratio.repeated for v in verdicts],
        "reason": [v.reason for v in verdicts],
        "magnitude_reason": [v.magnitude.reason if v.magnitude else None for v in verdicts],
        "wording": [v.wording for v in verdicts],
    }
    figures = {
        "ratio": [v.ratio.estimate for v in verdicts],
        "low": [v.ratio.low for v in verdicts],
        "high": [v.ratio.high for v in verdicts],
        "single_low": [v.ratio.single[0] if v.ratio.single else None for v in verdicts],
        "single_high": [v.ratio.single[1] if v.ratio.single else None for v in verdicts],
        "treatment_mean": [v.ratio.treatment for v in verdicts],
        "control_mean": [v.ratio.control for v in verdicts],
        "p": [v.p for v in verdicts],
        "p_adjusted": [v.p_adjusted for v in verdicts],
        "magnitude_p": [v.magnitude.p if v.magnitude else None for v in verdicts],
        "magnitude_p_adjusted": [v.magnitude.p_adjusted if v.magnitude else None for v in verdicts],
        "control_pages_reclaimed": [v.felt.pages_reclaimed if v.felt else None for v in verdicts],
        "control_refaults": [v.felt.refaults if v.felt else None for v in verdicts],
        "control_memory_stall": [v.felt.memory_stall if v.felt else None for v in verdicts],
        "swapped_pages_offered": [v.offered.tried if v.offered else None for v in verdicts],
        "swapped_pages_stored": [v.offered.stored if v.offered else None for v in verdicts],
    }
    counts = {name: [getattr(v.ratio, name) for v in verdicts] for name in ("n", "boots", "runs")}
    columns = {name: pd.Series(values, dtype="string") for name, values in texts.items()}
    columns |= {name: pd.Series(values, dtype="int64") for name, values in counts.items()}
    columns |= {name: pd.Series(values, dtype="Float64") for name, values in figures.items()}
    columns |= {"testable": pd.Series([v.testable for v in verdicts], dtype="bool")}
    return pd.DataFrame(columns)
