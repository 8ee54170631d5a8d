"""Commands that carry one step of a decision out, one at a time and without waiting for any: a
process of its own for each, or libxl's library in a child that stays (teller.py).

A process of `xl` takes a hundred times what the library takes for the same, nearly all of it for
being started, and a manager that moves memory all the time is to cost next to nothing.
"""

from __future__ import annotations

import contextlib
import json
import os
import pkgutil
import select
import subprocess
import sys
from collections.abc import Sequence
from typing import Protocol

TOOL_SECONDS = 60.0
"""Bound for one command of libxl's: a second of an emulated processor, and more of a busy one."""

START_SECONDS = 30.0
"""Bound for the library to be there, before anything is measured."""

MOST_SAID = 200
MOST_ANSWER = 4096

LATE = f"it did not end within {TOOL_SECONDS:g} s"


def end(child: subprocess.Popen[bytes]) -> None:
    """End a child that stays, and close what leads to it."""
    child.kill()
    for stream in (child.stdin, child.stdout):
        if stream is not None:
            with contextlib.suppress(OSError):
                stream.close()
    child.wait()


class Command(Protocol):
    """A command that runs."""

    @property
    def descriptor(self) -> int:
        """Readable when it has ended."""

    @property
    def deadline(self) -> float:
        """When it is ended at the latest."""

    def ended(self, now: float) -> bool:
        """Whether it has ended; it is made to when it takes too long."""

    def why(self) -> str | None:
        """Why it failed; None when it did not. Once: it is forgotten then."""

    def kill(self) -> None:
        """End it."""


class Process:
    """A command as a process. OSError: it cannot be started."""

    def __init__(self, words: Sequence[str], now: float) -> None:
        self.deadline = now + TOOL_SECONDS
        self._late = False
        self._said = os.memfd_create("said")
        try:
            self._process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=self._said, stderr=self._said)
        except OSError:
            os.close(self._said)
            raise
        self.descriptor = os.pidfd_open(self._process.pid)

    def ended(self, now: float) -> bool:
        """Whether it has ended; it is made to when it takes too long."""
        if self._process.poll() is not None:
            return True
        if now < self.deadline:
            return False
        self._late = True
        self._process.kill()
        self._process.wait()
        return True

    def why(self) -> str | None:
        """Why it failed; None when it did not. Once: it is forgotten then."""
        said = os.pread(self._said, MOST_SAID, 0).decode("utf-8", "replace").strip()
        self._close()
        if self._late:
            return LATE
        return None if self._process.returncode == 0 else said or f"it ended with {self._process.returncode}"

    def kill(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()
        self._close()

    def _close(self) -> None:
        os.close(self._said)
        os.close(self.descriptor)


class Library:
    """libxl in a child that stays. program: its text. Where it cannot be had (another Xen, a dom0
    without the library), and from when it has failed itself on, `xl` does.
    """

    def __init__(self, program: bytes | None) -> None:
        self._process = self._started(program) if program is not None else None
        self._spent = 0.0
        if self._process is not None:
            ready = select.select([self.descriptor], [], [], START_SECONDS)[0]
            if not ready or self.answer() is not None:
                self.close()

    @staticmethod
    def _started(program: bytes) -> subprocess.Popen[bytes] | None:
        command = [sys.executable, "-ISB", "-c", program.decode()]
        pipe, null = subprocess.PIPE, subprocess.DEVNULL
        with contextlib.suppress(OSError):
            return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=null)
        return None

    @property
    def there(self) -> bool:
        """Whether it can be asked."""
        return self._process is not None

    @property
    def cpu_seconds(self) -> float:
        """Processor time that the child has taken, as it tells with each answer. Of one that has
        ended, the kernel tells.
        """
        return self._spent

    @property
    def descriptor(self) -> int:
        """Readable when there is an answer, or the child has ended."""
        assert self._process is not None
        assert self._process.stdout is not None
        return self._process.stdout.fileno()

    def ask(self, what: str, domain: int, kib: int) -> None:
        """Have it do something (teller.py says what)."""
        assert self._process is not None
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):  # that it has ended is its answer
            self._process.stdin.write(json.dumps([what, domain, kib]).encode() + b"\n")
            self._process.stdin.flush()

    def answer(self) -> str | None:
        """Why it did not do it, None where it did; to be asked when it is readable."""
        # a line is shorter than what a pipe takes at once
        said = os.read(self.descriptor, MOST_ANSWER)
        try:
            why, self._spent = json.loads(said)
        except (ValueError, TypeError):
            self.close()
            return f"libxl's process ended after {said[:MOST_SAID]!r}"
        return None if why is None else str(why)

    def close(self) -> None:
        """End the child; once is enough."""
        if self._process is None:
            return
        end(self._process)
        self._process = None
        self._spent = 0.0


class Asked:
    """A command that the library carries out."""

    def __init__(self, library: Library, what: str, domain: int, kib: int, now: float) -> None:
        self.deadline = now + TOOL_SECONDS
        self.descriptor = library.descriptor
        self._library = library
        self._why: str | None = None
        library.ask(what, domain, kib)

    def ended(self, now: float) -> bool:
        """Whether it has ended; it is made to when it takes too long."""
        if select.select([self.descriptor], [], [], 0)[0]:
            self._why = self._library.answer()
            return True
        if now < self.deadline:
            return False
        self._library.close()
        self._why = LATE
        return True

    def why(self) -> str | None:
        """Why it failed; None when it did not."""
        return self._why

    def kill(self) -> None:
        """End it, and the child with it: its answer is nobody's."""
        self._library.close()


def library() -> Library:
    """The library that this dom0 has."""
    return Library(pkgutil.get_data(__package__, "teller.py"))
