"""Counters of samples.csv in campaigns of layouts 1 and 2 (records.LAYOUT), by today's names.

A counter had a name of its own there, and the metric that was its growth another; since layout 3
both have the metric's. Metrics are named as they were.
"""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass

NAMES = {
    "tmem.evicted": "tmem_evictions",
    "vmstat.pgmajfault": "major_faults",
    "vmstat.pswpin": "swap_in",
    "vmstat.pswpout": "swap_out",
    "psi.memory.some": "memory_stall_seconds",
    "sampler.cpu": "sampling_cpu_seconds",
    "cleancache.succ_gets": "cleancache_hits",
    "cleancache.failed_gets": "cleancache_misses",
    "frontswap.succ_stores": "frontswap_stores",
    "tmem.ephemeral.gets": "tmem_ephemeral_hits",
    "tmem.persistent.gets": "tmem_persistent_hits",
}
"""Those that are not the former name with underscores for its dots."""

_PAGES = (
    *("cleancache.", "frontswap.", "tmem.ephemeral.", "tmem.persistent."),
    *("vmstat.pswp", "vmstat.pgsteal", "vmstat.workingset"),
)
_COUNTS = ("tmem.ephemeral.object", "tmem.persistent.object")
_MICROSECONDS = ("psi.", "sampler.")
_LINUX = ("vmstat.", "meminfo.", "psi.")
"""How names begin whose counters are pages now and were counts, are counts still, were microseconds
and are seconds, are Linux's own words.
"""


@dataclass(frozen=True)
class Today:
    """What a counter is called now. unit: None where it is what it was; per: how many of the former
    unit are one.
    """

    name: str
    unit: str | None
    per: int


def today(counter: str) -> Today:
    """What a former counter is called now."""
    name = NAMES.get(counter) or (counter if counter.startswith(_LINUX) else _joined(counter))
    if counter.startswith(_MICROSECONDS):
        return Today(name, "s", 10**6)
    return Today(name, "pages" if counter.startswith(_PAGES) and not counter.startswith(_COUNTS) else None, 1)


def _joined(counter: str) -> str:
    return counter.removeprefix("vbd.").replace("xvdb.", "swap.").replace(".", "_")


def samples_text(text: str) -> str:
    """A samples.csv of these layouts as it would be written now. ValueError when it is none."""
    written = io.StringIO()
    rows = csv.reader(io.StringIO(text))
    table = csv.writer(written, lineterminator="\n")
    table.writerow(next(rows, []))
    try:
        for time, source, counter, unit, value in rows:
            now = today(counter)
            figure = str(int(value) / now.per) if value and now.per > 1 else value
            table.writerow([time, source, now.name, now.unit or unit, figure])
    except csv.Error as error:
        raise ValueError(str(error)) from None
    return written.getvalue()
