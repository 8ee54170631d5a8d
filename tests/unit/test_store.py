"""The store: whole or not at all, never overwritten, one runner at a time."""

from __future__ import annotations

import errno
import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from campaigns import records, store
from campaigns.records import CampaignRecord, CellRecord, Failure, PlannedCell
from common import files
from common.errors import MissingError, ResultsError, UsageError
from common.metrics import Metric
from lab.api import Sample

CAMPAIGN = CampaignRecord(
    schema=1,
    campaign="c",
    name="e",
    experiment={},
    experiment_sha256="",
    seed=1,
    cells=(PlannedCell("static.r1", "static", {}, 1, 0, 0, 10.0),),
    claims=(),
    metrics=(),
    versions={},
    commit=None,
    dirty=None,
    lock_sha256=None,
    arguments=("inv", "campaign.run"),
    created_at="2026-01-01T00:00:00Z",
)
CELL = CellRecord(
    schema=1,
    campaign="c",
    cell="static.r1",
    experiment="e",
    policy="static",
    levels={"guests.count": 3},
    repetition=1,
    block=0,
    order=0,
    status="complete",
    host="fake",
    host_kind="emulated",
    accelerator=None,
    metrics=(
        Metric("sectors_read", "sectors", 10, "guest1"),
        Metric("swap_in", "pages", None, "guest1"),
        Metric("x", "s", 0.5),
    ),
    gates=(),
    timings={"run": 1.5},
    barrier=None,
    checksums={"guest1": {"a": "b"}},
    notes=(),
    failure=None,
    started_at="",
    finished_at="",
)
FAILED = replace(
    CELL,
    status="failed",
    metrics=(),
    failure=Failure("lab", "reset", "no answer", "./inv campaign.run e --cell static.r1"),
)


def _write(stored: store.CampaignStore, record: CellRecord = CELL) -> Path:
    writer = stored.begin(record.cell)
    (writer.raw / "tool.txt").write_text("said\n")
    writer.write_samples(
        [Sample(12.5, "dom0", "memory", "pages", None), Sample(13.0, "dom0", "vcpu_seconds", "s", 0.25)], 12.0
    )
    return stored.commit(writer, record, {"schema": 1})


def test_records_come_back_as_they_were_written(tmp_path: Path) -> None:
    stored = store.create(tmp_path / "results", CAMPAIGN)
    path = _write(stored)
    assert stored.record() == CAMPAIGN
    assert stored.cells() == {"static.r1": CELL}
    assert (
        path / records.SAMPLES_FILE
    ).read_text() == "time_s,source,counter,unit,value\n0.500,dom0,memory,pages,\n1.000,dom0,vcpu_seconds,s,0.25\n"
    assert '"value": null' in (path / records.CELL_FILE).read_text()


