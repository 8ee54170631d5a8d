"""The manager's daemon in a dom0 that is made up: whatever guests, tools and xenstore do, it goes
on, and the guests that do nothing wrong are served.
"""

from __future__ import annotations

import gzip
import json
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sampler as made_up
from dom0 import MIB, Dom0, Domain, records
from fake_store import FakeStore, message

from policies import decide, managers
from policies.daemon import log, reports, view, xenstore
from policies.program import program

SMALL = {"least_preference": 64 * MIB, "kept": 8 * MIB, "least_sum": 8 * MIB, "least_gain": 4 * MIB}
"""qmemman's constants for a host of half a GiB."""


@pytest.fixture
def store(tmp_path: Path) -> Iterator[FakeStore]:
    made = FakeStore(tmp_path)
    yield made
    made.end()


@pytest.fixture
def dom0(tmp_path: Path, store: FakeStore, monkeypatch: pytest.MonkeyPatch) -> Dom0:
    made = Dom0(tmp_path, store, monkeypatch)
    made.domains = {1: Domain("guest1", 160), 2: Domain("guest2", 160), 3: Domain("guest3", 160)}
    return made


def busy_and_idle(dom0: Dom0, idle: tuple[int, ...] = (2, 3)) -> None:
    dom0.report(1, used=150)
    for number in idle:
        dom0.report(number, used=40)


