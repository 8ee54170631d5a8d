"""Python environments beside the testbed's own, each from a lock file, made when it is first asked
for.

For libraries that one task needs and that drag much along: nobody else has to install them.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

from common import files
from common.errors import MissingError


def interpreter(lock: Path, folder: Path) -> Path:
    """The Python of the environment of a lock file; it is made below the folder when it is not
    there. One for each version of lock and Python. MissingError when it cannot be made.
    """
    folder.mkdir(parents=True, exist_ok=True)
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    digest = hashlib.sha256(lock.read_bytes()).hexdigest()[:16]
    place = folder / f"{lock.stem}-{version}-{digest}"
    python = place / "bin" / "python"
    stamp = place / ".complete"
    with files.lock(folder / "lock"):
        if not (stamp.exists() and os.access(python, os.X_OK)):
            shutil.rmtree(place, ignore_errors=True)
            _make(lock, place, python)
            stamp.touch()
    return python


def _make(lock: Path, place: Path, python: Path) -> None:
    pip = [str(python), "-m", "pip", "--disable-pip-version-check", "install", "-qq", "--no-deps"]
    steps = (
        [sys.executable, "-m", "venv", str(place)],
        [*pip, "--require-hashes", "--only-binary=:all:", "-r", str(lock)],
    )
    for words in steps:
        done = subprocess.run(words, capture_output=True, text=True, errors="replace", check=False)
        if done.returncode:
            shutil.rmtree(place, ignore_errors=True)
            raise MissingError(
                f"the environment of {lock.name} could not be made",
                where=" ".join(words),
                why="\n".join((done.stderr or done.stdout).strip().splitlines()[-5:]),
                remedy="Without a network, give pip a mirror or a folder of wheels by its own configuration "
                "(PIP_INDEX_URL, PIP_FIND_LINKS).",
            )
