"""Locks, replacement and digests of common/files.py, and the start time of a process."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from common import files, processes

HOLD = (
    "import sys; from pathlib import Path; from common import files\nheld = "
    "files.lock(Path(sys.argv[1]))\nprint('held', flush=True); sys.stdin.read()"
)


def test_a_lock_has_one_holder_who_is_known_and_ends_with_its_process(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    assert files.lock_holder(path) is None
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        with pytest.raises(files.LockedError) as error:
            files.lock(path, wait=False)
        assert error.value.holder == files.lock_holder(path) == other.pid
        other.kill()
        other.wait()
        assert files.lock_holder(path) is None
        with files.lock(path):
            assert files.lock_holder(path) == os.getpid()


@pytest.mark.parametrize("durable", [False, True])
def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, durable: bool) -> None:
    path = tmp_path / "state.json"
    files.replace(path, "old", durable=durable)
    files.replace(path, b"new", durable=durable)
    assert path.read_text() == "new"

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "no space")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="no space"):
        files.replace(path, "newest", durable=durable)
    assert [(each.name, each.read_text()) for each in tmp_path.iterdir()] == [("state.json", "new")]


def test_what_has_to_last_is_on_the_disk_before_it_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    real = os.fsync

    def fsync(descriptor: int) -> None:
        done.append(Path(f"/proc/self/fd/{descriptor}").readlink().name)
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    files.replace(tmp_path / "quick", "x")
    assert done == []
    files.replace(tmp_path / "kept", "x", durable=True)
    assert done == [f".kept.{os.getpid()}.new", tmp_path.name]


def test_a_process_is_told_by_its_start_and_its_remains_are_none() -> None:
    assert processes.start_time(os.getpid()) == processes.start_time(os.getpid())
    child = subprocess.Popen(["true"])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert processes.start_time(child.pid) is None
    child.wait()
    assert processes.start_time(child.pid) is None


def test_a_digest_is_of_the_content(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    assert files.digest(tmp_path / "empty") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def test_a_file_that_is_kept_is_nobody_s_alone_until_its_processes_have_ended(tmp_path: Path) -> None:
    path = tmp_path / "manifest.json"
    path.write_text("{}")
    keep = HOLD.replace("files.lock", "files.keep")
    with subprocess.Popen(
        [sys.executable, "-c", keep, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        with pytest.raises(files.LockedError):
            files.alone(path)
        other.kill()
        other.wait()
    with files.alone(path):
        assert not files.keep(path)
    assert files.keep(path)
    assert path.read_text() == "{}"
    path.unlink()
    assert not files.keep(path)
    assert not files.keep(tmp_path / "missing")


def test_who_works_in_a_folder_or_has_a_file_of_it_open_is_seen(tmp_path: Path) -> None:
    inside, beside = tmp_path / "in", tmp_path / "inside"
    (inside / "sub").mkdir(parents=True)
    beside.mkdir()
    (inside / "file").touch()
    assert processes.users(inside) == []
    with (inside / "file").open() as stream:
        waiting = [
            subprocess.Popen(["sleep", "60"], cwd=inside / "sub"),
            subprocess.Popen(["sleep", "60"], pass_fds=[stream.fileno()]),
            subprocess.Popen(["sleep", "60"], cwd=beside),
        ]
    try:
        assert processes.users(inside) == sorted(each.pid for each in waiting[:2])
    finally:
        for each in waiting:
            each.kill()
            each.wait()
    assert processes.users(inside) == []
