"""What pydantic finds wrong with a file, as problems with a place, in words for people."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from campaigns.document import KeyPath, Problem
from campaigns.schema import ALIKE, BETWEEN, GROUPED, LEVELS, NUMBER, GuestsSection, key_names
from common.text import hint, shortened

_BY_PYDANTIC = ("[key]", "function-before", "function-after", "function-wrap", NUMBER, LEVELS, BETWEEN, ALIKE, GROUPED)
"""Parts of a path that no file has."""


def of_pydantic(detail: Any, parameters: Sequence[str] | None = None) -> Problem:  # noqa: ANN401
    """A problem from a detail of a ValidationError. parameters: the keys that there may be, where
    they are not those of an experiment file.
    """
    path: KeyPath = tuple(part for part in detail["loc"] if part not in _BY_PYDANTIC)
    if detail["type"] == "extra_forbidden" and GROUPED in detail["loc"] and path[-1] in GuestsSection.model_fields:
        return Problem(path, f"guests in groups have no {path[-1]} in common", "write it in each group")
    if detail["type"] == "extra_forbidden":
        return Problem(path, f"unknown key {path[-1]!r}", hint(str(path[-1]), parameters or key_names(path[:-1])))
    return Problem(path, _wrong(detail, path))


def _wrong(detail: Any, path: KeyPath) -> str:  # noqa: ANN401
    """What is wrong with the value at a key."""
    kind, given = detail["type"], shortened(detail["input"])
    if kind == "missing":
        return f"the key {path[-1]!r} is missing"
    if kind == "literal_error":
        return f"{given} is not one of {detail['ctx']['expected']}"
    if kind == "value_error":
        return str(detail["ctx"]["error"])
    if kind == "too_short" and not detail["input"]:
        return f"it is empty, and at least {detail['ctx']['min_length']} has to be there"
    if kind in {"model_type", "model_attributes_type", "dict_type"}:
        return f"keys with their values have to follow, not {given}"
    return f"{detail['msg'][0].lower()}{detail['msg'][1:]}, not {given}"
