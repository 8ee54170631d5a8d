"""Repetition until an interval is narrow enough: when looks are taken, what they decide, and that a
report says so.
"""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from campaign_fakes import EXPERIMENT, FakeHost, FakeLoad, find, forge, write_experiment

from analysis import figures, load, report, totals
from campaigns import describe, looks, narrowing, plan, records, store
from campaigns.looks import Look, Point, Until
from campaigns.records import PlannedCell
from campaigns.run import ended, run
from campaigns.status import status
from campaigns.verify import verify
from common.errors import InvalidFileError, WorkloadError
from lab.api import Sample
from workloads import registry

OFTEN = """\
repetitions:
  runs: {at_least: 3, at_most: 6}
  until:
    metric: sectors_read
    compare: {treatment: selfballoon+tmem, control: selfballoon}
    half_width: 0.05
    looks: 3
"""
SMALL = EXPERIMENT.replace("count: 3", "count: 2").replace("480", "320").replace("static, ", "")
TEXT = SMALL.replace("repetitions: 2\n", OFTEN)


@pytest.fixture(autouse=True)
def _fake_load(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry._CLASSES, "fake", "campaign_fakes:FakeLoad")


class Uneven(FakeHost):
    """A host whose guests read more or less under tmem, from cell to cell. spread: how much."""

    spread: float = 0.0
    calm_after: int = 99

    def read_counters(self, raw_dir: Path | None = None) -> list[Sample]:
        return super().read_counters(raw_dir)

    def answers(self, *, done: bool) -> dict[str, list[str]]:
        found = super().answers(done=done)
        if done and self.driver.get("cleancache") and self.resets <= self.calm_after:
            reading = json.loads(found["dom0"][0])
            for disks in reading["vbd"].values():
                disks["51712"]["rd_sect"] += round(self.spread * (self.resets % 4))
            found["dom0"] = [json.dumps(reading)]
        return found


def uneven(tmp_path: Path, spread: float) -> Uneven:
    host = Uneven(tmp_path / "host")
    host.spread = spread
    return host


