"""A manager at work: its program in dom0, and a reporter in each guest, each at the other end of
an SSH session, as agents are (lab/remote/agents.py). They end with their sessions. Where guests
give memory by hot-plug, each has a second program that does it (sections.sh).
"""

from __future__ import annotations

import gzip
import json
import shlex
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TypeVar

from common.errors import LabError
from lab.api import Manager
from lab.counters.parse import finite
from lab.remote import scripts
from lab.remote.agents import Agent, Program, packed_sampler, reporter, sent
from lab.remote.ssh import DOM0, Connections

MIB = 2**20
SECTION_SECONDS = 20
"""So long a guest tries to empty a section. A real one takes a fraction of a second."""
KERNEL_KIB = 64 * 1024
"""So much of a guest's memory stays its kernel's own, where memory comes and goes in sections."""


def program(manager: Manager) -> Program:
    """The manager's program, with its settings, and with the sampler for its reader."""
    reader = packed_sampler()
    settings = {
        **manager.settings,
        "guests": {name: [least * MIB, most * MIB] for name, (least, most) in manager.bounds_mib.items()},
        "reader_bytes": len(reader),
        "reader_arguments": ["memory", *(["tmem"] if manager.tmem else [])],
    }
    return sent(gzip.compress(manager.program, mtime=0), json.dumps(settings), more=reader)


T = TypeVar("T")


class Managed:
    """A manager that is ready, with the guests that report to it."""

    def __init__(self, connections: Connections, manager: Manager) -> None:
        self.name = manager.name
        self._connections = connections
        self._look_s = manager.look_s
        programs = {DOM0: program(manager)}
        if manager.counters:
            reports = reporter(manager.node, manager.alive_s, manager.counters)
            programs |= dict.fromkeys(manager.bounds_mib, reports)
        self._agents: dict[str, Agent] = {}
        self._sections: dict[str, Agent] = {}

        def start(name: str) -> None:
            if manager.sections and name != DOM0:
                self._sections[name] = Agent(connections, name, sections())
            if name in programs:
                self._agents[name] = Agent(connections, name, programs[name])

        try:
            # a guest's sections are as they should be before anybody looks at its memory
            connections.in_parallel({name: partial(start, name) for name in manager.bounds_mib})
            start(DOM0)
            # what is said before the release is what is known at the release
            self._ask(dict.fromkeys(self._reporters, f"start {self._look_s:g}"))
        except BaseException:
            self.close()
            raise

    @property
    def _reporters(self) -> list[str]:
        return [name for name in self._agents if name != DOM0]

    def release(self) -> None:
        """Have it decide from now on."""
        self._agents[DOM0].ask("start")

    def stop(self) -> list[str]:
        """End all, and return what the manager did, with what reporting cost as the last line."""
        try:
            lines = self._agents[DOM0].ask("stop")
            costs = self._ask(dict.fromkeys(self._reporters, "stop"))
            given = {name: self._sections[name].ask("stop") for name in sorted(self._sections)}
            moved = {name: self._told(name, _moved, said) for name, said in given.items()}
        finally:
            self.close()
        lines = [*lines, json.dumps({"sections": moved})] if moved else [*lines]
        told = {name: self._told(name, _cost, said) for name, said in sorted(costs.items())}
        return [*lines, json.dumps({"reporters": told})]

    @staticmethod
    def _told(name: str, parse: Callable[[str], T], said: Sequence[str]) -> T:
        """What a guest's agent said last. A guest may say anything."""
        try:
            return parse(said[-1])
        except (IndexError, ValueError):
            raise LabError(
                f"{name}'s agent did not say at its end what it should", where=name, why="\n".join(said)[-200:]
            ) from None

    def close(self) -> None:
        """End all, whatever it does."""
        for agent in (*self._agents.values(), *self._sections.values()):
            agent.close()

    def _ask(self, lines: Mapping[str, str]) -> dict[str, list[str]]:
        return self._connections.in_parallel(
            {name: partial(self._agents[name].ask, line) for name, line in lines.items()}
        )


def sections() -> Program:
    """Gives and takes sections of a guest's memory, as dom0 says."""
    script = scripts.command("sections.sh", SECTION_SECONDS, KERNEL_KIB)
    return Program(f"exec sh -c {shlex.quote(script)}")


def _moved(line: str) -> dict[str, int]:
    """Of `sections NAME=NUMBER...`."""
    return {name: int(number) for name, _, number in (word.partition("=") for word in line.split()[1:])}


def _cost(line: str) -> dict[str, float | int]:
    """Of `cost CPU_SECONDS WALL_SECONDS LOOKS REPORTS`."""
    _, cpu, wall, looks, reports = line.split()
    return {"cpu_seconds": finite(cpu), "wall_seconds": finite(wall), "looks": int(looks), "reports": int(reports)}
