"""collaborative: guests say what their memory is worth; what costs the least is taken.

After collaborative memory management (CMM; Schwidefsky et al., OLS 2006), where a guest tells the
host the state of each page. Xen keeps no states of pages; here their effect is had with reports and
targets. The design and its numbers are ours: none were published for this.

Kept of CMM:
- *Unused* pages (the guest's free ones) cost nobody anything, so they are taken without asking who
  needs them.
- *Volatile* pages (clean page cache) are taken only when somebody else needs memory, and not from a
  guest that would only read them again (it feels pressure, or reads again what it lost).
- *Potentially volatile* pages (dirty cache) are not counted as there: they would have to be written
  first.
- *Stable* pages (the rest) are never taken: a guest does not swap because of this manager.

What it cannot have without states of pages in the hypervisor:
- The host does not choose the page: the guest's own reclaim does, and may drop a hot one.
- Nothing is taken at the moment of need: a guest has to run, shrink and be waited for. CMM drops
  pages of a guest that sleeps or is stuck.
- There is no discard fault. What was dropped is read from the disk again, unless cleancache holds
  it.
- A report is as old as its interval, and can lie: a guest that calls all its memory stable keeps
  it, as one that sets no states keeps it under CMM.
"""

from __future__ import annotations

from dataclasses import dataclass

from .base import PAGE, Change, Decision, Guest, Seen, clamp, every, freed_first, key, part, share

MIB = 2**20


@dataclass(frozen=True)
class Domain:
    """A guest and its report. A guest that misses a part of its report is left out."""

    domain: int = key("the domain's number", unit="")
    actual: int = key("what it has now")
    minimum: int = key("the least that it may have")
    maximum: int = key("the most that it may have")
    free: int | None = key("memory that it does not use; null: no report")
    clean: int | None = key("page cache that it could drop without writing; null: no report")
    dirty: int | None = key("page cache that it would have to write first; null: no report")
    stalled: int | None = key("how long tasks waited for memory since the last decision; null: no report", unit="µs")
    refaulted: int | None = key("what it read again since then, having lost it; null: no report")


@dataclass(frozen=True)
class State:
    """What Xen has to give, and what the guests say."""

    free: int = key("Xen's free memory beyond what Xen keeps; below 0 when Xen has less than that", least=-(2**63))
    domains: tuple[Domain, ...] = key("all guests; the order is that of the targets", unit="")


@dataclass(frozen=True)
class Parameters:
    """Ours, to be varied."""

    kept_free: float = part("part of a guest's memory that it keeps free", 0.05)
    kept_clean: float = part("part of its clean page cache that it keeps", 0.5)
    pressure: int = key("waiting above which a guest is in need", unit="µs", default=10_000)
    refaults: int = key("reading again above which a guest is in need", default=1 * MIB)
    least_growth: float = key("part of its memory that a guest in need asks for at least", unit="", default=0.05)
    most_growth: float = key("and at most, whatever it says it reads again", unit="", default=0.25)
    least_change: int = key("smaller changes are dropped", default=1 * MIB)
    kept: int = key("memory that Xen keeps free", default=8 * MIB)
    every: float = every(2.0)


PUBLISHED = Parameters()
FORMS = (State,)
COUNTERS = (
    *(f"meminfo.{name}" for name in ("MemFree", "Buffers", "Cached", "Shmem", "Dirty", "Writeback")),
    "psi.memory.some",
    "vmstat.workingset_refault_file",
)
ON_REPORT = False


def state(seen: Seen, parameters: Parameters = PUBLISHED) -> State:
    """What the daemon sees, as this manager's state."""
    return State(seen.free - parameters.kept, tuple(_domain(each) for each in seen.guests))


def _domain(guest: Guest) -> Domain:
    """Shared memory counts as cached in the kernel's account, and can't be dropped."""
    free, buffers, cached, shared, dirty, writeback = (guest.kib(name) for name in COUNTERS[:6])
    refaulted = guest.growth("vmstat.workingset_refault_file", since=guest.decided)
    unwritten = None if dirty is None or writeback is None else clamp(dirty + writeback, 0, guest.actual)
    clean = None
    if buffers is not None and cached is not None and shared is not None and unwritten is not None:
        clean = clamp(buffers + cached - shared - unwritten, 0, guest.actual)
    return Domain(
        guest.domain,
        guest.actual,
        guest.minimum,
        guest.maximum,
        free,
        clean,
        unwritten,
        guest.growth("psi.memory.some", since=guest.decided),
        None if refaulted is None else min(refaulted * PAGE, guest.maximum),
    )


@dataclass(frozen=True)
class _Offer:
    """What a guest can give and wants, in bytes, with its report cut to what is possible."""

    guest: Domain
    unused: int
    volatile: int
    wanted: int


def decide(state: State, parameters: Parameters = PUBLISHED) -> Decision:
    """Take what is unused; take of what is volatile as much as is missing; hand out what is
    free.
    """
    offers = [offer for each in state.domains if (offer := _offer(each, parameters)) is not None]
    missing = sum(each.wanted for each in offers) - state.free - sum(each.unused for each in offers)
    volatile = sum(each.volatile for each in offers)
    taken = clamp(missing, 0, volatile)
    changes = []
    for each in offers:
        given = each.unused + share(taken, each.volatile, volatile)
        if max(given, each.wanted) >= parameters.least_change:
            target = each.guest.actual - given + each.wanted
            changes.append(Change(each.guest.domain, each.guest.actual, target))
    return Decision(freed_first(changes, state.free))


def _offer(domain: Domain, parameters: Parameters) -> _Offer | None:
    if (
        domain.free is None
        or domain.clean is None
        or domain.dirty is None
        or domain.stalled is None
        or domain.refaulted is None
    ):
        return None
    actual = domain.actual
    if domain.stalled > parameters.pressure or domain.refaulted > parameters.refaults:
        wanted = clamp(domain.refaulted, int(actual * parameters.least_growth), int(actual * parameters.most_growth))
        return _Offer(domain, 0, 0, clamp(wanted, 0, max(domain.maximum - actual, 0)))
    free = clamp(domain.free, 0, actual)
    clean = clamp(domain.clean, 0, actual - free)
    above = max(actual - domain.minimum, 0)
    unused = clamp(free - int(actual * parameters.kept_free), 0, above)
    volatile = clamp(int(clean * (1 - parameters.kept_clean)), 0, above - unused)
    return _Offer(domain, unused, volatile, 0)
