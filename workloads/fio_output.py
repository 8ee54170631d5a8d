"""What fio writes: its JSON, and what it says beside it. Versions 2.1 to 3.42.

fio writes notes before its document. When it loses a job's process it says so on standard error
alone, exits with 0 (before 3.43), and its document has error 0 and zeros, or what the process had
counted so far. So a document counts only if nothing beside it speaks of a failure, and if it shows
that the job did what it was asked for.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from common.errors import OutputsError, WorkloadError
from common.machines import tail
from common.metrics import total
from common.text import each_key_once
from workloads import complaints

PERCENTILES = (50, 95, 99, 99.9)

DIRECTIONS = {"read": ("read", "randread"), "write": ("write", "randwrite")}
"""Direction -> patterns that have no other."""

LEAST_OF_TIME = 0.9
"""Share of its time that a time-bound job has to have run: fio's own clock and the last request
make it differ a little."""

_NOTES = re.compile(
    r"fio: (?:this platform does not support process shared mutexes|.*\bnote: |native_fallocate call failed: |"
    r"file .* exceeds 32-bit tausworthe|Switching to tausworthe64|multiple writers may overwrite blocks|"
    r"cache invalidation of .* failed: |file .* failed allocating random map|"
    r"Any use of blockalign= turns off randommap|norandommap given for variable block sizes, verify limited|"
    r"bs_unaligned may not work with raw io)"
)
"""fio goes on after these as if nothing were."""

_SAYS = re.compile(r"^(?:fio: |fio\[\d+\]: |verify: |.*\bverify failed|.*: you need to specify )")
_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}
_SECONDS = {
    "us": 1e-6,
    "usec": 1e-6,
    "ms": 1e-3,
    "msec": 1e-3,
    "s": 1.0,
    "sec": 1.0,
    "": 1.0,
    "m": 60.0,
    "h": 3600.0,
    "d": 86400.0,
}
_NOT_BOUND_BY_SIZE = {
    "ramp_time",
    "offset",
    "offset_increment",
    "filesize",
    "io_size",
    "io_limit",
    "number_ios",
    "fill_device",
    "fill_fs",
    "read_iolog",
    "replay_redirect",
    "size_percent",
    "bsrange",
    "blocksize_range",
    "bssplit",
}
"""Nor by its size in blocks of one size, which is how what is left of it is told."""

MOST_DOCUMENT = 8 << 20
"""Characters of fio's JSON: tens of thousands for a job. As objects it is thirty times as much."""

_SWITCHES = ("time_based", "group_reporting", "verify")

Figures = dict[str, float | int | None]


def require_no_complaints(path: Path) -> None:
    """Read what fio wrote to standard error. WorkloadError when it speaks of a failure. A file that
    is not there says nothing.
    """
    if path.is_file():
        _require_no_complaints(path.read_text(encoding="utf-8", errors="replace"), path)


def _require_no_complaints(text: str, where: Path) -> None:
    meaning = complaints.worst(complaints.deaths(text))
    if "terminating on signal" in text:
        raise WorkloadError(
            f"fio was interrupted: {meaning}" if meaning else "fio was interrupted",
            where=str(where),
            why=tail(text),
        )
    if meaning:
        raise WorkloadError(f"fio failed: {meaning}", where=str(where), why=tail(text))
    said = [line for line in text.splitlines() if _SAYS.match(line) and not _NOTES.match(line)]
    if said:
        raise WorkloadError("fio complained", where=str(where), why=tail("\n".join(said)))


