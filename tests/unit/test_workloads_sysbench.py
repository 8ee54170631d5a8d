"""sysbench's text: what it really printed on three Debian releases, and what must not pass for a result."""

from __future__ import annotations

from pathlib import Path

import pytest
from plumbum import local

from common.errors import WorkloadError
from tests.unit.workloads_local import DATA, write_program
from tests.unit.workloads_local import programs as programs  # noqa: PLC0414  a fixture
from tests.unit.workloads_local import raw as raw  # noqa: PLC0414  a fixture
from workloads import registry
from workloads.base import ParameterError
from workloads.run import run
from workloads.sysbench import SysbenchCpu, SysbenchFileio, SysbenchMemory
from workloads.sysbench_output import read_report

SYSBENCH = DATA / "sysbench"
RELEASES = ("debian11", "debian12", "debian13")
HERE = Path("sysbench.out")


def text_of(release: str, test: str) -> str:
    return (SYSBENCH / f"1.0.20-{release}-{test}.txt").read_text()


@pytest.mark.parametrize("release", RELEASES)
def test_captured_cpu(release: str) -> None:
    values = read_report(text_of(release, "cpu"), SysbenchCpu.labels, HERE)
    rate, events, seconds = values["events_per_second"], values["events"], values["test_seconds"]
    assert rate is not None
    assert events is not None
    assert seconds is not None
    assert rate == pytest.approx(events / seconds, rel=0.01)
    assert isinstance(events, int)


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize("test", ["memory", "memory-read"])
def test_captured_memory(release: str, test: str) -> None:
    values = read_report(text_of(release, test), SysbenchMemory.labels, HERE)
    assert values["transferred"] == 256.0
    assert values["operations_per_second"]
    assert values["bandwidth"]
    block = 4096 if test == "memory" else 1024
    assert values["events"] == 256 * 2**20 // block
    assert values["bandwidth"] == pytest.approx((values["operations_per_second"] or 0) * block / 2**20, rel=0.001)


def test_captured_fileio_exactly() -> None:
    """One capture by hand, so that a label which reads its neighbour's figure is seen."""
    values = read_report(text_of("debian13", "fileio-rndrw"), SysbenchFileio.labels, HERE)
    wanted = [
        line.split()[-1].removesuffix("s")
        for line in text_of("debian13", "fileio-rndrw").splitlines()
        if line.startswith("    ")
    ]
    found = [
        values[name]
        for name in ("reads_per_second", "writes_per_second", "fsyncs_per_second", "read_bandwidth", "write_bandwidth")
    ]
    found += [
        values[name] for name in ("test_seconds", "events", "latency_min", "latency_mean", "latency_max", "latency_p95")
    ]
    assert found == [float(word) for word in wanted[: len(found)]]


@pytest.mark.parametrize("release", RELEASES)
def test_captured_fileio(release: str) -> None:
    values = read_report(text_of(release, "fileio-rndrw"), SysbenchFileio.labels, HERE)
    reads, writes = values["reads_per_second"], values["writes_per_second"]
    assert reads is not None
    assert writes is not None
    assert reads / writes == pytest.approx(1.5, rel=0.01)
    assert values["read_bandwidth"] == pytest.approx(reads * 16384 / 2**20, rel=0.01)
    reading = read_report(text_of(release, "fileio-seqrd"), SysbenchFileio.labels, HERE)
    assert reading["writes_per_second"] == 0
    assert reading["reads_per_second"]


@pytest.mark.parametrize("release", RELEASES)
def test_a_fatal_line_is_an_error_with_its_reason(release: str) -> None:
    with pytest.raises(WorkloadError, match="sysbench failed") as caught:
        read_report(text_of(release, "fileio-missing"), SysbenchFileio.labels, HERE)
    assert "Cannot open file 'test_file.0'" in caught.value.why


