"""Two campaigns beside each other: what differs in provenance, then in what was measured."""

from __future__ import annotations

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
    host = FakeHost(tmp_path / "host", told={"xen": "4.20", "kernel": kernel})

    def alter(reading: int, samples: list[Sample]) -> list[Sample]:
        extra = (more_sectors + host.resets) if reading > 1 else 0
        return [
            Sample(each.time, each.source, each.counter, each.unit, (each.value or 0) + extra)
            if each.counter == "sectors_read"
            else each
            for each in samples
        ]

    host.alter = alter
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
    assert ratio.low is not None
    assert ratio.low < 2 < (ratio.high or 3)
    assert ("static", "wall_seconds") in found
    assert ("static", "tmem_cycles") not in found  # neither has measured it
    shown = between.lines(between.measured(first, second), "one", "other")
    assert shown[0] == "static"
    (row,) = [line.split() for line in shown[: shown.index("")] if "sectors read" in line]
    assert row[:3] == ["sectors", "read", "[sectors]"]
    assert row[5:9] == ["2", f"{ratio.low:.3g}", "to", f"{ratio.high:.3g}"]
    assert row[-1] == "2"
    assert max(map(len, shown)) <= 100


def test_what_only_one_has_is_said(tmp_path: Path) -> None:
    """It was left out of the comparison without a word; and of two that have nothing in common
    nothing was printed.
    """
    short = EXPERIMENT.split("claims:")[0].replace("repetitions: 2", "repetitions: 1").replace("count: 3", "count: 2")
    texts = {
        "one": "[static, selfballoon]",
        "other": "[static, selfballoon+tmem]",
        "third": "[selfballoon+tmem]",
    }
    found = {
        name: campaign(tmp_path, name, text=short.replace("[static, selfballoon, selfballoon+tmem]", policies))
        for name, policies in texts.items()
    }
    assert between.alone(found["one"], found["other"], ("one", "other")) == [
        "only one has selfballoon",
        "only other has selfballoon+tmem",
    ]
    assert between.alone(found["one"], found["one"], ("one", "one")) == []
    (line,) = between.alone(found["one"], found["third"], ("one", "third"))
    assert line.startswith("nothing is compared")
