"""A task as `./inv` runs it, in a copy of this process: all but the start of an interpreter and the
imports, which take a second each time.

tests/unit/test_tasks.py has some that begin with an interpreter.
"""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).resolve().parents[2]
ENTRY = "invoke_tasks.py"


def inv(*words: str, given: bytes | str = b"") -> subprocess.CompletedProcess[str]:
    """Run a task to its end. given: its standard input."""
    with tempfile.TemporaryFile() as stdin, tempfile.TemporaryFile() as stdout, tempfile.TemporaryFile() as stderr:
        stdin.write(given if isinstance(given, bytes) else given.encode())
        stdin.seek(0)
        child = os.fork()
        if child == 0:
            _run(words, [stdin.fileno(), stdout.fileno(), stderr.fileno()])
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        said = []
        for stream in (stdout, stderr):
            stream.seek(0)
            said.append(stream.read().decode())
    return subprocess.CompletedProcess(words, code, *said)


def _run(words: tuple[str, ...], streams: list[int]) -> NoReturn:
    """The program, from its first line on: with its own streams, its own tasks, and the exit code
    that an interpreter would give.
    """
    code = 1
    try:
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
        with (
            open(0, encoding="utf-8", closefd=False) as sys.stdin,
            open(1, "w", encoding="utf-8", closefd=False) as sys.stdout,
            open(2, "w", encoding="utf-8", errors="backslashreplace", buffering=1, closefd=False) as sys.stderr,
        ):
            code = _ended(words)
    finally:
        os._exit(code)


def _ended(words: tuple[str, ...]) -> int:
    os.chdir(ROOT)
    sys.argv = [ENTRY, *words]
    for name in [each for each in sys.modules if each.partition(".")[0] in ("tasks", "invoke_tasks")]:
        del sys.modules[name]  # Invoke takes a task's help away when it is asked for
    try:
        runpy.run_path(str(ROOT / ENTRY), run_name="__main__")
    except SystemExit as end:
        if isinstance(end.code, int) or end.code is None:
            return end.code or 0
        print(end.code, file=sys.stderr)
        return 1
    except BaseException:  # noqa: BLE001 - as an interpreter does it
        traceback.print_exc()
        return 1
    return 0
