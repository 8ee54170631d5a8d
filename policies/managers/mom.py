"""MOM of oVirt: everybody shrinks in small steps while the host is short of memory.

Source: the ballooning rules that MOM ships. It decides every 10 s, from averages; here, from what
the guests said last. As published, it does not ask whether what it lets guests grow by is there:
under KVM the host swaps then, under Xen a guest waits for its memory.
"""

from __future__ import annotations

from dataclasses import dataclass

from .base import Decision, Guest, Seen, clamp, every, key, part


@dataclass(frozen=True)
class Domain:
    """A guest."""

    domain: int = key("the domain's number", unit="")
    actual: int = key("what it has now")
    minimum: int = key("the least that it may have")
    maximum: int = key("the most that it may have")
    used: int | None = key("what it says it uses; null: no report, it is left out")


@dataclass(frozen=True)
class State:
    """The host and its guests."""

    total: int = key("the host's memory", least=1)
    free: int = key("the host's free memory")
    domains: tuple[Domain, ...] = key("all guests; the order is that of the targets", unit="")


@dataclass(frozen=True)
class Parameters:
    """MOM's constants."""

    pressure: float = part("part of the host's memory: with less of it free, guests shrink", 0.20)
    extreme: float = part("part of the host's memory: with less of it free, guests are to swap", 0.05)
    guest_free: float = part("part of a guest's memory that should be free in it", 0.20)
    step: float = part("the most that a guest shrinks, and the least that it grows", 0.05)
    least_change: float = part("part of a guest's memory: smaller changes are dropped", 0.0025)
    every: float = every(10.0)


PUBLISHED = Parameters()
FORMS = (State,)
COUNTERS = ("meminfo.MemFree",)
ON_REPORT = False


def state(seen: Seen, _parameters: Parameters = PUBLISHED) -> State:
    """What the daemon sees, as this manager's state."""
    return State(
        max(seen.total, 1),
        max(seen.free, 0),
        tuple(Domain(each.domain, each.actual, each.minimum, each.maximum, _used(each)) for each in seen.guests),
    )


def _used(guest: Guest) -> int | None:
    """All that is not free, page cache included."""
    free = guest.kib("meminfo.MemFree")
    return None if free is None else clamp(guest.actual - free, 0, guest.actual)


def decide(state: State, parameters: Parameters = PUBLISHED) -> Decision:
    """Shrink all guests while the host is short, else let all grow that can."""
    host_free = state.free / state.total if state.total > 0 else 0.0
    targets = []
    for each in state.domains:
        if each.used is None:
            continue
        target = _shrunk(each, host_free, parameters) if host_free < parameters.pressure else _grown(each, parameters)
        if abs(target - each.actual) > parameters.least_change * each.actual:
            targets.append((each.domain, target))
    return Decision(tuple(targets))


def _shrunk(domain: Domain, host_free: float, parameters: Parameters) -> int:
    """Only downwards; with next to nothing free on the host so far that the guest swaps."""
    wanted_free = parameters.guest_free * (host_free / parameters.pressure)
    if host_free <= parameters.extreme:
        wanted_free = host_free - parameters.extreme
    target = max(_floor(domain, wanted_free), (1 - parameters.step) * domain.actual)
    return int(min(target, domain.actual))


def _grown(domain: Domain, parameters: Parameters) -> int:
    """Only upwards: a guest at its maximum stays as it is."""
    if domain.actual >= domain.maximum:
        return domain.actual
    target = max(_floor(domain, parameters.guest_free), (1 + parameters.step) * domain.actual)
    return int(min(domain.maximum, target))


def _floor(domain: Domain, wanted_free: float) -> float:
    return max(domain.minimum, (domain.used or 0) + wanted_free * domain.actual)
