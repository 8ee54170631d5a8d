"""Quantities as people write them (`384 MiB`, `5 s`) to numbers in one base unit, and back."""

from __future__ import annotations

import re
from collections.abc import Mapping
from fractions import Fraction

from common.text import shortened

PAGE_BYTES = 4096
"""Bytes of a page: x86 guests and Xen agree on it, and the tmem ABI allows no other size."""

SECTOR_BYTES = 512
"""Bytes of a sector, the unit of Linux's block statistics whatever the disk's own sector size is.
"""

SECTORS_PER_PAGE = PAGE_BYTES // SECTOR_BYTES

KIB_PER_MIB = 1024
"""Linux tells memory in KiB, and memory is sized in MiB."""

_SIZES = {
    "B": Fraction(1),
    "KiB": Fraction(2**10),
    "MiB": Fraction(2**20),
    "GiB": Fraction(2**30),
    "TiB": Fraction(2**40),
}
_TIMES = {"ms": Fraction(1, 1000), "s": Fraction(1), "min": Fraction(60), "h": Fraction(3600)}
_LONGEST_S = 366 * 24 * 3600
_LARGEST = "1024 TiB"
_MOST_CHARACTERS = 40
"""Of a quantity: nobody means a number of four hundred digits."""
_QUANTITY = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]+)\s*")


def _parse(text: object, units: Mapping[str, Fraction], example: str) -> Fraction:
    known = ", ".join(units)
    if isinstance(text, str) and len(text) > _MOST_CHARACTERS:
        raise ValueError(f"{shortened(text)} is too long for a quantity ({len(text)} characters)")
    if not isinstance(text, str) or not (match := _QUANTITY.fullmatch(text)):
        raise ValueError(f"{text!r} is not a quantity with a unit, such as {example!r} (units: {known})")
    if match[2] not in units:
        raise ValueError(f"unknown unit {match[2]!r} in {text!r} (units: {known})")
    return Fraction(match[1]) * units[match[2]]


def parse_size(text: object) -> int:
    """Bytes of a size such as `384 MiB`. ValueError, naming the units, for anything else (decimal
    units and parts of a byte are refused).
    """
    size = _parse(text, _SIZES, "384 MiB")
    if size.denominator != 1:
        raise ValueError(f"{text!r} is not a whole number of bytes")
    if size > 1024 * _SIZES["TiB"]:
        raise ValueError(f"{text!r} is more than {_LARGEST}, the largest size")
    return int(size)


def parse_duration(text: object) -> float:
    """Seconds of a duration such as `5 s` or `10 min`. ValueError, naming the units, for anything
    else.
    """
    seconds = _parse(text, _TIMES, "5 s")
    if seconds > _LONGEST_S:
        raise ValueError(f"{text!r} is longer than a year")
    if (seconds * 1000).denominator != 1:
        raise ValueError(f"{text!r} is not a whole number of milliseconds")
    return float(seconds)


def format_size(size: int) -> str:
    """The shortest exact form of a size in bytes, such as `384 MiB`."""
    for unit in ("TiB", "GiB", "MiB", "KiB"):
        if size and size % _SIZES[unit] == 0:
            return f"{size // int(_SIZES[unit])} {unit}"
    return f"{size} B"


def rough_duration(seconds: float) -> str:
    """A duration that is an estimate, to two digits: `8.2 s`, `3.1 min`, `45 min`, `1.5 h`."""
    for unit, size in (("s", 1.0), ("min", 60.0), ("h", 3600.0)):
        amount = float(f"{seconds / size:.2g}")
        if amount < 100 or unit == "h":
            return f"{amount:g} {unit}" if amount < 1000 else f"{amount:.0f} {unit}"
    raise AssertionError("unreachable")


def format_duration(seconds: float) -> str:
    """A duration for people: `8.2 s`, `3 min 05 s`, `1 h 20 min`."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if whole < 3600:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes:02d} min"
