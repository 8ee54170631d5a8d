"""psi, after senpai: take memory from a guest until it feels it, by its own memory pressure (PSI).

Source: senpai (Meta), which lowers a cgroup's memory.high; here a guest's target takes its place,
and growth is cut to what Xen has free. Pressure is how long some task of the guest waited for
memory. The daemon looks every second and begins to count anew after each change. A guest that lies
about its pressure gets its maximum at most.
"""

from __future__ import annotations

from dataclasses import dataclass

from .base import Change, Decision, Seen, clamp, every, freed_first, key, part

PAGE_MASK = ~4095


@dataclass(frozen=True)
class Domain:
    """A guest."""

    domain: int = key("the domain's number", unit="")
    actual: int = key("what it has now")
    minimum: int = key("the least that it may have")
    maximum: int = key("the most that it may have")
    stalled: int | None = key("how long tasks waited since its last change; null: no report, it is left out", unit="µs")
    seconds: int = key("how long ago its last change was", unit="s")


@dataclass(frozen=True)
class State:
    """What Xen has to give, and who feels pressure."""

    free: int = key("Xen's free memory beyond what Xen keeps; below 0 when Xen has less than that", least=-(2**63))
    domains: tuple[Domain, ...] = key("all guests; the order is that of the targets", unit="")


@dataclass(frozen=True)
class Parameters:
    """senpai's constants, with its defaults."""

    pressure: int = key("waiting that a guest should see in an interval", unit="µs", default=10_000)
    interval: int = key("time without a change, after which a guest below that gives memory", unit="s", default=6)
    max_probe: float = part("part of its memory: the most that a guest gives in one change", 0.01)
    max_backoff: float = key("part of its memory: the most that a guest gets in one change", unit="", default=1.0)
    coeff_probe: float = key("it gives the most with so many times less pressure", unit="", default=10.0)
    coeff_backoff: float = key("it gets the most with so many times the pressure", unit="", default=20.0)
    kept: int = key("memory that Xen keeps free (ours)", default=8 * 2**20)
    every: float = every(1.0)


PUBLISHED = Parameters()
FORMS = (State,)
COUNTERS = ("psi.memory.some",)
ON_REPORT = False


def state(seen: Seen, parameters: Parameters = PUBLISHED) -> State:
    """What the daemon sees, as this manager's state. senpai begins to count anew with each change
    that it wants. Who could not have one (at the maximum, or while Xen has nothing) would be in
    need for ever, so it is counted from one decision to the next.
    """
    long = parameters.interval + 2 * parameters.every
    return State(
        seen.free - parameters.kept,
        tuple(
            Domain(
                each.domain,
                each.actual,
                each.minimum,
                each.maximum,
                each.growth("psi.memory.some", since=each.changed if each.since_change < long else each.decided),
                round(each.since_change),  # a target is told some ms after its decision
            )
            for each in seen.guests
        ),
    )


def rests(state: State, parameters: Parameters = PUBLISHED) -> float:
    """Until the next guest has been without a change for an interval; not while somebody waits for
    what Xen may have the next second. Who may give by now could do so before.
    """
    heard = [each for each in state.domains if each.stalled is not None]
    if any((each.stalled or 0) > parameters.pressure for each in heard):
        return 0.0
    left = [parameters.interval - each.seconds for each in heard]
    return float(min((each for each in left if each > 0), default=parameters.interval))


_LEAST = 1e-9
"""A coefficient of 0 asks for the largest change at once."""


def decide(state: State, parameters: Parameters = PUBLISHED) -> Decision:
    """Who waits too long gets memory at once; who does not gives some after an interval."""
    changes = (
        Change(each.domain, each.actual, _target(each, each.stalled, parameters))
        for each in state.domains
        if each.stalled is not None
    )
    return Decision(freed_first(changes, state.free))


def _target(domain: Domain, stalled: int, parameters: Parameters) -> int:
    if stalled > parameters.pressure:
        error = stalled / max(parameters.pressure, 1) / max(parameters.coeff_backoff, _LEAST)
        factor = min(error**2, 1.0) * parameters.max_backoff
    elif domain.seconds < parameters.interval:
        return domain.actual
    else:
        error = parameters.pressure / max(stalled, 1) / max(parameters.coeff_probe, _LEAST)
        factor = -min(error**2, 1.0) * parameters.max_probe
    return clamp(int(domain.actual * (1 + factor)) & PAGE_MASK, domain.minimum, domain.maximum)
