"""A campaign on a host: every cell of the plan that has no record yet, in the plan's order, until
all have one.

Interrupted anywhere, the next call with the same experiment goes on from what is stored. Cells that
are complete or invalid are not run again; cells whose attempts failed are.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from campaigns import gates, live, plan, provenance, resume, store
from campaigns.cell import Attempt
from campaigns.experiment import Experiment, from_document
from campaigns.failures import CLASSES
from campaigns.progress import RESET, Estimate, Event, Expected, Listener, silent
from campaigns.records import LAYOUT, SCHEMA, CampaignRecord, CellRecord, PlannedCell
from campaigns.resume import Basis
from campaigns.status import CampaignStatus, State, status
from campaigns.store import CampaignStore
from common.errors import CampaignError, LabError
from lab.api import Host
from lab.counters import names

RESETS_BEFORE_STOP = 2
"""Cells in a row whose host could not be reset after which a campaign stops: the next cell would
not fare better.
"""


MOST_REASONS = 5
"""Cells without usable figures that an error explains; campaign.status has them all."""


@dataclass(frozen=True)
class Outcome:
    """What a campaign has come to. status: of all its cells. records: the attempts of this run.
    cell: the only one that was to be run, if so.
    """

    directory: Path
    status: CampaignStatus
    records: tuple[CellRecord, ...] = field(default=())
    cell: str | None = None

    @property
    def campaign(self) -> str:
        return self.directory.name

    @property
    def counts(self) -> dict[State, int]:
        """Cells of the whole campaign by state."""
        return self.status.counts

    def check(self) -> None:
        """CampaignError when cells of the campaign failed, were invalid or are missing; not if
        just one was to be run, and is complete.
        """
        if self.cell is not None and all(record.status == "complete" for record in self.records[-1:]):
            return
        bad = {state: number for state, number in self.counts.items() if number and state != "complete"}
        if bad:
            explained = [cell for cell in self.status.cells if cell.reason]
            shown = explained[:MOST_REASONS]
            rest = [f"{len(explained) - len(shown)} more"] if len(explained) > len(shown) else []
            raise CampaignError(
                f"campaign {self.campaign!r} has cells without usable figures: "
                + ", ".join(f"{number} {state}" for state, number in bad.items()),
                where=str(self.directory),
                why="\n".join([*(f"{cell.planned.cell} is {cell.state}: {cell.reason}" for cell in shown), *rest]),
                remedy="\n".join(
                    [
                        (
                            "mend the cause; the same command then runs failed and "
                            "missing cells again, and these run one cell, invalid or not:"
                        ),
                        *(cell.rerun for cell in shown),
                        f"./inv campaign.status {self.campaign} lists all cells",
                    ]
                ),
            )

    def line(self, again: str) -> str:
        """That nothing is left to run, for people. again: the command that runs the experiment."""
        ended = max(cell.finished_at or "" for cell in self.status.cells)
        commit = f", begun with commit {head[:10]}" if (head := self.status.campaign.commit) else ""
        return (
            f"campaign {self.campaign} is complete since {ended[:16].replace('T', ' ')} UTC{commit}: nothing was run.\n"
            f"To run all of it anew: {again} --campaign NAME"
        )


def ended(
    experiment: Experiment,
    lab: str | None,
    *,
    results: Path = store.RESULTS,
    campaign: str | None = None,
    cell: str | None = None,
) -> Outcome | None:
    """What a campaign has come to when nothing of it is left to run, else None. UsageError as
    `run` raises it, without a lab.
    """
    found = resume.begun(experiment, lab, results=results, campaign=campaign, cell=cell)
    if found is None or cell is not None:
        return None
    outcome = Outcome(found.directory, status(found))
    return None if outcome.counts["failed"] or outcome.counts["missing"] else outcome


def run(
    experiment: Experiment,
    host: Host,
    *,
    lab: str | None = None,
    basis: Basis | None = None,
    results: Path = store.RESULTS,
    campaign: str | None = None,
    cell: str | None = None,
    arguments: Sequence[str] = (),
    inventory: str | None = None,
    scale: str | None = None,
    listen: Listener = silent,
) -> Outcome:
    """Run a campaign, or what is left of it, or one cell of it.

    lab: the host's. inventory: its file, if it is not the default lab's. scale: the preset that the
    experiment is at. basis: what the host is made from. campaign: its name, by default the
    experiment's. cell: run just this one; an invalid one is then run again, and its old record
    kept. UsageError: another experiment has this campaign's name, it was begun on another lab or
    host, another runner is at work, or the cell cannot be run. Errors of the lab and the load end
    in the cells' records. KeyboardInterrupt passes through, and leaves nothing half-written.
    """
    stored = resume.begun(experiment, lab, results=results, campaign=campaign, cell=cell)
    if stored is None:
        stored = store.create(
            results,
            campaign_record(experiment, host.accelerator, campaign, lab, arguments, inventory=inventory, scale=scale),
        )
    with stored.lock():
        resume.begun(
            experiment, lab, results=results, campaign=campaign, cell=cell
        )  # another runner may have ended since
        resume.refuse_another_host(stored, basis or {})
        return _Runner(stored, host, listen).run(cell)


def campaign_record(
    experiment: Experiment,
    accelerator: str | None,
    campaign: str | None,
    lab: str | None,
    arguments: Sequence[str],
    *,
    inventory: str | None = None,
    scale: str | None = None,
) -> CampaignRecord:
    """What fixes a new campaign: plan, claims, metrics and gates of its experiment, and what the
    testbed is.
    """
    head, dirty = provenance.commit()
    return CampaignRecord(
        schema=SCHEMA,
        campaign=campaign or experiment.name,
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
        lab=lab,
        inventory=inventory,
        scale=scale,
        layout=LAYOUT,
        gates=gates.names(),
        counters=tuple(sorted(names.known())),
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
        self._expected: dict[str, Expected] = {}
        self.estimate = self._estimate()
        self.made: list[CellRecord] = []
        self.remaining: list[str] = []
        self.alone = False
        self.live = live.Teller(stored.directory, lambda: self.estimate.left(self.remaining))

    def _estimate(self) -> Estimate:
        """What the cells should take on the host as it is. The plan's figures are of the
        accelerator that it was thought to have.
        """
        self.accelerator = self.host.accelerator
        known: dict[str, Expected] = {}
        for planned in self.record.cells:
            policy = self.policies[planned.policy]
            key = f"{plan.level_key(planned.levels)} {policy.kernel} {policy.more_ram and policy.start} {planned.boot}"
            if key not in known:
                conditions = self.experiment.at(planned.levels).under(policy)
                stages = plan.expected_stages(conditions, self.accelerator)
                reset = stages.pop(RESET)
                state = f"{conditions.host} {replace(conditions.guests, kernel=policy.kernel)} {planned.boot}"
                known[key] = Expected(reset, math.fsum(stages.values()), state)
            self._expected[planned.cell] = known[key]
        return Estimate.of(self.record.cells, self._expected, self.finished.values())

    def host_of(self, _planned: PlannedCell) -> Host:
        """The host that a cell runs on: a campaign has one today. With several, cells of a block
        have to stay on one, or they are no pairs, and what must not change within a campaign
        (resume.refuse_another_host) is asked of each.
        """
        return self.host

    def run(self, only: str | None) -> Outcome:
        self.alone = only is not None
        todo = [
            cell
            for cell in self.record.cells
            if (cell.cell not in self.finished if only is None else cell.cell == only)
        ]
        self.remaining = remaining = [cell.cell for cell in todo]
        try:
            self._tell("start", remaining)
            self._run_all(todo, remaining)
        finally:
            self.live.end()
        self._tell("end", [])
        self.live.end()
        return Outcome(self.store.directory, status(self.store), tuple(self.made), only)

    def _run_all(self, todo: list[PlannedCell], remaining: list[str]) -> None:
        broken_resets = 0
        for planned in todo:
            record = self._run_cell(planned, remaining)
            remaining.remove(planned.cell)
            broken_resets = broken_resets + 1 if record.failure and record.failure.stage == "reset" else 0
            if broken_resets == RESETS_BEFORE_STOP and remaining:
                raise LabError(
                    "the host could not be brought to its known state for "
                    f"{broken_resets} cells in a row, so the campaign stops",
                    where=self.host.name,
                    why=record.failure.message if record.failure else "",
                    remedy="mend the lab (./inv lab.status, ./inv doctor) and run the same command again",
                )

    def _run_cell(self, planned: PlannedCell, remaining: list[str]) -> CellRecord:
        """Attempts at one cell until one is no failure, or its class allows no more; the last
        record.
        """
        failures: Counter[str] = Counter()
        while True:
            attempt = failures.total() + 1
            self.estimate.begin(planned.cell)
            record = self._attempt(planned, remaining, attempt)
            self.made.append(record)
            if record.failure is None:
                self.finished[planned.cell] = record
                self.estimate.finish(planned.cell, record.timings)
            else:
                failures[record.failure.kind] += 1
            retry = record.failure is not None and failures[record.failure.kind] <= self._retries(record.failure.kind)
            left = remaining if retry else [cell for cell in remaining if cell != planned.cell]
            self._tell("cell", left, planned, attempt=attempt, record=record, retry=retry)
            if not retry:
                return record

    def _retries(self, kind: str) -> int:
        return self.experiment.retries.get(kind, CLASSES[kind].retries)

    def _attempt(self, planned: PlannedCell, remaining: list[str], attempt: int) -> CellRecord:
        def on_stage(stage: str, expected_s: float) -> None:
            if self.host.accelerator != self.accelerator:
                # It was found out in a reset, which says nothing of how long the others take.
                self.estimate = self._estimate()
                self.estimate.begin(planned.cell)
            self._tell("stage", remaining, planned, attempt=attempt, stage=stage, stage_s=expected_s)

        policy = self.policies[planned.policy]
        conditions = self.experiment.at(planned.levels).under(policy)
        host = self.host_of(planned)
        attempted = Attempt(
            self.store, self.record, planned, policy, conditions, host, on_stage, self.alone, self.live.tick
        )
        return attempted.run()

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
        event = Event(
            kind=kind,  # type: ignore[arg-type]
            done=len(self.finished),
            total=len(self.record.cells),
            left_s=self.estimate.left(remaining),
            cell=planned.cell if planned else "",
            policy=planned.policy if planned else "",
            order=planned.order if planned else 0,
            stage=stage,
            stage_s=stage_s,
            attempt=attempt,
            record=record,
            retry=retry,
        )
        self.live.event(event)
        self.listen(event)
