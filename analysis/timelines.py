"""What is drawn over time: memory of each guest with its pages in tmem, and of all guests together
by policy.

Every complete cell is drawn: the first repetition in full, the others as thin lines.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.patches import Patch

from analysis import accounting, rates, style, totals
from analysis.load import Results, size
from campaigns.records import CellRecord
from common.units import PAGE_BYTES

MIB_PER_PAGE = PAGE_BYTES / 2**20
_HOST = "host has for guests"
_THIN = 0.45
_AREA = 0.25
"""How strong the colour of pages in tmem is, of all guests together."""
_KEY_NAME = 16
"""Characters of a policy's name in the key: two columns of them stand below a panel."""

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
    named: list[Artist] = []
    areas: list[str] = []
    last = 0.0
    for policy in results.policies:
        cells, look = results.at(policy, levels), looks[policy]
        if not cells:
            continue
        tmem = [_sum_over_guests(results, cells[0], levels, f"tmem_{kind}_pages") for kind in accounting.KINDS]
        parts = [part for part in tmem if part is not None]
        if len(parts) == len(tmem) and _fill_tmem(axes, parts, look.colour):
            areas.append(look.colour)
        lines = [line for cell in cells if (line := _sum_over_guests(results, cell, levels, "memory")) is not None]
        if lines:
            named += axes.plot(
                *lines[0], color=look.colour, linewidth=1.4, linestyle=look.line, label=style.wrapped(policy, _KEY_NAME)
            )
            _thin(axes, lines[1:], look.colour, look.line)
            last = max(last, *(float(line[0][-1]) for line in lines))
    if not named:
        style.empty(axes, "no samples of the guests' memory")
        return
    style.clean(axes, grid="y")
    if memory := size(results, "host", "guest_memory", levels):
        limit = memory / 2**20
        named += axes.plot(
            [0, last], [limit, limit], color=style.MUTED, linewidth=0.8, linestyle=(0, (4, 3)), label=_HOST
        )
    if areas:
        colour = areas[0] if len(areas) == 1 else style.MUTED
        named.append(Patch(facecolor=style.tint(colour, _AREA), linewidth=0, label="in tmem"))
    axes.set_ylim(bottom=0)
    axes.set_xlim(0, last)
    axes.set_xlabel(f"time since the release{totals.clock(results)} [s]")
    axes.set_ylabel("all guests [MiB]")
    style.key_below(axes, named)  # lines that run together have no place for names of their own


def _fill_tmem(axes: Axes, parts: Sequence[Line], colour: str) -> bool:
    """An area, where there ever was a page."""
    grid = parts[0][0]
    together = _added([np.interp(grid, time, pages) for time, pages in parts])
    if float(together.max()) <= 0:
        return False
    axes.fill_between(grid, 0, together, color=style.tint(colour, _AREA), linewidth=0)
    return True


def lines_below(results: Results) -> float:
    """Of text, that the key of `all_memory` takes at most."""
    names = [*(style.wrapped(policy, _KEY_NAME) for policy in results.policies), _HOST, ""]
    rows = math.ceil(len(names) / 2)
    return max(math.fsum(name.count("\n") + 1 for name in part) for part in (names[:rows], names[rows:]))


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
