"""Swapped pages of guests with the kernels that Debian ships: whatever their allowance in Xen,
whether zswap is on, however the kernel chooses what to swap, all are right, and what Xen refuses is
what goes on to zswap or to the disk.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from stocked import GUEST, MOST_MIB, ROOM_MIB, SIZES, SOME_MIB, START_MIB, Stock, booted

from campaigns.kernel_log import findings
from lab.lifecycle import OpenLab
from lab.remote.ssh import DOM0

pytestmark = [pytest.mark.lab, pytest.mark.long]

SLACK_PAGES = 512
"""What `xl mem-max` allows a guest beyond what it is told, and what is written meanwhile."""

ZSWAP = "/sys/module/zswap/parameters/enabled"
GENERATIONS = "/sys/kernel/mm/lru_gen/enabled"


@pytest.fixture(scope="module", params=["debian-6.12", "debian-7"])
def stock(lab: OpenLab, inventory_path: Path, request: pytest.FixtureRequest) -> Iterator[Stock]:
    """Without large folios, which 6.12 swaps to the disk and offers to nobody, and which a PV guest
    has none of; test_pvh_guests.py has them.
    """
    with booted(lab, inventory_path, request.param, "static+tmem") as found:
        found.sh(f"[ ! -e {SIZES}/enabled ] || echo never > {SIZES}/enabled")
        yield found


def test_without_an_allowance_all_goes_to_the_disk(stock: Stock) -> None:
    found = stock.swapped(0)
    # room that the slack has is used again whenever a slot of it is freed
    assert found["persistent.put.done"] < found["persistent.put.no_memory"] / 10
    assert found["persistent.put.no_memory"] > 4 * SLACK_PAGES
    assert abs(found["written"] - found["persistent.put.no_memory"]) <= SLACK_PAGES


def test_what_xen_refuses_is_what_is_written_to_the_disk(stock: Stock) -> None:
    found = stock.swapped(SOME_MIB)
    assert found["persistent.put.done"] > 4 * SLACK_PAGES
    assert found["persistent.put.no_memory"] > 4 * SLACK_PAGES
    assert abs(found["written"] - found["persistent.put.no_memory"]) <= SLACK_PAGES


@pytest.mark.parametrize("generations", ["y", "n"])
def test_with_room_nothing_is_written(stock: Stock, generations: str) -> None:
    """Whichever of the kernel's two ways of finding what to swap is used."""
    stock.sh(f"echo {generations} > {GENERATIONS}")
    found = stock.swapped(ROOM_MIB)
    assert found["persistent.put.done"] > 4 * SLACK_PAGES
    assert found["persistent.put.no_memory"] == 0
    assert found["written"] <= SLACK_PAGES
    stock.sh(f"echo y > {GENERATIONS}")


def test_what_xen_refuses_goes_to_zswap_before_the_disk(stock: Stock) -> None:
    stored = "awk '$1 == \"zswpout\" { print $2 }' /proc/vmstat"
    before = int(stock.sh(f"echo Y > {ZSWAP}; {stored}"))
    try:
        found = stock.swapped(SOME_MIB)
        kept = int(stock.sh(stored)) - before
    finally:
        stock.sh(f"echo N > {ZSWAP}")
    assert found["persistent.put.done"] > 4 * SLACK_PAGES
    assert kept > 4 * SLACK_PAGES
    assert found["written"] < found["persistent.put.no_memory"] / 2


CURRENT = "/sys/devices/system/xen_memory/xen_memory0/info/current_kb"
"""What the guest itself has, in KiB: without what tmem has of it."""

WANTED_MIB = {"debian-6.12": 120, "debian-7": 108}
"""Kernel -> what a program wants that swaps in a guest of START_MIB and fits into MOST_MIB."""


def test_a_device_is_taken_away_while_its_pages_are_wanted(stock: Stock) -> None:
    """swapoff, while a program swaps: it brings all back, and Xen has nothing of a device that is
    off. There is room for all of it by then: the kernel would end swapoff, or the program. What
    tmem holds of a guest counts as its memory, so Xen's limit is higher by that.
    """
    stock.host.run(DOM0, f"xl mem-max {GUEST} {MOST_MIB}")
    program = f"python3 /run/stock.py swap {WANTED_MIB[stock.boots]}"
    stock.sh(f"({program} > /run/swapped 2>&1; echo $? > /run/swapped.code) > /dev/null 2>&1 &")
    used = "awk '/^SwapTotal/ { total = $2 } /^SwapFree/ { print total - $2 }' /proc/meminfo"
    stock.sh(f"until [ $({used}) -gt 4096 ]; do sleep 1; done", 240)
    stock.host.set_memory({GUEST: MOST_MIB}, {GUEST: MOST_MIB + WANTED_MIB[stock.boots]})
    stock.sh(f"until [ $(cat {CURRENT}) -ge {(MOST_MIB - 2) * 1024} ]; do sleep 1; done", 240)
    stock.sh("for n in 1 2 3; do swapoff /dev/xvdb && swapon /dev/xvdb || exit; sleep 1; done", 400)
    stock.sh("until [ -s /run/swapped.code ]; do sleep 1; done", 400)
    assert '"wrong": 0' in stock.sh("cat /run/swapped")
    stock.leaves_no_page_in_swap()
    stock.host.set_memory({GUEST: START_MIB}, {GUEST: MOST_MIB})


def test_neither_kernel_nor_xen_has_anything_to_say(stock: Stock) -> None:
    assert findings(stock.host.kernel_log()) == []
