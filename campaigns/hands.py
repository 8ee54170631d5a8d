"""Several hosts of one lab, each with a process of its own that opens it, runs its cells and closes
it again.

A process, because a cell is ended in order by an interruption alone, and only a process can be
interrupted whatever it is at. The child writes a cell into a hidden directory of the campaign, and
this process gives it its name. A child whose parent is gone ends itself as Ctrl-C would; a child
that is killed gives its cell back. Its host is put in order, and is not used again in this run.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import pickle
import queue
import signal
import threading
import time
import traceback
from collections.abc import Collection, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Protocol, Self

from campaigns.crew import Ended, Hear, Joined, Lost, Said, Seen, Stage, Task, Work, tellers
from campaigns.records import CampaignRecord, CellRecord
from campaigns.resume import Basis
from campaigns.store import CampaignStore, Sealer, remove_of
from common.console import Tell
from common.errors import LabError
from lab.api import Host
from lab.lifecycle import INTERRUPTIONS, uninterrupted

ENDING_S = 60.0
"""For a child to close its host, before it is killed."""


class Place(Protocol):
    """Where a host is, told so that another process can open it."""

    @property
    def name(self) -> str: ...
    def open(self, tell: Tell) -> AbstractContextManager[tuple[Host, Basis]]:
        """The host, ours for as long, and what it is made from."""

    def recover(self) -> None:
        """Put in order what a process that was killed has left of the host."""


@dataclass(frozen=True)
class Begin:
    """The campaign whose cells follow. directory: where a child on this machine writes them."""

    record: CampaignRecord
    directory: Path


@dataclass(frozen=True)
class Sealed:
    """A cell that is written, and has no name yet."""

    directory: Path
    record: CellRecord


@dataclass(frozen=True)
class Raised:
    """What ended a child that was no failure of a cell."""

    error: BaseException


class Hand:
    """A child process with a host, from its parent's side."""

    def __init__(self, place: Place) -> None:
        context = multiprocessing.get_context("spawn")  # this process has threads, which a fork would cut off
        self.place = place
        self.connection, theirs = context.Pipe()
        self.process: BaseProcess = context.Process(target=_serve, args=(theirs, place), name=place.name, daemon=True)
        self.process.start()
        theirs.close()

    def send(self, message: Begin | Task | None) -> None:
        """To a child that is there; one that is gone is noticed when it is listened to."""
        with contextlib.suppress(OSError):
            self.connection.send(message)

    def hear(self) -> Any:  # noqa: ANN401
        """What it says next. EOFError when it is gone."""
        try:
            return self.connection.recv()
        except OSError as error:
            raise EOFError(str(error)) from None

    def end(self, deadline: float) -> None:
        """See to it that it is gone, and its host in order."""
        self.process.join(max(0.0, deadline - time.monotonic()))
        if self.process.is_alive():
            self.process.kill()
            self.process.join()
            with contextlib.suppress(LabError):  # another process has it by now
                self.place.recover()
        self.connection.close()

    def interrupt(self) -> None:
        """As Ctrl-C."""
        self.process.terminate()


class Hands:
    """The crew of a lab's hosts. Use as a context: at its end all of them are closed."""

    def __init__(self, places: Collection[Place]) -> None:
        self._places = {place.name: place for place in places}
        self._hands: dict[str, Hand] = {}
        self._awaited: set[str] = set()
        self._stored: CampaignStore | None = None
        self._begin: Begin | None = None

    def __enter__(self) -> Self:
        for name, place in self._places.items():
            self._hands[name] = Hand(place)
            self._awaited.add(name)
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        with uninterrupted():
            for hand in self._hands.values():
                hand.send(None)
                if kind is not None:
                    hand.interrupt()
            deadline = time.monotonic() + ENDING_S
            for hand in self._hands.values():
                hand.end(deadline)
                self._forget(hand)

    def _forget(self, hand: Hand) -> None:
        """Remove what a child that has ended was writing."""
        if self._stored is not None and hand.process.pid is not None:
            remove_of(self._stored.directory, hand.process.pid)

    def begin(self, stored: CampaignStore, record: CampaignRecord) -> None:
        self._stored, self._begin = stored, Begin(record, stored.directory)
        for hand in self._hands.values():
            hand.send(self._begin)

    def give(self, host: str, task: Task) -> None:
        self._hands[host].send(task)

    def dismiss(self, host: str) -> None:
        hand = self._hands.pop(host)
        hand.send(None)
        hand.end(time.monotonic() + ENDING_S)

    def awaited(self) -> Collection[str]:
        return self._awaited

    def wait(self, hear: Hear) -> None:
        ready = wait([hand.connection for hand in self._hands.values()])
        for name, hand in list(self._hands.items()):
            if hand.connection in ready and name in self._hands:
                try:
                    news = hand.hear()
                except EOFError:
                    self._lost(name, hand, hear)
                else:
                    self._told(name, news, hear)

    def _told(self, name: str, news: object, hear: Hear) -> None:
        match news:
            case Joined():
                self._awaited.discard(name)
                hear(news)
            case Stage() | Seen() | Said():
                hear(news)
            case Sealed():
                assert self._stored is not None
                self._stored.admit(news.directory, news.record)
                hear(Ended(name, news.record))
            case Raised():
                raise news.error

    def _lost(self, name: str, hand: Hand, hear: Hear) -> None:
        del self._hands[name]
        self._awaited.discard(name)
        hand.end(time.monotonic() + ENDING_S)
        self._forget(hand)
        why = f"its process ended {ending(hand.process.exitcode)}"
        try:
            hand.place.recover()
        except LabError as error:
            why = f"{why}; {error.what}"
        hear(Lost(name, why))


