"""What all managers share: documented keys, decisions, and growth that fits.

All amounts are bytes unless a key says otherwise. A guest is named by its domain's number.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

MOST = 2**63 - 1
"""The largest number that a state may hold: more than any machine has of anything."""

Targets = tuple[tuple[int, int], ...]
"""Pairs of a domain and a number, in the order in which they are to be set."""


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
