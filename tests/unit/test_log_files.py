"""logs.check: the reader of kernel logs on any file, with its exit codes."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from command import inv

from campaigns import log_files
from common.errors import InvalidFileError
from common.program import arguments
from tests.unit.workloads_local import DATA

GOOD, BAD = DATA / "kernel_log" / "valid.txt", DATA / "kernel_log" / "invalid.txt"
WRAPPED = DATA / "xl-dmesg-wrapped"


def test_any_number_of_files_and_their_exit_code() -> None:
    done = inv("logs.check", str(GOOD), str(BAD), str(GOOD))
    said = done.stdout
    assert done.returncode == 7, done.stderr
    assert f"{BAD}:1: cpu: [  616.309156] divide error" in said
    assert said.count(f"{BAD}:") == 9, "a line for each of eight, and one for the file"
    assert inv("logs.check", str(GOOD), str(GOOD)).returncode == 0


def test_machines_get_each_line_and_each_files_verdict() -> None:
    done = inv("logs.check", str(GOOD), "--json", str(BAD))
    found = json.loads(done.stdout)
    assert done.returncode == 7
    assert found["valid"] is False
    assert [(each["file"], each["valid"]) for each in found["files"]] == [(str(GOOD), True), (str(BAD), False)]
    assert [each["line"] for each in found["findings"]] == list(range(1, 9))
    assert set(found["findings"][0]) == {"file", "line", "text", "kind", "what"}


def test_standard_input_and_bytes_that_are_no_utf_8() -> None:
    done = inv("logs.check", "-", given=b"[ 1.0] \xff\xfe fine\r\n[ 2.0] \xff BUG: Bad page state in process cc1\r\n")
    assert done.returncode == 7
    assert "-:2: kernel" in done.stdout or "-:2: memory" in done.stdout


def test_only_what_is_new_and_its_line_in_the_file() -> None:
    """A full ring: both files have as many lines."""
    done = inv("logs.check", str(WRAPPED / "after.txt"), "--before", str(WRAPPED / "before.txt"))
    assert done.returncode == 7
    assert "after.txt:37: guest: (XEN) Domain 3 (vcpu#0) crashed on cpu#1:" in done.stdout
    (checked,) = log_files.check([str(WRAPPED / "before.txt")], str(WRAPPED / "before.txt"))
    assert (checked.lines, checked.valid) == (0, True)


def test_a_log_that_cannot_be_joined_to_the_earlier_one_is_not_valid() -> None:
    (checked,) = log_files.check([str(GOOD)], str(WRAPPED / "before.txt"))
    assert checked.lost
    assert not checked.valid
    assert [each.kind for each in checked.findings] == ["lost"]


def test_zeros_that_a_crash_left_are_lost_messages(tmp_path: Path) -> None:
    """ext4 and others leave them where a log was being written; the rest of it is read."""
    file = tmp_path / "kern.log"
    oops = b"[    3.0] BUG: unable to handle page fault for address: 0000000000000008\n"
    file.write_bytes(b"[    1.0] fine\n[    2.0] fi" + 4096 * b"\0" + b"[    2.5] fine\n" + oops)
    (found,) = log_files.check([str(file)])
    assert [(each.number, each.kind) for each in found.findings] == [(2, "lost"), (3, "cpu")]
    assert "<zeros>" in found.findings[0].line
    assert found.lines == 3


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("missing", None, "No such file"),
        ("binary", b"\x7fELF\0\0", "bytes of 0"),
        ("utf-16", "[ 1.0] fine\n".encode("utf-16"), "bytes of 0"),
        ("log.gz", b"\x1f\x8b\x08\x08", "gzip"),
    ],
)
def test_what_is_no_log(name: str, content: bytes | None, words: str, tmp_path: Path) -> None:
    file = tmp_path / name
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(InvalidFileError) as caught:
        log_files.check([str(GOOD), str(file)])
    assert str(file) in caught.value.where
    assert words in caught.value.why


def test_a_folder_a_log_without_rights_and_no_log_at_all(tmp_path: Path) -> None:
    assert inv("logs.check", str(tmp_path)).returncode == 4
    assert inv("logs.check").returncode == 2
    if os.getuid():
        (tmp_path / "closed").touch(mode=0)
        assert inv("logs.check", str(tmp_path / "closed")).returncode == 4


def test_an_empty_log_is_valid(tmp_path: Path) -> None:
    (tmp_path / "log").touch()
    (checked,) = log_files.check([str(tmp_path / "log")])
    assert (checked.valid, checked.lines) == (True, 0)


def test_escape_sequences_of_a_log_do_not_reach_the_terminal() -> None:
    done = inv("logs.check", "-", given=b"[ 1.0] BUG: Bad page state in process \x1b]0;owned\x07\n")
    assert "\x1b]" not in done.stdout
    assert r"\x1b]0;owned\x07" in done.stdout


def test_files_are_told_from_options_and_their_values() -> None:
    named = ["inv", "logs.check", "--file=a", "--before", "b", "--file=-", "--json"]
    assert arguments(["inv", "logs.check", "a", "--before", "b", "-", "--json"]) == named
    assert arguments(["inv", "logs.check", "--help"]) == ["inv", "--help", "logs.check"]
