"""sysbench's OLTP against a MariaDB or a PostgreSQL of its own: a ladder of users on one filled
database, each rung the same number of transactions.

Sized for guests of 192 MiB and up: a MariaDB with nothing to do takes 100 MiB, a PostgreSQL 30.
Natively a transaction of oltp_read_write, 20 queries, takes 2 ms.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from common.fields import MOST
from common.machines import Machine
from common.metrics import MetricSpec, total
from common.needs import Needs, together
from workloads import databases, machines, scripts
from workloads.base import Size, Workload, WorkloadParameters, WorkloadResult, parameter
from workloads.databases import DATABASES
from workloads.sysbench_output import OLTP, percentiles, read_report, require_no_complaints

MIB = 2**20

TIMES = ("wall_seconds", "user_seconds", "system_seconds")


class SysbenchOltpParameters(WorkloadParameters):
    """The database, its tables, and the ladder."""

    database: Literal["mariadb", "postgresql"] = parameter("mariadb", "which database is started, filled and ended")
    test: Literal["oltp_read_write", "oltp_read_only", "oltp_write_only", "oltp_point_select", "oltp_update_index"] = (
        parameter("oltp_read_write", "what a transaction does, in sysbench's words")
    )
    users: Annotated[tuple[Annotated[int, Field(ge=1, le=1000)], ...], Field(strict=False, min_length=1)] = parameter(
        (1, 4), "users at the same time, one rung after the other"
    )
    transactions: int = parameter(100, "transactions of each rung, all its users together", unit="count", ge=1, le=MOST)
    tables: int = parameter(1, "tables", unit="count", ge=1, le=1000)
    rows: int = parameter(5000, "rows of each table, about 230 bytes each", unit="count", ge=100, le=10**9)
    buffer: Annotated[Size, Field(ge=8 * MIB, multiple_of=MIB)] = parameter(
        32 * MIB, "the database's own cache: innodb_buffer_pool_size, or shared_buffers", unit="size"
    )
    draw: Literal["uniform", "gaussian", "special", "pareto"] = parameter(
        "pareto", "how rows are drawn, in sysbench's words"
    )
    seed: int = parameter(1, "seed of the drawn rows, the same on every machine", ge=1, le=2**31 - 1)
    reset_memory: bool = parameter(True, scripts.RESET_MEMORY_DOC)

    @model_validator(mode="after")
    def _consistent(self) -> SysbenchOltpParameters:
        if len(set(self.users)) != len(self.users):
            raise ValueError("a number of users is there twice: their figures have its name")
        return self


def _rung(name: str, unit: str, better: Literal["lower", "higher", "neither"], doc: str) -> MetricSpec:
    return MetricSpec(f"{name}.users<n>", unit, better, f"{doc}, with so many users")


class SysbenchOltp(Workload[SysbenchOltpParameters]):
    """Transactions on a real MariaDB or PostgreSQL, by a growing number of users."""

    name = "sysbench_oltp"
    Parameters = SysbenchOltpParameters
    metrics = (
        MetricSpec("wall_seconds", "s", "lower", "wall clock of all rungs"),
        MetricSpec("user_seconds", "s", "lower", "user time of sysbench, without the database's"),
        MetricSpec("system_seconds", "s", "lower", "system time of sysbench, without the database's"),
        _rung("test_seconds", "s", "lower", "time of a rung, as sysbench counted it"),
        _rung("transactions_per_second", "1/s", "higher", "transactions a second"),
        _rung("queries_per_second", "1/s", "higher", "queries a second"),
        _rung("ignored_errors", "count", "lower", "transactions that were begun again after a deadlock"),
        _rung("latency_mean", "ms", "lower", "mean transaction"),
        _rung("latency_p50", "ms", "lower", "median transaction, as sysbench's histogram has it"),
        _rung("latency_p95", "ms", "lower", "95th percentile of the transactions"),
        _rung("latency_p99", "ms", "lower", "99th percentile of the transactions, of the histogram"),
        _rung("latency_p99.9", "ms", "lower", "99.9th percentile of the transactions, of the histogram"),
        _rung("latency_max", "ms", "lower", "longest transaction"),
    )

    def needs(self, params: SysbenchOltpParameters) -> Needs:
        """The database; sysbench is in every image."""
        return DATABASES[params.database].needs

    def most_needs(self) -> Needs:
        """Both databases."""
        return together(each.needs for each in DATABASES.values())

    def prepare(self, machine: Machine, params: SysbenchOltpParameters) -> dict[str, str]:
        """The database with its tables, then memory. Facts: sysbench and the database (version)."""
        body = scripts.text("sysbench-prepare.sh") + DATABASES[params.database].start(params.buffer)
        body += scripts.text("fill.sh", *_sysbench(params), "prepare")
        script = scripts.prepare(body, reset_memory=params.reset_memory)
        return machines.key_values(machines.check_script(machine, script, what=f"prepare {self.name}", timeout_s=3600))

    def script(self, params: SysbenchOltpParameters) -> str:
        """A sysbench for each rung; usersN.out is its report."""
        return scripts.timed("".join(scripts.command(f"users{users}", _run(params, users)) for users in params.users))

    def collect(self, machine: Machine, params: SysbenchOltpParameters, raw_dir: Path) -> WorkloadResult:
        """The database is ended; its tables stay until it is filled again."""
        machines.fetch_raw(machine, raw_dir)
        databases.stop(machine)
        return self.read(params, raw_dir)

    def read(self, params: SysbenchOltpParameters, raw_dir: Path) -> WorkloadResult:
        """The figures of every rung, if sysbench and its users came to their end in each."""
        labels = [f"users{users}" for users in params.users]
        timings = scripts.read_rungs(raw_dir, labels, self.name)
        values: dict[str, float | int | None] = {}
        for name in TIMES:
            each = [getattr(timing, name) for timing in timings]
            values[name] = None if None in each else round(total(each), 2)
        for label in labels:
            require_no_complaints(raw_dir / f"{label}.err")
            report = machines.raw_text(raw_dir, f"{label}.out")
            found = read_report(report, OLTP, raw_dir / f"{label}.out")
            found |= percentiles(report, params.transactions, raw_dir / f"{label}.out")
            values |= {f"{name}.{label}": value for name, value in found.items() if name not in _UNUSED}
        return WorkloadResult(self.measured(values), {})

    def told(self, raw_dir: Path) -> dict[str, object]:
        """The ladder, and how many transactions each rung had."""
        found = scripts.labels(raw_dir, r"users\d{1,4}")
        match = scripts.told(raw_dir, f"{found[0]}.out", r"^ +total number of events: +(\d{1,18})$") if found else None
        users = [int(label.removeprefix("users")) for label in found]
        return {"users": users, "transactions": int(match[1])} if match else {}

    def disk_bytes(self, params: SysbenchOltpParameters) -> int:
        """The tables, with their indexes and the database's log of them."""
        return params.tables * params.rows * 230 * 2

    def expected_seconds(self, params: SysbenchOltpParameters, slowdown: float) -> float:
        """2 ms a transaction, and a start of sysbench for each rung."""
        return len(params.users) * (params.transactions * 2e-3 + 0.2) * slowdown


_UNUSED = {"latency_min", "events"}
"""Figures of every report that say nothing here: each rung has the events that were asked for."""


def _sysbench(params: SysbenchOltpParameters) -> list[str]:
    """The command line without what it is to do."""
    return [
        "sysbench",
        params.test,
        *DATABASES[params.database].sysbench,
        f"--tables={params.tables}",
        f"--table-size={params.rows}",
    ]


def _run(params: SysbenchOltpParameters, users: int) -> list[str]:
    """One rung."""
    bound = [f"--threads={users}", f"--events={params.transactions}", "--time=0"]
    told = ["--percentile=95", "--histogram=on", f"--rand-type={params.draw}", f"--rand-seed={params.seed}"]
    return [*_sysbench(params), *bound, *told, "run"]
