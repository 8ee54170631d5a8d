"""The metrics that every cell yields, whatever its workload: differences of counters read before
and after, and figures of the run itself.

The growth of one counter has that counter's name (lab/counters/names.py); a metric with a name of
its own is made of several.

Dom0's processor time is without what the sampler took of it, which is a metric of its own. Readings
of before the sampler told that (raw outputs of older campaigns) give no such metric, and processor
time with it.

A counter that is missing on either side makes its metric None. A counter that went backwards makes
it None as well, with a note: it was reset or has wrapped, and no difference means anything then.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from campaigns import footprint, managed, starved
from campaigns.records import BarrierRecord
from common.metrics import PRESSURE, REQUESTS, SWAPPED, CounterMetric, Metric, MetricSpec, growth, total
from lab.api import Sample
from lab.counters import names
from lab.counters.parse import DOM0, HYPERVISOR

Readings = Mapping[tuple[str, str], float | int | None]
"""(source, counter) -> value of one reading."""


GUEST_COUNTERS = (*names.guest_metrics(), *REQUESTS, *SWAPPED, *PRESSURE)
"""Per guest."""

DOM0_CPU = CounterMetric(
    MetricSpec(
        "dom0_vcpu_seconds",
        "s",
        "lower",
        "processor time of dom0's vCPUs, without the sampler's: the disks' back ends work there",
    ),
    (names.VCPU_SECONDS.name,),
)
HYPERVISOR_COUNTERS = names.hypervisor_metrics()
"""Of all guests together."""

WALL = MetricSpec(
    "wall_seconds",
    "s",
    "lower",
    "time from the start of the guest's script, at the barrier or by its phase, to its "
    "end, by the host's clock; more than the build or the tool in it takes",
)
RUN = MetricSpec(
    "run_seconds", "s", "lower", "time from the release to the end of the last guest's script, by the host's clock"
)
BARRIER_SKEW = MetricSpec("barrier_skew", "s", "lower", "time between the first and the last guest's release")
SAMPLING_CPU = names.SAMPLING.metric.spec
SAMPLING_COST = MetricSpec(
    "sampling_cost", "fraction", "lower", "largest share of one processor that sampling took at any one source"
)
FREE_BEFORE = MetricSpec(
    "free_memory_before", "pages", "neither", "memory that nobody owned before the barrier, as Xen counted it"
)
FREE_AFTER = MetricSpec(
    "free_memory_after",
    "pages",
    "neither",
    "memory that nobody owned after the last guest had finished, as Xen counted it",
)

SPECS: tuple[MetricSpec, ...] = (
    WALL,
    RUN,
    *(metric.spec for metric in GUEST_COUNTERS),
    DOM0_CPU.spec,
    *(metric.spec for metric in HYPERVISOR_COUNTERS),
    BARRIER_SKEW,
    SAMPLING_CPU,
    SAMPLING_COST,
    FREE_BEFORE,
    FREE_AFTER,
    footprint.SPEC,
    footprint.LOADED,
    starved.SHARE,
    *managed.SPECS,
)
"""All of them; a workload may declare one of these names again, and its figure, taken closer to
the work, then replaces ours.
"""


def readings(samples: Iterable[Sample]) -> Readings:
    """One reading of everything as a mapping."""
    return {(sample.source, sample.counter): sample.value for sample in samples}


def counter_metrics(before: Readings, after: Readings, guests: Collection[str]) -> tuple[list[Metric], list[str]]:
    """The metrics that are differences of counters, and notes about counters that went
    backwards.
    """
    in_memory = [(guest, counter.name) for guest in guests for counter in names.IN_MEMORY.values()]
    # swap in memory that is first used at the release held nothing before
    before = {**{each: 0 for each in in_memory if each in after}, **before}
    metrics: list[Metric] = []
    notes: list[str] = []
    wanted = [(guest, metric, guest) for guest in guests for metric in GUEST_COUNTERS]
    wanted_host = [(DOM0, DOM0_CPU, None), *((HYPERVISOR, metric, None) for metric in HYPERVISOR_COUNTERS)]
    for source, metric, guest in (*wanted, *wanted_host):
        grown = [difference(before, after, source, counter) for counter in metric.counters]
        for counter, value in zip(metric.counters, grown, strict=True):
            if value is not None and value < 0:
                notes.append(f"{source}: {counter} went backwards by {-value:g}, so {metric.spec.name} has no value")
        known = [value for value in grown if value is not None and value >= 0]
        figure = total(known) if len(known) == len(grown) else None
        if metric.counters == (names.VCPU_SECONDS.name,) and _sampling_told(before, after, source):
            taken = sampling_seconds(before, after, source)
            # a guest's own account of time counts what Xen gave to others meanwhile, so it is told
            # and not taken out
            if source == DOM0:
                figure = None if figure is None or taken is None else figure - taken
            metrics.append(Metric(SAMPLING_CPU.name, SAMPLING_CPU.unit, taken, guest))
        metrics.append(Metric(metric.spec.name, metric.spec.unit, figure, guest))
    return metrics, notes


def _sampling_told(before: Readings, after: Readings, source: str) -> bool:
    return any((source, SAMPLING_CPU.name) in side for side in (before, after))


def sampling_seconds(before: Readings, after: Readings, source: str) -> float | None:
    """What the sampler took at a source; None when that is not known, also because another
    sampler had to be started meanwhile.
    """
    return grown_by(before, after, source, SAMPLING_CPU.name)


def grown_by(before: Readings, after: Readings, source: str, counter: str) -> float | None:
    """By how much a counter grew; None when either reading is missing or it fell."""
    return growth(before.get((source, counter)), after.get((source, counter)))


def difference(before: Readings, after: Readings, source: str, counter: str) -> float | int | None:
    """After minus before; None when either is missing."""
    first, last = before.get((source, counter)), after.get((source, counter))
    return None if first is None or last is None else last - first


def wall_metrics(barrier: BarrierRecord) -> list[Metric]:
    """How long each guest's workload took, from its own start, and all of them together."""
    walls = [
        Metric(WALL.name, WALL.unit, barrier.ends[guest] - start, guest) for guest, start in barrier.starts.items()
    ]
    return [*walls, Metric(RUN.name, RUN.unit, max(barrier.ends.values()))]


def host_metrics(before: Readings, after: Readings, skew_s: float, cost: Mapping[str, float]) -> list[Metric]:
    """The host's metrics that are no differences. cost: source -> share of one processor;
    nothing known is None.
    """
    return [
        Metric(BARRIER_SKEW.name, BARRIER_SKEW.unit, skew_s),
        Metric(SAMPLING_COST.name, SAMPLING_COST.unit, max(cost.values(), default=None)),
        Metric(FREE_BEFORE.name, FREE_BEFORE.unit, before.get((HYPERVISOR, names.FREE_MEMORY.name))),
        Metric(FREE_AFTER.name, FREE_AFTER.unit, after.get((HYPERVISOR, names.FREE_MEMORY.name))),
    ]


def merge(ours: Iterable[Metric], workloads: Iterable[Metric]) -> tuple[Metric, ...]:
    """Our metrics with the workload's; where both have the same name and guest, the workload's."""
    merged = {(metric.name, metric.guest): metric for metric in ours}
    merged.update({(metric.name, metric.guest): metric for metric in workloads})
    return tuple(merged.values())
