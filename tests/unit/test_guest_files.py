"""Guests' disks that are files: what attaches them on a server, and how they are declared."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from common.errors import InvalidFileError
from lab import inventory, paths

SCRIPT = paths.PLAYBOOKS / "roles" / "guest_storage" / "files" / "overcommit-disks"

LOSETUP = """\
#!/bin/sh
# Devices are lines of a file.
for last; do :; done
case "$*" in
    *--associated*) grep " $last\\$" ROOT/devices | cut -d ' ' -f 1 ;;
    *--direct-io*) [ -e ROOT/direct ] && echo direct >> ROOT/log && exec "$0" --find --show "$last" ;;
    *--find*) device=/dev/loop$(wc -l < ROOT/devices); echo "$device $last" >> ROOT/devices; echo "$device" ;;
    *--detach*) grep -v "^$last " ROOT/devices > ROOT/new; mv ROOT/new ROOT/devices ;;
esac
"""


@pytest.fixture
def server(tmp_path: Path) -> Path:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "losetup").write_text(LOSETUP.replace("ROOT", str(tmp_path)))
    (tmp_path / "bin" / "losetup").chmod(0o755)
    (tmp_path / "devices").touch()
    (tmp_path / "guests").mkdir()
    for name in ("overcommit_guest1_root", "overcommit_guest1_swap", "mail"):
        (tmp_path / "guests" / name).touch()
    return tmp_path


def disks(server: Path, action: str) -> dict[str, str]:
    """Name -> device, after this."""
    text = SCRIPT.read_text().replace("/dev/overcommit", f"{server}/dev")
    environment = {**os.environ, "PATH": f"{server / 'bin'}:{os.environ['PATH']}"}
    command = ["sh", "-c", text, "overcommit-disks", action, str(server / "guests")]
    subprocess.run(command, env=environment, check=True)
    return {path.name: str(path.readlink()) for path in sorted((server / "dev").iterdir())}


ATTACHED = {"overcommit_guest1_root": "/dev/loop0", "overcommit_guest1_swap": "/dev/loop1"}


def test_files_have_names_as_block_devices_and_no_second_device(server: Path) -> None:
    assert disks(server, "attach") == ATTACHED
    assert disks(server, "attach") == ATTACHED
    assert not (server / "log").exists()  # nothing but the page cache can be had here


def test_the_page_cache_is_left_out_where_that_can_be(server: Path) -> None:
    (server / "direct").touch()
    assert disks(server, "attach") == ATTACHED
    assert (server / "log").read_text() == "direct\ndirect\n"


def test_they_are_taken_away_again(server: Path) -> None:
    disks(server, "attach")
    assert disks(server, "detach") == {}
    assert (server / "devices").read_text() == ""
    assert len(list((server / "guests").iterdir())) == 3


def declared(tmp_path: Path, storage: str) -> inventory.Physical:
    path = tmp_path / "mine.yml"
    path.write_text(
        "xen_hosts:\n  hosts:\n    xen1: {lab_kind: physical, lab_dom0_memory: 1 GiB, "
        f"lab_guest_storage: {{guests: 1, swap: 1 GiB, {storage}}}}}\n"
    )
    found = inventory.load(path).hosts[0].settings
    assert isinstance(found, inventory.Physical)
    return found


def test_a_folder_is_declared(tmp_path: Path) -> None:
    (pair,) = declared(tmp_path, "folder: /srv/guests").disks
    assert (pair.root, pair.swap) == (
        "/dev/overcommit/overcommit_guest1_root",
        "/dev/overcommit/overcommit_guest1_swap",
    )


@pytest.mark.parametrize(
    ("storage", "said"),
    [
        ("erase: false", "say volume_group or folder, and not both"),
        ("folder: /srv, volume_group: vg0", "say volume_group or folder, and not both"),
        ("folder: /srv, device: /dev/sdb", "are for a volume_group"),
        ("folder: /srv, reset: snapshot", "are for a volume_group"),
        ("folder: srv/guests", "String should match pattern"),
        ("folder: /srv/my guests", "String should match pattern"),
    ],
)
def test_what_cannot_be_is_refused(tmp_path: Path, storage: str, said: str) -> None:
    with pytest.raises(InvalidFileError) as raised:
        declared(tmp_path, storage)
    assert said in raised.value.why