def ending(code: int | None) -> str:
    """How a process ended, in words."""
    if code is not None and code < 0:
        return f"by signal {signal.Signals(-code).name}"
    return f"with status {code}"


# --- in the child


def _serve(connection: Connection, place: Place) -> None:
    """Open a host, run cells on it as they are told, and close it."""
    _be_interruptible()
    mouth = _Mouth(connection)
    tasks: queue.SimpleQueue[Begin | Task | None] = queue.SimpleQueue()
    try:
        threading.Thread(target=_listen, args=(connection, tasks), daemon=True).start()
        with place.open(lambda text: mouth.say(Said(text))) as (host, basis):
            mouth.say(Joined(place.name, host.accelerator, basis))
            _work(place.name, host, tasks, mouth)
            _be_deaf()  # who was told to end closes in order, whatever follows
    except KeyboardInterrupt:
        os._exit(130)  # all is in order; nobody wants a traceback
    except BaseException as error:  # noqa: BLE001 - it is raised in the parent
        mouth.say(Raised(_sendable(error)))


def _sendable(error: BaseException) -> BaseException:
    """An error with its traceback as a note; one that cannot be sent is told by another."""
    said = "".join(traceback.format_exception(error))
    error.add_note(said)
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # noqa: BLE001 - whatever its class does when it is made anew
        return RuntimeError(said)
    return error


def _be_interruptible() -> None:
    """The first interruption ends things in order; the next ones do not interrupt that."""

    def interrupt(*_: object) -> None:
        _be_deaf()
        raise KeyboardInterrupt

    for number in INTERRUPTIONS:
        signal.signal(number, interrupt)


def _be_deaf() -> None:
    """Nothing interrupts what follows."""
    for number in INTERRUPTIONS:
        signal.signal(number, signal.SIG_IGN)


def _listen(connection: Connection, tasks: queue.SimpleQueue[Begin | Task | None]) -> None:
    """Take what the parent says. When it is gone, end as Ctrl-C would."""
    try:
        while True:
            message = connection.recv()
            tasks.put(message)
            if message is None:
                return
    except (EOFError, OSError):
        os.kill(os.getpid(), signal.SIGTERM)


def _work(name: str, host: Host, tasks: queue.SimpleQueue[Begin | Task | None], mouth: _Mouth) -> None:
    begin: Begin | None = None
    work: Work | None = None
    while (message := tasks.get()) is not None:
        if isinstance(message, Begin):
            begin, work = message, Work.of(message.record)
            continue
        assert begin is not None
        assert work is not None
        sealer = _Keeping(begin.directory)
        told = tellers(name, host, message, begin.directory, mouth.say)
        record = work.run(message, host, sealer, *told)
        assert sealer.directory_of is not None
        mouth.say(Sealed(sealer.directory_of, record))


class _Keeping(Sealer):
    """A sealer that knows what it has sealed."""

    directory_of: Path | None = None

    def commit(self, writer: Any, record: CellRecord, env: Mapping[str, object]) -> Path:  # noqa: ANN401
        self.directory_of = super().commit(writer, record, env)
        return self.directory_of


class _Mouth:
    """The child's end of the pipe, for several threads."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._lock = threading.Lock()

    def say(self, news: object) -> None:
        """A parent that is gone is not told: `_listen` sees to the end."""
        with self._lock, contextlib.suppress(OSError):
            self._connection.send(news)
