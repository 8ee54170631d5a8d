"""Counters: what the agents print, as Samples with names and units. Nothing here talks to a
machine.

Sources: "hypervisor", "dom0", and each guest by its name. A counter that could not be read is a
Sample with value None, so that it is seen to be missing. Where tmem answers and does not know a
guest, the guest has used none of it: those counters are 0, because that is what they are.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from common.errors import LabError
from lab.api import Sample

HYPERVISOR = "hypervisor"
DOM0 = "dom0"

_GLOBAL_TAGS = {
    "Tt": ("tmem.ops", "count"),
    "Te": ("tmem.errors", "count"),
    "Cf": ("tmem.failed_copies", "count"),
    "Af": ("tmem.failed_allocations", "count"),
    "Pf": ("tmem.failed_page_allocations", "count"),
    "Ta": ("tmem.free_pages", "pages"),
    "Lm": ("tmem.low_memory_events", "count"),
    "Et": ("tmem.evicted", "pages"),
    "Ea": ("tmem.evict_attempts", "count"),
    "Rt": ("tmem.relinquished", "pages"),
    "Ra": ("tmem.relinquish_attempts", "count"),
    "Rx": ("tmem.most_evictions_in_one_relinquish", "pages"),
    "Fp": ("tmem.pools_flushed", "count"),
    "Ec": ("tmem.ephemeral_pages", "pages"),
    "Em": ("tmem.ephemeral_pages_most", "pages"),
    "Ep": ("tmem.good_puts", "count"),
    "Oc": ("tmem.objects", "count"),
    "Nc": ("tmem.tree_nodes", "count"),
    "Pc": ("tmem.page_descriptors", "count"),
    "Fc": ("tmem.page_frames", "pages"),
    "Sc": ("tmem.distinct_contents", "pages"),
    "Gd": ("tmem.deduplicated_puts", "count"),
    "Zt": ("tmem.bytes_after_zero_elimination", "bytes"),
    "Gz": ("tmem.bytes_after_compression", "bytes"),
}
"""Tags of the G line of `tmem-list -l`."""

_POOL_TAGS = {
    "Pc": ("pages", "pages"),
    "ps": ("puts", "count"),
    "pt": ("puts_tried", "count"),
    "px": ("puts_refused", "count"),
    "gs": ("gets", "count"),
    "gt": ("gets_tried", "count"),
    "fs": ("flushes", "count"),
    "ft": ("flushes_tried", "count"),
    "os": ("object_flushes", "count"),
    "ot": ("object_flushes_tried", "count"),
    "pr": ("duplicates_replaced", "count"),
    "pd": ("duplicates_flushed", "count"),
}
"""Tags of the P lines, summed over a guest's pools of one kind."""

_KINDS = {"E": "ephemeral", "P": "persistent"}

_VBD = {
    "rd_req": ("read_requests", "requests"),
    "wr_req": ("write_requests", "requests"),
    "rd_sect": ("sectors_read", "sectors"),
    "wr_sect": ("sectors_written", "sectors"),
}

_VMSTAT = (
    "pgfault",
    "pgmajfault",
    "pgpgin",
    "pgpgout",
    "pswpin",
    "pswpout",
    "pgscan_kswapd",
    "pgscan_direct",
    "pgsteal_kswapd",
    "pgsteal_direct",
    "workingset_refault_file",
    "workingset_refault_anon",
    "pginodesteal",
    "kswapd_inodesteal",
    "allocstall_normal",
    "oom_kill",
)
_MEMINFO = (
    "MemTotal",
    "MemFree",
    "MemAvailable",
    "Buffers",
    "Cached",
    "SwapCached",
    "Active",
    "Inactive",
    "Dirty",
    "Writeback",
    "AnonPages",
    "Mapped",
    "Shmem",
    "Slab",
    "SwapTotal",
    "SwapFree",
    "CommitLimit",
    "Committed_AS",
)
GUEST_COUNTERS: Mapping[str, str] = {
    **{f"vmstat.{name}": "count" for name in _VMSTAT},
    **{f"meminfo.{name}": "KiB" for name in _MEMINFO},
    **{f"psi.{resource}.{extent}": "us" for resource in ("memory", "io") for extent in ("some", "full")},
    "psi.cpu.some": "us",
    **{f"cleancache.{name}": "count" for name in ("succ_gets", "failed_gets", "puts", "invalidates")},
    **{f"frontswap.{name}": "count" for name in ("loads", "succ_stores", "failed_stores", "invalidates")},
}
"""What is read in a guest, with units: lines of /proc/vmstat and /proc/meminfo, totals of
/proc/pressure, files of debugfs.

The sampler is given these names when it is started (lab/remote/agents.py); it has none of its own.
"""

