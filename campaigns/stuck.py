"""Whether a run is stuck: by what its guests do, not by a clock.

A run that takes longer than was expected is looked at. While a guest's vCPUs work, its disks move
sectors or its output grows, it gets on, however slowly. Guests of which nothing has moved for
STILL_S are stuck, and a run all of whose guests at work are is ended. A guest whose load has yet to
start stands still rightly.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from common import bounded
from common.errors import LabError
from common.machines import Machine, command_errors
from lab.api import Activity
from lab.remote import scripts

LOOK_S = 30.0
"""Between looks: each costs dom0 and a guest half a second of an emulated CPU, so nothing is
looked at before a run is late.
"""

LATE_FACTOR = 2.0
LATE_S = 120.0
"""A run is late when it has taken so many times what was expected, and so long at least."""

STILL_S = 180.0
BUSY = 0.05
"""Share of one processor. A kernel that idles, and the sampler in it, take less."""


class StuckError(LabError):
    """Nothing moves any more in the guests that have not ended."""


@dataclass(frozen=True)
class Look:
    """What guests at work had done at a time. output: guest -> bytes that its workload has written;
    what could not be read is not there.
    """

    time: float
    activity: Mapping[str, Activity]
    output: Mapping[str, int]


def still(looks: Sequence[Look], guest: str) -> bool:
    """Whether nothing of a guest has moved over the last STILL_S of looks. What was not readable
    at both ends does not count as still.
    """
    if not looks:
        return False
    last = looks[-1]
    since = next((look for look in reversed(looks) if last.time - look.time >= STILL_S), None)
    if since is None:
        return False
    was, now = since.activity.get(guest), last.activity.get(guest)
    if was is None or now is None:
        return False
    worked = now.cpu_seconds - was.cpu_seconds
    written = last.output.get(guest, 0) != since.output.get(guest, 0)
    return worked < BUSY * (last.time - since.time) and now.sectors == was.sectors and not written


@dataclass
class Watch:
    """Looks at a run, and ends it when it is stuck. activity: asks dom0; machines: the guests;
    folder: what a workload writes to.
    """

    activity: Callable[[], Mapping[str, Activity]]
    machines: Mapping[str, Machine]
    folder: str
    expected_s: float
    clock: Callable[[], float] = time.monotonic
    looks: list[Look] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._began = self.clock()

    def __call__(self, working: Collection[str]) -> None:
        """StuckError when none of these guests gets on. Does nothing before the run is late."""
        now = self.clock()
        if now - self._began < max(LATE_S, LATE_FACTOR * self.expected_s):
            return
        with suppress(LabError, *command_errors(OSError)):  # a look that fails is none
            seen = {name: done for name, done in self.activity().items() if name in working}
            self.looks.append(Look(now, seen, self._outputs(working)))
        if working and all(still(self.looks, guest) for guest in working):
            names = ", ".join(working)
            raise StuckError(
                f"{names} stopped getting on: for {STILL_S:.0f} s neither vCPU time nor disks nor output moved",
                where=names,
                why="; ".join(_told(self.looks[-1], guest) for guest in working),
                remedy="raw/kernel_log/ and the guests' consoles in dom0 may say why",
            )

    def _outputs(self, guests: Collection[str]) -> dict[str, int]:
        found = {}
        for guest in guests:
            command = self.machines[guest]["/bin/sh"]["-c", scripts.command("output-size.sh", self.folder)]
            process = command.popen(stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            with suppress(subprocess.TimeoutExpired, bounded.TooMuchError, ValueError):
                found[guest] = int(bounded.communicate(process, seconds=LOOK_S, most=bounded.LAST_WORDS)[0])
        return found


def _told(look: Look, guest: str) -> str:
    done = look.activity[guest]
    return (
        f"{guest}: {done.cpu_seconds:.1f} s of vCPU time, {done.sectors} "
        f"sectors, {look.output.get(guest, 0)} B of output so far"
    )
