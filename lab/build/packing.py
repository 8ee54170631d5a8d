"""The guests' image as it is sent to servers: the same disk in a third of its size.

Emulated hosts read the artifact itself, in place. A server gets a copy over SSH, and there may be
twenty of them behind one line.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

from common import files
from common.console import Tell
from common.errors import BuildError, MissingError
from lab import paths

SECONDS = 1800.0
"""Half a minute on a processor that is free."""


def packed(image: Path, tell: Tell) -> Path:
    """A compressed copy of an artifact's image, made once for each artifact: the same file the next
    time. One of another artifact goes. BuildError when it cannot be made.
    """
    folder = paths.cache() / "packed"
    folder.mkdir(exist_ok=True)
    path = folder / f"{image.parent.name}.qcow2"
    with files.lock(folder / "lock"):
        if path.exists():
            return path
        tell(f"packing {image.name}, once")
        for old in folder.glob("*.qcow2*"):
            old.unlink()
        new = path.with_name(f"{path.name}.new")
        words = ["convert", "-c", "-f", "qcow2", "-O", "qcow2", "-o", "compression_type=zstd", str(image), str(new)]
        try:
            subprocess.run(["qemu-img", *words], check=True, capture_output=True, text=True, timeout=SECONDS)
        except FileNotFoundError:
            raise MissingError("qemu-img is missing", remedy="Install qemu-utils, or run ./inv setup.") from None
        except subprocess.TimeoutExpired:
            raise BuildError(
                "the guests' image could not be packed", where=str(image), why="it took too long"
            ) from None
        except subprocess.CalledProcessError as error:
            why = str(error.stderr).strip()
            raise BuildError("the guests' image could not be packed", where=str(image), why=why) from None
        new.rename(path)
    return path
