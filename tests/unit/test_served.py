"""How a guest's kernel is asked for operations on tmem, and what it answers."""

from __future__ import annotations

import pytest

from lab.remote.served import asking, parse_answers


def test_answers_are_counted_by_what_they_are() -> None:
    assert parse_answers("1:4096 -12:3\n") == {1: 4096, -12: 3}
    assert parse_answers("") == {}


def test_what_is_no_answer_is_not_taken_for_one() -> None:
    with pytest.raises(ValueError, match=r"unpack|invalid literal"):
        parse_answers("cat: answer: No such file")


def test_a_command_is_written_and_its_answer_read() -> None:
    assert asking("put 0 1 0 64 0") == (
        "echo 'put 0 1 0 64 0' > /sys/kernel/debug/tmem_test/command && cat /sys/kernel/debug/tmem_test/answer"
    )
