"""The figures of a campaign, in `results/<campaign>/figures/`: the same bytes from the same
results.

What there is stands in FIGURES: a figure is a function that draws it and an entry there, with its
title and what a reader has to know.

Each is there twice, for print at its own size: NAME over both columns of a paper (7 in),
NAME.column over one (3.3 in), as PNG, PDF and SVG, with a caption as text beside it. An experiment
with factors has each figure once per combination of levels, with the levels in the file's name and
the caption. Only complete cells are drawn, and all of them; every cell is a point, every pair of
cells a ratio; intervals are those of statistics.py.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from string import ascii_lowercase

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis import (
    accounting,
    footprint,
    panels,
    rates,
    regime_figure,
    regime_map,
    statistics,
    style,
    thresholds,
    timelines,
    totals,
)
from analysis.load import Results, load
from analysis.style import Layout
from common.errors import ResultsError
from common.text import markdown_paragraph, one_line

FIGURES_DIR = "figures"

_MOST_LINES = 9
"""Of memory over time that are told apart in one panel, a policy each; figure `memory` has all."""

_KEY_LINE = 0.14
"""Height of a line of a key below a panel [inch]."""

_TURNED = 13
"""Characters of a policy's name along the height of a row of `memory`."""

_MOST_GUESTS = {style.TWO_COLUMNS.name: 6, style.ONE_COLUMN.name: 3}
"""Guests beyond this many are not drawn one by one in `memory`: panels would be unreadable."""

Drawer = Callable[[Axes, Results, str], object]


@dataclass(frozen=True)
class Panel:
    """A part of a figure. rows, below: of text that it needs at its left, and below its axis.

    said: what the caption calls it; read: what the caption says of how to read it, after `In (a) `.
    """

    draw: Drawer
    rows: float
    said: str
    read: str = ""
    below: float = 0


def draw(campaign_dir: Path | str, out_dir: Path | str | None = None) -> list[Path]:
    """Draw all figures of a campaign; the paths. ResultsError when it cannot be read or has no
    complete cell.
    """
    return draw_all(load(campaign_dir), Path(out_dir) if out_dir is not None else None)


def draw_all(results: Results, out_dir: Path | None = None) -> list[Path]:
    """As `draw`, for results that are already loaded."""
    if not results.complete:
        raise ResultsError(
            "there is nothing to draw: no cell of the campaign is complete",
            where=str(results.directory),
            why=", ".join(f"{count} {status}" for status, count in results.cells["status"].value_counts().items()),
            remedy="./inv campaign.status shows why; ./inv campaign.run goes on with what is missing",
        )
    out_dir = out_dir or results.directory / FIGURES_DIR
    paths: list[Path] = []
    with style.styled():
        for name, levels in each(results):
            for layout in style.LAYOUTS:
                if (figure := FIGURES[name].draw(results, levels, layout)) is not None:
                    if results.unverified:
                        style.stamp(figure, "UNVERIFIED")
                    stem = out_dir / f"{name}{suffix(levels)}{layout.suffix}"
                    paths += style.save(figure, stem, caption(results, name, levels, layout))
    return paths


def each(results: Results) -> list[tuple[str, str]]:
    """Every figure with its factor levels; one across all levels once, with none. Of a map of
    regimes only these: its levels are too many for a figure of each kind, and tables have them.
    """
    across = [(name, "") for name, kind in FIGURES.items() if kind.across]
    if regime_map.found(results) is not None:
        return across
    at_levels = [(name, levels) for levels in results.levels for name, kind in FIGURES.items() if not kind.across]
    return [*at_levels, *across]


def shown(results: Results, drawn: Sequence[Path]) -> list[str]:
    """The figures over two columns as Markdown, each with its caption. drawn: paths relative to
    the campaign.
    """
    stems = {f"{name}{suffix(levels)}": (name, levels) for name, levels in each(results)}
    return [
        part
        for path in drawn
        if path.suffix == ".png" and path.stem in stems
        for part in (
            f"![{path.stem}]({path.as_posix()})",
            markdown_paragraph(" ".join(caption(results, *stems[path.stem], style.TWO_COLUMNS))),
        )
    ]


def suffix(levels: str) -> str:
    """What file names carry for factor levels: `.jobs-8.swap-512_MiB`; nothing without factors."""
    return "".join(
        "." + re.sub(r"[^A-Za-z0-9.+-]+", "_", part.replace("=", "-")) for part in levels.split(", ") if part
    )


