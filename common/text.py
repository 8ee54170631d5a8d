"""Words for people: the name that was probably meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def suggestion(word: str, known: Iterable[str]) -> str | None:
    """The known name that is nearest to a word; None where none is near."""
    return next(iter(difflib.get_close_matches(word, sorted(known), n=1)), None)


def hint(word: str, known: Iterable[str]) -> str:
    """`did you mean 'x'?` when a known name is near, else what is known."""
    names = list(known)
    near = suggestion(word, names)
    return f"did you mean {near!r}?" if near else f"known: {', '.join(names)}"
