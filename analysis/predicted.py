"""What guests will read from their disks under a policy, from what they read with so much memory of
their own: a small model, which sees no cell of the policy that it is asked about.

A guest reads what its miss-ratio curve has at the memory that works for it: its own, and with tmem
its part of the pool. The pool is what the host has beyond the guests' own memory. Clean pages are
in a guest or in the pool and not in both, so the two add up. Those who run at the same time share
the pool evenly; who does not run yet, or no more, has none of it, and under self-ballooning only
its least memory.

Left out on purpose, so that an error says what it is worth: pages that a guest flushes with its
inodes, swapping and what frontswap saves of it, the way of the balloon to its goal, what Xen and
tmem keep for themselves, and that a load takes longer in less memory.
"""

from __future__ import annotations

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
        """Sectors with so much memory: on the line between two measurements, as at the last one
        beyond it. None below the first one, where nothing is known.
        """
        if not self.points or mib < self.points[0][0]:
            return None
        for (less, above), (more, below) in zip(self.points, self.points[1:], strict=False):
            if mib <= more:
                return above + (mib - less) / (more - less) * (below - above)
        return self.points[-1][1]

    @property
    def working_set(self) -> float | None:
        """The least memory [MiB] from which on a guest reads at most KNEE times the least. None
        when already the first measurement does, or when the last one is the only one that does:
        then with more memory it might read less still, and nothing shows where that ends.
        """
        bound = KNEE * min((sectors for _, sectors in self.points), default=0.0)
        enough = len(self.points)
        while enough and self.points[enough - 1][1] <= bound:
            enough -= 1
        if enough == 0 or enough >= len(self.points) - 1:
            return None
        (less, above), (more, below) = self.points[enough - 1], self.points[enough]
        return less + (above - bound) / (above - below) * (more - less)


@dataclass(frozen=True)
class Setup:
    """Where guests run. Memory in MiB. share: of each, under the control; most: that a guest may
    have; phase: between the starts of two loads [s]; least, reserved: the driver's settings
    min_usable and reserved, None where it has its own.
    """

    guests: int
    host: float
    share: float
    most: float
    phase: float = 0.0
    least: float | None = None
    reserved: float | None = None

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
    """What self-ballooning leaves a guest that runs, and one that does not (tmem/linux)."""
    if load.committed is None or load.kept is None:
        return None
    usable = _by_size(setup.most - load.kept) if not setup.least else setup.least
    idle = min(load.kept + usable, setup.most)
    added = _RESERVED * (setup.share - load.kept) if setup.reserved is None else setup.reserved
    wanted = min(max(load.committed + added, idle), setup.most)
    there = (setup.host - (setup.guests - together) * idle) / together
    return min(wanted, there), min(idle, setup.host / setup.guests)


def _by_size(mib: float) -> float:
    """The driver's own min_usable: default_min_usable() of tmem/linux/selfballoon.c."""
    if mib < 16:
        return mib
    if mib < 64:
        return 16 + (mib - 16) / 2
    return 40 + (mib - 64) / 8 if mib < 512 else 99 + (mib - 512) / 32
