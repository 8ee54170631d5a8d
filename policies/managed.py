"""Policies whose memory a manager in dom0 moves: what they share, and their settings in an
experiment.

A manager's section, such as `qmemman:`, has its module's Parameters, with units. `manager:` is for
all of them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from typing import Annotated, Any, cast, get_type_hints

from pydantic import BaseModel, Field, create_model

from common.fields import Count, Mebibytes, Number, Seconds, Section, Size
from common.units import format_size
from policies import managers
from policies.base import ManagerTuning, Policy

MICROSECONDS = 1_000_000
PUBLISHED_LOOK_S = 0.1
LEAST_GUEST_MIB = 64


class ManagerSection(Section):
    """What holds for every manager."""

    minimum: Annotated[Mebibytes, Field(ge=1)] = Field(
        default=LEAST_GUEST_MIB, description="the least that a manager may leave a guest; 64 MiB by itself"
    )
    look: Annotated[Seconds, Field(ge=PUBLISHED_LOOK_S)] = Field(
        default=PUBLISHED_LOOK_S,
        description="how often guests look at what they report; qmemman's 100 ms by itself, and the least",
    )
    moved: Annotated[Size, Field(ge=4096)] = Field(
        default=30 * 2**20,
        description="guests report when an amount of memory moved by so much; qmemman's 30 MiB by itself",
    )
    stalled: Annotated[Seconds, Field(ge=0.001)] = Field(
        default=0.01, description="and when tasks waited for memory for so long; 10 ms by itself"
    )
    patience: Annotated[Seconds, Field(gt=0)] = Field(
        default=5.0,
        description="a guest that has not moved for so long does not follow its target; squeezed's 5 s by itself",
    )

    def tuning(self) -> ManagerTuning:
        """As policies/apply.py takes it."""
        return ManagerTuning(self.minimum, self.look, self.moved, round(self.stalled * MICROSECONDS), self.patience)


class ManagerSettings(Section):
    """One manager's parameters."""

    def values(self) -> dict[str, Any]:
        """Parameter -> value, in the manager's own units, as JSON has them."""
        raise NotImplementedError


def section(name: str, *, without: Collection[str] = (), **more: Any) -> type[ManagerSettings]:  # noqa: ANN401
    """A manager's Parameters as a section: bytes with their units, times too, the rest numbers.
    without: those that it does not have. more: fields of its own, as pydantic's create_model takes
    them.
    """
    record = managers.get(name).Parameters
    hints = get_type_hints(record)
    found: dict[str, Any] = {}
    for each in _those_of(record, without):
        unit, doc = each.metadata["unit"], each.metadata["doc"]
        hint, default = _field(unit, hints[each.name], each.default)
        if "most" in each.metadata:
            hint = Annotated[hint, Field(le=each.metadata["most"])]
        shown = format_size(default) if unit == "B" else _shown(cast("float", each.default), unit)
        found[each.name] = (hint, Field(default=default, description=f"{doc}; {shown} by itself"))
    base, kind = _base(record, without), f"{name.capitalize()}Settings"
    return cast("type[ManagerSettings]", create_model(kind, __base__=base, **found, **more))


def _shown(default: float, unit: str) -> str:
    """As an experiment may write it."""
    return f"{default / 1000:g} ms" if unit == "µs" else f"{default:g} {unit}".rstrip()


def _those_of(record: type[Any], without: Collection[str]) -> list[dataclasses.Field[Any]]:
    return [each for each in dataclasses.fields(record) if each.name not in without]


def _base(record: type[Any], without: Collection[str]) -> type[ManagerSettings]:
    hints = get_type_hints(record)
    units = {each.name: (each.metadata["unit"], hints[each.name]) for each in _those_of(record, without)}

    class Settings(ManagerSettings):
        def values(self) -> dict[str, Any]:
            own = {key: getattr(self, key) for key in type(self).model_fields if key not in units}
            return {key: _native(getattr(self, key), *units[key]) for key in units} | own

    return Settings


def _native(value: Any, unit: str, hint: type) -> Any:  # noqa: ANN401  a number of either kind
    if unit == "µs":
        return round(value * MICROSECONDS)
    return hint(value)


def _field(unit: str, hint: type, default: Any) -> tuple[Any, Any]:  # noqa: ANN401  a number of either kind
    """The type of a field of an experiment, and its default there."""
    if unit == "B":
        return Annotated[Size, Field(ge=0)], default
    if unit == "µs":
        return Annotated[Seconds, Field(ge=0)], default / MICROSECONDS
    if unit == "s":
        # what a manager counts in whole seconds has to be that
        return (
            Annotated[Seconds, Field(gt=0)] if hint is float else Annotated[Seconds, Field(ge=0, multiple_of=1)]
        ), float(default)
    return (Annotated[Number, Field(ge=0)] if hint is float else Annotated[Count, Field(ge=0)]), default


def policy(name: str, summary: str, *, settings: type[ManagerSettings] | None = None, **more: Any) -> Policy:  # noqa: ANN401
    """The policy of a manager: guests start with an even share of the host, and the manager moves
    it from the release on, within their bounds. more: fields of Policy that are otherwise.
    """
    parameters: Mapping[str, type[BaseModel]] = {name: settings or section(name), "manager": ManagerSection}
    fields = {"start": "share", "moves": True, "gates": ("overcommitted", "manager_decided"), **more}
    return Policy(name, summary, manager=name, parameters=parameters, **fields)
