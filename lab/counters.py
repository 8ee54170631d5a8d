"""Counters: what the samplers print, as Samples with names and units. Nothing here talks to a machine.

Sources: "hypervisor", "dom0", and each guest by its name. A counter that could not be read is a Sample with value None, so that it is seen to be
missing. Where tmem answers and does not know a guest, the guest has used none of it: those counters are 0, because that is what they are.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
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

VMSTAT = [
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
    "pgalloc_normal",
    "pgalloc_dma32",
    "pgfree",
    "workingset_refault_file",
    "workingset_refault_anon",
    "allocstall_normal",
    "oom_kill",
    "balloon_inflate",
    "balloon_deflate",
]
"""Lines of /proc/vmstat that become counters, where the kernel has them."""

MEMINFO = [
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
]

_XVDA = 202 << 8
_SADF_GAUGES = {
    "memfree": "MemFree",
    "avail": "MemAvailable",
    "buffers": "Buffers",
    "cached": "Cached",
    "commit": "Committed_AS",
    "dirty": "Dirty",
    "swpfree": "SwapFree",
    "swpcad": "SwapCached",
    "anonpg": "AnonPages",
    "slab": "Slab",
}
"""Names of sysstat's memory figures (KiB) and of the same in /proc/meminfo."""

GUEST_SCRIPT = r"""
date +%s.%N
for file in /proc/vmstat /proc/meminfo /proc/pressure/memory /proc/pressure/io /proc/pressure/cpu; do
    [ -r $file ] && { echo "== $file"; cat $file; }
done
for folder in cleancache frontswap; do
    for file in /sys/kernel/debug/$folder/*; do [ -r $file ] && echo "== $folder $(basename $file) $(cat $file)"; done
done
true
"""
"""Sh for a guest: one reading of everything, in the format that parse_guest() reads."""


def parse_reading(reading: Mapping[str, Any], guests: Iterable[str]) -> list[Sample]:
    """Samples of one reading of lab/remote/sampler.py. `guests` are those that there should be: one that is missing has None."""
    time = float(reading["time"])
    found = [Sample(time, HYPERVISOR, "free_memory", "pages", reading["free"])]
    domains = {domain["name"]: domain for domain in reading["domains"]}
    dom0 = next((domain for domain in reading["domains"] if domain["id"] == 0), None)
    found += _domain(time, DOM0, dom0)
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
    """Client None: tmem could not be read. client {}: it does not know the guest, which has used none of it."""
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


def parse_guest(source: str, text: str) -> list[Sample]:
    """Samples of what GUEST_SCRIPT printed. LabError when it printed something else."""
    head, *sections = re.split(r"^== ", text, flags=re.MULTILINE)
    try:
        time = float(head)
    except ValueError:
        raise LabError("a guest's counters cannot be read", where=source, why=text[:200]) from None
    files = {title: body for title, _, body in (section.partition("\n") for section in sections)}
    vmstat = _pairs(files.get("/proc/vmstat", ""))
    meminfo = _pairs(files.get("/proc/meminfo", "").replace(":", ""))
    found = [Sample(time, source, f"vmstat.{name}", "count", vmstat.get(name)) for name in VMSTAT]
    found += [Sample(time, source, f"meminfo.{name}", "KiB", meminfo.get(name)) for name in MEMINFO]
    for resource in ("memory", "io", "cpu"):
        totals = dict(
            re.findall(r"^(some|full) .*total=(\d+)", files.get(f"/proc/pressure/{resource}", ""), re.MULTILINE)
        )
        for extent in ("some", "full") if resource != "cpu" else ("some",):
            value = int(totals[extent]) if extent in totals else None
            found.append(Sample(time, source, f"psi.{resource}.{extent}", "us", value))
    debug = dict(re.findall(r"^((?:cleancache|frontswap) \w+) (\d+)$", "\n".join(files), re.MULTILINE))
    for counter in _DEBUG:
        value = int(debug[counter]) if counter in debug else None
        found.append(Sample(time, source, counter.replace(" ", "."), "count", value))
    return found


_DEBUG = [f"cleancache {name}" for name in ("succ_gets", "failed_gets", "puts", "invalidates")]
_DEBUG += [f"frontswap {name}" for name in ("loads", "succ_stores", "failed_stores", "invalidates")]


def _pairs(text: str) -> dict[str, int]:
    return {name: int(value) for name, value in re.findall(r"^(\S+)\s+(\d+)", text, re.MULTILINE)}


def parse_samples(lines: Iterable[str], guests: Iterable[str]) -> tuple[list[Sample], dict[str, float] | None]:
    """Samples of all readings of a sampler's file, and its cost line (None when it was killed before it wrote one).

    A line that was cut short by a kill is left out.
    """
    names = list(guests)
    found: list[Sample] = []
    cost = None
    for line in lines:
        if not line.strip():
            continue
        try:
            data = json.loads(line)
        except ValueError:
            continue
        if "cost" in data:
            cost = {key: float(value) for key, value in data["cost"].items()}
        else:
            found += parse_reading(data, names)
    return found, cost


def parse_sadf(source: str, text: str) -> list[Sample]:
    """Samples of `sadf -j FILE -- -r ALL -S -B -W -u`: gauges by /proc/meminfo's names, and rates per second of paging and swapping.

    LabError when it is no such document.
    """
    try:
        host = json.loads(text)["sysstat"]["hosts"][0]
        entries = host["statistics"]
    except (ValueError, KeyError, IndexError, TypeError) as error:
        raise LabError(
            "sysstat's samples of a guest cannot be read", where=source, why=f"{error}: {text[:200]}"
        ) from error
    found: list[Sample] = []
    for entry in entries:
        stamp = entry.get("timestamp")
        if stamp is None:
            continue
        time = datetime.fromisoformat(f"{stamp['date']}T{stamp['time']}").replace(tzinfo=UTC).timestamp()
        memory: Mapping[str, float] = entry.get("memory") or {}
        for theirs, ours in _SADF_GAUGES.items():
            if theirs in memory:
                found.append(Sample(time, source, f"meminfo.{ours}", "KiB", memory[theirs]))
        for group in ("paging", "swap-pages"):
            for name, value in (entry.get(group) or {}).items():
                if name.replace("-", "").replace("_", "").isalnum():
                    found.append(Sample(time, source, f"rate.{name}", "1/s", value))
        for cpu in entry.get("cpu-load") or []:
            if cpu.get("cpu") == "all":
                found += [
                    Sample(time, source, f"cpu.{name}", "%", value) for name, value in cpu.items() if name != "cpu"
                ]
    return found
