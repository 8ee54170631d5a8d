"""How a guest's kernel is asked for operations on tmem, and what it answers."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from lab.remote.served import FOLDER, asking, parse_answers


def test_answers_are_counted_by_what_they_are() -> None:
    assert parse_answers("1:4096 -12:3\n") == {1: 4096, -12: 3}
    assert parse_answers("") == {}


def test_what_is_no_answer_is_not_taken_for_one() -> None:
    with pytest.raises(ValueError, match=r"unpack|invalid literal"):
        parse_answers("cat: answer: No such file")


def test_a_command_is_written_and_its_answer_read(tmp_path: Path) -> None:
    (tmp_path / "answer").write_text("1:64\n")
    script = asking("put 0 1 0 64 0").replace(FOLDER, str(tmp_path))
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True)
    assert parse_answers(done.stdout) == {1: 64}
    assert (tmp_path / "command").read_text() == "put 0 1 0 64 0\n"
    (tmp_path / "command").unlink()
    (tmp_path / "command").mkdir()
    assert subprocess.run(["sh", "-c", script], capture_output=True, check=False).returncode != 0
