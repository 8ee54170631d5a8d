"""From what a run left to its figures: metrics, verdicts of the gates, checksums. Pure, so that
anyone can do it again from raw/ (campaigns/verify.py).

raw/before/, raw/after/      the readings before the release and after the last guest's end, as the
agents said them raw/*.samples.*              the readings meanwhile, and what taking them cost
raw/controller.json          what the machine of an emulated host gave it (campaigns/starved.py)
raw/manager.jsonl            what a manager in dom0 saw, decided and set (campaigns/managed.py)
raw/tmem.trace.zst           what guests asked of tmem, where that was recorded (docs/trace.md)
raw/barrier.txt              when each guest was ready, released and done raw/<guest>/
the workload's own outputs raw/kernel_log/<source>.txt  kernel messages
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from campaigns import barrier, footprint, gates, managed, metrics, starved
from campaigns.conditions import Conditions
from campaigns.managed import Managed
from campaigns.records import BarrierRecord, Claim, GateResult
from common.metrics import Metric
from lab.api import Sample
from lab.counters import kept
from lab.emulator.share import Given
from policies.base import Policy
from workloads.base import WorkloadResult

BEFORE, AFTER = "before", "after"
BARRIER_LOG = "barrier.txt"
KERNEL_LOG = "kernel_log"
EVIDENCE = "evidence"
TRACE = "tmem.trace.zst"


@dataclass(frozen=True)
class Run:
    """What one run left. before, after: readings; samples: meanwhile; results: guest -> what its
    workload gave; logs: source -> kernel messages.

    given: what the machine of an emulated host gave it. managed: what a manager did; None: the
    policy has none, or it left nothing.
    """

    before: Sequence[Sample]
    after: Sequence[Sample]
    samples: Sequence[Sample]
    cost: Mapping[str, float]
    released: BarrierRecord
    results: Mapping[str, WorkloadResult]
    logs: Mapping[str, str]
    given: Given | None = None
    managed: Managed | None = None

    @property
    def readings(self) -> Iterator[Sample]:
        """Every reading, as samples.csv holds them."""
        yield from self.before
        targets = self.managed.samples if self.managed else []
        yield from heapq.merge(self.samples, targets, key=lambda sample: sample.time)
        yield from self.after


@dataclass(frozen=True)
class Figures:
    """What is told of a run."""

    metrics: tuple[Metric, ...]
    gates: tuple[GateResult, ...]
    checksums: Mapping[str, Mapping[str, str]]
    notes: tuple[str, ...]


NONE = Figures((), (), {}, ())


def figures(run: Run, policy: Policy, conditions: Conditions, claims: Sequence[Claim]) -> Figures:
    """Metrics of the testbed and of the workload, and the gates' verdicts on them."""
    before, after = metrics.readings(run.before), metrics.readings(run.after)
    readings = [*run.before, *run.samples, *run.after]
    held = footprint.of_run(readings, run.released, tmem=bool(policy.pools), interval_s=conditions.interval_s)
    counted, notes = metrics.counter_metrics(before, after, run.results)
    ours = [
        *metrics.wall_metrics(run.released),
        *counted,
        *metrics.host_metrics(before, after, run.released.skew_seconds, run.cost),
        Metric(footprint.SPEC.name, footprint.SPEC.unit, held),
        *footprint.loaded_to_idle(readings, run.released, interval_s=conditions.interval_s),
        *(run.managed.metrics if run.managed else []),
    ]
    theirs = [replace(metric, guest=name) for name, result in run.results.items() for metric in result.metrics]
    merged = metrics.merge(ours, theirs)
    checksums = {name: result.checksums for name, result in run.results.items()}
    verdicts, details = gates.check(
        gates.Measured(
            policy=policy,
            conditions=conditions,
            guests=tuple(run.results),
            before=before,
            after=after,
            samples=run.samples,
            metrics=merged,
            checksums=checksums,
            skew_seconds=run.released.skew_seconds,
            late_s=gates.late(run.released, conditions),
            apart_s=gates.apart(run.before, run.after, run.released),
            logs=run.logs,
            managed=run.managed,
            claims=claims,
        )
    )
    # The gates judge what was measured; starvation is no gate, since counters are right all the
    # same.
    told, doubts = starved.judged(merged, run.given)
    return Figures(told, verdicts, checksums, (*notes, *details, *doubts))


def from_raw(raw: Path, conditions: Conditions) -> Run:
    """The run whose outputs these are. Needs no lab. FileNotFoundError, ValueError, KeyError or
    a UserError say what of raw/ cannot be read, and a note of theirs where it is.
    """
    with _reading(BARRIER_LOG):
        released = barrier.read_log((raw / BARRIER_LOG).read_text(encoding="utf-8").splitlines())
    guests = list(released.starts)
    with _reading(f"samples of {', '.join(guests)} and dom0"):
        samples, cost = kept.many_readings(kept.read(raw, guests, kept.SAMPLES), guests)
    with _reading(BEFORE):
        before = kept.one_reading(kept.read(raw / BEFORE, guests, kept.READING), guests)
    with _reading(AFTER):
        after = kept.one_reading(kept.read(raw / AFTER, guests, kept.READING), guests)
    with _reading(starved.FILE):
        given = starved.load(raw)
    with _reading(managed.FILE):
        manager = managed.load(raw)
    with _reading(KERNEL_LOG):
        said = logs(raw)
    return Run(before, after, samples, cost, released, results(raw, guests, conditions), said, given, manager)


@contextmanager
def _reading(what: str) -> Iterator[None]:
    """Whatever goes wrong within gets a note that says what of raw/ was read."""
    try:
        yield
    except Exception as error:
        error.add_note(what)
        raise


def results(raw: Path, guests: Sequence[str], conditions: Conditions) -> dict[str, WorkloadResult]:
    """Guest -> what its workload's raw outputs say."""
    loads = {name: group.load for name, group in conditions.members(guests).items()}
    found = {}
    for name, load in loads.items():
        with _reading(name):
            found[name] = load.workload.read(load.parameters, raw / name)
    return found


def logs(raw: Path) -> dict[str, str]:
    """Source -> its kernel log."""
    return {path.stem: path.read_text(encoding="utf-8") for path in sorted((raw / KERNEL_LOG).glob("*.txt"))}
