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
    still being written; a whole line of it has to be in both. Of several overlaps the longest
    counts. Without any, everything in `after` is new, and messages may have been lost.
    """
    before, after = _text(before).strip(), _text(after).lstrip("\n")
    if not before:
        return Delta(after, lost=False)
    start = _overlap(before, after)
    if start is None:
        return Delta(after, lost=True)
    rest = after[len(before) - start :]
    return Delta(rest[match.end() :] if (match := _END_OF_LINE.match(rest)) else rest, lost=False)


def _overlap(before: str, after: str) -> int | None:
    """The first index from which all of `before` is the beginning of `after`; None when they share
    no whole line.
    """
    first = after.partition("\n")[0]
    start = before.find(first) if first else -1
    while start >= 0:
        whole = start == 0 or before[start - 1] == "\n" or "\n" in before[start:]
        if whole and after.startswith(before[start:]):
            return start
        start = before.find(first, start + 1)
    last = before.rfind("\n") + 1  # its last line alone, which may have been only half written
    return last if after.startswith(before[last:]) else None


def _text(log: str) -> str:
    return log.replace("\r\n", "\n")
