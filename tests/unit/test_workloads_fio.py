"""fio's JSON: what three versions really wrote, and what must not pass for a result."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
from plumbum import local

from common.errors import WorkloadError
from tests.unit.workloads_local import DATA, fio_document, write_program, write_timings
from tests.unit.workloads_local import programs as programs  # noqa: PLC0414  a fixture
from tests.unit.workloads_local import raw as raw  # noqa: PLC0414  a fixture
from workloads import complaints, registry
from workloads.base import ParameterError
from workloads.fio_output import read_document, read_job
from workloads.run import run

FIO = DATA / "fio"
VERSIONS = ("3.25", "3.33", "3.39")
HERE = Path("fio.out")


def text_of(name: str) -> str:
    return (FIO / name).read_text()


@pytest.mark.parametrize("version", VERSIONS)
def test_a_captured_mix_of_reads_and_writes(version: str) -> None:
    text = text_of(f"{version}-randrw-psync.json")
    job = json.loads(text)["jobs"][0]
    values = read_job(text, HERE)
    assert values["read_iops"] == job["read"]["iops"] > 0
    assert values["write_bandwidth"] == job["write"]["bw_bytes"] > 0
    assert (values["read_bytes"] or 0) + (values["write_bytes"] or 0) == 4 * 2**20
    assert values["read_latency_p95"] == job["read"]["clat_ns"]["percentile"]["95.000000"]
    ordered = [values[f"read_latency_{name}"] for name in ("p50", "p95", "p99")]
    assert ordered == sorted(ordered, key=lambda value: value or 0)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_direction_without_requests_is_none_and_not_zero(version: str) -> None:
    values = read_job(text_of(f"{version}-write-libaio.json"), HERE)
    assert {name for name, value in values.items() if value is None} == {
        name for name in values if name.startswith("read_")
    }
    assert values["job_seconds"] == pytest.approx(1.0, abs=0.1)
    assert values["write_iops"]


@pytest.mark.parametrize("version", VERSIONS)
def test_notes_before_the_document_are_skipped(version: str) -> None:
    assert read_document(text_of(f"{version}-read-note.json"), HERE)["fio version"] == f"fio-{version}"


def test_the_captures_hold_a_note() -> None:
    assert text_of("3.39-read-note.json").startswith("note: ")


@pytest.mark.parametrize("version", VERSIONS)
def test_an_error_of_the_job_is_an_error(version: str) -> None:
    with pytest.raises(WorkloadError, match="error 28"):
        read_job(text_of(f"{version}-enospc.json"), HERE)


@pytest.mark.parametrize("version", VERSIONS)
def test_an_interrupted_run_is_an_error_although_its_document_says_error_0(version: str) -> None:
    text = text_of(f"{version}-interrupted.json")
    assert json.loads(text[text.index("{") :])["jobs"][0]["error"] == 0
    with pytest.raises(WorkloadError, match="interrupted"):
        read_job(text, HERE)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no JSON"),
        ("fio: failed parsing rw=bogus\n", "no JSON"),
        ('{"jobs": []', "cannot be read"),
        ('{"jobs": [], "jobs": []}', "'jobs' is there twice"),
        ('{"jobs": []}\n{"jobs": []}', "more after"),
        ('{"jobs": []} done', "more after"),
        ('{"jobs": []}', "another form"),
        ('{"jobs": [{"error": 0}]}', "lacks"),
        ('{"fio version": "x"}', "lacks 'jobs'"),
    ],
)
def test_what_is_no_result(text: str, words: str) -> None:
    with pytest.raises(WorkloadError) as caught:
        read_job(text, HERE)
    assert words in str(caught.value)


@pytest.mark.parametrize("key", ["iops", "bw_bytes", "clat_ns"])
def test_a_missing_figure_is_an_error_and_not_zero(key: str) -> None:
    document = json.loads(text_of("3.39-randrw-psync.json"))
    del document["jobs"][0]["read"][key]
    with pytest.raises(WorkloadError, match=f"lacks '{key}'"):
        read_job(json.dumps(document), HERE)


def test_two_jobs_are_not_one() -> None:
    document = json.loads(text_of("3.39-randrw-psync.json"))
    document["jobs"] *= 2
    with pytest.raises(WorkloadError, match="another form"):
        read_job(json.dumps(document), HERE)


def test_a_job_that_fails_shows_what_fio_said(raw: Path, tmp_path: Path, programs: Path) -> None:
    write_program(
        programs,
        "fio",
        '[ "$1" = --version ] && { echo fio-3.39; exit; }\necho "fio: io_u error: No space left on device" >&2; exit 1',
    )
    workload = registry.get("fio")
    params = workload.parse({"rw": "write", "directory": str(tmp_path / "files"), "reset_memory": False})
    with pytest.raises(WorkloadError) as caught:
        run(local, workload, params, tmp_path / "kept")
    assert "No space left on device" in caught.value.why


def test_a_machine_without_fio_says_so(raw: Path, tmp_path: Path, programs: Path) -> None:
    write_program(programs, "fio", "exit 127")
    workload = registry.get("fio")
    with pytest.raises(WorkloadError) as caught:
        workload.prepare(local, workload.parse({"directory": str(tmp_path), "reset_memory": False}))
    assert "fio is not installed: install Debian's package fio" in caught.value.why


def test_only_patterns_that_read_are_laid_out_first(raw: Path, tmp_path: Path, programs: Path) -> None:
    log = tmp_path / "log"
    write_program(programs, "fio", f'[ "$1" = --version ] && {{ echo fio-3.39; exit; }}\necho "$@" >> {log}')
    workload = registry.get("fio")
    for rw, calls in (("write", 0), ("randwrite", 0), ("read", 1), ("randrw", 2), ("rw", 3)):
        params = workload.parse({"rw": rw, "directory": str(tmp_path / "files"), "reset_memory": False})
        assert workload.prepare(local, params) == {"fio": "fio-3.39"}
        lines = log.read_text().splitlines() if log.exists() else []
        assert len(lines) == calls
        assert all(line.endswith("--create_only=1") for line in lines)


def test_the_file_is_removed_when_its_figures_are_read(raw: Path, tmp_path: Path) -> None:
    raw.mkdir()
    write_timings(raw, "fio")
    shutil.copy(FIO / "3.33-randrw-psync.json", raw / "fio.out")
    file = tmp_path / "overcommit.0.0"
    file.touch()
    workload = registry.get("fio")
    kept = tmp_path / "kept"
    kept.mkdir()
    values = {
        metric.name: metric.value
        for metric in workload.collect(local, workload.parse({"directory": str(tmp_path)}), kept).metrics
    }
    assert not file.exists()
    assert (values["wall_seconds"], values["user_seconds"], values["system_seconds"]) == (2.5, 1.25, 0.25)


def test_quantities_reach_the_command_line_exactly() -> None:
    workload = registry.get("fio")
    params = workload.parse(
        {"bs": "64 KiB", "size": "1 GiB", "runtime": "90 s", "iodepth": 8, "ioengine": "libaio", "direct": True}
    )
    text = workload.script(params)
    for word in ("--bs=65536", "--size=1073741824", "--time_based --runtime=90000ms", "--iodepth=8", "--direct=1"):
        assert word in text
    assert workload.expected_seconds(params, 16.0) == 90.0


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"bs": 4096}, "quantity with a unit"),
        ({"bs": "4 kB"}, "unknown unit 'kB'"),
        ({"bs": "2 MiB", "size": "1 MiB"}, "larger than size"),
        ({"iodepth": 4}, "needs libaio"),
        ({"ioengine": "mmap", "direct": True}, "page cache"),
        ({"ioengine": "sync"}, "ioengine"),
        ({"directory": "/tmp/a;b"}, "directory"),
        ({"block_size": "4 KiB"}, "no such parameter"),
    ],
)
def test_parameters_that_are_refused(values: dict[str, object], words: str) -> None:
    with pytest.raises(ParameterError) as caught:
        registry.get("fio").parse(values)
    assert words in str(caught.value)


# --- a tool that lost a worker, and says so only beside its figures -----------------------------


def lay_out(folder: Path, text: str, complaint: str = "", status: int = 0) -> Path:
    """Raw outputs of a run of fio: its document, what it said beside it, and its exit status."""
    folder.mkdir(exist_ok=True)
    write_timings(folder, "fio", status)
    (folder / "fio.out").write_text(text)
    (folder / "fio.err").write_text(complaint)
    return folder


def values_of(folder: Path) -> dict[str, float | int | None]:
    workload = registry.get("fio")
    return {metric.name: metric.value for metric in workload.read(workload.parse({}), folder).metrics}


def test_a_job_that_was_killed_at_once_is_an_error_that_names_the_signal() -> None:
    """Named after a run whose zeros became figures: fio exits with 0, and says error 0."""
    workload = registry.get("fio")
    with pytest.raises(WorkloadError, match=r"SIGKILL \(9\)") as caught:
        workload.read(workload.parse({}), DATA / "fio-job-killed-at-once")
    assert caught.value.where.endswith("fio.err")
    assert "got signal=9" in caught.value.why


def test_a_job_without_requests_is_an_error_even_without_a_word_beside_it(tmp_path: Path) -> None:
    """SIGTERM is one that fio does not speak of."""
    text = (DATA / "fio-job-killed-at-once" / "fio.out").read_text()
    with pytest.raises(WorkloadError, match="made no request"):
        values_of(lay_out(tmp_path, text))


@pytest.mark.parametrize(
    ("complaint", "words"),
    [
        ("fio: pid=4711, got signal=11\n", "SIGSEGV"),
        ("fio: pid=4711, got signal=9\n", "SIGKILL"),
        ("\nfio: terminating on signal 15\n", "SIGTERM"),
        (
            "fio: io_u error on file /f/overcommit.0.0: Input/output error: read offset=0, buflen=4096\n",
            "file could not be read",
        ),
        ("fio: pid=1, err=5/file:io_u.c:1803, func=io_u error, error=Input/output error\n", "file could not be read"),
        (
            (
                "fio: job 'overcommit' (state=5) hasn't exited in 60 seconds, "
                "it appears to be stuck. Doing forceful exit of this job.\n"
            ),
            "complained",
        ),
        ("verify: bad magic header 0, wanted acca at file /f offset 4096, length 4096\n", "complained"),
        ("fio: fork failed: Cannot allocate memory\n", "no memory"),
        ("Segmentation fault (core dumped)\n", "SIGSEGV"),
        ("Killed\n", "SIGKILL"),
        ("fio: backend.c:1500: fio_backend: Assertion `td' failed.\n", "check failed"),
        ("fio: file hash not empty on exit\n", "complained"),
    ],
)
def test_what_fio_says_beside_good_figures_counts(complaint: str, words: str, tmp_path: Path) -> None:
    good = text_of("3.39-randrw-psync.json")
    assert values_of(lay_out(tmp_path, good))["read_iops"]
    for text, said in ((good, complaint), (complaint + good, ""), (f"{good}\n{complaint}", "")):
        with pytest.raises(WorkloadError, match=words):
            values_of(lay_out(tmp_path, text, said))


@pytest.mark.parametrize(
    "note",
    [
        "note: both iodepth >= 1 and synchronous I/O engine are selected, queue depth will be capped at 1\n",
        "fio: this platform does not support process shared mutexes, forcing use of threads.\n",
        "hwloc: no NUMA nodes\n",
        "fio: native_fallocate call failed: Operation not supported\n",
        "fio: Any use of blockalign= turns off randommap\n",
        "fio: norandommap given for variable block sizes, verify limited\n",
        "fio: bs_unaligned may not work with raw io\n",
        (
            "fio: file /f/overcommit.0.0 exceeds 32-bit tausworthe random generator.\n"
            "fio: Switching to tausworthe64. Use the random_generator= option to get rid of this warning.\n"
        ),
    ],
)
def test_a_note_is_no_complaint(note: str, tmp_path: Path) -> None:
    assert values_of(lay_out(tmp_path, note + text_of("3.39-randrw-psync.json"), note))["read_iops"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (fio_document(job_runtime=0), "run time of 0"),
        (fio_document(write__io_bytes=0, read__io_bytes=4096), "ended early: after 4096 of 4194304 bytes"),
        (fio_document(error=5), "error 5"),
        (fio_document(read__total_ios=0, write__total_ios=0), "made no request"),
        (fio_document(read__iops=float("nan")), "NaN is no figure"),
        (fio_document(read__bw_bytes=float("inf")), "Infinity is no figure"),
        (fio_document(read__iops="12"), "no number"),
        (fio_document(read__iops=None), "no number"),
        (fio_document(read__iops=True), "no number"),
        (fio_document(read__iops=-1.0), "another form"),
        (fio_document().replace('"iops": ', '"iops": 1e999, "was": ', 1), "another form"),
        (fio_document(**{"job options": {"rw": "randread", "size": "4194304"}, "read__total_ios": 0}), "made no read"),
        (fio_document(**{"job options": {"time_based": "", "runtime": "90000ms", "size": "4096"}}), "of 90 s"),
        (fio_document(**{"job options": {"runtime": "90", "size": "4096"}}), "of 90 s"),
        (fio_document(**{"job options": {"numjobs": "4"}}), "lost jobs: 1 of 4"),
        (fio_document(error=0)[:-200], "cannot be read"),
        ("[" * 100_000, "no JSON"),
        ('{"a":' * 100_000, "cannot be read"),
    ],
)  # fmt: skip
def test_figures_that_do_not_show_the_work_that_was_asked_for(text: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(WorkloadError, match=words) as caught:
        values_of(lay_out(tmp_path, text))
    assert "fio.out" in caught.value.where


def test_an_error_of_a_later_job_is_found() -> None:
    document = json.loads(fio_document())
    document["jobs"].append({**document["jobs"][0], "error": 28})
    with pytest.raises(WorkloadError, match="job 2 of 2 failed with error 28") as caught:
        read_job(json.dumps(document), HERE)
    assert "No space left" in caught.value.why


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"iops": 0.0}, "read requests, and 0 for iops"),
        ({"bw_bytes": 0, "io_bytes": 0}, "0 for bandwidth and bytes"),
    ],
)
def test_requests_at_a_rate_of_zero_are_no_figures(changes: dict[str, object], words: str) -> None:
    document = json.loads(text_of("3.33-randrw-psync.json"))
    document["jobs"][0]["read"].update(changes)
    document["jobs"][0]["job options"].pop("size")
    with pytest.raises(WorkloadError, match="another form") as refused:
        read_job(json.dumps(document), HERE)
    assert words in refused.value.why


def test_a_job_that_went_on_after_errors_is_none_that_counts() -> None:
    """With continue_on_error, fio leaves the job's own error at 0."""
    document = json.loads(text_of("3.33-randrw-psync.json"))
    document["jobs"][0].update(total_err=3, first_error=5)
    with pytest.raises(WorkloadError, match="went on after 3 errors") as refused:
        read_job(json.dumps(document), HERE)
    assert "Input/output error" in refused.value.why


