"""The shell scripts beside this module (*.sh), as commands for a machine: text and arguments in
one, so nothing is installed there.

They are POSIX sh: dash in dom0, busybox in the guests. Each says in its first lines what it does
and what its arguments are.
"""

from __future__ import annotations

import shlex
from functools import cache
from pathlib import Path

_FOLDER = Path(__file__).parent


@cache
def _text(name: str) -> str:
    """Read once, so that a campaign that runs for hours keeps to one version."""
    return (_FOLDER / name).read_text(encoding="utf-8")


def command(name: str, *arguments: str | int) -> str:
    """Sh text that is the script NAME with these arguments. Its first line names the script, for
    errors.
    """
    return f"# {name}\nset -- {shlex.join(str(each) for each in arguments)}\n{_text(name)}"
