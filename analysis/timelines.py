"""What is drawn over time: memory of each guest with its pages in tmem, and of all guests together
by policy.

Every complete cell is drawn: the first repetition in full, the others as thin lines.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from analysis import accounting, rates, style, totals
from analysis.load import Results, size
from campaigns.records import CellRecord
from common.units import PAGE_BYTES

MIB_PER_PAGE = PAGE_BYTES / 2**20
_HOST = "host has for guests"
_THIN = 0.45

Line = tuple[np.ndarray, np.ndarray]


def guest_memory(axes: Axes, results: Results, cells: Sequence[CellRecord], guest: str) -> bool:
    """A guest's memory and its pages in tmem over time [MiB]. Whether anything was drawn."""
    drawn = False
    for kind, look in (("ephemeral", style.EPHEMERAL), ("persistent", style.PERSISTENT)):
        lines = [_series(results, cell, guest, f"tmem_{kind}_pages") for cell in cells]
        lines = [line for line in lines if len(line[0]) and line[1].max() > 0]
        if not lines:
            continue
        face, edge = style.tint(look.colour, 0.5), style.tint(look.colour, 0.8)
        axes.fill_between(*lines[0], color=face, edgecolor=edge, hatch=look.hatch or None, linewidth=0)
        axes.plot(*lines[0], color=look.colour, linewidth=1.0, linestyle=look.line)
        _thin(axes, lines[1:], look.colour, look.line)
        drawn = True
    lines = [line for cell in cells if len((line := _series(results, cell, guest, "memory"))[0])]
    if lines:
        axes.plot(*lines[0], color=style.INK, linewidth=1.2)
        _thin(axes, lines[1:], style.MUTED, "-")
        drawn = True
    return drawn


def _thin(axes: Axes, lines: Sequence[Line], colour: str, line: object) -> None:
    """All other repetitions as one artist, with gaps between them."""
    if lines:
        gap = np.array([math.nan])
        joined = [np.concatenate([part for each in lines for part in (each[side], gap)]) for side in (0, 1)]
        axes.plot(*joined, color=style.tint(colour, 0.8), linewidth=_THIN, linestyle=line)


def handles() -> list[object]:
    """What the key of `guest_memory` shows."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    areas = (("ephemeral pages in tmem", style.EPHEMERAL), ("persistent pages in tmem", style.PERSISTENT))
    return [
        Line2D([], [], color=style.INK, linewidth=1.2, label="the guest's memory"),
        *(
            Patch(
                facecolor=style.tint(look.colour, 0.5),
                edgecolor=style.tint(look.colour, 0.8),
                hatch=look.hatch or None,
                linewidth=0,
                label=name,
            )
            for name, look in areas
        ),
    ]


def _series(results: Results, cell: CellRecord, source: str, counter: str) -> Line:
    times, values = results.series.known(cell.cell, source, counter)
    return times, values * MIB_PER_PAGE


def all_memory(axes: Axes, results: Results, levels: str) -> None:
    """Memory of all guests together over time, a line per policy and cell, and below it the
    pages in tmem of the first repetition [MiB].
    """
    looks = style.looks(results.policies)
    ends: list[tuple[float, float, str]] = []
    areas: list[tuple[float, float, str]] = []
    for policy in results.policies:
        cells = results.at(policy, levels)
        if not cells:
            continue
        tmem = [_sum_over_guests(results, cells[0], levels, f"tmem_{kind}_pages") for kind in accounting.KINDS]
        if all(part is not None for part in tmem):
            areas.append(_fill_tmem(axes, [part for part in tmem if part is not None], looks[policy].colour))
        lines = [line for cell in cells if (line := _sum_over_guests(results, cell, levels, "memory")) is not None]
        if lines:
            axes.plot(*lines[0], color=looks[policy].colour, linewidth=1.4, linestyle=looks[policy].line)
            _thin(axes, lines[1:], looks[policy].colour, looks[policy].line)
            ends.append((max(float(line[0][-1]) for line in lines), float(lines[0][1][-1]), policy))
    if not ends:
        style.empty(axes, "no samples of the guests' memory")
        return
    if areas and max(areas)[0] > 0:  # once: names of several would lie over one another
        peak, middle, colour = max(areas)
        axes.annotate("in tmem", (middle, peak / 3), ha="center", fontsize=style.SMALL, color=colour)
    style.clean(axes, grid="y")
    last = max(end[0] for end in ends)
    if memory := size(results, "host", "guest_memory", levels):
        limit = memory / 2**20
        axes.plot([0, last], [limit, limit], color=style.MUTED, linewidth=0.8, linestyle=(0, (4, 3)))
        ends.append((last, limit, _HOST))
    axes.set_ylim(bottom=0)
    axes.set_xlim(0, last)
    axes.set_xlabel(f"time since the release{totals.clock(results)} [s]")
    axes.set_ylabel("all guests [MiB]")
    _name_lines(axes, last, ends)


def _fill_tmem(axes: Axes, parts: Sequence[Line], colour: str) -> tuple[float, float, str]:
    """An area; its highest value, the middle of its time, and its colour."""
    grid = parts[0][0]
    together = _added([np.interp(grid, time, pages) for time, pages in parts])
    peak = float(together.max())
    if peak > 0:
        axes.fill_between(grid, 0, together, color=style.tint(colour, 0.25), linewidth=0)
    return peak, float(grid[len(grid) // 2]), colour


def _name_lines(axes: Axes, x: float, ends: Sequence[tuple[float, float, str]]) -> None:
    """Names right of the axes at the ends of lines, moved apart where they would overlap."""
    top = axes.get_ylim()[1]
    step = top * min(0.115, 1 / max(len(ends) - 1, 1))
    ordered = sorted(ends, key=lambda end: (end[1], end[2]))
    places = [y for _, y, _ in ordered]
    for index in range(1, len(places)):
        places[index] = max(places[index], places[index - 1] + step)
    places[-1] = min(places[-1], top)
    for index in range(len(places) - 2, -1, -1):
        places[index] = min(places[index], places[index + 1] - step)
    for (_, _, policy), place in zip(ordered, places, strict=True):
        axes.annotate(
            policy,
            (x, place),
            xytext=(3, 0),
            textcoords="offset points",
            va="center",
            fontsize=style.SMALL,
            color=style.MUTED if policy == _HOST else style.INK,
            annotation_clip=False,
        )


def _sum_over_guests(results: Results, cell: CellRecord, levels: str, counter: str) -> Line | None:
    """A counter summed over all guests, on the readings' times where every guest was read; None
    when one guest has none.
    """
    series = [_series(results, cell, guest, counter) for guest in rates.guests(results, levels)]
    if not series or any(len(time) < 2 for time, _ in series):
        return None
    start, end = max(time[0] for time, _ in series), min(time[-1] for time, _ in series)
    grid = np.unique(np.concatenate([time for time, _ in series]))
    grid = grid[(grid >= start) & (grid <= end)]
    if len(grid) < 2:
        return None
    return grid, _added([np.interp(grid, time, pages) for time, pages in series])


def _added(parts: Sequence[np.ndarray]) -> np.ndarray:
    """The sum, one after the other: the same bits on every machine."""
    together = np.zeros_like(parts[0])
    for part in parts:
        together = together + part
    return together
