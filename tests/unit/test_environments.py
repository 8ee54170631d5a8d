"""Environments beside the testbed's own: made once, from a lock, or said why not."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from common import environments
from common.errors import MissingError

PYTHON = """\
#!/bin/sh
# `python -m venv PLACE` makes PLACE/bin/python, which is pip.
echo "$@" >> {log}
[ "$2" = venv ] || {{ [ ! -e {folder}/broken ] || {{ echo "no wheel fits" >&2; exit 1; }}; exit 0; }}
mkdir -p "$3/bin"
cp "$0" "$3/bin/python"
"""


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What a made-up Python was asked for."""
    program = tmp_path / "python"
    program.write_text(PYTHON.format(log=tmp_path / "log", folder=tmp_path))
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    (tmp_path / "some.lock").write_text("a==1 --hash=sha256:0\n")
    return tmp_path / "log"


def test_it_is_made_once_for_each_lock(log: Path, tmp_path: Path) -> None:
    lock, folder = tmp_path / "some.lock", tmp_path / "environments"
    first = environments.interpreter(lock, folder)
    made, installed = log.read_text().splitlines()
    assert made.startswith("-m venv ")
    assert "--require-hashes --only-binary=:all: -r" in installed
    assert environments.interpreter(lock, folder) == first
    assert len(log.read_text().splitlines()) == 2
    lock.write_text("a==2 --hash=sha256:0\n")
    assert environments.interpreter(lock, folder) != first
    assert len(log.read_text().splitlines()) == 4


def test_one_that_was_not_finished_is_made_anew(log: Path, tmp_path: Path) -> None:
    lock, folder = tmp_path / "some.lock", tmp_path / "environments"
    first = environments.interpreter(lock, folder)
    (first.parent.parent / ".complete").unlink()
    environments.interpreter(lock, folder)
    assert len(log.read_text().splitlines()) == 4


def test_why_it_cannot_be_made_is_told(log: Path, tmp_path: Path) -> None:
    (tmp_path / "broken").touch()
    with pytest.raises(MissingError, match=r"some\.lock could not be made") as caught:
        environments.interpreter(tmp_path / "some.lock", tmp_path / "environments")
    assert "no wheel fits" in caught.value.why
    (tmp_path / "broken").unlink()
    environments.interpreter(tmp_path / "some.lock", tmp_path / "environments")


def test_the_replays_lock_has_hashes_and_no_addresses() -> None:
    root = Path(__file__).parents[2]
    text = (root / "requirements-replay.lock").read_text()
    assert "libcachesim==" in text
    pinned = text.count("==") - text.count("sys_platform ==")
    assert text.count("--hash=sha256:") >= pinned
    assert "://" not in text
    assert "--index" not in text
