"""A manager at work: its program in dom0, and a reporter in each guest, each at the other end of
an SSH session, as agents are (lab/remote/agents.py). They end with their sessions.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping
from functools import partial

from lab.api import Manager
from lab.remote.agents import Agent, Program, packed_sampler, reporter, sent
from lab.remote.ssh import DOM0, Connections

MIB = 2**20


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

        def start(name: str) -> None:
            self._agents[name] = Agent(connections, name, programs[name])

        try:
            connections.in_parallel({name: partial(start, name) for name in programs})
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
        finally:
            self.close()
        return [*lines, json.dumps({"reporters": {name: _cost(said[-1]) for name, said in sorted(costs.items())}})]

    def close(self) -> None:
        """End all, whatever it does."""
        for agent in self._agents.values():
            agent.close()

    def _ask(self, lines: Mapping[str, str]) -> dict[str, list[str]]:
        return self._connections.in_parallel(
            {name: partial(self._agents[name].ask, line) for name, line in lines.items()}
        )


def _cost(line: str) -> dict[str, float | int]:
    """Of `cost CPU_SECONDS WALL_SECONDS LOOKS REPORTS`."""
    _, cpu, wall, looks, reports = line.split()
    return {"cpu_seconds": float(cpu), "wall_seconds": float(wall), "looks": int(looks), "reports": int(reports)}
