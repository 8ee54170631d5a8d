"""squeezed of XAPI and XCP-ng: all guests are equally far between their bounds. None is asked.

Source: XAPI's squeezed. It keeps 72 MiB free (the code; its documents say 9), leaves out who did
not follow within 5 s, frees memory before it hands it out, and decides every 10 s. Where less is
free than all who grow should get, each gets the same part of it: that is ours.
"""

from __future__ import annotations

from dataclasses import dataclass

from .base import Change, Decision, Seen, clamp, every, freed_first, key, share

MIB = 2**20


@dataclass(frozen=True)
class Domain:
    """A guest."""

    domain: int = key("the domain's number", unit="")
    actual: int = key("what it has now")
    minimum: int = key("its dynamic minimum")
    maximum: int = key("its dynamic maximum")
    no_progress: bool = key("it did not follow its last target in time, so it is left out", unit="")


@dataclass(frozen=True)
class State:
    """What the host has, and between which bounds."""

    free: int = key("the host's free memory")
    domains: tuple[Domain, ...] = key("all guests; the order is that of the targets", unit="")


@dataclass(frozen=True)
class Parameters:
    """squeezed's constants."""

    kept: int = key("memory that the host keeps free", default=72 * MIB)
    every: float = every(10.0)


PUBLISHED = Parameters()
FORMS = (State,)
COUNTERS: tuple[str, ...] = ()
ON_REPORT = False


def state(seen: Seen, _parameters: Parameters = PUBLISHED) -> State:
    """What the daemon sees, as this manager's state."""
    return State(
        max(seen.free, 0),
        tuple(Domain(each.domain, each.actual, each.minimum, each.maximum, not each.follows) for each in seen.guests),
    )


def decide(state: State, parameters: Parameters = PUBLISHED) -> Decision:
    """(target − minimum) ÷ (maximum − minimum) is the same for all guests, so that together they
    have what there is.
    """
    follow = [each for each in state.domains if not each.no_progress]
    spare = state.free - parameters.kept
    room = sum(max(each.maximum - each.minimum, 0) for each in follow)
    above = clamp(spare + sum(each.actual - each.minimum for each in follow), 0, room)
    changes = (
        Change(
            each.domain,
            each.actual,
            min(each.minimum + share(above, max(each.maximum - each.minimum, 0), room), each.maximum),
        )
        for each in follow
    )
    return Decision(freed_first(changes, spare))
