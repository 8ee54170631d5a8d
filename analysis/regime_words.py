"""What a map of regimes says: its section of the report, and the sentences that stand for it where
there is room for a paragraph alone.
"""

from __future__ import annotations

import math
import statistics as middle
from collections.abc import Callable, Sequence

from analysis import panels, predicted, regime_map, sections
from analysis.load import Results
from analysis.regime_map import Map, Point
from analysis.sections import Source

GIVEN = ("share of a guest [MiB]", "share ÷ working set", "fallow", "phase [s]", "predicted", "even split")
"""Columns of what was declared, or follows from the control's cells at all levels."""


def said(results: Results) -> list[str]:
    """The section of report.md; empty where the campaign is no map."""
    if (made := regime_map.found(results)) is None:
        return []
    phases = len({point.setup.phase for point in made.points}) > 1
    parts = [
        (
            f"Sectors read over those under {made.control}, at every regime: below 1, fewer are read. Nothing else is "
            f"in it, neither what was written nor time. {curve_text(made)}"
        ),
        _table(made.against, phases=phases, expected=True),
        f"{agreement(made)} {_how(made)}",
    ]
    if made.parts:
        parts += [
            (
                "What its parts add to a policy: sectors read over those under the policy without them, in the same "
                "regime (single cells, where these were not repeated)."
            ),
            _table(made.parts, phases=phases, expected=False),
        ]
    if lost := lost_text(made):
        parts.append(lost)
    return parts


def _table(points: Sequence[Point], *, phases: bool, expected: bool) -> sections.Table:
    shown = [name for name in GIVEN if (phases or name != "phase [s]") and (expected or name not in GIVEN[-2:])]
    columns = ["policy", *([] if expected else ["over"]), *shown, "measured", *(["error"] if expected else [])]
    rows = []
    for point in points:
        given = {
            GIVEN[0]: f"{point.setup.share:g}",
            GIVEN[1]: sections.MISSING if point.relative is None else f"{point.relative:.1f}",
            GIVEN[2]: f"{100 * point.setup.fallow:.0f} %",
            GIVEN[3]: f"{point.setup.phase:g}",
            GIVEN[4]: _number(point.predicted),
            GIVEN[5]: _number(point.even),
        }
        error = sections.MISSING if point.error is None else f"{100 * point.error:+.0f} %"
        names = (point.policy,) if expected else (point.policy, point.over)
        last = (_number(point.measured), error) if expected else (_number(point.measured),)
        rows.append((*names, *(given[name] for name in shown), *last))
    return sections.table(tuple(columns), rows, [_source(point) for point in points])


def _source(point: Point) -> Source:
    return Source((point.policy, point.over), point.levels, tuple((point.over, levels) for levels in point.alike))


def _how(made: Map) -> str:
    return (
        f"A prediction is made of the cells of {made.control} alone (analysis/predicted.py says how, and what it "
        "leaves out); “even split” is what these say of guests among whom all of the host is handed out. A dash is "
        f"what could not be predicted, or was not measured. Readings under {made.control} at one share are taken "
        "together, whatever lies fallow beside; where cells were repeated, a ratio is that of their pairs. "
        f"Only guests under {made.control} keep the share that is told: others begin with an even part of the host."
    )


def summary(results: Results) -> list[str]:
    """A map in a few sentences; empty where the campaign is none."""
    made = regime_map.found(results)
    if made is None:
        return []
    text = [curve_text(made)]
    for policy in dict.fromkeys(point.policy for point in made.against):
        mine = [point for point in made.against if point.policy == policy]
        text += [*_extremes(mine, made.control), *_sides(mine, made.control)]
    for policy in dict.fromkeys(point.policy for point in made.parts):
        mine = [point for point in made.parts if point.policy == policy]
        text += _extremes(mine, mine[0].over)
    return [*text, agreement(made), *filter(None, [lost_text(made)])]


