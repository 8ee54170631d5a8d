"""Traces that are made up; tmemctl, built for this machine with a made-up Xen (fake_xencall.c)."""

from __future__ import annotations

import json
import struct
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa

from analysis.trace import RECORD, Trace

TMEM = Path(__file__).parents[2] / "tmem"
HERE = Path(__file__).parent

INCLUDES = [
    f"-I{path}"
    for path in (
        TMEM / "tmemctl",
        HERE / "fake_xencall",
        TMEM / "xen/files/include",
        TMEM / "xen/test/include/public",
    )
]

COUNTERS = {"global": {}, "clients": [{"CI": 1, "Ge": 10}]}


def build_tmemctl(folder: Path) -> Path:
    """The program, made in the folder."""
    program = folder / "tmemctl"
    sources = [*sorted((TMEM / "tmemctl").glob("*.c")), HERE / "fake_xencall.c"]
    flags = ("-std=gnu11", "-O1", "-Wall", "-Wextra", "-Werror", "-D__XEN_TOOLS__", "-fsanitize=address,undefined")
    subprocess.run(["cc", *flags, *INCLUDES, "-o", program, *sources], check=True)
    return program


def records(rows: Iterable[Sequence[int]], first: int = 1) -> np.ndarray:
    """Rows of (kind, domain, object with pool, index) as records."""
    rows = list(rows)
    made = np.zeros(len(rows), RECORD)
    made["number"] = np.arange(first, first + len(rows))
    for at, (kind, domain, name, index) in enumerate(rows):
        made[at]["kind"], made[at]["domain"], made[at]["object"], made[at]["index"] = kind, domain, name, index
    return made


def trace(rows: Iterable[Sequence[int]]) -> Trace:
    return Trace(records(rows), (), 0, 0, COUNTERS, COUNTERS)


@dataclass
class Made:
    """A file that is made block by block."""

    data: bytes = b""
    number: int = 1
    lost: int = 0
    ended: bool = False
    blocks: list[int] = field(default_factory=list)

    def begin(self, magic: bytes = b"TMEMTRC\n", version: int = 1, record_bytes: int = 24) -> Made:
        self.data += struct.pack("<8sIIQQ", magic, version, record_bytes, 1_700_000_000 * 10**9, 900 << 24)
        return self.counters()

    def block(self, kind: int, payload: bytes, first: int, lost: int) -> Made:
        self.blocks.append(len(self.data))
        self.data += struct.pack("<IIQQQ", kind, len(payload), first, lost, 0) + payload
        return self

    def counters(self, hits: int = 10) -> Made:
        text = json.dumps({"global": {}, "clients": [{"CI": 1, "Ge": hits}]}).encode()
        return self.block(2, text, self.number, 0)

    def add(self, rows: Iterable[Sequence[int]], lost: int = 0) -> Made:
        self.number += lost
        self.lost += lost
        made = records(rows, self.number)
        self.block(1, made.tobytes(), self.number, lost)
        self.number += len(made)
        return self

    def end(self, hits: int = 13) -> Made:
        return self.counters(hits).block(3, b"", self.number, self.lost)

    def write(self, path: Path) -> Path:
        with pa.output_stream(str(path), compression="zstd") as stream:
            stream.write(self.data)
        return path
