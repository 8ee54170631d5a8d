"""Metrics that a cell's record lacks and that the cell's other files hold, so that campaigns of
older checkouts are read like new ones.

Requests and what guests felt of the lack of memory (common.metrics.REQUESTS, PRESSURE) are
differences of counters in the samples. What sampling itself took is the last line of what each
agent wrote to raw/.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
from collections.abc import Sequence
from pathlib import Path

from analysis.series import Series
from campaigns import records
from campaigns.records import CellRecord
from common import packed
from common.metrics import PRESSURE, REQUESTS, Metric, total

DOM0_SAMPLING, GUEST_SAMPLING = "dom0_sampling_seconds", "sampling_seconds"
"""Processor time that the sampler took in dom0, and in each guest [s]: in cells whose processor
time has it in it.
"""

SAMPLING_CPU = "sampling_cpu_seconds"
"""The same, in dom0 (no guest) and each guest, of cells whose processor time is without it
already (campaigns.metrics).
"""

_COUNTED = (*REQUESTS, *PRESSURE)
_TAIL = 4096
"""Bytes at the end of an agent's output within which its last line is looked for."""


def completed(directory: Path, cells: Sequence[CellRecord], series: Series) -> tuple[CellRecord, ...]:
    """The cells with the metrics that can be had from their samples and raw outputs, where their
    records have none.
    """
    lacking = {cell.cell for cell in cells if _lacks(cell)}
    return tuple(
        _with(cell, [*(_counted(cell, series) if cell.cell in lacking else []), *_sampling(directory, cell)])
        for cell in cells
    )


def _lacks(cell: CellRecord) -> bool:
    there = {metric.name for metric in cell.metrics}
    return any(metric.spec.name not in there for metric in _COUNTED)


def _counted(cell: CellRecord, series: Series) -> list[Metric]:
    guests = dict.fromkeys(metric.guest for metric in cell.metrics if metric.guest is not None)
    found = []
    for guest in guests:
        for metric in _COUNTED:
            keys = [(cell.cell, guest, counter) for counter in metric.counters]
            if not all(series.has(*key) for key in keys):
                continue  # never sampled here: not a metric of this cell
            known = [value for key in keys if (value := series.growth(*key)) is not None]
            value = total(known) if len(known) == len(keys) else None
            found.append(Metric(metric.spec.name, metric.spec.unit, value, guest))
    return found


def _sampling(directory: Path, cell: CellRecord) -> list[Metric]:
    raw = directory / records.CELLS_DIR / cell.cell / records.RAW_DIR
    if any(metric.name == SAMPLING_CPU for metric in cell.metrics):
        return []
    guests = dict.fromkeys(metric.guest for metric in cell.metrics if metric.guest is not None)
    told: list[tuple[str, float | None, str | None]] = [(DOM0_SAMPLING, _spent(raw / "dom0.samples.jsonl"), None)]
    told += [(GUEST_SAMPLING, _spent(raw / f"{guest}.samples.txt"), guest) for guest in guests]
    return [Metric(name, "s", spent, guest) for name, spent, guest in told if spent is not None]


def _spent(path: Path) -> float | None:
    """Processor seconds that an agent says it took, in its last line; None when there is none or
    it does not say.
    """
    try:
        lines = _end(path).decode("utf-8", errors="replace").splitlines()
        line = lines[-1] if lines else ""
        seconds = float(json.loads(line)["cost"]["cpu_seconds"] if line.startswith("{") else line.split()[1])
        said = line.startswith(("{", "cost "))
    except (OSError, ValueError, KeyError, IndexError, TypeError):
        return None
    return seconds if said and math.isfinite(seconds) and seconds >= 0 else None


def _end(path: Path) -> bytes:
    """The last of a file that may be packed. OSError, ValueError: it cannot be read."""
    if packed.found(path) != path:
        return packed.content(path)[-_TAIL:]
    with path.open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL))
        return file.read()


def _with(cell: CellRecord, more: Sequence[Metric]) -> CellRecord:
    there = {(metric.name, metric.guest) for metric in cell.metrics}
    added = [metric for metric in more if (metric.name, metric.guest) not in there]
    return dataclasses.replace(cell, metrics=(*cell.metrics, *added)) if added else cell
