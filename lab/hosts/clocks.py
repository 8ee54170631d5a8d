"""Setting the guests' clocks by dom0's, once, before a snapshot is taken.

A paravirtual guest reads Xen's wall clock when it boots, and then counts timer ticks until its real
clock source is up; when every instruction is emulated, seconds of ticks are lost in between.
Afterwards its clock runs at Xen's rate, so one correction holds. The exchange with the shortest
round trip counts, as in NTP.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from common.errors import LabError
from lab.remote.agents import LINUX_COMMAND, Agent
from lab.remote.ssh import DOM0, Connections

EXCHANGES = 6
PASSES = 5
TOLERANCE_S = 0.1
"""Offset between a guest and dom0 that is left alone. A round trip takes some 10 ms where nothing
else runs.
"""


def offsets(connections: Connections, guests: Sequence[str]) -> dict[str, float]:
    """Seconds by which each guest's clock is ahead of dom0's; uncertain by half of two round
    trips.
    """
    return {name: value for name, (value, _) in _measure(connections, guests, correct=False).items()}


def synchronise(connections: Connections, guests: Sequence[str]) -> dict[str, float]:
    """Set the guests' clocks by dom0's. Returns what is left, in seconds. LabError when a guest's
    clock will not be set.
    """
    left = _measure(connections, guests, correct=True)
    for name, (value, round_trip) in left.items():
        if abs(value) > TOLERANCE_S + round_trip:
            raise LabError(f"the clock of {name} is {value:.2f} s from dom0's and cannot be set", where=name)
    return {name: round(value, 3) for name, (value, _) in left.items()}


def _measure(connections: Connections, guests: Sequence[str], *, correct: bool) -> dict[str, tuple[float, float]]:
    """Guest -> offset to dom0 and the round trips that it took to learn it, both in seconds."""
    agents = [Agent(connections, DOM0, LINUX_COMMAND)]
    try:
        found: dict[str, tuple[float, float]] = {}
        for name in guests:
            agents.append(Agent(connections, name, LINUX_COMMAND))
            for _ in range(PASSES):
                reference, mine = _offset(agents[0]), _offset(agents[-1])
                found[name] = (mine[0] - reference[0], mine[1] + reference[1])
                if not correct or abs(found[name][0]) <= TOLERANCE_S / 4:
                    break
                agents[-1].ask(f"shift {round(-found[name][0] * 1e9)}")
        return found
    finally:
        for agent in agents:
            agent.close()


def _offset(agent: Agent) -> tuple[float, float]:
    """Seconds by which a machine's clock is ahead of the controller's, and the round trip of the
    exchange that says so.
    """
    found = []
    for _ in range(EXCHANGES):
        before = time.time()
        told = float(agent.ask("now")[0])
        after = time.time()
        found.append((after - before, told - (before + after) / 2))
    round_trip, offset = min(found)
    return offset, round_trip
