"""`selfballoon`: every guest follows its own need, up to its maximum, by the driver's self-ballooning (tmem/linux/README.md).

A goal follows from what its processes have committed (Committed_AS); each interval the balloon goes a part of the way.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, field_validator

from common.fields import Count, Mebibytes, Seconds, Section
from policies.base import Policy

POLICY = Policy(
    "selfballoon",
    "every guest balloons to what its processes have committed, up to its maximum",
    start="share",
    moves=True,
    module={"selfballooning": True},
    at_release={"selfballooning": 1},
    gates=("overcommitted", "memory_moved"),
)


class SelfballoonParameters(Section):
    """The driver's settings, named as in sysfs without the prefix `selfballoon_`. None: what the driver has by itself."""

    interval: Annotated[Seconds, Field(ge=1)] | None = None
    downhysteresis: Annotated[Count, Field(ge=1)] | None = None
    uphysteresis: Annotated[Count, Field(ge=1)] | None = None
    min_usable: Mebibytes | None = None
    reserved: Mebibytes | None = None
    frontswap_hysteresis: Annotated[Count, Field(ge=1)] | None = None
    frontswap_inertia: Annotated[Count, Field(ge=1)] | None = None

    @field_validator("interval")
    @classmethod
    def _whole(cls, seconds: float | None) -> float | None:
        if seconds is not None and seconds != int(seconds):
            raise ValueError(f"{seconds:g} s is no whole number of seconds")
        return seconds

    def settings(self) -> dict[str, int]:
        """Name in sysfs -> value, in the driver's units."""
        named = {
            "selfballoon_interval": self.interval,
            "selfballoon_downhysteresis": self.downhysteresis,
            "selfballoon_uphysteresis": self.uphysteresis,
            "selfballoon_min_usable_mb": self.min_usable,
            "selfballoon_reserved_mb": self.reserved,
            "frontswap_hysteresis": self.frontswap_hysteresis,
            "frontswap_inertia": self.frontswap_inertia,
        }
        return {name: int(value) for name, value in named.items() if value is not None}
