"""What a machine does to a program: one message and an exit code for each, and a traceback for
defects alone.
"""

from __future__ import annotations

import errno
import os
import pathlib
import subprocess
import sys
from pathlib import Path

import pytest

from common import surroundings
from common.errors import InvalidFileError, MissingError, UsageError, UserError
from lab import paths

ROOT = Path(__file__).resolve().parents[2]


def refused(number: int) -> OSError:
    return OSError(number, os.strerror(number), "/some/file")


CASES: list[tuple[BaseException, type[UserError], str]] = [
    (refused(errno.ENOSPC), MissingError, "no space left"),
    (refused(errno.EDQUOT), MissingError, "no space left"),
    (refused(errno.EACCES), MissingError, "may not be read or written"),
    (refused(errno.EROFS), MissingError, "may not be read or written"),
    (refused(errno.ENAMETOOLONG), UsageError, "too long"),
    (refused(errno.EMFILE), MissingError, "too many files"),
    (refused(errno.ENOMEM), MissingError, "not enough memory"),
    (MemoryError(), MissingError, "not enough memory"),
    (RuntimeError("can't start new thread"), MissingError, "not enough memory"),
    (ImportError("x.so: failed to map segment from shared object"), MissingError, "not enough memory"),
    (RuntimeError("Could not determine home directory."), MissingError, "no home folder"),
    (RecursionError("maximum recursion depth exceeded"), InvalidFileError, "nested too deeply"),
    (OverflowError("int too large to convert to float"), InvalidFileError, "too large"),
    (ValueError("Exceeds the limit (4300 digits) for integer string conversion"), InvalidFileError, "too large"),
    (MissingError("it is missing"), MissingError, "it is missing"),
]


@pytest.mark.parametrize(("error", "kind", "said"), CASES, ids=lambda each: type(each).__name__)
def test_what_the_machine_does_is_told(error: BaseException, kind: type[UserError], said: str) -> None:
    found = surroundings.explain(error)
    assert type(found) is kind
    assert said in found.what
    assert found.remedy or isinstance(error, UserError)


@pytest.mark.parametrize(
    "error", [ValueError("x"), KeyError("x"), RuntimeError("x"), refused(errno.ENOENT), OSError("x")]
)
def test_what_is_a_defect_stays_one(error: BaseException) -> None:
    assert surroundings.explain(error) is None


def test_the_file_is_named() -> None:
    found = surroundings.explain(refused(errno.ENOSPC))
    assert found is not None
    assert (found.where, found.why) == ("/some/file", "No space left on device")


def inv(code: str, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """A task of the checkout, after this code."""
    text = (
        "import sys; sys.argv = ['inv', *sys.argv[1:]]; sys.path.insert(0, "
        f"'.')\n{code}\nimport invoke_tasks, common.program\n"
    )
    return subprocess.run(
        [sys.executable, "-c", f"{text}common.program.run(invoke_tasks.namespace)", *words],
        cwd=ROOT,
        env={**os.environ, **environment},
        check=False,
        capture_output=True,
        text=True,
    )


def test_a_task_that_meets_a_full_disk_ends_with_a_message(tmp_path: Path) -> None:
    code = """
import errno, lab.lifecycle
def full(*_): raise OSError(errno.ENOSPC, "No space left on device", "/cache/x")
lab.lifecycle.status = full
"""
    done = inv(code, "lab.status")
    assert done.returncode == 3, done.stderr
    assert "there is no space left" in done.stderr
    assert "/cache/x" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_limit_of_memory_ends_with_a_message() -> None:
    code = "import lab.lifecycle\ndef full(*_): raise MemoryError\nlab.lifecycle.status = full"
    done = inv(code, "lab.status")
    assert (done.returncode, "Traceback" in done.stderr) == (3, False)
    assert "ulimit" in done.stderr


def test_who_has_no_home_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    for name in ("OVERCOMMIT_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pathlib.Path, "home", home)
    with pytest.raises(MissingError, match="no folder for the cache") as raised:
        paths.cache()
    assert "OVERCOMMIT_CACHE" in raised.value.remedy


def test_a_cache_of_somebody_else_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OVERCOMMIT_CACHE", str(tmp_path))
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(MissingError, match="may not be read and written") as raised:
        paths.cache()
    assert raised.value.where == str(tmp_path)
    assert f"this is user {os.geteuid()}" in raised.value.why


def test_a_cache_that_is_a_file_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cache").touch()
    monkeypatch.setenv("OVERCOMMIT_CACHE", str(tmp_path / "cache"))
    with pytest.raises(MissingError, match="cannot be made"):
        paths.cache()


@pytest.mark.parametrize("mask", [0o002, 0o000])
def test_sockets_of_a_long_path_are_ours_alone_under_any_umask(mask: int, tmp_path: Path) -> None:
    """Under 002 the folder above was made for the group to write to, and then refused."""
    long = tmp_path / ("x" * 100) / "xen1"
    user = os.geteuid()
    code = (
        f"import os; os.umask({mask}); os.geteuid = lambda: {user}\n"
        "from pathlib import Path\nfrom lab.remote import ssh\n"
        f"ssh.SHORT = {str(tmp_path / 'short')!r}\n"
        f"print(ssh.socket_folder(Path({str(long)!r})))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    made = Path(done.stdout.strip())
    assert {each.stat().st_mode & 0o777 for each in (made, made.parent)} == {0o700}


def test_too_little_memory_to_load_the_tasks_is_told() -> None:
    code = """
import runpy, sys
class Full:
    def find_spec(self, name, *_):
        if name == "tasks.tmem":
            raise MemoryError
sys.meta_path.insert(0, Full())
runpy.run_path("invoke_tasks.py", run_name="__main__")
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False, capture_output=True, text=True)
    assert (done.returncode, "Traceback" in done.stderr) == (3, False)
    assert "not enough memory" in done.stderr


@pytest.mark.parametrize(
    ("closed", "words", "code"),
    [
        (">&-", "campaign.plan demo", 0),
        ("2>&-", "campaign.plan nosuch", 4),
        (">&- 2>&-", "campaign.plan nosuch", 4),
        ("<&- >&- 2>&-", "campaign.plan demo --json", 0),
    ],
)
def test_a_stream_that_is_closed_is_no_error(closed: str, words: str, code: int) -> None:
    line = f"exec {sys.executable} invoke_tasks.py {words} {closed}"
    assert subprocess.run(["bash", "-c", line], cwd=ROOT, check=False).returncode == code


def test_signs_that_a_terminal_does_not_have_are_shown_by_their_numbers() -> None:
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    command = [sys.executable, "invoke_tasks.py", "experiments.describe", "demo"]
    done = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert "3 cells, 1 \\xd7 1 (boots \\xd7 runs)" in done.stdout
