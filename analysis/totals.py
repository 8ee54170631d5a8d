"""One value per cell: a metric aggregated over the guests, and ratios of such values between
policies.

A total over fewer guests is another figure, not a smaller one: if any guest that has the metric
elsewhere in the campaign lacks it in a cell, or its value is missing, the cell's value is missing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from analysis import statistics
from analysis.derived import DOM0_SAMPLING, GUEST_SAMPLING, SAMPLING_CPU
from analysis.load import Results, levels_text, staggered
from campaigns.records import Aggregate, CellRecord, PlannedCell, aggregate
from common.metrics import is_timed


@dataclass(frozen=True)
class Quantity:
    """A quantity of a cell that tables and figures show. metrics: what is added up; how: over the
    guests.

    less: what is taken out of it, where the campaign has it measured at all (`without`).
    """

    name: str
    metrics: tuple[str, ...]
    how: Aggregate
    unit: str
    label: str
    less: tuple[str, ...] = ()
    group: str | None = None
    late: bool = False

    def applies(self, results: Results) -> bool:
        """Whether it has a place in the tables of a campaign."""
        return not self.late or all(results.campaign.spec(metric) is not None for metric in self.metrics)


_SAMPLING = (GUEST_SAMPLING, DOM0_SAMPLING)

QUANTITIES: Mapping[str, Quantity] = {
    quantity.name: quantity
    for quantity in (
        Quantity("sectors_read", ("sectors_read",), "sum", "sectors", "sectors read"),
        Quantity("sectors_written", ("sectors_written",), "sum", "sectors", "sectors written"),
        Quantity("read_requests", ("read_requests",), "sum", "requests", "read requests"),
        Quantity("disk_requests", ("disk_requests",), "sum", "requests", "disk requests"),
        Quantity("wall_seconds", ("wall_seconds",), "max", "s", "wall time"),
        Quantity("run_seconds", ("run_seconds",), "sum", "s", "time of all guests", late=True),
        Quantity("footprint", ("footprint",), "sum", "GiB·min", "footprint", late=True),
        Quantity(
            "total_vcpu_seconds",
            ("vcpu_seconds", "dom0_vcpu_seconds"),
            "sum",
            "s",
            "vCPU seconds, guests and dom0",
            _SAMPLING,
        ),
        Quantity("vcpu_seconds", ("vcpu_seconds",), "sum", "s", "vCPU seconds, guests", _SAMPLING[:1]),
        Quantity("dom0_vcpu_seconds", ("dom0_vcpu_seconds",), "sum", "s", "vCPU seconds, dom0", _SAMPLING[1:]),
        Quantity("sampling_seconds", _SAMPLING, "sum", "s", "vCPU seconds, sampling"),
        Quantity("sampling_cpu_seconds", (SAMPLING_CPU,), "sum", "s", "vCPU seconds, sampling"),
        Quantity("tmem_cycles", ("tmem_cycles",), "sum", "cycles", "cycles in tmem"),
        Quantity("major_faults", ("major_faults",), "sum", "count", "major faults"),
        Quantity("swap_in", ("swap_in",), "sum", "pages", "pages swapped in"),
        Quantity("swap_out", ("swap_out",), "sum", "pages", "pages swapped out"),
        Quantity("pages_reclaimed", ("pages_reclaimed",), "sum", "pages", "pages reclaimed"),
        Quantity("refaults", ("refaults",), "sum", "pages", "refaults"),
    )
}
"""Wall time is what the barrier measured: from the release to the end of the last guest's script,
by the host's clock; where loads start apart (`wall_time`), the longest of any guest's own.

