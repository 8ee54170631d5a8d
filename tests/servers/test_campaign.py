"""A small campaign on both servers at once, which were bare before, to its figures: the commands of
the README, as people give them.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

from pair import NAMES, Pair, Told, inv

from campaigns import store


def test_a_campaign_runs_on_both_servers_to_its_figures(pair: Pair, told: Told) -> None:
    pair.at("provisioned")
    lab, name = pair.lab(), f"servers-{os.getpid()}"
    directory = store.RESULTS / name
    try:
        inv(told, "campaign.run", "servers", "--inventory", str(lab), "--campaign", name)
        inv(told, "figures", name)
        inv(told, "results.verify", name)
        look_at(directory)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def look_at(directory: Path) -> None:
    """Each server ran what is compared with one another, quietly, and said what it is."""
    found = {path.parent.name: json.loads(path.read_text()) for path in directory.glob("cells/*/cell.json")}
    assert {cell: (each["status"], each["failure"]) for cell, each in found.items()} == dict.fromkeys(
        ("static.r1", "static.r2", "selfballoon+tmem.r1", "selfballoon+tmem.r2"), ("complete", None)
    )
    assert {each["host_kind"] for each in found.values()} == {"physical"}
    ran = [{found[f"{policy}.r{number}"]["host"] for policy in ("static", "selfballoon+tmem")} for number in (1, 2)]
    assert sorted(map(sorted, ran)) == [[name] for name in sorted(NAMES)]
    for cell in found:
        environment = json.loads((directory / "cells" / cell / "env.json").read_text())
        quiet = environment["host"]["quiet"]
        assert quiet["dom0_thp"] == "never"
        assert quiet["threads_per_core"] == "1"
        assert "QEMU" in environment["host"]["accelerator"]
    assert "a virtual machine (QEMU" in (directory / "report.md").read_text()
    drawn = list((directory / "figures").iterdir())
    assert {path.suffix for path in drawn} >= {".png", ".pdf", ".svg"}
    assert all(path.stat().st_size for path in drawn)
