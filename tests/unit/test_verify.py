"""Verification finds every kind of damage, and nothing in what was just written."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from campaign_fakes import EXPERIMENT, FakeHost, find, write_experiment

from campaigns import store
from campaigns.run import run
from campaigns.verify import Verification, verify
from common.errors import LabError, ResultsError
from workloads import registry

SMALL = EXPERIMENT.replace("count: 3", "count: 2").replace("480", "320").replace("repetitions: 2", "repetitions: 1")
CELL = "cells/selfballoon.r1"


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp("campaign")
    failures = [LabError("lost")]

    def hook(step: str) -> None:
        if step == "policy" and failures:
            raise failures.pop()

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(registry._CLASSES, "fake", "campaign_fakes:FakeLoad")
        run(write_experiment(base, SMALL), FakeHost(base / "host", hook=hook), results=base / "results")
    return find(base / "results").directory


@pytest.fixture
def directory(original: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(original, tmp_path / "test"))


def _edit(path: Path, change: Callable[[Any], None]) -> None:
    """Change a JSON file and make its sums fit again: what only the content can tell."""
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))
    if path.name == "campaign.json":
        (path.parent / "SHA256SUMS").write_text(f"{store.digest(path)}  campaign.json\n")
    else:
        store.write_sums(path.parent)


def _damage(verification: Verification) -> str:
    return "\n".join(f"{f.path}: {f.message}" for f in verification.findings if f.level == "damage")


def test_what_was_written_is_sound(directory: Path) -> None:
    verification = verify(directory)
    assert verification.findings == ()
    assert verification.files == 1 + sum(
        1 for p in directory.rglob("*/*") if p.is_file() and p.name != "SHA256SUMS" and p.parent != directory
    )
    assert verification.lines() == [f"test: sound and complete (3 of 3 cells, {verification.files} files)"]
    verification.check()
    assert list((directory / "attempts").iterdir())  # a failed attempt is no fault


@pytest.mark.parametrize(
    ("break_it", "expected"),
    [
        (lambda d: (d / CELL / "raw/guest1/output").write_text("mad\n"), f"{CELL}/raw/guest1/output: its content has changed"),
        (lambda d: (d / CELL / "raw/guest1/output").unlink(), f"{CELL}/raw/guest1/output: missing"),
        (lambda d: (d / CELL / "raw/more").write_text("x"), f"{CELL}/raw/more: was added"),
        (lambda d: (d / CELL / "SHA256SUMS").unlink(), f"{CELL}/SHA256SUMS: missing"),
        (lambda d: (d / "SHA256SUMS").unlink(), "SHA256SUMS: missing"),
        (lambda d: (d / "campaign.json").write_text("{}"), "campaign.json: its content has changed"),
        (lambda d: (d / CELL / "cell.json").write_text("{"), f"{CELL}/cell.json: a file of the results cannot be read"),
        (lambda d: (d / CELL / "cell.json").unlink(), f"{CELL}/cell.json: missing"),
        (lambda d: (d / CELL / "raw/link").symlink_to("/etc/passwd"), "plain files"),
        (lambda d: (d / CELL).rename(d / "cells/static.r9"), "the record is of cell 'selfballoon.r1'"),
        (lambda d: (d / "attempts/odd").mkdir(), "'odd' is not the name of an attempt"),
    ],
)  # fmt: skip
def test_damage_to_files_is_found(directory: Path, break_it: Callable[[Path], object], expected: str) -> None:
    break_it(directory)
    verification = verify(directory)
    assert expected in _damage(verification)
    with pytest.raises(ResultsError) as caught:
        verification.check()
    assert caught.value.exit_code == 8


@pytest.mark.parametrize(
    ("file", "change", "expected"),
    [
        (f"{CELL}/cell.json", lambda c: c["metrics"][0].update(unit="min"), "is not declared in the campaign"),
        (f"{CELL}/cell.json", lambda c: c["metrics"].append(c["metrics"][0]), "is there twice"),
        (f"{CELL}/cell.json", lambda c: c["metrics"][0].update(value="7"), "key metrics[0].value"),
        (f"{CELL}/cell.json", lambda c: c["gates"][0].update(passed=False), "its gates did not all pass"),
        (f"{CELL}/cell.json", lambda c: c.update(status="invalid"), "its gates all passed"),
        (f"{CELL}/cell.json", lambda c: c.update(status="failed"), "a failed cell has a failure and no metrics"),
        (f"{CELL}/cell.json", lambda c: c.update(metrics=[]), "has gates, metrics and a barrier"),
        (f"{CELL}/cell.json", lambda c: c.update(policy="static"), "policy is 'static', and 'selfballoon' in the plan"),
        (f"{CELL}/cell.json", lambda c: c.update(campaign="x"), "the record is of campaign 'x'"),
        (f"{CELL}/cell.json", lambda c: c.update(schema=2), "schema version 2 is not known"),
        (f"{CELL}/cell.json", lambda c: c.pop("gates"), "gates: missing key"),
        (f"{CELL}/env.json", lambda e: e.pop("schema"), "not an object of schema 1"),
        ("campaign.json", lambda c: c.update(seed=8), "not the one that seed 8 gives"),
        ("campaign.json", lambda c: c["experiment"].update(seed=8), "experiment_sha256 is not that of the experiment"),
        ("campaign.json", lambda c: c["cells"].reverse(), "not numbered in their order"),
        ("campaign.json", lambda c: c["cells"][0].update(repetition=2), "is not named after"),
        ("campaign.json", lambda c: c["cells"].pop(), "the plan has no such cell"),
    ],
)  # fmt: skip
def test_contradictions_are_found_even_when_the_sums_fit(
    directory: Path, file: str, change: Callable[[Any], None], expected: str
) -> None:
    _edit(directory / file, change)
    assert expected in _damage(verify(directory))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("time,source\n", "the columns are not"),
        ("time_s,source,counter,unit,value\n1.0,dom0,memory,pages,many\n", "line 2 is no sample"),
    ],
)
def test_samples_of_another_form_are_found(directory: Path, text: str, expected: str) -> None:
    (directory / CELL / "samples/samples.csv").write_text(text)
    store.write_sums(directory / CELL)
    assert expected in _damage(verify(directory))


def test_cells_without_usable_figures_make_a_campaign_incomplete_and_not_damaged(directory: Path) -> None:
    shutil.rmtree(directory / CELL)
    for attempt in (directory / "attempts").iterdir():
        shutil.rmtree(attempt)
    _edit(
        directory / "cells/static.r1/cell.json",
        lambda c: (c["gates"][0].update(passed=False), c.update(status="invalid")),
    )
    verification = verify(directory)
    assert not verification.damaged
    assert verification.incomplete
    assert [(f.path, f.message) for f in verification.findings] == [
        (CELL, "missing: never run to its end"),
        ("cells/static.r1", "invalid: guests_alive"),
    ]
    with pytest.raises(ResultsError, match="sound, but incomplete"):
        verification.check()


def test_where_there_is_no_campaign_that_is_said(tmp_path: Path) -> None:
    with pytest.raises(ResultsError, match="there is no campaign here"):
        verify(tmp_path)