def decided(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [each for each in found if "decision" in each]


# --- What it is for -----------------------------------------------------------------------------


def test_memory_goes_to_who_needs_it_and_all_is_written_down(dom0: Dom0) -> None:
    busy_and_idle(dom0)
    made = dom0.daemon("qmemman", parameters=SMALL)
    dom0.run(made, 3)
    assert dom0.domains[1].mib > 200
    assert dom0.domains[2].mib < 130
    found = records(made)
    first = decided(found)[0]
    assert first["names"] == {"1": "guest1", "2": "guest2", "3": "guest3"}
    assert first["acted"]
    assert {domain for domain, _, _ in first["set"]} == {1, 2, 3}
    assert first["failed"] == []
    for each in decided(found):
        assert decide.again("qmemman", each["state"], SMALL) == each["decision"]
    cost = found[-1]["cost"]
    assert (cost["decisions"], cost["errors"], cost["dropped"]) == (len(decided(found)), 0, 0)
    assert cost["cpu_seconds"] > 0


def test_who_gives_is_told_first_and_who_gets_when_the_memory_is_there(dom0: Dom0) -> None:
    dom0.free = 8
    busy_and_idle(dom0)
    made = dom0.daemon("qmemman", parameters=SMALL)
    for each in dom0.domains.values():
        each.follows = False
    dom0.turn(made)
    assert [line.split()[2] for line in dom0.said()] == ["2", "3"], "guest1 would have asked Xen in vain"
    for each in dom0.domains.values():
        each.follows = True
    dom0.run(made, 1)
    assert [line.split()[2] for line in dom0.said()] == ["2", "3", "1"]


@pytest.mark.parametrize("manager", ["qmemman", "squeezed"])
def test_a_decision_that_changes_nothing_starts_no_process(dom0: Dom0, manager: str) -> None:
    """Or squeezed would: it wants a part of a page more each time."""
    busy_and_idle(dom0)
    made = dom0.daemon(manager, parameters=SMALL if manager == "qmemman" else {"kept": 8 * MIB})
    dom0.run(made, 13)
    commands, readings = len(dom0.said()), dom0.readings
    dom0.run(made, 60)
    assert len(dom0.said()) == commands
    assert dom0.readings <= readings + 7, "it looks when it decides, every 10 s"


def test_senpai_probes_for_ever_and_is_asked_only_when_a_guest_may_give(dom0: Dom0) -> None:
    """Its rule takes 1 % of a guest's memory each 6 s. Between these nothing is decided."""
    for number in dom0.domains:
        dom0.write(number, b"psi.memory.some=1000")
    made = dom0.daemon("psi")
    dom0.run(made, 0.2)
    readings = dom0.readings
    dom0.run(made, 60)
    assert all(160 * 0.99**10.5 < each.mib < 160 * 0.99**7.5 for each in dom0.domains.values())
    assert dom0.readings - readings <= 2 * 10
    dom0.write(1, b"psi.memory.some=9000000")
    dom0.run(made, 1.5)
    assert dom0.domains[1].mib > 160, "who waits is served within the second"


@pytest.mark.parametrize(("mib", "free"), [(256, 16), (160, 8)])
def test_who_waited_and_could_not_grow_gives_when_it_waits_no_more(dom0: Dom0, mib: int, free: int) -> None:
    """At its maximum, or where Xen has nothing: else it would count as in need for ever."""
    dom0.domains, dom0.free = {1: Domain("guest1", mib)}, free
    dom0.write(1, b"psi.memory.some=0")
    made = dom0.daemon("psi")
    for second in range(1, 13):
        dom0.run(made, 1)
        dom0.write(1, f"psi.memory.some={second * 400_000}".encode())
    assert dom0.domains[1].mib == mib, "it waits"
    dom0.run(made, 20)
    assert mib * 0.95 < dom0.domains[1].mib < mib * 0.995


def test_a_schedule_that_has_nothing_to_say_is_looked_at_now_and_then(dom0: Dom0) -> None:
    made = dom0.daemon("balloon", parameters={"schedule": [{"at": 23_400, "number": 2, "target": 100 * MIB}]})
    dom0.run(made, 23.3)
    assert dom0.readings <= 6
    assert dom0.domains[2].mib == 160
    dom0.run(made, 0.4)
    assert dom0.domains[2].mib == 100


def test_memory_that_nobody_gives_is_not_waited_for(dom0: Dom0) -> None:
    """MOM lets guests grow without asking whether Xen has something."""
    dom0.free = 8
    for number in dom0.domains:
        dom0.write(number, b"meminfo.MemFree=1000")
    made = dom0.daemon("mom", parameters={"pressure": 0.01, "extreme": 0.0})
    readings = dom0.readings
    dom0.run(made, 8)
    assert dom0.readings - readings <= 2
    assert sum(each.mib for each in dom0.domains.values()) == 3 * 160 + 8
    assert any("did not come free" in why for _, _, why in decided(records(made))[0]["failed"])


def test_reports_make_qmemman_decide_at_once_and_mom_in_its_time(dom0: Dom0) -> None:
    for manager, at_once in (("qmemman", True), ("mom", False)):
        busy_and_idle(dom0)
        made = dom0.daemon(manager, parameters=SMALL if manager == "qmemman" else {})
        dom0.run(made, 2)
        before = len(dom0.said())
        dom0.report(1, used=30)
        dom0.report(2, used=150)
        dom0.run(made, 1)
        assert (len(decided(records(made))) > 1) == at_once, manager
        assert (len(dom0.said()) > before) == at_once, manager


def test_who_says_the_same_again_lives_and_that_is_no_news(dom0: Dom0) -> None:
    for number in dom0.domains:
        dom0.write(number, b"psi.memory.some=1000")
        dom0.domains[number].mib = 48
    made = dom0.daemon("psi")
    dom0.run(made, 8)
    readings, began = dom0.readings, dom0.now
    for _ in range(75):
        for number in dom0.domains:
            dom0.write(number, b"psi.memory.some=1000")
            dom0.run(made, 0.4)
    assert dom0.now > began + 80
    assert dom0.readings <= readings + (dom0.now - began) / 6 + 1, "nothing changes any more"
    assert decided(records(made))[-1]["reports"] == {}, "nobody is stale"


def test_with_a_persistent_pool_the_limit_is_not_the_target(dom0: Dom0) -> None:
    busy_and_idle(dom0)
    made = dom0.daemon("qmemman", parameters=SMALL, limit_at_maximum=True)
    dom0.run(made, 2)
    assert f"xl mem-max 2 {256 * 1024}k" in dom0.said()
    assert not [line for line in dom0.said() if "mem-set" in line], "that would be the limit, for a moment"


def test_who_says_something_later_is_counted_from_then_on(dom0: Dom0) -> None:
    made = dom0.daemon("psi")
    dom0.run(made, 2)
    dom0.write(1, b"psi.memory.some=5000000")
    dom0.run(made, 2)
    dom0.write(1, b"psi.memory.some=5500000")
    dom0.run(made, 3)
    assert dom0.domains[1].mib > 165
    first = [each["state"]["domains"][0]["stalled"] for each in decided(records(made))]
    assert first[0] is None
    assert 0 in first


def test_what_tmem_would_give_back_is_free_but_for_what_xen_keeps(dom0: Dom0) -> None:
    for freeable, free in ((None, 16 * MIB), (0, 14 * MIB), (1024, 18 * MIB)):
        dom0.freeable = freeable
        made = dom0.daemon("squeezed")
        assert made._view.free == free


def test_what_a_guest_keeps_in_tmem_is_not_its_own_memory(dom0: Dom0) -> None:
    pool = dict.fromkeys(("ps", "pt", "px", "gs", "gt", "fs", "pr"), 0)
    dom0.tmem = {"clients": [{"CI": 2, "ww": 100, "pools": [{"PT": "PP", "Pc": 1000, **pool}]}]}
    dom0.domains[2].persistent = 1000
    made = dom0.daemon("squeezed")
    dom0.turn(made)
    state = decided(records(made))[0]["state"]
    assert [each["actual"] for each in state["domains"]] == [160 * MIB] * 3


def test_smartmem_sets_weights_and_caps_once_and_no_targets(dom0: Dom0) -> None:
    def tmem(hits: int) -> dict[str, Any]:
        clients = []
        for number in (1, 2, 3):
            gets = hits if number == 1 else 0
            pool = {
                "PT": "EP",
                "Pc": 10,
                "ps": 5000 + hits,
                "pt": 5000 + hits,
                "px": 0,
                "gs": gets,
                "gt": gets,
                "fs": 0,
                "pr": 0,
            }
            clients.append({"CI": number, "ww": 333, "pools": [pool]})
        return {"clients": clients}

    dom0.tmem = tmem(0)
    made = dom0.daemon("smartmem")
    dom0.turn(made)
    dom0.tmem = tmem(900)
    dom0.run(made, 6)
    said = dom0.said()
    assert any(line.startswith("tmemctl set 1 --weight ") for line in said)
    assert all(line.startswith("tmemctl set ") for line in said)
    last = decided(records(made))[-1]["decision"]
    assert dict(last["weights"])[1] > dict(last["weights"])[2]
    assert dict(last["caps"])[1] == 0 < dict(last["caps"])[2]


def test_weights_that_are_as_good_as_right_are_left_alone(dom0: Dom0) -> None:
    pool = {"PT": "EP", "Pc": 10, "ps": 5000, "pt": 5000, "px": 0, "gs": 0, "gt": 0, "fs": 0, "pr": 0}
    dom0.tmem = {"clients": [{"CI": number, "ww": 325, "pools": [pool]} for number in (1, 2, 3)]}
    made = dom0.daemon("smartmem")
    dom0.run(made, 31)
    first = [f"tmemctl set {number} --weight 329 --cap 0" for number in (1, 2, 3)]
    assert dom0.said() == first, "whose cap nobody knows is told it"
    assert {dict(each["decision"]["weights"])[1] for each in decided(records(made))} == {329}


def test_a_schedule_is_followed(dom0: Dom0) -> None:
    steps = [{"at": 0, "number": 0, "target": 100 * MIB}, {"at": 4000, "number": 2, "target": 200 * MIB}]
    made = dom0.daemon("balloon", parameters={"schedule": steps})
    dom0.run(made, 3)
    assert [each.mib for each in dom0.domains.values()] == [100, 100, 100]
    dom0.run(made, 3)
    assert [each.mib for each in dom0.domains.values()] == [100, 200, 100]


@pytest.mark.parametrize("manager", ["qmemman", "squeezed", "mom", "proxmox", "psi", "collaborative"])
def test_no_manager_leaves_a_guest_less_than_its_minimum(dom0: Dom0, manager: str) -> None:
    dom0.free = 0
    names = [f"meminfo.{name}" for name in ("MemTotal", "MemFree", "Buffers", "Cached", "SwapTotal", "SwapFree")]
    names += [
        "meminfo.Shmem",
        "meminfo.Dirty",
        "meminfo.Writeback",
        "psi.memory.some",
        "vmstat.workingset_refault_file",
    ]
    known = [name for name in names if name in managers.get(manager).COUNTERS]
    values = {"meminfo.MemTotal": 160_000, "meminfo.MemFree": 150_000}
    for number in dom0.domains:
        dom0.write(number, " ".join(f"{name}={values.get(name, 0)}" for name in known).encode())
    small = SMALL | {"least_preference": 0} if manager == "qmemman" else {}
    made = dom0.daemon(manager, bounds=(100, 256), parameters=small)
    dom0.run(made, 40)
    assert all(99 <= each.mib <= 256 for each in dom0.domains.values())


def test_a_manager_that_knows_no_minimum_is_kept_to_it(dom0: Dom0) -> None:
    dom0.report(1, used=150)
    for number in (2, 3):
        dom0.report(number, used=10)
    made = dom0.daemon("qmemman", bounds=(130, 256), parameters=SMALL | {"least_preference": 0})
    dom0.run(made, 12)
    assert [dom0.domains[number].mib for number in (2, 3)] == [130, 130]
    assert dict(decided(records(made))[0]["decision"]["targets"])[2] < 120 * MIB


# --- What goes wrong ----------------------------------------------------------------------------


def test_a_stuck_guest_is_left_out_and_the_others_get_what_there_is(dom0: Dom0) -> None:
    dom0.domains[2].follows = False
    busy_and_idle(dom0)
    made = dom0.daemon("qmemman", parameters=SMALL)
    dom0.run(made, 30)
    assert dom0.domains[2].mib == 160
    assert dom0.domains[1].mib > 190
    assert dom0.domains[3].mib < 130
    found = decided(records(made))
    assert any(domain == 1 and "did not come free" in why for domain, _, why in found[0]["failed"])
    assert [each["no_progress"] for each in found[-1]["state"]["domains"]] == [False, True, False]


def test_what_was_promised_to_a_stuck_guest_goes_to_the_others(dom0: Dom0) -> None:
    dom0.domains = {number: Domain(f"guest{number}", 100) for number in (1, 2, 3)}
    dom0.domains[1].follows = False
    dom0.free = 108
    for number in dom0.domains:
        dom0.report(number, used=40)
    made = dom0.daemon("squeezed", bounds=(64, 256), parameters={"kept": 8 * MIB})
    dom0.run(made, 60)
    assert [dom0.domains[number].mib for number in (2, 3)] == [150, 150]
    assert decided(records(made))[-1]["failed"] == []


LIES = [
    b"",
    b"\xff\xfe\x00garbage",
    b"A" * 4000,
    b"meminfo.MemFree=-1",
    b"meminfo.MemFree=" + b"9" * 19,
    b"meminfo.MemFree=" + b"9" * 1000,
    b"meminfo.MemFree=1 meminfo.MemFree=1",
    b"meminfo.MemFree=1e9",
    b"meminfo.MemFree=0x10",
    "meminfo.MemFree=٣".encode(),
    b"memory/target=0",
    b"meminfo.MemFree",
    b"=1",
]


@pytest.mark.parametrize("lie", LIES, ids=range(len(LIES)))
def test_a_lie_that_is_no_report_is_none(dom0: Dom0, lie: bytes) -> None:
    busy_and_idle(dom0)
    made = dom0.daemon("qmemman", parameters=SMALL)
    dom0.write(2, lie)
    dom0.run(made, 15)
    found = decided(records(made))[-1]
    assert [each["used"] is None for each in found["state"]["domains"]] == [False, True, False]
    assert found["reports"] == {"guest2": "absurd"}
    assert dom0.domains[1].mib > 175


@pytest.mark.parametrize("value", [0, 1, 2**40, 2**63 - 1])
@pytest.mark.parametrize("manager", [name for name in managers.names() if managers.get(name).COUNTERS])
def test_absurd_numbers_are_cut_and_every_state_can_be_decided_again(dom0: Dom0, manager: str, value: int) -> None:
    counters = managers.get(manager).COUNTERS
    made = dom0.daemon(manager)
    for each in (value, 2**63 - 1 - value, value):
        dom0.write(2, " ".join(f"{name}={each}" for name in counters).encode())
        dom0.run(made, 11)
    assert all(48 <= each.mib <= 256 for each in dom0.domains.values())
    found = records(made)
    assert found[-1]["cost"]["errors"] == 0
    for record in decided(found):
        assert decide.again(manager, record["state"], {}) == record["decision"]


def test_a_guest_that_writes_a_thousand_times_a_second_is_listened_to_once_a_second(dom0: Dom0) -> None:
    busy_and_idle(dom0)
    made = dom0.daemon("qmemman", parameters=SMALL)
    dom0.run(made, 2)
    before = len(dom0.store.asked)
    for _ in range(30):
        dom0.report(2, used=40)
        dom0.write(2, dom0.store.nodes["/local/domain/2/data/overcommit/report"], times=99)
        dom0.run(made, 0.1)
    asked = dom0.store.asked[before:]
    assert len(asked) < 30, "3 s of it cost a few requests"
    assert "/local/domain/1/data/overcommit/report" in dom0.store.watched()
    dom0.run(made, 3)
    assert "/local/domain/2/data/overcommit/report" in dom0.store.watched(), "it is listened to again"


def test_a_message_of_a_megabyte_is_no_message(dom0: Dom0) -> None:
    """No xenstore sends one; the daemon keeps none of it, and connects anew."""
    busy_and_idle(dom0)
    made = dom0.daemon("qmemman", parameters=SMALL)
    dom0.run(made, 1)
    dom0.store.answer = lambda kind, payload: (
        message(kind, 1, bytes(2**20)) if kind == xenstore.READ and b"/2/" in payload else None
    )
    dom0.report(2, used=41)
    dom0.run(made, 3)
    dom0.store.answer = lambda _kind, _payload: None
    watched = sum(kind == xenstore.WATCH for kind, _ in dom0.store.asked)
    dom0.run(made, 12)
    assert sum(kind == xenstore.WATCH for kind, _ in dom0.store.asked) >= watched + 3
    found = records(made)
    assert found[-1]["cost"]["errors"] == 0
    assert decided(found)[-1]["reports"] == {}


def test_a_dying_guest_is_no_guest(dom0: Dom0) -> None:
    busy_and_idle(dom0)
    made = dom0.daemon("qmemman", parameters=SMALL)
    (dom0.folder / "broken").write_text("libxl: error: domain 2 is gone\n")
    dom0.turn(made)
    (dom0.folder / "broken").unlink()
    dom0.domains[2].dying = True
    dom0.run(made, 12)
    assert sorted(made._view.known) == [1, 3]
    del dom0.domains[2]
    dom0.run(made, 12)
    found = decided(records(made))
    assert any(domain == 2 and "is gone" in why for domain, _, why in found[0]["failed"])
    assert [each["domain"] for each in found[-1]["state"]["domains"]] == [1, 3]
    assert "/local/domain/2/data/overcommit/report" not in dom0.store.watched()


@pytest.mark.parametrize("manager", managers.names())
def test_a_stuck_and_a_dying_guest_upset_no_manager(dom0: Dom0, manager: str) -> None:
    steps = [{"at": 0, "number": 0, "target": 100 * MIB}, {"at": 9000, "number": 0, "target": 150 * MIB}]
    parameters = {"schedule": steps} if manager == "balloon" else SMALL if manager == "qmemman" else {"every": 1.0}
    pool = {"PT": "EP", "Pc": 10, "ps": 5000, "pt": 5000, "px": 0, "gs": 9, "gt": 9, "fs": 0, "pr": 0}
    dom0.tmem = {"clients": [{"CI": number, "ww": 100, "pools": [pool]} for number in (1, 2, 3)]}
    dom0.domains[2].follows = False
    made = dom0.daemon(manager, parameters=parameters)
    for second in range(30):
        for number in dom0.domains:
            busy = {name: 40_000 * second for name in managers.get(manager).COUNTERS if "meminfo" not in name}
            known = {name: 40_000 for name in managers.get(manager).COUNTERS if "meminfo" in name}
            dom0.write(number, " ".join(f"{name}={value}" for name, value in {**known, **busy}.items()).encode())
        dom0.run(made, 1)
        if second == 15:
            assert dom0.domains[2].mib == 160, "it is stuck"
            dom0.domains[2].dying = True
        elif second == 20:
            dom0.free += dom0.domains.pop(2).mib
    assert all(48 <= each.mib <= 256 for each in dom0.domains.values())
    found = records(made)
    assert found[-1]["cost"]["errors"] == 0
    first, last = decided(found)[0], decided(found)[-1]
    assert [each["domain"] for each in first["state"]["domains"]] == [1, 2, 3]
    assert [each["domain"] for each in last["state"]["domains"]] == [1, 3]
    for each in decided(found):
        assert decide.again(manager, each["state"], parameters) == each["decision"]


def test_a_newcomer_is_not_robbed(dom0: Dom0) -> None:
    """It says nothing yet, and keeps what it has while others are in need."""
    dom0.free = 120
    busy_and_idle(dom0)
    made = dom0.daemon("qmemman", parameters=SMALL)
    dom0.run(made, 2)
    dom0.domains[7], dom0.free = Domain("guest9", 100), 0
    dom0.report(1, used=200)
    dom0.run(made, 20)
    assert dom0.domains[7].mib == 100
    last = decided(records(made))[-1]
    assert last["reports"] == {"guest9": "none"}
    assert last["state"]["domains"][-1]["used"] is None


def test_a_domain_of_somebody_else_is_left_alone(dom0: Dom0) -> None:
    dom0.domains[5] = Domain("guest1-of-others", 100)
    busy_and_idle(dom0)
    made = dom0.daemon("squeezed")
    made._view._bounds = {name: bound for name, bound in made._view._bounds.items() if name != "guest1-of-others"}
    made._view.known.pop(5)
    dom0.run(made, 12)
    assert dom0.domains[5].mib == 100


def test_tools_that_fail_are_recorded_and_tried_again(dom0: Dom0) -> None:
    busy_and_idle(dom0)
    (dom0.folder / "broken").write_text("libxl: error: out of memory\n")
    made = dom0.daemon("qmemman", parameters=SMALL)
    dom0.run(made, 7)
    (dom0.folder / "broken").unlink()
    dom0.run(made, 20)
    found = decided(records(made))
    assert found[0]["set"] == []
    assert {(domain, why) for domain, _, why in found[0]["failed"]} >= {(2, "libxl: error: out of memory")}
    assert dom0.domains[1].mib > 200


def test_a_tool_that_hangs_is_ended(dom0: Dom0) -> None:
    xl = dom0.folder / "xl"
    xl.write_text("#!/bin/sh\nexec sleep 600\n")
    busy_and_idle(dom0)
    made = dom0.daemon("qmemman", parameters=SMALL)
    made.turn()
    assert made._actions.fileno() is not None
    dom0.now += 61
    made.turn()
    dom0.now += 61
    made.turn()
    found = decided(records(made))
    assert any("did not end within" in why for _, _, why in found[0]["failed"])


def test_what_the_end_leaves_undone_is_no_failure(dom0: Dom0) -> None:
    dom0.free = 8
    busy_and_idle(dom0)
    for each in dom0.domains.values():
        each.follows = False
    made = dom0.daemon("qmemman", parameters=SMALL)
    dom0.turn(made)
    first = decided(records(made))[0]
    assert (first["failed"], first["left"]) == ([], 1), "guest1 was still to grow"
    assert not made._actions.busy


def test_tools_that_are_missing_are_recorded(dom0: Dom0) -> None:
    (dom0.folder / "xl").unlink()
    dom0.monkeypatch.setenv("PATH", str(dom0.folder))
    busy_and_idle(dom0)
    made = dom0.daemon("qmemman", parameters=SMALL)
    dom0.run(made, 2)
    found = decided(records(made))
    assert any("No such file" in why for _, _, why in found[0]["failed"])


def test_when_xenstore_is_gone_it_is_looked_for_and_found(dom0: Dom0) -> None:
    busy_and_idle(dom0)
    made = dom0.daemon("qmemman", parameters=SMALL)
    dom0.run(made, 2)
    dom0.store.end()
    dom0.run(made, 15)
    dom0.store.again()
    dom0.run(made, 5)
    dom0.report(1, used=30)
    dom0.report(3, used=150)
    dom0.run(made, 12)
    assert dom0.domains[3].mib > 180
    found = records(made)
    assert found[-1]["cost"]["errors"] == 0


def test_reports_that_are_old_are_none(dom0: Dom0) -> None:
    busy_and_idle(dom0)
    made = dom0.daemon("qmemman", parameters=SMALL)
    dom0.run(made, 55)
    dom0.report(1, used=150)
    dom0.run(made, 20)
    last = decided(records(made))[-1]
    assert last["reports"] == {"guest2": "stale", "guest3": "stale"}
    assert [each["used"] is None for each in last["state"]["domains"]] == [False, True, True]


def test_where_xen_cannot_be_read_nothing_is_decided_and_it_is_written_down(dom0: Dom0) -> None:
    busy_and_idle(dom0)
    made = dom0.daemon("qmemman", parameters=SMALL)
    dom0.broken = True
    dom0.run(made, 5)
    dom0.broken = False
    dom0.run(made, 5)
    found = records(made)
    assert found[0]["error"] == "the reader ended"
    assert found[-1]["cost"]["errors"] == len(found) - len(decided(found)) - 1 > 0
    assert decided(found)


def test_a_manager_that_fails_is_written_down(dom0: Dom0, monkeypatch: pytest.MonkeyPatch) -> None:
    made = dom0.daemon("squeezed")
    monkeypatch.setattr(managers.get("squeezed"), "decide", lambda _state, _parameters: 1 / 0)
    dom0.run(made, 1)
    found = records(made)
    assert "ZeroDivisionError" in found[0]["error"]
    assert found[-1]["cost"]["errors"] == 1


def test_other_words_are_not_understood_and_an_end_is_one(dom0: Dom0) -> None:
    made = dom0.daemon("squeezed")
    assert made.obey("dance") == ["unknown: dance"]
    assert [list(json.loads(line)) for line in made.obey("stop")] == [["cost"]]
    assert made.obey("stop") == []


def test_the_log_is_bounded() -> None:
    kept = log.Log(100)
    for number in range(50):
        kept.add({"number": number})
    assert len(kept) == len(kept.lines()) == 8
    assert kept.dropped == 42
    assert kept.lines()[0] == '{"number":0}'


class Trouble:
    """Everything that can go wrong, at random, in an order that a seed decides."""

    def __init__(self, dom0: Dom0, manager: str, seed: int) -> None:
        self.dom0 = dom0
        self.counters = managers.get(manager).COUNTERS
        self.random = random.Random(seed)
        self.next = 10

    def strike(self) -> None:
        happens = [self.report, self.report, self.report, self.lie, self.flood, self.stick, self.die, self.arrive]
        self.random.choice([*happens, self.tools, self.xenstore, self.xen])()

    def anybody(self) -> int:
        return self.random.choice(list(self.dom0.domains))

    def report(self) -> None:
        value = self.random.choice([0, 1000, 100_000, 10**6, 2**62])
        text = " ".join(f"{name}={value + self.random.randrange(1000)}" for name in self.counters)
        self.dom0.write(self.anybody(), text.encode())

    def lie(self) -> None:
        self.dom0.write(self.anybody(), self.random.choice(LIES))

    def flood(self) -> None:
        self.dom0.write(self.anybody(), b"x", times=200)

    def stick(self) -> None:
        each = self.dom0.domains[self.anybody()]
        each.follows = not each.follows

    def die(self) -> None:
        if len(self.dom0.domains) > 2:
            gone = self.dom0.domains.pop(self.anybody())
            self.dom0.free += gone.mib

    def arrive(self) -> None:
        if self.dom0.free > 64 and not any(each.name == "guest9" for each in self.dom0.domains.values()):
            self.next += 1
            self.dom0.free -= 64
            self.dom0.domains[self.next] = Domain("guest9", 64)

    def tools(self) -> None:
        broken = self.dom0.folder / "broken"
        broken.unlink() if broken.exists() else broken.write_text("libxl: error\n")

    def xenstore(self) -> None:
        if self.dom0.store.path.exists():
            self.dom0.store.end()
        else:
            self.dom0.store.again()

    def xen(self) -> None:
        self.dom0.broken = not self.dom0.broken


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("manager", managers.names())
def test_whatever_happens_it_goes_on_and_keeps_everybodys_bounds(dom0: Dom0, manager: str, seed: int) -> None:
    given = {"schedule": [{"at": 9000, "number": 1, "target": 2**40}, {"at": 20_000, "number": 0, "target": 0}]}
    parameters = given if manager == "balloon" else SMALL if manager == "qmemman" else {"every": 1.0}
    made = dom0.daemon(manager, bounds=(60, 256), parameters=parameters)
    trouble = Trouble(dom0, manager, seed)
    for _ in range(60):
        trouble.strike()
        dom0.run(made, 1)
        assert all(59 <= each.mib <= 256 for each in dom0.domains.values())
        assert dom0.free >= 0
    if dom0.broken:
        trouble.xen()
    before = len(made._log)
    dom0.run(made, 30)
    assert len(made._log) > before, "it still decides"
    found = records(made)
    assert not [each for each in found if "error" in each and each["error"] != "the reader ended"]
    for each in decided(found):
        assert decide.again(manager, each["state"], parameters) == each["decision"]


# --- Its parts ----------------------------------------------------------------------------------


def test_a_report_is_parsed_to_the_last_number() -> None:
    known = {"meminfo.MemFree", "psi.memory.some"}
    assert reports.parse(b" meminfo.MemFree=17 psi.memory.some=9223372036854775807", known) == {
        "meminfo.MemFree": 17,
        "psi.memory.some": 2**63 - 1,
    }
    assert reports.parse(b"meminfo.MemFree=9223372036854775808", known) is None
    assert reports.parse(b"meminfo.MemFree=1" + b" " * reports.MOST_BYTES, known) is None


def test_requests_and_events_do_not_get_into_each_others_way(store: FakeStore) -> None:
    client = xenstore.Store([str(store.path)])
    try:
        store.nodes["/a"] = b"1"
        client.watch("/a", "7")
        for number in range(100):
            store.write("/a", str(number).encode())
        assert client.read("/a") == b"99"
        assert client.read("/b") is None
        assert client.events() == {"7": 101}
        assert client.events() == {}
        client.unwatch("/a", "7")
        client.unwatch("/a", "7")
        store.write("/a", b"last")
        assert client.events() == {}
    finally:
        client.close()


def test_xenstore_that_is_not_there_is_said_to_be_missing(tmp_path: Path) -> None:
    with pytest.raises(xenstore.StoreError, match=r"cannot be reached .*nothing: No such file"):
        xenstore.Store([str(tmp_path / "nothing")])


def test_xenstore_that_says_nothing_is_not_waited_for(store: FakeStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(xenstore, "ANSWER_SECONDS", 0.2)
    store.answer = lambda _kind, _payload: b""
    client = xenstore.Store([str(store.path)])
    with pytest.raises(xenstore.StoreError, match="did not answer"):
        client.read("/a")
    with pytest.raises(xenstore.StoreError, match="closed"):
        client.read("/a")


def test_a_message_that_is_too_long_ends_the_connection(store: FakeStore) -> None:
    store.answer = lambda kind, _payload: message(kind, 1, bytes(2**20))
    client = xenstore.Store([str(store.path)])
    with pytest.raises(xenstore.StoreError, match="none of xenstore's"):
        client.read("/a")


def test_a_guest_that_is_to_grow_is_not_stuck_for_lack_of_memory(dom0: Dom0) -> None:
    seen = view.View({"guest1": (0, 256 * MIB)}, (), 5.0, 60.0)
    seen.take(dom0.read(), None, 0.0)
    each = seen.known[1]
    seen.told(each, 200 * MIB, 0.0)
    assert seen.follows(each, 4.0)
    assert seen.follows(each, 60.0), "Xen has 16 MiB, and 40 are wanted"
    seen.free = 100 * MIB
    assert not seen.follows(each, 60.0)


# --- As it is sent ------------------------------------------------------------------------------


def test_the_program_is_the_same_each_time() -> None:
    first = program()
    program.cache_clear()
    assert program() == first
    assert first.startswith(b"#!/usr/bin/python3 -ISB\n")


@pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler")
def test_as_it_is_sent_it_runs_with_python_alone(
    tmp_path: Path, store: FakeStore, tmp_path_factory: pytest.TempPathFactory
) -> None:
    reader = gzip.compress(made_up.build(tmp_path_factory.mktemp("sampler"), sanitized=False).read_bytes())
    made_up.xen_tree(tmp_path, None)
    settings = {
        "manager": "squeezed",
        "parameters": {"every": 0.2},
        "guests": {"guest1": [MIB, 256 * MIB], "guest2": [MIB, 256 * MIB]},
        "patience": 5,
        "stale": 60,
        "limit_at_maximum": False,
        "sections": False,
        "reader_bytes": len(reader),
        "reader_arguments": ["--root", str(tmp_path), "memory"],
        "store": [str(store.path)],
    }
    packed = tmp_path / "daemon"
    packed.write_bytes(program())
    command = [sys.executable, "-ISB", str(packed)]
    assert subprocess.run([*command, "check"], check=False).returncode == 0
    process = subprocess.Popen([*command, json.dumps(settings)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None

    def answer() -> list[str]:
        assert process.stdout is not None
        return [line.decode().rstrip() for line in iter(process.stdout.readline, b"== end\n")]

    def ask(line: bytes) -> list[str]:
        assert process.stdin is not None
        process.stdin.write(line + b"\n")
        process.stdin.flush()
        return answer()

    process.stdin.write(reader)
    process.stdin.flush()
    assert answer() == ["ready"]
    packed.unlink()
    assert ask(b"start") == ["started"]
    time.sleep(1)
    found = [json.loads(line) for line in ask(b"stop")]
    assert 2 <= len(decided(found)) <= 7
    assert decided(found)[0]["state"]["free"] == 1234 * 4096
    assert found[-1]["cost"]["wall_seconds"] >= 1
    process.stdin.close()
    assert process.wait(10) == 0
