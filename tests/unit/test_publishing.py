"""A campaign as it is published: smaller, and read, verified and drawn as before."""

from __future__ import annotations

import gzip
import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from campaign_fakes import forge
from invoke.context import Context

from analysis import load, remade
from campaigns import publishing, records, store
from campaigns.verify import verify
from common import packed
from common.errors import ResultsError, UsageError
from tasks import results as results_tasks

REPO = Path(__file__).resolve().parents[2]
CELL = "cells/static.r1"
SAMPLES = f"{records.SAMPLES_FILE}{packed.SUFFIX}"

REMADE = ("tables/metrics.csv", "figures/sectors.svg", "figures/sectors.column.png")
"""Of what a command makes in seconds."""


@pytest.fixture(scope="module")
def campaign(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With samples as they are measured, and with what commands make beside the report."""
    made = shutil.ignore_patterns("tables", "latex", "*.svg", "*.pdf", "*.column.*", "*.html", ".lock")
    copied = shutil.copytree(REPO / "results/reference", tmp_path_factory.mktemp("measured") / "reference", ignore=made)
    for cell in (copied / records.CELLS_DIR).iterdir():
        for path in [*cell.glob("samples/*.gz"), *cell.glob("raw/*.samples.*.gz"), *cell.glob("reproduce.sh.gz")]:
            path.with_suffix("").write_bytes(packed.content(path))
            path.unlink()
    forge(copied)
    (copied / "tables").mkdir()
    for name in REMADE:
        (copied / name).write_text("by a command\n")
    return copied


@pytest.fixture
def published(campaign: Path, tmp_path: Path) -> Path:
    return publishing.publish(campaign, tmp_path / "new" / "reference").path


def test_it_is_sound_and_what_was_measured(campaign: Path, published: Path) -> None:
    found = verify(published, remade.differences)
    assert [each for each in found.findings if each.level != "note"] == []
    was, made = load.load(campaign), load.load(published)
    pd.testing.assert_frame_equal(was.samples, made.samples)
    pd.testing.assert_frame_equal(was.metrics, made.metrics)
    assert (published / "report.md").read_bytes() == (campaign / "report.md").read_bytes()


def test_it_holds_what_no_command_makes_in_seconds(campaign: Path, published: Path) -> None:
    names = {path.relative_to(published).as_posix() for path in published.rglob("*") if path.is_file()}
    wanted = {path.relative_to(campaign).as_posix() for path in campaign.rglob("*") if path.is_file()}
    wanted -= set(REMADE)
    long = {name for name in wanted if name.endswith((records.SAMPLES_FILE, "reproduce.sh")) or ".samples." in name}
    assert names == wanted - long | {f"{name}.gz" for name in long}
    assert {Path(name).name for name in long} > {"samples.csv", "dom0.samples.jsonl", "guest1.samples.txt"}
    for name in long:
        assert gzip.decompress((published / f"{name}.gz").read_bytes()) == (campaign / name).read_bytes()


def test_the_same_campaign_gives_the_same_bytes(campaign: Path, published: Path, tmp_path: Path) -> None:
    again = publishing.publish(campaign, tmp_path / "again")
    assert again.sum == publishing.publish(published, tmp_path / "of_published").sum
    assert (again.path / records.SUMS_FILE).read_bytes() == (published / records.SUMS_FILE).read_bytes()


def test_a_name_that_is_taken_is_left_alone(campaign: Path, published: Path) -> None:
    (published / "report.md").write_text("mine\n")
    with pytest.raises(ResultsError, match="never overwritten"):
        publishing.publish(campaign, published)
    assert (published / "report.md").read_text() == "mine\n"
    assert [path.name for path in published.parent.iterdir()] == [published.name]


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


def _other(path: Path) -> None:
    path.write_bytes(
        packed.pack(gzip.decompress(path.read_bytes()).replace(b"free_memory,pages,", b"free_memory,pages,9"))
    )


def _beside(path: Path) -> None:
    (path.parent / "samples.csv").write_bytes(gzip.decompress(path.read_bytes()))


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (_cut, "no whole file of gzip"),
        (lambda path: path.write_bytes(b"no archive"), "Not a gzipped file"),
        (_other, "by raw/"),
        (_beside, "was added"),
        (Path.unlink, "No such file"),
    ],
    ids=["cut", "other kind", "other samples", "both", "none"],
)
def test_packed_samples_that_are_damaged_are_found(
    published: Path, damage: Callable[[Path], object], said: str
) -> None:
    damage(published / CELL / SAMPLES)
    store.write_sums(published / CELL)  # a forger would
    said_of = [each.message for each in verify(published).findings if f"{CELL}/samples" in each.path]
    assert any(said in message for message in said_of), said_of
    if said in ("no whole file of gzip", "Not a gzipped file"):
        with pytest.raises(ResultsError, match="samples of a cell cannot be read"):
            load.load(published).samples  # noqa: B018


@pytest.mark.parametrize("damage", [_cut, lambda path: path.write_bytes(b"no archive")], ids=["cut", "other kind"])
def test_packed_readings_that_are_damaged_are_found(published: Path, damage: Callable[[Path], object]) -> None:
    damage(published / CELL / "raw/guest1.samples.txt.gz")
    store.write_sums(published / CELL)
    said_of = [each.message for each in verify(published).findings if each.path.startswith(f"{CELL}/raw")]
    assert any("cannot be recomputed" in message for message in said_of), said_of


def test_readings_are_there_once(published: Path) -> None:
    (published / CELL / "raw/guest1.samples.txt").write_text("x")
    store.write_sums(published / CELL)
    assert f"{CELL}/raw/guest1.samples.txt.gz" in {
        each.path for each in verify(published).findings if "was added" in each.message
    }


def test_the_task_wants_a_report(campaign: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results = tmp_path / "results"
    copied = shutil.copytree(campaign, results / "reference")
    monkeypatch.setattr(store, "RESULTS", results)
    (copied / "report.md").unlink()
    with pytest.raises(UsageError, match="no report"):
        results_tasks.publish.body(Context(), "reference", str(tmp_path / "new"))
    assert not (tmp_path / "new").exists()


def test_the_task_tells_both_sums(
    campaign: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    copied = shutil.copytree(campaign, tmp_path / "results" / "reference")
    for name in REMADE:
        (copied / name).unlink()  # the task compares them
    monkeypatch.setattr(store, "RESULTS", copied.parent)
    results_tasks.publish.body(Context(), "reference", str(tmp_path / "reference"))
    said = capsys.readouterr().out
    for place in (campaign, tmp_path / "reference"):
        assert store.files.digest(place / records.SUMS_FILE) in said
