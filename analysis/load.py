"""A campaign's directory as tidy tables.

Every planned cell is a row of `cells`, whatever became of it; `metrics` and `samples` hold complete
cells only, so that nothing downstream can use the figures of a cell that failed or was invalid. A
value that could not be read is missing (NA) in every table: it is never 0 and never left out of
sight.
"""

from __future__ import annotations

import io
from collections.abc import Hashable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv as pc

from analysis import derived
from analysis import series as readings
from analysis.series import Series
from campaigns import former, records
from campaigns.records import CampaignRecord, CellRecord, PlannedCell
from common import packed
from common.errors import ResultsError
from common.units import parse_duration, parse_size

NOT_RUN = "not run"
"""Status of a planned cell without a record."""


@dataclass(frozen=True, eq=False)
class Results:
    """A campaign as read. Tables are sorted by the order of the plan.

    campaign: what was asked. complete: the records of the complete cells. levels: the texts of the
    factor levels, in the order of the plan ("" without factors). unverified: whether everything
    that is made of them has to say that they did not pass verification.

    cells: cell, policy, levels, level.<factor>..., repetition, block, boot and run (missing: one
    boot), order, status, attempts [count], host, host_kind,
        accelerator, skew_s [s], reason, rerun, notes, started_at, finished_at.
    metrics: cell, policy, levels, level.<factor>..., repetition, block, group (in campaigns that
    have some), guest (missing: the host),
    metric, unit, value. samples: cell, policy, levels, repetition, time_s [s after the release],
    source, counter, unit, value. gates: cell, policy, levels, repetition, gate, passed, observed,
    required, unit, reason (complete and invalid cells). timings: cell, policy, levels, repetition,
    stage, seconds [s] (every attempted cell). series: the samples, by counter.
    """

    directory: Path
    campaign: CampaignRecord
    complete: tuple[CellRecord, ...]
    policies: tuple[str, ...]
    levels: tuple[str, ...]
    cells: pd.DataFrame
    metrics: pd.DataFrame
    samples: pd.DataFrame
    gates: pd.DataFrame
    timings: pd.DataFrame
    series: Series
    unverified: bool = False

    def at(self, policy: str, levels: str) -> list[CellRecord]:
        """The complete cells of a policy at factor levels, by repetition."""
        return list(self._at.get((policy, levels), ()))

    @cached_property
    def _at(self) -> Mapping[tuple[str, str], Sequence[CellRecord]]:
        found: dict[tuple[str, str], list[CellRecord]] = {}
        for cell in sorted(self.complete, key=lambda cell: (cell.repetition, cell.order)):
            found.setdefault((cell.policy, levels_text(cell.levels)), []).append(cell)
        return found

    @cached_property
    def planned(self) -> Mapping[tuple[str, str], Sequence[PlannedCell]]:
        """(policy, levels) -> its cells in the plan, whatever became of them."""
        found: dict[tuple[str, str], list[PlannedCell]] = {}
        for cell in self.campaign.cells:
            found.setdefault((cell.policy, levels_text(cell.levels)), []).append(cell)
        return found

    @cached_property
    def guests_with(self) -> Mapping[tuple[str, str], frozenset[str | None]]:
        """(levels, metric) -> the guests (None: the host) that have it in any complete cell at
        these levels.
        """
        found: dict[tuple[str, str], set[str | None]] = {}
        for cell in self.complete:
            for item in cell.metrics:
                found.setdefault((levels_text(cell.levels), item.name), set()).add(item.guest)
        return {key: frozenset(guests) for key, guests in found.items()}

    @cached_property
    def groups(self) -> tuple[str, ...]:
        """The groups of guests that any complete cell has, in the order of the guests' numbers;
        none where all guests are alike.
        """
        return tuple(dict.fromkeys(group for cell in self.complete for group in cell.groups.values()))

    def members(self, levels: str, group: str) -> frozenset[str]:
        """The guests of a group at factor levels."""
        return self._members.get((levels, group), frozenset())

    @cached_property
    def _members(self) -> Mapping[tuple[str, str], frozenset[str]]:
        found: dict[tuple[str, str], set[str]] = {}
        for cell in self.complete:
            for guest, group in cell.groups.items():
                found.setdefault((levels_text(cell.levels), group), set()).add(guest)
        return {key: frozenset(guests) for key, guests in found.items()}

    @cached_property
    def known(self) -> frozenset[str]:
        """The metrics that have a value in any complete cell."""
        return frozenset(item.name for cell in self.complete for item in cell.metrics if item.value is not None)

    def samples_of(self, cell: str, source: str, counter: str) -> pd.DataFrame:
        """time_s and value of one counter in one cell, by time, missing readings left out."""
        times, values = self.series.known(cell, source, counter)
        return pd.DataFrame({"time_s": times, "value": values})

    def delta(self, cell: str, source: str, counter: str) -> float | None:
        """By how much a counter grew from before the release to after the last guest's end.

        None when either is missing, whatever was read in between, and when it fell: a counter that
        was reset says nothing about the interval.
        """
        return self.series.growth(cell, source, counter)

    @cached_property
    def worked_out(self) -> dict[tuple[str, Hashable], float | None]:
        """(cell, quantity) -> its value, as soon as somebody has asked for it (totals.value)."""
        return {}

    def values_of(self, cell: str, metric: str) -> Mapping[str | None, float | int | None]:
        """Guest (None: the host) -> value of a metric in a complete cell."""
        return self._values.get((cell, metric), {})

    @cached_property
    def _values(self) -> Mapping[tuple[str, str], Mapping[str | None, float | int | None]]:
        found: dict[tuple[str, str], dict[str | None, float | int | None]] = {}
        for cell in self.complete:
            for item in cell.metrics:
                found.setdefault((cell.cell, item.name), {})[item.guest] = item.value
        return found


