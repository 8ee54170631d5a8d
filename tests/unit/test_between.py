"""Two campaigns beside each other: what differs in provenance, then in what was measured."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from campaign_fakes import EXPERIMENT, FakeHost, write_experiment

from analysis import between
from analysis.load import Results, load
from campaigns.run import run
from lab.api import Sample
from workloads import registry


@pytest.fixture(autouse=True)
def _fake_load(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry._CLASSES, "fake", "campaign_fakes:FakeLoad")


def campaign(
    tmp_path: Path, name: str, *, more_sectors: int = 0, kernel: str = "6.12", text: str = EXPERIMENT
) -> Results:
    def alter(reading: int, samples: list[Sample]) -> list[Sample]:
        extra = (more_sectors + len(name) * reading) if reading > 1 else 0
        return [
            Sample(each.time, each.source, each.counter, each.unit, (each.value or 0) + extra)
            if each.counter == "sectors_read"
            else each
            for each in samples
        ]

    host = FakeHost(tmp_path / "host", alter=alter, told={"xen": "4.20", "kernel": kernel})
    run(write_experiment(tmp_path, text), host, results=tmp_path / "results", campaign=name)
    return load(tmp_path / "results" / name)


def test_what_differs_in_provenance_is_named_and_what_is_alike_is_not(tmp_path: Path) -> None:
    first = campaign(tmp_path, "one")
    second = campaign(
        tmp_path,
        "other",
        kernel="6.13",
        text=EXPERIMENT.replace("seed: 7", "seed: 7\nsettle: 1 ms"),
    )
    found = {each.what: (each.first, each.second) for each in between.provenance(first, second)}
    assert found["host.kernel"] == ("6.12", "6.13")
    assert found["experiment.settle"] == ("0 s", "0.001 s")
    assert not any("xen" in what or "size" in what for what in found)
    assert between.provenance(first, first) == []


def test_metrics_are_compared_with_intervals(tmp_path: Path) -> None:
    first, second = campaign(tmp_path, "one"), campaign(tmp_path, "other", more_sectors=15_000)
    found = {(each.policy, each.quantity.name): each.ratio for each in between.measured(first, second)}
    ratio = found["static", "sectors_read"]
    assert ratio.estimate == pytest.approx(2.0, rel=0.01)  # 3 × 15,000 more of 3 × 15,000
    assert ratio.n == 2
    assert "interval" in ratio.note or ratio.low is not None or ratio.note
    assert ("static", "wall_seconds") in found
    assert ("static", "tmem_cycles") not in found  # neither has measured it
    (row,) = [
        row
        for row in between.rows(between.measured(first, second))
        if row[:1] == ("static",) and "sectors read" in row[1]
    ]
    assert row[1] == "sectors read [sectors]"
    assert row[4].startswith("2 (")
    json.dumps(row)
