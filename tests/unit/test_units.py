"""Quantities as people write them, there and back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.units import (
    PAGE_BYTES,
    SECTOR_BYTES,
    SECTORS_PER_PAGE,
    format_duration,
    format_size,
    parse_duration,
    parse_size,
)


def test_a_page_is_eight_sectors() -> None:
    assert PAGE_BYTES == SECTORS_PER_PAGE * SECTOR_BYTES == 8 * 512


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("384 MiB", 384 * 2**20),
        ("4KiB", 4096),
        ("1.5 GiB", 3 * 2**29),
        ("512 B", 512),
        ("  2 TiB ", 2**41),
        ("0 MiB", 0),
    ],
)
def test_sizes_that_are_understood(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text",
    [
        "384",
        "384 MB",
        "384 mib",
        "MiB",
        "-1 MiB",
        "1 MiB 2 KiB",
        "1,5 GiB",
        "",
        "1e3 B",
        384,
        1.5,
        None,
        True,
        ["1 MiB"],
    ],
)
def test_sizes_that_are_refused(text: object) -> None:
    with pytest.raises(ValueError, match="MiB"):
        parse_size(text)


def test_a_fraction_of_a_byte_is_refused() -> None:
    """Rounding would change a declared quantity without a word."""
    with pytest.raises(ValueError, match="whole number of bytes"):
        parse_size("1.5 B")


@pytest.mark.parametrize(
    ("text", "seconds"), [("5 s", 5.0), ("250 ms", 0.25), ("10 min", 600.0), ("1.5h", 5400.0), ("0 s", 0.0)]
)
def test_durations_that_are_understood(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds, abs=1e-12)


@pytest.mark.parametrize("text", ["5", "5 sec", "s", "-5 s", "5 m", "", 5, None, "5 MiB", "nan s", "inf s"])
def test_durations_that_are_refused(text: object) -> None:
    with pytest.raises(ValueError, match="min"):
        parse_duration(text)


@given(st.integers(0, 2**50))
def test_every_size_is_read_back(size: int) -> None:
    assert parse_size(format_size(size)) == size


@given(st.integers(1, 1023), st.sampled_from(["KiB", "MiB", "GiB", "TiB"]))
def test_the_unit_that_was_written_is_kept(number: int, unit: str) -> None:
    assert format_size(parse_size(f"{number} {unit}")) == f"{number} {unit}"


@given(st.text(max_size=20))
def test_any_text_is_a_quantity_or_a_plain_refusal(text: str) -> None:
    for parse in (parse_size, parse_duration):
        try:
            value = parse(text)
        except ValueError as error:
            message = str(error)
        else:
            message = repr(text) if value >= 0 else ""
        assert repr(text) in message


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0.0 s"),
        (8.24, "8.2 s"),
        (9.97, "10 s"),
        (59.4, "59 s"),
        (59.7, "1 min 00 s"),
        (60.0, "1 min 00 s"),
        (185.2, "3 min 05 s"),
        (3599.7, "1 h 00 min"),
        (4800.0, "1 h 20 min"),
        (7199.0, "2 h 00 min"),
    ],
)
def test_durations_for_people(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@given(st.floats(0, 10**7))
def test_a_duration_never_shows_sixty_of_anything(seconds: float) -> None:
    text = format_duration(seconds)
    assert "60" not in text.split()[0::2][1:]
    assert not text.startswith("60 ")
