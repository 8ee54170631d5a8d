"""The one name of every counter, where the word of its source meets it.

A counter keeps this name from here on: in `samples.csv`, as a metric of `cell.json` when the run's
growth of it is one, in tables and in the code of figures. What Xen, its back ends and Linux call it
stays in `raw/` and in this module. A name with a dot is Linux's own word with the file that it
stands in; one without is ours.

A counter is added by a line here: it is then read, named and sampled, and with a doc it is a
metric.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from common.metrics import Better, CounterMetric, MetricSpec
from common.units import PAGE_BYTES


@dataclass(frozen=True)
class Counter:
    """A counter: name and unit. doc: what its growth over a run means, which makes that growth a
    metric; better: which direction of it. per: how many of the source's own units are one `unit`.
    """

    name: str
    unit: str
    better: Better = "neither"
    doc: str = ""
    per: int = 1

    def value(self, told: float | None) -> float | None:
        """What the source told, in this counter's unit."""
        return told if told is None or self.per == 1 else told / self.per

    @property
    def metric(self) -> CounterMetric:
        """The metric that is its growth."""
        return CounterMetric(MetricSpec(self.name, self.unit, self.better, self.doc), (self.name,))


FREE_MEMORY = Counter("free_memory", "pages")

TARGET = Counter("target", "pages", per=PAGE_BYTES)
"""Of a guest: what a manager in dom0 told it to have, from then on (campaigns/managed.py); beside
`memory`, which it has.
"""

DOMAIN: Mapping[str, Counter] = {
    "cpu_ns": Counter(
        "vcpu_seconds",
        "s",
        "lower",
        "processor time of the guest's vCPUs, as the hypervisor counted it; hypercalls and the sampler's included",
        per=10**9,
    ),
    "pages": Counter("memory", "pages"),
}
"""What Xen says of a domain, by the sampler's keys."""

VCPU_SECONDS = DOMAIN["cpu_ns"]

TMEM: Mapping[str, Counter] = {
    "Tt": Counter("tmem_ops", "count"),
    "Te": Counter("tmem_errors", "count"),
    "Cf": Counter("tmem_failed_copies", "count"),
    "Af": Counter("tmem_failed_allocations", "count"),
    "Pf": Counter("tmem_failed_page_allocations", "count"),
    "Ta": Counter("tmem_free_pages", "pages"),
    "Lm": Counter("tmem_low_memory_events", "count"),
    "Et": Counter("tmem_evictions", "pages", doc="ephemeral pages that Xen evicted, all guests together"),
    "Ea": Counter("tmem_evict_attempts", "count"),
    "Rt": Counter("tmem_relinquished", "pages"),
    "Ra": Counter("tmem_relinquish_attempts", "count"),
    "Rx": Counter("tmem_most_evictions_in_one_relinquish", "pages"),
    "Fp": Counter("tmem_pools_flushed", "count"),
    "Ec": Counter("tmem_ephemeral_pages", "pages"),
    "Em": Counter("tmem_ephemeral_pages_most", "pages"),
    "Ep": Counter("tmem_good_puts", "count"),
    "Oc": Counter("tmem_objects", "count"),
    "Nc": Counter("tmem_tree_nodes", "count"),
    "Pc": Counter("tmem_page_descriptors", "count"),
    "Fc": Counter("tmem_page_frames", "pages"),
    "Sc": Counter("tmem_distinct_contents", "pages"),
    "Gd": Counter("tmem_deduplicated_puts", "count"),
    "Zt": Counter("tmem_bytes_after_zero_elimination", "bytes"),
    "Gz": Counter("tmem_bytes_after_compression", "bytes"),
}
"""Of all guests together, by tmem's tags: the G line of `tmemctl list -l`."""

PERSISTENT_PAGES = Counter("tmem_persistent_pages", "pages")
"""Of all guests together: tmem tells it of pools only."""

CYCLES = Counter("tmem_cycles", "cycles", "lower", "processor cycles that Xen spent in tmem for the guest")
"""Of a guest: tag Tc of its C line."""

KINDS: Mapping[str, str] = {"E": "ephemeral", "P": "persistent"}
"""Kinds of pools, by how tmem's word for one begins."""

