"""Commands on machines, with a bound on their time and one kind of error.

plumbum's own time-out does not bound a grandchild that holds the pipe, so every command runs under
coreutils' `timeout`, which leads a process group of its own and ends all of it. All that a command
can raise (common/machines.py) is caught here, so that no caller meets plumbum's exceptions.
"""

from __future__ import annotations

import io
import re
import shlex
import subprocess
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from common.errors import OutputsError, WorkloadError
from common.machines import Machine, command_errors, explain, tail, trouble
from workloads import scripts

_PLAIN = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9._,:+@=%-]+")
"""A name that a raw output may have."""

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
    with _plumbum_errors(machine, what, timeout_s):
        command = machine["timeout"]["-k", str(KILL_GRACE_S), f"{timeout_s:.0f}", "sh", "-c", script]
        status, stdout, stderr = command.run(retcode=None, timeout=timeout_s + KILL_GRACE_S + LINK_GRACE_S)
    if status in TIMED_OUT:
        raise _timed_out(machine, what, timeout_s)
    return Finished(status, stdout, stderr)


def check_script(machine: Machine, script: str, *, what: str, timeout_s: float) -> str:
    """Run sh text that has to succeed, and return what it printed. WorkloadError with the end of
    its complaint otherwise.
    """
    finished = run_script(machine, script, what=what, timeout_s=timeout_s)
    if finished.status:
        why = tail(finished.stderr) or tail(finished.stdout)
        raise WorkloadError(f"could not {what} (exit status {finished.status})", where=name_of(machine), why=why)
    return finished.stdout


def fetch_raw(machine: Machine, raw_dir: Path, *, first: str = "", timeout_s: float = 300) -> None:
    """Copy every file of scripts.RAW on the machine into raw_dir, as one tar stream: one round
    trip, the same locally and over ssh.

    first: sh text that runs there before, in the same session, since one costs an emulated guest
    most of a second. What it is to leave, it writes to RAW; that it fails is nobody's concern.
    """
    what = "copy the raw outputs"
    packing = ["tar", "-C", scripts.RAW, "-cf", "-", "."]
    if first:
        packing = ["sh", "-c", f"(\n{first}\n) < /dev/null > /dev/null 2>&1\nexec {shlex.join(packing)}"]
    with _plumbum_errors(machine, what, timeout_s):
        command = machine["timeout"][("-k", str(KILL_GRACE_S), f"{timeout_s:.0f}", *packing)]
        process = command.popen()
        try:
            archive, complaint = process.communicate(timeout=timeout_s + KILL_GRACE_S + LINK_GRACE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            raise _timed_out(machine, what, timeout_s) from None
    if process.returncode:
        why = tail(complaint.decode(errors="replace"))
        raise WorkloadError("the workload left no raw outputs", where=f"{name_of(machine)}:{scripts.RAW}", why=why)
    try:
        with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
            for member in tar:
                name = member.name.removeprefix("./")
                if member.isdir() and name in {"", "."}:
                    continue
                # a flat folder of plain files: anything else is not ours, and could be a way out of
                # raw_dir
                content = tar.extractfile(member) if member.isfile() and _PLAIN.fullmatch(name) else None
                if content is None:
                    raise WorkloadError(
                        f"unexpected {name!r} among the raw outputs", where=f"{name_of(machine)}:{scripts.RAW}"
                    )
                (raw_dir / name).write_bytes(content.read())
    except tarfile.TarError as error:
        raise WorkloadError("the raw outputs did not arrive whole", where=name_of(machine), why=str(error)) from None


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
