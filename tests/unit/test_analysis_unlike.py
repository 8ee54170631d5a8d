"""What differed between cells: what should be the same and was not, and nothing that differs by
itself or on purpose.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import analysis_campaign as made_up
import pytest

from analysis import load, report, unlike
from campaigns import records

COMMIT = "1" * 40


def _told(policy: str, number: int, count: int) -> dict[str, Any]:
    """env.json of a cell in which everything that may differ does."""
    guest = {
        "kernel": "Linux 5.10.223",
        "clock_offset_s": -number,
        "swaps": [number],
        "driver": {"cleancache": "Y"} if "tmem" in policy else {},
        "memory": {"MemTotal": f"{count}"},
        "sysctl": {"vm.min_free_kbytes": "1353" if "selfballoon" in policy else "1286"},
    }
    return {
        "schema": 1,
        "testbed": {"commit": COMMIT, "dirty": False, "arguments": ["./inv", str(number)]},
        "conditions": {"policy": {"name": policy}},
        "host": {
            "name": "xen1",
            "policy": {"name": policy},
            "xen": {"info": {"build_id": "5e5b", "free_memory": str(number), "total_memory": str(count)}},
            "dom0": {"domains": [number], "clock_offset_s": -number},
            "guests": {f"guest{i + 1}": dict(guest) for i in range(count)},
            "controller": {"cpus": 2, "load": [str(number)]},
            "artifacts": {"xen": "a" * 64},
        },
    }


def _campaign(tmp_path: Path, change: dict[str, Any], cell: str, *, levels: bool = False) -> load.Results:
    """A campaign in which one cell tells something else: dotted path -> value."""
    factors = ({"guests.count": 2}, {"guests.count": 3}) if levels else ({},)
    directory = made_up.write_campaign(tmp_path, repetitions=2, levels=factors, samples=False)
    for number, place in enumerate(records.cell_directories(directory)):
        record = records.read_cell(place)
        count = record.levels.get("guests.count", 3)
        assert isinstance(count, int)
        told = _told(record.policy, number, count)
        for path, value in change.items() if record.cell == cell else ():
            *parents, last = path.split("/")
            section = told
            for key in parents:
                section = section[key]
            section[last] = value
        (place / records.ENV_FILE).write_text(json.dumps(told))
    return load.load(directory)


def test_clocks_load_policy_and_sizing_are_no_drift(tmp_path: Path) -> None:
    assert unlike.differences(_campaign(tmp_path / "one", {}, "")) == []
    results = _campaign(tmp_path / "two", {}, "", levels=True)
    assert unlike.differences(results) == []
    assert "Nothing that is recorded of testbed, host" in report.markdown(results, (), ())


def test_another_hypervisor_checkout_and_kernel_are_named_with_their_cells(tmp_path: Path) -> None:
    change = {
        "testbed/commit": "2" * 40,
        "host/xen/info/build_id": "77aa",
        "host/guests/guest1/kernel": "Linux 6.1",
        "host/guests/guest2/kernel": "Linux 6.1",
    }
    results = _campaign(tmp_path, change, "static.r2")
    found = {each.what: each.values for each in unlike.differences(results)}
    assert list(found) == ["testbed.commit", "host.xen.info.build_id", "host.guests.*.kernel"]
    assert found["host.xen.info.build_id"]["77aa"] == ("static.r2",)
    assert len(found["host.xen.info.build_id"]["5e5b"]) == 5
    assert "was not the same for all: testbed.commit, host.xen.info.build_id, host" in report.paragraph(results)
    text = report.markdown(results, (), ())
    assert "| host.xen.info.build_id | 5e5b in " in text
    assert "and 1 more; 77aa in static.r2 |" in text or "77aa in static.r2; 5e5b in " in text


def test_settings_of_the_driver_are_compared_within_a_policy(tmp_path: Path) -> None:
    change = {"host/guests/guest1/driver": {"cleancache": "N"}}
    (found,) = unlike.differences(_campaign(tmp_path, change, "selfballoon+tmem.r2"))
    assert found.what == "host.guests.*.driver.cleancache"
    assert found.values == {"Y": ("selfballoon+tmem.r1",), "N": ("selfballoon+tmem.r2",)}


def test_the_reserve_that_linux_sets_by_a_guests_memory_is_compared_within_a_policy(tmp_path: Path) -> None:
    change = {"host/guests/guest2/sysctl": {"vm.min_free_kbytes": "4096"}}
    (found,) = unlike.differences(_campaign(tmp_path, change, "static.r1"))
    assert found.what == "host.guests.*.sysctl.vm.min_free_kbytes"
    assert found.values == {"4096": ("static.r1",), "1286": ("static.r2",)}


def test_what_a_cell_does_not_tell_is_a_difference_and_a_cell_that_tells_nothing_is_named(tmp_path: Path) -> None:
    results = _campaign(tmp_path / "one", {"host/artifacts": {}}, "static.r1")
    assert {each.what for each in unlike.differences(results)} == {"host.artifacts.xen", "host.artifacts"}
    results = _campaign(tmp_path / "two", {}, "")
    (results.directory / records.CELLS_DIR / "static.r1" / records.ENV_FILE).unlink()
    assert unlike.untold(results) == ["static.r1"]
    assert "Nothing is recorded of what static.r1 ran on." in report.markdown(results, (), ())
    silent = load.load(made_up.write_campaign(tmp_path, repetitions=1, samples=False))
    assert "Nothing is recorded of what the cells ran on." in report.markdown(silent, (), ())


@pytest.mark.parametrize(("slow", "said"), [(190.0, False), (110.0, True)])
def test_a_machine_that_was_faster_in_some_cells_is_told(tmp_path: Path, slow: float, said: bool) -> None:
    """A published night's second half ran twice as fast as its first, and nobody was told."""
    results = _campaign(tmp_path, {"host/controller": {"cpus": 2, "hash_mib_per_s": slow}}, "static.r2")
    for place in records.cell_directories(results.directory):
        env = json.loads((place / records.ENV_FILE).read_text())
        env["host"]["controller"].setdefault("hash_mib_per_s", 200.0)
        (place / records.ENV_FILE).write_text(json.dumps(env))
    again = load.load(results.directory)
    text = report.paragraph(again)
    assert ("The machine below was 1.8 times as fast in" in text) is said
    assert ("as in static.r2: times" in text) is said
    assert not any("hash" in each.what for each in unlike.differences(again))
