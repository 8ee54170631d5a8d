"""The programs in C of this folder, which are run in guests and in dom0."""

from __future__ import annotations

import subprocess
import tempfile
from functools import cache
from pathlib import Path

from lab.hosts.emulated import EmulatedHost

FOLDER = "/root"
"""Nothing can be executed in dom0's /run."""


@cache
def _compiled(name: str) -> bytes:
    """For any Linux on x86-64: with all that it needs."""
    source = Path(__file__).with_name(f"{name}.c")
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / name
        subprocess.run(["gcc", "-O2", "-static", "-pthread", "-s", "-o", str(program), str(source)], check=True)
        return program.read_bytes()


def hand_over(host: EmulatedHost, machine: str, name: str) -> str:
    """Where a program is on a machine of the host now."""
    path = f"{FOLDER}/{name}"
    host.run(machine, f"cat > {path} && chmod +x {path}", stdin=_compiled(name), timeout=120)
    return path
