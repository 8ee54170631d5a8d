"""Types of fields in files that people write: amounts with their units, strict numbers, and
sections without unknown keys.

Each is written back the way it is read, so that a resolved file can be read again.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, WithJsonSchema

from common.units import format_size, parse_duration, parse_size

MIB = 2**20


def _mebibytes(text: object) -> int:
    mib, rest = divmod(parse_size(text), MIB)
    if rest:
        raise ValueError(f"{text!r} is not a whole number of MiB")
    return mib


def _duration_text(seconds: float) -> str:
    return f"{seconds:.3f}".rstrip("0").rstrip(".") + " s"


def mebibytes_text(mib: int) -> str:
    """Whole MiB as they are written in a file."""
    return format_size(mib * MIB) if mib else "0 MiB"


def _says_something(text: str) -> str:
    if not text.strip():
        raise ValueError("it is blank: write some words")
    return text


_AMOUNT = r"\s*[0-9]+(\.[0-9]+)?\s*"
SIZE_PATTERN = rf"{_AMOUNT}(B|KiB|MiB|GiB|TiB)\s*"
_DURATION_PATTERN = rf"{_AMOUNT}(ms|s|min|h)\s*"
"""For editors: what common/units.py reads."""


def _written(pattern: str, *examples: str) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", "pattern": f"^{pattern}$", "maxLength": 40, "examples": [*examples]})


Size = Annotated[
    int,
    BeforeValidator(parse_size),
    PlainSerializer(format_size, return_type=str),
    _written(SIZE_PATTERN, "4 KiB", "64 MiB"),
]
"""Bytes, written with a binary unit (`4 KiB`)."""

Mebibytes = Annotated[
    int, BeforeValidator(_mebibytes), PlainSerializer(mebibytes_text), _written(SIZE_PATTERN, "256 MiB", "2 GiB")
]
"""Whole MiB, written with a binary unit (`256 MiB`)."""

Seconds = Annotated[
    float,
    BeforeValidator(parse_duration),
    PlainSerializer(_duration_text, return_type=str),
    _written(_DURATION_PATTERN, "5 s", "10 min"),
]
"""Seconds, written with a unit (`10 min`)."""

MOST = 2**63 - 1
"""What kernels, hypervisor and tools count with."""

Count = Annotated[int, Field(strict=True, ge=-MOST, le=MOST)]
Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Text = Annotated[str, Field(min_length=1), AfterValidator(_says_something)]


class Section(BaseModel):
    """A mapping of a file: unknown keys are refused, nothing changes afterwards."""

    model_config = ConfigDict(frozen=True, extra="forbid")
