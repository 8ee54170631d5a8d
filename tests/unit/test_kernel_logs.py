"""What is new in a log that is a ring, and how what cannot be known is marked."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from campaigns import kernel_log
from lab.hosts.host import XenGuest, XenHost
from lab.hosts.kernel_logs import LOST, new_since
from lab.remote.ssh import Connections
from tests.unit.workloads_local import DATA


def test_a_full_ring_of_xen_shows_what_is_new() -> None:
    """Named after a reader that counted lines: both readings have as many, and six of the second's
    are new.
    """
    folder = DATA / "xl-dmesg-wrapped"
    before, after = ((folder / f"{name}.txt").read_text() for name in ("before", "after"))
    assert len(before.splitlines()) == len(after.splitlines())
    found = new_since(before, after)
    assert found.text.splitlines() == after.splitlines()[-6:]
    assert not found.lost
    assert "crashed" in found.text


@pytest.mark.parametrize(
    ("before", "after", "new"),
    [
        ("a\nb\n", "a\nb\nc\n", "c\n"),
        ("a\nb\n", "a\nb\n", ""),
        ("a\nb", "a\nb\nc\n", "c\n"),
        ("a\r\nb\r\n", "b\nc\n", "c\n"),
        ("a\nb\nc\n", "b\nc\nd\ne\n", "d\ne\n"),
        ("first line\nsecond\n", "t line\nsecond\nthird\n", "third\n"),
        ("one\ntwo\nthree is half wri", "two\nthree is half written\nfour\n", "three is half written\nfour\n"),
        ("  cut\nb\n", "  cut\nb\nc\n", "c\n"),
        ("  cut\nb\n", "  cut\nb\n", ""),
        ("(XEN) a\n(XEN) Pan", "(XEN) a\n(XEN) Panic on CPU 0:\n", "(XEN) Panic on CPU 0:\n"),
        ("(XEN) a\n(XEN) \n", "(XEN) a\n(XEN) \n(XEN) b\n", "(XEN) b\n"),
        ("same\nsame\nsame\n", "same\nsame\nsame\nother\n", "other\n"),
        ("", "a\n", "a\n"),
        ("\n\n", "a\n", "a\n"),
        ("one\nlast line", "last line, and more\nnew\n", "last line, and more\nnew\n"),
        ("one\nlast line\n", "last line\nnew\n", "new\n"),
    ],
)
def test_what_is_new(before: str, after: str, new: str) -> None:
    found = new_since(before, after)
    assert (found.text, found.lost) == (new, False)
    assert found.marked() == new


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("a\nb\n", "x\ny\n"),
        ("a\nb\n", ""),
        ("[1] one\n[2] two\n", "o\n[3] three\n"),
        ("[1] one\n[2] two\n", "[3] three\n[1] one\n[2] two\n"),
        ("(XEN) a\n(XEN) \n", "(XEN) b\n(XEN) c\n"),
        ("(XEN) a\n(XE", "(XEN) b\n(XEN) c\n"),
        ("(XEN) a\n(XEN", " a\n(XEN) c\n"),
        ("(XEN) a\n(XEN) \n", "(XEN) \n(XEN) c\n"),
        ("a\nCPU 1\n", "CPU 12 is stuck\nb\n"),
        ("x\na line\nCPU 1\n", "line\nCPU 12 is stuck\nb\n"),
    ],
)
def test_a_log_that_cannot_be_joined_is_all_new_and_says_that_messages_may_be_missing(before: str, after: str) -> None:
    found = new_since(before, after)
    assert found.lost
    assert found.text == after
    assert found.marked().startswith(LOST + "\n")


@given(
    lines=st.lists(st.text(alphabet="ab [1", max_size=6).map(str.strip).filter(bool), min_size=1, max_size=30),
    read=st.integers(1, 30),
    ring=st.integers(20, 80),
)
def test_no_new_line_of_a_ring_is_ever_missed(lines: list[str], read: int, ring: int) -> None:
    """Numbered lines through a ring of bytes, read twice: what was written in between is in what is
    new, or messages may be missing.
    """
    numbered = [f"{number:03d} {line}\n" for number, line in enumerate(lines)]
    before = "".join(numbered[:read])[-ring:]
    after = "".join(numbered)[-ring:]
    found = new_since(before, after)
    assert found.text == (after.lstrip("\n") if found.lost else "".join(numbered[read:]))


class RingHost(XenHost):
    """A host whose two rings are full: a reading before the reset, and one after the run."""

    kind = "emulated"

    def __init__(self) -> None:
        super().__init__("ring", Connections(Path("unused"), Path("unused")))
        self.texts = {"dom0": "", "guest1": ""}

    def reset(self, host: Any, guests: Any, *, boot: str | None = None) -> None:
        self._logs_before = self._read_logs(["guest1"])
        self._guests = {"guest1": XenGuest("guest1", self.connections)}

    def _all(self, scripts: Mapping[str, str], *, timeout: float = 60.0) -> dict[str, str]:
        return {name: self.texts[name] for name in scripts}


def test_a_host_with_full_rings_gives_what_is_new_since_the_reset() -> None:
    """The way that a cell's logs come: both readings of Xen's and of dom0's log have as many
    lines.
    """
    host = RingHost()
    before, after = ((DATA / "xl-dmesg-wrapped" / f"{name}.txt").read_text() for name in ("before", "after"))
    host.texts = {"dom0": f"{before}== end of a log ==\n[1] a\n[2] b\n", "guest1": "[1] boot\n"}
    host.reset(None, None)
    host.texts = {"dom0": f"{after}== end of a log ==\n[2] b\n[3] Oops: 0002 [#1]\n", "guest1": "[9] late\n"}
    logs = host.kernel_log()
    assert logs["hypervisor"].splitlines() == after.splitlines()[-6:]
    assert logs["dom0"] == "[3] Oops: 0002 [#1]\n"
    assert logs["guest1"] == f"{LOST}\n[9] late\n"
    assert {each.source for each in kernel_log.findings(logs)} == {"hypervisor", "dom0", "guest1"}


class ShellHost(RingHost):
    """A host whose machines are this one's shell, with an `xl` and a `dmesg` of ours."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.environment = {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}"}
        for name in ("xl", "dmesg"):
            (folder / name).write_text(f"#!/bin/sh\necho {name} $*\n")
            (folder / name).chmod(0o700)

    def _all(self, scripts: Mapping[str, str], *, timeout: float = 60.0) -> dict[str, str]:
        return {name: self._told(text) for name, text in scripts.items()}

    def _told(self, script: str) -> str:
        return subprocess.run(
            ["sh", "-c", script], env=self.environment, capture_output=True, text=True, check=True
        ).stdout


def test_the_last_look_tells_logs_and_provenance_at_once(tmp_path: Path) -> None:
    host = ShellHost(tmp_path)
    host._guests = {"guest1": XenGuest("guest1", host.connections)}
    look = host.last_look()
    assert look.kernel_log == host.kernel_log() == {"hypervisor": "xl dmesg\n", "dom0": "dmesg\n", "guest1": "dmesg\n"}
    apart = host.provenance()
    assert set(look.provenance) == set(apart)
    assert look.provenance["dom0"]["domains"] == apart["dom0"]["domains"] == ["xl list"]  # type: ignore[index]


def test_a_log_that_cannot_be_read_ends_the_last_look(tmp_path: Path) -> None:
    """Not the same as one that says nothing."""
    host = ShellHost(tmp_path)
    host._guests = {"guest1": XenGuest("guest1", host.connections)}
    (tmp_path / "dmesg").write_text("#!/bin/sh\nexit 1\n")
    with pytest.raises(subprocess.CalledProcessError):
        host.last_look()
