"""Commands on machines, with a bound on their time and one kind of error.

plumbum's own time-out does not bound a grandchild that holds the pipe, so every command runs under
coreutils' `timeout`, which leads a process group of its own and ends all of it. All that a command
can raise (common/machines.py) is caught here, so that no caller meets plumbum's exceptions.
"""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from common import bounded
from common.errors import OutputsError, WorkloadError
from common.machines import Machine, command_errors, explain, tail, trouble
from workloads import scripts
from workloads.unpacking import Unpacking

MOST_RAW = 64 * bounded.MIB
"""Bytes of a machine's raw outputs. Those of the published campaigns are under 30 KiB; a build of a
whole kernel says about a MiB a round. Readers take a file whole, and make objects of it.
"""

KILL_GRACE_S = 10
"""Seconds between asking a command's process group to end and killing it."""

LINK_GRACE_S = 30
"""Seconds more before the local end gives up: then it is the machine or the way to it that no
longer answers.
"""

TIMED_OUT = {124, 137}
"""Statuses of `timeout` when it had to end, or kill, its command."""


@dataclass(frozen=True)
class Finished:
    """A command that ended by itself."""

    status: int
    stdout: str
    stderr: str


def name_of(machine: Machine) -> str:
    """A machine for people: the host that ssh knows it by, or this machine."""
    host = getattr(machine, "host", None)
    return str(host) if host else "this machine"


def run_script(machine: Machine, script: str, *, what: str, timeout_s: float) -> Finished:
    """Run sh text. WorkloadError when it does not end in time or cannot be started; its status
    is the caller's business.
    """
    with _plumbum_errors(machine, what, timeout_s), _bounds(machine, what, timeout_s):
        process = machine["timeout"]["-k", str(KILL_GRACE_S), f"{timeout_s:.0f}", "sh", "-c", script].popen()
        out, err = bounded.communicate(process, seconds=timeout_s + KILL_GRACE_S + LINK_GRACE_S)
    status = process.returncode or 0
    if status in TIMED_OUT:
        raise _timed_out(machine, what, timeout_s)
    return Finished(status, out.decode(errors="replace"), err.decode(errors="replace"))


def check_script(machine: Machine, script: str, *, what: str, timeout_s: float) -> str:
    """Run sh text that has to succeed, and return what it printed. WorkloadError with the end of
    its complaint otherwise.
    """
    finished = run_script(machine, script, what=what, timeout_s=timeout_s)
    if finished.status:
        why = tail(finished.stderr) or tail(finished.stdout)
        raise WorkloadError(f"could not {what} (exit status {finished.status})", where=name_of(machine), why=why)
    return finished.stdout


def fetch_raw(
    machine: Machine, raw_dir: Path, *, first: str = "", timeout_s: float = 300, most: int = MOST_RAW
) -> None:
    """Copy every file of scripts.RAW on the machine into raw_dir, as one tar stream: one round
    trip, the same locally and over ssh.

    first: sh text that runs there before, in the same session, since one costs an emulated guest
    most of a second. What it is to leave, it writes to RAW; that it fails is nobody's concern.
    most: bytes of the archive; whoever says more is ended, and no more than that is on the disk.
    """
    what = "copy the raw outputs"
    packing = ["tar", "-C", scripts.RAW, "-cf", "-", "."]
    if first:
        packing = ["sh", "-c", f"(\n{first}\n) < /dev/null > /dev/null 2>&1\nexec {shlex.join(packing)}"]
    archive = Unpacking(raw_dir, f"{name_of(machine)}:{scripts.RAW}")
    said, complaint = 0, bytearray()

    def hear(stream: str, chunk: bytes) -> None:
        nonlocal said
        said += len(chunk)
        if said > most:
            raise bounded.TooMuchError(said, most)
        if stream == "out":
            archive.take(chunk)
        elif len(complaint) < bounded.LAST_WORDS:
            complaint.extend(chunk)

    with _plumbum_errors(machine, what, timeout_s):
        process = machine["timeout"][("-k", str(KILL_GRACE_S), f"{timeout_s:.0f}", *packing)].popen()
    # not within those: that a file here cannot be written is no fault of the machine's
    with _bounds(machine, what, timeout_s), archive:
        bounded.follow(process, hear, seconds=timeout_s + KILL_GRACE_S + LINK_GRACE_S)
    if process.returncode:
        why = tail(complaint.decode(errors="replace"))
        raise WorkloadError("the workload left no raw outputs", where=archive.where, why=why)
    archive.require_whole()


def raw_text(raw_dir: Path, name: str) -> str:
    """A raw output as text. WorkloadError when the workload did not write it."""
    try:
        return (raw_dir / name).read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        raise OutputsError(
            f"the workload did not write {name}", where=str(raw_dir), why="it did not start, or was ended early"
        ) from None
    except OSError as error:
        raise OutputsError(f"{name} cannot be read", where=str(raw_dir), why=str(error.strerror)) from None


def key_values(text: str) -> dict[str, str]:
    """Lines `key=value` that a prepare script printed; everything else it printed is dropped."""
    pairs = (line.partition("=") for line in text.splitlines())
    return {key: value.strip() for key, equals, value in pairs if equals and key.isidentifier()}


@contextmanager
def _bounds(machine: Machine, what: str, timeout_s: float) -> Iterator[None]:
    """WorkloadError for a command that said too much, or for too long."""
    try:
        yield
    except subprocess.TimeoutExpired:
        raise _timed_out(machine, what, timeout_s) from None
    except bounded.TooMuchError as error:
        raise WorkloadError(
            f"could not {what}: it said more than is read of it",
            where=name_of(machine),
            why=error.why,
            remedy=error.remedy,
        ) from None


@contextmanager
def _plumbum_errors(machine: Machine, what: str, timeout_s: float) -> Iterator[None]:
    try:
        yield
    except command_errors(OSError) as error:
        where = name_of(machine)
        kind = trouble(error)
        if kind == "no program":
            program = getattr(error, "program", "")
            raise WorkloadError(
                f"could not {what}: the program {program} is not there",
                where=where,
                remedy="install it on the machine",
            ) from None
        if kind == "too late":
            raise _timed_out(machine, what, timeout_s) from None
        reached = ": the machine cannot be reached" if kind == "failed" else ""
        raise WorkloadError(f"could not {what}{reached}", where=where, why=explain(error)) from None


def _timed_out(machine: Machine, what: str, timeout_s: float) -> WorkloadError:
    return WorkloadError(
        f"could not {what} within {timeout_s:.0f} s", where=name_of(machine), remedy="give it more time, or less to do"
    )
