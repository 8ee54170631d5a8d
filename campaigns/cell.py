"""One attempt at one cell: from the host's known state to a record. Stages are
campaigns.plan.STAGES.
"""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from campaigns import barrier, evaluate, live, managed, provenance, reproduce, starved, stuck
from campaigns.conditions import Conditions
from campaigns.evaluate import Figures
from campaigns.plan import expected_stages
from campaigns.records import SCHEMA, BarrierRecord, CampaignRecord, CellRecord, Failure, PlannedCell
from campaigns.store import CellWriter, storing
from common.errors import LabError, MissingError, WorkloadError
from common.machines import Machine, command_errors, explain
from common.text import without_home
from lab.api import Host, Observation, Sample, Tracing
from lab.emulator.process import GoneError
from lab.emulator.share import Reading
from policies import apply
from policies.base import Policy
from workloads.base import WorkloadResult

LAST_RESORT_S = 3600.0
RUN_FACTOR = 5.0
"""Without timeouts.run, a workload may take this many times what it is expected to, and at least
LAST_RESORT_S. It is stuck when its guests no longer get on (campaigns/stuck.py), and not when it is
slow.
"""

DASK = "Dask"
"""The lab of campaigns on a scheduler's workers. No inventory has such a name."""

StageListener = Callable[[str, float], None]
TickListener = Callable[[Callable[[], Iterable[Sample]]], None]
"""Told every now and then that a run goes on, with how to get its newest reading."""


class Keeper(Protocol):
    """Where a cell is written: the store, or who writes for it (store.Sealer)."""

    def begin(self, cell: str) -> CellWriter: ...
    def commit(self, writer: CellWriter, record: CellRecord, env: Mapping[str, object]) -> Path: ...
    def abandon(self, writer: CellWriter) -> None: ...


@dataclass
class _Outcome:
    """What an attempt has found so far."""

    timings: dict[str, float] = field(default_factory=dict)
    stage: str = ""
    facts: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    before: list[Sample] = field(default_factory=list)
    after: list[Sample] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
    cost: Mapping[str, float] = field(default_factory=dict)
    given_before: Reading | None = None
    given_after: Reading | None = None
    released: BarrierRecord | None = None
    figures: Figures = evaluate.NONE
    host: Mapping[str, object] | None = None


