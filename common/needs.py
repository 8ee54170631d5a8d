"""What guests need beyond what every lab has: their loads of their image, and what they boot.
Workloads and experiments declare it, the lab builds it, and neither knows of the other.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Needs:
    """packages: names of Debian's packages. programs: of workloads/programs, compiled there.
    kernels: that guests boot (lab/kernels.py); none: whatever a lab's guests boot by default. All
    sorted, so that the same needs are equal.
    """

    packages: tuple[str, ...] = ()
    programs: tuple[str, ...] = ()
    kernels: tuple[str, ...] = ()

    @property
    def of_image(self) -> bool:
        """Whether the guests' image has to have anything more."""
        return bool(self.packages or self.programs)


NOTHING = Needs()


def together(several: Iterable[Needs]) -> Needs:
    """What satisfies all of them, and no more."""
    found = list(several)
    packages = {name for each in found for name in each.packages}
    programs = {name for each in found for name in each.programs}
    kernels = {name for each in found for name in each.kernels}
    return Needs(tuple(sorted(packages)), tuple(sorted(programs)), tuple(sorted(kernels)))
