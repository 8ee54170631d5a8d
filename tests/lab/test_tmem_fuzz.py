"""A hostile guest: hundreds of thousands of wrong operations, and a hunt for another guest's data.
Nobody else may notice.

The operations are made by tmem_test.ko in the guest (tmem/linux/test/fuzz.c, secrets.c), since only
a guest's kernel can make them. Here is what surrounds them: a guest with pages of its own that has
to keep them, dom0 that looks and evicts meanwhile, and the accounts before and after. All of it
once with pages stored as they are, and once compressed and deduplicated, where guests share frames.

`./inv tmem.fuzz` makes a longer run, or another (fuzz.py): it sets OVERCOMMIT_FUZZ_OPERATIONS, for
each of the two, and OVERCOMMIT_FUZZ_SEED.
"""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import pytest
from accounts import IN_PARTS, accounts, adds_up, client, complaints, destroy, run_module, settle

from lab.hosts.emulated import EmulatedHost
from lab.lifecycle import DEFAULT_GUESTS, DEFAULT_HOST, OpenLab

pytestmark = pytest.mark.lab

OPERATIONS = int(os.environ.get("OVERCOMMIT_FUZZ_OPERATIONS", "200000"))
SEED = int(os.environ.get("OVERCOMMIT_FUZZ_SEED", "2009"))
BOUND_S = 300 + OPERATIONS // 100
"""For one run of the module, in seconds: many times what it takes."""

RACING_VCPUS = 2
HOSTILE, VICTIM, DOOMED = "guest1", "guest2", "guest3"
SETTINGS = {"plain": "--compress 0 --dedup 0", "compressed": "--compress 1 --dedup 1"}
KEPT_FRAMES = 256 + 8 + 6
"""What an empty client may keep: free frames, index pages at hand, and its two tables
(tmem/README.md).
"""


Stored = tuple[int, int]
"""Puts of a guest that were compressed, and those that found their content there."""


@dataclass(frozen=True)
class Attacked:
    """A host on which one guest has put pages, and the hostile one is a client already, both
    with one of the settings.
    """

    host: EmulatedHost
    setting: str
    before: dict[str, Stored]

    def uses_what_is_set(self, guest: str) -> bool:
        """Whether the guest's pages were stored as set: some compressed and some shared, or none
        of either.
        """
        compressed, shared = (
            now - then for now, then in zip(stored(self.host, guest), self.before[guest], strict=True)
        )
        return (compressed > 0, shared > 0) == (self.setting == "compressed",) * 2


@pytest.fixture(scope="module")
def crowd(lab: OpenLab) -> EmulatedHost:
    """Guests with two vCPUs, so that operations really race."""
    host = lab.hosts[0]
    assert isinstance(host, EmulatedHost)
    host.reset(DEFAULT_HOST, replace(DEFAULT_GUESTS, vcpus=RACING_VCPUS))
    return host


@pytest.fixture(
    scope="module", params=[pytest.param(name, marks=[pytest.mark.long] * (name != "plain")) for name in SETTINGS]
)
def attacked(request: pytest.FixtureRequest, crowd: EmulatedHost) -> Iterator[Attacked]:
    # The first pool makes a client, whose index stays; so it is in the accounts from the beginning,
    # and can be set.
    run_module(crowd, HOSTILE, "mode=fuzz operations=300")
    run_module(crowd, VICTIM, "mode=secrets")
    before = {guest: stored(crowd, guest) for guest in (HOSTILE, VICTIM)}
    put_secrets_as(crowd, VICTIM, SETTINGS[request.param])
    settle(crowd, HOSTILE)
    yield Attacked(crowd, request.param, before)
    crowd.run(VICTIM, "modprobe tmem_test mode=forget; rmmod tmem_test")


def stored(host: EmulatedHost, guest: str) -> Stored:
    found = client(host, guest)
    return found["cp"], found["deduplicated"]


