"""The regime of a campaign: what each guest has against what it wants, what of the host's memory
lies fallow, and what the guests felt of it.

Without lack there is nothing to relieve, and without fallow memory nothing to relieve it with; so a
ratio means little before these figures are known.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from analysis import accounting, panels, pressure, rates, sections, statistics, totals
from analysis.load import Results
from analysis.pressure import Felt
from campaigns.records import CellRecord
from common.units import KIB_PER_MIB, PAGE_BYTES

_MIB_PER_PAGE = PAGE_BYTES / 2**20
_COMMITTED = "meminfo.Committed_AS"


@dataclass(frozen=True)
class Regime:
    """A policy at factor levels. All memory in MiB; None where it was not measured in every
    complete cell.

    had: of a guest, its mean over the run. wanted: the most that a guest's processes had committed,
    the mean over guests and cells. fallow: of the host, what nobody held, its mean over the run.
    felt: what the guests felt, of the cell that felt least.
    """

    policy: str
    levels: str
    cells: int
    had: float | None
    wanted: float | None
    fallow: float | None
    felt: Felt


def regimes(results: Results) -> list[Regime]:
    """Of every policy that has a complete cell, by factor levels."""
    return [
        Regime(
            policy,
            levels,
            len(cells),
            accounting.memory_of_a_guest(results, policy, levels),
            statistics.mean_of_all(
                [_wanted(results, cell, guest) for cell in cells for guest in rates.guests(results, levels)]
            ),
            statistics.mean_of_all([_fallow(results, cell) for cell in cells]),
            pressure.felt(results, policy, cells),
        )
        for levels in results.levels
        for policy in results.policies
        if (cells := results.at(policy, levels))
    ]


def _wanted(results: Results, cell: CellRecord, guest: str) -> float | None:
    _, values = results.series.known(cell.cell, guest, _COMMITTED)
    return float(values.max()) / KIB_PER_MIB if len(values) else None


def _fallow(results: Results, cell: CellRecord) -> float | None:
    """Mean of what the hypervisor had free between the release and the last guest's end."""
    times, values = results.series.known(cell.cell, "hypervisor", "free_memory")
    end = max(cell.barrier.ends.values()) if cell.barrier else math.inf
    during = values[(times >= 0) & (times <= end)]
    return statistics.mean(during.tolist()) * _MIB_PER_PAGE if len(during) else None


_COLUMNS = (
    "policy",
    "levels",
    "a guest had, mean [MiB]",
    "its processes wanted at most [MiB]",
    "fallow on the host, mean [MiB]",
    "pages reclaimed",
    "refaults",
    "waited for memory",
    "lack enough to be relieved",
)


def said(results: Results) -> list[str]:
    """A table of the regimes, and what its columns are."""
    found = regimes(results)
    if not found:
        return ["No cell is complete, so nothing is known of the regime."]
    control = totals.control_of(results)
    felt = next((each.felt for each in found if each.policy == control), found[0].felt)
    columns: tuple[str, ...] = _COLUMNS
    rows = [_row(each) for each in found]
    if not any(results.levels):
        columns, rows = (columns[0], *columns[2:]), [(row[0], *row[2:]) for row in rows]
    return [
        sections.table(columns, rows),
        (
            "What a guest's processes want is what they have committed, as self-ballooning reads it; the pages of "
            "files that they would like to keep are not in it. Fallow is what the hypervisor had free: neither a "
            "guest's nor tmem's. Pages reclaimed, refaults and waiting are of all guests together, in the cell that "
            f"felt least. Enough to be relieved is, of a control, {felt.demanded}, in every cell."
        ),
    ]


def _row(each: Regime) -> tuple[str, ...]:
    stall = each.felt.memory_stall
    return (
        each.policy,
        each.levels or sections.MISSING,
        *(
            sections.MISSING if value is None else panels.number(value)
            for value in (each.had, each.wanted, each.fallow)
        ),
        *(
            sections.MISSING if value is None else f"{value:,.0f}"
            for value in (each.felt.pages_reclaimed, each.felt.refaults)
        ),
        sections.MISSING if stall is None else f"{100 * stall:.2g} %",
        "yes" if each.felt.enough else "no",
    )
