"""Agents: one small program, the sampler (lab/remote/sampler), resident in dom0 and the guests,
each at the other end of one SSH session.

It is sent through the session that starts it, so nothing is installed and nothing can be out of
date, and it ends with the session, so a
killed controller leaves none behind. While something is measured, it keeps its readings in memory
and the session is silent.
"""

from __future__ import annotations

import gzip
import os
import select
import shlex
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import cast

from common import bounded
from common.errors import LabError
from common.machines import Process, tail
from lab.build import builder
from lab.remote import scripts
from lab.remote.ssh import DOM0, Connections, UnreachableError, abandon, kill_group

END = "== end"
START_SECONDS = 180.0
ANSWER_SECONDS = 180.0
"""Bounds for an answer. A second or two, but other programs may keep this machine's processors
busy.
"""
MOST_ANSWERED = bounded.MOST_SAID
"""Bytes of an answer; a manager's record of hours, or samples of a day, are a few MiB. What is read
here is kept, and made lines and numbers of, which take many times as much memory.
"""

LAST_WORDS_SECONDS = 5.0
"""For what an agent that has ended said last."""


@dataclass(frozen=True)
class Program:
    """What an agent runs: sh text for its machine, and what that reads from its standard input
    first.
    """

    command: str
    sent: bytes = b""


def hypervisor_reader() -> Program:
    """Reads counters of Xen, tmem and the guests' disks, in dom0. BuildError: not built."""
    return _sampler("xen")


def linux_reader(counters: Iterable[str] = ()) -> Program:
    """Reads these counters of Linux (group.counter, the keys of lab.counters.names), and its
    clock; in a guest or in dom0.
    """
    return _sampler("linux", *counters)


def reporter(node: str, alive_s: int, counters: Mapping[str, int]) -> Program:
    """Reports these counters of a guest to dom0, when one moved by so much, or after alive_s."""
    return _sampler("report", node, str(alive_s), *(f"{name}={move}" for name, move in counters.items()))


def _sampler(*arguments: str) -> Program:
    return sent(packed_sampler(), *arguments)


def sent(packed: bytes, *arguments: str, more: bytes = b"") -> Program:
    """A program that is sent, packed by gzip, with its arguments and what it reads first."""
    script = scripts.command("start-sampler.sh", len(packed), *arguments)
    return Program(f"exec sh -c {shlex.quote(script)}", packed + more)


@cache
def packed_sampler() -> bytes:
    """The sampler as it is sent. Read once, so that a campaign that runs for hours keeps to one
    version.
    """
    return gzip.compress(builder.artifact("sampler").outputs["sampler"].read_bytes(), mtime=0)


class AgentError(LabError):
    """An agent ended, with what it said last."""


class Agent:
    """One agent. It is ready when the constructor returns."""

    def __init__(self, connections: Connections, machine: str, program: Program) -> None:
        connections.open(machine)
        self.machine = machine
        self._process = subprocess.Popen(
            ["ssh", "-F", str(connections.config), machine, program.command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        connections.started(self._process)
        self._pending = bytearray()
        self._send(program.sent, START_SECONDS)
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

    def _send(self, data: bytes, seconds: float) -> None:
        """Write what may be more than a pipe holds, to a machine that may not read it."""
        assert self._process.stdin is not None
        descriptor = self._process.stdin.fileno()
        deadline = time.monotonic() + seconds
        os.set_blocking(descriptor, False)
        while data:
            _, writable, _ = select.select([], [descriptor], [], max(0.0, deadline - time.monotonic()))
            if not writable:
                raise self._silent(seconds)
            try:
                data = data[os.write(descriptor, data) :]
            except OSError:
                raise self._ended() from None
        os.set_blocking(descriptor, True)

    def _read(self, seconds: float) -> list[str]:
        assert self._process.stdout is not None
        end = f"{END}\n".encode()
        deadline = time.monotonic() + seconds
        descriptor = self._process.stdout.fileno()
        while not self._pending.endswith(end):
            left = deadline - time.monotonic()
            # A machine that goes on and on has not answered either.
            if len(self._pending) > MOST_ANSWERED:
                raise self._endless()
            if not (left > 0 and select.select([descriptor], [], [], left)[0]):
                raise self._silent(seconds)
            chunk = os.read(descriptor, 65536)
            if not chunk:
                raise self._ended()
            self._pending += chunk
        text, self._pending = self._pending[: -len(end)].decode(errors="replace"), bytearray()
        return text.splitlines()

    def _endless(self) -> LabError:
        self.close()
        return AgentError(
            f"the agent on {self.machine} said more than is read of an answer",
            where=self.machine,
            why=bounded.too_much(len(self._pending), MOST_ANSWERED),
            remedy="Sample less often, or for a shorter time; a guest that does so again is broken, or means harm.",
        )

    def _silent(self, seconds: float) -> LabError:
        self.close()
        return UnreachableError(
            f"the agent on {self.machine} did not answer within {seconds:.0f} s", where=self.machine
        )

    def _ended(self) -> LabError:
        assert self._process.stderr is not None
        kill_group(self._process)
        try:
            # The shared connection may have its pipes yet, and say more and more.
            _, err = bounded.communicate(
                cast("Process", self._process), seconds=LAST_WORDS_SECONDS, most=bounded.LAST_WORDS
            )
            said = tail(err.decode(errors="replace"))
        except (subprocess.TimeoutExpired, bounded.TooMuchError):
            said = ""
        return AgentError(f"the agent on {self.machine} ended", where=self.machine, why=said or "its connection broke")


class Agents:
    """The agents of dom0 and these guests, started at first use. Asking means all of them, at the
    same time.
    """

    def __init__(self, connections: Connections, counters: Iterable[str]) -> None:
        """Counters: what is read in the guests."""
        self._connections = connections
        self._counters = tuple(counters)
        self._agents: dict[str, Agent] = {}

    def start(self, guests: Sequence[str]) -> None:
        """Start those that do not run yet."""
        missing = [name for name in (DOM0, *guests) if name not in self._agents or not self._agents[name].alive()]
        if not missing:
            return
        programs = {DOM0: hypervisor_reader(), **dict.fromkeys(guests, linux_reader(self._counters))}
        started = self._connections.in_parallel(
            {name: partial(Agent, self._connections, name, programs[name]) for name in missing}
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
