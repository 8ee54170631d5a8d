"""What is drawn inside one axes: bars by policy with every cell as a point, memory over time, hit rates, the account.

Each function draws from loaded results into axes that the caller placed. What is missing is said in words in its place.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from analysis import accounting, rates, statistics, style, totals
from analysis.load import Results, experiment_text
from analysis.totals import Quantity
from campaigns.records import CellRecord
from common.units import PAGE_BYTES, SECTORS_PER_PAGE, parse_size

MIB_PER_PAGE = PAGE_BYTES / 2**20
_HOST = "host has for guests"
_BAR = 0.62
"""Height of a bar, of the 1.0 between two policies."""


@dataclass(frozen=True)
class Scale:
    """Factor and word that bring large counts to readable axis labels."""

    factor: float
    word: str


def scale_for(largest: float) -> Scale:
    """Thousands from 10 000, millions from 10 000 000."""
    if largest >= 1e7:
        return Scale(1e6, "million ")
    return Scale(1e3, "thousand ") if largest >= 1e4 else Scale(1.0, "")


def offsets(count: int, width: float = 0.36) -> list[float]:
    """Where `count` points stand across a bar, so that none hides another: by position, never by chance."""
    return [0.0] if count == 1 else [width * (index / (count - 1) - 0.5) for index in range(count)]


def number(value: float) -> str:
    """A label with three significant digits, thousands separated."""
    digits = max(0, 2 - math.floor(math.log10(abs(value)))) if value else 0
    return f"{value:,.{digits}f}"


def policy_axis(axes: Axes, policies: Sequence[str], *, labels: bool = True) -> None:
    """Policies from top to bottom in the order of the experiment."""
    axes.set_ylim(len(policies) - 0.5, -0.5)
    axes.set_yticks(range(len(policies)), policies if labels else [""] * len(policies))
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)


def by_policy(
    axes: Axes,
    results: Results,
    quantity: Quantity,
    levels: str,
    *,
    parts: tuple[Quantity, Quantity] | None = None,
    labels: bool = True,
) -> None:
    """A bar per policy to the mean, a point per cell, the interval, and the ratio to the control as a direct label.

    parts: split the bar by the shares of two quantities (guests, dom0), the second hatched.
    """
    colours = style.policy_colours(results.policies)
    found = {policy: totals.values(results, quantity, policy, levels) for policy in results.policies}
    largest = max((value for cells in found.values() for value in statistics.present(cells.values())), default=0.0)
    scale = scale_for(largest)
    control = totals.control_of(results)
    reach = 0.0
    for row, policy in enumerate(results.policies):
        points = statistics.present(found[policy].values())
        if not points:
            axes.text(0, row, f" {why_nothing(results, policy, levels)}", va="center", color=style.MUTED, fontsize=7)
            continue
        centre = statistics.centre(points)
        mean = (centre.mean or 0.0) / scale.factor
        _bar(axes, row, mean, colours[policy], _share(results, parts, policy, levels) if parts else None)
        values = [value / scale.factor for value in points]
        axes.scatter(
            values, [row + shift for shift in offsets(len(values))], s=9, color=style.INK, linewidth=0, zorder=4
        )
        end = max([mean, *values])
        if centre.low is not None and centre.high is not None:
            low, high = centre.low / scale.factor, centre.high / scale.factor
            axes.errorbar(
                mean, row, xerr=[[mean - low], [high - mean]], color=style.INK, linewidth=0.9, capsize=2.5, zorder=3
            )
            end = max(end, high)
        reach = max(reach, end)
        axes.annotate(
            _bar_label(results, quantity, policy, control, levels=levels, mean=mean),
            (end, row),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            fontsize=7,
        )
    policy_axis(axes, results.policies, labels=labels)
    style.clean(axes, grid="x")
    axes.set_xlim(0, reach * 1.42 if reach else 1)
    axes.set_xlabel(
        f"{quantity.label} [{scale.word}{quantity.unit}]" if scale.word else f"{quantity.label} [{quantity.unit}]"
    )
    if parts and largest:
        _name_parts(axes, parts)


def _bar(axes: Axes, row: int, mean: float, colour: str, share: float | None) -> None:
    first = mean if share is None else mean * share
    axes.barh(row, first, height=_BAR, color=style.tint(colour), linewidth=0)
    if share is not None:
        axes.barh(
            row,
            mean - first,
            left=first,
            height=_BAR,
            color=style.tint(colour, 0.2),
            linewidth=0,
            hatch="////",
            edgecolor=colour,
        )


def _share(results: Results, parts: tuple[Quantity, Quantity], policy: str, levels: str) -> float | None:
    """What part of the sum the first quantity is, over the cells that have both."""
    sums = [0.0, 0.0]
    for cell in results.at(policy, levels):
        pair = [totals.value(results, cell, part) for part in parts]
        if pair[0] is not None and pair[1] is not None:
            sums = [sums[0] + pair[0], sums[1] + pair[1]]
    return sums[0] / sum(sums) if sum(sums) > 0 else None


def _name_parts(axes: Axes, parts: tuple[Quantity, Quantity]) -> None:
    """Name the two parts of the bars inside the first one."""
    bars = list(axes.patches)
    if len(bars) < 2:
        return
    for part, bar in zip(parts, bars[:2], strict=True):
        left, top = bar.get_xy()  # type: ignore[attr-defined]
        axes.annotate(
            part.label.rpartition(", ")[2],
            (left, top),
            xytext=(2, 2),
            textcoords="offset points",
            fontsize=6.5,
            color=style.MUTED,
            va="bottom",
        )


def _bar_label(results: Results, quantity: Quantity, policy: str, control: str, *, levels: str, mean: float) -> str:
    label = number(mean)
    if policy == control:
        return label
    ratio = totals.ratio_of(results, quantity.metrics, quantity.how, treatment=policy, control=control, levels=levels)
    return f"{label}  ({ratio.estimate:.2f}×)" if ratio.estimate is not None else label


def why_nothing(results: Results, policy: str, levels: str) -> str:
    """Why a policy has no value here: `no complete cell (2 invalid, 1 failed)`, or that the metric was not read."""
    table = results.cells
    chosen = table[(table["policy"] == policy) & (table["levels"] == levels)]
    counts = chosen["status"].value_counts().to_dict()
    if counts.get("complete"):
        return "not measured"
    listed = ", ".join(f"{count} {status}" for status, count in sorted((str(s), n) for s, n in counts.items()))
    return f"no complete cell ({listed})" if listed else "not in the plan"


def guest_memory(axes: Axes, results: Results, cells: Sequence[CellRecord], guest: str) -> bool:
    """A guest's memory and its pages in tmem over time [MiB]; the first cell in full, the others as thin lines. Whether anything was drawn."""
    drawn = False
    for index, cell in enumerate(cells):
        main = index == 0
        for kind, colour in (("ephemeral", style.EPHEMERAL_COLOUR), ("persistent", style.PERSISTENT_COLOUR)):
            time, pages = _series(results, cell, guest, f"tmem.{kind}.pages")
            if len(time) and pages.max() > 0:
                if main:
                    axes.fill_between(time, 0, pages, color=colour, alpha=0.45, linewidth=0)
                axes.plot(time, pages, color=colour, linewidth=1.0 if main else 0.5, alpha=1 if main else 0.5)
                drawn = True
        time, memory = _series(results, cell, guest, "memory")
        if len(time):
            axes.plot(time, memory, color=style.INK, linewidth=1.2 if main else 0.5, alpha=1 if main else 0.35)
            drawn = True
    return drawn


