"""sysbench's cpu, memory and fileio tests. They print text only, so every figure is read by its
label and none is taken for granted.
"""

from __future__ import annotations

import shlex
from abc import abstractmethod
from pathlib import Path
from typing import Annotated, ClassVar, Generic, Literal, TypeVar

from pydantic import Field, model_validator

from common.machines import Machine
from common.metrics import MetricSpec
from workloads import machines, scripts
from workloads.base import Duration, Size, Workload, WorkloadParameters, WorkloadResult, parameter
from workloads.sysbench_output import CPU, FILEIO, MEMORY, Labels, read_report, require_no_complaints

_COMMON_METRICS = (
    MetricSpec("wall_seconds", "s", "lower", "wall clock of sysbench, its own start and end included"),
    MetricSpec("user_seconds", "s", "lower", "user time of sysbench"),
    MetricSpec("system_seconds", "s", "lower", "system time of sysbench"),
    MetricSpec("test_seconds", "s", "lower", "time of the test, as sysbench counted it"),
    MetricSpec("events", "count", "neither", "events of the test: prime searches, memory blocks, or file requests"),
    MetricSpec("latency_min", "ms", "lower", "shortest event; sysbench prints two decimals, so 0 means below 0.005"),
    MetricSpec("latency_mean", "ms", "lower", "mean event"),
    MetricSpec("latency_p95", "ms", "lower", "95th percentile of the events, as sysbench's histogram has it"),
    MetricSpec("latency_max", "ms", "lower", "longest event"),
)


class SysbenchParameters(WorkloadParameters):
    """What the three tests share."""

    reset_memory: bool = parameter(True, scripts.RESET_MEMORY_DOC)


S = TypeVar("S", bound=SysbenchParameters)


class _Sysbench(Workload[S], Generic[S]):
    """What the three tests share."""

    labels: ClassVar[Labels]

    @abstractmethod
    def arguments(self, params: S) -> list[str]:
        """The command line, without the program and the final `run`."""

    def preparation(self, params: S) -> str:  # noqa: ARG002  (for the tests that need files)
        """Shell text that runs before memory is reset."""
        return ""

    def change_directory(self, params: S) -> str:  # noqa: ARG002
        """Shell text that goes where the test's files are."""
        return ""

    def prepare(self, machine: Machine, params: S) -> dict[str, str]:
        """Files, if the test has any, then memory. Facts: sysbench (version)."""
        body = (
            'version=$(sysbench --version) || fail "sysbench is not installed"\necho "sysbench=$version"\n'
            + self.preparation(params)
        )
        script = scripts.prepare(body, reset_memory=params.reset_memory)
        return machines.key_values(machines.check_script(machine, script, what=f"prepare {self.name}", timeout_s=1800))

    def script(self, params: S) -> str:
        """The test alone; sysbench.out is its report."""
        return scripts.timed(
            self.change_directory(params) + scripts.command("sysbench", ["sysbench", *self.arguments(params), "run"])
        )

    def collect(self, machine: Machine, params: S, raw_dir: Path) -> WorkloadResult:
        """The report's figures; a test leaves no outputs that could be compared."""
        machines.fetch_raw(machine, raw_dir)
        return self.read(params, raw_dir)

    def read(self, params: S, raw_dir: Path) -> WorkloadResult:  # noqa: ARG002  (the report tells what was asked)
        """The report's figures, if sysbench and its threads came to their end."""
        timing = scripts.read_timing(raw_dir, "sysbench", self.name)
        require_no_complaints(raw_dir / "sysbench.err")
        values: dict[str, float | int | None] = {
            "wall_seconds": timing.wall_seconds,
            "user_seconds": timing.user_seconds,
            "system_seconds": timing.system_seconds,
        }
        values |= read_report(machines.raw_text(raw_dir, "sysbench.out"), self.labels, raw_dir / "sysbench.out")
        return WorkloadResult(self.measured(values), {})


class SysbenchCpuParameters(SysbenchParameters):
    """Prime searches, bound by time or by their number."""

    threads: int = parameter(1, "threads that search at the same time", unit="threads", ge=1, le=1024)
    max_prime: int = parameter(
        10000, "every event searches the primes up to this number", unit="number", ge=3, le=10**9
    )
    time: Annotated[Duration, Field(ge=1, multiple_of=1)] | None = parameter(
        10.0, "how long to go on; null: until `events` are done", unit="duration"
    )
    events: int | None = parameter(None, "how many events to do; null: until `time` is over", unit="count", ge=1)
    reset_memory: bool = parameter(False, scripts.RESET_MEMORY_DOC)

    @model_validator(mode="after")
    def _consistent(self) -> SysbenchCpuParameters:
        if self.time is None and self.events is None:
            raise ValueError("time or events has to be given, or the test never ends")
        return self


