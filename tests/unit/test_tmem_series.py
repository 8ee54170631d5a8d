"""What tmem adds to Xen could be sent as it is: a series of patches with messages, documented
options, modules of a size to read.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from lab import paths

TMEM = paths.REPO / "tmem"
FILES = TMEM / "xen" / "files"
PATCHES = sorted((TMEM / "xen" / "patches").glob("*.patch"))
MOST_LINES = 500


def message(patch: Path) -> str:
    """What a patch says before its first change."""
    return patch.read_text().partition("\n---\n")[0]


def names(patch: Path) -> list[str]:
    """The new files, or folders of them, that belong to a patch: the trailer `Files:`."""
    _, _, listed = message(patch).partition("\nFiles:")
    return listed.split()


@pytest.mark.parametrize("patch", PATCHES, ids=lambda patch: patch.name)
def test_a_patch_says_what_and_why(patch: Path) -> None:
    header, _, body = message(patch).partition("\n\n")
    assert re.search(r"^From: .+$", header, re.MULTILINE)
    subject = re.search(r"^Subject: \[PATCH\] ([\w/]+): (\S.*)$", header, re.MULTILINE)
    assert subject is not None, header
    assert len(subject[0]) <= 80
    assert len(body.partition("\nFiles:")[0].split()) >= 15, "a message without a reason"
    assert all(len(line) <= 80 for line in body.splitlines())
    assert "Signed-off-by" not in body, "the sender's to give"


def test_the_series_is_numbered_without_gaps() -> None:
    assert [patch.name[:5] for patch in PATCHES] == [f"{number:04}-" for number in range(1, len(PATCHES) + 1)]


@pytest.mark.parametrize("patch", PATCHES, ids=lambda patch: patch.name)
def test_a_patch_is_whole(patch: Path) -> None:
    """Git reads it, so that its hunks have the lines they say; two of context, which both
    versions of Xen have.
    """
    done = subprocess.run(["git", "apply", "--numstat", str(patch)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout


def test_every_new_file_belongs_to_a_patch() -> None:
    listed = [name for patch in PATCHES for name in names(patch)]
    files = [f"xen/{path.relative_to(FILES)}" for path in FILES.rglob("*") if path.is_file()]
    assert files
    for name in listed:
        assert any(file == name or file.startswith(name) for file in files), f"{name} is no file"
    for file in files:
        assert any(file == name or (name.endswith("/") and file.startswith(name)) for name in listed), file


def test_every_option_is_documented() -> None:
    options = {
        name
        for source in FILES.rglob("*.c")
        for name in re.findall(r'^\w+_param\("(\w+)"', source.read_text(), re.MULTILINE)
    }
    text = "".join(patch.read_text() for patch in PATCHES)
    documented = set(re.findall(r"^\+### (tmem\w*)", text, re.MULTILINE))
    assert options == documented


@pytest.mark.parametrize("module", sorted(TMEM.rglob("*.[ch]")), ids=lambda module: str(module.relative_to(TMEM)))
def test_a_module_is_of_a_size_to_read(module: Path) -> None:
    assert len(module.read_text().splitlines()) <= MOST_LINES