def read_document(text: str, where: Path) -> dict[str, Any]:
    """The JSON document, from the first line that begins with `{`.

    WorkloadError for a complaint before it and for a run that a signal ended; OutputsError for what
    follows it, for repeated keys, and for figures that are no numbers.
    """
    if len(text) > MOST_DOCUMENT:
        raise OutputsError(
            "fio's JSON is longer than is read",
            where=str(where),
            why=f"it has {len(text)} characters, and {MOST_DOCUMENT} are read",
            remedy="Have fio report fewer jobs; a guest that writes more is broken, or means harm.",
        )
    # no \s: it takes line ends, too, and a megabyte of them would be searched for hours
    match = re.search(r"^[ \t]*\{", text, re.MULTILINE)
    before = text if match is None else text[: match.start()]
    if match is not None or "terminating on signal" in before:
        _require_no_complaints(before, where)
    if match is None:
        raise OutputsError("fio wrote no JSON", where=str(where), why=tail(text))
    start = match.end() - 1
    try:
        document, end = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_no_number).raw_decode(text, start)
    except RecursionError:
        raise OutputsError("fio's JSON cannot be read", where=str(where), why="it is nested too deeply") from None
    except ValueError as error:
        raise OutputsError("fio's JSON cannot be read", where=str(where), why=str(error)) from None
    if rest := text[end:].strip():
        _require_no_complaints(rest, where)
        raise OutputsError("there is more after fio's JSON", where=str(where), why=tail(rest))
    assert isinstance(document, dict)
    return document


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Each key once, but for the percentiles that a fio before 3.5 was not asked for: it writes
    every one of them as `"0.00" : 0`.
    """
    return each_key_once([(key, value) for key, value in pairs if (key, value) != ("0.00", 0)])


def _no_number(word: str) -> float:
    raise ValueError(f"{word} is no figure")


def read_job(text: str, where: Path) -> Figures:
    """Metrics of the one job.

    WorkloadError when a job had an error, made no request, or did less than its document says was
    asked; OutputsError when there is another number of jobs, or when a figure is missing that this
    version of fio writes. A direction that the pattern does not have yields None, and so does what
    an old fio does not write.
    """
    document = read_document(text, where)
    version = str(document.get("fio version"))
    try:
        jobs = document["jobs"]
        _require_no_errors(jobs, where)
        (job,) = jobs
        _require_work(job, _options(document, job), where)
        runtime = _runtime(job, _options(document, job), version)
        values: Figures = {"job_seconds": None if runtime is None else runtime / 1000}
        for word in DIRECTIONS:
            values |= _direction_values(word, job[word], version)
    except KeyError as error:
        raise OutputsError(f"fio's JSON lacks {error}", where=str(where), why=f"written by {version}") from None
    except (TypeError, ValueError, AttributeError, OverflowError) as error:
        raise OutputsError("fio's JSON has another form than expected", where=str(where), why=str(error)) from None
    return values


def _require_no_errors(jobs: Sequence[Mapping[str, Any]], where: Path) -> None:
    """Every job's error, the later ones' too; and as many jobs as the job's options say."""
    for number, job in enumerate(jobs, start=1):
        if job["error"]:
            named = (
                f"fio's job failed with error {job['error']}"
                if len(jobs) == 1
                else f"fio's job {number} of {len(jobs)} failed with error {job['error']}"
            )
            raise WorkloadError(named, where=str(where), why=_errno(job["error"]))
        if job.get("total_err"):  # `continue_on_error` leaves the error itself at 0
            raise WorkloadError(
                f"fio's job went on after {job['total_err']} errors",
                where=str(where),
                why=_errno(job.get("first_error")),
            )
    asked = max((int(job.get("job options", {}).get("numjobs", 1)) for job in jobs), default=1)
    if jobs and len(jobs) < asked and "group_reporting" not in jobs[0].get("job options", {}):
        raise WorkloadError(f"fio lost jobs: {len(jobs)} of {asked} are in its JSON", where=str(where))
    if len(jobs) != 1:
        raise ValueError(f"{len(jobs)} jobs instead of 1")


def _errno(error: object) -> str:
    known = os.strerror(error) if isinstance(error, int) and 0 < error < 4096 else "unknown"
    return f"errno {error}: {known} (see errno(3))"


def _options(document: Mapping[str, Any], job: Mapping[str, Any]) -> dict[str, str]:
    """What the job was asked for, as its document repeats it; empty for a fio before 3.0."""
    given = {**document.get("global options", {}), **job.get("job options", {})}
    return {str(key): str(value) for key, value in given.items() if not (key in _SWITCHES and str(value) == "0")}


