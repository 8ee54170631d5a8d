"""RocksDB by its own db_bench: a database larger than a guest, read at random through a small cache
of its own and the page cache, as cache_ext measured it.

Debian builds db_bench with assertions, so compare its figures with each other alone. Natively a
read takes 5 us when it is cached.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from common.errors import OutputsError, WorkloadError
from common.fields import MOST
from common.machines import Machine
from common.metrics import MetricSpec
from common.needs import Needs
from workloads import complaints, machines, scripts
from workloads.base import Size, Workload, WorkloadParameters, WorkloadResult, parameter

MIB = 2**20
KEY = 16

_NUMBER = r"(\d{1,15}(?:\.\d{1,9})?)"
_FIGURES = {
    "average": rf"^Count: \d{{1,18}} Average: {_NUMBER}  StdDev: ",
    "count": r"^Count: (\d{1,18}) Average: ",
    "max": rf"^Min: \d{{1,18}}  Median: {_NUMBER[1:-1]}  Max: {_NUMBER}$",
    "p50": rf"^Percentiles: P50: {_NUMBER} ",
    "p99": rf"^Percentiles: .* P99: {_NUMBER} ",
    "p99.9": rf"^Percentiles: .* P99\.9: {_NUMBER} ",
}


class RocksdbParameters(WorkloadParameters):
    """The database, and what is done with it."""

    test: Literal["readrandom", "seekrandom", "overwrite"] = parameter(
        "readrandom", "what an operation does, in db_bench's words"
    )
    keys: int = parameter(200000, "keys that are stored before the clock", unit="count", ge=1, le=10**10)
    value: Annotated[Size, Field(ge=1, le=MIB)] = parameter(1000, "bytes of each value", unit="size")
    operations: int = parameter(
        20000, "operations, all threads together; a multiple of threads", unit="count", ge=1, le=MOST
    )
    threads: int = parameter(1, "threads that make them", unit="threads", ge=1, le=1024)
    skew: float = parameter(
        0.0, "exponent by which reads prefer some keys (read_random_exp_range); 0: all alike", ge=0, le=1000
    )
    cache: Annotated[Size, Field(ge=MIB)] = parameter(
        8 * MIB, "RocksDB's own cache; the rest is the page cache's", unit="size"
    )
    seed: int = parameter(1, "seed of the keys, the same on every machine", ge=1, le=2**31 - 1)
    directory: Annotated[str, Field(pattern=r"^/[\w./+-]*[\w+-]$")] = parameter(
        "/var/lib/overcommit/rocksdb", "folder of the database, removed and made anew"
    )
    reset_memory: bool = parameter(True, scripts.RESET_MEMORY_DOC)

    @model_validator(mode="after")
    def _consistent(self) -> RocksdbParameters:
        if self.operations % self.threads:
            raise ValueError("operations is no multiple of threads: some would have more to do")
        return self


class Rocksdb(Workload[RocksdbParameters]):
    """RocksDB's db_bench on a database larger than memory: file cache that hurts when missing."""

    name = "rocksdb"
    Parameters = RocksdbParameters
    metrics = (
        MetricSpec("wall_seconds", "s", "lower", "wall clock of db_bench, opening the database included"),
        MetricSpec("user_seconds", "s", "lower", "user time of db_bench"),
        MetricSpec("system_seconds", "s", "lower", "system time of db_bench"),
        MetricSpec("operations_per_second", "1/s", "higher", "operations a second, all threads together"),
        MetricSpec("found_ratio", "ratio", "neither", "share of reads that found their key; none of writes"),
        MetricSpec("latency_mean", "us", "lower", "mean operation"),
        MetricSpec("latency_p50", "us", "lower", "median operation, as db_bench's histogram has it"),
        MetricSpec("latency_p99", "us", "lower", "99th percentile of the operations"),
        MetricSpec("latency_p99.9", "us", "lower", "99.9th percentile of the operations"),
        MetricSpec("latency_max", "us", "lower", "longest operation"),
    )

    def needs(self, params: RocksdbParameters) -> Needs:  # noqa: ARG002  (the same for all)
        """Its tools."""
        return Needs(("rocksdb-tools",))

    def prepare(self, machine: Machine, params: RocksdbParameters) -> dict[str, str]:
        """The database, filled in order, then memory. Facts: rocksdb (version)."""
        fill = [*_bench(params), "--benchmarks=fillseq"]
        body = scripts.text("rocksdb-prepare.sh", params.directory, *fill)
        script = scripts.prepare(body, reset_memory=params.reset_memory)
        return machines.key_values(machines.check_script(machine, script, what="prepare rocksdb", timeout_s=3600))

    def script(self, params: RocksdbParameters) -> str:
        """The test alone; rocksdb.out has its histogram."""
        per_thread = params.operations // params.threads
        command = [
            *_bench(params),
            f"--benchmarks={params.test}",
            "--use_existing_db=1",
            "--histogram=1",
            f"--threads={params.threads}",
            f"--{'writes' if params.test == 'overwrite' else 'reads'}={per_thread}",
            f"--read_random_exp_range={params.skew}",
        ]
        return scripts.timed(scripts.command("rocksdb", command))

    def collect(self, machine: Machine, params: RocksdbParameters, raw_dir: Path) -> WorkloadResult:
        """The figures; the database is removed."""
        machines.fetch_raw(machine, raw_dir)
        remove = scripts.text("remove-folder.sh", params.directory)
        machines.check_script(machine, remove, what="remove the database", timeout_s=300)
        return self.read(params, raw_dir)

    def read(self, params: RocksdbParameters, raw_dir: Path) -> WorkloadResult:
        """The figures, if all operations were made."""
        timing = scripts.read_timing(raw_dir, "rocksdb", "rocksdb")
        beside = raw_dir / "rocksdb.err"
        complaints.require_none(beside, "rocksdb")
        if beside.is_file():
            _require_no_errors(beside.read_text(encoding="utf-8", errors="replace"), beside)
        where = raw_dir / "rocksdb.out"
        figures = read_report(machines.raw_text(raw_dir, "rocksdb.out"), params.test, params.operations, where)
        times = {name: getattr(timing, name) for name in ("wall_seconds", "user_seconds", "system_seconds")}
        return WorkloadResult(self.measured(times | figures), {})

    def told(self, raw_dir: Path) -> dict[str, object]:
        """The test, and how many operations it had."""
        match = scripts.told(raw_dir, "rocksdb.out", r"^(readrandom|seekrandom|overwrite) +: .* (\d{1,18}) operations;")
        return {"test": match[1], "operations": int(match[2])} if match else {}

    def disk_bytes(self, params: RocksdbParameters) -> int:
        """Keys and values, and as much again where they are overwritten or compacted."""
        return 2 * params.keys * (KEY + params.value)

    def expected_seconds(self, params: RocksdbParameters, slowdown: float) -> float:
        """10 us an operation, and a start."""
        return (params.operations * 10e-6 + 0.2) * slowdown


