"""`balloon`: targets that are set by hand, as a schedule of an experiment, which can be a factor.

    balloon:
      schedule: 0 s 120 MiB, 60 s guest1 220 MiB, 120 s guest1 120 MiB

A step is a time from the release on, a guest (all of them where none is named) and its memory. The
rules are policies/managers/balloon.py.
"""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import Field, field_validator

from common.fields import Seconds
from common.units import parse_duration, parse_size
from policies.managed import ManagerSettings, policy

_STEP = re.compile(r"(\d[\d.]*\s*[a-z]+)\s+(?:guest([1-9]\d*)\s+)?(\d[\d.]*\s*[KMGT]iB)")


def steps(text: str) -> list[dict[str, int]]:
    """The steps of a schedule, in the order of time: at [ms], number of the guest (0: all), target
    [B]. ValueError, saying what a step is.
    """
    found = []
    for part in filter(None, (each.strip() for each in text.split(","))):
        match = _STEP.fullmatch(part)
        if not match:
            raise ValueError(f"{part!r} is no step: TIME [GUEST] MEMORY, such as `60 s guest1 220 MiB`")
        at, number, target = match.groups()
        found.append({"at": round(parse_duration(at) * 1000), "number": int(number or 0), "target": parse_size(target)})
    return sorted(found, key=lambda step: step["at"])


class BalloonSettings(ManagerSettings):
    """The schedule, and how often it is looked at."""

    schedule: str = Field(
        default="", description="steps TIME [GUEST] MEMORY with commas between them; the last that has begun holds"
    )
    every: Annotated[Seconds, Field(gt=0)] = Field(default=1.0, description="how often it is looked at; 1 s by itself")

    @field_validator("schedule")
    @classmethod
    def _steps(cls, text: str) -> str:
        steps(text)
        return text

    def values(self) -> dict[str, Any]:
        """As the manager takes them."""
        return {"schedule": steps(self.schedule), "every": self.every}


POLICY = policy(
    "balloon",
    "every guest has what a schedule says (balloon.schedule), and before its first step an even share",
    settings=BalloonSettings,
)
