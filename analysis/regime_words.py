"""What a map of regimes says: its section of the report, and the sentences that stand for it where
there is room for a paragraph alone.
"""

from __future__ import annotations

import math
import statistics as middle
from collections.abc import Callable, Sequence

from analysis import panels, predicted, regime_map, regime_noise, sections, style
from analysis.load import Results
from analysis.regime_map import Map, Point
from analysis.sections import Source

GIVEN = ("share of a guest [MiB]", "share ÷ working set", "fallow", "phase [s]", "predicted", "even split")
"""Columns of what was declared, or follows from the control's cells at all levels."""


ALONE = "the same without its parts"
"""A column of what another policy's cells made."""


def said(results: Results) -> list[str]:
    """The section of report.md; empty where the campaign is no map."""
    if (made := regime_map.found(results)) is None:
        return []
    phases = len({point.setup.phase for point in made.points}) > 1
    parts = [
        (
            f"Sectors read over those under {made.control}, at every regime: below 1, fewer are read. Nothing else is "
            f"in it, neither what was written nor time. {curve_text(made)} {noise_text(made)}"
        ),
        _table(made, made.against, phases=phases, expected=True),
        f"{' '.join(filter(None, [twice_text(made), agreement(made)]))} {_how(made)}",
    ]
    if made.parts:
        parts += [
            (
                "What its parts add to a policy: sectors read over those under the policy without them, in the same "
                "regime (single cells, where these were not repeated)."
            ),
            _table(made, made.parts, phases=phases, expected=False),
        ]
    if lost := lost_text(made):
        parts.append(lost)
    return parts


def _table(made: Map, points: Sequence[Point], *, phases: bool, expected: bool) -> sections.Table:
    shown = [name for name in GIVEN if (phases or name != "phase [s]") and (expected or name not in GIVEN[-2:])]
    alone = expected and any(point.base for point in points)
    told = [
        *([ALONE, "beside that"] if alone else []),
        *(
            ["explained by hits"]
            if any(point.idle is not None or point.explained is not None for point in points)
            else []
        ),
        *(["remarks"] if any(_remarks(made, point) for point in points) else []),
    ]
    columns = ["policy", *([] if expected else ["over"]), *shown, "measured", *(["error"] if expected else []), *told]
    rows = []
    for point in points:
        given = {
            GIVEN[0]: f"{point.setup.share:g}",
            GIVEN[1]: sections.MISSING if point.relative is None else f"{point.relative:.1f}",
            GIVEN[2]: f"{100 * point.setup.fallow:.0f} %",
            GIVEN[3]: f"{point.setup.phase:g}",
            GIVEN[4]: _number(point.predicted),
            GIVEN[5]: _number(point.even),
        }
        error = sections.MISSING if point.error is None else f"{100 * point.error:+.0f} %"
        names = (point.policy,) if expected else (point.policy, point.over)
        last = (_number(point.measured), error) if expected else (_number(point.measured),)
        more = {
            ALONE: _number(point.alone),
            "beside that": _number(point.beside),
            "explained by hits": sections.MISSING if point.credit is None else style.percent(point.credit),
            "remarks": _remarks(made, point) or sections.MISSING,
        }
        rows.append((*names, *(given[name] for name in shown), *last, *(more[name] for name in told)))
    return sections.table(tuple(columns), rows, [_source(point) for point in points])


def _remarks(made: Map, point: Point) -> str:
    """What a reader of a ratio has to know of its cells."""
    said = ["tmem stored no page"] if point.idle else []
    said += ["a host was starved"] if point.starved else []
    again = [] if _fixed(point.policy) else [_short(made, levels) for levels in point.again]
    return "; ".join([*said, *([f"one treatment with {' and '.join(again)}"] if again else [])])


def _short(made: Map, levels: str) -> str:
    setup = made.setups[levels]
    phase = f", {setup.phase:g} s" if setup.phase else ""
    return f"{setup.share:g} MiB, {100 * setup.fallow:.0f} %{phase}"


def _source(point: Point) -> Source:
    alike = tuple((point.over, levels) for levels in point.alike)
    base = ((point.base, point.levels),) if point.base else ()
    return Source((point.policy, point.over), point.levels, (*alike, *base))


