"""Guests that are not paravirtual: Debian's kernel in a virtual machine of the processor's (PVH),
whose frames Xen has to translate before tmem copies them.

Under software emulation the processor is QEMU's, with AMD-V, and Xen keeps shadows of the guest's
page tables. What is done in the guest is stock.py.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from accounts import destroy, tmem
from stocked import GUEST, MOST_MIB, START_MIB, Stock, booted

from campaigns.kernel_log import findings
from lab.kernels import PVH
from lab.lifecycle import OpenLab
from lab.remote.ssh import DOM0
from policies import apply
from policies import registry as policies

pytestmark = [pytest.mark.lab, pytest.mark.long]

FILE_MIB = 160
"""More than such a guest has memory for files."""


@pytest.fixture(scope="module", params=["debian-6.12", "debian-7"])
def stock(lab: OpenLab, inventory_path: Path, request: pytest.FixtureRequest) -> Iterator[Stock]:
    """The guest's driver does all that it can, once it is told to."""
    with booted(lab, inventory_path, request.param, "selfballoon+tmem", booted_as=PVH) as found:
        yield found


def test_it_is_a_pvh_guest_with_the_memory_that_it_was_given(stock: Stock) -> None:
    assert stock.sh("cat /sys/hypervisor/guest_type").strip() == "PVH"
    (domain,) = (each for each in json.loads(stock.host.run(DOM0, "xl list -l")) if each["domid"])
    assert domain["config"]["c_info"]["type"] == "pvh"
    assert abs(stock.has_kib() - START_MIB * 1024) <= 2 * 1024


def test_a_file_that_is_larger_than_memory_is_read_again_without_its_disk(stock: Stock) -> None:
    stock.reads_a_file_again_without_its_disk(FILE_MIB)


def test_nobody_reads_what_a_file_was_before_it_changed(stock: Stock) -> None:
    found = stock.trial("changes", 64, "/root")
    assert {name: each["wrong"] for name, each in found.items()} == dict.fromkeys(found, 0)
    assert found["unchanged"]["hits"] >= 64, "Xen had nothing that could have been read wrong"


def test_swapped_pages_come_back(stock: Stock) -> None:
    stock.swaps()
    stock.leaves_no_page_in_swap()


def test_large_folios_are_swapped_to_xen_whole(stock: Stock) -> None:
    """Which a PV guest has none of."""
    if stock.boots != "debian-7":
        pytest.skip("up to 6.12 zswap, and so tmem, is offered no large folios")
    stock.swaps_large_folios_whole()


def test_no_large_folio_is_swapped_in_of_which_xen_has_a_part(stock: Stock) -> None:
    stock.swaps_in_by_the_page_where_xen_has_some()


def test_the_guest_counts_what_xen_counts(stock: Stock) -> None:
    stock.counts_at_rest()


def test_self_ballooning_follows_what_is_committed(stock: Stock) -> None:
    stock.host.set_memory({GUEST: START_MIB}, {GUEST: MOST_MIB})
    stock.host.run(GUEST, apply.release_script(policies.parse("selfballoon+tmem"), stock.boots))
    deadline = time.monotonic() + 120
    while stock.has_kib() >= (START_MIB - 16) * 1024:
        assert time.monotonic() < deadline, "self-ballooning gave nothing back"
        time.sleep(5)


def test_neither_kernel_nor_xen_has_anything_to_say(stock: Stock) -> None:
    assert findings(stock.host.kernel_log()) == []


def test_nothing_is_left_when_the_guest_goes(stock: Stock) -> None:
    assert tmem(stock.host)["global"]["Ec"] > 0
    destroy(stock.host, GUEST)
    left = tmem(stock.host)["global"]
    assert left["Ec"] == left["persistent"] == 0
