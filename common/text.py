"""Words for people: the name that was probably meant, and text of others that is to be shown as it
is, in one line or in Markdown; and what JSON of others must not have.
"""

from __future__ import annotations

import difflib
import os
import re
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Any


def suggestion(word: str, known: Iterable[str]) -> str | None:
    """The known name that is nearest to a word; None where none is near."""
    return next(iter(difflib.get_close_matches(word, sorted(known), n=1)), None)


def hint(word: str, known: Iterable[str]) -> str:
    """`did you mean 'x'?` when a known name is near, else what is known."""
    names = list(known)
    near = suggestion(word, names)
    return f"did you mean {near!r}?" if near else f"known: {', '.join(names)}"


def difference(before: str, after: str, names: tuple[str, str]) -> list[str]:
    """Lines of a unified diff, with one line around each change; none for texts that are alike."""
    return list(difflib.unified_diff(before.splitlines(), after.splitlines(), *names, lineterm="", n=1))


COLUMNS = 80
"""Of a terminal."""


def wrapped(*texts: str) -> list[str]:
    """Lines that fit a terminal; those that go on are set in by four more than their text."""
    found = []
    for text in texts:
        indent = " " * (len(text) - len(text.lstrip()))
        found += textwrap.wrap(text.strip(), COLUMNS, initial_indent=indent, subsequent_indent=f"{indent}    ")
    return found


LONGEST = 60
"""Characters of a value that a message quotes."""


def shortened(value: object) -> str:
    """A value as Python writes it, its middle left out where it is long."""
    text = repr(value)
    return text if len(text) <= LONGEST else f"{text[: LONGEST // 2]}…{text[-10:]} ({len(text)} characters)"


_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")
"""Everything that moves a cursor, changes colours or turns text around; tab and newline stay."""

_MARKUP = re.compile(
    r"[\\`*~]"
    r"|(?<![^\W_])_|_(?![^\W_])"  # within a word it is no emphasis
    r"|\](?=[(\[:])"  # ends what may be a link, or the name of one
    r"|<(?=[A-Za-z/!?])"
    r"|&(?=#?\w+;)"
)
_BEGINNING = re.compile(r"([#>+=-]|\d+(?=[.)]))")


def harmless(text: str) -> str:
    """Text with its control characters shown and not obeyed."""
    return _CONTROL.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


def one_line(text: str) -> str:
    """Text that may be a title: harmless, and in one line."""
    return harmless(" ".join(text.split()))


def markdown(text: str) -> str:
    """Text as Markdown that shows it as it is: no link, tag, code or emphasis is made of it."""
    return _MARKUP.sub(lambda match: "\\" + match[0], one_line(text))


def markdown_paragraph(text: str) -> str:
    """As `markdown`, where a line begins, which else could become a heading or a list."""
    shown = markdown(text)
    if (match := _BEGINNING.match(shown)) is None:
        return shown
    end = match.end() if match[0][0].isdigit() else 0
    return f"{shown[:end]}\\{shown[end:]}"


MOST_DIGITS = 20
"""Of a whole number in a file that we wrote: kernels and hypervisor count in 64 bits."""


def whole_number(text: str) -> int:
    """A whole number of a JSON file (json's parse_int). ValueError for one that nothing counts to:
    arithmetic with floating point numbers would fail on it, and no longer say where it stood.
    """
    if len(text.lstrip("-")) > MOST_DIGITS:
        raise ValueError(f"a number of {len(text)} digits")
    return int(text)


def each_key_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of a JSON file (json's object_pairs_hook). ValueError for a key that is there
    twice: readers differ in which they take.
    """
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the key {next(name for name in names if names.count(name) > 1)!r} is there twice")
    return found


def without_home(text: str) -> str:
    """What does not tell who ran it: for all that results/ keeps."""
    home = os.path.expanduser("~")  # noqa: PTH111 - pathlib has an error for who has no home
    return text.replace(home, "~") if len(home) > 1 else text


def reasons(said: Mapping[str, Sequence[float]]) -> str:
    """Why something failed at each of several tries, every reason once: the first often tells more
    than the last. said: reason -> when [s].
    """
    if len(said) == 1:
        return next(iter(said))
    return "\n".join(
        f"{why} ({len(times)} times, from {times[0]:.0f} to {times[-1]:.0f} s)" for why, times in said.items()
    )
