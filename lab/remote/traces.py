"""Records what guests ask of tmem on a host: tmemctl in dom0, at the other end of an SSH session,
and its trace in a file here, packed by zstd.

tmemctl ends with its standard input, so that a killed controller leaves no trace that Xen goes on
to write.
"""

from __future__ import annotations

import contextlib
import re
import subprocess
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from common import bounded
from common.errors import LabError, UsageError
from common.machines import tail
from lab.remote.ssh import DOM0, Connections, UnreachableError, abandon, kill_group

START_SECONDS = 60.0
END_SECONDS = 120.0
"""Bounds, for a busy machine: it begins and ends in a second."""

MOST_TRACED = 4 << 30
"""Bytes of a trace here, packed. A cell's of minutes is under a MiB; so much are hours of guests
that do nothing but ask of tmem.
"""

HEADER_BYTES = 32
SUFFIX = ".trace.zst"


@dataclass(frozen=True)
class Recorded:
    """What a trace came to. records: in the file. lost: overwritten before they were read."""

    file: Path
    records: int
    lost: int


class Recording:
    """A trace that is being recorded. It has begun when the constructor returns."""

    def __init__(self, connections: Connections, file: Path, *, room: int | None = None) -> None:
        """File: where the trace goes; nothing is overwritten. room: records that Xen keeps."""
        if file.exists():
            raise UsageError("there is a file of that name", where=str(file), remedy="Remove it, or choose another.")
        self.file = file
        self._part = file.with_name(f".{file.name}.part")
        self._error: Exception | None = None
        self._begun = threading.Event()
        connections.open(DOM0)
        options = "" if room is None else f" --room {room}"
        self._process = subprocess.Popen(
            ["ssh", "-F", str(connections.config), DOM0, f"exec tmemctl trace - --until-input-ends{options}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        connections.started(self._process)
        self._copier = threading.Thread(target=self._copy, daemon=True)
        self._copier.start()
        self._wait_for_beginning()

    def stop(self) -> Recorded:
        """End it; the file is there, whole, when this returns. LabError when it had ended by
        itself, or has no end.
        """
        assert self._process.stdin is not None
        assert self._process.stderr is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        self._copier.join(END_SECONDS)
        if self._copier.is_alive():
            self.abandon()
            raise UnreachableError("the trace did not end", where=DOM0, why=f"no end within {END_SECONDS:.0f} s")
        said = self._last_words()
        found = re.search(r"(\d+) records, (\d+) lost$", said)
        if self._process.wait() or found is None or self._error is not None:
            self._part.unlink(missing_ok=True)
            why = said if self._error is None else f"{self.file}: {self._error}"
            raise LabError("the trace is not whole", where=f"{DOM0}: tmemctl trace", why=why)
        self._part.rename(self.file)
        return Recorded(self.file, int(found[1]), int(found[2]))

    def alive(self) -> bool:
        return self._process.poll() is None

    def abandon(self) -> None:
        """End it, and keep nothing."""
        abandon(self._process)
        self._copier.join(END_SECONDS)
        self._part.unlink(missing_ok=True)

    def _copy(self) -> None:
        import pyarrow as pa

        assert self._process.stdout is not None
        try:
            with pa.output_stream(str(self._part), compression="zstd") as packed:
                self._copy_to(packed, self._process.stdout)
            self._require_bounded()
        except Exception as error:  # noqa: BLE001 - told by stop(): a full disk, a killed session
            self._error = error
            kill_group(self._process)

    def _copy_to(self, packed: Any, stream: IO[bytes]) -> None:  # noqa: ANN401
        received = 0
        while chunk := stream.read1(1 << 16):  # type: ignore[attr-defined]
            packed.write(chunk)
            received += len(chunk)
            self._require_bounded()
            if received >= HEADER_BYTES:
                self._begun.set()

    def _require_bounded(self) -> None:
        """LabError when the file has come to more than a trace may. What zstd still holds comes
        later.
        """
        if (size := self._part.stat().st_size) > MOST_TRACED:
            raise LabError(f"{size} bytes, and a trace may have {bounded.shown(MOST_TRACED)}: trace a shorter time")

    def _wait_for_beginning(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not self._begun.wait(0.1):
            if not self._copier.is_alive() or time.monotonic() > deadline:
                raise self._not_begun()

    def _last_words(self) -> str:
        """What a tmemctl that has ended said to people."""
        assert self._process.stderr is not None
        return tail(self._process.stderr.read(bounded.LAST_WORDS).decode(errors="replace"))

    def _not_begun(self) -> LabError:
        said = ""
        if not self._copier.is_alive():
            said = self._last_words()
        self.abandon()
        return LabError(
            "tracing could not begin",
            where=f"{DOM0}: tmemctl trace",
            why=said or f"it said nothing within {START_SECONDS:.0f} s",
        )
