"""Ends what a cancelled or killed run left working.

ansible-runner does not end a run's commands when it is cancelled or killed (seen with 2.4.3), so whoever owns a run's folder does: every
process of the run inherits the folder's path in its environment or has it on its command line. The path is random, so nothing else names it.
"""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path


def end_users(folder: Path) -> None:
    """Kill the processes whose command line or environment names the folder. What holds a name space (playbooks/files/chroot-exec) takes all inside with it."""
    needle = str(folder).encode()
    for process in Path("/proc").iterdir():
        if not process.name.isdigit() or int(process.name) == os.getpid():
            continue
        with contextlib.suppress(OSError):
            if needle in (process / "cmdline").read_bytes() or needle in (process / "environ").read_bytes():
                os.kill(int(process.name), signal.SIGKILL)
