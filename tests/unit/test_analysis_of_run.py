"""What the runner stores is what the analysis reads: a whole campaign on a host in memory, then
its report, then its verification.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from campaign_fakes import FakeHost, find, write_experiment

from analysis import load, report, style
from campaigns.run import run
from campaigns.verify import verify
from workloads import registry


def test_a_campaign_as_the_runner_stores_it_is_analysed_and_still_verifies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(registry._CLASSES, "fake", "campaign_fakes:FakeLoad")
    monkeypatch.setattr(style, "FORMATS", ("svg",))
    monkeypatch.setattr(style, "LAYOUTS", (style.TWO_COLUMNS,))
    host = FakeHost(tmp_path / "host")
    run(write_experiment(tmp_path), host, results=tmp_path / "results")
    directory = find(tmp_path / "results").directory
    summary = report.summarise(directory)
    results = load.load(directory)
    assert set(results.cells["status"]) == {"complete"}
    assert results.policies == ("static", "selfballoon", "selfballoon+tmem")
    assert len(results.samples) > 0
    assert "overcommit ratio" in summary.paragraph
    assert len(summary.rows) == 3
    assert all(row[2] != report.MISSING for row in summary.rows), "sectors read of every policy"
    assert not verify(directory).damaged
