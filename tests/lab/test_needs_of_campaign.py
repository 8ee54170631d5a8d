"""A campaign whose load needs programs that no guest has by itself: its image is built, its cells
run in it, as a user runs them.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from campaigns import records, verify
from lab import lifecycle

pytestmark = [pytest.mark.lab, pytest.mark.long]

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 1500

EXPERIMENT = {
    "schema": 1,
    "title": "A store in a guest that gives memory away",
    "question": "Do cells run on an image that has what their load needs?",
    "host": {"guest_memory": "200 MiB", "dom0_memory": "384 MiB", "vcpus": 2},
    "guests": {"count": 1, "vcpus": 1, "memory_max": "224 MiB", "swap": "64 MiB"},
    "policies": ["static", "selfballoon+tmem"],
    "workload": {"name": "memcached", "parameters": {"keys": 2000, "rate": 50.0, "requests": 300, "reads": 80}},
    # seconds of a load, so that nothing need be given or put: what is asked is its image
    "gates": {"overcommit_ratio": 1.0, "memory_given": 0, "tmem_puts": 0},
    "seed": 1,
}


@pytest.fixture
def lab_of_its_own(tmp_path: Path, inventory_path: Path) -> Iterator[Path]:
    """What it leaves is removed."""
    inventory = tmp_path / f"needs-{os.getpid()}.yml"
    shutil.copy(inventory_path, inventory)
    yield inventory
    lifecycle.destroy(inventory)
    shutil.rmtree(ROOT / "results" / inventory.stem, ignore_errors=True)


def test_cells_run_on_an_image_built_for_their_load(lab_of_its_own: Path, tmp_path: Path) -> None:
    folder = tmp_path / "wanted"
    folder.mkdir()
    experiment = folder / f"{lab_of_its_own.stem}.yml"
    experiment.write_text(json.dumps(EXPERIMENT))
    command = [str(ROOT / "inv"), "campaign.run", str(experiment), "--inventory", str(lab_of_its_own)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    results = ROOT / "results" / lab_of_its_own.stem
    cells = {cell.policy: cell for cell in records.read_cells(results)}
    assert {policy: cell.status for policy, cell in cells.items()} == dict.fromkeys(EXPERIMENT["policies"], "complete")
    for cell in cells.values():
        assert cell.value("hit_ratio") == 1
        # what is measured in time has no value where other programs starved the host
        assert cell.starved or (cell.value("requests_per_second") or 0) > 10
        env = records.read_env(results / records.CELLS_DIR / cell.cell)
        assert env is not None
        assert "guest_image_loads" in env["host"]["artifacts"]
    verify.verify(results).check()
