"""How far a factor can be taken: the last of its levels at which a metric stays within so many
times its value at the start, for each policy by itself.

Levels are taken in their order. A level without a complete cell ends the way: what lies beyond is
not known, whatever was measured there. Means are those of the tables (statistics.Centre); an
interval over boots or runs is drawn and does not move the answer.

A threshold on a time of an emulated host has ratios and no answer, as no claim about such a time is
judged (claims.py).
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from string import ascii_lowercase
from typing import Any, Literal

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator

from analysis import claims, panels, sections, statistics, style, totals
from analysis.load import Results, levels_text
from analysis.style import Layout
from analysis.totals import Quantity
from campaigns.records import Aggregate
from common.metrics import is_timed

_HEIGHT = 2.3
_WORDS = {
    "guests.memory_start": "memory of each guest",
    "guests.count": "guests",
    "host.guest_memory": "memory of the host for guests",
}
"""Factors as people call them; others are told by their paths."""
_NUMBER = re.compile(r"(-?\d+(?:\.\d+)?)(?: (\S+))?")
_APART = 0.05
"""Of an axis' length, the least from a level to the next where they stand by their numbers."""


@dataclass(frozen=True)
class Threshold:
    """What an experiment asks: as campaigns/schema.py has it (ThresholdSection)."""

    id: str
    question: str
    factor: str
    start: object
    metric: str
    aggregate: Aggregate = "sum"
    at_most: float | None = None
    at_least: float | None = None
    group: str | None = None


@dataclass(frozen=True)
class Step:
    """A level of the factor. levels: with those of the other factors, as tables have them. ratio:
    to the value at the start; None when either was not measured.
    """

    level: object
    levels: str
    centre: statistics.Centre
    ratio: float | None


@dataclass(frozen=True)
class Reach:
    """How far a policy gets. others: the levels of the other factors as a text. last: the last
    level within the bound; None when the start itself was not measured, or is 0. beyond: the first
    level that is not, or was not measured; None when all hold.
    """

    policy: str
    others: str
    steps: tuple[Step, ...]
    last: Step | None
    beyond: Step | None


def declared(results: Results) -> list[Threshold]:
    """The thresholds of the campaign's experiment."""
    asked: Any = results.campaign.experiment.get("thresholds", [])
    return [Threshold(**each) for each in asked]


def reaches(results: Results, threshold: Threshold) -> list[Reach]:
    """Of every policy, at each combination of the other factors, in the order of the plan."""
    order = _order(results, threshold)
    others: dict[str, Mapping[str, object]] = {}
    for cell in results.campaign.cells:
        rest: Mapping[str, object] = {path: level for path, level in cell.levels.items() if path != threshold.factor}
        others.setdefault(levels_text(rest), rest)
    found = []
    for text, fixed in others.items():
        way = [(level, levels_text({**fixed, threshold.factor: level})) for level in order]
        for policy in results.policies:
            steps = _steps(results, threshold, policy, way)
            number = next((n for n, step in enumerate(steps) if not _within(threshold, step.ratio)), len(steps))
            ends = (steps[number - 1] if number else None, steps[number] if number < len(steps) else None)
            found.append(Reach(policy, text, tuple(steps), *ends))
    return found


def _steps(results: Results, threshold: Threshold, policy: str, way: Sequence[tuple[object, str]]) -> list[Step]:
    """The levels on the way, up to the last that the campaign has of a policy; none where it was
    left out at the start. Another level that was left out is not known.
    """
    quantity = _quantity(results, threshold)
    there = [(policy, levels) in results.planned for _, levels in way]
    steps: list[Step] = []
    if not there[0]:
        return steps
    last = max(place for place, planned in enumerate(there) if planned)
    seen = [totals.value(results, cell, quantity) for _, levels in way for cell in results.at(policy, levels)]
    # What is divided by one another is the same kind of mean.
    linear = any(each is not None and each <= 0 for each in seen)
    for level, levels in way[: last + 1]:
        centre = totals.centre_of(results, quantity, policy, levels, linear=linear)
        first = steps[0].centre.mean if steps else centre.mean
        steps.append(Step(level, levels, centre, None if centre.mean is None or not first else centre.mean / first))
    return steps


def _within(threshold: Threshold, ratio: float | None) -> bool:
    if ratio is None:
        return False
    return ratio <= threshold.at_most if threshold.at_most is not None else ratio >= (threshold.at_least or 0)


def _order(results: Results, threshold: Threshold) -> list[object]:
    factors: Any = results.campaign.experiment["factors"]
    levels = list(factors[threshold.factor])
    return levels if levels[0] == threshold.start else levels[::-1]


