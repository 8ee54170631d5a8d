"""Counters: what the agents print, as Samples with the names and units of lab/counters/names.py.
Nothing here talks to a machine.

Sources: "hypervisor", "dom0", and each guest by its name. A counter that could not be read is a
Sample with value None, so that it is seen to be missing. Where tmem answers and does not know a
guest, the guest has used none of it: those counters are 0, because that is what they are.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from common.errors import LabError
from lab.api import Sample
from lab.counters import names
from lab.counters.names import Counter

HYPERVISOR = "hypervisor"
DOM0 = "dom0"


def parse_reading(reading: Mapping[str, Any], guests: Iterable[str]) -> list[Sample]:
    """Samples of one reading of the sampler in dom0. `guests` are those that there should be: one
    that is missing has None.
    """
    time = float(reading["time"])
    found = [_sample(time, HYPERVISOR, names.FREE_MEMORY, reading["free"])]
    domains = {domain["name"]: domain for domain in reading["domains"]}
    dom0 = next((domain for domain in reading["domains"] if domain["id"] == 0), None)
    found += _domain(time, DOM0, dom0)
    if names.SAMPLER_CPU in reading:
        found.append(_sample(time, DOM0, names.SAMPLING, reading[names.SAMPLER_CPU]))
    tmem: Mapping[str, Any] | None = reading.get("tmem")
    found += _tmem_global(time, tmem)
    clients = {client["CI"]: client for client in tmem["clients"]} if tmem else {}
    for name in guests:
        domain = domains.get(name)
        found += _domain(time, name, domain)
        found += _vbds(time, name, reading["vbd"].get(str(domain["id"])) if domain else None)
        found += _tmem_client(time, name, clients.get(domain["id"], {}) if tmem and domain else None)
    return found


def _sample(time: float, source: str, counter: Counter, told: float | None) -> Sample:
    return Sample(time, source, counter.name, counter.unit, counter.value(told))


def _domain(time: float, source: str, domain: Mapping[str, Any] | None) -> Iterator[Sample]:
    for key, counter in names.DOMAIN.items():
        yield _sample(time, source, counter, domain[key] if domain else None)


def _vbds(time: float, source: str, devices: Mapping[str, Mapping[str, int]] | None) -> Iterator[Sample]:
    for tag, counter in names.DISKS.items():
        values = [device.get(tag) for device in (devices or {}).values()]
        yield _sample(time, source, counter, _whole(values) if values else None)
        for number, device in sorted((devices or {}).items()):
            yield _sample(time, source, names.disk(int(number), tag), device.get(tag))


def _whole(values: Sequence[int | None]) -> int | None:
    """The sum; None when any is missing."""
    known = [value for value in values if value is not None]
    return sum(known) if len(known) == len(values) else None


def _tmem_global(time: float, tmem: Mapping[str, Any] | None) -> Iterator[Sample]:
    figures: Mapping[str, int] = tmem["global"] if tmem else {}
    for tag, counter in names.TMEM.items():
        yield _sample(time, HYPERVISOR, counter, figures.get(tag))
    pages = None
    if tmem:
        pools = [pool for client in tmem["clients"] for pool in client.get("pools", [])]
        pages = sum(pool["Pc"] for pool in pools if pool["PT"].startswith("P"))
    yield _sample(time, HYPERVISOR, names.PERSISTENT_PAGES, pages)


def _tmem_client(time: float, source: str, client: Mapping[str, Any] | None) -> Iterator[Sample]:
    """Client None: tmem could not be read. client {}: it does not know the guest, which has used
    none of it.
    """
    absent = None if client is None else 0
    client = client or {}
    yield _sample(time, source, names.CYCLES, client.get("Tc", absent))
    for letter, kind in names.KINDS.items():
        pools = [pool for pool in client.get("pools", []) if pool["PT"].startswith(letter)]
        for tag, counter in names.POOLS[kind].items():
            yield _sample(time, source, counter, _whole([pool.get(tag) for pool in pools]) if pools else absent)


def parse_host(lines: Iterable[str], guests: Iterable[str]) -> tuple[list[Sample], float | None]:
    """Samples of the readings of the sampler in dom0, and the fraction of a CPU that they cost
    (None where it does not say).
    """
    expected = list(guests)
    found: list[Sample] = []
    cost = None
    for line in lines:
        data = _json(line)
        if "cost" in data:
            cost = _share(data["cost"]["cpu_seconds"], data["cost"]["wall_seconds"])
        else:
            found += parse_reading(data, expected)
    return found, cost


def _json(line: str) -> dict[str, Any]:
    try:
        data = json.loads(line)
    except ValueError:
        data = None
    if not isinstance(data, dict):
        raise LabError("a reading of dom0's agent cannot be understood", where="dom0", why=line[:200])
    return data


def parse_guest(source: str, lines: Iterable[str]) -> tuple[list[Sample], float | None]:
    """Samples of the readings of the sampler in a guest, and the fraction of a CPU that they cost
    (None where it does not say).

    Every counter of names.LINUX is there in every reading; one that the guest's kernel does not
    have is None. Those of names.IN_MEMORY are there where they were told.
    """
    found: list[Sample] = []
    cost = None
    for line in lines:
        words = line.split()
        try:
            if words[0] == "cost":
                cost = _share(finite(words[1]), finite(words[2]))
                continue
            time = finite(words[0])
            values = {word: _count(value) for word, _, value in (each.partition("=") for each in words[1:])}
        except (ValueError, IndexError):
            raise LabError("a reading of a guest's agent cannot be understood", where=source, why=line[:200]) from None
        found += [_sample(time, source, counter, values.get(word)) for word, counter in names.LINUX.items()]
        found += [
            _sample(time, source, counter, values[word]) for word, counter in names.IN_MEMORY.items() if word in values
        ]
        if names.SAMPLER_CPU in values:
            found.append(_sample(time, source, names.SAMPLING, values[names.SAMPLER_CPU]))
    return found, cost


def finite(word: str) -> float:
    """A number that a guest says. ValueError for one that is none, or no figure: `nan` passes every
    comparison, and no file of ours can hold it.
    """
    value = float(word)
    if not math.isfinite(value):
        raise ValueError(word)
    return value


_MOST = 2**64
"""No kernel's counter is as large."""


def _count(word: str) -> int:
    value = int(word) if len(word) <= len(str(_MOST)) else _MOST
    if not 0 <= value < _MOST:
        raise ValueError(word)
    return value


def _share(cpu_seconds: float, wall_seconds: float) -> float | None:
    return cpu_seconds / wall_seconds if wall_seconds > 0 else None
