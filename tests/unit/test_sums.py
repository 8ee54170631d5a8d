"""`sum` of floating point numbers changed in Python 3.12: the same results have to give the same
bytes on every Python.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from campaigns import metrics
from campaigns.records import aggregate
from common.metrics import PRESSURE, REQUESTS, total

ROOT = Path(__file__).resolve().parents[2]
FILES = [
    *(path for folder in ("analysis", "campaigns", "workloads") for path in sorted((ROOT / folder).glob("*.py"))),
    ROOT / "common" / "machines.py",
    ROOT / "common" / "intervals.py",
]
"""Everything between raw outputs and the report. lab/counters/ adds whole numbers only."""

PARTS = [1e16, 1.0, 1.0, -1e16, 0.1, 0.2, 0.3]
"""Of which 3.11 makes another sum than 3.12."""


def _names(tree: ast.AST) -> set[str]:
    """Every way to add that depends on the Python or on the machine: `sum(…)`, and methods of
    arrays and frames. How often something is so, `sum(a == b for ...)`, is a whole number.
    """
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            if isinstance(node.func, ast.Name) and node.func.id in ("sum", "reduce") and not _counts(node):
                found.add(node.func.id)
            if isinstance(node.func, ast.Attribute) and node.func.attr in ("sum", "mean", "std", "var", "nansum"):
                owner = node.func.value
                if not (isinstance(owner, ast.Name) and owner.id in ("statistics", "intervals")):
                    found.add(f".{node.func.attr}")
    return found


def _counts(call: ast.Call) -> bool:
    return isinstance(call.args[0], ast.GeneratorExp) and isinstance(call.args[0].elt, ast.Compare)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_nothing_adds_up_in_a_way_that_depends_on_the_python(path: Path) -> None:
    assert _names(ast.parse(path.read_text(encoding="utf-8"))) == set()


def test_sums_are_correctly_rounded_and_whole_numbers_stay_whole() -> None:
    assert total(PARTS) == 2.6
    assert aggregate(PARTS, "sum") == 2.6
    assert aggregate([0.1] * 10, "sum") == 1.0
    assert aggregate([0.1] * 10, "mean") == 0.1
    whole = total([2**60, 1, 1])
    assert (whole, type(whole)) == (2**60 + 2, int)
    assert aggregate([1, None], "sum") is None


def test_requests_and_pressure_are_metrics_of_every_cell() -> None:
    before = {("guest1", counter): 10 for metric in (*REQUESTS, *PRESSURE) for counter in metric.counters}
    after = {key: 10 + 1_000_000 * (1 + index) for index, key in enumerate(before)}
    found, notes = metrics.counter_metrics(before, after, ["guest1"])
    values = {metric.name: (metric.value, metric.unit) for metric in found if metric.value is not None}
    counters = {key[1]: after[key] - 10 for key in after}
    assert values["read_requests"] == (counters["read_requests"], "requests")
    assert values["disk_requests"] == (counters["read_requests"] + counters["write_requests"], "requests")
    assert values["pages_reclaimed"][0] == counters["vmstat.pgsteal_kswapd"] + counters["vmstat.pgsteal_direct"]
    assert values["memory_stall_seconds"] == (counters["memory_stall_seconds"], "s")
    assert notes == []
    assert {spec.name for spec in metrics.SPECS} >= {metric.spec.name for metric in (*REQUESTS, *PRESSURE)}


def test_one_counter_that_fell_or_is_missing_leaves_the_sum_of_two_without_a_value() -> None:
    before: dict[tuple[str, str], float | None] = {
        ("guest1", "read_requests"): 9,
        ("guest1", "write_requests"): 9,
    }
    fell, notes = metrics.counter_metrics(before, {**before, ("guest1", "write_requests"): 3}, ["guest1"])
    values = {metric.name: metric.value for metric in fell}
    assert (values["read_requests"], values["write_requests"], values["disk_requests"]) == (0, None, None)
    assert sum("write_requests went backwards by 6" in note for note in notes) == 2
    gone, _ = metrics.counter_metrics(before, {("guest1", "read_requests"): 9}, ["guest1"])
    assert {metric.name: metric.value for metric in gone}["disk_requests"] is None
