"""Managers in dom0 of the emulated host: one guest eats memory, and each manager does what its
rules say, with what real guests report and real balloons do.

Parameters are the published ones at the scale of this host: guests here have a twentieth of the
memory that managers were made for.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from shells import run

from benchmarks import managers as benchmark
from campaigns import managed
from common.units import PAGE_BYTES
from lab.emulator.process import UNLIMITED
from lab.hosts.emulated import EmulatedHost
from lab.lifecycle import DEFAULT_GUESTS, DEFAULT_HOST, OpenLab
from policies import apply, decide
from policies import registry as policies
from policies.balloon import steps
from policies.daemon.actions import NEAR_WEIGHT

pytestmark = [pytest.mark.lab, pytest.mark.long]

PAGES_PER_MIB = 2**20 // PAGE_BYTES
START_MIB = 120
"""Of each guest; a quarter of the host's memory is then free to be given."""

EATEN_MIB = 130
EAT = benchmark.eat(EATEN_MIB)
REPORT = "/local/domain/$(xl domid {})/data/overcommit/report"

SOONER: Mapping[str, Mapping[str, Any]] = {
    "squeezed": {"every": 2.0},
    "mom": {"every": 2.0},
    "proxmox": {"every": 2.0},
    "balloon": {"schedule": steps("2 s 100 MiB, 4 s guest1 180 MiB")},
    "smartmem": {"every": 2.0},
}
"""Who decides every 10 s would only be waited for."""

MOVERS = ("qmemman", "squeezed", "mom", "proxmox", "psi", "collaborative", "balloon")
"""Who moves memory by balloons. (hotplug: tests/lab/test_hotplug_in_guests.py.)"""


SCALED = {name: {**constants, **SOONER.get(name, {})} for name, constants in benchmark.SCALED.items()}


@pytest.fixture(scope="module")
def lent(lab: OpenLab) -> EmulatedHost:
    host = lab.hosts[0]
    assert isinstance(host, EmulatedHost)
    host.reset(DEFAULT_HOST, DEFAULT_GUESTS)
    host.limit_disks(UNLIMITED)
    return host


@pytest.fixture
def host(lent: EmulatedHost) -> Iterator[EmulatedHost]:
    """Three guests alike, with memory to be given."""
    for name in lent.guests:
        run(lent, name, benchmark.AFRESH, timeout=120)
    lent.set_memory(dict.fromkeys(lent.guests, START_MIB), {})
    yield lent
    lent.stop_manager()


def start(host: EmulatedHost, name: str) -> None:
    benchmark.start(host, name, SCALED[policies.parse(name).manager or ""])


def stop(host: EmulatedHost, manager: str) -> managed.Managed:
    """What it did, after a look at whether it would do it again."""
    found = managed.parse(host.stop_manager())
    assert not found.errors
    assert found.decisions
    for record in found.decisions:
        assert decide.again(manager, record["state"], SCALED[manager]) == record["decision"]
    print(f"\n{manager}: {json.dumps(found.cost)} {json.dumps(found.reporters)}")
    return found


def memory(host: EmulatedHost) -> dict[str, float]:
    """Guest -> MiB that Xen says it has. Dom0 alone is asked: a guest may be stuck."""
    host.agents.start([])
    (line,) = host.agents.ask({"dom0": "once"})["dom0"]
    return {
        each["name"]: each["pages"] / PAGES_PER_MIB
        for each in json.loads(line)["domains"]
        if each["name"] in host.guests
    }


def grown(host: EmulatedHost) -> bool:
    """Whether the first guest was told to have more, and has it. Its pages in tmem count as what it
    has, so that is not enough.
    """
    told = run(host, "dom0", "xenstore-read /local/domain/$(xl domid guest1)/memory/target")
    return int(told) >= (START_MIB + 20) * 1024 and memory(host)["guest1"] >= START_MIB + 20


