"""Guests with the kernels that Debian ships are saved, restored and migrated while tmem has pages
of theirs: none is lost, as with 5.10 (test_tmem_migration.py). Where they have no room for them:
test_stock_no_room.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from stocked import GUEST, HELD_MIB, LIMIT_MIB, START_MIB, booted
from suspendable import Suspendable, hold

from campaigns.kernel_log import findings
from lab.lifecycle import OpenLab

pytestmark = [pytest.mark.lab, pytest.mark.long]


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
        made = hold(stock.host, HELD_MIB)
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