def _require_work(job: Mapping[str, Any], options: Mapping[str, str], where: Path) -> None:
    """A job whose process died has error 0 all the same, and as many requests as it had counted by
    then: perhaps none.
    """
    requests = {word: _number(job[word], "total_ios") for word in DIRECTIONS}
    runtime = _runtime(job, options, "") if "job_runtime" in job else _longest(job)
    pattern = options.get("rw", options.get("readwrite", "")).partition(":")[0]
    missing = [word for word, patterns in DIRECTIONS.items() if pattern in patterns and not requests[word]]
    if not any(requests.values()) or missing:
        raise WorkloadError(
            f"fio's job made no {' or '.join(missing) or 'request'}{' request' if missing else ''}",
            where=str(where),
            why="its error is 0, as that of a job is whose process was killed; fio.err may tell the signal",
        )
    if runtime == 0:
        raise WorkloadError(
            "fio's job has a run time of 0",
            where=str(where),
            why="its process may have been killed: fio.err may tell the signal",
        )
    moved = total([_number(job[word], "io_bytes") for word in DIRECTIONS])
    if short := _cut_short(moved, runtime, options) or _cut_short_together(job, options):
        raise WorkloadError(
            f"fio's job ended early: {short}",
            where=str(where),
            why="its process may have been killed: fio.err may tell the signal",
        )


def _cut_short(moved: float, runtime: float | None, options: Mapping[str, str]) -> str:
    """In what a job fell short of its size, or of its time; empty when it did not, or when that
    cannot be told.
    """
    limit = _milliseconds(options.get("runtime", options.get("timeout", "")))
    in_time = limit is not None and runtime is not None and runtime >= LEAST_OF_TIME * limit
    if "time_based" in options:
        return "" if in_time or limit is None or runtime is None else f"after {runtime / 1000:g} of {limit / 1000:g} s"
    if (
        in_time
        or _NOT_BOUND_BY_SIZE & options.keys()
        or any(key.startswith(("steadystate", "ss", "zone")) for key in options)
    ):
        return ""
    size, block = _bytes(options.get("size", "")), _bytes(options.get("bs", options.get("blocksize", "4096")))
    if size is None or block is None:
        return ""
    together = int(options.get("numjobs", 1)) if "group_reporting" in options else 1
    together *= max(int(options.get("loops", 1)), 1)
    size = size[0] * together, size[1] * together
    if moved + block[1] * together < size[0]:  # each job leaves a last part of a block out
        return f"after {moved:.0f} of {size[1]} bytes"
    # a fio before 3.36 does not repeat `time_based`, but only such a job goes on beyond its size
    beyond = moved > size[1] + block[1] and "verify" not in options
    return (
        f"after {runtime / 1000:g} of {limit / 1000:g} s"
        if beyond and limit is not None and runtime is not None
        else ""
    )


def _cut_short_together(job: Mapping[str, Any], options: Mapping[str, str]) -> str:
    """In what time-bound jobs that are reported together fell short of their times: fio adds up the
    times of those that came to their end, and takes every other figure of the others, too. Empty
    when they did not, or when that cannot be told.
    """
    limit = _milliseconds(options.get("runtime", options.get("timeout", "")))
    jobs = int(options.get("numjobs", 1)) if {"time_based", "group_reporting"} <= options.keys() else 1
    if jobs < 2 or limit is None or "job_runtime" not in job:
        return ""
    ran = _number(job, "job_runtime")
    # of many jobs, one is less than a tenth
    least = max(LEAST_OF_TIME * jobs, jobs - 0.5) * limit
    return "" if ran >= least else f"after {ran / 1000:g} of {jobs} times {limit / 1000:g} s"


def _bytes(text: str) -> tuple[int, int] | None:
    """The fewest and the most bytes that a size of fio's can mean: with `kb_base=1000` a k is 1000.
    None for what is no plain size, such as a percentage.
    """
    match = re.fullmatch(r"(\d+)([kmgt]?)(?:i?b)?", text.strip().lower())
    if match is None:
        return None
    power = _POWERS[match[2]]
    return int(match[1]) * 1000**power, int(match[1]) * 1024**power


