"""A campaign as it is put among published results: all that was measured, with the report and its
figures, and without what a command makes of these in seconds.

Samples, what the agents said of them, and what was run, as shell, are packed (common/packed.py);
figures are PNGs for a page's width, with their texts. The sums of cells and of the campaign are
made anew, since they are of packed files; whoever has the campaign's own sum from elsewhere has it
of what was measured, so it is told as well.
"""

from __future__ import annotations

import math
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from campaigns import records, reproduce, store
from common import files, packed

REPORT, FIGURES = "report.md", "figures"

_LONG = re.compile(rf"/(raw/[^/]+\.samples\.(txt|jsonl)|{records.SAMPLES_FILE}|{reproduce.FILE})$")
"""What is packed: readings of agents, one after the other, what follows from them, and scripts that
are nearly the same in all cells.
"""


@dataclass(frozen=True)
class Published:
    """What was written: how many files, and of how many bytes. sum: of the campaign's SHA256SUMS,
    was: the one before.
    """

    path: Path
    files: int
    size: int
    sum: str
    was: str


def publish(directory: Path, target: Path) -> Published:
    """Write a campaign to a new directory, whole or not at all. The caller has verified it.
    ResultsError when the name is taken.
    """
    with store.storing(target.parent):
        target.parent.mkdir(parents=True, exist_ok=True)
    new = store.unfinished(target.parent, target.name)
    try:
        with store.storing(new):
            shutil.rmtree(new, ignore_errors=True)
            for name in _kept(directory):
                _copy(directory, new, name)
            for parent in (records.CELLS_DIR, records.ATTEMPTS_DIR):
                for cell in sorted((new / parent).glob("*/")):
                    store.write_sums(cell)
            listed = store.read_sums(directory / records.SUMS_FILE)
            store.replace_sums(new, {name: files.digest(new / name) for name in listed if (new / name).is_file()})
            store.sync_tree(new)
            store.publish(new, target)
    finally:
        shutil.rmtree(new, ignore_errors=True)
    sizes = [path.stat().st_size for path in target.rglob("*") if path.is_file()]
    made, was = (files.digest(each / records.SUMS_FILE) for each in (target, directory))
    return Published(target, len(sizes), int(math.fsum(sizes)), made, was)


def _kept(directory: Path) -> Iterator[str]:
    """What is published, by its path."""
    for name in store.files_of(directory):
        first, _, rest = name.partition("/")
        whole = first in (records.CAMPAIGN_FILE, records.LOOKS_DIR, REPORT)
        shown = first == FIGURES and rest.endswith((".png", ".txt")) and ".column." not in rest
        measured = first in (records.CELLS_DIR, records.ATTEMPTS_DIR) and Path(name).name != records.SUMS_FILE
        if whole or shown or measured:
            yield name


def _copy(directory: Path, new: Path, name: str) -> None:
    content, target = (directory / name).read_bytes(), new / name
    if _LONG.search(name):
        content, target = packed.pack(content), target.with_name(f"{target.name}{packed.SUFFIX}")
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(content)
