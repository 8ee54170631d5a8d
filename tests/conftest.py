"""What all tests need: signals as a terminal has them, and one process for all that use the lab."""

from __future__ import annotations

import signal
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

# Who starts the tests in the background may have them ignored, and every process below would
# inherit that: no Ctrl-C would arrive.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)


class LabTogether(LoadScopeScheduling):
    """How pytest-xdist deals out the tests: those of the lab to one process, since there is one
    lab; the others to whoever has time.
    """

    def _split_scope(self, nodeid: str) -> str:
        return "lab" if nodeid.startswith("tests/lab/") else nodeid


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    return LabTogether(config, log)
