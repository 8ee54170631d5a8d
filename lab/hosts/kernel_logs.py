"""What is new in a kernel's or Xen's log since it was read before.

Both logs are rings: Xen's console ring is 16 KiB on two processors unless told otherwise, Linux's
128 KiB or so. Once a ring is full, every new message costs an old one, and lines that are counted
stay as many as they were. So what is new is found by content: the end of what was read before has
to be the beginning of what is there now.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

LOST = "-- messages may be missing here: the log was full, and holds nothing of what was known before --"
"""The first line of what is new when it cannot be joined to what was read before. A log with this
line proves nothing, and whoever judges it has to say so."""


_END_OF_LINE = re.compile(r"[ \t]*(?:\n|$)")
_EMPTY = re.compile(r"\s*\(?X?E?N?\)?\s*\[?")
"""A line of Xen's that says nothing, or not yet: any may begin with it."""


@dataclass(frozen=True)
class Delta:
    """text: what is new. lost: whether messages between what was known and this may have been
    lost.
    """

    text: str
    lost: bool

    def marked(self) -> str:
        """The text, after LOST when messages may have been lost: so a log that is kept says it by
        itself.
        """
        return f"{LOST}\n{self.text}" if self.lost else self.text


def new_since(before: str, after: str) -> Delta:
    """What `after` holds beyond `before`, two readings of one log.

    The overlap may begin within a line, where a ring of bytes cut it, and end within one that was
    still being written, which then is new as a whole; a whole line of it has to be in both. Of
    several overlaps the longest counts. Without any, everything in `after` is new, and messages may
    have been lost.
    """
    before, after = _text(before).lstrip("\n"), _text(after).lstrip("\n")
    known = before.rstrip()
    if not known:
        return Delta(after, lost=False)
    start = _overlap(known, after, complete=before.endswith("\n"))
    if start is None:
        return Delta(after, lost=True)
    end = len(known) - start
    match = _END_OF_LINE.match(after, end)
    return Delta(after[match.end() if match else after.rfind("\n", 0, end) + 1 :], lost=False)


def _overlap(before: str, after: str, *, complete: bool) -> int | None:
    """The first index from which all of `before` is the beginning of `after`; None when they share
    no whole line. complete: the last line of `before` was written to its end.
    """

    def joins(start: int) -> bool:
        ends = not complete or _END_OF_LINE.match(after, len(before) - start) is not None
        return ends and after.startswith(before[start:])

    first = after.partition("\n")[0]
    start = before.find(first) if first else -1
    while start >= 0:
        whole = start == 0 or before[start - 1] == "\n" or before.count("\n", start) > (not complete)
        if whole and joins(start):
            return start
        start = before.find(first, start + 1)
    last = before.rfind("\n") + 1  # its last line alone
    return last if joins(last) and not _EMPTY.fullmatch(before, last) else None


def _text(log: str) -> str:
    return log.replace("\r\n", "\n")
