"""What is drawn inside one axes: bars by policy with every cell as a point, ratios with every pair,
hit rates, the account.

Each function draws from loaded results into axes that the caller placed. What is missing is said in
words in its place.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from matplotlib.axes import Axes
from matplotlib.patches import Patch

from analysis import accounting, rates, statistics, style, totals
from analysis.load import Results
from analysis.totals import Quantity
from common.units import SECTORS_PER_PAGE

_BAR = 0.62
"""Height of a bar, of the 1.0 between two policies."""
_WIDE, _NARROW = 0.36, 0.24
"""Of the same, what points take: by themselves, and below an interval."""
_ASIDE = 0.16
"""From a bar's middle to its interval, above, and to its points, below, so that none hides it."""


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


def offsets(count: int, width: float = _WIDE) -> list[float]:
    """Where `count` points stand across a bar, so that none hides another: by position, never by
    chance.
    """
    return [0.0] if count == 1 else [width * (index / (count - 1) - 0.5) for index in range(count)]


def number(value: float) -> str:
    """A label with three significant digits, thousands separated."""
    digits = max(0, 2 - math.floor(math.log10(abs(value)))) if value else 0
    return f"{value:,.{digits}f}"


def policy_axis(axes: Axes, policies: Sequence[str]) -> None:
    """Policies from top to bottom in the order of the experiment."""
    axes.set_ylim(max(len(policies), 1) - 0.5, -0.5)  # where nobody has it, as if one had
    axes.set_yticks(range(len(policies)), policies)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)


def by_policy(
    axes: Axes,
    results: Results,
    quantity: Quantity,
    levels: str,
    *,
    parts: tuple[Quantity, Quantity] | None = None,
) -> None:
    """A bar per policy to the mean, a point per cell, the interval, and the mean as a direct label.

    parts: split the bar by the shares of two quantities (guests, dom0), the second lighter.
    """
    looks = style.looks(results.policies)
    found = {policy: totals.values(results, quantity, policy, levels) for policy in results.policies}
    largest = max((value for cells in found.values() for value in statistics.present(cells.values())), default=0.0)
    scale = scale_for(largest)
    reach = 0.0
    for row, policy in enumerate(results.policies):
        points = statistics.present(found[policy].values())
        if not points:
            axes.text(0, row, f" {why_nothing(results, policy, levels)}", va="center", color=style.MUTED)
            continue
        centre = totals.centre_of(results, quantity, policy, levels)
        mean = (centre.mean or 0.0) / scale.factor
        _bar(axes, row, mean, looks[policy], _share(results, parts, policy, levels) if parts else None)
        values = [value / scale.factor for value in points]
        end = max([mean, *values])
        interval = centre.low is not None and centre.high is not None
        _points(axes, values, row + (_ASIDE if interval else 0), _NARROW if interval else _WIDE)
        if centre.low is not None and centre.high is not None:
            low, high = centre.low / scale.factor, centre.high / scale.factor
            _interval(axes, mean, low, high, row - _ASIDE)
            end = max(end, high)
        reach = max(reach, end)
        _label(axes, number(mean), end, row)
    policy_axis(axes, [style.wrapped(policy) for policy in results.policies])
    style.clean(axes, grid="x")
    axes.set_xlim(0, reach * 1.25 if reach else 1)
    axes.set_xlabel(f"{quantity.label}{totals.clock_of(results, quantity)} [{scale.word}{quantity.unit}]")
    if parts and largest:
        _name_parts(axes, parts)


def _points(axes: Axes, values: Sequence[float], row: float, width: float = _WIDE) -> None:
    """Every repetition, in black with a white rim, so that it is seen on any bar."""
    places = [row + shift for shift in offsets(len(values), width)]
    axes.scatter(values, places, s=11, color=style.INK, edgecolor="white", linewidth=0.5, zorder=4)


def _interval(axes: Axes, mean: float, low: float, high: float, row: float) -> None:
    axes.errorbar(
        mean,
        row,
        xerr=[[max(0.0, mean - low)], [max(0.0, high - mean)]],
        color=style.INK,
        linewidth=0.9,
        capsize=2.5,
        zorder=3,
    )


