"""What the daemon is told when it is started: one object of JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from policies import managers

from .xenstore import PLACES


@dataclass(frozen=True)
class Settings:
    """manager: its module's name; parameters: an instance of its Parameters. guests: name -> least
    and most memory, in bytes. patience: seconds that a guest gets to move before it does not
    follow, and memory to come free. stale: seconds after which a report is none any more.
    limit_at_maximum, sections: see actions.py. reader_bytes, reader_arguments: how much of standard
    input is the packed reader, and how it is started. store: where xenstore is looked for.
    """

    manager: str
    parameters: Any
    guests: Mapping[str, tuple[int, int]]
    patience: float
    stale: float
    limit_at_maximum: bool
    sections: bool
    reader_bytes: int
    reader_arguments: tuple[str, ...]
    store: tuple[str, ...]


def read(text: str) -> Settings:
    """The settings in a text. ValueError, KeyError, TypeError: it holds none."""
    given = json.loads(text)
    return Settings(
        manager=given["manager"],
        parameters=managers.parameters(given["manager"], given["parameters"]),
        guests={name: (int(least), int(most)) for name, (least, most) in given["guests"].items()},
        patience=float(given["patience"]),
        stale=float(given["stale"]),
        limit_at_maximum=bool(given["limit_at_maximum"]),
        sections=bool(given["sections"]),
        reader_bytes=int(given["reader_bytes"]),
        reader_arguments=tuple(given["reader_arguments"]),
        store=tuple(given.get("store", PLACES)),
    )
