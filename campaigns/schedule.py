"""When loads start: so long after the release, or after the end of other guests' loads."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Start:
    """When a guest's load starts. delay_s: after the release or, where there are any, after the end
    of the last of the guests in `after`.
    """

    delay_s: float = 0.0
    after: Collection[str] = ()

    @property
    def at_once(self) -> bool:
        return not self.delay_s and not self.after

    def due_s(self, ends: Mapping[str, float], released_s: float = 0.0) -> float:
        """Seconds from the release of all to its time. ends: of the guests that it comes after;
        released_s: of its own guest.
        """
        return self.delay_s + max((ends[each] for each in self.after), default=released_s)


def ends(starts: Mapping[str, Start], lasts: Mapping[str, float]) -> dict[str, float]:
    """Guest -> seconds from the release to its load's end, when each load lasts so many seconds.
    ValueError when guests wait for one another, so that none would start.
    """
    found: dict[str, float] = {}
    while len(found) < len(starts):
        ready = [
            name for name, start in starts.items() if name not in found and all(each in found for each in start.after)
        ]
        if not ready:
            raise ValueError(f"{', '.join(sorted(starts.keys() - found.keys()))} wait for one another")
        found |= {name: starts[name].due_s(found) + lasts[name] for name in ready}
    return found
