"""Every workload for real, in a guest of the emulated host: small amounts, and figures that can
be checked against each other.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest

from common.errors import WorkloadError
from lab.emulator.process import UNLIMITED
from lab.hosts.emulated import EmulatedHost
from workloads import registry
from workloads.base import WorkloadResult
from workloads.run import run

pytestmark = pytest.mark.lab

TIMEOUT_S = 600


def values_of(result: WorkloadResult) -> dict[str, Any]:
    return {metric.name: metric.value for metric in result.metrics}


@pytest.fixture(scope="module", autouse=True)
def fast_disks(host: EmulatedHost) -> None:
    host.limit_disks(UNLIMITED)


def run_in(guest: Any, name: str, values: dict[str, Any], raw_dir: Path) -> WorkloadResult:
    workload = registry.get(name)
    return run(guest.machine, workload, workload.parse(values), raw_dir, timeout_s=TIMEOUT_S)


def test_kernel_build(guest: Any, tmp_path: Path) -> None:
    targets = ["lib/ctype.o", "lib/string.o"]
    result = run_in(guest, "kernel_build", {"targets": targets, "rounds": 2, "jobs": 1, "probes": "once"}, tmp_path)
    values = values_of(result)
    assert result.facts["linux_version"] == "5.10.223"
    assert result.facts["prepared"] == "before", "the image is to bring the tree prepared"
    assert set(result.checksums) == set(targets)
    assert all(len(digest) == hashlib.sha256().digest_size * 2 for digest in result.checksums.values())
    assert values["objects"] == len(targets)
    assert values["wall_seconds"] == pytest.approx(
        values["wall_seconds.round1"] + values["wall_seconds.round2"], abs=0.02
    )
    assert values["user_seconds.round2"] > 0
    assert {"timings", "round1.err", "round2.err", "objects"} <= {path.name for path in tmp_path.iterdir()}


@pytest.mark.long
def test_a_kernel_build_as_kernbench_does_it(guest: Any, tmp_path: Path) -> None:
    """A warm-up, two numbers of jobs, and memory reset before each build."""
    asked = {"targets": ["lib/ctype.o"], "ladder": [1, 2], "warm_up": 1, "reset_each_round": True, "probes": "once"}
    values = values_of(run_in(guest, "kernel_build", asked, tmp_path))
    assert values["wall_seconds"] == pytest.approx(
        values["wall_seconds.jobs1"] + values["wall_seconds.jobs2"], abs=0.02
    )
    labels = [line.split()[0] for line in (tmp_path / "timings").read_text().splitlines()]
    assert labels == ["warmup1", "round1", "round2", "sync"]


def test_a_kernel_build_that_fails_says_why(guest: Any, tmp_path: Path) -> None:
    with pytest.raises(WorkloadError) as caught:
        run_in(guest, "kernel_build", {"targets": ["mm/nosuch.o"], "reset_memory": False, "probes": "once"}, tmp_path)
    assert "No rule to make target" in caught.value.why


def test_fio(guest: Any, tmp_path: Path) -> None:
    values = values_of(run_in(guest, "fio", {"rw": "randrw", "size": "8 MiB"}, tmp_path))
    assert values["read_bytes"] + values["write_bytes"] == 8 * 2**20
    assert values["read_iops"] > 0
    assert values["read_latency_p50"] <= values["read_latency_p99"]
    assert (tmp_path / "fio.out").read_text().lstrip().startswith("{")


def test_fio_with_requests_in_flight(guest: Any, tmp_path: Path) -> None:
    asked = {"rw": "write", "size": "4 MiB", "bs": "64 KiB", "ioengine": "libaio", "iodepth": 4, "direct": True}
    values = values_of(run_in(guest, "fio", asked, tmp_path))
    assert values["write_bytes"] == 4 * 2**20
    assert values["read_iops"] is None


def test_sysbench_cpu(guest: Any, tmp_path: Path) -> None:
    values = values_of(run_in(guest, "sysbench_cpu", {"time": None, "events": 200}, tmp_path))
    assert values["events"] == 200
    assert values["events_per_second"] == pytest.approx(200 / values["test_seconds"], rel=0.1)


def test_sysbench_memory(guest: Any, tmp_path: Path) -> None:
    values = values_of(run_in(guest, "sysbench_memory", {"block_size": "1 MiB", "total_size": "64 MiB"}, tmp_path))
    assert values["transferred"] == 64
    assert values["events"] == 64


def test_sysbench_fileio(guest: Any, tmp_path: Path) -> None:
    asked = {"mode": "rndrw", "total_size": "8 MiB", "time": None, "events": 200}
    values = values_of(run_in(guest, "sysbench_fileio", asked, tmp_path))
    assert values["events"] >= 200
    assert values["reads_per_second"] > 0
    assert values["writes_per_second"] > 0


def test_idle(guest: Any, tmp_path: Path) -> None:
    values = values_of(run_in(guest, "idle", {"length": "2 s"}, tmp_path))
    assert 2 <= values["wall_seconds"] < 30
    assert values["late_seconds"] == pytest.approx(values["wall_seconds"] - 2, abs=0.001)


@pytest.mark.long  # test_stream is of the same program
def test_memory_ramp(guest: Any, tmp_path: Path) -> None:
    """More than the guest's memory at its peak, so that some pages come back from swap, whole."""
    steps = [
        {"grow": "160 MiB", "over": "2 s"},
        {"touch": 500},
        {"touch": 20, "over": "1 s"},
        {"release": "128 MiB"},
        {"hold": "1 s"},
    ]
    result = run_in(guest, "memory_ramp", {"schedule": steps}, tmp_path)
    values = values_of(result)
    assert values["peak_bytes"] == 160 * 2**20
    assert values["touches"] == 520
    assert values["touch_latency_p50"] <= values["touch_latency_p99"] <= values["touch_latency_max"]
    assert values["touch_latency_max"] > 20 * values["touch_latency_p50"], "no page came from swap"
    assert values["arrival_latency_max"] > 0


@pytest.mark.long
def test_spike(guest: Any, tmp_path: Path) -> None:
    values = values_of(run_in(guest, "spike", {"idle": "1 s", "size": "48 MiB", "touches": 2000}, tmp_path))
    assert 0 < values["spike_seconds"] <= values["wall_seconds"] - 1 + 0.02
    assert values["grow_latency_p99"] <= values["grow_latency_max"]


def test_stream(guest: Any, tmp_path: Path) -> None:
    values = values_of(run_in(guest, "stream", {"size": "4 MiB", "rounds": 3}, tmp_path))
    assert values["triad_bandwidth"] >= values["triad_bandwidth_mean"] > 1e6


@pytest.mark.long
def test_fio_with_a_share_of_memory_and_several_jobs(guest: Any, tmp_path: Path) -> None:
    asked = {"rw": "randrw", "working_set": 0.04, "numjobs": 2, "random_distribution": "zipf:1.1"}
    result = run_in(guest, "fio", asked, tmp_path)
    values = values_of(result)
    moved = values["read_bytes"] + values["write_bytes"]
    assert moved == 2 * int(result.facts["file_bytes"])
    assert 2 * 2**20 < moved < 16 * 2**20
    # fio's percentiles are the ends of buckets, so the last may lie above the longest
    assert values["read_latency_p99"] <= values["read_latency_p99.9"] <= 1.05 * values["read_latency_max"]