def host_line(results: Results) -> str:
    """From which kind of host the figures are; every output carries it."""
    kinds = sorted({(cell.host_kind, cell.accelerator or "") for cell in results.complete})
    texts = []
    for kind, accelerator in kinds:
        if kind == "emulated":
            machine = accelerator or "unknown accelerator"
            texts.append(f"emulated host ({machine}): times are the emulated machine's; counters are real")
        elif accelerator:
            texts.append(f"{kind} host, a virtual machine ({accelerator}): its times are those of a shared machine")
        else:
            texts.append(f"{kind} host")
    return "; ".join(texts) or "no complete cell"


def caption(results: Results, name: str, levels: str, layout: Layout) -> list[str]:
    """What a reader has to know to read a figure: what is shown, where it was measured, and what
    points, bars and lines are.
    """
    experiment = one_line(str(results.campaign.experiment.get("title") or results.campaign.name))
    title = FIGURES[name].title.format(experiment=experiment, panels=_named(FIGURES[name].panels(results, levels)))
    lines = [f"{title.removesuffix('.')}, at {one_line(levels)}." if levels else title]
    lines.append(f"Campaign {results.campaign.campaign}, {host_line(results)}.")
    if results.unverified:
        lines.append("UNVERIFIED: the results are damaged or were changed.")
    return lines + FIGURES[name].reading(results, levels, layout)


def _named(parts: Sequence[Panel]) -> str:
    """What each panel shows, with the letters that stand above them."""
    return ", ".join(f"({letter}) {part.said}" for letter, part in zip(ascii_lowercase, parts, strict=False))


def _ran(results: Results, levels: str) -> str:
    """How often each policy ran."""
    counts = {policy: len(results.at(policy, levels)) for policy in results.policies}
    if max(counts.values()) < 2:
        return "One repetition"
    boots = _boots(results, levels)
    if len(set(counts.values())) == 1:
        return f"{statistics.repetitions(boots, next(iter(counts.values())))} of each policy"
    return ", ".join(f"{policy}: {statistics.repetitions(boots, n)}" for policy, n in counts.items())


def _boots(results: Results, levels: str) -> int:
    return len({totals.boot_of(cell) for policy in results.policies for cell in results.at(policy, levels)})


def _repeated(results: Results, levels: str) -> bool:
    return any(len(results.at(policy, levels)) > 1 for policy in results.policies)


def _intervals(results: Results, levels: str) -> str:
    """Which level an interval covers, for figures that draw them."""
    ran = _ran(results, levels)
    if not _repeated(results, levels):
        return f"{ran}: no intervals."
    drawn = "lines, brackets" if panels.compared(results) else "lines"
    over = "boots" if _boots(results, levels) > 1 else "runs"
    return f"Intervals ({drawn}): {100 * statistics.LEVEL:.0f} %, over {over}; {ran}."


def _grid(layout: Layout, results: Results, levels: str, parts: Sequence[Panel]) -> Figure:
    """Panels with letters, row by row."""
    rows = [parts[first : first + layout.columns] for first in range(0, len(parts), layout.columns)]
    heights = [0.5 + 0.2 * max(part.rows for part in row) for row in rows]
    below = math.fsum(_KEY_LINE * max(part.below for part in row) for row in rows)
    figure = style.new_figure(layout.width, math.fsum(heights) + below + 0.1)
    grid = figure.subplots(len(rows), layout.columns, squeeze=False, height_ratios=heights)
    for letter, axes, part in zip(ascii_lowercase, grid.flat, parts, strict=False):
        part.draw(axes, results, levels)
        axes.set_title(f"({letter})")
    for axes in grid.flat[len(parts) :]:
        axes.set_axis_off()
    return figure


def _beside(results: Results, said: Mapping[str, str], ratios: str) -> list[Panel]:
    """A panel of values for each quantity, and one of ratios where there is another policy to
    compare with. said: what the caption calls the values of each, and all their ratios.
    """
    names = [style.wrapped(policy) for policy in results.policies]
    compared = [panels.over(policy, control) for policy, control in panels.compared(results)]
    found: list[Panel] = []
    for name, values in said.items():
        quantity = totals.QUANTITIES[name]
        found.append(Panel(_values(quantity), _rows(names), values))
        if compared:
            found.append(Panel(_ratios(quantity), _rows(compared), ratios))
    return found


def _rows(names: Sequence[str]) -> float:
    """Room for so many names below each other, each of one line or more, with a gap between."""
    return len(names) * {1: 1.5, 2: 1.7}.get(style.lines_of(names), 0.7 * style.lines_of(names) + 0.3)


