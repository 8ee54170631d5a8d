"""What the workloads' tests share: captured raw outputs, and this machine as a machine with tiny
programs of our own on its PATH.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from plumbum import local

from workloads import scripts

DATA = Path(__file__).resolve().parent.parent / "data"


@pytest.fixture
def raw(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The machine's folder for raw outputs, moved to where a test may write."""
    folder = tmp_path / "machine-raw"
    monkeypatch.setattr(scripts, "RAW", str(folder))
    return folder


@pytest.fixture
def programs(tmp_path: Path) -> Iterator[Path]:
    """A folder that comes first on this machine's PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    with local.env(PATH=f"{folder}:{local.env['PATH']}"):
        yield folder


def write_program(folder: Path, name: str, body: str) -> None:
    """A sh program that a machine finds on its PATH."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\n{body}\n", encoding="utf-8")
    path.chmod(0o755)


def write_timings(raw: Path, label: str, status: int = 0) -> None:
    """What a timed script leaves beside the output of its one command."""
    (raw / "timings").write_text(f"{label} 100.00 102.50 {status}\n")
    (raw / f"{label}.before").write_text("0m0.000000s 0m0.000000s\n0m0.000000s 0m0.010000s\n")
    (raw / f"{label}.after").write_text("0m0.000000s 0m0.000000s\n0m1.250000s 0m0.260000s\n")
    (raw / f"{label}.err").touch()


def fio_document(**figures: Any) -> str:
    """A good document of fio 3.39 with other figures: `job_runtime=0`, `read__total_ios=0`."""
    document = json.loads((DATA / "fio" / "3.39-randrw-psync.json").read_text())
    for path, value in figures.items():
        *parents, key = path.split("__")
        target = document["jobs"][0]
        for parent in parents:
            target = target[parent]
        target[key] = value
    return json.dumps(document)
