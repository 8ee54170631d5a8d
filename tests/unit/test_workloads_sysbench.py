"""sysbench's text: what it really printed on three Debian releases, and what must not pass for a
result.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from plumbum import local

from common.errors import OutputsError, WorkloadError
from tests.unit.workloads_local import DATA, write_program, write_timings
from tests.unit.workloads_local import programs as programs  # noqa: PLC0414  a fixture
from tests.unit.workloads_local import raw as raw  # noqa: PLC0414  a fixture
from workloads import registry
from workloads.base import ParameterError
from workloads.run import run
from workloads.sysbench import SysbenchCpu, SysbenchFileio, SysbenchMemory
from workloads.sysbench_output import CPU, FILEIO, MEMORY, Labels, read_report

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


# --- other versions, and a tool that lost threads -----------------------------------------------


def report(name: str) -> str:
    return (SYSBENCH / f"{name}.txt").read_text()


@pytest.mark.parametrize(
    ("name", "labels", "figures"),
    [
        ("0.4.12-cpu", CPU, {"test_seconds": 2.7382, "events": 10000, "latency_p95": 1.15, "events_per_second": None}),
        ("0.4.12-memory", MEMORY, {"operations_per_second": 1622731.27, "transferred": 1024.0, "bandwidth": 1584.7}),
        ("0.4.12-fileio", FILEIO, {"events": 100000, "latency_mean": 0.38, "reads_per_second": None}),
        ("1.1.0-cpu", CPU, {"test_seconds": 10.0006, "events": 20612, "events_per_second": 2061.07}),
        (
            "1.1.0-fileio",
            FILEIO,
            {"reads_per_second": 3118.23, "write_bandwidth": 32.48, "fsyncs_per_second": 207.88, "events": None},
        ),
    ],
)
def test_other_versions_have_what_they_write_and_none_for_the_rest(
    name: str, labels: Labels, figures: dict[str, float | None]
) -> None:
    values = read_report(report(name), labels, HERE)
    assert {key: values[key] for key in figures} == figures
    assert 0 not in [values["test_seconds"], values["events"]]


@pytest.mark.parametrize("name", ["0.4.12-cpu", "0.4.12-fileio", "1.1.0-cpu", "1.0.20-debian13-cpu"])
@pytest.mark.parametrize("share", [0.3, 0.6])
def test_a_report_that_was_cut_short_is_no_report(name: str, share: float) -> None:
    text = report(name)
    with pytest.raises(WorkloadError, match="another form"):
        read_report(text[: int(len(text) * share)], FILEIO if "fileio" in name else CPU, HERE)


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("FATAL: Worker threads failed to initialize within 30 seconds!\n", "sysbench failed"),
        ("FATAL: `thread_run' function failed: (null)\n(last message repeated 3 times)\n", "sysbench failed"),
        ("(last message repeated 1 times)\n", "sysbench failed"),
        ("ALERT: attempt to do something else than sysbench could\n", "sysbench failed"),
        ("The --max-time limit has expired, forcing shutdown...\n", "sysbench failed"),
        ("Segmentation fault (core dumped)\n", "SIGSEGV"),
        ("Killed\n", "SIGKILL"),
        ("PANIC: unprotected error in call to Lua API (not enough memory)\nAborted\n", "SIGABRT"),
    ],
)
def test_what_sysbench_says_beside_good_figures_counts(said: str, words: str, tmp_path: Path) -> None:
    workload = registry.get("sysbench_cpu")
    write_timings(tmp_path, "sysbench")
    (tmp_path / "sysbench.out").write_text(report("1.0.20-debian13-cpu"))
    assert workload.read(workload.parse({}), tmp_path).metrics
    (tmp_path / "sysbench.err").write_text(said)
    with pytest.raises(WorkloadError, match=words) as caught:
        workload.read(workload.parse({}), tmp_path)
    assert caught.value.where.endswith("sysbench.err")
    with pytest.raises(WorkloadError, match=words):
        read_report(said + report("1.0.20-debian13-cpu"), CPU, HERE)


@pytest.mark.parametrize(
    "said",
    [
        (
            "WARNING: the --test option is deprecated. You can pass a "
            "script name or path on the command line without any options.\n"
        ),
        "Time limit exceeded, exiting...\n(last message repeated 3 times)\n",
    ],
)
def test_a_warning_about_options_and_a_normal_end_are_no_complaints(said: str) -> None:
    assert read_report(said + report("1.0.20-debian13-cpu"), CPU, HERE)["events"]


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (r"total number of events: +\d+", "total number of events:              0", "made no event"),
        (r"total number of events: +\d+", f"total number of events:              {'9' * 5000}", "another form"),
        (r"avg: +[\d.]+", "avg:                                    -nan", "no number"),
        (r"max: +[\d.]+", "max:                                    inf", "no number"),
        (r"execution time \(avg/stddev\): .*", "execution time (avg/stddev):   7.5000/4.33", "ended long before"),
        (r"Number of threads: \d+", "Number of threads: 4", "lost threads"),
        (r"\Z", "    ignored errors:                      12     (1.20 per sec.)\n", "ignored errors: 12"),
        (r"\Z", "    reconnects:                          1      (0.10 per sec.)\n", "reconnects: 1"),
    ],
)
def test_a_report_of_threads_that_did_not_come_to_their_end(old: str, new: str, words: str) -> None:
    text = re.sub(old, new, report("1.0.20-debian13-cpu"), count=1)
    assert text != report("1.0.20-debian13-cpu")
    with pytest.raises(WorkloadError, match=words):
        read_report(text, CPU, HERE)


def test_threads_that_shared_few_events_have_not_ended_early() -> None:
    """Of 20 threads that made two events and 60 that made one."""
    text = report("1.0.20-debian13-cpu")
    text = re.sub(r"execution time \(avg/stddev\): .*", "execution time (avg/stddev):   0.1250/0.04", text)
    assert read_report(re.sub(r"max: +[\d.]+", "max:           100.00", text), CPU, HERE)["events"]
    with pytest.raises(WorkloadError, match="ended long before"):
        read_report(re.sub(r"max: +[\d.]+", "max:           1.00", text), CPU, HERE)


@pytest.mark.parametrize(
    ("line", "changed"),
    [
        ("events per second:  4067.43", "events per second:  0.00"),
        ("events per second:  4067.43", "events per second:  99999.00"),
        ("total time:                          1.0027s", "total time:                          0.0000s"),
    ],
)
def test_figures_that_contradict_each_other_are_none(line: str, changed: str) -> None:
    text = (DATA / "sysbench" / "1.0.20-debian11-cpu.txt").read_text()
    assert line in text
    with pytest.raises(OutputsError, match="contradict each other"):
        read_report(text.replace(line, changed), CPU, Path("sysbench.out"))
