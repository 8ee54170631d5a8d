"""What tmem and sampling cost in processor time.

Xen counts the cycles it spends in tmem for each guest (`Tc`). With the frequency that Xen itself
measured they are seconds; on an emulated host both are the emulated machine's.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from analysis import derived, totals
from analysis.load import Results, levels_text
from campaigns import records
from campaigns.records import CellRecord, aggregate

_OPERATIONS = "tmem_ops"


@dataclass(frozen=True)
class TmemCost:
    """Of a cell, or the mean over the cells of a policy in which cycles have a value (`cell` None).
    None: not measured.

    tmem_cycles, seconds: for all guests together. of_one_cpu: seconds ÷ the cell's wall time;
    of_guests: seconds ÷ what the guests' vCPUs ran. tmem_ops: hypercalls, failed ones too;
    cycles_per_operation.
    """

    levels: str
    policy: str
    cell: str | None
    tmem_cycles: float | None
    seconds: float | None
    of_one_cpu: float | None
    of_guests: float | None
    tmem_ops: float | None
    cycles_per_operation: float | None


FIGURES = ("tmem_cycles", "seconds", "of_one_cpu", "of_guests", _OPERATIONS, "cycles_per_operation")


def tmem(results: Results) -> list[TmemCost]:
    """Of every complete cell in which tmem took a cycle, or whose policy took some in another cell,
    then the mean of each policy at each levels. Cycles of a starved cell have no value: there tmem
    took some where it was asked at all.
    """
    each = [_of_cell(results, cell, results.delta(cell.cell, "hypervisor", _OPERATIONS)) for cell in results.complete]
    using = {
        (cost.policy, cost.levels) for cost in each if cost.tmem_cycles or (cost.tmem_cycles is None and cost.tmem_ops)
    }
    found = [cost for cost in each if (cost.policy, cost.levels) in using]
    for levels in results.levels:
        for policy in results.policies:
            mine = [cost for cost in found if (cost.policy, cost.levels) == (policy, levels)]
            if mine:
                told = [cost for cost in mine if cost.tmem_cycles is not None]
                means: dict[str, Any] = {
                    name: aggregate([getattr(cost, name) for cost in told], "mean") for name in FIGURES
                }
                found.append(dataclasses.replace(mine[0], cell=None, **means))
    return found


def _of_cell(results: Results, cell: CellRecord, operations: float | None) -> TmemCost:
    quantity = totals.QUANTITIES
    cycles = totals.value(results, cell, quantity["tmem_cycles"])
    hertz = None if cycles is None else _hertz(results, cell)
    seconds = None if cycles is None or hertz is None else cycles / hertz
    return TmemCost(
        levels_text(cell.levels),
        cell.policy,
        cell.cell,
        cycles,
        seconds,
        _ratio(seconds, totals.run_seconds(results, cell)),
        _ratio(seconds, totals.value(results, cell, quantity["vcpu_seconds"])),
        operations,
        _ratio(cycles, operations),
    )


def _ratio(above: float | None, below: float | None) -> float | None:
    return above / below if above is not None and below else None


def _hertz(results: Results, cell: CellRecord) -> float | None:
    """The frequency of the counter that Xen counts cycles by, as `xl info` told; None where it
    did not.
    """
    value: object = records.read_env(results.directory / records.CELLS_DIR / cell.cell)
    for key in ("host", "xen", "info", "cpu_mhz"):
        value = value.get(key) if isinstance(value, dict) else None
    try:
        megahertz = float(str(value))
    except ValueError:
        return None
    return megahertz * 1e6 if megahertz > 0 else None


def explain(results: Results, costs: Sequence[TmemCost], levels: str) -> list[str]:
    """What tmem took under each policy that used it, in sentences."""
    lines = []
    for mean in costs:
        if mean.cell is not None or mean.levels != levels:
            continue
        cells = [each for each in costs if each.cell and (each.policy, each.levels) == (mean.policy, levels)]
        without = {each.cell for each in cells if each.tmem_cycles is None}
        why = _why(results, without)
        if mean.tmem_cycles is None:
            lines.append(f"Under {mean.policy} guests asked tmem, and what it took has no value in any cell ({why}).")
            continue
        text = f"Under {mean.policy} Xen spent {mean.tmem_cycles:,.0f} cycles in tmem for all guests together"
        text += f" (mean of {len(cells) - len(without)} of {len(cells)} cells; {why})" if without else ""
        known = {each.cell: each.of_one_cpu for each in cells if each.cell}
        spread = totals.centre(results, known if mean.of_one_cpu is not None else {})
        if mean.seconds is not None and spread.mean is not None and mean.of_guests is not None:
            over = (
                f", 95 % interval {100 * spread.low:.2g} to {100 * spread.high:.2g} %"
                if spread.low is not None and spread.high is not None
                else ""
            )
            text += (
                f": {mean.seconds:.3g} s, {100 * spread.mean:.2g} % of one processor over the run{over}, "
                f"{100 * mean.of_guests:.2g} % of what the guests' vCPUs ran"
            )
        if mean.cycles_per_operation is not None:
            text += f"; {mean.cycles_per_operation:,.0f} cycles an operation"
        lines.append(f"{text}.")
    return lines


def _why(results: Results, cells: Collection[str | None]) -> str:
    """Why these complete cells have no value of a time."""
    starved = len([cell for cell in results.complete if cell.cell in cells and cell.starved])
    rest = len(cells) - starved
    said = [f"the host was starved in {starved}, whose times have no value"] if starved else []
    return ", ".join([*said, *([f"it was not recorded in {rest}"] if rest else [])])


def sampling(results: Results) -> str:
    """What reading the counters cost, as a sum a cell, and whether it is in the vCPU seconds."""
    quantity = totals.QUANTITIES
    net = derived.SAMPLING_CPU in results.known
    everyone = [cell.cell for cell in results.complete]
    if everyone and all(cell.starved for cell in results.complete):
        return f"What sampling took has no value in any cell ({_why(results, everyone)})."
    if not net and derived.DOM0_SAMPLING not in results.known:
        return "What sampling took in all was not recorded, so it is part of dom0's vCPU seconds."
    if net:
        told = [_of_each(results, cell) for cell in results.complete]
    else:
        dom0 = dataclasses.replace(quantity["sampling_seconds"], metrics=(derived.DOM0_SAMPLING,))
        gross = dataclasses.replace(quantity["dom0_vcpu_seconds"], less=())
        asked = (quantity["sampling_seconds"], dom0, gross)
        told = [tuple(totals.value(results, cell, each) for each in asked) for cell in results.complete]
    lost = [cell.cell for cell, each in zip(results.complete, told, strict=True) if None in each[1:]]
    known = [each for each in told if None not in each[1:]]
    why = f"{_why(results, lost)}; vCPU seconds with dom0 are missing there" if lost else ""
    if not known:
        return f"What sampling took has no value in any cell{f' ({why})' if why else ''}."
    parts = [aggregate(values, "mean") for values in zip(*known, strict=True)]
    assert parts[1] is not None
    whole = f"{parts[0]:.3g} s of processor time a cell, {parts[1]:.3g} s of it in dom0" if parts[0] is not None else ""
    whole = whole or f"{parts[1]:.3g} s of dom0's processor time a cell"
    share = f" ({100 * parts[1] / parts[2]:.0f} % of what dom0 ran)" if parts[2] else ""
    share += f" in {len(known)} of {len(told)} cells ({why})" if lost else ""
    taken = "what it took in dom0" if net else "it"
    return f"Sampling took {whole}{share}; {taken} is taken out of the vCPU seconds."


def _of_each(results: Results, cell: CellRecord) -> tuple[float | None, ...]:
    """What sampling took in a cell, in dom0 alone, and what dom0 ran with it; of a cell whose
    metrics are without it.
    """
    whole = totals.value(results, cell, totals.QUANTITIES[derived.SAMPLING_CPU])
    named = {metric.name: metric.value for metric in cell.metrics if metric.guest is None}
    dom0, rest = named.get(derived.SAMPLING_CPU), named.get("dom0_vcpu_seconds")
    return whole, dom0, None if dom0 is None or rest is None else dom0 + rest


def frame(costs: Sequence[TmemCost]) -> pd.DataFrame:
    """Tmem's cost as a table: cycles, seconds [s], of_one_cpu and of_guests [fraction],
    operations [count].
    """
    texts = ("levels", "policy", "cell")
    return pd.DataFrame(
        {
            name: pd.Series([getattr(item, name) for item in costs], dtype="string" if name in texts else "Float64")
            for name in (*texts, *FIGURES)
        }
    )
