"""The plan of a campaign: every cell, in an order that is random within blocks of repetitions and
balanced over them, from a recorded seed.

A block is one repetition of every policy at every combination of levels, so that a drift of the
host over hours meets all policies alike. Within a block the combinations come in the order of
SHA-256 of `<seed>:<block>:<levels>`; at each, the policies follow one another in the order of a row
of Williams' design, so that over as many blocks as there are policies each stands once in each
place, and over all rows each follows each other equally often. Which row, and which policy is which
of the design's, are the seed's as well: the same on every machine and Python, and anyone can check
it. Touches no lab.

Source: E. J. Williams, Experimental designs balanced for the estimation of residual effects of
treatments, 1949.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from campaigns import schedule
from campaigns.conditions import Conditions, Load
from campaigns.experiment import Experiment, Levels, fingerprint
from campaigns.records import PlannedCell
from common.metrics import whole
from common.units import format_duration

TCG_SLOWDOWN = 30.0
"""How many times slower a paravirtualised guest works under QEMU's TCG (measured on kernel
builds: starting a process costs more than compiling).
"""

STAGES = ("reset", "prepare", "policy", "settle", "run", "collect", "store")
"""What happens to a cell, in this order."""

_STAGE_SECONDS = {"reset": 15.0, "policy": 5.0, "prepare": 10.0, "collect": 5.0, "store": 1.0}
"""What the stages of fixed length should take on an emulated host; the others follow from the
experiment.
"""


def slowdown(accelerator: str | None, conditions: Conditions) -> float:
    """How many times slower than natively and alone a guest works: the emulation, and guests
    waiting for the host's processors.
    """
    emulation = TCG_SLOWDOWN if accelerator == "tcg" else 1.0
    return emulation * max(1.0, whole(each.vcpus for each in conditions.guests.every) / conditions.host.vcpus)


def expected_load(load: Load, conditions: Conditions, accelerator: str | None) -> float:
    """Seconds that a guest's load should take, from its own start."""
    return load.workload.expected_seconds(load.parameters, slowdown(accelerator, conditions))


def _expected_run(conditions: Conditions, accelerator: str | None) -> float:
    """Seconds from the release to the last guest's end."""
    guests = [str(number) for number in range(conditions.guests.count)]
    members = conditions.members(guests)
    lasts = {name: expected_load(group.load, conditions, accelerator) for name, group in members.items()}
    return max(schedule.ends(conditions.starts(guests), lasts).values())


def expected_stages(conditions: Conditions, accelerator: str | None) -> dict[str, float]:
    """Seconds that each stage of a cell should take."""
    run = _expected_run(conditions, accelerator)
    return {
        stage: _STAGE_SECONDS.get(stage, {"settle": conditions.settle_s, "run": run}.get(stage, 0.0))
        for stage in STAGES
    }


def expected_seconds(conditions: Conditions, accelerator: str | None) -> float:
    """Seconds that a cell should take."""
    return math.fsum(expected_stages(conditions, accelerator).values())