def read_report(text: str, test: str, operations: int, where: Path) -> dict[str, float | int | None]:
    """What db_bench printed of one test. WorkloadError when it says that it failed; OutputsError
    when it is another's, or not whole.
    """
    _require_no_errors(text, where)
    lines = re.findall(
        rf"^{test} +: +{_NUMBER} micros/op (\d{{1,15}}) ops/sec {_NUMBER} seconds (\d{{1,18}}) operations;(.*)$",
        text,
        re.MULTILINE,
    )
    if len(lines) != 1:
        raise _refused(where, f"the line of {test} is there {len(lines)} times")
    _, rate, _, done, rest = lines[0]
    found: dict[str, str] = {}
    for name, pattern in _FIGURES.items():
        values = re.findall(pattern, text, re.MULTILINE)
        if len(values) != 1:
            raise _refused(where, f"the figure {name} is there {len(values)} times")
        found[name] = values[0]
    if int(done) != operations or int(found["count"]) != operations:
        raise _refused(where, f"{done} operations, of which {found['count']} were timed, instead of {operations}")
    hits = re.search(r"\((\d{1,18}) of (\d{1,18}) found\)", rest)
    if hits and hits[1] != hits[2]:
        why = "all keys were written before, so the database has lost some, and times of misses are no times of reads"
        raise WorkloadError(f"db_bench found {hits[1]} of {hits[2]} keys", where=str(where), why=why)
    return {
        "operations_per_second": int(rate),
        "found_ratio": int(hits[1]) / int(hits[2]) if hits and int(hits[2]) else None,
        "latency_mean": float(found["average"]),
        **{f"latency_{name}": float(found[name]) for name in ("p50", "p99", "p99.9", "max")},
    }


def _require_no_errors(text: str, where: Path) -> None:
    if said := re.findall(r"^.*(?:error|Corruption|IO error|not found: ).*$", text, re.MULTILINE):
        raise WorkloadError("db_bench failed", where=str(where), why="\n".join(said[:5]))


def _bench(params: RocksdbParameters) -> list[str]:
    """The command line of every db_bench on the database."""
    return [
        "db_bench",
        f"--db={params.directory}",
        f"--num={params.keys}",
        f"--key_size={KEY}",
        f"--value_size={params.value}",
        f"--cache_size={params.cache}",
        f"--seed={params.seed}",
        "--compression_type=none",
    ]


def _refused(where: Path, why: str) -> OutputsError:
    return OutputsError("db_bench's output has another form than expected", where=str(where), why=why)
