"""What the page's chart draws: the memory of each guest and its pages in tmem over time, a cell at
a time, as JSON in the page itself.

Counters of different sources are read a little apart, so a time at which one of them was not read
has null for it, and the chart's line goes on to the next.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from analysis import rates
from analysis.load import Results, levels_text
from campaigns.records import CellRecord
from common.units import PAGE_BYTES

LIBRARY = Path(__file__).parent / "templates" / "uplot"

_MIB_PER_PAGE = PAGE_BYTES / 2**20
_DRAWN = (("memory", "memory"), ("tmem_ephemeral_pages", "clean in tmem"), ("tmem_persistent_pages", "swapped to tmem"))
"""Counter -> what the chart calls it."""


def cells(results: Results) -> list[dict[str, Any]]:
    """Every complete cell that has samples, in the order of policies and levels."""
    every = [cell for levels in results.levels for policy in results.policies for cell in results.at(policy, levels)]
    return [made for cell in every if (made := _cell(results, cell))]


def _cell(results: Results, cell: CellRecord) -> dict[str, Any] | None:
    """Its lines over the times at which any of them was read; None without any reading."""
    lines: dict[tuple[str, str], dict[float, float]] = {}
    for guest in rates.guests(results, levels_text(cell.levels)):
        for counter, name in _DRAWN:
            times, values = results.series.known(cell.cell, guest, counter)
            read = {round(time, 2): value for time, value in zip(times.tolist(), values.tolist(), strict=True)}
            if read and (counter == "memory" or max(read.values()) > 0):
                lines[guest, name] = read
    if not lines:
        return None
    times_ = sorted({time for read in lines.values() for time in read})
    return {
        "cell": cell.cell,
        "times": times_,
        "lines": [
            {"guest": guest, "what": name, "mib": [_mib(read[time]) if time in read else None for time in times_]}
            for (guest, name), read in lines.items()
        ],
    }


def _mib(pages: float) -> float:
    return round(pages * _MIB_PER_PAGE, 1)


def embedded(found: Sequence[dict[str, Any]]) -> Markup:
    """As JSON that can stand in a page's script: no `<` ends it."""
    text = json.dumps(found, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return Markup(text.replace("<", "\\u003c").replace("&", "\\u0026"))


def library() -> tuple[str, str]:
    """The library's script and style, as they are, with its licence before the script."""
    script, style, licence = (
        (LIBRARY / name).read_text("utf-8") for name in ("uPlot.iife.min.js", "uPlot.min.css", "LICENSE")
    )
    return f"/* uPlot\n\n{licence.strip()}\n*/\n{script.partition('*/')[2].strip()}\n", style
