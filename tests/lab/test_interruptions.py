"""A campaign that is interrupted anywhere goes on: the controller interrupted, ended or killed, and
QEMU killed, in each stage.

The task is run as a user runs it, in a lab of its own, with a load so small that every cell is
mostly the lab's work.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from campaigns import verify
from lab import lifecycle

pytestmark = [pytest.mark.lab, pytest.mark.long]

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 900
"""Bound for one call of the task."""
NOTICED_SECONDS = 120
"""Bound for a task to end, or to start another QEMU, when its own is gone."""

EXPERIMENT = {
    "schema": 1,
    "title": "Cells that are over soon",
    "question": "Does a campaign survive what happens to it?",
    "host": {"guest_memory": "200 MiB", "dom0_memory": "384 MiB", "vcpus": 2},
    "guests": {"count": 1, "vcpus": 1, "memory_max": "192 MiB", "swap": "64 MiB"},
    "policies": ["static"],
    "workload": {"name": "sysbench_cpu", "parameters": {"events": 50, "time": None}},
    "repetitions": 40,
    "seed": 1,
}

MOMENTS = {
    "boot": "booting Xen",
    "guests": "for a snapshot",
    "reset": ": reset",
    "prepare": ": prepare",
    "policy": ": policy",
    "run": ": run",
    "collect": ": collect",
}
"""What the task says when something begins."""


@dataclass
class Campaign:
    """The task, called again and again."""

    folder: Path
    name: str
    number: int = 0
    started: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def lab(self) -> Path:
        """The inventory; a lab has the name of its file."""
        return self.folder / f"{self.name}-lab.yml"

    def qemu(self) -> int | None:
        """The process that is the host now."""
        pid = lifecycle.status(self.lab)[0]["pid"]
        return None if pid is None else int(pid)

    @property
    def results(self) -> Path:
        return ROOT / "results" / self.name

    def start(self, *options: str) -> tuple[subprocess.Popen[bytes], Path]:
        self.number += 1
        timeline = self.folder / f"timeline{self.number}.jsonl"
        log = self.folder / f"log{self.number}"
        command = [str(ROOT / "inv"), "campaign.run", str(self.folder / f"{self.name}.yml")]
        command += ["--inventory", str(self.lab), "--campaign", self.name, *options]
        with log.open("wb") as output:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={**os.environ, "OVERCOMMIT_TIMELINE": str(timeline)},
                start_new_session=True,
            )
        self.started.append(process)
        return process, timeline

    def end(self) -> None:
        """Let nothing go on that a failed test has left."""
        for process in self.started:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()

    def until(self, process: subprocess.Popen[bytes], timeline: Path, text: str) -> None:
        """Wait until the task says this."""
        deadline = time.monotonic() + SECONDS
        while not (timeline.is_file() and text in timeline.read_text()):
            assert process.poll() is None, f"ended before it said {text!r}:\n{self.log()}"
            assert time.monotonic() < deadline, f"never said {text!r}:\n{self.log()}"
            time.sleep(0.05)

    def complete_one(self) -> None:
        """One more cell, by a task that nobody disturbs."""
        status: dict[str, Any] = json.loads(self.call("campaign.status", self.name, "--json"))
        missing = [cell["planned"]["cell"] for cell in status["cells"] if cell["state"] != "complete"]
        process, _ = self.start("--cell", missing[0])
        assert process.wait(SECONDS) == 0, self.log()
        assert (self.results / "cells" / missing[0] / "cell.json").is_file()

    def call(self, *arguments: str) -> str:
        return subprocess.run([str(ROOT / "inv"), *arguments], check=True, capture_output=True, text=True).stdout

    def log(self) -> str:
        return (self.folder / f"log{self.number}").read_text(errors="replace")[-3000:]


@pytest.fixture(scope="module")
def campaign(tmp_path_factory: pytest.TempPathFactory, inventory_path: Path) -> Iterator[Campaign]:
    folder = tmp_path_factory.mktemp("interruptions")
    name = f"interrupted-{os.getpid()}"
    (folder / f"{name}.yml").write_text(json.dumps(EXPERIMENT))
    made = Campaign(folder, name)
    shutil.copy(inventory_path, made.lab)
    yield made
    made.end()
    lifecycle.destroy(made.lab)
    shutil.rmtree(made.results, ignore_errors=True)


@pytest.mark.parametrize("moment", list(MOMENTS))
@pytest.mark.parametrize("what", ["interrupt", "terminate", "kill"])
def test_a_controller_that_ends_loses_nothing(campaign: Campaign, moment: str, what: str) -> None:
    stop = {"interrupt": signal.SIGINT, "terminate": signal.SIGTERM, "kill": signal.SIGKILL}[what]
    if moment in ("boot", "guests"):
        lifecycle.destroy(campaign.lab)
    process, timeline = campaign.start()
    campaign.until(process, timeline, MOMENTS[moment])
    os.killpg(process.pid, stop)  # as a terminal does
    code = process.wait(120)
    if what == "kill":
        assert code == -signal.SIGKILL
    else:
        assert code == 130, campaign.log()
        assert "Traceback" not in campaign.log()
        assert campaign.qemu() is None, "a QEMU is left"
    campaign.complete_one()


@pytest.mark.parametrize("moment", ["guests", "prepare", "run"])
def test_a_killed_qemu_is_replaced(campaign: Campaign, moment: str) -> None:
    if moment == "guests":
        lifecycle.destroy(campaign.lab)
    process, timeline = campaign.start()
    campaign.until(process, timeline, MOMENTS[moment])
    qemu = campaign.qemu()
    assert qemu is not None
    os.kill(qemu, signal.SIGKILL)
    deadline = time.monotonic() + NOTICED_SECONDS
    while process.poll() is None and campaign.qemu() in (None, qemu):
        assert time.monotonic() < deadline, f"nobody noticed that QEMU was gone:\n{campaign.log()}"
        time.sleep(0.2)
    if process.poll() is None:
        os.kill(process.pid, signal.SIGINT)
        assert process.wait(120) == 130, campaign.log()
    else:
        assert process.returncode in (6, 7), campaign.log()
    assert "Traceback" not in campaign.log()
    campaign.complete_one()


def test_what_was_stored_is_whole(campaign: Campaign) -> None:
    found = verify.verify(campaign.results)
    assert not found.damaged, found.lines()
    assert found.cells >= 1
