"""pgbench against a PostgreSQL of its own: short transactions, each of them in its log, and an open
loop where it is given a rate.

Natively a TPC-B-like transaction takes 2 ms, and a scale of 1 is 100,000 rows, 16 MiB.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from common.errors import OutputsError
from common.fields import MOST
from common.machines import Machine
from common.metrics import MetricSpec
from common.needs import Needs
from workloads import complaints, databases, machines, pgbench_output, scripts
from workloads.base import Size, Workload, WorkloadParameters, WorkloadResult, parameter
from workloads.databases import DATABASES

MIB = 2**20
LOG = "pgbench_log"
LONGEST_LINE = 80
"""Bytes of a transaction in it: seven numbers."""


class PgbenchParameters(WorkloadParameters):
    """The tables, and what is done with them."""

    scale: int = parameter(1, "size of the tables: 100,000 rows, 16 MiB, each", unit="count", ge=1, le=10**5)
    test: Literal["tpcb-like", "simple-update", "select-only"] = parameter(
        "tpcb-like", "what a transaction does, in pgbench's words"
    )
    clients: int = parameter(2, "clients at the same time", unit="count", ge=1, le=1000)
    transactions: int = parameter(
        100, "transactions, all clients together; a multiple of clients", unit="count", ge=1, le=MOST
    )
    rate: float | None = parameter(
        None,
        "transactions a second that arrive, at random moments, whatever became of those before; each is late from "
        "its moment on. null: each client asks when it has its answer",
        unit="1/s",
        gt=0,
        le=10**6,
    )
    buffer: Annotated[Size, Field(ge=8 * MIB, multiple_of=MIB)] = parameter(
        32 * MIB, "the database's own cache: shared_buffers", unit="size"
    )
    seed: int = parameter(1, "seed of the drawn rows, the same on every machine", ge=1, le=2**31 - 1)
    reset_memory: bool = parameter(True, scripts.RESET_MEMORY_DOC)

    @model_validator(mode="after")
    def _consistent(self) -> PgbenchParameters:
        if self.transactions % self.clients:
            raise ValueError("transactions is no multiple of clients: some would have more to do")
        return self


class Pgbench(Workload[PgbenchParameters]):
    """Short transactions on a real PostgreSQL, each timed: tail latencies, and an open loop."""

    name = "pgbench"
    Parameters = PgbenchParameters
    metrics = (
        MetricSpec("wall_seconds", "s", "lower", "wall clock of pgbench, its own start and end included"),
        MetricSpec("user_seconds", "s", "lower", "user time of pgbench, without the database's"),
        MetricSpec("system_seconds", "s", "lower", "system time of pgbench, without the database's"),
        MetricSpec("transactions_per_second", "1/s", "higher", "transactions a second"),
        MetricSpec("latency_mean", "ms", "lower", "mean transaction, from its planned start where there is a rate"),
        MetricSpec("latency_p50", "ms", "lower", "median transaction"),
        MetricSpec("latency_p99", "ms", "lower", "99th percentile of the transactions"),
        MetricSpec("latency_p99.9", "ms", "lower", "99.9th percentile of the transactions"),
        MetricSpec("latency_max", "ms", "lower", "longest transaction"),
        MetricSpec("lag_max", "ms", "lower", "most that a transaction began late; only with a rate"),
    )

    def needs(self, params: PgbenchParameters) -> Needs:  # noqa: ARG002  (the same for all)
        """The database, which brings pgbench."""
        return DATABASES["postgresql"].needs

    def prepare(self, machine: Machine, params: PgbenchParameters) -> dict[str, str]:
        """The database with its tables, then memory. Facts: postgresql (version)."""
        body = DATABASES["postgresql"].start(params.buffer) + scripts.text("pgbench-path.sh")
        body += scripts.text("fill.sh", "pgbench", "-i", "-q", "-s", params.scale, *_server())
        script = scripts.prepare(body, reset_memory=params.reset_memory)
        return machines.key_values(machines.check_script(machine, script, what="prepare pgbench", timeout_s=3600))

    def script(self, params: PgbenchParameters) -> str:
        """One pgbench; its log has every transaction."""
        command = [
            "pgbench",
            "-n",
            f"--builtin={params.test}",
            f"--client={params.clients}",
            "--jobs=1",
            f"--transactions={params.transactions // params.clients}",
            *([] if params.rate is None else [f"--rate={params.rate}"]),
            f"--random-seed={params.seed}",
            "--log",
            f"--log-prefix={scripts.RAW}/{LOG}",
            *_server(),
        ]
        return scripts.timed(scripts.text("pgbench-path.sh") + scripts.command("pgbench", command))

    def collect(self, machine: Machine, params: PgbenchParameters, raw_dir: Path) -> WorkloadResult:
        """The database is ended; its tables stay until it is filled again."""
        machines.fetch_raw(machine, raw_dir, most=machines.MOST_RAW + LONGEST_LINE * params.transactions)
        databases.stop(machine)
        return self.read(params, raw_dir)

    def read(self, params: PgbenchParameters, raw_dir: Path) -> WorkloadResult:
        """The figures, if every transaction was done and is in the log."""
        timing = scripts.read_timing(raw_dir, "pgbench", "pgbench")
        complaints.require_none(raw_dir / "pgbench.err", "pgbench")
        logs = sorted(raw_dir.glob(f"{LOG}.*"))
        if len(logs) != 1:
            raise OutputsError("pgbench left no log, or several", where=str(raw_dir), why=f"{len(logs)} of {LOG}.*")
        log = machines.raw_text(raw_dir, logs[0].name)
        text = machines.raw_text(raw_dir, "pgbench.out")
        report = pgbench_output.read(text, log, params.transactions, raw_dir / "pgbench.out")
        values: dict[str, float | int | None] = {
            "wall_seconds": timing.wall_seconds,
            "user_seconds": timing.user_seconds,
            "system_seconds": timing.system_seconds,
            "transactions_per_second": report.rate,
            "latency_mean": report.mean,
            "latency_p50": report.percentile(0.5),
            "latency_p99": report.percentile(0.99),
            "latency_p99.9": report.percentile(0.999),
            "latency_max": report.latencies[-1],
            "lag_max": max(report.lags, default=None),
        }
        return WorkloadResult(self.measured(values), {})

    def told(self, raw_dir: Path) -> dict[str, object]:
        """Clients and transactions."""
        clients = scripts.told(raw_dir, "pgbench.out", r"^number of clients: (\d{1,9})$")
        each = scripts.told(raw_dir, "pgbench.out", r"^number of transactions per client: (\d{1,18})$")
        if clients is None or each is None:
            return {}
        return {"clients": int(clients[1]), "transactions": int(clients[1]) * int(each[1])}

    def disk_bytes(self, params: PgbenchParameters) -> int:
        """The tables, and the database's log of them."""
        return params.scale * 32 * MIB

    def expected_seconds(self, params: PgbenchParameters, slowdown: float) -> float:
        """2 ms a transaction, or its rate."""
        busy = params.transactions * 2e-3 * slowdown
        return max(busy, params.transactions / params.rate) if params.rate else busy


def _server() -> list[str]:
    """How pgbench is told of the database."""
    return [f"--host={databases.FOLDER}", "--username=postgres", databases.NAME]
