"""What is new in a log that is a ring, and how what cannot be known is marked."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.hosts.kernel_logs import LOST, new_since
from tests.unit.workloads_local import DATA


def test_a_full_ring_of_xen_shows_what_is_new() -> None:
    """Named after a reader that counted lines: both readings have as many, and six of the second's
    are new.
    """
    folder = DATA / "xl-dmesg-wrapped"
    before, after = ((folder / f"{name}.txt").read_text() for name in ("before", "after"))
    assert len(before.splitlines()) == len(after.splitlines())
    found = new_since(before, after)
    assert found.text.splitlines() == after.splitlines()[-6:]
    assert not found.lost
    assert "crashed" in found.text


@pytest.mark.parametrize(
    ("before", "after", "new"),
    [
        ("a\nb\n", "a\nb\nc\n", "c\n"),
        ("a\nb\n", "a\nb\n", ""),
        ("a\nb", "a\nb\nc\n", "c\n"),
        ("a\r\nb\r\n", "b\nc\n", "c\n"),
        ("a\nb\nc\n", "b\nc\nd\ne\n", "d\ne\n"),
        ("first line\nsecond\n", "t line\nsecond\nthird\n", "third\n"),
        ("one\ntwo\nthree is half wri", "two\nthree is half written\nfour\n", "tten\nfour\n"),
        ("same\nsame\nsame\n", "same\nsame\nsame\nother\n", "other\n"),
        ("", "a\n", "a\n"),
        ("\n\n", "a\n", "a\n"),
        ("one\nlast line", "last line, and more\nnew\n", ", and more\nnew\n"),
    ],
)
def test_what_is_new(before: str, after: str, new: str) -> None:
    found = new_since(before, after)
    assert (found.text, found.lost) == (new, False)
    assert found.marked() == new


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("a\nb\n", "x\ny\n"),
        ("a\nb\n", ""),
        ("[1] one\n[2] two\n", "o\n[3] three\n"),
        ("[1] one\n[2] two\n", "[3] three\n[1] one\n[2] two\n"),
    ],
)
def test_a_log_that_cannot_be_joined_is_all_new_and_says_that_messages_may_be_missing(before: str, after: str) -> None:
    found = new_since(before, after)
    assert found.lost
    assert found.text == after
    assert found.marked().startswith(LOST + "\n")


@given(
    lines=st.lists(st.text(alphabet="ab [1", max_size=6).map(str.strip).filter(bool), min_size=1, max_size=30),
    read=st.integers(1, 30),
    ring=st.integers(20, 80),
)
def test_no_new_line_of_a_ring_is_ever_missed(lines: list[str], read: int, ring: int) -> None:
    """Numbered lines through a ring of bytes, read twice: what was written in between is in what is
    new, or messages may be missing.
    """
    numbered = [f"{number:03d} {line}\n" for number, line in enumerate(lines)]
    before = "".join(numbered[:read])[-ring:]
    after = "".join(numbered)[-ring:]
    found = new_since(before, after)
    assert found.text == (after.lstrip("\n") if found.lost else "".join(numbered[read:]))
