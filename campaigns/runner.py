"""The cells of a campaign that is being run: which host gets which next, what becomes of its
attempts, and of hosts that come and go.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import replace

from campaigns import live, looks, narrowing, plan, resume, sharing
from campaigns.crew import Crew, Ended, Joined, Lost, News, Said, Seen, Stage, Task, Work
from campaigns.failures import CLASSES
from campaigns.progress import RESET, Estimate, Event, Expected, Listener
from campaigns.records import CellRecord, PlannedCell
from campaigns.sharing import Shares
from campaigns.store import CampaignStore
from common.console import Tell
from common.errors import LabError, UsageError

RESETS_BEFORE_STOP = 2
"""Cells in a row whose host could not be reset after which a campaign does without it, and stops
where there is no other: the next cell would not fare better.
"""

LOSSES_BEFORE_STOP = 3
"""Hosts that were lost at one and the same cell after which a campaign stops."""


def nobody(heard: Sequence[News]) -> LabError:
    return LabError(
        "no host is left to run cells on",
        why="\n".join(f"{each.host}: {each.why}" for each in heard if isinstance(each, Lost)),
        remedy="mend the lab (./inv lab.status, ./inv doctor) and run the same command again: it goes on from there",
    )


class Runner:
    """The cells of a campaign, on the hosts of a crew. The campaign's lock is held."""

    def __init__(
        self, stored: CampaignStore, crew: Crew, known: Collection[str] | None, listen: Listener, tell: Tell
    ) -> None:
        self.store = stored
        self.record = stored.record()
        self.crew = crew
        self.known = known
        self.listen = listen
        self.say = tell
        self.work = Work.of(self.record, where=str(stored.directory / "campaign.json"))
        self.finished = stored.cells()
        self.hosts: dict[str, Joined] = {}
        self.gone: list[Lost] = []
        self.busy: dict[str, PlannedCell] = {}
        self.tellers: dict[str, live.Teller] = {}
        self.accelerator: str | None = None
        self.estimate = Estimate({}, {})
        self.made: list[CellRecord] = []
        self.failures: dict[str, Counter[str]] = {}
        self.losses: Counter[str] = Counter()
        self.broken: Counter[str] = Counter()
        self.shares = Shares(())
        self.tried: set[str] = set()
        self.alone = False
        self.there = max((record.order for record in self.finished.values()), default=-1)

    def run(self, only: str | None, heard: Sequence[News] = ()) -> tuple[CellRecord, ...]:
        """Run what is left, or one cell. heard: what the crew has told so far. The attempts."""
        self.alone = only is not None
        self._plan(only)
        self.crew.begin(self.store, self.record)
        try:
            for each in heard:
                self.hear(each)
            self._tell("start")
            self._run_all()
            while not self.alone and self._look():
                self._run_all()
            self._end_telling()
            self._tell("end")
        finally:
            self._end_telling()
        return tuple(self.made)

    def _plan(self, only: str | None = None) -> None:
        """What is to be run."""
        todo = [
            cell
            for cell in self.record.cells
            if (cell.cell not in self.tried | self.finished.keys() if only is None else cell.cell == only)
        ]
        ran = {cell: record.host for cell, record in self.finished.items()}
        self.shares = Shares(todo, sharing.begun(self.record.cells, ran))

    def _look(self) -> bool:
        """Where the data chooses the sample size, look whether it is large enough, if that is due;
        whether there are more cells now.
        """
        until = self.record.until
        if until is None or not looks.due(until, self.store.looks()):
            return False
        whole = self.store.record(whole=True)
        taken = narrowing.look(until, whole.cells, self.finished, self.store.looks())
        self.store.add_look(taken)
        self.say(narrowing.said(until, taken))
        self.record = self.store.record()
        self.tried = {record.cell for record in self.made}
        self._plan()
        self.estimate = self._estimate()
        return True

    def _run_all(self) -> None:
        while self.shares.left:
            for host in [name for name in self.hosts if name not in self.busy]:
                others = {*self.hosts, *self.crew.awaited()} - {host}
                if (planned := self.shares.next(host, others)) is not None:
                    self._give(host, planned)
            if not self.busy and not self.crew.awaited():
                raise nobody(self.gone)
            self.crew.wait(self.hear)

    def _give(self, host: str, planned: PlannedCell) -> None:
        self.busy[host] = planned
        self.estimate.begin(planned.cell)
        self.crew.give(host, Task(planned, self.alone or planned.order < self.there))

    def hear(self, news: News) -> None:
        """Something has happened."""
        match news:
            case Joined():
                self._join(news)
            case Stage():
                self._stage(news)
            case Seen() if news.host in self.tellers:
                self.tellers[news.host].seen(news.reading, news.at)
            case Ended():
                self._ended(news)
            case Lost():
                self._lost(news)
            case Said():
                self.say(news.text)

    def _join(self, news: Joined) -> None:
        """A host has come: take it, unless its cells could not be compared with the others'."""
        try:
            resume.refuse_another_host(self.store, news.basis, self.known)
            for other in self.hosts.values():
                resume.refuse_unlike(news.host, news.basis, other.host, other.basis)
        except UsageError as error:
            if not self.hosts:
                raise
            self.say(f"{news.host} is not used: {error.what}: {error.why}")
            self.crew.dismiss(news.host)
            return
        self.hosts[news.host] = news
        self.tellers[news.host] = live.Teller(self.store.directory, self._left, host=news.host)
        if len(self.hosts) == 1:
            self.accelerator = news.accelerator
            self.estimate = self._estimate()

    def _stage(self, news: Stage) -> None:
        if news.host not in self.busy or self.busy[news.host].cell != news.cell:
            return  # told by a way that is slower than the cell's end
        self._refuse_another_accelerator(news)
        if news.accelerator != self.accelerator:
            # It was found out in a reset, which says nothing of how long the others take.
            self.accelerator = news.accelerator
            self.estimate = self._estimate()
            for planned in self.busy.values():
                self.estimate.begin(planned.cell)
        self._tell("stage", news.host, stage=news.stage, stage_s=news.expected_s)

    def _refuse_another_accelerator(self, news: Stage) -> None:
        """An emulated host may do without KVM from its first reset on; cells that ran with it, in a
        campaign that goes on or on another host, are not comparable with what would come.
        """
        if news.stage == "reset":  # which is where it is found out
            return
        for record in self.finished.values():
            if record.host_kind == "emulated" and record.accelerator not in (None, news.accelerator):
                raise UsageError(
                    f"{news.host} runs under {news.accelerator} now, and {record.cell} ran under {record.accelerator}",
                    where=str(self.store.directory),
                    why="cells of hosts that differ are never mixed",
                    remedy="give the new campaign a name of its own with --campaign NAME, or mend KVM (./inv doctor)",
                )

    def _ended(self, news: Ended) -> None:
        """An attempt has ended. It is made again until it is no failure, or its class allows no
        more; a host that could not even begin leaves the cell to another.
        """
        host, record = news.host, news.record
        planned, failure = self.busy[host], record.failure
        failures = self.failures.setdefault(planned.cell, Counter())
        attempt = failures.total() + 1
        self.made.append(record)
        broken = failure is not None and failure.stage == "reset"
        if failure is None:
            self.finished[planned.cell] = record
            self.estimate.finish(planned.cell, record.timings)
        else:
            failures[failure.kind] += 1
            self.estimate.forget(planned.cell)
        retry = failure is not None and failures[failure.kind] <= self._retries(failure.kind)
        elsewhere = False
        if broken and not retry:
            elsewhere = self.shares.refuse(planned.cell, self.hosts)
            failures.clear()
        elif not retry:
            self.shares.end(planned.cell)
        self._tell("cell", host, attempt=attempt, record=record, retry=retry or elsewhere)
        del self.busy[host]
        if retry:
            self._give(host, planned)
            return
        self.broken[host] = self.broken[host] + 1 if broken else 0
        if self.broken[host] == RESETS_BEFORE_STOP and self.shares.left:
            self._do_without(host, failure.message if failure else "")

    def _do_without(self, host: str, why: str) -> None:
        text = (
            f"the host could not be brought to its known state for {RESETS_BEFORE_STOP} cells in a row, so the campaign"
        )
        if len(self.hosts) == 1 and not self.crew.awaited():
            raise LabError(
                f"{text} stops",
                where=host,
                why=why,
                remedy="mend the lab (./inv lab.status, ./inv doctor) and run the same command again",
            )
        self.say(f"{host}: {text} goes on without it: {why}")
        self.crew.dismiss(host)
        self._forget(Lost(host, why))

    def _lost(self, news: Lost) -> None:
        cell = self.busy[news.host].cell if news.host in self.busy else None
        self._forget(news)
        self.store.tidy()
        if cell is None:
            self.say(f"{news.host} is lost: {news.why}")
            return
        self.say(f"{news.host} is lost, and another host gets its cell {cell}: {news.why}")
        self.estimate.forget(cell)
        self.losses[cell] += 1
        if self.losses[cell] == LOSSES_BEFORE_STOP:
            raise LabError(
                f"{LOSSES_BEFORE_STOP} hosts were lost at the same cell, so the campaign stops",
                where=cell,
                why=news.why,
                remedy="find out what it does to a host; what is complete is kept",
            )

    def _forget(self, lost: Lost) -> None:
        self.gone.append(lost)
        self.hosts.pop(lost.host, None)
        self.busy.pop(lost.host, None)
        self.shares.lose(lost.host)
        if lost.host in self.tellers:
            self.tellers.pop(lost.host).end()

    def _retries(self, kind: str) -> int:
        return self.work.experiment.retries.get(kind, CLASSES[kind].retries)

    def _estimate(self) -> Estimate:
        """What the cells should take on the hosts as they are. The plan's figures are of the
        accelerator that it was thought to have.
        """
        expected: dict[str, Expected] = {}
        known: dict[str, Expected] = {}
        for planned in self.record.cells:
            policy = self.work.policies[planned.policy]
            key = f"{plan.level_key(planned.levels)} {policy.kernel} {policy.more_ram and policy.start} {planned.boot}"
            if key not in known:
                conditions = self.work.experiment.at(planned.levels).under(policy)
                stages = plan.expected_stages(conditions, self.accelerator)
                reset = stages.pop(RESET)
                state = f"{conditions.host} {replace(conditions.guests, kernel=policy.kernel)} {planned.boot}"
                known[key] = Expected(reset, math.fsum(stages.values()), state)
            expected[planned.cell] = known[key]
        return Estimate.of(self.record.cells, expected, self.finished.values())

    def _left(self) -> float:
        return self.estimate.left(self.shares.left, len(self.hosts))

    def _end_telling(self) -> None:
        for teller in self.tellers.values():
            teller.end()

    def _tell(
        self,
        kind: str,
        host: str = "",
        *,
        attempt: int = 0,
        stage: str = "",
        stage_s: float = 0.0,
        record: CellRecord | None = None,
        retry: bool = False,
    ) -> None:
        planned = self.busy.get(host)
        tried = self.failures.get(planned.cell, Counter()).total() if planned else 0
        several = len(self.hosts) + len(self.crew.awaited()) > 1
        event = Event(
            kind=kind,  # type: ignore[arg-type]
            done=len(self.finished),
            total=len(self.record.cells),
            left_s=self._left(),
            cell=planned.cell if planned else "",
            policy=planned.policy if planned else "",
            order=planned.order if planned else 0,
            stage=stage,
            stage_s=stage_s,
            attempt=attempt or tried + 1,
            record=record,
            retry=retry,
            host=host if several else "",
        )
        for name, teller in self.tellers.items():
            if host in ("", name):
                teller.event(event)
        self.listen(event)