def test_sha256sum_accepts_the_sums(tmp_path: Path) -> None:
    path = _write(store.create(tmp_path, CAMPAIGN))
    checked = subprocess.run(
        ["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=path, capture_output=True, text=True, check=True
    )
    assert sorted(line.split(":")[0] for line in checked.stdout.splitlines()) == [
        "cell.json",
        "env.json",
        "raw/tool.txt",
        "samples/samples.csv",
    ]


def test_the_campaigns_sums_know_every_cell_and_attempt(tmp_path: Path) -> None:
    """One file tells of all: sha256sum(1) finds any change below it, and a paper can quote its
    own sum.
    """
    stored = store.create(tmp_path, CAMPAIGN)
    _write(stored, FAILED)
    _write(stored, replace(CELL, status="invalid"))
    _write(stored)
    listed = store.read_sums(stored.directory / "SHA256SUMS")
    names = ["attempts/static.r1.1", "attempts/static.r1.2", "cells/static.r1"]
    assert list(listed) == [*(f"{name}/SHA256SUMS" for name in names[:2]), "campaign.json", f"{names[2]}/SHA256SUMS"]
    assert all(files.digest(stored.directory / name) == value for name, value in listed.items())


def test_who_dies_before_a_cell_has_its_name_leaves_an_entry_that_the_next_runner_removes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = store.create(tmp_path, CAMPAIGN)

    def die(source: Path, target: Path) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(store, "publish", die)
        with pytest.raises(KeyboardInterrupt):
            _write(stored)
    sums = stored.directory / "SHA256SUMS"
    assert "cells/static.r1/SHA256SUMS" in store.read_sums(sums)
    with stored.lock():
        assert list(store.read_sums(sums)) == ["campaign.json"]


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    store.create(tmp_path, CAMPAIGN)
    with pytest.raises(ResultsError, match="never overwritten"):
        store.create(tmp_path, CAMPAIGN)


def test_who_writes_past_the_limit_changes_nothing_that_has_a_sum(tmp_path: Path) -> None:
    stored = store.create(tmp_path, CAMPAIGN)
    writer = stored.begin(FAILED.cell)
    (writer.raw / "guest1").mkdir()
    with (writer.raw / "guest1" / "output").open("w") as late:
        late.write("some")
        late.flush()
        writer.set_aside("guest1")
        writer.set_aside("guest2")  # of which nothing came
        late.write(" more")
        late.flush()
        with pytest.raises(FileNotFoundError):
            (writer.raw / "guest1" / "other").write_text("late")
        assert [path.name for path in writer.raw.iterdir()] == ["guest1.late"]
        assert (writer.raw / "guest1.late" / "output").read_text() == "some"
    assert stored.begin(FAILED.cell).directory != writer.directory


def test_an_empty_directory_is_no_result(tmp_path: Path) -> None:
    (tmp_path / CAMPAIGN.campaign).mkdir()
    assert store.create(tmp_path, CAMPAIGN).record() == CAMPAIGN


def test_a_cell_that_is_run_again_keeps_its_older_record(tmp_path: Path) -> None:
    stored = store.create(tmp_path, CAMPAIGN)
    invalid = replace(CELL, status="invalid", notes=("first",))
    _write(stored, invalid)
    _write(stored, CELL)
    assert stored.cells() == {"static.r1": CELL}
    assert stored.attempts() == {"static.r1": [invalid]}


def test_failed_attempts_are_numbered_and_all_kept(tmp_path: Path) -> None:
    stored = store.create(tmp_path, CAMPAIGN)
    paths = [_write(stored, replace(FAILED, notes=(str(number),))) for number in range(12)]
    assert [path.name for path in paths] == [f"static.r1.{number}" for number in range(1, 13)]
    assert [record.notes for record in stored.attempts()["static.r1"]] == [(str(number),) for number in range(12)]
    assert stored.cells() == {}


@pytest.mark.parametrize("calls_before", range(10))
def test_a_full_disk_leaves_nothing_half_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, calls_before: int
) -> None:
    stored = store.create(tmp_path, CAMPAIGN)
    real, calls = os.fsync, iter(range(1000))

    def full(descriptor: int) -> None:
        if next(calls) >= calls_before:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(MissingError, match="no space left") as caught:
        _write(stored)
    monkeypatch.undo()
    assert caught.value.exit_code == 3
    assert "MiB are free" in str(caught.value)
    assert list(tmp_path.rglob(".tmp-*")) == []
    whole = list(records.cell_directories(stored.directory))
    assert all((path / records.SUMS_FILE).is_file() for path in whole)
    if not whole:
        _write(stored)
    assert stored.cells() == {"static.r1": CELL}


def test_a_second_runner_is_refused_and_told_of_the_first(tmp_path: Path) -> None:
    stored = store.create(tmp_path, CAMPAIGN)
    with stored.lock():
        script = (
            f"import sys; sys.path.insert(0, {str(Path.cwd())!r})\nfrom "
            "pathlib import Path\nfrom campaigns.store import CampaignStore\n"
        )
        script += f"with CampaignStore(Path({str(stored.directory)!r})).lock(): print('two runners')\n"
        other = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
        assert "two runners" not in other.stdout
        assert f"already being run by process {os.getpid()}" in other.stderr
        with pytest.raises(UsageError, match="already being run"), stored.lock():
            pytest.fail("two runners")
    with stored.lock():
        pass


def test_leftovers_of_the_dead_go_and_those_of_the_living_stay(tmp_path: Path) -> None:
    stored = store.create(tmp_path, CAMPAIGN)
    dead = subprocess.Popen(["true"])
    dead.wait()
    gone = stored.directory / f".tmp-{dead.pid}-12345-static.r1"
    reused = stored.directory / f".tmp-{os.getppid()}-1-static.r1"  # the number lives, the process that had it does not
    for path in (gone, reused):
        (path / "raw").mkdir(parents=True)
    file = stored.directory / f".tmp-{dead.pid}-12345-SHA256SUMS"
    file.touch()
    living = stored.begin("static.r1").directory
    with stored.lock():
        assert not gone.exists()
        assert not reused.exists()
        assert not file.exists()
        assert living.exists()


