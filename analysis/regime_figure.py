"""The picture of a map of regimes: a panel for each policy and phase, with what was measured in
colours and figures, what was predicted in brackets, and lines between points on whose sides these
are below 1 or not; below, all predictions against what was measured, and how to read all of it.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.transforms import ScaledTranslation

from analysis import regime_map, regime_words, style
from analysis.load import Results
from analysis.regime_map import PUBLISHED, Map, Point, Published
from analysis.style import Layout

_COLOURS = "RdBu_r"
"""Blue where a policy pays, red where it costs."""
_DARKEST = 1.5
"""The ratio's binary logarithm beyond which colours no longer change: about 2.8, or 0.35."""
_LIGHT_TEXT = 1.0
_LINES: Mapping[str, tuple[tuple[float, Sequence[float]], float]] = {
    "measured": ((0, ()), 0.0),
    "predicted": ((0, (3, 1.5)), 2.0),
}
"""Of each its dashes, and how far it stands aside of the border [pt], so that both are seen."""
_CHARACTERS = {style.TWO_COLUMNS.name: 140, style.ONE_COLUMN.name: 62}
_NOTE_LINE = 0.14
"""Of a line of the note below the figure; its height [inch]."""

Grid = npt.NDArray[np.float64]


def draw(results: Results, _levels: str, layout: Layout) -> Figure | None:
    """The whole figure; None where the campaign is no map, or nothing was measured."""
    made = regime_map.found(results)
    if made is None or all(point.measured is None for point in made.points):
        return None
    pairs = list(dict.fromkeys((point.policy, point.over) for point in (*made.against, *made.parts)))
    phases = sorted({point.setup.phase for point in made.points})
    fallows = _fallows(made.points)
    heights = [*([0.55 + 0.32 * len(fallows)] * len(pairs)), 2.1]
    note = textwrap.fill(_note(made, fallows), _CHARACTERS[layout.name])
    figure = style.new_figure(layout.width, math.fsum(heights) + 0.5 + _NOTE_LINE * style.lines_of([note]))
    grid = figure.add_gridspec(len(heights), len(phases), height_ratios=heights)
    first: Axes | None = None
    lines: set[str] = set()
    for row, pair in enumerate(pairs):
        for column, phase in enumerate(phases):
            axes = figure.add_subplot(grid[row, column], sharex=first, sharey=first)
            first = first or axes
            mine = [p for p in made.points if (p.policy, p.over, p.setup.phase) == (*pair, phase)]
            lines |= _panel(axes, mine, _shares(made.points), fallows, parts=pair[1] != made.control)
            if row == 0:
                axes.set_title("all at once" if phase == 0 else f"{phase:g} s apart")
            if column == 0:
                name = "\n+".join(pair[0].split("+"))
                axes.set_ylabel(f"{name}\n÷ {pair[1]}\nfallow [%]", fontsize=style.SMALL)
            else:
                axes.tick_params(labelleft=False)
            if column == len(phases) - 1:
                _published(axes, fallows)
            if row == len(pairs) - 1:
                _name_shares(axes, made, narrow=len(phases) > 1)
            else:
                axes.tick_params(labelbottom=False)
    looks = style.looks(results.policies)
    shown = _against(figure.add_subplot(grid[len(pairs), :]), made.against, looks)
    handles = [
        Line2D([], [], color=style.INK, linestyle=_LINES[name][0], label=f"{name}: fewer, or not")
        for name in _LINES
        if name in lines
    ]
    handles += [
        Line2D([], [], linestyle="", marker=looks[name].marker, color=looks[name].colour, markersize=3.5, label=name)
        for name in shown
    ]
    if handles:
        style.key(figure, handles, columns=2 if layout is style.TWO_COLUMNS else 1)
    figure.supxlabel(note, x=0.01, ha="left", fontsize=style.SMALL)
    return figure


def _note(made: Map, fallows: Sequence[int]) -> str:
    """What a reader of the picture alone has to know."""
    marked = " and ".join(each.name for each in reversed(PUBLISHED) if _row_of(each, fallows) is not None)
    marks = [f" {mark}: {said}." for mark, said in _MARKS if any(mark in _marks(point) for point in made.points)]
    published = f" {marked}: fallow shares of published set-ups." if marked else ""
    return (
        "Figures: sectors read under the policy at the left over those under the one below ÷; blue, less than 1: "
        f"fewer. In brackets: as predicted from {made.control} alone. Lines divide fewer from not fewer, "
        f"as measured by more than readings of one treatment differ.{''.join(marks)}{published}"
    )


def _shares(points: Sequence[Point]) -> list[float]:
    return sorted({point.setup.share for point in points})


