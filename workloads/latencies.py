"""Histograms of latencies as the workloads' own programs print them (programs/latency.h), and
percentiles of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from common.metrics import MetricSpec, whole

PERCENTILES = {"p50": 0.5, "p99": 0.99, "p99.9": 0.999}


@dataclass
class Latencies:
    """longest: ns. counts: upper bound of a bucket in ns -> how many; buckets are 3 % wide."""

    longest: int
    counts: dict[int, int] = field(default_factory=dict)

    @property
    def counted(self) -> int:
        """How many there are."""
        return whole(self.counts.values())

    def add(self, bound: int, count: int) -> bool:
        """A bucket, which has to be above those before; whether it is."""
        if bound <= max(self.counts, default=-1):
            return False
        self.counts[bound] = count
        return True


def percentile(several: Sequence[Latencies], share: float) -> int | None:
    """What this share of all of them did not exceed, in ns: the upper bound of a bucket; None
    without any.
    """
    together: dict[int, int] = {}
    for each in several:
        for bound, count in each.counts.items():
            together[bound] = together.get(bound, 0) + count
    wanted, passed = share * whole(together.values()), 0
    for bound, count in sorted(together.items()):
        passed += count
        if passed >= wanted:
            return min(bound, max(each.longest for each in several))
    return None


def specs(word: str, of: str) -> tuple[MetricSpec, ...]:
    """The metrics that `figures` makes. of: what took so long."""
    return (
        *(MetricSpec(f"{word}_latency_{p}", "ns", "lower", f"{of}: {p[1:]}th percentile, to 3 %") for p in PERCENTILES),
        MetricSpec(f"{word}_latency_max", "ns", "lower", f"{of}: the longest"),
    )


def figures(word: str, several: Sequence[Latencies]) -> dict[str, float | int | None]:
    """Percentiles and the longest of all together; None for each when there are none."""
    found: dict[str, float | int | None] = {
        f"{word}_latency_{name}": percentile(several, share) for name, share in PERCENTILES.items()
    }
    longest = max((each.longest for each in several if each.counted), default=None)
    return found | {f"{word}_latency_max": longest}
