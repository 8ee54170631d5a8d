"""What became of the pages that guests put into tmem, and of the gets that missed: returned,
flushed, evicted, still there, never put.

A page that is put ends in one of five ways: a get returns it (a private ephemeral get removes it),
the guest flushes it by itself, the guest flushes the object it belongs to (Linux does when it
prunes the inode), Xen evicts it, or it is still there at the end. Xen counts puts, gets, flushes
and evictions in pages, and flushes of objects in objects; the pages that went with their objects
are what is left of the puts. A get that missed asked for a page that had been there and was flushed
or evicted, or for one that was never put: of the first there are at most as many as were lost.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from analysis import rates, totals
from analysis.load import Results, levels_text
from campaigns.records import CellRecord, aggregate

_GUEST = {
    **{
        name: (name,)
        for name in (
            "tmem_ephemeral_puts",
            "tmem_ephemeral_hits",
            "tmem_ephemeral_gets_tried",
            "tmem_ephemeral_flushes",
            "tmem_ephemeral_object_flushes",
        )
    },
    "replaced": ("tmem_ephemeral_duplicates_replaced", "tmem_ephemeral_duplicates_flushed"),
    "inodes_pruned": ("vmstat.pginodesteal", "vmstat.kswapd_inodesteal"),
}
"""What grew in the guests: a counter, or the sum of two."""

_THERE, _EVICTED = "tmem_ephemeral_pages", "tmem_evictions"


@dataclass(frozen=True)
class Fate:
    """Ephemeral pages of all guests of a cell (`cell` None: means over the cells of a policy)
    [pages]; None: not measured.

    Counters have their names: hits were returned, flushes went page by page, object_flushes
    [objects] were flushed whole and tmem had them; tmem_ephemeral_pages are those at the end.
    inodes_pruned [inodes] by the guests' kernels, most of which have pages in no pool. replaced:
    puts of what was there already.
    """

    levels: str
    policy: str
    cell: str | None
    tmem_ephemeral_puts: float | None
    tmem_ephemeral_hits: float | None
    tmem_ephemeral_gets_tried: float | None
    tmem_ephemeral_flushes: float | None
    replaced: float | None
    tmem_ephemeral_object_flushes: float | None
    inodes_pruned: float | None
    tmem_ephemeral_pages: float | None
    tmem_evictions: float | None

    @property
    def with_objects(self) -> float | None:
        """Pages that were flushed together with their object: what is left of the puts. Never
        below 0.
        """
        rest = [
            self.tmem_ephemeral_hits,
            self.tmem_ephemeral_flushes,
            self.replaced,
            self.tmem_evictions,
            self.tmem_ephemeral_pages,
        ]
        gone = aggregate(rest, "sum")
        return None if self.tmem_ephemeral_puts is None or gone is None else max(0.0, self.tmem_ephemeral_puts - gone)

    @property
    def missed(self) -> float | None:
        """Gets that found nothing."""
        return (
            None
            if self.tmem_ephemeral_gets_tried is None or self.tmem_ephemeral_hits is None
            else self.tmem_ephemeral_gets_tried - self.tmem_ephemeral_hits
        )

    @property
    def never_put(self) -> float | None:
        """The least number of misses that asked for a page which had not been put since it was
        last there.
        """
        lost = aggregate([self.tmem_ephemeral_flushes, self.with_objects, self.tmem_evictions], "sum")
        return None if self.missed is None or lost is None else max(0.0, self.missed - lost)


_COUNTS = tuple(each.name for each in dataclasses.fields(Fate) if each.name not in ("levels", "policy", "cell"))
FIGURES = (*_COUNTS, "with_objects", "missed", "never_put")


def fates(results: Results) -> list[Fate]:
    """Of every complete cell in which pages were put, or whose policy's guests put some in another
    cell, then the means of each policy at each levels.
    """
    each = [_of_cell(results, cell) for cell in results.complete]
    putting = {(fate.policy, fate.levels) for fate in each if fate.tmem_ephemeral_puts}
    found = [fate for fate in each if (fate.policy, fate.levels) in putting]
    for levels in results.levels:
        for policy in results.policies:
            mine = [fate for fate in found if (fate.policy, fate.levels) == (policy, levels) and fate.cell]
            if mine:
                means: dict[str, Any] = {name: _mean(mine, name) for name in _COUNTS}
                found.append(dataclasses.replace(mine[0], cell=None, **means))
    return found


def _mean(mine: Sequence[Fate], name: str) -> float | None:
    """Over the cells, when all of them have it."""
    return aggregate([getattr(fate, name) for fate in mine], "mean")


def _of_cell(results: Results, cell: CellRecord) -> Fate:
    guests = rates.guests(results, levels_text(cell.levels))

    def summed(names: Sequence[str]) -> float | None:
        return aggregate([results.delta(cell.cell, guest, name) for guest in guests for name in names], "sum")

    figures = {name: summed(counters) for name, counters in _GUEST.items()}
    last = [results.series.known(cell.cell, guest, _THERE)[1] for guest in guests]
    there = aggregate([float(values[-1]) if len(values) else None for values in last], "sum")
    figures |= {_THERE: there, _EVICTED: results.delta(cell.cell, "hypervisor", _EVICTED)}
    return Fate(levels_text(cell.levels), cell.policy, cell.cell, **figures)


def summary(found: Sequence[Fate], levels: str) -> list[Fate]:
    """The means of the policies at these levels."""
    return [fate for fate in found if fate.cell is None and fate.levels == levels]


def explain(results: Results, found: Sequence[Fate], mean: Fate) -> str:
    """What became of the pages of a policy, in sentences made from the figures."""
    cells = [fate for fate in found if fate.cell and (fate.policy, fate.levels) == (mean.policy, mean.levels)]
    if mean.tmem_ephemeral_puts is None or not mean.tmem_ephemeral_puts:
        return ""
    shares = [
        (name, value)
        for name, value in (
            ("were returned", mean.tmem_ephemeral_hits),
            ("were flushed by the guests with their object", mean.with_objects),
            ("were flushed by the guests page by page", mean.tmem_ephemeral_flushes),
            ("were put again", mean.replaced),
            ("were evicted by Xen", mean.tmem_evictions),
            ("were still there at the end", mean.tmem_ephemeral_pages),
        )
        if value is not None
    ]
    parts = ", ".join(f"{value:,.0f} ({100 * value / mean.tmem_ephemeral_puts:.0f} %) {name}" for name, value in shares)
    lines = [
        f"Of the {mean.tmem_ephemeral_puts:,.0f} ephemeral pages that the guests put under {mean.policy}, {parts}."
    ]
    flushed = {fate.cell: fate.tmem_ephemeral_object_flushes for fate in cells if fate.cell}
    spread = totals.centre(results, flushed)
    if mean.tmem_ephemeral_object_flushes is None or spread.mean is None:
        lines.append("How many objects the guests flushed was not recorded.")
    else:
        over = (
            ""
            if spread.low is None or spread.high is None
            else f" (95 % interval {spread.low:,.0f} to {spread.high:,.0f})"
        )
        pruned = "" if mean.inodes_pruned is None else f", and their kernels pruned {mean.inodes_pruned:,.0f} inodes"
        lines.append(f"The guests flushed {spread.mean:,.0f} objects{over}{pruned}.")
    if mean.missed is not None and mean.never_put is not None:
        lines.append(
            f"{mean.missed:,.0f} gets missed; at least {mean.never_put:,.0f} "
            "of them asked for pages that had not been put, "
            "the others for pages that had been flushed or evicted."
        )
    return " ".join(lines)


def frame(found: Sequence[Fate]) -> pd.DataFrame:
    """Fates as a table: [pages] except tmem_ephemeral_object_flushes and inodes_pruned
    [count].
    """
    texts = ("levels", "policy", "cell")
    return pd.DataFrame(
        {
            name: pd.Series([getattr(item, name) for item in found], dtype="string" if name in texts else "Float64")
            for name in (*texts, *FIGURES)
        }
    )
