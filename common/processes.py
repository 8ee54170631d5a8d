"""Processes of this machine, told apart by number and start time: a number alone may long be
another program's.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
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


def users(folder: Path) -> list[int]:
    """Other processes that work in a folder, or have it or a file below it open, as far as this
    user may see: such as a QEMU that nobody holds a lock for.
    """
    inside = f"{folder.resolve()}{os.sep}"
    processes = [each for each in Path("/proc").iterdir() if each.name.isdigit() and int(each.name) != os.getpid()]
    return sorted(
        int(each.name) for each in processes if any(f"{place}{os.sep}".startswith(inside) for place in _places(each))
    )


def _places(process: Path) -> Iterator[str]:
    with suppress(OSError):
        yield str((process / "cwd").readlink())
    with suppress(OSError):
        for each in (process / "fd").iterdir():
            with suppress(OSError):
                yield str(each.readlink())