def _fallow(point: Point) -> int:
    """In per cent: sizes are whole MiB, so shares are not exact."""
    return round(100 * point.setup.fallow)


def _fallows(points: Sequence[Point]) -> list[int]:
    return sorted({_fallow(point) for point in points})


def _panel(
    axes: Axes, points: Sequence[Point], shares: Sequence[float], fallows: Sequence[int], *, parts: bool
) -> set[str]:
    """Draws it, and says which lines it has."""
    measured, told, expected = np.full((3, len(fallows), len(shares)), np.nan)
    texts = {}
    for point in points:
        at = (fallows.index(_fallow(point)), shares.index(point.setup.share))
        measured[at] = _log(point.measured)
        told[at] = math.nan if parts else _told(point)
        expected[at] = math.nan if parts else _printed(point.predicted)
        beside = "" if parts or point.predicted is None else f"\n({point.predicted:.2f})"
        # lost: a word in the panel, the reason in the caption
        texts[at] = f"{'lost' if point.measured is None else f'{point.measured:.2f}{_marks(point)}'}{beside}"
    axes.set_facecolor(style.FAINT)
    axes.imshow(
        np.ma.masked_invalid(measured),
        cmap=_COLOURS,
        norm=Normalize(-_DARKEST, _DARKEST),
        origin="lower",
        aspect="auto",
        interpolation="nearest",
    )
    for (row, column), text in texts.items():
        value = measured[row, column]
        colour = "white" if abs(value) > _LIGHT_TEXT else style.INK
        written = axes.text(column, row, text, ha="center", va="center", color=colour, zorder=5, linespacing=1.0)
        written.set_fontsize(style.SMALL)
    drawn = {name for name, grid in (("measured", told), ("predicted", expected)) if _border(axes, grid, name)}
    axes.set_xticks(range(len(shares)))
    axes.set_yticks(range(len(fallows)), [str(fallow) for fallow in fallows])
    axes.set_xlim(-0.5, len(shares) - 0.5)
    axes.set_ylim(-0.5, len(fallows) - 0.5)
    return drawn


_MARKS = (("°", "tmem stored no page, so a difference is none of its doing"), ("*", "a host was starved"))


def _marks(point: Point) -> str:
    return "".join(mark for (mark, _), here in zip(_MARKS, (point.idle, point.starved), strict=True) if here)


def _log(ratio: float | None) -> float:
    return math.log2(ratio) if ratio else math.nan


def _told(point: Point) -> float:
    """What the line goes by: a difference no larger than that between readings of one treatment is
    none, and so on the side on which nothing is gained.
    """
    return 0.0 if point.differs is False else _printed(point.measured)


def _printed(ratio: float | None) -> float:
    """As the figure in the panel has it: a line through figures of 1.00 would divide nothing."""
    return math.nan if ratio is None else _log(round(ratio, 2) or ratio)


def _border(axes: Axes, values: Grid, name: str) -> bool:
    """Between neighbours of which one is below 1 and the other is not, along their cells' edges,
    where no figure stands; whether there are such.
    """
    known, fewer = ~np.isnan(values), values < 0
    edges: list[list[tuple[float, float]]] = []
    for row, column in np.ndindex(*values.shape):
        for beside, edge in (
            ((row, column + 1), [(column + 0.5, row - 0.5), (column + 0.5, row + 0.5)]),
            ((row + 1, column), [(column - 0.5, row + 0.5), (column + 0.5, row + 0.5)]),
        ):
            inside = beside[0] < values.shape[0] and beside[1] < values.shape[1]
            if inside and known[row, column] and known[beside] and fewer[row, column] != fewer[beside]:
                edges.append(edge)
    figure = axes.get_figure(root=True)
    assert figure is not None
    line, aside = _LINES[name]
    moved = axes.transData + ScaledTranslation(aside / 72, -aside / 72, figure.dpi_scale_trans)
    drawn = LineCollection(edges, colors=style.INK, linewidths=1.2, linestyles=[line], capstyle="projecting")
    drawn.set_transform(moved)
    if edges:
        axes.add_collection(drawn, autolim=False)
    return bool(edges)


def _name_shares(axes: Axes, made: Map, *, narrow: bool) -> None:
    relative = {point.setup.share: point.relative for point in made.points}
    names = [f"{share:g}" if part is None else f"{share:g}\n{part:.1f}" for share, part in sorted(relative.items())]
    axes.set_xticklabels(names)
    known = any(part is not None for part in relative.values())
    gap = "\n" if narrow else " "
    axes.set_xlabel(f"share of a guest{gap}under {made.control} [MiB]" + ("\n÷ working set" if known else ""))