@pytest.fixture(scope="module")
def gone_on(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A campaign whose interval stayed wide, so that it went on to the most."""
    base = tmp_path_factory.mktemp("wide")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(registry._CLASSES, "fake", "campaign_fakes:FakeLoad")
        run(write_experiment(base, TEXT), uneven(base, 3000), results=base / "results").check()
    return base / "results"


@pytest.fixture
def wide(gone_on: Path, tmp_path: Path) -> Path:
    """Its results, to be changed."""
    return Path(shutil.copytree(gone_on, tmp_path / "results"))


def test_a_narrow_interval_ends_it_at_the_first_look(tmp_path: Path) -> None:
    wanted = write_experiment(tmp_path, TEXT)
    assert len(plan.plan(wanted)) == 12
    said: list[str] = []
    outcome = run(wanted, FakeHost(tmp_path / "host"), results=tmp_path / "results")
    outcome.check()
    stored = find(tmp_path / "results")
    assert len(stored.cells()) == 6
    (look,) = stored.looks()
    assert (look.size, look.enough) == (3, True)
    (point,) = look.points
    assert (point.n, len(point.cells)) == (3, 6)
    assert point.ratio == pytest.approx(0.5)
    assert point.half_width == 0
    assert said == []
    assert status(stored).counts == {"complete": 6, "invalid": 0, "failed": 0, "missing": 0}
    assert ended(wanted, None, results=tmp_path / "results") is not None
    verify(stored.directory).check()


def test_a_wide_one_goes_on_by_whole_blocks_to_the_most(gone_on: Path) -> None:
    stored = find(gone_on)
    assert [look.size for look in stored.looks()] == [3, 4, 6] or [look.size for look in stored.looks()] == [3, 5, 6]
    assert [look.enough for look in stored.looks()] == [False, False, True]
    assert len(stored.cells()) == 12
    last = stored.looks()[-1].points[0]
    assert last.half_width is not None
    assert last.half_width > 0.05
    verify(stored.directory).check()


def test_levels_at_which_one_of_the_two_is_left_out_are_no_part_of_the_decision(tmp_path: Path) -> None:
    """Their interval was never narrow, so a campaign with such an exclusion went to the most."""
    text = TEXT + "factors: {workload.parameters.size: [1, 2]}\n"
    text += "exclude: [{policy: selfballoon, workload.parameters.size: 2}]\n"
    run(write_experiment(tmp_path, text), FakeHost(tmp_path / "host"), results=tmp_path / "results").check()
    stored = find(tmp_path / "results")
    (look,) = stored.looks()
    assert (look.size, look.enough) == (3, True)
    assert [point.levels for point in look.points] == [{"workload.parameters.size": 1}]
    verify(stored.directory).check()


def test_a_failed_cell_is_no_part_of_the_decision_and_the_campaign_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing = [WorkloadError("no source")]

    def hook(step: str) -> None:
        if step == "prepare" and failing:
            raise failing.pop()

    monkeypatch.setattr(FakeLoad, "hook", staticmethod(hook))
    wanted = write_experiment(tmp_path, TEXT)
    run(wanted, FakeHost(tmp_path / "host"), results=tmp_path / "results")
    stored = find(tmp_path / "results")
    (look,) = stored.looks()
    assert look.points[0].n == 2
    before = look
    run(wanted, FakeHost(tmp_path / "host"), results=tmp_path / "results").check()
    assert stored.looks() == [before], "what was decided stays, with the cells that it was decided by"
    assert len(stored.cells()) == 6
    verify(stored.directory).check()


def test_interrupted_before_a_look_it_is_taken_by_the_next_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = write_experiment(tmp_path, TEXT)

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(store.CampaignStore, "add_look", interrupt)
        with pytest.raises(KeyboardInterrupt):
            run(wanted, FakeHost(tmp_path / "host"), results=tmp_path / "results")
    stored = find(tmp_path / "results")
    assert ended(wanted, None, results=tmp_path / "results") is None
    assert any("has not been looked at" in line for line in verify(stored.directory).lines())
    host = FakeHost(tmp_path / "host")
    run(wanted, host, results=tmp_path / "results").check()
    assert host.resets == 0
    assert [look.enough for look in stored.looks()] == [True]


@pytest.mark.parametrize("what", ["ratio", "enough", "gone", "added"])
def test_a_look_that_does_not_follow_from_the_cells_is_damage(wide: Path, what: str) -> None:
    directory = find(wide).directory
    path = directory / "looks" / "1.json"
    document = json.loads(path.read_text())
    if what == "ratio":
        document["points"][0]["ratio"] *= 0.9
    elif what == "enough":
        document["enough"] = True
    path.write_text(json.dumps(document))
    if what == "gone":
        path.unlink()
    if what == "added":
        (directory / "looks" / "9.json").write_text(path.read_text())
    forge(directory)
    assert verify(directory).damaged


def test_a_look_that_leaves_out_a_pair_is_damage_though_it_is_worked_out_well(wide: Path) -> None:
    stored = find(wide)
    until = stored.record().until
    assert until is not None
    planned = [cell for cell in stored.record(whole=True).cells if cell.policy in (until.treatment, until.control)]
    path = stored.directory / "looks" / "3.json"
    document = json.loads(path.read_text())
    left_out = {cell.cell for cell in planned if cell.block == min(each.block for each in planned)}
    kept = {name: cell for name, cell in stored.cells().items() if name not in left_out}
    made = narrowing.point(until, planned, kept)
    assert made.n == 5
    document["points"][0].update(
        {name: getattr(made, name) for name in ("n", "ratio", "low", "high")}, cells=made.cells
    )
    path.write_text(json.dumps(document))
    forge(stored.directory)
    assert any("does not follow from the cells" in line for line in verify(stored.directory).lines())


def test_a_look_stands_when_a_cell_that_it_used_is_run_again(wide: Path) -> None:
    """What the cell had then is in attempts/."""
    stored = find(wide)
    standing = stored.cells()
    name = "selfballoon.r1"
    old = standing[name]
    changed = tuple(
        replace(each, value=1 + 2 * (each.value or 0)) if each.name == "sectors_read" else each for each in old.metrics
    )
    standing[name] = replace(old, metrics=changed, finished_at="2090-01-01T00:00:00.000Z")
    campaign = stored.record()
    assert [kind for kind, _, _ in narrowing.checked(stored.directory, campaign, standing)]
    shutil.copytree(stored.directory / "cells" / name, stored.directory / "attempts" / f"{name}.1")
    assert list(narrowing.checked(stored.directory, campaign, standing)) == []


def test_the_report_says_that_the_data_chose_and_widens_for_the_looks(
    wide: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(figures, "FIGURES", {})
    directory = find(wide).directory
    text = report.summarise(directory).paragraph
    assert "The sample size was chosen by the data: runs were added, from 3 up to 6 at most" in text
    assert "every interval is drawn at 98.33 %" in text
    results = load.load(directory)
    names = {"treatment": "selfballoon+tmem", "control": "selfballoon", "levels": ""}
    ratio = totals.ratio_of(results, ("sectors_read",), "sum", **names)  # type: ignore[arg-type]
    last = find(wide).looks()[-1].points[0]
    assert (ratio.low, ratio.high) == (pytest.approx(last.low), pytest.approx(last.high))
    fixed = replace(results, campaign=replace(results.campaign, until=None))
    narrower = totals.ratio_of(fixed, ("sectors_read",), "sum", **names)  # type: ignore[arg-type]
    assert narrower.low is not None
    assert ratio.low is not None
    assert ratio.low < narrower.low
    assert ratio.p == pytest.approx(min(1.0, 3 * (narrower.p or 0)))


def test_the_plan_shows_bounds(tmp_path: Path) -> None:
    wanted = write_experiment(tmp_path, TEXT)
    shown = " ".join(" ".join(describe.plan_lines(wanted, plan.plan(wanted))).split())
    assert "3 to 6 runs: 6 to 12 cells" in shown
    assert "98.33 %" in shown
    assert "12 cells at most" in " ".join(describe.lines(wanted))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("at_least: 3, at_most: 6", "at_least: 6, at_most: 6"), "not below at_most"),
        (("at_least: 3", "at_least: 2"), "greater than or equal to 3"),
        (("runs: {at_least: 3, at_most: 6}", "runs: 4"), "needs bounds"),
        (("metric: sectors_read\n    compare", "metric: sectors_red\n    compare"), "unknown metric 'sectors_red'"),
        (("control: selfballoon}\n    half", "control: zram}\n    half"), "policy 'zram' is not one"),
        (("half_width: 0.05", "half_width: 5"), "less than 1"),
    ],
)
def test_mistakes_are_told(tmp_path: Path, change: tuple[str, str], said: str) -> None:
    assert change[0] in TEXT
    with pytest.raises(InvalidFileError, match="repetitions") as caught:
        write_experiment(tmp_path, TEXT.replace(*change))
    assert said in str(caught.value)


def test_what_says_nothing_of_it_has_the_fingerprint_that_it_had(tmp_path: Path) -> None:
    made = write_experiment(tmp_path, SMALL.replace("repetitions: 2\n", "repetitions: {boots: 2, runs: 2}\n"))
    assert made.document["repetitions"] == {"boots": 2, "runs": 2}
    assert made.until is None


# --- looks by themselves

UNTIL = Until("m", "sum", "a", "b", 0.1, "boot", (3, 5, 8, 10))


def test_looks_are_spread_evenly_and_each_is_at_a_higher_level() -> None:
    assert looks.sizes(3, 10, 4) == (3, 5, 8, 10)
    assert looks.sizes(3, 4, 4) == (3, 4)
    assert looks.sizes(3, 10, 1) == (10,)
    assert pytest.approx(0.9875) == UNTIL.level


def test_the_cells_that_are_wanted_follow_from_the_looks() -> None:
    cells = [PlannedCell(f"a.r{n}", "a", {}, n, n - 1, n - 1, 1.0, boot=n, run=1) for n in range(1, 11)]
    goes_on = Look(1, 3, (), enough=False)
    assert len(looks.within(cells, UNTIL, looks.size_now(UNTIL, []))) == 3
    assert len(looks.within(cells, UNTIL, looks.size_now(UNTIL, [goes_on]))) == 5
    assert looks.size_now(UNTIL, [goes_on, Look(1, 5, (), enough=True)]) == 5
    assert not looks.due(UNTIL, [goes_on, Look(1, 5, (), enough=True)])


def test_every_combination_of_levels_has_to_be_narrow() -> None:
    narrow, wide = (Point({}, (), 3, 1.0, 1 - width, 1 + width) for width in (0.05, 0.2))
    assert narrowing.enough(UNTIL, (narrow, narrow), 3)
    assert not narrowing.enough(UNTIL, (narrow, wide), 3)
    assert not narrowing.enough(UNTIL, (narrow, Point({}, (), 1, 1.0, None, None)), 5)
    assert not narrowing.enough(UNTIL, (), 5)
    assert narrowing.enough(UNTIL, (wide,), 10)


def test_all_looks_together_cover_what_one_would_have() -> None:
    """Of intervals that were chosen for being narrow, at most one in twenty misses: simulated."""
    import numpy as np

    random = np.random.default_rng(5)
    missed = 0
    for _ in range(1000):
        logs = random.normal(0.0, 0.06, 10)
        for size in UNTIL.sizes:
            low, high = narrowing.intervals.of_logarithms(list(logs[:size]), UNTIL.level)
            if (high - low) / 2 / math.exp(logs[:size].mean()) <= UNTIL.half_width:
                break
        missed += not low <= 1.0 <= high
    assert missed / 1000 <= 0.05
    assert records.LOOKS_DIR == "looks"
