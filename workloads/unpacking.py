"""Unpacks the archive of a machine's raw outputs while it arrives, and believes nothing in it.

A guest may send any archive. Raw outputs are a flat folder of plain files, so of tar only that is
understood: whatever else an archive can say (links, devices, folders, holes, names and headers of
any length) is refused when it is seen. Nothing is kept in memory but a block, and no file is
written but those that are named in raw_dir itself.
"""

from __future__ import annotations

import re
import tarfile
from pathlib import Path
from typing import IO, Self

from common.errors import WorkloadError

MOST_FILES = 4096
"""Files of a machine's raw outputs; a workload leaves four or so for each command that it times."""

PLAIN = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9._,:+@=%-]+")
"""A name that a raw output may have."""

BLOCK = tarfile.BLOCKSIZE
_ZEROS = bytes(BLOCK)
_FILE = {tarfile.REGTYPE, tarfile.AREGTYPE}


class Unpacking:
    """An archive that arrives. where: the machine's folder, for errors. As a context, it closes the
    file that it was at.
    """

    def __init__(self, raw_dir: Path, where: str) -> None:
        self.where = where
        self._folder = raw_dir
        self._pending = bytearray()
        self._file: IO[bytes] | None = None
        self._left = 0
        self._padding = 0
        self._files = 0
        self._ended = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()

    def take(self, chunk: bytes) -> None:
        """The next part of it. WorkloadError for what is no folder of plain files."""
        self._pending += chunk
        while not self._ended:
            if self._file is not None:
                self._write(self._file)
                if self._left:
                    return
                self._file.close()
                self._file = None
            if len(self._pending) < self._padding + BLOCK:
                return
            header = bytes(self._pending[self._padding : self._padding + BLOCK])
            del self._pending[: self._padding + BLOCK]
            self._padding = 0
            self._begin(header)
        self._pending.clear()  # more zeros, as many as fill a record

    def require_whole(self) -> None:
        """WorkloadError when the archive has not come to its end."""
        if not self._ended:
            raise self._refused("the raw outputs did not arrive whole", "the archive ends in its middle")

    def _write(self, file: IO[bytes]) -> None:
        part = self._pending[: self._left]
        file.write(part)
        self._left -= len(part)
        del self._pending[: len(part)]

    def _begin(self, header: bytes) -> None:
        """What a header says is next."""
        if header == _ZEROS:
            self._ended = True
            return
        try:
            member = tarfile.TarInfo.frombuf(header, "utf-8", "surrogateescape")
        except tarfile.TarError as error:
            raise self._refused("the raw outputs did not arrive whole", str(error)) from None
        name = member.name.removeprefix("./")
        if member.type == tarfile.DIRTYPE and name in {"", "."} and member.size == 0:
            return
        if member.type not in _FILE or not PLAIN.fullmatch(name) or member.size < 0:
            raise self._refused(
                f"unexpected {name!r} among the raw outputs", "they are plain files, with names of up to 98 characters"
            )
        self._files += 1
        if self._files > MOST_FILES:
            raise self._refused("too many raw outputs", f"more than {MOST_FILES} files")
        self._left = member.size
        self._padding = -member.size % BLOCK
        self._file = (self._folder / name).open("wb")

    def _refused(self, what: str, why: str) -> WorkloadError:
        remedy = "See what lies there; a guest that sends other archives than tar makes is broken, or means harm."
        return WorkloadError(what, where=self.where, why=why, remedy=remedy)
