"""The reader: the sampler (lab/remote/sampler, mode `memory`), one child that is asked for what Xen
says of memory, as long as the daemon runs. Asking starts no process.
"""

from __future__ import annotations

import gzip
import json
import os
import select
import subprocess
import time
from collections.abc import Mapping, Sequence
from typing import Any

from .tools import end

ANSWER_SECONDS = 30.0
"""Bound for an answer, which takes a millisecond: a host that emulates another may have other
work.
"""

END = b"== end\n"


class ReaderError(Exception):
    """The reader ended, or does not answer."""


class Reader:
    """The child, and what it said last."""

    def __init__(self, packed: bytes, arguments: Sequence[str]) -> None:
        """packed: the program, packed by gzip; it is kept in memory, not in a file."""
        self._program = os.memfd_create("reader")
        with os.fdopen(os.dup(self._program), "wb") as file:
            file.write(gzip.decompress(packed))
        # As long as somebody has it open for writing, it is "busy" and cannot be run.
        readable = os.open(f"/proc/self/fd/{self._program}", os.O_RDONLY | os.O_CLOEXEC)
        os.close(self._program)
        self._program = readable
        self._arguments = list(arguments)
        self._process: subprocess.Popen[bytes] | None = None
        self._spent = 0.0

    @property
    def cpu_seconds(self) -> float:
        """Processor time that the child which runs has taken, as it tells with each reading. Of
        one that has ended, the kernel tells.
        """
        return self._spent

    def read(self) -> Mapping[str, Any]:
        """One reading. ReaderError when there is none; the next call begins anew."""
        try:
            if self._process is None:
                self._start()
            answer = self._ask(b"once\n")
            reading = json.loads(answer)
            if not isinstance(reading, dict):
                raise ReaderError("a reading is no object")
        except (OSError, ValueError) as error:
            self.close()
            raise ReaderError(f"a reading cannot be had: {error}") from None
        except ReaderError:
            self.close()
            raise
        self._spent = reading.get("sampler.cpu", 0) / 1e6
        return reading

    def close(self) -> None:
        """End the child."""
        if self._process is not None:
            end(self._process)
            self._process = None
            self._spent = 0.0

    def _start(self) -> None:
        self._process = subprocess.Popen(
            [f"/proc/self/fd/{self._program}", *self._arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=[self._program],
        )
        self._answer()

    def _ask(self, command: bytes) -> bytes:
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(command)
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> bytes:
        assert self._process is not None
        assert self._process.stdout is not None
        descriptor = self._process.stdout.fileno()
        deadline = time.monotonic() + ANSWER_SECONDS
        found = b""
        while not found.endswith(END):
            if not select.select([descriptor], [], [], max(0.0, deadline - time.monotonic()))[0]:
                raise ReaderError(f"the reader did not answer within {ANSWER_SECONDS:g} s")
            got = os.read(descriptor, 65536)
            if not got:
                raise ReaderError(f"the reader ended after {found[:200]!r}")
            found += got
        return found.removesuffix(END)
