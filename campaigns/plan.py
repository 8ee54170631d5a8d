"""The plan of a campaign: every cell, in an order that is random within blocks of repetitions, from a recorded seed. Touches no lab.

A block is one repetition of every policy at every combination of levels, so that a drift of the host over hours meets all policies alike.
Within a block the cells are sorted by SHA-256 of `<seed>:<block>:<cell>`: the same order on every machine and Python, and anyone can check it.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable

from campaigns.experiment import Conditions, Experiment, Levels, fingerprint
from campaigns.records import PlannedCell

TCG_SLOWDOWN = 30.0
"""How many times slower a paravirtualised guest works under QEMU's TCG (measured on kernel builds: starting a process costs more than compiling)."""

STAGES = ("reset", "prepare", "policy", "settle", "run", "collect", "store")
"""What happens to a cell, in this order."""

_STAGE_SECONDS = {"reset": 15.0, "policy": 5.0, "prepare": 10.0, "collect": 5.0, "store": 1.0}
"""What the stages of fixed length should take on an emulated host; the others follow from the experiment."""


def slowdown(accelerator: str | None, conditions: Conditions) -> float:
    """How many times slower than natively and alone a guest works: the emulation, and guests waiting for the host's processors."""
    emulation = TCG_SLOWDOWN if accelerator == "tcg" else 1.0
    return emulation * max(1.0, conditions.guests.count * conditions.guests.vcpus / conditions.host.vcpus)


def expected_stages(conditions: Conditions, accelerator: str | None) -> dict[str, float]:
    """Seconds that each stage of a cell should take."""
    run = conditions.workload.expected_seconds(conditions.parameters, slowdown(accelerator, conditions))
    return {
        stage: _STAGE_SECONDS.get(stage, {"settle": conditions.settle_s, "run": run}.get(stage, 0.0))
        for stage in STAGES
    }


def plan(experiment: Experiment, accelerator: str | None = "tcg") -> tuple[PlannedCell, ...]:
    """Every cell in the order it is to be run. accelerator: of the host that the durations are expected for (`kvm`, `tcg`, None: physical)."""
    expected = {}
    for levels in experiment.combinations():
        expected[level_key(levels)] = math.fsum(expected_stages(experiment.at(levels), accelerator).values())
    cells: list[PlannedCell] = []
    for block in range(experiment.repetitions):
        members = [
            (cell_id(policy.name, levels, block + 1), policy.name, levels)
            for levels in experiment.combinations()
            for policy in experiment.policies
        ]
        names = {cell: (policy, levels) for cell, policy, levels in members}
        for cell in block_order(experiment.seed, block, names):
            policy, levels = names[cell]
            cells.append(
                PlannedCell(cell, policy, levels, block + 1, block, len(cells), round(expected[level_key(levels)], 1))
            )
    return tuple(cells)


def block_order(seed: int, block: int, cells: Iterable[str]) -> list[str]:
    """The cells of a block in the order that the seed gives them."""
    return sorted(cells, key=lambda cell: hashlib.sha256(f"{seed}:{block}:{cell}".encode()).hexdigest())


def cell_id(policy: str, levels: Levels, repetition: int) -> str:
    """A name that is unique in its campaign and safe as a directory's: `<policy>.<hash of the levels, if any>.r<repetition>`."""
    return ".".join(part for part in (policy, level_key(levels), f"r{repetition}") if part)


def level_key(levels: Levels) -> str:
    """Eight hexadecimal digits for a combination of levels; nothing when there are no factors."""
    return fingerprint(levels)[:8] if levels else ""
