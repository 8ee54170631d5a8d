"""Verification finds every kind of damage, and nothing in what was just written."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from campaign_fakes import EXPERIMENT, FakeHost, find, forge, write_experiment

from campaigns import plan, store
from campaigns.experiment import fingerprint
from campaigns.run import run
from campaigns.verify import Verification, verify
from common import files
from common.errors import LabError, ResultsError
from lab.counters import names
from workloads import registry

SMALL = EXPERIMENT.replace("count: 3", "count: 2").replace("480", "320").replace("repetitions: 2", "repetitions: 1")
CELL = "cells/selfballoon.r1"
PUBLISHED = Path(__file__).resolve().parents[2] / "results"


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


@pytest.fixture(autouse=True)
def _fake_load(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry._CLASSES, "fake", "campaign_fakes:FakeLoad")


@pytest.fixture
def directory(original: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(original, tmp_path / "test"))


def _edit(path: Path, change: Callable[[Any], None]) -> None:
    """Change a JSON file and make its sums fit again: what only the content can tell."""
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))
    forge(path.parents[0 if path.name == "campaign.json" else 2])


def _damage(verification: Verification) -> str:
    return "\n".join(f"{f.path}: {f.message}" for f in verification.findings if f.level == "damage")


def test_what_was_written_is_sound(directory: Path) -> None:
    verification = verify(directory)
    assert verification.findings == ()
    assert verification.files == sum(
        1 for p in directory.rglob("*") if p.is_file() and p.name != ".lock" and p != directory / "SHA256SUMS"
    )
    seal, verdict = verification.lines()
    assert verdict == f"test: sound and complete (3 of 3 cells, {verification.files} files)"
    assert "not seen without a signature" in seal
    assert seal.endswith(files.digest(directory / "SHA256SUMS"))
    verification.check()
    assert list((directory / "attempts").iterdir())  # a failed attempt is no fault


@pytest.mark.parametrize(
    ("break_it", "expected"),
    [
        (
            lambda d: (d / CELL / "raw/guest1/output").write_text("mad\n"),
            f"{CELL}/raw/guest1/output: its content has changed",
        ),
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
)
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
        ("campaign.json", lambda c: c.update(seed=8), "the seed is 8, and 7 in the experiment"),
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
def test_samples_of_another_form_are_found(directory: Path, tmp_path: Path, text: str, expected: str) -> None:
    older = Path(shutil.copytree(PUBLISHED / "reference", tmp_path / "reference", ignore=_no_figures))
    if not (older / "cells/static.r1/raw/barrier.txt").exists():  # else all of it is compared with raw/
        (older / "cells/static.r1/samples/samples.csv").write_text(text)
        store.write_sums(older / "cells/static.r1")
        assert expected in _damage(verify(older))
    failed = next((directory / "attempts").iterdir())
    (failed / "samples").mkdir(exist_ok=True)
    (failed / "samples/samples.csv").write_text(text)
    forge(directory)
    assert expected in _damage(verify(directory))


class Grumbling(FakeHost):
    """A host on which static cells are invalid, and others fail."""

    def kernel_log(self) -> dict[str, str]:
        log = super().kernel_log()
        return log if self.driver else {**log, "dom0": "Out of memory: Killed process 7\n"}


def test_cells_without_usable_figures_make_a_campaign_incomplete_and_not_damaged(tmp_path: Path) -> None:
    def hook(step: str) -> None:
        if step == "kernel_log" and host.driver:
            raise LabError("lost")

    host = Grumbling(tmp_path / "host", hook=hook)
    text = SMALL.replace("[static, selfballoon, selfballoon+tmem]", "[static, selfballoon]").split("claims:")[0]
    run(write_experiment(tmp_path, text), host, results=tmp_path / "results")
    directory = find(tmp_path / "results").directory
    verification = verify(directory)
    assert not verification.damaged
    assert verification.incomplete
    assert [(f.path, f.message) for f in verification.findings] == [
        (CELL, "failed in stage collect"),
        ("cells/static.r1", "invalid: kernel_logs"),
    ]
    with pytest.raises(ResultsError, match="sound, but incomplete"):
        verification.check()
    shutil.rmtree(directory / "attempts")
    forge(directory)
    assert (CELL, "missing: never run to its end") in [(f.path, f.message) for f in verify(directory).findings]


def _metric(name: str, value: float | None) -> Callable[[Any], None]:
    def change(cell: Any) -> None:
        next(each for each in cell["metrics"] if each["name"] == name).update(value=value)

    return change


def _gate(name: str, **changes: object) -> Callable[[Any], None]:
    def change(cell: Any) -> None:
        next(each for each in cell["gates"] if each["name"] == name).update(changes)

    return change


def _without_gate(name: str) -> Callable[[Any], None]:
    return lambda cell: cell.update(gates=[each for each in cell["gates"] if each["name"] != name])


@pytest.mark.parametrize(
    ("file", "change", "expected"),
    [
        (
            f"{CELL}/cell.json",
            _metric("sectors_read", 200_000),
            "metric sectors_read of guest1 is 200000 sectors; recomputed, it is 20000 sectors",
        ),
        (
            f"{CELL}/cell.json",
            _metric("cleancache_hits", 0),
            "metric cleancache_hits of guest1 is 0 pages; recomputed, it is null pages",
        ),
        (f"{CELL}/cell.json", _metric("files", 2), "metric files of guest1 is 2 count; recomputed, it is 1 count"),
        (f"{CELL}/cell.json", _metric("sampling_cost", 0.001), "metric sampling_cost of the host is 0.001"),
        (
            f"{CELL}/cell.json",
            _gate("reads_happened", required=1),
            (
                "gate reads_happened passed with 40000 where 1 sectors "
                "is required; recomputed, it passed with 40000 where 100"
            ),
        ),
        (f"{CELL}/cell.json", _gate("memory_moved", observed=0.9), "gate memory_moved"),
        (f"{CELL}/cell.json", _without_gate("kernel_logs"), "gate kernel_logs is not there"),
        (
            f"{CELL}/cell.json",
            lambda c: c["checksums"]["guest1"].update(output="x"),
            "the checksums are not those of the outputs in raw/",
        ),
        (
            f"{CELL}/cell.json",
            lambda c: c["barrier"].update(skew_seconds=0.0),
            "the barrier is not that of raw/barrier.txt",
        ),
        (
            f"{CELL}/env.json",
            lambda e: e["conditions"]["guests"].update(count=3),
            "guests.count is 3, and 2 by the plan",
        ),
        (
            f"{CELL}/env.json",
            lambda e: e["identity"].update(cell="static.r1"),
            "cell is 'static.r1', and 'selfballoon.r1' by the plan",
        ),
        (f"{CELL}/env.json", lambda e: e["identity"].update(experiment_sha256="0"), "experiment_sha256 is '0'"),
        (
            "campaign.json",
            lambda c: c["claims"][0]["expectation"].update(direction="increase", ratio_low=None),
            "the claims are not the experiment's",
        ),
        ("campaign.json", lambda c: c["claims"].clear(), "the claims are not the experiment's"),
        (
            "campaign.json",
            lambda c: next(m for m in c["metrics"] if m["name"] == "sectors_read").update(better="higher"),
            "metric sectors_read is not declared as the testbed has it",
        ),
        (
            "campaign.json",
            lambda c: c["experiment"]["gates"].update(sectors_read=1),
            "experiment_sha256 is not that of the experiment",
        ),
    ],
)
def test_what_does_not_follow_from_raw_is_found_even_when_the_sums_fit(
    directory: Path, file: str, change: Callable[[Any], None], expected: str
) -> None:
    _edit(directory / file, change)
    assert expected in _damage(verify(directory))


def test_a_gate_that_was_loosened_in_the_experiment_as_well_is_found(directory: Path) -> None:
    def loosen(campaign: Any) -> None:
        campaign["experiment"]["gates"]["sectors_read"] = 1
        campaign["experiment_sha256"] = fingerprint(campaign["experiment"])

    _edit(directory / "campaign.json", loosen)
    found = _damage(verify(directory))
    assert f"{CELL}/cell.json: gate reads_happened passed with 40000 where 100 sectors is required" in found
    assert f"{CELL}/env.json: experiment_sha256 is" in found


@pytest.mark.parametrize(
    ("break_it", "expected"),
    [
        (lambda d: (d / "notes.txt").write_text("x"), "notes.txt: was added"),
        (lambda d: (d / "cells/notes.txt").write_text("x"), "cells/notes.txt: was added"),
        (lambda d: (d / "cells/.hidden").mkdir(), "cells/.hidden: was added"),
        (
            lambda d: (d / CELL / "raw/after/guest1.txt").unlink(),
            "cannot be recomputed: raw/after/guest1.txt is missing",
        ),
        (lambda d: (d / CELL / "raw/barrier.txt").unlink(), "cannot be recomputed: raw/barrier.txt is missing"),
        (
            lambda d: (d / CELL / "raw/before/dom0.jsonl").write_text("no\n"),
            "a reading of dom0's agent cannot be understood",
        ),
        (lambda d: (d / CELL / "raw/guest1/output").write_text("mad\n"), "the checksums are not those"),
        (lambda d: (d / CELL / "raw/kernel_log/dom0.txt").write_text("BUG: x\n"), "gate kernel_logs passed with 0"),
        (
            lambda d: _replace(d / CELL / "samples/samples.csv", "free_memory,pages,", "free_memory,pages,9"),
            "samples.csv: line 2 is",
        ),
    ],
)
def test_files_that_do_not_fit_the_record_are_found_even_when_the_sums_fit(
    directory: Path, break_it: Callable[[Path], object], expected: str
) -> None:
    break_it(directory)
    forge(directory)
    assert expected in _damage(verify(directory))


@pytest.mark.parametrize("name", ["cells/static.r1", "attempts/static.r1.1"])
def test_the_campaigns_sums_miss_a_directory_that_was_taken_away_or_exchanged(directory: Path, name: str) -> None:
    path = next(iter((directory / name.partition("/")[0]).iterdir()))
    store.write_sums(path)  # the cell's own sums are right
    (path / "SHA256SUMS").write_text((path / "SHA256SUMS").read_text() + "\n")
    assert "SHA256SUMS: its content has changed" in _damage(verify(directory))
    shutil.rmtree(path)
    assert f"{path.relative_to(directory)}/SHA256SUMS: missing" in _damage(verify(directory))


def _replace(path: Path, old: str, new: str) -> None:
    path.write_text(path.read_text().replace(old, new, 1))


@pytest.fixture(scope="module")
def factorial(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two policies, two levels, two repetitions."""
    base = tmp_path_factory.mktemp("factorial")
    text = SMALL.replace("[static, selfballoon, selfballoon+tmem]", "[static, selfballoon]").split("claims:")[0]
    text = text.replace("repetitions: 1", "repetitions: 2\nfactors: {workload.parameters.size: [1, 2]}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(registry._CLASSES, "fake", "campaign_fakes:FakeLoad")
        run(write_experiment(base, text), FakeHost(base / "host"), results=base / "results")
    return find(base / "results").directory


LEVELS = [plan.level_key({"workload.parameters.size": size}) for size in (1, 2)]


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        (f"static.{LEVELS[0]}.r1", f"static.{LEVELS[0]}.r2", "the two may have been exchanged"),
        (f"static.{LEVELS[0]}.r1", f"static.{LEVELS[1]}.r1", "parameters.size is 2, and 1 by the plan"),
        (
            f"static.{LEVELS[0]}.r1",
            f"selfballoon.{LEVELS[0]}.r1",
            "policy.name is 'selfballoon', and 'static' by the plan",
        ),
    ],
)
def test_cells_that_were_exchanged_are_found_even_when_names_and_sums_fit(
    factorial: Path, tmp_path: Path, one: str, other: str, expected: str
) -> None:
    directory = Path(shutil.copytree(factorial, tmp_path / "test"))
    assert verify(directory).findings == ()
    _exchange(directory, one, other)
    assert expected in _damage(verify(directory))


