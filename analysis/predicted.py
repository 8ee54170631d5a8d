"""What guests will read from their disks under a policy, from what they read with so much memory of
their own: a small model, which sees no cell of the policy that it is asked about.

A guest reads what its miss-ratio curve has at the memory that works for it: its own, and with tmem
its part of the pool. The pool is what the host has beyond the guests' own memory. Clean pages are
in a guest or in the pool and not in both, so the two add up. Those who run at the same time share
the pool evenly; who does not run yet, or no more, has none of it.

A self-ballooning guest begins with its even share of the host and goes its way from there, by the
driver's steps: what counts is its mean over the time that it runs. Where all run at once, with tmem
beneath that comes to the even share of the host, which a column of its own shows.

Left out on purpose, so that an error says what it is worth: pages that a guest flushes with its
inodes, swapping and what frontswap saves of it, what Xen and tmem keep for themselves, that a page
comes more dearly from tmem than from memory, that a load takes longer in less memory, and that
guests with the same contents put them at different times, so that `dedup` saves less than it could.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass

KNEE = 1.1
"""The working set is the least memory with which a guest reads at most so many times the least."""

COMPRESSED = 1.8
"""Pages in a frame with `compress` alone: text shrinks to rather more than half (docs/tmem.md)."""

OWN = ("fixed", "static")
"""Policies whose guests keep what they have: their cells are the curve."""

_RESERVED = 0.1
"""Share of its memory that the driver adds to its goal, by itself."""


@dataclass(frozen=True)
class Curve:
    """What a guest reads with so much memory. points: (memory [MiB], sectors), by memory, each
    once.
    """

    points: tuple[tuple[float, float], ...]

    def at(self, mib: float) -> float | None:
        """Sectors with so much memory: between two measurements on the line between their
        logarithms, since such curves fall ever more slowly; as at the last one beyond it. None
        below the first one, where nothing is known.
        """
        if not self.points or mib < self.points[0][0]:
            return None
        for (less, above), (more, below) in zip(self.points, self.points[1:], strict=False):
            if mib <= more:
                part = (mib - less) / (more - less)
                return above ** (1 - part) * below**part if above and below else above + part * (below - above)
        return self.points[-1][1]

    def left_out(self) -> list[float]:
        """What the curve has at each measurement but the first and the last if that one is left out
        of it, over what was measured: how far the curve alone may be off.
        """
        return [
            rest / read
            for at, (mib, read) in enumerate(self.points)
            if 0 < at < len(self.points) - 1
            and read
            and (rest := Curve(self.points[:at] + self.points[at + 1 :]).at(mib)) is not None
        ]

    @property
    def working_set(self) -> float | None:
        """The least memory [MiB] from which on a guest reads at most KNEE times the least, on the
        line between two measurements. None as in `bracket`.
        """
        if self.bracket is None:
            return None
        less, more = self.bracket
        read = dict(self.points)
        above, below = read[less], read[more]
        return less + (above - self._bound) / (above - below) * (more - less)

    @property
    def _bound(self) -> float:
        return KNEE * min((sectors for _, sectors in self.points), default=0.0)

    @property
    def bracket(self) -> tuple[float, float] | None:
        """The two measured memories [MiB] that the working set is between. None when already with
        the least a guest reads at most KNEE times the least, or only with the most: then with more
        memory it might read less still, and nothing shows where that ends.
        """
        enough = len(self.points)
        while enough and self.points[enough - 1][1] <= self._bound:
            enough -= 1
        if enough == 0 or enough >= len(self.points) - 1:
            return None
        return self.points[enough - 1][0], self.points[enough][0]


@dataclass(frozen=True)
class Setup:
    """Where guests run. Memory in MiB. share: of each, under the control; most: that a guest may
    have; phase: between the starts of two loads [s]; least, reserved: the driver's settings
    min_usable and reserved, None where it has its own; interval [s], down, up: its settings
    interval, downhysteresis and uphysteresis.
    """

    guests: int
    host: float
    share: float
    most: float
    phase: float = 0.0
    least: float | None = None
    reserved: float | None = None
    interval: float = 5.0
    down: float = 8.0
    up: float = 1.0

    @property
    def even(self) -> float:
        """What each guest has of a host that is all handed out [MiB]."""
        return min(self.host / self.guests, self.most)

    @property
    def fallow(self) -> float:
        """Share of the host's memory that no guest has under the control."""
        return 1 - self.guests * self.share / self.host


