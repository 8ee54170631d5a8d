"""Controls with tmem beneath that keeps nothing: what it costs to have it (`+unused`), and to ask
it (`+refusing`).

`tmem-unused`, the same as `static+unused`: Xen's tmem is on, the guest driver is loaded with every
back end off, and nobody makes a pool. What it is good for: a difference from the same base without
the part is what the driver's presence costs a guest, and should be nothing. It is the control for
policies with tmem whose base loads no driver: `static+tmem` against `tmem-unused` is what tmem
does, with the same modules in memory on both sides. Not what it is good for: the cost of a Xen with
tmem against one without. Every policy here runs on the same Xen, whose allocator asks tmem when it
lacks memory, so this cost is on both sides of every comparison; benchmarks/tmem_cost.py measures
it. With `selfballoon` the driver is there anyway, and the part adds the gate alone. Gate
`tmem_unused`: Xen says that it has tmem, and that no guest has asked it for anything.

`tmem-refusing`, the same as `static+tmem+refusing`: guests ask as under tmem, each put of an
evicted or swapped page and each get of a missing one, and Xen refuses every put (the toolstack
froze each guest: `tmemctl freeze`, before the driver is loaded, so that not one page is taken). So
every get misses, and every page goes where it would go without tmem. What it is good for: a
difference from the same base without tmem is what asking costs, all of it and nothing else: this is
the worst that tmem can do to a load that it cannot help. A difference of the policy with tmem from
its refusing twin is what the pages that were kept are worth. The cost is a lower bound of a refusal
for want of memory: that one looks for a victim first, and a frozen guest is refused at once. What a
put costs that succeeds is not in it. Gate `tmem_refused`: puts were refused, and none succeeded.
"""

from __future__ import annotations

from dataclasses import replace

from policies.base import Part, Policy
from policies.parts import USERS


def _unused(policy: Policy) -> Policy:
    # stated, so that the driver is loaded: of an empty mapping it would not be
    module = {"cleancache": False, "frontswap": False, **policy.module}
    return replace(policy, module=module, gates=(*policy.gates, "tmem_unused"))


def _refusing(policy: Policy) -> Policy:
    used = tuple(gate for gate in policy.gates if gate != "tmem_used")
    return replace(policy, tmem=replace(policy.tmem, frozen=True), gates=(*used, "tmem_refused"))


PARTS = (
    Part("unused", "the driver is loaded, Xen has tmem, and nobody asks for it", _unused, excludes=USERS),
    Part("refusing", "guests ask, and tmem refuses every page", _refusing, needs=USERS),
)

CONTROLS = {"tmem-unused": "static+unused", "tmem-refusing": "static+tmem+refusing"}
"""Names that an experiment may give, and what they stand for."""
