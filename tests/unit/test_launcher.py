"""The launcher before it has an environment: what stops it is told in a line, and an environment
that does not fit is made anew.
"""

from __future__ import annotations

import fcntl
import importlib.machinery
import importlib.util
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]


def load(folder: Path) -> ModuleType:
    """The launcher of a checkout in this folder, which has no more than it and a lock file."""
    folder.mkdir()
    shutil.copy(ROOT / "inv", folder)
    (folder / "requirements.lock").touch()
    loader = importlib.machinery.SourceFileLoader("inv", str(folder / "inv"))
    spec = importlib.util.spec_from_loader("inv", loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


def fails(module: ModuleType, capsys: pytest.CaptureFixture[str]) -> tuple[object, str]:
    with pytest.raises(SystemExit) as raised:
        module.main()
    return raised.value.code, capsys.readouterr().err


def test_ctrl_c_during_the_set_up_is_an_interruption(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    inv = load(tmp_path / "checkout")

    def interrupted() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(inv, "make_environment", interrupted)
    code, said = fails(inv, capsys)
    assert code == 130
    assert said.count("\n") == 1


@pytest.mark.parametrize("told", [True, False])
def test_who_keeps_no_bytecode_has_the_libraries_compiled_once(
    told: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else each start would do it. Others keep what their first start compiles."""
    inv = load(tmp_path / "checkout")
    packages = inv.VENV / "lib" / "python3.11" / "site-packages"
    packages.mkdir(parents=True)
    ran: list[list[str]] = []
    monkeypatch.setattr(inv, "child", lambda words: ran.append(words) or 0)
    monkeypatch.setattr(inv, "need_venv_module", lambda: None)
    monkeypatch.setattr(sys, "dont_write_bytecode", told)
    inv.make_environment()
    assert [words[-1] for words in ran if "compileall" in words] == [str(packages)] * told


def test_a_checkout_that_cannot_be_written_to_is_something_the_machine_lacks(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    inv = load(tmp_path / "checkout")
    (tmp_path / "checkout" / ".venv.lock").mkdir()
    code, said = fails(inv, capsys)
    assert code == 3
    assert str(tmp_path / "checkout") in said
    assert "Traceback" not in said


def test_a_python_without_wheels_is_told_which_ones_have_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    inv = load(tmp_path / "checkout")
    monkeypatch.setattr(inv, "child", lambda words: 1 if "pip" in words else 0)
    code, said = fails(inv, capsys)
    assert code == 3
    assert "3.11 to 3.13" in said


def test_an_environment_that_was_made_elsewhere_is_made_anew(tmp_path: Path) -> None:
    """Its programs name their interpreter by its path."""
    inv = load(tmp_path / "before")
    (inv.VENV / "bin").mkdir(parents=True)
    (inv.VENV / "bin" / "python").symlink_to(sys.executable)
    inv.STAMP.write_text(inv.wanted_stamp())
    assert inv.current()
    shutil.copytree(tmp_path / "before" / ".venv", tmp_path / ".venv")
    moved = load(tmp_path / "after")
    shutil.copytree(tmp_path / ".venv", moved.VENV)
    assert not moved.current()


def test_an_environment_in_use_is_not_taken_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A campaign runs, and somebody starts a task with another Python."""
    inv = load(tmp_path / "checkout")
    made: list[str] = []
    monkeypatch.setattr(inv, "make_environment", lambda: made.append("made"))
    with (tmp_path / "checkout" / ".venv.users").open("w") as running:
        fcntl.flock(running, fcntl.LOCK_SH)
        code, said = fails(inv, capsys)
        assert (code, made) == (3, [])
        assert "another ./inv is running with it" in said
    inv.use_environment()
    assert made == ["made"]


def test_an_environment_whose_interpreter_is_gone_is_made_anew(tmp_path: Path) -> None:
    inv = load(tmp_path / "checkout")
    (inv.VENV / "bin").mkdir(parents=True)
    (inv.VENV / "bin" / "python").symlink_to(tmp_path / "python3.11")
    inv.STAMP.write_text(inv.wanted_stamp())
    assert not inv.current()
    (tmp_path / "python3.11").symlink_to(sys.executable)
    assert inv.current()


def test_the_environment_of_another_checkout_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two worktrees of which one's .venv is a link to the other's: its commands would be gone."""
    other = load(tmp_path / "other")
    other.VENV.mkdir()
    (other.VENV / "kept").touch()
    inv = load(tmp_path / "checkout")
    inv.VENV.symlink_to(other.VENV)
    made: list[list[str]] = []
    monkeypatch.setattr(inv, "need_venv_module", lambda: None)
    monkeypatch.setattr(inv, "child", lambda words: made.append(words) or inv.VENV.mkdir(exist_ok=True))
    inv.make_environment()
    assert made
    assert (other.VENV / "kept").exists()
    assert not inv.VENV.is_symlink()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT], ids=lambda number: number.name)
def test_a_launcher_that_is_ended_ends_what_it_has_started(tmp_path: Path, number: signal.Signals) -> None:
    """The installer went on for minutes in an environment that nobody waited for."""
    load(tmp_path / "checkout")
    script = """
import importlib.machinery, importlib.util, sys
loader = importlib.machinery.SourceFileLoader("launcher", "inv")
module = importlib.util.module_from_spec(importlib.util.spec_from_loader("launcher", loader))
loader.exec_module(module)
module.make_environment = lambda: module.child(["sh", "-c", "sleep 600 & echo $! > child; wait"])
module.main()
"""
    launcher = subprocess.Popen([sys.executable, "-c", script], cwd=tmp_path / "checkout", stderr=subprocess.PIPE)
    child = tmp_path / "checkout" / "child"
    while not (child.exists() and child.read_text().strip()):
        assert launcher.poll() is None
        time.sleep(0.05)
    launcher.send_signal(number)
    _, said = launcher.communicate(timeout=60)
    assert launcher.returncode == 130
    assert b"interrupted" in said
    pid = int(child.read_text())
    while Path(f"/proc/{pid}").exists() and " Z " not in Path(f"/proc/{pid}/stat").read_text():
        time.sleep(0.05)  # ends at once, or this test never does
