"""The time left: honest after the first cell, and on the accelerator that is really there."""

from __future__ import annotations

from pathlib import Path

import pytest
from campaign_fakes import EXPERIMENT, FakeHost, write_experiment

from campaigns import progress
from campaigns.progress import Estimate, Event, Expected
from campaigns.run import run
from lab.api import GuestSizing, HostSizing
from workloads import registry

CELLS = [f"{policy}.r{number}" for number in (1, 2, 3) for policy in ("static", "tmem")]
POLICY = {cell: cell.partition(".")[0] for cell in CELLS}


def estimate(state: str = "one") -> Estimate:
    return Estimate(POLICY, {cell: Expected(15.0, 100.0, state) for cell in CELLS})


def test_the_first_cell_whose_reset_booted_the_host_says_nothing_of_other_resets() -> None:
    """Five cells of 15 + 200 s are left: 1,075 s. A factor of (400 + 200) / 115 of the whole
    made 3,000 of it.
    """
    made = estimate()
    made.finish("static.r1", {"reset": 400.0, "run": 190.0, "collect": 10.0})
    left = made.left(CELLS[1:])
    assert left == pytest.approx(5 * (15 + 200))


def test_a_known_state_that_is_not_there_yet_costs_what_the_first_one_did() -> None:
    made = Estimate(POLICY, {cell: Expected(15.0, 100.0, POLICY[cell]) for cell in CELLS})
    made.finish("static.r1", {"reset": 400.0, "run": 100.0})
    assert made.left(["tmem.r1", "tmem.r2", "static.r2"]) == pytest.approx(400 + 15 + 15 + 3 * 100)


def test_policies_have_their_own_pace_once_they_are_known() -> None:
    made = estimate()
    made.finish("static.r1", {"reset": 15.0, "run": 300.0})
    assert made.left(["tmem.r1"]) == pytest.approx(315)
    made.finish("tmem.r1", {"reset": 20.0, "run": 100.0})
    assert made.left(["tmem.r2", "static.r2"]) == pytest.approx(2 * 20 + 100 + 300)


def test_a_cell_that_takes_longer_takes_the_rest_with_it_while_nothing_else_is_known(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    made = estimate()
    made.begin("static.r1")
    assert made.left(CELLS[:2]) == pytest.approx(230)
    now[0] = 460.0
    assert made.left(CELLS[:2]) == pytest.approx(0.25 * 460 + 4 * 115)


class FallingBack(FakeHost):
    """A host that finds out at its first reset that KVM cannot run it."""

    accelerator: str | None = "kvm"

    def reset(self, host: HostSizing, guests: GuestSizing, *, boot: str | None = None) -> None:
        super().reset(host, guests)
        self.accelerator = "tcg"


def test_times_after_a_fall_back_are_the_emulations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They stayed KVM's: a minute was left, for eleven minutes."""
    monkeypatch.setitem(registry._CLASSES, "fake", "campaign_fakes:FakeLoad")
    wanted = write_experiment(tmp_path, EXPERIMENT.replace("parameters: {size: 3}", "parameters: {size: 100}"))
    events: list[Event] = []
    run(wanted, FallingBack(tmp_path / "host", accelerator="kvm"), results=tmp_path / "results", listen=events.append)
    runs = [event for event in events if event.stage == "run"]
    native, emulated = 100 * 1.5, 100 * 30 * 1.5  # three guests on two processors
    assert [event.stage_s for event in runs[:2]] == [emulated, emulated]
    before, after = (next(each.left_s for each in events if each.stage == stage) for stage in ("reset", "prepare"))
    assert before < 6 * (native + 60)
    assert after > 6 * emulated - 60
