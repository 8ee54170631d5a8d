"""A campaign on one host or several: every cell of the plan that has no record yet, in the plan's
order, until all have one.

Interrupted anywhere, the next call with the same experiment goes on from what is stored. Cells that
are complete or invalid are not run again; cells whose attempts failed are.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from campaigns import gates, looks, plan, provenance, resume, store
from campaigns.crew import Alone, Crew, Joined, News, Said
from campaigns.experiment import Experiment
from campaigns.progress import Listener, silent
from campaigns.records import LAYOUT, SCHEMA, CampaignRecord, CellRecord
from campaigns.resume import Basis
from campaigns.runner import Runner, nobody
from campaigns.status import CampaignStatus, State, status
from common.console import Tell
from common.errors import CampaignError
from lab.api import Host
from lab.counters import names

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
            explained = [cell for cell in self.status.cells if cell.reason and cell.state != "complete"]
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
    until = outcome.status.campaign.until
    undecided = until is not None and looks.due(until, found.looks())
    return None if undecided or outcome.counts["failed"] or outcome.counts["missing"] else outcome


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
    """Run a campaign on one host, in this process. basis: what the host is made from; the rest as
    of `run_with`.
    """
    return run_with(
        experiment,
        Alone(host, basis),
        lab=lab,
        results=results,
        campaign=campaign,
        cell=cell,
        arguments=arguments,
        inventory=inventory,
        scale=scale,
        listen=listen,
    )


def run_with(
    experiment: Experiment,
    crew: Crew,
    *,
    lab: str | None = None,
    hosts: Collection[str] | None = (),
    results: Path = store.RESULTS,
    campaign: str | None = None,
    cell: str | None = None,
    arguments: Sequence[str] = (),
    inventory: str | None = None,
    scale: str | None = None,
    listen: Listener = silent,
    tell: Tell = lambda _text: None,
) -> Outcome:
    """Run a campaign, or what is left of it, or one cell of it.

    crew: who runs cells. lab: theirs. hosts: all of the lab, among which a campaign may change;
    None: any. inventory: the lab's file, if it is not the default lab's. scale: the preset that the
    experiment is at. campaign: its name, by default the experiment's. cell: run just this one; an
    invalid one is then run again, and its old record kept. tell: where to say what becomes of
    hosts. UsageError: another experiment has this campaign's name, it was begun on another lab or
    host, another runner is at work, or the cell cannot be run. Errors of the lab and the load end
    in the cells' records. KeyboardInterrupt passes through, and leaves nothing half-written.
    """
    stored = resume.begun(experiment, lab, results=results, campaign=campaign, cell=cell)
    heard: list[News] = []

    def hear(news: News) -> None:
        if isinstance(news, Said):
            tell(news.text)
        else:
            heard.append(news)

    while not (joined := [each for each in heard if isinstance(each, Joined)]):
        if not crew.awaited():
            raise nobody(heard)
        crew.wait(hear)
    # Another command may have begun it while this one waited for a host.
    stored = stored or resume.begun(experiment, lab, results=results, campaign=campaign, cell=cell)
    if stored is None:
        accelerator = joined[0].accelerator
        stored = store.create(
            results,
            replace(
                campaign_record(experiment, accelerator, campaign, lab, arguments, inventory=inventory, scale=scale),
                hosts=tuple(hosts) if hosts and len(hosts) > 1 else (),
            ),
        )
    with stored.lock():
        resume.begun(
            experiment, lab, results=results, campaign=campaign, cell=cell
        )  # another runner may have ended since
        made = Runner(stored, crew, hosts, listen, tell).run(cell, heard)
        return Outcome(stored.directory, status(stored), made, cell)


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
        until=experiment.until,
    )
