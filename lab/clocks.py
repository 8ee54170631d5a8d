"""Setting the guests' clocks by dom0's, once, before a snapshot is taken.

A paravirtual guest reads Xen's wall clock when it boots, and then counts timer ticks until its real clock source is up; when every
instruction is emulated, seconds of ticks are lost in between. Afterwards its clock runs at Xen's rate, so one correction holds.
A machine is asked through one session that echoes its time per line; the exchange with the shortest round trip counts, as in NTP.
"""

from __future__ import annotations

import subprocess
import time

from common.errors import LabError
from lab.machines import DOM0, Connections, UnreachableError

EXCHANGES = 6
PASSES = 3
TOLERANCE_S = 0.1
"""Offset between a guest and dom0 that is left alone. A round trip takes some 50 ms of an emulated host."""

_ANSWER = "while read -r word shift; do case $word in now) date +%s.%N ;; shift) date -s @$(awk -v now=$(date +%s.%N) -v by=$shift 'BEGIN { printf \"%.6f\", now + by }') > /dev/null; echo set ;; esac; done"


class _Session:
    def __init__(self, connections: Connections, machine: str) -> None:
        connections.open(machine)
        command = ["ssh", "-F", str(connections.config), machine, _ANSWER]
        self._machine = machine
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, bufsize=1
        )

    def ask(self, line: str) -> str:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(line + "\n")
            answer = self._process.stdout.readline().strip()
        except OSError as error:
            raise UnreachableError("a machine stopped answering", where=self._machine, why=str(error)) from error
        if not answer:
            raise UnreachableError("a machine stopped answering", where=self._machine)
        return answer

    def offset(self) -> tuple[float, float]:
        """Seconds by which the machine's clock is ahead of the controller's, and the round trip of the exchange that says so."""
        found = []
        for _ in range(EXCHANGES):
            before = time.time()
            told = float(self.ask("now"))
            after = time.time()
            found.append((after - before, told - (before + after) / 2))
        round_trip, offset = min(found)
        return offset, round_trip

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()


def offsets(connections: Connections, guests: list[str]) -> dict[str, float]:
    """Seconds by which each guest's clock is ahead of dom0's; uncertain by half of two round trips."""
    return {name: value for name, (value, _) in _measure(connections, guests, correct=False).items()}


def synchronise(connections: Connections, guests: list[str]) -> dict[str, float]:
    """Set the guests' clocks by dom0's. Returns what is left, in seconds. LabError when a guest's clock will not be set."""
    left = _measure(connections, guests, correct=True)
    for name, (value, round_trip) in left.items():
        if abs(value) > TOLERANCE_S + round_trip:
            raise LabError(f"the clock of {name} is {value:.2f} s from dom0's and cannot be set", where=name)
    return {name: round(value, 3) for name, (value, _) in left.items()}


def _measure(connections: Connections, guests: list[str], *, correct: bool) -> dict[str, tuple[float, float]]:
    dom0 = _Session(connections, DOM0)
    sessions: dict[str, _Session] = {}
    try:
        found: dict[str, tuple[float, float]] = {}
        for name in guests:
            sessions[name] = _Session(connections, name)
            correction = 0.0
            for _ in range(PASSES if correct else 1):
                reference, mine = dom0.offset(), sessions[name].offset()
                found[name] = (mine[0] - reference[0], mine[1] + reference[1])
                if not correct or abs(found[name][0]) <= TOLERANCE_S / 4:
                    break
                # Setting takes the time of two programs, by which the clock is late afterwards: the next pass adds that, too.
                correction = -found[name][0] if correction == 0.0 else -2 * found[name][0]
                sessions[name].ask(f"shift {correction:.6f}")
            else:
                if correct:
                    reference, mine = dom0.offset(), sessions[name].offset()
                    found[name] = (mine[0] - reference[0], mine[1] + reference[1])
        return found
    finally:
        for session in (dom0, *sessions.values()):
            session.close()
