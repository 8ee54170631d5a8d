"""The page's chart: what it is drawn from is in the page, as it was measured, with the library that
draws it; nothing is fetched, and the bytes are the same each time.
"""

from __future__ import annotations

import csv
import json
import re
from importlib import metadata
from pathlib import Path

import analysis_campaign as made_up
import pytest

from analysis import chart, figures, load, page
from campaigns import records

SAMPLES = Path("samples") / "samples.csv"


@pytest.fixture(autouse=True)
def _only_one_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figures, "FIGURES", {"sectors": figures.FIGURES["sectors"]})


def _sampled(directory: Path, cell: str) -> dict[tuple[str, str], list[tuple[float, float | None]]]:
    """(guest, counter) -> its readings in the cell's file, by time."""
    found: dict[tuple[str, str], list[tuple[float, float | None]]] = {}
    with (directory / records.CELLS_DIR / cell / SAMPLES).open(newline="") as file:
        for row in csv.DictReader(file):
            value = float(row["value"]) if row["value"] else None
            found.setdefault((row["source"], row["counter"]), []).append((float(row["time_s"]), value))
    return {key: sorted(readings, key=lambda reading: reading[0]) for key, readings in found.items()}


def test_a_cells_lines_are_its_samples(tmp_path: Path) -> None:
    directory = made_up.write_campaign(tmp_path, repetitions=1)
    found = {each["cell"]: each["lines"] for each in chart.cells(load.load(directory))}
    assert list(found) == ["static.r1", "selfballoon.r1", "selfballoon+tmem.r1"]
    for cell, lines in found.items():
        sampled = _sampled(directory, cell)
        for line in lines:
            readings = list(zip(line["times"], line["pages"], strict=True))
            assert readings == sampled[line["guest"], line["counter"]]
        drawn = {(line["guest"], line["counter"]) for line in lines}
        shown = {counter for counter, _, _ in chart.COUNTERS}
        left_out = {key for key in sampled if key[0] in made_up.GUESTS and key[1] in shown} - drawn
        assert [key for key in left_out if any(value for _, value in sampled[key])] == []
    # tmem was not asked for, so that nothing was read of it: no line, and no zeros
    assert {line["what"] for line in found["static.r1"]} == {"memory"}
    assert {line["what"] for line in found["selfballoon+tmem.r1"]} >= {"memory", "tmem clean", "clean hits"}


def test_a_reading_that_is_missing_is_null(tmp_path: Path) -> None:
    directory = made_up.write_campaign(tmp_path, repetitions=1, policies=("static",), guests=("g1", "g2"))
    path = next(directory.glob(f"cells/*/{SAMPLES}"))
    text = path.read_text()
    path.write_text(text.replace("10.000,g1,memory,pages,32768", "10.000,g1,memory,pages,"))
    assert path.read_text() != text
    (cell,) = chart.cells(load.load(directory))
    assert [line["pages"][line["times"].index(10)] for line in cell["lines"]] == [None, 32768]


def test_the_page_has_the_data_and_the_installed_library_and_no_other_address(tmp_path: Path) -> None:
    directory = made_up.write_campaign(tmp_path, repetitions=1)
    _, path = page.make(directory)
    text = path.read_text()
    embedded = re.search(r'<script type="application/json" id="over-time-data">(.*?)</script>', text, re.DOTALL)
    assert embedded
    assert json.loads(embedded[1]) == chart.cells(load.load(directory))
    library = str(chart.library())
    assert text.count(library) == 1
    assert "Permission is hereby granted" in library
    installed = metadata.distribution("plotly").locate_file("plotly/package_data/plotly.min.js")
    assert Path(str(installed)).read_text("utf-8").strip() in library
    rest = text.replace(library, "")
    assert set(re.findall(r"https?://[^\"'<> ]+", rest)) <= {
        "http://www.w3.org/2000/svg",
        "http://www.w3.org/1999/xlink",
    }
    assert "connect-src" not in rest  # so that default-src 'none' holds for what the library could ask for
    assert page.make(directory)[1].read_text() == text


def test_nothing_in_the_library_or_the_data_ends_its_script() -> None:
    assert not re.search(r"</script|<!--", str(chart.library()), re.IGNORECASE)
    found = [{"cell": "</script><script>alert(1)", "lines": []}]
    text = chart.embedded(found)
    assert "<" not in text
    assert json.loads(text) == found


def test_without_samples_there_is_no_chart_and_no_library(tmp_path: Path) -> None:
    _, path = page.make(made_up.write_campaign(tmp_path, repetitions=1, samples=False))
    assert "over-time" not in re.sub(r"<style>.*?</style>", "", path.read_text(), flags=re.DOTALL)
    assert len(path.read_bytes()) < 2_000_000
