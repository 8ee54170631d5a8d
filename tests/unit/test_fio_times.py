"""The times in fio's JSON: whether a job came to its end, where only its times tell."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from common.errors import WorkloadError
from tests.unit.workloads_local import DATA, fio_document
from workloads.fio_output import read_job

HERE = Path("fio.out")

FAST: dict[str, Any] = {
    "job_runtime": 0,
    "read__runtime": 1,
    "read__io_bytes": 2**20,
    "read__total_ios": 256,
    "write__runtime": 0,
    "write__io_bytes": 0,
    "write__total_ios": 0,
    "job options": {"rw": "read", "size": "1m", "bs": "4k"},
}
"""A job of less than 1 ms: of its two times fio rounds one down. `read__runtime` is its reads'."""


def test_a_job_of_less_than_a_millisecond_is_no_killed_one() -> None:
    values = read_job(fio_document(**FAST), HERE)
    assert (values["job_seconds"], values["read_bytes"]) == (0.001, 2**20)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"read__runtime": 0}, "run time of 0"),
        ({"read__runtime": 2}, "run time of 0"),
        ({"read__runtime": 1801}, "run time of 0"),
        ({"read__io_bytes": 2**19}, "ended early: after 524288 of 1048576 bytes"),
        ({"job options": {"time_based": "", "runtime": "2", "size": "1m"}}, r"after 0\.001 of 2 s"),
    ],
)
def test_a_killed_job_is_none_of_less_than_a_millisecond(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(WorkloadError, match=words):
        read_job(fio_document(**{**FAST, **changes}), HERE)


def together(ran: int, jobs: int = 3, **options: str) -> str:
    """A document of jobs of 2 s each that are reported together: fio adds up what they ran."""
    document = json.loads((DATA / "fio" / "3.39-zipf-three-jobs.json").read_text())
    job = document["jobs"][0]
    job["job_runtime"] = ran
    job["job options"] |= {"numjobs": str(jobs), "time_based": "1", "runtime": "2s"} | options
    for word in ("read", "write"):
        job[word]["runtime"] = 2001
    return json.dumps(document)


@pytest.mark.parametrize(("ran", "jobs"), [(4000, 3), (2002, 2), (0, 3), (38_000, 20)])
def test_a_time_bound_job_that_was_killed_among_others_is_noticed(ran: int, jobs: int) -> None:
    """Its signal may be one that fio does not speak of, and the others fill its figures."""
    with pytest.raises(WorkloadError, match=f"ended early: after {ran / 1000:g} of {jobs} times 2 s"):
        read_job(together(ran, jobs), HERE)


@pytest.mark.parametrize(
    "text",
    [
        together(6003),
        together(5994),
        together(40_000, 20),
        together(6003, ramp_time="1s"),
        together(9003, ramp_time="1s"),
        together(2001, 1),
    ],
)
def test_time_bound_jobs_that_all_came_to_their_end_count(text: str) -> None:
    assert read_job(text, HERE)["read_iops"]
