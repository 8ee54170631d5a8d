"""Metrics: what a workload or a cell yields, with units, so that no figure travels without one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

STRICT = {"extra": "forbid", "strict": True, "allow_inf_nan": False}
"""pydantic's configuration of the records that results/ holds: refused, never converted."""

Better = Literal["lower", "higher", "neither"]


@dataclass(frozen=True)
class MetricSpec:
    """A metric as it is declared: its name, its unit, which direction is better, and what it means."""

    __pydantic_config__ = STRICT

    name: str
    unit: str
    better: Better
    doc: str


@dataclass(frozen=True)
class Metric:
    """A metric as it was measured. `value` is None when it could not be read: never 0 in its place.

    guest: the guest it belongs to; None for a metric of the host.
    """

    __pydantic_config__ = STRICT

    name: str
    unit: str
    value: float | int | None
    guest: str | None = None
