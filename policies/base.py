"""What a memory policy is: what each guest has at the release, what changes it afterwards, and what
of tmem is used.

A policy acts in three places: in the guests (the driver and its parameters, sysctls, words on the
kernel's command line), in tmem (compression, deduplication, weights, caps), and in dom0 (a manager
that runs as long as the workload). A Policy says all of that as data; policies/apply.py carries it
out on a host. It takes effect when the guests are released from the barrier: until then every
policy leaves the guests alike.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from pydantic import BaseModel

from lab.api import MemorySwap, TmemSettings

Start = Literal["share", "configured"]
Swap = Literal["ramdisk", "zswap", "zram"]


@dataclass(frozen=True)
class Policy:
    """A memory policy, with its parts added.

    start: what each guest has at the release: an even `share` of the host's memory, or what it was
    `configured` with, the rest staying fallow. moves: whether its memory changes while the workload
    runs; then it may grow up to its maximum. module: parameter of `modprobe tmem` -> on; empty, the
    driver is not loaded. at_release: setting of the driver in sysfs -> value from the release on.
    sysctl, kernel: settings and words on the command line of the guests' kernels. manager: name of
    the process in dom0 that sets the guests' targets, if any. needs: one of these parts. gates:
    names of gates (campaigns/gates.py) that hold for this policy beside those for all. parameters:
    key of an experiment -> the settings that it may have below it. swap: what of the guests' own
    memory stands before their swap disks, from the release on. more_ram: whether the host has, and
    guests share evenly, what the experiment's `more_ram` says beside what it has under other
    policies. sections: whether the guests give and get memory by hot-plug, and not by their
    balloons. guest_manager: name of the process in each guest that moves the guest's own memory
    from the release on, if any (GUEST_MANAGERS of policies/apply.py).
    """

    name: str
    summary: str
    start: Start = "share"
    moves: bool = False
    module: Mapping[str, bool] = field(default_factory=dict)
    at_release: Mapping[str, int] = field(default_factory=dict)
    sysctl: Mapping[str, int] = field(default_factory=dict)
    kernel: tuple[str, ...] = ()
    tmem: TmemSettings = field(default_factory=TmemSettings)
    manager: str | None = None
    needs: tuple[str, ...] = ()
    gates: tuple[str, ...] = ()
    parameters: Mapping[str, type[BaseModel]] = field(default_factory=dict, repr=False)
    swap: Swap | None = None
    more_ram: bool = False
    sections: bool = False
    guest_manager: str | None = None

    @property
    def pools(self) -> tuple[str, ...]:
        """The kinds of tmem's pools that the guests use."""
        kinds = {"cleancache": "ephemeral", "frontswap": "persistent"}
        return tuple(pool for part, pool in kinds.items() if self.module.get(part))

    @property
    def holds_swapped(self) -> bool:
        """Whether guests swap to tmem. Xen counts those pages as the guest's, and refuses what is
        beyond its limit, so that the limit must not be what the guest has.
        """
        return "persistent" in self.pools


@dataclass(frozen=True)
class Part:
    """What can be added to a policy, as in `selfballoon+tmem`. add: the policy with it. needs:
    one of these parts beside it. excludes: none of these.
    """

    name: str
    summary: str
    add: Callable[[Policy], Policy]
    needs: tuple[str, ...] = ()
    excludes: tuple[str, ...] = ()


@dataclass(frozen=True)
class ManagerTuning:
    """What holds for every manager: see policies/managed.py. minimum_mib: of a guest; look_s,
    moved_bytes, stalled_us: when guests report; patience_s: for a guest to move.
    """

    minimum_mib: int
    look_s: float
    moved_bytes: int
    stalled_us: int
    patience_s: float


@dataclass(frozen=True)
class Tuning:
    """Settings of an experiment that hold under every policy of it.

    sysctl: dotted name -> value, of the guests' kernels. selfballoon: name in sysfs -> value, in
    the driver's own units (seconds, MB, counts), for policies that load the driver. tmem: what is
    set here goes before what a policy sets. What is not named stays as the kernel, the driver or
    Xen has it. swap: kind -> how swap in the guests' own memory is made, where a policy has it.
    manager: for all managers in dom0; managers: name, of those in guests as well, -> parameter ->
    value, as JSON has it.
    """

    sysctl: Mapping[str, int] = field(default_factory=dict)
    selfballoon: Mapping[str, int] = field(default_factory=dict)
    tmem: TmemSettings = field(default_factory=TmemSettings)
    swap: Mapping[Swap, MemorySwap] = field(default_factory=dict)
    manager: ManagerTuning | None = None
    managers: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


def with_module(policy: Policy, **parameters: bool) -> Policy:
    """The policy with these parameters of the driver on, and its gates for what the driver then
    does.
    """
    module = {**policy.module, **parameters}
    uses = module.get("cleancache") or module.get("frontswap")
    gates = (*policy.gates, "tmem_used") if uses and "tmem_used" not in policy.gates else policy.gates
    return replace(policy, module=module, gates=gates)