def until(condition: Any, seconds: float = 150) -> bool:
    """Whether it came to be so. The bound is for a machine that has other work."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.5)
    return True


def eats(host: EmulatedHost, policy: str) -> managed.Managed:
    """A manager at work while the first guest eats, until that has got memory."""
    start(host, policy)
    host.release_manager()
    run(host, "guest1", EAT, timeout=120)
    grew = until(lambda: grown(host))
    now = memory(host)
    run(host, "guest1", benchmark.DIGEST, timeout=120)
    found = stop(host, policies.parse(policy).manager or "")
    assert grew, f"{now} after {found.decisions[-3:]}"
    assert found.cost["library"], "no process of xl for each target"
    targets = [each for each in found.samples if each.source == "guest1"]
    assert max(each.value or 0 for each in targets) >= (START_MIB + 20) * PAGES_PER_MIB
    return found


@pytest.mark.parametrize("name", MOVERS)
def test_memory_goes_to_the_guest_that_eats(host: EmulatedHost, name: str) -> None:
    found = eats(host, name)
    assert set(found.reporters) == (set() if name in ("squeezed", "balloon") else set(host.guests))
    assert all(each["reports"] > 0 for each in found.reporters.values())


def lie(host: EmulatedHost, guest: str) -> None:
    """A guest says what is no report, once."""
    # by the kernel's device: WRITE, request 1, no transaction, 29 bytes
    message = r"\013\0\0\0\001\0\0\0\0\0\0\0\035\0\0\0data/overcommit/report\0\377\376lies"
    run(host, guest, f"exec 3<> /dev/xen/xenbus; printf '{message}' >&3")
    assert "lies" in run(host, "dom0", f"xenstore-read {REPORT.format(guest)}")


def test_a_guest_that_lies_is_left_out_and_the_others_are_served(host: EmulatedHost) -> None:
    start(host, "qmemman")
    lie(host, "guest2")
    host.release_manager()
    run(host, "guest1", EAT, timeout=120)
    assert until(lambda: grown(host))
    found = stop(host, "qmemman")
    assert found.decisions[0]["reports"] == {"guest2": "absurd"}
    assert found.decisions[0]["state"]["domains"][1]["used"] is None


def test_a_guest_that_is_stuck_keeps_nobody_from_being_served(host: EmulatedHost) -> None:
    start(host, "qmemman")
    run(host, "dom0", "xl pause guest3")
    try:
        host.release_manager()
        run(host, "guest1", EAT, timeout=120)
        assert until(lambda: grown(host))
        time.sleep(2 * benchmark.COMMON.patience_s)
        assert abs(memory(host)["guest3"] - START_MIB) <= 1
    finally:
        run(host, "dom0", "xl unpause guest3")
    found = stop(host, "qmemman")
    follows = [[not each["no_progress"] for each in record["state"]["domains"]] for record in found.decisions]
    assert [True, True, False] in follows, "and it may follow again by the end"


@pytest.fixture(scope="module")
def with_tmem(lent: EmulatedHost) -> None:
    """From here to the end: a driver is not taken away again."""
    lent.load_driver(apply.parameters(policies.parse("qmemman+tmem")), {})


@pytest.mark.parametrize("name", MOVERS)
def test_memory_goes_to_the_guest_that_eats_with_tmem_beneath(host: EmulatedHost, with_tmem: None, name: str) -> None:
    eats(host, f"{name}+tmem")


def test_smartmem_shares_tmem_out_and_moves_no_memory(host: EmulatedHost, with_tmem: None) -> None:
    start(host, "smartmem+tmem")
    host.release_manager()
    run(
        host,
        "guest2",
        "cat /usr/lib/gcc/x86_64-linux-gnu/*/cc1 > /dev/null; echo 1 > /proc/sys/vm/drop_caches",
        timeout=120,
    )
    time.sleep(6)
    found = stop(host, "smartmem")
    assert not found.samples, "it sets no targets"
    decided = [dict(each["decision"]["weights"]) for each in found.decisions if each["decision"]["weights"]]
    assert decided
    for each in json.loads(run(host, "dom0", "tmemctl list --json"))["clients"]:
        # the end may have come while the last ones were being set; what is near is left as it is
        nearest = min(abs(each["ww"] - weights[each["CI"]]) for weights in decided[-2:])
        assert nearest * NEAR_WEIGHT <= each["ww"]
