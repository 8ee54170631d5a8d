"""What tasks print."""

from __future__ import annotations

from common.console import MOST_UPRIGHT, upright


def test_a_table_of_few_rows_is_turned() -> None:
    columns, rows = upright(("policy", "cells", "sectors"), [("static", "1", "351"), ("selfballoon", "1", "1628")])
    assert columns == ("policy", "static", "selfballoon")
    assert rows == (("cells", "1", "1"), ("sectors", "351", "1628"))


def test_a_table_of_many_rows_stays() -> None:
    given = tuple((str(number), "x") for number in range(MOST_UPRIGHT + 1))
    assert upright(("number", "text"), given) == (("number", "text"), given)
