"""Guests with Debian's own kernels under memory pressure for as long as is asked for:
test_stock_soak.py for so many minutes. `./inv tmem.soak-guests` calls it. And what is made of the
outputs of what works in such a guest.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from common.errors import LabError, UsageError
from lab import paths
from lab.kernels import KERNELS

TEST = "tests/lab/test_stock_soak.py"
MINUTES = 60.0
MOST_MINUTES = 7 * 24 * 60.0
STOCK = tuple(name for name, each in KERNELS.items() if not each.own_hooks)
"""Kernels that there is something to soak of."""

STRESSORS = ("vm", "vm-rw", "mmap", "iomix")
"""Of stress-ng: each compares what it reads with what it wrote."""


@dataclass(frozen=True)
class Soaked:
    """A guest that has come through. worked: stressor -> what it did, in its own operations;
    files: that exercise.c has changed and found right; swapped, hits: pages that Xen took of the
    guest's swapped ones, and returned of its clean ones.
    """

    kernel: str
    minutes: float
    worked: dict[str, int]
    files: int
    swapped: int
    hits: int


def stress_command(seconds: int, seed: int, folder: str) -> str:
    """Sh for a guest of 192 MiB: stress-ng, which wants a half more than there is."""
    sizes = {"vm": "144M", "vm-rw": "16M", "mmap": "32M", "iomix": "48M"}
    each = " ".join(f"--{name} 1 --{name}-bytes {sizes[name]}" for name in STRESSORS)
    return f"stress-ng {each} --mmap-file --verify --seed {seed} --timeout {seconds}s --metrics --temp-path {folder}"


def worked(code: int, said: str) -> dict[str, int]:
    """Stressor -> operations, of what stress-ng printed. LabError when it failed, or one of them
    did nothing.
    """
    counts = {name: int(number) for name, number in re.findall(r"metrc: \[\d+\] ([\w-]+) +(\d+) ", said)}
    idle = [name for name in STRESSORS if not counts.get(name)]
    if code or idle:
        wrong = [line for line in said.splitlines() if re.search(r"fail|error|warn", line)]
        raise LabError(
            f"stress-ng ended with {code}" if code else f"of stress-ng {', '.join(idle)} did nothing",
            where="the guest",
            why="\n".join((wrong or said.splitlines())[-20:]),
            remedy="The whole of it is printed by the test.",
        )
    return {name: counts[name] for name in STRESSORS}


def files_right(code: int, said: str, complaints: str) -> int:
    """How many files were right to the end, of what exercise.c printed again and again. LabError
    when one was not, or there was none.
    """
    found = [json.loads(line) for line in said.splitlines()]
    wrong = sum(each["wrong"] for each in found)
    if code or wrong or not found:
        lost = f"{wrong} bytes of files were not what they had to be"
        raise LabError(
            lost if wrong else f"files were not changed to the end (exit code {code})",
            where="the guest",
            why="\n".join(complaints.splitlines()[:20]),
        )
    return len(found)


def check(minutes: float, kernels: Sequence[str]) -> None:
    """UsageError for what cannot be soaked, before anything is built for it."""
    if unknown := [name for name in kernels if name not in STOCK]:
        raise UsageError(f"{unknown[0]!r} is no kernel of Debian's for guests", remedy=f"One of: {', '.join(STOCK)}.")
    if not 0 < minutes <= MOST_MINUTES:
        raise UsageError(f"{minutes:g} minutes cannot be soaked", remedy=f"More than 0, and {MOST_MINUTES:g} at most.")


def soak(minutes: float, kernels: Sequence[str], seed: int, inventory: Path) -> list[Soaked]:
    """Soak guests with these kernels, one after the other. UsageError as of check(). LabError when
    a test fails: pytest has said why.
    """
    check(minutes, kernels)
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        command = [sys.executable, "-m", "pytest", "-q", "-x", f"--junitxml={report}", TEST]
        command += ["-o", "junit_family=xunit1"]  # which knows properties of single tests
        environment = {
            **os.environ,
            "OVERCOMMIT_SOAK_MINUTES": f"{minutes:g}",
            "OVERCOMMIT_SOAK_KERNELS": ",".join(kernels),
            "OVERCOMMIT_SOAK_SEED": str(seed),
            "OVERCOMMIT_TEST_INVENTORY": str(inventory.absolute()),
        }
        code = subprocess.run(command, cwd=paths.REPO, env=environment, check=False).returncode
        found = passed(report) if report.exists() else []
    if code or [each.kernel for each in found] != list(kernels):
        raise LabError(
            f"the soak failed, or did not run ({len(found)} of {len(kernels)} guests came through; "
            f"pytest's exit code is {code})",
            where=str(inventory),
            why="pytest's messages are above",
            remedy=f"./inv tmem.soak-guests --minutes {minutes:g} --seed {seed} does the same again.",
        )
    return found


def passed(report: Path) -> list[Soaked]:
    """The guests that pytest's JUnit report tells of and that passed."""
    found = []
    for case in ElementTree.parse(report).iter("testcase"):
        told = {each.get("name"): each.get("value", "") for each in case.iter("property")}
        if "soaked" in told and case.find("failure") is None and case.find("error") is None:
            found.append(Soaked(**json.loads(told["soaked"])))
    return found
