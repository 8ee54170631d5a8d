"""The plan: complete, random within blocks, the same from the same seed."""

from __future__ import annotations

import re
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest
from campaign_fakes import EXPERIMENT, FakeHost, find, write_experiment

from campaigns import plan
from campaigns.run import run
from workloads import registry

FACTORS = EXPERIMENT.replace(
    "repetitions: 2", "repetitions: 3\nfactors: {overcommit_ratio: [1.0, 1.5], workload.parameters.size: [1, 2]}"
)


@pytest.fixture(autouse=True)
def _fake_load(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry._CLASSES, "fake", "campaign_fakes:FakeLoad")


def test_every_point_of_the_matrix_is_there_once(tmp_path: Path) -> None:
    cells = plan.plan(write_experiment(tmp_path, FACTORS))
    points = {(c.policy, tuple(c.levels.items()), c.repetition) for c in cells}
    assert len(cells) == len(points) == 3 * 2 * 2 * 3
    assert len({c.cell for c in cells}) == len(cells)
    assert [c.order for c in cells] == list(range(len(cells)))
    assert all(re.fullmatch(r"[A-Za-z0-9+._-]+", c.cell) for c in cells)


def test_blocks_are_whole_repetitions_one_after_the_other(tmp_path: Path) -> None:
    cells = plan.plan(write_experiment(tmp_path, FACTORS))
    assert [c.block for c in cells] == [block for block in range(3) for _ in range(12)]
    assert all(c.repetition == c.block + 1 for c in cells)


def test_the_order_within_a_block_is_the_seeds(tmp_path: Path) -> None:
    found = write_experiment(tmp_path, FACTORS)
    names = [c.cell for c in plan.plan(found)]
    assert names == [c.cell for c in plan.plan(found)]
    other = [c.cell for c in plan.plan(found.with_seed(8))]
    assert sorted(names) == sorted(other)
    assert names != other
    assert [n.rpartition(".")[0] for n in names[:12]] != [n.rpartition(".")[0] for n in names[12:24]]


def test_the_order_does_not_change_from_one_version_to_the_next() -> None:
    """Written down once: a plan made today has to be the plan made by every later testbed."""
    cells = [plan.cell_id(policy, {}, 1) for policy in ("static", "selfballoon", "selfballoon+tmem")]
    assert cells == ["static.r1", "selfballoon.r1", "selfballoon+tmem.r1"]
    assert plan.block_order(7, 0, cells) == ["static.r1", "selfballoon.r1", "selfballoon+tmem.r1"]
    assert plan.level_key({"overcommit_ratio": 1.5}) == "8bf3b285"


def test_guests_that_share_processors_and_an_emulated_one_take_longer(tmp_path: Path) -> None:
    found = write_experiment(tmp_path)
    conditions = found.at({})
    assert plan.slowdown(None, conditions) == 1.5  # 3 vCPUs on 2 processors
    assert plan.slowdown("kvm", conditions) == 1.5
    assert plan.slowdown("tcg", conditions) == 45
    assert plan.expected_stages(conditions, "tcg")["run"] == 3 * 45
    emulated, native = (plan.plan(found, accelerator)[0].expected_seconds for accelerator in ("tcg", "kvm"))
    assert emulated - native == pytest.approx(3 * 45 - 3 * 1.5)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 6])
def test_every_policy_stands_in_every_place_equally_often(count: int) -> None:
    """In one kernel build of five repetitions tmem was first in four, and a host's drift became
    an effect.
    """
    policies = [f"policy{number}" for number in range(count)]
    rows = plan.balanced_orders(7, "", policies)
    assert len(rows) == count * (1 if count == 1 or count % 2 == 0 else 2)
    for begin in range(0, len(rows), count):
        square = rows[begin : begin + count]
        assert all(sorted(row) == policies for row in square)
        assert all(sorted(column) == policies for column in zip(*square, strict=True))
    follow = Counter(pair for row in rows for pair in pairwise(row))
    assert len(set(follow.values())) <= 1


def test_the_plan_is_balanced_at_every_combination_of_levels(tmp_path: Path) -> None:
    cells = plan.plan(write_experiment(tmp_path, FACTORS))
    for levels in {plan.level_key(cell.levels): cell.levels for cell in cells}.values():
        found = plan.positions(cell for cell in cells if cell.levels == levels)
        assert found == {key: [1, 1, 1] for key in ("selfballoon", "selfballoon+tmem", "static")}


