"""A xenstore in this process that speaks the wire protocol, and whatever else a test wants it to
say.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable
from pathlib import Path

from policies.daemon.xenstore import ERROR, HEADER, READ, UNWATCH, WATCH, WATCH_EVENT

DIRECTORY, WRITE = 1, 11
"""Messages that the daemon does not send."""

Answer = Callable[[int, bytes], bytes | None]


class FakeStore:
    """Nodes, and watches that fire for them. answer: bytes to send in place of what is right."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "socket"
        self.nodes: dict[str, bytes] = {}
        self.asked: list[tuple[int, bytes]] = []
        self.answer: Answer = lambda _kind, _payload: None
        self._ends: dict[socket.socket, dict[tuple[str, str], None]] = {}
        self._lock = threading.RLock()
        self._listener = self._listen()

    def _listen(self) -> socket.socket:
        self.path.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(str(self.path))
        listener.listen()
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()
        return listener

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                end, _ = listener.accept()
                with self._lock:
                    self._ends[end] = {}
                threading.Thread(target=self._serve, args=(end,), daemon=True).start()

    def _serve(self, end: socket.socket) -> None:
        with contextlib.suppress(OSError, EOFError):
            while True:
                kind, request, _, length = HEADER.unpack(_exactly(end, HEADER.size))
                payload = _exactly(end, length)
                with self._lock:
                    self.asked.append((kind, payload))
                    made_up = self.answer(kind, payload)
                    if made_up is not None:
                        end.sendall(made_up)
                        continue
                    self._obey(end, kind, request, payload)
        with self._lock:
            self._ends.pop(end, None)

    def _obey(self, end: socket.socket, kind: int, request: int, payload: bytes) -> None:
        words = payload.split(b"\0")
        path = words[0].decode()
        if kind == READ and path not in self.nodes:
            end.sendall(message(ERROR, request, b"ENOENT\0"))
        elif kind == READ:
            end.sendall(message(READ, request, self.nodes[path]))
        elif kind == WATCH:
            self._ends[end][path, words[1].decode()] = None
            end.sendall(message(WATCH, request, b"OK\0"))
            end.sendall(event(path, words[1].decode()))
        elif kind == UNWATCH:
            found = (path, words[1].decode()) in self._ends[end]
            self._ends[end].pop((path, words[1].decode()), None)
            end.sendall(message(UNWATCH, request, b"OK\0") if found else message(ERROR, request, b"ENOENT\0"))
        else:
            assert kind in (DIRECTORY, WRITE)
            end.sendall(message(ERROR, request, b"EACCES\0"))

    def write(self, path: str, value: bytes, times: int = 1) -> None:
        """Have a node changed, as a guest would."""
        with self._lock:
            self.nodes[path] = value
            for end, watches in self._ends.items():
                for watched, token in watches:
                    if path.startswith(watched):
                        with contextlib.suppress(OSError):
                            end.sendall(event(path, token) * times)

    def watched(self) -> set[str]:
        """The paths that somebody watches."""
        with self._lock:
            return {path for watches in self._ends.values() for path, _ in watches}

    def end(self) -> None:
        """Xenstore is gone, with all its connections."""
        with contextlib.suppress(OSError):  # it may be gone already
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.path.unlink(missing_ok=True)
        with self._lock:
            for end in self._ends:
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
                end.close()
            self._ends.clear()

    def again(self) -> None:
        """It is there again, with its nodes."""
        self._listener = self._listen()


def message(kind: int, request: int, payload: bytes) -> bytes:
    return HEADER.pack(kind, request, 0, len(payload)) + payload


def event(path: str, token: str) -> bytes:
    return message(WATCH_EVENT, 0, f"{path}\0{token}\0".encode())


def _exactly(end: socket.socket, length: int) -> bytes:
    found = b""
    while len(found) < length:
        got = end.recv(length - len(found))
        if not got:
            raise EOFError
        found += got
    return found
