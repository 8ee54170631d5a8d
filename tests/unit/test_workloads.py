"""Every registered workload, through parameters, script and collect; and what all of them share."""

from __future__ import annotations

import dataclasses
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from plumbum import local
from pydantic import TypeAdapter

from common.errors import InvalidFileError, UsageError, WorkloadError
from common.metrics import Metric, MetricSpec
from tests.unit.workloads_local import DATA, write_program, write_timings
from tests.unit.workloads_local import programs as programs  # noqa: PLC0414  a fixture
from tests.unit.workloads_local import raw as raw  # noqa: PLC0414  a fixture
from workloads import machines, registry, scripts
from workloads.base import ParameterError, Workload, WorkloadParameters, WorkloadResult, parameter
from workloads.run import run


def captured_kernel_build(raw: Path, tmp_path: Path) -> dict[str, object]:
    shutil.copytree(DATA / "kernel_build" / "two-rounds", raw)
    (raw / "objects").unlink()
    build = tmp_path / "build"
    for name in ("mm/vmscan.o", "kernel/fork.o"):
        path = build / name
        path.parent.mkdir(parents=True)
        path.write_bytes(f"object {name}".encode())
    return {"rounds": 2, "targets": ["mm/vmscan.o", "kernel/fork.o"], "build": str(build)}


def captured(label: str, data: str | None, **parameters: object) -> Callable[[Path, Path], dict[str, object]]:
    """Parameters of a run whose one command printed a captured text."""

    def lay(raw: Path, tmp_path: Path) -> dict[str, object]:
        raw.mkdir()
        write_timings(raw, label)
        if data is not None:
            shutil.copy(DATA / data, raw / f"{label}.out")
        folder = tmp_path / "files"
        folder.mkdir()
        return {"directory": str(folder)} if "fileio" in (data or "") or label == "fio" else {**parameters}

    return lay


def captured_oltp(raw: Path, _tmp_path: Path) -> dict[str, object]:
    raw.mkdir()
    lines = []
    for users in (1, 4):
        write_timings(raw, f"users{users}")
        lines.append((raw / "timings").read_text())
        shutil.copy(DATA / "oltp" / "mariadb" / f"users{users}.out", raw)
    (raw / "timings").write_text("".join(lines))
    return {}


def captured_pgbench(raw: Path, tmp_path: Path) -> dict[str, object]:
    found = captured("pgbench", "pgbench/closed.txt")(raw, tmp_path)
    shutil.copy(DATA / "pgbench" / "closed.log", raw / "pgbench_log.42")
    return found


def captured_idle(raw: Path, tmp_path: Path) -> dict[str, object]:
    captured("idle", None)(raw, tmp_path)
    (raw / "idle.out").write_text("2.000\n")
    return {"length": "2 s"}


def captured_ripgrep(raw: Path, _tmp_path: Path) -> dict[str, object]:
    raw.mkdir()
    lines = []
    for label in ("search1", "search2"):
        write_timings(raw, label)
        lines.append((raw / "timings").read_text())
        shutil.copy(DATA / "ripgrep" / f"{label}.out", raw)
    (raw / "timings").write_text("".join(lines))
    return {"searches": 2}


def captured_rocksdb(raw: Path, tmp_path: Path) -> dict[str, object]:
    captured("rocksdb", "rocksdb/readrandom.txt")(raw, tmp_path)
    return {"operations": 3000, "directory": str(tmp_path / "database")}


def captured_web(raw: Path, tmp_path: Path) -> dict[str, object]:
    captured("wrk", "wrk/site.txt")(raw, tmp_path)
    return {"directory": str(tmp_path / "overcommit.site")}


CAPTURED: dict[str, Callable[[Path, Path], dict[str, object]]] = {
    "kernel_build": captured_kernel_build,
    "fio": captured("fio", "fio/3.39-randrw-psync.json"),
    "sysbench_cpu": captured("sysbench", "sysbench/1.0.20-debian13-cpu.txt"),
    "sysbench_memory": captured("sysbench", "sysbench/1.0.20-debian13-memory.txt"),
    "sysbench_fileio": captured("sysbench", "sysbench/1.0.20-debian13-fileio-rndrw.txt"),
    "sysbench_oltp": captured_oltp,
    "pgbench": captured_pgbench,
    "ripgrep": captured_ripgrep,
    "web": captured_web,
    "rocksdb": captured_rocksdb,
    "idle": captured_idle,
    "memory_ramp": captured("memload", "memload/ramp.txt"),
    "spike": captured("memload", "memload/spike.txt", size="4 MiB"),
    "stream": captured("memload", "memload/stream.txt"),
    "memcached": captured("kvload", "kvload/memcached.txt"),
    "valkey": captured("kvload", "kvload/valkey.txt"),
}


