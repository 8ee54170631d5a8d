"""ripgrep, db_bench and wrk: what they really printed, and what must not pass for a result."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from plumbum import local

from common.errors import OutputsError, WorkloadError
from common.needs import together
from tests.unit.workloads_local import DATA, write_program, write_timings
from tests.unit.workloads_local import programs as programs  # noqa: PLC0414  a fixture
from tests.unit.workloads_local import raw as raw  # noqa: PLC0414  a fixture
from workloads import registry, rocksdb, web
from workloads.base import ParameterError
from workloads.run import run

HERE = Path("tool.out")
SEARCH = (DATA / "ripgrep" / "search1.out").read_text()
READS = (DATA / "rocksdb" / "readrandom.txt").read_text()
WRITES = (DATA / "rocksdb" / "overwrite.txt").read_text()
SITE = (DATA / "wrk" / "site.txt").read_text()
SIZE = 256 * 1024


def lay_searches(folder: Path, *texts: str) -> None:
    lines = []
    for number, text in enumerate(texts, 1):
        write_timings(folder, f"search{number}")
        lines.append((folder / "timings").read_text())
        (folder / f"search{number}.out").write_text(text)
    (folder / "timings").write_text("".join(lines))


def searched(folder: Path, *texts: str) -> Any:
    lay_searches(folder, *texts)
    workload = registry.get("ripgrep")
    return workload.read(workload.parse({"searches": len(texts)}), folder)


def test_captured_searches_exactly(tmp_path: Path) -> None:
    result = searched(tmp_path, SEARCH, (DATA / "ripgrep" / "search2.out").read_text())
    values = {metric.name: metric.value for metric in result.metrics}
    assert (values["matches"], values["files_searched"], values["bytes_searched"]) == (9, 1707, 13112785)
    assert values["wall_seconds"] == values["wall_seconds.search1"] + values["wall_seconds.search2"]
    assert list(result.checksums) == ["cleancache in /usr/src/linux"]


def test_the_order_in_which_threads_find_files_is_no_difference(tmp_path: Path) -> None:
    first, rest = SEARCH.split("\n", 1)
    second, rest = rest.split("\n", 1)
    swapped = f"{second}\n{first}\n{rest}"
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    assert searched(tmp_path / "a", SEARCH, swapped).checksums == searched(tmp_path / "b", SEARCH).checksums


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (SEARCH.splitlines(keepends=True)[0], ""),
        ("9 matches", "10 matches"),
        ("files searched", "files"),
        ("1707 files searched", "0 files searched"),
        (":1\n", ":x\n"),
        (SEARCH, ""),
    ],
)
def test_a_search_that_is_not_whole_is_refused(old: str, new: str, tmp_path: Path) -> None:
    assert old in SEARCH
    with pytest.raises(OutputsError, match="ripgrep's output"):
        searched(tmp_path, SEARCH.replace(old, new, 1))


def test_searches_that_found_different_things_are_refused(tmp_path: Path) -> None:
    with pytest.raises(OutputsError, match="found different things"):
        searched(tmp_path, SEARCH, SEARCH.replace("13112785", "13112784"))


def test_a_word_that_is_nowhere_is_no_failure(programs: Path, raw: Path, tmp_path: Path) -> None:
    stats = SEARCH.partition("\n\n")[2]
    for counted in ("9 matches", "7 matched lines", "5 files contained"):
        stats = stats.replace(counted, f"0{counted[1:]}")
    (tmp_path / "stats").write_text(f"\n{stats}")
    version = 'if [ "$1" = --version ]; then echo "ripgrep 14.1.1"; exit; fi\n'
    write_program(programs, "rg", f"{version}cat {tmp_path}/stats; exit 1")
    workload = registry.get("ripgrep")
    params = workload.parse({"tree": str(tmp_path), "searches": 2, "reset_memory": False})
    values = {each.name: each.value for each in run(local, workload, params, tmp_path / "kept").metrics}
    assert (values["matches"], values["bytes_searched"]) == (0, 13112785)
    write_program(programs, "rg", f'{version}echo "permission denied" >&2; exit 2')
    with pytest.raises(WorkloadError, match="search1 ended with exit status 2"):
        run(local, workload, params, tmp_path / "again")


def test_captured_reads_exactly() -> None:
    assert rocksdb.read_report(READS, "readrandom", 3000, HERE) == {
        "operations_per_second": 108073,
        "found_ratio": 1.0,
        "latency_mean": 9.322,
        "latency_p50": 6.98,
        "latency_p99": 14.69,
        "latency_p99.9": 1900.0,
        "latency_max": 4122.0,
    }
    assert rocksdb.read_report(WRITES, "overwrite", 3000, HERE)["found_ratio"] is None


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("readrandom   :", "readrandomly :"),
        ("Count: 3000", "Count: 2999"),
        ("3000 operations", "2999 operations"),
        ("P99.9:", "P99.8:"),
        ("Min:", "Least:"),
        (READS, READS + READS),
        (READS, ""),
    ],
)
def test_a_db_bench_that_is_not_whole_is_refused(old: str, new: str) -> None:
    assert old in READS
    with pytest.raises(OutputsError, match="db_bench's output"):
        rocksdb.read_report(READS.replace(old, new, 1), "readrandom", 3000, HERE)


def test_a_database_that_has_lost_keys_is_a_failure() -> None:
    with pytest.raises(WorkloadError, match="found 1500 of 3000 keys"):
        rocksdb.read_report(READS.replace("(3000 of 3000 found)", "(1500 of 3000 found)"), "readrandom", 3000, HERE)


def test_a_database_that_is_damaged_is_a_failure() -> None:
    with pytest.raises(WorkloadError, match="db_bench failed") as caught:
        rocksdb.read_report(f"{READS}Get returned an error: Corruption: block checksum\n", "readrandom", 3000, HERE)
    assert "block checksum" in caught.value.why


def test_what_db_bench_says_beside_good_figures_counts(tmp_path: Path) -> None:
    workload = registry.get("rocksdb")
    write_timings(tmp_path, "rocksdb")
    (tmp_path / "rocksdb.out").write_text(READS)
    params = workload.parse({"operations": 3000})
    assert workload.read(params, tmp_path).metrics
    (tmp_path / "rocksdb.err").write_text("Get returned an error: Corruption: block checksum mismatch\n")
    with pytest.raises(WorkloadError, match="db_bench failed") as caught:
        workload.read(params, tmp_path)
    assert caught.value.where.endswith("rocksdb.err")


def test_captured_site_exactly() -> None:
    values = web.read_report(SITE, SIZE, HERE)
    assert values["requests"] == 7630
    assert values["requests_per_second"] == pytest.approx(2460.93, abs=0.01), "as wrk itself says"
    assert (values["latency_p50"], values["latency_p99.9"], values["latency_max"]) == (584, 127626, 131012)


@pytest.mark.parametrize(
    ("old", "new", "error"),
    [
        ("status=0", "status=3", "requests failed"),
        ("timeout=0", "timeout=1", "requests failed"),
        ("bytes=2002020420", "bytes=1000000000", "contradict"),
        ("web requests=7630", "web requests=0", "no request"),
        ("web mean", "web average", "another form"),
        ("p99=", "p98=", "another form"),
        (SITE, SITE + SITE, "another form"),
        (SITE, "", "another form"),
    ],
)
def test_a_site_that_failed_or_is_not_whole_is_refused(old: str, new: str, error: str) -> None:
    assert old in SITE
    with pytest.raises(WorkloadError, match=error):
        web.read_report(SITE.replace(old, new, 1), SIZE, HERE)


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("rocksdb", {"operations": 10, "threads": 3}, "no multiple"),
        ("rocksdb", {"directory": "/"}, "directory"),
        ("web", {"directory": "/var/www"}, "directory"),
        ("web", {"files": 10**6, "size": "1 GiB"}, "more than 32 TiB"),
        ("ripgrep", {"word": ""}, "word"),
    ],
)
def test_what_makes_no_sense_is_refused(name: str, values: dict[str, Any], message: str) -> None:
    with pytest.raises(ParameterError) as caught:
        registry.get(name).parse(values)
    assert message in str(caught.value)


def test_each_brings_its_packages() -> None:
    needs = together(registry.get(name).most_needs() for name in ("ripgrep", "web", "rocksdb"))
    assert needs.packages == ("nginx-light", "ripgrep", "rocksdb-tools", "wrk")


def test_what_wrk_allocates_fits_a_guest() -> None:
    """Of each second of its time-out it allocates 8 MB: 600 s were more than a guest has."""
    workload = registry.get("web")
    (seconds,) = re.findall(r"--timeout=(\d+)s", workload.script(workload.parse({})))
    assert int(seconds) * 8 <= 64
