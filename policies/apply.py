"""Carry out a policy on a host: what has to be there before the release, and what the release
itself switches on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from common.units import PAGE_BYTES
from lab.api import GuestSizing, Host, HostSizing, Manager, MemorySwap, TmemSettings, even_share_mib
from lab.hosts.guests import SELFBALLOON
from lab.hosts.host import swap_script
from lab.kernels import FIDELITY, KERNELS, KernelName
from lab.remote import scripts
from policies import managers, senpai
from policies.base import ManagerTuning, Policy, Swap, Tuning
from policies.daemon import reports
from policies.managed import ManagerSection
from policies.managers.base import KIB
from policies.program import program

PARAMETERS = ("cleancache", "frontswap", "selfballooning", "selfshrinking")
"""Of `modprobe tmem`. Every one is stated, so that no default of the driver matters."""

GUEST_MANAGERS = {senpai.NAME: senpai.script}
"""Name -> the sh that starts it in a guest, of its settings."""

ALIVE_S = 10
STALE_S = 60
"""A guest that has nothing to report says so after the one; who has not for the other is silent.
Under an emulator a guest that swaps is slow to come to its turn.
"""


def start_mib(policy: Policy, host: HostSizing, guests: GuestSizing, number: int = 1) -> int:
    """What a guest has at the release, in MiB; of guests that are not alike, the one with this
    number, counted from 1.
    """
    return even_share_mib(host, guests, number) if policy.start == "share" else guests.own(number).memory_start_mib


def parameters(policy: Policy) -> dict[str, bool]:
    """Parameter of `modprobe tmem` -> on; empty where the driver is not loaded."""
    return {name: policy.module.get(name, False) for name in PARAMETERS} if policy.module else {}


def suited(policy: Policy, boots: KernelName) -> Policy:
    """The policy as guests with this kernel can have it: stock kernels have nothing that brings
    pages back from frontswap, so that there is no self-shrinking.
    """
    if KERNELS[boots].own_hooks:
        return policy
    return replace(
        policy,
        module={name: on for name, on in policy.module.items() if name != "selfshrinking"},
        at_release={name: value for name, value in policy.at_release.items() if name != "frontswap_selfshrinking"},
    )


def prepare(policy: Policy, tuning: Tuning, host: Host, sizing: HostSizing, guests: GuestSizing) -> None:
    """Give every guest its memory, its settings, and its driver. Nothing moves yet. Once per
    reset; LabError when a guest or dom0 refuses.
    """
    policy = suited(policy, guests.boots)
    starts = {name: start_mib(policy, sizing, guests, number) for number, name in enumerate(host.guests, 1)}
    most = {name: each.memory_max_mib for name, each in zip(host.guests, guests.every, strict=False)}
    host.set_memory(starts, most if policy.moves or policy.holds_swapped else starts)
    host.set_sysctls({**policy.sysctl, **tuning.sysctl})
    # before the driver, whose first page is to be kept, or refused, like all others
    host.set_tmem(tmem_settings(policy, tuning))
    if policy.module:
        # a driver with everything off has no settings
        settings = {**dict.fromkeys(policy.at_release, 0), **tuning.selfballoon} if any(policy.module.values()) else {}
        host.load_driver(parameters(policy), settings)
    if policy.swap:
        host.prepare_swap(memory_swap(policy.swap, tuning))
    if (wanted := manager(policy, tuning, sizing, guests, list(host.guests))) is not None:
        host.start_manager(wanted)


def manager(
    policy: Policy, tuning: Tuning, sizing: HostSizing, guests: GuestSizing, names: Sequence[str]
) -> Manager | None:
    """The manager that a policy has in dom0, as a host runs it; None: it has none."""
    if policy.manager is None:
        return None
    common = tuning.manager or ManagerSection().tuning()
    taken = _taken_mib(policy, tuning)
    bounds = {
        name: (
            min(common.minimum_mib + taken, start_mib(policy, sizing, guests, number)),
            guests.own(number).memory_max_mib,
        )
        for number, name in enumerate(names, 1)
    }
    return Manager(
        name=policy.manager,
        program=program(),
        settings={
            "manager": policy.manager,
            "parameters": dict(tuning.managers.get(policy.manager, {})),
            "patience": common.patience_s,
            "stale": STALE_S,
            "limit_at_maximum": policy.holds_swapped,
            "sections": policy.sections,
        },
        bounds_mib=bounds,
        counters={name: _move(name, common) for name in managers.get(policy.manager).COUNTERS},
        node=reports.NODE,
        look_s=common.look_s,
        alive_s=ALIVE_S,
        tmem=bool(policy.pools),
        sections=policy.sections,
    )


def _taken_mib(policy: Policy, tuning: Tuning) -> int:
    """What of a guest's memory is no more its programs' from the start: a RAM disk's is taken when
    it is made, and a guest that is shrunk to it has nothing left to run in.
    """
    if policy.swap != "ramdisk":
        return 0
    kib, *_ = memory_swap("ramdisk", tuning).options or (0,)
    return -(-int(kib) // KIB)


def _move(counter: str, common: ManagerTuning) -> int:
    """By how much a counter has to move for a report, in its own unit."""
    if counter.startswith("psi."):
        return common.stalled_us
    return max(common.moved_bytes // (KIB if counter.startswith("meminfo.") else PAGE_BYTES), 1)


def tmem_settings(policy: Policy, tuning: Tuning) -> TmemSettings:
    """What tmem is told: the experiment's own settings go before the policy's."""
    own = tuning.tmem
    return replace(
        policy.tmem,
        compress=policy.tmem.compress if own.compress is None else own.compress,
        dedup=policy.tmem.dedup if own.dedup is None else own.dedup,
        weights={**policy.tmem.weights, **own.weights},
        caps={**policy.tmem.caps, **own.caps},
    )


def memory_swap(kind: Swap, tuning: Tuning) -> MemorySwap:
    """How swap of this kind is made in a guest's memory; of an experiment, it is always told."""
    return tuning.swap.get(kind, MemorySwap(kind))


def release_script(policy: Policy, boots: KernelName = FIDELITY, tuning: Tuning | None = None) -> str:
    """Sh that each guest runs when it is released, before its workload: the policy takes effect.
    Empty where nothing is to be done. boots: the guests' kernel.
    """
    policy = suited(policy, boots)
    words = (word for pair in policy.at_release.items() for word in pair)
    settings = scripts.command("release-policy.sh", SELFBALLOON, *words) if policy.at_release else ""
    # no `||` behind it: in front of one, sh does not end at what fails
    swap = f"(\n{swap_script('release', MemorySwap(policy.swap))}\n)\n[ $? = 0 ] || exit 96\n" if policy.swap else ""
    own = ""
    if policy.guest_manager:
        values = tuning.managers.get(policy.guest_manager, {}) if tuning else {}
        own = GUEST_MANAGERS[policy.guest_manager](values)
    return settings + swap + own
