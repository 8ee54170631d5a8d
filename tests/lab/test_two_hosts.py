"""One campaign on two emulated hosts of this machine at once, as a user runs it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from campaigns import records, verify
from lab import lifecycle, paths

pytestmark = [pytest.mark.lab, pytest.mark.long]

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 1500

EXPERIMENT = {
    "schema": 1,
    "title": "Cells that are over soon",
    "question": "Do two hosts share a campaign?",
    "host": {"guest_memory": "200 MiB", "dom0_memory": "384 MiB", "vcpus": 1},
    "guests": {"count": 1, "vcpus": 1, "memory_max": "192 MiB", "swap": "64 MiB"},
    "policies": ["static"],
    "workload": {"name": "sysbench_cpu", "parameters": {"events": 50, "time": None}},
    "repetitions": 4,
    "seed": 1,
}


@pytest.fixture
def two(tmp_path: Path) -> Iterator[Path]:
    """A lab of two hosts, of its own; what it leaves is removed."""
    inventory = tmp_path / f"two-{os.getpid()}.yml"
    shutil.copy(paths.INVENTORY / "two-hosts.yml", inventory)
    yield inventory
    lifecycle.destroy(inventory)
    shutil.rmtree(ROOT / "results" / inventory.stem, ignore_errors=True)


def test_two_emulated_hosts_share_a_campaign(two: Path, tmp_path: Path) -> None:
    wanted = tmp_path / "wanted"
    wanted.mkdir()
    experiment = wanted / f"{two.stem}.yml"
    experiment.write_text(json.dumps(EXPERIMENT))
    log = tmp_path / "log"
    ports: set[tuple[str, int]] = set()
    at_once = 0
    with log.open("wb") as output:
        command = [str(ROOT / "inv"), "campaign.run", str(experiment), "--inventory", str(two)]
        process = subprocess.Popen(command, stdout=output, stderr=output, stdin=subprocess.DEVNULL)
        deadline = time.monotonic() + SECONDS
        while process.poll() is None:
            assert time.monotonic() < deadline, log.read_text()[-3000:]
            up = [(row["host"], row["ssh_port"]) for row in lifecycle.status(two) if row["pid"]]
            at_once = max(at_once, len(up))
            ports |= {each for each in up if each[1]}
            time.sleep(2)
    assert process.returncode == 0, log.read_text()[-3000:]
    assert at_once == 2
    assert not {port for host, port in ports if host == "xen1"} & {port for host, port in ports if host == "xen2"}
    results = ROOT / "results" / two.stem
    cells = records.read_cells(results)
    assert Counter(cell.status for cell in cells) == {"complete": 4}
    assert {cell.host for cell in cells} == {"xen1", "xen2"}
    assert not [row for row in lifecycle.status(two) if row["pid"]], "a QEMU is left"
    found = verify.verify(results)
    assert found.lines()[-1].endswith(f"({len(cells)} of {len(cells)} cells, {found.files} files)")
    found.check()
