"""Checkers of the source, such as a linter and a type checker: run at the same time, each with one
line when it has nothing to say.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from common.console import Tell

SHELL = re.compile(rb"#!\s*\S*[/ ](ba|da)?sh\b")


def shell_scripts(root: Path) -> list[str]:
    """The shell scripts below a checkout's folders, whatever their names; templates are none until
    they are filled in.
    """
    folders = [each for each in root.iterdir() if each.name == ".ci" or not each.name.startswith((".", "results"))]
    files = (path for folder in folders for path in folder.rglob("*") if path.suffix in {"", ".sh"} and path.is_file())
    return sorted(str(path.relative_to(root)) for path in files if SHELL.match(path.read_bytes()[:80]))


def check(
    commands: Mapping[str, Sequence[str]], directory: Path, environment: Mapping[str, str], tell: Tell
) -> list[str]:
    """Run commands by name, and tell the last line of each that passed and all that a failed one
    printed.

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
