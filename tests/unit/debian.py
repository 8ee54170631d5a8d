"""Programs of Debian that a long test needs and the testbed does not: installed where that is
possible, or else asked for.
"""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest


def need(program: str, *packages: str) -> str:
    """The path of a program; its packages are installed when it is missing. The test fails, and
    says what to install, where that cannot be done.
    """
    if found := shutil.which(program):
        return found
    elevate = [] if os.geteuid() == 0 else ["sudo", "-n"]
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    said = ""
    for words in (["update", "-q"], ["install", "-q", "-y", "--no-install-recommends", *packages]):
        if shutil.which("apt-get") is None:
            break
        done = subprocess.run(
            [*elevate, "apt-get", *words], env=environment, check=False, capture_output=True, text=True
        )
        said = done.stderr
    if found := shutil.which(program):
        return found
    pytest.fail(f"{program} is missing: install {', '.join(packages)} (Debian's names)\n{said}")
