"""Guests that boot the kernels that Debian ships, with the driver: what they read and swap comes
from Xen and is right, however files change, and nothing is left of them.

Builds the artifacts of these kernels when they are not there, which takes minutes. What is done in
the guest is stock.py and exercise.c.
"""

from __future__ import annotations

import subprocess
import sys
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from accounts import destroy, tmem
from stocked import GUEST, MOST_MIB, START_MIB, Stock, booted

from campaigns.kernel_log import findings
from lab.build import builder
from lab.kernels import KERNELS
from lab.lifecycle import OpenLab
from lab.remote.ssh import CommandError
from policies import apply
from policies import registry as policies
from policies.base import Tuning
from workloads import registry
from workloads.run import run

pytestmark = [pytest.mark.lab, pytest.mark.long]

FILE_MIB = 160
"""More than such a guest has memory for files."""

CHANGED_PAGES = 64
RACED_HITS = 20_000

LACKS = ("clone", "encoded_write")
"""What ext4 does not do with files."""

HELD_BACK = 512
"""Swap slots that the kernel has freed and keeps for later: 64 for each processor, twice, and what
moves meanwhile."""


@pytest.fixture(scope="module", params=["debian-6.12", "debian-7"])
def stock(lab: OpenLab, inventory_path: Path, request: pytest.FixtureRequest) -> Iterator[Stock]:
    """The guest's driver does all that it can, once it is told to."""
    with booted(lab, inventory_path, request.param, "selfballoon+tmem") as found:
        yield found


def test_it_boots_and_leaves_room(stock: Stock) -> None:
    release = builder.artifact(KERNELS[stock.boots].artifact).outputs["release"].read_text().strip()
    assert stock.sh("uname -r").strip() == release
    told = dict(line.split(":") for line in stock.sh("cat /proc/meminfo").splitlines())
    mib = {name: int(told[name].split()[0]) / 1024 for name in ("MemTotal", "MemAvailable")}
    print(f"{stock.boots}: of {START_MIB} MiB {mib}", file=sys.stderr)
    assert mib["MemTotal"] > START_MIB * 2 / 3
    assert mib["MemAvailable"] > 0.4 * START_MIB  # 6.12 leaves 108 at rest, 7.3 96
    asked = dict.fromkeys(("cleancache", "frontswap", "selfballooning"), "Y") | {"selfshrinking": "N"}
    for name, wanted in asked.items():
        assert stock.sh(f"cat /sys/module/tmem/parameters/{name}").strip() == wanted


def test_a_file_that_is_larger_than_memory_is_read_again_without_its_disk(stock: Stock) -> None:
    stock.reads_a_file_again_without_its_disk(FILE_MIB)


def test_nobody_reads_what_a_file_was_before_it_changed(stock: Stock) -> None:
    found = stock.trial("changes", CHANGED_PAGES, "/root")
    assert found.keys() == {"unchanged", "overwritten", "directly", "punched", "truncated", "mapped", "renewed"}
    assert {name: each["wrong"] for name, each in found.items()} == dict.fromkeys(found, 0)
    assert found["unchanged"]["hits"] >= CHANGED_PAGES, "Xen had nothing that could have been read wrong"
    assert min(each["kept"] for each in found.values()) >= CHANGED_PAGES


def test_nobody_reads_what_a_direct_write_has_replaced(stock: Stock) -> None:
    stock.races_for_a_file("/root", RACED_HITS)


def test_what_is_read_by_single_pages_comes_from_xen(stock: Stock) -> None:
    found = stock.trial("mapped", 512, "/root")
    assert found["wrong"] == 0
    assert found["hits"] > 0.9 * 512


@contextmanager
def mounted(stock: Stock, folder: Path, block: int) -> Iterator[str]:
    """Where an ext4 with blocks of this size is, on what is else the guest's swap disk."""
    image = folder / "ext4"
    with image.open("wb") as file:
        file.truncate(16 * 2**20)
    subprocess.run(["mkfs.ext4", "-q", "-b", str(block), str(image)], check=True)
    stock.sh("swapoff /dev/xvdb; mkdir -p /run/mounted", 240)
    write = "import sys, zlib; sys.stdout.buffer.write(zlib.decompress(sys.stdin.buffer.read()))"
    packed = zlib.compress(image.read_bytes())
    stock.host.run(GUEST, f"python3 -c '{write}' | dd of=/dev/xvdb bs=1M status=none", stdin=packed)
    try:
        stock.sh("mount -t ext4 /dev/xvdb /run/mounted")
        yield "/run/mounted"
    finally:
        stock.sh("umount /run/mounted; mkswap /dev/xvdb > /dev/null && swapon /dev/xvdb")


