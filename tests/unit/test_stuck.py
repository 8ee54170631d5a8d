"""When a run is stuck, and when it is only slow; and what becomes of the times of a host that
its machine starved.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from campaign_fakes import EXPERIMENT, FakeHost, FakeMachine, find, write_experiment

from analysis import figures, report, sections
from analysis.load import load
from campaigns import barrier, cell, starved, status
from campaigns.run import run
from campaigns.stuck import STILL_S, Look, StuckError, Watch, still
from campaigns.verify import verify
from common.errors import LabError, UsageError
from common.metrics import Metric
from lab.api import Activity
from lab.emulator import share
from lab.emulator.process import GoneError
from lab.emulator.share import Reading
from workloads import registry

SMALL = EXPERIMENT.replace("repetitions: 2", "repetitions: 1")


def looks(*done: tuple[float, int, int], every: float = 60.0) -> list[Look]:
    """Looks at one guest: vCPU seconds, sectors, bytes of output."""
    return [
        Look(number * every, {"guest1": Activity(cpu, sectors)}, {"guest1": output})
        for number, (cpu, sectors, output) in enumerate(done)
    ]


@pytest.mark.parametrize(
    ("done", "stuck"),
    [
        ([(10, 5, 0), (10.1, 5, 0), (10.2, 5, 0), (10.3, 5, 0)], True),
        ([(10, 5, 0), (30, 5, 0), (50, 5, 0), (70, 5, 0)], False),  # computes
        ([(10, 5, 0), (10.1, 5, 0), (10.2, 5, 0), (10.3, 6, 0)], False),  # waits for a slow disk
        ([(10, 5, 0), (10.1, 5, 0), (10.2, 5, 0), (10.3, 5, 9)], False),  # says something
        ([(10, 5, 0), (10.1, 5, 0), (10.2, 5, 0)], False),  # not for long enough
        ([(10, 5, 0), (40, 9, 0), (40.1, 9, 0), (40.2, 9, 0), (40.3, 9, 0)], True),  # got on, and then no more
        ([], False),
    ],
)
def test_a_guest_stands_still_when_nothing_of_it_moves(done: list[tuple[float, int, int]], stuck: bool) -> None:
    assert still(looks(*done), "guest1") is stuck


def test_a_guest_that_cannot_be_looked_at_is_not_taken_to_stand_still() -> None:
    assert not still([Look(0, {}, {}), Look(STILL_S, {}, {})], "guest1")


def test_a_run_is_ended_when_all_that_is_left_of_it_stands_still(tmp_path: Path) -> None:
    clock = [0.0]
    done = {"guest1": Activity(5.0, 9), "guest2": Activity(1.0, 1)}
    machines: dict[str, Any] = {name: FakeMachine(tmp_path / name) for name in done}
    watch = Watch(lambda: dict(done), machines, barrier.DIRECTORY, expected_s=400.0, clock=lambda: clock[0])
    for clock[0] in (100.0, 700.0):
        watch(["guest1", "guest2"])
    assert watch.looks == []  # it is not late yet, and looking costs
    for number in range(12):
        clock[0] = 900.0 + 30 * number
        done["guest2"] = Activity(1.0 + 20 * number, 1)
        watch(["guest1", "guest2"])  # one of them gets on
    with pytest.raises(StuckError, match="guest1 stopped getting on") as raised:
        watch(["guest1"])
    assert "5.0 s of vCPU time, 9 sectors" in raised.value.why
    assert cell.kind_of(raised.value, "run") == "stuck"


def test_a_guest_that_has_just_started_after_others_is_not_stuck(tmp_path: Path) -> None:
    """It stood still for as long as it waited, and rightly."""
    clock, done = [1000.0], {"guest1": Activity(5.0, 9), "guest2": Activity(1.0, 1)}
    machines: dict[str, Any] = {name: FakeMachine(tmp_path / name) for name in done}
    watch = Watch(lambda: dict(done), machines, barrier.DIRECTORY, expected_s=1.0, clock=lambda: clock[0])
    watch._began = 0.0
    for number in range(12):
        clock[0] = 1000.0 + 30 * number
        done["guest1"] = Activity(5.0 + 20 * number, 9)
        watch(["guest1"])
    clock[0] += 30
    watch(["guest2"])
    watch([])


def test_a_look_that_fails_is_none() -> None:
    def activity() -> dict[str, Activity]:
        raise LabError("dom0 is busy")

    clock = [0.0]
    watch = Watch(activity, {}, barrier.DIRECTORY, expected_s=1.0, clock=lambda: clock[0])
    for clock[0] in (500.0, 1000.0):
        watch(["guest1"])
    assert watch.looks == []


def test_the_barrier_lets_a_run_be_watched(tmp_path: Path) -> None:
    seen: list[list[str]] = []

    def watch(unfinished: list[str]) -> None:
        seen.append(unfinished)
        raise StuckError("it stands still")

    machines: dict[str, Any] = {name: FakeMachine(tmp_path / name) for name in ("guest1", "guest2")}
    script = f"case {barrier.DIRECTORY} in *guest2) sleep 30;; esac\n"
    with pytest.raises(StuckError):
        barrier.run(
            machines, dict.fromkeys(machines, barrier.Part(script)), ready_s=60, run_s=60, watch=watch, watch_s=2.0
        )
    assert "guest2" in seen[0]


def test_without_a_bound_of_the_experiment_the_clock_is_a_last_resort() -> None:
    assert cell.LAST_RESORT_S >= 3600


# --- what the controller gave


def reading(ran_s: float, waited_s: float, *, others_s: float = 0, stolen: int = 0, at: float = 0.0) -> Reading:
    threads = {"7": (round(ran_s * 1e9), round(waited_s * 1e9))}
    busy = round((ran_s + others_s) * share.TICKS)
    return Reading(at, threads, busy, stolen, cpu_seconds=ran_s, load=2.0, processors=2)


def test_a_host_gets_the_share_of_what_it_asked_for() -> None:
    given = share.between(reading(10, 1), reading(70, 41, others_s=30, at=50.0))
    assert given.share == pytest.approx(0.6)
    assert given.processors == pytest.approx(1.2)
    assert given.others == pytest.approx(0.3)
    assert given.starved
    assert not share.between(reading(10, 1), reading(70, 3, others_s=30, at=50.0)).starved
    stolen = share.between(reading(10, 1), reading(70, 1, others_s=30, stolen=27 * share.TICKS, at=50.0))
    assert stolen.share == pytest.approx(0.7)
    assert stolen.starved
    assert share.between(reading(10, 1), reading(70, 41)).starved  # at no time, nobody knows of others


def test_a_host_that_waits_for_nobody_else_is_not_starved() -> None:
    """Guests that answer 20 requests a second, on a machine without other work: 0.67."""
    given = share.between(reading(0, 0), reading(7.6, 3.8, others_s=6, at=40.0))
    assert given.share == pytest.approx(0.67, abs=0.01)
    assert not given.starved


def test_a_kernel_that_does_not_count_says_nothing() -> None:
    silent = Reading(0.0, {}, 0, 0, 1.0, 1.0, 2)
    assert share.between(silent, silent).share is None
    assert not share.between(silent, silent).starved


def test_a_process_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    task = tmp_path / "42" / "task" / "43"
    task.mkdir(parents=True)
    (task / "schedstat").write_text("1000 200 3\n")
    (task.parent / "44").mkdir()  # has just ended
    (tmp_path / "42" / "stat").write_text("42 (qemu (x) y) S " + " ".join(str(number) for number in range(1, 50)))
    (tmp_path / "stat").write_text("cpu  10 20 30 400 50 6 7 8 9 0\ncpu0 1\n")
    monkeypatch.setattr(share, "PROC", tmp_path)
    found = share.read(42, 5.0)
    assert found is not None
    assert (found.threads, found.busy, found.stolen) == ({"43": (1000, 200)}, 10 + 20 + 30 + 6 + 7 + 8, 8)
    assert share.read(99, 5.0) is None


@pytest.mark.parametrize(
    ("unit", "timed"),
    [("s", True), ("ms", True), ("1/s", True), ("MiB/s", True), ("cycles", True), ("sectors", False), ("pages", False)],
)
def test_what_is_measured_in_time(unit: str, timed: bool) -> None:
    assert starved.is_timed(Metric("x", unit, 1.0)) is timed


def test_what_is_no_reading_is_no_share(tmp_path: Path) -> None:
    assert starved.load(tmp_path) is None
    (tmp_path / starved.FILE).write_text("[]")
    with pytest.raises(ValueError, match="no readings"):
        starved.load(tmp_path)


def test_a_starved_host_keeps_its_counters_and_loses_its_times(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A demo beside other work said "wall time 117 % higher" without a word of doubt."""
    monkeypatch.setitem(registry._CLASSES, "fake", "campaign_fakes:FakeLoad")
    well, ill = [reading(0, 0), reading(60, 1, at=40.0)], [reading(0, 0), reading(60, 60, others_s=60, at=80.0)]
    host = FakeHost(tmp_path / "host", gave=[*well, *ill, *well])
    outcome = run(write_experiment(tmp_path, SMALL), host, results=tmp_path / "results")
    assert [record.starved for record in outcome.records] == [False, True, False]
    fed, hungry, _ = outcome.records
    assert hungry.status == "complete"
    assert (hungry.value("wall_seconds"), hungry.value("vcpu_seconds")) == (None, None)
    assert hungry.value("sectors_read") is not None
    assert hungry.value("controller_share") == pytest.approx(0.5)
    assert "50%" in hungry.notes[-1]
    assert fed.value("wall_seconds") is not None
    stored = find(tmp_path / "results").directory
    verify(stored).check()  # raw/controller.json says the same again
    (said,) = sections.starved(load(stored))
    assert said.startswith("In 1 of 3 cells")
    monkeypatch.setattr(figures, "FIGURES", {})
    assert said in report.summarise(stored).paragraph
    assert "the host was starved" in (stored / "tables" / "cells.csv").read_text()
    path = next(stored.glob(f"cells/{hungry.cell}/raw/controller.json"))
    assert json.loads(path.read_text())["after"]["threads"] == {"7": [60_000_000_000, 60_000_000_000]}


