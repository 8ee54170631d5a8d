"""The report's page for print: laid out on numbered pages, the same bytes each time, nothing
fetched; and what it says where Pango is missing.
"""

from __future__ import annotations

import os
import re
import sys
import zlib
from pathlib import Path

import pytest

from analysis import page, printed
from common.console import Reporter
from common.errors import MissingError
from lab.build import packages
from tasks import shared

STYLE = (page.TEMPLATES / "report.css").read_text()
SECTIONS = "".join(
    f"<section><h2>Part {number}</h2><figure><label class='picture'><span class='over-two'>"
    "<svg viewBox='0 0 10 6'><rect width='10' height='6'/></svg></span></label></figure>"
    f"<p class='screen'>on screens alone</p><p>In print.</p></section>"
    for number in range(6)
)
PAGE = f"<!DOCTYPE html><html><head><style>{STYLE}</style></head><body><nav>where</nav>{SECTIONS}</body></html>"


def pages(content: bytes) -> int:
    """How many pages a PDF has; objects may lie in compressed streams."""
    streams = re.findall(rb"stream\r?\n(.*?)\r?\nendstream", content, re.DOTALL)
    parts = [content]
    for each in streams:
        try:
            parts.append(zlib.decompress(each))
        except zlib.error:
            continue
    return len(re.findall(rb"/Type\s*/Page\b(?!s)", b"\n".join(parts)))


def test_it_is_laid_out_on_pages_and_the_same_each_time() -> None:
    made = printed.pdf(PAGE)
    assert made.startswith(b"%PDF-")
    assert made == printed.pdf(PAGE)
    assert 2 <= pages(made) <= 6
    assert b"/CreationDate" not in made


def test_it_is_the_same_where_fonttools_has_to_cut_the_fonts(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a machine that has Pango and no libharfbuzz-subset0."""
    from fontTools.misc import timeTools
    from weasyprint.pdf import fonts

    monkeypatch.delenv(printed.EPOCH, raising=False)
    monkeypatch.setattr(fonts, "harfbuzz_subset", None)
    now = iter(range(1_800_000_000, 1_900_000_000))
    monkeypatch.setattr(timeTools.time, "time", lambda: next(now))
    assert printed.pdf(PAGE) == printed.pdf(PAGE)
    assert printed.EPOCH not in os.environ


def test_what_is_for_screens_is_not_printed_and_no_figure_is_cut() -> None:
    import weasyprint

    document = weasyprint.HTML(string=PAGE).render()
    texts = [_texts(each._page_box) for each in document.pages]
    assert "In print." in " ".join(texts)
    assert "on screens alone" not in " ".join(texts)
    assert "where" not in " ".join(texts)
    assert [f"{number} / {len(texts)}" in text for number, text in enumerate(texts, 1)] == [True] * len(texts)
    height = document.pages[0].height
    figures = [box for each in document.pages for box in _boxes(each._page_box) if box.element_tag == "figure"]
    assert len(figures) == 6
    assert all(box.position_y + box.height <= height for box in figures)


def _boxes(box: object) -> list:  # type: ignore[type-arg]
    found = [box]
    for child in getattr(box, "children", ()):
        found += _boxes(child)
    return found


def _texts(box: object) -> str:
    return " ".join(each.text for each in _boxes(box) if hasattr(each, "text"))


def test_nothing_is_fetched_for_it() -> None:
    with pytest.raises(ValueError, match="fetches nothing"):
        printed._refuse("http://example.org/style.css")


def test_a_machine_without_pango_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken:
        def find_spec(self, name: str, *_: object) -> None:
            if name == "weasyprint":
                raise OSError("cannot load library 'libpango-1.0-0'")

    for name in [name for name in sys.modules if name.partition(".")[0] == "weasyprint"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [Broken(), *sys.meta_path])
    assert printed.lacking()
    with pytest.raises(MissingError) as caught:
        printed.pdf(PAGE)
    for package in packages.needed(packages.PRINT).values():
        assert package in caught.value.remedy


def test_pango_is_installed_where_it_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    installed: list[str | None] = []
    monkeypatch.setattr(printed, "lacking", lambda: True)
    monkeypatch.setattr(shared, "install_packages", lambda _report, what=None: installed.append(what))
    (tmp_path / "report.html").write_text(PAGE)
    made = shared._printed(Reporter(), tmp_path / "report.html")
    assert installed == [packages.PRINT]
    assert made == tmp_path / "report.pdf"
    assert made.read_bytes().startswith(b"%PDF-")