def _label(axes: Axes, text: str, x: float, row: float) -> None:
    axes.annotate(
        text, (x, row), xytext=(5, 0), textcoords="offset points", va="center", fontsize=style.SMALL, zorder=5
    )


def _bar(axes: Axes, row: int, mean: float, look: style.Look, share: float | None) -> None:
    first = mean if share is None else mean * share
    face, edge = style.tint(look.colour), style.tint(look.colour, 0.9)
    axes.barh(row, first, height=_BAR, color=face, edgecolor=edge, hatch=look.hatch, linewidth=0)
    if share is not None:
        faint = style.tint(look.colour, 0.15)
        axes.barh(row, mean - first, left=first, height=_BAR, color=faint, edgecolor=edge, linewidth=0.6)


def _share(results: Results, parts: tuple[Quantity, Quantity], policy: str, levels: str) -> float | None:
    """What part of the sum the first quantity is, over the cells that have both."""
    pairs = [[totals.value(results, cell, part) for part in parts] for cell in results.at(policy, levels)]
    known = [(first, second) for first, second in pairs if first is not None and second is not None]
    sums = [math.fsum(pair[side] for pair in known) for side in (0, 1)]
    return sums[0] / math.fsum(sums) if math.fsum(sums) > 0 else None


def _name_parts(axes: Axes, parts: tuple[Quantity, Quantity]) -> None:
    """Name the two parts of the bars above the first one."""
    bars = list(axes.patches)
    if len(bars) < 2:
        return
    for part, bar, side in zip(parts, bars[:2], ("left", "right"), strict=True):
        left, top = bar.get_xy()  # type: ignore[attr-defined]
        width = bar.get_width()  # type: ignore[attr-defined]
        axes.annotate(
            part.label.rpartition(", ")[2],
            (left if side == "left" else left + width, top),
            xytext=(0, 1.5),
            textcoords="offset points",
            fontsize=style.SMALL,
            color=style.MUTED,
            ha=side,
            va="bottom",
        )
    axes.set_ylim(axes.get_ylim()[0], -0.75)


def compared(results: Results) -> list[tuple[str, str]]:
    """Every policy with each that it is compared with, in the order of the rows."""
    return [(policy, control) for policy in results.policies for control in totals.controls_of(results, policy)]


def over(policy: str, control: str) -> str:
    """What a row of ratios is called."""
    return f"{style.wrapped(policy)}\n÷ {style.wrapped(control)}"


def ratios(axes: Axes, results: Results, quantity: Quantity, levels: str) -> None:
    """A row per comparison: the ratio of each pair as a point, the estimate as a diamond with
    its interval, and both in figures.
    """
    looks = style.looks(results.policies)
    rows = compared(results)
    ends: list[float] = [1.0]
    labels: list[tuple[int, str]] = []
    for row, (policy, control) in enumerate(rows):
        sides = {"treatment": policy, "control": control, "levels": levels}
        ratio = totals.ratio_of_quantity(results, quantity, **sides)
        if ratio.estimate is None or ratio.estimate <= 0:
            labels.append((row, "not measured" if ratio.n == 0 else "no ratio" if ratio.estimate is None else "0"))
            continue
        pairs = [value for value in totals.pair_ratios(results, quantity, **sides) if value > 0]
        places = [row + 0.27 + shift * 0.35 for shift in offsets(len(pairs))]
        axes.scatter(pairs, places, s=9, color=style.MUTED, edgecolor="white", linewidth=0.4, zorder=3)
        text = f"{ratio.estimate:.2f}"
        ends += [ratio.estimate, *pairs]
        if ratio.low is not None and ratio.high is not None and ratio.low > 0:
            _interval(axes, ratio.estimate, ratio.low, ratio.high, row)
            ends += [ratio.low, ratio.high]
            text += f" [{ratio.low:.2f}, {ratio.high:.2f}]"
        axes.plot(
            ratio.estimate,
            row,
            marker="D",
            markersize=3.6,
            color=looks[policy].colour,
            mec=style.INK,
            mew=0.6,
            zorder=5,
        )
        labels.append((row, text))
    axes.axvline(1, color=style.MUTED, linewidth=0.8, linestyle=(0, (4, 3)), zorder=1)
    policy_axis(axes, [over(policy, control) for policy, control in rows])
    style.clean(axes, grid="x")
    _ratio_scale(axes, min(ends), max(ends))
    for row, text in labels:
        axes.annotate(
            text,
            (1, row),
            xycoords=("axes fraction", "data"),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            fontsize=style.SMALL,
            annotation_clip=False,
        )
    axes.set_xlabel(f"ratio of {quantity.label.replace(', guests and dom0', '')}{totals.clock_of(results, quantity)}")


