"""Footprint: memory held by guests and tmem, integrated over time."""

from __future__ import annotations

from itertools import chain
from pathlib import Path

import pytest
from campaign_fakes import EXPERIMENT, FakeHost, find, write_experiment

from campaigns import footprint
from campaigns.records import BarrierRecord
from campaigns.run import run
from lab.api import Sample
from workloads import registry

GUESTS = ("guest1", "guest2")
GIB = 2**18
"""Pages."""


def reading(
    time: float, first: float | None, second: float, *, ephemeral: float | None = 0, frames: float | None = 0
) -> list[Sample]:
    return [
        Sample(time, "guest1", "memory", "pages", first),
        Sample(time, "guest2", "memory", "pages", second),
        Sample(time, "hypervisor", "tmem_ephemeral_pages", "pages", ephemeral),
        Sample(time, "hypervisor", "tmem_page_frames", "pages", frames),
        Sample(time + 0.1, "guest1", "major_faults", "count", 3),
    ]


def of(*readings: list[Sample], tmem: bool = True, interval_s: float = 60.0) -> float | None:
    released = BarrierRecord(0.0, 1000.0, dict.fromkeys(GUESTS, 0.0), {"guest1": 60.0, "guest2": 120.0})
    return footprint.of_run(list(chain.from_iterable(readings)), released, tmem=tmem, interval_s=interval_s)


def test_what_guests_and_tmem_hold_is_integrated_from_the_release_to_the_last_end() -> None:
    level = [reading(time, GIB, GIB) for time in (999.0, 1060.0, 1121.0)]
    assert of(*level) == pytest.approx(4.0)  # 2 GiB over 2 minutes
    falling = [reading(1000.0, 2 * GIB, GIB), reading(1060.0, GIB, GIB), reading(1120.0, 0, GIB)]
    assert of(*falling) == pytest.approx(4.0)
    assert of(reading(900.0, 9 * GIB, GIB), *level) == pytest.approx(4.0)  # what was before does not count
    frames = {"ephemeral": GIB, "frames": GIB}
    kept = [reading(time, GIB, GIB, **frames) for time in (999.0, 1060.0, 1121.0)]
    assert of(*kept) == pytest.approx(6.0)
    smaller = [reading(time, GIB, GIB, ephemeral=GIB, frames=GIB / 2) for time in (999.0, 1060.0, 1121.0)]
    assert of(*smaller) == pytest.approx(5.0)  # compressed: what its frames take


def test_it_has_no_value_where_a_reading_is_missing() -> None:
    good = [reading(time, GIB, GIB) for time in (999.0, 1060.0, 1121.0)]
    assert of() is None
    assert of(good[0], reading(1060.0, None, GIB), good[2]) is None
    assert of(good[0], good[2], interval_s=30.0) is None  # no reading in 120 s
    untold = [reading(time, GIB, GIB, ephemeral=None, frames=None) for time in (999.0, 1060.0, 1121.0)]
    assert of(*untold) is None
    assert of(*untold, tmem=False) == pytest.approx(4.0)  # a Xen without tmem holds none


TURNS = [(float(at), GIB if at <= 60 else GIB / 2, GIB / 3 if at < 60 else GIB) for at in range(121)]
"""guest1 has twice as much until 60 s, guest2 three times as much from then on."""


def follows(*readings: list[Sample], starts: tuple[float, float] = (0.0, 60.0), interval_s: float = 20.0) -> object:
    released = BarrierRecord(0.0, 1000.0, dict(zip(GUESTS, starts, strict=True)), {"guest1": 60.0, "guest2": 120.0})
    found = footprint.loaded_to_idle(chain.from_iterable(readings), released, interval_s=interval_s)
    return {each.guest: each.value for each in found}


def test_memory_that_follows_load_is_more_while_a_guests_script_runs() -> None:
    by_turns = [reading(1000.0 + at, first, second) for at, first, second in TURNS]
    assert follows(*by_turns) == {"guest1": pytest.approx(2.0, rel=0.02), "guest2": pytest.approx(3.0, rel=0.02)}
    level = [reading(time, GIB, 2 * GIB) for time in (999.0, 1030.0, 1060.0, 1090.0, 1121.0)]
    assert follows(*level) == {"guest1": 1.0, "guest2": 1.0}
    assert follows(*level, interval_s=5.0) == {"guest1": None, "guest2": None}  # no reading in half a minute
    assert follows(*level, interval_s=25.0) == {"guest1": None, "guest2": None}  # a rest of a minute is too short
    assert follows(*level, starts=(0.0, 0.0)) == {"guest1": 1.0, "guest2": None}  # it never rested
    assert follows(reading(999.0, None, 2 * GIB), *level[1:]) == {"guest1": None, "guest2": 1.0}


def test_a_cell_has_its_footprint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry._CLASSES, "fake", "campaign_fakes:FakeLoad")
    text = EXPERIMENT.replace("repetitions: 2", "repetitions: 1").replace("[static, selfballoon,", "[selfballoon,")
    run(
        write_experiment(tmp_path, text),
        FakeHost(tmp_path / "host"),
        results=tmp_path / "results",
        cell="selfballoon.r1",
    )
    cell = find(tmp_path / "results").cells()["selfballoon.r1"]
    assert cell.barrier is not None
    seconds = cell.value("run_seconds")
    assert seconds == max(cell.barrier.ends.values())
    value = cell.value("footprint")
    assert value is not None
    held_gib = value * 60 / seconds
    assert 3 * 160 / 1024 * 0.6 <= held_gib <= 3 * 160 / 1024  # it gives back a part of its share
