"""The command line: Invoke, with the testbed's exit codes, and without a traceback for a user's mistake."""

from __future__ import annotations

import signal
import sys

from invoke.collection import Collection
from invoke.exceptions import Exit, ParseError
from invoke.program import Program

from common.errors import UsageError, UserError

VERSION = "0.1.0"
INTERRUPTED = 130
"""Exit code after Ctrl-C, SIGTERM or SIGHUP, as shells have it for the first."""

MANY_FILES = {"logs.check"}
"""Tasks whose words are files, as many as are given."""


class Testbed(Program):
    """Invoke's program, with errors as one message: what, where, why and what to do."""

    def parse_tasks(self) -> None:
        try:
            super().parse_tasks()
        except ParseError as error:
            raise Exit(f"{error}\n  do:    ./inv --list, or ./inv TASK --help", UsageError.exit_code) from None

    def execute(self) -> None:
        try:
            super().execute()
        except UserError as error:
            raise Exit(f"inv: {error}", error.exit_code) from None
        except KeyboardInterrupt:
            raise Exit(
                "inv: interrupted. What is complete is kept; the same command goes on from there.", INTERRUPTED
            ) from None


def arguments(argv: list[str]) -> list[str]:
    """Argument vector for Invoke. It takes `TASK --help` for the task's first positional, so that becomes `--help TASK`."""
    if len(argv) > 2 and not argv[1].startswith("-") and {"-h", "--help"} & set(argv[2:]):
        return [argv[0], "--help", argv[1]]
    if len(argv) > 1 and argv[1] in MANY_FILES:
        return [*argv[:2], *_named_files(argv[2:])]
    return argv


def _named_files(words: list[str]) -> list[str]:
    """Words of a task that takes any number of files, each file as an option of its own: Invoke would take the second for a task."""
    named: list[str] = []
    for word in words:
        is_value = bool(named) and named[-1] in ("--file", "--before", "-f", "-b")
        is_option = word.startswith("-") and word != "-"
        named.append(word if is_value or is_option else f"--file={word}")
    return named


def run(tasks: Collection) -> None:
    """Run the tasks named on the command line, and exit. Being ended, or losing the terminal, is an interruption: things are put in order first."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:  # not under nohup
            signal.signal(number, signal.default_int_handler)
    Testbed(name="inv", binary="inv", namespace=tasks, version=VERSION).run(arguments(sys.argv))
