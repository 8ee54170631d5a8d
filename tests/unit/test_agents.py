"""Agents, run here without SSH: their protocol, their beat, and that they end with their input."""

from __future__ import annotations

import shutil
import time
from itertools import pairwise

import pytest

from lab.counters import parse
from lab.remote.agents import LINUX_COMMAND, Agent, AgentError
from lab.remote.ssh import Connections, UnreachableError


@pytest.mark.skipif(shutil.which("perl") is None, reason="needs perl")
def test_the_guest_agent_reads_this_kernel(connections: Connections) -> None:
    agent = Agent(connections, "guest1", LINUX_COMMAND)
    try:
        samples, cost = parse.parse_guest("guest1", agent.ask("once"))
        values = {sample.counter: sample.value for sample in samples}
        assert cost is None
        assert abs(samples[0].time - time.time()) < 5
        assert values["vmstat.pgfault"]
        assert values["meminfo.MemTotal"]
        (line,) = agent.ask("once")
        assert {word.partition("=")[0] for word in line.split()[1:]} <= set(parse.GUEST_COUNTERS)
        agent.ask("start 0.2")
        time.sleep(1.5)
        samples, cost = parse.parse_guest("guest1", agent.ask("stop"))
        times = sorted({sample.time for sample in samples})
        # On a busy machine a beat may be late or left out; none is early, and none is made up.
        assert 2 <= len(times) <= 9
        assert all(later > earlier for earlier, later in pairwise(times))
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
