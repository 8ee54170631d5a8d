"""The hostile guest for as long as is asked for: test_tmem_fuzz.py with another number of
operations, or another seed. `./inv tmem.fuzz` calls it.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from common.errors import LabError, UsageError
from lab import paths

TESTS = "tests/lab/test_tmem_fuzz.py"
FUZZES = f"{TESTS}::test_hostile_operations_harm_nobody"
LOG = f"{TESTS}::test_the_others_answer_and_xen_complained_of_nothing"
OPERATIONS = 2_000_000
LEAST = 20_000
"""Fewer than that do not come to every kind of operation, so the test refuses to say anything of
them.
"""
MOST = 2 * (2**32 - 1)
"""A parameter of the guest's module has 32 bits."""

RUNS = 2
"""Times that the test fuzzes: plain, and compressed with deduplication."""


@dataclass(frozen=True)
class Run:
    """One fuzz that passed. accounts: where the host's pages were before and after; they agree
    in sum (accounts.IN_PARTS), or the test had failed.
    """

    setting: str
    hypercalls: int
    accounts: str


def fuzz(operations: int, seed: int, inventory: Path) -> list[Run]:
    """Fuzz with so many operations in all. LabError when a test fails: pytest has said why."""
    if not LEAST <= operations <= MOST:
        raise UsageError(f"{operations} operations can't be made", remedy=f"Between {LEAST} and {MOST} can.")
    if not 0 <= seed < 2**32:
        raise UsageError(f"the seed {seed} is none", remedy="It has 32 bits.")
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        command = [sys.executable, "-m", "pytest", "-q", "-x", f"--junitxml={report}", FUZZES, LOG]
        command += ["-o", "junit_family=xunit1"]  # which knows properties of single tests
        environment = {
            **os.environ,
            "OVERCOMMIT_FUZZ_OPERATIONS": str(operations // RUNS),
            "OVERCOMMIT_FUZZ_SEED": str(seed),
            "OVERCOMMIT_TEST_INVENTORY": str(inventory.absolute()),
        }
        code = subprocess.run(command, cwd=paths.REPO, env=environment, check=False).returncode
        found = runs(report) if report.exists() else []
    if code or len(found) != RUNS:
        raise LabError(
            f"the fuzz failed, or did not run ({len(found)} of {RUNS} did; pytest's exit code is {code})",
            where=str(inventory),
            why="pytest's messages are above",
            remedy=(
                f"./inv tmem.fuzz --operations {operations} --seed {seed} "
                "makes the same operations again, though not the same races."
            ),
        )
    return found


def runs(report: Path) -> list[Run]:
    """The fuzzes that pytest's JUnit report tells of and that passed."""
    found = []
    for case in ElementTree.parse(report).iter("testcase"):
        told = {each.get("name"): each.get("value", "") for each in case.iter("property")}
        if "hypercalls" not in told or case.find("failure") is not None or case.find("error") is not None:
            continue
        setting = case.get("name", "").partition("[")[2].rstrip("]")
        found.append(Run(setting, int(told["hypercalls"]), told["accounts"]))
    return found
