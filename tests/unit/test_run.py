"""Whole campaigns against a host in memory: what they store, and what they keep when something
or someone stops them.
"""

from __future__ import annotations

import errno
import json
import os
import shlex
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from campaign_fakes import EXPERIMENT, FakeHost, FakeLoad, find, leftovers, write_experiment

from campaigns import cell, launch, plan, records, store
from campaigns.experiment import Experiment
from campaigns.progress import Event
from campaigns.run import Outcome, ended, run
from campaigns.status import line_of, status
from campaigns.verify import verify
from common.errors import (
    CampaignError,
    InvalidFileError,
    LabError,
    MissingError,
    ResultsError,
    UsageError,
    WorkloadError,
)
from lab import lifecycle, paths
from lab.api import Sample
from workloads import registry

POLICIES = ("static", "selfballoon", "selfballoon+tmem")
SMALL = EXPERIMENT.replace("count: 3", "count: 2").replace("480", "320").replace("repetitions: 2", "repetitions: 1")


@pytest.fixture(autouse=True)
def _fake_load(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry._CLASSES, "fake", "campaign_fakes:FakeLoad")


@pytest.fixture
def wanted(tmp_path: Path) -> Experiment:
    return write_experiment(tmp_path, SMALL)


@pytest.fixture
def results(tmp_path: Path) -> Path:
    return tmp_path / "results"


@pytest.fixture
def host(tmp_path: Path) -> FakeHost:
    return FakeHost(tmp_path / "host")


def test_a_campaign_stores_every_cell_with_figures_provenance_and_raw_files(
    wanted: Experiment, host: FakeHost, results: Path
) -> None:
    os.environ["OVERCOMMIT_TEST_SECRET"] = "hunter2"
    try:
        outcome = run(wanted, host, results=results, arguments=["inv", "campaign.run", "test"])
    finally:
        del os.environ["OVERCOMMIT_TEST_SECRET"]
    outcome.check()
    assert outcome.counts == {"complete": 3, "invalid": 0, "failed": 0, "missing": 0}
    assert host.resets == 3
    stored = find(results)
    done = stored.cells()["selfballoon+tmem.r1"]
    by_name = {(m.name, m.guest): (m.value, m.unit) for m in done.metrics}
    assert by_name["sectors_read", "guest1"] == (10_000, "sectors")
    assert by_name["vcpu_seconds", "guest2"] == (12.5, "s")
    assert by_name["tmem_ephemeral_hits", "guest1"] == (1_250, "pages")
    assert by_name["files", "guest2"] == (1, "count")
    assert by_name["dom0_vcpu_seconds", None] == (2.75, "s"), "3 s, without the sampler's quarter"
    assert by_name["sampling_cpu_seconds", None] == (0.25, "s")
    assert by_name["sampling_cpu_seconds", "guest2"] == (0.5, "s")
    assert by_name["sampling_cost", None] == (0.02, "fraction")
    assert done.value("sectors_read") == 20_000
    assert done.checksums == {"guest1": {"output": "made"}, "guest2": {"output": "made"}}
    assert [gate.name for gate in done.gates] == [
        "guests_alive",
        "equal_start",
        "reads_happened",
        "same_output",
        "barrier_skew",
        "readings_close",
        "kernel_logs",
        "has_sectors_read",
        "overcommitted",
        "memory_moved",
        "tmem_puts",
    ]
    assert list(done.timings) == list(plan.STAGES[:-1])
    path = stored.directory / records.CELLS_DIR / done.cell
    assert (path / "raw/guest1/output").read_text() == "made\n"
    assert (path / "raw/kernel_log/dom0.txt").read_text() == host.log
    assert (path / "raw/dom0.samples.jsonl").is_file()
    env = json.loads((path / "env.json").read_text())
    assert env["host"] == {"xen": "4.20", "kernel": "6.12"}
    assert env["testbed"]["arguments"] == ["inv", "campaign.run", "test"]
    assert env["conditions"]["guests"]["memory_start_mib"] == 160
    assert env["workload_facts"]["guest1"] == {"size": "3"}
    rows = (path / records.SAMPLES_FILE).read_text().splitlines()
    assert any(row.startswith("-") for row in rows)  # the reading before the release
    assert not any("hunter2" in file.read_text() for file in results.rglob("*") if file.is_file())
    verify(stored.directory).check()


