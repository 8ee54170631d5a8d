"""An experiment's file without factors to the conditions of its cells: sizes that follow from
others, settings, loads; and everything that is wrong with them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from campaigns import feasible, mistakes
from campaigns.conditions import Conditions, Group, Load
from campaigns.document import Document, KeyPath, Problem
from campaigns.schema import FIT_MIB, ExperimentFile, GatesSection, GroupedSection, WorkloadSection
from common.metrics import whole
from lab.api import GuestSizing, HostSizing, OwnSizing
from lab.kernels import KERNELS
from policies import apply, memory_swap
from policies import registry as policies
from policies.base import Tuning
from workloads import registry
from workloads.base import Workload


def conditions(file: ExperimentFile) -> Conditions:
    """The conditions. InvalidFileError for what cannot be; of an experiment, all has been checked
    before.
    """
    found, problems = resolve(file)
    if found is None or problems:
        raise Document(Path("experiment"), {}, {}).error(problems)
    return found


def resolve(file: ExperimentFile) -> tuple[Conditions | None, list[Problem]]:
    """The conditions, when the loads can be understood, and everything that is wrong with them."""
    host, sizing, problems = _sizes(file)
    host, sizing, gates = _with_kernels(file, host, sizing)
    problems.extend(feasible.sizing(host, sizing, file))
    if not all(each.memory_max_mib for each in sizing.every):
        return None, problems  # nobody's share can be told
    asked = [policies.parse(policy) for policy in file.policies]
    problems.extend(feasible.controls(file, asked, host, sizing))
    problems.extend(feasible.kernel(file, asked, sizing))
    numbers = range(1, sizing.count + 1)
    least = [apply.start_mib(policy, host, sizing, number) for policy in asked for number in numbers]
    used, in_dom0 = managers(file), bool(managers(file, in_dom0=True))
    tuning = Tuning(
        dict(file.guests.sysctl),
        file.selfballoon.settings(),
        file.tmem.settings(),
        memory_swap.devices(
            file.ramdisk_swap, file.zswap, file.zram, sizing, min(least, default=sizing.memory_start_mib)
        ),
        file.manager.tuning() if in_dom0 else None,
        {name: file.settings_of(name).values() for name in sorted(used)},
    )
    managed = [policy for policy in asked if policy.manager]
    smallest = min(apply.start_mib(policy, host, sizing, number) for policy in managed or asked for number in numbers)
    if in_dom0 and file.manager.minimum > smallest:
        problems.append(
            Problem(
                ("manager", "minimum"),
                f"guests cannot keep at least {file.manager.minimum} MiB where they start with {smallest}",
                "lower it, or raise host.guest_memory",
            )
        )
    if tuning.selfballoon and not any(any(policy.module.values()) for policy in asked):
        problems.append(
            Problem(
                ("selfballoon",), "no policy loads the guest driver, so its settings mean nothing", "leave them out"
            )
        )
    groups, wrong = _groups(file)
    if wrong:
        return None, [*problems, *wrong]
    for place, section in file.loads().items():
        workload = registry.get(section.name)
        parameters = workload.Parameters.model_validate(section.parameters)
        problems.extend(feasible.load(workload, parameters, file.timeouts, place))
    found = Conditions(
        host,
        sizing,
        tuning,
        groups,
        file.settle,
        file.sampling.interval,
        file.timeouts,
        gates,
        file.more_ram or 0,
        traced=file.sampling.trace,
    )
    return found, problems


def managers(file: ExperimentFile, *, in_dom0: bool = False) -> set[str]:
    """The managers that the file's policies have, as far as there are such policies. in_dom0: only
    those there, and none of the guests' own.
    """
    bases = [policies.BASES.get(name.partition("+")[0]) for name in file.policies]
    names = [(base.manager, None if in_dom0 else base.guest_manager) for base in bases if base is not None]
    return {name for pair in names for name in pair if name is not None}


def parameter_problems(workload: Workload[Any], given: Mapping[str, Any], place: KeyPath) -> list[Problem]:
    """What is wrong with parameters. place: of the load in the file."""
    try:
        workload.Parameters.model_validate(given)
    except ValidationError as error:
        known = list(workload.Parameters.model_fields)
        found = [mistakes.of_pydantic(detail, known) for detail in error.errors(include_url=False)]
        return [Problem((*place, "parameters", *each.path), each.message, each.remedy) for each in found]
    return []


def _sizes(file: ExperimentFile) -> tuple[HostSizing, GuestSizing, list[Problem]]:
    """Sizes of host and guests. Where they are not given: the host's memory for guests follows from
    the guests' and the ratio, or, with `fit`, the guests' from the host's and the ratio; guests
    start with a share in proportion to their maxima.
    """
    groups, problems = file.groups, []
    count = whole(group.count for group in groups.values())
    most = {name: group.memory_max for name, group in groups.items()}
    available, ratio = file.host.guest_memory, file.overcommit_ratio
    if FIT_MIB in most.values():
        if available is None:
            problems.append(
                Problem(("host", "guest_memory"), "memory_max can only fit a host whose guest_memory is given")
            )
            available = count
        most = dict.fromkeys(most, int(available * (ratio or 1) / count))
    elif (ratio is None) == (available is None):
        problems.append(
            Problem(
                ("host", "guest_memory"),
                "either host.guest_memory or overcommit_ratio has to be given, and not both",
                "keep one of the two",
            )
        )
    wanted = whole(group.count * most[name] for name, group in groups.items())
    if available is None:
        available = int(wanted / (ratio or 1))
    each = {
        name: OwnSizing(group.vcpus, most[name], _start(group.memory_start, most[name], available, wanted))
        for name, group in groups.items()
    }
    swap = file.guests.swap if file.guests.swap is not None else max(most.values())
    unlike = tuple(each[name] for name, group in groups.items() for _ in range(group.count))
    sizing = GuestSizing(
        count,
        max(own.vcpus for own in each.values()),
        max(most.values()),
        max(own.memory_start_mib for own in each.values()),
        swap,
        unlike=unlike if isinstance(file.guests, GroupedSection) else (),
        boots=file.guests.kernel,
        type=file.guests.type,
    )
    return HostSizing(available, file.host.dom0_memory, file.host.vcpus), sizing, problems


def _with_kernels(
    file: ExperimentFile, host: HostSizing, guests: GuestSizing
) -> tuple[HostSizing, GuestSizing, GatesSection]:
    """With what the guests' kernel takes, where it is to be added: to each guest's memory, and to
    the host's for guests, so that as much is left for programs and files as on Linux 5.10. A ratio
    that a gate requires is lowered by as much as the ratio of the sizes is.
    """
    more = KERNELS[guests.boots].takes_mib if file.guests.kernel_memory == "added" else 0
    if not more:
        return host, guests, file.gates
    larger = replace(host, guest_memory_mib=host.guest_memory_mib + more * guests.count)
    fed = replace(
        guests,
        memory_max_mib=guests.memory_max_mib + more,
        memory_start_mib=guests.memory_start_mib + more,
        unlike=tuple(
            replace(each, memory_max_mib=each.memory_max_mib + more, memory_start_mib=each.memory_start_mib + more)
            for each in guests.unlike
        ),
    )
    gates, asked = file.gates, file.gates.overcommit_ratio
    if asked is not None:
        before, after = (
            whole(each.memory_max_mib for each in of.every) / on.guest_memory_mib
            for of, on in ((guests, host), (fed, larger))
        )
        gates = gates.model_copy(update={"overcommit_ratio": asked * after / before})
    return larger, fed, gates


def _start(asked: int | None, most: int, available: int, wanted: int) -> int:
    return asked if asked is not None else min(most, available * most // max(wanted, 1))


def _groups(file: ExperimentFile) -> tuple[tuple[Group, ...], list[Problem]]:
    """The groups with their loads; nothing where there is something wrong with parameters."""
    wrong = [
        problem
        for place, section in file.loads().items()
        for problem in parameter_problems(registry.get(section.name), section.parameters, place)
    ]
    if wrong:
        return (), wrong
    found = []
    for name, group in file.groups.items():
        section = group.workload or file.workload
        assert section is not None  # experiment.py has looked
        found.append(Group(name, group.count, _load(section), group.after))
    return tuple(found), []


def _load(section: WorkloadSection) -> Load:
    workload = registry.get(section.name)
    return Load(workload, workload.Parameters.model_validate(section.parameters), section.phase)
