"""Replays what guests asked of tmem against other orders of eviction.

Three of them are here, since what they come to is known: LRU that evicts when the hypervisor did,
which has to give the hypervisor's own hits; LRU in so many pages; and the most hits that any order
could have had in so many pages. The other policies are libCacheSim's (analysis/simulate.py).
"""

from __future__ import annotations

import heapq
from collections import OrderedDict, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from analysis.requests import Op, Requests

NEVER = 2**62
"""When a page is got that nobody gets again."""


@dataclass(frozen=True)
class Followed:
    """What LRU does that evicts a page whenever the hypervisor did. hits: of it. told: of the
    hypervisor. same: evictions in which both took the same page, of evictions in all.
    """

    hits: int
    told: int
    same: int
    evictions: int

    @property
    def difference(self) -> float | None:
        """Of hits, relative to the hypervisor's; None without any."""
        return (self.hits - self.told) / self.told if self.told else None


def follow(requests: Requests, *, by_guest: bool = False) -> Followed:
    """LRU that decides which page goes whenever one had to. by_guest: the hypervisor says whose;
    else the oldest of all guests goes.
    """
    queues: defaultdict[int, OrderedDict[int, None]] = defaultdict(OrderedDict)
    owner = requests.guests.tolist() if by_guest else [0] * len(requests.guests)
    hits = same = evictions = 0
    for op, page in requests:
        held = queues[owner[page]]
        if op == Op.PUT:
            held[page] = None
            held.move_to_end(page)
        elif op == Op.EVICT:
            evictions += 1
            if held:
                same += held.popitem(last=False)[0] == page
        else:
            hits += op != Op.DROP and page in held
            held.pop(page, None)
    return Followed(hits, requests.count(Op.HIT), same, evictions)


@dataclass(frozen=True)
class Level:
    """Pages that the hypervisor held: the most, and the median of what it held when it evicted;
    None when it evicted none.
    """

    most: int
    evicting: int | None


def level(requests: Requests) -> Level:
    """How many pages the hypervisor held of what was put since the trace began."""
    held: set[int] = set()
    most = 0
    evicting: list[int] = []
    for op, page in requests:
        if op == Op.PUT:
            held.add(page)
            most = max(most, len(held))
            continue
        if op == Op.EVICT:
            evicting.append(len(held))
        held.discard(page)
    return Level(most, int(np.median(evicting)) if evicting else None)


def lru(requests: Requests, pages: int) -> int:
    """Hits of LRU that has room for so many pages."""
    held: OrderedDict[int, None] = OrderedDict()
    hits = 0
    for op, page in requests:
        if op == Op.PUT:
            held[page] = None
            held.move_to_end(page)
            if len(held) > pages:
                held.popitem(last=False)
        elif op != Op.EVICT:
            hits += op != Op.DROP and page in held
            held.pop(page, None)
    return hits


def next_gets(requests: Requests) -> npt.NDArray[np.int64]:
    """Request -> the number of the get that takes out the page that it puts; NEVER when there is
    none before the page is put anew or dropped.
    """
    found = np.full(len(requests.op), NEVER, "i8")
    last: dict[int, int] = {}
    for at, (op, page) in enumerate(requests):
        if op == Op.EVICT:
            continue
        if op in {Op.HIT, Op.MISS} and page in last:
            found[last[page]] = at
        last.pop(page, None)
        if op == Op.PUT:
            last[page] = at
    return found


def bound(requests: Requests, pages: int) -> int:
    """The most hits that any policy could have had with room for so many pages (Belady).

    What is put is wanted from the put to the next get, once: so it is intervals, of which at most
    `pages` may be held at a time. Keeping those that end first is optimal; a page that nobody gets
    again is not kept at all.
    """
    ends = next_gets(requests).tolist()
    held: dict[int, int] = {}
    farthest: list[tuple[int, int]] = []
    hits = 0
    for at, (op, page) in enumerate(requests):
        if op == Op.EVICT:
            continue
        if op == Op.PUT:
            held.pop(page, None)
            if ends[at] == NEVER:
                continue
            held[page] = ends[at]
            heapq.heappush(farthest, (-ends[at], page))
            while len(held) > pages:
                end, victim = heapq.heappop(farthest)
                if held.get(victim) == -end:
                    del held[victim]
        elif held.pop(page, None) is not None:
            hits += op != Op.DROP
    return hits


def curve(requests: Requests, sizes: Sequence[int]) -> Mapping[int, float | None]:
    """Pages of tmem -> the share of gets that LRU misses with them: a miss-ratio curve. None
    without gets.
    """
    gets = requests.gets
    return {pages: 1 - lru(requests, pages) / gets if gets else None for pages in sizes}
