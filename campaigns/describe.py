"""Experiments for people: what each asks, and what it comes to."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from campaigns import experiment, looks, plan
from campaigns.conditions import Conditions, Group
from campaigns.experiment import Experiment
from campaigns.records import PlannedCell
from common.console import aligned
from common.metrics import whole
from common.text import COLUMNS, one_line, wrapped
from common.units import format_duration, rough_duration
from lab.api import OwnSizing

_SIZES = ("overcommit_ratio", "host", "guests", "more_ram")
"""Factors that change what host and guests are like."""


@dataclass(frozen=True)
class Entry:
    """An experiment of experiments/. scales: its presets."""

    name: str
    title: str
    question: str
    scales: tuple[str, ...]


def entries() -> list[Entry]:
    """Every experiment, by name. InvalidFileError for one that is none."""
    found = []
    for path in sorted(experiment.EXPERIMENTS.glob("*.yml")):
        made = experiment.load(path.stem)
        question = one_line(str(made.document["question"]))
        found.append(Entry(made.name, made.title, question, tuple(experiment.scales(path.stem))))
    return found


def listing(found: Sequence[Entry]) -> list[str]:
    """Each with its question, below one another."""
    scales = {each.name: f" (--scale {' or '.join(each.scales)})" if each.scales else "" for each in found}
    return [line for each in found for line in (f"{each.name}{scales[each.name]}", *wrapped(f"    {each.question}"))]


def lines(made: Experiment) -> list[str]:
    """What an experiment asks, its sizes, loads, policies, factors and claims, and how long it
    takes.
    """
    cells = plan.plan(made)
    taken = rough_duration(math.fsum(cell.expected_seconds for cell in cells))
    often = f"{len(cells)} cells{' at most' if made.until else ''}, {made.boots} × {made.runs} (boots × runs) of each"
    return wrapped(
        f"{made.name}: {made.title}",
        f"    {one_line(str(made.document['question']))}",
        *_first_sizes(made),
        f"    policies: {', '.join(policy.name for policy in made.policies)}",
        *(f"    {path}: {', '.join(map(str, levels))}" for path, levels in made.factors.items()),
        f"    {often}; about {taken} without KVM",
        *_until(made, cells),
        *(f"    claim {claim.id}: {one_line(claim.statement)} ({claim.evidence})" for claim in made.claims),
        *(f"    threshold {each['id']}: {one_line(each['question'])}" for each in made.document.get("thresholds", [])),
    )


def _until(made: Experiment, cells: Sequence[PlannedCell]) -> list[str]:
    """Where the data chooses the sample size: between what, and how."""
    if (until := made.until) is None:
        return []
    least = looks.within(cells, until, until.sizes[0])
    taken = rough_duration(math.fsum(cell.expected_seconds for cell in least))
    text = (
        f"    {until.sizes[0]} to {until.sizes[-1]} {until.unit}s: {len(least)} to {len(cells)} cells,"
        f" about {taken} at least. They end when half the interval of {until.metric}, {until.treatment} ÷"
        f" {until.control}, is at most {100 * until.half_width:g} % of it, at all levels. Looked at after"
        f" {', '.join(map(str, until.sizes))}, each time at {100 * until.level:.4g} %."
    )
    return [text]


def _first_sizes(made: Experiment) -> list[str]:
    """Host, guests and loads; where they vary, those of the first levels, which is said."""
    first = next(made.combinations())
    varied = [f"{path} {level}" for path, level in first.items() if path.split(".")[0] in _SIZES]
    head = [f"    at {', '.join(varied)}, the first of {'its' if len(varied) == 1 else 'their'} levels:"]
    return [*(head if varied else []), *sizing(made.at(first))]


def sizing(conditions: Conditions) -> list[str]:
    """Host, guests and loads in lines."""
    host = conditions.host
    first = f"    host: {host.guest_memory_mib} MiB for guests, {host.vcpus} vCPUs, dom0 {host.dom0_memory_mib} MiB"
    found = [f"{first}; overcommit ratio {conditions.overcommit_ratio:.2f}"]
    number = 1
    for group in conditions.groups:
        found.append(f"    {_guests(group, conditions.guests.own(number))}")
        number += group.count
    return found


def _guests(group: Group, own: OwnSizing) -> str:
    load = group.load
    starts = "".join(_starts(group))
    return (
        f"{group.count} guest{'' if group.count == 1 else 's'}{f' {group.name}' if group.name else ''}: "
        f"{own.vcpus} vCPU{'' if own.vcpus == 1 else 's'}, {own.memory_start_mib} to {own.memory_max_mib} MiB, "
        f"{load.workload.name}{starts}"
    )


def _starts(group: Group) -> Iterator[str]:
    if group.after:
        yield f", after {group.after}"
    if group.load.phase_s:
        yield f", {format_duration(group.load.phase_s)} apart"


def plan_lines(made: Experiment, cells: Sequence[PlannedCell]) -> list[str]:
    """A plan: sizes and loads, the combinations of levels, the cells in their order, and in which
    place policies stand.
    """
    combinations = list(made.combinations())
    keys = {plan.level_key(levels): f"L{number}" for number, levels in enumerate(combinations, 1)}
    found = [f"{made.title} (seed {made.seed})", *_first_sizes(made)]
    for levels in combinations if made.factors else ():
        at = made.at(levels)
        told = ", ".join(f"{path.removeprefix('workload.parameters.')} {level}" for path, level in levels.items())
        guests = f"{at.guests.count} guest{'' if at.guests.count == 1 else 's'}"
        found += [
            f"    {keys[plan.level_key(levels)]}: {told}",
            f"        {at.host.guest_memory_mib} MiB for {guests}, ratio {at.overcommit_ratio:.2f}",
        ]
    columns = ["order", "cell", *(["levels"] if made.factors else []), "takes"]
    rows = [
        [
            str(cell.order),
            cell.cell,
            *([keys[plan.level_key(cell.levels)]] if made.factors else []),
            rough_duration(cell.expected_seconds),
        ]
        for cell in cells
    ]
    return [*wrapped(*found), "", *aligned([columns, *rows]), "", *_places(cells), *wrapped(*_until(made, cells))]


def _places(cells: Sequence[PlannedCell]) -> list[str]:
    """How often each policy has which place; nothing where each runs once, and so has one."""
    balance = plan.positions(cells)
    if all(whole(counts) <= 1 for counts in balance.values()):
        return []
    rows = [["policy", *map(str, range(1, len(balance) + 1))]]
    rows += [[policy, *map(str, counts)] for policy, counts in balance.items()]
    table = list(aligned(rows))
    said = "each policy has which place among the cells of its block and levels"
    if max(map(len, table)) <= COLUMNS:
        return [f"how often {said}", *table, ""]
    each = [count for counts in balance.values() for count in counts]
    return [*wrapped(f"{said}: between {min(each)} and {max(each)} times"), ""]
