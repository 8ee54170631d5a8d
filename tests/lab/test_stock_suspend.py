"""Guests with the kernels that Debian ships are saved, restored and migrated while tmem has pages
of theirs: none is lost, as with 5.10 (test_tmem_migration.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from stocked import GUEST, MOST_MIB, START_MIB, booted
from suspendable import SECONDS, Suspendable, hold

from campaigns.kernel_log import findings
from lab.kernels import KernelName
from lab.lifecycle import OpenLab

pytestmark = [pytest.mark.lab, pytest.mark.long]

PATTERN_MIB = 140
"""Of the guest's 192 MiB, of which its kernel leaves about 100 to programs."""

SMALL_SWAP_KIB = 72 << 10
"""For what of the pattern is swapped, and not for copies of it as well."""

LIMIT_MIB = START_MIB + 32
"""With what may be in frontswap. While the guest migrates there are two of it, and Xen keeps the
pages of the first."""


@pytest.fixture(
    scope="module",
    params=[("debian-6.12", "pv"), ("debian-7", "pv"), ("debian-6.12", "pvh")],
    ids="-".join,
)
def guest(lab: OpenLab, inventory_path: Path, request: pytest.FixtureRequest) -> Iterator[Suspendable]:
    """One guest for all that it survives, with a part of its pattern in tmem."""
    boots, booted_as = request.param
    with booted(lab, inventory_path, boots, "static+tmem", booted_as=booted_as) as stock:
        stock.host.set_memory({GUEST: START_MIB}, {GUEST: LIMIT_MIB})
        made = hold(stock.host, PATTERN_MIB)
        assert made.pools().get("PP", 0) > 1000, "the pattern is to be in tmem, for a good part"
        yield made


def test_save_and_restore_lose_no_page(guest: Suspendable) -> None:
    before = guest.pools()["PP"]
    guest.save_and_restore()
    guest.goes_on_whole(before, LIMIT_MIB)


def test_a_local_migration_loses_no_page(guest: Suspendable) -> None:
    before = guest.pools()["PP"]
    guest.migrate()
    guest.goes_on_whole(before, LIMIT_MIB)


def test_neither_kernel_nor_xen_has_anything_to_say(guest: Suspendable) -> None:
    assert findings(guest.host.kernel_log()) == []


@pytest.mark.parametrize("boots", ["debian-6.12", "debian-7"])
def test_one_without_room_refuses_and_goes_on(lab: OpenLab, inventory_path: Path, boots: KernelName) -> None:
    with booted(lab, inventory_path, boots, "static+tmem") as stock:
        stock.sh(f"swapoff /dev/xvdb; mkswap /dev/xvdb {SMALL_SWAP_KIB} > /dev/null && swapon /dev/xvdb", 240)
        stock.host.set_memory({GUEST: START_MIB}, {GUEST: LIMIT_MIB})
        guest = hold(stock.host, PATTERN_MIB)
        before = guest.pools().get("PP", 0)
        assert before > 1000, "the pattern is to be in tmem, for a good part"
        guest.refuses_to_be_saved(before)
        # with room it is a guest like any other: nothing of the refusal is left behind
        stock.host.run("dom0", f"xl mem-set {GUEST} {MOST_MIB}m", timeout=SECONDS)
        guest.save_and_restore()
        guest.reconnect()
        guest.verify()
        assert findings(stock.host.kernel_log()) == []