That is more than the build or the tool in it took. Sampling is taken out of vCPU seconds where it
was measured.
"""


def wall_time(results: Results, release: str = "the release") -> str:
    """What wall time is of, in this campaign. release: as the text has it."""
    if staggered(results):
        return "from the start of a guest's script, which its phase delays, to its end, of the guest with the longest"
    return f"from {release} to the end of the last guest's script"


def run_seconds(results: Results, cell: CellRecord) -> float | None:
    """Seconds that a cell ran, all guests together. Older campaigns tell the longest of their
    guests only, which start together.
    """
    told = cell.value("run_seconds")
    return value(results, cell, QUANTITIES["wall_seconds"]) if told is None else told


@dataclass(frozen=True)
class Compared:
    """A quantity under a policy compared with a control, at factor levels."""

    levels: str
    quantity: str
    unit: str
    policy: str
    control: str
    ratio: statistics.Ratio


def cell_value(
    results: Results, cell: CellRecord, metric: str, how: Aggregate, group: str | None = None
) -> float | None:
    """A metric of a cell over its guests, or those of a group; None when a guest that should have
    it does not.
    """
    values, expected = results.values_of(cell.cell, metric), guests_of(results, cell, metric, group)
    if group is not None:
        members = results.members(levels_text(cell.levels), group)
        values = {guest: value for guest, value in values.items() if guest in members}
    if expected - set(values):
        return None
    return aggregate(values.values(), how)


def guests_of(results: Results, cell: CellRecord, metric: str, group: str | None = None) -> frozenset[str | None]:
    """The guests (None: the host), or those of a group, that should have a metric in a cell."""
    levels = levels_text(cell.levels)
    expected = expected_guests(results, metric, levels)
    return expected if group is None else expected & results.members(levels, group)


def expected_guests(results: Results, metric: str, levels: str) -> frozenset[str | None]:
    """The guests (None: the host) that have a metric in any complete cell at these levels."""
    return results.guests_with.get((levels, metric), frozenset())


def without(results: Results, quantity: Quantity) -> tuple[str, ...]:
    """What is taken out of a quantity in this campaign: what any cell has measured. A cell that
    lacks it then has no value.
    """
    return tuple(metric for metric in quantity.less if metric in results.known)


def value(results: Results, cell: CellRecord, quantity: Quantity) -> float | None:
    """A quantity of a cell. None when any of its metrics is missing."""
    if (cell.cell, quantity) not in results.worked_out:
        results.worked_out[cell.cell, quantity] = _value(results, cell, quantity)
    return results.worked_out[cell.cell, quantity]


def _value(results: Results, cell: CellRecord, quantity: Quantity) -> float | None:
    parts = [cell_value(results, cell, metric, quantity.how, quantity.group) for metric in quantity.metrics]
    plus = aggregate(parts, "sum")
    less = [cell_value(results, cell, metric, quantity.how) for metric in without(results, quantity)]
    minus = aggregate(less, "sum") if less else 0.0
    return None if plus is None or minus is None else plus - minus


def values(results: Results, quantity: Quantity, policy: str, levels: str) -> dict[str, float | None]:
    """Cell id -> value, by repetition, complete cells only."""
    return {cell.cell: value(results, cell, quantity) for cell in results.at(policy, levels)}


def control_of(results: Results) -> str:
    """The policy that all others are compared with: the first that the experiment declares."""
    return results.policies[0]


def base_policy(results: Results, policy: str) -> str | None:
    """The same policy with less: the name with its last `+...` parts taken off until one was in
    the plan.
    """
    name = policy
    while "+" in name:
        name = name.rpartition("+")[0]
        if name in results.policies:
            return name
    return None


_BY_TMEM = ("tmem", "cleancache", "frontswap")
"""Parts of a policy's name that have pages kept in tmem."""


def uses_tmem(policy: str) -> bool:
    """Whether a policy has pages kept in tmem."""
    return any(part in _BY_TMEM for part in policy.split("+"))


def without_tmem(results: Results, policy: str) -> str | None:
    """The same policy with nothing in tmem: its base, or that one's; None when the policy has
    nothing in tmem itself, or no such base was in the plan.
    """
    base: str | None = policy
    while base is not None and uses_tmem(base):
        base = base_policy(results, base)
    return None if base == policy else base


def clock(results: Results) -> str:
    """Whose times are drawn, for behind the words of an axis: of an emulated machine, or nothing to
    say.
    """
    return ", emulated" if any(cell.host_kind == "emulated" for cell in results.complete) else ""


def clock_of(results: Results, quantity: Quantity) -> str:
    """The same for an axis of a quantity: nothing to say where it is no time."""
    return clock(results) if is_timed(quantity.unit) else ""


def controls_of(results: Results, policy: str) -> list[str]:
    """What a policy is compared with: its base, then the experiment's first policy. None of them
    is itself.
    """
    found = dict.fromkeys((base_policy(results, policy), control_of(results)))
    return [name for name in found if name is not None and name != policy]


def looks_of(results: Results) -> int:
    """How often it was to be asked whether there are enough repetitions: 1 where that was fixed."""
    return 1 if results.campaign.until is None else len(results.campaign.until.sizes)


def pair_key(cell: CellRecord | PlannedCell) -> tuple[int, int, int | None]:
    """What two cells of a pair have in common: boot, block, and run where runs are told."""
    return (boot_of(cell), cell.block, cell.run)


def boot_of(cell: CellRecord | PlannedCell) -> int:
    """The boot that a cell ran in. Records that name none are of campaigns in which every cell
    began from one boot.
    """
    return 1 if cell.boot is None else cell.boot


