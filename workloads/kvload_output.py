"""What kvload (programs/kvload.c) prints of a run: how many requests in how long, and a histogram
for reads and one for writes. What is not understood, or does not add up, is refused.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from common.errors import OutputsError
from workloads.latencies import Latencies

_SHAPE = re.compile(
    r"kvload 1\nrequests (?P<requests>\d{1,18}) (?P<seconds>\d{1,9}\.\d{6})\n"
    r"get (?P<gets>\d{1,18}) (?P<hits>\d{1,18}) (?P<get_longest>\d{1,18})\n"
    r"set (?P<sets>\d{1,18}) (?P<set_longest>\d{1,18})\n"
    r"(?P<latencies>(?:latency (?:get|set) \d{1,19} \d{1,18}\n)*)end\n"
)


@dataclass(frozen=True)
class Run:
    """One run. gets, sets: latencies of reads and writes."""

    requests: int
    seconds: float
    hits: int
    gets: Latencies
    sets: Latencies


def read_run(text: str, requests: int, where: Path) -> Run:
    """The run, of so many requests. OutputsError when it is another, or its figures do not fit
    together.
    """
    match = _SHAPE.fullmatch(text)
    if match is None:
        raise _refused(where, "\n".join(text.splitlines()[:5]) or "nothing was written")
    run = Run(
        int(match["requests"]),
        float(match["seconds"]),
        int(match["hits"]),
        Latencies(int(match["get_longest"])),
        Latencies(int(match["set_longest"])),
    )
    for line in match["latencies"].splitlines():
        _, kind, bound, count = line.split()
        if not (run.gets if kind == "get" else run.sets).add(int(bound), int(count)):
            raise _refused(where, f"buckets are out of order: {line}")
    if (run.gets.counted, run.sets.counted) != (int(match["gets"]), int(match["sets"])):
        raise _refused(where, f"{run.gets.counted} reads and {run.sets.counted} writes were timed, others counted")
    if run.requests != requests or run.gets.counted + run.sets.counted != requests or run.hits > run.gets.counted:
        raise _refused(where, f"{run.requests} requests instead of {requests}, or not all of them timed")
    if not run.seconds:
        raise _refused(where, "the requests took no time")
    return run


def _refused(where: Path, why: str) -> OutputsError:
    return OutputsError("kvload's output has another form than expected", where=str(where), why=why)
