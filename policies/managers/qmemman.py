"""qmemman of Qubes OS: what each guest uses and 30 % more; the rest by the same measure.

Source: Qubes' qmemman of August 2026; tests/data/managers holds what the original decided on
recorded states. Its arithmetic is kept to the order of its operations: targets are equal to the
byte. It knows nothing of the guests' page cache, so what it takes is what cleancache catches.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from .base import KIB, MOST, Decision, Guest, Seen, Targets, clamp, every, key, part

MIB = 2**20


@dataclass(frozen=True)
class Domain:
    """A guest, or dom0 (domain 0)."""

    domain: int = key("the domain's number", unit="")
    actual: int = key("what it has now")
    maximum: int = key("the most that it may have")
    used: int | None = key("what it says it uses, swap included; null: no report, it is left out")
    no_progress: bool = key("it stopped following its targets, so it is left out", unit="")


@dataclass(frozen=True)
class State:
    """For balancing what there is."""

    free: int = key("Xen's free memory beyond what Xen keeps; below 0 when Xen has less than that", least=-(2**63))
    domains: tuple[Domain, ...] = key("in the order in which the daemon knows them", unit="")


@dataclass(frozen=True)
class Request:
    """For freeing memory for a guest that is to start. Decided with no targets: refused."""

    request: int = key("what the guest asks for")
    domains: tuple[Domain, ...] = key("in the order in which the daemon knows them", unit="")


@dataclass(frozen=True)
class Parameters:
    """qmemman's constants, with the values that Qubes ships."""

    cache_factor: float = key("preferred size of a guest, as a multiple of what it uses", unit="", default=1.3)
    least_preference: int = key("the least preferred size of a guest", default=200 * MIB)
    dom0_boost: int = key("added to dom0's preferred size, for the block devices' cache", default=350 * MIB)
    rounding: float = part("part of what there is that is handed out, for rounding errors", 0.999)
    least_donation: int = key("a guest that could give less is not asked to, when memory is short", default=10 * MIB)
    request_factor: float = key("what is taken for a request, as a multiple of it", unit="", default=1.05)
    least_sum: int = key("changes, and what Xen has free, of more than this are worth acting on", default=150 * MIB)
    least_gain: int = key("so is more than this for a guest below its preferred size", default=15 * MIB)
    kept: int = key("memory that Xen keeps free", default=50 * MIB)
    every: float = every(10.0)


PUBLISHED = Parameters()
FORMS = (State, Request)
COUNTERS = tuple(f"meminfo.{name}" for name in ("MemTotal", "MemFree", "Buffers", "Cached", "SwapTotal", "SwapFree"))
ON_REPORT = True
"""The original decides on reports alone. Here a decision is made at times without one, too, for
guests that did not follow and do so now.
"""


def state(seen: Seen, parameters: Parameters = PUBLISHED) -> State:
    """What the daemon sees, as this manager's state."""
    return State(
        seen.free - parameters.kept,
        tuple(_domain(each, parameters) for each in seen.guests),
    )


def _domain(guest: Guest, parameters: Parameters) -> Domain:
    """As the original forgives them: a guest that stopped following is left out only while it has
    more than it was told, and more than its preferred size; one that lacks memory never starves.
    """
    found = Domain(guest.domain, guest.actual, guest.maximum, _used(guest), no_progress=False)
    above = guest.actual > guest.target + parameters.kept // 2 and guest.actual >= preferred(found, parameters)
    return replace(found, no_progress=above and not guest.follows)


def _used(guest: Guest) -> int | None:
    """Total − free − buffers − cached + swap in use, as Qubes' reporter has it."""
    told = guest.report or {}
    if not all(name in told for name in COUNTERS):
        return None
    total, free, buffers, cached, swap, swap_free = (told[name] for name in COUNTERS)
    return clamp((total - free - buffers - cached + swap - swap_free) * KIB, 0, MOST)


def decide(state: State | Request, parameters: Parameters = PUBLISHED) -> Decision:
    """Balance memory, or free some for a guest that is to start."""
    heard = [_Heard(each, preferred(each, parameters)) for each in state.domains if _counts(each)]
    if isinstance(state, Request):
        return Decision(_for_request(heard, state.request, parameters))
    available = state.free - sum(each.need for each in heard)
    if available > 0:
        return Decision(_enough(heard, available, parameters))
    return Decision(_short(heard, state.free, parameters))


