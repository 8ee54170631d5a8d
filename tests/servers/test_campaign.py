"""A small campaign on both servers at once, which were bare before, to its figures."""

from __future__ import annotations

import json
from pathlib import Path

from pair import NAMES, Pair, Told

from analysis import report
from campaigns import launch, verify


def test_a_campaign_runs_on_both_servers_to_its_figures(pair: Pair, told: Told, tmp_path: Path) -> None:
    pair.at("provisioned")
    request = launch.ask("servers", pair.lab(), results=tmp_path)
    outcome = launch.execute(request, ["campaign.run", "servers"], results=tmp_path, tell=told)
    found = {each.cell: each for each in outcome.records}
    assert {name: (each.status, each.failure) for name, each in found.items()} == dict.fromkeys(
        ("static.r1", "static.r2", "selfballoon+tmem.r1", "selfballoon+tmem.r2"), ("complete", None)
    )
    assert {each.host_kind for each in found.values()} == {"physical"}
    # Each server ran what is compared with one another.
    ran = [{found[f"{policy}.r{number}"].host for policy in ("static", "selfballoon+tmem")} for number in (1, 2)]
    assert sorted(map(sorted, ran)) == [[name] for name in sorted(NAMES)]
    for name in found:
        environment = json.loads((outcome.directory / "cells" / name / "env.json").read_text())
        quiet = environment["host"]["quiet"]
        assert quiet["dom0_thp"] == "never"
        assert quiet["threads_per_core"] == "1"
    verify.verify(outcome.directory).check()
    summary = report.summarise(outcome.directory)
    assert summary.report.exists()
    assert {path.suffix for path in summary.figures} >= {".png", ".pdf", ".svg"}
    assert all(path.stat().st_size for path in summary.figures)