def plan(experiment: Experiment, accelerator: str | None = "tcg") -> tuple[PlannedCell, ...]:
    """Every cell in the order it is to be run. accelerator: of the host that the durations are
    expected for (`kvm`, `tcg`, None: physical).
    """
    expected = {}
    for levels in experiment.combinations():
        expected[level_key(levels)] = expected_seconds(experiment.at(levels), accelerator)
    combinations = [(level_key(levels), levels) for levels in experiment.combinations()]
    designs = {
        key: balanced_orders(experiment.seed, key, [policy.name for policy in experiment.policies_at(levels)])
        for key, levels in combinations
    }
    cells: list[PlannedCell] = []
    for block in range(experiment.repetitions):
        level = (block // experiment.runs + 1, block % experiment.runs + 1) if experiment.boots > 1 else (None, None)
        for key, levels in sorted(combinations, key=lambda pair: _chance(experiment.seed, block, pair[0])):
            rows = designs[key]
            for policy in rows[block % len(rows)]:
                cell = _id(policy, key, block + 1)
                seconds = round(expected[key], 1)
                cells.append(PlannedCell(cell, policy, levels, block + 1, block, len(cells), seconds, *level))
    return tuple(cells)


def balanced_orders(seed: int, key: str, policies: Sequence[str]) -> list[list[str]]:
    """Orders of the policies, one for each block, over and over.

    The first as many as there are policies have each policy once in each place; with an odd number,
    as many again are the same mirrored.
    """
    shuffled = sorted(policies, key=lambda policy: _chance(seed, key, policy))
    count = len(shuffled)
    first = [(place + 1) // 2 if place % 2 else (count - place // 2) % count for place in range(count)]
    square = [[(number + row) % count for number in first] for row in range(count)]
    squares = [square] if count % 2 == 0 or count == 1 else [square, [row[::-1] for row in square]]
    rows = []
    for number, each in enumerate(squares):
        order = sorted(range(count), key=lambda row, number=number: _chance(seed, key, f"{number}:{row}"))  # type: ignore[misc]
        rows += [[shuffled[place] for place in each[row]] for row in order]
    return rows


def _chance(seed: int, *what: object) -> str:
    return hashlib.sha256(":".join(map(str, (seed, *what))).encode()).hexdigest()


def positions(cells: Iterable[PlannedCell]) -> dict[str, list[int]]:
    """Policy -> how often it is first, second, ... among the cells of its block and levels."""
    places: Counter[tuple[int, str]] = Counter()
    found: dict[str, Counter[int]] = {}
    for cell in cells:
        point = (cell.block, level_key(cell.levels))
        found.setdefault(cell.policy, Counter())[places[point]] += 1
        places[point] += 1
    return {policy: [counts[place] for place in range(len(found))] for policy, counts in sorted(found.items())}


def warnings(experiment: Experiment, accelerator: str | None = "tcg") -> list[str]:
    """What is allowed, and probably not meant. accelerator: of the host that it is to be run on."""
    conditions = [experiment.at(levels) for levels in experiment.combinations()]
    found = []
    most = max(conditions, key=lambda each: each.overcommit_ratio)
    asked = most.gates.overcommit_ratio  # a low one says that it is meant
    if most.overcommit_ratio <= 1 and not (asked is not None and asked <= most.overcommit_ratio):
        count = most.guests.count
        found.append(
            f"nothing is overcommitted: {count} guest{'s' if count > 1 else ''} of at "
            f"most {_sizes(most)} MiB fit{'' if count > 1 else 's'} into the host's "
            f"{most.host.guest_memory_mib} MiB for guests, so no policy has "
            "anything to do; raise guests.memory_max or lower host.guest_memory"
        )
    found += _passed_over(experiment)
    for each in conditions:
        longest = max(expected_load(group.load, each, accelerator) for group in each.groups)
        expected = expected_stages(each, accelerator) | {"run": longest}
        limits = each.timeouts
        for stage, limit in (("run", limits.run), ("prepare", limits.prepare), ("collect", limits.collect)):
            if limit is not None and limit < expected[stage]:
                found.append(
                    f"timeouts.{stage} is {format_duration(limit)}, and "
                    f"{format_duration(expected[stage])} are expected "
                    f"{'without KVM' if accelerator == 'tcg' else 'on this host'}"
                )
    return list(dict.fromkeys(found))


def _passed_over(experiment: Experiment) -> Iterator[str]:
    """Policies that are the same at all levels of a size that guests begin with. Who moves memory
    goes elsewhere from there.
    """
    for path in experiment.factors:
        if path.startswith("guests.") and path.endswith("memory_start"):
            for policy in experiment.policies:
                if policy.start == "share" and not policy.moves:
                    yield (
                        f"{path} is a factor, and under {policy.name} guests have an even share of the "
                        "host whatever it says; fixed, with the same parts, goes by it"
                    )


def _sizes(conditions: Conditions) -> str:
    return " or ".join(str(size) for size in dict.fromkeys(each.memory_max_mib for each in conditions.guests.every))


def block_order(seed: int, block: int, cells: Iterable[str]) -> list[str]:
    """The cells of a block in the order that the seed gives them in campaigns of layout 1
    (records.LAYOUT), which were not balanced.
    """
    return sorted(cells, key=lambda cell: hashlib.sha256(f"{seed}:{block}:{cell}".encode()).hexdigest())


def cell_id(policy: str, levels: Levels, repetition: int) -> str:
    """A name that is unique in its campaign and safe as a directory's: `<policy>.<hash of the
    levels, if any>.r<repetition>`.
    """
    return _id(policy, level_key(levels), repetition)


def _id(policy: str, key: str, repetition: int) -> str:
    return ".".join(part for part in (policy, key, f"r{repetition}") if part)


def level_key(levels: Levels) -> str:
    """Eight hexadecimal digits for a combination of levels; nothing when there are no factors."""
    return fingerprint(levels)[:8] if levels else ""
