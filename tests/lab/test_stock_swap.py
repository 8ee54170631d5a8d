"""Swapped pages of guests with the kernels that Debian ships: whatever their allowance in Xen,
whether zswap is on, however the kernel chooses what to swap and in what sizes, all are right, and
what Xen refuses is what goes on to zswap or to the disk.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from stocked import GUEST, MOST_MIB, START_MIB, Stock, booted

from campaigns.kernel_log import findings
from lab.lifecycle import OpenLab
from lab.remote.ssh import DOM0

pytestmark = [pytest.mark.lab, pytest.mark.long]

PATTERN_MIB = 150
"""Of which a part is swapped, and less than Xen allows at most."""

ROOM_MIB = 184
"""For all that is swapped: a page that is only read keeps its slot, and its copy in Xen, until half
of the swap is in use."""

SOME_MIB = 12
SLACK_PAGES = 512
"""What `xl mem-max` allows a guest beyond what it is told, and what is written meanwhile."""

ZSWAP = "/sys/module/zswap/parameters/enabled"
GENERATIONS = "/sys/kernel/mm/lru_gen/enabled"
SIZES = "/sys/kernel/mm/transparent_hugepage"


@pytest.fixture(scope="module", params=["debian-6.12", "debian-7"])
def stock(lab: OpenLab, inventory_path: Path, request: pytest.FixtureRequest) -> Iterator[Stock]:
    """Without large folios, which 6.12 swaps to the disk and offers to nobody. A PV guest has no
    large pages, and its kernel need not have that switch.
    """
    with booted(lab, inventory_path, request.param, "static+tmem") as found:
        found.sh(f"[ ! -e {SIZES}/enabled ] || echo never > {SIZES}/enabled")
        yield found


def swapped(stock: Stock, allowance_mib: int) -> dict[str, Any]:
    """What came of the pattern's pages, `written` of them to the disk."""
    written = "awk '$3 == \"xvdb\" { print $10 / 8 }' /proc/diskstats"
    stock.host.run(DOM0, f"xl mem-max {GUEST} {START_MIB + allowance_mib}")
    before = float(stock.sh(written))
    found = stock.trial("swap", PATTERN_MIB)
    stock.sh("sync")
    found["written"] = float(stock.sh(written)) - before
    print(f"{stock.boots}: allowed {allowance_mib} MiB: {found}", file=sys.stderr)
    assert found["wrong"] == 0
    assert found["persistent.put.failed"] == found["persistent.get.failed"] == 0
    return found


def test_without_an_allowance_all_goes_to_the_disk(stock: Stock) -> None:
    found = swapped(stock, 0)
    # room that the slack has is used again whenever a slot of it is freed
    assert found["persistent.put.done"] < found["persistent.put.no_memory"] / 10
    assert found["persistent.put.no_memory"] > 4 * SLACK_PAGES
    assert abs(found["written"] - found["persistent.put.no_memory"]) <= SLACK_PAGES


def test_what_xen_refuses_is_what_is_written_to_the_disk(stock: Stock) -> None:
    found = swapped(stock, SOME_MIB)
    assert found["persistent.put.done"] > 4 * SLACK_PAGES
    assert found["persistent.put.no_memory"] > 4 * SLACK_PAGES
    assert abs(found["written"] - found["persistent.put.no_memory"]) <= SLACK_PAGES


@pytest.mark.parametrize("generations", ["y", "n"])
def test_with_room_nothing_is_written(stock: Stock, generations: str) -> None:
    """Whichever of the kernel's two ways of finding what to swap is used."""
    stock.sh(f"echo {generations} > {GENERATIONS}")
    found = swapped(stock, ROOM_MIB)
    assert found["persistent.put.done"] > 4 * SLACK_PAGES
    assert found["persistent.put.no_memory"] == 0
    assert found["written"] <= SLACK_PAGES
    stock.sh(f"echo y > {GENERATIONS}")


def test_what_xen_refuses_goes_to_zswap_before_the_disk(stock: Stock) -> None:
    stored = "awk '$1 == \"zswpout\" { print $2 }' /proc/vmstat"
    before = int(stock.sh(f"echo Y > {ZSWAP}; {stored}"))
    try:
        found = swapped(stock, SOME_MIB)
        kept = int(stock.sh(stored)) - before
    finally:
        stock.sh(f"echo N > {ZSWAP}")
    assert found["persistent.put.done"] > 4 * SLACK_PAGES
    assert kept > 4 * SLACK_PAGES
    assert found["written"] < found["persistent.put.no_memory"] / 2


def test_large_folios_are_swapped_to_xen_whole(stock: Stock) -> None:
    if stock.boots != "debian-7":
        pytest.skip("up to 6.12 zswap, and so tmem, is offered no large folios")
    size = f"{SIZES}/hugepages-64kB"
    if not stock.sh(f"ls -d {size} 2> /dev/null || true"):
        pytest.skip("a guest whose processor has no large pages has no large folios of its programs' memory")
    before = int(stock.sh(f"echo always > {size}/enabled; cat {size}/stats/zswpout"))
    try:
        found = swapped(stock, ROOM_MIB)
        large = int(stock.sh(f"cat {size}/stats/zswpout")) - before
        partly = swapped(stock, SOME_MIB)
    finally:
        stock.sh(f"echo inherit > {size}/enabled")
    assert large > 100
    assert found["persistent.put.done"] >= 16 * large
    assert partly["persistent.put.no_memory"] > 100


def test_a_device_is_taken_away_while_its_pages_are_wanted(stock: Stock) -> None:
    """swapoff, while a program swaps: it brings all back, and Xen has nothing of a device that is
    off. There is room for all of it by then: the kernel would end swapoff, or the program.
    """
    stock.host.run(DOM0, f"xl mem-max {GUEST} {MOST_MIB}")
    stock.sh("(python3 /run/stock.py swap 120 > /run/swapped 2>&1; echo $? > /run/swapped.code) > /dev/null 2>&1 &")
    used = "awk '/^SwapTotal/ { total = $2 } /^SwapFree/ { print total - $2 }' /proc/meminfo"
    stock.sh(f"until [ $({used}) -gt 4096 ]; do sleep 1; done", 240)
    stock.host.set_memory({GUEST: MOST_MIB}, {GUEST: MOST_MIB})
    stock.sh("for n in 1 2 3; do swapoff /dev/xvdb && swapon /dev/xvdb || exit; sleep 1; done", 400)
    stock.sh("until [ -s /run/swapped.code ]; do sleep 1; done", 400)
    assert '"wrong": 0' in stock.sh("cat /run/swapped")
    stock.leaves_no_page_in_swap()
    stock.host.set_memory({GUEST: START_MIB}, {GUEST: MOST_MIB})


def test_neither_kernel_nor_xen_has_anything_to_say(stock: Stock) -> None:
    assert findings(stock.host.kernel_log()) == []
