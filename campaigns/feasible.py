"""What can be known before anything is built: sizes that no guest boots with, files that fit no
disk, time-outs that no run can keep.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from campaigns.document import KeyPath, Problem
from campaigns.schema import ExperimentFile, TimeoutsSection
from common.errors import InvalidFileError
from common.metrics import whole
from common.units import format_duration
from lab.api import GuestSizing, HostSizing
from lab.hosts.guests import ROOT_DISK_MIB
from lab.kernels import FIDELITY, KERNELS
from policies import apply, memory_swap, more_ram
from policies.base import Policy
from workloads.base import Workload

if TYPE_CHECKING:
    from campaigns.conditions import Conditions
    from campaigns.experiment import Experiment

SMALLEST_GUEST_MIB = 64
"""Below this a guest with an SSH server and a compiler does not get through its boot."""

SMALLEST_STOCK_MIB = 128
"""The same with a kernel of Debian's, which keeps more for itself, and is unpacked in the guest."""

SMALLEST_DOM0_MIB = 128
"""Debian's kernel keeps 107 MiB of 384 for itself; with less than this no dom0 starts a guest.
An emulated host asks for more.
"""

MIB = 2**20


def sizing(host: HostSizing, guests: GuestSizing, file: ExperimentFile) -> Iterator[Problem]:
    """What is wrong with the memory of host and guests."""
    if host.dom0_memory_mib < SMALLEST_DOM0_MIB:
        yield Problem(
            ("host", "dom0_memory"),
            f"dom0 cannot start guests with {host.dom0_memory_mib} MiB",
            f"at least {SMALLEST_DOM0_MIB} MiB",
        )
    share_mib = host.guest_memory_mib // guests.count
    if share_mib < SMALLEST_GUEST_MIB:
        yield Problem(
            ("host", "guest_memory"),
            f"{guests.count} guests have {share_mib} MiB each, too little for one to boot",
            f"give the host at least {guests.count * SMALLEST_GUEST_MIB} MiB for guests, or declare fewer guests",
        )
        return
    yield from _own_sizes(guests, file)
    starts = [each.memory_start_mib for each in guests.every]
    if whole(starts) > host.guest_memory_mib:
        each_has = f"{starts[0]} MiB each" if not guests.unlike else f"{whole(starts)} MiB together"
        yield Problem(
            ("guests", "memory_start") if not guests.unlike else ("guests", "groups"),
            f"{guests.count} guests cannot start with {each_has} "
            f"on a host that has {host.guest_memory_mib} MiB for guests",
            f"at most {share_mib} MiB, or leave memory_start out" if not guests.unlike else "lower their memory_start",
        )


def _own_sizes(guests: GuestSizing, file: ExperimentFile) -> Iterator[Problem]:
    """What is wrong with the memory of a guest by itself; the first of each group stands for it."""
    number = 1
    for name, group in file.groups.items():
        own, where = guests.own(number), ("guests", "groups", name) if name else ("guests",)
        number += group.count
        if own.memory_max_mib < SMALLEST_GUEST_MIB:
            yield _too_small((*where, "memory_max"), own.memory_max_mib)
            continue
        if own.memory_max_mib < own.memory_start_mib:
            yield Problem(
                (*where, "memory_max"),
                f"guests cannot have less at most ({own.memory_max_mib} "
                f"MiB) than at start ({own.memory_start_mib} MiB)",
                "raise memory_max, or leave memory_start out",
            )
        if own.memory_start_mib < SMALLEST_GUEST_MIB:
            yield _too_small((*where, "memory_start"), own.memory_start_mib)


def _too_small(where: tuple[str, ...], mib: int) -> Problem:
    return Problem(where, f"a guest cannot boot with {mib} MiB", f"at least {SMALLEST_GUEST_MIB} MiB")


