"""Reads traces: what guests asked of tmem, as tmemctl recorded it (docs/trace.md has the format).

A trace is read whole, and checked: a file that is cut short, was changed, or is of another version
is a ResultsError, never a shorter table.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from common.errors import ResultsError
from common.metrics import whole

SUFFIX = ".trace.zst"
MAGIC = b"TMEMTRC\n"
VERSION = 1
SHARED = 0x7FF4
"""The domain of pages in pools that several guests share (Xen's DOMID_INVALID)."""
CLOCK_NS = 1 << 24
"""What tmem's clock counts."""

_HEADER = struct.Struct("<8sIIQQ")
_BLOCK = struct.Struct("<IIQQQ")
_RECORDS, _COUNTERS, _END = 1, 2, 3

RECORD = np.dtype(
    [
        ("number", "<u4"),
        ("time", "<u4"),
        ("object", "<u8"),
        ("index", "<u4"),
        ("domain", "<u2"),
        ("kind", "u1"),
        ("pad", "u1"),
    ]
)


class Kind(IntEnum):
    """What a record tells; the numbers are those of public/tmem_control.h."""

    PUT = 1
    OVER = 2
    REFUSED = 3
    HIT = 4
    MISS = 5
    FAILED = 6
    FLUSH = 7
    NO_FLUSH = 8
    OBJECT = 9
    NO_OBJECT = 10
    POOL = 11
    POOL_GONE = 12
    EVICTED = 13


@dataclass(frozen=True)
class Gap:
    """Records that were overwritten before they were read. at: of the records that are there, how
    many come before it.
    """

    at: int
    lost: int


@dataclass(frozen=True)
class Trace:
    """A whole trace. records: of the type RECORD, in the order in which they were written, `number`
    without a use any more. realtime_ns: when it began, since 1970; uptime_ns: the same moment by
    Xen's clock. before, after: tmem's counters when it began and when it had ended, as `tmemctl
    list --json` prints them.
    """

    records: npt.NDArray[np.void]
    gaps: tuple[Gap, ...]
    realtime_ns: int
    uptime_ns: int
    before: Mapping[str, Any]
    after: Mapping[str, Any]

    @property
    def lost(self) -> int:
        """Records that are missing, in all."""
        return whole(gap.lost for gap in self.gaps)

    def count(self, kind: Kind) -> int:
        """Records of a kind."""
        return int(np.count_nonzero(self.records["kind"] == kind))

    def table(self) -> pd.DataFrame:
        """A row for each record. seconds: since the trace began, to 17 ms; object: a hash, 60 bits
        wide; pool: its number in its domain.
        """
        records, names = self.records, [kind.name.lower() for kind in Kind]
        return pd.DataFrame(
            {
                "seconds": (records["time"].astype("i8") * CLOCK_NS - self.uptime_ns) / 1e9,
                "domain": records["domain"],
                "pool": (records["object"] & np.uint64(15)).astype("u1"),
                "kind": pd.Categorical.from_codes(records["kind"].astype(np.int64) - 1, categories=pd.Index(names)),
                "object": records["object"] >> np.uint64(4),
                "index": records["index"],
            }
        )


def load(path: Path) -> Trace:
    """The trace in a file. ResultsError when it is none, is damaged, or ends before its end."""
    return parse(_unpacked(path), str(path))


def _unpacked(path: Path) -> bytes:
    import pyarrow as pa

    try:
        with pa.input_stream(str(path), compression="zstd") as stream:
            return bytes(stream.read())
    except (OSError, pa.ArrowException) as error:
        raise ResultsError(
            "a trace cannot be read",
            where=str(path),
            why=str(error),
            remedy="Is it a whole file that ./inv lab.trace has written?",
        ) from error


@dataclass
class _Reader:
    """Goes through the blocks, in order."""

    data: bytes
    where: str
    at: int = 0

    def take(self, nr: int) -> bytes:
        if len(self.data) - self.at < nr:
            raise self.damaged(f"it ends after {len(self.data)} bytes, within what begins at {self.at}")
        self.at += nr
        return self.data[self.at - nr : self.at]

    def damaged(self, why: str) -> ResultsError:
        return ResultsError("a trace is damaged", where=self.where, why=why, remedy="Record it again.")


def parse(data: bytes, where: str) -> Trace:
    """The trace in what a file holds, unpacked. where: for errors."""
    reader = _Reader(data, where)
    magic, version, record_bytes, realtime, uptime = _HEADER.unpack(reader.take(_HEADER.size))
    if magic != MAGIC:
        raise reader.damaged("it does not begin as a trace does")
    if (version, record_bytes) != (VERSION, RECORD.itemsize):
        raise ResultsError(
            "a trace is of another version",
            where=where,
            why=f"version {version} with records of {record_bytes} bytes; known is {VERSION} with {RECORD.itemsize}",
            remedy="Read it with the checkout that wrote it.",
        )
    parts: list[npt.NDArray[np.void]] = []
    counters: list[Mapping[str, Any]] = []
    gaps: list[Gap] = []
    number, read = 1, 0
    while True:
        kind, size, first, lost, _ = _BLOCK.unpack(reader.take(_BLOCK.size))
        payload = reader.take(size)
        if kind == _RECORDS:
            if first != number + lost:
                raise reader.damaged(f"record {first} follows {number - 1} with {lost} lost between")
            part = _records(reader, payload, first)
            if lost:
                gaps.append(Gap(read, lost))
            parts.append(part)
            read += len(part)
            number = first + len(part)
        elif kind == _COUNTERS:
            counters.append(_counters(reader, payload))
        elif kind == _END:
            break
        else:
            raise reader.damaged(f"a block of the unknown kind {kind}")
    if (first, lost, size) != (number, whole(gap.lost for gap in gaps), 0) or len(counters) != 2:
        raise reader.damaged("its end tells of other records than there are")
    if reader.at != len(data):
        raise reader.damaged(f"{len(data) - reader.at} bytes follow its end")
    records = np.concatenate(parts) if parts else np.empty(0, RECORD)
    return Trace(records, tuple(gaps), realtime, uptime, *counters)


def _records(reader: _Reader, payload: bytes, first: int) -> npt.NDArray[np.void]:
    if len(payload) % RECORD.itemsize:
        raise reader.damaged(f"{len(payload)} bytes are no whole records")
    part = np.frombuffer(payload, RECORD)
    expected = (first + np.arange(len(part), dtype="u8")).astype("u4")
    if not np.array_equal(part["number"], expected):
        raise reader.damaged(f"records from {first} on do not have their numbers")
    if len(part) and (part["pad"].any() or part["kind"].min() < 1 or part["kind"].max() > max(Kind)):
        raise reader.damaged(f"records from {first} on are of unknown kinds")
    return part


def _counters(reader: _Reader, payload: bytes) -> Mapping[str, Any]:
    try:
        found = json.loads(payload)
    except ValueError as error:
        raise reader.damaged(f"counters that are no JSON: {error}") from error
    if not isinstance(found, dict) or not {"global", "clients"} <= found.keys():
        raise reader.damaged("counters without those of the host or of its guests")
    return found