def _row_of(published: Published, fallows: Sequence[int]) -> float | None:
    """Where a published set-up stands among the rows of a panel; None where the map has no such."""
    at = 100 * published.fallow
    inside = len(fallows) > 1 and fallows[0] <= at <= fallows[-1]
    return float(np.interp(at, fallows, range(len(fallows)))) if inside else None


def _published(axes: Axes, fallows: Sequence[int]) -> None:
    """Marks at the right edge, at the fallow shares of published set-ups that the map has."""
    for each in PUBLISHED:
        row = _row_of(each, fallows)
        if row is not None:
            axes.annotate(
                f"◂ {each.name}",
                (1, row),
                xycoords=("axes fraction", "data"),
                xytext=(1, 0),
                textcoords="offset points",
                va="center",
                fontsize=style.SMALL,
                annotation_clip=False,
            )


def _against(axes: Axes, points: Sequence[Point], looks: Mapping[str, style.Look]) -> list[str]:
    """Predictions over what was measured, and the line on which they are equal; says of which
    policies.
    """
    both = [
        (point.policy, measured, expected)
        for point in points
        if (measured := point.measured) and (expected := point.predicted)
    ]
    if not both:
        style.empty(axes, "no prediction was measured")
        return []
    policies = list(dict.fromkeys(name for name, _, _ in both))
    for policy in policies:
        pairs = [(measured, expected) for name, measured, expected in both if name == policy]
        look = looks[policy]
        axes.plot(
            [measured for measured, _ in pairs],
            [expected for _, expected in pairs],
            linestyle="",
            marker=look.marker,
            markersize=3.5,
            color=look.colour,
        )
    every = [value for _, measured, expected in both for value in (measured, expected)]
    ends = (min(every) / 1.1, max(every) * 1.1)
    axes.plot(ends, ends, color=style.MUTED, linewidth=0.8, zorder=1)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log", base=2)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(lambda value, _place: f"{value:g}")
    axes.set_xlabel("measured ratio")
    axes.set_ylabel("predicted ratio")
    style.clean(axes, grid="y")
    return policies


def reading(results: Results, _levels: str, _layout: Layout) -> list[str]:
    """What colours and lines are, the curve, the published set-ups, and how good the model was."""
    made = regime_map.found(results)
    if made is None:
        return []
    phases = {point.setup.phase for point in made.points}
    together = " All guests begin at once." if phases == {0.0} else ""
    return [
        (
            "Lines: on one side fewer sectors are read than under the control; as measured, by more than readings "
            "of one treatment differ, where there are several. "
            f"Figures and colours: sectors read under a policy over those under the other one that its panel names, "
            f"below 1 (blue) fewer; in brackets, as predicted from {made.control} alone. Only guests under "
            f"{made.control} keep the share that is told; others begin with an even part of the host, what is fallow "
            f"among it. Below: each prediction beside what was measured; on the line they are equal.{together}"
        ),
        *(f"{mark}: {said}." for mark, said in _MARKS if any(mark in _marks(point) for point in made.points)),
        regime_words.curve_text(made),
        regime_words.noise_text(made),
        *filter(None, [regime_words.twice_text(made)]),
        regime_words.agreement(made),
        *filter(None, [regime_words.lost_text(made)]),
        "At the right, published set-ups at their fallow shares; their working sets are not published, so each is of "
        "all shares of a guest: "
        + "; ".join(each.basis for each in PUBLISHED)
        + ". Of such small guests their kernels take a larger part.",
    ]


def frame(results: Results, _levels: str) -> pd.DataFrame:
    """The points of the figure as a table."""
    made: Map | None = regime_map.found(results)
    rows = [] if made is None else [_row(point) for point in made.points]
    texts = ("policy", "over", "levels", "lost", "base")
    names = (
        *("policy", "over", "levels", "share_mib", "share_of_working_set", "fallow", "phase_s"),
        *("predicted", "even_split", "measured", "error", "spread"),
        *("own", "own_low", "own_high", "lost"),
        *("noise", "base", "alone", "beside", "explained", "stored_nothing", "starved"),
    )
    return pd.DataFrame(
        {
            name: pd.Series([row[place] for row in rows], dtype="string" if name in texts else "Float64")
            for place, name in enumerate(names)
        }
    )


def _row(point: Point) -> tuple[str | float | None, ...]:
    setup, own = point.setup, point.own
    where = (point.policy, point.over, point.levels, setup.share, point.relative, setup.fallow, setup.phase)
    told = (point.predicted, point.even, point.measured, point.error, point.spread)
    idle = None if point.idle is None else float(point.idle)
    credit = (point.noise, point.base, point.alone, point.beside, point.explained, idle, float(point.starved))
    return (*where, *told, own.estimate, own.low, own.high, point.lost, *credit)
