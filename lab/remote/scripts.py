"""The shell scripts beside this module (*.sh), as commands for a machine (common/scripts.py)."""

from __future__ import annotations

from pathlib import Path

from common import scripts

_FOLDER = Path(__file__).parent


def command(name: str, *arguments: str | int) -> str:
    """Sh text that is the script NAME with these arguments."""
    return scripts.command(_FOLDER / name, *arguments)
