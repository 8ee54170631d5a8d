"""A guest with a kernel that Debian ships, and without room for the pages that tmem has of it,
refuses to be saved, and goes on as before. Not in test_stock_suspend.py: the guest there lasts as
long as its module, and a second host would have the folder of its own.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from stocked import GUEST, HELD_MIB, LIMIT_MIB, MOST_MIB, START_MIB, booted
from suspendable import hold

from campaigns.kernel_log import findings
from lab.kernels import KernelName
from lab.lifecycle import OpenLab

pytestmark = [pytest.mark.lab, pytest.mark.long]

SMALL_SWAP_KIB = {"debian-6.12": 48 << 10, "debian-7": 72 << 10}
"""Kernel -> for what of the pattern is swapped (33 MiB on 6.12), and not for copies of it, too."""


@pytest.mark.parametrize("boots", SMALL_SWAP_KIB)
def test_one_without_room_refuses_and_goes_on(lab: OpenLab, inventory_path: Path, boots: KernelName) -> None:
    with booted(lab, inventory_path, boots, "static+tmem") as stock:
        stock.sh(f"swapoff /dev/xvdb; mkswap /dev/xvdb {SMALL_SWAP_KIB[boots]} > /dev/null && swapon /dev/xvdb", 240)
        stock.host.set_memory({GUEST: START_MIB}, {GUEST: LIMIT_MIB})
        guest = hold(stock.host, HELD_MIB)
        before = guest.pools().get("PP", 0)
        assert before > 1000, "the pattern is to be in tmem, for a good part"
        guest.refuses_to_be_saved(before)
        # with room it is a guest like any other: nothing of the refusal is left behind
        guest.allow(MOST_MIB)  # first: a guest's memory may not be set to more
        stock.host.set_memory({GUEST: MOST_MIB}, {GUEST: MOST_MIB})
        guest.save_and_restore()
        guest.reconnect()
        guest.verify()
        assert findings(stock.host.kernel_log()) == []