def put_secrets_as(host: EmulatedHost, guest: str, setting: str) -> None:
    """Let the guest put its secrets anew, when every client has the setting."""
    host.run("dom0", f"tmemctl set all {setting}")
    run_module(host, guest, "mode=forget")
    run_module(host, guest, "mode=secrets")


def look_and_evict(host: EmulatedHost, stop: threading.Event, problems: list[str]) -> None:
    while not stop.is_set():
        try:
            host.run("dom0", "tmemctl list -l > /dev/null && tmemctl flush all 50 > /dev/null")
        except Exception as error:  # noqa: BLE001 - whatever it is, the test that waits has to hear of it
            problems.append(str(error))
            return
        time.sleep(0.2)


def test_hostile_operations_harm_nobody(attacked: Attacked, record_property: Callable[[str, object], None]) -> None:
    host = attacked.host
    before = accounts(host)
    stop = threading.Event()
    problems: list[str] = []
    dom0 = threading.Thread(target=look_and_evict, args=(host, stop, problems))
    dom0.start()
    try:
        report = run_module(host, HOSTILE, f"mode=fuzz seed={SEED} operations={OPERATIONS}", BOUND_S)
    finally:
        stop.set()
        dom0.join()
    print(report)
    assert problems == []
    refused = sum(int(count) for count in re.findall(r"(\d+) refused", report))
    done = sum(int(count) for count in re.findall(r"(\d+) done", report))
    assert refused > OPERATIONS // 10, "too few hostile operations reached Xen"
    assert done > OPERATIONS // 20, "too few operations were right enough to be done"
    calls = re.search(rf"(\d+) hypercalls on {RACING_VCPUS} processors", report)
    assert calls is not None, report
    assert attacked.uses_what_is_set(HOSTILE)

    settle(host, HOSTILE)
    after = accounts(host)
    record_property("hypercalls", calls[1])
    record_property("accounts", f"{before} -> {after}")
    assert abs(after.total - before.total) <= IN_PARTS, f"pages are missing, or too many: {before} -> {after}"
    assert attacked.setting != "plain" or adds_up(host)
    left = client(host, HOSTILE)
    assert (left["pools"], left["Ec"], left["persistent"]) == ([], 0, 0)
    assert left["frames"] <= KEPT_FRAMES
    run_module(host, VICTIM, "mode=verify")


def test_nobody_gets_another_guests_pages(attacked: Attacked) -> None:
    host = attacked.host
    run_module(host, HOSTILE, "mode=hunt")
    assert attacked.uses_what_is_set(VICTIM)
    # The victim has its own pages, and nobody else's. That takes the ephemeral ones from Xen.
    run_module(host, VICTIM, "mode=verify")
    run_module(host, VICTIM, "mode=forget")
    run_module(host, VICTIM, "mode=secrets")
    # Evicted, the frames go back to Xen; the victim's persistent pages stay.
    host.run("dom0", "tmemctl flush all 100000 > /dev/null")
    run_module(host, HOSTILE, "mode=hunt")
    run_module(host, VICTIM, "mode=verify")
    # Destroyed, the others follow.
    run_module(host, VICTIM, "mode=forget")
    report = run_module(host, HOSTILE, "mode=hunt")
    assert re.search(r"[1-9]\d* frames from Xen looked at", report), report


def test_a_dead_guests_pages_are_not_found(crowd: EmulatedHost) -> None:
    run_module(crowd, DOOMED, "mode=secrets")
    put_secrets_as(crowd, DOOMED, SETTINGS["compressed"])
    found = client(crowd, DOOMED)
    assert found["persistent"] > 0
    assert found["cp"] > 0
    destroy(crowd, DOOMED)
    run_module(crowd, HOSTILE, "mode=hunt")


def test_the_others_answer_and_xen_complained_of_nothing(crowd: EmulatedHost) -> None:
    for name in (HOSTILE, VICTIM):
        assert crowd.run(name, "echo alive") == "alive\n"
    assert complaints(crowd) == []