@pytest.mark.parametrize("name", ["link", "back\\slash"])
def test_what_the_sums_cannot_hold_is_refused(tmp_path: Path, name: str) -> None:
    stored = store.create(tmp_path, CAMPAIGN)
    writer = stored.begin("static.r1")
    if name == "link":
        (writer.raw / name).symlink_to("/etc/hostname")
    else:
        (writer.raw / name).write_text("")
    with pytest.raises(ResultsError, match="plain files"):
        stored.commit(writer, CELL, {})
    assert list(tmp_path.rglob(".tmp-*")) == []


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_figure_that_is_no_number_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        records.dumps(Metric("x", "s", value))


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"status": "fine"}, "key status: input should be 'complete', 'invalid' or 'failed', not \"fine\""),
        ({"order": "0"}, 'key order: input should be a valid integer, not "0"'),
        ({"order": True}, "key order: input should be a valid integer, not true"),
        ({"metrics": [{"name": "x", "unit": "s", "value": "0", "guest": None}]}, "key metrics[0].value: input"),
        ({"metrics": [{"name": "x", "unit": "s", "value": True, "guest": None}]}, "key metrics[0].value: input"),
        ({"metrics": [{"name": "x", "unit": "s"}]}, "key metrics[0].value: missing key"),
        ({"metrics": [{"name": "x", "unit": "s", "value": 0, "colour": 1}]}, "key metrics[0].colour: unknown key"),
        ({"colour": "red"}, "key colour: unknown key"),
        ({"barrier": []}, "key barrier: input should be an object"),
    ],
)
def test_a_record_of_another_form_is_refused_by_key(tmp_path: Path, change: dict[str, object], expected: str) -> None:
    content = {**json.loads(records.dumps(CELL)), **change}
    (tmp_path / records.CELL_FILE).write_text(json.dumps(content))
    with pytest.raises(ResultsError, match=re.escape(expected)):
        records.read_cell(tmp_path)


def test_published_records_are_read_and_written_byte_for_byte() -> None:
    """No figure changes its type, no key its place. Keys that records have got since are left
    out.
    """
    published = Path(__file__).resolve().parents[2] / "results"
    paths = sorted(path for path in published.glob("reference*/**/*.json") if "raw" not in path.parts)
    assert len(paths) >= 2 + 2 * 12
    for path in paths:
        text = path.read_text(encoding="utf-8")
        read: Any = {
            "cell.json": records.read_cell,
            "campaign.json": records.read_campaign,
            "env.json": records.read_env,
        }
        known = _as_in(json.loads(records.dumps(read[path.name](path.parent))), json.loads(text))
        assert records.dumps(known) == text, path


def _as_in(value: Any, old: Any) -> Any:
    """A JSON value without the keys that the old one does not have."""
    if isinstance(value, dict) and isinstance(old, dict):
        return {key: _as_in(item, old[key]) for key, item in value.items() if key in old}
    if isinstance(value, list) and isinstance(old, list) and len(value) == len(old):
        return [_as_in(item, was) for item, was in zip(value, old, strict=True)]
    return value


@pytest.mark.parametrize(
    ("text", "expected"),
    [("{", "cannot be read"), ("[]", "schema version None"), ('{"schema": 2}', "schema version 2")],
)
def test_an_unreadable_record_is_one_clear_error(tmp_path: Path, text: str, expected: str) -> None:
    (tmp_path / records.CELL_FILE).write_text(text)
    with pytest.raises(ResultsError, match=expected) as caught:
        records.read_cell(tmp_path)
    assert "cell.json" in str(caught.value)


def test_a_missing_value_makes_the_sum_missing_and_not_smaller() -> None:
    assert records.aggregate([1, 2.5], "sum") == 3.5
    assert records.aggregate([1, 2], "mean") == 1.5
    assert records.aggregate([1, 2], "min") == 1
    assert records.aggregate([1, 2], "max") == 2
    assert records.aggregate([1, None], "sum") is None
    assert records.aggregate([], "sum") is None
    assert CELL.value("swap_in") is None
    assert CELL.value("sectors_read") == 10


def test_a_campaign_that_is_not_there_is_met_with_a_suggestion(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no campaign 'd'") as caught:
        store.get(tmp_path / "none", "d")
    assert "campaign.run" in caught.value.remedy
    store.create(tmp_path, replace(CAMPAIGN, campaign="demo"))
    (tmp_path / "README.md").write_text("")
    assert store.names(tmp_path) == ["demo"]
    assert store.get(tmp_path, "demo").name == "demo"
    with pytest.raises(UsageError) as caught:
        store.get(tmp_path, "dmo")
    assert "did you mean 'demo'?" in caught.value.remedy