def _milliseconds(text: str) -> float | None:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([a-z]*)", text.strip().lower())
    # a time of 0 is none
    return float(match[1]) * _SECONDS[match[2]] * 1000 or None if match and match[2] in _SECONDS else None


def _number(found: Mapping[str, Any], key: str) -> float | int:
    value = found[key]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{key} is {value!r}, no number")
    if not math.isfinite(value) or value < 0:
        raise ValueError(f"{key} is {value}")
    return value


def _optional(found: Mapping[str, Any], key: str, version: str) -> float | int | None:
    """A figure that fio writes since some version of 3."""
    return None if key not in found and (_is_old(version) or _is_early(version)) else _number(found, key)


def _runtime(job: Mapping[str, Any], options: Mapping[str, str], version: str) -> float | int | None:
    """Milliseconds that the job ran. Of several that are reported together fio adds them up, so the
    longest direction's is taken. So it is of a job of less than 1 ms: fio rounds the job's time
    down to 0, and a direction's up. A job that was killed has 0 beside any time of a direction.
    """
    longest = _longest(job)
    if "group_reporting" in options and int(options.get("numjobs", 1)) > 1:
        return longest
    ran = _optional(job, "job_runtime", version)
    return longest if ran == 0 and longest <= 1 else ran


def _longest(job: Mapping[str, Any]) -> float | int:
    """Milliseconds of the direction that took longer."""
    return max(_number(job[word], "runtime") for word in DIRECTIONS)


def _is_old(version: str) -> bool:
    return bool(re.match(r"fio-[12]\.", version))


def _is_early(version: str) -> bool:
    """3.0 to 3.9: the first of these write neither `bw_bytes` nor `job_runtime`, but bandwidths in
    KiB/s and all times in ns.
    """
    return bool(re.match(r"fio-3\.\d(?!\d)", version))


def _direction_values(word: str, found: Mapping[str, Any], version: str) -> Figures:
    """Figures of reads or of writes; all None when there were none."""
    if not _number(found, "total_ios"):
        names = ("iops", "bandwidth", "bytes", *_latencies({"N": 0}, 1))
        return {f"{word}_{name}": None for name in names}
    if _is_old(version):
        # bw is in KiB/s there, completion latencies in µs; io_bytes was in KiB in some versions and
        # in bytes in others, so it is not used
        bandwidth: float | int | None = _number(found, "bw") * 1024
        moved, latency, unit = None, found["clat"], 1000
    else:
        whole_kib = "bw_bytes" not in found and _is_early(version)
        bandwidth = _number(found, "bw") * 1024 if whole_kib else _number(found, "bw_bytes")
        moved, latency, unit = _number(found, "io_bytes"), found["clat_ns"], 1
    rates = {"iops": _number(found, "iops"), "bandwidth": bandwidth, "bytes": moved}
    nothing = [name for name, value in rates.items() if value == 0]
    if nothing and not _is_old(version):  # whose whole KiB/s may be 0
        raise ValueError(f"{found['total_ios']} {word} requests, and 0 for {' and '.join(nothing)}")
    figures = {**rates, **_latencies(latency, unit)}
    return {f"{word}_{name}": value for name, value in figures.items()}


def _latencies(latency: Mapping[str, Any], unit: int) -> Figures:
    """Mean, percentiles and maximum in ns; None for percentiles that were not asked for, and all
    None when no request was timed.
    """
    # a fio before 3.16 does not say how many were timed
    timed = bool(latency["N"] if "N" in latency else _number(latency, "max"))
    histogram = latency.get("percentile", {}) if timed else {}
    percentiles = {float(key): _number(histogram, key) for key in histogram}
    found = {
        "latency_mean": _number(latency, "mean") if timed else None,
        **{f"latency_p{p}": percentiles.get(p) for p in PERCENTILES},
        "latency_max": _number(latency, "max") if timed else None,
    }
    return {name: None if value is None else value * unit for name, value in found.items()}