def test_an_exit_status_of_a_signal_is_named(tmp_path: Path) -> None:
    with pytest.raises(WorkloadError, match=r"exit status 137, killed by SIGKILL \(9\)"):
        values_of(lay_out(tmp_path, "", status=137))


def test_an_old_fio_has_what_it_writes_and_none_for_the_rest(tmp_path: Path) -> None:
    values = values_of(lay_out(tmp_path, text_of("2.1.11-randread.json")))
    assert (values["read_iops"], values["read_bandwidth"]) == (4096.0, 16384 * 1024)
    assert (values["read_latency_p95"], values["read_latency_max"]) == (612_000, 9_120_000)
    assert values["read_bytes"] is None
    assert values["job_seconds"] is None


def early(name: str) -> str:
    """A capture as fio 3.1 would have written it: no count of what was timed, neither `bw_bytes`
    nor `job_runtime`, and each percentile that nobody asked for under the same key.
    """
    document = json.loads(text_of(name)) | {"fio version": "fio-3.1"}
    job = document["jobs"][0]
    del job["job_runtime"]
    for word in ("read", "write", "trim"):
        del job[word]["bw_bytes"]
        for times in (job[word][key] for key in ("slat_ns", "clat_ns", "lat_ns")):
            del times["N"]
            times.setdefault("percentile", {})["99.990000"] = 0
    return json.dumps(document).replace('"99.990000": 0', '"99.990000": 0, "0.00": 0, "0.00": 0, "0.00": 0')


