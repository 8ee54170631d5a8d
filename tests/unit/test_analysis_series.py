"""Growth of counters: the two readings that the cell's own metrics are made of, and no others."""

from __future__ import annotations

import pandas as pd
import pytest

from analysis import series
from campaigns import metrics

END = {"a": 100.0}


def samples(*rows: tuple[float, str, float | None], cell: str = "a") -> pd.DataFrame:
    """A cell's samples in the order of its file: time, counter, value."""
    values = pd.Series([value for _, _, value in rows], dtype="Float64")
    return pd.DataFrame(
        {
            "cell": [cell] * len(rows),
            "source": ["guest1"] * len(rows),
            "counter": [counter for _, counter, _ in rows],
            "time_s": [time for time, _, _ in rows],
            "value": values,
        }
    )


AS_STORED = samples(
    # before, as one reading of everything
    *((0.4, "c", 10.0), (0.4, "d", 1.0)),
    # meanwhile: the sampler had begun before that reading
    *((-5.0, "c", 3.0), (-5.0, "d", 1.0), (50.0, "c", 20.0), (50.0, "d", 2.0), (50.0, "late", 7.0)),
    # after
    *((100.2, "c", 31.0), (100.2, "d", None)),
)


def test_the_reading_before_the_run_is_the_one_that_metrics_use_even_when_it_came_late() -> None:
    """Named after two figures of one counter: 21 by the record, and 28 from the sampler's first
    reading by the tables.
    """
    found = series.of(AS_STORED, END, ordered=True)
    before, after = {("guest1", "c"): 10.0}, {("guest1", "c"): 31.0}
    assert found.growth("a", "guest1", "c") == metrics.grown_by(before, after, "guest1", "c") == 21


@pytest.mark.parametrize("counter", ["d", "late", "never"])
def test_what_was_not_read_on_both_sides_has_no_growth(counter: str) -> None:
    """One could not be read after the run, one was read during it only."""
    assert series.of(AS_STORED, END, ordered=True).growth("a", "guest1", counter) is None


def test_a_counter_that_the_reading_after_lacks_altogether_has_none() -> None:
    lost = samples((-1, "c", 1.0), (-1, "d", 1.0), (5, "c", 2.0), (5, "d", 2.0), (101, "d", 3.0))
    found = series.of(lost, END, ordered=True)
    assert found.growth("a", "guest1", "c") is None
    assert found.growth("a", "guest1", "d") == 2


def test_files_by_time_are_read_by_time() -> None:
    older = samples((-5, "c", 3.0), (-1, "c", 10.0), (50, "c", 20.0), (101, "c", 31.0))
    assert series.of(older, END, ordered=False).growth("a", "guest1", "c") == 21
    assert series.of(older.iloc[:3], END, ordered=False).growth("a", "guest1", "c") is None, "nothing after the end"


def test_cells_are_kept_apart() -> None:
    other = samples((-1, "c", 100.0), (5, "c", 150.0), (101, "c", 200.0), cell="b")
    found = series.of(pd.concat([AS_STORED, other], ignore_index=True), END | {"b": 100.0}, ordered=True)
    assert (found.growth("a", "guest1", "c"), found.growth("b", "guest1", "c")) == (21, 100)
    assert found.readings("a", "guest1", "c")[0].tolist() == [-5.0, 0.4, 50.0, 100.2]
    assert found.known("a", "guest1", "d")[1].tolist() == [1.0, 1.0, 2.0]


def test_nothing_is_no_error() -> None:
    assert series.of(samples(), {}, ordered=True).growth("a", "guest1", "c") is None
