"""Processes of this machine, told apart by number and start time: a number alone may long be
another program's.
"""

from __future__ import annotations

from pathlib import Path


def start_time(pid: int) -> int | None:
    """Clock ticks from this machine's boot to the start of a process; None when there is none, or
    only its remains.

    Field 22 of /proc/PID/stat. A process whose first thread has ended is there until the others
    have, too: so long it keeps its files, their locks and its port.
    """
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()
    state, threads = fields[0], int(fields[17])
    return None if state in {"Z", "X"} and threads <= 1 else int(fields[19])
