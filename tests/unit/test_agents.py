"""Agents, run here without SSH: their protocol, their beat, and that they end with their input."""

from __future__ import annotations

import gzip
import shutil
import subprocess
import time
from itertools import pairwise
from pathlib import Path

import pytest
import sampler as made_up

from common import bounded
from lab.counters import names, parse
from lab.remote import agents, scripts
from lab.remote.agents import Agent, AgentError, Program, linux_reader
from lab.remote.ssh import Connections, UnreachableError

needs_compiler = pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler")


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_up.build(tmp_path_factory.mktemp("sampler"), sanitized=False)


@pytest.fixture
def sampler(program: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sampler of this machine in the place of the built artifact."""
    monkeypatch.setattr(agents, "packed_sampler", lambda: gzip.compress(program.read_bytes()))


def left_behind() -> set[Path]:
    return {path for folder in ("/run/overcommit", "/dev/shm", "/tmp") for path in Path(folder).glob("sampler.*")}


@needs_compiler
@pytest.mark.usefixtures("sampler")
def test_the_sampler_reads_this_kernel_and_leaves_nothing_behind(connections: Connections) -> None:
    there = left_behind()
    agent = Agent(connections, "guest1", linux_reader(names.LINUX))
    try:
        assert left_behind() == there
        samples, cost = parse.parse_guest("guest1", agent.ask("once"))
        values = {sample.counter: sample.value for sample in samples}
        assert cost is None
        assert abs(samples[0].time - time.time()) < 5
        lines = (line.replace(":", "").split() for line in Path("/proc/meminfo").read_text().splitlines())
        assert values["meminfo.MemTotal"] == next(int(words[1]) for words in lines if words[0] == "MemTotal")
        assert values["vmstat.pgfault"]
        # the last lines of a file that is longer than what the kernel gives at once
        assert values["vmstat.oom_kill"] is not None
        (line,) = agent.ask("once")
        assert {word.partition("=")[0] for word in line.split()[1:]} <= {*names.LINUX, names.SAMPLER_CPU}
        agent.ask("start 0.2")
        time.sleep(1.5)
        samples, cost = parse.parse_guest("guest1", agent.ask("stop"))
        times = sorted({sample.time for sample in samples})
        # On a busy machine a beat may be late or left out; none is early, and none is made up.
        assert 2 <= len(times) <= 9
        assert all(later > earlier for earlier, later in pairwise(times))
        assert cost is not None
        assert agent.ask("stop") == ["cost 0.000000 0.000 0"]
        assert abs(float(agent.ask("now")[0]) - time.time()) < 1
    finally:
        agent.close()


@needs_compiler
def test_where_programs_may_not_be_run_the_next_folder_is_taken(program: Path, tmp_path: Path) -> None:
    """A server may have /run mounted noexec; here, a folder whose programs end with an error."""
    script = scripts.command("start-sampler.sh", 0, "linux")
    first, second = tmp_path / "first", tmp_path / "second"
    second.mkdir()
    text = script.replace("/run/overcommit", str(first)).replace("/dev/shm", str(second)).replace(" /tmp ", " ")
    text = text.replace('"$from" check', f'[ "${{from%/*}}" = {second} ] && "$from" check')
    packed = gzip.compress(program.read_bytes())
    text = text.replace("set -- 0 ", f"set -- {len(packed)} ")
    done = subprocess.run(["sh", "-c", text], input=packed, capture_output=True, check=False)
    assert (done.stdout, done.stderr, done.returncode) == (b"ready\n== end\n", b"", 0)
    assert [*first.iterdir(), *second.iterdir()] == []
    nowhere = text.replace(f"= {second} ]", "= nowhere ]").replace("/var/tmp", str(second))
    done = subprocess.run(["sh", "-c", nowhere], input=packed, capture_output=True, check=False)
    assert done.returncode == 1
    assert b"cannot be run" in done.stderr
    assert [*first.iterdir(), *second.iterdir()] == []


def test_an_agent_that_ends_says_why(connections: Connections) -> None:
    with pytest.raises(AgentError) as raised:
        Agent(connections, "dom0", Program("echo no library >&2; exit 1"))
    assert raised.value.why == "no library"


def test_an_agent_that_hangs_is_not_waited_for(connections: Connections) -> None:
    agent = Agent(connections, "dom0", Program("echo ready; echo '== end'; exec sleep 60"))
    with pytest.raises(UnreachableError, match="did not answer within"):
        agent.ask("once", seconds=0.3)
    assert not agent.alive()


@pytest.mark.parametrize("most", [agents.MOST_ANSWERED, 1 << 16])
def test_an_agent_that_says_more_and_more_is_not_listened_to(
    most: int, connections: Connections, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agents, "MOST_ANSWERED", most)
    agent = Agent(connections, "dom0", Program("echo ready; echo '== end'; read -r line; exec yes"))
    with pytest.raises(AgentError, match="said more than is read of an answer") as raised:
        agent.ask("once", seconds=600)
    assert not agent.alive()
    assert raised.value.why.startswith("it had said ")
    assert "are read" in raised.value.why
    assert raised.value.remedy


def test_what_an_agent_said_last_has_a_bound(connections: Connections, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounded, "LAST_WORDS", 1000)
    monkeypatch.setattr(agents, "LAST_WORDS_SECONDS", 600.0)  # not the clock is to end it
    agent = Agent(connections, "dom0", Program("(setsid yes >&2 &); echo ready; echo '== end'; read -r line"))
    with pytest.raises(AgentError, match="the agent on dom0 ended"):
        agent.ask("once")


def test_an_agent_that_takes_nothing_in_is_not_waited_for(
    connections: Connections, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agents, "START_SECONDS", 0.3)
    with pytest.raises(UnreachableError, match="did not answer within"):
        Agent(connections, "dom0", Program("exec sleep 60", bytes(2**20)))


def test_an_agent_that_ends_while_it_is_sent_says_why(connections: Connections) -> None:
    with pytest.raises(AgentError) as raised:
        Agent(connections, "dom0", Program("echo disk full >&2; exit 1", bytes(2**20)))
    assert raised.value.why == "disk full"


@needs_compiler
@pytest.mark.usefixtures("sampler")
def test_an_agent_ends_with_its_input(connections: Connections) -> None:
    agent = Agent(connections, "guest1", linux_reader())
    process = agent._process
    assert process.stdin is not None
    process.stdin.close()
    assert process.wait(5) == 0
