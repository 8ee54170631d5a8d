"""The report's page for print: the same HTML laid out as PDF, by WeasyPrint.

It is lighter than a browser: a library of a few megabytes, and Pango, which `./inv report --pdf`
installs where it is missing. How lines fall is that machine's Pango's and fonts', so two machines
make two files; one machine makes the same bytes each time.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import NoReturn

from common.errors import MissingError

EPOCH = "SOURCE_DATE_EPOCH"
"""The time that programs write into files instead of now: reproducible-builds.org."""


def lacking() -> bool:
    """Whether a library of the system is missing that it needs."""
    try:
        _library()
    except MissingError:
        return True
    return False


def pdf(html: str) -> bytes:
    """A page as PDF. MissingError where a library of the system is missing."""
    weasyprint = _library()
    logging.getLogger("weasyprint").setLevel(logging.CRITICAL)  # it says of each style for screens that print has none
    logging.getLogger("fontTools").setLevel(logging.CRITICAL)
    html = re.sub(r"<script.*?</script>", "", html, flags=re.DOTALL)  # megabytes that paper does not run
    with _no_time_of_day():
        made: bytes = weasyprint.HTML(string=html, url_fetcher=_refuse).write_pdf()
    return made


@contextmanager
def _no_time_of_day() -> Iterator[None]:
    """Where HarfBuzz's subsetter is missing, fontTools cuts the fonts, and writes into them when:
    then the same page would be other bytes a second later.
    """
    before = os.environ.get(EPOCH)
    os.environ[EPOCH] = before or "0"
    try:
        yield
    finally:
        if before is None:
            del os.environ[EPOCH]


def _refuse(address: str, *_: object, **__: object) -> NoReturn:
    """The page needs nothing else."""
    raise ValueError(f"a report fetches nothing, and {address[:80]!r} was asked for")


def _library() -> ModuleType:
    try:
        import weasyprint
    except OSError as error:  # from where it looks for Pango
        raise MissingError(
            "a library that lays out the PDF is missing",
            why=str(error).splitlines()[0],
            remedy="install Pango: libpangoft2-1.0-0 and libharfbuzz-subset0 (Debian's names)",
        ) from None
    module: ModuleType = weasyprint
    return module
