"""An observation: counters sampled on a host and in its guests while something runs, with no traffic from the controller meanwhile.

What sampling cost is the processor time of the agents (lab/remote/agents.py) over the time they sampled: the fraction of one CPU of their machine.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from common.errors import LabError
from lab.api import Sample
from lab.counters import parse
from lab.remote.agents import Agents
from lab.remote.ssh import DOM0


class HostObservation:
    """Sampling on one host and these guests every interval_s seconds. A host has one observation at a time."""

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

    def stop(self, raw_dir: Path) -> list[Sample]:
        """Stop sampling, keep what the agents wrote below raw_dir, and return the readings in the order of time."""
        answers = self._agents.ask(dict.fromkeys([DOM0, *self._guests], "stop"))
        raw_dir.mkdir(parents=True, exist_ok=True)
        for name, lines in answers.items():
            suffix = "jsonl" if name == DOM0 else "txt"
            (raw_dir / f"{name}.samples.{suffix}").write_text("".join(f"{line}\n" for line in lines))
        samples, spent = parse.parse_host(answers.pop(DOM0), self._guests)
        costs = {DOM0: spent}
        for name, lines in answers.items():
            found, costs[name] = parse.parse_guest(name, lines)
            samples += found
        self._cost = {name: cost for name, cost in costs.items() if cost is not None}
        return sorted(samples, key=lambda sample: sample.time)

    @property
    def cost(self) -> Mapping[str, float]:
        """Source -> fraction of one of its CPUs. Empty before stop()."""
        return dict(self._cost)


def read_once(agents: Agents, guests: Sequence[str]) -> list[Sample]:
    """One reading of everything."""
    agents.start(guests)
    answers = agents.ask(dict.fromkeys([DOM0, *guests], "once"))
    samples, _ = parse.parse_host(answers.pop(DOM0), guests)
    for name, lines in answers.items():
        samples += parse.parse_guest(name, lines)[0]
    return samples
