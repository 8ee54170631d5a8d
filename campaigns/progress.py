"""What a running campaign tells its caller, who may draw it. Nothing in campaigns/ prints."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from campaigns.records import CellRecord, PlannedCell


@dataclass(frozen=True)
class Event:
    """kind `start`: the campaign begins; `stage`: a cell enters a stage; `cell`: an attempt has ended and is stored; `end`: all is done.

    done, total: cells of the campaign that ran to their end, and all. left_s: seconds that the rest should take. stage_s: that the stage should.
    order: the cell's position in the plan, from 0. record: of the attempt that has ended. attempt: from 1, within this run. retry: another
    attempt follows.
    """

    kind: Literal["start", "stage", "cell", "end"]
    done: int
    total: int
    left_s: float
    cell: str = ""
    policy: str = ""
    order: int = 0
    stage: str = ""
    stage_s: float = 0.0
    attempt: int = 1
    record: CellRecord | None = None
    retry: bool = False


Listener = Callable[[Event], None]


def silent(_event: Event) -> None:
    """A listener that does nothing."""


class Estimate:
    """How long the rest takes: what the plan expects, corrected by how long finished cells took against their expectation."""

    def __init__(self, planned: Iterable[PlannedCell], finished: Iterable[CellRecord]) -> None:
        self._expected = {cell.cell: cell.expected_seconds for cell in planned}
        self._taken = {record.cell: sum(record.timings.values()) for record in finished}
        self._current = ""
        self._since = 0.0

    def begin(self, cell: str) -> None:
        """The clock of a cell starts."""
        self._current, self._since = cell, time.monotonic()

    def finish(self, cell: str, timings: Mapping[str, float]) -> None:
        """A cell has ended; what it took corrects the rest."""
        self._taken[cell] = sum(timings.values())
        self._current = ""

    def left(self, remaining: Iterable[str]) -> float:
        """Seconds that the remaining cells, the current one included, should take from now on."""
        known = [
            (taken, self._expected[cell])
            for cell, taken in self._taken.items()
            if self._expected.get(cell) and taken > 0
        ]
        factor = sum(taken for taken, _ in known) / sum(expected for _, expected in known) if known else 1.0
        total = sum(self._expected[cell] for cell in remaining) * factor
        spent = min(time.monotonic() - self._since, self._expected[self._current] * factor) if self._current else 0.0
        return max(0.0, total - spent)
