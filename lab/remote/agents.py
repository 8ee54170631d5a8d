"""Agents: small resident programs in dom0 and the guests that read counters there, each at the
other end of one SSH session.

They are sent with the command that starts them, so nothing is installed and nothing can be out of
date, and they end with the session, so a killed controller leaves none behind. While something is
measured, they keep their readings in memory and the session is silent.
"""

from __future__ import annotations

import os
import select
import shlex
import subprocess
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from common.errors import LabError
from lab.counters import parse
from lab.remote.ssh import DOM0, Connections, UnreachableError, abandon, kill_group

END = "== end"
START_SECONDS = 180.0
ANSWER_SECONDS = 180.0
"""Bounds for an answer. A second or two, but other programs may keep this machine's processors
busy.
"""

LAST_WORDS_SECONDS = 5.0
"""For what an agent that has ended said last."""

_REMOTE = Path(__file__).parent


# Read here, so that a campaign that runs for hours keeps to one version.
DOM0_COMMAND = f"exec python3 -S -E -c {shlex.quote((_REMOTE / 'dom0.py').read_text())}"
LINUX_COMMAND = f"exec perl -e {shlex.quote((_REMOTE / 'linux.pl').read_text())} {' '.join(parse.GUEST_COUNTERS)}"
"""Starts the agent that reads Linux's counters and clock, in a guest or in dom0."""


class AgentError(LabError):
    """An agent ended, with what it said last."""


class Agent:
    """One agent. It is ready when the constructor returns."""

    def __init__(self, connections: Connections, machine: str, command: str) -> None:
        connections.open(machine)
        self.machine = machine
        self._process = subprocess.Popen(
            ["ssh", "-F", str(connections.config), machine, command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        connections.started(self._process)
        self._pending = b""
        self._read(START_SECONDS)

    def ask(self, line: str, seconds: float = ANSWER_SECONDS) -> list[str]:
        """The lines of the answer. AgentError when the agent has ended, UnreachableError when it
        does not answer in time.
        """
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(line.encode() + b"\n")
            self._process.stdin.flush()
        except OSError:
            raise self._ended() from None
        return self._read(seconds)

    def alive(self) -> bool:
        return self._process.poll() is None

    def close(self) -> None:
        abandon(self._process)

    def _read(self, seconds: float) -> list[str]:
        assert self._process.stdout is not None
        end = f"{END}\n".encode()
        deadline = time.monotonic() + seconds
        descriptor = self._process.stdout.fileno()
        while not self._pending.endswith(end):
            readable, _, _ = select.select([descriptor], [], [], max(0.0, deadline - time.monotonic()))
            if not readable:
                self.close()
                raise UnreachableError(
                    f"the agent on {self.machine} did not answer within {seconds:.0f} s", where=self.machine
                )
            chunk = os.read(descriptor, 65536)
            if not chunk:
                raise self._ended()
            self._pending += chunk
        text, self._pending = self._pending[: -len(end)].decode(errors="replace"), b""
        return text.splitlines()

    def _ended(self) -> LabError:
        assert self._process.stderr is not None
        kill_group(self._process)
        try:
            said = self._process.communicate(timeout=LAST_WORDS_SECONDS)[1].decode(errors="replace").strip()
        except subprocess.TimeoutExpired:
            said = ""
        return AgentError(f"the agent on {self.machine} ended", where=self.machine, why=said or "its connection broke")


class Agents:
    """The agents of dom0 and these guests, started at first use. Asking means all of them, at the
    same time.
    """

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._agents: dict[str, Agent] = {}

    def start(self, guests: Sequence[str]) -> None:
        """Start those that do not run yet."""
        commands = {DOM0: DOM0_COMMAND}
        commands |= dict.fromkeys(guests, LINUX_COMMAND)
        missing = [name for name in commands if name not in self._agents or not self._agents[name].alive()]
        started = self._connections.in_parallel(
            {name: partial(Agent, self._connections, name, commands[name]) for name in missing}
        )
        self._agents.update(started)

    def ask(self, lines: Mapping[str, str]) -> dict[str, list[str]]:
        """Machine -> answer to its line. The first error is raised when all have answered or
        failed.
        """
        return self._connections.in_parallel(
            {name: partial(self._agents[name].ask, line) for name, line in lines.items()}
        )

    def close(self) -> None:
        for agent in self._agents.values():
            agent.close()
        self._agents = {}
