"""What orders of eviction would have come to on a trace: one table, and whether the replay can be
believed.

It can be where LRU, evicting when the hypervisor did, has the hypervisor's own hits; and where
libCacheSim's LRU has those of the one here.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from analysis import replay
from analysis.requests import Op, Requests, of_trace
from analysis.trace import SHARED, Trace
from common.errors import ResultsError

SIMULATE = Path(__file__).with_name("simulate.py")
OURS, BEST = "LRU", "best possible"
CLOSE = 0.01
"""By how much the hits of the replay may differ from the hypervisor's."""
PARTS = (0.25, 0.5, 1.0, 2.0)
"""Of the pages that the hypervisor held, how many the policies get."""
LEAST = 20
SECONDS = 3600


@dataclass(frozen=True)
class Comparison:
    """gets, told: of pages put since the trace began, and how many hit, in the hypervisor.
    inherited: hits of older pages. counted: hits by tmem's counters, None where those do not tell.
    global_lru, guest_lru: LRU that evicts when the hypervisor did, of all guests, and of the guest
    that had to give. sizes: rooms in pages; hits: policy -> room -> hits, None where there is no
    such cache. curves: guest's domain -> room -> share of its gets that LRU misses.
    """

    records: int
    lost: int
    left_out: int
    gets: int
    told: int
    inherited: int
    counted: int | None
    level: replay.Level
    global_lru: replay.Followed
    guest_lru: replay.Followed
    sizes: tuple[int, ...]
    hits: Mapping[str, Mapping[int, int | None]]
    curves: Mapping[int, Mapping[int, float | None]]

    @property
    def agrees(self) -> bool | None:
        """Whether the replay, told which guest had to give, has the hypervisor's hits. None: there
        were none to have.
        """
        difference = self.guest_lru.difference
        return None if difference is None else abs(difference) <= CLOSE

    def record(self) -> dict[str, Any]:
        """As JSON has it."""
        return {"schema": 1, **asdict(self), "agrees": self.agrees}

    def table(self) -> tuple[list[str], list[list[str]]]:
        """Columns, and a row for each policy: shares of gets that hit."""
        columns = ["hits of gets", *(f"{pages} pages" for pages in self.sizes)]
        return columns, [
            [policy, *(self._share(found[pages]) for pages in self.sizes)] for policy, found in self.hits.items()
        ]

    def _share(self, hits: int | None) -> str:
        return "–" if hits is None or not self.gets else f"{hits / self.gets:.3f}"

    def lines(self) -> list[str]:
        """What was replayed, and how far it is the hypervisor."""
        told = f"{self.told} of {self.gets} gets" + (f" ({self.told / self.gets:.3f})" if self.gets else "")
        traced = self.told + self.inherited
        found = [
            f"{self.records} records, {self.lost} lost, {self.left_out} of persistent or shared pools left out",
            f"the hypervisor: {told} hit, {self.global_lru.evictions} evictions",
            f"it held {self.level.most} pages at most, {_or_dash(self.level.evicting)} when it evicted",
            f"hits by tmem's counters: {_or_dash(self.counted)}; traced: {traced}, {self.inherited} of older pages",
        ]
        for name, each in (("all guests", self.global_lru), ("the guest that gave", self.guest_lru)):
            by = "–" if each.difference is None else f"{100 * each.difference:+.2f} %"
            found.append(
                f"LRU of {name}, evicting when it did: {each.hits} hits ({by}), "
                f"{each.same} of {each.evictions} times the same page"
            )
        return found


def _or_dash(figure: int | None) -> str:
    return "–" if figure is None else str(figure)


def counted_hits(trace: Trace) -> int | None:
    """Hits in ephemeral pools by tmem's counters. None when a guest has gone meanwhile, or some
    share a pool, whose hits are counted by guest and traced by pool.
    """
    before, after = ({each["CI"]: int(each["Ge"]) for each in told["clients"]} for told in (trace.before, trace.after))
    if before.keys() - after.keys() or (trace.records["domain"] == SHARED).any():
        return None
    return sum(after.values()) - sum(before.values())


def rooms(level: replay.Level, wanted: Sequence[int] = ()) -> tuple[int, ...]:
    """How many pages policies get: as wanted, else parts of what the hypervisor held when it
    evicted, or at most.
    """
    whole = level.most if level.evicting is None else level.evicting
    return tuple(sorted(set(wanted) or {max(LEAST, round(part * whole)) for part in PARTS}))


def compare(trace: Trace, python: Path, wanted: Sequence[int] = ()) -> Comparison:
    """Replay a trace. python: the interpreter that has libCacheSim. wanted: rooms in pages."""
    requests = of_trace(trace)
    level = replay.level(requests)
    sizes = rooms(level, wanted)
    hits = simulated(requests, sizes, python)
    for pages in sizes:
        ours = replay.lru(requests, pages)
        if hits[OURS][pages] != ours:
            raise ResultsError(
                "libCacheSim's LRU and the one here do not agree",
                where=f"{pages} pages",
                why=f"{hits[OURS][pages]} and {ours} hits",
                remedy="Report this: the other policies cannot be believed either.",
            )
    guests = sorted({int(domain) for domain in requests.guests})
    return Comparison(
        records=len(trace.records),
        lost=trace.lost,
        left_out=requests.left_out,
        gets=requests.gets,
        told=requests.count(Op.HIT),
        inherited=requests.inherited,
        counted=counted_hits(trace),
        level=level,
        global_lru=replay.follow(requests),
        guest_lru=replay.follow(requests, by_guest=True),
        sizes=sizes,
        hits={**hits, BEST: {pages: replay.bound(requests, pages) for pages in sizes}},
        curves={guest: replay.curve(requests.of(guest), sizes) for guest in guests},
    )


def simulated(requests: Requests, sizes: Sequence[int], python: Path) -> dict[str, dict[int, int | None]]:
    """Policy -> pages -> hits, by libCacheSim. ResultsError when it fails."""
    kept = requests.op != Op.EVICT
    wanted = replay.next_gets(requests)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "requests.npz"
        np.savez(path, op=requests.op[kept], page=requests.page[kept], wanted=wanted[kept])
        words = [str(python), "-I", str(SIMULATE), str(path), ",".join(map(str, sizes))]
        done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=SECONDS)
    if done.returncode:
        raise ResultsError(
            f"libCacheSim ended with code {done.returncode}",
            where=" ".join(words),
            why="\n".join(done.stderr.strip().splitlines()[-5:]),
        )
    found = json.loads(done.stdout)
    return {policy: {int(pages): hits for pages, hits in row.items()} for policy, row in found.items()}
