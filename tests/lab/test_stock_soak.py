"""A guest with Debian's own kernel that swaps and reads again for a long time, with everything that
it sees compared: stress-ng's memory and files, and a file that changes in every way (exercise.c).

`./inv tmem.soak-guests` runs it for an hour, or as long as is asked for: it sets
OVERCOMMIT_SOAK_MINUTES, OVERCOMMIT_SOAK_KERNELS and OVERCOMMIT_SOAK_SEED. By itself it takes a few
minutes, which show that it works. Builds an image with stress-ng when it is not there.
"""

from __future__ import annotations

import json
import os
import shlex
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

import pytest
from soak import STOCK, Soaked, files_right, stress_command, worked
from stocked import GUEST, START_MIB, Stock, booted

from campaigns.kernel_log import findings
from lab.lifecycle import OpenLab

pytestmark = [pytest.mark.lab, pytest.mark.long]

MINUTES = float(os.environ.get("OVERCOMMIT_SOAK_MINUTES", "2"))
ASKED = os.environ.get("OVERCOMMIT_SOAK_KERNELS", ",".join(STOCK)).split(",")
SEED = int(os.environ.get("OVERCOMMIT_SOAK_SEED", "2009"))
SEED_STEP = 6
"""The kind of exercise.c's failing writes stays that of the first: torn ones. After short ones ext4
may fail to be read by itself.
"""

ROOM_MIB = 16
"""What Xen may keep of its swapped pages: less than there are, so that they go both ways."""

LOOK_S = 15
LATE_S = 600
"""So long an emulated guest may take to end what it is at, and to swap all of it in."""

CHANGES, KIB = 500, 512
PLACE = "/root/soak"

WORK = """\
set -e
mkdir -p {place}
cd {place}
end=$(($(date +%s) + {seconds}))
{{
    code=0
    {stress} > stress.txt 2>&1 || code=$?
    echo $code > stress.code
}} < /dev/null > /dev/null 2>&1 &
{{
    seed={seed} code=0
    while [ "$(date +%s)" -lt $end ] && [ $code = 0 ]; do
        {exercise} {place}/exercised $seed {changes} {kib} >> exercised.json 2>> exercised.txt || code=$?
        seed=$((seed + {step}))
    done
    echo $code > exercised.code
}} < /dev/null > /dev/null 2>&1 &
"""


@pytest.fixture(scope="module", params=ASKED)
def stock(lab: OpenLab, inventory_path: Path, request: pytest.FixtureRequest) -> Iterator[Stock]:
    """What is swapped out of the guest goes to Xen, and past it to the disk."""
    with booted(lab, inventory_path, request.param, "static+tmem", packages=["stress-ng"]) as found:
        found.host.set_memory({GUEST: START_MIB}, {GUEST: START_MIB + ROOM_MIB})
        yield found


def test_nothing_is_lost_however_long_memory_is_scarce(
    stock: Stock, record_property: Callable[[str, object], None]
) -> None:
    exercise = stock.program("exercise")
    before = stock.trial("counters")
    seconds = round(MINUTES * 60)
    stress = stress_command(seconds, SEED, PLACE)
    work = {"place": PLACE, "seconds": seconds, "stress": stress, "seed": SEED, "step": SEED_STEP, "exercise": exercise}
    stock.sh(WORK.format(**work, changes=CHANGES, kib=KIB))
    deadline = time.monotonic() + seconds + LATE_S
    while not {"stress.code", "exercised.code"} <= set(stock.sh(f"ls {PLACE}", 300).split()):
        assert findings(stock.host.kernel_log()) == []
        assert time.monotonic() < deadline, stock.sh(f"tail -n 5 {PLACE}/*.txt", 300)
        time.sleep(LOOK_S)

    def left(name: str) -> str:
        return stock.sh(f"cat {shlex.quote(f'{PLACE}/{name}')}", 120)

    said = left("stress.txt")
    print(f"{stock.boots}: {said}", file=sys.stderr)
    operations = worked(int(left("stress.code")), said)
    files = files_right(int(left("exercised.code")), left("exercised.json"), left("exercised.txt"))
    after = stock.trial("counters")
    grown = {name: after[name] - before[name] for name in after}
    failed = {name: count for name, count in grown.items() if name.endswith(".failed") and count}
    assert not failed
    for name in ("persistent.put.done", "persistent.get.done", "persistent.put.no_memory", "ephemeral.get.done"):
        assert grown[name] > 1000, f"{name} was hardly tried: {grown}"
    swapped, hits = grown["persistent.put.done"], grown["ephemeral.get.done"]
    soaked = Soaked(stock.boots, MINUTES, operations, files, swapped, hits)
    record_property("soaked", json.dumps(asdict(soaked)))


def test_then_nothing_is_kept_and_nobody_complains(stock: Stock) -> None:
    stock.sh("swapoff /dev/xvdb", 600)
    assert [pool["Pc"] for pool in stock.pools("P")] == [0]
    assert findings(stock.host.kernel_log()) == []
