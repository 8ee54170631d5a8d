"""The report's page in a real browser, on a phone and on a desk: nothing sticks out, nothing is
asked for, nothing is complained of, figures are enlarged, and their data are the tables'.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import unquote

import debian
import pandas as pd
import pytest
from browser import Browser, Tab

from analysis import page, style

pytestmark = pytest.mark.long

PUBLISHED = Path(__file__).resolve().parents[2] / "results"
SIZES = [(390, 844), (1280, 800)]


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("results") / "reference-repeated"
    shutil.copytree(PUBLISHED / "reference-repeated", directory)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(style, "FORMATS", ("svg",))
        _, path = page.make(directory)
    return path


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    program = debian.need("chromium-headless-shell", "chromium-headless-shell")
    made = Browser(program, tmp_path_factory.mktemp("browser"))
    yield made
    made.close()


@pytest.fixture(params=SIZES, ids=["phone", "desk"])
def tab(request: pytest.FixtureRequest, browser: Browser, report: Path) -> Iterator[Tab]:
    made = browser.open(report.as_uri(), *request.param)
    yield made
    made.close()


def _width(request: pytest.FixtureRequest) -> int:
    return int(request.node.callspec.params["tab"][0])


def test_nothing_sticks_out_is_asked_for_or_complained_of(
    tab: Tab, report: Path, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    width = _width(request)
    tab.picture(tmp_path / f"{width}.png", whole=True)
    assert tab.value("innerWidth") == width
    assert tab.value("document.documentElement.scrollWidth") <= width
    wider = "[...document.querySelectorAll('main > section, article, figure, p')]"
    assert tab.value(f"Math.max(...{wider}.map((each) => each.getBoundingClientRect().right))") <= width
    tab.value("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
    assert tab.value("document.documentElement.scrollWidth") <= width
    assert tab.complaints() == []
    assert [unquote(each) for each in tab.asked() if not each.startswith("data:")] == [unquote(report.as_uri())]


def test_the_layout_of_a_figure_follows_the_width(tab: Tab, request: pytest.FixtureRequest) -> None:
    shown = "getComputedStyle(document.querySelector('#figure-overview .{}')).display"
    phone = _width(request) < 600
    assert (tab.value(shown.format("over-two")) == "none") == phone
    assert (tab.value(shown.format("over-one")) == "none") != phone


def test_a_click_enlarges_a_figure_and_escape_ends_it(tab: Tab, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    picture = "#figure-sectors .picture"
    box = f"document.querySelector({picture!r}).getBoundingClientRect()"
    drawings = f"[...document.querySelectorAll({picture + ' svg'!r})]"
    drawn = f"Math.max(...{drawings}.map((each) => each.getBoundingClientRect().width))"
    before = tab.value(drawn)
    tab.click(picture)
    tab.picture(tmp_path / f"enlarged-{_width(request)}.png")
    assert tab.value(f"[{box}.left, {box}.top]") == [0, 0]
    assert tab.value(f"{box}.height === innerHeight && {box}.width >= document.documentElement.clientWidth")
    assert tab.value(drawn) > 1.2 * before
    tab.press("Escape")
    assert tab.value(drawn) == before
    tab.click(picture)
    tab.click(picture)
    assert tab.value(drawn) == before


def _of_cell(tab: Tab, name: str) -> None:
    tab.value(
        "(() => { const choice = document.getElementById('over-time-cell');"
        f" choice.selectedIndex = [...choice.options].findIndex((each) => each.text === {name!r});"
        " choice.dispatchEvent(new Event('change')); })()"
    )


def test_the_chart_shows_the_cell_that_is_chosen_and_says_its_figures(
    tab: Tab, report: Path, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    names = "[...document.querySelectorAll('#over-time-chart .legendtext')].map((each) => each.textContent)"
    assert "guest1 memory" in tab.value(names)
    assert "guest1 tmem clean" not in tab.value(names)
    _of_cell(tab, "selfballoon+tmem.r1")
    assert {"guest1 memory", "guest1 tmem clean", "guest1 clean hits"} <= set(tab.value(names))
    holder = "document.getElementById('over-time-chart')"
    box = f"{holder}.getBoundingClientRect()"
    assert 300 < tab.value(f"{box}.width") <= _width(request)
    tab.value(f"{holder}.scrollIntoView()")
    tab.value(f"Plotly.Fx.hover({holder}, {{ xval: 40 }}, ['xy', 'xy2'])")
    said = tab.until(f"{holder}.querySelector('.hoverlayer').textContent")
    tab.picture(tmp_path / f"chart-{_width(request)}.png")
    assert "selfballoon+tmem.r1" in said
    assert "MiB" in said
    assert "pages" in said
    drawn = tab.value(f"{holder}.data.find((line) => line.name === 'guest1 memory').y")
    samples = pd.read_csv(report.parent / "cells/selfballoon+tmem.r1/samples/samples.csv")
    read = samples[(samples["source"] == "guest1") & (samples["counter"] == "memory")].sort_values("time_s")["value"]
    assert drawn == [pages / 256 for pages in read]
    assert tab.complaints() == []
    assert [unquote(each) for each in tab.asked() if not each.startswith("data:")] == [unquote(report.as_uri())]


def test_a_line_that_is_hidden_in_the_legend_stays_so_in_the_next_cell(tab: Tab) -> None:
    lines = "document.getElementById('over-time-chart').data"
    shown = f"{lines}.filter((line) => line.visible === true).map((line) => line.name)"
    assert tab.value(shown)[0] == "guest1 memory"
    tab.value("document.getElementById('over-time-chart').scrollIntoView()")
    tab.click("#over-time-chart .legendtoggle")
    tab.until(f"!{shown}.includes('guest1 memory')")
    _of_cell(tab, "selfballoon+tmem.r1")
    assert "guest1 memory" not in tab.value(shown)
    assert "guest2 memory" in tab.value(shown)


def test_a_figures_data_can_be_taken_as_csv(tab: Tab, browser: Browser, report: Path, tmp_path: Path) -> None:
    browser.call("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path), eventsEnabled=True)
    browser.events.clear()
    tab.click("#figure-sectors .data a")
    browser.wait("Browser.downloadProgress", state="completed")
    taken = pd.read_csv(tmp_path / "reference-repeated.sectors.totals.csv")
    table = pd.read_csv(report.parent / "tables" / "totals.csv")
    wanted = table[table["quantity"].isin(["sectors_read", "sectors_written"])].reset_index(drop=True)
    pd.testing.assert_frame_equal(taken, wanted, check_dtype=False)
    assert len(taken) == 18  # two quantities of nine cells


def test_a_browser_ends_with_all_that_it_started(tmp_path: Path) -> None:
    made = Browser(debian.need("chromium-headless-shell", "chromium-headless-shell"), tmp_path)
    marked = str(tmp_path).encode()

    def running() -> list[Path]:
        found = []
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            with suppress(OSError):
                found += [path] if marked in path.read_bytes() else []
        return found

    assert running()
    made.close()
    for _ in range(50):
        if not running():
            break
        time.sleep(0.1)
    assert running() == []


def test_a_number_leads_to_its_cell_and_on_to_its_raw_files(tab: Tab, report: Path) -> None:
    tab.click("#by-policy tbody tr:last-child td:nth-child(3) a")
    group = tab.until("location.hash")
    assert tab.value(f"document.querySelector({group!r}).textContent") == "selfballoon+tmem"
    link = "document.querySelector('#cell-' + {} + ' .files a').getAttribute('href')"
    first = tab.value("document.querySelector('.cell').id.slice(5)")
    raw = unquote(tab.value(link.format(first)))
    assert "/raw/" in raw
    assert (report.parent / raw).is_file()
