"""The user-space harness of tmem's hypervisor side: its sources compiled with sanitizers, its
cases, its runs.

tmem/xen/test compiles common/tmem/*.c unchanged as a program (see tmem/README.md); this module is
how Python gets at it.
"""

from __future__ import annotations

import itertools
import os
import re
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from common.console import Tell
from common.errors import BuildError, MissingError, UserError
from lab import paths

XEN = paths.REPO / "tmem" / "xen"
TESTS = XEN / "test"
CODE = XEN / "files" / "common" / "tmem"

Build = Literal["memory", "threads", "plain"]
"""What it is built to find: wrong accesses, races, or, as fast as it can, what the model alone
notices.
"""
SANITIZERS: dict[Build, list[str]] = {
    "memory": ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"],
    # Volatile accesses are what ACCESS_ONCE() makes; shim/locks.c says what they mean.
    "threads": ["-fsanitize=thread", "--param=tsan-distinguish-volatile=1"],
}
FLAGS = [
    "-std=gnu11",
    "-O2",
    "-g",
    "-fno-omit-frame-pointer",
    "-D_GNU_SOURCE",
    "-pthread",
    "-Wall",
    "-Wextra",
    "-Wno-unused-parameter",
    "-Wno-sign-compare",
    "-Werror",
]
INCLUDES = [TESTS, TESTS / "include", TESTS / "include" / "public", XEN / "files" / "include", CODE]
ENVIRONMENT = {
    "TSAN_OPTIONS": "halt_on_error=1",
    "ASAN_OPTIONS": "detect_leaks=0",
    "UBSAN_OPTIONS": "print_stacktrace=1",
}
"""A leak is a failure by the harness's own accounts; the leak sanitizer needs ptrace, which
containers deny.
"""

THREADED = frozenset({"races.c", "shared.c", "trace.c"})
"""The files with the cases in which more than one thread runs: the only ones that the build
`threads` can say anything about.
"""


class HarnessError(UserError):
    """A case of the harness failed."""


@dataclass(frozen=True)
class Case:
    """One case: its name, and the file of tmem/xen/test that has it."""

    name: str
    source: str


def cases(build: Build = "memory") -> list[Case]:
    """The cases of a build, in the order of their files."""
    found = [
        Case(name, path.name)
        for path in sorted(TESTS.glob("*.c"))
        for name in re.findall(r"^    CASE\((\w+)\),$", path.read_text(), re.MULTILINE)
    ]
    return [case for case in found if build != "threads" or case.source in THREADED]


def compile_program(folder: Path, build: Build) -> Path:
    """The program, compiled in `folder`. MissingError without a compiler, BuildError with the
    compiler's messages.
    """
    folder.mkdir(parents=True, exist_ok=True)
    sources = [*sorted(TESTS.glob("*.c")), *sorted((TESTS / "shim").glob("*.c")), *sorted(CODE.glob("**/*.c"))]
    options = [*FLAGS, *SANITIZERS.get(build, [])]

    def compile_one(source: Path) -> Path:
        target = folder / (str(source.relative_to(XEN)).replace("/", "-") + ".o")
        _gcc([*options, *(f"-I{path}" for path in INCLUDES), "-c", str(source), "-o", str(target)], source)
        return target

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        objects = list(pool.map(compile_one, sources))
    program = folder / f"harness-{build}"
    _gcc([*options, *map(str, objects), "-o", str(program)], program)
    return program


def _gcc(arguments: list[str], what: Path) -> None:
    try:
        done = subprocess.run(["gcc", *arguments], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise MissingError("there is no C compiler (gcc)", remedy="./inv setup") from None
    if done.returncode:
        raise BuildError(
            "the harness of tmem does not compile",
            where=str(what),
            why="\n".join(done.stderr.strip().splitlines()[:20]),
            remedy="Mend the source; a name of Xen's that is missing belongs in tmem/xen/test/include.",
        )


def run_case(program: Path, case: str, *, seed: int = 1, scale: int = 1, timeout: float = 600) -> None:
    """Run one case; HarnessError with what it said when it fails, hangs, or does not report
    success.
    """
    command = [str(program), "--seed", str(seed), "--scale", str(scale), case]
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            timeout=timeout,
            env={**os.environ, **ENVIRONMENT},
        )
        code, said, passed = done.returncode, done.stderr, f"ok 1 {case}\n1..1\n" == done.stdout
    except subprocess.TimeoutExpired:
        code, said, passed = None, f"not finished after {timeout:.0f} s", False
    if code != 0 or not passed:
        raise HarnessError(
            f"{case} failed" + ("" if code is None else f" (exit code {code})"),
            where=" ".join(command),
            why="\n".join(said.strip().splitlines()[:60]),
        )


def soak(folder: Path, minutes: float, first_seed: int, tell: Tell) -> int:
    """All cases of both builds with one seed after another until the time is over, in ever larger
    runs; how many ran.
    """
    programs: dict[Build, Path] = {build: compile_program(folder, build) for build in SANITIZERS}
    end = time.monotonic() + minutes * 60
    for count, (build, case, seed, scale) in enumerate(_endless(first_seed)):
        if time.monotonic() >= end:
            return count
        tell(f"{build}: {case.name}, seed {seed}, scale {scale}")
        run_case(programs[build], case.name, seed=seed, scale=scale, timeout=3600)
    raise AssertionError("an endless sequence ended")


def _endless(first_seed: int) -> Iterator[tuple[Build, Case, int, int]]:
    for seed in itertools.count(first_seed):
        for build in SANITIZERS:
            for case in cases(build):
                yield build, case, seed, min(20, 1 + (seed - first_seed) // 2)