def preferred(domain: Domain, parameters: Parameters = PUBLISHED) -> int:
    """The size that qmemman thinks right. A guest without a report counts as one that uses
    nothing.
    """
    wanted = max(domain.used or 0, 0) * parameters.cache_factor
    if domain.domain == 0:
        return int(min(wanted + parameters.dom0_boost, domain.maximum))
    return int(max(min(wanted, domain.maximum), parameters.least_preference))


def worth_acting(state: State, decision: Decision, parameters: Parameters = PUBLISHED) -> bool:
    """Whether the daemon acts on a decision: small changes are not worth the guests' trouble. What
    Xen has beyond what it keeps, or lacks, counts as a change, too.
    """
    if state.free < -parameters.least_gain:
        return True
    guests = {each.domain: each for each in state.domains}
    changes = [(guests[domain], target - guests[domain].actual) for domain, target in decision.targets]
    if sum(abs(change) for _, change in changes) + abs(state.free) > parameters.least_sum:
        return True
    return any(change > parameters.least_gain and each.actual < preferred(each, parameters) for each, change in changes)


@dataclass(frozen=True)
class _Heard:
    """A guest that reports and follows, with its preferred size."""

    guest: Domain
    preferred: int

    @property
    def need(self) -> int:
        return self.preferred - self.guest.actual


def _counts(domain: Domain) -> bool:
    return domain.used is not None and not domain.no_progress


def _enough(heard: Sequence[_Heard], available: int, parameters: Parameters) -> Targets:
    """Preferred sizes, and what is left shared in proportion to them, as far as maxima allow."""
    preferences = sum(each.preferred for each in heard)
    if not preferences:
        return ()
    targets = []
    left = takers = 0
    for each in heard:
        target = int(parameters.rounding * (each.preferred + each.preferred / preferences * available))
        if target > each.guest.maximum:
            left += target - each.guest.maximum
        else:
            takers += 1
        targets.append(min(target, each.guest.maximum))
    while left > 0 and takers > 0:
        targets, left, takers = _round(heard, targets, left, takers, parameters)
    pairs = list(zip(heard, targets, strict=True))
    gives = tuple((each.guest.domain, target) for each, target in pairs if target < each.guest.actual)
    return gives + tuple((each.guest.domain, target) for each, target in pairs if target >= each.guest.actual)


def _round(
    heard: Sequence[_Heard], targets: Sequence[int], left: int, takers: int, parameters: Parameters
) -> tuple[list[int], int, int]:
    """Hand out what maxima cut off: new targets, what is cut off now, how many still take.

    Everybody below the maximum is offered the same, by the number of takers as the round began. As
    in the original, a guest whose first target was its maximum to the byte is still counted as a
    taker.
    """
    offer = int(parameters.rounding * (left / takers))
    found = []
    cut = 0
    for each, target in zip(heard, targets, strict=True):
        maximum = each.guest.maximum
        if target < maximum and target + offer >= maximum:
            cut += target + offer - maximum
            takers -= 1
        found.append(min(target + offer, maximum) if target < maximum else target)
    return found, cut, takers


def _short(heard: Sequence[_Heard], free: int, parameters: Parameters) -> Targets:
    """Who has more than the preferred size is told that, even where its maximum is less; others
    share what is free beyond it.
    """
    acceptors = [each for each in heard if each.need >= 0 and each.guest.actual < each.guest.maximum]
    gives = [each for each in heard if each.need < 0 and -each.need >= parameters.least_donation]
    targets = tuple((each.guest.domain, each.preferred) for each in gives)
    squeezed = free + sum(each.need for each in gives)
    preferences = sum(each.preferred for each in acceptors)
    if squeezed < 0 or not preferences:
        return targets
    for each in acceptors:
        more = each.preferred / preferences * squeezed
        target = int(parameters.rounding * (each.guest.actual + more))
        targets += ((each.guest.domain, min(target, each.guest.maximum)),)
    return targets


def _for_request(heard: Sequence[_Heard], request: int, parameters: Parameters) -> Targets:
    """Who has more than the preferred size gives in proportion; nobody when that is not enough.

    As in the original, the twentieth that is taken beyond the request may be more than an idle fat
    guest has: its target is below 0 then.
    """
    donors = [each for each in heard if each.need < 0]
    possible = -sum(each.need for each in donors)
    if possible < request or not possible:
        return ()
    scale = request / possible
    targets = []
    for each in donors:
        lent = -each.need * scale * parameters.request_factor
        targets.append((each.guest.domain, min(int(each.guest.actual - lent), each.guest.actual)))
    return tuple(targets)
