"""A campaign that is killed at random, again and again, loses no complete cell, and ends as one
that nobody disturbed.

Each time it runs in a process of its own, and one trouble strikes it, at a step, in the middle of a
write, or at a moment, that the seed of the test chooses: the controller is killed, the host (its
QEMU) or a guest dies, the disk is full, or, with two hosts, the process of one is killed. What
survives its trouble is killed a little later. That each trouble did strike, while there was
something left to run, is part of the test.
"""

from __future__ import annotations

import errno
import os
import random
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from campaign_fakes import EXPERIMENT, FakeHost, FakeLoad, FakePlace, find, leftovers, write_experiment

from analysis import load
from campaigns import barrier, records, store
from campaigns.experiment import Experiment
from campaigns.hands import Hands
from campaigns.run import run, run_with
from campaigns.verify import verify
from common import files, surroundings
from common.errors import LabError
from workloads import registry

ALONE = ("controller", "moment", "writing", "host", "guest", "disk")
HOSTS = ("xen1", "xen2")
TEXT = (
    EXPERIMENT
    .replace("count: 3", "count: 1")
    .replace("480", "160")
    .replace("static, ", "")
)  # fmt: skip
STORES = ("write_sums", "sync_tree", "replace_sums", "publish")
"""What a store does one after the other, and may be killed at."""

STEPS_A_CELL, WRITES_A_CELL = 16, 8
KILLED, LATE, TOLD = -signal.SIGKILL, -signal.SIGALRM, 7
ENDS = {
    "controller": {KILLED},
    "writing": {KILLED},
    "moment": {LATE},
    "worker": {LATE},
    "guest": {KILLED},
    "host": {TOLD, KILLED},
    "disk": {TOLD, KILLED},
}
"""How a run may end; with 7, it tells people what went wrong. None ends with 0: nothing would be
left.
"""

HAPPENED = "happened"
"""A file with a line for each trouble, written before it strikes: a trouble that was planned, and
that nobody reached, is none.
"""


@pytest.fixture(autouse=True)
def _fake_load(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry._CLASSES, "fake", "campaign_fakes:FakeLoad")


class Fate:
    """What befalls one run: one trouble, once, at a step, a write or a moment that chance
    chooses.
    """

    def __init__(self, kind: str, chance: random.Random, base: Path) -> None:
        self.kind, self.base = kind, base
        self.steps = chance.randint(1, 2 * STEPS_A_CELL)
        self.writes = chance.randint(1, 2 * WRITES_A_CELL)
        self.share = chance.random()
        self.after = chance.randint(1, STEPS_A_CELL)
        self.moment_s = chance.uniform(0.01, 0.4)
        self.step = chance.choice(["reset", "prepare", "counters", "stop", "provenance"])
        self.place = chance.randint(1, 2)
        self.host = chance.choice(HOSTS)
        self.struck = False

    def strike(self) -> None:
        """Now it happens."""
        self.struck = True
        with (self.base / HAPPENED).open("a") as stream:
            print(self.kind, file=stream)

    def hook(self, step: str) -> None:
        """A step of the host, the load or the store. A host that is dead stays so."""
        self.steps -= 1
        if self.struck:
            self._outlived(step)
        elif self.steps >= 0:
            return
        elif self.kind == "controller":
            self.strike()
            os.kill(os.getpid(), signal.SIGKILL)
        elif self.kind == "host" and step not in STORES:
            self.strike()
            raise LabError("the host is dead")
        elif self.kind == "guest" and step == "counters":
            self.strike()
            raise barrier.GuestLostError("guest1 crashed")

    def _outlived(self, step: str) -> None:
        """A campaign goes on after some troubles, and would leave nothing for the next."""
        self.after -= 1
        if self.after < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        if self.kind == "host" and step not in STORES:
            raise LabError("the host is dead")

    def written(self, path: Path, text: str) -> str | None:
        """What of a text reaches a file of the results before the trouble; None: all, and there is
        none.
        """
        if self.kind not in ("disk", "writing") or self.struck or not path.is_relative_to(self.base / "results"):
            return None
        self.writes -= 1
        if self.writes >= 0:
            return None
        self.strike()
        return text[: int(self.share * len(text))]


