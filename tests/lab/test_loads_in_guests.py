"""Workloads that bring their own programs, for real, in guests whose image has them: small amounts,
and figures that can be checked against each other.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from beside import host_beside

from common.needs import together
from lab.api import GuestSizing, HostSizing
from lab.emulator.process import UNLIMITED
from lab.hosts.emulated import EmulatedHost
from lab.lifecycle import OpenLab
from workloads import programs, registry
from workloads.run import run

pytestmark = [pytest.mark.lab, pytest.mark.long]

TIMEOUT_S = 600
HOST = HostSizing(guest_memory_mib=480, dom0_memory_mib=384, vcpus=2)
GUESTS = GuestSizing(count=2, vcpus=1, memory_max_mib=232, memory_start_mib=232, swap_mib=256)
LOADS = ("memory_ramp", "memcached", "valkey", "ripgrep", "sysbench_oltp", "pgbench", "web", "rocksdb")
"""All of one image: a boot takes longer than any of them."""


@pytest.fixture(scope="module")
def loads(lab: OpenLab, inventory_path: Path) -> Iterator[EmulatedHost]:
    """With guests of another image than the demo's."""
    needs = together(registry.get(name).most_needs() for name in LOADS)
    with host_beside(lab, inventory_path, needs, "loads") as host:
        host.reset(HOST, GUESTS)
        host.limit_disks(UNLIMITED)
        yield host


def values_in(host: EmulatedHost, guest: str, name: str, values: dict[str, Any], raw_dir: Path) -> dict[str, Any]:
    workload = registry.get(name)
    machine = host.guests[guest].machine
    result = run(machine, workload, workload.parse(values), raw_dir, timeout_s=TIMEOUT_S)
    return {metric.name: metric.value for metric in result.metrics}


def running(host: EmulatedHost, guest: str) -> set[str]:
    """Names of the programs that a guest runs."""
    return set(host.run(guest, "cat /proc/[0-9]*/comm 2> /dev/null || true").split())


def test_the_image_brings_the_programs_compiled(loads: EmulatedHost, tmp_path: Path) -> None:
    found = loads.run("guest1", f"ls {programs.THERE}").split()
    assert sorted(found) == sorted(Path(programs.path(name)).name for name in ("memload", "kvload"))
    values = values_in(loads, "guest1", "memory_ramp", {"schedule": [{"grow": "16 MiB"}]}, tmp_path)
    assert values["peak_bytes"] == 16 * 2**20


@pytest.mark.parametrize("name", ["memcached", "valkey"])
def test_a_store_answers_an_open_loop(loads: EmulatedHost, name: str, tmp_path: Path) -> None:
    asked = {"keys": 2000, "rate": 50.0, "requests": 300, "reads": 80}
    values = values_in(loads, "guest1", name, asked, tmp_path)
    assert values["hit_ratio"] == 1
    assert values["run_seconds"] >= 299 / 50
    assert values["requests_per_second"] == pytest.approx(300 / values["run_seconds"])
    for word in ("read", "write"):
        figures = [values[f"{word}_latency_{p}"] for p in ("p50", "p99", "p99.9", "max")]
        assert figures == sorted(figures)
        assert figures[0] > 0
    assert not any(name in each for each in running(loads, "guest1")), "the server is ended"


def test_a_store_that_is_too_small_misses(loads: EmulatedHost, tmp_path: Path) -> None:
    asked = {"keys": 6000, "memory": "2 MiB", "rate": None, "requests": 500, "skew": 0.0}
    values = values_in(loads, "guest2", "memcached", asked, tmp_path)
    assert 0 < values["hit_ratio"] < 0.9


@pytest.mark.parametrize("database", ["mariadb", "postgresql"])
def test_a_ladder_of_users_on_a_database(loads: EmulatedHost, database: str, tmp_path: Path) -> None:
    asked = {"database": database, "users": [1, 3], "transactions": 12, "rows": 500}
    values = values_in(loads, "guest2", "sysbench_oltp", asked, tmp_path)
    for users in (1, 3):
        assert values[f"transactions_per_second.users{users}"] == pytest.approx(
            12 / values[f"test_seconds.users{users}"], rel=0.1
        )
        assert values[f"latency_p50.users{users}"] <= values[f"latency_p99.9.users{users}"]
    assert values["wall_seconds"] >= values["test_seconds.users1"] + values["test_seconds.users3"] - 0.1
    assert not {"mariadbd", "postgres"} & running(loads, "guest2"), "the database is ended"


def test_pgbench_with_a_rate(loads: EmulatedHost, tmp_path: Path) -> None:
    asked = {"test": "simple-update", "transactions": 40, "rate": 5.0}
    values = values_in(loads, "guest1", "pgbench", asked, tmp_path)
    assert values["transactions_per_second"] < 20
    assert values["latency_p50"] <= values["latency_p99"] <= values["latency_max"]
    assert values["lag_max"] <= values["latency_max"]
    assert len(next(iter(tmp_path.glob("pgbench_log.*"))).read_text().splitlines()) == 40


def test_searches_of_a_tree_that_memory_cannot_hold_read_it_again(loads: EmulatedHost, tmp_path: Path) -> None:
    """Few folders of the tree: the search of all of it takes a minute here."""
    asked = {"tree": "/usr/src/linux/mm", "searches": 2, "word": "tmem"}
    values = values_in(loads, "guest1", "ripgrep", asked, tmp_path)
    assert values["matches"] > 0
    assert values["files_searched"] > 50
    assert values["wall_seconds.search2"] <= values["wall_seconds.search1"]


def test_a_site_is_served(loads: EmulatedHost, tmp_path: Path) -> None:
    asked = {"files": 20, "size": "64 KiB", "time": "3 s", "connections": 2}
    values = values_in(loads, "guest1", "web", asked, tmp_path)
    assert values["requests"] > 5
    assert values["bandwidth"] > values["requests_per_second"] * 64 * 1024
    assert values["latency_p50"] <= values["latency_p99.9"] <= values["latency_max"]
    assert "nginx" not in running(loads, "guest1"), "the server is ended"
    assert loads.run("guest1", "ls /var/lib/overcommit | grep site || true").strip() == "", "the site is removed"


def test_rocksdb(loads: EmulatedHost, tmp_path: Path) -> None:
    asked = {"keys": 4000, "operations": 1000, "cache": "1 MiB"}
    values = values_in(loads, "guest2", "rocksdb", asked, tmp_path)
    assert values["found_ratio"] == 1
    assert 0 < values["latency_p50"] <= values["latency_p99"] <= values["latency_max"]
