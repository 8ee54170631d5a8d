"""What users complain of in memory managers, shown on simulated guests: policies/README.md has a
table of what each manager does there, and this holds it to that.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from dom0 import Dom0, Domain
from fake_store import FakeStore
from guests_simulated import Run, Wants

from lab import paths
from policies import managers
from policies.managers import qmemman, squeezed

MIB = 2**20
LIMIT = 120
MANAGERS = ("qmemman", "squeezed", "mom", "proxmox", "psi", "hotplug", "collaborative")

Begin = Callable[..., Run]


@pytest.fixture
def begin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Begin]:
    """Makes three guests of so much, on a host that has so much free, with a manager."""
    store = FakeStore(tmp_path)

    def make(manager: str, wants: dict[int, Wants], *, mib: int = 160, free: float = 8, stuck: int = 0) -> Run:
        dom0 = Dom0(tmp_path, store, monkeypatch, free=free)
        dom0.domains = {number: Domain(f"guest{number}", mib, follows=number != stuck) for number in (1, 2, 3)}
        return Run(dom0, manager, wants)

    yield make
    store.end()


def has(run: Run, number: int, mib: float) -> Callable[[], bool]:
    return lambda: run.dom0.domains[number].mib >= mib


def seconds(found: int | None) -> str:
    return "never" if found is None else f"{found} s"


def fat(begin: Begin, manager: str) -> str:
    """QubesOS#9627: idle guests are fat while one starves. Until it has what it uses."""
    run = begin(manager, {1: Wants(190), 2: Wants(40), 3: Wants(40)})
    return seconds(run.until(has(run, 1, 190), LIMIT))


def out_of_memory(begin: Begin, manager: str) -> str:
    """Edera linux-kernel-oci#236, libkrunfw#145: ballooned out, then out of memory, though the host
    has some. Until it has what it uses.
    """
    run = begin(manager, {1: Wants(140), 2: Wants(40), 3: Wants(40)}, mib=80, free=150)
    return seconds(run.until(has(run, 1, 140), LIMIT))


def robbed(begin: Begin, manager: str) -> str:
    """QubesOS#4887: who has just begun uses little, and is robbed. What it is left with after a
    minute, of 160 MiB; then it wants 150: until it has that.
    """
    run = begin(manager, {1: Wants(120), 2: Wants(110), 3: Wants(20)})
    run.lasts(60)
    least = min(each[3] for each in run.seen)
    run.wants[3].programs = 150
    return f"{least:.0f} MiB, {seconds(run.until(has(run, 3, 150), LIMIT))}"


def stuck(begin: Begin, manager: str) -> str:
    """xen-api#1847: oscillation around a guest that is stuck. How often others turn round in two
    minutes.
    """
    run = begin(manager, {1: Wants(170, 60), 2: Wants(60, 20), 3: Wants(40)}, stuck=3)
    run.lasts(LIMIT)
    assert run.dom0.domains[3].mib == 160
    return f"{run.turns(1) + run.turns(2)}"


def stopped(begin: Begin, manager: str) -> str:
    """QubesOS#9669: balancing stops. The only one who could give is stuck for half a minute; then,
    until who lacks memory has it.
    """
    run = begin(manager, {1: Wants(200), 2: Wants(150), 3: Wants(40)}, stuck=3)
    run.lasts(30)
    run.dom0.domains[3].follows = True
    return seconds(run.until(has(run, 1, 200), LIMIT))


def files(begin: Begin, manager: str) -> str:
    """firecracker#4324: inflation takes the page cache. What is left of 100 MiB of files that a
    guest reads all the time, when another wants more.
    """
    run = begin(manager, {1: Wants(200), 2: Wants(40, 100), 3: Wants(40, 100)}, free=0)
    run.lasts(LIMIT)
    return f"{min(run.dom0.domains[2].mib - 40, 100):.0f} MiB"


COMPLAINTS = {each.__name__: each for each in (fat, out_of_memory, robbed, stuck, stopped, files)}


def told() -> dict[str, dict[str, str]]:
    """Complaint -> manager -> what the guide says."""
    guide = (paths.REPO / "policies" / "README.md").read_text()
    lines = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in guide.splitlines() if line.startswith("| ")
    ]
    return {
        match[1]: dict(zip(MANAGERS, row[2:], strict=True))
        for row in lines
        if len(row) > 1 and (match := re.fullmatch(r"`test_complaint\[(\w+)\]`", row[1]))
    }


@pytest.mark.parametrize("complaint", COMPLAINTS)
@pytest.mark.parametrize("manager", MANAGERS)
def test_complaint(begin: Begin, complaint: str, manager: str) -> None:
    assert COMPLAINTS[complaint](begin, manager) == told()[complaint][manager]


def test_the_table_has_all_complaints_and_managers_that_there_are() -> None:
    assert set(MANAGERS) <= set(managers.names())
    assert set(told()) == set(COMPLAINTS)


def test_a_new_guest_is_refused_though_memory_could_be_had() -> None:
    """QubesOS#8087: who does not report, or stopped following, is left out: what it has too much is
    not had. squeezed asks nobody, and has it.
    """
    silent = qmemman.Domain(2, 3000 * MIB, 4000 * MIB, None, no_progress=False)
    thrifty = qmemman.Domain(1, 500 * MIB, 4000 * MIB, 300 * MIB, no_progress=False)
    asked = qmemman.Request(400 * MIB, (thrifty, silent))
    assert qmemman.decide(asked).targets == ()
    reporting = qmemman.Domain(2, 3000 * MIB, 4000 * MIB, 300 * MIB, no_progress=False)
    granted = dict(qmemman.decide(qmemman.Request(400 * MIB, (thrifty, reporting))).targets)
    assert sum(granted.values()) <= 3100 * MIB
    everybody = tuple(
        squeezed.Domain(each.domain, each.actual, 200 * MIB, each.maximum, no_progress=False)
        for each in (thrifty, silent)
    )
    # the guest that is to start asks by being there, with nothing yet
    newcomer = squeezed.Domain(3, 0, 400 * MIB, 400 * MIB, no_progress=False)
    freed = dict(squeezed.decide(squeezed.State(0, (*everybody, newcomer))).targets)
    assert 3500 * MIB - freed[2] - freed.get(1, 500 * MIB) >= 400 * MIB
