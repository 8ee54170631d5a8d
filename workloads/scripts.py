"""The scripts of workloads (shell/*.sh), and the reading of what they leave. POSIX sh: dash in the
guests, busybox where it is sh.

Time comes from /proc/uptime (monotonic, 10 ms) and the shell's own `times`: both are read without
starting a process, which a machine short of memory would take long for.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from common import scripts
from common.errors import OutputsError, WorkloadError
from workloads import complaints

RAW = "/run/overcommit/raw"
"""Folder on the machine for raw outputs: flat, on a tmpfs in the guests, made anew by every
prepare.
"""

_FOLDER = Path(__file__).parent / "shell"

RESET_MEMORY_DOC = (
    "before the clock: write dirty pages, empty the swap device, drop "
    "the file caches. On a guest whose cleancache is already on, dropped "
    "pages go to tmem: prepare first, load the driver then"
)


def text(name: str, *arguments: str | int) -> str:
    """Sh text that is the script shell/NAME with these arguments."""
    return scripts.command(_FOLDER / name, *arguments)


def reset_function() -> str:
    """Sh text that defines `reset_memory`, which brings memory to a known state in a timed part."""
    return 'fail() { echo "$*" >&2; exit 1; }\nreset_memory() {\n' + text("reset-memory.sh") + "}\n"


def content(name: str) -> str:
    """The text of a file of shell/ that is no script of ours, but what a tool is to do."""
    return (_FOLDER / name).read_text(encoding="utf-8")


def prepare(body: str, *, reset_memory: bool) -> str:
    """A prepare script: an empty RAW, the body, then, if asked for, memory brought to a known
    state. The body may call `fail MESSAGE`.
    """
    end = text("reset-memory.sh") if reset_memory else ""
    return text("environment.sh") + text("prepare.sh", RAW) + body + end


def timed(body: str, directory: str | None = None) -> str:
    """A timed script. The body calls `timed LABEL COMMAND...`; the first command that fails ends
    the script with its status. directory: where the machine goes first.
    """
    return text("environment.sh") + text("timed.sh", RAW, *([directory] if directory else [])) + body


def command(label: str, argv: Sequence[str]) -> str:
    """The body of a timed script that is one command."""
    return f"timed {shlex.join([label, *argv])}\n"


@dataclass(frozen=True)
class Timing:
    """One timed command. Seconds: wall clock; user and system time of the command and all that
    it started and waited for, None when they were not kept.
    """

    label: str
    wall_seconds: float
    user_seconds: float | None
    system_seconds: float | None
    status: int


def read_timings(raw_dir: Path, what: str) -> list[Timing]:
    """The timed commands in their order. WorkloadError, with the end of the log, when one failed
    or ended by a signal; OutputsError when none ran.
    """
    path = raw_dir / "timings"
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else []
    if not lines:
        raise OutputsError(f"{what} did not run to its end", where=str(path), why=_log(raw_dir) or "it left no timings")
    timings = [_timing(raw_dir, line) for line in lines]
    for timing in timings:
        if timing.status:
            meaning = complaints.status_meaning(timing.status)
            raise WorkloadError(
                f"{what} failed: {timing.label} ended with exit status {timing.status}"
                + (f", {meaning}" if meaning else ""),
                where=str(path),
                why=_log(raw_dir, timing.label),
            )
    labels = [timing.label for timing in timings]
    if len(set(labels)) != len(labels):
        raise OutputsError("the timings name a command twice", where=str(path), why=", ".join(labels))
    return timings


def read_timing(raw_dir: Path, label: str, what: str) -> Timing:
    """The one timed command of a script that has no other."""
    return read_rungs(raw_dir, [label], what)[0]


def labels(raw_dir: Path, pattern: str) -> list[str]:
    """Labels of the timed commands that match wholly, in their order; none when there are no
    timings. For what outputs tell of an unknown run.
    """
    path = raw_dir / "timings"
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else []
    found = [line.partition(" ")[0] for line in lines]
    return [label for label in found if re.fullmatch(pattern, label)]


def told(raw_dir: Path, name: str, pattern: str) -> re.Match[str] | None:
    """The first place of an output that matches; None when there is none, or no such output."""
    path = raw_dir / name
    text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
    return re.search(pattern, text, re.MULTILINE)


def read_rungs(raw_dir: Path, labels: Sequence[str], what: str) -> list[Timing]:
    """The timed commands of a script that has these, in their order."""
    timings = read_timings(raw_dir, what)
    if [timing.label for timing in timings] != list(labels):
        found = ", ".join(timing.label for timing in timings)
        raise OutputsError(
            f"the timings are not {what}'s",
            where=str(raw_dir / "timings"),
            why=f"{found} instead of {', '.join(labels)}",
        )
    return timings


def _timing(raw_dir: Path, line: str) -> Timing:
    match = re.fullmatch(r"(\S+) (\d{1,12}\.\d{1,9}) (\d{1,12}\.\d{1,9}) (\d{1,9})", line)
    if match is None or float(match[3]) < float(match[2]):
        raise OutputsError("a line of the timings cannot be understood", where=str(raw_dir / "timings"), why=line)
    user, system = _spent(raw_dir, match[1])
    # both clocks tick in hundredths: more digits would be noise of the subtraction
    return Timing(match[1], round(float(match[3]) - float(match[2]), 2), user, system, int(match[4]))


def _spent(raw_dir: Path, label: str) -> tuple[float | None, float | None]:
    """User and system seconds between the two readings of `times`; None when one of them was not
    kept.
    """
    before, after = raw_dir / f"{label}.before", raw_dir / f"{label}.after"
    if not before.is_file() or not after.is_file():
        return None, None
    (user_before, system_before), (user_after, system_after) = children_times(before), children_times(after)
    if user_after < user_before or system_after < system_before:
        raise OutputsError("processor time went backwards", where=str(after), why=f"less than in {before.name}")
    return round(user_after - user_before, 2), round(system_after - system_before, 2)


def children_times(path: Path) -> tuple[float, float]:
    """User and system seconds of a shell's children, from what its `times` printed: the second
    line, `0m1.23s 0m0.45s`.
    """
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        text = ""
    found = re.findall(r"(\d{1,9})m(\d{1,9}(?:\.\d{1,9})?)s", text)
    if len(found) != 4:
        raise OutputsError("the shell's `times` cannot be understood", where=str(path), why=text or "not written")
    user, system = (int(minutes) * 60 + float(seconds) for minutes, seconds in found[2:])
    return user, system


def _log(raw_dir: Path, label: str = "*") -> str:
    """The last lines that commands of this label complained with, else the last that they
    printed.
    """
    for suffix in ("err", "out"):
        texts = [
            path.read_text(encoding="utf-8", errors="replace") for path in sorted(raw_dir.glob(f"{label}.{suffix}"))
        ]
        if lines := [line for text in texts for line in text.splitlines() if line.strip()]:
            return "\n".join(lines[-20:])
    return ""
