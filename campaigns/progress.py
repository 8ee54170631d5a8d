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

RESET = "reset"
"""The stage that a cell's work does not tell anything about: the first reset to a sizing boots the host or its guests, the others take a snapshot."""


def silent(_event: Event) -> None:
    """A listener that does nothing."""


@dataclass(frozen=True)
class Expected:
    """What a cell should take on the accelerator in use, in seconds: its reset to a known state that is there, and the rest.

    state: which known state it needs; cells with the same need the same snapshot.
    """

    reset: float
    work: float
    state: str = ""


@dataclass
class Estimate:
    """How long the rest takes: what is expected of each cell, corrected by how long finished cells took.

    Work and resets are told apart: the first reset to a known state may take minutes, and says nothing of the others. Work is
    corrected by cells of the same policy where there are any, since policies are what differs most.
    """

    policies: Mapping[str, str]
    expected: Mapping[str, Expected]
    _taken: dict[str, tuple[float, float]] = field(default_factory=dict)
    _current: str = ""
    _since: float = 0.0

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
        self._current, self._since = cell, time.monotonic()

    def finish(self, cell: str, timings: Mapping[str, float]) -> None:
        """A cell has ended; what it took corrects the rest."""
        if cell in self.expected:
            reset = timings.get(RESET, 0.0)
            self._taken[cell] = (reset, math.fsum(timings.values()) - reset)
        self._current = ""

    def left(self, remaining: Iterable[str]) -> float:
        """Seconds that the remaining cells, the current one included, should take from now on."""
        remaining = [cell for cell in remaining if cell in self.expected]
        known = {self.expected[cell].state for cell in self._taken}
        costs = {}
        for cell in remaining:
            state = self.expected[cell].state
            costs[cell] = self._work(cell) + self._reset(cell, first=state not in known)
            known.add(state)
        spent = time.monotonic() - self._since if self._current else 0.0
        if self._current not in costs:
            return math.fsum(costs.values())
        own = costs.pop(self._current)
        rest = math.fsum(costs.values())
        if spent > own > 0:
            # It takes longer than was thought. Nothing says how much; where nothing has ended yet, the others are no quicker.
            rest *= 1.0 if self._taken else spent / own
            own = spent * LATE
        return own - spent + rest

    def _work(self, cell: str) -> float:
        policy = self.policies.get(cell)
        own = [each for each in self._taken if self.policies.get(each) == policy]
        taken = own or list(self._taken)
        expected = math.fsum(self.expected[each].work for each in taken)
        factor = math.fsum(self._taken[each][1] for each in taken) / expected if expected > 0 else 1.0
        return self.expected[cell].work * factor

    def _reset(self, cell: str, *, first: bool) -> float:
        seen: set[str] = set()
        firsts, others = [], []
        for each, (reset, _) in self._taken.items():
            (others if self.expected[each].state in seen else firsts).append(reset)
            seen.add(self.expected[each].state)
        plain = statistics.median(others) if others else min([self.expected[cell].reset, *firsts])
        return max(plain, statistics.median(firsts)) if first and firsts else plain


LATE = 1.25
"""A cell that has taken longer than was expected is taken to need so many times what it has taken."""