def _how(made: Map) -> str:
    return (
        f"A prediction is made of the cells of {made.control} alone (analysis/predicted.py says how, and what it "
        "leaves out); “even split” is what these say of guests among whom all of the host is handed out. A dash is "
        f"what could not be predicted, or was not measured. Readings under {made.control} at one share are taken "
        "together, whatever lies fallow beside; where cells were repeated, a ratio is that of their pairs. Explained "
        "by hits is, of what was read less than under the policy beside, what the pages that tmem returned stand for, "
        "8 sectors each: what is left is not tmem's. Counters of starved hosts count, their times do not. "
        f"Only guests under {made.control} keep the share that is told: others begin with an even part of the host."
    )


def summary(results: Results) -> list[str]:
    """A map in a few sentences; empty where the campaign is none."""
    made = regime_map.found(results)
    if made is None:
        return []
    text = [curve_text(made), noise_text(made)]
    for policy in dict.fromkeys(point.policy for point in made.against):
        mine = [point for point in made.against if point.policy == policy]
        text += [*_extremes(mine, made.control), *_sides(mine, made.control)]
    for policy in dict.fromkeys(point.policy for point in made.parts):
        mine = [point for point in made.parts if point.policy == policy]
        text += [*_extremes(mine, mine[0].over), *_sides(mine, mine[0].over)]
    return [*filter(None, [*text, twice_text(made), agreement(made), lost_text(made)])]


def _extremes(points: Sequence[Point], over: str) -> list[str]:
    known = [(point.measured, point) for point in points if point.measured is not None]
    if not known:
        return []
    (low, least), (high, most) = (choose(known, key=lambda pair: pair[0]) for choose in (min, max))
    return [
        (
            f"Under {points[0].policy} guests read {low:.2f} to {high:.2f} of what they read under {over}: least "
            f"{_place(least)}{_credit(least)}, most {_place(most)}{_credit(most)}."
        )
    ]


def _credit(point: Point) -> str:
    """Whose a ratio is: what the policy does without its parts, and what tmem's hits explain."""
    said = [f"{point.base} alone {point.alone:.2f}"] if point.alone is not None else []
    said += ["tmem stored no page"] if point.idle else []
    if point.credit is not None and not point.idle:
        said.append(f"tmem's hits explain {style.percent(point.credit)}")
    return f" ({', '.join(said)})" if said else ""


def _place(point: Point) -> str:
    return f"with {regime_noise.place(point.setup)}"


def _sides(points: Sequence[Point], over: str) -> list[str]:
    idle = [point for point in points if point.idle]
    told = [point for point in points if point.differs is not None and not point.idle]
    which = f"{len(idle)} regime{'s' * (len(idle) != 1)}"
    said = f"In {which} tmem stored no page, so what was read there is none of its doing, and counts for neither."
    none = [said] if idle else []
    if not told:
        return none
    sides = list(_once(told, over).values())
    fewer, more = sides.count(-1), sides.count(1)
    once = ", each treatment counted once" if len(sides) < len(told) else ""
    return [
        (
            f"Fewer than under {over} in {fewer} of {len(sides)} regimes and more in {more}{once}; in the others the "
            "difference is no larger than the largest between readings of one treatment."
        ),
        *none,
    ]


def _once(points: Sequence[Point], over: str) -> dict[frozenset[str], int]:
    """Levels at which both policies are the same treatment -> -1 where fewer are read under the
    first, 1 where more are, 0 where it does not differ, or not the same way each time.
    """
    found: dict[frozenset[str], set[int]] = {}
    for point in points:
        same = () if _fixed(over) or _fixed(point.policy) else point.again
        side = 0 if not point.differs else -1 if (point.measured or 1) < 1 else 1
        found.setdefault(frozenset((point.levels, *same)), set()).add(side)
    return {levels: sides.pop() if len(sides) == 1 else 0 for levels, sides in found.items()}


