"""What several unit tests need."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.remote.ssh import Connections
from policies import apply

SSH = """\
#!/bin/sh
[ "$3" = lost ] && { echo "Connection refused" >&2; exit 255; }
case "$3" in -*) exit 1 ;; esac
# bash becomes the last command, as ssh is one process.
exec bash -c "$4"
"""


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


@pytest.fixture(autouse=True, scope="session")
def driver_settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where the driver's settings would be in a guest: a release writes them, also in guests that are made up."""
    folder = tmp_path_factory.mktemp("selfballoon")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(apply, "SETTINGS", str(folder))
        yield folder
