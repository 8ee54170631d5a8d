"""What a machine does to a program: a full disk, a file of somebody else, a limit. One clear
message for each, whichever task meets it.

An error that is not told here is a defect, and shown with its traceback.
"""

from __future__ import annotations

import errno
import io
import os
import select
import sys

from common.errors import InvalidFileError, MissingError, UsageError, UserError

CLOSED_PIPE = 141
"""Exit code when whoever read our output has stopped reading, as shells have it for SIGPIPE."""

_CACHE = "set OVERCOMMIT_CACHE to a folder that is yours, on a disk with space"

_MEMORY = MissingError(
    "there is not enough memory",
    why="a limit of this process (ulimit -v, ulimit -u, a control group), or all of the machine's is taken",
    remedy="Raise the limit, or stop other programs; then run this again.",
)

_HUGE = InvalidFileError("a number that was read is too large", remedy="Write a number that means something.")


def explain(error: BaseException) -> UserError | None:
    """What an error means to a user, when the surroundings are its cause; None when the program
    is.
    """
    if isinstance(error, UserError):
        return error
    of_system = _of_system(error) if isinstance(error, OSError) else None
    return of_system or next((told for kinds, words, told in _TOLD if _says(error, kinds, words)), None)


_TOLD: tuple[tuple[tuple[type[BaseException], ...], str, UserError], ...] = (
    ((MemoryError,), "", _MEMORY),
    ((ImportError, OSError), "failed to map", _MEMORY),
    ((ImportError, OSError), "annot allocate memory", _MEMORY),
    ((RuntimeError,), "can't start new thread", _MEMORY),
    (
        (RuntimeError,),
        "home directory",
        MissingError(
            "this user has no home folder",
            why="HOME is not set, and the user database does not have this user",
            remedy="Set HOME to a folder that is yours.",
        ),
    ),
    (
        (RecursionError,),
        "",
        InvalidFileError("something that was read is nested too deeply", remedy="Write it with fewer levels."),
    ),
    ((OverflowError,), "", _HUGE),
    ((ValueError,), "integer string conversion", _HUGE),
)
"""Types of an error, words of it, and what it means; of several that fit, the first."""


def _of_system(error: OSError) -> UserError | None:
    """What the kernel's refusal means."""
    found = _REFUSALS.get(error.errno or 0)
    if found is None:
        return None
    return type(found)(found.what, where=_brief(error.filename), why=error.strerror or "", remedy=found.remedy)


def _refusals(numbers: tuple[int, ...], told: UserError) -> dict[int, UserError]:
    return dict.fromkeys(numbers, told)


_REFUSALS: dict[int, UserError] = {
    **_refusals(
        (errno.ENOSPC, errno.EDQUOT), MissingError("there is no space left", remedy=f"Free space, or {_CACHE}.")
    ),
    **_refusals(
        (errno.EACCES, errno.EPERM, errno.EROFS),
        MissingError(
            "a file or folder may not be read or written",
            remedy=f"Give this user the right to it; for the cache, {_CACHE}.",
        ),
    ),
    **_refusals(
        (errno.ENAMETOOLONG,),
        UsageError("a name is too long for a file", remedy="Use one of at most 100 characters."),
    ),
    **_refusals(
        (errno.EMFILE, errno.ENFILE), MissingError("too many files are open", remedy="Raise the limit (ulimit -n).")
    ),
    **_refusals((errno.ENOMEM, errno.EAGAIN), _MEMORY),
    **_refusals((errno.EIO,), MissingError("a disk does not answer", remedy="See the kernel's log (dmesg).")),
}


def _says(error: BaseException, kinds: tuple[type[BaseException], ...], words: str) -> bool:
    return isinstance(error, kinds) and words in str(error)


def _brief(filename: object) -> str:
    """A file's name, in the middle cut short where it is a screenful."""
    text = "" if filename is None else str(filename)
    return text if len(text) <= 200 else f"{text[:90]}…{text[-90:]}"


def have_streams() -> None:
    """Have the three standard streams lead somewhere, and take every sign.

    A file that is opened while one of them is closed (`>&-`) gets its number, and then all that
    programs print. What a terminal of another encoding does not have is shown by its number.
    """
    for number, stream in enumerate((sys.stdin, sys.stdout, sys.stderr)):
        if stream is None:  # the interpreter found it closed; whatever has its number now is its own
            nowhere = os.open(os.devnull, os.O_RDWR)
            os.dup2(nowhere, number)
            os.set_inheritable(number, True)
            if nowhere != number:
                os.close(nowhere)
    if sys.stdout is None:
        sys.stdout = os.fdopen(1, "w", closefd=False)
    if sys.stderr is None:
        sys.stderr = os.fdopen(2, "w", closefd=False)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def reader_gone() -> bool:
    """Whether nobody reads our standard output any more."""
    try:
        poll = select.poll()
        poll.register(sys.stdout.fileno(), 0)
        return any(event & select.POLLERR for _, event in poll.poll(0))
    except (OSError, ValueError, AttributeError):
        return True
