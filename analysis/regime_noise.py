"""How far readings of one treatment are from each other in a map of regimes: what a difference has
to be beyond before it says anything.

A map of single runs holds repetitions all the same. Guests of fixed sizes are nothing to what lies
fallow beside them. Guests that are given, or take, an even share of the host are the same on hosts
of one size, whatever they booted with. And a policy with tmem is the policy without it where tmem
never stored a page.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from analysis import rates, statistics, totals
from analysis.accounting import KINDS
from analysis.load import Results
from analysis.predicted import Setup
from analysis.totals import Quantity

READ = Quantity("", ("sectors_read",), "mean", "sectors", "sectors read")
"""Of a guest."""

FIXED = "fixed"
"""The policy whose guests keep what they booted with. All others begin with an even share."""


@dataclass(frozen=True)
class Repeat:
    """Readings of one treatment. kind: what makes them one; where: which they are; factor: the
    largest over the least.
    """

    kind: str
    where: str
    factor: float


BESIDE = "guests of one fixed size beside more or less fallow memory"
BOOTED = "one policy on hosts of one size, whose guests booted with other sizes"
IDLE = "a policy with and without tmem, where tmem stored no page"


def repeats(results: Results, control: str, setups: Mapping[str, Setup]) -> list[Repeat]:
    """All that a map has, of any policy and at any regime."""
    found = []
    for policy in results.policies:
        for group in groups(setups, policy, control):
            found += _between(results, policy, group, setups)
    for policy in results.policies:
        base = totals.without_tmem(results, policy)
        for levels in setups if base is not None else ():
            above, below = (_mean(results, each, levels) for each in (policy, base or ""))
            if stored(results, policy, levels) == 0 and above and below:
                where = f"{policy} and {base} with {place(setups[levels])}"
                found.append(Repeat(IDLE, where, max(above, below) / min(above, below)))
    return found


def groups(setups: Mapping[str, Setup], policy: str, control: str) -> list[list[str]]:
    """Levels at which a policy is one treatment, where these are several. What fixed guests have is
    told by set-ups whose control they are.
    """
    found: dict[tuple[float, ...], list[str]] = {}
    fixed = policy.partition("+")[0] == FIXED
    if fixed and control != FIXED:
        return []
    for levels, each in setups.items():
        own = each.share if fixed else each.host
        # with something in tmem, what is fallow beside a guest of a fixed size is the pool
        pool = each.host if totals.uses_tmem(policy) else 0.0
        found.setdefault((own, pool, each.most, each.phase, each.guests), []).append(levels)
    return [group for group in found.values() if len(group) > 1]


def _between(results: Results, policy: str, group: Sequence[str], setups: Mapping[str, Setup]) -> list[Repeat]:
    read = {levels: mean for levels in group if (mean := _mean(results, policy, levels))}
    if len(read) < 2:
        return []
    factor = max(read.values()) / min(read.values())
    if policy == FIXED:
        return [Repeat(BESIDE, f"{policy} with {setups[group[0]].share:g} MiB", factor)]
    shares = " and ".join(f"{setups[levels].share:g}" for levels in read)
    return [Repeat(BOOTED, f"{policy} on {setups[group[0]].host:g} MiB, booted with {shares} MiB each", factor)]


def _mean(results: Results, policy: str, levels: str) -> float | None:
    return totals.centre_of(results, READ, policy, levels).mean


def stored(results: Results, policy: str, levels: str) -> float | None:
    """Pages that Xen took from all guests of a policy that has some kept in tmem, in all of its
    cells. None where it was not counted in all, or the policy has none.
    """
    if not totals.uses_tmem(policy):
        return None
    taken = [
        results.delta(cell.cell, guest, f"tmem_{kind}_puts")
        for cell in results.at(policy, levels)
        for guest in rates.guests(results, levels)
        for kind in KINDS
    ]
    known = statistics.present(taken)
    return math.fsum(known) if known and len(known) == len(taken) else None


def place(setup: Setup) -> str:
    """Where a point of the map stands, in words."""
    phase = f", {setup.phase:g} s apart" if setup.phase else ""
    return f"{setup.share:g} MiB each and {100 * setup.fallow:.0f} % of the host fallow{phase}"


def largest(found: Sequence[Repeat]) -> Repeat | None:
    """Between the readings of one treatment, the largest factor."""
    return max(found, key=lambda each: each.factor, default=None)
