"""The figures of a campaign: PNG, PDF and SVG in `results/<campaign>/figures/`, the same bytes from the same results.

sectors    sectors read and written by policy
time       wall time and vCPU seconds (guests and dom0) by policy
memory     memory of each guest and its pages in tmem over time, a row per policy
hit_rates  tmem's hit rates by guest
overview   the campaign in one picture: sectors read, wall time, memory over time, where the reads went

An experiment with factors has each figure once per combination of levels, with the levels in the file's name and the
title. Only complete cells are drawn; every cell is a point; intervals are Student's t (statistics.py).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path

from matplotlib.figure import Figure

from analysis import panels, rates, style, totals
from analysis.load import Results, load
from common.errors import ResultsError

FIGURES_DIR = "figures"

MAX_COLUMNS = 8
"""Guests beyond this many are not drawn one by one in `memory`: panels would be unreadable."""


def draw(campaign_dir: Path | str, out_dir: Path | str | None = None) -> list[Path]:
    """Draw all figures of a campaign; the paths. ResultsError when it cannot be read or has no complete cell."""
    return draw_all(load(campaign_dir), Path(out_dir) if out_dir is not None else None)


def draw_all(results: Results, out_dir: Path | None = None) -> list[Path]:
    """As `draw`, for results that are already loaded."""
    if not results.records:
        raise ResultsError(
            "there is nothing to draw: no cell of the campaign is complete",
            where=str(results.directory),
            why=", ".join(f"{count} {status}" for status, count in results.cells["status"].value_counts().items()),
            remedy="./inv campaign.status shows why; ./inv campaign.run goes on with what is missing",
        )
    out_dir = out_dir or results.directory / FIGURES_DIR
    figures: dict[str, Callable[[Results, str], Figure | None]] = {
        "overview": _overview,
        "sectors": _sectors,
        "time": _time,
        "memory": _memory,
        "hit_rates": _hit_rates,
    }
    paths: list[Path] = []
    with style.styled():
        for levels in results.levels:
            for name, make in figures.items():
                if (figure := make(results, levels)) is not None:
                    if results.unverified:
                        style.stamp(figure, "UNVERIFIED")
                    paths += style.save(figure, out_dir / (name + suffix(levels)))
    return paths


def shown(drawn: Sequence[Path]) -> list[str]:
    """The figures as Markdown."""
    return [f"![{path.stem}]({path.as_posix()})" for path in drawn if path.suffix == ".png"]


def suffix(levels: str) -> str:
    """What file names carry for factor levels: `.jobs-8.swap-512_MiB`; nothing without factors."""
    return "".join(
        "." + re.sub(r"[^A-Za-z0-9.+-]+", "_", part.replace("=", "-")) for part in levels.split(", ") if part
    )


def host_line(results: Results) -> str:
    """From which kind of host the figures are; every output carries it."""
    kinds = sorted({(cell.host_kind, cell.accelerator or "") for cell in results.records})
    texts = [
        f"emulated host ({accelerator or 'unknown accelerator'}): times are the emulated machine's; counters are real"
        if kind == "emulated"
        else f"{kind} host"
        for kind, accelerator in kinds
    ]
    return "; ".join(texts) or "no complete cell"


def _notes(results: Results, levels: str) -> list[str]:
    counts = {policy: len(results.at(policy, levels)) for policy in results.policies}
    equal = len(set(counts.values())) == 1
    shown = (
        f"{next(iter(counts.values()))} of each policy" if equal else ", ".join(f"{p} {n}" for p, n in counts.items())
    )
    few = max(counts.values()) < 2
    interval = "one repetition: no intervals" if few else "lines: 95 % t interval"
    control = totals.control_of(results)
    return [
        f"{results.record.campaign}: {host_line(results)}.",
        f"Points: complete cells ({shown}); bars: geometric mean; {interval}; ×: ratio to {control}.",
    ]


def _title(figure: Figure, text: str, levels: str, *, room: str = "") -> None:
    figure.suptitle((f"{text} ({levels})" if levels else text) + room, x=0.01, ha="left", fontsize=9, fontweight="bold")


def _height(results: Results) -> float:
    return 0.95 + 0.42 * len(results.policies)


def _pair(results: Results, levels: str, title: str) -> Figure:
    figure = style.new_figure(style.TEXT_WIDTH, _height(results))
    figure.subplots(1, 2)
    _title(figure, title, levels)
    style.footnote(figure, _notes(results, levels))
    return figure


def _sectors(results: Results, levels: str) -> Figure | None:
    figure = _pair(results, levels, "Sectors read and written by all guests")
    for index, name in enumerate(("sectors_read", "sectors_written")):
        panels.by_policy(figure.axes[index], results, totals.QUANTITIES[name], levels, labels=index == 0)
    return figure


def _time(results: Results, levels: str) -> Figure | None:
    figure = _pair(results, levels, "Time until the last guest finished, and vCPU time spent")
    quantity = totals.QUANTITIES
    panels.by_policy(figure.axes[0], results, quantity["wall_seconds"], levels)
    parts = (quantity["guest_vcpu_seconds"], quantity["dom0_vcpu_seconds"])
    panels.by_policy(figure.axes[1], results, quantity["vcpu_seconds"], levels, parts=parts, labels=False)
    return figure


def _memory(results: Results, levels: str) -> Figure | None:
    everyone = rates.guests(results, levels)
    guests = everyone[:MAX_COLUMNS]
    policies = results.policies
    if not guests:
        return None
    width = style.TEXT_WIDTH if len(guests) > 1 else style.COLUMN_WIDTH
    figure = style.new_figure(width, 1.0 + 1.05 * len(policies))
    grid = figure.subplots(len(policies), len(guests), sharex=True, sharey=True, squeeze=False)
    drawn = False
    for row, policy in enumerate(policies):
        cells = results.at(policy, levels)
        for column, guest in enumerate(guests):
            axes = grid[row, column]
            if panels.guest_memory(axes, results, cells, guest):
                drawn = True
            else:
                text = "no samples" if cells else panels.why_nothing(results, policy, levels)
                axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", color=style.MUTED)
            style.clean(axes, grid="y")
            if row == 0:
                axes.set_title(guest)
            if row == len(policies) - 1 and (column == 0 or len(guests) <= 3):
                axes.set_xlabel("time since the release [s]", loc="center" if len(guests) <= 3 else "left")
        grid[row, 0].set_ylabel(f"{policy}\n[MiB]")
    if not drawn:
        return None
    grid[0, 0].set_xlim(left=0)
    grid[0, 0].set_ylim(bottom=0)
    _title(figure, "Memory of each guest and its pages in tmem", levels, room="\n")
    style.key(
        figure,
        (
            (style.INK, "the guest's memory", "line"),
            (style.EPHEMERAL_COLOUR, "ephemeral pages in tmem", "area"),
            (style.PERSISTENT_COLOUR, "persistent pages in tmem", "area"),
        ),
    )
    repetitions = "first repetition in full, others as thin lines"
    notes = f"Complete cells; {repetitions}."
    if len(everyone) > len(guests):
        notes += f" The first {len(guests)} of {len(everyone)} guests are shown."
    style.footnote(figure, [f"{results.record.campaign}: {host_line(results)}.", notes])
    return figure


def _hit_rates(results: Results, levels: str) -> Figure | None:
    using = {r.policy for r in rates.hit_rates(results) if r.levels == levels and r.gets_tried}
    if not using:
        return None
    guests = len(rates.guests(results, levels))
    figure = style.new_figure(style.TEXT_WIDTH, 1.15 + 0.3 * guests * len(using))
    axes = figure.subplots(1, 2)
    for place, kind in zip(axes, ("ephemeral", "persistent"), strict=True):
        if not panels.hit_rate(place, results, kind, levels):
            style.empty(place, f"no {kind} get was tried")
    _title(figure, f"Hit rates of tmem under {', '.join(p for p in results.policies if p in using)}", levels)
    notes = "Points: cells; bars: all cells of the guest together; cold misses count as misses."
    style.footnote(figure, [f"{results.record.campaign}: {host_line(results)}.", notes])
    return figure


def _overview(results: Results, levels: str) -> Figure | None:
    figure = style.new_figure(style.TEXT_WIDTH, 2.0 + 2 * 0.42 * len(results.policies))
    (read, wall), (memory, account) = figure.subplots(2, 2)
    panels.by_policy(read, results, totals.QUANTITIES["sectors_read"], levels)
    panels.by_policy(wall, results, totals.QUANTITIES["wall_seconds"], levels, labels=False)
    panels.all_memory(memory, results, levels)
    panels.account(account, results, levels)
    for axes, title in (
        (read, "a  Sectors read"),
        (wall, "b  Wall time of the last guest"),
        (memory, "c  Memory over time"),
        (account, "d  Where the reads went"),
    ):
        axes.set_title(title)
    if levels:
        _title(figure, results.record.name, levels)
    style.footnote(figure, _notes(results, levels))
    return figure
