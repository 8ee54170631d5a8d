"""What sysbench writes: text only, in three forms (0.4 and 0.5; 1.0; 1.1), so every figure is read
by its label and none is taken for granted.

1.0 writes every figure, so one that is missing makes the report unreadable. The others lack some,
which then are None.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from common.errors import OutputsError, WorkloadError
from common.machines import tail
from common.metrics import whole
from workloads import complaints

_FIGURE = r"\d{1,30}(?:\.\d{1,30})?"
_NUMBER = f"({_FIGURE})"

MOST_SPREAD = 0.25
"""Standard deviation of the threads' execution times, as a share of their mean, above which some
ended long before the others. A thread of 2 to 16 that ended at once gives 0.26 or more; threads
that share events end within one event of each other, so the longest event may come on top."""


FEW = 100
"""Events below which a rate may be rounded to anything."""


@dataclass(frozen=True)
class Labels:
    """How the report of one test is read. marks: what only this test's report says. figures: metric
    -> regular expressions of its line in the forms that have it, each with one group.
    """

    marks: str
    figures: Mapping[str, tuple[str, ...]]
    may_ignore: bool = False


CPU = Labels(
    r"^(?:CPU speed:|Maximum prime number checked|Prime numbers limit:)",
    {"events_per_second": (rf"^ +events per second: +{_NUMBER}$",)},
)
MEMORY = Labels(
    r"^(?:Running memory speed test|Doing memory operations speed test|Memory transfer size:)|MiB transferred",
    {
        "operations_per_second": (
            rf"^Total operations: \d+ \( *{_NUMBER} per second\)$",
            rf"^Operations performed: \d+ \( *{_NUMBER} ops/sec\)$",
        ),
        "transferred": (rf"^{_NUMBER} (?:MiB|MB) transferred \({_FIGURE} (?:MiB|MB)/sec\)$",),
        "bandwidth": (rf"^{_FIGURE} (?:MiB|MB) transferred \({_NUMBER} (?:MiB|MB)/sec\)$",),
    },
)
FILEIO = Labels(
    r"^Extra file open flags:",
    {
        "reads_per_second": (rf"^ +reads/s: +{_NUMBER}$", rf"^ +read: +IOPS={_NUMBER} "),
        "writes_per_second": (rf"^ +writes/s: +{_NUMBER}$", rf"^ +write: +IOPS={_NUMBER} "),
        "fsyncs_per_second": (rf"^ +fsyncs/s: +{_NUMBER}$", rf"^ +fsync: +IOPS={_NUMBER}$"),
        "read_bandwidth": (rf"^ +read, MiB/s: +{_NUMBER}$", rf"^ +read: +IOPS={_FIGURE} +{_NUMBER} MiB/s"),
        "write_bandwidth": (rf"^ +written, MiB/s: +{_NUMBER}$", rf"^ +write: +IOPS={_FIGURE} +{_NUMBER} MiB/s"),
    },
)
OLTP = Labels(
    r"^SQL statistics:",
    {
        "transactions_per_second": (rf"^ +transactions: +\d+ +\({_NUMBER} per sec\.\)$",),
        "queries_per_second": (rf"^ +queries: +\d+ +\({_NUMBER} per sec\.\)$",),
        "ignored_errors": (rf"^ +ignored errors: +(\d{{1,18}}) +\({_FIGURE} per sec\.\)$",),
    },
    may_ignore=True,
)
_COMMON: Mapping[str, tuple[str, ...]] = {
    "test_seconds": (rf"^ +(?:total time|time elapsed): +{_NUMBER}s$",),
    "events": (r"^ +total number of events: +(\d{1,30})$",),
    "latency_min": (rf"^ +min: +{_NUMBER}(?:ms)?$",),
    "latency_mean": (rf"^ +avg: +{_NUMBER}(?:ms)?$",),
    "latency_p95": (rf"^ +(?:95th percentile|approx\. +95 percentile): +{_NUMBER}(?:ms)?$",),
    "latency_max": (rf"^ +max: +{_NUMBER}(?:ms)?$",),
}

_COMPLAINT = re.compile(
    r"^(?:FATAL|ALERT|CRITICAL|ERROR|Error)\b|.*forcing shutdown|.*[Ww]orker "
    r"threads? failed|WARNING: .*(?:interrupt|abort|fail|terminat)"
)
_REPEATED = re.compile(r"^\(last message repeated \d+ times?\)")
_ERRORS = re.compile(r"^ +(ignored errors|reconnects): +([1-9]\d*)\b", re.MULTILINE)
_NO_NUMBER = re.compile(r"^.*[:=( ]-?(?:nan|inf)(?:ms|s|\b).*$", re.MULTILINE | re.IGNORECASE)


def require_no_complaints(path: Path) -> None:
    """Read what sysbench wrote to standard error. WorkloadError when it speaks of a failure. A file
    that is not there says nothing.
    """
    if path.is_file():
        _require_no_complaints(path.read_text(encoding="utf-8", errors="replace"), path)


def _require_no_complaints(text: str, where: Path) -> None:
    said, last = [], True  # a repetition whose message is lost is taken for one of a complaint
    for line in text.splitlines():
        if _REPEATED.match(line):
            said += [line] if last else []
        elif line.strip():
            last = bool(_COMPLAINT.match(line))
            said += [line] if last else []
    died = complaints.deaths(text)
    if said or died:
        meaning = f": {complaints.worst(died)}" if died else ""
        raise WorkloadError(
            f"sysbench failed{meaning}",
            where=str(where),
            why=tail("\n".join([*said, *(line for line, _ in died)])),
        )


def read_report(text: str, labels: Labels, where: Path) -> dict[str, float | int | None]:
    """The labelled figures.

    WorkloadError when sysbench complained, made no event, counted errors, or lost threads;
    OutputsError when the report is another test's, or when a figure is there twice, is no number,
    or is missing though this version writes it.
    """
    text = text.replace("\r\n", "\n")
    _require_no_complaints(text, where)
    found_version = re.search(r"^sysbench (?:v)?(\d+\.\d+).*", text, re.MULTILINE)
    version = found_version[0] if found_version else "an unknown version"
    if match := _NO_NUMBER.search(text):
        raise OutputsError("sysbench's report has a figure that is no number", where=str(where), why=match[0].strip())
    if not re.search(labels.marks, text, re.MULTILINE):
        raise _other_form(where, f"it is of another test, or ends before its figures; written by {version}")
    values: dict[str, float | int | None] = {}
    for name, patterns in {**_COMMON, **labels.figures}.items():
        found = [figure for pattern in patterns for figure in re.findall(pattern, text, re.MULTILINE)]
        if len(found) > 1 or (not found and (found_version is None or found_version[1] == "1.0")):
            raise _other_form(where, f"the line for {name} is there {len(found)} times; written by {version}")
        values[name] = _figure(found[0]) if found else None
    if values["latency_mean"] is None:
        raise _other_form(where, f"it ends before its figures; written by {version}")
    _require_work(text, values, where, may_ignore=labels.may_ignore)
    return values


def percentiles(text: str, events: int, where: Path) -> dict[str, float | int | None]:
    """Of the histogram that `--histogram=on` adds: median, 99th and 99.9th percentile, each the
    value of a bucket, in ms. OutputsError unless it has so many events.
    """
    counts = [
        (float(value), int(count))
        for value, count in re.findall(rf"^ +{_NUMBER} \|\** +(\d{{1,18}})$", text, re.MULTILINE)
    ]
    values = [value for value, _ in counts]
    if (found := whole(count for _, count in counts)) != events or values != sorted(values):
        raise _other_form(where, f"its histogram has {found} events instead of {events}, or is out of order")

    def at(share: float) -> float:
        passed = 0
        for value, count in counts:
            passed += count
            if passed >= share * events:
                return value
        return counts[-1][0]

    return {"latency_p50": at(0.5), "latency_p99": at(0.99), "latency_p99.9": at(0.999)}


def _require_work(text: str, values: Mapping[str, float | int | None], where: Path, *, may_ignore: bool) -> None:
    """Events were made, none failed, and no thread ended early."""
    if values["events"] == 0 or (
        values.get("reads_per_second") == 0
        and values.get("writes_per_second") == 0
        and not values.get("fsyncs_per_second")
    ):
        raise WorkloadError(
            "sysbench made no event", where=str(where), why="its threads ended before the first, or none was started"
        )
    for match in _ERRORS.finditer(text):
        if may_ignore and match[1] == "ignored errors":
            continue
        raise WorkloadError(
            f"sysbench counted {match[1]}: {match[2]}", where=str(where), why="what they cost is among its figures"
        )
    made, seconds = values["events"], values["test_seconds"]
    rate = values.get("events_per_second", values.get("operations_per_second"))
    told = made is not None and rate is not None and seconds is not None and made >= FEW
    if told and made and not made / 2 <= (rate or 0) * (seconds or 0) <= 2 * made:
        why = f"{made} events in {seconds:g} s are not {rate:g} a second"
        raise OutputsError("sysbench's figures contradict each other", where=str(where), why=why)
    threads = re.search(r"^Number of threads: (\d{1,9})$", text, re.MULTILINE)
    events = re.search(rf"^ +events \(avg/stddev\): +{_NUMBER}/{_NUMBER}$", text, re.MULTILINE)
    if threads and events and values["events"] is not None:
        counted, total = float(events[1]) * int(threads[1]), values["events"]
        if abs(counted - total) > 0.01 * int(threads[1]) + 1e-6 * total:
            why = f"{threads[1]} threads with {events[1]} events each are not {total}"
            raise WorkloadError("sysbench lost threads, or their events", where=str(where), why=why)
    times = re.search(rf"^ +execution time \(avg/stddev\): +{_NUMBER}/{_NUMBER}$", text, re.MULTILINE)
    longest = re.search(rf"^ +max: +{_NUMBER}$", text, re.MULTILINE)
    event = float(longest[1]) / 1000 if longest else 0.0
    if times and float(times[2]) > MOST_SPREAD * float(times[1]) + event:
        why = f"execution time (avg/stddev): {times[1]}/{times[2]}"
        raise WorkloadError("some of sysbench's threads ended long before the others", where=str(where), why=why)


def _figure(text: str) -> float | int:
    return float(text) if "." in text else int(text)


def _other_form(where: Path, why: str) -> OutputsError:
    return OutputsError("sysbench's report has another form than expected", where=str(where), why=why)