_POOL: Mapping[str, Counter] = {
    "Pc": Counter("pages", "pages"),
    "ps": Counter("puts", "pages"),
    "pt": Counter("puts_tried", "pages"),
    "px": Counter("puts_refused", "pages"),
    "gs": Counter("hits", "pages", doc="pages found in the guest's {kind} pools, as Xen counted them"),
    "gt": Counter("gets_tried", "pages"),
    "fs": Counter("flushes", "pages"),
    "ft": Counter("flushes_tried", "pages"),
    "os": Counter("object_flushes", "count"),
    "ot": Counter("object_flushes_tried", "count"),
    "pr": Counter("duplicates_replaced", "pages"),
    "pd": Counter("duplicates_flushed", "pages"),
}
POOLS: Mapping[str, Mapping[str, Counter]] = {
    kind: {
        tag: replace(each, name=f"tmem_{kind}_{each.name}", doc=each.doc.format(kind=kind))
        for tag, each in _POOL.items()
    }
    for kind in KINDS.values()
}
"""Kind -> what is summed over a guest's pools of it, by tmem's tags: the P lines."""

DISKS: Mapping[str, Counter] = {
    "rd_req": Counter("read_requests", "requests"),
    "wr_req": Counter("write_requests", "requests"),
    "rd_sect": Counter(
        "sectors_read",
        "sectors",
        "lower",
        "sectors of 512 B that the guest read from all its disks, as dom0 counted them",
    ),
    "wr_sect": Counter(
        "sectors_written",
        "sectors",
        "lower",
        "sectors of 512 B that the guest wrote to all its disks, as dom0 counted them",
    ),
}
"""What the back ends count of a guest's disks, by their files. What the growth of requests means
stands in common/metrics.py, beside their sum.
"""

_XVDA = 202 << 8
_SWAP = "swap"
_SWAP_DOCS = {
    "rd_sect": "of sectors_read, those from the swap disk",
    "wr_sect": "of sectors_written, those to the swap disk",
}