def controls(
    file: ExperimentFile, policies: Sequence[Policy], host: HostSizing, guests: GuestSizing
) -> Iterator[Problem]:
    """What is wrong with the settings of controls: they are of no policy, or do not fit."""
    for kind, key in memory_swap.KEYS.items():
        section = getattr(file, key)
        if section != type(section)() and all(policy.swap != kind for policy in policies):
            yield Problem((key,), "no policy swaps to it, so its settings mean nothing", "leave them out")
    for policy in policies:
        start = min(apply.start_mib(policy, host, guests, number) for number in range(1, guests.count + 1))
        ramdisk = memory_swap.ramdisk_mib(file.ramdisk_swap, start)
        if policy.swap == "ramdisk" and start - ramdisk < SMALLEST_GUEST_MIB:
            yield Problem(
                ("ramdisk_swap", "size"),
                f"a RAM disk of {ramdisk} MiB leaves {start - ramdisk} MiB to a guest that has {start} MiB",
                f"leave {SMALLEST_GUEST_MIB} MiB at least",
            )
    yield from _more_ram(file, policies, host, guests)


def kernel(file: ExperimentFile, policies: Sequence[Policy], guests: GuestSizing) -> Iterator[Problem]:
    """What is wrong with the guests' kernel: a policy wants what it has not, or it does not fit."""
    where = ("guests", "kernel")
    if not KERNELS[guests.boots].reclaims:
        able = ", ".join(name for name, each in KERNELS.items() if each.reclaims)
        for policy in policies:
            if policy.guest_manager:
                yield Problem(
                    where,
                    f"{policy.name} has the guests' kernels free memory (memory.reclaim), which {guests.boots} cannot",
                    f"leave out the policy, or boot one of {able}",
                )
    if guests.type not in KERNELS[guests.boots].types:
        able = " or ".join(name for name, each in KERNELS.items() if guests.type in each.types)
        yield Problem(
            ("guests", "type"),
            f"{guests.boots} was built for paravirtual guests alone, and cannot boot as {guests.type}",
            f"say `kernel: {able}`, or leave the type out",
        )
    if KERNELS[guests.boots].own_hooks:
        return
    for policy in policies:
        if policy.sections:
            yield Problem(
                where,
                f"{policy.name} hot-plugs memory in sections of 16 MiB, and those of {guests.boots} have 128 MiB",
                "leave out the policy, or boot `fidelity`",
            )
        if policy.swap == "zswap":
            yield Problem(
                where,
                f"what zswap does is counted by frontswap, which {guests.boots} has not",
                "leave out the policy, or boot `fidelity`",
            )
    for key in ("frontswap_hysteresis", "frontswap_inertia"):
        if key in file.selfballoon.settings():
            yield Problem(
                ("selfballoon", key),
                f"it is of self-shrinking, which {guests.boots} has not",
                "leave it out, or boot `fidelity`",
            )
    smallest = min(each.memory_start_mib for each in guests.every)
    if smallest < SMALLEST_STOCK_MIB:
        yield Problem(
            where,
            f"a guest cannot boot {guests.boots} with {smallest} MiB",
            f"at least {SMALLEST_STOCK_MIB} MiB, or boot `fidelity`",
        )


def _more_ram(
    file: ExperimentFile, policies: Sequence[Policy], host: HostSizing, guests: GuestSizing
) -> Iterator[Problem]:
    users = [policy for policy in policies if policy.more_ram]
    if file.more_ram is None:
        if users:
            yield Problem(
                ("more_ram",), f"the policy {users[0].name} needs to know how much", "say it: `more_ram: 64 MiB`"
            )
        return
    if not users:
        yield Problem(
            ("more_ram",), "no policy has `more-ram`, so it means nothing", "leave it out, or add the policy `more-ram`"
        )
    if guests.unlike:
        yield Problem(
            ("more_ram",), "guests in groups do not share it yet", "leave it out, or declare guests that are all alike"
        )
        return
    for policy in users:
        larger, with_more = more_ram.sizes(policy, host, guests, file.more_ram)
        share = with_more.memory_start_mib if policy.start == "configured" else larger.guest_memory_mib // guests.count
        if share > guests.memory_max_mib:
            yield Problem(
                ("more_ram",),
                f"under {policy.name} each guest would have {share} MiB, "
                f"and may have {guests.memory_max_mib} MiB at most",
                "lower it, or raise guests.memory_max",
            )


