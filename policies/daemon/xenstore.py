"""A client of xenstore: its wire protocol (docs/misc/xenstore.txt of Xen), by its socket or, where
xenstored is a domain of its own, by the kernel's device.

Requests are answered before they return. Watch events that come meanwhile are kept, once for each
token, so that a guest which writes a thousand times a second fills no memory.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import struct
import time
from collections import Counter
from collections.abc import Sequence

READ, WATCH, UNWATCH, WATCH_EVENT, ERROR = 2, 4, 5, 15, 16
HEADER = struct.Struct("<IIII")
MOST_PAYLOAD = 4096
"""Of any message, by the protocol."""

ANSWER_SECONDS = 10.0
PLACES = ("/run/xenstored/socket", "/var/run/xenstored/socket", "/dev/xen/xenbus")


class StoreError(Exception):
    """Xenstore is gone, silent, or says what the protocol does not have. The client is closed."""


class RefusedError(StoreError):
    """Xenstore answered with an error, such as EACCES. The client stays open."""


class Store:
    """A connection with xenstore. StoreError when it cannot be reached."""

    def __init__(self, places: Sequence[str] = PLACES) -> None:
        self._fd = _connect(places)
        self._pending = b""
        self._next = 0
        self._events: Counter[str] = Counter()

    def fileno(self) -> int:
        """For select: readable when an event may be there."""
        return self._fd

    def close(self) -> None:
        """End the connection; once is enough."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def read(self, path: str) -> bytes | None:
        """A value; None where there is no such node."""
        try:
            return self._ask(READ, path.encode() + b"\0")
        except RefusedError as error:
            if str(error) == "ENOENT":
                return None
            raise

    def watch(self, path: str, token: str) -> None:
        """Have events with this token, one at once, for changes at the path."""
        self._ask(WATCH, f"{path}\0{token}\0".encode())

    def unwatch(self, path: str, token: str) -> None:
        """Have no more of them. A watch that is not there is none to complain about."""
        with contextlib.suppress(RefusedError):
            self._ask(UNWATCH, f"{path}\0{token}\0".encode())

    def events(self) -> dict[str, int]:
        """Token -> number of events since the last call, of what is there without waiting."""
        while select.select([self._fd], [], [], 0)[0]:
            self._receive()
            while (message := self._message()) is not None:
                self._note(*message)
        found = dict(self._events)
        self._events.clear()
        return found

    def _ask(self, kind: int, payload: bytes) -> bytes:
        if self._fd < 0:
            raise StoreError("the connection with xenstore is closed")
        self._next = (self._next + 1) % 2**32
        deadline = time.monotonic() + ANSWER_SECONDS
        self._send(HEADER.pack(kind, self._next, 0, len(payload)) + payload, deadline)
        while True:
            while (message := self._message()) is not None:
                number, answered, content = message
                if answered == self._next and number in (kind, ERROR):
                    if number == ERROR:
                        raise RefusedError(content.rstrip(b"\0").decode("ascii", "replace")[:80])
                    return content
                self._note(number, answered, content)
            if not select.select([self._fd], [], [], max(0.0, deadline - time.monotonic()))[0]:
                raise self._broken(f"xenstore did not answer within {ANSWER_SECONDS:g} s")
            self._receive()

    def _send(self, data: bytes, deadline: float) -> None:
        while data:
            if not select.select([], [self._fd], [], max(0.0, deadline - time.monotonic()))[1]:
                raise self._broken(f"xenstore took nothing for {ANSWER_SECONDS:g} s")
            try:
                data = data[os.write(self._fd, data) :]
            except BlockingIOError:
                continue
            except OSError as error:
                raise self._broken(f"xenstore is gone: {error.strerror}") from None

    def _receive(self) -> None:
        try:
            got = os.read(self._fd, 65536)
        except BlockingIOError:
            return
        except OSError as error:
            raise self._broken(f"xenstore is gone: {error.strerror}") from None
        if not got:
            raise self._broken("xenstore is gone: it closed the connection")
        self._pending += got

    def _message(self) -> tuple[int, int, bytes] | None:
        """The next whole message: type, number of the request, payload."""
        if len(self._pending) < HEADER.size:
            return None
        kind, request, _, length = HEADER.unpack_from(self._pending)
        if length > MOST_PAYLOAD:
            raise self._broken(f"a message of {length} bytes is none of xenstore's")
        end = HEADER.size + length
        if len(self._pending) < end:
            return None
        content, self._pending = self._pending[HEADER.size : end], self._pending[end:]
        return kind, request, content

    def _note(self, kind: int, _request: int, content: bytes) -> None:
        if kind == WATCH_EVENT:
            words = content.split(b"\0")
            if len(words) >= 2:
                self._events[words[1].decode("ascii", "replace")] += 1

    def _broken(self, why: str) -> StoreError:
        self.close()
        return StoreError(why)


def _connect(places: Sequence[str]) -> int:
    tried = []
    for place in places:
        try:
            if place.startswith("/dev/"):
                return os.open(place, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
            with contextlib.closing(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) as end:
                end.connect(place)
                end.setblocking(False)
                return end.detach()
        except OSError as error:
            tried.append(f"{place}: {error.strerror}")
    raise StoreError(f"xenstore cannot be reached ({'; '.join(tried)})")
