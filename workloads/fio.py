"""fio: one job of file I/O, or several alike, bound by size or by time, read from fio's JSON; its
histogram of every latency is in the raw output (`bins`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from common.machines import Machine
from common.metrics import MetricSpec
from workloads import machines, scripts
from workloads.base import Duration, Size, Workload, WorkloadParameters, WorkloadResult, parameter
from workloads.fio_output import PERCENTILES, read_job, require_no_complaints

JOB = "overcommit"
"""Name of the job, and so of its files: DIRECTORY/overcommit.JOB.0."""

OWN = frozenset(
    (
        "name",
        "directory",
        "rw",
        "readwrite",
        "rwmixread",
        "bs",
        "blocksize",
        "size",
        "time_based",
        "runtime",
        "iodepth",
        "ioengine",
        "direct",
        "end_fsync",
        "randseed",
        "numjobs",
        "group_reporting",
        "random_distribution",
        "output",
        "output-format",
        "percentile_list",
        "filename",
        "continue_on_error",
        "create_only",
    )
)
"""Options that a parameter gives, or that would make the figures others than they are taken for."""


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
    working_set: float | None = parameter(
        None,
        "bytes of all files together, as a ratio of the machine's memory while it is prepared; in place of size",
        unit="ratio",
        gt=0,
        le=100,
    )
    numjobs: int = parameter(
        1, "jobs at the same time, each with a file of its own; figures are of all of them", unit="count", ge=1, le=1024
    )
    random_distribution: Annotated[
        str, Field(pattern=r"^(random|(zipf|pareto|normal):\d{1,3}(\.\d{1,6})?(:\d{1,3}(\.\d{1,6})?)?)$")
    ] = parameter("random", "how offsets are drawn, in fio's words: random, zipf:1.2, pareto:0.2, normal:20")
    options: dict[Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")], str | int] = parameter(
        {},
        "any other options of fio, as in a job file: {rate_iops: 100, thinktime: 5ms}",
    )
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
        if self.random_distribution != "random" and "rand" not in self.rw:
            raise ValueError(f"random_distribution says nothing to rw: {self.rw}, which is sequential")
        if own := OWN & self.options.keys():
            raise ValueError(f"options has {min(own)}, which is a parameter's, or would change what figures mean")
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
        lay_out = [*_job(params), "--create_only=1"] if "write" not in params.rw else []
        body = ""
        if params.working_set is not None:
            per_mille = max(1, round(params.working_set * 1000))
            body = scripts.text("fio-size.sh", _size_file(), per_mille, params.numjobs, params.bs)
        body += scripts.text("fio-prepare.sh", _size_file(), params.directory, JOB, *lay_out)
        script = scripts.prepare(body, reset_memory=params.reset_memory)
        return machines.key_values(machines.check_script(machine, script, what="prepare fio", timeout_s=1800))

    def script(self, params: FioParameters) -> str:
        """The job alone; fio.out is its JSON."""
        command = [*_job(params), "--output-format=json+"]
        if params.working_set is None:
            return scripts.timed(scripts.command("fio", command))
        return scripts.timed(scripts.text("fio-sized.sh", _size_file(), *command))

    def collect(self, machine: Machine, params: FioParameters, raw_dir: Path) -> WorkloadResult:
        """The job's figures. The file is removed: its contents are fio's random data, so there
        are no checksums.
        """
        machines.fetch_raw(machine, raw_dir)
        remove = scripts.text("remove-files.sh", params.directory, JOB)
        machines.check_script(machine, remove, what="remove fio's file", timeout_s=300)
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
        """The size of its files, unless they are in memory, or their size follows from it."""
        elsewhere = params.directory.startswith("/dev/shm") or params.working_set is not None
        return 0 if elsewhere else params.size * params.numjobs

    def expected_seconds(self, params: FioParameters, slowdown: float) -> float:
        """Time-bound jobs take their time; the others are taken to move 100 MB/s natively, and
        at most 5000 requests a second.
        """
        if params.runtime is not None:
            return params.runtime
        moved = params.size * params.numjobs if params.working_set is None else params.working_set * _USUAL_MEMORY
        return max(moved / 100e6, moved / params.bs / 5000) * slowdown


_USUAL_MEMORY = 256 * 2**20
"""Of a guest, for what is expected of a job whose size follows from it."""


def _size_file() -> str:
    """Where the preparation leaves the bytes of one file, for the job and among the raw outputs."""
    return f"{scripts.RAW}/size"


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
        *([f"--size={params.size}"] if params.working_set is None else []),
        *([] if params.runtime is None else ["--time_based", f"--runtime={round(params.runtime * 1000)}ms"]),
        f"--iodepth={params.iodepth}",
        f"--ioengine={params.ioengine}",
        f"--direct={int(params.direct)}",
        f"--end_fsync={int(params.end_fsync)}",
        f"--randseed={params.seed}",
        *([] if params.numjobs == 1 else [f"--numjobs={params.numjobs}", "--group_reporting=1"]),
        *([] if params.random_distribution == "random" else [f"--random_distribution={params.random_distribution}"]),
        *(f"--{key}={value}" for key, value in sorted(params.options.items())),
    ]
