"""Whether tmem had any part in what disks did: where Xen refused most of the pages that guests
swapped, or returned no page of any kind, a ratio is no word for or against tmem.

frontswap offers each page that a guest swaps to Xen, which takes it or refuses it (a persistent
put); what is refused goes to the guest's disk, as without tmem. Clean pages are no part of this:
tmem may drop them at any time, and a pool that is full of them takes swapped pages all the same, so
a small pool, which published set-ups had, leaves a claim testable.

Of a claim between two policies that both keep swapped pages in tmem nothing is asked here: who is
refused what may be the very thing that it is about. Nor whether pages came back of a claim that
disks do as much or more: what tmem costs that returns nothing is what such a claim is about.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from analysis import accounting, rates, totals
from analysis.load import Results, levels_text
from campaigns.records import CellRecord, Claim

MOST = 0.5
"""Of the swapped pages that were offered, Xen has to have taken so many."""

_SWAPPING = {"tmem", "frontswap"}
"""Parts of a policy's name that make guests offer the pages that they swap."""

_OF_DISKS = ("sectors", "requests")
"""Units of what frontswap spares."""


@dataclass(frozen=True)
class Offered:
    """Swapped pages that the guests of a treatment's cells offered to Xen (tried), and that it took
    (stored), of all of these cells together. None where it was not counted in all.
    """

    treatment: str
    tried: float | None
    stored: float | None

    @property
    def enough(self) -> bool:
        """Whether most were taken, none were offered, or it is not known."""
        return not self.tried or self.stored is None or self.stored >= MOST * self.tried

    @property
    def text(self) -> str:
        """`Xen stored 253 of the 3,857 pages that guests swapped under static+tmem`; empty where
        there were none, or it is not known.
        """
        if not self.tried or self.stored is None:
            return ""
        return (
            f"Xen stored {self.stored:,.0f} of the {self.tried:,.0f} pages that guests swapped under {self.treatment}"
        )


@dataclass(frozen=True)
class Returned:
    """Pages of both kinds that tmem gave back to the guests of a treatment's cells, all together.
    None where it was not counted in all.
    """

    treatment: str
    pages: float | None

    @property
    def enough(self) -> bool:
        """Whether there was any, or it is not known. A single one is enough: whether it explains
        the difference is told beside it (accounting.py).
        """
        return self.pages is None or self.pages > 0


def concerns(results: Results, claim: Claim) -> bool:
    """Whether a claim is of what disks do with swapped pages in tmem, against without."""
    treatment, control = (_swaps(policy) for policy in (claim.compare.treatment, claim.compare.control))
    return _of_disks(results, claim) and treatment and not control


def _of_disks(results: Results, claim: Claim) -> bool:
    spec = results.campaign.spec(claim.metric)
    return spec is not None and spec.unit in _OF_DISKS


def returned(results: Results, claim: Claim, cells: Sequence[CellRecord]) -> Returned | None:
    """What tmem gave back in these cells of a claim's treatment, to the claim's group of guests or
    to all. None where the claim is not that disks do less with tmem than without.
    """
    treatment, control = (totals.uses_tmem(policy) for policy in (claim.compare.treatment, claim.compare.control))
    saves = claim.expectation.direction == "decrease"
    if not cells or not saves or not treatment or control or not _of_disks(results, claim):
        return None
    came = [
        accounting.hits(results, cell, guest, kind)
        for cell in cells
        for guest in _guests(results, claim, levels_text(cell.levels))
        for kind in accounting.KINDS
    ]
    return Returned(claim.compare.treatment, _all_of(came))


def _swaps(policy: str) -> bool:
    return bool(_SWAPPING & set(policy.split("+")[1:]))


def offered(results: Results, claim: Claim, cells: Sequence[CellRecord]) -> Offered | None:
    """What became of the pages swapped in these cells of a claim's treatment, by the claim's group
    of guests or by all. None where the claim is of something else.
    """
    if not cells or not concerns(results, claim):
        return None
    tried, stored = (_counted(results, claim, cells, name) for name in ("puts_tried", "puts"))
    return Offered(claim.compare.treatment, tried, stored)


def _counted(results: Results, claim: Claim, cells: Sequence[CellRecord], name: str) -> float | None:
    grown = [
        results.delta(cell.cell, guest, f"tmem_persistent_{name}")
        for cell in cells
        for guest in _guests(results, claim, levels_text(cell.levels))
    ]
    return _all_of(grown)


def _all_of(values: Sequence[float | None]) -> float | None:
    """The sum; None where one is not known, or there is none."""
    known = [each for each in values if each is not None]
    return math.fsum(known) if known and len(known) == len(values) else None


def _guests(results: Results, claim: Claim, levels: str) -> list[str]:
    guests = rates.guests(results, levels)
    return guests if claim.group is None else [each for each in guests if each in results.members(levels, claim.group)]
