"""memcached and Valkey, filled before the clock and then asked over the loopback: what a cache's
tail latency does when its memory goes.

The load is our own (programs/kvload.c). Debian's generators are none for this: memcached has none
that tells percentiles, and valkey-benchmark is a closed loop, so that a server that stands still is
asked nothing meanwhile, and what would have waited is not counted. With a `rate`, requests arrive
at fixed moments here whatever became of those before, and each is late from its moment on.

The servers are Debian's packages. Natively a request takes 20 us of both processes together.
"""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import Field, model_validator

from common.fields import MOST
from common.machines import Machine
from common.metrics import MetricSpec
from common.needs import Needs
from workloads import complaints, latencies, machines, programs, scripts
from workloads.base import Size, Workload, WorkloadParameters, WorkloadResult, parameter
from workloads.kvload_output import read_run

MIB = 2**20
PIDFILE = "/run/overcommit/keyvalue/pid"

_FROM = "from the moment it was due, or was sent where there is no rate, to its whole answer"


class KeyValueParameters(WorkloadParameters):
    """The store, and what it is asked."""

    keys: int = parameter(20000, "keys that are stored before the clock", unit="count", ge=1, le=10**9)
    value: Annotated[Size, Field(ge=16, le=MIB - 4096)] = parameter(1024, "bytes of each value", unit="size")
    memory: Annotated[Size, Field(ge=MIB, multiple_of=MIB)] = parameter(
        64 * MIB, "the server's limit; with less than keys × value, some keys are dropped and missed", unit="size"
    )
    skew: float = parameter(
        0.99, "exponent of Zipf's law by which keys are drawn; 0: each as often as any other", ge=0, lt=1
    )
    reads: int = parameter(95, "share of requests that read; the others write", unit="%", ge=0, le=100)
    connections: int = parameter(4, "connections of the load", unit="count", ge=1, le=1024)
    rate: float | None = parameter(
        200.0,
        "requests a second, which arrive whatever became of those before; null: each connection asks when it has "
        "its answer",
        unit="1/s",
        gt=0,
        le=10**7,
    )
    requests: int = parameter(4000, "requests of a run", unit="count", ge=1, le=MOST)
    seed: int = parameter(1, "seed of the keys, the same on every machine", ge=0, le=2**31 - 1)
    port: int = parameter(21211, "port of the server on the loopback", ge=1024, le=65535)
    reset_memory: bool = parameter(True, scripts.RESET_MEMORY_DOC)

    @model_validator(mode="after")
    def _consistent(self) -> KeyValueParameters:
        if self.requests < self.connections:
            raise ValueError("requests is less than connections: some would have nothing to do")
        return self


class _KeyValue(Workload[KeyValueParameters]):
    """What both have."""

    Parameters = KeyValueParameters
    packages: ClassVar[tuple[str, ...]]
    metrics = (
        MetricSpec("wall_seconds", "s", "lower", "wall clock of the load, its own start and end included"),
        MetricSpec("user_seconds", "s", "lower", "user time of the load, without the server's"),
        MetricSpec("system_seconds", "s", "lower", "system time of the load, without the server's"),
        MetricSpec("serving_seconds", "s", "lower", "from the first request to the last answer"),
        MetricSpec("requests_per_second", "1/s", "higher", "requests that were answered a second"),
        MetricSpec("hit_ratio", "ratio", "higher", "share of reads that found their key"),
        *latencies.specs("read", f"a read, {_FROM}"),
        *latencies.specs("write", f"a write, {_FROM}"),
    )

    @abstractmethod
    def start(self, params: KeyValueParameters) -> str:
        """Sh text that starts the server, with the file of its process number."""

    def needs(self, params: KeyValueParameters) -> Needs:  # noqa: ARG002  (the same for all)
        """The server, and the load."""
        return Needs(self.packages, ("kvload",))

    def prepare(self, machine: Machine, params: KeyValueParameters) -> dict[str, str]:
        """The server with all keys, then memory. Facts: the server (version), kvload (its file)."""
        fill = (self.name, params.port, params.keys, params.value)
        body = (
            programs.prepare("kvload")
            + scripts.text("service-stop.sh", PIDFILE)
            + self.start(params)
            + scripts.text("kvload-fill.sh", programs.path("kvload"), *fill)
        )
        script = scripts.prepare(body, reset_memory=params.reset_memory)
        return machines.key_values(machines.check_script(machine, script, what=f"prepare {self.name}", timeout_s=1800))

    def script(self, params: KeyValueParameters) -> str:
        """The load alone; kvload.out has its histograms."""
        asked = (params.seed, params.keys, params.value, params.skew, params.reads, params.connections)
        run = (*asked, params.rate or 0, params.requests)
        command = [programs.path("kvload"), self.name, str(params.port), "run", *map(str, run)]
        return scripts.timed(scripts.command("kvload", command))

    def collect(self, machine: Machine, params: KeyValueParameters, raw_dir: Path) -> WorkloadResult:
        """The server is ended. Values are checked by the load itself, so there are no checksums."""
        machines.fetch_raw(machine, raw_dir)
        stop = scripts.text("service-stop.sh", PIDFILE)
        machines.check_script(machine, stop, what=f"end {self.name}", timeout_s=120)
        return self.read(params, raw_dir)

    def read(self, params: KeyValueParameters, raw_dir: Path) -> WorkloadResult:
        """The figures, if every request was answered, and by its own value."""
        timing = scripts.read_timing(raw_dir, "kvload", self.name)
        complaints.require_none(raw_dir / "kvload.err", self.name)
        run = read_run(machines.raw_text(raw_dir, "kvload.out"), params.requests, raw_dir / "kvload.out")
        values: dict[str, float | int | None] = {
            "wall_seconds": timing.wall_seconds,
            "user_seconds": timing.user_seconds,
            "system_seconds": timing.system_seconds,
            "serving_seconds": run.seconds,
            "requests_per_second": run.requests / run.seconds,
            "hit_ratio": run.hits / run.gets.counted if run.gets.counted else None,
        }
        values |= latencies.figures("read", [run.gets]) | latencies.figures("write", [run.sets])
        return WorkloadResult(self.measured(values), {})

    def told(self, raw_dir: Path) -> dict[str, object]:
        """How many requests there were."""
        match = scripts.told(raw_dir, "kvload.out", r"^requests (\d{1,18}) ")
        return {"requests": int(match[1])} if match else {}

    def expected_seconds(self, params: KeyValueParameters, slowdown: float) -> float:
        """At its rate, if the machine keeps up with it."""
        busy = params.requests * 20e-6 * slowdown
        return max(busy, params.requests / params.rate) if params.rate else busy


class Memcached(_KeyValue):
    """memcached under an open-loop load: a cache's tail latency, to its 99.9th percentile."""

    name = "memcached"
    packages = ("memcached",)

    def start(self, params: KeyValueParameters) -> str:
        """With one thread, since guests have one processor."""
        limit = max(MIB, params.value + 4096)
        return scripts.text("memcached-start.sh", PIDFILE, params.port, params.memory // MIB, limit)


class Valkey(_KeyValue):
    """Valkey under an open-loop load: a cache's tail latency, to its 99.9th percentile."""

    name = "valkey"
    packages = ("valkey-server", "valkey-tools")

    def start(self, params: KeyValueParameters) -> str:
        """Without a copy on disk."""
        return scripts.text("valkey-start.sh", PIDFILE, params.port, params.memory)