def _quantity(results: Results, threshold: Threshold) -> Quantity:
    spec = results.campaign.spec(threshold.metric)
    unit = spec.unit if spec is not None else ""
    known = totals.QUANTITIES.get(threshold.metric)
    label = threshold.metric.replace("_", " ") if known is None else known.label
    return Quantity(threshold.id, (threshold.metric,), threshold.aggregate, unit, label, group=threshold.group)


def testable(results: Results, threshold: Threshold) -> bool:
    """Whether it is about no time, or about a real machine's."""
    return not is_timed(_quantity(results, threshold).unit) or not claims.emulated(results)


# --- The report ---------------------------------------------------------------------------------


def said(results: Results) -> list[str]:
    """The section of report.md; empty where the experiment asks for no threshold."""
    parts: list[str] = []
    for threshold in declared(results):
        found = reaches(results, threshold)
        parts.append(f"{threshold.question} {_bound(threshold)}")
        levels = [str(level) for level in _order(results, threshold)]
        columns = ("policy", *(("at",) if any(each.others for each in found) else ()), *levels, "as far as")
        rows = [
            (
                each.policy,
                *((each.others,) if len(columns) > len(levels) + 2 else ()),
                *_ratios(each, levels),
                _answer(results, threshold, each),
            )
            for each in found
        ]
        parts.append(sections.table(columns, rows))
        if not testable(results, threshold):
            parts.append(_untestable(threshold, found))
        parts += [sentence for each in found if (sentence := _unmeasured(results, each))]
    return parts


def _bound(threshold: Threshold) -> str:
    limit = f"at most {threshold.at_most:g}" if threshold.at_most is not None else f"at least {threshold.at_least:g}"
    whose = f" of group {threshold.group}" if threshold.group is not None else ""
    how = "" if threshold.aggregate == "sum" else f" ({threshold.aggregate} of the guests)"
    return (
        f"Shown is {threshold.metric}{whose}{how} over its value at {threshold.factor} = {threshold.start}; "
        f"a level holds with {limit}, and counts where all before it hold."
    )


def _ratios(reach: Reach, levels: Sequence[str]) -> list[str]:
    shown = {str(step.level): step.ratio for step in reach.steps}
    ratios = [shown.get(level) for level in levels]
    return [sections.MISSING if ratio is None else f"{ratio:.2f}" for ratio in ratios]


NOT_HERE = "not testable here"


def _answer(results: Results, threshold: Threshold, reach: Reach) -> str:
    return _end(reach) if testable(results, threshold) else NOT_HERE


def _untestable(threshold: Threshold, found: Sequence[Reach]) -> str:
    """Why a time of an emulated host answers nothing, and how far its policies are apart where the
    way starts.
    """
    starts = [step.centre.mean for each in found for step in each.steps[:1]]
    known = statistics.present(starts)
    apart = (
        f" Already where the way starts policies differ by {max(known) / min(known):.2f} times."
        if len(known) > 1 and min(known) > 0
        else ""
    )
    return (
        f"How far {threshold.metric} allows to go is {NOT_HERE}: times are the emulated machine's, whose disk and "
        f"processor are not in proportion to any real one's.{apart}"
    )


def _end(reach: Reach) -> str:
    if reach.last is None:
        return sections.MISSING
    if reach.beyond is None:
        return f"{reach.last.level} or more"
    return str(reach.last.level) if reach.beyond.ratio is not None else f"{reach.last.level} at least"


def _unmeasured(results: Results, reach: Reach) -> str:
    """Why nothing is known of a start, or beyond a level that has no complete cell."""
    at = f" at {reach.others}" if reach.others else ""
    if not reach.steps:
        return f"{reach.policy} was left out{at} where the way starts, so nothing is said of it."
    if reach.steps[0].centre.mean == 0:
        return f"Under {reach.policy}{at} the value at the start is 0, so there is nothing to divide by."
    if reach.beyond is None or reach.beyond.ratio is not None:
        return ""
    why = panels.why_nothing(results, reach.policy, reach.beyond.levels)
    return f"Under {reach.policy}, {reach.beyond.levels} has no figure ({why}), so nothing is said of it or beyond."


# --- The figure ---------------------------------------------------------------------------------