@dataclass(frozen=True)
class Load:
    """What the control's cells show of one guest; None where they do not. committed: by its
    processes while it ran, mean [MiB]; kept: by its kernel, before any page is handed out [MiB];
    seconds: that it ran.
    """

    committed: float | None
    kept: float | None
    seconds: float | None


def sectors(curve: Curve, load: Load, setup: Setup, policy: str) -> float | None:
    """What a guest will read under a policy. None where the model, or the curve, says nothing."""
    mib = working_memory(load, setup, policy)
    return None if mib is None else curve.at(mib)


def working_memory(load: Load, setup: Setup, policy: str) -> float | None:
    """The memory that works for a guest while it runs [MiB]: its own, and of the pool its part."""
    base, *parts = policy.split("+")
    together = at_once(setup, load)
    if together is None or not _known(parts):
        return None
    sizes = (setup.share, setup.share) if base in OWN else _ballooned(load, setup, together)
    if base not in (*OWN, "selfballoon") or sizes is None:
        return None
    own, idle = (setup.host / setup.guests,) * 2 if base == "static" else sizes
    pool = max(0.0, setup.host - together * own - (setup.guests - together) * idle)
    return own + (pool * stretch(parts, together) / together if parts else 0.0)


def _known(parts: Collection[str]) -> bool:
    """Whether the model has a word for these: tmem with clean pages, kept more densely or not."""
    return not parts or (set(parts) <= _PARTS and bool(_CLEAN & set(parts)))


_CLEAN = {"tmem", "cleancache"}
_PARTS = _CLEAN | {"frontswap", "compress", "dedup"}


def at_once(setup: Setup, load: Load) -> float | None:
    """How many guests run at the same time, on average over their runs."""
    if not setup.phase or setup.guests == 1:
        return float(setup.guests)
    if load.seconds is None:
        return None
    return max(1.0, setup.guests * load.seconds / (load.seconds + (setup.guests - 1) * setup.phase))


def stretch(parts: Collection[str], together: float) -> float:
    """Pages in a frame of the pool. With `dedup`, guests with one image and one load put the same
    contents, so a frame serves all that run; with it, clean pages are not compressed.
    """
    if "dedup" in parts:
        return together
    return COMPRESSED if "compress" in parts else 1.0


def _ballooned(load: Load, setup: Setup, together: float) -> tuple[float, float] | None:
    """What self-ballooning leaves a guest that runs, mean over its run, and one that has not run
    for long (tmem/linux).
    """
    if load.committed is None or load.kept is None or not load.seconds:
        return None
    usable = _by_size(setup.most - load.kept) if not setup.least else setup.least
    idle = min(load.kept + usable, setup.most)
    added = _RESERVED * (setup.share - load.kept) if setup.reserved is None else setup.reserved
    wanted = min(max(load.committed + added, idle), setup.most)
    there = (setup.host - (setup.guests - together) * idle) / together
    means = []
    for guest in range(setup.guests):
        size = setup.even
        for _ in range(math.floor(guest * setup.phase / setup.interval)):
            size = _step(setup, size, idle)
        run = [size]
        for _ in range(math.ceil(load.seconds / setup.interval) - 1):
            run.append(_step(setup, run[-1], min(wanted, there)))
        means.append(math.fsum(run) / len(run))
    return math.fsum(means) / len(means), min(idle, setup.even)


def _step(setup: Setup, size: float, goal: float) -> float:
    """A guest's size [MiB] an interval of the driver's later, on its way to a goal."""
    return size + (goal - size) / (setup.down if goal < size else setup.up)


def _by_size(mib: float) -> float:
    """The driver's own min_usable: default_min_usable() of tmem/linux/selfballoon.c."""
    if mib < 16:
        return mib
    if mib < 64:
        return 16 + (mib - 16) / 2
    return 40 + (mib - 64) / 8 if mib < 512 else 99 + (mib - 512) / 32
