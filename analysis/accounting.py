"""Where the reads went: the pages that tmem returned against the sectors that were not read from
disk.

Every successful get of an ephemeral (cleancache) or persistent (frontswap) page replaces the read
of one page, which is 8 sectors. So the sectors saved between a policy and the same policy with tmem
should be the hypervisor's own count of hits × 8. What is left over is named: prefetching of what
nobody asked for, and different behaviour of the guest.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import pandas as pd

from analysis import statistics, totals
from analysis.load import Results
from campaigns.records import CellRecord
from common.units import PAGE_BYTES, SECTORS_PER_PAGE

EPHEMERAL, PERSISTENT = "ephemeral", "persistent"
KINDS = (EPHEMERAL, PERSISTENT)
LITTLE = 0.1
"""Hits that stand for less than this of a difference are no cause of it."""
_GUESTS_OWN = {EPHEMERAL: "cleancache_hits", PERSISTENT: "frontswap_loads"}


@dataclass(frozen=True)
class Account:
    """Sectors of one pair of cells, of one guest or of all (`guest` None); `cell` None for the mean
    of the pairs.

    sectors_control, sectors_policy: read from all disks. tmem_ephemeral_hits, tmem_persistent_hits:
    pages, counted by the hypervisor. guest_hits: the same hits as the guest counts them.
    file_saved, swap_saved: sectors saved, from file systems and from the swap disk. Any of them is
    None when it was not measured.
    """

    levels: str
    policy: str
    control: str
    cell: str | None
    control_cell: str | None
    guest: str | None
    sectors_control: float | None
    sectors_policy: float | None
    tmem_ephemeral_hits: float | None
    tmem_persistent_hits: float | None
    guest_hits: float | None
    file_saved: float | None
    swap_saved: float | None

    @property
    def saved(self) -> float | None:
        """Sectors the policy did not read, compared with its control; negative when it read
        more.
        """
        return _minus(self.sectors_control, self.sectors_policy)

    @property
    def explained(self) -> float | None:
        """Sectors that the hits stand for."""
        hits = _plus([self.tmem_ephemeral_hits, self.tmem_persistent_hits])
        return None if hits is None else hits * SECTORS_PER_PAGE

    @property
    def left(self) -> float | None:
        """Sectors saved that no hit explains; negative when there were more hits than sectors
        saved.
        """
        return _minus(self.saved, self.explained)

    @property
    def idle(self) -> bool:
        """Whether tmem returned next to nothing, measured by what was read less, or more: whatever
        made the difference was not its hits.
        """
        if self.saved is None or self.explained is None:
            return False
        return self.explained == 0 or self.explained < LITTLE * abs(self.saved)

    @property
    def agreement(self) -> float | None:
        """Explained ÷ saved: 1 when the hits are the whole story. None when nothing was saved."""
        if self.saved is None or self.explained is None or self.saved <= 0:
            return None
        return self.explained / self.saved


def _plus(values: Sequence[float | None]) -> float | None:
    return None if any(value is None for value in values) else math.fsum(value for value in values if value is not None)


def _minus(left: float | None, right: float | None) -> float | None:
    return None if left is None or right is None else left - right


def hits(results: Results, cell: CellRecord, guest: str, kind: str) -> float | None:
    """Successful gets [pages] of a guest during a cell, by the hypervisor's counters: the cell's
    metric, else the samples.
    """
    for metric in cell.metrics:
        if metric.name == f"tmem_{kind}_hits" and metric.guest == guest and metric.value is not None:
            return float(metric.value)
    return results.delta(cell.cell, guest, f"tmem_{kind}_hits")


def _metric(cell: CellRecord, name: str, guest: str) -> float | None:
    for metric in cell.metrics:
        if metric.name == name and metric.guest == guest:
            return None if metric.value is None else float(metric.value)
    return None


def _swap_sectors(results: Results, cell: CellRecord, guest: str) -> float | None:
    """Sectors a guest read from its swap disk: the cell's metric, else the samples. All others
    are from file systems.
    """
    if (value := _metric(cell, "swap_sectors_read", guest)) is not None:
        return value
    return results.delta(cell.cell, guest, "swap_sectors_read")


@lru_cache(maxsize=2)
def accounts(results: Results) -> tuple[Account, ...]:
    """Per pair of cells: every guest and the total; then the means over the pairs. Empty when no
    policy has pages in tmem, and a base without.
    """
    found: list[Account] = []
    for levels in results.levels:
        for policy in results.policies:
            control = totals.without_tmem(results, policy)
            if control is None:
                continue
            pairs = _pairs(results, policy, control, levels)
            each = [account for above, below in pairs for account in _of_pair(results, above, below, levels)]
            found += each
            found += _means(each)
    return tuple(found)


def summary(results: Results, levels: str) -> list[Account]:
    """The total over the guests, mean of the pairs, of every policy that has a base at these
    levels.
    """
    return [item for item in accounts(results) if item.levels == levels and item.guest is None and item.cell is None]


def agreement(results: Results, account: Account) -> statistics.Ratio:
    """Explained ÷ saved over the pairs of a mean account, with its interval at the level that
    was repeated.
    """
    boots = {cell.cell: totals.boot_of(cell) for cell in results.complete}
    pairs = {
        pair.cell: (pair.explained, pair.saved)
        for pair in accounts(results)
        if (pair.levels, pair.policy, pair.control, pair.guest) == _identity(account)
        and pair.cell is not None
        and pair.explained is not None
        and pair.saved is not None
    }
    return statistics.ratio_of_sums(pairs, boots=boots, level=statistics.at_each(totals.looks_of(results)))


def spread(results: Results, account: Account) -> tuple[float, float] | None:
    """The least and the largest agreement of any pair; None when no pair saved anything."""
    each = [
        pair.agreement
        for pair in accounts(results)
        if (pair.levels, pair.policy, pair.control, pair.guest) == _identity(account) and pair.cell is not None
    ]
    found = statistics.present(each)
    return (min(found), max(found)) if found else None


def _identity(account: Account) -> tuple[str, str, str, str | None]:
    return account.levels, account.policy, account.control, account.guest


def _pairs(results: Results, policy: str, control: str, levels: str) -> list[tuple[CellRecord, CellRecord]]:
    """Cells of one block, or of one repetition when the plan is not blocked."""
    blocked = totals.is_blocked(results, policy, control, levels)
    below, above = (
        {totals.pair_key(cell) if blocked else (cell.repetition,): cell for cell in results.at(side, levels)}
        for side in (control, policy)
    )
    return [(cell, below[key]) for key, cell in above.items() if key in below]


def _of_pair(results: Results, above: CellRecord, below: CellRecord, levels: str) -> list[Account]:
    names = sorted(name for name in totals.expected_guests(results, "sectors_read", levels) if name is not None)
    guests = []
    for guest in names:
        own = {kind: _metric(above, metric, guest) for kind, metric in _GUESTS_OWN.items()}
        swap = [_swap_sectors(results, cell, guest) for cell in (below, above)]
        files = [
            _minus(_metric(cell, "sectors_read", guest), own) for cell, own in zip((below, above), swap, strict=True)
        ]
        account = Account(
            levels,
            above.policy,
            below.policy,
            above.cell,
            below.cell,
            guest,
            _metric(below, "sectors_read", guest),
            _metric(above, "sectors_read", guest),
            hits(results, above, guest, EPHEMERAL),
            hits(results, above, guest, PERSISTENT),
            _plus(list(own.values())),
            _minus(*files),
            _minus(*swap),
        )
        guests.append(account)
    return [*guests, _total(guests)] if guests else []


_FIGURES = (
    "sectors_control",
    "sectors_policy",
    "tmem_ephemeral_hits",
    "tmem_persistent_hits",
    "guest_hits",
    "file_saved",
    "swap_saved",
)


def _total(guests: Sequence[Account]) -> Account:
    """All guests of one pair. A figure that one guest lacks is missing in the total."""
    sums: dict[str, Any] = {name: _plus([getattr(account, name) for account in guests]) for name in _FIGURES}
    return dataclasses.replace(guests[0], guest=None, **sums)


def _means(each: Sequence[Account]) -> list[Account]:
    """Per guest and in total, the mean over the pairs that have sectors and hits; pairs that
    lack them are left out.
    """
    found = []
    for guest in dict.fromkeys(account.guest for account in each):
        whole = [a for a in each if a.guest == guest and a.saved is not None and a.explained is not None]
        if whole:
            means: dict[str, Any] = {}
            for name in _FIGURES:
                added = _plus([getattr(account, name) for account in whole])
                means[name] = None if added is None else added / len(whole)
            found.append(dataclasses.replace(whole[0], cell=None, control_cell=None, **means))
    return found


def frame(items: Sequence[Account]) -> pd.DataFrame:
    """Accounts as a table: one row each, [sectors] except hits [pages] and agreement [ratio]."""
    columns = [field.name for field in dataclasses.fields(Account)]
    derived = ("saved", "explained", "left", "agreement")
    texts = {"levels", "policy", "control", "cell", "control_cell", "guest"}
    return pd.DataFrame(
        {
            name: pd.Series([getattr(item, name) for item in items], dtype="string" if name in texts else "Float64")
            for name in (*columns, *derived)
        }
    )


def explain(results: Results, account: Account) -> list[str]:
    """What the hits explain of the sectors saved and what is left, in sentences made from the
    figures.
    """
    if account.saved is None or account.explained is None:
        return ["The sectors read or the hits were not measured in any pair of cells, so nothing can be accounted for."]
    lines = [
        (
            f"{account.policy} read {abs(account.saved):,.0f} sectors "
            f"{'fewer' if account.saved >= 0 else 'more'} than {account.control}; the hypervisor counted "
            f"{account.tmem_ephemeral_hits:,.0f} ephemeral and {account.tmem_persistent_hits:,.0f} persistent hits, "
            f"which stand for {account.explained:,.0f} sectors ({SECTORS_PER_PAGE} per page)."
        )
    ]
    if account.agreement is None:
        spared = "" if account.idle else ": whatever the hits spared was read elsewhere"
        lines.append(f"No sectors were saved, so there is no ratio{spared}.")
    else:
        lines.append(
            f"That is {100 * account.agreement:.0f} % of the sectors saved{_sure(results, account)}; "
            f"{account.left:,.0f} sectors are left."
        )
    lines += _by_disk(account) + _guest_counts(account)
    may_be_all = _may_be_all(results, account) and not account.idle
    lines += ["The rest may be chance."] if may_be_all else _direction(account)
    lines += _memory(results, account)
    lines += _spread(results, account)
    return lines


def _sure(results: Results, account: Account) -> str:
    """The interval of the agreement in words, its range between pairs, and whether it is
    different from all of it.
    """
    ratio, found = agreement(results, account), spread(results, account)
    if ratio.low is None or found is None:
        return ""
    end = f"to {100 * ratio.high:.0f} %" if ratio.high is not None else "without an upper end"
    text = (
        f" (95 % interval {100 * ratio.low:.0f} {end}, pairs {100 * found[0]:.0f} to {100 * found[1]:.0f} %, "
        f"{statistics.repetitions(ratio.boots, ratio.runs)})"
    )
    told = "cannot be told" if _may_be_all(results, account) else "is different"
    return f"{text}, which {told} from 100 %"


def _may_be_all(results: Results, account: Account) -> bool:
    """Whether the interval of the agreement holds 100 %. Not known without one."""
    ratio = agreement(results, account)
    return ratio.low is not None and ratio.low <= 1 and (ratio.high is None or ratio.high >= 1)


def _by_disk(account: Account) -> list[str]:
    if account.file_saved is None or account.swap_saved is None:
        return ["The sectors saved cannot be split into file system and swap: the swap disk's counters are missing."]
    shares = (
        (EPHEMERAL, account.file_saved, account.tmem_ephemeral_hits),
        (PERSISTENT, account.swap_saved, account.tmem_persistent_hits),
    )
    return [
        f"From {'file systems' if kind == EPHEMERAL else 'swap'} "
        f"{abs(saved):,.0f} sectors {'more' if saved < 0 else 'fewer'} were read, and {kind} hits stand "
        f"for {pages * SECTORS_PER_PAGE:,.0f}."
        for kind, saved, pages in shares
        if pages is not None
    ]


def _guest_counts(account: Account) -> list[str]:
    total = _plus([account.tmem_ephemeral_hits, account.tmem_persistent_hits])
    if account.guest_hits is None or total is None:
        return []
    return [f"The guests themselves counted {account.guest_hits:,.0f} hits, the hypervisor {total:,.0f}."]


def _direction(account: Account) -> list[str]:
    """What can lie behind the rest, by its sign."""
    if account.left is None or account.saved is None or abs(account.left) <= 0.02 * abs(account.saved):
        return []
    if account.idle:
        returned = f"pages worth {account.explained:,.0f} sectors" if account.explained else "no page"
        return [f"That difference is not tmem's, which returned {returned}: it has another cause, or is chance."]
    if account.left > 0:
        return [
            (
                "More was saved than the hits stand for. A cause that is known: "
                "without tmem a miss reads its neighbours as well (read-ahead of files, "
                "a cluster of pages from swap), and what nobody uses of them is read for nothing."
            )
        ]
    return [
        (
            "The hits stand for more than was saved. A cause that is known: a "
            "page that is put and got several times is several hits but may have "
            "been one read or none without tmem, where it would have "
            "stayed in the guest, or come with a neighbour's read-ahead."
        )
    ]


def _memory(results: Results, account: Account) -> list[str]:
    """Whether the guests were of the same size under both policies, which the reads depend on."""
    sizes = [memory_of_a_guest(results, policy, account.levels) for policy in (account.control, account.policy)]
    if sizes[0] is None or sizes[1] is None:
        return []
    return [
        (
            f"A guest had {sizes[0]:.0f} MiB on average under "
            f"{account.control} and {sizes[1]:.0f} MiB under {account.policy}."
        )
    ]


def memory_of_a_guest(results: Results, policy: str, levels: str) -> float | None:
    """Mean memory of a guest [MiB] over its run, guests and complete cells; None where any of them
    has no reading.
    """
    cells = results.at(policy, levels)
    guests = sorted(g for g in totals.expected_guests(results, "sectors_read", levels) if g is not None)
    means = [_mean_memory(results, cell, guest) for cell in cells for guest in guests]
    found = statistics.present(means)
    return math.fsum(found) / len(found) if found and len(found) == len(means) else None


def _mean_memory(results: Results, cell: CellRecord, guest: str) -> float | None:
    """Mean of a guest's memory [MiB] over the readings between its start and its end."""
    times, values = results.series.known(cell.cell, guest, "memory")
    end = cell.barrier.ends.get(guest, math.inf) if cell.barrier else math.inf
    during = values[(times >= 0) & (times <= end)]
    return statistics.mean(during.tolist()) * PAGE_BYTES / 2**20 if len(during) else None


def _spread(results: Results, account: Account) -> list[str]:
    """The control's own range between repetitions, the size below which a rest means nothing."""
    quantity = totals.QUANTITIES["sectors_read"]
    found = statistics.present(totals.values(results, quantity, account.control, account.levels).values())
    left = account.left
    if left is None:
        return []
    if len(found) < 2:
        return ["With one repetition it is unknown how much of the rest is chance."]
    return [
        (
            f"Between repetitions of {account.control} alone the "
            f"sectors read differed by {max(found) - min(found):,.0f}, "
            f"the rest that is left is {abs(left):,.0f}."
        )
    ]