def _series(results: Results, cell: CellRecord, source: str, counter: str) -> tuple[pd.Series[float], pd.Series[float]]:
    readings = results.samples_of(cell.cell, source, counter)
    return readings["time_s"], readings["value"] * MIB_PER_PAGE


def all_memory(axes: Axes, results: Results, levels: str) -> None:
    """Memory of all guests together over time, a line per policy, and below it their pages in tmem [MiB]; first repetition each."""
    colours = style.policy_colours(results.policies)
    ends: list[tuple[float, float, str]] = []
    for policy in results.policies:
        cells = results.at(policy, levels)
        if not cells:
            continue
        tmem = [_sum_over_guests(results, cells[0], levels, f"tmem.{kind}.pages") for kind in accounting.KINDS]
        if all(part is not None for part in tmem):
            _fill_tmem(axes, [part for part in tmem if part is not None], colours[policy])
        if (memory := _sum_over_guests(results, cells[0], levels, "memory")) is not None:
            axes.plot(memory[0], memory[1], color=colours[policy], linewidth=1.4)
            ends.append((float(memory[0][-1]), float(memory[1][-1]), policy))
    if not ends:
        style.empty(axes, "no samples of the guests' memory")
        return
    style.clean(axes, grid="y")
    last = max(end[0] for end in ends)
    if not levels and (memory_text := experiment_text(results, "host", "guest_memory")):
        limit = parse_size(memory_text) / 2**20
        axes.plot([0, last], [limit, limit], color=style.MUTED, linewidth=0.8, linestyle=(0, (4, 3)))
        ends.append((last, limit, _HOST))
    axes.set_ylim(bottom=0)
    characters = max(len(end[2]) for end in ends)
    axes.set_xlim(0, last / (1 - min(0.5, 0.02 * characters)))
    axes.set_xticks([tick for tick in axes.get_xticks() if 0 <= tick <= last])
    axes.spines["bottom"].set_bounds(0, last)
    _name_lines(axes, ends, colours | {_HOST: style.MUTED})
    axes.set_xlabel("time since the release [s]")
    axes.set_ylabel("all guests [MiB]")


