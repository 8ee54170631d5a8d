"""A manager and its reporters as sessions, run here without SSH."""

from __future__ import annotations

import gzip
import json
import shutil
import subprocess
import time
from pathlib import Path

import pytest
import sampler as made_up

from lab.api import Manager
from lab.remote import agents, managers
from lab.remote.agents import AgentError
from lab.remote.managers import Managed
from lab.remote.ssh import Connections

pytestmark = pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler")

DAEMON = r"""#!/bin/sh
[ "$1" != check ] || exit 0
head -c "$(echo "$1" | sed 's/.*"reader_bytes": \([0-9]*\).*/\1/')" | gzip -t || exit 1
echo ready; echo "== end"
while read -r line; do
    case $line in
        start) echo started ;;
        stop) [ ! -e {folder}/crash ] || {{ echo "out of memory" >&2; exit 1; }}; echo "$1" ;;
    esac
    echo "== end"
done
echo "ended" > {folder}/ended
"""


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Manager:
    sampler = gzip.compress(made_up.build(tmp_path, sanitized=False).read_bytes())
    for module in (agents, managers):
        monkeypatch.setattr(module, "packed_sampler", lambda: sampler)
    return Manager(
        name="made-up",
        program=DAEMON.format(folder=tmp_path).encode(),
        settings={"manager": "made-up", "quoted": "it's"},
        bounds_mib={"guest1": (64, 256), "guest2": (64, 256)},
        counters={"meminfo.MemFree": 2**40, "psi.memory.some": 2**40},
        node=f"{tmp_path}/report".lstrip("/"),
        look_s=0.1,
        alive_s=1,
        tmem=True,
    )


def test_it_is_told_what_it_needs_and_says_what_it_did(
    manager: Manager, connections: Connections, tmp_path: Path
) -> None:
    managed = Managed(connections, manager)
    managed.release()
    time.sleep(0.5)
    told, cost = map(json.loads, managed.stop())
    assert told["quoted"] == "it's"
    assert told["guests"] == {"guest1": [64 * 2**20, 256 * 2**20], "guest2": [64 * 2**20, 256 * 2**20]}
    assert told["reader_arguments"] == ["memory", "tmem"]
    assert set(cost["reporters"]) == {"guest1", "guest2"}
    assert all(each["reports"] >= 1 and each["looks"] > each["reports"] for each in cost["reporters"].values())
    assert all("meminfo.MemFree=" in line for line in (tmp_path / "report").read_text().splitlines())
    assert not any(agent.alive() for agent in managed._agents.values())


def test_who_reports_nothing_has_no_reporter(manager: Manager, connections: Connections) -> None:
    managed = Managed(connections, Manager(**{**vars(manager), "counters": {}}))
    managed.release()
    assert json.loads(managed.stop()[-1]) == {"reporters": {}}


def test_one_that_crashed_says_why_and_all_sessions_end(
    manager: Manager, connections: Connections, tmp_path: Path
) -> None:
    managed = Managed(connections, manager)
    managed.release()
    (tmp_path / "crash").touch()
    with pytest.raises(AgentError) as raised:
        managed.stop()
    assert raised.value.why == "out of memory"
    assert not any(agent.alive() for agent in managed._agents.values())


def test_one_that_cannot_be_started_leaves_no_session(manager: Manager, connections: Connections) -> None:
    broken = Manager(**{**vars(manager), "counters": {"no-counter": 1}})
    before = _sessions()
    with pytest.raises(AgentError, match="guest"):
        Managed(connections, broken)
    assert _sessions() <= before


def test_a_guest_whose_kernel_has_no_hot_plug_says_so(manager: Manager, connections: Connections) -> None:
    before = _sessions()
    with pytest.raises(AgentError) as raised:
        Managed(connections, Manager(**{**vars(manager), "sections": True}))
    assert "no memory hot-plug (module sections)" in raised.value.why
    assert _sessions() <= before


def _sessions() -> set[str]:
    """Processes that are a made-up daemon's."""
    done = subprocess.run(["pgrep", "-f", "reader_arguments"], capture_output=True, text=True, check=False)
    return set(done.stdout.split())


def test_its_end_is_the_end_of_its_session(manager: Manager, connections: Connections, tmp_path: Path) -> None:
    managed = Managed(connections, manager)
    process = managed._agents["dom0"]._process
    assert process.stdin is not None
    process.stdin.close()
    deadline = time.monotonic() + 20
    while not (tmp_path / "ended").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    managed.close()
