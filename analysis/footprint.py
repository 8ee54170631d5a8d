"""What memory a policy took, against what it cost: a point for each policy, in pairs with and
without tmem.

Footprint and time are of the same clock: on an emulated host both are the emulated machine's, and
so is the time that tasks waited for memory. Sectors read are real, so they stand beside it. A
policy that lacks a value has no point, and the caption says which.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis import labels, panels, sections, style, totals
from analysis.load import Results, staggered
from analysis.style import Layout
from analysis.totals import Quantity

FOOTPRINT = totals.QUANTITIES["footprint"]
TIME = Quantity("guest_seconds", ("wall_seconds",), "mean", "s", "time of a guest")
SECTORS = totals.QUANTITIES["sectors_read"]
STALLED = Quantity("memory_stall_seconds", ("memory_stall_seconds",), "sum", "s", "waited for memory")

_TMEM = {"tmem", "cleancache", "frontswap"}
"""Parts of a policy's name that make guests use tmem."""

_HEIGHT = {False: 2.9, True: 3.5}
"""Of a panel [inch], by whether there are many policies in it."""
_ROOM = 0.12
"""Of the span of the points, left free around them for their names."""


@dataclass(frozen=True)
class Point:
    """A policy at factor levels, each value its mean over complete cells. lost: its time over that
    of the fastest, less 1. beside: the same policy without tmem, where the campaign has it.
    """

    policy: str
    footprint: float | None
    seconds: float | None
    lost: float | None
    sectors: float | None
    stalled: float | None
    beside: str | None

    @property
    def tmem(self) -> bool:
        """Whether its guests use tmem."""
        return _uses(self.policy)


@dataclass(frozen=True)
class _Side:
    """What stands on the vertical axis of a panel."""

    of: str
    factor: float
    label: str


def points(results: Results, levels: str) -> list[Point]:
    """Every policy of the campaign, in its order; empty where nobody measured a footprint."""
    if "footprint" not in results.known:
        return []
    means = {policy: [_mean(results, each, policy, levels) for each in _SHOWN] for policy in results.policies}
    fastest = min((seconds for _, seconds, *_ in means.values() if seconds), default=None)
    return [
        Point(
            policy,
            footprint,
            seconds,
            None if seconds is None or fastest is None else seconds / fastest - 1,
            sectors,
            stalled,
            _beside(results, policy),
        )
        for policy, (footprint, seconds, sectors, stalled) in means.items()
    ]


_SHOWN = (FOOTPRINT, TIME, SECTORS, STALLED)


def _mean(results: Results, quantity: Quantity, policy: str, levels: str) -> float | None:
    return totals.centre_of(results, quantity, policy, levels).mean


def _uses(policy: str) -> bool:
    return bool(_TMEM & set(policy.split("+")[1:]))


def _beside(results: Results, policy: str) -> str | None:
    """The policy without tmem that one with tmem is held against."""
    base = totals.base_policy(results, policy)
    return base if base is not None and _uses(policy) and not _uses(base) else None


# --- The figure ---------------------------------------------------------------------------------


def draw(results: Results, levels: str, layout: Layout) -> Figure | None:
    """Time lost, and sectors read, over the footprint; None where no policy has a footprint."""
    found = points(results, levels)
    if all(point.footprint is None for point in found):
        return None
    lost = _Side("lost", 100, f"time lost against the fastest{totals.clock(results)} [%]")
    largest = max((point.sectors or 0 for point in found), default=0.0)
    scale = panels.scale_for(largest)
    sectors = _Side("sectors", 1 / scale.factor, f"sectors read [{scale.word}sectors]")
    figure = style.new_figure(layout.width, 2 * _HEIGHT[_many(results)] + 0.4)
    grid = figure.subplots(2, 1, sharex=True)
    looks = {point.policy: style.looks(results.policies)[point.policy] for point in found}
    for axes, side, letter in zip(grid, (lost, sectors), "ab", strict=True):
        axes.set_title(f"({letter})")
        axes.set_ylabel(side.label)
        style.clean(axes, grid="y")
        _scatter(axes, found, side, looks, many=_many(results))
    grid[1].set_xlabel(f"{FOOTPRINT.label}, guests and tmem{totals.clock(results)} [{FOOTPRINT.unit}]")
    style.key(figure, _handles(many=_many(results)), columns=3 if layout is style.TWO_COLUMNS else 2)
    style.settle(figure)
    for axes, side in zip(grid, (lost, sectors), strict=True):
        drawn = _drawn(found, side)
        places = {point.policy: place for point, place in drawn}
        named = {point.policy: place for point, place in drawn if point.beside not in places}
        joined = [(places[point.beside], place) for point, place in drawn if point.beside in places]
        labels.place(axes, named, list(places.values()), joined)
    return figure


