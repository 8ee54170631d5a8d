"""Files that others must never see half written, or two at a time: locks, replacement, what reaches
the disk, digests.

Locks are the kernel's (flock): they end with the process that holds them, however that ends.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO


class LockedError(BlockingIOError):
    """Another process holds a lock. holder: its number, where it wrote that down."""

    def __init__(self, path: Path, holder: int | None) -> None:
        super().__init__(f"{path} is locked" + (f" by process {holder}" if holder else ""))
        self.holder = holder


def lock(path: Path, *, wait: bool = True, waiting: Callable[[int | None], None] | None = None) -> IO[str]:
    """Lock a file, made when it is missing, and write our number into it; closing what is returned
    ends the lock. waiting: called with the number of the process that holds it, if that is known,
    before that process is waited for.

    LockedError when another process holds it and wait is false; OSError when it cannot be made.
    """
    stream = path.open("a+")
    try:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if not wait:
                raise LockedError(path, _signature(stream)) from None
            if waiting is not None:
                waiting(_signature(stream))
            fcntl.flock(stream, fcntl.LOCK_EX)
        with suppress(OSError):  # on a full disk the lock holds all the same
            stream.truncate(0)
            stream.write(f"{os.getpid()}\n")
            stream.flush()
    except BaseException:
        stream.close()
        raise
    return stream


def lock_holder(path: Path) -> int | None:
    """The number of the process that holds a lock now, -1 when it did not write it down; None when
    nobody does.
    """
    try:
        with path.open() as stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return _signature(stream) or -1
    except OSError:
        pass
    return None


_KEPT: dict[Path, IO[bytes]] = {}
"""Files that this process keeps from being removed: open, so that their locks hold."""


def keep(path: Path) -> bool:
    """Have a file, and the folder that it stands for, left in place until this process ends:
    whoever would remove it asks with alone(). Any number of processes may. False when it is gone,
    or being removed. The file stays as it is.
    """
    for gone in [each for each in _KEPT if not each.exists()]:
        _KEPT.pop(gone).close()
    if path not in _KEPT:
        try:
            stream = path.open("rb")
        except OSError:
            return False
        try:
            fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            stream.close()
            return False
        except OSError:  # a file system without locks: then nobody can ask, either
            pass
        _KEPT[path] = stream
    return path.exists()


def alone(path: Path) -> IO[bytes]:
    """Lock a file that no process keeps; closing what is returned ends the lock. LockedError when
    one does; OSError when it cannot be opened or locked. The file stays as it is.
    """
    stream = path.open("rb")
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        stream.close()
        raise LockedError(path, None) from None
    except BaseException:
        stream.close()
        raise
    return stream


def _signature(stream: IO[str]) -> int | None:
    stream.seek(0)
    text = stream.read().strip()
    return int(text) if text.isascii() and text.isdigit() else None


def replace(path: Path, content: str | bytes, *, durable: bool = False) -> None:
    """Write a file whole or not at all; who reads it meanwhile sees the old one. OSError leaves the
    old one as it was.

    durable: it has reached the disk when this returns, so that no power failure can leave it empty.
    """
    new = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        with new.open("wb") as stream:
            stream.write(content.encode() if isinstance(content, str) else content)
            if durable:
                stream.flush()
                os.fsync(stream.fileno())
        new.replace(path)
    except BaseException:
        with suppress(OSError):
            new.unlink()
        raise
    if durable:
        sync(path.parent)


def sync(path: Path) -> None:
    """Have a file, or the names in a folder, reach the disk: a rename must not outlive what it
    names, should the power fail.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def taken(path: Path) -> int:
    """Bytes of disk that a file, or all below a folder, really takes: files may have holes. What
    may not be looked at is left out.
    """
    blocks = 0
    with suppress(OSError):
        blocks = path.lstat().st_blocks
    for at, _, names in os.walk(path):
        for name in names:
            with suppress(OSError):
                blocks += (Path(at) / name).lstat().st_blocks
    return blocks * 512


def digest(path: Path | str) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with open(path, "rb", buffering=0) as stream:  # noqa: PTH123 - of thousands: a Path costs more than the reading
        return hashlib.file_digest(stream, "sha256").hexdigest()
