"""hotplug: memory comes and goes in sections, and only when a guest needs it.

After Schopp et al. (OLS 2006), who compared the balloon with memory hot-plug: a section has to be
emptied before it can go, so giving is coarse, takes long, and may fail. They describe how, and not
who gets what; that is ours, and kept plain: what a guest uses and 30 % more, as qmemman has it, in
whole sections. Nobody gives before somebody else lacks a section, since each one costs the giver
the moving of all that lies in it. A guest that could not empty what it was to give, or did not get
what it was to have, is told to keep what it has, and is asked again later.

A section of x86 is 128 MiB. What the guests do with a target is policies/hotplug.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .base import KIB, MOST, Decision, Guest, Seen, clamp, every, key

MIB = 2**20
LEAST_SECTION = 4096
NEAR = 2 * MIB
"""So much less than a whole section is one: Xen counts a domain's own records, too."""


@dataclass(frozen=True)
class Domain:
    """A guest."""

    domain: int = key("the domain's number", unit="")
    actual: int = key("what it has now")
    target: int = key("what it was told last")
    minimum: int = key("the least that it may have")
    maximum: int = key("the most that it may have")
    used: int | None = key("what it says it uses, swap included; null: no report, it is left out")
    no_progress: bool = key("it did not follow its last target in time", unit="")


@dataclass(frozen=True)
class State:
    """What Xen has to give, and to whom."""

    free: int = key("Xen's free memory beyond what Xen keeps; below 0 when Xen has less than that", least=-(2**63))
    domains: tuple[Domain, ...] = key("all guests; the order is that of the targets", unit="")


@dataclass(frozen=True)
class Parameters:
    """Ours, but for the section."""

    section: int = key("what comes and goes at once; a multiple of the guests' kernels' own", default=128 * MIB)
    factor: float = key("what a guest should have, as a multiple of what it uses", unit="", default=1.3)
    kept: int = key("memory that Xen keeps free", default=3 * MIB)
    every: float = every(2.0)


PUBLISHED = Parameters()
FORMS = (State,)
COUNTERS = tuple(
    f"meminfo.{name}" for name in ("MemTotal", "MemFree", "Buffers", "Cached", "Shmem", "SwapTotal", "SwapFree")
)
ON_REPORT = False


def state(seen: Seen, parameters: Parameters = PUBLISHED) -> State:
    """What the daemon sees, as this manager's state."""
    return State(
        seen.free - parameters.kept,
        tuple(
            Domain(
                each.domain,
                each.actual,
                each.target,
                each.minimum,
                each.maximum,
                _used(each),
                not each.follows,
            )
            for each in seen.guests
        ),
    )


def _used(guest: Guest) -> int | None:
    """Total − free − buffers − cached + swap in use. Shared memory counts as cached in the kernel's
    account, and is used.
    """
    told = guest.report or {}
    if not all(name in told for name in COUNTERS):
        return None
    total, free, buffers, cached, shared, swap, swap_free = (told[name] for name in COUNTERS)
    return clamp((total - free - buffers - cached + shared + swap - swap_free) * KIB, 0, MOST)


@dataclass(frozen=True)
class _Held:
    """A guest in sections: what it has, and what it should have."""

    guest: Domain
    has: int
    wants: int


def decide(state: State, parameters: Parameters = PUBLISHED) -> Decision:
    """Sections for who lacks some: what is free now, and what others are to give for later."""
    section = max(parameters.section, LEAST_SECTION)
    held = [_held(each, section, parameters) for each in state.domains if each.used is not None]
    moving = [each for each in held if not each.guest.no_progress]
    lacks = {each.guest.domain: each.wants - each.has for each in moving if each.wants > each.has}
    spare = {each.guest.domain: each.has - each.wants for each in moving if each.has > each.wants}
    there = max(state.free, 0) // section
    gives = _shared(sum(lacks.values()) - there, spare)
    gets = _shared(there, lacks)
    stuck = [each for each in held if each.guest.no_progress]
    kept = [(each.guest.domain, min(max(each.has * section, each.guest.minimum), each.guest.actual)) for each in stuck]
    changed = [
        (each.guest.domain, (each.has + sign * moved) * section)
        for changes, sign in ((gives, -1), (gets, 1))
        for each in moving
        if (moved := changes.get(each.guest.domain, 0))
    ]
    return Decision((*kept, *changed))


def _held(domain: Domain, section: int, parameters: Parameters) -> _Held:
    """Bounds are kept in whole sections: the least rounded up, the most rounded down. A guest in
    whose bounds there is no whole number of sections is left as it is.
    """
    wanted = min(max(domain.used or 0, 0) * parameters.factor, float(MOST))
    least, most = -(-domain.minimum // section), domain.maximum // section
    has = (domain.actual + min(NEAR, section // 2)) // section
    return _Held(domain, has, clamp(-(-int(wanted) // section), least, most) if least <= most else has)


def _shared(sections: int, parts: Mapping[int, int]) -> dict[int, int]:
    """So many whole sections shared out in proportion, nobody getting more than the own part."""
    whole = sum(parts.values())
    if sections <= 0 or not whole:
        return {}
    sections = min(sections, whole)
    found = {domain: sections * part // whole for domain, part in parts.items()}
    left = sections - sum(found.values())
    for domain in _largest_first(parts, found)[:left]:
        found[domain] += 1
    return found


def _largest_first(parts: Mapping[int, int], found: Mapping[int, int]) -> Sequence[int]:
    """Who has most of the part still open; the order of the guests where that is the same."""
    return sorted((each for each in parts if found[each] < parts[each]), key=lambda each: found[each] - parts[each])
