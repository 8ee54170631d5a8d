"""An observation: counters sampled on a host and in its guests while something runs, with no traffic from the controller meanwhile.

What sampling cost is the processor time of the agents (lab/agents.py) over the time they sampled: the fraction of one CPU of their machine.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from common.errors import LabError
from lab import counters
from lab.agents import Agents
from lab.api import Sample
from lab.machines import DOM0


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
        keep(answers, raw_dir, SAMPLES)
        samples, self._cost = _parsed(answers, self._guests)
        return sorted(samples, key=lambda sample: sample.time)

    @property
    def cost(self) -> Mapping[str, float]:
        """Source -> fraction of one of its CPUs. Empty before stop()."""
        return dict(self._cost)


def read_once(agents: Agents, guests: Sequence[str], raw_dir: Path | None = None) -> list[Sample]:
    """One reading of everything. raw_dir: where to keep what the agents said, unparsed."""
    agents.start(guests)
    answers = agents.ask(dict.fromkeys([DOM0, *guests], "once"))
    if raw_dir is not None:
        keep(answers, raw_dir, READING)
    return _parsed(answers, guests)[0]


SAMPLES, READING = ".samples", ""
"""What stands between a source's name and the suffix of a file of many readings, and of one of a single reading."""


def keep(answers: Mapping[str, Sequence[str]], raw_dir: Path, kind: str) -> None:
    """Write what agents said: one file for each, `dom0` as JSON Lines, guests as text."""
    raw_dir.mkdir(parents=True, exist_ok=True)
    for name, lines in answers.items():
        _kept(raw_dir, name, kind).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def read_kept(raw_dir: Path, guests: Sequence[str], kind: str) -> tuple[list[Sample], dict[str, float]]:
    """The samples, and the cost, of what `keep` wrote. FileNotFoundError names a file that is not there; LabError when it cannot be understood."""
    answers = {name: _kept(raw_dir, name, kind).read_text(encoding="utf-8").splitlines() for name in (DOM0, *guests)}
    samples, cost = _parsed(answers, guests)
    return (samples if kind == READING else sorted(samples, key=lambda sample: sample.time)), cost


def _kept(raw_dir: Path, name: str, kind: str) -> Path:
    return raw_dir / f"{name}{kind}.{'jsonl' if name == DOM0 else 'txt'}"


def _parsed(answers: Mapping[str, Sequence[str]], guests: Sequence[str]) -> tuple[list[Sample], dict[str, float]]:
    """Samples, and source -> fraction of a CPU that sampling took, where that was said."""
    samples, spent = counters.parse_host(answers[DOM0], guests)
    costs = {DOM0: spent}
    for name, lines in answers.items():
        if name != DOM0:
            found, costs[name] = counters.parse_guest(name, lines)
            samples += found
    return samples, {name: cost for name, cost in costs.items() if cost is not None}
