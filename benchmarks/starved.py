#!/usr/bin/env python3
"""From which share of the processor time that it asks for an emulated host's times are its own: the
same load in all guests, alone and beside other work of this machine.

    .venv/bin/python benchmarks/starved.py [--inventory inventory/emulated.yml] [--seconds 20]
    [--within 0.1] [--json FILE]

Each round, the guests count, start programs and read files until the same work is done. Beside it
run as many programs as the round says that keep a processor busy for that part of the time. The
first and the last rounds are alone: what they differ by is what this machine makes of the same
work, and the result means nothing when that is not well within the bound. A round that has not
ended after eight times as long is a row that says so. Prints Markdown, and the smallest share from
which on all rounds took at most so much longer than alone: what ENOUGH in lab/emulator/share.py
stands for. Needs a quiet machine, and takes about six minutes, three more when a round does not
end.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from campaigns.barrier import RunTimeoutError, in_parallel  # noqa: E402  (found by the line above)
from common.errors import LabError, UserError  # noqa: E402
from common.machines import Machine  # noqa: E402
from lab import lifecycle  # noqa: E402
from lab.emulator import share  # noqa: E402
from lab.hosts.host import XenHost  # noqa: E402
from lab.lifecycle import DEFAULT_GUESTS, DEFAULT_HOST  # noqa: E402

ROUNDS = ((0, 0.0), (1, 0.25), (1, 0.5), (1, 1.0), (2, 0.5), (2, 1.0), (4, 1.0), (0, 0.0))
"""Programs beside the host, and the part of the time that each is busy."""

MOST_S = 330.0
"""After so long no further round but the last, alone, is begun."""

LIMIT = 8.0
"""Of the seconds that a round takes alone: what is not done by then is not waited for."""

WORK = """\
n=0
while [ $n -lt {times} ]; do
    i=0; while [ $i -lt 2000 ]; do i=$((i + 1)); done
    /bin/true
    cat /etc/services /bin/sh > /dev/null 2>&1
    n=$((n + 1))
done
"""
"""A shell that counts, a process that starts and ends, files that are in memory: nearly all of a
build's time is such."""

BUSY = """
import sys, time
part = float(sys.argv[1])
while True:
    end = time.monotonic() + 0.1 * part
    while time.monotonic() < end:
        pass
    time.sleep(0.1 * (1 - part))
"""


@dataclass(frozen=True)
class Round:
    """What one round took. programs, busy: beside it; share: of the processor time that the host
    asked for, what it got; ratio: its seconds by those alone. ended: whether the work was done by
    then; if not, seconds and ratio are less than what it takes.
    """

    programs: int
    busy: float
    seconds: float
    share: float
    ended: bool
    ratio: float


def threshold(rounds: Sequence[Round], within: float) -> float | None:
    """The smallest share that was seen from which on every round is within the bound; None when
    not even the largest is.
    """
    found = None
    for each in sorted(rounds, key=lambda each: -each.share):
        if each.ratio > 1 + within:
            break
        found = each.share
    return found


def finished(measured: Sequence[tuple[int, float, float, float, bool]]) -> list[Round]:
    """Rounds with their ratios, from (programs, busy, seconds, share, ended); the mean of those
    alone is 1.
    """
    alone = [seconds for programs, _, seconds, _, _ in measured if not programs]
    usual = sum(alone) / len(alone)
    return [Round(*each, each[2] / usual) for each in measured]


def noise(rounds: Sequence[Round]) -> float:
    """By how much the rounds that were alone differ, as a fraction."""
    alone = [each.ratio for each in rounds if not each.programs]
    return max(alone) - min(alone)


@contextlib.contextmanager
def beside(programs: int, busy: float) -> Iterator[None]:
    """So many programs, for as long as this lasts."""
    started = [subprocess.Popen([sys.executable, "-c", BUSY, str(busy)]) for _ in range(programs)]
    try:
        yield
    finally:
        for each in started:
            each.kill()
            each.wait()


def work(machines: Mapping[str, Machine], times: int, limit_s: float) -> float:
    """Do the work in all guests at once; seconds until the last has done it. RunTimeoutError when
    that takes longer than the limit.
    """
    began = time.monotonic()
    in_parallel(machines, lambda _, machine: machine["sh"]["-c", WORK.format(times=times)](), limit_s=limit_s)
    return time.monotonic() - began


def measure(host: XenHost, seconds: float) -> list[tuple[int, float, float, float, bool]]:
    """All rounds, each of as much work as takes so long alone."""
    limit_s = LIMIT * seconds
    times = 0
    found: list[tuple[int, float, float, float, bool]] = []
    began = time.monotonic()
    for number, (programs, busy) in enumerate(ROUNDS):
        if number < len(ROUNDS) - 1 and time.monotonic() - began > MOST_S - 2 * seconds:
            continue
        if not found or not found[-1][-1]:  # the first round, or guests that are still at the last one
            host.reset(DEFAULT_HOST, DEFAULT_GUESTS)
            machines = {name: guest.machine for name, guest in host.guests.items()}
            work(machines, 20, limit_s)  # what is read is in memory then
        times = times or max(20, round(100 * seconds / work(machines, 100, limit_s)))
        with beside(programs, busy):
            before = host.given()
            took, ended = limit_s, False
            with contextlib.suppress(RunTimeoutError):
                took, ended = work(machines, times, limit_s), True
            after = host.given()
        if before is None or after is None or (got := share.between(before, after).share) is None:
            raise LabError("what this machine gave the host cannot be read", where=host.name, why="no schedstat")
        found.append((programs, busy, took, got, ended))
        print(
            f"{programs} programs, busy {busy:.0%}: {_at_least(took, ended, '.1f')} s, share {got:.3f}", file=sys.stderr
        )
    return found


def _at_least(value: float, ended: bool, form: str) -> str:
    return f"{'' if ended else 'over '}{value:{form}}"


def report(rounds: Sequence[Round], within: float) -> str:
    """Markdown, and what follows."""
    lines = ["| programs beside | each busy | seconds | by those alone | share got |", "|---|---|---|---|---|"]
    lines += [
        f"| {each.programs} | {each.busy:.0%} | {_at_least(each.seconds, each.ended, '.1f')} "
        f"| {_at_least(each.ratio, each.ended, '.2f')} | {each.share:.3f} |"
        for each in rounds
    ]
    found = threshold(rounds, within)
    said = f"shares from {found:.2f} on keep" if found is not None else "no share that was seen keeps"
    lines += ["", f"{said} times within {within:.0%}; now {share.ENOUGH:g} are wanted."]
    if (differ := noise(rounds)) > within / 2:
        lines.append(f"This machine was not quiet: alone, the same work differed by {differ:.0%}.")
    return "\n".join(lines)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inventory", type=Path, default=lifecycle.DEFAULT_INVENTORY)
    parser.add_argument("--seconds", type=float, default=20.0, help="that a round takes alone")
    parser.add_argument("--within", type=float, default=0.1, help="what times may be longer, as a fraction")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with lifecycle.open_lab(options.inventory, progress=lambda text: print(text, file=sys.stderr)) as lab:
        host = lab.hosts[0]
        rounds = finished(measure(host, options.seconds))
    print(report(rounds, options.within))
    if options.json:
        options.json.write_text(json.dumps([asdict(each) for each in rounds], indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)
