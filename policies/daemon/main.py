"""The daemon itself: waits, looks, has the manager decide, and answers its controller.

    daemon SETTINGS             SETTINGS: JSON, see settings.py
    daemon check                does nothing: it can be run

It obeys lines on its standard input, which begins with the packed reader, and ends with it:

    start       decide from now on
    stop        decide no more; a line of JSON for each decision, then one with what that cost

Every answer ends with a line `== end`. A decision's line:

    {"time": epoch seconds, "names": {domain: name}, "state": what the manager saw, "decision":
    what it decided, "acted": whether that was carried out, "set": [[domain, bytes, seconds after
    the decision]], "failed": [[domain, what, why]], "left": how much the end left undone,
    "reports": {guest: why it has none}}

Where Xen or the manager itself failed there is {"time", "error"} in its place. The last line:

    {"cost": {"cpu_seconds": of the daemon and its children, "wall_seconds", "decisions",
    "errors", "dropped": lines that found no room, "library": whether libxl's told the guests}}

Whatever a guest does, the daemon goes on: what went wrong is in the line of its decision.
"""

from __future__ import annotations

import os
import resource
import select
import sys
import time
import traceback
from collections.abc import Callable
from typing import Any

from policies import managers

from .actions import Actions, Carried
from .log import Log, dumps
from .reader import Reader, ReaderError
from .settings import Settings, read
from .tools import Library, library
from .view import View
from .xenstore import Store, StoreError

BREATH_SECONDS = 0.2
"""Between two decisions at least, however often guests report."""

ANEW_SECONDS = 2.0
"""After this, what failed as a whole (xenstore, the reader) is tried again."""

MOST_COMMAND = 4096


