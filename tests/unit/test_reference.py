"""The published campaigns: sound, and still read by the present code."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from analysis import report, style
from campaigns import verify

RESULTS = Path(__file__).resolve().parents[2] / "results"


PUBLISHED = (
    "reference",
    "reference-repeated",
    "policies",
    "spike",
    "footprint",
    "safe_minimum",
    "kernels",
    "starving",
    "e1-evening",
    "e2-evening",
    "eviction",
    "regimes",
)


@pytest.fixture(params=PUBLISHED)
def published(request: pytest.FixtureRequest) -> Path:
    return RESULTS / str(request.param)


@pytest.fixture(
    params=[pytest.param(name, marks=[pytest.mark.long] * (not name.startswith("reference"))) for name in PUBLISHED]
)
def drawn(request: pytest.FixtureRequest) -> Path:
    """One whose figures are made again; those of other loads than the demo's take long."""
    return RESULTS / str(request.param)


def test_a_published_campaign_is_sound(published: Path) -> None:
    verify.verify(published).check()


def test_its_report_can_be_made_again(drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The report shows the pictures that are PNG, over two columns."""
    monkeypatch.setattr(style, "FORMATS", ("png",))
    monkeypatch.setattr(style, "LAYOUTS", (style.TWO_COLUMNS,))
    monkeypatch.setattr(style, "DPI", 50)
    copy = tmp_path / drawn.name
    shutil.copytree(drawn, copy)
    (copy / "report.md").unlink()
    report.summarise(copy)
    assert (copy / "report.md").read_text() == (drawn / "report.md").read_text()
