"""Metrics: what a workload or a cell yields, with units, so that no figure travels without one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from common.units import PAGE_BYTES

STRICT = {"extra": "forbid", "strict": True, "allow_inf_nan": False}
"""pydantic's configuration of the records that results/ holds: refused, never converted."""

Better = Literal["lower", "higher", "neither"]


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
    """A metric that is by how much counters grew over the run, all of them together, times a factor
    to its unit.
    """

    spec: MetricSpec
    counters: tuple[str, ...]
    factor: float | int = 1


def total(values: Sequence[float | int]) -> float | int:
    """The sum, the same bits on every Python: exact of whole numbers, else correctly rounded. `sum`
    adds otherwise from 3.12 on.
    """
    if all(isinstance(value, int) for value in values):
        return sum(values)
    return math.fsum(values)


def _lower(name: str, unit: str, counters: tuple[str, ...], doc: str, factor: float = 1) -> CounterMetric:
    return CounterMetric(MetricSpec(name, unit, "lower", doc), counters, factor)


PRESSURE = (
    _lower(
        "pages_reclaimed",
        "pages",
        ("vmstat.pgsteal_kswapd", "vmstat.pgsteal_direct"),
        "pages that the guest's kernel took from their users because memory was short",
    ),
    _lower(
        "refaults",
        "pages",
        ("vmstat.workingset_refault_file", "vmstat.workingset_refault_anon"),
        "pages that the guest wanted again after its kernel had reclaimed them, from wherever they came back",
    ),
    _lower(
        "memory_stall_seconds",
        "s",
        ("psi.memory.some",),
        "time in which some task of the guest waited for memory, as the kernel's pressure stall information tells",
        1e-6,
    ),
)
"""What a guest felt of the lack of memory. Per guest."""

REQUESTS = (
    _lower("read_requests", "requests", ("vbd.read_requests",), "requests of the guest that read from its disks"),
    _lower("write_requests", "requests", ("vbd.write_requests",), "requests of the guest that wrote to its disks"),
    _lower(
        "disk_requests",
        "requests",
        ("vbd.read_requests", "vbd.write_requests"),
        "requests of the guest to its disks, reads and writes: what is called operations",
    ),
)
"""Operations, which are not sectors: one request reads from one sector to hundreds. Per guest, as
dom0 counted them.
"""


def _neither(name: str, unit: str, counter: str, doc: str, factor: float = 1) -> CounterMetric:
    return CounterMetric(MetricSpec(name, unit, "neither", doc), (counter,), factor)


SWAP_IN_MEMORY = (
    _neither("zram_stores", "pages", "zram.writes", "pages swapped out to zram instead of the swap disk"),
    _neither("zram_hits", "pages", "zram.reads", "pages swapped in from zram, and its header"),
    _neither("zram_held", "pages", "zram.orig_data_size", "pages that zram held at the end", 1 / PAGE_BYTES),
    _neither("zram_memory", "pages", "zram.mem_used_max", "memory that they took, at the most", 1 / PAGE_BYTES),
    _neither(
        "zswap_held",
        "pages",
        "zswap.stored_pages",
        "pages that zswap held at the end; its stores and hits are frontswap's",
    ),
    _neither("zswap_memory", "pages", "zswap.pool_total_size", "memory that they took at the end", 1 / PAGE_BYTES),
    _neither("zswap_written_back", "pages", "zswap.written_back_pages", "pages that a full zswap wrote to the disk"),
    _neither(
        "ramdisk_held",
        "pages",
        "ramdisk.used",
        "pages that the RAM disk held at the end",
        1024 / PAGE_BYTES,
    ),
)
"""Swap in the guest's own memory (policies/memory_swap.py); null where a guest has none. Per
guest.
"""
