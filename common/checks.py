"""Checkers of the source, such as a linter and a type checker: run at the same time, each with one line when it has nothing to say."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from common.console import Tell


def check(
    commands: Mapping[str, Sequence[str]], directory: Path, environment: Mapping[str, str], tell: Tell
) -> list[str]:
    """Run commands by name, and tell the last line of each that passed and all that a failed one printed.

    Returns the names of those that failed, in the order of the commands.
    """

    def run(command: Sequence[str]) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            command, cwd=directory, env=environment, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )

    failed = []
    with ThreadPoolExecutor() as threads:
        for name, done in zip(commands, threads.map(run, commands.values()), strict=True):
            text = done.stdout.decode(errors="replace").strip()
            if done.returncode:
                failed.append(name)
                tell(f"{name}: failed\n{text}")
            else:
                tell(f"{name}: {text.splitlines()[-1] if text else 'passed'}")
    return failed
