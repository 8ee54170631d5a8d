"""Of libCacheSim's Python package, what analysis/simulate.py uses; every policy is LRU. The
environment variable FAKE_LIBCACHESIM makes it go wrong: `fifo` (a page that is put again stays
where it is), `stays` (pages cannot be taken out), `grows` (nothing is evicted).
"""

from __future__ import annotations

import os
from collections import OrderedDict

WRONG = os.environ.get("FAKE_LIBCACHESIM", "")


class Request:
    def __init__(self) -> None:
        self.obj_id = 0
        self.obj_size = 1
        self.next_access_vtime = -2


class LRU:
    def __init__(self, cache_size: int, hashpower: int = 24) -> None:
        assert 1 << hashpower >= cache_size
        self.size = cache_size
        self.held: OrderedDict[int, None] = OrderedDict()

    def get(self, request: Request) -> bool:
        there = request.obj_id in self.held
        self.held[request.obj_id] = None
        if WRONG != "fifo":
            self.held.move_to_end(request.obj_id)
        if len(self.held) > self.size and WRONG != "grows":
            self.held.popitem(last=False)
        return there

    def find(self, request: Request, update_cache: bool = True) -> object | None:
        return request if request.obj_id in self.held else None

    def remove(self, obj_id: int) -> bool:
        if WRONG == "stays":
            return False
        return self.held.pop(obj_id, self) is None

    def get_n_obj(self) -> int:
        return len(self.held)


FIFO = Sieve = S3FIFO = ARC = LFU = Belady = LRU
