"""How ./inv test deals its tests out to two processes, and which of them gives way: what
tests/conftest.py does.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests import conftest

ROOT = Path(__file__).resolve().parents[2]


@dataclass(eq=False)
class Worker:
    """A process that is given tests."""

    gateway: Any
    given: list[list[int]] = field(default_factory=list)
    shutting_down: bool = False

    def send_runtest_some(self, indices: list[int]) -> None:
        self.given.append(indices)

    def shutdown(self) -> None:
        self.shutting_down = True


def test_the_lab_s_tests_go_first_and_to_one_process_and_a_file_stays_whole() -> None:
    large = [f"tests/unit/test_large.py::test[{number}]" for number in range(9)]
    other = [f"tests/unit/test_other.py::test[{number}]" for number in range(8)]
    lab = ["tests/lab/test_a.py::test_one", "tests/lab/test_b.py::test[x::y]", "tests/lab/test_b.py::test_two"]
    config: Any = SimpleNamespace(getvalue=lambda _name: ["2*popen"], option=SimpleNamespace(loadscopereorder=True))
    scheduler = conftest.LabTogether(config)
    workers: list[Any] = [Worker(SimpleNamespace(id=name)) for name in ("one", "other")]
    tests = [*large, *other, *lab]
    for worker in workers:
        scheduler.add_node(worker)
        scheduler.add_node_collection(worker, tests)
    scheduler.schedule()
    numbers = {name: index for index, name in enumerate(tests)}
    assert workers[0].given == [[numbers[name] for name in lab]]
    assert workers[1].given == [[numbers[name] for name in large]]
    for name in lab:
        scheduler.mark_test_complete(workers[0], numbers[name])
    assert workers[0].given[1:] == [[numbers[name] for name in other]]


def test_a_process_gives_way_once_and_when_it_has_a_test_without_the_lab(monkeypatch: pytest.MonkeyPatch) -> None:
    gave_way: list[bool] = []
    monkeypatch.setattr(conftest, "give_way", lambda: gave_way.append(True))
    plugin = conftest.GivesWay()
    of_lab: Any = SimpleNamespace(get_closest_marker=lambda name: name)
    other: Any = SimpleNamespace(get_closest_marker=lambda _name: None)
    plugin.pytest_runtest_setup(of_lab)
    assert gave_way == []
    for _ in range(2):
        plugin.pytest_runtest_setup(other)
    assert gave_way == [True]


def test_who_gives_way_has_a_lower_priority_also_beside_other_sessions() -> None:
    code = """
import os
from tests import conftest
conftest.give_way()
print(os.getsid(0) == os.getpid(), os.nice(0), conftest.AUTOGROUP.read_text() if conftest.AUTOGROUP.exists() else "")
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True)
    leads, nice, *group = done.stdout.split()
    assert leads == "True"
    assert int(nice) == min(19, os.nice(0) + conftest.LOWER)
    if conftest.AUTOGROUP.exists():
        ours = re.search(r"nice (-?\d+)$", conftest.AUTOGROUP.read_text())
        assert ours is not None
        assert int(group[-1]) == max(int(ours[1]), conftest.LOWER)
