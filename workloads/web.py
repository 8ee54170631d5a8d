"""A static site on nginx, asked for by wrk over the loopback: with a site larger than memory, the
files that are asked for less often come from the disk, unless something keeps them.

wrk is no open loop, and neither are ab and siege, which Debian has as well: a connection asks again
when it has its answer, so what would have waited is not counted.
Natively a file of 256 KiB takes 0.2 ms when it is cached.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from common.errors import OutputsError, WorkloadError
from common.machines import Machine
from common.metrics import MetricSpec
from common.needs import Needs
from workloads import complaints, machines, scripts
from workloads.base import Duration, Size, Workload, WorkloadParameters, WorkloadResult, parameter

FOLDER = "/run/overcommit/web"


_SHAPE = re.compile(
    r"^web requests=(?P<requests>\d{1,18}) microseconds=(?P<time>\d{1,18}) bytes=(?P<bytes>\d{1,18})\n"
    r"web (?P<errors>connect=\d{1,9} read=\d{1,9} write=\d{1,9} status=\d{1,9} timeout=\d{1,9})\n"
    r"web mean=(?P<mean>\d{1,15}\.\d) max=(?P<max>\d{1,15}) p50=(?P<p50>\d{1,15}) p99=(?P<p99>\d{1,15}) "
    r"p99\.9=(?P<p999>\d{1,15})\n",
    re.MULTILINE,
)


class WebParameters(WorkloadParameters):
    """The site, and how it is asked for."""

    files: int = parameter(800, "files of the site", unit="count", ge=1, le=10**6)
    size: Annotated[Size, Field(ge=1)] = parameter(256 * 1024, "bytes of each file", unit="size")
    draw: Literal["zipf", "uniform"] = parameter("zipf", "file k as often as 1/k, or each as often as any other")
    connections: int = parameter(4, "connections that ask", unit="count", ge=1, le=1000)
    time: Annotated[Duration, Field(ge=1, multiple_of=1)] = parameter(30.0, "how long", unit="duration")
    longest: Annotated[Duration, Field(ge=1, le=600, multiple_of=1)] = parameter(
        4.0,
        "a request that takes longer fails the run; wrk allocates 8 MB of counters for each second of it, which "
        "count as committed memory",
        unit="duration",
    )
    seed: int = parameter(1, "seed of the drawn files, the same on every machine", ge=0, le=2**31 - 1)
    port: int = parameter(21280, "port of the server on the loopback", ge=1024, le=65535)
    directory: Annotated[str, Field(pattern=r"^/[\w./+-]*\.site$")] = parameter(
        "/var/lib/overcommit/overcommit.site", "folder of the site, removed and made anew; its name ends with .site"
    )
    reset_memory: bool = parameter(True, scripts.RESET_MEMORY_DOC)

    @model_validator(mode="after")
    def _consistent(self) -> WebParameters:
        if self.files * self.size > 2**45:
            raise ValueError("files × size is more than 32 TiB")
        return self


class Web(Workload[WebParameters]):
    """A static site on nginx: file cache that hurts when it is missing."""

    name = "web"
    Parameters = WebParameters
    metrics = (
        MetricSpec("wall_seconds", "s", "neither", "wall clock of wrk, its own start and end included"),
        MetricSpec("user_seconds", "s", "lower", "user time of wrk, without the server's"),
        MetricSpec("system_seconds", "s", "lower", "system time of wrk, without the server's"),
        MetricSpec("requests", "count", "higher", "files that were asked for and came whole"),
        MetricSpec("requests_per_second", "1/s", "higher", "files a second"),
        MetricSpec("bandwidth", "B/s", "higher", "bytes a second, headers included"),
        MetricSpec("latency_mean", "us", "lower", "mean request, from asking to the whole answer"),
        MetricSpec("latency_p50", "us", "lower", "median request"),
        MetricSpec("latency_p99", "us", "lower", "99th percentile of the requests"),
        MetricSpec("latency_p99.9", "us", "lower", "99.9th percentile of the requests"),
        MetricSpec("latency_max", "us", "lower", "longest request"),
    )

    def needs(self, params: WebParameters) -> Needs:  # noqa: ARG002  (the same for all)
        """Server and load."""
        return Needs(("nginx-light", "wrk"))

    def prepare(self, machine: Machine, params: WebParameters) -> dict[str, str]:
        """The site, on a server, then memory. Facts: nginx (version)."""
        drawn = f"FILES, ZIPF, SEED = {params.files}, {str(params.draw == 'zipf').lower()}, {params.seed}\n"
        site = (params.directory, params.files, params.size, params.port, drawn + scripts.content("web.lua"))
        body = scripts.text("service-stop.sh", f"{FOLDER}/pid") + scripts.text("web-start.sh", FOLDER, *site)
        script = scripts.prepare(body, reset_memory=params.reset_memory)
        return machines.key_values(machines.check_script(machine, script, what="prepare web", timeout_s=3600))

    def script(self, params: WebParameters) -> str:
        """The load alone; wrk.out ends with its figures."""
        limits = ["--threads=1", f"--connections={params.connections}", f"--duration={params.time:.0f}s"]
        script = [f"--timeout={params.longest:.0f}s", f"--script={FOLDER}/wrk.lua", f"http://127.0.0.1:{params.port}/"]
        return scripts.timed(scripts.command("wrk", ["wrk", *limits, *script]))

    def collect(self, machine: Machine, params: WebParameters, raw_dir: Path) -> WorkloadResult:
        """The server is ended, and the site removed."""
        machines.fetch_raw(machine, raw_dir)
        end = scripts.text("service-stop.sh", f"{FOLDER}/pid") + scripts.text("remove-folder.sh", params.directory)
        machines.check_script(machine, end, what="end nginx", timeout_s=300)
        return self.read(params, raw_dir)

    def read(self, params: WebParameters, raw_dir: Path) -> WorkloadResult:
        """The figures, if no request failed and whole files came."""
        timing = scripts.read_timing(raw_dir, "wrk", "web")
        complaints.require_none(raw_dir / "wrk.err", "web")
        times = {name: getattr(timing, name) for name in ("wall_seconds", "user_seconds", "system_seconds")}
        figures = read_report(machines.raw_text(raw_dir, "wrk.out"), params.size, raw_dir / "wrk.out")
        return WorkloadResult(self.measured(times | figures), {})

    def disk_bytes(self, params: WebParameters) -> int:
        """The site."""
        return params.files * params.size

    def expected_seconds(self, params: WebParameters, slowdown: float) -> float:  # noqa: ARG002  (bound by time)
        """As long as was asked for."""
        return params.time


def read_report(text: str, size: int, where: Path) -> dict[str, float | int | None]:
    """The lines that web.lua prints. WorkloadError when requests failed, or none was answered;
    OutputsError when the lines are not all there, or bytes and requests do not fit together.
    """
    found = list(_SHAPE.finditer(text))
    if len(found) != 1:
        raise OutputsError(
            "wrk's output has another form than expected",
            where=str(where),
            why=f"the lines of its figures are there {len(found)} times",
        )
    match = found[0]
    if failed := re.findall(r"\w+=[1-9]\d*", match["errors"]):
        raise WorkloadError("requests failed", where=str(where), why=", ".join(failed))
    requests, moved, time = int(match["requests"]), int(match["bytes"]), int(match["time"])
    if not requests or not time:
        raise WorkloadError("no request was answered", where=str(where), why=match[0].strip())
    if moved < requests * size:
        raise OutputsError(
            "wrk's figures contradict each other",
            where=str(where),
            why=f"{requests} files of {size} bytes are not {moved} bytes",
        )
    seconds = time / 1e6
    return {
        "requests": requests,
        "requests_per_second": requests / seconds,
        "bandwidth": moved / seconds,
        "latency_mean": float(match["mean"]),
        "latency_p50": int(match["p50"]),
        "latency_p99": int(match["p99"]),
        "latency_p99.9": int(match["p999"]),
        "latency_max": int(match["max"]),
    }
