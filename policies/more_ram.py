"""`more-ram`, a control: no tmem, and more memory instead (`+more-ram`; by itself it is
`static+more-ram`).

An experiment says how much: `more_ram: 64 MiB`, which may be a factor. In cells of this part the
host has that much beside what it has under all other policies, and every guest has its even part of
it at the release: under `static` and `selfballoon` its even share of the larger host, under `fixed`
what it was configured with and its part. The guests' maximum stays; if it left any of the addition
to nobody, the experiment is refused, since fallow memory helps nobody without tmem.

What it is good for: what tmem is worth, in memory. With `more_ram` as a factor it is a curve of
what a load costs over the memory that one buys for it; where the cost under tmem lies on the curve
is how much memory tmem has saved. With `more_ram` at what tmem held on average in the same
experiment (tmem's pages in the samples), it says whether that memory would have done more in the
guests' own hands.

What is fair about it: tmem holds memory that no guest has, fallow or given back, on a host of the
declared size. So its rival gets memory beyond the declared size, and not out of it: `static` is
already the policy that hands out the fallow memory. It is split evenly, since nobody can know
before the run which guest will want it; that it cannot follow the need is what tmem has to be
better at. What Xen and the records of tmem take is on no side of the account. A ratio that
`gates.overcommit_ratio` requires is lowered in these cells by as much as the host is larger.

An emulated host of another size is another PC, which boots once more. A physical server has to
have the memory, and not more: gate `more_ram` counts what guests and nobody have at the release,
and invalidates a cell whose host is off by half of the addition.
"""

from __future__ import annotations

from dataclasses import replace

from lab.api import GuestSizing, HostSizing
from policies.base import Part, Policy

LEAST_MIB = 16
"""Less cannot be told from what Xen keeps for itself, a few MiB more or less."""


def sizes(policy: Policy, host: HostSizing, guests: GuestSizing, more_mib: int) -> tuple[HostSizing, GuestSizing]:
    """Host and guests of the cells of a policy: as declared, or larger."""
    if not policy.more_ram:
        return host, guests
    larger = replace(host, guest_memory_mib=host.guest_memory_mib + more_mib)
    if policy.start == "configured":
        guests = replace(guests, memory_start_mib=guests.memory_start_mib + more_mib // guests.count)
    return larger, guests


def _more_ram(policy: Policy) -> Policy:
    return replace(policy, more_ram=True, gates=(*policy.gates, "more_ram"))


PARTS = (
    Part("more-ram", "the host has `more_ram` of the experiment beside its memory, and guests share it", _more_ram),
)

CONTROLS = {"more-ram": "static+more-ram"}
"""Names that an experiment may give, and what they stand for."""