def _fill_tmem(axes: Axes, parts: Sequence[tuple[np.ndarray, np.ndarray]], colour: str) -> None:
    grid = parts[0][0]
    together = np.sum([np.interp(grid, time, pages) for time, pages in parts], axis=0)
    if together.max() <= 0:
        return
    axes.fill_between(grid, 0, together, color=colour, alpha=0.25, linewidth=0)
    peak = int(np.argmax(together))
    axes.annotate(
        "in tmem", (float(grid[len(grid) // 2]), float(together[peak]) / 3), ha="center", fontsize=7, color=colour
    )


def _name_lines(axes: Axes, ends: Sequence[tuple[float, float, str]], colours: Mapping[str, str]) -> None:
    """Names at the right ends of lines, moved apart where they would overlap."""
    step = (axes.get_ylim()[1] - axes.get_ylim()[0]) * 0.085
    placed = -math.inf
    for x, y, policy in sorted(ends, key=lambda end: (end[1], end[2])):
        placed = max(y, placed + step)
        axes.annotate(
            policy,
            (x, placed),
            xytext=(3, 0),
            textcoords="offset points",
            va="center",
            fontsize=7,
            color=colours[policy],
            annotation_clip=False,
        )


def _sum_over_guests(
    results: Results, cell: CellRecord, levels: str, counter: str
) -> tuple[np.ndarray, np.ndarray] | None:
    """A counter summed over all guests, on the readings' times where every guest was read; None when one guest has none."""
    series = [_series(results, cell, guest, counter) for guest in rates.guests(results, levels)]
    if not series or any(len(time) < 2 for time, _ in series):
        return None
    start, end = max(time.iloc[0] for time, _ in series), min(time.iloc[-1] for time, _ in series)
    grid = np.unique(np.concatenate([time.to_numpy() for time, _ in series]))
    grid = grid[(grid >= start) & (grid <= end)]
    if len(grid) < 2:
        return None
    return grid, np.sum([np.interp(grid, time.to_numpy(), pages.to_numpy()) for time, pages in series], axis=0)


def hit_rate(axes: Axes, results: Results, kind: str, levels: str) -> bool:
    """A row per guest within each policy that used tmem: a point per cell, a bar to the pooled rate. Whether anything was drawn."""
    colours = style.policy_colours(results.policies)
    found = [r for r in rates.hit_rates(results) if r.levels == levels and r.kind == kind]
    using = [p for p in results.policies if any(r.policy == p and r.gets_tried for r in found)]
    names: list[str] = []
    for policy in using:
        for guest in rates.guests(results, levels):
            row = len(names)
            names.append(f"{policy}  {guest}" if len(using) > 1 else guest)
            mine = [r for r in found if r.policy == policy and r.guest == guest and r.rate is not None]
            if not mine:
                axes.text(0, row, " not measured, or nothing asked for", va="center", color=style.MUTED, fontsize=6.5)
                continue
            gets, tried = sum(r.gets or 0 for r in mine), sum(r.gets_tried or 0 for r in mine)
            axes.barh(row, 100 * gets / tried, height=_BAR, color=style.tint(colours[policy]), linewidth=0)
            points = [100 * (r.rate or 0) for r in mine]
            axes.scatter(
                points, [row + shift for shift in offsets(len(points))], s=9, color=style.INK, linewidth=0, zorder=4
            )
            axes.annotate(
                f"{style.percent(gets / tried)} of {tried:,.0f}",
                (max([100 * gets / tried, *points]), row),
                xytext=(4, 0),
                textcoords="offset points",
                va="center",
                fontsize=7,
            )
    policy_axis(axes, names)
    style.clean(axes, grid="x")
    axes.set_xlim(0, 150)
    axes.set_xticks([0, 25, 50, 75, 100])
    axes.spines["bottom"].set_bounds(0, 100)
    axes.set_xlabel(f"{kind} gets that hit [% of gets tried]")
    return bool(names)


def account(axes: Axes, results: Results, levels: str) -> None:
    """Sectors saved beside hits × 8, per policy with tmem: means as bars, pairs of cells as points."""
    means = accounting.summary(results, levels)
    if not means:
        style.empty(axes, "no pair of complete cells with and without tmem")
        return
    pairs = [a for a in accounting.accounts(results) if a.levels == levels and a.guest is None and a.cell is not None]
    largest = max(abs(value) for item in means for value in (item.saved or 0.0, item.explained or 0.0))
    scale = scale_for(largest)
    colours = style.policy_colours(results.policies)
    names: list[str] = []
    for item in means:
        mine = [pair for pair in pairs if pair.policy == item.policy]
        row = len(names)
        under = f"\n{item.policy}" if len(means) > 1 else ""
        names += [f"saved against\n{item.control}", f"hits × 8{under}"]
        axes.barh(
            row, (item.saved or 0) / scale.factor, height=_BAR, color=style.tint(colours[item.policy]), linewidth=0
        )
        left = 0.0
        for pages, colour, name in (
            (item.ephemeral_hits, style.EPHEMERAL_COLOUR, "ephemeral"),
            (item.persistent_hits, style.PERSISTENT_COLOUR, "persistent"),
        ):
            width = (pages or 0) * SECTORS_PER_PAGE / scale.factor
            axes.barh(row + 1, width, left=left, height=_BAR, color=style.tint(colour, 0.75), linewidth=0)
            if width > 0:
                axes.annotate(
                    name,
                    (left, row + 1 + _BAR / 2),
                    xytext=(1, -1),
                    textcoords="offset points",
                    va="top",
                    fontsize=6.5,
                    color=style.MUTED,
                )
            left += width
        for shift, attribute in ((0, "saved"), (1, "explained")):
            points = [getattr(pair, attribute) for pair in mine if getattr(pair, attribute) is not None]
            heights = [row + shift + offset for offset in offsets(len(points))]
            axes.scatter([p / scale.factor for p in points], heights, s=9, color=style.INK, linewidth=0, zorder=4)
        if item.agreement is not None:
            highest = max([item.explained or 0, *[p.explained or 0 for p in mine]]) / scale.factor
            axes.annotate(
                f"{style.percent(item.agreement)}\nexplained",
                (highest, row + 1),
                xytext=(5, 0),
                textcoords="offset points",
                va="center",
                fontsize=7,
            )
    policy_axis(axes, names)
    style.clean(axes, grid="x")
    low, high = axes.get_xlim()
    axes.set_xlim(min(0, low), high * 1.3)
    axes.set_xlabel(f"sectors [{scale.word}sectors]")
