"""The daemon with the managers as one file that Python runs: made in memory, and the same bytes
each time.
"""

from __future__ import annotations

import io
import zipfile
from functools import cache
from pathlib import Path

_FOLDER = Path(__file__).parent
_PARTS = ("daemon", "managers")
_INTERPRETER = b"#!/usr/bin/python3 -ISB\n"
"""Isolated: nothing of the machine's own packages is imported, and nothing is written there."""

_MAIN = """\
import sys

from policies.daemon.main import main

sys.exit(main(sys.argv[1:]))
"""
_LONG_AGO = (1980, 1, 1, 0, 0, 0)


@cache
def program() -> bytes:
    """The file. Read once, so that a campaign that runs for hours keeps to one version."""
    files = {"__main__.py": _MAIN, "policies/__init__.py": ""}
    for part in _PARTS:
        for path in sorted((_FOLDER / part).glob("*.py")):
            files[f"policies/{part}/{path.name}"] = path.read_text(encoding="utf-8")
    packed = io.BytesIO()
    packed.write(_INTERPRETER)
    with zipfile.ZipFile(packed, "a", zipfile.ZIP_DEFLATED) as archive:
        for name, text in files.items():
            archive.writestr(zipfile.ZipInfo(name, _LONG_AGO), text, zipfile.ZIP_DEFLATED)
    return packed.getvalue()
