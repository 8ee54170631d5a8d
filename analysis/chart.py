"""What the page's chart draws: the memory of each guest, its pages in tmem and the hits there over
time, a cell at a time, as JSON in the page itself.

The chart is Plotly's, whose one JavaScript file the page holds; it is of the installed package, and
is not kept here. Every line is the readings of a counter as the cell's samples have them: pages,
and null for a reading that is missing.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from markupsafe import Markup

from analysis import rates
from analysis.load import Results, levels_text
from campaigns.records import CellRecord

MEMORY, HITS = "memory", "hits"
"""The chart's two panels."""

COUNTERS = (
    ("memory", MEMORY, "memory"),
    ("tmem_ephemeral_pages", MEMORY, "tmem clean"),
    ("tmem_persistent_pages", MEMORY, "tmem swap"),
    ("tmem_ephemeral_hits", HITS, "clean hits"),
    ("tmem_persistent_hits", HITS, "swap hits"),
)
"""Counter of the samples, the panel that it is in, and what the chart calls it."""


def cells(results: Results) -> list[dict[str, Any]]:
    """Every complete cell that has samples of its guests, in the order of levels and policies."""
    every = [cell for levels in results.levels for policy in results.policies for cell in results.at(policy, levels)]
    return [{"cell": cell.cell, "lines": lines} for cell in every if (lines := _lines(results, cell))]


def _lines(results: Results, cell: CellRecord) -> list[dict[str, Any]]:
    """A line per guest and counter. One that nobody asked for, or that is 0 all the time, has none;
    memory has one wherever it was read.
    """
    found = []
    for guest in rates.guests(results, levels_text(cell.levels)):
        for counter, panel, name in COUNTERS:
            times, values = results.series.readings(cell.cell, guest, counter)
            read = [None if math.isnan(value) else _plain(value) for value in values.tolist()]
            if any(read) or (counter == "memory" and read.count(None) < len(read)):
                line = {"guest": guest, "counter": counter, "panel": panel, "what": name}
                found.append({**line, "times": [_plain(time) for time in times.tolist()], "pages": read})
    return found


def _plain(value: float) -> float | int:
    """A whole number without its `.0`: it is most of the page's data."""
    return int(value) if value.is_integer() else value


def embedded(found: Sequence[dict[str, Any]]) -> Markup:
    """As JSON that can stand in a page's script: no `<` ends it."""
    text = json.dumps(found, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return Markup(text.replace("<", "\\u003c").replace("&", "\\u0026"))


def library() -> Markup:
    """Plotly's script as the installed package has it, its licence before it."""
    package = metadata.distribution("plotly")
    script = Path(str(package.locate_file("plotly/package_data/plotly.min.js"))).read_text("utf-8")
    return Markup(f"/*\n{(package.read_text('licenses/LICENSE.txt') or '').strip()}\n*/\n{script.strip()}")
