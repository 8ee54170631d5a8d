"""The programs that change files in every way (tests/lab/exercise.c), and against readers
(tests/lab/race.c), notice what is not as it has to be.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

SOURCES = Path(__file__).resolve().parents[1] / "lab"

SHIM = """
#define _GNU_SOURCE
#include <fcntl.h>
#include <sys/types.h>

int __real_open(const char *path, int flags, int mode);
int __real_fallocate(int file, int mode, off_t from, off_t length);
ssize_t __real_pwrite(int file, const void *what, size_t length, off_t from);

/* Not every file system has direct reads. */
int __wrap_open(const char *path, int flags, int mode)
{
    return __real_open(path, flags & ~O_DIRECT, mode);
}

int __wrap_fallocate(int file, int mode, off_t from, off_t length)
{
    return LAZY == 1 && mode & FALLOC_FL_KEEP_SIZE ? 0 : __real_fallocate(file, mode, from, length);
}

ssize_t __wrap_pwrite(int file, const void *what, size_t length, off_t from)
{
    ssize_t put = __real_pwrite(file, what, length, from);

    return LAZY == 2 && put > 0 && __real_pwrite(file, "", 1, from) < 0 ? -1 : put;
}
"""


def exercised(folder: Path, lazy: int) -> subprocess.CompletedProcess[str]:
    (folder / "shim.c").write_text(SHIM)
    wrapped = [f"-Wl,--wrap={name}" for name in ("open", "fallocate", "pwrite")]
    warnings = ["-Wall", "-Wextra", "-Werror"]
    program = [str(SOURCES / "exercise.c"), str(folder / "shim.c"), f"-DLAZY={lazy}", "-o", str(folder / "exercise")]
    subprocess.run(["gcc", "-O2", *warnings, *wrapped, *program], check=True)
    command = [str(folder / "exercise"), str(folder / "file"), "7", "300", "64"]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_a_file_that_changes_as_it_should_is_right(tmp_path: Path) -> None:
    done = exercised(tmp_path, 0)
    assert (done.returncode, done.stderr) == (0, "")
    found = json.loads(done.stdout)
    assert found.pop("wrong") == 0
    assert sum(each["done"] + each["none"] for each in found.values()) == 300
    assert min(found[name]["done"] for name in ("keep", "direct_write", "mapped_write", "truncate", "reopen")) > 5


@pytest.mark.parametrize(("lazy", "what"), [(1, "holes"), (2, "writes")])
def test_what_is_not_as_it_has_to_be_is_noticed(lazy: int, what: str, tmp_path: Path) -> None:
    done = exercised(tmp_path, lazy)
    assert done.returncode == 0
    assert json.loads(done.stdout)["wrong"] > 0, f"{what} that are not what was asked for"
    assert "exercise: step " in done.stderr


def raced(folder: Path, *other: str) -> dict[str, int]:
    """What the race finds whose direct writes go to the file, or to another."""
    (folder / "shim.c").write_text(SHIM)
    program = [str(SOURCES / "race.c"), str(folder / "shim.c"), "-DLAZY=0", "-o", str(folder / "race")]
    wrapped = [f"-Wl,--wrap={name}" for name in ("open", "fallocate", "pwrite")]
    subprocess.run(["gcc", "-O2", "-Wall", "-Wextra", "-Werror", "-pthread", *wrapped, *program], check=True)
    command = [str(folder / "race"), str(folder / "file"), "1", *other]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert bool(done.stderr) == bool(other)
    found: dict[str, int] = json.loads(done.stdout)
    return found


def test_who_reads_while_others_write_directly_reads_nothing_old(tmp_path: Path) -> None:
    found = raced(tmp_path)
    assert found["stale"] == 0
    assert min(found["writes"], found["reads"]) > 100


def test_a_read_of_what_was_overwritten_is_noticed(tmp_path: Path) -> None:
    # Its direct writes go elsewhere, so that what is read stays as it was.
    (tmp_path / "other").touch()
    assert raced(tmp_path, str(tmp_path / "other"))["stale"] > 0
