"""What a manager decides on states written as JSON: recorded ones of its original, or others.

A state is an object with the keys of the manager's state (policies/managers/NAME.py documents them
with their units); a recorded one may also hold the decision that was made of it, which is not
looked at.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model

from common.errors import InvalidFileError, UsageError
from common.text import each_key_once, hint, shortened
from policies import managers
from policies.managers.base import MOST, Decision

STANDARD_INPUT = "-"
_DECIDED = tuple(each.name for each in dataclasses.fields(Decision))
_MORE = 5
"""So many mistakes of a state are shown beside the first."""


def decisions(name: str, source: str) -> list[dict[str, Any]]:
    """A manager's decisions on all states of a file (`-`: standard input), in their order.

    Each is `{"targets": [[domain, bytes], ...]}`, with `weights` and `caps` from who sets tmem's.
    UsageError: there is no such manager. InvalidFileError: the file cannot be read, or a state of
    it is none of this manager's.
    """
    if name not in managers.names():
        raise UsageError(f"there is no manager {name!r}", remedy=hint(name, managers.names()))
    manager = managers.get(name)
    states = [_state(manager.FORMS, item, (name, source, index)) for index, item in enumerate(_items(source))]
    return [managers.written(manager.decide(state)) for state in states]


def again(name: str, state: object, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """What a manager decides on a state that its daemon recorded, with the parameters that it had.
    InvalidFileError: it is no state of this manager's.
    """
    manager = managers.get(name)
    read = _state(manager.FORMS[:1], state, (name, "the manager's record", 0))
    return managers.written(manager.decide(read, managers.parameters(name, parameters)))


# --- JSON ---------------------------------------------------------------------------------------


def _items(source: str) -> list[Any]:
    """The states of a file: its list, or the only one."""
    where = "standard input" if source == STANDARD_INPUT else source
    try:
        raw = sys.stdin.buffer.read() if source == STANDARD_INPUT else Path(source).read_bytes()
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        raise InvalidFileError(
            "the states cannot be read",
            where=where,
            why=why or "",
            remedy="--state takes a file, or - for standard input",
        ) from None
    try:
        found = json.loads(raw, object_pairs_hook=each_key_once, parse_int=_integer, parse_float=_number)
    except (ValueError, RecursionError) as error:
        raise InvalidFileError(
            "the states are not JSON", where=where, why=str(error), remedy="give one state, or a list of states"
        ) from None
    return found if isinstance(found, list) else [found]


def _integer(text: str) -> int | str:
    """A number, or text where it has too many digits for Python: refused later, with its key."""
    return int(text) if len(text) < 100 else f"{text[:20]}…"


def _number(text: str) -> int | float:
    """JSON knows one kind of number: 1e9 and 1073741824.0 are whole ones, as others write them."""
    found = float(text)
    return int(found) if found.is_integer() else found


# --- States -------------------------------------------------------------------------------------


def _state(forms: Sequence[type], item: object, place: tuple[str, str, int]) -> Any:  # noqa: ANN401  one of the forms
    if not isinstance(item, dict):
        raise _mistake(place, [("", f"a state is an object, not {shortened(item)}")])
    form = next((each for each in forms[1:] if dataclasses.fields(each)[0].name in item), forms[0])
    try:
        read = _model(form).model_validate({key: value for key, value in item.items() if key not in _DECIDED})
    except ValidationError as error:
        raise _mistake(place, [_said(form, dict(each)) for each in error.errors(include_url=False)]) from None
    state = _record(form, read)
    if mistakes := _contradictions(state.domains):
        raise _mistake(place, mistakes)
    return state


@cache
def _model(record: type) -> type[BaseModel]:
    """A record as a model that takes no other keys and types, and no numbers out of range."""
    hints = get_type_hints(record)
    members: dict[str, Any] = {}
    for each in dataclasses.fields(record):
        hint = hints[each.name]
        if get_origin(hint) is tuple:
            members[each.name] = (list[_model(get_args(hint)[0])], ...)  # type: ignore[misc]
        elif hint is bool:
            members[each.name] = (bool, ...)
        else:
            members[each.name] = (Annotated[hint, Field(ge=each.metadata["least"], le=MOST)], ...)
    return create_model(record.__name__, __config__=ConfigDict(strict=True, extra="forbid"), **members)


def _record(record: type, read: BaseModel) -> Any:  # noqa: ANN401  of type `record`
    hints = get_type_hints(record)
    values = {}
    for key, value in read:
        values[key] = (
            tuple(_record(get_args(hints[key])[0], each) for each in value) if isinstance(value, list) else value
        )
    return record(**values)


def _contradictions(domains: Sequence[Any]) -> list[tuple[str, str]]:
    found = []
    seen: set[int] = set()
    for index, each in enumerate(domains):
        if each.domain in seen:
            found.append((f"domains[{index}].domain", f"domain {each.domain} is there twice"))
        seen.add(each.domain)
        if getattr(each, "minimum", 0) > getattr(each, "maximum", MOST):
            found.append((f"domains[{index}].minimum", f"{each.minimum} is above the maximum, {each.maximum}"))
    return found


def _said(form: type, detail: Mapping[str, Any]) -> tuple[str, str]:
    """Where a mistake is in its state, and what it is."""
    key = ""
    for part in detail["loc"]:
        name = part if str(part).isidentifier() else repr(part)
        key += f"[{part}]" if isinstance(part, int) else f".{name}" if key else str(name)
    if detail["type"] == "missing":
        return key, "is missing"
    if detail["type"] == "extra_forbidden":
        known = {each.name: get_type_hints(form)[each.name] for each in dataclasses.fields(form)}
        if len(detail["loc"]) > 1:
            known = get_type_hints(get_args(known[detail["loc"][0]])[0])
        return key, f"there is no such key; {hint(str(detail['loc'][-1]), known)}"
    return key, f"{detail['msg'][0].lower()}{detail['msg'][1:]}, not {shortened(detail['input'])}"


def _mistake(place: tuple[str, str, int], mistakes: Sequence[tuple[str, str]]) -> InvalidFileError:
    name, source, index = place
    where = f"{'standard input' if source == STANDARD_INPUT else source}, state {index} (the first is 0)"
    (key, what), *others = mistakes
    shown = [f"{key}: {what}" for key, what in others[:_MORE]]
    if len(others) > _MORE:
        shown.append(f"and {len(others) - _MORE} more")
    return InvalidFileError(
        f"state {index}: {key + ': ' if key else ''}{what}",
        where=f"{where}{', key ' + key if key else ''}",
        why="\n".join(["more mistakes in it:", *shown]) if shown else "",
        remedy=f"policies/managers/{name}.py says what a state of {name} holds",
    )
