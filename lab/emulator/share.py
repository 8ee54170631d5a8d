"""How much of the processor time that a QEMU asked for its machine gave it.

The kernel counts for every thread how long it ran and how long it was ready and had to wait
(/proc/PID/task/TID/schedstat). Time that a hypervisor below took away from this machine counts as
waiting, too. A QEMU that has to wait still counts its guests' requests right, but their times are
the other programs' as much as its own.

A QEMU whose guests are idle for most of the time waits as well: it runs for moments, and a
processor takes a moment to come to it. So a share is held against a host only where other programs
took a part of the machine.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter

PROC = Path("/proc")
ENOUGH = 0.8
"""Share from which on times are told. benchmarks/starved.py on two processors: alone, with three
busy guests on two vCPUs, a host got 0.85 of what its threads asked for; with 0.78 the same work
took 10 % longer, with 0.71 it took 21 %.
"""

LITTLE = 0.1
"""Part of the machine's processors that others may take, the controller among them: a host that
would use all of them then takes as much longer as with a share of 0.78. Of 90 cells, those with a
share below ENOUGH beside other programs had lost 0.10 to 0.39; those of guests that answer a few
requests had shares of 0.61 to 0.78 and had lost -0.05 to 0.08 with next to nothing beside them,
since ticks are coarse.
"""

TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Reading:
    """Counters of a QEMU and its machine. time: epoch seconds. threads: number -> nanoseconds that
    it ran, and that it waited.

    busy, stolen: clock ticks of all the machine's processors, and those of them that a hypervisor
    below took. cpu_seconds: QEMU's processor time, of threads that have ended, too. load: average
    of the last minute. processors: of the machine.
    """

    time: float
    threads: Mapping[str, tuple[int, int]]
    busy: int
    stolen: int
    cpu_seconds: float
    load: float
    processors: int


@dataclass(frozen=True)
class Given:
    """What a QEMU got between two readings. share: of what it asked for; processors: used on
    average; others: part of the machine's processors that all else took, a hypervisor below as
    well. None: not to be had.
    """

    share: float | None
    processors: float | None
    others: float | None

    @property
    def starved(self) -> bool:
        """Whether times say more of the machine's other work than of the host. What is not known is
        not held against it.
        """
        little = self.others is not None and self.others < LITTLE
        return self.share is not None and self.share < ENOUGH and not little


_READING = TypeAdapter(Reading)


def parse(document: object) -> Reading:
    """A reading from JSON. ValueError when it is none."""
    return _READING.validate_python(document)


def read(pid: int, now: float) -> Reading | None:
    """A reading of a process; None when it is gone."""
    threads = {}
    try:
        for task in (PROC / str(pid) / "task").iterdir():
            if found := _schedstat(task):
                threads[task.name] = found
        fields = (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
        ticks = [int(word) for word in (PROC / "stat").read_text().splitlines()[0].split()[1:9]]
    except (OSError, ValueError, IndexError):
        return None
    return Reading(
        time=now,
        threads=threads,
        busy=sum(ticks) - ticks[3] - ticks[4],
        stolen=ticks[7],
        cpu_seconds=(int(fields[11]) + int(fields[12])) / TICKS,
        load=os.getloadavg()[0],
        processors=os.cpu_count() or 1,
    )


def _schedstat(task: Path) -> tuple[int, int] | None:
    """None for a thread that has just ended, and on a kernel that does not count."""
    try:
        ran, waited, _ = (task / "schedstat").read_text().split()
    except (OSError, ValueError):
        return None
    return int(ran), int(waited)


def between(before: Reading, after: Reading) -> Given:
    """What was given between two readings. Threads that are in one of them only are the short-lived
    ones of disk requests.
    """
    both = before.threads.keys() & after.threads.keys()
    ran = sum(after.threads[thread][0] - before.threads[thread][0] for thread in both)
    waited = sum(after.threads[thread][1] - before.threads[thread][1] for thread in both)
    busy, stolen = after.busy - before.busy, after.stolen - before.stolen
    share = ran / (ran + waited) if ran > 0 and waited >= 0 else None
    if share is not None and busy > 0:
        share *= 1 - max(0, stolen) / busy
    wall = after.time - before.time
    if wall <= 0:
        return Given(share, None, None)
    own = after.cpu_seconds - before.cpu_seconds
    return Given(share, own / wall, (busy / TICKS - own) / (wall * after.processors))
