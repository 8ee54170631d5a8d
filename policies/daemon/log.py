"""What the daemon did, as lines of JSON: kept in memory until it is asked for, and bounded."""

from __future__ import annotations

import json
from collections.abc import Mapping

MOST_BYTES = 16 * 2**20


def dumps(record: Mapping[str, object]) -> str:
    """A record as a line."""
    return json.dumps(record, separators=(",", ":"))


class Log:
    """Lines, the oldest first. What does not fit any more is counted, and not kept."""

    def __init__(self, most: int = MOST_BYTES) -> None:
        self._most = most
        self._lines: list[str] = []
        self._bytes = 0
        self.dropped = 0

    def add(self, record: Mapping[str, object]) -> None:
        """Add a record."""
        line = dumps(record)
        if self._bytes + len(line) > self._most:
            self.dropped += 1
            return
        self._bytes += len(line)
        self._lines.append(line)

    def __len__(self) -> int:
        return len(self._lines)

    def lines(self) -> list[str]:
        """All that was kept."""
        return list(self._lines)
