"""Ends what a cancelled or killed run left working.

ansible-runner does not end a run's commands when it is cancelled or killed (seen with 2.4.3), so whoever owns a run's folder does: every
process of the run inherits the folder's path in its environment or has it on its command line. The path is random, so nothing else names it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path

PATIENCE = 5.0
"""Seconds to wait for killed processes to be gone."""


def end_users(folder: Path) -> None:
    """Kill the processes whose command line or environment names the folder, and wait until they are gone.

    Again until none is left, since one that is killed late may have started another. What holds a name space (playbooks/files/chroot-exec) takes all inside with it.
    """
    deadline = time.monotonic() + PATIENCE
    while users := _users(str(folder).encode()):
        for pid in users:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        if time.monotonic() > deadline:
            return
        time.sleep(0.02)


def _users(needle: bytes) -> list[int]:
    found = []
    for process in Path("/proc").iterdir():
        if not process.name.isdigit() or int(process.name) == os.getpid():
            continue
        with contextlib.suppress(OSError):
            if needle in (process / "cmdline").read_bytes() or needle in (process / "environ").read_bytes():
                found.append(int(process.name))
    return found
