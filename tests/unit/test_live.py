"""What a running campaign shows, and what it costs the run when nobody looks on."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from campaign_fakes import EXPERIMENT, FakeHost, find, leftovers, write_experiment

from campaigns import live, watching
from campaigns.live import State, Teller, Watcher
from campaigns.progress import Event
from campaigns.run import run
from campaigns.status import status
from campaigns.verify import verify
from common.errors import LabError
from lab.api import Sample
from workloads import registry

MOST = {"static.r2": {"guest1": 256}}


@pytest.fixture(autouse=True)
def _fake_load(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry._CLASSES, "fake", "campaign_fakes:FakeLoad")


def reading(memory: int, hits: int, sectors: int, at: float) -> list[Sample]:
    return [
        Sample(at, "hypervisor", "free_memory", "pages", 2560),
        Sample(at, "guest1", "memory", "pages", memory),
        Sample(at, "guest1", "tmem_ephemeral_hits", "pages", hits),
        Sample(at, "guest1", "sectors_read", "sectors", sectors),
        Sample(at, "guest1", "tmem_cycles", "cycles", 7),
    ]


def look_on(teller: Teller, last: Callable[[], list[Sample]]) -> None:
    """As a crew does while a cell runs."""
    if (found := live.look(teller.directory, last)) is not None:
        teller.seen(*found)


def test_readings_are_fetched_only_while_somebody_looks_on(tmp_path: Path) -> None:
    asked: list[float] = []

    def last() -> list[Sample]:
        asked.append(time.time())
        return reading(25_600 * (len(asked) % 2 + 1), 100 * len(asked), 4096 * len(asked), 1000.0 + 5 * len(asked))

    teller = Teller(tmp_path, lambda: 60.0)
    teller.event(Event("stage", 1, 3, 60.0, "static.r1", "static", 1, "run", 30.0))
    look_on(teller, last)
    assert asked == []
    with Watcher(tmp_path) as watcher:
        before = watcher.state()
        assert before is not None
        assert (before.cell, before.stage, before.last) == ("static.r1", "run", {})
        look_on(teller, last)
        look_on(teller, last)
        now = watcher.state()
        assert now is not None
        assert now.first["guest1"] == {"memory": 51_200, "tmem_ephemeral_hits": 100, "sectors_read": 4096}
        assert now.last["guest1"]["tmem_ephemeral_hits"] == 200
        assert (now.first_at, now.last_at) == (1005.0, 1010.0)
        (flag,) = tmp_path.glob(f".tmp-*-{live.WATCHER}")
        os.utime(flag, (0, 0))  # a watcher that was stopped
        look_on(teller, last)
        assert len(asked) == 2
    look_on(teller, last)
    assert len(asked) == 2
    teller.end()
    assert list(tmp_path.iterdir()) == []
    assert Watcher(tmp_path).state() is None


def test_a_reading_that_fails_does_not_end_the_run(tmp_path: Path) -> None:
    def last() -> list[Sample]:
        raise LabError("dom0 is busy")

    teller = Teller(tmp_path, lambda: 60.0)
    teller.event(Event("stage", 1, 3, 60.0, "static.r1", "static", 1, "run", 30.0))
    with Watcher(tmp_path) as watcher:
        watcher.state()
        look_on(teller, last)
        found = watcher.state()
        assert found is not None
        assert found.last == {}


def test_a_campaign_is_told_while_it_runs_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "TICK_S", 0.2)
    seen: list[State | None] = []
    host = FakeHost(tmp_path / "host")
    directory = tmp_path / "results" / "test"

    def hook(step: str) -> None:
        state = Watcher(directory).state()  # at every step: a busy machine is slow from one to the next
        if step in ("reset", "last"):
            seen.append(state)
        if step == "last":
            (tmp_path / "looked").touch()

    host.hook = hook
    waiting = f"while [ ! -e {tmp_path}/looked ]; do sleep 0.1; done; echo made > {{raw}}/output"
    text = EXPERIMENT.replace("{size: 3}", "{size: 3, script: '" + waiting + "'}")
    made = write_experiment(tmp_path, text)
    run(made, host, results=tmp_path / "results", cell="selfballoon+tmem.r1")
    first, *others = seen
    assert first is not None
    assert (first.stage, first.cell, first.total) == ("reset", "selfballoon+tmem.r1", 6)
    assert others, "who looked on at the first asked for readings"
    last = others[-1]
    assert last is not None
    assert last.stage == "run"
    assert last.left_s > 0
    stored = find(tmp_path / "results")
    (flag,) = leftovers(tmp_path / "results")  # the watcher's, who has not said that it is gone
    assert flag.endswith(live.WATCHER)
    assert "damaged" not in verify(stored.directory).lines()[-1]


def test_a_frame_shows_cells_time_left_and_what_guests_hold_and_did(tmp_path: Path) -> None:
    run(write_experiment(tmp_path), FakeHost(tmp_path / "host"), results=tmp_path / "results", cell="static.r1")
    stands = status(find(tmp_path / "results"))
    first, last = (
        live.told(reading(pages, hits, sectors, 0.0)) for pages, hits, sectors in ((65_536, 5, 0), (32_768, 25, 4096))
    )
    state = State(1, 6, "static.r2", "static", 3, 1, "run", 60.0, 1000.0, 600.0, 1000.0, first, 1000.0, last, 1030.0)
    shown = watching.frame(stands, [state], MOST, 1030.0)
    assert shown[0] == "test: 1 of 6 cells, about 9.5 min left"
    assert "cell 4/6 static.r2" in shown
    assert "run: 30 s of about 60 s  [########--------]" in shown
    row = next(line for line in shown if line.startswith("guest1")).split()
    assert row == ["guest1", "128.0", "[########--------]", "–", "–", "20", "2.0", "–"]
    assert "10.0 MiB are nobody's" in shown[-2]
    assert shown[-1] == "hits [pages], read and written within 30 s"
    assert max(map(len, shown)) <= 80
    late = watching.frame(stands, [state], MOST, 1100.0)
    assert any("longer than expected" in line for line in late)


def test_frames_end_with_the_campaign(tmp_path: Path) -> None:
    run(write_experiment(tmp_path), FakeHost(tmp_path / "host"), results=tmp_path / "results", cell="static.r1")
    stored = find(tmp_path / "results")
    teller = Teller(stored.directory, lambda: 60.0)
    teller.event(Event("stage", 1, 6, 60.0, "static.r2", "static", 3, "run", 30.0))
    frames: Iterator[list[str]] = watching.frames(stored)
    assert "cell 4/6 static.r2" in next(frames)
    teller.end()
    assert "nobody runs it now" in next(frames)[0]
    assert list(frames) == []
    assert leftovers(tmp_path / "results") == []
