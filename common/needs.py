"""What a load needs on its machine beyond what every guest's image has. Workloads declare it, the
lab builds images of it, and neither knows of the other.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Needs:
    """packages: names of Debian's packages. programs: of workloads/programs, compiled there. Both
    sorted, so that the same needs are equal.
    """

    packages: tuple[str, ...] = ()
    programs: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        """Whether anything is needed at all."""
        return bool(self.packages or self.programs)


NOTHING = Needs()


def together(several: Iterable[Needs]) -> Needs:
    """What satisfies all of them, and no more."""
    found = list(several)
    packages = {name for each in found for name in each.packages}
    programs = {name for each in found for name in each.programs}
    return Needs(tuple(sorted(packages)), tuple(sorted(programs)))
