"""What a figure is drawn from, as rows of the campaign's tables: for whoever wants to draw it in
another way.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields

import pandas as pd

from analysis import footprint, regime_figure, thresholds
from analysis.load import Results

Tables = Mapping[str, pd.DataFrame]


@dataclass(frozen=True)
class Taken:
    """Rows of a table: those in whose column one of the values stands. No values: all."""

    table: str
    column: str = ""
    values: tuple[str, ...] = ()

    def rows(self, found: Tables, levels: str) -> pd.DataFrame:
        """Its rows at factor levels."""
        frame = found[self.table]
        frame = frame[frame["levels"].astype("string") == levels]
        if self.values:
            frame = frame[frame[self.column].astype("string").isin(self.values)]
        return frame.reset_index(drop=True)


def _quantities(*names: str) -> tuple[Taken, ...]:
    return Taken("totals", "quantity", names), Taken("comparisons", "quantity", names)


_MEMORY = Taken("samples", "counter", ("memory", "tmem_ephemeral_pages", "tmem_persistent_pages"))

DRAWN: Mapping[str, Sequence[Taken]] = {
    "overview": (*_quantities("sectors_read"), _MEMORY, Taken("accounting")),
    "sectors": _quantities("sectors_read", "sectors_written"),
    "requests": _quantities("read_requests", "disk_requests"),
    "time": _quantities("wall_seconds", "total_vcpu_seconds", "vcpu_seconds", "dom0_vcpu_seconds"),
    "memory": (_MEMORY,),
    "hit_rates": (Taken("hit_rates"),),
}
"""Figure -> the rows of tables that it shows."""


def of(results: Results, tables: Tables, figure: str, levels: str) -> dict[str, pd.DataFrame]:
    """Table -> the rows of it that a figure shows, tables without any left out."""
    found = {taken.table: taken.rows(tables, levels) for taken in DRAWN.get(figure, ())}
    if figure in MADE:
        found["points"] = MADE[figure](results, levels)
    return {name: frame for name, frame in found.items() if len(frame)}


def points(results: Results, levels: str) -> pd.DataFrame:
    """The points of the figure `footprint`."""
    found = footprint.points(results, levels)
    texts = {"policy", "beside"}
    return pd.DataFrame(
        {
            each.name: pd.Series(
                [getattr(point, each.name) for point in found], dtype="string" if each.name in texts else "Float64"
            )
            for each in fields(footprint.Point)
        }
    )


def steps(results: Results, _levels: str) -> pd.DataFrame:
    """The points of the figure `thresholds`, over all factor levels."""
    rows = [
        (asked.id, each.policy, step.levels, asked.factor, str(step.level), step.centre.mean, step.ratio)
        for asked in thresholds.declared(results)
        for each in thresholds.reaches(results, asked)
        for step in each.steps
    ]
    names = ("threshold", "policy", "levels", "factor", "level", "mean", "ratio")
    return pd.DataFrame(
        {
            name: pd.Series([row[place] for row in rows], dtype="Float64" if name in ("mean", "ratio") else "string")
            for place, name in enumerate(names)
        }
    )


MADE: Mapping[str, Callable[[Results, str], pd.DataFrame]] = {
    "footprint": points,
    "thresholds": steps,
    "regimes": regime_figure.frame,
}
"""Figure -> a table of its own."""
