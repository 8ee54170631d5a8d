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

from analysis import rates, statistics
from analysis.load import Results, levels_text
from campaigns.records import CellRecord, aggregate

_GUEST = {
    "puts": ("tmem.ephemeral.puts",),
    "returned": ("tmem.ephemeral.gets",),
    "tried": ("tmem.ephemeral.gets_tried",),
    "flushed": ("tmem.ephemeral.flushes",),
    "replaced": ("tmem.ephemeral.duplicates_replaced", "tmem.ephemeral.duplicates_flushed"),
    "objects_flushed": ("tmem.ephemeral.object_flushes",),
    "inodes_pruned": ("vmstat.pginodesteal", "vmstat.kswapd_inodesteal"),
    "there": ("tmem.ephemeral.pages",),
}
_EVICTED = "tmem.evicted"


@dataclass(frozen=True)
class Fate:
    """Ephemeral pages of all guests of a cell (`cell` None: means over the cells of a policy)
    [pages]; None: not measured.

    objects_flushed [objects] that the guests flushed and tmem had; inodes_pruned [inodes] by the
    guests' kernels, most of which have pages in no pool. there: at the end. replaced: puts of what
    was there already.
    """

    levels: str
    policy: str
    cell: str | None
    puts: float | None
    returned: float | None
    tried: float | None
    flushed: float | None
    replaced: float | None
    objects_flushed: float | None
    inodes_pruned: float | None
    there: float | None
    evicted: float | None

    @property
    def with_objects(self) -> float | None:
        """Pages that were flushed together with their object: what is left of the puts. Never
        below 0.
        """
        rest = [self.returned, self.flushed, self.replaced, self.evicted, self.there]
        gone = aggregate(rest, "sum")
        return None if self.puts is None or gone is None else max(0.0, self.puts - gone)

    @property
    def missed(self) -> float | None:
        """Gets that found nothing."""
        return None if self.tried is None or self.returned is None else self.tried - self.returned

    @property
    def never_put(self) -> float | None:
        """The least number of misses that asked for a page which had not been put since it was
        last there.
        """
        lost = aggregate([self.flushed, self.with_objects, self.evicted], "sum")
        return None if self.missed is None or lost is None else max(0.0, self.missed - lost)


_COUNTS = ("puts", "returned", "tried", "flushed", "replaced", "objects_flushed", "inodes_pruned", "there", "evicted")
FIGURES = (*_COUNTS, "with_objects", "missed", "never_put")


def fates(results: Results) -> list[Fate]:
    """Of every complete cell in which pages were put, then the means of each policy at each
    levels.
    """
    each = [_of_cell(results, cell) for cell in results.complete]
    found = [fate for fate in each if fate.puts]
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

    figures = {name: summed(counters) for name, counters in _GUEST.items() if name != "there"}
    last = [results.series.known(cell.cell, guest, "tmem.ephemeral.pages")[1] for guest in guests]
    there = aggregate([float(values[-1]) if len(values) else None for values in last], "sum")
    evicted = results.delta(cell.cell, "hypervisor", _EVICTED)
    return Fate(levels_text(cell.levels), cell.policy, cell.cell, there=there, evicted=evicted, **figures)


def summary(found: Sequence[Fate], levels: str) -> list[Fate]:
    """The means of the policies at these levels."""
    return [fate for fate in found if fate.cell is None and fate.levels == levels]


def explain(found: Sequence[Fate], mean: Fate) -> str:
    """What became of the pages of a policy, in sentences made from the figures."""
    cells = [fate for fate in found if fate.cell and (fate.policy, fate.levels) == (mean.policy, mean.levels)]
    if mean.puts is None or not mean.puts:
        return ""
    shares = [
        (name, value)
        for name, value in (
            ("were returned", mean.returned),
            ("were flushed by the guests with their object", mean.with_objects),
            ("were flushed by the guests page by page", mean.flushed),
            ("were put again", mean.replaced),
            ("were evicted by Xen", mean.evicted),
            ("were still there at the end", mean.there),
        )
        if value is not None
    ]
    parts = ", ".join(f"{value:,.0f} ({100 * value / mean.puts:.0f} %) {name}" for name, value in shares)
    lines = [f"Of the {mean.puts:,.0f} ephemeral pages that the guests put under {mean.policy}, {parts}."]
    if mean.objects_flushed is None:
        lines.append("How many objects the guests flushed was not recorded.")
    else:
        spread = statistics.centre([fate.objects_flushed for fate in cells])
        over = (
            ""
            if spread.low is None or spread.high is None
            else f" (95 % interval {spread.low:,.0f} to {spread.high:,.0f})"
        )
        pruned = "" if mean.inodes_pruned is None else f", and their kernels pruned {mean.inodes_pruned:,.0f} inodes"
        lines.append(f"The guests flushed {mean.objects_flushed:,.0f} objects{over}{pruned}.")
    if mean.missed is not None and mean.never_put is not None:
        lines.append(
            f"{mean.missed:,.0f} gets missed; at least {mean.never_put:,.0f} of them asked for pages that had not been put, "
            "the others for pages that had been flushed or evicted."
        )
    return " ".join(lines)


def frame(found: Sequence[Fate]) -> pd.DataFrame:
    """Fates as a table: [pages] except objects_flushed and inodes_pruned [count]."""
    texts = ("levels", "policy", "cell")
    return pd.DataFrame(
        {
            name: pd.Series([getattr(item, name) for item in found], dtype="string" if name in texts else "Float64")
            for name in (*texts, *FIGURES)
        }
    )