def _exchange(directory: Path, one: str, other: str) -> None:
    """Give two cells each other's place: directory, record and identity in env.json."""
    cells = directory / "cells"
    (cells / one).rename(cells / "between")
    (cells / other).rename(cells / one)
    (cells / "between").rename(cells / other)
    campaign = json.loads((directory / "campaign.json").read_text())
    for planned in campaign["cells"]:
        if planned["cell"] in (one, other):
            place = {key: planned[key] for key in ("cell", "policy", "levels", "repetition", "block", "order")}
            _edit(cells / planned["cell"] / "cell.json", lambda c, place=place: c.update(place))
            if "identity" in json.loads((cells / planned["cell"] / "env.json").read_text()):
                name = planned["cell"]
                _edit(cells / name / "env.json", lambda e, name=name: e["identity"].update(cell=name))


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (_metric("sectors_read", 819_760), "metric sectors_read of guest1 is 819760 sectors; recomputed, it is"),
        (_metric("wall_seconds", 1.0), "metric wall_seconds of guest1 is 1.0 s; recomputed, it is"),
        (_gate("reads_happened", required=1), "gate reads_happened passed with"),
    ],
)
def test_a_published_campaign_that_was_changed_is_found(
    tmp_path: Path, change: Callable[[Any], None], expected: str
) -> None:
    directory = Path(shutil.copytree(PUBLISHED / "reference", tmp_path / "reference", ignore=_no_figures))
    _edit(directory / "cells/static.r1/cell.json", change)
    assert expected in _damage(verify(directory))


