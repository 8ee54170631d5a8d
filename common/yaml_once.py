"""YAML in which every key of a mapping is there once. PyYAML takes the last of several, Ansible
too: a host that is declared twice would be the second, and the first would have meant nothing.
"""

from __future__ import annotations

from typing import Any

import yaml


class TwiceError(yaml.YAMLError):
    """A key that is there twice. line: of the second, from 1; first: of the first."""

    def __init__(self, key: str, first: int, line: int) -> None:
        super().__init__(f"the key {key!r} is there twice, in line {first} and in line {line}")
        self.key, self.first, self.line = key, first, line


class _Loader(yaml.SafeLoader):
    """Looks at mappings as they are written, before `<<` adds the keys of others to them."""

    def compose_mapping_node(self, anchor: Any) -> Any:  # noqa: ANN401
        node = super().compose_mapping_node(anchor)
        lines: dict[tuple[str, str], int] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue
            name, line = (key.tag, key.value), key.start_mark.line + 1
            if name in lines:
                raise TwiceError(key.value, lines[name], line)
            lines[name] = line
        return node


def load(text: str) -> Any:  # noqa: ANN401
    """What `yaml.safe_load` gives. TwiceError, a YAMLError, for a key that is there twice."""
    return yaml.load(text, _Loader)
