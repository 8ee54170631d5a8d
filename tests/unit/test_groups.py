"""Guests in groups: sizes, loads and starts of their own, and figures by group."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from campaign_fakes import EXPERIMENT, FakeHost, FakeLoad, find, forge, write_experiment

from analysis import claims, outputs, tables, totals
from analysis.load import load, staggered
from campaigns import experiment, feasible, plan
from campaigns.run import run
from campaigns.verify import verify
from common.errors import InvalidFileError
from lab.hosts.emulated import guests_tag
from policies import apply
from policies import registry as policies
from workloads import registry

GROUPS = """\
  groups:
    db: {count: 1, vcpus: 2, memory_max: 256 MiB, workload: {name: other, parameters: {size: 2}}}
    web: {count: 2, memory_max: 128 MiB, after: db}
"""
GROUPED = (
    EXPERIMENT.replace("guests: {count: 3, memory_max: 256 MiB}\n", f"guests:\n{GROUPS}")
    .replace("480 MiB", "320 MiB")
    .replace("{size: 3}", "{size: 3}\n  phase: 200 ms")
    .replace("repetitions: 2", "repetitions: 1")
    .replace("metric: sectors_read", "metric: sectors_read\n    group: web")
)


class OtherLoad(FakeLoad):
    """Another load with another output."""

    name = "other"

    def script(self, params: Any) -> str:
        return super().script(params).replace("echo made", "echo other")


@pytest.fixture(autouse=True)
def _loads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry._CLASSES, "fake", "campaign_fakes:FakeLoad")
    monkeypatch.setitem(registry._CLASSES, "other", "test_groups:OtherLoad")


def test_each_group_has_its_size_its_load_and_its_start(tmp_path: Path) -> None:
    found = write_experiment(tmp_path, GROUPED)
    at = found.at({})
    guests = ["guest1", "guest2", "guest3"]
    assert at.group_names(guests) == {"guest1": "db", "guest2": "web", "guest3": "web"}
    assert [each.vcpus for each in at.guests.every] == [2, 1, 1]
    assert [each.memory_max_mib for each in at.guests.every] == [256, 128, 128]
    assert [each.memory_start_mib for each in at.guests.every] == [160, 80, 80]  # in proportion to their maxima
    assert (at.guests.count, at.guests.swap_mib) == (3, 256)
    assert at.overcommit_ratio == pytest.approx(512 / 320)
    starts = at.starts(guests)
    assert [(each.delay_s, tuple(each.after)) for each in starts.values()] == [
        (0, ()),
        (0, ("guest1",)),
        (0.2, ("guest1",)),
    ]
    # 4 vCPUs on 2 processors: 2 s of the one load, then 3 s of the other, each twice as long
    assert plan.expected_stages(at, None)["run"] == pytest.approx(4 + 0.2 + 6)
    share = [apply.start_mib(policies.parse("static"), at.host, at.guests, number) for number in (1, 2, 3)]
    assert share == [160, 80, 80]
    again = experiment.from_document(found.name, found.document)
    assert again.document == found.document
    assert again.at({}).guests == at.guests


def test_a_key_of_a_group_can_be_a_factor(tmp_path: Path) -> None:
    levels = "factors: {guests.groups.web.count: [1, 2], guests.groups.db.workload.parameters.size: [1, 4]}\nseed: 7"
    found = write_experiment(tmp_path, GROUPED.replace("seed: 7", levels))
    seen = [(c.guests.count, c.groups[0].load.parameters.size) for c in map(found.at, found.combinations())]
    assert seen == [(2, 1), (2, 4), (3, 1), (3, 4)]
    with pytest.raises(InvalidFileError, match=r"no key 'guests\.groups\.db\.workload\.name' can be a factor"):
        write_experiment(tmp_path, GROUPED.replace("seed: 7", "factors: {guests.groups.db.workload.name: [fake]}"))


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("after: db", "after: bd", ["there is no group 'bd'", "known: db, web", "key guests.groups.web.after"]),
        ("after: db", "after: web", ["web would wait for itself", "key guests.groups.web.after"]),
        ("count: 1, vcpus: 2,", "count: 1, after: web,", ["2 mistakes", "db would wait for itself"]),
        ("memory_max: 128 MiB", "memory_mx: 128 MiB", ["unknown key 'memory_mx'", "did you mean 'memory_max'?"]),
        ("memory_max: 128 MiB", "memory_max: 128", ["key guests.groups.web.memory_max"]),
        ("memory_max: 128 MiB", "memory_max: 128 MiB, memory_start: 32 MiB", ["cannot boot with 32 MiB", "groups.web"]),
        ("memory_max: 128 MiB", "memory_max: 128 MiB, memory_start: 100 MiB", ["360 MiB together"]),
        ("name: other", "name: othr", ["unknown workload 'othr'", "key guests.groups.db.workload.name"]),
        ("{size: 2}", "{sise: 2}", ["unknown key 'sise'", "key guests.groups.db.workload.parameters.sise"]),
        ("after: db", "after: db, workload: {name: fake}", ["every group has a workload of its own", "key workload"]),
        (
            "workload:\n  name: fake\n  parameters: {size: 3}\n  phase: 200 ms\n",
            "",
            ["'workload' is missing: web has none"],
        ),
        ("group: web", "group: wbe", ["there is no group 'wbe'", "did you mean 'web'?", "key claims[0].group"]),
        ("    web:", "    Web:", ["key guests.groups"]),
    ],
)
def test_a_mistake_in_a_group_is_named_with_its_place(tmp_path: Path, old: str, new: str, expected: list[str]) -> None:
    assert old in GROUPED
    with pytest.raises(InvalidFileError) as caught:
        write_experiment(tmp_path, GROUPED.replace(old, new))
    for text in expected:
        assert text in str(caught.value)


def test_guests_that_fit_follow_from_the_hosts_memory_their_count_and_the_ratio(tmp_path: Path) -> None:
    text = EXPERIMENT.replace("memory_max: 256 MiB", "memory_max: fit").replace(
        "seed: 7", "factors: {guests.count: [2, 3], overcommit_ratio: [1.0, 1.5]}\nseed: 7"
    )
    found = write_experiment(tmp_path, text)
    assert found.document["guests"]["memory_max"] == "fit"
    seen = [(c.guests.memory_max_mib, c.guests.memory_start_mib) for c in map(found.at, found.combinations())]
    assert seen == [(240, 240), (360, 240), (160, 160), (240, 160)]
    assert experiment.from_document("test", found.document).document == found.document
    with pytest.raises(InvalidFileError, match="a host whose guest_memory is given"):
        write_experiment(tmp_path, text.replace("host: {guest_memory: 480 MiB}", "host: {}"))


def test_guests_that_are_alike_are_told_as_before(tmp_path: Path) -> None:
    """Snapshots, fingerprints and records of before stay what they are."""
    at = write_experiment(tmp_path).at({})
    assert at.guests.document() == {
        "count": 3,
        "vcpus": 1,
        "memory_max_mib": 256,
        "memory_start_mib": 160,
        "swap_mib": 256,
        "kernel": (),
    }
    assert guests_tag(at.guests) != guests_tag(write_experiment(tmp_path, GROUPED).at({}).guests)
    for campaign in ("reference", "reference-repeated"):
        text = (Path(experiment.__file__).parents[1] / "results" / campaign / "campaign.json").read_text()
        told = json.loads(text)
        now = experiment.from_document(told["name"], told["experiment"]).document
        assert set(now) == set(experiment.load("demo").document)
        assert "phase" not in now["workload"]
        assert "group" not in now["claims"][0]


def test_a_campaign_of_groups_runs_each_load_where_it_belongs(tmp_path: Path) -> None:
    made = write_experiment(tmp_path, GROUPED)
    feasible.on_host(made, "emulated")
    host = FakeHost(tmp_path / "host")
    run(made, host, results=tmp_path / "results", cell="selfballoon+tmem.r1")
    stored = find(tmp_path / "results")
    cell = stored.cells()["selfballoon+tmem.r1"]
    assert cell.status == "complete", cell.gates
    assert cell.groups == {"guest1": "db", "guest2": "web", "guest3": "web"}
    assert host.targets == {"guest1": 160, "guest2": 80, "guest3": 80}
    assert host.limits == {"guest1": 256, "guest2": 128, "guest3": 128}
    outputs = {guest: sums["output"] for guest, sums in cell.checksums.items()}
    assert outputs == {"guest1": "other", "guest2": "made", "guest3": "made"}  # and that is no difference
    assert cell.barrier is not None
    assert min(cell.barrier.starts["guest2"], cell.barrier.starts["guest3"]) >= cell.barrier.ends["guest1"]
    names = [gate.name for gate in cell.gates]
    assert "has_sectors_read_of_web" in names
    assert "starts_on_time" in names
    env = json.loads((stored.directory / "cells" / cell.cell / "env.json").read_text())
    assert env["conditions"]["groups"]["db"]["workload"] == "other"
    assert env["conditions"]["groups"]["web"]["after"] == "db"
    verify(stored.directory).check()
    path = stored.directory / "cells" / cell.cell / "cell.json"
    path.write_text(path.read_text().replace('"guest3": "web"', '"guest3": "db"'))
    forge(stored.directory)
    assert "groups are" in "\n".join(verify(stored.directory).lines())


def test_another_output_within_a_group_is_a_difference(tmp_path: Path) -> None:
    script = "case {raw} in *guest3*) echo else;; *) echo made;; esac > {raw}/output"
    made = write_experiment(tmp_path, GROUPED.replace("{size: 3}", "{size: 3, script: '" + script + "'}"))
    run(made, FakeHost(tmp_path / "host"), results=tmp_path / "results", cell="static.r1")
    cell = find(tmp_path / "results").cells()["static.r1"]
    assert [gate.name for gate in cell.gates if not gate.passed] == ["same_output"]


def test_figures_and_verdicts_are_by_group(tmp_path: Path) -> None:
    run(write_experiment(tmp_path, GROUPED), FakeHost(tmp_path / "host"), results=tmp_path / "results")
    results = load(tmp_path / "results" / "test")
    assert results.groups == ("db", "web")
    assert staggered(results)
    found = tables.build(results)
    rows = found["metrics"]
    rows = rows[(rows.cell == "static.r1") & (rows.metric == "sectors_read")]
    assert list(zip(rows.guest, rows.group, strict=True)) == [("guest1", "db"), ("guest2", "web"), ("guest3", "web")]
    by_group = found["groups"]
    by_group = by_group[(by_group.cell == "static.r1") & (by_group.metric == "sectors_read")]
    assert list(by_group.group) == ["db", "web"]
    assert list(by_group["sum"]) == [15_000, 30_000]
    assert list(by_group["mean"]) == [15_000, 15_000]
    (verdict,) = claims.judge(results)
    assert verdict.ratio.control == 40_000  # two guests of three
    assert "sum over guests of web" in verdict.wording
    assert outputs.differing(results, "") == {}
    assert "every guest of its group" in outputs.compare(results)[-1]
    whole = totals.value(results, results.complete[0], totals.QUANTITIES["run_seconds"])
    assert whole == results.complete[0].value("run_seconds")