class SysbenchCpu(_Sysbench[SysbenchCpuParameters]):
    """Search primes: processor time only, the control that memory policies should leave alone."""

    name = "sysbench_cpu"
    Parameters = SysbenchCpuParameters
    metrics = (
        *_COMMON_METRICS,
        MetricSpec("events_per_second", "1/s", "higher", "prime searches a second, all threads together"),
    )
    labels: ClassVar = CPU

    def arguments(self, params: SysbenchCpuParameters) -> list[str]:
        """Time 0 and events 0 are sysbench's words for no bound."""
        return [
            "cpu",
            f"--threads={params.threads}",
            f"--cpu-max-prime={params.max_prime}",
            f"--time={_seconds(params.time)}",
            f"--events={params.events or 0}",
        ]

    def expected_seconds(self, params: SysbenchCpuParameters, slowdown: float) -> float:
        """An event up to 10000 takes 0.25 ms natively, and grows with the power 1.5 of
        max_prime.
        """
        by_events = (
            float("inf")
            if params.events is None
            else params.events * 0.00025 * (params.max_prime / 10000) ** 1.5 * slowdown
        )
        return min(by_events, float("inf") if params.time is None else params.time)


class SysbenchMemoryParameters(SysbenchParameters):
    """Blocks read or written until the total is reached."""

    threads: int = parameter(
        1, "threads, each with a block of its own unless scope is global", unit="threads", ge=1, le=1024
    )
    block_size: Annotated[Size, Field(ge=1024)] = parameter(
        2**20, "bytes of one block: what the test allocates", unit="size"
    )
    total_size: Annotated[Size, Field(ge=1024)] = parameter(2**30, "bytes to move, all threads together", unit="size")
    scope: Literal["global", "local"] = parameter("global", "one block for all threads, or one for each")
    operation: Literal["read", "write"] = parameter("write", "what is done with a block")
    access: Literal["seq", "rnd"] = parameter("seq", "in what order")
    time: Annotated[Duration, Field(ge=1, multiple_of=1)] | None = parameter(
        None, "stop after this long, even short of the total", unit="duration"
    )

    @model_validator(mode="after")
    def _consistent(self) -> SysbenchMemoryParameters:
        if self.block_size & (self.block_size - 1):
            raise ValueError("block_size has to be a power of two")
        if self.block_size > self.total_size:
            raise ValueError("block_size is larger than total_size")
        return self


class SysbenchMemory(_Sysbench[SysbenchMemoryParameters]):
    """Read or write blocks of memory: with a block near the machine's memory it is pressure by
    anonymous pages.
    """

    name = "sysbench_memory"
    Parameters = SysbenchMemoryParameters
    metrics = (
        *_COMMON_METRICS,
        MetricSpec("operations_per_second", "1/s", "higher", "blocks a second, all threads together"),
        MetricSpec("transferred", "MiB", "neither", "memory read or written"),
        MetricSpec("bandwidth", "MiB/s", "higher", "memory read or written a second"),
    )
    labels: ClassVar = MEMORY

    def arguments(self, params: SysbenchMemoryParameters) -> list[str]:
        """The default time bound, 10 s, is lifted unless asked for: the same total for every
        policy.
        """
        return [
            "memory",
            f"--threads={params.threads}",
            f"--memory-block-size={params.block_size}",
            f"--memory-total-size={params.total_size}",
            f"--memory-scope={params.scope}",
            f"--memory-oper={params.operation}",
            f"--memory-access-mode={params.access}",
            f"--time={_seconds(params.time)}",
        ]

    def expected_seconds(self, params: SysbenchMemoryParameters, slowdown: float) -> float:
        """Natively about 4 GB/s in sequence and 0.5 GB/s at random, without pressure."""
        by_size = params.total_size / (4e9 if params.access == "seq" else 0.5e9) * slowdown
        return by_size if params.time is None else min(by_size, params.time)