def test_a_fio_of_the_first_of_3_is_read_as_a_later_one() -> None:
    """Its documents were refused for the key that is there three times."""
    late, values = (
        read_job(text, HERE) for text in (text_of("3.25-write-libaio.json"), early("3.25-write-libaio.json"))
    )
    assert values["job_seconds"] is None
    assert values["write_bandwidth"] == pytest.approx(late["write_bandwidth"], abs=1024)
    alike = values.keys() - {"job_seconds", "write_bandwidth"}
    assert {name: values[name] for name in alike} == {name: late[name] for name in alike}
    with pytest.raises(WorkloadError, match=r"'0\.01' is there twice"):
        read_job(early("3.25-write-libaio.json").replace('"0.00"', '"0.01"'), HERE)
    with pytest.raises(WorkloadError, match="lacks 'job_runtime'"):
        read_job(early("3.25-write-libaio.json").replace("fio-3.1", "fio-3.10"), HERE)


def test_times_that_no_request_has_are_none_where_no_count_says_so() -> None:
    """Of a job with `disable_clat`: its zeros were figures."""
    document = json.loads(early("3.25-write-libaio.json"))
    document["jobs"][0]["write"]["clat_ns"] = {"min": 0, "max": 0, "mean": 0.0, "stddev": 0.0}
    values = read_job(json.dumps(document), HERE)
    assert {values["write_latency_mean"], values["write_latency_p50"], values["write_latency_max"]} == {None}
    assert values["write_iops"]


