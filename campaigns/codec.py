"""Frozen dataclasses to JSON values and back, strictly: an unknown, missing or ill-typed key is named with its path.

Understands what the records use and nothing else: dataclasses, str, int, float, bool, None, object, Literal, unions, `tuple[T, ...]` and
`Mapping[str, T]`. An int is not a bool, and a float may be written as an int and stays one. NaN and infinities are refused: JSON has none.
"""

from __future__ import annotations

import dataclasses
import json
import math
import types
from collections.abc import Mapping
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")

_WORDS = {
    "dict": "an object",
    "list": "a list",
    "str": "a text",
    "bool": "true or false",
    "int": "a whole number",
    "float": "a number",
}


class CodecError(ValueError):
    """A JSON value is not what the record declares. The message starts with the path of the key."""


def dumps(record: object) -> str:
    """The JSON text of a record or JSON value, as every file of results/ holds it: indented, keys in declared order, newline at the end."""
    return json.dumps(encode(record), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def encode(value: object) -> Any:  # noqa: ANN401
    """The JSON value of a record. CodecError for a type or number that JSON cannot hold."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: encode(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): encode(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [encode(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        raise CodecError(f"{value} cannot be stored; a figure that could not be read is null")
    if value is None or isinstance(value, str | int | float):
        return value
    raise CodecError(f"a {type(value).__name__} cannot be stored as JSON")


def decode(kind: type[T], value: object, path: str = "") -> T:
    """A `kind` from a JSON value. CodecError with the key's path when it does not fit."""
    result: T = _decode(kind, value, path)
    return result


def _decode(kind: Any, value: Any, path: str) -> Any:  # noqa: ANN401, PLR0911
    origin = get_origin(kind)
    if kind is object or kind is Any:
        return value
    if origin is Literal:
        if value not in get_args(kind) or isinstance(value, bool):
            raise _misfit(path, f"one of {', '.join(map(repr, get_args(kind)))}", value)
        return value
    if origin in (Union, types.UnionType):
        return _decode_union(get_args(kind), value, path)
    if origin is tuple:
        return tuple(
            _decode(get_args(kind)[0], item, f"{path}[{i}]") for i, item in enumerate(_expect(list, value, path))
        )
    if origin is not None and issubclass(origin, Mapping):
        return {
            key: _decode(get_args(kind)[1], item, _join(path, key)) for key, item in _expect(dict, value, path).items()
        }
    if dataclasses.is_dataclass(kind):
        return _decode_record(kind, _expect(dict, value, path), path)
    if kind is float:
        return value if _is_number(value) else _expect(float, value, path)
    return _expect(kind, value, path)


def _decode_union(kinds: tuple[Any, ...], value: Any, path: str) -> Any:  # noqa: ANN401
    if value is None and type(None) in kinds:
        return None
    candidates = [kind for kind in kinds if kind is not type(None)]
    for kind in candidates[:-1]:
        try:
            return _decode(kind, value, path)
        except CodecError:
            continue
    return _decode(candidates[-1], value, path)


def _decode_record(kind: Any, value: dict[str, Any], path: str) -> Any:  # noqa: ANN401
    hints = get_type_hints(kind)
    fields = {field.name: field for field in dataclasses.fields(kind)}
    for key in value:
        if key not in fields:
            raise CodecError(f"{_join(path, key)}: unknown key")
    arguments = {}
    for name, field in fields.items():
        if name in value:
            arguments[name] = _decode(hints[name], value[name], _join(path, name))
        elif field.default is dataclasses.MISSING:
            raise CodecError(f"{_join(path, name)}: missing key")
    return kind(**arguments)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _expect(kind: type, value: Any, path: str) -> Any:  # noqa: ANN401
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise _misfit(path, _WORDS.get(kind.__name__, f"a {kind.__name__}"), value)
    return value


def _misfit(path: str, wanted: str, value: object) -> CodecError:
    return CodecError(f"{path or 'the document'}: expected {wanted}, found {json.dumps(value)[:80]}")


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key
