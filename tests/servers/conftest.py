"""The pair of servers, for all tests that use it."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import pytest
from pair import Pair, Told


@pytest.fixture(scope="session")
def tell(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Progress goes to the terminal: states take minutes to make."""
    began = time.monotonic()
    capture = request.config.pluginmanager.getplugin("capturemanager")

    def say(text: str) -> None:
        with capture.global_and_fixture_disabled():
            print(f"\n[servers {time.monotonic() - began:5.0f} s] {text} ", end="", file=sys.stderr, flush=True)

    return say


@pytest.fixture(scope="session")
def pair(tmp_path_factory: pytest.TempPathFactory, tell: Callable[[str], None]) -> Pair:
    return Pair(tmp_path_factory.mktemp("labs"), tell)


@pytest.fixture
def told(tell: Callable[[str], None]) -> Told:
    return Told(tell)
