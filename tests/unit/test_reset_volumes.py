"""Root volumes made anew as snapshots of one that has the image."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from lab.hosts.physical import PhysicalHost
from lab.inventory import HostEntry, Physical

PROGRAMS = {
    "lvs": '[ -e "ROOT/lv/$1" ]',
    "lvremove": 'echo "remove $3" >> ROOT/log; [ ! -e ROOT/held ] || exit 5; rm "ROOT/lv/$3"',
    "lvcreate": "while [ $# -gt 1 ]; do\n"
    '    case "$1" in --name) name=$2 ;; --size) size=$2 ;; --snapshot) kind=snapshot ;; esac\n    shift\ndone\n'
    'echo "${kind:-volume} $name $size of $1" >> ROOT/log; touch "ROOT/lv/guests/$name"',
    "qemu-img": 'for last; do :; done; echo "image to $last" >> ROOT/log',
    "dd": 'echo "blank $2" >> ROOT/log',
    "lsblk": 'case "$2" in NAME) echo one ;; *) cat "ROOT/mounted" 2> /dev/null ;; esac',
    "mkswap": 'echo "swap $2" >> ROOT/log',
}


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("OVERCOMMIT_CACHE", str(tmp_path / "cache"))
    (tmp_path / "lv" / "guests").mkdir(parents=True)
    (tmp_path / "bin").mkdir()
    for name, body in PROGRAMS.items():
        program = tmp_path / "bin" / name
        program.write_text(f"#!/bin/sh\n{body}\n".replace("ROOT", str(tmp_path)))
        program.chmod(0o755)
    (tmp_path / "guest.qcow2").write_bytes(b"an image")
    volumes = [f"overcommit_guest{number}_{part}" for number in (1, 2) for part in ("root", "swap")]
    for volume in volumes:  # as provisioning leaves them
        (tmp_path / "lv" / "guests" / volume).touch()
    (tmp_path / "disks").write_text("".join(f"/dev/guests/{volume}\n" for volume in volumes))
    return tmp_path


def reset(server: Path, guests: int = 2, how: str = "snapshot") -> subprocess.CompletedProcess[str]:
    storage = {"guests": 2, "swap": "256 MiB", "volume_group": "guests", "reset": how}
    settings = Physical(kind="physical", guest_storage=storage, dom0_memory="1 GiB")  # type: ignore[arg-type]
    host = PhysicalHost("mine", HostEntry("xen1", settings, {}), lambda _text: None)
    from lab.hosts.guests import Disks

    script = host._disk_script([Disks(each.root, each.swap) for each in settings.disks[:guests]], 256)
    script = script.replace("/var/lib/overcommit/", f"{server}/")
    environment = {**os.environ, "PATH": f"{server / 'bin'}:{os.environ['PATH']}"}
    return subprocess.run(["sh", "-c", script], env=environment, capture_output=True, text=True, check=False)


def log(server: Path) -> list[str]:
    lines = (server / "log").read_text().splitlines()
    (server / "log").unlink()
    return lines


SNAPSHOTS = [
    "remove guests/overcommit_guest1_root",
    "snapshot overcommit_guest1_root 4168m of guests/overcommit_image",
    "blank of=/dev/guests/overcommit_guest1_swap",
    "swap 262144",
    "remove guests/overcommit_guest2_root",
    "snapshot overcommit_guest2_root 4168m of guests/overcommit_image",
    "blank of=/dev/guests/overcommit_guest2_swap",
    "swap 262144",
]


def test_the_image_is_written_once_and_again_when_it_is_another(server: Path) -> None:
    first = reset(server)
    assert (first.returncode, first.stderr) == (0, "")
    image = ["volume overcommit_image 4096m of guests", "image to /dev/guests/overcommit_image"]
    assert log(server) == [*image, *SNAPSHOTS]
    assert reset(server).returncode == 0
    assert log(server) == SNAPSHOTS
    (server / "guest.qcow2").write_bytes(b"another image")
    assert reset(server, guests=1).returncode == 0
    assert log(server) == ["remove guests/overcommit_image", *image, *SNAPSHOTS[:4]]


def test_an_image_that_was_not_written_whole_is_written_again(server: Path) -> None:
    (server / "bin" / "qemu-img").write_text("#!/bin/sh\necho no space >&2; exit 1\n")
    failed = reset(server)
    assert failed.returncode != 0
    assert failed.stderr == "no space\n"
    (server / "bin" / "qemu-img").write_text(f"#!/bin/sh\necho image >> {server}/log\n")
    assert reset(server).returncode == 0
    assert "image" in log(server)


def test_a_volume_that_is_in_use_is_not_passed_over(server: Path) -> None:
    reset(server)
    (server / "held").touch()
    assert reset(server).returncode == 5


def test_a_volume_that_provisioning_has_not_looked_at_or_that_is_in_use_stays(server: Path) -> None:
    (server / "mounted").write_text("/srv\n")
    assert "overcommit_guest1_root is in use: /srv, so nothing was written" in reset(server).stderr
    (server / "disks").write_text("/dev/guests/overcommit_guest1_root\n")
    (server / "mounted").unlink()
    done = reset(server)
    assert done.returncode == 1
    assert "overcommit_guest1_swap is none of those in" in done.stderr
    assert not (server / "log").exists()


def test_a_root_volume_that_a_power_cut_left_removed_is_made_again(server: Path) -> None:
    (server / "lv" / "guests" / "overcommit_guest1_root").unlink()
    assert reset(server).returncode == 0
    assert SNAPSHOTS[1] in log(server)


def test_a_swap_volume_that_is_not_there_is_told_before_anything_is_written(server: Path) -> None:
    (server / "lv" / "guests" / "overcommit_guest2_swap").unlink()
    refused = reset(server)
    assert refused.returncode == 1
    assert refused.stderr == "/dev/guests/overcommit_guest2_swap is not there, so nothing was written\n"
    assert not (server / "log").exists()


def test_volumes_are_written_where_nobody_asked_for_snapshots(server: Path) -> None:
    done = reset(server, how="write")
    assert "/dev/guests/overcommit_guest1_root is no block device" in done.stderr
