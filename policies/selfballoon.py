"""`selfballoon`: every guest follows its own need, up to its maximum, by the driver's
self-ballooning (tmem/linux/README.md).

A goal follows from what its processes have committed (Committed_AS); each interval the balloon goes
a part of the way.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, field_validator

from common.fields import Count, Mebibytes, Seconds, Section
from policies.base import Policy


class SelfballoonParameters(Section):
    """The driver's settings, named as in sysfs without the prefix `selfballoon_`. None: what the
    driver has by itself.
    """

    interval: Annotated[Seconds, Field(ge=1)] | None = Field(
        default=None, description="whole seconds between two steps; 5 s by itself"
    )
    downhysteresis: Annotated[Count, Field(ge=1)] | None = Field(
        default=None, description="a step down is this part of the way to the goal; 8 by itself"
    )
    uphysteresis: Annotated[Count, Field(ge=1)] | None = Field(
        default=None, description="a step up, likewise; 1 by itself"
    )
    min_usable: Mebibytes | None = Field(
        default=None, description="least memory left to the page allocator; 0: by the guest's size"
    )
    reserved: Mebibytes | None = Field(default=None, description="added to the goal; 10 % of the RAM by itself")
    frontswap_hysteresis: Annotated[Count, Field(ge=1)] | None = Field(
        default=None, description="a step of self-shrinking is this part of what frontswap holds; 20 by itself"
    )
    frontswap_inertia: Annotated[Count, Field(ge=1)] | None = Field(
        default=None, description="intervals that frontswap has to be at rest before it is shrunk; 3 by itself"
    )

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


POLICY = Policy(
    "selfballoon",
    "every guest balloons to what its processes have committed, up to its maximum",
    start="share",
    moves=True,
    module={"selfballooning": True},
    at_release={"selfballooning": 1},
    gates=("overcommitted", "memory_moved"),
    parameters={"selfballoon": SelfballoonParameters},
)
