"""Guests' reports, as they stand in xenstore. A guest writes what it likes there, so nothing is
believed that is not exactly a report.

    NAME=VALUE NAME=VALUE ...

What is a report by its form may still lie: managers cut it to what is possible.
"""

from __future__ import annotations

from collections.abc import Collection

MOST_BYTES = 2048
MOST_VALUE = 2**63 - 1
_MOST_DIGITS = 19

NODE = "data/overcommit/report"
"""Where a guest writes, below its own part of xenstore: what it may make there (libxl)."""


def parse(content: bytes, known: Collection[str]) -> dict[str, int] | None:
    """Counter -> value. None for anything that is no report: too long, another counter, one twice,
    a value that is no decimal number below 2^63.
    """
    if len(content) > MOST_BYTES:
        return None
    try:
        words = content.decode("ascii").split()
    except UnicodeDecodeError:
        return None
    found: dict[str, int] = {}
    for word in words:
        name, _, digits = word.partition("=")
        if name not in known or name in found or not digits.isdecimal() or len(digits) > _MOST_DIGITS:
            return None
        found[name] = int(digits)
        if found[name] > MOST_VALUE:
            return None
    return found or None
