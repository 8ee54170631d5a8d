"""A hostile guest: hundreds of thousands of wrong operations, and a hunt for another guest's data. Nobody else may notice.

The operations are made by tmem_test.ko in the guest (tmem/linux/test/fuzz.c, secrets.c), since only a guest's kernel can make them. Here is what
surrounds them: a guest with pages of its own that has to keep them, dom0 that looks and evicts meanwhile, and the accounts before and after.

OVERCOMMIT_FUZZ_OPERATIONS (default 400000) and OVERCOMMIT_FUZZ_SEED (default 2009) make a longer run, or another.
"""

from __future__ import annotations

import json
import os
import re
import threading
import time
from dataclasses import dataclass, replace
from typing import Any

import pytest

from lab.emulated import EmulatedHost
from lab.lifecycle import DEFAULT_GUESTS, DEFAULT_HOST, OpenLab

pytestmark = pytest.mark.lab

OPERATIONS = int(os.environ.get("OVERCOMMIT_FUZZ_OPERATIONS", "400000"))
SEED = int(os.environ.get("OVERCOMMIT_FUZZ_SEED", "2009"))
RESULTS = "/sys/kernel/debug/tmem_test/results"
BOUND_S = 300 + OPERATIONS // 100
"""For one run of the module, in seconds: many times what it takes."""

RACING_VCPUS = 2
HOSTILE, VICTIM, DOOMED = "guest1", "guest2", "guest3"
TROUBLE = re.compile(
    r"\bWARN(ING)?\b|\bBUG\b|Assertion|Xen call trace|[Pp]anic|FATAL|Oops|[Gg]eneral protection|[Uu]nhandled"
)
KEPT_FRAMES = 256 + 8 + 6
"""What an empty client may keep: free frames, index pages at hand, and its two tables (tmem/README.md)."""


@dataclass(frozen=True)
class Accounts:
    """Where the host's pages are. free: Xen's heap; tmem: held by tmem; charged: to domains, with their persistent pages, which are tmem's too."""

    free: int
    tmem: int
    charged: int
    persistent: int

    @property
    def total(self) -> int:
        return self.free + self.tmem + self.charged - self.persistent


def tmem(host: EmulatedHost) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(host.run("dom0", "tmemctl list -l --json"))
    return found


def accounts(host: EmulatedHost) -> Accounts:
    samples = {(each.source, each.counter): each.value for each in host.read_counters()}
    held = tmem(host)["global"]

    def pages(source: str, counter: str) -> int:
        value = samples[source, counter]
        assert value is not None, f"{source} {counter} could not be read"
        return int(value)

    return Accounts(
        free=pages("hypervisor", "free_memory"),
        tmem=held["Fc"],
        charged=sum(pages(name, "memory") for name in host.guests),
        persistent=held["persistent"],
    )


def run_module(host: EmulatedHost, guest: str, parameters: str) -> str:
    """What the module reports. Fails when its case did, or the guest does not answer."""
    script = f"modprobe tmem_test {parameters} && cat {RESULTS}; status=$?; rmmod tmem_test; exit $status"
    report = host.run(guest, script, timeout=BOUND_S)
    assert re.search(r"^ok 1 \w+$", report, re.MULTILINE), report
    return report


def settle(host: EmulatedHost, guest: str) -> None:
    """Wait until the guest's balloon is where its target is: the module lowers it and sets it back."""
    script = (
        "cd /sys/devices/system/xen_memory/xen_memory0; for i in $(seq 600); do "
        "[ $(cat target_kb) = $(cat info/current_kb) ] && exit 0; sleep 0.1; done; exit 1"
    )
    host.run(guest, script, timeout=120)


@pytest.fixture(scope="module")
def crowd(lab: OpenLab) -> EmulatedHost:
    """Guests with two vCPUs, so that operations really race."""
    host = lab.hosts[0]
    assert isinstance(host, EmulatedHost)
    host.reset(DEFAULT_HOST, replace(DEFAULT_GUESTS, vcpus=RACING_VCPUS))
    return host


