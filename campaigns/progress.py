"""What a running campaign tells its caller, who may draw it. Nothing in campaigns/ prints."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from campaigns.records import CellRecord, PlannedCell


@dataclass(frozen=True)
class Event:
    """kind `start`: the campaign begins; `stage`: a cell enters a stage; `cell`: an attempt has
    ended and is stored; `end`: all is done.

    done, total: cells of the campaign that ran to their end, and all. left_s: seconds that the rest
    should take. stage_s: that the stage should. order: the cell's position in the plan, from 0.
    record: of the attempt that has ended. attempt: from 1, within this run. retry: another attempt
    follows. host: that has the cell, where there are several.
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
    host: str = ""


Listener = Callable[[Event], None]

RESET = "reset"
"""The stage that a cell's work does not tell anything about: the first reset to a sizing boots
the host or its guests, the others take a snapshot.
"""


def silent(_event: Event) -> None:
    """A listener that does nothing."""


@dataclass(frozen=True)
class Expected:
    """What a cell should take on the accelerator in use, in seconds: its reset to a known state
    that is there, and the rest.

    state: which known state it needs; cells with the same need the same snapshot.
    """

    reset: float
    work: float
    state: str = ""


@dataclass
class Estimate:
    """How long the rest takes: what is expected of each cell, corrected by how long finished cells
    took.

    Work and resets are told apart: the first reset to a known state may take minutes, and says
    nothing of the others. Work is corrected by cells of the same policy where there are any, since
    policies are what differs most.
    """

    policies: Mapping[str, str]
    expected: Mapping[str, Expected]
    _taken: dict[str, tuple[float, float]] = field(default_factory=dict)
    _since: dict[str, float] = field(default_factory=dict)

    @classmethod
    def of(
        cls, planned: Iterable[PlannedCell], expected: Mapping[str, Expected], finished: Iterable[CellRecord]
    ) -> Estimate:
        """The estimate of a campaign's cells, some of which have ended."""
        made = cls({cell.cell: cell.policy for cell in planned}, expected)
        for record in sorted(finished, key=lambda record: record.finished_at):
            made.finish(record.cell, record.timings)
        return made

    def begin(self, cell: str) -> None:
        """The clock of a cell starts."""
        self._since[cell] = time.monotonic()

    def forget(self, cell: str) -> None:
        """A cell is not being run any more; what it took says nothing."""
        self._since.pop(cell, None)

    def finish(self, cell: str, timings: Mapping[str, float]) -> None:
        """A cell has ended; what it took corrects the rest."""
        if cell in self.expected:
            reset = timings.get(RESET, 0.0)
            self._taken[cell] = (reset, math.fsum(timings.values()) - reset)
        self.forget(cell)

    def left(self, remaining: Iterable[str], hosts: int = 1) -> float:
        """Seconds that the remaining cells, the current ones included, should take from now on.
        hosts: that share them.
        """
        plain, first = self._resets()
        factors = self._factors()
        known = {self.expected[cell].state for cell in self._taken}
        costs: dict[str, float] = {}
        for cell in (cell for cell in remaining if cell in self.expected):
            expected = self.expected[cell]
            usual = expected.reset if plain is None else plain
            reset = usual if expected.state in known or first is None else max(usual, first)
            costs[cell] = reset + expected.work * factors.get(self.policies.get(cell, ""), factors[""])
            known.add(expected.state)
        now, slower = time.monotonic(), 1.0
        lefts = []
        for cell in self._since.keys() & costs.keys():
            own, spent = costs.pop(cell), now - self._since[cell]
            if spent > own > 0:
                # It takes longer than was thought. Nothing says how much; where nothing has ended
                # yet, the others are no quicker.
                slower = slower if self._taken else max(slower, spent / own)
                own = spent * LATE
            lefts.append(own - spent)
        whole = math.fsum(lefts) + math.fsum(costs.values()) * slower
        return max([whole / max(1, hosts), *lefts])

    def _factors(self) -> dict[str, float]:
        """Policy -> how many times longer its cells' work took than was expected; under "" that
        of all cells.
        """
        sums: dict[str, tuple[float, float]] = {}
        for cell, (_, work) in self._taken.items():
            for key in (self.policies.get(cell, ""), ""):
                taken, expected = sums.get(key, (0.0, 0.0))
                sums[key] = (taken + work, expected + self.expected[cell].work)
        return {"": 1.0} | {key: taken / expected for key, (taken, expected) in sums.items() if expected > 0}

    def _resets(self) -> tuple[float | None, float | None]:
        """Seconds of a reset to a known state that is there, and of the first one to a state;
        None where there was none.
        """
        seen: set[str] = set()
        firsts: list[float] = []
        others: list[float] = []
        for cell, (reset, _) in self._taken.items():
            (others if self.expected[cell].state in seen else firsts).append(reset)
            seen.add(self.expected[cell].state)
        return (statistics.median(others) if others else None, statistics.median(firsts) if firsts else None)


LATE = 1.25
"""A cell that has taken longer than was expected is taken to need so many times what it has
taken.
"""