def check_sh(text: str) -> None:
    subprocess.run(["sh", "-n"], input=text, text=True, check=True)


@pytest.mark.parametrize("name", registry.names())
def test_every_workload_goes_from_parameters_to_metrics(name: str, raw: Path, tmp_path: Path) -> None:
    workload = registry.get(name)
    params = workload.parse(CAPTURED[name](raw, tmp_path))
    check_sh(workload.script(params))
    kept = tmp_path / "kept"
    kept.mkdir()
    result = workload.collect(local, params, kept)
    names = [metric.name for metric in result.metrics]
    assert len(set(names)) == len(names)
    for metric in result.metrics:
        assert metric.unit == workload.spec(metric.name).unit
        assert metric.guest is None
    by_name = {metric.name: metric.value for metric in result.metrics}
    assert by_name["wall_seconds"]
    assert {path.name for path in raw.iterdir()} <= {path.name for path in kept.iterdir()}
    assert workload.expected_seconds(params, 16.0) >= workload.expected_seconds(params, 1.0) > 0


@pytest.mark.parametrize("name", [name for name in registry.names() if "fileio" not in name and name != "web"])
def test_outputs_of_an_unknown_run_tell_what_is_needed_to_read_them(name: str, raw: Path, tmp_path: Path) -> None:
    workload = registry.get(name)
    params = workload.parse(CAPTURED[name](raw, tmp_path))
    if name == "kernel_build":
        shutil.copy(DATA / "kernel_build" / "two-rounds" / "objects", raw)
        params = workload.parse(workload.told(raw))
    wanted = {metric.name: metric.value for metric in workload.read(params, raw).metrics}
    found = workload.read(workload.parse(workload.told(raw)), raw)
    values = {metric.name: metric.value for metric in found.metrics}
    unlike = {key for key in values if values[key] != wanted[key]}
    assert unlike <= {key for key in values if name == "memory_ramp" and key.startswith(("touch_", "arrival_"))}


@pytest.mark.parametrize("name", registry.names())
def test_every_workload_documents_itself(name: str) -> None:
    workload = registry.get(name)
    description = workload.describe()
    assert description.name == name
    assert description.doc.endswith(".")
    assert {p.name for p in description.parameters} == set(workload.Parameters.model_fields)
    for entry in description.parameters:
        assert entry.doc
        assert entry.default
    for spec in description.metrics:
        assert spec.unit
        assert spec.doc
    names = [spec.name for spec in description.metrics]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("name", registry.names())
def test_every_workloads_defaults_are_valid_and_are_read_back(name: str) -> None:
    """An experiment stores its parameters resolved, and has to be readable again."""
    workload = registry.get(name)
    adapter: TypeAdapter[Any] = TypeAdapter(workload.Parameters)
    params = workload.parse({})
    written = adapter.dump_python(params, mode="json")
    assert adapter.validate_python(written) == params


@pytest.mark.parametrize("name", registry.names())
def test_every_workload_refuses_unknown_parameters(name: str) -> None:
    workload = registry.get(name)
    with pytest.raises(ParameterError) as caught:
        workload.parse({"reset_memry": True})
    assert caught.value.key == "reset_memry"
    assert "did you mean 'reset_memory'?" in caught.value.remedy
    assert isinstance(caught.value, InvalidFileError)


def test_every_mistake_is_shown_at_once() -> None:
    with pytest.raises(ParameterError) as caught:
        registry.get("kernel_build").parse({"jobs": "2", "rounds": 0, "clean": "all"})
    text = str(caught.value)
    assert all(key in text for key in ("jobs", "rounds", "clean"))


def test_an_unknown_workload_has_a_suggestion() -> None:
    with pytest.raises(UsageError) as caught:
        registry.get("kernel-build")
    assert caught.value.remedy == "did you mean 'kernel_build'?"