_ZSWAP = {
    "stored_pages": "pages",
    "pool_total_size": "bytes",
    "written_back_pages": "pages",
    "pool_limit_hit": "count",
    "reject_compress_poor": "count",
}
_MM_STAT = {
    1: ("zram.orig_data_size", "bytes"),
    2: ("zram.compr_data_size", "bytes"),
    3: ("zram.mem_used_total", "bytes"),
    5: ("zram.mem_used_max", "bytes"),
    6: ("zram.same_pages", "pages"),
}
IN_MEMORY: Mapping[str, tuple[str, str]] = {
    **{f"zswap.{name}": (f"zswap.{name}", unit) for name, unit in _ZSWAP.items()},
    **{f"block.zram0.mm_stat.{word}": named for word, named in _MM_STAT.items()},
    "block.zram0.stat.1": ("zram.reads", "pages"),
    "block.zram0.stat.5": ("zram.writes", "pages"),
    "swaps.ram0.3": ("ramdisk.used", "KiB"),
}
"""What is read of swap in a guest's own memory (policies/memory_swap.py): name for the sampler ->
its name here, unit. Only where it is told: a guest has no such device under other policies, and
older raw outputs know none.

zram serves a page at a time while it is swapped to, so its requests are pages.
"""

ASKED = (*GUEST_COUNTERS, *IN_MEMORY)
"""All that a guest's sampler is asked for."""

SAMPLER_CPU = "sampler.cpu"
"""Processor time that the sampler itself has taken on a machine [us], of dom0 and of each guest.
Only where it is told: older raw outputs lack it.
"""

_XVDA = 202 << 8


def parse_reading(reading: Mapping[str, Any], guests: Iterable[str]) -> list[Sample]:
    """Samples of one reading of the sampler in dom0. `guests` are those that there should be: one
    that is missing has None.
    """
    time = float(reading["time"])
    found = [Sample(time, HYPERVISOR, "free_memory", "pages", reading["free"])]
    domains = {domain["name"]: domain for domain in reading["domains"]}
    dom0 = next((domain for domain in reading["domains"] if domain["id"] == 0), None)
    found += _domain(time, DOM0, dom0)
    if SAMPLER_CPU in reading:
        found.append(Sample(time, DOM0, SAMPLER_CPU, "us", reading[SAMPLER_CPU]))
    tmem: Mapping[str, Any] | None = reading.get("tmem")
    found += _tmem_global(time, tmem)
    clients = {client["CI"]: client for client in tmem["clients"]} if tmem else {}
    for name in guests:
        domain = domains.get(name)
        found += _domain(time, name, domain)
        found += _vbds(time, name, reading["vbd"].get(str(domain["id"])) if domain else None)
        found += _tmem_client(time, name, clients.get(domain["id"], {}) if tmem and domain else None)
    return found


def _domain(time: float, source: str, domain: Mapping[str, Any] | None) -> Iterator[Sample]:
    yield Sample(time, source, "vcpu_seconds", "s", domain["cpu_ns"] / 1e9 if domain else None)
    yield Sample(time, source, "memory", "pages", domain["pages"] if domain else None)


def _vbds(time: float, source: str, devices: Mapping[str, Mapping[str, int]] | None) -> Iterator[Sample]:
    for tag, (name, unit) in _VBD.items():
        values = [device.get(tag) for device in (devices or {}).values()]
        known = [value for value in values if value is not None]
        whole = bool(values) and len(known) == len(values)
        yield Sample(time, source, f"vbd.{name}", unit, sum(known) if whole else None)
        for number, device in sorted((devices or {}).items()):
            yield Sample(time, source, f"vbd.{disk_name(int(number))}.{name}", unit, device.get(tag))


