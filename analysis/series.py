"""The readings of every counter in every cell, found by their place in one long table, and by how
much each counter grew over its run: the one place where analysis takes differences of readings.

The same two readings count as for the metrics of a cell's record (campaigns/metrics.py): the one
that was taken before the release, and the one after the last guest's end.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from common.metrics import growth

CLOCKS_S = 1.0
"""How far the clocks of a host's machines may lie apart where it is asked whether a reading came
after the end.
"""

Floats = np.ndarray[Any, np.dtype[np.float64]]
_Numbers = np.ndarray[Any, np.dtype[np.int64]]

_NONE = np.empty(0)


@dataclass(frozen=True, eq=False)
class Series:
    """Readings by (cell, source, counter). places: for each of the three, name -> its number.
    numbers: of the three together, ascending; begins: where each one's readings begin.

    times [s after the release], values (NaN: could not be read): by time within each. before,
    after: value of the reading before the run and after it, by the order of the file: NaN is no
    value. ends: cell -> seconds to the end of its last guest. ordered: whether the files hold the
    readings before first and those after last (records.LAYOUT 2), and not all by time.
    """

    places: Sequence[Mapping[str, int]]
    numbers: _Numbers
    begins: _Numbers
    times: Floats
    values: Floats
    before: Floats
    after: Floats
    ends: Mapping[str, float]
    ordered: bool

    def readings(self, cell: str, source: str, counter: str) -> tuple[Floats, Floats]:
        """Times and values of one counter in one cell, by time; NaN is a missing reading."""
        at = self._at(cell, source, counter)
        if at is None:
            return _NONE, _NONE
        where = slice(int(self.begins[at]), int(self.begins[at + 1]))
        return self.times[where], self.values[where]

    def known(self, cell: str, source: str, counter: str) -> tuple[Floats, Floats]:
        """As `readings`, without the missing ones."""
        times, values = self.readings(cell, source, counter)
        there = ~np.isnan(values)
        return times[there], values[there]

    def has(self, cell: str, source: str, counter: str) -> bool:
        """Whether a counter was asked for in a cell at all."""
        return self._at(cell, source, counter) is not None

    def growth(self, cell: str, source: str, counter: str) -> float | None:
        """By how much a counter grew from the reading before the run to the one after it. None
        when either is missing, whatever was read in between, and when it fell.
        """
        at = self._at(cell, source, counter)
        if at is None:
            return None
        if self.ordered:
            first, last = float(self.before[at]), float(self.after[at])
        else:
            first, last = self._by_time(cell, *self.readings(cell, source, counter))
        return growth(None if np.isnan(first) else first, None if np.isnan(last) else last)

    def _by_time(self, cell: str, times: Floats, values: Floats) -> tuple[float, float]:
        """The last reading up to the release, or the first where none is as early, and the last
        of all, if that came after the end.
        """
        place = max(int(np.searchsorted(times, 0.0, side="right")) - 1, 0)
        ended = times[-1] >= self.ends.get(cell, 0.0) - CLOCKS_S
        return float(values[place]), float(values[-1]) if ended else np.nan

    def _at(self, cell: str, source: str, counter: str) -> int | None:
        found = [place.get(name) for place, name in zip(self.places, (cell, source, counter), strict=True)]
        if found[0] is None or found[1] is None or found[2] is None:
            return None
        number = (found[0] * len(self.places[1]) + found[1]) * len(self.places[2]) + found[2]
        at = int(np.searchsorted(self.numbers, number))
        return at if at < len(self.numbers) and self.numbers[at] == number else None


def of(samples: pd.DataFrame, ends: Mapping[str, float], *, ordered: bool) -> Series:
    """The series of samples in the order of their files, the cells one after the other."""
    named = [pd.factorize(samples[name]) for name in ("cell", "source", "counter")]
    codes = [code.astype("int64") for code, _ in named]
    places = [{str(name): number for number, name in enumerate(names)} for _, names in named]
    key = (codes[0] * len(places[1]) + codes[1]) * len(places[2]) + codes[2]
    times = samples["time_s"].to_numpy(dtype="float64")
    values = samples["value"].to_numpy(dtype="float64", na_value=np.nan)
    as_stored = np.argsort(key, kind="stable")
    numbers, begins = np.unique(key[as_stored], return_index=True)
    before, after = _around(values, codes[0], as_stored, begins) if len(key) else (_NONE, _NONE)
    by_time = np.lexsort((times, key))
    edges = np.append(begins, len(key))
    return Series(places, numbers, edges, times[by_time], values[by_time], before, after, ends, ordered)


def _around(values: Floats, cells: _Numbers, order: _Numbers, begins: _Numbers) -> tuple[Floats, Floats]:
    """The value before and after the run of each group. A file begins with one reading of
    everything and ends with another: up to where something is told for the second time, and from
    where nothing is told again.
    """
    ends = np.append(begins[1:], len(order)) - 1
    first, last = order[begins], order[ends]
    several = ends > begins
    cell = cells[first]
    again = np.full(int(cells.max()) + 1, len(order))
    np.minimum.at(again, cell[several], order[begins[several] + 1])
    earlier = np.full(int(cells.max()) + 1, -1)
    np.maximum.at(earlier, cell[several], order[ends[several] - 1])
    before = np.where(first < again[cell], values[first], np.nan)
    after = np.where(several & (last > earlier[cell]), values[last], np.nan)
    return before, after
