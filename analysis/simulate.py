"""Puts requests to libCacheSim's policies. A program of its own, for an environment of its own
(requirements-replay.lock), where nothing of the testbed is installed:

    python simulate.py REQUESTS.npz PAGES,PAGES...

prints JSON: policy -> pages -> hits, null where libCacheSim has no such small cache. REQUESTS.npz
is what analysis/policies.py writes: op and page of each request, and when the page is wanted next.

libCacheSim's caches keep what is got. An exclusive cache is made of them with what they offer to
programs: a put is a request (get(), which inserts, and has the policy evict); a get looks the page
up without telling the policy, and only where it is there, tells it (find()) and takes the page out
(remove()). A policy that remembers pages it has evicted (ARC, S3-FIFO) sees them again when they
are put again.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import libcachesim
import numpy as np

PUT, HIT, MISS, DROP = 0, 1, 2, 3
POLICIES = {
    "LRU": "LRU",
    "FIFO": "FIFO",
    "SIEVE": "Sieve",
    "S3-FIFO": "S3FIFO",
    "ARC": "ARC",
    "LFU": "LFU",
    "Belady": "Belady",
}
"""As papers call them -> as libCacheSim does."""
LEAST = {"S3-FIFO": 20}
"""Pages below which a policy's parts have no room for one."""


def hits(policy: str, pages: int, requests: list[tuple[int, int, int]]) -> int | None:
    """Hits of a policy with room for so many pages."""
    if pages < LEAST.get(policy, 1):
        return None
    cache: Any = getattr(libcachesim, POLICIES[policy])(cache_size=pages, hashpower=max(10, pages.bit_length()))
    request: Any = libcachesim.Request()
    request.obj_size = 1
    found = 0
    for op, page, wanted in requests:
        request.obj_id = page + 1
        if op == PUT:
            request.next_access_vtime = wanted
            cache.get(request)
        elif cache.find(request, False) is not None:
            if op != DROP:
                found += 1
                cache.find(request, True)
            if not cache.remove(request.obj_id):
                raise SystemExit(f"libCacheSim's {policy} has a page that cannot be taken out")
        if cache.get_n_obj() > pages:
            raise SystemExit(f"libCacheSim's {policy} holds more than {pages} pages")
    return found


def main() -> None:
    """Read, replay, print."""
    data = np.load(sys.argv[1])
    requests = list(zip(data["op"].tolist(), data["page"].tolist(), data["wanted"].tolist(), strict=True))
    sizes = [int(pages) for pages in sys.argv[2].split(",")]
    found = {policy: {str(pages): hits(policy, pages, requests) for pages in sizes} for policy in POLICIES}
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