def load(
    workload: Workload[Any],
    parameters: Any,  # noqa: ANN401
    timeouts: TimeoutsSection,
    place: KeyPath,
) -> Iterator[Problem]:
    """What is wrong with a load: it fits no disk, or not even a fast host ends it in time. place:
    of the load in the file.
    """
    needed = workload.disk_bytes(parameters)
    if needed >= ROOT_DISK_MIB * MIB:
        yield Problem(
            (*place, "parameters"),
            f"{workload.name} wants {needed / MIB:,.0f} MiB of a guest's disk, which has {ROOT_DISK_MIB} MiB in all",
            "make its files smaller",
        )
    least = workload.expected_seconds(parameters, 1.0)
    if timeouts.run is not None and timeouts.run < least:
        yield Problem(
            ("timeouts", "run"),
            f"{workload.name} takes about {format_duration(least)} even on "
            f"a fast host alone, and may take {format_duration(timeouts.run)}",
            "raise it or leave it out, or lower the load",
        )


def on_host(experiment: Experiment, kind: str) -> int:
    """InvalidFileError, with the key, for what a host of this kind cannot be; a physical one is
    asked when it is there. The most memory [MiB] that an emulated one takes of its machine.
    """
    if kind != "emulated":
        if others := sorted(set(experiment.needs.kernels) - {FIDELITY}):
            raise InvalidFileError(
                f"servers have no {others[0]} for their guests",
                where=f"guests.kernel of {experiment.name}.yml",
                why="provisioning puts Linux 5.10 there alone",
                remedy="Leave it out, or run the experiment on an emulated host.",
            )
        _on_server(experiment)
        return 0
    from lab.hosts.emulated import check_sizing, memory_mib

    most = 0
    for conditions in _of_cells(experiment):
        try:
            check_sizing(conditions.host, conditions.guests)
        except InvalidFileError as error:
            where = error.where.replace(" of the experiment", f" of {experiment.name}.yml")
            raise InvalidFileError(error.what, where=where, why=error.why, remedy=error.remedy) from None
        most = max(most, memory_mib(conditions.host, conditions.guests))
    return most


def _of_cells(experiment: Experiment) -> Iterator[Conditions]:
    """Those of every policy at every combination of levels."""
    for levels in experiment.combinations():
        for policy in experiment.policies_at(levels):
            yield experiment.at(levels).under(policy)


def _on_server(experiment: Experiment) -> None:
    """InvalidFileError for memory that no server can have: less for dom0 than it comes up in, or
    another size for one policy than for the next. What it has, a server is asked.
    """
    from lab.hosts.physical import GUESTS_SLACK
    from lab.hosts.server_findings import DOM0_LEAST_MIB

    sizings = {conditions.host for conditions in _of_cells(experiment)}
    least = min(each.dom0_memory_mib for each in sizings)
    if least < DOM0_LEAST_MIB:
        raise InvalidFileError(
            f"{least} MiB are too little for dom0 of a server",
            where=f"host.dom0_memory of {experiment.name}.yml",
            why="a server runs a whole Debian there, an emulated host a small one",
            remedy=f"Say what the inventory's lab_dom0_memory says, {DOM0_LEAST_MIB} MiB at least; or take the "
            "experiment's --scale physical, where it has one.",
        )
    guests = sorted({each.guest_memory_mib for each in sizings})
    if guests[-1] > (1 + GUESTS_SLACK) * guests[0]:
        raise InvalidFileError(
            f"no server has {guests[0]} and {guests[-1]} MiB for guests at once",
            where=f"host.guest_memory, and policies of {experiment.name}.yml",
            why="an emulated host is made anew for each cell, a server has what it has",
            remedy="Leave out the policies and levels with more; or run it on an emulated host.",
        )


def too_large(memory_mib: int) -> str:
    """That an emulated host of so much memory is more than this machine has; empty when it is not.
    What is free of it is asked when the host starts.
    """
    there = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // MIB
    if memory_mib <= there:
        return ""
    return f"the emulated host takes {memory_mib} MiB of memory, and this machine has {there} MiB"
