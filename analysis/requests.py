"""What a trace asks of a cache: its records as puts, gets and drops of pages by number.

tmem's ephemeral pools are an exclusive cache: a get that hits takes the page out, and the guest
puts it again when it evicts it from its own. So which gets there are does not depend on who was
evicted, and the same requests can be put to any policy. Left out are persistent pools, of which
nothing is evicted, and shared ones, in which a hit leaves the page.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import numpy.typing as npt

from analysis.trace import SHARED, Kind, Trace

PERSISTENT, SHARED_FLAG = 1, 2
"""Flags of a pool."""


class Op(IntEnum):
    """HIT and MISS: a get, with what came of it. DROP: the page is gone, whoever holds it. EVICT:
    the hypervisor took it away, which other policies need not have done.
    """

    PUT = 0
    HIT = 1
    MISS = 2
    DROP = 3
    EVICT = 4


@dataclass(frozen=True)
class Requests:
    """op, page: one entry for each request. guests: page -> its domain. inherited: hits of pages
    that were put before the trace began, of which no replay can know; they are not among the
    requests. left_out: records of pages in persistent and shared pools.
    """

    op: npt.NDArray[np.uint8]
    page: npt.NDArray[np.int32]
    guests: npt.NDArray[np.uint16]
    inherited: int
    left_out: int

    def count(self, op: Op) -> int:
        return int(np.count_nonzero(self.op == op))

    @property
    def gets(self) -> int:
        return self.count(Op.HIT) + self.count(Op.MISS)

    def of(self, guest: int) -> Requests:
        """Those of one domain."""
        mine = self.guests[self.page] == guest
        return Requests(self.op[mine], self.page[mine], self.guests, 0, 0)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return zip(self.op.tolist(), self.page.tolist(), strict=True)


_OPS = {
    Kind.PUT: Op.PUT,
    Kind.OVER: Op.PUT,
    Kind.REFUSED: Op.DROP,
    Kind.HIT: Op.HIT,
    Kind.MISS: Op.MISS,
    Kind.FLUSH: Op.DROP,
    Kind.NO_FLUSH: Op.DROP,
    Kind.EVICTED: Op.EVICT,
}


class _Translator:
    def __init__(self, trace: Trace) -> None:
        self.ops: list[int] = []
        self.pages: list[int] = []
        self.numbers: dict[tuple[int, int, int], int] = {}
        self.guests: list[int] = []
        self.put: dict[tuple[int, int], set[int]] = {}
        """Object -> pages of it that a cache may have: put, and neither got nor dropped since."""
        self.inherited = self.left_out = 0
        self.pools: dict[tuple[int, int], int] = {}
        kinds = trace.records["kind"]
        for each in trace.records[kinds == Kind.POOL][::-1]:
            # what is told first holds from the beginning: a pool is told when it is there or made
            self.pools[int(each["domain"]), int(each["object"])] = int(each["index"])

    def number(self, domain: int, name: int, index: int) -> int:
        found = self.numbers.setdefault((domain, name, index), len(self.guests))
        if found == len(self.guests):
            self.guests.append(domain)
        return found

    def add(self, op: Op, page: int) -> None:
        self.ops.append(op)
        self.pages.append(page)

    def drop_all(self, objects: list[tuple[int, int]]) -> None:
        for each in objects:
            for page in sorted(self.put.pop(each, ())):
                self.add(Op.DROP, page)

    def on_page(self, kind: Kind, domain: int, name: int, index: int) -> None:
        page = self.number(domain, name, index)
        there = self.put.setdefault((domain, name), set())
        if kind in {Kind.HIT, Kind.EVICTED} and page not in there:
            self.inherited += kind == Kind.HIT
            return
        self.add(_OPS[kind], page)
        if kind in {Kind.PUT, Kind.OVER}:
            there.add(page)
        elif kind != Kind.EVICTED:
            there.discard(page)  # a get takes it out of every cache that has it

    def on_pool(self, kind: Kind, domain: int, pool: int, flags: int) -> None:
        if kind == Kind.POOL:
            self.pools[domain, pool] = flags
        else:
            self.drop_all([each for each in self.put if each[0] == domain and each[1] & 15 == pool])

    def translate(self, trace: Trace) -> Requests:
        columns = (trace.records[name].tolist() for name in ("kind", "domain", "object", "index"))
        for kind, domain, name, index in zip(*columns, strict=True):
            if kind in {Kind.POOL, Kind.POOL_GONE}:
                self.on_pool(kind, domain, name, index)
            elif domain == SHARED or self.pools.get((domain, name & 15), 0) & (PERSISTENT | SHARED_FLAG):
                self.left_out += 1
            elif kind == Kind.OBJECT:
                self.drop_all([(domain, name)])
            elif kind not in {Kind.NO_OBJECT, Kind.FAILED}:
                self.on_page(kind, domain, name, index)
        return Requests(
            np.array(self.ops, "u1"),
            np.array(self.pages, "i4"),
            np.array(self.guests, "u2"),
            self.inherited,
            self.left_out,
        )


def of_trace(trace: Trace) -> Requests:
    """What a trace asks of its guests' ephemeral pools."""
    return _Translator(trace).translate(trace)
