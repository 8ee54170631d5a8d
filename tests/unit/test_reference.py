"""The published campaign: sound, and still read by the present code."""

from __future__ import annotations

import shutil
from pathlib import Path

from analysis import report
from campaigns import verify

REFERENCE = Path(__file__).resolve().parents[2] / "results" / "reference"


def test_the_published_campaign_is_sound() -> None:
    verify.verify(REFERENCE).check()


def test_its_report_can_be_made_again(tmp_path: Path) -> None:
    copy = tmp_path / "reference"
    shutil.copytree(REFERENCE, copy)
    (copy / "report.md").unlink()
    report.summarise(copy)
    assert (copy / "report.md").read_text() == (REFERENCE / "report.md").read_text()
