"""What agents said, as files: kept unparsed when it is read, and read again by whoever wants to
check a campaign's figures. Needs no lab.

One file for each machine: `dom0` as JSON Lines, guests as text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from common import packed
from lab.api import Sample
from lab.counters import parse

SAMPLES, READING = ".samples", ""
"""What stands between a machine's name and the suffix of a file of many readings, and of one of a
single reading.
"""

Answers = Mapping[str, Sequence[str]]
"""Machine -> the lines of its agent."""


def keep(answers: Answers, raw_dir: Path, kind: str) -> None:
    """Write what agents said below raw_dir, made if missing."""
    raw_dir.mkdir(parents=True, exist_ok=True)
    for name, lines in answers.items():
        file(raw_dir, name, kind).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def read(raw_dir: Path, guests: Sequence[str], kind: str) -> Answers:
    """What `keep` wrote, also if it was packed since. FileNotFoundError names a file that is not
    there; ValueError: one cannot be read.
    """
    return {name: packed.text(file(raw_dir, name, kind)).splitlines() for name in (parse.DOM0, *guests)}


def one_reading(answers: Answers, guests: Sequence[str]) -> list[Sample]:
    """The samples of one reading of everything. LabError when an answer cannot be understood."""
    return _parsed(answers, guests)[0]


def many_readings(answers: Answers, guests: Sequence[str]) -> tuple[list[Sample], dict[str, float]]:
    """Samples by time, and source -> fraction of a CPU that sampling took, where that was said.
    LabError as above.
    """
    samples, cost = _parsed(answers, guests)
    return sorted(samples, key=lambda sample: sample.time), cost


def _parsed(answers: Answers, guests: Sequence[str]) -> tuple[list[Sample], dict[str, float]]:
    samples, spent = parse.parse_host(answers[parse.DOM0], guests)
    costs = {parse.DOM0: spent}
    for name, lines in answers.items():
        if name != parse.DOM0:
            found, costs[name] = parse.parse_guest(name, lines)
            samples += found
    return samples, {name: cost for name, cost in costs.items() if cost is not None}


def file(raw_dir: Path, name: str, kind: str) -> Path:
    """Where it is: of a published campaign it may be packed (common/packed.py)."""
    return raw_dir / f"{name}{kind}.{'jsonl' if name == parse.DOM0 else 'txt'}"