def is_blocked(results: Results, treatment: str, control: str, levels: str) -> bool:
    """Whether the plan has both policies exactly once in each of their blocks, so that blocks
    are pairs.
    """
    above, below = (
        sorted(
            tuple(-1 if part is None else part for part in pair_key(cell))
            for cell in results.planned.get((policy, levels), ())
        )
        for policy in (treatment, control)
    )
    return bool(above) and above == below and len(set(above)) == len(above)


def ratio_of(
    results: Results,
    metrics: tuple[str, ...],
    how: Aggregate,
    *,
    treatment: str,
    control: str,
    levels: str,
    group: str | None = None,
) -> statistics.Ratio:
    """Treatment ÷ control of a metric (or a sum of metrics), of all guests or of a group, with its
    interval.
    """
    quantity = Quantity("", metrics, how, "", "", group=group)
    return ratio_of_quantity(results, quantity, treatment=treatment, control=control, levels=levels)


FEW_BOOTS = 5
"""Of up to so many boots, means may be alike by luck, and an interval be narrower than they are."""


def ratio_of_quantity(
    results: Results, quantity: Quantity, *, treatment: str, control: str, levels: str
) -> statistics.Ratio:
    """Treatment ÷ control of a quantity, with its interval at the level that was repeated."""
    blocked = is_blocked(results, treatment, control, levels)
    sides: list[dict[statistics.Block, float | None]] = []
    boots: dict[statistics.Block, int] = {}
    for policy in (treatment, control):
        side: dict[statistics.Block, float | None] = {}
        for cell in results.at(policy, levels):
            key: statistics.Block = pair_key(cell) if blocked else cell.cell
            side[key] = value(results, cell, quantity)
            boots[key] = boot_of(cell)
        sides.append(side)
    made = statistics.ratio(sides[0], sides[1], blocked=blocked, boots=boots, looks=looks_of(results))
    few = blocked and 1 < made.boots <= FEW_BOOTS and made.runs > made.boots
    return replace(made, single=_single(*sides)) if few else made


def _single(
    above: Mapping[statistics.Block, float | None], below: Mapping[statistics.Block, float | None]
) -> tuple[float, float] | None:
    """The least and the largest ratio of a pair; None where a control has 0."""
    pairs = [
        (value, under) for key, value in above.items() if value is not None and (under := below.get(key)) is not None
    ]
    ratios = [value / under for value, under in pairs if under]
    return (min(ratios), max(ratios)) if ratios and len(ratios) == len(pairs) else None


def pair_ratios(results: Results, quantity: Quantity, *, treatment: str, control: str, levels: str) -> list[float]:
    """Treatment ÷ control of each pair, in the order of the blocks; none where the plan has no
    pairs or the control has 0.
    """
    if not is_blocked(results, treatment, control, levels):
        return []
    below = {pair_key(cell): value(results, cell, quantity) for cell in results.at(control, levels)}
    pairs = [(value(results, cell, quantity), below.get(pair_key(cell))) for cell in results.at(treatment, levels)]
    return [above / under for above, under in pairs if above is not None and under]


def used_cells(
    results: Results, ratio: statistics.Ratio, policy: str, control: str, levels: str
) -> tuple[list[CellRecord], list[CellRecord]]:
    """The cells that entered a ratio: the policy's, and the control's."""
    blocked = is_blocked(results, policy, control, levels)
    above, below = (
        [cell for cell in results.at(side, levels) if (pair_key(cell) if blocked else cell.cell) in set(keys)]
        for side, keys in zip((policy, control), ratio.used, strict=True)
    )
    return above, below


def centre_of(
    results: Results, quantity: Quantity, policy: str, levels: str, *, linear: bool = False
) -> statistics.Centre:
    """Mean and interval of a quantity over the complete cells of a policy, at the level that was
    repeated. linear: as of `statistics.centre`.
    """
    cells = results.at(policy, levels)
    return centre(results, {cell.cell: value(results, cell, quantity) for cell in cells}, linear=linear)


def centre(results: Results, values: Mapping[str, float | None], *, linear: bool = False) -> statistics.Centre:
    """The same of what was worked out for each cell: cell -> value."""
    boots = {cell.cell: boot_of(cell) for cell in results.complete}
    return statistics.centre(values, statistics.at_each(looks_of(results)), boots=boots, linear=linear)


def compare_all(results: Results) -> list[Compared]:
    """Every quantity of every policy against its controls, at all levels, where the campaign has
    the metric at all.
    """
    measured = {item.name for cell in results.complete for item in cell.metrics}
    return [
        Compared(
            levels,
            quantity.name,
            quantity.unit,
            policy,
            control,
            ratio_of_quantity(results, quantity, treatment=policy, control=control, levels=levels),
        )
        for levels in results.levels
        for quantity in QUANTITIES.values()
        if measured.issuperset(quantity.metrics)
        for policy in results.policies
        for control in controls_of(results, policy)
    ]
