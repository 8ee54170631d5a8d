"""Setting the guests' clocks by dom0's, once, before a snapshot is taken.

A paravirtual guest reads Xen's wall clock when it boots, and then counts timer ticks until its real clock source is up; when every
instruction is emulated, seconds of ticks are lost in between. Afterwards its clock runs at Xen's rate, so one correction holds.
A machine is asked through one session that echoes its time per line; the exchange with the shortest round trip counts, as in NTP.
"""

from __future__ import annotations

import shlex
import subprocess
import time

from common.errors import LabError
from lab.machines import DOM0, Connections, UnreachableError

EXCHANGES = 6
PASSES = 5
TOLERANCE_S = 0.1
"""Offset between a guest and dom0 that is left alone. A round trip takes some 10 ms where nothing else runs."""

_PROGRAM = r"""
$| = 1;
sub now { my $t = pack("q2", 0, 0); syscall(228, 0, $t); my ($s, $n) = unpack("q2", $t); return $s * 1000000000 + $n }
while (<STDIN>) {
    if (/^now/) { my $t = now(); printf "%d.%09d\n", $t / 1000000000, $t % 1000000000 }
    if (/^shift (-?\d+)/) { my $t = now() + $1; print syscall(227, 0, pack("q2", int($t / 1000000000), $t % 1000000000)), "\n" }
}
"""
"""Perl for a machine (it is in every Debian): tells or shifts the real-time clock, by the system calls clock_gettime (228) and clock_settime
(227) of x86-64, because starting a program for each would take longer than what is measured. `shift` has nanoseconds."""


class _Session:
    def __init__(self, connections: Connections, machine: str) -> None:
        connections.open(machine)
        command = ["ssh", "-F", str(connections.config), machine, f"perl -e {shlex.quote(_PROGRAM)}"]
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
            session = sessions[name] = _Session(connections, name)
            for _ in range(PASSES):
                reference, mine = dom0.offset(), session.offset()
                found[name] = (mine[0] - reference[0], mine[1] + reference[1])
                if not correct or abs(found[name][0]) <= TOLERANCE_S / 4:
                    break
                session.ask(f"shift {round(-found[name][0] * 1e9)}")
        return found
    finally:
        for session in (dom0, *sessions.values()):
            session.close()
