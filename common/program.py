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
    return argv


def run(tasks: Collection) -> None:
    """Run the tasks named on the command line, and exit. Being ended, or losing the terminal, is an interruption: things are put in order first."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:  # not under nohup
            signal.signal(number, signal.default_int_handler)
    Testbed(name="inv", binary="inv", namespace=tasks, version=VERSION).run(arguments(sys.argv))
