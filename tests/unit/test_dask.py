"""A campaign on a scheduler's workers: separate processes on this machine, fakes for their hosts.

Long, since `./inv test --long` installs the library, and nothing else needs it.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from campaign_fakes import EXPERIMENT, find, leftovers, write_experiment

from campaigns import remote, worker
from campaigns.experiment import Experiment
from campaigns.progress import Event
from campaigns.run import Outcome, run_with
from campaigns.sharing import share_of
from campaigns.verify import verify
from common.errors import LabError
from common.needs import NOTHING
from workloads import registry

pytestmark = pytest.mark.long

SMALL = EXPERIMENT.replace("count: 3", "count: 2").replace("480", "320")
ROOT, TESTS = Path(__file__).resolve().parents[2], Path(__file__).resolve().parent

SCHEDULER = "from campaigns import worker; worker.schedule({address!r}, print)"
WORKER = """
import sys
from pathlib import Path
from campaigns import worker
from campaign_fakes import FakePlace
place = FakePlace(Path({base!r}), {name!r}, delay_s={delay}, beside={beside!r}, failing={failing!r})
worker.serve({address!r}, {name!r}, lambda needs: place, print)
"""


@dataclass
class Cluster:
    """A scheduler and workers, each a process."""

    base: Path
    address: str
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def start(self, name: str, script: str) -> None:
        with (self.base / f"{name}.log").open("wb") as log:
            self.processes[name] = subprocess.Popen(
                [sys.executable, "-c", script],
                stdout=log,
                stderr=log,
                env={**os.environ, "PYTHONPATH": f"{ROOT}:{TESTS}"},
            )

    def worker(self, name: str, *, delay: float = 0.3, beside: tuple[str, ...] = (), failing: str = "") -> None:
        base = str(self.base)
        script = WORKER.format(base=base, name=name, delay=delay, beside=beside, failing=failing, address=self.address)
        self.start(name, script)

    def log(self, name: str) -> str:
        return (self.base / f"{name}.log").read_text()

    def end(self) -> None:
        for process in self.processes.values():
            if process.poll() is None:
                process.terminate()
        for name, process in self.processes.items():
            assert process.wait(120) is not None, name


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    monkeypatch.setitem(registry._CLASSES, "fake", "campaign_fakes:FakeLoad")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    made = Cluster(tmp_path, address)
    made.start("scheduler", SCHEDULER.format(address=address))
    deadline = time.monotonic() + 120
    while "listens at" not in made.log("scheduler"):
        assert time.monotonic() < deadline, made.log("scheduler")
        time.sleep(0.1)
    yield made
    made.end()


@pytest.fixture
def wanted(tmp_path: Path) -> Experiment:
    return write_experiment(tmp_path, SMALL)


def run_there(
    cluster: Cluster, wanted: Experiment, said: list[str] | None = None, events: list[Event] | None = None
) -> Outcome:
    said, events = ([] if each is None else each for each in (said, events))  # type: ignore[assignment]
    with remote.Workers(cluster.address, NOTHING) as workers:
        return run_with(
            wanted,
            workers,
            lab="Dask",
            hosts=None,
            results=cluster.base / "results",
            listen=events.append,  # type: ignore[union-attr]
            tell=said.append,  # type: ignore[union-attr]
        )


def test_two_workers_run_a_campaign_and_the_controller_stores_it(cluster: Cluster, wanted: Experiment) -> None:
    for name, other in (("one", "two"), ("two", "one")):
        cluster.worker(name, beside=(other,))
    events: list[Event] = []
    run_there(cluster, wanted, events=events).check()
    stored = find(cluster.base / "results")
    cells = stored.cells()
    assert Counter(cell.host for cell in cells.values()) == {"one": 3, "two": 3}
    hosts = {(share_of(each), cells[each.cell].host) for each in stored.record().cells}
    assert len(hosts) == 2, "pairs stay on one worker"
    assert {event.stage for event in events if event.kind == "stage"} >= {"reset", "run", "collect"}
    assert leftovers(cluster.base / "results") == []
    assert verify(stored.directory).lines()[-1].startswith("test: sound and complete")


@pytest.mark.parametrize("stage", ["reset", "run"])
def test_a_worker_that_is_killed_in_the_middle_gives_its_cell_to_another(
    cluster: Cluster, wanted: Experiment, stage: str
) -> None:
    for name, other in (("one", "two"), ("two", "one")):
        cluster.worker(name, beside=(other,))
    said: list[str] = []
    killed = threading.Event()

    class Killing(list[Event]):
        def append(self, event: Event) -> None:
            super().append(event)
            if event.stage == stage and event.host == "two" and not killed.is_set():
                killed.set()
                cluster.processes["two"].send_signal(signal.SIGKILL)

    run_there(cluster, wanted, said, Killing()).check()
    assert killed.is_set()
    stored = find(cluster.base / "results")
    assert stored.attempts() == {}
    assert leftovers(cluster.base / "results") == []
    assert any("two is lost, and another host gets its cell" in text for text in said)
    deadline = time.monotonic() + 120
    while not (cluster.base / "two.closed").exists():
        assert time.monotonic() < deadline, "its host is left as it was"
        time.sleep(0.1)
    verify(stored.directory).check()


def test_a_worker_whose_lab_fails_is_done_without_and_one_that_comes_late_helps(
    cluster: Cluster, wanted: Experiment
) -> None:
    cluster.worker("bad", failing="reset", delay=0.0)
    said: list[str] = []
    later = threading.Timer(6.0, lambda: cluster.worker("good", delay=0.0))
    later.start()
    run_there(cluster, wanted, said)
    later.join()
    cells = find(cluster.base / "results").cells()
    assert {cell.host for cell in cells.values()} == {"good"}
    assert any("bad: the host could not be brought" in text for text in said)


def test_a_scheduler_that_dies_in_the_middle_is_told_and_what_is_complete_stays(
    cluster: Cluster, wanted: Experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster.worker("one")
    killed = threading.Event()

    class Killing(list[Event]):
        def append(self, event: Event) -> None:
            super().append(event)
            if event.stage == "run" and event.done == 1 and not killed.is_set():
                killed.set()
                cluster.processes["scheduler"].send_signal(signal.SIGKILL)

    with pytest.raises(LabError, match="the scheduler is gone") as caught:
        run_there(cluster, wanted, events=Killing())
    assert killed.is_set()
    assert cluster.address in caught.value.where
    assert "start it" in caught.value.remedy
    stored = find(cluster.base / "results")
    assert len(stored.cells()) >= 1
    assert stored.attempts() == {}
    assert leftovers(cluster.base / "results") == []
    deadline = time.monotonic() + 120
    while not (cluster.base / "one.closed").exists():
        assert time.monotonic() < deadline, "its host is left as it was"
        time.sleep(0.1)


def test_nobody_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "CONNECT_S", 1)
    with pytest.raises(LabError, match="no scheduler answers") as caught, remote.Workers("127.0.0.1:9", NOTHING):
        pass
    assert "campaign.scheduler" in caught.value.remedy


def test_the_library_is_there() -> None:
    assert worker.distributed().__name__ == "distributed"
