"""The guide's workload is one, as it is printed: parameters, the three steps, and its page."""

from __future__ import annotations

import importlib
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from plumbum import local

import workloads
from tests.unit.workloads_local import raw as raw  # noqa: PLC0414  a fixture
from workloads import registry, scripts
from workloads import run as running
from workloads.base import ParameterError, Workload

ROOT = Path(__file__).resolve().parents[2]
GUIDE = (ROOT / "workloads" / "README.md").read_text()
PRINTED = [
    ("workloads", "workloads/nap.py"),
    ("policies", "policies/halved.py"),
    ("policies", "policies/even.py"),
    ("policies", "policies/managers/even.py"),
]
"""Folder of a guide, and a module that it prints to be copied."""


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


@pytest.mark.parametrize(("guide", "module"), PRINTED, ids=[module for _, module in PRINTED])
def test_what_the_guides_print_passes_lint_as_any_module(guide: str, module: str) -> None:
    text = (ROOT / guide / "README.md").read_text()
    (printed,) = re.findall(
        rf"`{module.removeprefix('policies/') if 'managers' in module else module}`.*?```python\n(.*?)```",
        text,
        re.DOTALL,
    )
    for words in (["check"], ["format", "--diff"]):
        command = [sys.executable, "-m", "ruff", *words, "--no-cache", "--stdin-filename", module, "-"]
        done = subprocess.run(command, input=printed, capture_output=True, text=True, cwd=ROOT, check=False)
        assert done.returncode == 0, done.stdout


def test_the_guides_workload_has_the_types_of_any_module(nap: Workload[Any], tmp_path: Path) -> None:
    assert nap.name == "nap"
    words = [
        "-m",
        "mypy",
        "--cache-dir",
        str(tmp_path / "cache"),
        "--follow-imports",
        "silent",
        str(tmp_path / "nap.py"),
    ]
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stdout
