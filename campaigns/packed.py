"""A cell's samples: samples/samples.csv, or the same packed by gzip, as published campaigns have
them (campaigns/publishing.py), of a ninth of the size. Either is read alike.
"""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

from campaigns import records

FILE = f"{records.SAMPLES_FILE}.gz"


def name(cell: Path) -> str:
    """Which of the two a cell's directory has; samples.csv where it has none."""
    return FILE if (cell / FILE).is_file() else records.SAMPLES_FILE


def text(cell: Path) -> str:
    """What the samples of a cell's directory are. OSError, ValueError: they cannot be read."""
    which = name(cell)
    content = (cell / which).read_bytes()
    if which == FILE:
        try:
            content = gzip.decompress(content)
        except (EOFError, zlib.error) as error:
            raise ValueError(f"no whole file of gzip: {error}") from None
    return content.decode()


def pack(content: bytes) -> bytes:
    """The same bytes of the same content."""
    return gzip.compress(content, 9, mtime=0)
