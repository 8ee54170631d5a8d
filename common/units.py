"""Quantities as people write them (`384 MiB`, `5 s`) to numbers in one base unit, and back."""

from __future__ import annotations

import re

PAGE_BYTES = 4096
"""Bytes of a page: x86 guests and Xen agree on it, and the tmem ABI allows no other size."""

SECTOR_BYTES = 512
"""Bytes of a sector, the unit of Linux's block statistics whatever the disk's own sector size is."""

SECTORS_PER_PAGE = PAGE_BYTES // SECTOR_BYTES

_SIZES = {"B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}
_TIMES = {"ms": 0.001, "s": 1.0, "min": 60.0, "h": 3600.0}
_QUANTITY = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]+)\s*")


def _parse(text: object, units: dict[str, float] | dict[str, int], example: str) -> float:
    known = ", ".join(units)
    if not isinstance(text, str) or not (match := _QUANTITY.fullmatch(text)):
        raise ValueError(f"{text!r} is not a quantity with a unit, such as {example!r} (units: {known})")
    if match[2] not in units:
        raise ValueError(f"unknown unit {match[2]!r} in {text!r} (units: {known})")
    return float(match[1]) * units[match[2]]


def parse_size(text: object) -> int:
    """Bytes of a size such as `384 MiB`. ValueError, naming the units, for anything else (decimal units are refused)."""
    return round(_parse(text, _SIZES, "384 MiB"))


def parse_duration(text: object) -> float:
    """Seconds of a duration such as `5 s` or `10 min`. ValueError, naming the units, for anything else."""
    return _parse(text, _TIMES, "5 s")


def format_size(size: int) -> str:
    """The shortest exact form of a size in bytes, such as `384 MiB`."""
    for unit in ("TiB", "GiB", "MiB", "KiB"):
        if size and size % _SIZES[unit] == 0:
            return f"{size // _SIZES[unit]} {unit}"
    return f"{size} B"


def format_duration(seconds: float) -> str:
    """A duration for people: `8.2 s`, `3 min 05 s`, `1 h 20 min`."""
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min"
