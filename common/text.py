"""Words for people: the name that was probably meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def suggestion(word: str, known: Iterable[str]) -> str | None:
    """The known name that is nearest to a word; None where none is near."""
    return next(iter(difflib.get_close_matches(word, sorted(known), n=1)), None)