def levels_text(levels: Mapping[str, object]) -> str:
    """Factor levels as one text: `jobs=8, swap=512 MiB`; empty without factors."""
    return ", ".join(f"{factor}={levels[factor]}" for factor in sorted(levels))


def experiment_text(results: Results, section: str, key: str) -> str | None:
    """A quantity of the resolved experiment as it is written there, such as `256 MiB`; None when
    it declares none.
    """
    found = results.campaign.experiment.get(section)
    value = found.get(key) if isinstance(found, Mapping) else None
    return value if isinstance(value, str) else None


def size(results: Results, section: str, key: str, levels: str = "") -> int | None:
    """A size that the experiment declares [bytes]; with what the guests' kernel takes, where that
    is added to it (guests.kernel_memory), and at levels of factors, as a cell had it. None when
    none is declared or known, or it follows from others (`fit`).
    """
    declared = experiment_text(results, section, key)
    if declared is None or (declared == "fit" and not levels):
        return None
    if experiment_text(results, "guests", "kernel_memory") != "added" and not levels:
        return parse_size(declared)
    for cell in (cell for policy in results.policies for cell in results.at(policy, levels)):
        told = records.read_env(results.directory / records.CELLS_DIR / cell.cell) or {}
        had = _mapping(_mapping(told.get("conditions")).get(section)).get(f"{key}_mib")
        if isinstance(had, int):
            return had * 2**20
    return None