def test_repetitions_of_a_published_campaign_that_were_exchanged_are_found(tmp_path: Path) -> None:
    directory = Path(shutil.copytree(PUBLISHED / "reference-repeated", tmp_path / "test", ignore=_no_figures))
    _exchange(directory, "selfballoon.r1", "selfballoon.r2")
    assert "the two may have been exchanged" in _damage(verify(directory))


def test_a_counter_that_came_after_a_campaign_is_no_damage_and_one_that_it_had_is(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    later = names.Counter("tmem_later", "count")
    monkeypatch.setattr(names, "TMEM", {**names.TMEM, "Zz": later})
    assert not verify(directory).damaged
    assert not verify(PUBLISHED / "reference").damaged
    campaign = json.loads((directory / "campaign.json").read_text())
    _edit(directory / "campaign.json", lambda c: c.update(counters=[*campaign["counters"], later.name]))
    assert "samples.csv: line " in _damage(verify(directory))


def test_of_an_older_campaign_it_is_said_what_cannot_be_recomputed() -> None:
    verification = verify(PUBLISHED / "reference")
    assert not verification.damaged
    if any("older layout" in finding.message for finding in verification.findings):
        assert any("cannot be recomputed from raw" in line for line in verification.lines())


def _no_figures(folder: str, names: list[str]) -> list[str]:
    return [name for name in names if name in ("figures", "tables")]


def test_where_there_is_no_campaign_that_is_said(tmp_path: Path) -> None:
    with pytest.raises(ResultsError, match="there is no campaign here"):
        verify(tmp_path)


def test_gates_of_another_version_are_damage_and_it_is_said_which(directory: Path) -> None:
    """Named after a campaign that listed one gate more: no verdict was made again, and what had
    failed a gate became sound and complete.
    """
    _edit(directory / "campaign.json", lambda c: c.update(gates=[*c["gates"][1:], "of_tomorrow"]))
    forge(directory)
    (found,) = [finding for finding in verify(directory).findings if finding.level == "damage"]
    assert found.path == "campaign.json"
    assert found.message.startswith(
        "the gates are not this testbed's (it has of_tomorrow; this testbed has guests_alive)"
    )
    assert "verify them with the testbed" in found.message


def test_a_campaign_of_which_cells_were_asked_for_by_name_lacks_none(tmp_path: Path) -> None:
    request = write_experiment(tmp_path, SMALL)
    for cell in ("selfballoon.r1", "static.r1"):
        run(request, FakeHost(tmp_path / "host"), results=tmp_path / "results", cell=cell)
    verification = verify(find(tmp_path / "results").directory)
    verification.check()
    assert not verification.incomplete
    assert [(finding.level, finding.path) for finding in verification.findings] == [
        ("note", "cells/selfballoon+tmem.r1")
    ]
    assert "sound, as far as it was asked for (2 of 3 cells" in verification.lines()[-1]
    run(request, FakeHost(tmp_path / "host"), results=tmp_path / "results")
    assert verify(find(tmp_path / "results").directory).findings == ()
