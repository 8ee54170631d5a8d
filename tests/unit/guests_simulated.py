"""Guests that want memory, for a made-up dom0 (dom0.py): programs, files that are read again and
again, and what a kernel reports of both. No measurement; enough to see what a manager makes of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from dom0 import Dom0

from benchmarks.managers import SCALED
from policies import managers
from policies.daemon import main as daemon

KIB = 1024
PAGES = 256
"""Of a MiB."""


@dataclass
class Wants:
    """What a guest's programs have in memory, and the files that they read: MiB."""

    programs: float
    files: float = 0
    counted: dict[str, float] = field(default_factory=dict)

    def goes_on(self, mib: float, seconds: float) -> None:
        """So much time with so much memory: who has too little waits, swaps and reads again."""
        short = max(self.programs + self.files - mib, 0)
        again = max(min(self.files, short), 0)
        grown = {
            "psi.memory.some": min(short / max(mib, 1) * 4, 1) * seconds * 1e6,
            "vmstat.workingset_refault_file": again * PAGES * 0.2 * seconds,
        }
        for name, more in grown.items():
            self.counted[name] = self.counted.get(name, 0) + more

    def report(self, mib: float) -> Mapping[str, float]:
        """All that Linux counts, by its names."""
        swapped = max(self.programs - mib, 0)
        resident = self.programs - swapped
        cached = min(self.files, mib - resident)
        in_kib = {
            "MemTotal": mib,
            "MemFree": mib - resident - cached,
            "Buffers": 0,
            "Cached": cached,
            "SwapTotal": 256,
            "SwapFree": 256 - swapped,
            "Shmem": 0,
            "Dirty": 0,
            "Writeback": 0,
        }
        return {**{f"meminfo.{name}": value * KIB for name, value in in_kib.items()}, **self.counted}


@dataclass
class Run:
    """A manager over simulated guests: domain -> what it wants."""

    dom0: Dom0
    manager: str
    wants: dict[int, Wants]
    made: daemon.Daemon = field(init=False)
    seen: list[dict[int, float]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._tell(0)
        given: Mapping[str, Any] = SCALED[self.manager]
        sections = self.manager == "hotplug"
        self.made = self.dom0.daemon(self.manager, bounds=(64, 256), parameters=dict(given), sections=sections)

    def lasts(self, seconds: int) -> None:
        """Time goes by; what everybody has after each second is kept."""
        for _ in range(seconds):
            self._tell(1)
            self.dom0.run(self.made, 1)
            self.seen.append({number: each.mib for number, each in self.dom0.domains.items()})

    def until(self, condition: Callable[[], bool], seconds: int) -> int | None:
        """Seconds until something holds; None: not in that time."""
        for passed in range(1, seconds + 1):
            self.lasts(1)
            if condition():
                return passed
        return None

    def turns(self, number: int) -> int:
        """How often a guest's memory went the other way."""
        sizes = [each[number] for each in self.seen]
        steps = [after - before for before, after in pairwise(sizes) if abs(after - before) >= 1]
        return sum(1 for one, other in pairwise(steps) if one * other < 0)

    def _tell(self, seconds: float) -> None:
        counters = managers.get(self.manager).COUNTERS
        for number, each in self.dom0.domains.items():
            if number in self.wants and counters:
                self.wants[number].goes_on(each.mib, seconds)
                said = self.wants[number].report(each.mib)
                text = " ".join(f"{name}={round(said.get(name, 0))}" for name in counters)
                self.dom0.write(number, text.encode())
