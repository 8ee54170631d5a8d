"""Logs of guests' consoles on a server: they stay short, and keep their last words."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment

from lab import paths
from lab.build.recipes import RECIPES
from lab.hosts import boots
from lab.remote import scripts

ROLE = paths.PLAYBOOKS / "roles" / "xen_server"
SCRIPT = ROLE / "files" / "overcommit-consoles"
MIB = 1 << 20


def shorten(folder: Path, mib: int = 1) -> None:
    done = subprocess.run(["sh", str(SCRIPT), str(folder), str(mib)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def defaults() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((ROLE / "defaults" / "main.yml").read_text())
    return found


def test_a_long_log_is_shortened_and_who_writes_it_goes_on(tmp_path: Path) -> None:
    log = tmp_path / "guest-guest1.log"
    daemon = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)  # as xenconsoled
    os.write(daemon, b"noise\n" * (3 * MIB // 6) + b"Kernel panic - not syncing\n")
    inode = log.stat().st_ino
    shorten(tmp_path)
    os.write(daemon, b"said since\n")
    os.close(daemon)
    assert log.stat().st_ino == inode
    assert log.stat().st_size == 65536 + len(b"said since\n")
    assert log.read_bytes().endswith(b"noise\nKernel panic - not syncing\nsaid since\n")
    assert [path.name for path in tmp_path.iterdir()] == [log.name]


def test_what_boots_are_judged_by_is_still_there(tmp_path: Path) -> None:
    """A guest that says more and more while it boots, and panics, is told as one that panicked."""
    log = tmp_path / "guest-guest1.log"
    log.write_bytes(b"noise\n" * (3 * MIB // 6) + b"Kernel panic - not syncing: no root\n")
    shorten(tmp_path)
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "xl").write_text("#!/bin/sh\necho Name ID Mem VCPUs State Time\necho guest1 1 96 1 -b---- 3.5\n")
    (programs / "xl").chmod(0o755)
    text = scripts.command("guest-state.sh", str(tmp_path), boots.ASKED_LINES, "guest1")
    environment = {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}"}
    done = subprocess.run(["sh", "-c", text], capture_output=True, text=True, check=True, env=environment)
    assert boots.parse_look(done.stdout)["guest1"].lost


def test_short_logs_links_and_other_files_stay(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_bytes(bytes(2 * MIB))
    folder = tmp_path / "console"
    folder.mkdir()
    (folder / "guest-guest1.log").write_bytes(bytes(MIB))
    (folder / "hypervisor.log").write_bytes(bytes(2 * MIB))
    (folder / "guest-link.log").symlink_to(other)
    shorten(folder)
    sizes = {path.name: path.stat().st_size for path in folder.iterdir()}
    assert sizes == {"guest-guest1.log": MIB, "hypervisor.log": 2 * MIB, "guest-link.log": 2 * MIB}
    shorten(tmp_path / "nothing here")


def test_the_timer_looks_where_consoles_are_logged() -> None:
    given = defaults()
    assert given["xen_server_consoles"] == boots.CONSOLES
    logged = (paths.PLAYBOOKS / "roles" / "xen_host" / "tasks" / "configure.yml").read_text()
    assert f"--log-dir={boots.CONSOLES}" in logged
    service = Environment(autoescape=False).from_string(
        (ROLE / "templates" / "overcommit-consoles.service.j2").read_text()
    )
    text = service.render(given)
    assert f"ExecStart=/usr/local/sbin/overcommit-consoles {boots.CONSOLES} 16\n" in text
    assert f"ConditionPathIsDirectory={boots.CONSOLES}\n" in text
    assert "OnCalendar=minutely" in (ROLE / "templates" / "overcommit-consoles.timer.j2").read_text()
    # what quietens a server for measurements leaves it alone
    assert "overcommit" not in scripts.command("quiet.sh", "/sys", "/stopped").split("for unit in")[1].split("; do")[0]


def test_no_artifact_is_made_of_what_only_servers_have() -> None:
    """A change of it is no reason to build an image."""
    for recipe in RECIPES.values():
        named = {recipe.name, *recipe.roles, *(step.partition(":")[0] for step in recipe.inside)}
        assert ROLE.name not in named
        assert not any(tree.startswith("playbooks") for tree in recipe.trees)
