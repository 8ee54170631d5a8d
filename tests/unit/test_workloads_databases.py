"""What sysbench and pgbench print of transactions on MariaDB and PostgreSQL, and how databases are
started and ended.
"""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
from plumbum import local

from common.errors import OutputsError, WorkloadError
from common.needs import Needs
from tests.unit.workloads_local import DATA, write_program, write_timings
from tests.unit.workloads_local import programs as programs  # noqa: PLC0414  a fixture
from workloads import databases, machines, pgbench_output, registry, scripts
from workloads.base import ParameterError
from workloads.sysbench_output import OLTP, percentiles, read_report

HERE = Path("users4.out")
DATABASES = ("mariadb", "postgresql")


def report_of(database: str, users: int) -> str:
    return (DATA / "oltp" / database / f"users{users}.out").read_text()


def pgbench_of(name: str) -> tuple[str, str]:
    folder = DATA / "pgbench"
    return (folder / f"{name}.txt").read_text(), (folder / f"{name}.log").read_text()


@pytest.mark.parametrize("database", DATABASES)
@pytest.mark.parametrize("users", [1, 4])
def test_captured_transactions_fit_together(database: str, users: int) -> None:
    text = report_of(database, users)
    values = read_report(text, OLTP, HERE) | percentiles(text, 100, HERE)
    rate, seconds = values["transactions_per_second"], values["test_seconds"]
    assert rate is not None
    assert seconds is not None
    assert rate * seconds == pytest.approx(100, rel=0.02)
    assert values["events"] == 100
    assert values["latency_p50"] <= values["latency_p95"] <= values["latency_p99.9"]  # type: ignore[operator]
    assert values["latency_p99.9"] == pytest.approx(values["latency_max"], rel=0.03)


def test_captured_figures_exactly() -> None:
    text = report_of("mariadb", 4)
    values = read_report(text, OLTP, HERE) | percentiles(text, 100, HERE)
    wanted = {
        "transactions_per_second": 648.18,
        "queries_per_second": 20722.35,
        "ignored_errors": 76,
        "latency_mean": 6.07,
        "latency_p50": 3.304,
        "latency_p95": 23.1,
        "latency_p99": 30.815,
        "latency_p99.9": 45.793,
        "latency_max": 45.63,
    }
    assert {name: values[name] for name in wanted} == wanted


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("    transactions:", "    transactoins:"),
        ("    ignored errors:", "    ignored:"),
        ("SQL statistics:", "Statistics:"),
        ("         max:", "         most:"),
    ],
)
def test_a_report_of_another_form_is_refused(old: str, new: str) -> None:
    text = report_of("mariadb", 4)
    assert old in text
    with pytest.raises(OutputsError, match="another form"):
        read_report(text.replace(old, new, 1), OLTP, HERE)


def test_a_histogram_that_lacks_an_event_is_refused() -> None:
    lines = report_of("postgresql", 4).splitlines(keepends=True)
    gone = next(index for index, line in enumerate(lines) if "|*" in line)
    with pytest.raises(OutputsError, match="another form") as caught:
        percentiles("".join(lines[:gone] + lines[gone + 1 :]), 100, HERE)
    assert "instead of 100" in caught.value.why


def test_two_buckets_that_are_printed_alike_are_in_order() -> None:
    """Below 0.055 ms neighbours differ by less than is printed."""
    text = "       0.041 |****************************************  12\n       0.041 |*******************  7\n"
    assert percentiles(text, 19, HERE)["latency_p99"] == 0.041
    with pytest.raises(OutputsError, match="out of order"):
        percentiles(text.replace("0.041", "0.042", 1), 19, HERE)


def test_lost_connections_are_a_failure_though_deadlocks_are_none() -> None:
    text = report_of("mariadb", 4)
    assert "ignored errors:                      76" in text
    with pytest.raises(WorkloadError, match="reconnects: 3"):
        read_report(
            text.replace("reconnects:                          0", "reconnects:                          3"), OLTP, HERE
        )


def test_rungs_that_did_not_run_are_missed(tmp_path: Path) -> None:
    write_timings(tmp_path, "users1")
    workload = registry.get("sysbench_oltp")
    with pytest.raises(OutputsError) as caught:
        workload.read(workload.parse({}), tmp_path)
    assert "users1 instead of users1, users4" in caught.value.why


def test_captured_pgbench_exactly() -> None:
    text, log = pgbench_of("rate")
    report = pgbench_output.read(text, log, 120, HERE)
    assert report.rate == 108.685906
    assert report.mean == pytest.approx(1.539, abs=0.001), "as its report says"
    assert max(report.lags) == 5.132, "as its report says"
    assert report.percentile(0.5) == 1.0
    assert report.latencies[-1] == 8.517
    text, log = pgbench_of("closed")
    assert pgbench_output.read(text, log, 100, HERE).lags == []


