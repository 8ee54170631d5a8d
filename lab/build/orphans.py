"""Ends what a cancelled or killed run left working.

ansible-runner does not end a run's commands when it is cancelled or killed (seen with 2.4.3), so
whoever owns a run's folder does: every process of the run inherits the folder's path in its
environment or has it on its command line. The path is random, so nothing else names it.

What sudo started is root's: only root may look into its environment and end it. So who is not root
has this module do the same once more as a program, through sudo: `orphans.py end` or `orphans.py
wait`, with the folder's path on its input, since on its command line it would be one of those that
name it. It stands on the standard library alone.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

KILL_SECONDS = 5.0
"""Seconds to wait for killed processes to be gone."""

INSTALLATION_SECONDS = 900.0
"""Bound for an installation of packages that is waited for."""


def end_processes_of(folder: Path) -> None:
    """Kill the processes whose command line or environment names the folder, with all that they
    started, and wait until they are gone.

    Again until none is left, since one that is killed late may have started another. What holds a
    name space (playbooks/files/chroot-exec) takes all inside with it.
    """
    _as_root("end", folder)
    _end(os.fsencode(folder))


def wait_for_packages(folder: Path) -> None:
    """Return when those processes install no packages.

    A dpkg that is killed leaves packages half installed, and apt then does nothing until someone
    has set that right.
    """
    _as_root("wait", folder)
    _wait(os.fsencode(folder))


def _as_root(what: str, folder: Path) -> None:
    """Do the same to root's processes, too. Where sudo does not let this user, it has started none
    of them.
    """
    if os.geteuid() == 0:
        return
    command = ["sudo", "-n", sys.executable, "-I", str(Path(__file__).resolve()), what]
    with contextlib.suppress(OSError):
        subprocess.run(command, input=os.fsencode(folder), capture_output=True, check=False)


def _end(needle: bytes) -> None:
    deadline = time.monotonic() + KILL_SECONDS
    while processes := _processes_of(needle):
        for pid in processes:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        if time.monotonic() > deadline:
            return
        time.sleep(0.02)


def _wait(needle: bytes) -> None:
    """From when dpkg is seen until apt, which runs it several times, is gone, too."""
    deadline = time.monotonic() + INSTALLATION_SECONDS
    waited_for = {"dpkg"}
    while time.monotonic() < deadline and waited_for & set(_processes_of(needle).values()):
        waited_for = {"dpkg", "apt-get"}
        time.sleep(0.2)


def _processes_of(needle: bytes) -> dict[int, str]:
    """Number -> program of the processes that name it, and of their descendants: sudo hands its
    environment to nobody. Never we, or who called us.
    """
    programs: dict[int, str] = {}
    parents: dict[int, int] = {}
    found: list[int] = []
    for process in Path("/proc").iterdir():
        if not process.name.isdigit():
            continue
        pid = int(process.name)
        with contextlib.suppress(OSError):
            program, _, rest = (process / "stat").read_text(errors="replace").partition("(")[2].rpartition(")")
            programs[pid] = program
            parents[pid] = int(rest.split()[1])
            if needle in (process / "cmdline").read_bytes() or needle in (process / "environ").read_bytes():
                found.append(pid)
    spared, pid = set[int](), os.getpid()
    while pid and pid not in spared:
        spared.add(pid)
        pid = parents.get(pid, 0)
    processes: dict[int, str] = {}
    while found:
        if (pid := found.pop()) not in processes and pid not in spared:
            processes[pid] = programs[pid]
            found += [child for child, parent in parents.items() if parent == pid]
    return processes


if __name__ == "__main__":
    {"end": _end, "wait": _wait}[sys.argv[1]](sys.stdin.buffer.read())