def test_a_starved_cell_is_run_again_by_its_name_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry._CLASSES, "fake", "campaign_fakes:FakeLoad")
    well, ill = [reading(0, 0), reading(60, 1, at=40.0)], [reading(0, 0), reading(60, 60, others_s=60, at=80.0)]
    host = FakeHost(tmp_path / "host", gave=[*well, *ill, *well, *well])
    made = write_experiment(tmp_path, SMALL)
    fed, hungry, _ = run(made, host, results=tmp_path / "results").records
    stored = find(tmp_path / "results")
    told = {each.planned.cell: each for each in status.status(stored).cells}
    assert "starved" in told[hungry.cell].reason
    assert told[hungry.cell].rerun.endswith(f"--cell {hungry.cell}")
    assert (told[fed.cell].reason, told[fed.cell].rerun) == ("", "")
    with pytest.raises(UsageError, match="never overwritten"):
        run(made, host, results=tmp_path / "results", cell=fed.cell)
    (again,) = run(made, host, results=tmp_path / "results", cell=hungry.cell).records
    assert again.value("wall_seconds") is not None
    assert [record.starved for record in stored.attempts()[hungry.cell]] == [True]
    verify(stored.directory).check()


def test_a_cell_that_was_moved_away_may_run_after_later_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry._CLASSES, "fake", "campaign_fakes:FakeLoad")
    host = FakeHost(tmp_path / "host")
    made = write_experiment(tmp_path, SMALL)
    first, *_ = run(made, host, results=tmp_path / "results").records
    stored = find(tmp_path / "results").directory
    shutil.rmtree(stored / "cells" / first.cell)
    run(made, host, results=tmp_path / "results")
    verify(stored).check()
    assert json.loads((stored / "cells" / first.cell / "env.json").read_text())["identity"]["alone"] is True