def staggered(results: Results) -> bool:
    """Whether loads start apart in some cell: guests have a phase, or wait for others."""
    factors = _mapping(results.campaign.experiment.get("factors"))
    phases = [phase for path, each in factors.items() if str(path).endswith("workload.phase") for phase in each]
    varied = any(parse_duration(phase) for phase in phases)
    groups = _mapping(_mapping(results.campaign.experiment.get("guests")).get("groups"))
    loads = [_mapping(_mapping(group).get("workload")).get("phase") for group in groups.values()]
    waits = any(_mapping(group).get("after") for group in groups.values())
    return varied or waits or any(loads) or experiment_text(results, "workload", "phase") is not None


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def load(directory: Path | str) -> Results:
    """Read a campaign. ResultsError when a file is damaged, missing or of an unknown schema."""
    directory = Path(directory)
    record = records.read_campaign(directory)
    ended = {cell.cell: cell for cell in records.read_cells(directory)}
    attempts: dict[str, list[CellRecord]] = {}
    for attempt in records.read_attempts(directory):
        attempts.setdefault(attempt.cell, []).append(attempt)
    _refuse_strangers(directory, record, [*ended, *attempts])
    plan = sorted(record.cells, key=lambda cell: cell.order)
    # an attempt that is `complete` was superseded by a rerun; without its successor the cell counts
    # as not run
    known = {cell: tried[-1] for cell, tried in attempts.items() if tried[-1].status == "failed"} | ended
    complete = tuple(ended[cell.cell] for cell in plan if cell.cell in ended and ended[cell.cell].status == "complete")
    stored = _samples(directory, complete, record.layout)
    ends = {cell.cell: max(cell.barrier.ends.values()) for cell in complete if cell.barrier}
    series = readings.of(stored, ends, ordered=record.layout >= 2)
    complete = derived.completed(directory, complete, series)
    return Results(
        directory=directory,
        campaign=record,
        complete=complete,
        policies=_policies(record, plan),
        levels=tuple(dict.fromkeys(levels_text(cell.levels) for cell in sorted(plan, key=_natural))),
        cells=_cells(plan, known, attempts, ended),
        metrics=_metrics(plan, complete),
        samples=_sorted(stored),
        gates=_gates([known[cell.cell] for cell in plan if cell.cell in known]),
        timings=_timings([known[cell.cell] for cell in plan if cell.cell in known]),
        series=series,
    )


def _refuse_strangers(directory: Path, record: CampaignRecord, names: Sequence[str]) -> None:
    planned = {cell.cell for cell in record.cells}
    for name in names:
        if name not in planned:
            raise ResultsError(
                f"cell {name!r} is not in the campaign's plan",
                where=str(directory / records.CELLS_DIR / name),
                why="it was copied here from another campaign, or campaign.json was",
                remedy="./inv results.verify; then move the directory away",
            )


def _natural(cell: PlannedCell) -> tuple[tuple[str, float, str], ...]:
    """Sorts levels by number where they start with one, so that 16 comes after 8."""
    keys = []
    for factor in sorted(cell.levels):
        text = str(cell.levels[factor])
        try:
            number = float(text.split(maxsplit=1)[0])
        except (ValueError, IndexError):
            number = 0.0
        keys.append((factor, number, text))
    return tuple(keys)


def _policies(record: CampaignRecord, plan: Sequence[PlannedCell]) -> tuple[str, ...]:
    """The policies of the plan in the order the experiment declares them: the plan's own order
    is random.
    """
    planned = {cell.policy for cell in plan}
    declared = record.experiment.get("policies")
    names: list[str] = []
    if isinstance(declared, list | tuple):
        names = [item if isinstance(item, str) else str(item.get("name")) for item in declared if item]
    elif isinstance(declared, Mapping):
        names = [str(name) for name in declared]
    order = dict.fromkeys([*names, *sorted(planned)])
    return tuple(name for name in order if name in planned)


def _key(cell: PlannedCell | CellRecord) -> dict[str, Any]:
    return {
        "cell": cell.cell,
        "policy": cell.policy,
        "levels": levels_text(cell.levels),
        "repetition": cell.repetition,
    }


def _level_columns(cell: PlannedCell | CellRecord) -> dict[str, str]:
    return {f"level.{factor}": str(cell.levels[factor]) for factor in sorted(cell.levels)}


_TYPES = {
    "repetition": "int64",
    "block": "int64",
    "boot": "Int64",
    "run": "Int64",
    "order": "int64",
    "attempts": "int64",
    "passed": "bool",
    "value": "Float64",
    "observed": "Float64",
    "required": "Float64",
    "seconds": "Float64",
    "skew_s": "Float64",
    "time_s": "float64",
}


