"""Memory that comes and goes in sections, in guests of the emulated host: one guest eats, another
gives whole sections of what it has, and loses nothing that it keeps.
"""

from __future__ import annotations

import json
import time
from dataclasses import replace

import pytest
from shells import run

from benchmarks import managers as benchmark
from campaigns import kernel_log, managed
from common.units import PAGE_BYTES
from lab.emulator.process import UNLIMITED
from lab.hosts.emulated import EmulatedHost
from lab.lifecycle import DEFAULT_GUESTS, DEFAULT_HOST, OpenLab
from policies import apply, decide
from policies import registry as policies
from policies.base import ManagerTuning, Tuning

pytestmark = [pytest.mark.lab, pytest.mark.long]

MIB = 2**20
SECTION_MIB = 16
START_MIB = 160
NEAR_MIB = 1
"""Xen counts a domain's own records, too."""

POLICY = policies.parse("hotplug")
CONSTANTS = {"section": SECTION_MIB * MIB}
COMMON = ManagerTuning(minimum_mib=64, look_s=0.5, moved_bytes=2 * MIB, stalled_us=10_000, patience_s=10.0)
TUNING = Tuning(manager=COMMON, managers={"hotplug": CONSTANTS})


@pytest.fixture(scope="module")
def host(lab: OpenLab) -> EmulatedHost:
    """Three guests with an even share, whose kernels keep the first 64 MiB for themselves."""
    found = lab.hosts[0]
    assert isinstance(found, EmulatedHost)
    found.reset(DEFAULT_HOST, replace(DEFAULT_GUESTS, kernel=POLICY.kernel))
    found.limit_disks(UNLIMITED)
    return found


def memory(host: EmulatedHost) -> dict[str, float]:
    """Guest -> MiB that Xen says it has."""
    host.agents.start([])
    (line,) = host.agents.ask({"dom0": "once"})["dom0"]
    return {
        each["name"]: each["pages"] * PAGE_BYTES / MIB
        for each in json.loads(line)["domains"]
        if each["name"] in host.guests
    }


def online(host: EmulatedHost, guest: str) -> int:
    """A guest's sections. (To Xen, what it keeps in persistent pools is its memory, too.)"""
    return int(run(host, guest, "grep -lx online /sys/devices/system/memory/memory*/state | wc -l", timeout=120))


def kept(host: EmulatedHost, guest: str, mib: int) -> str:
    """Files in a guest's memory that nobody knows, and what they are."""
    return run(host, guest, f"head -c {mib}M /dev/urandom > /dev/shm/kept; md5sum < /dev/shm/kept")


def eats(host: EmulatedHost, policy: str, eater: str) -> managed.Managed:
    """A manager that is ready goes to work while a guest eats, until it has got two sections."""
    before = online(host, eater)
    host.release_manager()
    run(host, eater, benchmark.eat(150), timeout=120)
    deadline = time.monotonic() + 150
    while online(host, eater) < before + 2:
        assert time.monotonic() < deadline, f"{memory(host)} {host.stop_manager()[-5:]}"
        time.sleep(0.5)
    found = managed.parse(host.stop_manager())
    print(f"\n{policy}: {memory(host)} {found.sections} {json.dumps(found.cost)}")
    assert not found.errors
    assert found.sections[eater]["taken"] >= 2
    for record in found.decisions:
        assert decide.again("hotplug", record["state"], CONSTANTS) == record["decision"]
    return found


def test_whole_sections_go_to_who_eats_and_nothing_is_lost(host: EmulatedHost) -> None:
    apply.prepare(POLICY, TUNING, host, DEFAULT_HOST, DEFAULT_GUESTS)
    before = memory(host)
    assert all(abs(mib - START_MIB) <= NEAR_MIB for mib in before.values()), before
    states = run(host, "guest2", "cat /sys/devices/system/memory/memory*/state | sort | uniq -c").split()
    assert states == ["6", "offline", "10", "online"], "the six that it may get beyond its share have no memory"
    files = kept(host, "guest2", 30)
    found = eats(host, "hotplug", "guest1")
    assert run(host, "guest2", "md5sum < /dev/shm/kept") == files
    now = memory(host)
    for mib in now.values():
        assert abs(mib / SECTION_MIB - round(mib / SECTION_MIB)) * SECTION_MIB <= NEAR_MIB
    assert sum(found.sections[giver]["given"] for giver in ("guest2", "guest3")) >= 1
    assert sum(now.values()) <= 3 * START_MIB + 3 * NEAR_MIB
    # the balloons were told nothing since the release
    target = run(host, "dom0", "xenstore-read /local/domain/$(xl domid guest2)/memory/target")
    assert target.strip() == str(START_MIB * 1024)


def test_with_tmem_beneath_another_guest_gets_them(host: EmulatedHost) -> None:
    run(host, "guest1", benchmark.DIGEST, timeout=120)
    wanted = policies.parse("hotplug+tmem")
    host.load_driver(apply.parameters(wanted), {})
    manager = apply.manager(wanted, TUNING, DEFAULT_HOST, DEFAULT_GUESTS, list(host.guests))
    assert manager is not None
    host.start_manager(manager)
    found = eats(host, "hotplug+tmem", "guest3")
    assert found.sections["guest1"]["given"] >= 1
    assert kernel_log.findings(host.kernel_log()) == []
