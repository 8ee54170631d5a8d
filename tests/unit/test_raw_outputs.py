"""workloads.read: a workload's own reader on raw outputs of a cell or of any other machine."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from command import inv

from campaigns import raw_outputs
from common.errors import CampaignError, InvalidFileError, UsageError
from tests.unit.workloads_local import DATA, write_timings

ROOT = Path(__file__).resolve().parents[2]
KILLED = DATA / "fio-job-killed-at-once"


def fio_outputs(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    write_timings(folder, "fio")
    shutil.copy(DATA / "fio" / "3.39-write-libaio.json", folder / "fio.out")
    return folder


def test_a_lost_worker_is_an_error_that_names_signal_and_file_and_gives_no_figure() -> None:
    done = inv("workloads.read", "fio", "--raw", str(KILLED))
    assert done.returncode == 7
    assert "SIGKILL (9)" in done.stderr
    assert str(KILLED / "fio.err") in done.stderr
    assert done.stdout == ""
    found = json.loads(inv("workloads.read", "fio", "--raw", str(KILLED), "--json").stdout)
    assert found["machines"][0]["metrics"] == []
    assert "SIGKILL" in found["machines"][0]["error"]["what"]


def test_metrics_with_units_and_null_for_what_is_missing(tmp_path: Path) -> None:
    done = inv("workloads.read", "fio", "--raw", str(fio_outputs(tmp_path)), "--json")
    assert done.returncode == 0, done.stderr
    (machine,) = json.loads(done.stdout)["machines"]
    metrics = {each["name"]: each for each in machine["metrics"]}
    assert metrics["write_iops"]["unit"] == "1/s"
    assert metrics["write_iops"]["value"] > 0
    assert metrics["read_iops"]["value"] is None
    printed = inv("workloads.read", "fio", "--raw", str(tmp_path)).stdout
    assert "write_iops" in printed
    assert "–" in printed


def test_a_cell_has_a_folder_for_each_guest_and_knows_its_parameters() -> None:
    cell = ROOT / "results" / "reference" / "cells" / "static.r1"
    record = json.loads((cell / "cell.json").read_text())
    declared = json.loads((cell.parents[1] / "campaign.json").read_text())["experiment"]["workload"]
    for folder in (cell, cell / "raw"):
        found = raw_outputs.read(declared["name"], folder, {})
        assert [each.machine for each in found] == ["guest1", "guest2", "guest3"]
        for each in found:
            assert each.error is None
            # and the defaults of parameters that the workload has got since
            assert declared["parameters"].items() <= each.parameters.items()
            stored = {m["name"]: m["value"] for m in record["metrics"] if m["guest"] == each.machine}
            assert {metric.name: metric.value for metric in each.metrics}.items() <= stored.items()
            assert record["checksums"][each.machine] == each.checksums


def test_one_guest_that_failed_leaves_the_others_their_figures(tmp_path: Path) -> None:
    fio_outputs(tmp_path / "raw" / "guest1")
    shutil.copytree(KILLED, tmp_path / "raw" / "guest2")
    found = raw_outputs.read("fio", tmp_path / "raw", {})
    assert [(each.machine, bool(each.metrics), each.error is None) for each in found] == [
        ("guest1", True, True),
        ("guest2", False, False),
    ]
    with pytest.raises(CampaignError, match="SIGKILL"):
        raw_outputs.require_good(found)


def test_a_guest_that_left_nothing_is_missing_and_not_left_out(tmp_path: Path) -> None:
    """The metrics of the others were printed, and the exit code was 0."""
    cell = Path(shutil.copytree(ROOT / "results" / "reference" / "cells" / "static.r1", tmp_path / "cell"))
    shutil.rmtree(cell / "raw" / "guest2")
    found = raw_outputs.read("kernel_build", cell, {"targets": ["kernel/exit.o", "lib/radix-tree.o", "fs/inode.o"]})
    assert [each.machine for each in found] == ["guest1", "guest2", "guest3"]
    assert [each.error is None for each in found] == [True, False, True]
    with pytest.raises(InvalidFileError):
        raw_outputs.require_good(found)


def test_outputs_tell_parameters_that_nobody_gave() -> None:
    (found,) = raw_outputs.read("kernel_build", DATA / "kernel_build" / "two-rounds", {})
    assert found.parameters["rounds"] == 2
    assert "wall_seconds.round2" in {metric.name for metric in found.metrics}
    (given,) = raw_outputs.read("kernel_build", DATA / "kernel_build" / "two-rounds", {"targets": ["mm/nosuch.o"]})
    assert given.error is not None
    assert "mm/nosuch.o" in given.error.why


@pytest.mark.parametrize(
    ("name", "raw", "code", "words"),
    [
        ("fio", "nosuch", 4, "no such folder"),
        ("fio", "tests/unit", 4, "no raw outputs"),
        ("fo", "tests/data", 2, "did you mean 'fio'?"),
        ("sysbench_cpu", "tests/data/fio-job-killed-at-once", 4, "not sysbench_cpu's"),
        ("kernel_build", "tests/data/kernel_build/no-such-object", 7, "No rule to make target"),
    ],
)
def test_what_cannot_be_read(name: str, raw: str, code: int, words: str) -> None:
    done = inv("workloads.read", name, "--raw", raw)
    assert done.returncode == code, done.stderr
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_a_truncated_document_is_an_invalid_file(tmp_path: Path) -> None:
    fio_outputs(tmp_path)
    (tmp_path / "fio.out").write_text((tmp_path / "fio.out").read_text()[:2000])
    with pytest.raises(InvalidFileError, match="cannot be read"):
        raw_outputs.require_good(raw_outputs.read("fio", tmp_path, {}))


def test_parameters_from_a_file_and_from_words(tmp_path: Path) -> None:
    (tmp_path / "p.yml").write_text("rw: write\nsize: 2 MiB\n")
    given = raw_outputs.parameters(str(tmp_path / "p.yml"), ["size=4 MiB", "direct=true", "runtime=null"])
    assert given == {"rw": "write", "size": "4 MiB", "direct": True, "runtime": None}
    for wrong in (["rounds"], ["=2"], ["a=[1"], ["a=2020-13-45"], ["a={b: 1, b: 2}"], ["a=1", "a=2"]):
        with pytest.raises(UsageError):
            raw_outputs.parameters(None, wrong)
    with pytest.raises(InvalidFileError):
        raw_outputs.parameters(str(tmp_path / "nosuch.yml"), [])
    assert inv("workloads.read", "fio", "--raw", str(KILLED), "--set", "sizee=1").returncode == 2
    assert inv("workloads.read", "fio").returncode == 2
