"""What all managers share: documented keys, what the daemon in dom0 sees, decisions, and growth
that fits.

All amounts are bytes unless a key says otherwise. A guest is named by its domain's number.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

MOST = 2**63 - 1
"""The largest number that a state may hold: more than any machine has of anything."""

Targets = tuple[tuple[int, int], ...]
"""Pairs of a domain and a number, in the order in which they are to be set."""


KIB = 1024
PAGE = 4096

Report = Mapping[str, int]
"""What a guest says of itself: counter (group.counter, in the kernel's own unit) -> value."""


@dataclass(frozen=True)
class TmemUse:
    """A guest's use of tmem, as Xen counts it: since the guest began, in pages. None: it has no
    ephemeral pool.
    """

    weight: int
    puts: int | None = None
    hits: int | None = None
    misses: int | None = None
    lost: int | None = None


@dataclass(frozen=True)
class Guest:
    """A guest as the daemon sees it, whatever the manager.

    name: in Xen. actual: what it has. target: what it was told last. minimum, maximum: its bounds.
    report: its last one; decided: the one that was the last when the last decision was made;
    changed: the one that was when its target last changed. Each is None where there is none, or
    where what the guest says is no report. since_change: seconds since that change, or since the
    daemon began. follows: it reached its target, or is getting there. tmem: None where tmem is not
    read.
    """

    domain: int
    name: str
    actual: int
    target: int
    minimum: int
    maximum: int
    report: Report | None = None
    decided: Report | None = None
    changed: Report | None = None
    since_change: float = 0.0
    follows: bool = True
    tmem: TmemUse | None = None
    tmem_decided: TmemUse | None = None

    def kib(self, counter: str) -> int | None:
        """A counter of its report that is in KiB, in bytes; None when it does not say, or says more
        than any machine has.
        """
        value = self.report.get(counter) if self.report is not None else None
        return None if value is None or value * KIB > MOST else value * KIB

    def growth(self, counter: str, *, since: Report | None) -> int | None:
        """By how much a counter of its has grown since another report; None when either does not
        say, or it went backwards.
        """
        if self.report is None or since is None or counter not in self.report or counter not in since:
            return None
        grown = self.report[counter] - since[counter]
        return grown if grown >= 0 else None


@dataclass(frozen=True)
class Seen:
    """All that the daemon sees. total: the host's memory; free: what Xen could give to guests at
    once, tmem's clean pages included; tmem_pages: what tmem holds or could hold. elapsed: seconds
    since the daemon was told to begin.
    """

    total: int
    free: int
    elapsed: float
    guests: tuple[Guest, ...]
    tmem_pages: int = 0


@dataclass(frozen=True)
class Decision:
    """What a manager wants changed. A guest that is not named keeps what it has."""

    targets: Targets = ()
    """Memory that the guests should have, in bytes."""
    weights: Targets | None = None
    """tmem's weights, for managers that set them."""
    caps: Targets | None = None
    """tmem's caps in pages (0: none), for managers that set them."""


@dataclass(frozen=True)
class Change:
    """What a guest has, and what it is to have."""

    domain: int
    actual: int
    target: int


def key(doc: str, *, unit: str = "B", least: int = 0, **default: Any) -> Any:  # noqa: ANN401  as dataclasses.field
    """A field, with what it means, its unit, and the least value that a state may give it."""
    return field(metadata={"doc": doc, "unit": unit, "least": least}, **default)


def part(doc: str, default: float) -> Any:  # noqa: ANN401  as dataclasses.field
    """A manager's parameter that is a part of something: from 0 to 1."""
    return field(metadata={"doc": doc, "unit": "", "least": 0, "most": 1}, default=default)


def every(seconds: float) -> Any:  # noqa: ANN401  as dataclasses.field
    """A manager's parameter: how often the daemon has it decide."""
    return key("seconds between two decisions", unit="s", default=seconds)


def clamp(value: int, least: int, most: int) -> int:
    """The value, cut to [least, most]; where these contradict each other, `most` wins."""
    return min(max(value, least), most)


def share(amount: int, part: int, whole: int) -> int:
    """Amount × part ÷ whole, rounded down, exact; 0 where whole is 0."""
    return amount * part // whole if whole else 0


def freed_first(changes: Iterable[Change], free: int) -> Targets:
    """Targets for who changes: first who gives, then who gets, and no more than is free now.

    What is given arrives later, so it is the next decision that hands it out. Where less is free
    than is wanted, everybody gets the same share of what they want.
    """
    all_of_them: Sequence[Change] = tuple(changes)
    gives = tuple((each.domain, each.target) for each in all_of_them if each.target < each.actual)
    grows = [each for each in all_of_them if each.target > each.actual]
    wanted = sum(each.target - each.actual for each in grows)
    there = clamp(free, 0, wanted)
    granted = ((each.domain, each.actual, share(there, each.target - each.actual, wanted)) for each in grows)
    return gives + tuple((domain, actual + more) for domain, actual, more in granted if more)
