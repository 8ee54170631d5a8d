"""Agents, run here without SSH: their protocol, their beat, and that they end with their input."""

from __future__ import annotations

import os
import shutil
import stat
import time
from pathlib import Path

import pytest

from lab import counters
from lab.agents import LINUX_COMMAND, Agent, AgentError
from lab.machines import Connections, UnreachableError


@pytest.fixture
def connections(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Connections:
    """Connections whose ssh is a shell on this machine."""
    ssh = tmp_path / "bin" / "ssh"
    ssh.parent.mkdir()
    ssh.write_text('#!/bin/sh\nexec sh -c "$4"\n')
    ssh.chmod(ssh.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{ssh.parent}:{os.environ['PATH']}")
    made = Connections(tmp_path / "ssh_config", tmp_path)
    monkeypatch.setattr(made, "open", lambda _machine: None)
    return made


@pytest.mark.skipif(shutil.which("perl") is None, reason="needs perl")
def test_the_guest_agent_reads_this_kernel(connections: Connections) -> None:
    agent = Agent(connections, "guest1", LINUX_COMMAND)
    try:
        samples, cost = counters.parse_guest("guest1", agent.ask("once"))
        values = {sample.counter: sample.value for sample in samples}
        assert cost is None
        assert abs(samples[0].time - time.time()) < 5
        assert values["vmstat.pgfault"]
        assert values["meminfo.MemTotal"]
        agent.ask("start 0.2")
        time.sleep(1.1)
        samples, cost = counters.parse_guest("guest1", agent.ask("stop"))
        times = sorted({sample.time for sample in samples})
        assert 4 <= len(times) <= 6
        assert times[-1] - times[0] == pytest.approx(0.2 * (len(times) - 1), abs=0.15)
        assert cost is not None
        assert agent.ask("stop") == ["cost 0.00 0.000 0"]
        assert abs(float(agent.ask("now")[0]) - time.time()) < 1
    finally:
        agent.close()


def test_an_agent_that_ends_says_why(connections: Connections) -> None:
    with pytest.raises(AgentError) as raised:
        Agent(connections, "dom0", "echo no library >&2; exit 1")
    assert raised.value.why == "no library"


def test_an_agent_that_hangs_is_not_waited_for(connections: Connections) -> None:
    agent = Agent(connections, "dom0", "echo ready; echo '== end'; exec sleep 60")
    with pytest.raises(UnreachableError, match="did not answer within"):
        agent.ask("once", seconds=0.3)
    assert not agent.alive()


@pytest.mark.skipif(shutil.which("perl") is None, reason="needs perl")
def test_an_agent_ends_with_its_input(connections: Connections) -> None:
    agent = Agent(connections, "guest1", LINUX_COMMAND)
    process = agent._process
    assert process.stdin is not None
    process.stdin.close()
    assert process.wait(5) == 0
