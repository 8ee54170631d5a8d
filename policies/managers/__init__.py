"""Every manager by its name, which is that of its module. A new one is a module and a line here
(policies/README.md).

This folder runs in dom0, too: Python 3.11 and its standard library, nothing else of the testbed,
under any name.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any, Protocol, cast, get_args, get_origin, get_type_hints

from .base import Decision, Seen

MOST_REST = 10.0
"""The longest time between two decisions that one of these managers has by itself."""

_NAMES = (
    "qmemman",
    "squeezed",
    "mom",
    "proxmox",
    "psi",
    "hotplug",
    "collaborative",
    "smartmem",
    "balloon",
)


class Manager(Protocol):
    """What a manager's module holds.

    FORMS: the records that it takes as a state. The first is the usual one; a state is of another
    form when it has that form's first field. Parameters: its constants, documented, of which
    `every` is the seconds between two decisions. PUBLISHED: the values that its makers use.
    COUNTERS: what guests report, by Linux's own words (the keys of lab/counters/names.py).
    ON_REPORT: whether a report makes it decide earlier.

    A module may also have `worth_acting(state, decision, parameters)`: whether the daemon is to
    carry a decision out; without it, every decision is. And `rests(state, parameters)`: for how
    many seconds the same would be decided again, if no guest reports meanwhile; without it, a
    decision is made every `every` seconds.
    """

    FORMS: tuple[type, ...]
    Parameters: type
    PUBLISHED: Any
    COUNTERS: tuple[str, ...]
    ON_REPORT: bool

    def state(self, seen: Seen, parameters: Any = ..., /) -> Any:  # noqa: ANN401  each manager has its own
        """The state that the daemon has before it, of the first of FORMS. Pure, and total: guests
        report anything.
        """

    def decide(self, state: Any, parameters: Any = ..., /) -> Decision:  # noqa: ANN401
        """The decision on a state. Pure, and total: whatever numbers of 64 bits are in it, no
        error, nothing below 0 of the first of FORMS, which is the daemon's.
        """


def names() -> tuple[str, ...]:
    """The names of all managers."""
    return _NAMES


def get(name: str) -> Manager:
    """A manager's module. ModuleNotFoundError when there is none of that name."""
    return cast("Manager", importlib.import_module(f".{name}", __package__))


def worth_acting(manager: Manager, state: Any, decision: Decision, parameters: Any) -> bool:  # noqa: ANN401
    """Whether the daemon is to carry out a decision that a manager made."""
    says = getattr(manager, "worth_acting", None)
    return True if says is None else bool(says(state, decision, parameters))


def rests(manager: Manager, state: Any, parameters: Any) -> float:  # noqa: ANN401
    """Seconds for which a manager that changed nothing is not to be asked again, but for reports.
    Bounded, since guests come and go, and reports get old.
    """
    says = getattr(manager, "rests", None)
    return 0.0 if says is None else min(float(says(state, parameters)), MOST_REST)


def parameters(name: str, given: Mapping[str, Any]) -> Any:  # noqa: ANN401  each manager has its own
    """A manager's parameters, of the values for some of them as JSON has them. TypeError,
    ValueError or KeyError: they are none of its.
    """
    return _filled(get(name).Parameters, given)


def _filled(record: type, given: Mapping[str, Any]) -> Any:  # noqa: ANN401  of type `record`
    assert is_dataclass(record)
    hints = get_type_hints(record)
    values: dict[str, Any] = {}
    for each in fields(record):
        if each.name not in given:
            continue
        hint = hints[each.name]
        if get_origin(hint) is tuple:
            values[each.name] = tuple(_filled(get_args(hint)[0], item) for item in given[each.name])
        else:
            values[each.name] = hint(given[each.name])
    if unknown := given.keys() - values.keys():
        raise KeyError(f"no parameters: {', '.join(sorted(unknown))}")
    return record(**values)


def plain(state: Any) -> dict[str, Any]:  # noqa: ANN401  a record of one of FORMS
    """A state as JSON has it. (dataclasses.asdict takes most of an idle daemon's time.)"""
    return {
        key: [dict(vars(each)) for each in value] if isinstance(value, tuple) else value
        for key, value in vars(state).items()
    }


def written(decision: Decision) -> dict[str, Any]:
    """A decision as JSON has it."""
    found = {key: value for key, value in vars(decision).items() if value is not None}
    return {key: [list(pair) for pair in pairs] for key, pairs in found.items()}
