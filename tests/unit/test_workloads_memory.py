"""memload, compiled and run here, and what is read of what it prints."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from plumbum import local

from common.errors import OutputsError, WorkloadError
from tests.unit.workloads_local import DATA
from tests.unit.workloads_local import raw as raw  # noqa: PLC0414  a fixture
from workloads import programs, registry
from workloads.base import ParameterError
from workloads.latencies import Latencies, percentile
from workloads.memload_output import read_steps, read_stream
from workloads.run import run

HERE = Path("memload.out")
RAMP = (DATA / "memload" / "ramp.txt").read_text()
STREAM = (DATA / "memload" / "stream.txt").read_text()
ASKED = [("grow", 48 * 2**20), ("touch", 20000), ("hold", 0), ("touch", 200), ("release", 32 * 2**20), ("hold", 0)]


@pytest.fixture
def memload(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the program is compiled."""
    folder = tmp_path / "programs"
    monkeypatch.setattr(programs, "THERE", str(folder))
    return folder


def values_of(name: str, parameters: dict[str, Any], folder: Path) -> dict[str, Any]:
    workload = registry.get(name)
    result = run(local, workload, workload.parse({"reset_memory": False, **parameters}), folder, timeout_s=60)
    return {metric.name: metric.value for metric in result.metrics}


def test_a_ramp_holds_what_it_says(memload: Path, raw: Path, tmp_path: Path) -> None:
    steps = [
        {"grow": "4 MiB", "over": "300 ms"},
        {"touch": 500},
        {"touch": 20, "over": "200 ms"},
        {"release": "3 MiB"},
        {"grow": "1 MiB"},
        {"hold": "100 ms"},
    ]
    values = values_of("memory_ramp", {"schedule": steps}, tmp_path / "kept")
    assert values["peak_bytes"] == 4 * 2**20
    assert values["touches"] == 520
    assert values["step_seconds.step1"] >= 0.28
    assert values["step_seconds.step3"] >= 0.18
    assert values["step_seconds.step6"] >= 0.1
    for word in ("grow", "touch", "arrival"):
        figures = [values[f"{word}_latency_{p}"] for p in ("p50", "p99", "p99.9", "max")]
        assert figures == sorted(figures), word
        assert figures[0] > 0
    (program,) = memload.iterdir()
    assert program.name == Path(programs.path("memload")).name


def test_a_program_that_is_there_is_not_compiled_again(memload: Path, raw: Path, tmp_path: Path) -> None:
    program = Path(programs.path("memload"))
    program.parent.mkdir()
    program.write_text("#!/bin/sh\ncat " + str(DATA / "memload" / "spike.txt"))
    program.chmod(0o755)
    values = values_of("spike", {"size": "4 MiB"}, tmp_path / "kept")
    assert values["spike_seconds"] == 0.002512


def test_a_stream_moves_bytes(memload: Path, raw: Path, tmp_path: Path) -> None:
    values = values_of("stream", {"size": "1 MiB", "rounds": 3}, tmp_path / "kept")
    for kernel in ("copy", "scale", "add", "triad"):
        assert values[f"{kernel}_bandwidth"] >= values[f"{kernel}_bandwidth_mean"] > 1e6


def test_memory_that_cannot_be_had_is_said(memload: Path, raw: Path, tmp_path: Path) -> None:
    with pytest.raises(WorkloadError) as caught:
        values_of("memory_ramp", {"schedule": [{"grow": "1024 TiB"}]}, tmp_path / "kept")
    assert "exit status 1" in caught.value.what
    assert "no addresses" in caught.value.why


def test_captured_steps_exactly() -> None:
    steps = read_steps(RAMP, ASKED, HERE)
    assert [each.latencies.counted for each in steps] == [12288, 20000, 0, 200, 0, 0]
    assert (steps[0].seconds, steps[0].latencies.longest) == (3.992688, 234617)
    assert [each.held for each in steps] == [48 * 2**20] * 4 + [16 * 2**20] * 2


def test_percentiles_are_those_of_all_pages_together() -> None:
    several = [Latencies(900, {10: 2, 1023: 1}), Latencies(35, {40: 1})]
    assert [percentile(several, share) for share in (0.5, 0.75, 1.0)] == [10, 40, 900]
    assert percentile([], 0.5) is None


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("memload 1\n", "memload 2\n"),
        ("end\n", ""),
        ("step 3 hold", "step 4 hold"),
        ("step 3 hold", "step 3 sleep"),
        ("touch 20000", "touch 19999"),
        ("latency 4 ", "latency 5 "),
        ("step 6 hold", "killed\nstep 6 hold"),
        (RAMP.splitlines()[2] + "\n", ""),
        (RAMP.splitlines()[2] + "\n", RAMP.splitlines()[3] + "\n"),
    ],
)
def test_steps_that_are_not_whole_are_refused(old: str, new: str) -> None:
    assert old in RAMP
    with pytest.raises(OutputsError, match="memload's output"):
        read_steps(RAMP.replace(old, new, 1), ASKED, HERE)


def test_captured_stream_exactly() -> None:
    found = read_stream(STREAM, 16 * 2**20, 10, HERE)
    assert {kernel: len(times) for kernel, times in found.items()} == dict.fromkeys(
        ("copy", "scale", "add", "triad"), 10
    )
    assert f"round 10 triad {found['triad'][-1]:.9f}" in STREAM


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("checked 2097152\n", ""),
        ("checked 2097152\n", "checked 2097151\n"),
        ("round 10 triad", "round 11 triad"),
        ("round 2 add", "round 2 ad"),
        ("round 1 copy", "round 1 scale"),
    ],
)
def test_a_stream_that_is_not_whole_is_refused(old: str, new: str) -> None:
    assert old in STREAM
    with pytest.raises(OutputsError, match="memload's output"):
        read_stream(STREAM.replace(old, new, 1), 16 * 2**20, 10, HERE)


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ([{"grow": "1 MiB", "hold": "1 s"}], "exactly one"),
        ([{"over": "1 s"}], "exactly one"),
        ([{"hold": "1 s", "over": "1 s"}], "no `over`"),
        ([{"grow": "1 MiB"}, {"release": "2 MiB"}], "step 2 releases more"),
        ([{"touch": 1}], "none is held"),
        ([{"grow": "5000 B"}], "multiple of 4096"),
        ([], "at least 1"),
    ],
)
def test_schedules_that_make_no_sense_are_refused(steps: list[dict[str, object]], message: str) -> None:
    with pytest.raises(ParameterError) as caught:
        registry.get("memory_ramp").parse({"schedule": steps})
    assert message in str(caught.value)


def test_a_schedule_is_written_as_a_person_writes_it() -> None:
    workload = registry.get("memory_ramp")
    steps = [{"grow": "4 MiB", "over": "3 s"}, {"hold": "1 s"}]
    assert workload.parse({"schedule": steps}).model_dump(mode="json")["schedule"] == steps


def test_an_image_has_the_program_where_it_is_looked_for() -> None:
    role = Path(__file__).resolve().parents[2] / "playbooks" / "roles" / "guest_root_loads" / "files" / "programs.sh"
    assert f'"{programs.THERE}/$name-$digest"' in role.read_text()
    assert "cut -c 1-16" in role.read_text()