_TICKS = (
    (0.6, 0.7, 0.8, 0.9, 1, 1.1, 1.25, 1.5),
    (0.3, 0.4, 0.5, 0.6, 0.8, 1, 1.25, 1.5, 2, 3),
    (0.2, 0.3, 0.5, 0.7, 1, 1.5, 2, 3, 5),
    (0.1, 0.2, 0.5, 1, 2, 5, 10),
    (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300, 1000),
    (0.0001, 0.001, 0.01, 0.1, 1, 10, 100, 1000, 10000),
    tuple(10.0**exponent for exponent in range(-300, 301, 3)),
)
"""Ticks of a ratio's scale, close ones first: the first that have room are taken."""
_APART = 0.12
"""Of a scale's length, the least from a tick to the next, for their numbers not to touch."""
_LEAST = (0.8, 1.25)
"""Of a ratio's scale, however alike the ratios: one per cent is to look like little."""


def ratio_ticks(low: float, high: float) -> list[float]:
    """Where a logarithmic scale from one to the other has its numbers."""
    apart = _APART * math.log(high / low)
    inside = [[tick for tick in ticks if low <= tick <= high] for ticks in _TICKS]
    return next(
        (ticks for ticks in inside if len(ticks) > 2 and all(math.log(b / a) >= apart for a, b in pairwise(ticks))),
        max(inside, key=len),
    )


def _ratio_scale(axes: Axes, low: float, high: float) -> None:
    """Logarithmic, since half and double are equally far from 1."""
    from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator

    margin = max(1.03, (high / low) ** 0.07)
    low, high = min(low / margin, _LEAST[0]), max(high * margin, _LEAST[1])
    axes.set_xscale("log")
    axes.set_xlim(low, high)
    ticks = ratio_ticks(low, high)
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_major_formatter(FixedFormatter([f"{tick:g}" for tick in ticks]))
    axes.xaxis.set_minor_locator(NullLocator())


def why_nothing(results: Results, policy: str, levels: str) -> str:
    """Why a policy has no value here: `no complete cell (2 invalid, 1 failed)`, or that the
    metric was not read.
    """
    table = results.cells
    chosen = table[(table["policy"] == policy) & (table["levels"] == levels)]
    counts = chosen["status"].value_counts().to_dict()
    if counts.get("complete"):
        return "not measured"
    listed = ", ".join(f"{count} {status}" for status, count in sorted((str(s), n) for s, n in counts.items()))
    return f"no complete cell ({listed})" if listed else "not in the plan"


def hit_rate(axes: Axes, results: Results, kind: str, levels: str) -> bool:
    """A row per guest within each policy that used tmem: a point per cell, a bar to the pooled
    rate. Whether anything was drawn.
    """
    looks = style.looks(results.policies)
    found = [r for r in rates.hit_rates(results) if r.levels == levels and r.kind == kind]
    using = [p for p in results.policies if any(r.policy == p and r.gets_tried for r in found)]
    names: list[str] = []
    for policy in using:
        for guest in rates.guests(results, levels):
            row = len(names)
            names.append(f"{style.wrapped(policy)}\n{guest}" if len(using) > 1 else guest)
            mine = [r for r in found if r.policy == policy and r.guest == guest and r.rate is not None]
            if not mine:
                axes.text(0, row, " not measured, or nothing asked for", va="center", color=style.MUTED)
                continue
            hits = math.fsum(r.hits or 0 for r in mine)
            tried = math.fsum(r.gets_tried or 0 for r in mine)
            _bar(axes, row, 100 * hits / tried, looks[policy], None)
            points = [100 * (r.rate or 0) for r in mine]
            _points(axes, points, row)
            _label(axes, f"{style.percent(hits / tried)} of {tried:,.0f}", max([100 * hits / tried, *points]), row)
    policy_axis(axes, names)
    style.clean(axes, grid="x")
    axes.set_xlim(0, 165)
    axes.set_xticks([0, 25, 50, 75, 100])
    axes.spines["bottom"].set_bounds(0, 100)
    axes.set_xlabel(f"{kind} gets that hit\n[% of gets tried]", loc="left", multialignment="left")
    return bool(names)


