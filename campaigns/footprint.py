"""Footprint: memory held by guests and by tmem, integrated over time, from the release to the last
guest's end; and whether a guest holds more under load than without.

Xen counts what a guest keeps in persistent pools as the guest's own, so it is part of the guests'
`memory`. Ephemeral pages are nobody's: they count as what they are, or as the frames that tmem has
in all where compression and deduplication make those fewer.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Collection, Iterable, Sequence
from itertools import pairwise

from campaigns.records import BarrierRecord, aggregate
from common.metrics import Metric, MetricSpec
from common.units import PAGE_BYTES
from lab.api import Sample
from lab.counters.names import DOMAIN, TMEM
from lab.counters.parse import HYPERVISOR

SPEC = MetricSpec(
    "footprint",
    "GiB·min",
    "lower",
    "memory that guests (persistent pages included) and ephemeral pages held, "
    "integrated from the release to the end of the last guest's script",
)

LOADED = MetricSpec(
    "loaded_to_idle_memory",
    "ratio",
    "neither",
    "memory that a guest held while its script ran, over what it held in the rest of the run, means over time",
)
"""Whether memory follows load: 1 of a guest that keeps what it has."""

GAP_FACTOR = 3.0
"""Of the sampling interval: where no reading is in as long, what was held then is not known. A
guest that rested for less did not rest.
"""

GIB_MIN = 2**30 * 60 / PAGE_BYTES
"""Seconds of a page."""

_MEMORY, _EPHEMERAL, _FRAMES = DOMAIN["pages"].name, TMEM["Ec"].name, TMEM["Fc"].name


def held(samples: Iterable[Sample], guests: Collection[str], *, tmem: bool) -> list[tuple[float, float | None]]:
    """(time, pages held) of every reading in dom0, in the order of time. None: a guest or, where
    tmem is in use, its pages could not be read.
    """
    found: dict[float, dict[tuple[str, str], float | int | None]] = {}
    wanted = {*((guest, _MEMORY) for guest in guests), (HYPERVISOR, _EPHEMERAL), (HYPERVISOR, _FRAMES)}
    for sample in samples:
        if (sample.source, sample.counter) in wanted:
            found.setdefault(sample.time, {})[sample.source, sample.counter] = sample.value
    return [(time, _pages(values, guests, tmem=tmem)) for time, values in sorted(found.items())]


def _pages(values: dict[tuple[str, str], float | int | None], guests: Collection[str], *, tmem: bool) -> float | None:
    memory = [values.get((guest, _MEMORY)) for guest in guests]
    ephemeral = aggregate([values.get((HYPERVISOR, name)) for name in (_EPHEMERAL, _FRAMES)], "min")
    return aggregate([*memory, ephemeral if tmem else ephemeral or 0], "sum")


def integral(readings: Sequence[tuple[float, float | None]], start: float, end: float, gap_s: float) -> float | None:
    """GiB·min from start to end, straight between readings and level beyond the first and the last.
    None when one of them has no value, or when none is in more than gap_s.
    """
    inside = [each for each in readings if start < each[0] < end]
    if not readings:
        return None
    place = bisect.bisect_right([time for time, _ in readings], start)
    first = readings[max(0, place - 1)]
    after = next((each for each in readings if each[0] >= end), readings[-1])
    points = [(start, first[1]), *inside, (end, after[1])]
    total = 0.0
    for (earlier, low), (later, high) in pairwise(points):
        if low is None or high is None or later - earlier > gap_s:
            return None
        total += (low + high) / 2 * (later - earlier)
    return total / GIB_MIN


def of_run(samples: Iterable[Sample], released: BarrierRecord, *, tmem: bool, interval_s: float) -> float | None:
    """The footprint of a run in GiB·min, from all its readings."""
    start = released.released_at
    readings = held(samples, released.starts.keys(), tmem=tmem)
    return integral(readings, start, start + max(released.ends.values()), GAP_FACTOR * interval_s)


def loaded_to_idle(samples: Iterable[Sample], released: BarrierRecord, *, interval_s: float) -> list[Metric]:
    """`LOADED` of every guest, from all readings of a run. Of one that never rested, since its
    script took the whole run, it has no value.
    """
    found: dict[str, list[tuple[float, float | None]]] = {guest: [] for guest in released.starts}
    for sample in samples:
        if sample.counter == _MEMORY and sample.source in found:
            found[sample.source].append((sample.time, sample.value))
    last = max(released.ends.values())
    return [
        Metric(LOADED.name, LOADED.unit, _ratio(sorted(readings), released, guest, last, interval_s), guest)
        for guest, readings in found.items()
    ]


def _ratio(
    readings: Sequence[tuple[float, float | None]], released: BarrierRecord, guest: str, last: float, interval_s: float
) -> float | None:
    start, end, least = released.starts[guest], released.ends[guest], GAP_FACTOR * interval_s
    rests = [(begin, stop) for begin, stop in ((0.0, start), (end, last)) if stop - begin >= least]
    loaded = _mean(readings, [(start, end)], released.released_at, least)
    idle = _mean(readings, rests, released.released_at, least)
    return None if loaded is None or not idle else loaded / idle


def _mean(
    readings: Sequence[tuple[float, float | None]], spans: Sequence[tuple[float, float]], zero: float, gap_s: float
) -> float | None:
    """GiB, over spans of seconds after zero."""
    held_in = [integral(readings, zero + begin, zero + stop, gap_s) for begin, stop in spans]
    minutes = math.fsum(stop - begin for begin, stop in spans) / 60
    total = aggregate(held_in, "sum")
    return None if total is None or not minutes else total / minutes
