"""Who runs the cells of a campaign: one host in this process, several with a process each
(campaigns/hands.py), or workers elsewhere (campaigns/remote.py). What they are given, what they
tell, and the first of the three.

Whoever runs a cell has written it when it says that it has ended; only the controller gives it its
name in the store.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from campaigns import live
from campaigns.cell import Attempt, Keeper, StageListener, TickListener
from campaigns.experiment import Experiment, from_document
from campaigns.records import CAMPAIGN_FILE, CampaignRecord, CellRecord, PlannedCell
from campaigns.resume import Basis
from campaigns.store import CampaignStore
from lab.api import Host, Sample
from policies.base import Policy


@dataclass(frozen=True)
class Task:
    """A cell to be run once. alone: out of the plan's order, since it was asked for by its name, or
    had to be run again when later ones were there already.
    """

    planned: PlannedCell
    alone: bool = False


@dataclass(frozen=True)
class Joined:
    """A host is there, and free. accelerator, basis: what it is made from."""

    host: str
    accelerator: str | None
    basis: Basis = field(default_factory=dict)


@dataclass(frozen=True)
class Stage:
    """A cell has entered a stage that should take so long."""

    host: str
    cell: str
    stage: str
    expected_s: float
    accelerator: str | None


@dataclass(frozen=True)
class Seen:
    """A reading of a cell's run, for who looks on."""

    host: str
    reading: live.Reading
    at: float


@dataclass(frozen=True)
class Ended:
    """An attempt has ended, and is in the store."""

    host: str
    record: CellRecord


@dataclass(frozen=True)
class Lost:
    """A host is gone, and with it the attempt that it was at."""

    host: str
    why: str


@dataclass(frozen=True)
class Said:
    """Something for people."""

    text: str


News = Joined | Stage | Seen | Ended | Lost | Said
Hear = Callable[[News], None]


class Crew(Protocol):
    """Hosts that run cells. Every method is called by one thread."""

    def begin(self, stored: CampaignStore, record: CampaignRecord) -> None:
        """From now on cells of this campaign are given. Its lock is held."""

    def give(self, host: str, task: Task) -> None:
        """Have a host that is free run a cell."""

    def wait(self, hear: Hear) -> None:
        """Until something has happened; tell it. Errors that are no failure of a cell are raised
        here.
        """

    def dismiss(self, host: str) -> None:
        """Do without a host that is free from now on."""

    def awaited(self) -> Collection[str]:
        """Those that may still join."""


@dataclass(frozen=True)
class Work:
    """A campaign's cells, for who runs them."""

    record: CampaignRecord
    experiment: Experiment
    policies: Mapping[str, Policy]

    @classmethod
    def of(cls, record: CampaignRecord, where: str = CAMPAIGN_FILE) -> Work:
        made = from_document(record.name, record.experiment, where=where)
        return cls(record, made, {policy.name: policy for policy in made.policies})

    def run(
        self,
        task: Task,
        host: Host,
        keeper: Keeper,
        on_stage: StageListener,
        on_tick: TickListener = lambda _last: None,
    ) -> CellRecord:
        """One attempt at a cell."""
        policy = self.policies[task.planned.policy]
        conditions = self.experiment.at(task.planned.levels).under(policy)
        attempt = Attempt(keeper, self.record, task.planned, policy, conditions, host, on_stage, task.alone, on_tick)
        return attempt.run()


def tellers(
    name: str, host: Host, task: Task, directory: Path, tell: Callable[[Stage | Seen], object]
) -> tuple[Callable[[str, float], None], Callable[[Callable[[], Iterable[Sample]]], None]]:
    """How a cell's stages, and its readings while somebody looks on, are told. name: of the
    host in the crew; directory: the campaign's.
    """

    def on_stage(stage: str, expected_s: float) -> None:
        tell(Stage(name, task.planned.cell, stage, expected_s, host.accelerator))

    def on_tick(last: Callable[[], Iterable[Sample]]) -> None:
        if (found := live.look(directory, last)) is not None:
            tell(Seen(name, *found))

    return on_stage, on_tick


class Alone:
    """One host, in this process: a cell is run while its end is waited for."""

    def __init__(self, host: Host, basis: Basis | None = None) -> None:
        self.host = host
        self._basis = basis or {}
        self._waits: Task | None = None
        self._joined = False
        self._store: CampaignStore | None = None
        self._work: Work | None = None

    def begin(self, stored: CampaignStore, record: CampaignRecord) -> None:
        self._store, self._work = stored, Work.of(record, str(stored.directory / CAMPAIGN_FILE))

    def give(self, host: str, task: Task) -> None:
        assert host == self.host.name
        self._waits = task

    def wait(self, hear: Hear) -> None:
        name = self.host.name
        if not self._joined:
            self._joined = True
            hear(Joined(name, self.host.accelerator, self._basis))
            return
        assert self._store is not None
        assert self._work is not None
        assert self._waits is not None
        task, self._waits = self._waits, None
        told = tellers(name, self.host, task, self._store.directory, hear)
        hear(Ended(name, self._work.run(task, self.host, self._store, *told)))

    def dismiss(self, host: str) -> None:
        """There is no other."""

    def awaited(self) -> Collection[str]:
        return () if self._joined else (self.host.name,)
