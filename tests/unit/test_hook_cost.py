"""The benchmark of the hooks: which rounds count, and what is made of them."""

from __future__ import annotations

import pytest

from benchmarks import hook_cost as benchmark


class FakeGuest:
    """A guest whose first build of a kind takes longer, and one from the disk always."""

    def __init__(self, hooks: float) -> None:
        self.hooks, self.total, self.seen = hooks, 5000, dict.fromkeys(benchmark.KINDS.values(), 0)

        self.next = ""

    def prepare(self, before: str) -> None:
        """What it takes is not counted."""
        self.total += 777
        self.next = before

    def build(self) -> None:
        before = self.next
        self.seen[before] += 1
        first = 9000 if self.seen[before] == 1 else 0
        self.total += first + round((2000 if before else 1000) * (1 + self.hooks)) + self.seen[before]

    def used(self) -> int:
        return self.total


def test_the_first_build_of_each_kind_does_not_count() -> None:
    found = benchmark.measure(FakeGuest(0), 3)
    assert found == {"warm": [1002, 1003, 1004], "cold": [2002, 2003, 2004]}


def test_costs_are_shares_of_the_build_without_hooks() -> None:
    found = benchmark.costs(benchmark.measure(FakeGuest(0), 3), benchmark.measure(FakeGuest(0.03), 3))
    warm, cold = found
    assert (warm.kind, warm.without, warm.loaded) == ("warm", 1003, 1033)
    assert warm.share == pytest.approx(30 / 1003)
    assert cold.share == pytest.approx(60 / 2003)
    assert warm.spread == pytest.approx(2 / 1003)
    said = benchmark.report(found, "debian-6.12", "instructions").splitlines()
    assert said[-2] == "| warm | 0.0 | 0.0 | +2.99 % | 0.20 % | no |"


def test_little_is_within_the_bound() -> None:
    (warm, _) = benchmark.costs(benchmark.measure(FakeGuest(0), 3), benchmark.measure(FakeGuest(0.01), 3))
    assert warm.share < benchmark.MOST
    assert benchmark.report([warm], "debian-7", "instructions").endswith("| yes |")
