"""`./inv figures` and `./inv results.verify` on results that were changed, as people call them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from invoke.context import Context

from analysis import style
from campaigns import store, verify
from common.errors import ResultsError
from tasks import results as results_tasks
from tasks import testbed

PUBLISHED = Path(__file__).resolve().parents[2] / "results"


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(store, "RESULTS", tmp_path)
    monkeypatch.setattr(style, "FORMATS", ("png",))
    return Path(shutil.copytree(PUBLISHED / "reference", tmp_path / "reference"))


def _tenfold(directory: Path, *, forge: bool) -> None:
    path = directory / "cells/static.r1/cell.json"
    content = json.loads(path.read_text())
    next(each for each in content["metrics"] if each["name"] == "sectors_read")["value"] *= 10
    path.write_text(json.dumps(content))
    if forge:
        store.write_sums(path.parent)


@pytest.mark.parametrize("forge", [False, True])
def test_no_picture_is_made_of_a_changed_figure(
    directory: Path, capsys: pytest.CaptureFixture[str], forge: bool
) -> None:
    _tenfold(directory, forge=forge)
    before = (directory / "report.md").read_bytes()
    with pytest.raises(ResultsError, match="damaged or were changed") as caught:
        testbed.figures(Context(), "reference")
    assert caught.value.exit_code == 8
    assert "cells/static.r1/cell.json" in caught.value.why
    assert "--unverified" in caught.value.remedy
    assert (directory / "report.md").read_bytes() == before
    with pytest.raises(ResultsError):
        testbed.report(Context(), "reference")
    with pytest.raises(ResultsError):
        results_tasks.latex(Context(), "reference")
    assert not (directory / "report.html").exists()
    assert not (directory / "latex").exists()
    with pytest.raises(ResultsError):
        results_tasks.verify(Context(), "reference")
    assert "damage: cells/static.r1/cell.json" in capsys.readouterr().out


def test_an_edited_report_does_not_pass(
    directory: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(style, "LAYOUTS", (style.TWO_COLUMNS,))  # which the report shows
    path = directory / "report.md"
    path.write_text(path.read_text().replace("lower", "higher"))
    with pytest.raises(ResultsError):
        results_tasks.verify(Context(), "reference")
    assert "damage: report.md: is not what the cells make" in capsys.readouterr().out


def test_a_page_is_made_and_belongs_to_the_results(
    directory: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(style, "FORMATS", ("svg",))
    testbed.report(Context(), "reference")
    assert str(directory / "report.html") in capsys.readouterr().out.splitlines()
    assert "Does tmem spare self-ballooning guests" in (directory / "report.html").read_text()
    (directory / "report.pdf").write_bytes(b"%PDF-")
    (directory / "latex").mkdir()
    assert not verify.verify(directory).damaged
    (directory / "page.html").write_text("")
    assert [each.path for each in verify.verify(directory).findings if each.level == "damage"] == ["page.html"]


def test_of_all_campaigns_the_one_that_was_changed_is_named(
    directory: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(style, "LAYOUTS", (style.TWO_COLUMNS,))
    changed = Path(shutil.copytree(PUBLISHED / "footprint", directory.parent / "footprint"))
    (changed / "report.md").write_text("# all is well\n")
    with pytest.raises(ResultsError, match="1 of 2 campaigns did not pass") as caught:
        results_tasks.verify_all(Context())
    assert (caught.value.exit_code, caught.value.why) == (8, "footprint")
    said = capsys.readouterr().out
    assert "reference: sound and complete (3 of 3 cells" in said
    assert "report.md" in said
