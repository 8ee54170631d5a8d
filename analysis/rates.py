"""Hit rates of tmem: gets that found their page ÷ gets tried, per guest and kind of pool, by the
hypervisor's counters.

Cold misses count as misses. Without a single get tried there is no rate: 0 ÷ 0 is missing, not 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import pandas as pd

from analysis.accounting import KINDS
from analysis.load import Results, levels_text


@dataclass(frozen=True)
class HitRate:
    """hits, gets_tried: during the cell [pages]. None when the counters could not be read at
    both ends.
    """

    cell: str
    policy: str
    levels: str
    repetition: int
    guest: str
    kind: str
    hits: float | None
    gets_tried: float | None

    @property
    def rate(self) -> float | None:
        """A fraction from 0 to 1; None when a counter is missing or nothing was tried."""
        return self.hits / self.gets_tried if self.hits is not None and self.gets_tried else None


@lru_cache(maxsize=2)
def hit_rates(results: Results) -> tuple[HitRate, ...]:
    """Of every complete cell, every guest, ephemeral and persistent."""
    return tuple(
        HitRate(
            cell.cell,
            cell.policy,
            levels_text(cell.levels),
            cell.repetition,
            guest,
            kind,
            results.delta(cell.cell, guest, f"tmem_{kind}_hits"),
            results.delta(cell.cell, guest, f"tmem_{kind}_gets_tried"),
        )
        for cell in results.complete
        for guest in guests(results, levels_text(cell.levels))
        for kind in KINDS
    )


def guests(results: Results, levels: str) -> list[str]:
    """The guests at these factor levels, in order of their numbers: guest2 before guest10."""
    names = {guest for (at, _), having in results.guests_with.items() if at == levels for guest in having}
    return sorted((name for name in names if name is not None), key=lambda name: (len(name), name))


def frame(rates: Sequence[HitRate]) -> pd.DataFrame:
    """Hit rates as a table: hits and gets_tried [pages], rate [fraction]."""
    texts = ("cell", "policy", "levels", "guest", "kind")
    columns = {name: pd.Series([getattr(item, name) for item in rates], dtype="string") for name in texts}
    columns |= {"repetition": pd.Series([item.repetition for item in rates], dtype="int64")}
    figures = ("hits", "gets_tried", "rate")
    columns |= {name: pd.Series([getattr(item, name) for item in rates], dtype="Float64") for name in figures}
    return pd.DataFrame(columns)
