"""A cell's files as bytes, from where it was run to where it is stored. Every file's sum is
compared when they are unpacked.
"""

from __future__ import annotations

import io
import zipfile
from pathlib import Path, PurePosixPath

from campaigns import records, store
from common import files
from common.errors import ResultsError


def pack(directory: Path) -> bytes:
    """All files of a sealed cell."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in [*store.files_of(directory), records.SUMS_FILE]:
            archive.write(directory / name, name)
    return made.getvalue()


def unpack(parcel: bytes, directory: Path) -> None:
    """Write them into a directory, durably. ResultsError when one is not as it was."""
    with store.storing(directory), zipfile.ZipFile(io.BytesIO(parcel)) as archive:
        for name in archive.namelist():
            path = PurePosixPath(name)
            if path.is_absolute() or ".." in path.parts:
                raise ResultsError("a parcel of results holds a name that leads out of it", where=name)
            target = directory / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(archive.read(name))
        listed = store.read_sums(directory / records.SUMS_FILE)
        found = {name: files.digest(directory / name) for name in store.files_of(directory)}
        if listed != found or not found:
            wrong = sorted({*listed.items()} ^ {*found.items()})
            raise ResultsError(
                "a parcel of results is not what its worker has packed", where=", ".join({name for name, _ in wrong})
            )
        store.sync_tree(directory)
