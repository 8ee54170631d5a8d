"""What a machine with a stock kernel and the guest driver is put through; runs there, and prints
JSON. Standard library only.

    python3 stock.py files MIB FOLDER | swap MIB | neighbours MIB | changes PAGES FOLDER
    python3 stock.py mapped PAGES FOLDER | clones PAGES FOLDER | counters
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import mmap
import os
import random
import signal
import struct
import sys
import time
import zlib
from pathlib import Path

COUNTERS = Path("/sys/kernel/debug/tmem/counters")
PAGE = 4096
MIB = 2**20

FICLONERANGE = 0x4020940D
"""linux/fs.h"""

MADV_PAGEOUT = 21
"""linux/mman.h"""

LARGE = Path("/sys/kernel/mm/transparent_hugepage/hugepages-64kB/enabled")

FIRST_S, MOST_TRIES = 0.5, 12
"""How long a clone has at first, and how often it may be tried until one ends in the middle."""


def counters() -> dict[str, int]:
    return {name: int(value) for name, value in (line.split() for line in COUNTERS.read_text().splitlines())}


def sectors_read() -> int:
    """Of all disks together."""
    lines = [line.split() for line in Path("/proc/diskstats").read_text().splitlines()]
    return sum(int(line[5]) for line in lines if line[2].startswith(("vd", "xvd", "sd")))


def drop_caches() -> None:
    Path("/proc/sys/vm/drop_caches").write_text("1")


def digest(path: Path) -> int:
    """A sum that an emulated processor is quick with."""
    found = 0
    with path.open("rb", buffering=0) as file:
        while part := file.read(MIB):
            found = zlib.crc32(part, found)
    return found


def files(mib: int, folder: Path) -> dict[str, object]:
    """A file is written past the page cache, read, dropped from memory, and read three times. What
    is written through the page cache may lie there in folios that are too large to be put, some of
    which outlast that they are dropped (ext4 of Linux 7), and have to be read from the disk once.
    """
    path = folder / "stock-file"
    part = mmap.mmap(-1, MIB)
    file = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC | os.O_DIRECT, 0o600)
    for _ in range(mib):
        part[:] = os.urandom(MIB)
        assert os.write(file, part) == MIB
    os.fsync(file)
    os.close(file)
    wanted = digest(path)
    drop_caches()
    passes = []
    for _ in range(3):
        sectors, before = sectors_read(), counters()
        same = digest(path) == wanted
        after = counters()
        drop_caches()
        gets = after["ephemeral.get.done"] - before["ephemeral.get.done"]
        passes.append({"sectors": sectors_read() - sectors, "same": same, "hits": gets})
    path.unlink()
    return {"passes": passes, "counters": counters()}


def content(page: int, generation: int) -> bytes:
    """What a page of a generation is; of none, zeros."""
    return b"%08d%08d" % (page, generation) * 256 if generation else bytes(PAGE)


def overwrite(path: Path, pages: range, generation: int, flags: int = 0) -> None:
    """Write pages whole, without reading them."""
    memory = mmap.mmap(-1, PAGE)  # its address is what a direct write wants
    file = os.open(path, os.O_RDWR | os.O_CREAT | flags)
    for page in pages:
        memory[:] = content(page, generation)
        os.pwritev(file, [memory], page * PAGE)
    os.fsync(file)
    os.close(file)


def wrong(path: Path, generations: list[int]) -> int:
    """How many pages are not of their generation."""
    with path.open("rb", buffering=0) as file:
        return sum(file.read(PAGE) != content(page, generation) for page, generation in enumerate(generations))


def keep(path: Path) -> int:
    """Read a file, so that all of it is known to be on disk, and let the kernel evict it. How many
    pages went to Xen, those of others included.
    """
    os.sync()
    drop_caches()
    path.read_bytes()
    before = counters()["ephemeral.put.done"]
    drop_caches()
    return counters()["ephemeral.put.done"] - before


def punch(path: Path, first: int, count: int) -> None:
    """Make a hole in a file."""
    keep_size, punch_hole = 1, 2
    libc = ctypes.CDLL(None, use_errno=True)
    with path.open("r+b") as file:
        offset, length = ctypes.c_int64(first * PAGE), ctypes.c_int64(count * PAGE)
        if libc.fallocate(file.fileno(), keep_size | punch_hole, offset, length):
            raise OSError(ctypes.get_errno(), "fallocate")


def changes(count: int, folder: Path) -> dict[str, object]:
    """Xen has all pages of a file, the kernel none; then the file changes, in one way after the
    other, and is read. For each: how many pages Xen had, and how many were read wrong.
    """
    path, every = folder / "stock-changes", range(count)
    half = count // 2
    overwrite(path, every, 1)
    found: dict[str, object] = {}

    def note(name: str, kept: int, generations: list[int]) -> None:
        before = counters()["ephemeral.get.done"]
        bad = wrong(path, generations)
        found[name] = {"kept": kept, "wrong": bad, "hits": counters()["ephemeral.get.done"] - before}

    kept = keep(path)
    note("unchanged", kept, [1] * count)

    kept = keep(path)
    overwrite(path, every, 2)
    drop_caches()
    note("overwritten", kept, [2] * count)

    kept = keep(path)
    overwrite(path, every, 3, os.O_DIRECT)
    note("directly", kept, [3] * count)

    kept = keep(path)
    punch(path, half, count - half)
    note("punched", kept, [3] * half + [0] * (count - half))

    overwrite(path, every, 4)
    kept = keep(path)
    os.truncate(path, half * PAGE)
    os.truncate(path, count * PAGE)
    note("truncated", kept, [4] * half + [0] * (count - half))

    overwrite(path, every, 5)
    kept = keep(path)
    with path.open("r+b") as file, mmap.mmap(file.fileno(), count * PAGE) as memory:
        for page in every:
            memory[page * PAGE : (page + 1) * PAGE] = content(page, 6)
        memory.flush()
    drop_caches()
    note("mapped", kept, [6] * count)

    kept = keep(path)
    path.unlink()
    path.touch()
    os.truncate(path, count * PAGE)
    note("renewed", kept, [0] * count)
    path.unlink()
    return found


def mapped(count: int, folder: Path) -> dict[str, object]:
    """A file is read page by page, out of order, as programs read what they have mapped: the
    kernel reads nothing ahead.
    """
    path = folder / "stock-mapped"
    overwrite(path, range(count), 1)
    keep(path)
    before = counters()["ephemeral.get.done"]
    order = list(range(count))
    random.Random(5).shuffle(order)
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as memory:
        memory.madvise(mmap.MADV_RANDOM)
        bad = sum(memory[page * PAGE : (page + 1) * PAGE] != content(page, 1) for page in order)
    hits = counters()["ephemeral.get.done"] - before
    path.unlink()
    return {"hits": hits, "wrong": bad}


def killed_clone(source: Path, target: Path, after_s: float) -> None:
    """Have a file share another's blocks, and kill who does it after some time."""
    child = os.fork()
    if not child:
        with source.open("rb") as of, target.open("r+b") as to:
            fcntl.ioctl(to, FICLONERANGE, struct.pack("=qQQQ", of.fileno(), 0, 0, 0))
        os._exit(0)
    time.sleep(after_s)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