def disk_name(number: int) -> str:
    """The guest's name of a Xen block device number: 51712 -> xvda."""
    return f"xvd{chr(ord('a') + (number - _XVDA) // 16)}"


def _tmem_global(time: float, tmem: Mapping[str, Any] | None) -> Iterator[Sample]:
    figures: Mapping[str, int] = tmem["global"] if tmem else {}
    for tag, (name, unit) in _GLOBAL_TAGS.items():
        yield Sample(time, HYPERVISOR, name, unit, figures.get(tag))
    pages = None
    if tmem:
        pools = [pool for client in tmem["clients"] for pool in client.get("pools", [])]
        pages = sum(pool["Pc"] for pool in pools if pool["PT"].startswith("P"))
    yield Sample(time, HYPERVISOR, "tmem.persistent_pages", "pages", pages)


def _tmem_client(time: float, source: str, client: Mapping[str, Any] | None) -> Iterator[Sample]:
    """Client None: tmem could not be read. client {}: it does not know the guest, which has used
    none of it.
    """
    absent = None if client is None else 0
    client = client or {}
    yield Sample(time, source, "tmem.cycles", "cycles", client.get("Tc", absent))
    for letter, kind in _KINDS.items():
        pools = [pool for pool in client.get("pools", []) if pool["PT"].startswith(letter)]
        for tag, (name, unit) in _POOL_TAGS.items():
            values = [pool.get(tag) for pool in pools]
            known = [value for value in values if value is not None]
            if not pools:
                value: int | None = absent
            else:
                value = sum(known) if len(known) == len(values) else None
            yield Sample(time, source, f"tmem.{kind}.{name}", unit, value)


def parse_host(lines: Iterable[str], guests: Iterable[str]) -> tuple[list[Sample], float | None]:
    """Samples of the readings of the sampler in dom0, and the fraction of a CPU that they cost
    (None where it does not say).
    """
    names = list(guests)
    found: list[Sample] = []
    cost = None
    for line in lines:
        data = _json(line)
        if "cost" in data:
            cost = _share(data["cost"]["cpu_seconds"], data["cost"]["wall_seconds"])
        else:
            found += parse_reading(data, names)
    return found, cost


def _json(line: str) -> dict[str, Any]:
    try:
        data = json.loads(line)
    except ValueError:
        data = None
    if not isinstance(data, dict):
        raise LabError("a reading of dom0's agent cannot be understood", where="dom0", why=line[:200])
    return data


def parse_guest(source: str, lines: Iterable[str]) -> tuple[list[Sample], float | None]:
    """Samples of the readings of the sampler in a guest, and the fraction of a CPU that they cost
    (None where it does not say).

    Every counter of GUEST_COUNTERS is there in every reading; one that the guest's kernel does not
    have is None.
    """
    found: list[Sample] = []
    cost = None
    for line in lines:
        words = line.split()
        try:
            if words[0] == "cost":
                cost = _share(float(words[1]), float(words[2]))
                continue
            time = float(words[0])
            values = {name: int(value) for name, _, value in (word.partition("=") for word in words[1:])}
        except (ValueError, IndexError):
            raise LabError("a reading of a guest's agent cannot be understood", where=source, why=line[:200]) from None
        found += [Sample(time, source, name, unit, values.get(name)) for name, unit in GUEST_COUNTERS.items()]
        found += [
            Sample(time, source, name, unit, values[asked])
            for asked, (name, unit) in IN_MEMORY.items()
            if asked in values
        ]
        if SAMPLER_CPU in values:
            found.append(Sample(time, source, SAMPLER_CPU, "us", values[SAMPLER_CPU]))
    return found, cost


def _share(cpu_seconds: float, wall_seconds: float) -> float | None:
    return cpu_seconds / wall_seconds if wall_seconds > 0 else None
