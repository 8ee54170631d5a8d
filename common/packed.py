"""Files that may be packed by gzip, as published campaigns have those that are long
(campaigns/publishing.py): of a seventh of the size, and read alike. A packed file has the same
name and SUFFIX behind it.
"""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

SUFFIX = ".gz"


def found(path: Path) -> Path:
    """The file, or the packed one in its place; the file's own name where there is neither."""
    other = path.with_name(path.name + SUFFIX)
    return other if not path.is_file() and other.is_file() else path


def content(path: Path) -> bytes:
    """What the file is, packed or not. OSError, ValueError: it cannot be read."""
    there = found(path)
    raw = there.read_bytes()
    if there.suffix != SUFFIX:
        return raw
    try:
        return gzip.decompress(raw)
    except (EOFError, zlib.error) as error:
        raise ValueError(f"no whole file of gzip: {error}") from None


def text(path: Path) -> str:
    """The same as text; ValueError, too, when it is none."""
    return content(path).decode()


def pack(content: bytes) -> bytes:
    """The same bytes of the same content."""
    return gzip.compress(content, 9, mtime=0)
