"""The system packages that the controller needs: which are missing, and their installation.

The programs and their packages are those of playbooks/roles/controller_packages, which installs
them on Debian and Ubuntu.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import yaml

from common.console import Tell
from common.errors import MissingError
from lab import paths
from lab.build import ansible, sources

DECLARED = paths.PLAYBOOKS / "roles" / "controller_packages" / "defaults" / "main.yml"


LAB, PRINT = "controller_packages_needed", "controller_packages_print"
"""What is declared there: what every lab needs, and what laying out a report for print does."""


def needed(what: str = LAB) -> dict[str, str]:
    """Program, or file by its path -> its package on Debian."""
    declared: dict[str, Any] = yaml.safe_load(DECLARED.read_text())
    return {each["program"]: each["package"] for each in declared[what]}


def missing(what: str = LAB) -> dict[str, str]:
    """What of needed() this machine lacks, and Debian's keys if they are not there."""
    search = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"

    def there(program: str) -> bool:
        return Path(program).exists() if program.startswith("/") else shutil.which(program, path=search) is not None

    lacking = {program: package for program, package in needed(what).items() if not there(program)}
    if not sources.KEYRING.exists():
        lacking[str(sources.KEYRING)] = "debian-archive-keyring"
    return lacking


def install_missing(progress: Tell | None = None, what: str = LAB) -> list[str]:
    """Install what is missing with the machine's package manager; the packages' names. MissingError
    when that is not possible here.
    """
    lacking = missing(what)
    if not lacking:
        return []
    names = sorted(set(lacking.values()))
    by_hand = f"Install the packages {', '.join(names)} (Debian's names)"
    if shutil.which("apt-get") is None:
        raise MissingError(
            f"programs are missing: {', '.join(lacking)}", remedy=f"{by_hand} with this system's package manager."
        )

    try:
        sudo = ansible.needs_sudo()
    except MissingError as error:
        raise MissingError(
            f"programs are missing: {', '.join(lacking)}", why=error.what, remedy=f"{by_hand} as root. {error.remedy}"
        ) from None
    try:
        ansible.run(
            "controller.yml",
            extravars={
                "controller_become": sudo,
                LAB: [{"program": program, "package": package} for program, package in needed(what).items()],
            },
            progress=progress,
            timeout=1800,
            finish_packages=True,
            error=MissingError,
        )
    except MissingError as error:
        raise MissingError(
            error.what,
            where=error.where,
            why=error.why,
            remedy=f"Check the network and the machine's apt sources, then run this again. "
            f"Or: {by_hand} as root.\n{error.remedy}",
        ) from None
    if still := missing(what):
        raise MissingError(f"programs are missing after the installation: {', '.join(still)}", remedy=f"{by_hand}.")
    return names
