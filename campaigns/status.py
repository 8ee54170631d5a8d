"""How far a campaign is: every planned cell with what became of it, and the command that runs it
again.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import Literal

from campaigns.cell import rerun_command
from campaigns.failures import CLASSES
from campaigns.progress import Event
from campaigns.records import CampaignRecord, CellRecord, GateResult, PlannedCell
from campaigns.store import CampaignStore
from common.errors import ResultsError

State = Literal["complete", "invalid", "failed", "missing", "damaged"]
STATES: tuple[State, ...] = ("complete", "invalid", "failed", "missing", "damaged")


@dataclass(frozen=True)
class CellStatus:
    """A planned cell. seconds: what its last attempt took. reason: why it has no usable figures.
    rerun: the command that runs just it.

    finished_at: when its last attempt ended.
    """

    planned: PlannedCell
    state: State
    attempts: int
    seconds: float | None
    reason: str
    rerun: str
    finished_at: str | None


@dataclass(frozen=True)
class CampaignStatus:
    """A campaign. cells: in the order of the plan. left_s: what the cells that a run would
    attempt should take, by the plan.
    """

    campaign: CampaignRecord
    cells: tuple[CellStatus, ...]

    @property
    def states(self) -> tuple[State, ...]:
        """The states that are counted: "damaged" where a cell is."""
        damaged = any(cell.state == "damaged" for cell in self.cells)
        return STATES if damaged else tuple(state for state in STATES if state != "damaged")

    @property
    def counts(self) -> dict[State, int]:
        """Cells by state."""
        found = Counter(cell.state for cell in self.cells)
        return {state: found[state] for state in self.states}

    @property
    def by_policy(self) -> dict[str, dict[State, int]]:
        """Policy -> cells by state, in the experiment's order of policies."""
        found: dict[str, Counter[State]] = {}
        for cell in sorted(self.cells, key=lambda cell: self._position(cell.planned.policy)):
            found.setdefault(cell.planned.policy, Counter())[cell.state] += 1
        return {policy: {state: counts[state] for state in self.states} for policy, counts in found.items()}

    def check(self) -> None:
        """ResultsError when the record of a cell is damaged."""
        damaged = [cell for cell in self.cells if cell.state == "damaged"]
        if damaged:
            raise ResultsError(
                f"{len(damaged)} of {len(self.cells)} cells of {self.campaign.campaign} cannot be read",
                where=", ".join(cell.planned.cell for cell in damaged),
                remedy=damaged[0].rerun,
            )

    @property
    def left_s(self) -> float:
        """Seconds that the failed and missing cells should take, by the plan."""
        return math.fsum(cell.planned.expected_seconds for cell in self.cells if cell.state in ("failed", "missing"))

    def _position(self, policy: str) -> int:
        policies = self.campaign.experiment.get("policies")
        return policies.index(policy) if isinstance(policies, list) and policy in policies else 0


def status(stored: CampaignStore) -> CampaignStatus:
    """The state of every cell. ResultsError when the campaign's record, or an attempt's, cannot be
    read; a cell whose record cannot be is damaged.
    """
    campaign, attempts = stored.record(), stored.attempts()
    finished, damaged = stored.legible()
    cells = tuple(
        _damaged(stored, planned, damaged[planned.cell])
        if planned.cell in damaged
        else _cell(campaign, planned, finished.get(planned.cell), attempts.get(planned.cell, []))
        for planned in campaign.cells
    )
    return CampaignStatus(campaign, cells)


def _damaged(stored: CampaignStore, planned: PlannedCell, error: ResultsError) -> CellStatus:
    """rerun: the command that says how the cell differs from its sums."""
    reason = f"{error.what}: {error.where}: {error.why}"
    return CellStatus(planned, "damaged", 1, None, reason, f"./inv results.verify {stored.name}", None)


def _cell(
    campaign: CampaignRecord, planned: PlannedCell, record: CellRecord | None, attempts: list[CellRecord]
) -> CellStatus:
    last = record or (attempts[-1] if attempts else None)
    state: State = record.status if record is not None else "failed" if attempts else "missing"
    starved = record is not None and record.starved
    rerun = "" if state == "complete" and not starved else rerun_command(campaign, planned.cell)
    seconds = math.fsum(last.timings.values()) if last else None
    tried = len(attempts) + (record is not None)
    return CellStatus(planned, state, tried, seconds, reason_of(last), rerun, last.finished_at if last else None)


def line_of(event: Event) -> str:
    """What a running campaign tells people: a cell's stage, or what became of the cell. Empty
    for its begin and end.
    """
    at = f" on {event.host}" if event.host else ""
    if event.kind == "stage":
        return f"cell {event.order + 1}/{event.total} {event.cell}{at}: {event.stage}"
    if event.kind == "cell" and event.record is not None:
        return f"cell {event.cell}{at}: {', '.join(filter(None, (event.record.status, reason_of(event.record))))}"
    return ""


def reason_of(record: CellRecord | None) -> str:
    """Why a record has no usable figures, or none in time, in a line or two; else nothing."""
    if record is not None and record.status == "complete" and record.starved:
        return "its host was starved, so that nothing measured in time has a value"
    if record is None or record.status == "complete":
        return ""
    if record.failure is not None:
        return f"{CLASSES[record.failure.kind].means}, in stage {record.failure.stage}: {record.failure.message}"
    return "; ".join(_gate_text(gate) for gate in failed_gates(record))


def failed_gates(record: CellRecord) -> list[GateResult]:
    """The gates that a cell did not pass."""
    return [gate for gate in record.gates if not gate.passed]


def _gate_text(gate: GateResult) -> str:
    observed = "nothing" if gate.observed is None else f"{gate.observed:g}"
    required = "" if gate.required is None else f" instead of {gate.required:g}"
    return f"gate {gate.name}: {observed}{required} {gate.unit} ({gate.reason})"
