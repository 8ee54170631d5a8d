"""A campaign that somebody changed who knows how to write all sums anew: what its parts say about
each other finds it.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from campaign_fakes import forge

from campaigns import consistency, records
from campaigns.verify import verify
from common import packed
from common.errors import ResultsError

PUBLISHED = Path(__file__).resolve().parents[2] / "results" / "reference"
CELL = "cells/selfballoon+tmem.r1"
SAMPLES = f"{records.SAMPLES_FILE}{packed.SUFFIX}"

Change = Callable[[Path], object]


@pytest.fixture
def campaign(tmp_path: Path) -> Path:
    return Path(shutil.copytree(PUBLISHED, tmp_path / "reference"))


def edited(name: str, change: Callable[[Any], object]) -> Change:
    def apply(campaign: Path) -> None:
        document = json.loads((campaign / name).read_text())
        change(document)
        (campaign / name).write_text(json.dumps(document))

    return apply


def written(name: str, text: str) -> Change:
    return lambda campaign: (campaign / name).write_text(text)


def twice(campaign: Path) -> None:
    path = campaign / CELL / "cell.json"
    path.write_text('{"status": "invalid",' + path.read_text().lstrip()[1:])


def doubled(path: Path) -> None:
    path.write_text(path.read_text() * 2)


@pytest.mark.parametrize(
    ("change", "path", "expected"),
    [
        (
            lambda c: (c / CELL / "raw/kernel_log/guest1.txt").unlink(),
            f"{CELL}/raw/kernel_log/guest1.txt",
            "is missing",
        ),
        (written(f"{CELL}/raw/note.txt", "x"), f"{CELL}/raw/note.txt", "was added"),
        (written(f"{CELL}/raw/guest9.samples.txt", "x"), f"{CELL}/raw/guest9.samples.txt", "was added"),
        (lambda c: (c / CELL / "raw/guest9").mkdir(), f"{CELL}/raw/guest9", "was added"),
        (written(f"{CELL}/x", "y"), f"{CELL}/x", "was added"),
        (written(f"{CELL}/raw/kernel_log/guest9.txt", "fine"), f"{CELL}/raw/kernel_log/guest9.txt", "was added"),
        (written(f"{CELL}/raw/before/guest9.txt", "1 a=2"), f"{CELL}/raw/before/guest9.txt", "was added"),
        (written(f"{CELL}/samples/more.csv", "x"), f"{CELL}/samples/more.csv", "was added"),
        (
            lambda c: shutil.copy(c / "cells/static.r1/reproduce.sh.gz", c / CELL / "reproduce.sh.gz"),
            f"{CELL}/reproduce.sh.gz",
            "is of another cell",
        ),
        (
            edited(f"{CELL}/cell.json", lambda d: d["notes"].append("all is well")),
            f"{CELL}/cell.json",
            "a note follows from nothing",
        ),
        (
            edited(f"{CELL}/cell.json", lambda d: d.update(accelerator="kvm")),
            f"{CELL}/cell.json",
            "accelerator is 'kvm', and 'tcg' in env.json",
        ),
        (
            edited(f"{CELL}/cell.json", lambda d: d.update(host_kind="physical")),
            f"{CELL}/cell.json",
            "a physical host has no raw/controller.json",
        ),
        (
            edited(f"{CELL}/cell.json", lambda d: d.update(finished_at="2020-01-01T00:00:00.000Z")),
            f"{CELL}/cell.json",
            "before it started",
        ),
        (
            edited(f"{CELL}/cell.json", lambda d: d.update(started_at="today")),
            f"{CELL}/cell.json",
            "not both are times",
        ),
        (edited(f"{CELL}/env.json", lambda d: d.pop("identity")), f"{CELL}/env.json", "identity is missing"),
        (written(f"{CELL}/raw/controller.json", "{}"), f"{CELL}/raw", "controller.json: ValueError: "),
        (written(f"{CELL}/raw/before/guest1.txt", "?"), f"{CELL}/raw", "before: "),
        (edited(f"{CELL}/env.json", lambda d: d.update(identity="x")), f"{CELL}/env.json", "identity is missing"),
        (
            edited("campaign.json", lambda d: d.update(created_at="2090-01-01T00:00:00Z")),
            f"{CELL}/cell.json",
            "before its campaign was created",
        ),
        (edited("campaign.json", lambda d: d.update(layout=1)), "campaign.json", "layout 1 has a list of gates"),
        (edited("campaign.json", lambda d: d.update(layout=99)), "campaign.json", "layout 99 is not known"),
        (edited("campaign.json", lambda d: d.update(gates=[])), "campaign.json", "no list of gates"),
        (
            lambda c: shutil.copytree(c / CELL, c / "attempts/selfballoon+tmem.r1.1"),
            "attempts/selfballoon+tmem.r1.1",
            "one is a copy",
        ),
        (
            lambda c: shutil.copytree(c / CELL, c / "attempts/selfballoon+tmem.r1.7"),
            "attempts/selfballoon+tmem.r1.7",
            "others before it were taken away",
        ),
        (twice, f"{CELL}/cell.json", "the key 'status' is there twice"),
        (lambda c: doubled(c / CELL / "raw/barrier.txt"), f"{CELL}/raw", "twice"),
    ],
)
def test_what_contradicts_the_rest_is_found(campaign: Path, change: Change, path: str, expected: str) -> None:
    change(campaign)
    forge(campaign)
    found = [finding for finding in verify(campaign).findings if finding.level == "damage"]
    assert [each for each in found if each.path == path and expected in each.message], found


def replaced(name: str, old: str, new: str) -> Change:
    def apply(campaign: Path) -> None:
        text = (campaign / name).read_text()
        assert old in text
        (campaign / name).write_text(text.replace(old, new, 1))

    return apply


HUGE = "9" * 400


@pytest.mark.parametrize(
    ("change", "path"),
    [
        (replaced(f"{CELL}/raw/after/dom0.jsonl", '"free":', f'"free":{HUGE},"was":'), f"{CELL}/cell.json"),
        (replaced(f"{CELL}/raw/before/dom0.jsonl", '"cpu_ns":', f'"cpu_ns":{HUGE},"was":'), f"{CELL}/raw"),
        (replaced(f"{CELL}/raw/before/dom0.jsonl", '"vbd":', '"vbd":[],"was":'), f"{CELL}/raw"),
        (replaced(f"{CELL}/raw/before/dom0.jsonl", '"domains":', '"domains":{"a":1},"was":'), f"{CELL}/raw"),
        (
            replaced(f"{CELL}/raw/before/dom0.jsonl", '"tmem":', f'"tmem":{"[" * 3000}{"]" * 3000},"was":'),
            f"{CELL}/raw",
        ),
        (replaced(f"{CELL}/raw/barrier.txt", "GO ", f"GO {HUGE}"), f"{CELL}/raw"),
        (replaced(f"{CELL}/raw/guest1/timings", " ", f" {HUGE}"), f"{CELL}/raw"),
        (replaced(f"{CELL}/raw/controller.json", ": ", f": {HUGE}"), f"{CELL}/raw"),
        (replaced(f"{CELL}/raw/controller.json", "{", "["), f"{CELL}/raw"),
        (edited(f"{CELL}/cell.json", lambda d: d["metrics"][0].update(value=int(HUGE))), f"{CELL}/cell.json"),
        (edited(f"{CELL}/env.json", lambda d: d.update(x=int(HUGE))), f"{CELL}/env.json"),
        (edited("campaign.json", lambda d: d.update(seed=int(HUGE))), "campaign.json"),
    ],
)
def test_whatever_is_written_there_is_damage_of_its_file_and_no_error(
    campaign: Path, change: Change, path: str
) -> None:
    change(campaign)
    forge(campaign)
    found = verify(campaign)
    assert path in {finding.path for finding in found.findings if finding.level == "damage"}, found.lines()
    assert all(len(line) < 2000 for line in found.lines())
    with pytest.raises(ResultsError):
        found.check()


@pytest.mark.parametrize("name", ["SHA256SUMS", f"{CELL}/SHA256SUMS"])
def test_sums_that_are_no_text_are_damage(campaign: Path, name: str) -> None:
    (campaign / name).write_bytes(b"\xff\xfe" + (campaign / name).read_bytes())
    assert verify(campaign).damaged


def test_what_was_published_contradicts_nothing(campaign: Path) -> None:
    forge(campaign)
    assert verify(campaign).findings == ()


def test_attempts_are_counted_from_one() -> None:
    assert list(consistency.of_attempts(["a.1", "a.2", "b.1"])) == []
    assert [name for name, _ in consistency.of_attempts(["a.2", "b.1", "b.3"])] == ["a.2", "b.3"]


def test_samples_that_no_older_layout_writes_are_damage_of_their_own_file(campaign: Path) -> None:
    edited("campaign.json", lambda d: d.update(layout=1))(campaign)
    text = packed.text(campaign / CELL / records.SAMPLES_FILE) + "1.0,guest1,psi.memory.some,us,0.5\n"
    (campaign / CELL / SAMPLES).write_bytes(packed.pack(text.encode()))
    forge(campaign)
    found = [finding for finding in verify(campaign).findings if finding.path == f"{CELL}/{SAMPLES}"]
    assert ["a table of layout 1" in each.message for each in found] == [True], found