class Daemon:
    """One manager at work. library: libxl's, for what it tells; None: `xl` is run for that. clock:
    monotonic seconds.
    """

    def __init__(
        self,
        settings: Settings,
        reader: Reader,
        *,
        library: Library | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._manager = managers.get(settings.manager)
        self._reader = reader
        self._library = library
        self._clock = clock
        self._store: Store | None = None
        self._store_at = 0.0
        self._view = View(settings.guests, self._manager.COUNTERS, settings.patience, settings.stale)
        self._actions = Actions(
            self._view,
            settings.patience,
            limit_at_maximum=settings.limit_at_maximum,
            sections=settings.sections,
            library=library,
        )
        self._open: tuple[dict[str, Any], Carried] | None = None
        self._log = Log()
        self._errors = self._decisions = 0
        self._on = False
        self._news = False
        self._next = self._last = self._rested = 0.0
        self._began = self._spent_before = 0.0

    # --- Waiting ----------------------------------------------------------------------------------

    def serve(self, commands: int) -> None:
        """Obey what comes on a descriptor, until it ends."""
        self._connect()
        self._look()
        _say([])
        pending = b""
        while True:
            waited = [commands, *self._descriptors()]
            readable = select.select(waited, [], [], self._timeout())[0]
            if commands in readable:
                got = os.read(commands, MOST_COMMAND)
                if not got:
                    break
                *lines, pending = (pending + got)[-MOST_COMMAND:].split(b"\n")
                for line in lines:
                    _say(self.obey(line.decode("ascii", "replace")))
            self.turn()
        self._actions.stop()
        self._reader.close()
        if self._library is not None:
            self._library.close()

    def obey(self, line: str) -> list[str]:
        """What is answered to a command."""
        if line == "start":
            self._start()
            return ["started"]
        if line == "stop":
            return self._stop()
        return [f"unknown: {line}"]

    def _descriptors(self) -> list[int]:
        tool = self._actions.fileno()
        return [*([self._store.fileno()] if self._store else []), *([tool] if tool is not None else [])]

    def _timeout(self) -> float | None:
        now = self._clock()
        times = [self._view.wakes_at()]
        if self._store is None:
            times.append(self._store_at)
        if self._on:
            busy = self._actions.busy
            times.append(self._actions.wakes_at(now) if busy else self._due())
        known = [each for each in times if each is not None]
        return max(min(known) - now, 0.0) if known else None

    def _due(self) -> float:
        if self._news and self._manager.ON_REPORT:
            return min(self._last + BREATH_SECONDS, self._next)
        return max(self._next, self._rested)

    # --- Working ----------------------------------------------------------------------------------

    def turn(self) -> None:
        """Do what is to be done by now."""
        now = self._clock()
        self._listen(now)
        if not self._on:
            return
        if self._actions.busy:
            if self._actions.waiting and not self._look():
                self._actions.give_up("Xen's memory cannot be read")
            self._actions.go_on(self._clock())
        if not self._actions.busy:
            self._close_record()
            if self._clock() >= self._due():
                self._decide()

    def _listen(self, now: float) -> None:
        if self._store is None and now >= self._store_at:
            self._connect()
        try:
            if self._store is not None:
                heard, news = self._view.events(self._store, now)
                self._news |= heard
                self._rested = 0.0 if news else self._rested
        except StoreError:
            self._lose_store()

    def _connect(self) -> None:
        self._store_at = self._clock() + ANEW_SECONDS
        try:
            self._store = Store(self._settings.store)
            self._view.listen_anew(self._store)
        except StoreError:
            self._lose_store()

    def _lose_store(self) -> None:
        if self._store is not None:
            self._store.close()
        self._store = None

    def _look(self) -> bool:
        """Read what Xen says. False: it cannot be read."""
        try:
            reading = self._reader.read()
        except ReaderError as error:
            self._fail(str(error))
            return False
        try:
            self._view.take(reading, self._store, self._clock())
        except StoreError:
            self._lose_store()
            self._view.take(reading, None, self._clock())
        return True

    def _decide(self) -> None:
        self._last = now = self._clock()
        self._next = now + self._settings.parameters.every
        self._news = False
        if not self._look():
            self._next = now + ANEW_SECONDS
            return
        self._listen(now)
        try:
            state = self._manager.state(self._view.seen(now), self._settings.parameters)
            decision = self._manager.decide(state, self._settings.parameters)
            acts = managers.worth_acting(self._manager, state, decision, self._settings.parameters)
        except Exception:  # noqa: BLE001  a manager's fault must not leave the guests alone
            self._fail(traceback.format_exc(limit=-2))
            return
        self._decisions += 1
        record = {
            "time": round(time.time(), 3),
            "names": {str(each.domain): each.name for each in self._view.known.values()},
            "state": managers.plain(state),
            "decision": managers.written(decision),
            "acted": acts,
            "reports": self._view.troubles(now),
        }
        carried = self._actions.begin(decision, now) if acts else Carried()
        self._view.decided()
        self._open = (record, carried)
        self._actions.go_on(now)
        if not self._actions.busy:
            self._close_record()
            if not (carried.set or carried.failed or self._view.moving):
                self._rested = now + managers.rests(self._manager, state, self._settings.parameters)

    def _fail(self, why: str) -> None:
        self._errors += 1
        self._log.add({"time": round(time.time(), 3), "error": why})

    def _close_record(self) -> None:
        if self._open is not None:
            record, carried = self._open
            self._log.add({**record, "set": carried.set, "failed": carried.failed, "left": carried.left})
            self._open = None

    # --- Commands ---------------------------------------------------------------------------------

    def _start(self) -> None:
        self._log = Log()
        self._errors = self._decisions = 0
        self._look()
        now = self._clock()
        self._listen(now)
        self._view.begin(now)
        self._on, self._news = True, False
        self._began = self._last = self._next = self._rested = now
        self._spent_before = self._spent()

    def _stop(self) -> list[str]:
        if not self._on:
            return []
        self._on = False
        # what is under way is ended with the child that does it
        library = self._library is not None and self._library.there
        self._actions.stop()
        self._close_record()
        cost = {
            "cpu_seconds": round(self._spent() - self._spent_before, 6),
            "wall_seconds": round(self._clock() - self._began, 3),
            "decisions": self._decisions,
            "errors": self._errors,
            "dropped": self._log.dropped,
            "library": library,
        }
        self._log, log = Log(), self._log
        return [*log.lines(), dumps({"cost": cost})]

    def _spent(self) -> float:
        spent = self._reader.cpu_seconds + (self._library.cpu_seconds if self._library is not None else 0.0)
        for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN):
            used = resource.getrusage(who)
            spent += used.ru_utime + used.ru_stime
        return spent


def _say(lines: list[str]) -> None:
    sys.stdout.write("".join(f"{line}\n" for line in (*lines, "== end")))
    sys.stdout.flush()


def _received(descriptor: int, length: int) -> bytes:
    found = b""
    while len(found) < length:
        got = os.read(descriptor, length - len(found))
        if not got:
            raise SystemExit("the reader did not arrive")
        found += got
    return found


def main(arguments: list[str]) -> int:
    """Run the daemon."""
    if arguments == ["check"]:
        return 0
    if len(arguments) != 1:
        sys.stderr.write("usage: daemon SETTINGS; daemon check\n")
        return 2
    settings = read(arguments[0])
    commands = sys.stdin.fileno()
    reader = Reader(_received(commands, settings.reader_bytes), settings.reader_arguments)
    sys.stdout.write("ready\n")
    Daemon(settings, reader, library=None if settings.sections else library()).serve(commands)
    return 0