def disk(number: int, tag: str) -> Counter:
    """The counter of one disk, by its Xen block device number: of 51712 it is xvda_sectors_read,
    and of the guests' second disk, which they swap to, swap_sectors_read.
    """
    letter = chr(ord("a") + (number - _XVDA) // 16)
    name = _SWAP if letter == "b" else f"xvd{letter}"
    doc = _SWAP_DOCS.get(tag, "") if name == _SWAP else ""
    return replace(DISKS[tag], name=f"{name}_{DISKS[tag].name}", doc=doc)


def _own(file: str, unit: str, *words: str, per: int = 1) -> dict[str, Counter]:
    return {f"{file}.{word}": Counter(f"{file}.{word}", unit, per=per) for word in words}


LINUX: Mapping[str, Counter] = {
    **_own("vmstat", "count", "pgfault"),
    "vmstat.pgmajfault": Counter(
        "major_faults", "count", "lower", "page faults that had to wait for a disk or for tmem"
    ),
    **_own("vmstat", "count", "pgpgin", "pgpgout"),
    "vmstat.pswpin": Counter(
        "swap_in",
        "pages",
        "lower",
        "pages read from swap devices, those in its own memory included; what frontswap returned is not among them",
    ),
    "vmstat.pswpout": Counter(
        "swap_out",
        "pages",
        "lower",
        "pages written to swap devices, those in its own memory included; what frontswap took is not among them",
    ),
    **_own("vmstat", "count", "pgscan_kswapd", "pgscan_direct"),
    **_own("vmstat", "pages", "pgsteal_kswapd", "pgsteal_direct"),
    **_own("vmstat", "pages", "workingset_refault_file", "workingset_refault_anon"),
    **_own("vmstat", "count", "pginodesteal", "kswapd_inodesteal", "allocstall_normal", "oom_kill"),
    **_own("meminfo", "KiB", "MemTotal", "MemFree", "MemAvailable", "Buffers", "Cached", "SwapCached"),
    **_own("meminfo", "KiB", "Active", "Inactive", "Dirty", "Writeback", "AnonPages", "Mapped", "Shmem", "Slab"),
    **_own("meminfo", "KiB", "SwapTotal", "SwapFree", "CommitLimit", "Committed_AS"),
    "psi.memory.some": Counter("memory_stall_seconds", "s", per=10**6),  # a metric of common/metrics.py
    **_own("psi", "s", "memory.full", "io.some", "io.full", "cpu.some", per=10**6),
    "cleancache.succ_gets": Counter(
        "cleancache_hits", "pages", doc="clean pages that cleancache still had when they were wanted"
    ),
    "cleancache.failed_gets": Counter(
        "cleancache_misses", "pages", doc="clean pages that cleancache did not have; cold misses included"
    ),
    "cleancache.puts": Counter(
        "cleancache_puts", "pages", doc="clean pages offered to cleancache when the guest evicted them"
    ),
    "cleancache.invalidates": Counter("cleancache_invalidates", "pages"),
    "frontswap.loads": Counter(
        "frontswap_loads", "pages", doc="pages swapped in from frontswap instead of the swap disk"
    ),
    "frontswap.succ_stores": Counter(
        "frontswap_stores", "pages", doc="pages swapped out to frontswap instead of the swap disk"
    ),
    "frontswap.failed_stores": Counter("frontswap_failed_stores", "pages"),
    "frontswap.invalidates": Counter("frontswap_invalidates", "pages"),
}
"""What is read in a guest: lines of /proc/vmstat and /proc/meminfo, totals of /proc/pressure, files
of debugfs. The keys are what the sampler is given when it is started (lab/remote/agents.py).
"""

IN_MEMORY: Mapping[str, Counter] = {
    "zswap.stored_pages": Counter(
        "zswap_held", "pages", doc="pages that zswap held at the end; its stores and hits are frontswap's"
    ),
    "zswap.pool_total_size": Counter("zswap_memory", "pages", doc="memory that they took at the end", per=PAGE_BYTES),
    "zswap.written_back_pages": Counter("zswap_written_back", "pages", doc="pages that a full zswap wrote to the disk"),
    "zswap.pool_limit_hit": Counter("zswap_pool_limit_hit", "count"),
    "zswap.reject_compress_poor": Counter("zswap_reject_compress_poor", "pages"),
    "block.zram0.mm_stat.1": Counter("zram_held", "pages", doc="pages that zram held at the end", per=PAGE_BYTES),
    "block.zram0.mm_stat.2": Counter("zram_compressed", "bytes"),
    "block.zram0.mm_stat.3": Counter("zram_memory", "pages", doc="memory that they took at the end", per=PAGE_BYTES),
    "block.zram0.mm_stat.5": Counter("zram_memory_most", "pages", per=PAGE_BYTES),
    "block.zram0.mm_stat.6": Counter("zram_same_pages", "pages"),
    "block.zram0.stat.1": Counter("zram_hits", "pages", doc="pages swapped in from zram, and its header"),
    "block.zram0.stat.5": Counter("zram_stores", "pages", doc="pages swapped out to zram instead of the swap disk"),
    "swaps.ram0.3": Counter(
        "ramdisk_held", "pages", doc="pages that the RAM disk held at the end", per=PAGE_BYTES // 1024
    ),
}
"""What is read of swap in a guest's own memory (policies/memory_swap.py). Only where it is told: a
guest has no such device under other policies, and older raw outputs know none.

zram serves a page at a time while it is swapped to, so its requests are pages.
"""

ASKED = (*LINUX, *IN_MEMORY)
"""All that a guest's sampler is asked for."""

SAMPLER_CPU = "sampler.cpu"
"""The sampler's own word for the processor time that it has taken itself, in dom0 and each guest.
Only where it is told: older raw outputs lack it.
"""

SAMPLING = Counter(
    "sampling_cpu_seconds",
    "s",
    "lower",
    "processor time that the sampler took between the readings before "
    "and after: of each guest, and, without a guest's name, of dom0",
    per=10**6,
)


def known() -> frozenset[str]:
    """The names of all counters but those of single disks."""
    everywhere = (FREE_MEMORY, TARGET, PERSISTENT_PAGES, CYCLES, SAMPLING)
    pools = (each for counters in POOLS.values() for each in counters.values())
    tables = (*DOMAIN.values(), *TMEM.values(), *DISKS.values(), *LINUX.values(), *IN_MEMORY.values())
    return frozenset(each.name for each in (*everywhere, *tables, *pools))


def hypervisor_metrics() -> tuple[CounterMetric, ...]:
    """The metrics of the hypervisor that are the growth of one counter."""
    return tuple(each.metric for each in TMEM.values() if each.doc)


def guest_metrics() -> Iterator[CounterMetric]:
    """The metrics of a guest that are the growth of one counter, in the order of records."""
    swap = (disk(_XVDA + 16, tag) for tag in _SWAP_DOCS)
    pools = (each for counters in POOLS.values() for each in counters.values())
    for counter in (*DISKS.values(), *swap, VCPU_SECONDS, *LINUX.values(), CYCLES, *pools, *IN_MEMORY.values()):
        if counter.doc:
            yield counter.metric
