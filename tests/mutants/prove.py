"""Shows that every mechanism of tmem has a lab test that fails without it.

mutants.yml names changes of the source, each of which takes a mechanism away, and the tests that
have to fail then. All changes go into one copy of the checkout, each behind a number that is chosen
at run time; so one build and one first boot serve them all. First the tests have to pass in the
copy with no mutant chosen, then those of each mutant have to fail, every one of them.

Usage: python -m tests.mutants.prove [PATTERN]: all mutants, or those whose "mechanism: name" a
regular expression matches somewhere. Exit code 1: some were not noticed.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import yaml

from common.errors import InvalidFileError, LabError, UsageError, UserError
from common.units import format_duration
from lab import paths

ROOT = paths.REPO
MUTANTS = Path(__file__).with_name("mutants.yml")
LEFT_OUT = (".git", ".venv", "results", "__pycache__", ".*_cache", ".hypothesis")
SECONDS = 1500
"""Bound for the tests of one mutant: what it breaks, tests may wait for."""

NUMBER = "OVERCOMMIT_MUTANT"
"""Environment variable: the number of the mutant that is chosen; 0 for none."""

KINDS = {"failure": "failed", "error": "error", "skipped": "skipped"}
"""Elements of a test case in pytest's JUnit report, the gravest first; error: what the test
stands on failed.
"""

SWITCHES = {
    "tmem/xen/files/common/tmem/types.h": ('#include "compat.h"\n', "\nextern unsigned int tmem_mutant;\n"),
    "tmem/xen/files/common/tmem/control.c": (
        '#include "private.h"\n',
        '\n#include <xen/param.h>\n\nunsigned int tmem_mutant;\ninteger_runtime_param("tmem_mutant", tmem_mutant);\n',
    ),
    "tmem/linux/tmem.h": ("struct page;\n", "\nextern unsigned int tmem_mutant;\n"),
    "tmem/linux/main.c": (
        '#include "tmem.h"\n',
        "\nunsigned int tmem_mutant;\nmodule_param_named(mutant, tmem_mutant, uint, 0);\n",
    ),
}
"""Where the number is kept: file -> (line, what follows it in the copy)."""

CHOOSE = f'''

def _choose_after_reset() -> None:
    reset, number = EmulatedHost.reset, os.environ["{NUMBER}"]

    def reset_and_choose(self: EmulatedHost, *sizing: object) -> None:
        reset(self, *sizing)
        self.run("dom0", f"xenhypfs write /params/tmem_mutant {{number}}")
        for name in self.guests:
            options = f"options tmem mutant={{number}}"
            self.run(name, f"mkdir -p /etc/modprobe.d && echo {{options}} > /etc/modprobe.d/mutant.conf")

    EmulatedHost.reset = reset_and_choose


_choose_after_reset()
'''
"""What tests/lab/conftest.py has at its end in the copy."""


@dataclass(frozen=True)
class Mutant:
    """One change of the source. edits: (file, text that is there once, what takes its place);
    tests: ids below tests/lab.
    """

    number: int
    name: str
    mechanism: str
    edits: tuple[tuple[str, str, str], ...]
    tests: tuple[str, ...]


def load(path: Path = MUTANTS) -> list[Mutant]:
    """The mutants, numbered from 1."""
    found = []
    for number, entry in enumerate(yaml.safe_load(path.read_text()), start=1):
        edits = [
            (each.get("file", entry["file"]), each["change"], each["to"]) for each in (entry, *entry.get("also", ()))
        ]
        tests = tuple(f"tests/lab/{test}" for test in entry["tests"])
        found.append(Mutant(number, entry["name"], entry["mechanism"], tuple(edits), tests))
    return found


def choice(number: int, suffix: str) -> str:
    """What stands for MUTANT in a file of this kind: true while the number is chosen."""
    if suffix == ".py":
        return f'(__import__("os").environ.get("{NUMBER}") == "{number}")'
    return f"(tmem_mutant == {number})"


def change(text: str, old: str, new: str, where: str) -> str:
    """A source with a text replaced. InvalidFileError unless it is there exactly once."""
    if (times := text.count(old)) != 1:
        raise InvalidFileError(
            f"a text is {times} times in {where}, not once",
            where=str(MUTANTS),
            why=old,
            remedy="The source has changed: bring the mutant in line with it.",
        )
    return text.replace(old, new)


def mutate(tree: Path, mutants: Sequence[Mutant]) -> None:
    """Write all mutants, and what chooses one, into a copy of the checkout."""
    changes = [
        (name, old, new.replace("MUTANT", choice(mutant.number, Path(name).suffix)))
        for mutant in mutants
        for name, old, new in mutant.edits
    ]
    changes += [(name, line, line + more) for name, (line, more) in SWITCHES.items()]
    for name, old, new in changes:
        path = tree / name
        path.write_text(change(path.read_text(), old, new, name))
    conftest = tree / "tests" / "lab" / "conftest.py"
    conftest.write_text(conftest.read_text() + CHOOSE)
    # A lab of its own: the usual one keeps its snapshots.
    shutil.copy(tree / "inventory" / "emulated.yml", tree / "inventory" / "mutants.yml")


def outcomes(report: Path, tests: Iterable[str]) -> dict[str, str]:
    """What became of each test by pytest's JUnit report: `failed` if one of its cases did, else
    as KINDS has it, `passed`, or `missing`.
    """
    cases: list[tuple[str, str]] = []
    for case in ElementTree.parse(report).iter("testcase"):
        name = f"{case.get('classname', '').replace('.', '/')}.py::{case.get('name')}"
        found_tags = {child.tag for child in case}
        cases.append((name, next((KINDS[tag] for tag in KINDS if tag in found_tags), "passed")))
    found = {}
    for test in tests:
        of_test = [kind for name, kind in cases if name == test or name.startswith(f"{test}[")]
        found[test] = next((kind for kind in (*KINDS.values(), "passed") if kind in of_test), "missing")
    return found


def run_tests(tree: Path, number: int, tests: Sequence[str]) -> dict[str, str]:
    """The outcomes of tests in the copy while a mutant is chosen; `late` for all when they do
    not end in time.
    """
    report, log = tree / "report.xml", tree / f"mutant-{number}.log"
    report.unlink(missing_ok=True)
    environment = {
        **os.environ,
        NUMBER: str(number),
        "OVERCOMMIT_TEST_INVENTORY": str(tree / "inventory" / "mutants.yml"),
        "PATH": f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}",
    }
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junitxml={report}", *tests]
    with log.open("w") as stream:
        process = subprocess.Popen(command, cwd=tree, env=environment, stdout=stream, stderr=stream)
        try:
            process.wait(SECONDS if number else len(tests) * SECONDS)
        except subprocess.TimeoutExpired:
            return dict.fromkeys(tests, "late")
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait()
    return outcomes(report, tests) if report.exists() else dict.fromkeys(tests, "missing")


def in_order(tests: Iterable[str]) -> list[str]:
    """Tests as their files have them: some files end with a test that leaves nothing for others."""

    def place(test: str) -> tuple[str, int, str]:
        path, name = test.split("::")
        return path, (ROOT / path).read_text().index(f"def {name.partition('[')[0]}("), name

    return sorted(set(tests), key=place)


def task(tree: Path, *arguments: str) -> None:
    """Run a task in the copy. LabError when it fails; it has said why."""
    if subprocess.run([sys.executable, "invoke_tasks.py", *arguments], cwd=tree, check=False).returncode:
        raise LabError(f"{arguments[0]} failed in the copy that has the mutants; its message is above", where=str(tree))


def chosen(mutants: Sequence[Mutant], pattern: str) -> list[Mutant]:
    """The mutants that a pattern matches. UsageError when there are none, since pytest without
    tests would run them all.
    """
    try:
        found = [each for each in mutants if re.search(pattern, f"{each.mechanism}: {each.name}")]
    except re.error as error:
        raise UsageError(f"{pattern!r} is no regular expression", why=str(error)) from None
    if not found:
        mechanisms = ", ".join(dict.fromkeys(each.mechanism for each in mutants))
        raise UsageError(
            f"no mutant matches {pattern!r}", remedy=f"Their names are in {MUTANTS}; mechanisms: {mechanisms}."
        )
    return found


def prove(pattern: str) -> int:
    """Run everything; how many mutants were not noticed."""
    mutants = load()
    wanted = chosen(mutants, pattern)
    tree = paths.cache() / "tmp" / "mutants"
    shutil.rmtree(tree, ignore_errors=True)
    shutil.copytree(ROOT, tree, ignore=shutil.ignore_patterns(*LEFT_OUT), symlinks=True)
    mutate(tree, mutants)
    inventory = ("--inventory", "inventory/mutants.yml")
    unnoticed: list[Mutant] = []
    try:
        # What is missing is built, and the snapshot taken, with progress; the tests then find it.
        task(tree, "lab.up", *inventory)
        task(tree, "lab.down", *inventory)
        everything = in_order(test for each in wanted for test in each.tests)
        began = time.monotonic()
        broken = {test: got for test, got in run_tests(tree, 0, everything).items() if got != "passed"}
        print(f"no mutant: {len(everything) - len(broken)} of {len(everything)} tests passed", flush=True)
        for test, outcome in broken.items():
            print(f"  {outcome}: {test}")
        for done, mutant in enumerate(wanted):
            left = (time.monotonic() - began) / (done + 3) * (len(wanted) - done)
            got = run_tests(tree, mutant.number, mutant.tests)
            # An error counts: the conformance suite runs in a fixture, and a mutant may end the
            # whole host there.
            noticed = all(each in {"failed", "error"} for each in got.values()) and not broken.keys() & got.keys()
            print(
                f"{'noticed' if noticed else 'NOT NOTICED'}: {mutant.mechanism}: "
                f"{mutant.name} (about {format_duration(left)} left)"
            )
            for test, outcome in got.items():
                print(f"  {outcome}: {test.removeprefix('tests/lab/')}", flush=True)
            unnoticed += [] if noticed else [mutant]
    finally:
        task(tree, "lab.destroy", *inventory)
    print(f"{len(wanted) - len(unnoticed)} of {len(wanted)} mutants were noticed")
    return len(unnoticed)


if __name__ == "__main__":
    try:
        sys.exit(1 if prove("".join(sys.argv[1:])) else 0)
    except UserError as error:
        print(f"inv: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