def test_a_time_bound_job_of_the_first_of_3_that_ended_early_is_noticed() -> None:
    document = json.loads(early("3.25-write-libaio.json"))
    document["jobs"][0]["job options"] |= {"time_based": "1", "runtime": "90"}
    with pytest.raises(WorkloadError, match="of 90 s"):
        read_job(json.dumps(document), HERE)


@pytest.mark.parametrize(
    "options",
    [
        {"time_based": "0", "runtime": "0"},
        {"runtime": "90", "loops": "4", "size": "1m"},
        {"bssplit": "4k/50:2m/50", "size": str(4 * 2**20 + 8192)},
        {"bsrange": "4k-1m", "size": "5m"},
        {"bs": "48k", "size": str(2**20 + 48 * 1024), "numjobs": "4", "group_reporting": "1"},
        {"size": "5m", "ramp_time": "5s"},
        {"size": "5m", "offset": "1m"},
    ],
)
def test_a_job_that_did_all_it_was_asked_for_did_not_end_early(options: dict[str, str]) -> None:
    assert read_job(fio_document(**{"job options": {"rw": "randrw", "size": "4194304", **options}}), HERE)["read_iops"]


def test_a_job_bound_by_a_size_that_it_did_not_reach_ended_early_though_its_time_is_0() -> None:
    text = fio_document(**{"job options": {"rw": "randrw", "size": "8m", "runtime": "0"}})
    with pytest.raises(WorkloadError, match="ended early"):
        read_job(text, HERE)


