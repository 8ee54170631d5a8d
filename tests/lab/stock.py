"""What a machine with a stock kernel and the guest driver is put through; runs there, and prints
JSON. Standard library only.

    python3 stock.py files MIB FOLDER | race SECONDS FOLDER | swap MIB
"""

from __future__ import annotations

import hashlib
import json
import mmap
import os
import random
import sys
import threading
import time
from pathlib import Path

COUNTERS = Path("/sys/kernel/debug/tmem/counters")
PAGE = 4096
MIB = 2**20


def counters() -> dict[str, int]:
    return {name: int(value) for name, value in (line.split() for line in COUNTERS.read_text().splitlines())}


def sectors_read() -> int:
    """Of all disks together."""
    lines = [line.split() for line in Path("/proc/diskstats").read_text().splitlines()]
    return sum(int(line[5]) for line in lines if line[2].startswith(("vd", "xvd", "sd")))


def drop_caches() -> None:
    Path("/proc/sys/vm/drop_caches").write_text("1")


def digest(path: Path) -> str:
    found = hashlib.sha256()
    with path.open("rb", buffering=0) as file:
        while part := file.read(MIB):
            found.update(part)
    return found.hexdigest()


def files(mib: int, folder: Path) -> dict[str, object]:
    """A file is written, dropped from memory, and read three times."""
    path = folder / "stock-file"
    with path.open("wb") as file:
        for _ in range(mib):
            file.write(os.urandom(MIB))
        file.flush()
        os.fsync(file.fileno())
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


def race(seconds: float, folder: Path) -> dict[str, object]:
    """Direct writes against buffered reads and evictions: nobody may read what was overwritten
    before the read began.
    """
    path, count = folder / "stock-race", 256
    with path.open("wb") as file:
        for page in range(count):
            file.write(b"%08d%08d" % (page, 0) * 256)
        file.flush()
        os.fsync(file.fileno())
    written = [0] * count
    over = threading.Event()
    found = {"reads": 0, "stale": 0}

    def write() -> None:
        chance, memory = random.Random(1), mmap.mmap(-1, PAGE)
        file = os.open(path, os.O_RDWR | os.O_DIRECT)
        while not over.is_set():
            page = chance.randrange(count)
            memory[:] = b"%08d%08d" % (page, written[page] + 1) * 256
            os.pwritev(file, [memory], page * PAGE)
            written[page] += 1  # from now on, nobody may read an older one
        os.close(file)

    def evict() -> None:
        while not over.is_set():
            drop_caches()
            time.sleep(0.002)

    def read(seed: int) -> None:
        chance = random.Random(seed)
        file = os.open(path, os.O_RDONLY)
        while not over.is_set():
            page = chance.randrange(count)
            least = written[page]
            text = os.pread(file, 16, page * PAGE)
            found["reads"] += 1
            found["stale"] += int(text[:8]) != page or int(text[8:]) < least
        os.close(file)

    before = counters()
    threads = [threading.Thread(target=write), threading.Thread(target=evict)]
    threads += [threading.Thread(target=read, args=(seed,)) for seed in (3, 4)]
    for each in threads:
        each.start()
    time.sleep(seconds)
    over.set()
    for each in threads:
        each.join()
    path.unlink()
    hits = counters()["ephemeral.get.done"] - before["ephemeral.get.done"]
    return {**found, "writes": sum(written), "hits": hits}


def swap(mib: int) -> dict[str, object]:
    """More anonymous memory than there is, every page of it looked at twice."""
    before = counters()
    memory, pages = mmap.mmap(-1, mib * MIB), mib * MIB // PAGE
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
    what, amount, *folder = arguments
    found = {
        "files": lambda: files(int(amount), Path(folder[0])),
        "race": lambda: race(float(amount), Path(folder[0])),
        "swap": lambda: swap(int(amount)),
    }[what]()
    print(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1:])
