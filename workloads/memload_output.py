"""What memload (programs/memload.c) prints: a line for each step and its histogram of latencies, or
a line for each kernel of each round. What is not understood, or does not add up, is refused.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from common.errors import OutputsError
from common.metrics import total
from workloads.latencies import Latencies

KERNELS = {"copy": 2, "scale": 2, "add": 3, "triad": 3}
"""Kernel of STREAM -> how many of its arrays it reads or writes."""

PAGE = 4096


@dataclass(frozen=True, eq=False)
class Step:
    """One step. amount: bytes, or touches; 0 for hold. held: bytes after it. latencies: of its
    pages.
    """

    what: str
    amount: int
    seconds: float
    held: int
    latencies: Latencies


def read_steps(text: str, asked: Sequence[tuple[str, int]], where: Path) -> list[Step]:
    """The steps that were asked for, each as (what, amount). OutputsError when they are others, or
    not all of their pages were timed.
    """
    found: list[Step] = []
    for line in _lines(text, where):
        if match := re.fullmatch(
            r"step (\d{1,6}) (grow|hold|touch|release) (\d{1,18}) (\d{1,9}\.\d{6}) (\d{1,18}) (\d{1,18})", line
        ):
            number, what, amount, seconds, held, longest = match.groups()
            if int(number) != len(found) + 1:
                raise _refused(where, f"step {number} comes after {len(found)} others")
            found.append(Step(what, int(amount), float(seconds), int(held), Latencies(int(longest))))
        elif (match := re.fullmatch(r"latency (\d{1,6}) (\d{1,19}) (\d{1,18})", line)) and int(match[1]) == len(found):
            if not found[-1].latencies.add(int(match[2]), int(match[3])):
                raise _refused(where, f"buckets are out of order: {line}")
        else:
            raise _refused(where, line)
    if (did := [(each.what, each.amount) for each in found]) != list(asked):
        raise _refused(where, f"the steps {_names(did)} are not those that were asked for, {_names(asked)}")
    for number, each in enumerate(found, 1):
        wanted = {"grow": each.amount // PAGE, "touch": each.amount}.get(each.what, 0)
        if (timed := each.latencies.counted) != wanted:
            raise _refused(where, f"step {number}, {each.what}, timed {timed} pages instead of {wanted}")
    return found


def read_stream(text: str, size: int, rounds: int, where: Path) -> dict[str, list[float]]:
    """Kernel -> seconds of each round. OutputsError unless every round is there and the arrays
    held what they should.
    """
    found: dict[str, list[float]] = {kernel: [] for kernel in KERNELS}
    checked = None
    for line in _lines(text, where):
        if match := re.fullmatch(r"round (\d{1,6}) (copy|scale|add|triad) (\d{1,9}\.\d{9})", line):
            times = found[match[2]]
            times.append(float(match[3]))
            if int(match[1]) != len(times) or not times[-1]:
                raise _refused(where, line)
        elif (match := re.fullmatch(r"checked (\d{1,18})", line)) and checked is None:
            checked = int(match[1])
        else:
            raise _refused(where, line)
    if checked != size // 8 or any(len(times) != rounds for times in found.values()):
        raise _refused(where, f"{total([len(each) for each in found.values()])} lines of {rounds} rounds")
    return found


def _lines(text: str, where: Path) -> list[str]:
    """What stands between the first line and the last."""
    lines = text.splitlines()
    if len(lines) < 2 or lines[0] != "memload 1" or lines[-1] != "end":
        raise _refused(where, "it does not begin with `memload 1` and end with `end`")
    return lines[1:-1]


def _names(steps: Sequence[tuple[str, int]]) -> str:
    return ", ".join(f"{what} {amount}" for what, amount in steps) or "(none)"


def _refused(where: Path, why: str) -> OutputsError:
    return OutputsError("memload's output has another form than expected", where=str(where), why=why)