def draw(results: Results, _levels: str, layout: Layout) -> Figure | None:
    """A panel for each threshold: the ratio over the factor's levels, a line for each policy, and
    the bound. None where there is none, or nothing was measured.
    """
    every = [(each, reaches(results, each)) for each in declared(results)]
    asked = [(each, found) for each, found in every if any(reach.last for reach in found)]
    if not asked:
        return None
    looks = style.looks(results.policies)
    figure = style.new_figure(layout.width, _HEIGHT * len(asked) + 0.5)
    grid = figure.subplots(len(asked), 1, squeeze=False)[:, 0]
    quantities = [_quantity(results, threshold) for threshold, _ in asked]
    for number, (axes, (threshold, found), quantity) in enumerate(zip(grid, asked, quantities, strict=True)):
        _panel(axes, threshold, found, looks, f"{quantity.label}{totals.clock_of(results, quantity)}")
        if len(asked) > 1:
            axes.set_title(f"({ascii_lowercase[number] if number < len(ascii_lowercase) else number + 1})")
    drawn = [policy for policy in results.policies if any(r.policy == policy for _, found in asked for r in found)]
    style.key(figure, [_handle(looks[policy], policy) for policy in drawn], columns=3 if layout.columns > 1 else 2)
    return figure


@dataclass(frozen=True)
class _Spread:
    """Where the levels of a factor stand: by their numbers where they are such, of one unit, and
    have room; else one after the other.
    """

    places: list[float]
    names: list[str]
    unit: str
    scale: Literal["linear", "log"]

    @classmethod
    def of(cls, levels: Sequence[str]) -> _Spread:
        """Of levels in their order."""
        even = cls([float(place) for place in range(len(levels))], list(levels), "", "linear")
        read = [match for level in levels if (match := _NUMBER.fullmatch(level))]
        units = {match[2] or "" for match in read}
        if len(read) < len(levels) or len(units) > 1:
            return even
        numbers, names = [float(match[1]) for match in read], [match[1] for match in read]
        (unit,) = units
        if _roomy(numbers):
            return cls(numbers, names, unit, "linear")
        if min(numbers) > 0 and _roomy([math.log(number) for number in numbers]):
            return cls(numbers, names, unit, "log")
        return even


def _roomy(places: Sequence[float]) -> bool:
    """Whether places go one way, and none is too close to the next."""
    steps = [after - before for before, after in pairwise(places)]
    one_way = all(step > 0 for step in steps) or all(step < 0 for step in steps)
    return one_way and all(abs(step) >= _APART * abs(places[-1] - places[0]) for step in steps)


def _handle(look: style.Look, name: str) -> Line2D:
    return Line2D([], [], color=look.colour, linestyle=look.line, marker=look.marker, markersize=4, label=name)


def _panel(
    axes: Axes, threshold: Threshold, found: Sequence[Reach], looks: Mapping[str, style.Look], name: str
) -> None:
    """name: of the metric, and whose clock it is by."""
    levels = list(dict.fromkeys(str(step.level) for reach in found for step in reach.steps))
    spread = _Spread.of(levels)
    places = dict(zip(levels, spread.places, strict=True))
    for reach in found:
        points = [(places[str(step.level)], step.ratio) for step in reach.steps if step.ratio is not None]
        look = looks[reach.policy]
        if points:
            axes.plot(*zip(*points, strict=True), color=look.colour, linestyle=look.line, marker=look.marker, ms=4)
    bound = threshold.at_most if threshold.at_most is not None else threshold.at_least
    assert bound is not None
    axes.axhline(bound, color=style.MUTED, linewidth=0.8, linestyle=(0, (4, 2)))
    axes.annotate(
        f"{bound:g}",
        (1, bound),
        xycoords=("axes fraction", "data"),
        xytext=(2, 0),
        textcoords="offset points",
        va="center",
        fontsize=style.SMALL,
        color=style.MUTED,
        annotation_clip=False,
    )
    axes.set_xscale(spread.scale)
    axes.xaxis.set_major_locator(FixedLocator(spread.places))
    axes.xaxis.set_major_formatter(FixedFormatter(spread.names))
    axes.xaxis.set_minor_locator(NullLocator())
    if spread.places[0] > spread.places[-1]:
        axes.invert_xaxis()  # the start is at the left
    axes.set_xlabel(_WORDS.get(threshold.factor, threshold.factor) + (f" [{spread.unit}]" if spread.unit else ""))
    axes.set_ylabel(f"{name} ÷\nthat at {threshold.start}")
    style.clean(axes, grid="y")


def reading(results: Results, _levels: str, _layout: Layout) -> list[str]:
    """What lines and the dashed one are, and how far each policy gets."""
    lines = ["Points: means over complete cells, over that of the same policy at the start; dashed: the bound."]
    for threshold in declared(results):
        ends = [
            f"{each.policy}{f' at {each.others}' if each.others else ''}: {_end(each)}"
            for each in reaches(results, threshold)
        ]
        told = f"as far as: {'; '.join(ends)}" if testable(results, threshold) else f"{NOT_HERE}, by emulated times"
        lines.append(f"{threshold.id}, {told}.")
    return lines