def on_disk(path: Path, count: int) -> list[bytes]:
    """The pages of a file, past the page cache."""
    memory = mmap.mmap(-1, PAGE)
    file = os.open(path, os.O_RDONLY | os.O_DIRECT)
    pages = []
    for page in range(count):
        os.preadv(file, [memory], page * PAGE)
        pages.append(memory[:])
    os.close(file)
    return pages


def clones(count: int, folder: Path) -> dict[str, object]:
    """Xen has all pages of a file, which another's blocks take the place of, one after the other,
    until that is killed. Then both are there: those of before and those of the other.
    """
    old, new = folder / "stock-old", folder / "stock-new"
    overwrite(new, range(count), 2, os.O_DIRECT)  # so each is an extent of its own
    after_s = FIRST_S
    for _ in range(MOST_TRIES):
        overwrite(old, range(count), 1)
        kept = keep(old)
        killed_clone(new, old, after_s)
        before = counters()["ephemeral.get.done"]
        cached = old.read_bytes()
        hits = counters()["ephemeral.get.done"] - before
        there = on_disk(old, count)
        cloned = sum(found == content(page, 2) for page, found in enumerate(there))
        if 0 < cloned < count:
            break
        after_s = after_s * 2 if not cloned else after_s / 3
    wrong = sum(cached[page * PAGE : (page + 1) * PAGE] != found for page, found in enumerate(there))
    old.unlink()
    new.unlink()
    return {"pages": count, "kept": kept, "cloned": cloned, "hits": hits, "wrong": wrong}


def neighbours(mib: int) -> dict[str, object]:
    """Pages are swapped one by one, and asked for when the kernel may bring back 16 at once, whose
    slots lie side by side. The first 15 have them lie where 16 pages begin: a device's first slot
    is not used.
    """
    before = counters()
    LARGE.write_text("never")
    swapped_out(15 * PAGE)
    memory = swapped_out(mib * MIB)
    LARGE.write_text("always")
    wrong = sum(memory[at : at + 8] != (at + 1).to_bytes(8, "little") for at in range(0, mib * MIB, PAGE))
    after = counters()
    return {"wrong": wrong, **{name: after[name] - before[name] for name in after}}


def swapped_out(size: int) -> mmap.mmap:
    """Anonymous memory, each page another, all of it in swap."""
    memory = mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    for at in range(0, size, PAGE):
        memory[at : at + 8] = (at + 1).to_bytes(8, "little")
    memory.madvise(MADV_PAGEOUT)
    return memory


def swap(mib: int) -> dict[str, object]:
    """More anonymous memory than there is, every page of it looked at twice."""
    before = counters()
    # private: by default it is shared memory, which the kernel swaps in ways of its own
    memory, pages = mmap.mmap(-1, mib * MIB, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS), mib * MIB // PAGE
    for page in range(pages):
        memory[page * PAGE : page * PAGE + 8] = (page + 1).to_bytes(8, "little")
        memory[page * PAGE + 2000 : page * PAGE + 2008] = (page * 7).to_bytes(8, "little")
    wrong = 0
    for _ in range(2):
        for page in range(pages):
            start = memory[page * PAGE : page * PAGE + 8] == (page + 1).to_bytes(8, "little")
            middle = memory[page * PAGE + 2000 : page * PAGE + 2008] == (page * 7).to_bytes(8, "little")
            wrong += not (start and middle)
    after = counters()
    return {"pages": pages, "wrong": wrong, **{name: after[name] - before[name] for name in after}}


def main(arguments: list[str]) -> None:
    if arguments == ["counters"]:
        print(json.dumps(counters()))
        return
    what, amount, *folder = arguments
    found = {
        "files": lambda: files(int(amount), Path(folder[0])),
        "swap": lambda: swap(int(amount)),
        "neighbours": lambda: neighbours(int(amount)),
        "changes": lambda: changes(int(amount), Path(folder[0])),
        "mapped": lambda: mapped(int(amount), Path(folder[0])),
        "clones": lambda: clones(int(amount), Path(folder[0])),
    }[what]()
    print(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1:])