def test_processor_time_that_was_not_kept_is_none(tmp_path: Path) -> None:
    lay_out(tmp_path, fio_document())
    (tmp_path / "fio.after").unlink()
    values = values_of(tmp_path)
    assert (values["user_seconds"], values["system_seconds"], values["wall_seconds"]) == (None, None, 2.5)


def test_timings_of_another_workload_or_twice_are_an_error(tmp_path: Path) -> None:
    lay_out(tmp_path, fio_document())
    (tmp_path / "timings").write_text("fio 1.00 2.00 0\nfio 3.00 4.00 0\n")
    with pytest.raises(WorkloadError, match="twice"):
        values_of(tmp_path)
    (tmp_path / "timings").write_text("sysbench 1.00 2.00 0\n")
    with pytest.raises(WorkloadError, match="not fio's"):
        values_of(tmp_path)


def test_a_complaint_of_megabytes_is_read_in_no_time() -> None:
    began = time.process_time()
    assert complaints.deaths("*** " * 75_000) == []
    assert time.process_time() - began < 5


THREE = "3.39-zipf-three-jobs.json"


def test_jobs_that_are_reported_together_are_one() -> None:
    values = read_job(text_of(THREE), HERE)
    assert (values["read_bytes"] or 0) + (values["write_bytes"] or 0) == 3 * 4 * 2**20
    assert values["job_seconds"] == 0.144, "not the sum of their run times, which fio writes"
    assert values["read_latency_p99.9"] == 26345472


