"""Run in dom0: maps frames by their number, as a device model does, for each domain that is named,
and looks for marks in all that it can map.

Usage: foreign.py FIRST LAST DOMAIN,... MARK,...   (marks: bytes in hexadecimal). Prints JSON:
domain -> {"mapped": N, MARK: pages that have it}.
"""

from __future__ import annotations

import ctypes
import json
import mmap
import sys

BATCH = 1024
PAGE = mmap.PAGESIZE


def library() -> ctypes.CDLL:
    found = ctypes.CDLL("libxenforeignmemory.so.1", use_errno=True)
    found.xenforeignmemory_open.restype = ctypes.c_void_p
    found.xenforeignmemory_open.argtypes = [ctypes.c_void_p, ctypes.c_uint]
    found.xenforeignmemory_map.restype = ctypes.c_void_p
    found.xenforeignmemory_map.argtypes = [
        *(ctypes.c_void_p, ctypes.c_uint32, ctypes.c_int, ctypes.c_size_t),
        *(ctypes.POINTER(ctypes.c_uint64), ctypes.POINTER(ctypes.c_int)),
    ]
    found.xenforeignmemory_unmap.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t]
    return found


def look(domain: int, first: int, last: int, marks: list[bytes]) -> dict[str, int]:
    """Try the frames from first to last as those of a domain, read-only."""
    memory = library()
    handle = memory.xenforeignmemory_open(None, 0)
    if not handle:
        raise OSError(ctypes.get_errno(), "xenforeignmemory_open")
    counts = {"mapped": 0} | {mark.hex(): 0 for mark in marks}
    for start in range(first, last + 1, BATCH):
        count = min(BATCH, last + 1 - start)
        frames = (ctypes.c_uint64 * count)(*range(start, start + count))
        errors = (ctypes.c_int * count)()
        at = memory.xenforeignmemory_map(handle, domain, mmap.PROT_READ, count, frames, errors)
        if not at:
            raise OSError(ctypes.get_errno(), f"xenforeignmemory_map of domain {domain}")
        for number, error in enumerate(errors):
            if error:
                continue
            counts["mapped"] += 1
            page = ctypes.string_at(at + number * PAGE, PAGE)
            for mark in marks:
                counts[mark.hex()] += mark in page
        memory.xenforeignmemory_unmap(handle, at, count)
    return counts


if __name__ == "__main__":
    FIRST, LAST, DOMAINS, MARKS = sys.argv[1:]
    print(
        json.dumps(
            {
                domain: look(int(domain), int(FIRST), int(LAST), [bytes.fromhex(mark) for mark in MARKS.split(",")])
                for domain in DOMAINS.split(",")
            }
        )
    )
