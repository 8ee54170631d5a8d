"""Proxmox VE's auto-ballooning: 80 % of the host in use, by shares, the needy first.

Source: Proxmox VE's own; tests/data/managers holds what the original decided on recorded states,
equal to the byte.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .base import Decision, Seen, every, key, part

MIB = 2**20


@dataclass(frozen=True)
class Domain:
    """A guest."""

    domain: int = key("the domain's number", unit="")
    actual: int = key("what it has now; 0: it has no balloon driver, and is left out")
    minimum: int = key("the least that it may have; 0: none was set, and it is left out")
    maximum: int = key("the most that it may have")
    free: int = key("what it says is free")
    shares: int | None = key("its weight against the others; 0: it is left out, null: the default", unit="shares")
    migrating: bool = key("it is being migrated, and is left out", unit="")


@dataclass(frozen=True)
class State:
    """What the guests have, and what they should gain or lose."""

    goal: int = key("what all guests together should gain, or lose when below 0", least=-(2**63))
    maxchange: int = key("the most that one guest gains or loses")
    domains: tuple[Domain, ...] = key("all guests; the order is that of the targets", unit="")


@dataclass(frozen=True)
class Parameters:
    """Proxmox VE's constants."""

    host_share: float = part("part of the host's memory that should be in use", 0.8)
    maxchange: int = key("the most that one guest gains or loses in one decision", default=100 * MIB)
    least_goal: int = key("nothing is done for a goal that is not larger", default=10 * MIB)
    comfortable: float = key("free memory, as part of the minimum, above which a guest is", unit="", default=0.25)
    shares: int = key("shares of a guest for which none were set", unit="shares", default=1000)
    every: float = every(10.0)


PUBLISHED = Parameters()
FORMS = (State,)
COUNTERS = ("meminfo.MemFree",)
ON_REPORT = False


def state(seen: Seen, parameters: Parameters = PUBLISHED) -> State:
    """What the daemon sees, as this manager's state. A guest without a report is one without a
    balloon driver.
    """
    domains = []
    for each in seen.guests:
        free = each.kib("meminfo.MemFree")
        actual = 0 if free is None else each.actual
        domains.append(Domain(each.domain, actual, each.minimum, each.maximum, free or 0, None, migrating=False))
    return State(goal(seen.total, seen.total - seen.free, parameters), parameters.maxchange, tuple(domains))


def goal(total: int, used: int, parameters: Parameters = PUBLISHED) -> int:
    """What the guests should gain, or lose when below 0, on a host that has and uses so much."""
    return int(total * parameters.host_share - used)


def decide(state: State, parameters: Parameters = PUBLISHED) -> Decision:
    """Grow the needy or shrink the comfortable; everybody, when that moved nothing."""
    if abs(state.goal) <= parameters.least_goal:
        return Decision()
    guests = [each for each in state.domains if _counts(each)]
    growing = state.goal > 0
    asked = [each for each in guests if _comfortable(each, parameters) != growing]
    moved = _Moved(state, parameters, {})
    rest = moved.move(asked, state.goal)
    if rest >= state.goal if growing else rest <= state.goal:
        moved.move(guests, rest)
    return Decision(tuple((each.domain, moved.now[each.domain]) for each in guests if each.domain in moved.now))


def _counts(domain: Domain) -> bool:
    return domain.actual > 0 and domain.minimum > 0 and not domain.migrating and domain.shares != 0


def _comfortable(domain: Domain, parameters: Parameters) -> bool:
    return domain.free > domain.minimum * parameters.comfortable and domain.actual >= domain.minimum


@dataclass(frozen=True)
class _Moved:
    """The decision while it is made. now: domain -> target, for those that have one."""

    state: State
    parameters: Parameters
    now: dict[int, int]

    def move(self, group: Sequence[Domain], rest: int) -> int:
        """Move a group towards its shares until nothing moves. Returns what is left of the goal."""
        growing = rest > 0
        open_ = list(group)
        moving = True
        while rest and open_ and moving:
            over = sum(self.now.get(each.domain, each.actual) - each.minimum for each in open_) + rest
            per_share = over / sum(self._shares(each) for each in open_)
            moving = False
            for each in tuple(open_):
                wanted = each.minimum + int(per_share * self._shares(each))
                wanted = max(min(wanted, each.maximum), each.minimum)
                if wanted == each.actual or (wanted > each.actual and not growing):
                    open_.remove(each)  # where it should be; what it has counts no more
                    continue
                step = self.state.maxchange
                target = max(min(wanted, each.actual + step), each.actual - step)
                change = target - self.now.get(each.domain, each.actual)
                if change:
                    self.now[each.domain] = target
                    rest -= change
                    moving = True
        return rest

    def _shares(self, domain: Domain) -> int:
        return domain.shares or self.parameters.shares
