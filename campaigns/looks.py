"""Records of a sample size that the data chose: until when repetitions go on, and each look that
was taken at what there was.

Looks are taken at sizes that are fixed before the first cell, and each at a level so much higher
that all of them together keep theirs (Bonferroni): whoever looks four times at 95 % and stops when
it suits is wrong more often than at one time in twenty.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from common.intervals import LEVEL
from common.metrics import STRICT

if TYPE_CHECKING:
    from campaigns.records import PlannedCell


@dataclass(frozen=True)
class Until:
    """Repetitions are added until the interval of treatment ÷ control of a metric is narrow enough,
    at all levels: half of it is at most half_width of the ratio (a fraction).

    unit: what is repeated, `boot` or `run`. sizes: how many of them there are at each look; the
    last is the most that there can be.
    """

    __pydantic_config__ = STRICT

    metric: str
    aggregate: Literal["sum", "mean", "min", "max"]
    treatment: str
    control: str
    half_width: float
    unit: Literal["boot", "run"]
    sizes: tuple[int, ...]

    @property
    def level(self) -> float:
        """Of the interval at each look, so that all looks together have LEVEL."""
        return 1 - (1 - LEVEL) / len(self.sizes)


@dataclass(frozen=True)
class Point:
    """What a look saw at one combination of levels. cells: that it used, all complete: pairs. n:
    units in them. ratio, low, high: None where nothing could be said.
    """

    __pydantic_config__ = STRICT

    levels: Mapping[str, object]
    cells: tuple[str, ...]
    n: int
    ratio: float | None
    low: float | None
    high: float | None

    @property
    def half_width(self) -> float | None:
        """Half the interval, as a fraction of the ratio."""
        if self.ratio is None or self.low is None or self.high is None:
            return None
        return (self.high - self.low) / 2 / self.ratio


@dataclass(frozen=True)
class Look:
    """A look after so many repetitions. enough: no more are needed."""

    __pydantic_config__ = STRICT

    schema: int
    size: int
    points: tuple[Point, ...]
    enough: bool


def sizes(least: int, most: int, number: int) -> tuple[int, ...]:
    """At how many repetitions looks are taken: evenly from the least to the most."""
    number = max(1, min(number, most - least + 1))
    if number == 1:
        return (most,)
    return tuple(least + round((most - least) * place / (number - 1)) for place in range(number))


def size_now(until: Until, looks: Sequence[Look]) -> int:
    """How many repetitions are wanted after these looks."""
    if looks and looks[-1].enough:
        return looks[-1].size
    return until.sizes[min(len(looks), len(until.sizes) - 1)]


def due(until: Until, looks: Sequence[Look]) -> bool:
    """Whether a look is to be taken when the cells that are wanted now have ended."""
    return not (looks and looks[-1].enough) and len(looks) < len(until.sizes)


def unit_of(cell: PlannedCell, until: Until) -> int:
    """Which repetition a cell is of, from 1."""
    return cell.boot if until.unit == "boot" and cell.boot is not None else cell.repetition


def within(cells: Iterable[PlannedCell], until: Until, size: int) -> tuple[PlannedCell, ...]:
    """The cells of the first so many repetitions."""
    return tuple(cell for cell in cells if unit_of(cell, until) <= size)
