"""smartmem: guests keep their memory, and tmem is shared by how much good it does them.

The idea is SmarTmem's (IPDPSW 2019): a manager in dom0 sets each guest's share of tmem, where plain
tmem is greedy and gives it to who puts most. The design is ours, since only the abstract could be
read:

- A guest's *demand* is what it got back from tmem, and what tmem had to let go or refuse and the
  guest asked for again. Puts alone are no demand: who streams through files puts most and gets
  nothing back.
- *Weights* follow demand, halfway with each decision, so that one interval does not turn everything
  over. Nobody falls to 0, which would make a guest give way before all others, and leave it no
  pages to show demand with.
- A guest that puts and has no demand gets a *cap* as well: a small share in which it can still
  prove itself. Under a cap it replaces its own pages, and others' puts are not refused for it.
  Everybody else has none.

All of these are the hypervisor's counters, so a guest cannot misreport. One that puts pages only to
get them back looks like one that gains; it is bound by its share all the same.
"""

from __future__ import annotations

from dataclasses import dataclass

from .base import MOST, Decision, Guest, Seen, clamp, every, key, part, share


@dataclass(frozen=True)
class Domain:
    """A guest's counters, as growth since the last decision. null: it has no ephemeral pool, and is
    left out.
    """

    domain: int = key("the domain's number", unit="")
    weight: int = key("its weight now", unit="")
    puts: int | None = key("ephemeral pages that it put or tried to", unit="pages")
    hits: int | None = key("ephemeral pages that it got back", unit="pages")
    misses: int | None = key("gets that found nothing", unit="pages")
    lost: int | None = key("its ephemeral pages that tmem let go or refused", unit="pages")


@dataclass(frozen=True)
class State:
    """What tmem has, and who uses it."""

    pages: int = key("pages that tmem holds or could hold", unit="pages")
    domains: tuple[Domain, ...] = key("all guests; the order is that of weights and caps", unit="")


@dataclass(frozen=True)
class Parameters:
    """Ours, to be varied."""

    weights: int = key("sum that the weights of all guests move towards", unit="", default=1000)
    inertia: float = part("part of a weight that stays with each decision", 0.5)
    probation: float = part("part of tmem that a guest without demand may hold", 0.05)
    least_cap: int = key("the least cap", unit="pages", default=256)
    every: float = every(5.0)


MOST_WEIGHT = 65535
PUBLISHED = Parameters()
FORMS = (State,)
COUNTERS: tuple[str, ...] = ()
ON_REPORT = False


def state(seen: Seen, _parameters: Parameters = PUBLISHED) -> State:
    """What the daemon sees, as this manager's state."""
    return State(seen.tmem_pages, tuple(_domain(each) for each in seen.guests))


def _domain(guest: Guest) -> Domain:
    now, before = guest.tmem, guest.tmem_decided
    if now is None or before is None:
        return Domain(guest.domain, clamp(now.weight if now else 0, 0, MOST_WEIGHT), None, None, None, None)
    grown = (
        _grown(now.puts, before.puts),
        _grown(now.hits, before.hits),
        _grown(now.misses, before.misses),
        _grown(now.lost, before.lost),
    )
    return Domain(guest.domain, clamp(now.weight, 0, MOST_WEIGHT), *grown)


def _grown(now: int | None, before: int | None) -> int | None:
    return None if now is None or before is None or now < before else min(now - before, MOST)


def decide(state: State, parameters: Parameters = PUBLISHED) -> Decision:
    """Weights and caps for every guest that has an ephemeral pool; no targets."""
    demands = [(each, demand) for each in state.domains if (demand := _demand(each)) is not None]
    total = sum(demand for _, demand in demands)
    weights = []
    caps = []
    for each, demand in demands:
        fair = share(parameters.weights, demand, total) if total else parameters.weights // len(demands)
        kept = parameters.inertia * clamp(each.weight, 0, MOST_WEIGHT)
        weights.append((each.domain, clamp(round(kept + (1 - parameters.inertia) * fair), 1, MOST_WEIGHT)))
        idle = demand == 0 and (each.puts or 0) > 0
        cap = max(int(max(state.pages, 0) * parameters.probation), parameters.least_cap)
        caps.append((each.domain, cap if idle else 0))
    return Decision(weights=tuple(weights), caps=tuple(caps))


def _demand(domain: Domain) -> int | None:
    """Pages that the guest got, and those that it would have got had tmem kept them, as far as can
    be known.
    """
    if domain.puts is None or domain.hits is None or domain.misses is None or domain.lost is None:
        return None
    return max(domain.hits, 0) + max(min(domain.lost, domain.misses), 0)
