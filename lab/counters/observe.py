"""An observation: counters sampled on a host and in its guests while something runs, with no
traffic from the controller meanwhile.

What sampling cost is the processor time of the agents (lab/remote/agents.py) over the time they
sampled: the fraction of one CPU of their machine.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from common.errors import LabError
from lab.api import Sample
from lab.counters import kept, parse
from lab.remote.agents import Agents
from lab.remote.ssh import DOM0


class HostObservation:
    """Sampling on one host and these guests every interval_s seconds. A host has one observation at
    a time.
    """

    def __init__(self, agents: Agents, guests: Sequence[str], interval_s: float) -> None:
        if interval_s <= 0:
            raise LabError("the sampling interval has to be more than 0 s", where=f"observe({interval_s})")
        self._agents = agents
        self._guests = list(guests)
        self._interval = interval_s
        self._cost: dict[str, float] = {}

    def start(self) -> None:
        """Start sampling. The first reading has been taken when this returns."""
        self._agents.start(self._guests)
        self._agents.ask(dict.fromkeys([DOM0, *self._guests], f"start {self._interval:g}"))

    def last(self) -> list[Sample]:
        """The newest reading that dom0's agent has kept, without taking one."""
        return parse.parse_host(self._agents.ask({DOM0: "last"})[DOM0], self._guests)[0]

    def stop(self, raw_dir: Path) -> list[Sample]:
        """Stop sampling, keep what the agents wrote below raw_dir, and return the readings in the
        order of time.
        """
        answers = self._agents.ask(dict.fromkeys([DOM0, *self._guests], "stop"))
        kept.keep(answers, raw_dir, kept.SAMPLES)
        samples, self._cost = kept.many_readings(answers, self._guests)
        return samples

    @property
    def cost(self) -> Mapping[str, float]:
        """Source -> fraction of one of its CPUs. Empty before stop()."""
        return dict(self._cost)


def read_once(agents: Agents, guests: Sequence[str], raw_dir: Path | None = None) -> list[Sample]:
    """One reading of everything. raw_dir: where to keep what the agents said, unparsed."""
    agents.start(guests)
    answers = agents.ask(dict.fromkeys([DOM0, *guests], "once"))
    if raw_dir is not None:
        kept.keep(answers, raw_dir, kept.READING)
    return kept.one_reading(answers, guests)
