"""benchmarks/managers.py on a host that is made up: what it asks of a host, in which order, and
what it makes of that.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks import managers as benchmark
from lab.api import Manager
from policies import managers

PAGES = 256


class MadeUp:
    """Three guests. While a manager is released, who eats gets so much each time that somebody
    looks, and who does not gives it.
    """

    def __init__(self, step: int) -> None:
        self.step = step
        self.guests = {f"guest{number}": None for number in (1, 2, 3)}
        self.agents = SimpleNamespace(start=lambda _names: None, ask=lambda _lines: {"dom0": [self.reading()]})
        self.now = 0.0
        self.mib = dict.fromkeys(self.guests, 96)
        self.eating: set[str] = set()
        self.started: list[Manager] = []
        self.released = False

    def reading(self) -> str:
        self.now += 1
        if self.released:
            for name in self.guests:
                more = self.step if name in self.eating else -self.step
                self.mib[name] = min(max(self.mib[name] + more, 0), 256)
        domains = [{"name": name, "pages": mib * PAGES} for name, mib in self.mib.items()]
        return json.dumps({"time": self.now, "domains": domains})

    def run(self, machine: str, script: str, *, timeout: float = 60.0) -> str:
        if "rm /run/eater" in script:
            self.eating.discard(machine)
        elif "dd " in script:
            self.eating.add(machine)
        return ""

    def set_memory(self, targets: Mapping[str, int], limits: Mapping[str, int]) -> None:
        self.mib.update(targets)

    def start_manager(self, manager: Manager) -> None:
        self.started.append(manager)

    def release_manager(self) -> None:
        self.released = True

    def stop_manager(self) -> Sequence[str]:
        self.released = False
        decision: dict[str, Any] = {"time": 1, "names": {}, "state": {}, "decision": {}, "set": [[1, 2, 0.1]]}
        cost = {"cpu_seconds": 0.25, "wall_seconds": 10.0, "library": True}
        lines = [{**decision, "failed": []}, {"cost": cost}, {"reporters": {"guest1": cost}}]
        return [json.dumps(line) for line in lines]


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda _seconds: None)


@pytest.mark.parametrize("name", managers.names())
def test_what_a_manager_gives_and_takes_is_timed(name: str) -> None:
    host = MadeUp(step=10)
    found = benchmark.measure(host, name, 4, 100, 45)  # type: ignore[arg-type]
    assert (found.idle, found.idle_decisions, found.idle_targets, found.busy) == (0.025, 1, 1, 0.025)
    assert (found.idle_ms, found.library) == (250, True)
    assert [each.name for each in host.started] == [name] * 3
    if name == "balloon":
        assert host.started[-1].settings["parameters"]["schedule"], "it has hands of its own"
    else:
        assert (found.got_s, found.got_mib) == (9, 100)
        assert (found.gave_s, found.gave_mib) == (9, 100)
    assert host.eating == set()


def test_what_does_not_come_within_the_limit_is_told_with_what_came(capsys: pytest.CaptureFixture[str]) -> None:
    host = MadeUp(step=1)
    found = benchmark.measure(host, "psi", 4, 100, 20)  # type: ignore[arg-type]
    assert (found.got_s, found.gave_s) == (None, None)
    assert 20 <= found.got_mib <= 23
    assert 20 <= found.gave_mib <= 23
    benchmark.show([found], 100)
    said = capsys.readouterr().out
    assert f"| ({found.got_mib} MiB) | ({found.gave_mib} MiB) |" in said
    assert "psi takes 1 % of a guest's memory every 6 s" in said


def test_why_names_managers_that_there_are() -> None:
    assert set(benchmark.WHY) | set(benchmark.STILL) <= set(managers.names())
    assert set(benchmark.SCALED) == set(managers.names())