def test_jobs_of_which_one_moved_nothing_ended_early() -> None:
    document = json.loads(text_of(THREE))
    for word in ("read", "write"):
        document["jobs"][0][word]["io_bytes"] = 4 * 2**20
    with pytest.raises(WorkloadError, match="ended early: after 8388608 of 12582912 bytes"):
        read_job(json.dumps(document), HERE)


def said_by(programs: Path, raw: Path, tmp_path: Path, **values: object) -> list[str]:
    """The command lines that fio was called with."""
    log = tmp_path / "said"
    write_program(programs, "fio", f'echo "$@" >> {log}; [ "$1" != --version ] || echo fio-3.39; cat {FIO / THREE}')
    workload = registry.get("fio")
    params = workload.parse({"reset_memory": False, "directory": str(tmp_path / "files"), **values})
    run(local, workload, params, tmp_path / "kept")
    return log.read_text().splitlines()


def test_a_working_set_is_a_share_of_the_machines_memory(programs: Path, raw: Path, tmp_path: Path) -> None:
    asked = {"working_set": 0.5, "numjobs": 3, "rw": "randrw", "bs": "1 MiB"}
    _, laid_out, job = said_by(programs, raw, tmp_path, **asked)
    size = int((tmp_path / "kept" / "size").read_text())
    total = int(next(line for line in Path("/proc/meminfo").read_text().splitlines() if "MemTotal" in line).split()[1])
    assert size % 2**20 == 0
    assert size * 3 == pytest.approx(total * 1024 / 2, abs=3 * 2**20)
    for line in (laid_out, job):
        assert f"--size={size}" in line.split()
        assert line.count("--size=") == 1


def test_any_option_is_handed_on_and_zipf_too(programs: Path, raw: Path, tmp_path: Path) -> None:
    asked = {"size": "4 MiB", "numjobs": 3, "rw": "randrw", "random_distribution": "zipf:1.1"}
    *_, job = said_by(programs, raw, tmp_path, options={"rate_iops": 100, "thinktime": "5ms"}, **asked)
    words = job.split()
    assert {"--rate_iops=100", "--thinktime=5ms", "--random_distribution=zipf:1.1", "--group_reporting=1"} <= set(words)
    assert "--size=4194304" in words


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"options": {"size": "1g"}}, "options has size"),
        ({"options": {"--size": 1}}, "options"),
        ({"rw": "read", "random_distribution": "zipf:1.1"}, "sequential"),
        ({"random_distribution": "zipf"}, "random_distribution"),
        ({"working_set": 0}, "working_set"),
    ],
)
def test_jobs_that_make_no_sense_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ParameterError) as caught:
        registry.get("fio").parse(values)
    assert message in str(caught.value)
