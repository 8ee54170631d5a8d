"""The guest driver's package has another version whenever its sources are others.

Who has an older driver installed would otherwise be told by apt that there is nothing newer, and
keep its faults.
"""

from __future__ import annotations

import hashlib
import re

from lab.paths import REPO

DRIVER = REPO / "tmem" / "linux"
KNOWN = REPO / "tests" / "driver" / "version.txt"
"""The version in debian/changelog, and the sum of what a package of that version has."""


def packaged() -> str:
    """SHA-256 of the files that debian/rules installs, with their names."""
    told = hashlib.sha256()
    for path in sorted([*DRIVER.glob("*.[ch]"), DRIVER / "Kbuild", DRIVER / "debian" / "tmem-dkms.dkms"]):
        told.update(f"{path.name} {hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return told.hexdigest()


def test_a_driver_that_differs_has_another_version() -> None:
    changelog = (DRIVER / "debian" / "changelog").read_text()
    first = re.match(r"tmem \(([\d.]+)\) ", changelog)
    assert first
    now = f"{first[1]} {packaged()}\n"
    assert KNOWN.read_text() == now, (
        f"The driver has changed: give debian/changelog a new version, say why there, and write into {KNOWN}: {now}"
    )
