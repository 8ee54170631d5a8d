"""fio: one job of file I/O, bound by its size or by time, read from fio's JSON."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from common.machines import Machine
from common.metrics import MetricSpec
from workloads import machines, scripts
from workloads.base import Duration, Size, Workload, WorkloadParameters, WorkloadResult, parameter
from workloads.fio_output import PERCENTILES, read_job, require_no_complaints

JOB = "overcommit"
"""Name of the job, and so of its file: DIRECTORY/overcommit.0.0."""


class FioParameters(WorkloadParameters):
    """The job."""

    rw: Literal["read", "write", "randread", "randwrite", "rw", "randrw"] = parameter(
        "randread", "pattern: sequential or random, reads, writes or both"
    )
    rwmixread: int = parameter(50, "share of reads where the pattern has both", unit="%", ge=1, le=99)
    bs: Annotated[Size, Field(ge=512)] = parameter(4096, "bytes of one request", unit="size")
    size: Annotated[Size, Field(ge=4096)] = parameter(
        64 * 2**20, "bytes of the file, and of the I/O unless runtime is given", unit="size"
    )
    runtime: Annotated[Duration, Field(ge=1)] | None = parameter(
        None,
        "go on for this long, over the file again and again; without it the job ends with its size",
        unit="duration",
    )
    iodepth: int = parameter(
        1, "requests in flight; only libaio can have more than one", unit="requests", ge=1, le=1024
    )
    ioengine: Literal["psync", "libaio", "mmap"] = parameter(
        "psync", "how requests are made; mmap makes them page faults"
    )
    direct: bool = parameter(False, "bypass the page cache, and with it cleancache")
    end_fsync: bool = parameter(True, "write everything to disk before the job ends, inside the measured time")
    seed: int = parameter(1, "seed of the random offsets, the same on every machine", ge=0, le=2**31 - 1)
    directory: Annotated[str, Field(pattern=r"^/[\w./+-]+$")] = parameter(
        "/var/lib/overcommit/fio", "folder of the file, made if missing"
    )
    reset_memory: bool = parameter(True, scripts.RESET_MEMORY_DOC)

    @model_validator(mode="after")
    def _consistent(self) -> FioParameters:
        if self.bs > self.size:
            raise ValueError("bs is larger than size")
        if self.iodepth > 1 and self.ioengine != "libaio":
            raise ValueError(f"ioengine {self.ioengine} is synchronous: an iodepth above 1 needs libaio")
        if self.direct and self.ioengine == "mmap":
            raise ValueError("ioengine mmap always uses the page cache: it cannot be direct")
        return self


def _direction(word: str) -> tuple[MetricSpec, ...]:
    latency = f"completion latency of a {word} request"
    return (
        MetricSpec(f"{word}_iops", "1/s", "higher", f"{word} requests a second"),
        MetricSpec(f"{word}_bandwidth", "B/s", "higher", f"bytes that {word} requests moved a second"),
        MetricSpec(f"{word}_bytes", "B", "neither", f"bytes that {word} requests moved"),
        MetricSpec(f"{word}_latency_mean", "ns", "lower", f"mean {latency}"),
        *(
            MetricSpec(
                f"{word}_latency_p{p}", "ns", "lower", f"{p}th percentile of the {latency}, as fio's histogram has it"
            )
            for p in PERCENTILES
        ),
        MetricSpec(f"{word}_latency_max", "ns", "lower", f"largest {latency}"),
    )


class Fio(Workload[FioParameters]):
    """One fio job on a file: page cache and disk, in a pattern of choice."""

    name = "fio"
    Parameters = FioParameters
    metrics = (
        MetricSpec("wall_seconds", "s", "lower", "wall clock of fio, its own start and end included"),
        MetricSpec("user_seconds", "s", "lower", "user time of fio"),
        MetricSpec("system_seconds", "s", "lower", "system time of fio"),
        MetricSpec("job_seconds", "s", "lower", "time that the job ran, as fio counted it"),
        *_direction("read"),
        *_direction("write"),
    )
    # a direction that the pattern does not have yields no figures: None, not 0

    def prepare(self, machine: Machine, params: FioParameters) -> dict[str, str]:
        """Lay the file out if the pattern reads, then reset memory. Facts: fio (version)."""
        folder = shlex.quote(params.directory)
        lay_out = f"{shlex.join([*_job(params), '--create_only=1'])} >&2\n" if "write" not in params.rw else ""
        body = (
            'version=$(fio --version) || fail "fio is not installed"\necho '
            f'"fio=$version"\nmkdir -p {folder}\nrm -f {folder}/{JOB}.*\n{lay_out}'
        )
        script = scripts.prepare(body, reset_memory=params.reset_memory)
        return machines.key_values(machines.check_script(machine, script, what="prepare fio", timeout_s=1800))

    def script(self, params: FioParameters) -> str:
        """The job alone; fio.out is its JSON."""
        return scripts.timed(scripts.command("fio", [*_job(params), "--output-format=json+"]))

    def collect(self, machine: Machine, params: FioParameters, raw_dir: Path) -> WorkloadResult:
        """The job's figures. The file is removed: its contents are fio's random data, so there
        are no checksums.
        """
        machines.fetch_raw(machine, raw_dir)
        machines.check_script(
            machine, f"rm -f {shlex.quote(params.directory)}/{JOB}.*", what="remove fio's file", timeout_s=300
        )
        return self.read(params, raw_dir)

    def read(self, params: FioParameters, raw_dir: Path) -> WorkloadResult:  # noqa: ARG002  (the document tells what was asked)
        """The job's figures, if fio lost no process and did all that its document says was
        asked.
        """
        timing = scripts.read_timing(raw_dir, "fio", "fio")
        require_no_complaints(raw_dir / "fio.err")
        values: dict[str, float | int | None] = {
            "wall_seconds": timing.wall_seconds,
            "user_seconds": timing.user_seconds,
            "system_seconds": timing.system_seconds,
        }
        values |= read_job(machines.raw_text(raw_dir, "fio.out"), raw_dir / "fio.out")
        return WorkloadResult(self.measured(values), {})

    def disk_bytes(self, params: FioParameters) -> int:
        """The size of its files, unless they are in memory."""
        return 0 if params.directory.startswith("/dev/shm") else params.size

    def expected_seconds(self, params: FioParameters, slowdown: float) -> float:
        """Time-bound jobs take their time; the others are taken to move 100 MB/s natively, and
        at most 5000 requests a second.
        """
        if params.runtime is not None:
            return params.runtime
        return max(params.size / 100e6, params.size / params.bs / 5000) * slowdown


def _job(params: FioParameters) -> list[str]:
    """The command line without an output format: the same for laying out the file and for the
    job.
    """
    return [
        "fio",
        f"--name={JOB}",
        f"--directory={params.directory}",
        f"--rw={params.rw}",
        f"--rwmixread={params.rwmixread}",
        f"--bs={params.bs}",
        f"--size={params.size}",
        *([] if params.runtime is None else ["--time_based", f"--runtime={round(params.runtime * 1000)}ms"]),
        f"--iodepth={params.iodepth}",
        f"--ioengine={params.ioengine}",
        f"--direct={int(params.direct)}",
        f"--end_fsync={int(params.end_fsync)}",
        f"--randseed={params.seed}",
    ]
