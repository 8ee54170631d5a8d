"""Machines to run commands on (the controller, a dom0, a guest), and all that running one can
raise.

A machine is a plumbum machine, local or remote. Plumbum is not imported before something runs: it
would slow every task down.
"""

from __future__ import annotations

from typing import IO, Literal, Protocol, cast

Trouble = Literal["no program", "too late", "failed", "broken"]
"""Why a command gave no answer: its program is not there; it did not end in time; it or the way to
its machine failed, with words of its own; the connection broke without any.
"""

TAIL_LINES = 20
TAIL_CHARACTERS = 8000
"""Of a log, what an error shows: one line of a guest can be as long as all that is read of it."""


class Process(Protocol):
    """A command that was started, as subprocess has it, with pipes."""

    stdin: IO[bytes]
    stdout: IO[bytes]
    stderr: IO[bytes]
    returncode: int | None

    def poll(self) -> int | None: ...
    def wait(self, timeout: float | None = None) -> int: ...
    def communicate(
        self,
        input: bytes | None = None,  # noqa: A002
        timeout: float | None = None,
    ) -> tuple[bytes, bytes]: ...
    def terminate(self) -> None: ...
    def kill(self) -> None: ...


class Command(Protocol):
    """A program on a machine, with the arguments that it was given so far."""

    def __getitem__(self, arguments: str | tuple[str, ...], /) -> Command:
        """With one argument more, or with a tuple of them."""

    def __lshift__(self, text: str, /) -> Command:
        """With a text as its input."""

    def __call__(self, *arguments: str, timeout: float | None = None) -> str:
        """Run it; what it printed. Raises for any exit status but 0. timeout: seconds."""

    def run(self, *, retcode: int | None = 0, timeout: float | None = None) -> tuple[int, str, str]:
        """Run it; status, output, complaints. retcode: the status that is no error, None for
        any.
        """

    def popen(self, *, stdin: int = ..., stdout: int = ..., stderr: int = ...) -> Process:
        """Start it. What is no pipe must not be touched."""


class Machine(Protocol):
    """What commands run on. `machine["ls"]["-l", "/"]` is a command; str(machine) and `host`, where
    it has one, name it.
    """

    def __getitem__(self, program: str, /) -> Command: ...


def this_machine() -> Machine:
    """The machine that this runs on."""
    from plumbum import local

    return cast("Machine", local)


def _table() -> dict[type[Exception], Trouble]:
    """The one table of what a command on a machine can raise; of several that match, the first
    counts.

    Two of plumbum's are no ProcessExecutionError: CommandNotFound is an AttributeError,
    ProcessTimedOut a plain one.
    """
    from plumbum.commands.processes import CommandNotFound, ProcessExecutionError, ProcessTimedOut

    return {
        CommandNotFound: "no program",
        ProcessTimedOut: "too late",
        ProcessExecutionError: "failed",  # SSHCommsError, of a session that could not be had, is one
        EOFError: "broken",
        ConnectionError: "broken",
        TimeoutError: "broken",
    }


def command_errors(*more: type[Exception]) -> tuple[type[Exception], ...]:
    """All that a command on a machine can raise, for an `except`, with what more the caller has to
    expect.
    """
    return (*_table(), *more)


def trouble(error: BaseException) -> Trouble | None:
    """What an error says of a command; None for one that is no command's."""
    return next((kind for types, kind in _table().items() if isinstance(error, types)), None)


def explain(error: BaseException) -> str:
    """What a failed command said, short: plumbum's errors carry it in fields."""
    text = getattr(error, "stderr", "") or getattr(error, "stdout", "") or str(error)
    return tail(str(text))


def tail(text: str, lines: int = TAIL_LINES) -> str:
    """The last lines that are not blank."""
    return "\n".join([line for line in text[-TAIL_CHARACTERS:].splitlines() if line.strip()][-lines:])
