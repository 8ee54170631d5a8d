"""What several unit tests need."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from hypothesis import settings

from lab.remote.ssh import Connections

settings.register_profile("short", max_examples=40)

SSH = """\
#!/bin/sh
[ "$3" = lost ] && { echo "Connection refused" >&2; exit 255; }
case "$3" in -*) exit 1 ;; esac
[ "${#4}" -le 9000 ] || exit 255 # as dropbear
# bash becomes the last command, as ssh is one process.
exec bash -c "$4"
"""


def pytest_configure(config: pytest.Config) -> None:
    """Hypothesis tries its hundred examples of each with `./inv test --long`."""
    if config.getoption("markexpr") == "not long":
        settings.load_profile("short")


@pytest.fixture
def connections(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Connections:
    """Connections whose ssh runs the command on this machine; nobody answers at `lost`."""
    ssh = tmp_path / "bin" / "ssh"
    ssh.parent.mkdir()
    ssh.write_text(SSH)
    ssh.chmod(ssh.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{ssh.parent}:{os.environ['PATH']}")
    made = Connections(tmp_path / "ssh_config", tmp_path)
    monkeypatch.setattr(made, "_connect", lambda _machine: None)
    return made
