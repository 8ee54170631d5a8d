"""What a command says, read with a bound.

A guest may be broken or hostile, and says what it likes: read whole, it would fill the memory of
the process that asked, which runs a campaign. So nothing that a machine says is read without a
limit, and whoever says more is not listened to any longer.
"""

from __future__ import annotations

import os
import selectors
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress

from common.errors import LabError
from common.machines import Process

MIB = 1 << 20

MOST_SAID = 64 * MIB
"""Bytes of what one command says. Commands of ours say kilobytes; the longest, a kernel's log, is a
ring of some MiB on the largest servers.
"""

LAST_WORDS = MIB
"""Bytes of what is shown to people, of which they see lines."""

CHUNK = 1 << 16
_PIPE = 4096
"""Bytes that a pipe takes at once when it takes any (PIPE_BUF)."""


class TooMuchError(LabError):
    """A command said more than is read of it. Whoever knows which one says where."""

    def __init__(self, said: int, most: int) -> None:
        super().__init__("a command said more than is read of it", why=too_much(said, most), remedy=REMEDY)


REMEDY = "Run it by hand and see what it says; a guest that does so again is broken, or means harm."


def too_much(said: int, most: int) -> str:
    """How much was said, and what the limit is, for people."""
    return f"it had said {said} bytes when it was ended; {shown(most)} are read"


def shown(size: int) -> str:
    """A limit, for people."""
    return f"{size // MIB} MiB" if size >= MIB and size % MIB == 0 else f"{size} bytes"


def communicate(
    process: Process, sent: bytes | None = None, *, seconds: float, most: int | None = None
) -> tuple[bytes, bytes]:
    """Standard output and error of a command that was started with pipes, once it has ended.

    sent: what it reads. most: bytes of both together, MOST_SAID by default. TooMuchError when it
    says more, and subprocess.TimeoutExpired when it does not end in time: it is given up then.
    """
    limit = MOST_SAID if most is None else most
    said = {"out": bytearray(), "err": bytearray()}

    def hear(name: str, chunk: bytes) -> None:
        said[name] += chunk
        if (length := len(said["out"]) + len(said["err"])) > limit:
            raise TooMuchError(length, limit)

    follow(process, hear, sent, seconds=seconds)
    return bytes(said["out"]), bytes(said["err"])


def follow(process: Process, hear: Callable[[str, bytes], None], sent: bytes | None = None, *, seconds: float) -> None:
    """Hand on what a command says until it has ended: `out` or `err`, and a chunk.

    Whatever is raised, TimeoutExpired or what `hear` raises, gives the command up.
    """
    deadline = time.monotonic() + seconds
    try:
        with selectors.DefaultSelector() as pipes:
            left = memoryview(sent or b"")
            if process.stdin is not None:
                if left:
                    pipes.register(process.stdin, selectors.EVENT_WRITE, "in")
                else:
                    _close(process.stdin)
            pipes.register(process.stdout, selectors.EVENT_READ, "out")
            pipes.register(process.stderr, selectors.EVENT_READ, "err")
            while pipes.get_map():
                ready = pipes.select(max(0.0, deadline - time.monotonic()))
                if time.monotonic() > deadline:
                    raise subprocess.TimeoutExpired("", seconds)
                for key, _ in ready:
                    if key.data == "in":
                        left = _write(key.fd, left)
                        ended = not left
                    else:
                        chunk = os.read(key.fd, CHUNK)
                        ended = not chunk
                        if chunk:
                            hear(key.data, chunk)
                    if ended:
                        pipes.unregister(key.fileobj)
                        _close(key.fileobj)
        process.wait(max(0.0, deadline - time.monotonic()))
    except BaseException:
        give_up(process)
        raise


def give_up(process: Process) -> None:
    """Kill a command and forget what it might still say: to read its pipes to their end could take
    for ever, since another process may hold them, too.
    """
    process.kill()
    for stream in (process.stdin, process.stdout, process.stderr):
        if stream is not None:
            _close(stream)
    process.wait()


def _write(descriptor: int, data: memoryview) -> memoryview:
    """What is left to write; nothing when nobody reads any more."""
    try:
        return data[os.write(descriptor, data[:_PIPE]) :]
    except OSError:
        return data[:0]


def _close(stream: object) -> None:
    with suppress(OSError):
        stream.close()  # type: ignore[attr-defined]