@pytest.fixture(scope="module")
def attacked(crowd: EmulatedHost) -> EmulatedHost:
    """A host on which one guest has put pages, and the hostile one is a client already."""
    run_module(crowd, VICTIM, "mode=secrets")
    # The first pool makes the client, whose index stays; so it is in the accounts from the beginning.
    run_module(crowd, HOSTILE, "mode=fuzz operations=300")
    settle(crowd, HOSTILE)
    return crowd


def look_and_evict(host: EmulatedHost, stop: threading.Event, problems: list[str]) -> None:
    while not stop.is_set():
        try:
            host.run("dom0", "tmemctl list -l > /dev/null && tmemctl flush all 50 > /dev/null")
        except Exception as error:  # noqa: BLE001 - whatever it is, the test that waits has to hear of it
            problems.append(str(error))
            return
        time.sleep(0.2)


def test_hostile_operations_harm_nobody(attacked: EmulatedHost) -> None:
    before = accounts(attacked)
    stop = threading.Event()
    problems: list[str] = []
    dom0 = threading.Thread(target=look_and_evict, args=(attacked, stop, problems))
    dom0.start()
    try:
        report = run_module(attacked, HOSTILE, f"mode=fuzz seed={SEED} operations={OPERATIONS}")
    finally:
        stop.set()
        dom0.join()
    print(report)
    assert problems == []
    refused = sum(int(count) for count in re.findall(r"(\d+) refused", report))
    done = sum(int(count) for count in re.findall(r"(\d+) done", report))
    assert refused > OPERATIONS // 10, "too few hostile operations reached Xen"
    assert done > OPERATIONS // 20, "too few operations were right enough to be done"
    assert f"on {RACING_VCPUS} processors" in report

    settle(attacked, HOSTILE)
    after = accounts(attacked)
    assert after.total == before.total, f"pages are missing, or too many: {before} -> {after}"
    domid = attacked.run("dom0", f"xl domid {HOSTILE}").strip()
    client = next(each for each in tmem(attacked)["clients"] if each["CI"] == int(domid))
    assert (client["pools"], client["Ec"], client["persistent"]) == ([], 0, 0)
    assert client["frames"] <= KEPT_FRAMES
    run_module(attacked, VICTIM, "mode=verify")


def test_nobody_gets_another_guests_pages(attacked: EmulatedHost) -> None:
    run_module(attacked, HOSTILE, "mode=hunt")
    # Evicted, the frames go back to Xen; the victim's persistent pages stay.
    attacked.run("dom0", "tmemctl flush all 100000 > /dev/null")
    run_module(attacked, HOSTILE, "mode=hunt")
    run_module(attacked, VICTIM, "mode=verify")
    # Destroyed, the others follow.
    run_module(attacked, VICTIM, "mode=forget")
    report = run_module(attacked, HOSTILE, "mode=hunt")
    assert re.search(r"[1-9]\d* frames from Xen looked at", report), report


def test_a_dead_guests_pages_are_not_found(attacked: EmulatedHost) -> None:
    run_module(attacked, DOOMED, "mode=secrets")
    domid = int(attacked.run("dom0", f"xl domid {DOOMED}"))
    assert next(each for each in tmem(attacked)["clients"] if each["CI"] == domid)["persistent"] > 0
    attacked.run("dom0", f"xl destroy {DOOMED}", timeout=120)
    for _ in range(100):
        if domid not in {each["CI"] for each in tmem(attacked)["clients"]}:
            break
        time.sleep(0.2)
    else:
        pytest.fail("the dead guest is still a client")
    run_module(attacked, HOSTILE, "mode=hunt")


def test_the_others_answer_and_xen_complained_of_nothing(attacked: EmulatedHost) -> None:
    for name in (HOSTILE, VICTIM):
        assert attacked.run(name, "echo alive") == "alive\n"
    log = attacked.run("dom0", "xl dmesg")
    assert [line for line in log.splitlines() if TROUBLE.search(line)] == []