@pytest.mark.parametrize("version", [13, 14])
def test_an_older_pgbench_counts_no_failures_and_a_newer_one_has_to(version: int) -> None:
    text, log = pgbench_of("closed")
    newer = pgbench_output.read(text, log, 100, HERE)
    without = text.replace("number of failed transactions: 0 (0.000%)\n", "")
    with pytest.raises(OutputsError, match="pgbench's output") as caught:
        pgbench_output.read(without, log, 100, HERE)
    assert "failed" in caught.value.why
    older = without.replace("pgbench (17.12", "pgbench (14.5")
    if version == 13:
        older = without.split("\n", 1)[1].replace(
            "(without initial connection time)",
            "(including connections establishing)\ntps = 1917.839745 (excluding connections establishing)",
        )
    assert pgbench_output.read(older, log, 100, HERE) == newer


def edited(text: str, log: str, change: str) -> tuple[str, str]:
    changes: dict[str, tuple[str, str]] = {
        "a line is cut": (text, log.replace(" ", "", 1)),
        "the last is cut": (text, log[:-3]),
        "one is gone": (text, log.partition("\n")[2]),
        "another number": (text.replace("processed: 100/100", "processed: 99/100"), log),
        "no rate": (text.replace("tps = ", "tps: "), log),
        "twice": (text + text, log),
        "nothing": ("", ""),
    }
    return changes[change]


@pytest.mark.parametrize(
    "change", ["a line is cut", "the last is cut", "one is gone", "another number", "no rate", "twice", "nothing"]
)
def test_a_pgbench_that_is_not_whole_is_refused(change: str) -> None:
    text, log = pgbench_of("closed")
    with pytest.raises(OutputsError, match="pgbench's output"):
        pgbench_output.read(*edited(text, log, change), 100, HERE)


def test_failed_transactions_are_a_failure() -> None:
    text, log = pgbench_of("closed")
    failed = text.replace("failed transactions: 0 (0.000%)", "failed transactions: 2 (2.000%)")
    with pytest.raises(WorkloadError, match="transactions failed"):
        pgbench_output.read(failed, log, 100, HERE)


@pytest.mark.parametrize(("database", "package"), [("mariadb", "mariadb-server"), ("postgresql", "postgresql")])
def test_a_ladder_needs_the_database_that_it_names(database: str, package: str) -> None:
    workload = registry.get("sysbench_oltp")
    assert workload.needs(workload.parse({"database": database})) == Needs((package,))
    assert workload.most_needs().packages == ("mariadb-server", "postgresql")


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("sysbench_oltp", {"users": [2, 2]}, "there twice"),
        ("sysbench_oltp", {"users": []}, "at least 1"),
        ("sysbench_oltp", {"database": "sqlite"}, "mariadb"),
        ("pgbench", {"clients": 3, "transactions": 100}, "no multiple"),
    ],
)
def test_what_makes_no_sense_is_refused(name: str, values: dict[str, Any], message: str) -> None:
    with pytest.raises(ParameterError) as caught:
        registry.get(name).parse(values)
    assert message in str(caught.value)


@pytest.mark.parametrize(("database", "program"), [("mariadb", "mariadbd"), ("postgresql", "postgres")])
def test_a_database_that_is_not_there_is_named(
    database: str, program: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(databases, "FOLDER", str(tmp_path / "database"))
    monkeypatch.setattr(scripts, "RAW", str(tmp_path / "raw"))
    text = scripts.prepare(databases.DATABASES[database].start(2**25), reset_memory=False)
    hidden = text.replace(program, f"no-{program}").replace("/etc/postgresql", "/nonexistent")
    with pytest.raises(WorkloadError) as caught:
        machines.check_script(local, hidden, what="start", timeout_s=20)
    assert "is not installed" in caught.value.why


def test_a_database_that_does_not_start_says_why(
    programs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(databases, "FOLDER", str(tmp_path / "database"))
    monkeypatch.setattr(scripts, "RAW", str(tmp_path / "raw"))
    write_program(
        programs, "mariadbd", 'case $1 in --version) echo "mariadbd Ver 11";; *) echo no space; exit 1;; esac'
    )
    for name in ("mariadb", "mariadb-admin"):
        write_program(programs, name, "exit 1")
    write_program(programs, "chown", "")
    tmp_path.chmod(0o700)
    text = scripts.prepare(databases.DATABASES["mariadb"].start(2**25), reset_memory=False)
    with pytest.raises(WorkloadError) as caught:
        machines.check_script(local, text, what="start", timeout_s=20)
    assert "mariadbd did not start: no space" in caught.value.why
    assert tmp_path.stat().st_mode & 0o777 == 0o711, "the server's user gets to its socket's folder"


def test_a_server_is_ended_and_waited_for(tmp_path: Path) -> None:
    pidfile = tmp_path / "pid"
    traps = "trap 'sleep 0.3; exit' TERM; echo; while :; do sleep 0.05; done"
    with subprocess.Popen(["sh", "-c", traps], stdout=subprocess.PIPE) as server:
        assert server.stdout is not None
        assert server.stdout.readline() == b"\n", "it is ended once it is ready for that"
        pidfile.write_text(f"{server.pid}\n")
        waiter = subprocess.Popen(["sh", "-c", scripts.text("service-stop.sh", str(pidfile))])
        assert server.wait(timeout=20) == 0
        assert waiter.wait(timeout=20) == 0
    assert not pidfile.exists()
    assert subprocess.run(["sh", "-c", scripts.text("service-stop.sh", str(pidfile))], check=False).returncode == 0
