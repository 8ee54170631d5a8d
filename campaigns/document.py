"""YAML files that people write: read so that every mistake can be shown with its file, line and
key, and a suggestion.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from common.errors import InvalidFileError

KeyPath = tuple[str | int, ...]

MOST_SHOWN = 20
"""Mistakes that an error tells: a file of something else has one in every line."""


@dataclass(frozen=True)
class Problem:
    """Something wrong at a key. path: from the document's root; message: one clause; remedy:
    what to write instead, or nothing.
    """

    path: KeyPath
    message: str
    remedy: str = ""


@dataclass(frozen=True)
class Document:
    """A YAML mapping with the line of every key (from 1)."""

    file: Path
    content: dict[str, Any]
    lines: dict[KeyPath, int]

    def line(self, path: KeyPath) -> int:
        """The line of a key, or of its nearest ancestor that is in the file; 1 for the root."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)

    def error(self, problems: Sequence[Problem]) -> InvalidFileError:
        """One error that shows every problem, in the order of the file."""
        ordered = sorted(problems, key=lambda problem: self.line(problem.path))
        if len(ordered) == 1:
            (one,) = ordered
            where = f"{self.file}:{self.line(one.path)}" + (f", key {dotted(one.path)}" if one.path else "")
            return InvalidFileError(one.message, where=where, remedy=one.remedy)
        lines = [
            f"line {self.line(p.path)}, {dotted(p.path) or 'the file'}: {p.message}"
            + (f" ({p.remedy})" if p.remedy else "")
            for p in ordered[:MOST_SHOWN]
        ]
        lines += [f"{len(ordered) - MOST_SHOWN} more"] if len(ordered) > MOST_SHOWN else []
        return InvalidFileError(f"{len(ordered)} mistakes", where=str(self.file), why="\n".join(lines))


def dotted(path: KeyPath) -> str:
    """A key path as people write it: `claims[0].metric`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def read(file: Path) -> Document:
    """A YAML file whose root is a mapping. InvalidFileError for what is no YAML, for keys given
    twice, and for keys that are no text.
    """
    try:
        return _read(file)
    except RecursionError:
        raise InvalidFileError(
            "the file is nested too deeply", where=str(file), remedy="write it with fewer levels"
        ) from None


def _read(file: Path) -> Document:
    try:
        text = file.read_text(encoding="utf-8")
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except OSError as error:
        raise InvalidFileError("the file cannot be read", where=str(file), why=error.strerror or str(error)) from None
    except UnicodeDecodeError as error:
        raise InvalidFileError("the file is not UTF-8 text", where=str(file), why=str(error)) from None
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise InvalidFileError(
            "the file is not YAML", where=f"{file}:{line}", why=error.problem or error.context or ""
        ) from None
    except yaml.YAMLError as error:
        raise InvalidFileError("the file is not YAML", where=str(file), why=str(error)) from None
    reader = _Reader()
    content = reader.value(node, ()) if node is not None else None
    if not isinstance(content, dict):
        raise InvalidFileError(
            "the file does not hold keys and values", where=str(file), remedy="see experiments/README.md for the form"
        )
    document = Document(file, content, reader.lines)
    if reader.problems:
        raise document.error(reader.problems)
    return document


class _Reader:
    """Nodes to values. Aliases are refused: every file says what it says in one place, and none
    can be a bomb.
    """

    def __init__(self) -> None:
        self.lines: dict[KeyPath, int] = {}
        self.problems: list[Problem] = []
        self._loader = yaml.SafeLoader("")
        self._seen: set[int] = set()

    def value(self, node: yaml.Node, path: KeyPath) -> object:
        self.lines.setdefault(path, node.start_mark.line + 1)
        if id(node) in self._seen:
            self.problems.append(Problem(path, "YAML aliases are not supported", "write the value out"))
            return None
        self._seen.add(id(node))
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            return [self.value(item, (*path, index)) for index, item in enumerate(node.value)]
        try:
            constructed: object = self._loader.construct_object(node)
        except (yaml.YAMLError, ValueError) as error:
            self.problems.append(Problem(path, f"the value cannot be understood: {error}"))
            return None
        return constructed

    def _mapping(self, node: yaml.MappingNode, path: KeyPath) -> dict[str, object]:
        found: dict[str, object] = {}
        for key_node, value_node in node.value:
            key = key_node.value
            line = key_node.start_mark.line + 1
            if (
                not isinstance(key_node, yaml.ScalarNode)
                or not isinstance(key, str)
                or key_node.tag != "tag:yaml.org,2002:str"
            ):
                self.lines[*path, str(key)] = line
                self.problems.append(
                    Problem((*path, str(key)), "a key has to be a text", "quote it" if isinstance(key, str) else "")
                )
                continue
            if key in found:
                first = self.lines[*path, key]
                self.lines[*path, key] = line
                self.problems.append(
                    Problem((*path, key), f"the key was given before, in line {first}", "keep one of the two")
                )
                continue
            self.lines[*path, key] = line
            found[key] = self.value(value_node, (*path, key))
        return found
