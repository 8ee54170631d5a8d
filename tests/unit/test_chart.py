"""The page's chart: what it is drawn from is in the page, as it was measured, and nothing else."""

from __future__ import annotations

import json
import re
from pathlib import Path

import analysis_campaign as made_up
import pytest

from analysis import chart, figures, load, page


@pytest.fixture(autouse=True)
def _only_one_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figures, "FIGURES", {"sectors": figures.FIGURES["sectors"]})


def test_every_complete_cell_has_its_guests_lines(tmp_path: Path) -> None:
    results = load.load(made_up.write_campaign(tmp_path, repetitions=1))
    found = {each["cell"]: each for each in chart.cells(results)}
    assert list(found) == ["static.r1", "selfballoon.r1", "selfballoon+tmem.r1"]
    static = found["static.r1"]
    assert static["times"] == [float(second) for second in range(-2, 101, 2)]
    # tmem was not asked for, so that nothing was read of it: no line, and no zeros
    assert [(line["guest"], line["what"]) for line in static["lines"]] == [
        (guest, "memory") for guest in made_up.GUESTS
    ]
    assert all(set(line["mib"]) == {128.0} for line in static["lines"])
    with_tmem = [(line["guest"], line["what"]) for line in found["selfballoon+tmem.r1"]["lines"]]
    assert with_tmem[:3] == [("guest1", name) for name in ("memory", "clean in tmem", "swapped to tmem")]
    assert len(with_tmem) == 9


def test_a_reading_that_is_missing_is_null(tmp_path: Path) -> None:
    directory = made_up.write_campaign(tmp_path, repetitions=1, policies=("static",), guests=("g1", "g2"))
    path = next(directory.glob("cells/*/samples/samples.csv"))
    text = path.read_text().replace("10.000,g1,memory,pages,32768", "10.000,g1,memory,pages,")
    path.write_text(text)
    (cell,) = chart.cells(load.load(directory))
    at = cell["times"].index(10.0)
    assert [line["mib"][at] for line in cell["lines"]] == [None, 128.0]


def test_the_page_has_the_data_the_library_and_its_licence_and_fetches_neither(tmp_path: Path) -> None:
    directory = made_up.write_campaign(tmp_path, repetitions=1)
    _, path = page.make(directory)
    text = path.read_text()
    embedded = re.search(r'<script type="application/json" id="over-time-data">(.*?)</script>', text, re.DOTALL)
    assert embedded
    assert json.loads(embedded[1]) == chart.cells(load.load(directory))
    assert text.count("var uPlot=function()") == 1
    assert text.count("Permission is hereby granted") == 1
    assert ".uplot, .uplot *" in text
    assert "src=" not in text
    assert page.make(directory)[1].read_text() == text


def test_nothing_in_the_data_ends_the_script() -> None:
    found = [{"cell": "</script><script>alert(1)", "times": [], "lines": []}]
    text = chart.embedded(found)
    assert "<" not in text
    assert json.loads(text) == found


def test_without_samples_there_is_no_chart_and_no_library(tmp_path: Path) -> None:
    _, path = page.make(made_up.write_campaign(tmp_path, repetitions=1, samples=False))
    text = path.read_text()
    assert 'over-time-data"' not in text.replace('getElementById("over-time-data")', "")
    assert "var uPlot" not in text