@dataclass
class Attempt:
    """Runs a cell once. Everything that it needs is given; everything that it finds ends in one
    directory of the store.
    """

    store: Keeper
    campaign: CampaignRecord
    planned: PlannedCell
    policy: Policy
    conditions: Conditions
    host: Host
    on_stage: StageListener
    alone: bool = False
    on_tick: TickListener = lambda _last: None
    out: _Outcome = field(default_factory=_Outcome)

    def __post_init__(self) -> None:
        self.expected = expected_stages(self.conditions, self.host.accelerator)

    def run(self) -> CellRecord:
        """Run, and store what came of it: a complete, invalid or failed record. Anything but a
        failure of lab or load leaves nothing.
        """
        started = _now()
        writer = self.store.begin(self.planned.cell)
        try:
            failure = None
            try:
                self._work(writer)
            except Exception as error:
                failure = self._failure(error)
                if failure is None:
                    raise
                self._save_what_there_is(writer)
            with self._stage("store"):
                record = self._record(failure, started)
                env = provenance.environment(
                    self.policy, self.conditions, self.out.host, self.campaign, self.planned.cell, alone=self.alone
                )
                self._write_script(writer)
                self.store.commit(writer, record, {**env, "workload_facts": self.out.facts})
        except BaseException:
            self.store.abandon(writer)
            raise
        return record

    def _write_script(self, writer: CellWriter) -> None:
        rerun = rerun_command(self.campaign, self.planned.cell)
        text = reproduce.text(self.campaign, self.planned, self.policy, self.conditions, rerun)
        with storing(writer.directory):
            (writer.directory / reproduce.FILE).write_text(text, encoding="utf-8")

    def _work(self, writer: CellWriter) -> None:
        conditions, out = self.conditions, self.out
        with self._stage("reset"):
            boot = None if self.planned.boot is None else f"{self.campaign.campaign}, boot {self.planned.boot}"
            guests = replace(conditions.guests, kernel=self.policy.kernel)
            self.host.reset(conditions.host, guests, boot=boot)
        # The host may have fallen back to software emulation: what is expected and allowed is then
        # the emulation's.
        self.expected = expected_stages(conditions, self.host.accelerator)
        machines = {name: guest.machine for name, guest in self.host.guests.items()}
        if len(machines) != conditions.guests.count:
            raise LabError(f"{len(machines)} guests are up instead of {conditions.guests.count}", where=self.host.name)
        with self._stage("prepare"):
            loads = {name: group.load for name, group in conditions.members(list(machines)).items()}
            out.facts = barrier.in_parallel(
                machines,
                lambda name, machine: loads[name].workload.prepare(machine, loads[name].parameters),
                limit_s=conditions.timeouts.prepare,
            )
        with self._stage("policy"):
            # only now: preparing drops the guests' caches, and with cleancache on, what is dropped
            # would go to tmem and be read from there
            apply.prepare(self.policy, conditions.tuning, self.host, conditions.host, conditions.guests)
        with self._stage("settle"):
            time.sleep(conditions.settle_s)
        with self._stage("run"):
            try:
                self._run_workload(writer, machines)
            except barrier.ScriptError as error:
                # the workload can tell from its outputs why it failed, and says so by an error of
                # its own
                self._collect_guest(writer, error.guest, machines[error.guest])
                raise
        with self._stage("collect"):
            self._collect(writer, machines)

    def _run_workload(self, writer: CellWriter, machines: Mapping[str, Machine]) -> None:
        conditions, out = self.conditions, self.out
        observation = self.host.observe(conditions.interval_s)
        tracing: Tracing | None = None

        def watch() -> None:
            nonlocal tracing
            if conditions.traced:
                tracing = self.host.trace(writer.raw / evaluate.TRACE)
            observation.start()
            out.given_before = self.host.given()
            # last, so that nothing comes between this reading and the release (gate readings_close)
            out.before = self.host.read_counters(writer.raw / evaluate.BEFORE)

        try:
            out.released = barrier.run(
                machines,
                self._parts(list(machines)),
                ready_s=conditions.timeouts.ready,
                run_s=conditions.timeouts.run or max(LAST_RESORT_S, RUN_FACTOR * self.expected["run"]),
                before_release=watch,
                after_release=self.host.release_manager,
                watch=self._watch(observation, machines),
                watch_s=live.TICK_S,
                log=writer.raw / evaluate.BARRIER_LOG,
            )
            out.given_after = self.host.given()
            out.after = self.host.read_counters(writer.raw / evaluate.AFTER)
            if tracing is not None:
                tracing.stop()
        except BaseException:
            if tracing is not None:
                tracing.abandon()
            with suppress(Exception):
                self._stop(observation, writer)
            raise
        self._stop(observation, writer)

    def _watch(self, observation: Observation, machines: Mapping[str, Machine]) -> Callable[[list[str]], None]:
        """What is done every TICK_S while guests are at work."""
        look = stuck.Watch(self.host.activity, machines, barrier.DIRECTORY, self.expected["run"])
        looked = time.monotonic()

        def watch(working: list[str]) -> None:
            nonlocal looked
            self.on_tick(observation.last)
            if time.monotonic() - looked >= stuck.LOOK_S:
                looked = time.monotonic()
                look(working)

        return watch

    def _parts(self, guests: Sequence[str]) -> dict[str, barrier.Part]:
        members = self.conditions.members(guests)
        release = apply.release_script(self.policy, self.conditions.guests.boots, self.conditions.tuning)
        starts = self.conditions.starts(guests)
        return {name: barrier.Part(members[name].load.script(), release, starts[name]) for name in guests}

    def _stop(self, observation: Observation, writer: CellWriter) -> None:
        try:
            lines = self.host.stop_manager()
        finally:
            with storing(writer.raw):
                self.out.samples = observation.stop(writer.raw)
            self.out.cost = observation.cost
        with storing(writer.raw):
            managed.save(writer.raw, lines)

    def _collect(self, writer: CellWriter, machines: Mapping[str, Machine]) -> None:
        conditions, out = self.conditions, self.out
        assert out.released is not None
        try:
            results = barrier.in_parallel(
                machines,
                lambda name, machine: self._collect_guest(writer, name, machine),
                limit_s=conditions.timeouts.collect,
            )
        except barrier.RunTimeoutError as error:
            for name in error.late:
                writer.set_aside(name)
            raise
        look = self.host.last_look()
        out.host = look.provenance
        with storing(writer.raw):
            starved.save(writer.raw, out.given_before, out.given_after)
        run = evaluate.Run(
            given=starved.load(writer.raw),
            before=out.before,
            after=out.after,
            samples=out.samples,
            cost=out.cost,
            released=out.released,
            results=results,
            logs=self._save_kernel_logs(writer, look.kernel_log),
            managed=managed.load(writer.raw),
        )
        writer.write_samples(run.readings, out.released.released_at)
        out.figures = evaluate.figures(run, self.policy, conditions, self.campaign.claims)

    def _collect_guest(self, writer: CellWriter, name: str, machine: Machine) -> WorkloadResult:
        directory = writer.raw / name
        with storing(directory):
            directory.mkdir(parents=True, exist_ok=True)
            load = self.conditions.members(list(self.host.guests))[name].load
            result: WorkloadResult = load.workload.collect(machine, load.parameters, directory)
        return result

    def _save_kernel_logs(self, writer: CellWriter, logs: dict[str, str]) -> dict[str, str]:
        directory = writer.raw / evaluate.KERNEL_LOG
        with storing(directory):
            directory.mkdir(exist_ok=True)
            for source, text in logs.items():
                (directory / f"{source}.txt").write_text(text, encoding="utf-8")
        return logs

    def _save_what_there_is(self, writer: CellWriter) -> None:
        """For whoever looks for the cause: what guests did and said last, logs and provenance, as
        far as the host still answers; samples, when a run was released.
        """
        with suppress(Exception):
            self._save_evidence(writer)
        with suppress(Exception):
            self._save_kernel_logs(writer, self.host.kernel_log())
        with suppress(Exception):
            self.out.host = self.host.provenance()
        released_at = (
            self.out.released.released_at if self.out.released else min((s.time for s in self.out.before), default=0.0)
        )
        if self.out.before:
            writer.write_samples([*self.out.before, *self.out.samples, *self.out.after], released_at)

    def _save_evidence(self, writer: CellWriter) -> None:
        """Before all else: the next reset takes it away."""
        directory = writer.raw / evaluate.EVIDENCE
        with storing(directory):
            directory.mkdir()
            for name, text in self.host.evidence(self.conditions.guests.count).items():
                (directory / name).write_text(without_home(text), encoding="utf-8")

    def _record(self, failure: Failure | None, started: str) -> CellRecord:
        out, planned = self.out, self.planned
        figures = evaluate.NONE if failure else out.figures
        valid = all(gate.passed for gate in figures.gates)
        return CellRecord(
            schema=SCHEMA,
            campaign=self.campaign.campaign,
            cell=planned.cell,
            experiment=self.campaign.name,
            policy=planned.policy,
            levels=planned.levels,
            repetition=planned.repetition,
            block=planned.block,
            order=planned.order,
            status="failed" if failure else "complete" if valid else "invalid",
            host=self.host.name,
            host_kind=self.host.kind,
            accelerator=self.host.accelerator,
            metrics=figures.metrics,
            gates=figures.gates,
            timings={stage: round(seconds, 3) for stage, seconds in out.timings.items()},
            barrier=out.released,
            checksums=figures.checksums,
            notes=out.figures.notes,
            failure=failure,
            started_at=started,
            finished_at=_now(),
            boot=planned.boot,
            run=planned.run,
            groups=self._groups(),
        )

    def _groups(self) -> dict[str, str]:
        guests = list(self.host.guests)
        return self.conditions.group_names(guests) if len(guests) == self.conditions.guests.count else {}

    def _failure(self, error: Exception) -> Failure | None:
        """The failure that an error of lab or load means; None for any other error, which is not
        the cell's.
        """
        kind = kind_of(error, self.out.stage)
        if kind is None:
            return None
        message = (
            str(error) if isinstance(error, LabError | WorkloadError) else f"{type(error).__name__}: {explain(error)}"
        )
        if kind in ("guest_lost", "barrier", "stuck"):
            kind, message = self._explained(kind, message)
        again = rerun_command(self.campaign, self.planned.cell)
        return Failure(kind, self.out.stage, without_home(message), again)

    def _explained(self, kind: str, message: str) -> tuple[str, str]:
        """The class and the message of a failure of guests, with what the host knows of it."""
        try:
            return kind, "\n".join([message, *self.host.lost().values()])
        except (GoneError, MissingError) as better:  # the host itself is gone: no guest's fault
            return "lab", f"{better}\n{message}"
        except Exception:  # noqa: BLE001 - dom0 may be lost as well
            return kind, message

    @contextmanager
    def _stage(self, stage: str) -> Iterator[None]:
        self.out.stage = stage
        self.on_stage(stage, self.expected[stage])
        started = time.monotonic()
        try:
            yield
        finally:
            self.out.timings[stage] = time.monotonic() - started


