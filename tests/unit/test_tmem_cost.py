"""The cost benchmark's reading of what the guest's module reports."""

from __future__ import annotations

import pytest

from benchmarks import tmem_cost as cost
from common.errors import LabError

REPORT = """\
# ballooned 4096 pages out; allowance left: 28769 pages
# bench name=timer kind=ephemeral content=noise held=0 median=90 p10=80 p90=120 samples=2000 unit=cycles
# bench name=empty_hypercall kind=ephemeral content=noise held=0 median=1000 p10=980 p90=1100 samples=2000 unit=cycles
# bench name=copy_4096 kind=ephemeral content=noise held=0 median=3000 p10=2900 p90=3100 samples=2000 unit=cycles
# bench name=put_new kind=ephemeral content=noise held=0 median=6000 p10=5900 p90=9000 samples=2000 unit=cycles
# bench name=get_miss kind=ephemeral content=noise held=0 median=1500 p10=1400 p90=1600 samples=2000 unit=cycles
"""


def test_an_operation_is_compared_with_what_it_contains() -> None:
    timings = cost.parse_bench(REPORT)["ephemeral", "noise", 0]
    targets = {target.name: target for target in cost.TARGETS}
    assert cost.ratio(timings, targets["put_new"]) == pytest.approx(6000 / (3000 + 1000))
    assert cost.ratio(timings, targets["get_miss"]) == pytest.approx(1.5)
    assert timings["copy_4096"] == cost.Timing(3000, 2900, 3100, 2000)


def test_contents_are_told_apart() -> None:
    bench = cost.parse_bench(
        REPORT + REPORT.replace("content=noise", "content=text").replace("median=6000", "median=60000")
    )
    assert bench["ephemeral", "noise", 0]["put_new"].median == 6000
    assert bench["ephemeral", "text", 0]["put_new"].median == 60000


def test_the_worst_of_single_puts_is_read() -> None:
    line = "# each name=put_new kind=ephemeral median=2000 p90=2100 p99=5000 most=90000 samples=8192 unit=cycles\n"
    assert cost.parse_each(REPORT + line) == {"ephemeral": cost.Each(2000, 2100, 5000, 90000, 8192)}
    assert cost.parse_each(REPORT) == {}


def test_an_operation_that_failed_is_no_figure() -> None:
    with pytest.raises(LabError, match="error=-12"):
        cost.parse_bench(REPORT + "# bench name=put_new kind=persistent error=-12\n")
    with pytest.raises(LabError, match="nothing"):
        cost.parse_bench("# load operations=1 seconds=1 late_ms=0\n")


def test_a_guest_that_began_late_worked_alone_for_a_time() -> None:
    assert cost.parse_load("# load operations=500 seconds=20 late_ms=0\n") == 25
    with pytest.raises(LabError, match="late"):
        cost.parse_load("# load operations=500 seconds=20 late_ms=1200\n")


def test_the_host_has_room_for_the_pages_held() -> None:
    more = cost.host_sizing(1_000_000).guest_memory_mib - cost.host_sizing(0).guest_memory_mib
    assert more * 2**20 > 1_000_000 * 4096 * (1 + cost.OVERHEAD)
