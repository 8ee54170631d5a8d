"""What all tests need: signals as a terminal has them, one process for all that use the lab, and
processor time for the lab before all others.
"""

from __future__ import annotations

import os
import re
import signal
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling
from xdist.workermanage import WorkerController

# Who starts the tests in the background may have them ignored, and every process below would
# inherit that: no Ctrl-C would arrive.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)

LAB = "lab"
AUTOGROUP = Path("/proc/self/autogroup")
"""Linux shares a processor between sessions first, so the emulated host, which has its own, would
gain nothing from a lower priority within another.
"""
LOWER = 10


class LabTogether(LoadScopeScheduling):
    """How pytest-xdist deals out the tests: those of the lab first and to one process, since there
    is one lab; the others by file to whoever has time, so that what a file's tests share is made
    once.
    """

    def _split_scope(self, nodeid: str) -> str:
        return LAB if nodeid.startswith("tests/lab/") else nodeid.partition("::")[0]

    def _assign_work_unit(self, node: WorkerController) -> None:
        if LAB in self.workqueue:
            self.workqueue.move_to_end(LAB, last=False)
        super()._assign_work_unit(node)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    return LabTogether(config, log)


class GivesWay:
    """In a process beside the lab's: its first test that needs no lab lowers its priority for good.
    The emulated host's time decides when the tests end, and much of what is asked of it waits.
    """

    def __init__(self) -> None:
        self.lowered = False

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        if not self.lowered and item.get_closest_marker(LAB) is None:
            self.lowered = True
            give_way()


def pytest_collection_finish(session: pytest.Session) -> None:
    beside_the_lab = "PYTEST_XDIST_WORKER" in os.environ and any(
        item.get_closest_marker(LAB) is not None for item in session.items
    )
    if beside_the_lab:
        session.config.pluginmanager.register(GivesWay())


def give_way() -> None:
    """Lower the priority of this process and of what it will start, whatever Linux goes by; one
    that is lower already stays so.

    In a session of its own a terminal's Ctrl-C does not reach it: pytest-xdist has it interrupted
    five seconds later.
    """
    found = re.search(r"nice (-?\d+)$", AUTOGROUP.read_text()) if AUTOGROUP.exists() else None
    with suppress(PermissionError):  # it leads its session already
        os.setsid()
    os.nice(LOWER)
    if found is not None:
        with suppress(OSError):
            AUTOGROUP.write_text(str(max(int(found[1]), LOWER)))