def _hooked(name: str, fate: Fate) -> Callable[..., object]:
    real: Callable[..., object] = getattr(store, name)

    def wrapped(*arguments: object) -> object:
        fate.hook(name)
        return real(*arguments)

    return wrapped


def _half_writing(fate: Fate) -> Callable[..., int]:
    real = Path.write_text

    def write_text(path: Path, data: str, *arguments: Any, **options: Any) -> int:
        part = fate.written(path, data)
        if part is None:
            return real(path, data, *arguments, **options)
        real(path, part, *arguments, **options)
        if fate.kind == "writing":
            os.kill(os.getpid(), signal.SIGKILL)
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    return write_text


def _controller(wanted: Experiment, base: Path, fate: Fate) -> None:
    """The campaign, in a process that will not live long."""
    if fate.kind == "worker":  # the other goes on, until the controller is killed too
        unlucky = {"kill": (fate.step, fate.place)}
        places = [FakePlace(base, name, **(unlucky if name == fate.host else {})) for name in HOSTS]  # type: ignore[arg-type]
        with Hands(places) as hands:
            run_with(wanted, hands, hosts=HOSTS, results=base / "results", tell=_end_after_a_loss)
        return
    if fate.kind == "moment":
        signal.setitimer(signal.ITIMER_REAL, fate.moment_s)
    for name in STORES:
        setattr(store, name, _hooked(name, fate))
    Path.write_text = _half_writing(fate)  # type: ignore[method-assign]
    FakeLoad.hook = staticmethod(fate.hook)  # type: ignore[assignment]
    run(wanted, FakeHost(base / "host", hook=fate.hook), results=base / "results")


def _end_after_a_loss(said: str) -> None:
    """The campaign would go on to its end, and leave nothing for the next trouble."""
    if " is lost" in said:
        signal.setitimer(signal.ITIMER_REAL, 0.2)


def disturbed(wanted: Experiment, base: Path, fate: Fate) -> int:
    """Run it in a process of its own; how that ended."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            _controller(wanted, base, fate)
            code = 0
        except Exception as error:  # noqa: BLE001 - as the command line tells it
            if surroundings.explain(error) is None:
                traceback.print_exc(file=sys.__stderr__)
            else:
                code = TOLD
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def struck(base: Path, fate: Fate, code: int) -> bool:
    """Whether what was meant to befall a run did."""
    if fate.kind == "moment":
        return code == LATE
    if fate.kind == "worker":
        dead = base / f"{fate.host}.killed"
        found = dead.exists()
        dead.unlink(missing_ok=True)
        return found
    happened = base / HAPPENED
    found = happened.exists()
    happened.unlink(missing_ok=True)
    return found


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
    [(20, 2, 15), pytest.param(100, 12, 75, marks=pytest.mark.long)],
)
def test_a_campaign_survives_kills_at_random(tmp_path: Path, kills: int, workers: int, repetitions: int) -> None:
    """So many that struck, while there was something left to run: what came too late is none."""
    wanted = write_experiment(tmp_path, TEXT.replace("repetitions: 2", f"repetitions: {repetitions}"))
    chance = random.Random(2009)
    kinds = [*["worker"] * workers, *(ALONE[number % len(ALONE)] for number in range(kills - workers))]
    chance.shuffle(kinds)
    results = tmp_path / "results"
    before: dict[str, str] = {}
    for kind in kinds:
        fate = Fate(kind, chance, tmp_path)
        code = disturbed(wanted, tmp_path, fate)
        after = digests(results)
        assert {name: after.get(name) for name in before} == before, f"{kind} lost a complete cell"
        assert struck(tmp_path, fate, code), f"{kind} struck nothing; it ended with {code}"
        assert code in ENDS[kind], "by a defect, or before its time"
        before = after
    planned = 2 * repetitions
    assert kills // 4 < len(before) < planned, "some cells were complete, and at no time all"
    run(wanted, FakeHost(tmp_path / "host"), results=results).check()
    after = digests(results)
    assert {name: after[name] for name in before} == before
    assert len(after) == planned
    assert leftovers(results) == []
    verify(find(results).directory).check()

    run(wanted, FakeHost(tmp_path / "other"), results=tmp_path / "undisturbed").check()
    for name, table in tables(tmp_path / "undisturbed").items():
        pd.testing.assert_frame_equal(tables(results)[name], table, obj=name)
