"""Presets of an experiment: the same question at another scale, as changes of its file.

`presets: {night: {repetitions: 9, host: {guest_memory: 2 GiB}}}`: what a preset says takes the
place of what the file says, key by key; lists are replaced as they are.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from campaigns.document import Document, Problem
from campaigns.schema import IDENTIFIER
from common.text import hint

KEY = "presets"


def names(source: Document) -> list[str]:
    """The presets that a file has. InvalidFileError when they are none."""
    found = source.content.get(KEY) or {}
    if not isinstance(found, dict) or not all(isinstance(each, dict) for each in found.values()):
        raise source.error([Problem((KEY,), "presets are names, each with the keys that it changes")])
    wrong = [name for name in found if not re.fullmatch(IDENTIFIER, name)]
    if wrong:
        remedy = "use letters, digits, _ . and -"
        what = "a preset's name is part of a campaign's, and cannot be one"
        raise source.error([Problem((KEY, name), what, remedy) for name in wrong])
    return list(found)


def at_scale(source: Document, scale: str | None) -> Document:
    """The file as it is with a preset, or without any. InvalidFileError when it has no such."""
    known = names(source)
    content = {key: value for key, value in source.content.items() if key != KEY}
    if scale is None:
        return replace(source, content=content)
    if scale not in known:
        why = hint(scale, known) if known else "it has no presets: leave --scale out"
        raise source.error([Problem((KEY,), f"there is no preset {scale!r}", why)])
    own = {path[2:]: line for path, line in source.lines.items() if path[:2] == (KEY, scale) and path[2:]}
    return replace(source, content=_merged(content, source.content[KEY][scale]), lines={**source.lines, **own})


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _merged(merged[key], value) if both else value
    return merged
