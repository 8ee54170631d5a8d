"""The tmem ABI, asked from inside a guest: one test for each case of tmem/linux/test, which runs as
a kernel module and reports in KTAP.

Only a guest's kernel can issue the hypercall, knows machine frames, and can pass hostile ones; so
the checks are in C, and this module loads them once and tells their verdicts apart. A case that the
module has and did not report fails: the guest may have died on it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest

from lab.hosts.emulated import EmulatedHost
from lab.hosts.host import XenGuest
from lab.lifecycle import DEFAULT_GUESTS

pytestmark = pytest.mark.lab

SOURCES = Path(__file__).resolve().parents[2] / "tmem" / "linux" / "test"
RESULTS = "/sys/kernel/debug/tmem_test/results"
SECONDS = 600
"""Bound for the whole suite, in seconds; emulated, it takes a fraction of that."""

SPARE_MIB = 16
"""That each of the other guests gives up."""


@dataclass(frozen=True)
class Verdict:
    """What KTAP says of one case; reason is empty for one that passed."""

    outcome: Literal["passed", "failed", "skipped"]
    reason: str


def cases() -> list[str]:
    """The cases' names, in the order in which the module runs them."""
    groups = re.search(r"groups\[\] = \{([^}]*)\}", (SOURCES / "runner.c").read_text())
    assert groups is not None, "runner.c lists no groups of cases"
    sources = {path: path.read_text() for path in sorted(SOURCES.glob("*.c"))}
    found: list[str] = []
    for group in re.findall(r"\w+", groups[1]):
        table = next(
            match[1]
            for text in sources.values()
            if (
                match := re.search(
                    rf"^const struct test_case {group}\[\] = \{{(.*?)^\}};", text, re.MULTILINE | re.DOTALL
                )
            )
        )
        found += re.findall(r"\bCASE\((\w+)\)", table)
    return found


def parse_ktap(text: str) -> dict[str, Verdict]:
    """Verdicts by case. ValueError when the plan is missing or announces another number of
    cases.
    """
    plan = re.search(r"^1\.\.(\d+)$", text, re.MULTILINE)
    if plan is None:
        raise ValueError(f"no KTAP plan in:\n{text}")
    verdicts: dict[str, Verdict] = {}
    for failed, name, reason in re.findall(r"^(not )?ok \d+ (\w+)(?: # (.*))?$", text, re.MULTILINE):
        if failed:
            verdicts[name] = Verdict("failed", reason)
        elif reason.startswith("SKIP"):
            verdicts[name] = Verdict("skipped", reason.removeprefix("SKIP").strip())
        else:
            verdicts[name] = Verdict("passed", "")
    if len(verdicts) != int(plan[1]):
        raise ValueError(f"{plan[1]} cases were announced and {len(verdicts)} reported:\n{text}")
    return verdicts


@pytest.fixture(scope="module")
def verdicts(host: EmulatedHost, guest: XenGuest) -> Mapping[str, Verdict]:
    """The suite's verdicts from one run in a guest whose driver is not loaded."""
    # what the guest may have is to end before Xen's memory does, of which an assertion build takes
    # more
    others = [name for name in host.guests if name != guest.name]
    host.set_memory(dict.fromkeys(others, DEFAULT_GUESTS.memory_start_mib - SPARE_MIB), {})
    shell = guest.machine["sh"]
    script = f"modprobe tmem_test && cat {RESULTS}; status=$?; rmmod tmem_test; exit $status"
    return parse_ktap(shell("-c", script, timeout=SECONDS))


@pytest.mark.parametrize("case", cases())
def test_tmem_keeps_its_abi(case: str, verdicts: Mapping[str, Verdict]) -> None:
    verdict = verdicts.get(case)
    assert verdict is not None, "the module in the guest has no such case: is its artifact older than the source?"
    if verdict.outcome == "skipped":
        pytest.skip(verdict.reason)
    assert verdict.outcome == "passed", verdict.reason
