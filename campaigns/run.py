"""A campaign on a host: every cell of the plan that has no record yet, in the plan's order, until all have one.

Interrupted anywhere, the next call with the same experiment goes on from what is stored. Cells that are complete or invalid are not run again;
cells whose attempts failed are.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from campaigns import plan, provenance, store
from campaigns.cell import Attempt
from campaigns.experiment import Experiment, changed_keys, from_document
from campaigns.failures import CLASSES
from campaigns.progress import Estimate, Event, Listener, silent
from campaigns.records import SCHEMA, CampaignRecord, CellRecord, PlannedCell
from campaigns.schema import IDENTIFIER
from campaigns.store import CampaignStore
from common.errors import CampaignError, LabError, UsageError
from lab.api import Host

RESETS_BEFORE_STOP = 2
"""Cells in a row whose host could not be reset after which a campaign stops: the next cell would not fare better."""


@dataclass(frozen=True)
class Outcome:
    """What a run has come to. counts: cells of the whole campaign by status, `missing` included. records: the attempts of this run. cell: the only one
    that was to be run, if so.
    """

    campaign: str
    directory: Path
    counts: dict[str, int]
    records: tuple[CellRecord, ...] = field(default=())
    cell: str | None = None

    def check(self) -> None:
        """CampaignError when cells of the campaign failed, were invalid or are missing; not if just one was to be run, and is complete."""
        if self.cell is not None and all(record.status == "complete" for record in self.records[-1:]):
            return
        bad = {status: number for status, number in self.counts.items() if number and status != "complete"}
        if bad:
            what = ", ".join(f"{number} {status}" for status, number in bad.items())
            raise CampaignError(
                f"campaign {self.campaign!r} has cells without usable figures: {what}",
                where=str(self.directory),
                remedy=f"./inv campaign.status {self.campaign} says why, and how to run single cells again",
            )


def run(
    experiment: Experiment,
    host: Host,
    *,
    results: Path = store.RESULTS,
    campaign: str | None = None,
    cell: str | None = None,
    arguments: Sequence[str] = (),
    listen: Listener = silent,
) -> Outcome:
    """Run a campaign, or what is left of it, or one cell of it.

    campaign: its name, by default the experiment's. cell: run just this one; an invalid one is then run again, and its old record kept.
    UsageError: another experiment has this campaign's name, another runner is at work, or the cell cannot be run. Errors of the lab and the load
    end in the cells' records. KeyboardInterrupt passes through, and leaves nothing half-written.
    """
    stored = open_campaign(experiment, host.accelerator, results=results, campaign=campaign, arguments=arguments)
    with stored.lock():
        return _Runner(stored, host, listen).run(cell)


def open_campaign(
    experiment: Experiment,
    accelerator: str | None,
    *,
    results: Path = store.RESULTS,
    campaign: str | None = None,
    arguments: Sequence[str] = (),
) -> CampaignStore:
    """The campaign of that name, created when there is none. UsageError when it was made from an experiment that has changed since."""
    name = campaign or experiment.name
    if not re.fullmatch(IDENTIFIER, name):
        raise UsageError(
            f"{name!r} cannot be a campaign's name",
            remedy="use letters, digits, _ . and -, beginning with a letter or digit",
        )
    if (found := store.find(results, name)) is not None:
        _refuse_changes(found.record(), experiment, found.directory)
        return found
    head, dirty = provenance.commit()
    record = CampaignRecord(
        schema=SCHEMA,
        campaign=name,
        name=experiment.name,
        experiment=experiment.document,
        experiment_sha256=experiment.sha256,
        seed=experiment.seed,
        cells=plan.plan(experiment, accelerator),
        claims=experiment.claims,
        metrics=experiment.metrics,
        versions=provenance.versions(),
        commit=head,
        dirty=dirty,
        lock_sha256=provenance.lock_sha256(),
        arguments=tuple(arguments),
        created_at=datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
    )
    return store.create(results, record)


def _refuse_changes(record: CampaignRecord, experiment: Experiment, directory: Path) -> None:
    if record.experiment_sha256 == experiment.sha256 and record.name == experiment.name:
        return
    changed = changed_keys(record.experiment, experiment.document) or ["its name"]
    raise UsageError(
        f"campaign {record.campaign!r} was begun with another experiment: {', '.join(changed)} changed",
        where=str(directory),
        why="cells of two experiments cannot be compared, so they are never mixed",
        remedy="give the new campaign a name of its own with --campaign NAME, or undo the change",
    )


class _Runner:
    """The cells of a campaign, one after the other. The campaign's lock is held."""

    def __init__(self, stored: CampaignStore, host: Host, listen: Listener) -> None:
        self.store = stored
        self.record = stored.record()
        self.host = host
        self.listen = listen
        self.experiment = from_document(
            self.record.name, self.record.experiment, where=str(stored.directory / "campaign.json")
        )
        self.policies = {policy.name: policy for policy in self.experiment.policies}
        self.finished = stored.cells()
        self.failed = set(stored.attempts()) - set(self.finished)
        self.estimate = Estimate(self.record.cells, self.finished.values())
        self.made: list[CellRecord] = []

    def run(self, only: str | None) -> Outcome:
        todo = (
            [cell for cell in self.record.cells if cell.cell not in self.finished]
            if only is None
            else [self._chosen(only)]
        )
        remaining = [cell.cell for cell in todo]
        self._tell("start", remaining)
        broken_resets = 0
        for planned in todo:
            record = self._run_cell(planned, remaining)
            remaining.remove(planned.cell)
            broken_resets = broken_resets + 1 if record.failure and record.failure.stage == "reset" else 0
            if broken_resets == RESETS_BEFORE_STOP and remaining:
                raise LabError(
                    f"the host could not be brought to its known state for {broken_resets} cells in a row, so the campaign stops",
                    where=self.host.name,
                    why=record.failure.message if record.failure else "",
                    remedy="mend the lab (./inv lab.status, ./inv doctor) and run the same command again",
                )
        self._tell("end", [])
        return Outcome(self.store.name, self.store.directory, self._counts(), tuple(self.made), only)

    def _run_cell(self, planned: PlannedCell, remaining: list[str]) -> CellRecord:
        """Attempts at one cell until one is no failure, or its class allows no more; the last record."""
        failures: Counter[str] = Counter()
        while True:
            attempt = failures.total() + 1
            self.estimate.begin(planned.cell)
            record = self._attempt(planned, remaining, attempt)
            self.made.append(record)
            if record.failure is None:
                self.finished[planned.cell] = record
                self.failed.discard(planned.cell)
                self.estimate.finish(planned.cell, record.timings)
            else:
                self.failed.add(planned.cell)
                failures[record.failure.kind] += 1
            retry = record.failure is not None and failures[record.failure.kind] <= CLASSES[record.failure.kind].retries
            left = remaining if retry else [cell for cell in remaining if cell != planned.cell]
            self._tell("cell", left, planned, attempt=attempt, record=record, retry=retry)
            if not retry:
                return record

    def _attempt(self, planned: PlannedCell, remaining: list[str], attempt: int) -> CellRecord:
        def on_stage(stage: str, expected_s: float) -> None:
            self._tell("stage", remaining, planned, attempt=attempt, stage=stage, stage_s=expected_s)

        conditions = self.experiment.at(planned.levels)
        policy = self.policies[planned.policy]
        return Attempt(self.store, self.record, planned, policy, conditions, self.host, on_stage).run()

    def _chosen(self, cell: str) -> PlannedCell:
        planned = next((planned for planned in self.record.cells if planned.cell == cell), None)
        if planned is None:
            known = ", ".join(planned.cell for planned in self.record.cells)
            raise UsageError(f"campaign {self.store.name!r} has no cell {cell!r}", why=f"its cells are {known}")
        if cell in self.finished and self.finished[cell].status == "complete":
            raise UsageError(
                f"cell {cell!r} is complete, and results are never overwritten",
                where=str(self.store.directory / "cells" / cell),
                remedy="run the experiment again under another name with --campaign NAME",
            )
        return planned

    def _counts(self) -> dict[str, int]:
        counts = Counter(record.status for record in self.finished.values())
        planned = {cell.cell for cell in self.record.cells}
        failed = len(self.failed & planned)
        missing = len(planned - set(self.finished) - self.failed)
        return {"complete": counts["complete"], "invalid": counts["invalid"], "failed": failed, "missing": missing}

    def _tell(
        self,
        kind: str,
        remaining: list[str],
        planned: PlannedCell | None = None,
        *,
        attempt: int = 1,
        stage: str = "",
        stage_s: float = 0.0,
        record: CellRecord | None = None,
        retry: bool = False,
    ) -> None:
        self.listen(
            Event(
                kind=kind,  # type: ignore[arg-type]
                done=len(self.finished),
                total=len(self.record.cells),
                left_s=self.estimate.left(remaining),
                cell=planned.cell if planned else "",
                policy=planned.policy if planned else "",
                stage=stage,
                stage_s=stage_s,
                attempt=attempt,
                record=record,
                retry=retry,
            )
        )
