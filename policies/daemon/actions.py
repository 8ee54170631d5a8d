"""Carrying a decision out with libxl's tools, one after the other and without waiting for any.

Who is to give is told first. Who is to get is told when the memory is there: a kernel that asks Xen
in vain gives up after some attempts. What has not come within the daemon's patience is done
without: the guest gets what there is, and that is recorded. No process is started where nothing is
to be changed.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from policies.managers.base import PAGE, Decision, clamp

from .tools import Asked, Command, Library, Process
from .view import NEAR, Known, View

MIB = 2**20
LEAST_GROWTH = 1 * MIB
"""Where less is there than this, nothing is handed out."""

NEAR_WEIGHT = 32
"""A weight that is less than one part in so many away is where it should be."""

LOOK_SECONDS = 0.25
"""How often it is looked whether memory has come free, while somebody waits for it."""

TARGET = "memory/target"
"""What a guest's balloon goes by [KiB], below the guest's part of xenstore."""

SECTIONS = "memory/sections"
"""Where a guest that gives memory by hot-plug is told how much it is to have [KiB], below its part
of xenstore (tmem/linux/sections).
"""


@dataclass(frozen=True)
class Step:
    """One command. target: what the guest then has been told, in bytes; None: nothing of its
    memory. cap: of tmem, likewise. asks: what the library is asked for in place of the command, and
    how much of it [KiB].
    """

    domain: int
    words: tuple[str, ...]
    target: int | None = None
    cap: int | None = None
    asks: tuple[str, int] | None = None


@dataclass
class Carried:
    """What became of a decision. set: domain, bytes, seconds after the decision. failed: domain,
    what was to be done, why not. left: how much was still to be done when the manager was stopped.
    """

    set: list[tuple[int, int, float]] = field(default_factory=list)
    failed: list[tuple[int, str, str]] = field(default_factory=list)
    left: int = 0


class Actions:
    """Carries one decision out at a time.

    limit_at_maximum: let guests hold their maximum whatever their target is, as a persistent pool
    of tmem needs (its pages count as the guest's). sections: guests give and get memory by
    hot-plug, so that their balloons are told nothing. library: libxl's, used while it is there.
    """

    def __init__(
        self,
        view: View,
        patience: float,
        *,
        limit_at_maximum: bool,
        sections: bool = False,
        library: Library | None = None,
    ) -> None:
        self._view = view
        self._library = library
        self._patience = patience
        self._limit_at_maximum = limit_at_maximum
        self._sections = sections
        self._steps: deque[Step] = deque()
        self._grows: deque[tuple[int, int]] = deque()
        self._running: tuple[Step, Command] | None = None
        self._began = 0.0
        self._patient_until: float | None = None
        self.carried = Carried()

    @property
    def busy(self) -> bool:
        """Whether something is still to be done."""
        return bool(self._steps or self._grows or self._running)

    @property
    def waiting(self) -> bool:
        """Whether all that is left waits for memory."""
        return bool(self._grows) and not self._steps and self._running is None

    def fileno(self) -> int | None:
        """Readable when the command that runs has ended; None: none runs."""
        return self._running[1].descriptor if self._running else None

    def wakes_at(self, now: float) -> float | None:
        """When to go on at the latest."""
        if self._running:
            return self._running[1].deadline
        return now + LOOK_SECONDS if self.waiting else now if self.busy else None

    def begin(self, decision: Decision, now: float) -> Carried:
        """Begin to carry a decision out; what becomes of it is filled in."""
        self.carried = Carried()
        self._began = now
        self._patient_until = None
        for domain, wanted in decision.targets:
            each = self._view.known.get(domain)
            if each is None:
                continue
            target = _whole(clamp(max(wanted, each.minimum), 0, each.maximum))
            if target == _whole(each.target):
                continue
            if target > each.actual:
                self._grows.append((domain, target))
            else:
                self._steps.extend(self._memory(each, target))
        caps = dict(decision.caps or ())
        for domain, weight in decision.weights or ():
            self._steps.extend(self._tmem(domain, weight, caps.get(domain, 0)))
        return self.carried

    def go_on(self, now: float) -> None:
        """Do what can be done by now."""
        if self._running:
            step, command = self._running
            if not command.ended(now):
                return
            self._finished(step, command.why(), now)
            self._running = None
        if not self._steps and self._grows:
            self._grow(now)
        if self._steps:
            self._run(self._steps.popleft(), now)

    def give_up(self, why: str) -> None:
        """Leave undone what is not done; what runs is waited for no more."""
        for step in self._steps:
            self.carried.failed.append((step.domain, " ".join(step.words), why))
        for domain, target in self._grows:
            self.carried.failed.append((domain, f"growing to {target}", why))
        if self._running:
            step, _ = self._running
            self.carried.failed.append((step.domain, " ".join(step.words), why))
        self._clear()

    def stop(self) -> None:
        """Leave undone what is not done, which is nobody's failure."""
        self.carried.left = len(self._steps) + len(self._grows) + (self._running is not None)
        self._clear()

    def _clear(self) -> None:
        self._steps.clear()
        self._grows.clear()
        if self._running:
            self._running[1].kill()
            self._running = None

    def _grow(self, now: float) -> None:
        domain, target = self._grows[0]
        each = self._view.known.get(domain)
        if each is None:
            self._grows.popleft()
            self.carried.failed.append((domain, f"growing to {target}", "it is gone"))
            return
        # What was promised to those who stopped growing is nobody's: they would hold it to the end.
        promised = sum(
            max(other.target - other.actual, 0)
            for other in self._view.known.values()
            if other is not each and self._view.follows(other, now)
        )
        there = max(self._view.free - promised, 0)
        if target - each.actual > there:
            if self._patient_until is None:
                self._patient_until = now + self._patience
            if now < self._patient_until and self._coming(now):
                return
            short = target - each.actual - there
            self.carried.failed.append((domain, f"growing to {target}", f"{short} bytes did not come free"))
            target = _whole(each.actual + there)
        self._grows.popleft()
        if target >= each.actual + LEAST_GROWTH or target > each.target:
            self._steps.extend(self._memory(each, target))

    def _coming(self, now: float) -> bool:
        """Whether somebody is on the way down. Else there is nothing to wait for."""
        return any(
            each.actual - each.target > NEAR and self._view.follows(each, now) for each in self._view.known.values()
        )

    def _memory(self, each: Known, target: int) -> list[Step]:
        if self._sections:
            node = f"/local/domain/{each.domain}/{SECTIONS}"
            return [Step(each.domain, ("xenstore-write", node, str(target >> 10)), target)]
        kib, most = target >> 10, each.maximum >> 10
        if not self._limit_at_maximum:
            words = ("xl", "mem-set", str(each.domain), f"{kib}k")
            return [Step(each.domain, words, target, asks=("target", kib))]
        # `xl mem-set` would make the target the limit for a moment. A guest whose pages in tmem
        # count is above it then: Xen refuses it what it asks for, and its balloon rests.
        limit = ("xl", "mem-max", str(each.domain), f"{most}k")
        soft = ("xenstore-write", f"/local/domain/{each.domain}/{TARGET}", str(kib))
        return [
            Step(each.domain, limit, asks=("maximum", most)),
            Step(each.domain, soft, target, asks=("soft", kib)),
        ]

    def _tmem(self, domain: int, weight: int, cap: int) -> list[Step]:
        each = self._view.known.get(domain)
        if each is None or (each.tmem is not None and _near(weight, each.tmem.weight) and each.cap == cap):
            return []
        words = ("tmemctl", "set", str(domain), "--weight", str(weight), "--cap", str(cap))
        return [Step(domain, words, cap=cap)]

    def _run(self, step: Step, now: float) -> None:
        if step.asks and self._library is not None and self._library.there:
            what, kib = step.asks
            self._running = step, Asked(self._library, what, step.domain, kib, now)
            return
        try:
            self._running = step, Process(step.words, now)
        except OSError as error:
            self.carried.failed.append((step.domain, " ".join(step.words), str(error.strerror)))

    def _finished(self, step: Step, why: str | None, now: float) -> None:
        each = self._view.known.get(step.domain)
        if why is not None:
            self.carried.failed.append((step.domain, " ".join(step.words), why))
            return
        if each is not None and step.cap is not None:
            each.cap = step.cap
        if step.target is not None:
            self.carried.set.append((step.domain, step.target, round(now - self._began, 3)))
            if each is not None:
                self._view.told(each, step.target, now)


def _near(weight: int, now: int) -> bool:
    """Whether tmem would share out the same by it: a weight is a part of a pool, and those that
    draw near to where they belong, half of the way each time, would be told for a minute.
    """
    return abs(weight - now) * NEAR_WEIGHT <= now


def _whole(size: int) -> int:
    """So much in whole pages, rounded down."""
    return size - size % PAGE