def account(axes: Axes, results: Results, levels: str) -> None:
    """Sectors saved beside hits × 8, per policy with tmem: means as bars, the paired differences
    as points, and what part is explained.
    """
    means = accounting.summary(results, levels)
    if not means:
        style.empty(axes, "no pair of complete cells with and without tmem")
        return
    pairs = [a for a in accounting.accounts(results) if a.levels == levels and a.guest is None and a.cell is not None]
    largest = max(abs(value) for item in means for value in (item.saved or 0.0, item.explained or 0.0))
    scale = scale_for(largest)
    looks = style.looks(results.policies)
    names: list[str] = []
    ends = [0.0]
    kinds: dict[str, style.Look] = {}
    for item in means:
        mine = [pair for pair in pairs if pair.policy == item.policy]
        row = len(names)
        under = f"\n{style.wrapped(item.policy)}" if len(means) > 1 else ""
        names += [f"fewer than\n{style.wrapped(item.control)}", f"hits × 8{under}"]
        _bar(axes, row, (item.saved or 0) / scale.factor, looks[item.policy], None)
        left = 0.0
        for pages, kind, name in (
            (item.tmem_ephemeral_hits, style.EPHEMERAL, "ephemeral"),
            (item.tmem_persistent_hits, style.PERSISTENT, "persistent"),
        ):
            width = (pages or 0) * SECTORS_PER_PAGE / scale.factor
            if width > 0:
                face, edge = style.tint(kind.colour, 0.75), style.tint(kind.colour, 1)
                axes.barh(
                    row + 1, width, left=left, height=_BAR, color=face, edgecolor=edge, hatch=kind.hatch, linewidth=0
                )
                kinds[name] = kind
            left += width
        for shift, attribute in ((0, "saved"), (1, "explained")):
            points = statistics.present(getattr(pair, attribute) for pair in mine)
            _points(axes, [point / scale.factor for point in points], row + shift)
            ends += [point / scale.factor for point in points]
        ends += [(item.saved or 0) / scale.factor, left]
        if item.agreement is not None:
            highest = max([item.explained or 0, *[p.explained or 0 for p in mine]]) / scale.factor
            _label(axes, _agreement(results, item), highest, row + 1)
    if kinds:
        _name_kinds(axes, {name: kinds[name] for name in accounting.KINDS if name in kinds})
    policy_axis(axes, names)
    style.clean(axes, grid="x")
    axes.set_xlim(min(0.0, *ends) * 1.05, (max(ends) or 1) * 1.45)
    axes.set_xlabel(f"sectors [{scale.word}sectors]")


def _name_kinds(axes: Axes, kinds: Mapping[str, style.Look]) -> None:
    """A key of the kinds of pages below the panel: at a narrow bar their names have no room."""
    style.key_below(
        axes,
        [
            Patch(
                facecolor=style.tint(kind.colour, 0.75),
                edgecolor=style.tint(kind.colour, 1),
                hatch=kind.hatch,
                linewidth=0,
                label=f"{name} hits",
            )
            for name, kind in kinds.items()
        ],
    )


def _agreement(results: Results, item: accounting.Account) -> str:
    ratio = accounting.agreement(results, item)
    text = f"{style.percent(item.agreement or 0)}"
    if ratio.low is not None and ratio.high is not None:
        text += f"\n[{100 * ratio.low:.0f}, {100 * ratio.high:.0f}]"
    return text