@pytest.mark.parametrize("label", ["events per second", "total time", "95th percentile", "total number of events"])
def test_a_missing_figure_is_an_error_and_not_zero(label: str) -> None:
    text = "".join(line for line in text_of("debian13", "cpu").splitlines(keepends=True) if label not in line)
    with pytest.raises(WorkloadError, match="another form") as caught:
        read_report(text, SysbenchCpu.labels, HERE)
    assert "sysbench 1.0.20" in caught.value.why


def test_a_figure_that_is_there_twice_is_an_error() -> None:
    text = text_of("debian13", "cpu")
    with pytest.raises(WorkloadError, match="another form"):
        read_report(text + text, SysbenchCpu.labels, HERE)


def test_the_report_of_another_test_is_an_error() -> None:
    with pytest.raises(WorkloadError, match="another form"):
        read_report(text_of("debian13", "cpu"), SysbenchMemory.labels, HERE)


def fake_sysbench(programs: Path, log: Path, report: str) -> None:
    body = f'[ "$1" = --version ] && {{ echo sysbench 1.0.20; exit; }}\necho "$PWD $@" >> {log}\n'
    body += f'case "$*" in *prepare) : > test_file.0 ;; *) cat {SYSBENCH}/{report} ;; esac'
    write_program(programs, "sysbench", body)


def test_fileio_makes_its_files_runs_beside_them_and_removes_them(raw: Path, tmp_path: Path, programs: Path) -> None:
    fake_sysbench(programs, tmp_path / "log", "1.0.20-debian12-fileio-rndrw.txt")
    workload = registry.get("sysbench_fileio")
    folder = tmp_path / "files"
    params = workload.parse({"directory": str(folder), "reset_memory": False, "time": None, "events": 5})
    result = run(local, workload, params, tmp_path / "kept")
    made, ran = (tmp_path / "log").read_text().splitlines()
    assert made == f"{folder} fileio --file-num=4 --file-total-size=67108864 prepare"
    assert ran.startswith(f"{folder} fileio ")
    assert ran.endswith("--time=0 --events=5 run")
    assert not list(folder.iterdir())
    assert result.facts == {"sysbench": "sysbench 1.0.20"}


def test_a_test_that_fails_shows_what_sysbench_said(raw: Path, tmp_path: Path, programs: Path) -> None:
    write_program(
        programs,
        "sysbench",
        '[ "$1" = --version ] && { echo sysbench 1.0.20; exit; }\necho "FATAL: out of memory"; exit 1',
    )
    workload = registry.get("sysbench_memory")
    with pytest.raises(WorkloadError) as caught:
        run(local, workload, workload.parse({"reset_memory": False}), tmp_path / "kept")
    assert "FATAL: out of memory" in caught.value.why


@pytest.mark.parametrize(
    ("name", "values", "words"),
    [
        ("sysbench_cpu", {"time": None}, "never ends"),
        ("sysbench_cpu", {"time": "2.5 s"}, "multiple of 1"),
        ("sysbench_cpu", {"time": 10}, "quantity with a unit"),
        ("sysbench_memory", {"block_size": "3 KiB"}, "power of two"),
        ("sysbench_memory", {"block_size": "2 GiB"}, "larger than total_size"),
        ("sysbench_memory", {"scope": "globl"}, "scope"),
        ("sysbench_fileio", {"time": None}, "never ends"),
        ("sysbench_fileio", {"block_size": "32 MiB"}, "larger than one file"),
    ],
)
def test_parameters_that_are_refused(name: str, values: dict[str, object], words: str) -> None:
    with pytest.raises(ParameterError) as caught:
        registry.get(name).parse(values)
    assert words in str(caught.value)


def test_work_that_is_bound_by_its_amount_takes_longer_on_a_slow_machine() -> None:
    workload = registry.get("sysbench_cpu")
    by_events = workload.parse({"time": None, "events": 1000})
    assert workload.expected_seconds(by_events, 16.0) == pytest.approx(16 * workload.expected_seconds(by_events, 1.0))
    by_time = workload.parse({"time": "30 s"})
    assert workload.expected_seconds(by_time, 16.0) == 30.0