@pytest.mark.parametrize("name", registry.names())
def test_every_prepare_resets_memory_only_when_asked(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    texts: list[str] = []

    def record(machine: object, script: str, *, what: str, timeout_s: float) -> str:
        texts.append(script)
        return "tool=1.0\n"

    monkeypatch.setattr(machines, "check_script", record)
    workload = registry.get(name)
    for wanted in (True, False):
        assert workload.prepare(object(), workload.parse({"reset_memory": wanted})) == {"tool": "1.0"}
    with_reset, without = texts
    check_sh(with_reset)
    check_sh(without)
    for step in ("swapoff", "swapon", "drop_caches", "sync\n"):
        assert step in with_reset
    assert "drop_caches" not in without
    assert "swapoff" not in without


class EchoParameters(WorkloadParameters):
    """A workload small enough to see all of it."""

    body: str = parameter("echo 7", "what is run")


class Echo(Workload[EchoParameters]):
    """Run a line of shell."""

    name = "echo"
    Parameters = EchoParameters
    metrics = (MetricSpec("printed", "count", "higher", "the number it printed"),)

    def prepare(self, machine: Any, params: EchoParameters) -> dict[str, str]:
        return machines.key_values(
            machines.check_script(
                machine, scripts.prepare("echo shell=sh\n", reset_memory=False), what="prepare echo", timeout_s=10
            )
        )

    def script(self, params: EchoParameters) -> str:
        return scripts.timed(scripts.command("echo", ["sh", "-c", params.body]))

    def collect(self, machine: Any, params: EchoParameters, raw_dir: Path) -> WorkloadResult:
        machines.fetch_raw(machine, raw_dir)
        return self.read(params, raw_dir)

    def read(self, params: EchoParameters, raw_dir: Path) -> WorkloadResult:
        scripts.read_timings(raw_dir, "echo")
        return WorkloadResult(self.measured({"printed": int(machines.raw_text(raw_dir, "echo.out"))}), {})

    def expected_seconds(self, params: EchoParameters, slowdown: float) -> float:
        return 0.01 * slowdown


def test_run_takes_a_workload_through_all_its_steps(raw: Path, tmp_path: Path) -> None:
    result = run(local, Echo(), EchoParameters(), tmp_path / "kept")
    assert result.metrics == (Metric("printed", "count", 7),)
    assert result.facts == {"shell": "sh"}
    assert (tmp_path / "kept" / "echo.out").read_text() == "7\n"


def test_run_measures_processor_time_of_what_was_started(raw: Path, tmp_path: Path) -> None:
    busy = "i=0; while [ $i -lt 60000 ]; do i=$((i + 1)); done; echo $i"
    run(local, Echo(), EchoParameters(body=busy), tmp_path / "kept")
    (timing,) = scripts.read_timings(tmp_path / "kept", "echo")
    assert 0 < timing.user_seconds + timing.system_seconds <= timing.wall_seconds + 0.05


def test_a_failing_command_shows_its_last_words(raw: Path, tmp_path: Path) -> None:
    with pytest.raises(WorkloadError) as caught:
        run(local, Echo(), EchoParameters(body="echo 1; echo the disk is full >&2; exit 3"), tmp_path / "kept")
    assert "exit status 3" in caught.value.what
    assert "the disk is full" in caught.value.why
    assert caught.value.exit_code == 6


def test_outputs_of_an_earlier_run_are_never_read(raw: Path, tmp_path: Path) -> None:
    run(local, Echo(), EchoParameters(), tmp_path / "first")
    (raw / "left-over").write_text("old")
    run(local, Echo(), EchoParameters(body="echo 8"), tmp_path / "second")
    assert not (tmp_path / "second" / "left-over").exists()
    assert (tmp_path / "second" / "timings").read_text().count("\n") == 1


def test_a_time_out_ends_grandchildren_that_hold_the_pipe(raw: Path, tmp_path: Path) -> None:
    """Without a process group of its own the sleeping grandchild would keep us waiting for a
    minute.
    """
    with pytest.raises(WorkloadError, match="within 1 s"):
        machines.run_script(local, "sleep 60 & sleep 60", what="wait", timeout_s=1)


def test_a_machine_without_the_program_is_named(raw: Path) -> None:
    with local.env(PATH="/nonexistent"), pytest.raises(WorkloadError, match="timeout"):
        machines.run_script(local, "true", what="look", timeout_s=5)


class Unreachable:
    """A remote machine whose every command fails as plumbum's do."""

    host = "guest2"

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def __getitem__(self, program: str) -> Any:
        raise self.error


def plumbum_errors() -> list[BaseException]:
    from plumbum import CommandNotFound, ProcessExecutionError, ProcessTimedOut

    return [
        CommandNotFound("timeout", ["/usr/bin"]),
        ProcessTimedOut("too long", ["ssh"]),
        ProcessExecutionError(["ssh"], 255, "", "ssh: connect to host guest2: No route to host"),
        EOFError("the session ended"),
        BrokenPipeError("the session ended"),
    ]


@pytest.mark.parametrize("error", plumbum_errors(), ids=lambda error: type(error).__name__)
def test_every_error_of_plumbum_becomes_ours(error: BaseException, tmp_path: Path) -> None:
    machine = Unreachable(error)
    for call in (
        lambda: machines.run_script(machine, "true", what="look", timeout_s=5),
        lambda: machines.fetch_raw(machine, tmp_path),
    ):
        with pytest.raises(WorkloadError) as caught:
            call()
        assert caught.value.where == "guest2"


def test_raw_outputs_that_would_leave_the_folder_are_refused(raw: Path, tmp_path: Path) -> None:
    (raw / "deep").mkdir(parents=True)
    (raw / "deep" / "file").write_text("x")
    with pytest.raises(WorkloadError, match="unexpected 'deep"):
        machines.fetch_raw(local, tmp_path)


def test_a_link_among_the_raw_outputs_is_refused(raw: Path, tmp_path: Path) -> None:
    raw.mkdir()
    (raw / "link").symlink_to("/etc/passwd")
    with pytest.raises(WorkloadError, match="unexpected 'link'"):
        machines.fetch_raw(local, tmp_path)


def test_raw_outputs_arrive_as_they_are(raw: Path, tmp_path: Path) -> None:
    raw.mkdir()
    content = bytes(range(256)) * 100
    (raw / "bytes").write_bytes(content)
    machines.fetch_raw(local, tmp_path)
    assert (tmp_path / "bytes").read_bytes() == content


def test_a_workload_that_never_started_says_so(raw: Path, tmp_path: Path) -> None:
    with pytest.raises(WorkloadError, match="left no raw outputs"):
        machines.fetch_raw(local, tmp_path)
    with pytest.raises(WorkloadError, match="did not run to its end"):
        scripts.read_timings(tmp_path, "echo")


@pytest.mark.parametrize(
    "text",
    [
        "0m0.000000s 0m0.000000s\n0m5.250000s 0m0.960000s\n",  # dash
        "0m0.000s 0m0.000s\n0m5.250s 0m0.960s\n",  # busybox
        "0m0,000s 0m0,000s\n0m5,250s 0m0,960s\n".replace(",", "."),  # bash
    ],
)
def test_times_of_several_shells(text: str, tmp_path: Path) -> None:
    path = tmp_path / "times"
    path.write_text(text)
    assert scripts.children_times(path) == (5.25, 0.96)


def test_times_over_a_minute_and_times_that_are_none(tmp_path: Path) -> None:
    path = tmp_path / "times"
    path.write_text("0m0.00s 0m0.00s\n2m1.50s 1m0.25s\n")
    assert scripts.children_times(path) == (121.5, 60.25)
    path.write_text("nonsense\n")
    with pytest.raises(WorkloadError, match="times"):
        scripts.children_times(path)


def test_this_shell_prints_times_that_are_understood(tmp_path: Path) -> None:
    path = tmp_path / "times"
    subprocess.run(["sh", "-c", f"times > {path}"], check=True)
    assert scripts.children_times(path) == (0.0, 0.0)


def test_a_metric_that_was_not_declared_is_a_defect() -> None:
    with pytest.raises(KeyError):
        Echo().measured({"undeclared": 1})


def test_numbered_metrics_have_one_declaration() -> None:
    workload = registry.get("kernel_build")
    assert workload.spec("wall_seconds.round12").unit == "s"
    for name in ("wall_seconds.round0", "wall_seconds.round", "wall_seconds.roundx"):
        with pytest.raises(KeyError):
            workload.spec(name)


def test_a_missing_figure_stays_none() -> None:
    """Named after a harness that turned it into 0.0."""
    (metric,) = Echo().measured({"printed": None})
    assert dataclasses.asdict(metric)["value"] is None


def test_a_swap_device_is_emptied_and_put_back(programs: Path, tmp_path: Path, raw: Path) -> None:
    """Driven with stand-ins for what would change this machine; the text itself is what guests
    run.
    """
    log = tmp_path / "log"
    swaps = tmp_path / "swaps"
    swaps.write_text(
        "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n/dev/xvdb "
        "                              partition\t262140\t\t0\t\t-2\n"
    )
    for name in ("swapoff", "swapon", "sync"):
        write_program(programs, name, f'echo {name} "$@" >> {log}')
    text = scripts.prepare("", reset_memory=True)
    text = text.replace("/proc/swaps", str(swaps)).replace("/proc/sys/vm/drop_caches", str(tmp_path / "drop"))
    machines.check_script(local, text, what="reset memory", timeout_s=10)
    assert log.read_text().split("\n") == ["sync", "swapoff /dev/xvdb", "swapon /dev/xvdb", ""]
    assert (tmp_path / "drop").read_text() == "3\n"


def test_swap_that_cannot_be_emptied_is_an_error(programs: Path, tmp_path: Path, raw: Path) -> None:
    swaps = tmp_path / "swaps"
    swaps.write_text("Filename Type Size Used Priority\n/dev/xvdb partition 1 0 -2\n")
    write_program(programs, "swapoff", "exit 1")
    text = (
        scripts.prepare("", reset_memory=True)
        .replace("/proc/swaps", str(swaps))
        .replace("/proc/sys/vm/drop_caches", str(tmp_path / "drop"))
    )
    with pytest.raises(WorkloadError, match="reset memory") as caught:
        machines.check_script(local, text, what="reset memory", timeout_s=10)
    assert "could not empty the swap device /dev/xvdb" in caught.value.why
    assert not (tmp_path / "drop").exists()