def test_a_figure_that_could_not_be_read_stays_null(wanted: Experiment, host: FakeHost, results: Path) -> None:
    run(wanted, host, results=results)
    done = find(results).cells()["static.r1"]
    missing = {m.name for m in done.metrics if m.value is None}
    assert {"cleancache_hits", "frontswap_stores", "tmem_cycles", "tmem_ephemeral_hits", "tmem_evictions"} <= missing
    assert "sectors_read" not in missing
    assert done.value("tmem_cycles") is None


def test_the_guests_are_prepared_before_the_policy_is_applied(
    wanted: Experiment, host: FakeHost, results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With cleancache on, the caches that preparing drops would go to tmem and spare the reads
    that are measured.
    """
    steps: list[str] = []
    host.hook = steps.append
    monkeypatch.setattr(FakeLoad, "hook", staticmethod(steps.append))
    run(wanted, host, results=results, cell="static.r1")
    assert [
        step
        for step in dict.fromkeys(steps)
        if step in ("reset", "prepare", "policy", "counters", "observe", "stop", "collect")
    ] == [
        "reset",
        "prepare",
        "policy",
        "observe",
        "counters",
        "stop",
        "collect",
    ]


def test_one_cell_that_was_asked_for_and_is_complete_is_a_success(
    wanted: Experiment, host: FakeHost, results: Path
) -> None:
    outcome = run(wanted, host, results=results, cell="static.r1")
    assert outcome.counts["missing"] == 2
    outcome.check()


def test_a_counter_that_went_backwards_has_no_value_and_a_note(
    wanted: Experiment, host: FakeHost, results: Path
) -> None:
    def wrap(reading: int, samples: list[Sample]) -> list[Sample]:
        return [
            replace(s, value=0) if (s.counter, s.source, reading) == ("sectors_read", "guest2", 2) else s
            for s in samples
        ]

    host.alter = wrap
    outcome = run(wanted, host, results=results, cell="selfballoon.r1")
    (record,) = outcome.records
    assert record.value("sectors_read") is None
    assert any("guest2: sectors_read went backwards by 400000" in note for note in record.notes)
    assert record.status == "invalid"
    assert {gate.name for gate in record.gates if not gate.passed} == {"reads_happened", "has_sectors_read"}


def test_a_claims_counter_that_is_missing_invalidates_the_cells_that_the_claim_compares(
    wanted: Experiment, host: FakeHost, results: Path
) -> None:
    host.alter = lambda _reading, samples: [s for s in samples if (s.counter, s.source) != ("sectors_read", "guest1")]
    run(wanted, host, results=results)
    gates = {name: {g.name: g.passed for g in c.gates} for name, c in find(results).cells().items()}
    assert gates["selfballoon.r1"]["has_sectors_read"] is False
    assert "has_sectors_read" not in gates["static.r1"]  # no claim is about it
    assert gates["static.r1"]["reads_happened"] is False


def test_progress_tells_stages_cells_and_the_time_left(wanted: Experiment, host: FakeHost, results: Path) -> None:
    events: list[Event] = []
    run(wanted, host, results=results, listen=events.append)
    assert [event.kind for event in events if event.kind != "stage"] == ["start", "cell", "cell", "cell", "end"]
    assert [event.stage for event in events if event.kind == "stage"] == list(plan.STAGES) * 3
    assert events[0].left_s == pytest.approx(sum(c.expected_seconds for c in find(results).record().cells))
    left = [event.left_s for event in events if event.kind == "cell"]
    # How much depends on what the cells before took, and so on how busy this machine is.
    assert min(left[:2]) > 0 == left[2]
    assert (events[-1].done, events[-1].total) == (3, 3)
    assert line_of(events[-3]) == f"cell 3/3 {events[-3].cell}: store"


# --- stopped anywhere, and gone on with


class Interrupter:
    """Raises once, the first time that a step is reached."""

    def __init__(self, step: str, error: BaseException) -> None:
        self.step = step
        self.error: BaseException | None = error

    def __call__(self, step: str) -> None:
        if step == self.step and self.error is not None:
            error, self.error = self.error, None
            raise error


HOST_STEPS = ("reset", "policy", "counters", "observe", "stop", "provenance", "kernel_log")


@pytest.mark.parametrize("step", [*HOST_STEPS, "prepare", "collect", "settle", "sums"])
def test_an_interruption_in_any_stage_loses_the_current_cell_only(
    wanted: Experiment, host: FakeHost, results: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    run(wanted, host, results=results, cell="static.r1")
    before = find(results).cells()
    interrupter = Interrupter(step, KeyboardInterrupt())
    host.hook = interrupter
    monkeypatch.setattr(FakeLoad, "hook", staticmethod(interrupter))
    if step == "settle":
        monkeypatch.setattr(cell.time, "sleep", lambda _seconds: interrupter("settle"))
    if step == "sums":
        real = store.write_sums
        monkeypatch.setattr(store, "write_sums", lambda path: (interrupter("sums"), real(path)))
    with pytest.raises(KeyboardInterrupt):
        run(wanted, host, results=results)
    assert interrupter.error is None
    assert leftovers(results) == []
    stored = find(results)
    assert stored.cells() == before
    assert stored.attempts() == {}
    assert run(wanted, host, results=results).counts["complete"] == 3
    assert find(results).cells()["static.r1"] == before["static.r1"]
    verify(stored.directory).check()


CONTROLLER = """
import os, sys
sys.path[:0] = [{root!r}, {tests!r}]
from pathlib import Path
from campaign_fakes import FakeHost, FakeLoad, write_experiment
from campaigns.run import run
from workloads import registry
registry._CLASSES["fake"] = "campaign_fakes:FakeLoad"
base = Path({base!r})
def hook(step):
    if step == {step!r}:
        {action}
FakeLoad.hook = staticmethod(hook)
wanted = write_experiment(base, {text!r})
run(wanted, FakeHost(base / "host", hook=hook), results=base / "results")
"""


def _controller(tmp_path: Path, step: str, action: str, text: str = SMALL) -> subprocess.Popen[bytes]:
    root, tests = Path(__file__).resolve().parents[2], Path(__file__).resolve().parent
    script = textwrap.dedent(CONTROLLER).format(
        root=str(root), tests=str(tests), base=str(tmp_path), step=step, action=action, text=text
    )
    return subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE)


@pytest.mark.parametrize("step", ["reset", "prepare", "stop", "kernel_log"])
def test_after_a_killed_controller_the_next_run_goes_on(
    wanted: Experiment, host: FakeHost, results: Path, tmp_path: Path, step: str
) -> None:
    assert _controller(tmp_path, step, "os._exit(9)").wait(timeout=60) == 9
    stored = find(results)
    assert stored.cells() == {}
    # the cell that was under way, and what the run told of itself to who looks on
    assert len(leftovers(results)) == 2
    assert "left by a run that was killed" in " ".join(verify(stored.directory).lines())
    assert run(wanted, host, results=results).counts["complete"] == 3
    assert leftovers(results) == []
    verify(stored.directory).check()


def test_ctrl_c_while_the_guests_work_ends_at_once(
    wanted: Experiment, host: FakeHost, results: Path, tmp_path: Path
) -> None:
    text = SMALL.replace("{size: 3}", "{size: 3, script: 'sleep 30'}")
    started = tmp_path / "started"
    controller = _controller(tmp_path, "observe", f"open({str(started)!r}, 'w').close()", text)
    deadline = time.monotonic() + 60
    while not started.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.5)
    controller.send_signal(signal.SIGINT)
    _, complaint = controller.communicate(timeout=20)
    assert b"KeyboardInterrupt" in complaint
    assert leftovers(results) == []
    assert find(results).cells() == {}


def test_a_full_disk_stops_the_campaign_and_the_next_run_goes_on(
    wanted: Experiment, host: FakeHost, results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(wanted, host, results=results, cell="static.r1")
    real = Path.write_text

    def full(path: Path, *arguments: object, **options: object) -> int:
        if path.name in ("cell.json", "output"):
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(path, *arguments, **options)  # type: ignore[arg-type]

    with monkeypatch.context() as patched:
        patched.setattr(Path, "write_text", full)
        with pytest.raises(MissingError, match="no space left"):
            run(wanted, host, results=results)
    assert leftovers(results) == []
    assert list(find(results).cells()) == ["static.r1"]
    assert find(results).attempts() == {}
    assert run(wanted, host, results=results).counts["complete"] == 3


def test_what_is_complete_is_not_run_again(wanted: Experiment, host: FakeHost, results: Path) -> None:
    run(wanted, host, results=results)
    outcome = run(wanted, host, results=results)
    assert host.resets == 3
    assert outcome.records == ()
    assert outcome.counts["complete"] == 3


def test_two_runners_of_one_campaign_are_refused(wanted: Experiment, host: FakeHost, results: Path) -> None:
    run(wanted, host, results=results, cell="static.r1")
    with find(results).lock(), pytest.raises(UsageError, match="already being run"):
        run(wanted, host, results=results)


def test_a_campaign_keeps_the_experiment_that_it_began_with(
    wanted: Experiment, host: FakeHost, results: Path, tmp_path: Path
) -> None:
    run(wanted, host, results=results, cell="static.r1")
    other = write_experiment(tmp_path, SMALL.replace("{size: 3}", "{size: 4}").replace("seed: 7", "seed: 8"))
    with pytest.raises(UsageError) as caught:
        run(other, host, results=results)
    assert "workload.parameters.size, seed changed" in str(caught.value)
    assert "--campaign NAME" in str(caught.value)
    assert run(other, host, results=results, campaign="test-2").counts["complete"] == 3
    assert find(results).cells().keys() == {"static.r1"}


def test_a_campaign_keeps_the_lab_that_it_was_begun_on(wanted: Experiment, host: FakeHost, results: Path) -> None:
    run(wanted, host, results=results, lab="mine", cell="static.r1")
    assert find(results).record().lab == "mine"
    for other in (ended, lambda experiment, lab, **names: run(experiment, host, lab=lab, **names)):
        with pytest.raises(UsageError, match="begun on the lab mine, not on other") as caught:
            other(wanted, "other", results=results)
        assert "--campaign NAME" in caught.value.remedy
    assert find(results).cells().keys() == {"static.r1"}
    assert run(wanted, host, results=results, lab="mine").counts["complete"] == 3


def test_a_campaign_without_a_lab_was_stored_by_an_older_testbed_and_goes_on(
    wanted: Experiment, host: FakeHost, results: Path
) -> None:
    run(wanted, host, results=results, cell="static.r1")
    file = find(results).directory / records.CAMPAIGN_FILE
    document = json.loads(file.read_text())
    del document["lab"]
    file.write_text(json.dumps(document))
    assert find(results).record().lab is None
    assert run(wanted, host, results=results, lab="mine").counts["complete"] == 3


BASIS = {
    "kind": "emulated",
    "accelerator": "tcg",
    "artifacts": {"xen": "a" * 64, "tmemctl": "b" * 64},
    "emulator.disk_iops": 200,
    "emulator.disk_bytes_per_second": None,
}
TOLD = {
    "kind": "emulated",
    "accelerator": "tcg",
    "artifacts": BASIS["artifacts"],
    "emulator": {"disk_iops": 200, "disk_bytes_per_second": None},
}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"kind": "physical"}, "kind was emulated, is physical"),
        ({"accelerator": "kvm"}, "accelerator was tcg, is kvm"),
        ({"artifacts": {"xen": "c" * 64, "tmemctl": "b" * 64}}, "artifacts.xen was aaaaaaaaaaaa…, is cccccccccccc…"),
        ({"artifacts": {"xen_debug": "a" * 64, "tmemctl": "b" * 64}}, "artifacts.xen_debug was none, is aaaaaaaaaaaa…"),
        ({"emulator.disk_iops": None}, "emulator.disk_iops was 200, is none"),
        ({"emulator.disk_bytes_per_second": 4194304}, "emulator.disk_bytes_per_second was none, is 4194304"),
    ],
)
def test_a_campaign_does_not_go_on_on_a_host_made_from_something_else(
    wanted: Experiment, host: FakeHost, results: Path, change: dict[str, object], said: str
) -> None:
    host.told = TOLD
    run(wanted, host, results=results, basis=BASIS, cell="static.r1")
    with pytest.raises(UsageError, match="begun on a host that differs") as caught:
        run(wanted, host, results=results, basis={**BASIS, **change})
    assert said in caught.value.why
    assert "tmemctl" not in caught.value.why
    assert host.resets == 1
    assert run(wanted, host, results=results, basis=BASIS).counts["complete"] == 3


def test_a_host_that_gives_kvm_up_when_it_is_reset_gets_no_cell_of_a_campaign_with_kvm(
    wanted: Experiment, host: FakeHost, results: Path
) -> None:
    """What cells ran under is known before the reset, and what the next will only in it."""
    host.accelerator = "kvm"
    run(wanted, host, results=results, cell="static.r1")

    def hook(step: str) -> None:
        if step == "reset":
            host.accelerator = "tcg"

    host.accelerator, host.hook = "kvm", hook
    with pytest.raises(UsageError, match=r"runs under tcg now, and static.r1 ran under kvm") as caught:
        run(wanted, host, results=results)
    assert "--campaign" in caught.value.remedy
    assert list(find(results).cells()) == ["static.r1"]
    assert leftovers(results) == []


def test_what_a_cell_does_not_tell_of_its_host_is_not_compared(
    wanted: Experiment, host: FakeHost, results: Path
) -> None:
    run(wanted, host, results=results, cell="static.r1")
    assert run(wanted, host, results=results, basis=BASIS).counts["complete"] == 3


def test_names_are_looked_at_before_the_lab_is(
    wanted: Experiment, host: FakeHost, results: Path, tmp_path: Path
) -> None:
    inventory = tmp_path / "mine.yml"
    inventory.write_text("xen_hosts:\n  hosts:\n    xen1: {lab_kind: emulated}\n")
    experiment = str(tmp_path / "test.yml")
    assert launch.ask(experiment, inventory, cell="static.r1", results=results).ended is None
    for names in ({"cell": "x"}, {"campaign": "a/b"}):
        with pytest.raises(UsageError):
            launch.ask(experiment, inventory, **names, results=results)
    with pytest.raises(InvalidFileError):
        launch.ask(experiment, tmp_path / "nosuch.yml", results=results)
    run(wanted, host, lab="mine", results=results, cell="static.r1")
    assert launch.ask(experiment, inventory, results=results).ended is None
    with pytest.raises(UsageError, match="is complete"):
        launch.ask(experiment, inventory, cell="static.r1", results=results)
    run(wanted, host, lab="mine", results=results)
    found = launch.ask(experiment, inventory, results=results).ended
    assert found is not None
    found.check()
    assert "campaign test is complete since 20" in found.line("./inv demo")
    assert "./inv demo --campaign NAME" in found.line("./inv demo")


@pytest.mark.parametrize("name", ["../x", "", " ", "-x", ".hidden", "a/b"])
def test_a_campaigns_name_is_a_directorys(wanted: Experiment, host: FakeHost, results: Path, name: str) -> None:
    if name:
        with pytest.raises(UsageError, match="cannot be a campaign's name"):
            run(wanted, host, results=results, campaign=name)
    assert not results.exists()


# --- failures


def _failing(step: str, errors: list[Exception]) -> Callable[[str], None]:
    def hook(reached: str) -> None:
        if reached == step and errors:
            raise errors.pop(0)

    return hook


def _ended(wanted: Experiment, results: Path) -> Outcome:
    found = ended(wanted, None, results=results)
    assert found is not None
    return found


def _run(wanted: Experiment, host: FakeHost, results: Path) -> Outcome:
    return run(wanted, host, results=results, cell="selfballoon.r1")


def test_a_passing_failure_of_the_lab_is_tried_again_and_its_record_kept(
    wanted: Experiment, host: FakeHost, results: Path
) -> None:
    host.hook = _failing("policy", [LabError("xl said no", where="fake")])
    outcome = _run(wanted, host, results)
    assert [record.status for record in outcome.records] == ["failed", "complete"]
    (failed,) = find(results).attempts()["selfballoon.r1"]
    assert failed.metrics == ()
    assert failed.failure is not None
    assert (failed.failure.kind, failed.failure.stage) == ("lab", "policy")
    assert "xl said no" in failed.failure.message
    assert failed.failure.rerun == "./inv campaign.run test --cell selfballoon.r1"
    assert list(failed.timings) == ["reset", "prepare", "policy"]


def test_a_failing_load_is_not_tried_again_in_the_same_run_but_in_the_next(
    wanted: Experiment, host: FakeHost, results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        FakeLoad, "hook", staticmethod(_failing("prepare", [WorkloadError("no source"), WorkloadError("no source")]))
    )
    outcome = _run(wanted, host, results)
    assert [(r.status, r.failure.kind if r.failure else None) for r in outcome.records] == [("failed", "workload")]
    assert outcome.counts == {"complete": 0, "invalid": 0, "failed": 1, "missing": 2}
    with pytest.raises(CampaignError, match="1 failed, 2 missing") as caught:
        outcome.check()
    assert caught.value.exit_code == 7
    assert run(wanted, host, results=results).counts["complete"] == 3
    assert len(find(results).attempts()["selfballoon.r1"]) == 1
    verify(find(results).directory).check()


def test_a_script_that_fails_is_explained_by_its_load(
    wanted: Experiment, host: FakeHost, results: Path, tmp_path: Path
) -> None:
    other = write_experiment(tmp_path, SMALL.replace("{size: 3}", "{size: 3, script: 'exit 3'}"))
    (record,) = _run(other, host, results).records
    assert record.failure is not None
    assert (record.failure.kind, record.failure.stage) == ("workload", "run")
    assert "the load made no file" in record.failure.message


def test_a_script_that_fails_without_an_explanation_is_still_a_failure(
    wanted: Experiment, host: FakeHost, results: Path, tmp_path: Path
) -> None:
    other = write_experiment(
        tmp_path, SMALL.replace("{size: 3}", "{size: 3, script: 'echo made > {raw}/output; exit 3'}")
    )
    (record,) = _run(other, host, results).records
    assert record.failure is not None
    assert "ended with status 3" in record.failure.message


@pytest.mark.parametrize("step", ["counters", "stop", "kernel_log", "provenance"])
def test_a_host_that_dies_on_the_way_is_a_failure_and_not_a_crash(
    wanted: Experiment, host: FakeHost, results: Path, step: str
) -> None:
    host.hook = _failing(step, [LabError("connection lost") for _ in range(9)])
    outcome = _run(wanted, host, results)
    assert [record.status for record in outcome.records] == ["failed", "failed"]
    assert leftovers(results) == []
    assert {find(results).attempts()["selfballoon.r1"][n].failure.kind for n in (0, 1)} == {"lab"}  # type: ignore[union-attr]


def test_plumbums_errors_are_failures_of_the_guest(
    wanted: Experiment, host: FakeHost, results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from plumbum.commands.processes import CommandNotFound, ProcessExecutionError, ProcessTimedOut

    errors = [
        CommandNotFound("gcc", []),
        ProcessTimedOut("too long", ["make"]),
        ProcessExecutionError(["ssh"], 255, "", "closed"),
    ]
    kinds = [cell.kind_of(error, "prepare") for error in errors]
    assert kinds == ["guest_lost"] * 3
    assert cell.kind_of(errors[0], "reset") == "lab"
    assert cell.kind_of(ZeroDivisionError(), "run") is None


def test_a_defect_is_no_failure_of_the_cell(wanted: Experiment, host: FakeHost, results: Path) -> None:
    host.hook = _failing("policy", [ZeroDivisionError("a bug")])
    with pytest.raises(ZeroDivisionError):
        _run(wanted, host, results)
    assert leftovers(results) == []
    assert find(results).attempts() == {}


def test_a_campaign_stops_when_the_host_cannot_be_reset_twice_in_a_row(
    wanted: Experiment, host: FakeHost, results: Path
) -> None:
    host.hook = _failing("reset", [LabError("no power") for _ in range(99)])
    with pytest.raises(LabError, match="2 cells in a row") as caught:
        run(wanted, host, results=results)
    assert "no power" in caught.value.why
    assert sum(len(attempts) for attempts in find(results).attempts().values()) == 4
    host.hook = lambda _step: None
    assert run(wanted, host, results=results).counts["complete"] == 3


def test_guests_that_are_not_all_up_are_a_failure(
    wanted: Experiment, host: FakeHost, results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = FakeHost.reset

    def one_short(self: FakeHost, *sizing: object, **boot: object) -> None:
        real(self, *sizing, **boot)  # type: ignore[arg-type]
        self.guests = dict(list(self.guests.items())[1:])

    monkeypatch.setattr(FakeHost, "reset", one_short)
    outcome = _run(wanted, host, results)
    assert all("1 guests are up instead of 2" in r.failure.message for r in outcome.records if r.failure)
    assert [record.status for record in outcome.records] == ["failed", "failed"]


# --- gates


def test_a_cell_whose_gates_fail_is_invalid_keeps_its_figures_and_is_not_retried(
    wanted: Experiment, host: FakeHost, results: Path
) -> None:
    host.log = "[ 12.3] Out of memory: Killed process 77 (cc1)\n"
    outcome = _run(wanted, host, results)
    (record,) = outcome.records
    assert record.status == "invalid"
    assert record.value("sectors_read") == 40_000
    assert any("Out of memory: Killed process 77" in note for note in record.notes)
    assert run(wanted, host, results=results).counts["invalid"] == 3
    assert host.resets == 3  # the invalid cell was not run again
    with pytest.raises(CampaignError, match="3 invalid") as caught:
        _ended(wanted, results).check()
    for named in POLICIES:
        assert f"{named}.r1 is invalid: gate kernel_logs: 1 instead of 0 lines" in caught.value.why
        assert f"./inv campaign.run test --cell {named}.r1" in caught.value.remedy
    host.log = "fine"
    events: list[Event] = []
    again = run(wanted, host, results=results, cell="selfballoon.r1", listen=events.append)
    assert again.counts == {"complete": 1, "invalid": 2, "failed": 0, "missing": 0}
    order = next(each.order for each in find(results).record().cells if each.cell == "selfballoon.r1")
    assert line_of(events[1]) == f"cell {order + 1}/3 selfballoon.r1: reset"  # not 4/3
    assert [attempt.status for attempt in find(results).attempts()["selfballoon.r1"]] == ["invalid"]


def test_a_complete_cell_and_an_unknown_one_are_refused(wanted: Experiment, host: FakeHost, results: Path) -> None:
    _run(wanted, host, results)
    with pytest.raises(UsageError, match="is complete"):
        _run(wanted, host, results)
    with pytest.raises(UsageError, match=r"has no cell 'x'") as caught:
        run(wanted, host, results=results, cell="x")
    assert "static.r1" in caught.value.why


# --- status


def test_a_cell_is_run_again_on_the_lab_that_its_campaign_was_begun_on(
    wanted: Experiment, host: FakeHost, results: Path
) -> None:
    for number, inventory in enumerate(("inventory/xen-debug.yml", "my labs/xen-debug.yml")):
        name = f"debug{number}"
        run(wanted, host, results=results, campaign=name, lab="xen-debug", cell="static.r1", inventory=inventory)
        rerun = f"./inv campaign.run test --campaign {name} --inventory {shlex.quote(inventory)} --cell selfballoon.r1"
        assert rerun in [each.rerun for each in status(find(results, name)).cells]


def test_the_default_lab_needs_no_name_and_one_of_the_checkout_none_of_this_machine() -> None:
    assert launch._named(lifecycle.DEFAULT_INVENTORY) is None
    assert launch._named(paths.REPO / "inventory" / "xen-debug.yml") == "inventory/xen-debug.yml"
    assert launch._named(Path("/elsewhere/mine.yml")) == "/elsewhere/mine.yml"


def test_status_tells_what_became_of_each_cell_and_how_to_rerun_it(
    wanted: Experiment, host: FakeHost, results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(wanted, host, results=results, campaign="other", cell="static.r1")
    host.log = "BUG: unable to handle page fault\n"
    run(wanted, host, results=results, campaign="other", cell="selfballoon.r1")
    monkeypatch.setattr(FakeLoad, "hook", staticmethod(_failing("collect", [WorkloadError("no objects")])))
    run(wanted, host, results=results, campaign="other", cell="selfballoon+tmem.r1")
    found = status(find(results, "other"))
    cells = {c.planned.policy: c for c in found.cells}
    assert [cells[policy].state for policy in POLICIES] == ["complete", "invalid", "failed"]
    assert cells["static"].rerun == ""
    assert cells["selfballoon"].rerun == "./inv campaign.run test --campaign other --cell selfballoon.r1"
    assert "gate kernel_logs: 1 instead of 0 lines" in cells["selfballoon"].reason
    assert "no objects" in cells["selfballoon+tmem"].reason
    assert found.counts == {"complete": 1, "invalid": 1, "failed": 1, "missing": 0}
    assert list(found.by_policy) == list(POLICIES)
    assert found.left_s == cells["selfballoon+tmem"].planned.expected_seconds


def test_a_cell_that_cannot_be_read_hides_no_other_ones_state(
    wanted: Experiment, host: FakeHost, results: Path
) -> None:
    run(wanted, host, results=results)
    stored = find(results)
    status(stored).check()
    (stored.directory / "cells" / "static.r1" / "cell.json").write_text('{"schema": 1')
    found = status(stored)
    states = {cell.planned.policy: cell.state for cell in found.cells}
    assert states == {"static": "damaged", "selfballoon": "complete", "selfballoon+tmem": "complete"}
    assert found.counts["damaged"] == found.by_policy["static"]["damaged"] == 1
    damaged = next(cell for cell in found.cells if cell.state == "damaged")
    assert "static.r1/cell.json" in damaged.reason
    assert damaged.rerun == "./inv results.verify test"
    with pytest.raises(ResultsError, match="1 of 3 cells of test cannot be read"):
        found.check()


def test_with_a_phase_loads_start_apart_and_their_times_are_their_own(
    tmp_path: Path, host: FakeHost, results: Path
) -> None:
    text = SMALL.replace("parameters: {size: 3}", "parameters: {size: 3}\n  phase: 1500 ms")
    wanted = write_experiment(tmp_path, text)
    run(wanted, host, results=results, cell="selfballoon+tmem.r1")
    stored = find(results)
    done = stored.cells()["selfballoon+tmem.r1"]
    assert done.barrier is not None
    assert done.status == "complete"
    waited = {name: done.barrier.starts[name] - done.barrier.releases[name] for name in ("guest1", "guest2")}
    assert waited["guest1"] < waited["guest2"]
    assert waited["guest2"] >= 1.5
    by_guest = {m.guest: m.value for m in done.metrics if m.name == "wall_seconds"}
    assert by_guest["guest2"] == done.barrier.ends["guest2"] - done.barrier.starts["guest2"]
    assert done.value("run_seconds") == max(done.barrier.ends.values())
    gate = next(gate for gate in done.gates if gate.name == "starts_on_time")
    assert gate.observed == pytest.approx(max(waited["guest1"], waited["guest2"] - 1.5))
    verify(stored.directory).check()