def _values(quantity: totals.Quantity) -> Drawer:
    parts = None
    if quantity.name == "total_vcpu_seconds":
        parts = totals.QUANTITIES["vcpu_seconds"], totals.QUANTITIES["dom0_vcpu_seconds"]
    return lambda axes, results, levels: panels.by_policy(axes, results, quantity, levels, parts=parts)


def _ratios(quantity: totals.Quantity) -> Drawer:
    return lambda axes, results, levels: panels.ratios(axes, results, quantity, levels)


def _of_sectors(results: Results, _levels: str) -> list[Panel]:
    said = {"sectors_read": "sectors that all guests read", "sectors_written": "sectors that they wrote"}
    return _beside(results, said, "their ratios")


def _of_requests(results: Results, _levels: str) -> list[Panel]:
    said = {"read_requests": "reads that all guests asked of their disks", "disk_requests": "all their requests"}
    return _beside(results, said, "their ratios")


def _of_time(results: Results, _levels: str) -> list[Panel]:
    wall = totals.wall_time(results, "the release at the barrier")
    said = {"wall_seconds": f"time {wall}", "total_vcpu_seconds": "vCPU seconds of guests and dom0"}
    return _beside(results, said, "ratios of these")


def _of_overview(results: Results, levels: str) -> list[Panel]:
    found = _beside(results, {"sectors_read": "sectors read by all guests"}, "their ratios between policies")
    if len(results.policies) <= _MOST_LINES:
        said = "memory of all guests over time and their pages in tmem (area)"
        read = "the first repetition is drawn in full, the others thin" if _repeated(results, levels) else ""
        found.append(Panel(timelines.all_memory, 5, said, read, timelines.lines_below(results)))
    if pairs := accounting.summary(results, levels):
        # two rows for each pair, of a line more than the name
        lines = 1 + style.lines_of([style.wrapped(name) for pair in pairs for name in (pair.policy, pair.control)])
        said = "sectors that were not read with tmem, and what the hypervisor's hits stand for"
        read = "figures are the share that hits explain"
        found.append(Panel(panels.account, max(5, 1.35 * lines * len(pairs)), said, read, 1))
    return found


def _of_hit_rates(results: Results, levels: str) -> list[Panel]:
    using = _using(results, levels)
    guests = rates.guests(results, levels)
    names = [f"{style.wrapped(policy)}\n{guest}" for policy in using for guest in guests]
    rows = _rows(names) if len(using) > 1 else 1.2 * len(guests)
    return [Panel(_hits(kind), rows, f"of {kind} pages") for kind in accounting.KINDS]


def _using(results: Results, levels: str) -> set[str]:
    """The policies under which a guest asked tmem for a page."""
    return {r.policy for r in rates.hit_rates(results) if r.levels == levels and r.gets_tried}


def _sectors(results: Results, levels: str, layout: Layout) -> Figure | None:
    return _grid(layout, results, levels, _of_sectors(results, levels))


def _requests(results: Results, levels: str, layout: Layout) -> Figure | None:
    if not {"read_requests", "disk_requests"} <= results.known:
        return None
    return _grid(layout, results, levels, _of_requests(results, levels))


def _time(results: Results, levels: str, layout: Layout) -> Figure | None:
    return _grid(layout, results, levels, _of_time(results, levels))


def _overview(results: Results, levels: str, layout: Layout) -> Figure | None:
    return _grid(layout, results, levels, _of_overview(results, levels))


def _memory(results: Results, levels: str, layout: Layout) -> Figure | None:
    guests = rates.guests(results, levels)[: _MOST_GUESTS[layout.name]]
    policies = results.policies
    if not guests:
        return None
    height = 0.55 + (1.05 if layout is style.TWO_COLUMNS else 1.15) * len(policies)
    figure = style.new_figure(layout.width, height + (0 if layout is style.TWO_COLUMNS else 0.25))
    grid = figure.subplots(len(policies), len(guests), sharex=True, sharey=True, squeeze=False)
    drawn = False
    for row, policy in enumerate(policies):
        cells = results.at(policy, levels)
        for column, guest in enumerate(guests):
            axes = grid[row, column]
            if timelines.guest_memory(axes, results, cells, guest):
                drawn = True
            else:
                style.say(axes, "no samples" if cells else panels.why_nothing(results, policy, levels))
            style.clean(axes, grid="y")
            if row == 0:
                axes.set_title(guest, fontweight="normal")
        grid[row, 0].set_ylabel(f"{style.wrapped(policy, _TURNED)}\n[MiB]", fontsize=style.SMALL)
    if not drawn:
        return None
    figure.supxlabel(f"time since the release{totals.clock(results)} [s]", fontsize=style.NORMAL)
    grid[0, 0].set_xlim(left=0)
    grid[0, 0].set_ylim(bottom=0)
    style.key(figure, timelines.handles(), columns=3 if layout is style.TWO_COLUMNS else 2)
    return figure


