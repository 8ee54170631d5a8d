"""What tools, shells and the C library say when a process of theirs died or could not work, beside
figures that look like any others.

A tool may lose a worker, exit with 0 and print a whole report. So what it and its parts say is read
too, whatever the figures are.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Sequence
from pathlib import Path

from common.errors import WorkloadError

_DEATHS = (
    (r"got signal=(?P<signal>\d{1,4})", "fio lost a job's process"),
    (r"got signal (?P<signal>\d{1,4})", "a server died of a signal"),
    (r"(?:[Rr]eceived|[Cc]aught|[Ff]atal|crashed by) signal:? (?P<signal>\d{1,4})\b", "a process died of a signal"),
    (r"(?:terminated|killed|exited) on signal: (?P<signal>\d{1,4})", "a process was ended by a signal"),
    (r"code=(?:killed|dumped), status=(?P<signal>\d{1,3})/", "a service was ended by a signal"),
    (r"terminating on signal (?P<signal>\d{1,4})", "the tool was ended by a signal"),
    (r"exited on signal (?P<signal>\d{1,4})", "a server lost a worker"),
    (r"[Tt]erminated (?:by|with) signal (?P<signal>\d{1,4})", "a process was ended by a signal"),
    (r"[Kk]illed by signal (?P<signal>\d{1,4})", "a process was ended by a signal"),
    (
        (
            r"(?:^|[\s:\]])(?P<name>Killed)(?: signal terminated program \S+| \(program \S+\)|$|"
            r"\s*\(core dumped\)|: 9$|\s{2,})"
        ),
        "a process was killed",
    ),
    (
        (
            r"(?:^|[\s:\]])(?P<name>Segmentation fault|Bus error|Illegal instruction|Floating point exception|Aborted|"
            r"Terminated|Quit|Trace/breakpoint trap|Bad system call|Alarm clock|Hangup|User defined signal [12]|"
            r"CPU time limit exceeded|File size limit exceeded)"
            r"(?: signal terminated program \S+| \(program \S+\)|\s*\(core dumped\)|$|\s{2,})"
        ),
        "a process died",
    ),
    (
        r"\*\*\* .{0,400}\] Error (?P<status>1(?:2[89]|[3-9]\d)|2\d\d)\b",
        "a program that make started was ended by a signal",
    ),
    (
        (
            r"failed due to signal|\bdumped core\b|timeout: sending signal \w+ to command|\bsignal: killed\b|"
            r"\b(?:by|on|with|to) signal SIG[A-Z]{2,6}\b|[Kk]illed by (?:the )?OOM"
        ),
        "a process was ended by a signal",
    ),
    (
        (
            r"client \d+ (?:script \d+ )?aborted|the above results are incomplete|"
            r"server closed the connection unexpectedly|"
            r"terminating connection (?:because of crash|due to)|Lost connection to (?:\S+ )?server|"
            r"[Ss]erver has gone away|^pgbench: ?(?:error|fatal): "
        ),
        "the load, or the server that it asked, lost a part",
    ),
    (r"InnoDB: .*(?i:assertion failure|page corruption|is corrupted|operating system error)", "a database broke"),
    (r"invalid page in block|could not (?:read|write|extend) (?:block|file)", "a database could not use its files"),
    (r"internal compiler error", "the compiler broke"),
    (r"fatal error: \S+ signal terminated program \S+", "the compiler lost a part of it"),
    (
        (
            r"double free or corruption|\*\*\* [\w ]{1,40} detected|corrupted (?:size|double-linked)|stack smashing|"
            r"\b(?:free|malloc\w*|calloc|realloc|memalign|munmap_chunk|mremap_chunk|sysmalloc|tcache\w*)\(\): |"
            r"Fatal glibc error|terminate called|fatal runtime error: |"
            r"thread '[^']{0,80}' (?:\(\d+\) )?(?:panicked|has overflowed its stack)"
        ),
        "a process found its memory damaged",
    ),
    (r"\bAssertion `.*' failed|: Assertion .* failed\.", "a program's own check failed"),
    (
        (
            r"(?i:virtual memory exhausted|\bout of memory\b|cannot allocate memory|memory exhausted)|\bbad_alloc\b|"
            r"\bMemoryError\b|memory allocation of \d+ bytes failed|OOM command not allowed|"
            r"[Cc]annot fork|\bv?fork(?: failed)?: .{0,40}Resource temporarily unavailable|"
            r"unprotected error in call to Lua API|smalloc: OOM"
        ),
        "there was no memory left",
    ),
    (
        r"unable to create thread|(?:pthread_create|thread|posix_spawn)\b.{0,80}Resource temporarily unavailable",
        "a thread or a process could not be started",
    ),
    (
        (
            r"No space left on device|Input/output error|Structure needs cleaning|Stale (?:NFS )?file handle|"
            r"Read-only file system|Remote I/O error|Disk quota exceeded|Too many open files|File too large"
        ),
        "a file could not be read or written",
    ),
    (r"error while loading shared libraries|Exec format error|cannot execute", "a program could not be started"),
    (r"^(?:kvload|memload|rg): ", "the tool could not do all of its work"),
)

_COMPILED = tuple((re.compile(expression), meaning) for expression, meaning in _DEATHS)


def signal_name(number: int) -> str:
    """`SIGKILL (9)`; only the number when the system has no such signal."""
    try:
        return f"{signal.Signals(number).name} ({number})"
    except ValueError:
        return f"signal {number}"


def status_meaning(status: int) -> str:
    """What an exit status of a shell means beyond its number: a signal, or a program that could not
    be started. Empty for an ordinary one.
    """
    if status in (126, 127):
        return "the program could not be started"
    return f"killed by {signal_name(status - 128)}" if 128 < status <= 128 + 64 else ""


def deaths(text: str) -> list[tuple[str, str]]:
    """Lines that say that a process died or could not work, each with what it means."""
    found = []
    for line in re.split(r"[\r\n]+", text):
        for expression, meaning in _COMPILED:
            if match := expression.search(line):
                found.append((line.strip(), _named(match, meaning)))
                break
    return found


def worst(found: Sequence[tuple[str, str]]) -> str:
    """What the first line with a signal means, or else the first; nothing of none."""
    return next((meaning for _, meaning in found if "SIG" in meaning), found[0][1] if found else "")


def require_none(path: Path, what: str) -> None:
    """Read one output for deaths; a file that is not there says nothing. WorkloadError that names
    the first that had a signal, or else the first.
    """
    if not path.is_file():
        return
    found = deaths(path.read_text(encoding="utf-8", errors="replace"))
    if found:
        why = "\n".join(line for line, _ in found[-20:])
        raise WorkloadError(f"{what} failed: {worst(found)}", where=str(path), why=why)


def _named(match: re.Match[str], meaning: str) -> str:
    groups = match.groupdict()
    if groups.get("signal"):
        return f"{meaning}: {signal_name(int(groups['signal']))}"
    if groups.get("status"):
        return f"{meaning}: {status_meaning(int(groups['status'])) or 'status ' + groups['status']}"
    return f"{meaning}: {groups['name']}{_NAMES.get(groups['name'], '')}" if groups.get("name") else meaning


_NAMES = {
    "Killed": ", SIGKILL (9)",
    "Segmentation fault": ", SIGSEGV (11)",
    "Bus error": ", SIGBUS (7)",
    "Illegal instruction": ", SIGILL (4)",
    "Floating point exception": ", SIGFPE (8)",
    "Aborted": ", SIGABRT (6)",
    "Terminated": ", SIGTERM (15)",
    "Quit": ", SIGQUIT (3)",
    "Trace/breakpoint trap": ", SIGTRAP (5)",
    "Bad system call": ", SIGSYS (31)",
    "Alarm clock": ", SIGALRM (14)",
    "Hangup": ", SIGHUP (1)",
    "User defined signal 1": ", SIGUSR1 (10)",
    "User defined signal 2": ", SIGUSR2 (12)",
    "CPU time limit exceeded": ", SIGXCPU (24)",
    "File size limit exceeded": ", SIGXFSZ (25)",
}