def kind_of(error: Exception, stage: str) -> str | None:
    """The class (campaigns.failures) of an error; None when it is no failure of the lab or the
    load.
    """
    kinds: tuple[tuple[Any, str], ...] = (
        (barrier.GuestLostError, "guest_lost"),
        (barrier.NotReadyError, "barrier"),
        (barrier.RunTimeoutError, "timeout"),
        (stuck.StuckError, "stuck"),
        (barrier.ScriptError, "workload"),
        (WorkloadError, "workload"),
        (LabError, "lab"),
        (command_errors(), "guest_lost" if stage in ("prepare", "run", "collect") else "lab"),
    )
    return next((kind for types, kind in kinds if isinstance(error, types)), None)


def rerun_command(campaign: CampaignRecord, cell: str) -> str:
    """The command that runs just this cell again, on the lab that the campaign was begun on."""
    usual = campaign.name if campaign.scale is None else f"{campaign.name}-{campaign.scale}"
    other = "" if campaign.scale is None else f" --scale {campaign.scale}"
    other += "" if campaign.campaign == usual else f" --campaign {campaign.campaign}"
    lab = f" --inventory {shlex.quote(campaign.inventory)}" if campaign.inventory else ""
    lab += " --scheduler ADDRESS" if campaign.lab == DASK else ""
    return f"./inv campaign.run {campaign.name}{other}{lab} --cell {cell}"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