def table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> pd.DataFrame:
    """A data frame with these columns in this order and one type per column; None is NA. Works
    without rows.
    """
    frame = pd.DataFrame({name: pd.Series([row.get(name) for row in rows], dtype=_type(name)) for name in columns})
    return frame[list(columns)]


def _type(column: str) -> str:
    return _TYPES.get(column, "string")


def _cells(
    plan: Sequence[PlannedCell],
    known: Mapping[str, CellRecord],
    attempts: Mapping[str, Sequence[CellRecord]],
    ended: Mapping[str, CellRecord],
) -> pd.DataFrame:
    rows = []
    for cell in plan:
        row = {
            **_key(cell),
            **_level_columns(cell),
            "block": cell.block,
            "boot": cell.boot,
            "run": cell.run,
            "order": cell.order,
            "status": NOT_RUN,
        }
        row["attempts"] = len(attempts.get(cell.cell, ())) + (cell.cell in ended)
        if (found := known.get(cell.cell)) is not None:
            row |= {
                "status": found.status,
                "host": found.host,
                "host_kind": found.host_kind,
                "accelerator": found.accelerator,
                "skew_s": found.barrier.skew_seconds if found.barrier else None,
                "reason": _reason(found),
                "rerun": found.failure.rerun if found.failure else None,
                "notes": "; ".join(found.notes) or None,
                "started_at": found.started_at,
                "finished_at": found.finished_at,
            }
        rows.append(row)
    columns = [
        "cell",
        "policy",
        "levels",
        *_factors(plan),
        "repetition",
        "block",
        "boot",
        "run",
        "order",
        "status",
        "attempts",
    ]
    columns += ["host", "host_kind", "accelerator", "skew_s", "reason", "rerun", "notes", "started_at", "finished_at"]
    return table(rows, columns)


def _factors(plan: Sequence[PlannedCell]) -> list[str]:
    return sorted({f"level.{factor}" for cell in plan for factor in cell.levels})


def _reason(cell: CellRecord) -> str | None:
    """Why a cell does not count, in one line."""
    if cell.failure:
        return f"{cell.failure.kind} in {cell.failure.stage}: {cell.failure.message.splitlines()[0]}"
    missed = [
        f"gate {gate.name}: {_figure(gate.observed)} {gate.unit}, required {_figure(gate.required)}"
        for gate in cell.gates
        if not gate.passed
    ]
    return "; ".join(missed) or None


def _figure(value: float | None) -> str:
    return "not readable" if value is None else f"{value:g}"


def _metrics(plan: Sequence[PlannedCell], complete: Sequence[CellRecord]) -> pd.DataFrame:
    rows = [
        _key(cell)
        | _level_columns(cell)
        | {
            "block": cell.block,
            "group": cell.groups.get(metric.guest or ""),
            "guest": metric.guest,
            "metric": metric.name,
            "unit": metric.unit,
            "value": metric.value,
        }
        for cell in complete
        for metric in sorted(cell.metrics, key=lambda metric: (metric.name, metric.guest or ""))
    ]
    group = ["group"] if any(cell.groups for cell in complete) else []
    columns = ["cell", "policy", "levels", *_factors(plan), "repetition", "block", *group, "guest", "metric", "unit"]
    columns.append("value")
    return table(rows, columns)


