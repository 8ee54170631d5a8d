"""Whether a campaign's interval is narrow enough: looks, taken from its complete cells alone, and
taken again by results.verify.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal

from campaigns import looks
from campaigns.looks import Look, Point, Until
from campaigns.plan import level_key
from campaigns.records import (
    LOOKS_DIR,
    SCHEMA,
    CampaignRecord,
    CellRecord,
    PlannedCell,
    read_attempts,
    read_campaign,
    read_looks,
)
from common import intervals


def look(
    until: Until, planned: Sequence[PlannedCell], finished: Mapping[str, CellRecord], before: Sequence[Look]
) -> Look:
    """The next look, at all complete cells of the repetitions that were wanted so far."""
    size = looks.size_now(until, before)
    wanted = looks.within(planned, until, size)
    points = tuple(point(until, cells, finished) for cells in _by_levels(wanted, until))
    return Look(SCHEMA, size, points, enough(until, points, size))


def enough(until: Until, points: Sequence[Point], size: int) -> bool:
    """Whether nothing is to be added: every interval is narrow enough, or the most is reached."""
    widths = [each.half_width for each in points]
    narrow = bool(widths) and all(width is not None and width <= until.half_width for width in widths)
    return narrow or size >= until.sizes[-1]


def point(until: Until, cells: Sequence[PlannedCell], finished: Mapping[str, CellRecord]) -> Point:
    """What cells of one combination of levels say: those of both policies in one block are a pair,
    and pairs of one boot are one value.
    """
    sides: dict[int, dict[str, PlannedCell]] = {}
    for cell in cells:
        if _value(until, finished.get(cell.cell)) is not None:
            sides.setdefault(cell.block, {})[cell.policy] = cell
    pairs = [
        (each[until.treatment], each[until.control])
        for _, each in sorted(sides.items())
        if until.treatment in each and until.control in each
    ]
    levels = cells[0].levels
    units: dict[int, list[float]] = {}
    for above, below in pairs:
        ratio = (_value(until, finished[above.cell]) or 0.0) / (_value(until, finished[below.cell]) or 1.0)
        units.setdefault(looks.unit_of(above, until), []).append(math.log(ratio))
    used = tuple(cell.cell for pair in pairs for cell in pair)
    logs = [intervals.mean(values) for _, values in sorted(units.items())]
    if not logs:
        return Point(levels, used, 0, None, None, None)
    estimate = math.exp(intervals.mean(logs))
    if len(logs) < 2:
        return Point(levels, used, len(logs), estimate, None, None)
    return Point(levels, used, len(logs), estimate, *intervals.of_logarithms(logs, until.level))


def said(until: Until, taken: Look) -> str:
    """A look, for people."""
    widths = [each.half_width for each in taken.points]
    known = [width for width in widths if width is not None]
    wide = f"{100 * max(known):.1f} %" if known and len(known) == len(widths) else "not known"
    ends = "that is enough" if taken.enough else "so there will be more"
    if taken.enough and taken.size == until.sizes[-1] and not (known and max(known) <= until.half_width):
        ends = "that is the most that there may be"
    units = f"{taken.size} {until.unit}s"
    return (
        f"after {units}, half the interval of {until.metric}, {until.treatment} ÷ {until.control}, is {wide} of it "
        f"({100 * until.half_width:g} % is wanted): {ends}"
    )


def _value(until: Until, cell: CellRecord | None) -> float | None:
    """What a complete cell has; None where it has nothing that has a logarithm."""
    if cell is None or cell.status != "complete":
        return None
    value = cell.value(until.metric, until.aggregate)
    return value if value is not None and value > 0 else None


def _by_levels(cells: Iterable[PlannedCell], until: Until) -> Iterator[list[PlannedCell]]:
    """The cells of the two policies, by their levels. Where one of the two is left out, no interval
    would ever become narrow.
    """
    found: dict[str, list[PlannedCell]] = {}
    for cell in cells:
        if cell.policy in (until.treatment, until.control):
            found.setdefault(level_key(cell.levels), []).append(cell)
    both = {key for key, each in found.items() if len({cell.policy for cell in each}) == 2}
    yield from (found[key] for key in sorted(both))


def checked(
    directory: Path, campaign: CampaignRecord, standing: Mapping[str, CellRecord]
) -> Iterator[tuple[Literal["damage", "incomplete"], Path, str]]:
    """What is wrong with the looks of a campaign, for campaigns.verify: whether they follow from
    the cells that are there, and whether one is missing or too many.
    """
    until, folder = campaign.until, directory / LOOKS_DIR
    taken = read_looks(directory)
    names = {f"{number}.json" for number in range(1, len(taken) + 1)} if until is not None else set()
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if path.name not in names:
            yield "damage", path, "was added: no testbed writes it"
    if until is None:
        return
    planned = read_campaign(directory, whole=True).cells
    found = list(wrong(until, planned, standing, taken))
    # A cell that a look used may have been run again since, as one whose host was starved; what it
    # had then is kept.
    first = {each.cell: each for each in reversed(read_attempts(directory)) if each.status == "complete"}
    if found and first:
        then = {number for number, _ in wrong(until, planned, {**standing, **first}, taken)}
        found = [(number, message) for number, message in found if number in then]
    for number, message in found:
        yield "damage", folder / f"{number}.json", message
    if looks.due(until, taken) and {cell.cell for cell in campaign.cells} <= standing.keys():
        yield "incomplete", folder, "whether there are enough repetitions has not been looked at"


def wrong(
    until: Until, planned: Sequence[PlannedCell], finished: Mapping[str, CellRecord], taken: Sequence[Look]
) -> Iterator[tuple[int, str]]:
    """Number of a look, from 1 -> what is wrong with it: each is taken again from the cells that
    were complete when the last of those ended that it says it used. Cells that have become complete
    since are not its own.
    """
    for number, each in enumerate(taken, 1):
        before = taken[: number - 1]
        if not looks.due(until, before):
            yield number, "was taken when no more were due"
            continue
        if each.size != looks.size_now(until, before):
            yield number, f"is at {each.size} repetitions instead of {looks.size_now(until, before)}"
        names = {name for one in each.points for name in one.cells}
        if missing := sorted(names - finished.keys()):
            yield number, f"used cells that are not there: {', '.join(missing)}"
            continue
        last = max((finished[name].finished_at for name in names), default="")
        known = {name: cell for name, cell in finished.items() if name in names or cell.finished_at <= last}
        again = [point(until, cells, known) for cells in _by_levels(planned, until)]
        by_levels = {level_key(one.levels): one for one in each.points}
        for one in again:
            told = by_levels.get(level_key(one.levels))
            if told is None or not _same(told, one):
                yield number, "does not follow from the cells that it used"
                break
        if each.enough != enough(until, each.points, each.size):
            yield number, "does not decide as its intervals say"


def _same(one: Point, other: Point) -> bool:
    if (one.n, sorted(one.cells)) != (other.n, sorted(other.cells)):
        return False
    pairs = ((one.ratio, other.ratio), (one.low, other.low), (one.high, other.high))
    return all(a == b or (a is not None and b is not None and math.isclose(a, b, rel_tol=1e-9)) for a, b in pairs)