def _extremes(points: Sequence[Point], over: str) -> list[str]:
    known = [(point.measured, point) for point in points if point.measured is not None]
    if not known:
        return []
    (low, least), (high, most) = (choose(known, key=lambda pair: pair[0]) for choose in (min, max))
    return [
        (
            f"Under {points[0].policy} guests read {low:.2f} to {high:.2f} of what they read under {over}: least "
            f"{_place(least)}, most {_place(most)}."
        )
    ]


def _place(point: Point) -> str:
    phase = f", {point.setup.phase:g} s apart" if point.setup.phase else ""
    return f"with {point.setup.share:g} MiB each and {100 * point.setup.fallow:.0f} % of the host fallow{phase}"


def _sides(points: Sequence[Point], control: str) -> list[str]:
    told = [point for point in points if point.differs is not None]
    if not told:
        return []
    fewer, more = (
        len([point for point in told if point.differs and (point.measured or 1) < 1]),
        len([point for point in told if point.differs and (point.measured or 1) > 1]),
    )
    return [
        (
            f"Fewer in {fewer} of {len(told)} regimes and more in {more}; in the others the difference is no larger "
            f"than the largest between readings of {control} at one share."
        )
    ]


def curve_text(made: Map) -> str:
    """What the control's guests read, how far equal ones differ, and the working set that
    follows.
    """
    if not made.curve.points:
        return f"No cell of {made.control} is complete, so nothing can be predicted."
    curve = ", ".join(f"{panels.number(read)} with {mib:g} MiB" for mib, read in made.curve.points)
    bound = f"reads at most {predicted.KNEE:g} times the least"
    bracket, least = made.curve.bracket, made.curve.working_set
    known = (
        f"The working set, from which on it {bound}, is between {bracket[0]:g} and {bracket[1]:g} MiB: {least:.0f} on "
        "the line between them."
        if bracket is not None and least is not None
        else (
            f"The working set is not known: with the least of these memories it already {bound}, or only with the most."
        )
    )
    spreads = {point.setup.share: point.spread for point in made.against if point.spread is not None}
    alike = ", ".join(f"{spread:.2f} with {share:g} MiB" for share, spread in sorted(spreads.items()))
    noise = f" Equal guests beside more or less fallow memory read, the most over the least, {alike}." if alike else ""
    off = [abs(math.log(factor)) for factor in made.curve.left_out()]
    itself = f" With a measurement left out, the curve is there off by a factor of up to {math.exp(max(off)):.2f}."
    return f"A guest read on average {curve} (sectors). {known}{noise}{itself if off else ''}"


def agreement(made: Map) -> str:
    """How far predictions are from what was measured, beside two that need no model."""
    others: tuple[tuple[str, Callable[[Point], float | None]], ...] = (
        ("the model", lambda point: point.predicted),
        (f"“as under {made.control}”", lambda _point: 1.0),
        ("an even split", lambda point: point.even),
    )
    said = []
    for policy in dict.fromkeys(point.policy for point in made.against):
        both = [p for p in made.against if p.policy == policy and p.measured and p.predicted and p.even]
        if both:
            far = [f"{name} is off by {_factors([_off(told(p), p) for p in both])}" for name, told in others]
            said.append(f"{policy}, {len(both)} points: {', '.join(far)}")
    if not said:
        return "No prediction was measured yet."
    return f"How far off, half of the points at most and the worst, as factors: {'; '.join(said)}."


def _off(told: float | None, point: Point) -> float:
    assert told
    assert point.measured
    return abs(math.log(told / point.measured))


def _factors(logs: Sequence[float]) -> str:
    return f"{math.exp(middle.median(logs)):.2f} and {math.exp(max(logs)):.2f}"


def lost_text(made: Map) -> str:
    """Which points have no measured ratio, and why; "" where all have one."""
    lost = [f"{point.policy} {_place(point)} ({point.lost})" for point in made.against if point.lost]
    return f"Not measured, and so not in any count here: {'; '.join(lost)}." if lost else ""


def _number(value: float | None) -> str:
    return sections.MISSING if value is None else f"{value:.2f}"
