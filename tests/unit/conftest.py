"""What several unit tests need."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings
from ssh_fakes import fake_ssh

from lab.remote.ssh import Connections

settings.register_profile("short", max_examples=40)


def pytest_configure(config: pytest.Config) -> None:
    """Hypothesis tries its hundred examples of each with `./inv test --long`."""
    if config.getoption("markexpr") == "not long":
        settings.load_profile("short")


@pytest.fixture
def connections(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Connections:
    """Connections whose ssh runs the command on this machine; nobody answers at `lost`."""
    monkeypatch.setenv("PATH", f"{fake_ssh(tmp_path)}:{os.environ['PATH']}")
    made = Connections(tmp_path / "ssh_config", tmp_path)
    monkeypatch.setattr(made, "_connect", lambda _machine: None)
    return made
