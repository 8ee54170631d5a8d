"""How far the provisioning of a server is: what is going on now, with the time that is left.

How long each stage takes is known from the last time that this server went through all of them; of
one that never did, a guess stands in.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

from common import files
from common.console import Tell
from common.units import format_duration

STAGES = {"look": 10.0, "configure": 150.0, "boot": 240.0}
"""Stage -> seconds that a server takes which is not known yet, most of them in its firmware."""


class Course:
    """One server's provisioning. kept: file with what its stages took the last time."""

    def __init__(self, say: Tell, kept: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._say = say
        self._kept = kept
        self._clock = clock
        self._expected = STAGES | _read(kept)
        self._taken: dict[str, float] = {}
        self._stage = next(iter(STAGES))
        self._began = clock()

    def begin(self, stage: str) -> None:
        """The next stage begins."""
        self._end()
        self._stage = stage

    def tell(self, text: str) -> None:
        """A line about what is going on, with the time left."""
        left = self.left()
        self._say(f"{text} (about {format_duration(left)} left)" if left >= 1 else text)

    def left(self) -> float:
        """Seconds."""
        order = list(STAGES)
        later = order[order.index(self._stage) + 1 :]
        now = max(0.0, self._expected[self._stage] - (self._clock() - self._began))
        return now + sum(self._expected[stage] for stage in later)

    def finish(self) -> None:
        """All stages were gone through: remember what they took."""
        self._end()
        files.replace(self._kept, json.dumps(self._taken))

    def _end(self) -> None:
        now = self._clock()
        self._taken[self._stage] = round(now - self._began, 1)
        self._began = now


def _read(path: Path) -> dict[str, float]:
    try:
        found = json.loads(path.read_text())
        return {stage: float(found[stage]) for stage in STAGES if stage in found}
    except (OSError, ValueError, TypeError):
        return {}
