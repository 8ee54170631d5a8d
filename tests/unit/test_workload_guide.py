"""The guide's workload is one, as it is printed: parameters, the three steps, and its page."""

from __future__ import annotations

import importlib
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from plumbum import local

import workloads
from tests.unit.workloads_local import raw as raw  # noqa: PLC0414  a fixture
from workloads import registry, scripts
from workloads import run as running
from workloads.base import ParameterError, Workload

GUIDE = (Path(__file__).resolve().parents[2] / "workloads" / "README.md").read_text()


@pytest.fixture
def nap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workload[Any]:
    printed = re.search(r"`workloads/nap.py`.*?```python\n(.*?)```", GUIDE, re.DOTALL)
    assert printed
    (tmp_path / "nap.py").write_text(printed[1])
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setitem(registry._CLASSES, "nap", "nap:Nap")
    importlib.invalidate_caches()
    return registry.get("nap")


def test_it_sleeps_and_says_so(nap: Workload[Any], raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bool] = []
    real = scripts.prepare

    def prepare(body: str, *, reset_memory: bool) -> str:
        asked.append(reset_memory)
        return real(body, reset_memory=False)  # this machine keeps its caches

    monkeypatch.setattr(scripts, "prepare", prepare)
    result = running.run(local, nap, nap.parse({"length": "0.2 s"}), tmp_path / "kept")
    (metric,) = result.metrics
    assert asked == [True]
    assert (metric.name, metric.unit) == ("wall_seconds", "s")
    assert 0.15 <= metric.value < 10
    assert nap.read(nap.parse({"length": "0.2 s"}), tmp_path / "kept").metrics == result.metrics


def test_it_refuses_what_it_does_not_know_and_can_be_described(nap: Workload[Any]) -> None:
    with pytest.raises(ParameterError, match="no such parameter"):
        nap.parse({"lenght": "1 s"})
    described = nap.describe()
    assert described.doc.startswith("Sleep")
    assert [each.name for each in described.parameters] == ["length"]


def test_the_command_that_tries_one_is_taken() -> None:
    printed = re.search(r"`\./inv workloads\.run (\w+) (.*?)`", GUIDE)
    assert printed
    words = shlex.split(printed[2])
    assert words[:2] == ["--on", "local"]
    key, _, value = words[words.index("--set") + 1].partition("=")
    assert workloads.get(printed[1]).parse({key: value})