def noise_text(made: Map) -> str:
    """What was measured more than once, how far that differs, and where it does so the most."""
    most = regime_noise.largest(made.repeats)
    if most is None:
        return "No treatment was measured twice, so it is not known how large a difference has to be to say anything."
    kinds = {
        each.kind: regime_noise.largest([one for one in made.repeats if one.kind == each.kind]) for each in made.repeats
    }
    each_kind = "; ".join(
        f"{kind}, {len([one for one in made.repeats if one.kind == kind])} times, by up to {largest.factor:.2f}"
        for kind, largest in kinds.items()
        if largest is not None
    )
    return (
        f"Readings of one treatment, the most over the least, differ: {each_kind}. The largest is {most.factor:.2f} "
        f"({most.where}): a difference that is no larger says nothing."
    )


def twice_text(made: Map) -> str:
    """Which regimes are one and the same to all policies but that of fixed sizes."""
    policy = next((point.policy for point in made.points if point.again and not _fixed(point.policy)), None)
    if policy is None:
        return ""
    groups = regime_noise.groups(made.setups, policy, made.control)
    told = "; ".join(" and ".join(_short(made, levels) for levels in group) for group in groups)
    return (
        f"Guests of other policies than {regime_noise.FIXED} differ between these regimes in nothing but the size that "
        f"they booted with, since their host is the same (MiB each, host fallow): {told}. So what such policies read "
        "there is one treatment, measured more than once, and no two findings; what they are held against may be."
    )


def _fixed(policy: str) -> bool:
    return policy.partition("+")[0] == regime_noise.FIXED


def curve_text(made: Map) -> str:
    """What the control's guests read, how far equal ones differ, and the working set that
    follows.
    """
    if not made.curve.points:
        return f"No cell of {made.control} is complete, so nothing can be predicted."
    curve = ", ".join(f"{panels.number(read)} with {mib:g} MiB" for mib, read in made.curve.points)
    bound = f"reads at most {predicted.KNEE:g} times the least"
    bracket, least = made.curve.bracket, made.curve.working_set
    known = (
        f"The working set, from which on it {bound}, is between {bracket[0]:g} and {bracket[1]:g} MiB: {least:.0f} on "
        "the line between them."
        if bracket is not None and least is not None
        else (
            f"The working set is not known: with the least of these memories it already {bound}, or only with the most."
        )
    )
    spreads = {point.setup.share: point.spread for point in made.against if point.spread is not None}
    alike = ", ".join(f"{spread:.2f} with {share:g} MiB" for share, spread in sorted(spreads.items()))
    noise = f" Equal guests beside more or less fallow memory read, the most over the least, {alike}." if alike else ""
    off = max((abs(math.log(factor)) for factor in made.curve.left_out()), default=None)
    itself = (
        ""
        if off is None
        else f" With a measurement left out, the curve is there off by a factor of up to {math.exp(off):.2f}."
    )
    return f"A guest read on average {curve} (sectors). {known}{noise}{itself}"


def agreement(made: Map) -> str:
    """How far predictions are from what was measured, beside two that need no model."""
    others: tuple[tuple[str, Callable[[Point], float | None]], ...] = (
        ("the model", lambda point: point.predicted),
        (f"“as under {made.control}”", lambda _point: 1.0),
        ("an even split", lambda point: point.even),
    )
    said = []
    for policy in dict.fromkeys(point.policy for point in made.against):
        both = [p for p in made.against if p.policy == policy and p.measured and p.predicted and p.even]
        if both:
            far = [f"{name} is off by {_factors([_off(told(p), p) for p in both])}" for name, told in others]
            said.append(f"{policy}, {len(both)} points: {', '.join(far)}")
    if not said:
        return "No prediction was measured yet."
    return f"How far off, half of the points at most and the worst, as factors: {'; '.join(said)}."


def _off(told: float | None, point: Point) -> float:
    assert told
    assert point.measured
    return abs(math.log(told / point.measured))


def _factors(logs: Sequence[float]) -> str:
    return f"{math.exp(middle.median(logs)):.2f} and {math.exp(max(logs)):.2f}"


def lost_text(made: Map) -> str:
    """Which points have no measured ratio, and why; "" where all have one."""
    lost = [f"{point.policy} {_place(point)} ({point.lost})" for point in made.against if point.lost]
    return f"Not measured, and so not in any count here: {'; '.join(lost)}." if lost else ""


def _number(value: float | None) -> str:
    return sections.MISSING if value is None else f"{value:.2f}"