def test_an_unmounted_file_system_leaves_no_pool(stock: Stock, tmp_path: Path) -> None:
    before = len(stock.pools("E"))
    with mounted(stock, tmp_path, 4096) as there:
        stock.sh(f"cp /usr/bin/python3.13 {there}/file && sync")
        stock.sh(f"cat {there}/file > /dev/null; echo 1 > /proc/sys/vm/drop_caches; cat {there}/file > /dev/null")
        assert len(stock.pools("E")) == before + 1
    assert len(stock.pools("E")) == before


def test_a_file_is_right_however_it_changes(stock: Stock) -> None:
    for seed in (1, 2):
        stock.changes_a_file_in_every_way("/root", seed, lacks=LACKS)


@pytest.mark.parametrize("block", [1024, 4096])
def test_a_file_is_right_with_blocks_of_any_size(stock: Stock, block: int, tmp_path: Path) -> None:
    with mounted(stock, tmp_path, block) as there:
        stock.changes_a_file_in_every_way(there, block, lacks=LACKS)


def test_swapped_pages_come_back_and_their_slots_are_given_back(stock: Stock) -> None:
    stock.swaps()
    (pool,) = stock.pools("P")
    total, free = (int(stock.sh(f"awk '/^Swap{word}:/ {{ print $2 }}' /proc/meminfo")) for word in ("Total", "Free"))
    assert pool["Pc"] <= (total - free) / 4 + HELD_BACK, "slots that are free are kept"
    stock.leaves_no_page_in_swap()


def test_the_guest_counts_what_xen_counts(stock: Stock) -> None:
    known, after = stock.counts_at_rest()
    (swap,) = (pool for pool in known["pools"] if pool["PT"].startswith("P"))
    for verb, done, tried in (("put", "ps", "pt"), ("get", "gs", "gt")):
        assert swap[done] == after[f"persistent.{verb}.done"]
        assert swap[tried] == sum(n for each, n in after.items() if each.startswith(f"persistent.{verb}."))
    kept = sum(pool["ps"] for pool in known["pools"] if pool["PT"].startswith("E"))
    assert 0 < kept <= after["ephemeral.put.done"]


def test_senpai_gives_until_tasks_wait_and_takes_it_back_when_they_do(stock: Stock) -> None:
    """Faster than published, since an emulated guest has no time; and it waits longer for pages."""
    settings = {"pressure": 50_000, "interval": 1, "max_probe": 0.05, "minimum": 96}
    release = apply.release_script(policies.parse("senpai+tmem"), stock.boots, Tuning(managers={"senpai": settings}))
    stock.host.run(GUEST, release)
    deadline = time.monotonic() + 120
    while stock.has_kib() > (START_MIB - 32) * 1024:
        assert time.monotonic() < deadline, stock.sh("cat /run/overcommit/senpai.log; cat /proc/pressure/memory")
        time.sleep(2)
    found = stock.trial("swap", 130)
    log = stock.sh("kill $(cat /run/overcommit/senpai.pid); cat /run/overcommit/senpai.log")
    print(f"{stock.boots}: {log}", file=sys.stderr)
    assert found["wrong"] == 0
    steps = [(int(words[5]), int(words[8])) for words in map(str.split, log.splitlines())]
    least = min(has for _, has in steps)
    assert 96 * 1024 <= least <= (START_MIB - 32) * 1024
    grew = [has for had, has in steps if has > had]
    assert max(grew, default=0) > least + 16 * 1024, f"it never took enough back: {log}"
    assert max(grew) <= MOST_MIB * 1024
    stock.host.set_memory({GUEST: START_MIB}, {GUEST: MOST_MIB})


def test_self_ballooning_follows_what_is_committed(stock: Stock) -> None:
    stock.host.run(GUEST, apply.release_script(policies.parse("selfballoon+tmem"), stock.boots))
    deadline = time.monotonic() + 120
    while stock.has_kib() >= (START_MIB - 16) * 1024:
        assert time.monotonic() < deadline, "self-ballooning gave nothing back"
        time.sleep(5)


def test_it_builds_linux(stock: Stock, tmp_path: Path) -> None:
    workload = registry.get("kernel_build")
    asked = {"jobs": 1, "probes": "once", "targets": ["kernel/exit.o"]}
    machine = stock.host.guests[GUEST].machine
    result = run(machine, workload, workload.parse(asked), tmp_path, timeout_s=600)
    assert {metric.name: metric.value for metric in result.metrics}["objects"] == 1


def test_neither_kernel_nor_xen_has_anything_to_say(stock: Stock) -> None:
    assert findings(stock.host.kernel_log()) == []


def test_it_stays_once_it_is_loaded_and_leaves_nothing_when_the_guest_goes(stock: Stock) -> None:
    with pytest.raises(CommandError, match="in use"):
        stock.sh("rmmod tmem")
    assert tmem(stock.host)["global"]["Ec"] > 0
    destroy(stock.host, GUEST)
    left = tmem(stock.host)["global"]
    assert left["Ec"] == left["persistent"] == 0
