"""What tasks print."""

from __future__ import annotations

from io import StringIO

import pytest
from rich.console import Console

from common.console import MOST_FRAMED, MOST_UPRIGHT, Reporter, aligned, upright


def test_a_table_of_few_rows_is_turned() -> None:
    columns, rows = upright(("policy", "cells", "sectors"), [("static", "1", "351"), ("selfballoon", "1", "1628")])
    assert columns == ("policy", "static", "selfballoon")
    assert rows == (("cells", "1", "1"), ("sectors", "351", "1628"))


def test_a_table_of_many_rows_stays() -> None:
    given = tuple((str(number), "x") for number in range(MOST_UPRIGHT + 1))
    assert upright(("number", "text"), given) == (("number", "text"), given)


def test_a_long_table_is_printed_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    """Ten thousand rows with a frame took four seconds."""
    rows = [(f"c{number}", "selfballoon", "\x1b[31m") for number in range(MOST_FRAMED + 1)]
    Reporter().table(("cell", "policy", "x"), rows, title="[a plan]")
    lines = capsys.readouterr().out.splitlines()
    assert lines[:3] == ["[a plan]", "cell       policy         x", "c0    selfballoon  \\x1b[31m"]
    assert len(lines) == MOST_FRAMED + 3
    assert aligned([("日本", "1"), ("a", "22")]) == ["日本   1", "a     22"], "wide characters take two places"


HOSTILE = "a [bold]b[/bold] [/nothing] \x1b]0;title\x07 \x1b[31mred\r\u202egnp"
SHOWN = r"a [bold]b[/bold] [/nothing] \x1b]0;title\x07 \x1b[31mred\r\u202egnp"


def test_brackets_stay_and_escape_sequences_are_shown_not_obeyed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Titles of experiments, names of policies, and what guests say may hold anything."""
    monkeypatch.setenv("COLUMNS", "200")
    report = Reporter()
    report.say(HOSTILE)
    report.plain(HOSTILE)
    report.table((HOSTILE,), [(HOSTILE,)], title=HOSTILE)
    report.plain("two\n\tlines")
    said = capsys.readouterr().out
    assert said.count(SHOWN) == 5
    assert "two\n" in said
    assert not {"\x1b", "\x07", "\r", "\u202e"} & set(said)


def test_frames_take_each_others_place_on_a_terminal_and_are_one_without(capsys: pytest.CaptureFixture[str]) -> None:
    report = Reporter()
    report.show(iter([["one", "\x1b[31m"], ["two"]]), every_s=60)
    assert capsys.readouterr().out == "one\n\\x1b[31m\n"
    out = StringIO()
    report._console = Console(file=out, force_terminal=True, width=80, height=24)
    report.show(iter([["first frame"], ["second frame"]]), every_s=0)
    said = out.getvalue()
    assert said.index("first frame") < said.index("second frame")
    assert "\x1b[2K" in said  # the line of the one before was cleared
