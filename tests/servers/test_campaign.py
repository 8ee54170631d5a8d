"""A small campaign on a server that was bare before."""

from __future__ import annotations

import json
from pathlib import Path

from pair import Pair, Told

from campaigns import launch

CELL = "selfballoon+tmem.r1"


def test_a_cell_runs_on_a_server(pair: Pair, told: Told, tmp_path: Path) -> None:
    pair.at("provisioned")
    request = launch.ask("servers", pair.lab(only="uefi1"), cell=CELL, results=tmp_path)
    outcome = launch.execute(request, ["campaign.run", "servers"], results=tmp_path, tell=told)
    (record,) = outcome.records
    assert (record.status, record.failure) == ("complete", None)
    assert (record.host, record.host_kind) == ("uefi1", "physical")
    environment = json.loads((outcome.directory / "cells" / CELL / "env.json").read_text())
    assert '"quiet"' in json.dumps(environment)
