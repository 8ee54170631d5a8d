"""A dom0 that is made up: Xen's memory, domains that follow their targets or do not, xenstore, and
an `xl` that tells them; with the real daemon in it.
"""

from __future__ import annotations

import json
import os
import select
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from fake_store import FakeStore

from policies import managers
from policies.daemon import main as daemon
from policies.daemon.reader import ReaderError
from policies.daemon.settings import Settings
from policies.daemon.tools import Library

MIB = 2**20
PAGES = 256
"""Of a MiB."""

XL = """\
#!/bin/sh
echo "$(basename "$0") $*" >> {log}
[ ! -e {folder}/broken ] || {{ cat {folder}/broken >&2; exit 1; }}
"""


@dataclass
class Domain:
    name: str
    mib: float
    follows: bool = True
    dying: bool = False
    target: float | None = None
    persistent: int = 0


@dataclass
class Dom0:
    """Domains by their numbers, and Xen's free memory in MiB."""

    folder: Path
    store: FakeStore
    monkeypatch: pytest.MonkeyPatch
    free: float = 16
    domains: dict[int, Domain] = field(default_factory=dict)
    tmem: Mapping[str, Any] | None = None
    freeable: int | None = None
    broken: bool = False
    readings: int = 0
    now: float = 1000.0
    cpu_seconds: float = 0.0
    library: Library | None = None
    _seen: int = 0

    def __post_init__(self) -> None:
        for tool in ("xl", "tmemctl", "xenstore-write"):
            path = self.folder / tool
            path.write_text(XL.format(log=self.folder / "log", folder=self.folder))
            path.chmod(0o700)
        self.monkeypatch.setenv("PATH", f"{self.folder}:{os.environ['PATH']}")

    # --- as the daemon's reader -------------------------------------------------------------------

    def read(self) -> Mapping[str, Any]:
        if self.broken:
            raise ReaderError("the reader ended")
        self.readings += 1
        self.settle()
        found = {
            "total": 512 * PAGES,
            "free": round(self.free * PAGES),
            "freeable": self.freeable,
            "sampler.cpu": 0,
            "domains": [
                {
                    "id": number,
                    "name": each.name,
                    "pages": round(each.mib * PAGES) + each.persistent,
                    "dying": each.dying,
                }
                for number, each in self.domains.items()
            ],
        }
        return found if self.tmem is None else {**found, "tmem": self.tmem}

    def close(self) -> None:
        pass

    # --- as Xen and its tools ---------------------------------------------------------------------

    def said(self) -> list[str]:
        """The commands that were run so far."""
        log = self.folder / "log"
        return log.read_text().splitlines() if log.exists() else []

    def settle(self) -> None:
        """Commands take effect, and domains that follow go where they were told."""
        commands = self.said()
        for command in commands[self._seen :]:
            words = command.split()
            if (self.folder / "broken").exists():
                break
            if words[0] == "xenstore-write" and words[1].endswith("/memory/sections"):
                self.domains[int(words[1].split("/")[3])].target = int(words[2]) / 1024
                continue
            number = int(words[1].split("/")[3] if words[0] == "xenstore-write" else words[2])
            if words[0] not in ("xl", "xenstore-write") or number not in self.domains:
                continue
            if words[1] != "mem-max":
                self.domains[number].target = int(words[-1].removesuffix("k")) / 1024
        self._seen = len(commands)
        for each in self.domains.values():
            if each.target is not None and each.follows:
                grown = min(each.target - each.mib, self.free)
                self.free -= grown
                each.mib += grown

    def report(self, number: int, **mib: float) -> None:
        """A guest reports meminfo; used: instead, so much in use and no cache."""
        each = self.domains[number]
        if "used" in mib:
            used = mib.pop("used")
            swapped = max(used - each.mib, 0)
            mib |= {"MemTotal": each.mib, "MemFree": each.mib - used + swapped, "Buffers": 0, "Cached": 0}
            mib |= {"SwapTotal": 256, "SwapFree": 256 - swapped}
        text = " ".join(f"meminfo.{name}={round(value * 1024)}" for name, value in mib.items())
        self.write(number, text.encode())

    def write(self, number: int, content: bytes, times: int = 1) -> None:
        self.store.write(f"/local/domain/{number}/data/overcommit/report", content, times)

    # --- the daemon -------------------------------------------------------------------------------

    def daemon(self, manager: str, bounds: tuple[int, int] = (48, 256), **given: Any) -> daemon.Daemon:
        """A daemon for the domains that there are, and for guest9."""
        names = [*(each.name for each in self.domains.values()), "guest9"]
        settings = Settings(
            manager=manager,
            parameters=managers.parameters(manager, given.pop("parameters", {})),
            guests=dict.fromkeys(names, (bounds[0] * MIB, bounds[1] * MIB)),
            patience=given.pop("patience", 5.0),
            stale=60.0,
            limit_at_maximum=given.pop("limit_at_maximum", False),
            sections=given.pop("sections", False),
            reader_bytes=0,
            reader_arguments=(),
            store=(str(self.store.path),),
        )
        assert not given
        made = daemon.Daemon(settings, self, library=self.library, clock=lambda: self.now)  # type: ignore[arg-type]
        made._connect()
        made._look()
        made.obey("start")
        return made

    def run(self, made: daemon.Daemon, seconds: float) -> None:
        """Let so much of its time go by, in small steps; tools take real time."""
        until = self.now + seconds
        while self.now < until:
            self.turn(made)
            self.now += 0.1

    def turn(self, made: daemon.Daemon) -> None:
        """All that it does at a moment."""
        made.turn()
        deadline = time.monotonic() + 30
        while (tool := made._actions.fileno()) is not None:
            assert time.monotonic() < deadline
            select.select([tool], [], [], 1)
            made.turn()
        self.settle()


def records(made: daemon.Daemon) -> list[dict[str, Any]]:
    """What it wrote: stops it."""
    return [json.loads(line) for line in made.obey("stop")]