def test_a_host_that_is_gone_is_no_guests_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And what may tell why is kept: the next reset takes it away."""
    monkeypatch.setitem(registry._CLASSES, "fake", "campaign_fakes:FakeLoad")

    class Gone(FakeHost):
        def lost(self) -> Mapping[str, str]:
            raise GoneError("QEMU of xen1 is gone", why="SIGKILL")

    def hook(step: str) -> None:
        if step == "observe":
            raise barrier.GuestLostError("guest2 was lost before it said DONE")

    host = Gone(tmp_path / "host", hook=hook)
    failure = run(write_experiment(tmp_path, SMALL), host, results=tmp_path / "results").records[0].failure
    assert failure is not None
    assert failure.kind == "lab"
    assert failure.message.startswith("QEMU of xen1 is gone")
    assert "guest2 was lost" in failure.message
    kept = next((tmp_path / "results").glob("*/attempts/*/raw/evidence/guests.txt")).read_text()
    assert kept.startswith("== guest1 ")


def test_a_guest_that_is_lost_is_told_with_its_domain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry._CLASSES, "fake", "campaign_fakes:FakeLoad")

    def hook(step: str) -> None:
        if step == "observe":
            raise barrier.GuestLostError("guest2 was lost before it said DONE")

    host = FakeHost(tmp_path / "host", hook=hook, dead={"guest2": "guest2 is crashed: Kernel panic - not syncing"})
    outcome = run(write_experiment(tmp_path, SMALL), host, results=tmp_path / "results")
    failure = outcome.records[0].failure
    assert failure is not None
    assert failure.message.endswith("guest2 is crashed: Kernel panic - not syncing")
