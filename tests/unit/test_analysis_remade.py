"""What was made of cells is made again and compared: an edited report, page, figure, table or
number for a paper does not pass.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import analysis_campaign as made_up
import pytest

from analysis import figures, latex, load, page, remade, report, style

EDITS: Mapping[str, Callable[[str], str]] = {
    "figures/better.svg": lambda _text: "<svg/>",
    "figures/sectors.svg": lambda text: text + " ",
    "latex/numbers.tex": lambda text: text.replace("{1", "{2", 1),
    "latex/tables/by-policy.tex": lambda text: text + "%",
    "report.html": lambda text: text.replace("lower", "higher", 1),
    "report.md": lambda text: text.replace("|", "| 1", 1),
    "tables/metrics.csv": lambda text: text.replace("1", "2", 1),
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(style, "FORMATS", ("svg",))
        patch.setattr(figures, "FIGURES", {name: figures.FIGURES[name] for name in ("overview", "sectors")})
        found = made_up.write_campaign(tmp_path_factory.mktemp("results"), repetitions=1, guests=("guest1",))
        results = load.load(found)
        summary = report.summarised(results)
        page.write(results, summary)
        latex.write(results, summary)
        yield found


@pytest.fixture
def directory(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / made.name))


def test_what_was_made_is_what_is_made(directory: Path) -> None:
    assert list(remade.differences(directory)) == []


def test_what_was_edited_is_found(directory: Path) -> None:
    for name, change in EDITS.items():
        path = directory / name
        before = path.read_text() if path.exists() else ""
        path.write_text(change(before))
        assert path.read_text() != before
    link = directory / "tables" / "cells.csv"
    link.unlink()
    link.symlink_to("nowhere")
    found = dict(remade.differences(directory))
    assert list(found) == sorted([*EDITS, "tables/cells.csv"])
    assert "./inv report makes it anew" in found["report.html"]
    assert "./inv results.latex makes it anew" in found["latex/numbers.tex"]
    assert "./inv figures makes it anew" in found["report.md"]


def test_where_nothing_was_made_nothing_is_compared(tmp_path: Path) -> None:
    assert list(remade.differences(made_up.write_campaign(tmp_path, repetitions=1))) == []


def test_everything_made_of_unverified_results_says_so(directory: Path) -> None:
    summary, path = page.make(directory, unverified=True)
    assert summary.paragraph.startswith("Unverified:")
    assert "**Unverified:" in summary.report.read_text()
    assert '<p class="loud">Unverified:' in path.read_text()
    for figure in summary.figures:
        assert "UNVERIFIED" in figure.read_text(), figure  # a comment of matplotlib's, beside the letters' outlines