class SysbenchFileioParameters(SysbenchParameters):
    """Requests on a set of files, bound by time or by their number."""

    mode: Literal["seqrd", "seqwr", "seqrewr", "rndrd", "rndwr", "rndrw"] = parameter(
        "rndrw", "pattern: sequential or random, reads, writes, rewrites or both"
    )
    threads: int = parameter(1, "threads that make requests", unit="threads", ge=1, le=1024)
    files: int = parameter(4, "files that share the total", unit="count", ge=1, le=100000)
    total_size: Annotated[Size, Field(ge=4096)] = parameter(64 * 2**20, "bytes of all files together", unit="size")
    block_size: Annotated[Size, Field(ge=512)] = parameter(16384, "bytes of one request", unit="size")
    time: Annotated[Duration, Field(ge=1, multiple_of=1)] | None = parameter(
        10.0, "how long to go on; null: until `events` are done", unit="duration"
    )
    events: int | None = parameter(None, "how many requests to make; null: until `time` is over", unit="count", ge=1)
    seed: int = parameter(1, "seed of the random offsets, the same on every machine", ge=1, le=2**31 - 1)
    directory: Annotated[str, Field(pattern=r"^/[\w./+-]+$")] = parameter(
        "/var/lib/overcommit/sysbench", "folder of the files, made if missing"
    )

    @model_validator(mode="after")
    def _consistent(self) -> SysbenchFileioParameters:
        if self.time is None and self.events is None:
            raise ValueError("time or events has to be given, or the test never ends")
        if self.block_size > self.total_size // self.files:
            raise ValueError("block_size is larger than one file (total_size ÷ files)")
        return self


class SysbenchFileio(_Sysbench[SysbenchFileioParameters]):
    """Requests on files, with an fsync every 100: page cache and disk."""

    name = "sysbench_fileio"
    Parameters = SysbenchFileioParameters
    metrics = (
        *_COMMON_METRICS,
        MetricSpec("reads_per_second", "1/s", "higher", "read requests a second"),
        MetricSpec("writes_per_second", "1/s", "higher", "write requests a second"),
        MetricSpec("fsyncs_per_second", "1/s", "neither", "fsync calls a second"),
        MetricSpec("read_bandwidth", "MiB/s", "higher", "read a second"),
        MetricSpec("write_bandwidth", "MiB/s", "higher", "written a second"),
    )
    labels: ClassVar = FILEIO

    def arguments(self, params: SysbenchFileioParameters) -> list[str]:
        """The files are where the script went to."""
        return [
            *_files(params),
            f"--file-test-mode={params.mode}",
            f"--file-block-size={params.block_size}",
            f"--threads={params.threads}",
            f"--rand-seed={params.seed}",
            f"--time={_seconds(params.time)}",
            f"--events={params.events or 0}",
        ]

    def preparation(self, params: SysbenchFileioParameters) -> str:
        """Fresh files."""
        folder = shlex.quote(params.directory)
        files = shlex.join(["sysbench", *_files(params), "prepare"])
        return (
            f"mkdir -p {folder}\ncd {folder}\nrm -f test_file.*\n"
            f"{files} >&2 || fail 'sysbench could not write its files'\n"
        )

    def change_directory(self, params: SysbenchFileioParameters) -> str:
        """The test finds its files in the working directory only."""
        return f"cd {shlex.quote(params.directory)}\n"

    def collect(self, machine: Machine, params: SysbenchFileioParameters, raw_dir: Path) -> WorkloadResult:
        """The report's figures; the files are removed."""
        folder = shlex.quote(params.directory)
        machines.check_script(machine, f"rm -f {folder}/test_file.*", what="remove sysbench's files", timeout_s=300)
        return super().collect(machine, params, raw_dir)

    def disk_bytes(self, params: SysbenchFileioParameters) -> int:
        """The size of its files, unless they are in memory."""
        return 0 if params.directory.startswith("/dev/shm") else params.total_size

    def expected_seconds(self, params: SysbenchFileioParameters, slowdown: float) -> float:
        """About 5000 requests a second natively, when their number bounds the test."""
        by_events = float("inf") if params.events is None else params.events / 5000 * slowdown
        return min(by_events, float("inf") if params.time is None else params.time)


def _files(params: SysbenchFileioParameters) -> list[str]:
    return ["fileio", f"--file-num={params.files}", f"--file-total-size={params.total_size}"]


def _seconds(time: float | None) -> int:
    """Whole seconds, and 0 for no bound."""
    return 0 if time is None else round(time)
