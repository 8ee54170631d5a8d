"""What a running campaign shows to who looks on: which cell each of its hosts is at, and the newest
reading of that host's guests.

The runner writes it beside the cells, a file for each host, under a name that the next run removes.
Readings are those that dom0's agent keeps anyway, and they are fetched only while somebody looks
on, who says so by a file of his own.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

from campaigns import store
from campaigns.progress import Event
from common.errors import LabError
from common.machines import command_errors
from lab.api import Sample

STATE, WATCHER = "live.json", "watching"

TICK_S = 5.0
"""Between readings that are fetched, and between looks for somebody who wants them."""

FRESH_S = 20.0
"""Who looks on touches the file of his at least as often."""

COUNTERS = frozenset(
    {
        "memory",
        "free_memory",
        "sectors_read",
        "sectors_written",
        "tmem_ephemeral_pages",
        "tmem_persistent_pages",
        "tmem_ephemeral_hits",
        "tmem_persistent_hits",
        "vcpu_seconds",
    }
)

Reading = Mapping[str, Mapping[str, float | None]]
"""Source -> counter -> value."""


@dataclass
class State:
    """stage_s: what the stage should take; since, told_at: epoch seconds of the stage's begin and
    of this telling. left_s: what the rest of the campaign should take, from then on. first, last:
    readings of the run, empty before it, and while nobody looks on; with their times.
    """

    done: int = 0
    total: int = 0
    cell: str = ""
    policy: str = ""
    order: int = 0
    attempt: int = 1
    stage: str = ""
    stage_s: float = 0.0
    since: float = 0.0
    left_s: float = 0.0
    told_at: float = 0.0
    first: Reading = field(default_factory=dict)
    first_at: float = 0.0
    last: Reading = field(default_factory=dict)
    last_at: float = 0.0
    host: str = ""


class Teller:
    """Writes the state of a campaign that runs here, for one of its hosts. left: seconds that the
    rest should take.
    """

    def __init__(
        self, directory: Path, left: Callable[[], float], clock: Callable[[], float] = time.time, *, host: str = ""
    ) -> None:
        self.directory = directory
        self.path = store.unfinished(directory, f"{host}-{STATE}" if host else STATE)
        self.left = left
        self.clock = clock
        self.host = host
        self.state = State()

    def event(self, event: Event) -> None:
        """A cell has entered a stage, or ended."""
        now = self.clock()
        told = State(event.done, event.total, event.cell, event.policy, event.order, event.attempt, event.stage)
        told.stage_s, told.since, told.host = event.stage_s, now, self.host
        self.state = told
        self._write()

    def seen(self, reading: Reading, at: float) -> None:
        """Tell a reading."""
        if not self.state.first:
            self.state.first, self.state.first_at = reading, at
        self.state.last, self.state.last_at = reading, at
        self._write()

    def end(self) -> None:
        """Nothing runs any more."""
        for path in (self.path, self._new):
            path.unlink(missing_ok=True)

    @property
    def _new(self) -> Path:
        return self.path.with_name(f"{self.path.name}.new")

    def _write(self) -> None:
        self.state.left_s, self.state.told_at = self.left(), self.clock()
        with suppress(OSError):  # a full disk is told where results are written
            self._new.write_text(json.dumps(asdict(self.state)), encoding="utf-8")
            self._new.replace(self.path)


def look(
    directory: Path, last: Callable[[], Iterable[Sample]], clock: Callable[[], float] = time.time
) -> tuple[Reading, float] | None:
    """The newest reading and its time, if somebody looks on and it can be had. Never fails."""
    with suppress(LabError, *command_errors(OSError)):
        if any(clock() - each.stat().st_mtime < FRESH_S for each in directory.glob(f".tmp-*-{WATCHER}")):
            samples = list(last())
            return told(samples), max((each.time for each in samples), default=0.0)
    return None


def told(samples: Iterable[Sample]) -> Reading:
    """What of a reading is shown."""
    found: dict[str, dict[str, float | None]] = {}
    for each in samples:
        if each.counter in COUNTERS:
            found.setdefault(each.source, {})[each.counter] = each.value
    return found


class Watcher:
    """Looks on. Use as a context: as long as it is open, and asked, readings are fetched."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.path = store.unfinished(directory, WATCHER)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.path.unlink(missing_ok=True)

    def states(self) -> list[State]:
        """What each host of the campaign is at; none when nobody runs it."""
        with suppress(OSError):  # a campaign that one may only read is watched without readings
            self.path.touch()
        found = []
        for path in sorted(store.living(self.directory, STATE)):
            with suppress(OSError, ValueError, TypeError):
                document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
                found.append(State(**document))
        return found

    def state(self) -> State | None:
        """The first of them."""
        return next(iter(self.states()), None)
