"""Shell scripts that lie in files, as commands for a machine: text and arguments in one, so nothing
is installed there.

They are POSIX sh: dash in dom0, busybox in the guests. Each says in its first lines what it does
and what its arguments are.
"""

from __future__ import annotations

import shlex
from functools import cache
from pathlib import Path


@cache
def _text(path: Path) -> str:
    """Read once, so that a campaign that runs for hours keeps to one version."""
    return path.read_text(encoding="utf-8")


def command(path: Path, *arguments: str | int) -> str:
    """Sh text that is the script with these arguments. Its first line names the script, for
    errors. Texts of several scripts may follow one another.
    """
    return f"# {path.name}\nset -- {shlex.join(str(each) for each in arguments)}\n{_text(path)}"
