"""Every manager by its name, which is that of its module. A new one is a module and a line here
(policies/README.md).

This folder runs in dom0, too: Python 3.11 and its standard library, nothing else of the testbed,
under any name.
"""

from __future__ import annotations

import importlib
from typing import Any, Protocol, cast

from .base import Decision

_NAMES = (
    "qmemman",
    "squeezed",
    "mom",
    "proxmox",
    "psi",
    "collaborative",
    "smartmem",
)


class Manager(Protocol):
    """What a manager's module holds.

    FORMS: the records that it takes as a state. The first is the usual one; a state is of another
    form when it has that form's first field. Parameters: its constants, documented. PUBLISHED: the
    values that its makers use.
    """

    FORMS: tuple[type, ...]
    Parameters: type
    PUBLISHED: Any

    def decide(self, state: Any, parameters: Any = ..., /) -> Decision:  # noqa: ANN401  each manager has its own
        """The decision on a state. Pure, and total: whatever numbers of 64 bits are in it, no
        error, nothing below 0.
        """


def names() -> tuple[str, ...]:
    """The names of all managers."""
    return _NAMES


def get(name: str) -> Manager:
    """A manager's module. ModuleNotFoundError when there is none of that name."""
    return cast("Manager", importlib.import_module(f".{name}", __package__))