def _hit_rates(results: Results, levels: str, layout: Layout) -> Figure | None:
    if not _using(results, levels):
        return None
    return _grid(layout, results, levels, _of_hit_rates(results, levels))


def _hits(kind: str) -> Drawer:
    def make(axes: Axes, results: Results, levels: str) -> None:
        if not panels.hit_rate(axes, results, kind, levels):
            style.empty(axes, f"no {kind} get was tried")

    return make


def _read_ratios(results: Results, levels: str, _layout: Layout) -> list[str]:
    pairs = ", and in ratios pairs of one block" if panels.compared(results) else ""
    return [f"Points: complete cells{pairs}; bars: geometric means. {_intervals(results, levels)}"]


def _read_time(results: Results, levels: str, layout: Layout) -> list[str]:
    less = totals.without(results, totals.QUANTITIES["total_vcpu_seconds"])
    taken = ["What sampling took is taken out of the vCPU seconds."] if less else []
    return [*_read_ratios(results, levels, layout), *taken]


def _read_overview(results: Results, levels: str, layout: Layout) -> list[str]:
    parts = zip(ascii_lowercase, _of_overview(results, levels), strict=False)
    read = "; ".join(f"in ({letter}) {part.read}" for letter, part in parts if part.read)
    return [*_read_ratios(results, levels, layout), *([f"{read[0].upper()}{read[1:]}."] if read else [])]


def _read_memory(results: Results, levels: str, layout: Layout) -> list[str]:
    drawn = "The first repetition is drawn in full, the others as thin lines. " if _repeated(results, levels) else ""
    lines = [f"{drawn}{_ran(results, levels)}."]
    there, most = len(rates.guests(results, levels)), _MOST_GUESTS[layout.name]
    return lines + ([f"The first {most} of {there} guests are shown."] if there > most else [])


def _read_rates(results: Results, levels: str, _layout: Layout) -> list[str]:
    return [f"Points: complete cells; bars: all cells of the guest together. {_ran(results, levels)}."]


@dataclass(frozen=True)
class Kind:
    """A figure that every campaign has. draw: None where there is nothing to draw. title: what is
    shown, with {experiment} and {panels}; reading: what points, bars and lines are. panels: what it
    is made of, where letters tell them apart. across: one figure for all factor levels together.
    """

    draw: Callable[[Results, str, Layout], Figure | None]
    title: str
    reading: Callable[[Results, str, Layout], list[str]]
    panels: Callable[[Results, str], Sequence[Panel]] = lambda _results, _levels: ()
    across: bool = False


FIGURES: Mapping[str, Kind] = {
    "overview": Kind(
        _overview,
        "{experiment}: {panels}.",
        _read_overview,
        _of_overview,
    ),
    "sectors": Kind(_sectors, "By memory policy: {panels}.", _read_ratios, _of_sectors),
    "requests": Kind(_requests, "By memory policy: {panels}.", _read_ratios, _of_requests),
    "time": Kind(_time, "By memory policy: {panels}.", _read_time, _of_time),
    "memory": Kind(
        _memory,
        "Memory of each guest (line) and its pages in tmem (areas) over time, a row per memory policy.",
        _read_memory,
    ),
    "hit_rates": Kind(
        _hit_rates,
        "Hit rates of tmem by guest, {panels}: gets that found their page, of the gets tried; cold misses count as "
        "misses.",
        _read_rates,
        _of_hit_rates,
    ),
    "footprint": Kind(
        footprint.draw,
        "Time lost (a) and sectors read (b) against the memory that guests and tmem held over time, a point for each "
        "policy.",
        footprint.reading,
    ),
    "thresholds": Kind(
        thresholds.draw,
        "{experiment}: how far each policy gets before it is too bad.",
        thresholds.reading,
        across=True,
    ),
    "regimes": Kind(
        regime_figure.draw,
        "{experiment}: sectors read under each policy over those of guests of fixed sizes, by their share of memory "
        "and what of the host lies fallow.",
        regime_figure.reading,
        across=True,
    ),
}
