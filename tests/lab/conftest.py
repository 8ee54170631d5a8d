"""The emulated lab for all lab tests: opened once, brought back to its known state for every
module.

Environment: OVERCOMMIT_TEST_INVENTORY names another inventory. The lab's artifacts have to be built
(`./inv test` sees to it).
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab import lifecycle
from lab.hosts.emulated import EmulatedHost
from lab.hosts.host import XenGuest
from lab.lifecycle import DEFAULT_GUESTS, DEFAULT_HOST, OpenLab


@pytest.fixture(scope="session")
def inventory_path() -> Path:
    return Path(os.environ.get("OVERCOMMIT_TEST_INVENTORY", lifecycle.DEFAULT_INVENTORY))


@pytest.fixture(scope="session")
def lab(request: pytest.FixtureRequest, inventory_path: Path) -> Iterator[OpenLab]:
    """The lab, ours for the whole session. Its progress goes to the terminal, since the first
    start takes minutes.
    """
    began = time.monotonic()
    capture = request.config.pluginmanager.getplugin("capturemanager")

    def tell(text: str) -> None:
        with capture.global_and_fixture_disabled():
            print(f"\n[lab {time.monotonic() - began:5.0f} s] {text} ", end="", file=sys.stderr, flush=True)

    with lifecycle.open_lab(inventory_path, progress=tell, wait=True) as opened:
        yield opened


@pytest.fixture(scope="module")
def host(lab: OpenLab) -> EmulatedHost:
    """The first host in its known state: three idle guests of lab.up's sizing, no driver
    loaded.
    """
    found = lab.hosts[0]
    assert isinstance(found, EmulatedHost), "the lab tests kill and restart QEMU: they need an emulated host"
    found.reset(DEFAULT_HOST, DEFAULT_GUESTS)
    return found


@pytest.fixture(scope="module")
def guest(host: EmulatedHost) -> XenGuest:
    """The first guest of `host`."""
    return host.guests["guest1"]