def _samples(directory: Path, complete: Sequence[CellRecord], layout: int) -> pd.DataFrame:
    """All samples, in the order of their files. A cell without the file has none, which the figures
    say; a damaged file is an error.

    Names are categories here: a million texts would take a gibibyte. Tables have them as texts.
    """
    columns = ["cell", "policy", "levels", "repetition", *records.SAMPLE_COLUMNS]
    paths = {cell.cell: directory / records.CELLS_DIR / cell.cell for cell in complete}
    there = [cell for cell in complete if packed.found(paths[cell.cell] / records.SAMPLES_FILE).is_file()]
    with ThreadPoolExecutor(_READERS) as readers:  # Arrow reads without Python's lock
        parts = list(readers.map(lambda cell: _of_cell(cell, _read_samples(paths[cell.cell], layout)), there))
    if not any(map(len, parts)):
        return table([], columns)
    joined = pa.concat_tables(parts).unify_dictionaries().select(columns)
    frame: pd.DataFrame = joined.to_pandas()
    frame["value"] = frame["value"].astype("Float64")
    return frame


def _of_cell(cell: CellRecord, samples: pa.Table) -> pa.Table:
    """Samples with what says whose they are."""
    for name, value in _key(cell).items():
        kind = pa.int64() if name == "repetition" else _TEXT
        samples = samples.append_column(name, pa.array([value] * len(samples), kind))
    return samples


def _sorted(samples: pd.DataFrame) -> pd.DataFrame:
    """Samples by cell as they come, time, source and counter."""
    if samples.empty:
        return samples
    of_cell = pd.factorize(samples["cell"])[0]
    order = np.lexsort((_ranks(samples["counter"]), _ranks(samples["source"]), samples["time_s"].to_numpy(), of_cell))
    return samples.iloc[order].reset_index(drop=True)


def _ranks(names: pd.Series[Any]) -> np.ndarray[Any, Any]:
    """The place of each name in the alphabet."""
    places: np.ndarray[Any, Any] = np.argsort(np.argsort(np.array(names.cat.categories, dtype=str)))
    return places[names.cat.codes.to_numpy()]


_READERS = 2
"""Files of samples that are read at the same time."""

_TEXT = pa.dictionary(pa.int32(), pa.string())

_SAMPLE_TYPES = {
    "time_s": pa.float64(),
    "source": _TEXT,
    "counter": _TEXT,
    "unit": _TEXT,
    "value": pa.float64(),
}


def _read_samples(cell: Path, layout: int) -> pa.Table:
    path = packed.found(cell / records.SAMPLES_FILE)
    convert = pc.ConvertOptions(column_types=_SAMPLE_TYPES, null_values=[""], strings_can_be_null=True)
    try:
        text = former.samples_text(packed.text(path)) if layout < records.LAYOUT else None
        source = path if text is None else io.BytesIO(text.encode())
        found = pc.read_csv(source, convert_options=convert, read_options=pc.ReadOptions(use_threads=False))
        if tuple(found.column_names) != records.SAMPLE_COLUMNS:
            raise ValueError(f"columns {', '.join(found.column_names)}; expected {', '.join(records.SAMPLE_COLUMNS)}")
        if any(found[name].null_count for name in ("time_s", "source", "counter", "unit")):
            raise ValueError("a row lacks its time, source, counter or unit")
    except (OSError, ValueError) as error:  # Arrow's errors are ValueErrors
        raise ResultsError(
            "the samples of a cell cannot be read",
            where=str(path),
            why=str(error),
            remedy="./inv results.verify; a damaged cell directory can be moved away and the campaign resumed",
        ) from None
    return found


def _gates(cells: Sequence[CellRecord]) -> pd.DataFrame:
    rows = [
        _key(cell)
        | {
            "gate": gate.name,
            "passed": gate.passed,
            "observed": gate.observed,
            "required": gate.required,
            "unit": gate.unit,
            "reason": gate.reason,
        }
        for cell in cells
        for gate in cell.gates
    ]
    return table(rows, [*_KEY, "gate", "passed", "observed", "required", "unit", "reason"])


def _timings(cells: Sequence[CellRecord]) -> pd.DataFrame:
    rows = [_key(cell) | {"stage": stage, "seconds": value} for cell in cells for stage, value in cell.timings.items()]
    return table(rows, [*_KEY, "stage", "seconds"])


_KEY = ("cell", "policy", "levels", "repetition")
