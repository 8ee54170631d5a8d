"""A campaign that is killed at random, again and again, loses no complete cell, and ends as one
that nobody disturbed.

Each time it runs in a process of its own, until a step, or a moment, that the seed of the test
chooses. Before that a host or a guest may have died, the disk been full, or, with two hosts, the
process of one been killed.
"""

from __future__ import annotations

import errno
import os
import random
import signal
import sys
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from campaign_fakes import EXPERIMENT, FakeHost, FakeLoad, FakePlace, find, leftovers, write_experiment

from analysis import load
from campaigns import barrier, records, store
from campaigns.experiment import Experiment
from campaigns.hands import Hands
from campaigns.run import run, run_with
from campaigns.verify import verify
from common import files
from common.errors import LabError, UserError
from workloads import registry

ALONE = ("controller", "moment", "host", "guest", "disk")
HOSTS = ("xen1", "xen2")
TEXT = (
    EXPERIMENT
    .replace("count: 3", "count: 1")
    .replace("480", "160")
    .replace("static, ", "")
)  # fmt: skip
WRITES = ("write_sums", "sync_tree", "_replace_sums", "publish")
"""What a store does one after the other, and may be killed or find the disk full at."""

STEPS_A_CELL = 16


@pytest.fixture(autouse=True)
def _fake_load(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry._CLASSES, "fake", "campaign_fakes:FakeLoad")


class Fate:
    """What befalls one run."""

    def __init__(self, kind: str, chance: random.Random) -> None:
        self.kind = kind
        self.left = chance.randint(1, 2 * STEPS_A_CELL)
        self.moment_s = chance.uniform(0.01, 0.4)
        self.trouble_at = chance.randint(1, STEPS_A_CELL)
        self.write = chance.choice(WRITES)
        self.step = chance.choice(["reset", "prepare", "counters", "stop", "provenance"])
        self.host = chance.choice(HOSTS)
        self.reached = 0
        self.done = False

    def hook(self, step: str) -> None:
        """A step of the host, the load or the store."""
        self.reached += 1
        if self.kind == "host" and self.reached >= self.trouble_at and step not in WRITES:
            raise LabError("the host is dead")
        if self.kind == "guest" and not self.done and self.reached >= self.trouble_at and step == "counters":
            self.done = True
            raise barrier.GuestLostError("guest1 crashed")
        if self.kind == "disk" and not self.done and self.reached >= self.trouble_at and step == self.write:
            self.done = True
            raise OSError(errno.ENOSPC, "No space left on device")
        self.left -= 1
        if self.left < 0 and self.kind != "moment":
            os.kill(os.getpid(), signal.SIGKILL)


def _hooked(name: str, fate: Fate) -> Callable[..., object]:
    real: Callable[..., object] = getattr(store, name)

    def wrapped(*arguments: object) -> object:
        fate.hook(name)
        return real(*arguments)

    return wrapped


def _controller(wanted: Experiment, base: Path, fate: Fate) -> None:
    """The campaign, in a process that will not live long."""
    if fate.kind == "worker":
        signal.setitimer(signal.ITIMER_REAL, 8 * fate.moment_s)  # while the other host goes on, or after all
        unlucky = {"kill": (fate.step, 1 + fate.trouble_at % 3)}
        places = [FakePlace(base, name, **(unlucky if name == fate.host else {})) for name in HOSTS]  # type: ignore[arg-type]
        with Hands(places) as hands:
            run_with(wanted, hands, hosts=HOSTS, results=base / "results")
        return
    if fate.kind == "moment":
        signal.setitimer(signal.ITIMER_REAL, fate.moment_s)
    for name in WRITES:
        setattr(store, name, _hooked(name, fate))
    FakeLoad.hook = staticmethod(fate.hook)  # type: ignore[assignment]
    run(wanted, FakeHost(base / "host", hook=fate.hook), results=base / "results")


def disturbed(wanted: Experiment, base: Path, fate: Fate) -> int:
    """Run it in a process of its own; how that ended."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            _controller(wanted, base, fate)
            code = 0
        except UserError:
            code = 7
        except BaseException:  # noqa: BLE001 - nothing may leave this process but its code
            traceback.print_exc(file=sys.__stderr__)
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def digests(results: Path) -> dict[str, str]:
    """Complete cell -> the sum of its sums."""
    folder = results / "test" / records.CELLS_DIR
    if not folder.is_dir():
        return {}
    return {path.name: files.digest(path / records.SUMS_FILE) for path in records.cell_directories(folder.parent)}


def tables(results: Path) -> dict[str, pd.DataFrame]:
    """What does not depend on times: which cells there are and what they counted."""
    found = load.load(results / "test")
    kept = ["cell", "policy", "levels", "repetition", "block", "order", "status", "accelerator"]
    metrics = found.metrics[["cell", "policy", "repetition", "block", "guest", "metric", "unit", "value"]]
    counted = metrics[
        ~metrics["unit"].isin(["s", "fraction", "1/s", "GiB·min"]) & ~metrics["metric"].str.contains("second")
    ]
    order = ["cell", "metric", "guest"]
    gates = found.gates[["cell", "gate", "passed"]].sort_values(["cell", "gate"])
    return {
        "cells": found.cells[kept].sort_values("order").reset_index(drop=True),
        "counted": counted.sort_values(order, na_position="first").reset_index(drop=True),
        "named": metrics[["cell", "metric", "guest", "unit"]].sort_values(order).reset_index(drop=True),
        "gates": gates.reset_index(drop=True),
    }


@pytest.mark.parametrize(
    ("kills", "workers", "repetitions"),
    [(40, 2, 16), pytest.param(100, 12, 40, marks=pytest.mark.long)],
)
def test_a_campaign_survives_kills_at_random(tmp_path: Path, kills: int, workers: int, repetitions: int) -> None:
    wanted = write_experiment(tmp_path, TEXT.replace("repetitions: 2", f"repetitions: {repetitions}"))
    chance = random.Random(2009)
    kinds = [*["worker"] * workers, *(ALONE[number % len(ALONE)] for number in range(kills - workers))]
    chance.shuffle(kinds)
    results = tmp_path / "results"
    before: dict[str, str] = {}
    ends: Counter[int] = Counter()
    for kind in kinds:
        ends[disturbed(wanted, tmp_path, Fate(kind, chance))] += 1
        after = digests(results)
        assert {name: after.get(name) for name in before} == before, f"{kind} lost a complete cell"
        before = after
    assert 1 not in ends, "a defect"
    assert ends[-signal.SIGKILL] + ends[-signal.SIGALRM] >= kills // 4
    assert ends[7] > 0, "a full disk or a dead host ends a run with an error for people"
    assert before, "some cells were complete"
    run(wanted, FakeHost(tmp_path / "host"), results=results).check()
    after = digests(results)
    assert {name: after[name] for name in before} == before
    assert leftovers(results) == []
    verify(find(results).directory).check()

    run(wanted, FakeHost(tmp_path / "other"), results=tmp_path / "undisturbed").check()
    for name, table in tables(tmp_path / "undisturbed").items():
        pd.testing.assert_frame_equal(tables(results)[name], table, obj=name)
