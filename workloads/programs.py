"""Programs of our own (programs/NAME.c, with latency.h) on the machines that run them.

An image that is built for a workload has them compiled (playbooks/roles/guest_root_loads). Where
one is missing, as on the controller, it is compiled while the workload is prepared. Its file is
named after its source, so none is ever out of date.
"""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

from workloads import scripts

THERE = "/usr/local/lib/overcommit"
"""Folder on the machine. The role guest_root_loads compiles into the same."""

_FOLDER = Path(__file__).parent / "programs"


@cache
def _text(file: str) -> str:
    return (_FOLDER / file).read_text(encoding="utf-8")


def path(name: str) -> str:
    """Where a program is on every machine: NAME, and the first 16 digits of the SHA-256 of
    latency.h and NAME.c together.
    """
    both = _text("latency.h") + _text(f"{name}.c")
    return f"{THERE}/{name}-{hashlib.sha256(both.encode()).hexdigest()[:16]}"


def prepare(name: str) -> str:
    """The body of a prepare script: the program is there. Prints the fact NAME=its file's name."""
    return scripts.text("program-prepare.sh", name, path(name), _text("latency.h"), _text(f"{name}.c"))
