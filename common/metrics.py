"""Metrics: what a workload or a cell yields, with units, so that no figure travels without one."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

STRICT = {"extra": "forbid", "strict": True, "allow_inf_nan": False}
"""pydantic's configuration of the records that results/ holds: refused, never converted."""

Better = Literal["lower", "higher", "neither"]


TIME_UNITS = frozenset({"s", "seconds", "ms", "us", "ns", "cycles", "GiB·min"})


def is_timed(unit: str) -> bool:
    """Whether what has this unit is a time, a rate, or processor time, which is measured by the
    same clock.
    """
    return unit in TIME_UNITS or unit.endswith("/s")


@dataclass(frozen=True)
class MetricSpec:
    """A metric as it is declared: its name, its unit, which direction is better, and what it
    means.
    """

    __pydantic_config__ = STRICT

    name: str
    unit: str
    better: Better
    doc: str


@dataclass(frozen=True)
class Metric:
    """A metric as it was measured. `value` is None when it could not be read: never 0 in its place.

    guest: the guest it belongs to; None for a metric of the host.
    """

    __pydantic_config__ = STRICT

    name: str
    unit: str
    value: float | int | None
    guest: str | None = None


@dataclass(frozen=True)
class CounterMetric:
    """A metric that is by how much counters grew over the run, all of them together. That of one
    counter has its name.
    """

    spec: MetricSpec
    counters: tuple[str, ...]


def growth(first: float | None, last: float | None) -> float | None:
    """By how much a counter grew between two readings. None when either is missing, and when it
    fell: it was reset or has wrapped, and no difference means anything then.
    """
    return None if first is None or last is None or last < first else last - first


def total(values: Sequence[float | int]) -> float | int:
    """The sum, the same bits on every Python: exact of whole numbers, else correctly rounded. `sum`
    adds otherwise from 3.12 on.
    """
    if all(isinstance(value, int) for value in values):
        return sum(values)
    return math.fsum(values)


def whole(values: Iterable[int]) -> int:
    """The sum of whole numbers, which every Python adds alike."""
    return sum(values)


def _lower(name: str, unit: str, doc: str, *counters: str) -> CounterMetric:
    return CounterMetric(MetricSpec(name, unit, "lower", doc), counters or (name,))


PRESSURE = (
    _lower(
        "pages_reclaimed",
        "pages",
        "pages that the guest's kernel took from their users because memory was short",
        "vmstat.pgsteal_kswapd",
        "vmstat.pgsteal_direct",
    ),
    _lower(
        "refaults",
        "pages",
        "pages that the guest wanted again after its kernel had reclaimed them, from wherever they came back",
        "vmstat.workingset_refault_file",
        "vmstat.workingset_refault_anon",
    ),
    _lower(
        "memory_stall_seconds",
        "s",
        "time in which some task of the guest waited for memory, as the kernel's pressure stall information tells",
    ),
)
"""What a guest felt of the lack of memory. Per guest."""

SWAPPED = (
    _lower(
        "pages_swapped",
        "pages",
        "pages read from swap devices and written to them, together: what zswap's author counted",
        "swap_in",
        "swap_out",
    ),
)
"""Per guest."""

REQUESTS = (
    _lower("read_requests", "requests", "requests of the guest that read from its disks"),
    _lower("write_requests", "requests", "requests of the guest that wrote to its disks"),
    _lower(
        "disk_requests",
        "requests",
        "requests of the guest to its disks, reads and writes: what is called operations",
        "read_requests",
        "write_requests",
    ),
)
"""Operations, which are not sectors: one request reads from one sector to hundreds. Per guest, as
dom0 counted them.
"""
