"""What was made of cells is made again and compared: an edited report, figure or table does not
pass.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import analysis_campaign as made_up
import pytest

from analysis import remade, report, style


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(style, "FORMATS", ("svg",))
    found = made_up.write_campaign(tmp_path, repetitions=1, guests=("guest1",))
    report.summarise(found)
    return found


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("report.md", lambda text: text.replace("|", "| 1", 1)),
        ("tables/metrics.csv", lambda text: text.replace("1", "2", 1)),
        ("figures/sectors.svg", lambda text: text + " "),
        ("figures/better.svg", lambda _text: "<svg/>"),
    ],
)
def test_what_was_edited_is_found(directory: Path, name: str, change: Callable[[str], str]) -> None:
    assert list(remade.differences(directory)) == []
    path = directory / name
    path.write_text(change(path.read_text() if path.exists() else ""))
    assert [found for found, _ in remade.differences(directory)] == [name]


def test_where_nothing_was_made_nothing_is_compared(tmp_path: Path) -> None:
    assert list(remade.differences(made_up.write_campaign(tmp_path, repetitions=1))) == []


def test_everything_made_of_unverified_results_says_so(directory: Path) -> None:
    summary = report.summarise(directory, unverified=True)
    assert summary.paragraph.startswith("Unverified:")
    assert "**Unverified:" in summary.report.read_text()
    for figure in summary.figures:
        assert "UNVERIFIED" in figure.read_text(), figure  # a comment of matplotlib's, beside the letters' outlines