def _many(results: Results) -> bool:
    """Whether a colour alone does not tell policies apart."""
    return len(results.policies) > style.FEW


def _drawn(found: Sequence[Point], side: _Side) -> list[tuple[Point, labels.Place]]:
    """The policies that have both values, and where they stand."""
    return [
        (point, (point.footprint, side.factor * value))
        for point in found
        if point.footprint is not None and (value := getattr(point, side.of)) is not None
    ]


def _scatter(axes: Axes, found: Sequence[Point], side: _Side, looks: Mapping[str, style.Look], *, many: bool) -> None:
    drawn = _drawn(found, side)
    if not drawn:
        style.empty(axes, "not measured")
        return
    places = {point.policy: place for point, place in drawn}
    for point, (x, y) in drawn:
        colour = looks[point.policy].colour
        if point.beside in places:
            faint = style.tint(looks[point.beside].colour, 0.8)
            axes.plot(*zip(places[point.beside], (x, y), strict=True), color=faint, linewidth=0.9)
        face = colour if point.tmem else "white"
        marker = looks[point.policy].marker if many else "o" if point.beside or not point.tmem else "s"
        size = 5.4 if many else 4.6
        axes.plot(x, y, linestyle="", marker=marker, markersize=size, mfc=face, mec=colour, mew=1.1, zorder=4)
    axes.set_xlim(_around([x for x, _ in places.values()]))
    axes.set_ylim(_around([y for _, y in places.values()]))


def _around(numbers: Sequence[float]) -> tuple[float, float]:
    low, high = min(numbers), max(numbers)
    room = _ROOM * (high - low) or 0.05 * abs(high) or 1
    return low - room, high + room


def _handles(*, many: bool) -> list[Line2D]:
    def handle(marker: str, face: str, line: Literal["-", ""], name: str) -> Line2D:
        return Line2D([], [], color=style.MUTED, marker=marker, markersize=4.6, mfc=face, linestyle=line, label=name)

    return [
        handle("o", "white", "", "without tmem"),
        handle("o", style.MUTED, "-", "the same with tmem"),
        handle("o" if many else "s", style.MUTED, "", "with tmem alone"),
    ]


def reading(results: Results, levels: str, _layout: Layout) -> list[str]:
    """What points and lines are, what is left out, and what its times are."""
    found = points(results, levels)
    fastest = [point.policy for point in found if point.lost == 0]
    lines = ["Points: means over complete cells; a line joins a policy without tmem (hollow) and with it (filled)."]
    if _many(results):
        lines.append("What stands before the first + of a policy's name has a mark of its own.")
    if fastest:
        lines.append(f"The fastest is {' and '.join(fastest)}; a guest's time is from its own start to its end.")
    for letter, of in (("a", "lost"), ("b", "sectors")):
        without = [p.policy for p in found if p.footprint is None or getattr(p, of) is None]
        if without:
            lines.append(f"Left out of ({letter}), since not measured: {', '.join(without)}.")
    if totals.clock(results):
        lines.append("Footprint and time are by the emulated machine's clock; sectors read are real.")
    return lines


# --- The table ----------------------------------------------------------------------------------

_COLUMNS = (
    "policy",
    "footprint [GiB·min]",
    "time of a guest [s]",
    "time lost",
    "sectors read",
    "waited for memory [s]",
)


def said(results: Results) -> list[str]:
    """The section of report.md: a table for each combination of levels; empty where no cell has a
    footprint.
    """
    parts: list[str] = []
    for levels in results.levels:
        found = points(results, levels)
        if all(point.footprint is None for point in found):
            continue
        parts += [f"At {levels}:"] if levels else []
        parts.append(sections.table(_COLUMNS, [_row(point) for point in found]))
    if parts and totals.clock(results):
        parts.append(
            "Footprint, times and waiting are by the emulated machine's clock: compare them with each other, and with "
            "no other machine's. Sectors read are real."
        )
    if parts and staggered(results):
        parts.append(
            "A guest's time is from its own start to its end. A footprint is of the whole run, from the release to the "
            "last guest's end, in which guests begin apart."
        )
    return parts


def _row(point: Point) -> tuple[str, ...]:
    def shown(value: float | None) -> str:
        return sections.MISSING if value is None else panels.number(value)

    lost = sections.MISSING if point.lost is None else style.percent(point.lost)
    return (
        point.policy,
        shown(point.footprint),
        shown(point.seconds),
        lost,
        shown(point.sectors),
        shown(point.stalled),
    )
