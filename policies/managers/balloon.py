"""balloon: targets that somebody set by hand, as a schedule from the release on.

What every comparison of managers needs beside it: the best that a person can do who knows the load.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from math import inf

from .base import Decision, Seen, clamp, every, key


@dataclass(frozen=True)
class Domain:
    """A guest."""

    domain: int = key("the domain's number", unit="")
    number: int = key("of the guest's name, as the schedule names it; 0: it has none", unit="")
    target: int = key("what it was told last")
    minimum: int = key("the least that it may have")
    maximum: int = key("the most that it may have")


@dataclass(frozen=True)
class State:
    """The time, and who there is."""

    elapsed: int = key("time since the release", unit="ms")
    domains: tuple[Domain, ...] = key("all guests; the order is that of the targets", unit="")


@dataclass(frozen=True)
class Step:
    """A guest's target from a time on."""

    at: int = key("time since the release", unit="ms")
    number: int = key("of the guest; 0: all of them", unit="")
    target: int = key("what it is to have")


@dataclass(frozen=True)
class Parameters:
    """No target is set before a schedule says so."""

    schedule: tuple[Step, ...] = key("steps; the last one that has begun holds", unit="", default=())
    every: float = every(1.0)


PUBLISHED = Parameters()
FORMS = (State,)
COUNTERS: tuple[str, ...] = ()
ON_REPORT = False


def state(seen: Seen, _parameters: Parameters = PUBLISHED) -> State:
    """What the daemon sees, as this manager's state."""
    return State(
        round(seen.elapsed * 1000),
        tuple(Domain(each.domain, _number(each.name), each.target, each.minimum, each.maximum) for each in seen.guests),
    )


def rests(state: State, parameters: Parameters = PUBLISHED) -> float:
    """Until the schedule's next step, and the millisecond that tells that it has begun."""
    return min(
        ((step.at - state.elapsed + 1) / 1000 for step in parameters.schedule if step.at > state.elapsed), default=inf
    )


def decide(state: State, parameters: Parameters = PUBLISHED) -> Decision:
    """What the schedule says by now, where a guest was told something else."""
    targets = []
    for each in state.domains:
        told = [step.target for step in parameters.schedule if _holds(step, each, state.elapsed)]
        if told and (target := clamp(told[-1], each.minimum, each.maximum)) != each.target:
            targets.append((each.domain, target))
    return Decision(tuple(targets))


def _holds(step: Step, domain: Domain, elapsed: int) -> bool:
    return step.at <= elapsed and step.number in (0, domain.number)


def _number(name: str) -> int:
    found = re.search(r"[1-9][0-9]{0,8}$", name)
    return int(found[0]) if found else 0
