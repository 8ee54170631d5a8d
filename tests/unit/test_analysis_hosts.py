"""What a report says of a campaign that several hosts ran."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import analysis_campaign as made_up
import pytest

from analysis import figures, load, report, sections
from campaigns.records import CellRecord


def _on(lost: str = "") -> made_up.Change:
    """Blocks in turn on two hosts, but for one cell."""

    def change(cell: CellRecord) -> CellRecord:
        odd = (cell.repetition % 2 == 1) != (cell.cell == lost)
        return dataclasses.replace(cell, host="xen1" if odd else "xen2")

    return change


def test_hosts_are_told_with_their_cells_and_that_pairs_stayed_on_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(figures, "FIGURES", {})
    directory = made_up.write_campaign(tmp_path, change=_on(), samples=False)
    results = load.load(directory)
    (said,) = sections.hosts(results)
    assert said.startswith("Cells ran on 2 hosts (xen1: 6, xen2: 3); the cells of each block")
    assert set(results.cells["host"]) == {"xen1", "xen2"}
    assert "Cells ran on 2 hosts" in report.summarise(directory).report.read_text()


def test_blocks_that_a_lost_host_split_are_counted(tmp_path: Path) -> None:
    directory = made_up.write_campaign(tmp_path, change=_on("static.r2"), samples=False)
    (said,) = sections.hosts(load.load(directory))
    assert "of 1 of 3 blocks at the same levels ran on more than one, because a host was lost" in said


def test_of_one_host_nothing_is_said(tmp_path: Path) -> None:
    assert sections.hosts(load.load(made_up.write_campaign(tmp_path, samples=False))) == []
