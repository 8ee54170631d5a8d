"""The report as a page: it needs nothing else, says what report.md says, and leads from each number
to the cells and files that it is from.
"""

from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import analysis_campaign as made_up
import pandas as pd
import pytest

from analysis import chart, evidence, figure_data, figures, load, page, regime, report, sections, style, totals
from campaigns import records

TITLE = """A title with <script>alert("x")</script> & [brackets](y), 'quotes' and \x1b[31m"""
NO_END = {"meta", "link", "input", "br"}


@dataclass
class Table:
    """A table of the page, as texts."""

    columns: tuple[str, ...] = ()
    rows: list[tuple[str, ...]] = field(default_factory=list)


class Page(HTMLParser):
    """What is on a page: tags with their attributes, texts, tables; and that each tag ends."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, Mapping[str, str]]] = []
        self.open: list[str] = []
        self.text = ""
        self.tables: list[Table] = []
        self.row: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in NO_END:
            self.open.append(tag)
        if tag == "table":
            self.tables.append(Table())
        if tag == "tr":
            self.row = []
        if tag in ("td", "th"):
            self.row.append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag
        if tag == "tr" and "thead" in self.open:
            self.tables[-1].columns = tuple(self.row)
        elif tag == "tr":
            self.tables[-1].rows.append(tuple(self.row))

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("script", "style"):
            self.text += data
        if "td" in self.open or "th" in self.open:
            self.row[-1] += data

    def attributes(self, *names: str) -> list[tuple[str, str]]:
        return [(tag, value) for tag, found in self.tags for name, value in found.items() if name in names]


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = made_up.write_campaign(tmp_path_factory.mktemp("results"), repetitions=2, guests=("guest1", "guest2"))
    path = directory / records.CAMPAIGN_FILE
    campaign = json.loads(path.read_text())
    campaign["experiment"]["title"] = TITLE
    path.write_text(json.dumps(campaign))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(style, "FORMATS", ("svg",))
        page.make(directory)
    return directory


@pytest.fixture(scope="module")
def text(directory: Path) -> str:
    return (directory / page.PAGE_FILE).read_text()


@pytest.fixture(scope="module")
def shown(text: str) -> Page:
    return Page(text)


def test_nothing_is_fetched(shown: Page, text: str) -> None:
    fetched = [
        value
        for tag, found in shown.tags
        for name, value in found.items()
        if name in ("src", "srcset", "data", "action", "poster", "background", "xlink:href")
        or (name == "href" and tag not in ("a", "use"))
    ]
    assert fetched == ["data:,"]  # the icon that a browser would else ask for
    leads = [value for _, value in shown.attributes("href")]
    assert not [value for value in leads if re.match(r"[a-z]+:|//", value) and not value.startswith("data:")]
    assert not re.search(r"@import|url\((?!#)", text.replace(str(chart.library()), ""))  # that one is forbidden to
    policy = next(found["content"] for tag, found in shown.tags if found.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none';")
    assert not [tag for tag, _ in shown.tags if tag in ("iframe", "img", "object", "embed", "base", "form")]


def test_every_tag_ends_and_names_are_there_once(shown: Page) -> None:
    assert shown.open == []
    names = [value for _, value in shown.attributes("id")]
    assert len(names) == len(set(names))


def test_the_same_results_give_the_same_bytes(
    directory: Path, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(style, "FORMATS", ("svg",))
    _, again = page.make(directory, into=tmp_path)
    assert again.read_text() == text


def test_a_title_is_shown_as_it_was_written(shown: Page, text: str) -> None:
    assert TITLE.replace("\x1b", "\\x1b") in shown.text
    assert "\x1b" not in text
    scripts = [found for tag, found in shown.tags if tag == "script"]
    assert scripts == [{}, {"type": "application/json", "id": "over-time-data"}, {"id": "plotly"}, {}]


def test_it_has_every_sentence_and_table_of_the_report(directory: Path, shown: Page) -> None:
    results = load.load(directory)
    verdicts = report.claims.judge(results)
    there = {(table.columns[: len(row) - 1], row[:-1]) for table in shown.tables for row in table.rows}
    there |= {(table.columns, row) for table in shown.tables for row in table.rows}
    for section in report.told(results, verdicts):
        assert section.heading in shown.text
        for part in section.parts:
            if not isinstance(part, sections.Table):
                assert part.replace("`", "") in shown.text
            elif section.heading == report.CLAIMS:
                assert all(word in shown.text for row in part.rows for word in row)
            else:
                assert [row for row in part.rows if (part.columns, row) not in there] == []
    assert report.paragraph(results) in shown.text


def test_every_number_leads_to_its_cells_and_each_cell_to_its_files(directory: Path, shown: Page) -> None:
    results = load.load(directory)
    anchors = {value for _, value in shown.attributes("id")}
    leads = [unquote(value) for tag, value in shown.attributes("href") if tag == "a" and not value.startswith("data:")]
    assert [value for value in leads if value.startswith("#") and value[1:] not in anchors] == []
    files = {value for value in leads if not value.startswith("#")}
    for cell in results.complete:
        assert f"#cell-{cell.order}" in leads
        assert f"cells/{cell.cell}/cell.json" in files
        assert f"cells/{cell.cell}/samples/samples.csv" in files
    assert [name for name in files if not (directory / name).exists() and name != records.SUMS_FILE] == []


def test_a_number_is_traced_to_the_side_that_it_is_of(directory: Path) -> None:
    results = load.load(directory)
    table = sections.table(
        ("policy ÷ control", "levels", "mean, policy", "mean, control", "ratio"),
        [("selfballoon+tmem ÷ static", "–", "1", "2", "0.5")],
    )
    row = evidence.grid(results, table).rows[0]
    tmem, static = (evidence.group_anchor(results, policy, "") for policy in ("selfballoon+tmem", "static"))
    assert [link.href for link in row.shown] == ["", "", f"#{tmem}", f"#{static}", f"#{tmem}"]
    assert [link.text for link in row.cells] == [
        cell.cell for policy in ("selfballoon+tmem", "static") for cell in results.at(policy, "")
    ]


def test_a_row_across_levels_is_of_all_cells_of_its_policy(tmp_path: Path) -> None:
    directory = made_up.write_campaign(tmp_path, repetitions=1, levels=({"jobs": 1}, {"jobs": 8}), samples=False)
    table = sections.table(("policy", "1", "8"), [("static", "1.00", "2.00")])
    row = evidence.grid(load.load(directory), table).rows[0]
    assert [link.text for link in row.cells] == ["static.jobs-1.r1", "static.jobs-8.r1"]
    assert [link.href for link in row.shown] == ["", "", ""]  # of which level a number is, no column says


def test_a_figures_data_are_the_rows_that_it_shows(directory: Path, shown: Page) -> None:
    results = load.load(directory)
    links = {
        found["download"]: found["href"] for _, found in shown.tags if found.get("href", "").startswith("data:text")
    }
    kind, _, content = links["made-up.sectors.totals.csv"].partition(",")
    assert kind == "data:text/csv;base64"
    frame = pd.read_csv(io.BytesIO(base64.b64decode(content)))
    assert set(frame["quantity"]) == {"sectors_read", "sectors_written"}
    for cell in results.complete:
        row = frame[(frame["cell"] == cell.cell) & (frame["quantity"] == "sectors_read")]
        assert row["value"].tolist() == [totals.value(results, cell, totals.QUANTITIES["sectors_read"])]
    assert {name.split(".")[1] for name in links} >= {"overview", "sectors", "requests", "time", "memory", "hit_rates"}


def test_every_figure_has_its_data() -> None:
    assert set(figures.FIGURES) == {*figure_data.DRAWN, *figure_data.MADE}


def test_a_svg_has_names_of_its_own_and_nothing_that_a_file_needs() -> None:
    made = page.inlined(
        '<?xml version="1.0"?>\n<!DOCTYPE svg>\n<svg xmlns:xlink="x" viewBox="0">\n'
        " <metadata>\n  m</metadata><!-- c -->\n"
        ' <defs><path id="p1"/></defs><use xlink:href="#p1" clip-path="url(#p1)"/></svg>',
        "w1",
        'a "label"',
    )
    assert str(made) == (
        '<svg role="img" aria-label="a &#34;label&#34;" xmlns:xlink="x" viewBox="0">\n'
        '<defs><path id="w1-p1"/></defs><use href="#w1-p1" clip-path="url(#w1-p1)"/></svg>'
    )


def test_the_regime_says_what_a_guest_had_wanted_and_felt(directory: Path) -> None:
    results = load.load(directory)
    found = {each.policy: each for each in regime.regimes(results)}
    assert found["static"].had == 128
    assert found["static"].wanted is None  # nobody sampled it
    assert found["static"].fallow == 16
    assert not found["static"].felt.enough
    assert found["selfballoon"].felt.enough
    table = regime.said(results)[0]
    assert isinstance(table, sections.Table)
    assert table.rows[0][:4] == ("static", "128", "–", "16.0")
    assert table.rows[0][-1] == "no"


def test_a_campaign_without_a_complete_cell_has_a_page(tmp_path: Path) -> None:
    directory = made_up.write_campaign(tmp_path, repetitions=1, guests=("guest1",), change=made_up.invalid)
    _, path = page.make(directory)
    shown = Page(path.read_text())
    assert "nothing is known of the regime" in shown.text
    assert "gate pressure" in shown.text
    assert shown.open == []


def test_factor_levels_have_their_own_figures_and_anchors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(style, "FORMATS", ("svg",))
    monkeypatch.setattr(figures, "FIGURES", {name: figures.FIGURES[name] for name in ("sectors", "footprint")})
    levels = ({"jobs": 1}, {"jobs": 8})
    directory = made_up.write_campaign(
        tmp_path, repetitions=1, guests=("guest1",), policies=("static", "selfballoon"), levels=levels
    )
    _, path = page.make(directory)
    shown = Page(path.read_text())
    anchors = [value for _, value in shown.attributes("id")]
    assert {"figure-sectors.jobs-1", "figure-sectors.jobs-8", "at-0-0", "at-1-1"} <= set(anchors)
    compared = next(table for table in shown.tables if table.columns[:1] == ("policy ÷ control",))
    assert {row[1] for row in compared.rows} == {"jobs=1", "jobs=8"}
    assert all(f"jobs-{row[1][-1]}.r1" in row[-1] for row in compared.rows)
