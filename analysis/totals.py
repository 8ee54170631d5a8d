"""One value per cell: a metric aggregated over the guests, and ratios of such values between policies.

A total over fewer guests is another figure, not a smaller one: if any guest that has the metric elsewhere in the
campaign lacks it in a cell, or its value is missing, the cell's value is missing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from analysis import statistics
from analysis.load import Results, levels_text
from campaigns.records import Aggregate, CellRecord, aggregate


@dataclass(frozen=True)
class Quantity:
    """A quantity of a cell that tables and figures show. metrics: what is added up; how: over the guests."""

    name: str
    metrics: tuple[str, ...]
    how: Aggregate
    unit: str
    label: str


QUANTITIES: Mapping[str, Quantity] = {
    quantity.name: quantity
    for quantity in (
        Quantity("sectors_read", ("sectors_read",), "sum", "sectors", "sectors read"),
        Quantity("sectors_written", ("sectors_written",), "sum", "sectors", "sectors written"),
        Quantity("wall_seconds", ("wall_seconds",), "max", "s", "wall time"),
        Quantity("vcpu_seconds", ("vcpu_seconds", "dom0_vcpu_seconds"), "sum", "s", "vCPU seconds, guests and dom0"),
        Quantity("guest_vcpu_seconds", ("vcpu_seconds",), "sum", "s", "vCPU seconds, guests"),
        Quantity("dom0_vcpu_seconds", ("dom0_vcpu_seconds",), "sum", "s", "vCPU seconds, dom0"),
        Quantity("major_faults", ("major_faults",), "sum", "count", "major faults"),
        Quantity("swap_in", ("swap_in",), "sum", "pages", "pages swapped in"),
        Quantity("swap_out", ("swap_out",), "sum", "pages", "pages swapped out"),
    )
}
"""Wall time is until the last guest has finished: all guests start at one barrier, and that is when the work is done."""


@dataclass(frozen=True)
class Compared:
    """A quantity under a policy compared with a control, at factor levels."""

    levels: str
    quantity: str
    unit: str
    policy: str
    control: str
    ratio: statistics.Ratio


def cell_value(results: Results, cell: CellRecord, metric: str, how: Aggregate) -> float | None:
    """A metric of a cell over its guests; None when a guest that should have it does not."""
    values = {item.guest: item.value for item in cell.metrics if item.name == metric}
    if expected_guests(results, metric, levels_text(cell.levels)) - set(values):
        return None
    return aggregate(values.values(), how)


def expected_guests(results: Results, metric: str, levels: str) -> set[str | None]:
    """The guests (None: the host) that have a metric in any complete cell at these levels."""
    chosen = (cell for cell in results.records if levels_text(cell.levels) == levels)
    return {item.guest for cell in chosen for item in cell.metrics if item.name == metric}


def value(results: Results, cell: CellRecord, quantity: Quantity) -> float | None:
    """A quantity of a cell. None when any of its metrics is missing."""
    return aggregate([cell_value(results, cell, metric, quantity.how) for metric in quantity.metrics], "sum")


def values(results: Results, quantity: Quantity, policy: str, levels: str) -> dict[str, float | None]:
    """Cell id -> value, by repetition, complete cells only."""
    return {cell.cell: value(results, cell, quantity) for cell in results.at(policy, levels)}


def control_of(results: Results) -> str:
    """The policy that all others are compared with: the first that the experiment declares."""
    return results.policies[0]


def base_policy(results: Results, policy: str) -> str | None:
    """The same policy with less: the name with its last `+...` parts taken off until one was in the plan."""
    name = policy
    while "+" in name:
        name = name.rpartition("+")[0]
        if name in results.policies:
            return name
    return None


def controls_of(results: Results, policy: str) -> list[str]:
    """What a policy is compared with: its base, then the experiment's first policy. None of them is itself."""
    found = dict.fromkeys((base_policy(results, policy), control_of(results)))
    return [name for name in found if name is not None and name != policy]


def is_blocked(results: Results, treatment: str, control: str, levels: str) -> bool:
    """Whether the plan has both policies exactly once in each of their blocks, so that blocks are pairs."""
    blocks: dict[str, list[int]] = {treatment: [], control: []}
    for cell in results.record.cells:
        if cell.policy in blocks and levels_text(cell.levels) == levels:
            blocks[cell.policy].append(cell.block)
    above, below = sorted(blocks[treatment]), sorted(blocks[control])
    return bool(above) and above == below and len(set(above)) == len(above)


def ratio_of(
    results: Results, metrics: tuple[str, ...], how: Aggregate, *, treatment: str, control: str, levels: str
) -> statistics.Ratio:
    """Treatment ÷ control of a metric (or a sum of metrics), with its interval."""
    blocked = is_blocked(results, treatment, control, levels)
    quantity = Quantity("", metrics, how, "", "")
    sides: list[dict[statistics.Block, float | None]] = [
        {cell.block if blocked else cell.cell: value(results, cell, quantity) for cell in results.at(policy, levels)}
        for policy in (treatment, control)
    ]
    return statistics.ratio(sides[0], sides[1], blocked=blocked)


def compare_all(results: Results) -> list[Compared]:
    """Every quantity of every policy against its controls, at all levels, where the campaign has the metric at all."""
    measured = {item.name for cell in results.records for item in cell.metrics}
    return [
        Compared(
            levels,
            quantity.name,
            quantity.unit,
            policy,
            control,
            ratio_of(results, quantity.metrics, quantity.how, treatment=policy, control=control, levels=levels),
        )
        for levels in results.levels
        for quantity in QUANTITIES.values()
        if measured.issuperset(quantity.metrics)
        for policy in results.policies
        for control in controls_of(results, policy)
    ]