def test_what_is_probably_not_meant_is_said(tmp_path: Path) -> None:
    assert plan.warnings(write_experiment(tmp_path)) == []
    (said,) = plan.warnings(write_experiment(tmp_path, EXPERIMENT.replace("480 MiB", "800 MiB")))
    assert said.startswith("nothing is overcommitted: 3 guests of at most 256 MiB fit into the host's 800 MiB")
    meant = EXPERIMENT.replace("480 MiB", "800 MiB").replace("gates: {", "gates: {overcommit_ratio: 0.5, ")
    assert plan.warnings(write_experiment(tmp_path, meant)) == []
    short = write_experiment(tmp_path, EXPERIMENT.replace("seed: 7", "timeouts: {run: 10 s}"))
    assert plan.warnings(short) == ["timeouts.run is 10 s, and 2 min 15 s are expected without KVM"]
    assert plan.warnings(short, "kvm") == []


def test_a_policy_that_a_factor_passes_over_is_told(tmp_path: Path) -> None:
    """`zswap` is `static+zswap`: of five sizes it measured the same five times."""
    factor = "factors: {guests.memory_start: [96 MiB, 160 MiB]}\nseed: 7"
    changed = EXPERIMENT.replace("seed: 7", factor).replace("policies: [static,", "policies: [zswap, fixed, static,")
    told = plan.warnings(write_experiment(tmp_path, changed))
    assert [line.partition(" guests have")[0].rpartition(" ")[2] for line in told] == ["zswap", "static"]


def test_boots_and_runs_are_told_of_each_cell(tmp_path: Path) -> None:
    text = EXPERIMENT.replace("repetitions: 2", "repetitions: {boots: 3, runs: 2}")
    cells = plan.plan(write_experiment(tmp_path, text))
    assert [(cell.block, cell.boot, cell.run) for cell in cells[::3]] == [
        (0, 1, 1), (1, 1, 2), (2, 2, 1), (3, 2, 2), (4, 3, 1), (5, 3, 2),
    ]  # fmt: skip
    assert len({cell.cell for cell in cells}) == 18
    assert {cell.boot for cell in plan.plan(write_experiment(tmp_path, EXPERIMENT))} == {None}


def test_each_boot_of_a_campaign_is_a_boot_of_the_host(tmp_path: Path) -> None:
    """Five runs of one booted snapshot are not five repetitions of the testbed."""
    text = EXPERIMENT.replace("repetitions: 2", "repetitions: {boots: 2, runs: 2}")
    host = FakeHost(tmp_path / "host")
    run(write_experiment(tmp_path, text), host, results=tmp_path / "results").check()
    assert host.boots == ["test, boot 1"] * 6 + ["test, boot 2"] * 6
    cells = find(tmp_path / "results").cells().values()
    assert {(cell.boot, cell.run) for cell in cells} == {(1, 1), (1, 2), (2, 1), (2, 2)}


def test_a_phase_delays_the_end_of_a_run_and_not_a_load(tmp_path: Path) -> None:
    text = EXPERIMENT.replace("size: 3}", "size: 3}\n  phase: 20 s\ntimeouts: {run: 50 s}")
    made, plain = write_experiment(tmp_path, text), write_experiment(tmp_path, name="plain")
    at, before = made.at({}), plain.at({})
    assert plan.expected_stages(at, None)["run"] == plan.expected_stages(before, None)["run"] + 2 * 20
    assert plan.warnings(made, None) == []  # a load of 4.5 s has its 50 s, whenever it starts
    assert [start.delay_s for start in at.starts(["guest1", "guest2", "guest3"]).values()] == [0, 20, 40]


def test_a_phase_may_be_a_factor_and_its_default_leaves_the_fingerprint(tmp_path: Path) -> None:
    plain = write_experiment(tmp_path)
    assert "phase" not in plain.document["workload"]
    assert write_experiment(tmp_path, EXPERIMENT.replace("size: 3}", "size: 3}\n  phase: 0 s")).sha256 == plain.sha256
    varied = write_experiment(tmp_path, EXPERIMENT.replace("seed: 7", "factors: {workload.phase: [0 s, 5 s]}\nseed: 7"))
    assert [varied.at(levels).groups[0].load.phase_s for levels in varied.combinations()] == [0, 5]
