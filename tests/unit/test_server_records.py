"""What a server was is recorded before it is provisioned, and put back: files of others stay,
packages of others stay, and whatever is interrupted is done by the next run.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from lab.remote import scripts

KEY = "ssh-ed25519 AAAA lab"

PROGRAMS = {
    "dpkg-query": 'sed "s/^/installed /" ROOT/packages',
    "dpkg": 'echo "dpkg $*" >> ROOT/log',
    "apt-get": 'echo "apt-get $*" >> ROOT/log\n'
    '[ ! -e ROOT/broken ] || { echo "E: broken packages" >&2; exit 100; }\n'
    'for word in "$@"; do grep -vx -- "$word" ROOT/packages > ROOT/new; mv ROOT/new ROOT/packages; done',
    "apt-mark": 'echo "apt-mark $*" >> ROOT/log; [ "$1" != showmanual ] || printf "base\\nudev\\n"',
    "debconf-set-selections": 'sed "s/^/debconf: /" >> ROOT/log',
    "debconf-communicate": 'sed "s/^/communicate: /" >> ROOT/log',
    "grub-editenv": 'echo "grub-editenv $*" >> ROOT/log',
    "grub-set-default": 'echo "grub-set-default $*" >> ROOT/log',
    "update-grub": "echo update-grub >> ROOT/log; echo Generating grub configuration file ...",
    "systemctl": ":",
    "xl": "exit 1",
    "lvs": "exit 5",
}


@pytest.fixture
def server(tmp_path: Path) -> Path:
    """The root of a server, with its programs."""
    (tmp_path / "bin").mkdir()
    replace_programs(tmp_path, PROGRAMS)
    write(tmp_path, "packages", "base\nmail\n")
    write(tmp_path, "etc/motd", "hello\n")
    write(tmp_path, "root/.ssh/authorized_keys", "ssh-ed25519 BBBB admin\n")
    write(tmp_path, "proc/cmdline", "root=/dev/sda2 ro\n")
    for name in ("boot", "etc/default", "etc/grub.d", "etc/systemd/system/multi-user.target.wants"):
        (tmp_path / name).mkdir(parents=True)
    return tmp_path


def replace_programs(root: Path, programs: Mapping[str, str]) -> None:
    """Programs of the server, by what they do in sh; ROOT: its root."""
    for name, body in programs.items():
        program = root / "bin" / name
        program.write_text(f"#!/bin/sh\n{body}\n".replace("ROOT", str(root)))
        program.chmod(0o755)


def write(root: Path, name: str, text: str) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def run(root: Path, name: str, argument: str) -> subprocess.CompletedProcess[str]:
    """Run a script of ours on this server."""
    text = re.sub(r"(?<![\w.$\"/])/(etc|boot|root|usr|var|proc)\b", rf"{root}/\1", scripts.command(name, argument))
    text = text.replace("tar -C / ", f"tar -C {root} ")
    text = text.replace("${1#/}", f"${{1#{root}/}}").replace("${file#/}", f"${{file#{root}/}}")
    text = re.sub(r"PATH=\S+", f"PATH={root}/bin:{os.environ['PATH']}", text)
    return subprocess.run(["sh", "-c", text], capture_output=True, text=True, check=False)


def record(root: Path, step: str) -> None:
    done = run(root, "record-before.sh", step)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def restore(root: Path) -> list[str]:
    done = run(root, "restore-before.sh", KEY)
    assert (done.returncode, done.stderr) == (0, "")
    return [line.replace(str(root), "") for line in done.stdout.splitlines()]


def provision(root: Path, *packages: str) -> None:
    """What the playbook does."""
    for name in ("grub.d/42_overcommit", "default/grub.d/zz-overcommit.cfg", "xen/xl.conf", "default/xen"):
        write(root, f"etc/{name}", "ours\n")
    for name in (
        "overcommit-consoles.service",
        "overcommit-consoles.timer",
        "timers.target.wants/overcommit-consoles.timer",
    ):
        write(root, f"etc/systemd/system/{name}", "ours\n")
    for name in ("tmemctl", "overcommit-consoles"):
        write(root, f"usr/local/sbin/{name}", "ours\n")
    for name in ("guest-guest1.log", "guest-guest12.log", "guest-overcommit-check.log"):
        write(root, f"var/log/xen/console/{name}", "said\n")
    write(root, "boot/overcommit-0123.gz", "ours\n")
    for name, line in (("packages", "\n".join(packages)), ("root/.ssh/authorized_keys", KEY)):
        write(root, name, f"{(root / name).read_text()}{line}\n")


def tree(root: Path) -> dict[str, str]:
    kept = ("etc", "boot", "root", "usr", "var")
    return {
        str(path.relative_to(root)): path.read_text()
        for top in kept
        for path in sorted((root / top).rglob("*"))
        if path.is_file()
    } | {"packages": (root / "packages").read_text()}


def test_what_was_before_is_so_again(server: Path) -> None:
    before = tree(server)
    record(server, "before")
    provision(server, "xen-utils", "bridge-utils")
    record(server, "added")
    assert restore(server) == []
    assert tree(server) == before
    log = (server / "log").read_text()
    assert "purge bridge-utils xen-utils" in log
    # dom0's kernel, which runs still, may be among them; and what Debian asks of it is as before
    asked = [line for line in log.splitlines() if "running-kernel" in line or "purge" in line]
    assert [line.split()[0] for line in asked] == ["debconf:", "apt-get", "communicate:"]
    assert asked[0] == "debconf: linux-base linux-base/removing-running-kernel boolean false"
    assert asked[2] == "communicate: RESET linux-base/removing-running-kernel"
    assert "apt-mark auto udev" not in log  # it was one that somebody had asked for


def test_a_toolstack_that_was_there_keeps_its_files(server: Path) -> None:
    write(server, "etc/xen/xl.conf", "autoballoon=1\n")
    write(server, "etc/default/xen", "XENCONSOLED_ARGS=\n")
    write(server, "etc/xen/mail.cfg", "name=mail\n")
    write(server, "var/log/xen/console/guest-mail.log", "said\n")
    before = tree(server)
    record(server, "before")
    provision(server, "bridge-utils")
    record(server, "added")
    assert restore(server) == []
    assert tree(server) == before


def test_volumes_that_were_made_go_and_what_was_noted_about_them(server: Path) -> None:
    lvm = {
        "lvs": """case "$*" in *lv_tags*) echo '  /dev/guests/overcommit_guest1_root' ;; esac""",
        "vgs": 'case "$3" in pv_name) echo "  /dev/sdb" ;; *) echo "  guests" ;; esac',
        **{name: f'echo "{name} $*" >> {server}/log' for name in ("lvremove", "vgremove", "pvremove")},
    }
    replace_programs(server, lvm)
    write(server, "etc/lvm/archive/vg0_00001.vg", "")
    before = tree(server)
    record(server, "before")
    write(server, "etc/lvm/archive/guests_00000-12.vg", "")
    write(server, "etc/lvm/backup/guests", "")
    assert restore(server) == []
    assert tree(server) == before  # with no folder that LVM made for its notes
    log = [line for line in (server / "log").read_text().splitlines() if "remove" in line]
    assert log == [
        "lvremove -q -y /dev/guests/overcommit_guest1_root",
        "vgremove -q -y guests",
        "pvremove -q -y /dev/sdb",
    ]


def test_volumes_that_an_ended_guest_still_has_are_removed_in_a_moment(
    server: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LET_GO_SECONDS", "0")
    programs = {
        "lvs": "echo '  /dev/guests/overcommit_guest1_root'",
        "vgs": ":",
        "lvremove": f"[ -e {server}/asked ] || {{ touch {server}/asked; exit 5; }}; touch {server}/gone",
    }
    replace_programs(server, programs)
    record(server, "before")
    assert restore(server) == []
    assert (server / "gone").exists()


def test_files_that_were_made_for_guests_go_and_others_stay(server: Path) -> None:
    before = tree(server)
    record(server, "before")
    unit = f"[Service]\nExecStart=/usr/local/sbin/overcommit-disks attach {server}/srv/guests\n"
    write(server, "etc/systemd/system/overcommit-disks.service", unit)
    for name in ("overcommit_guest1_root", "overcommit_guest1_swap", "mail"):
        write(server, f"srv/guests/{name}", "")
    assert restore(server) == []
    assert tree(server) == before
    assert [path.name for path in (server / "srv/guests").iterdir()] == ["mail"]


def test_what_others_did_since_stays_and_is_named(server: Path) -> None:
    write(server, "etc/gone", "")
    record(server, "before")
    provision(server, "xen-utils")
    record(server, "added")
    write(server, "etc/motd", "changed\n")
    write(server, "etc/new", "")
    (server / "etc/gone").unlink()
    write(server, "packages", "base\nxen-utils\nvim\n")
    assert sorted(restore(server)) == [
        "left: /etc/gone was there, and is gone",
        "left: /etc/motd is not as it was",
        "left: /etc/new is there, and was not",
        "left: the package mail was there, and is gone",
        "left: the package vim is there, and was not",
    ]
    assert (server / "etc/motd").read_text() == "changed\n"


def test_packages_of_a_later_run_are_taken_off_too(server: Path) -> None:
    record(server, "before")
    provision(server, "xen-utils")
    record(server, "added")
    write(server, "packages", "base\nmail\nxen-utils\nvim\n")  # an administrator's, between the two
    record(server, "before")
    provision(server, "lvm2")
    record(server, "added")
    assert restore(server) == ["left: the package vim is there, and was not"]
    assert (server / "packages").read_text() == "base\nmail\nvim\n"


def test_packages_of_a_run_that_was_interrupted_are_taken_off(server: Path) -> None:
    record(server, "before")
    provision(server, "xen-utils")
    assert restore(server) == []
    assert (server / "packages").read_text() == "base\nmail\n"


def test_an_interrupted_run_and_the_next_one_are_recorded_as_one(server: Path) -> None:
    record(server, "before")
    provision(server, "xen-utils")  # and the connection was lost
    record(server, "before")
    provision(server, "lvm2")
    record(server, "added")
    assert restore(server) == []
    assert (server / "packages").read_text() == "base\nmail\n"


def test_taking_off_that_failed_goes_on_with_the_next_run(server: Path) -> None:
    before = tree(server)
    record(server, "before")
    provision(server, "xen-utils")
    record(server, "added")
    (server / "broken").touch()
    done = run(server, "restore-before.sh", KEY)
    assert done.returncode == 1
    assert "E: broken packages" in done.stderr
    (server / "broken").unlink()
    assert restore(server) == []
    assert tree(server) == before


def test_a_server_that_did_not_restart_yet_only_has_to(server: Path) -> None:
    record(server, "before")
    provision(server)
    restore(server)
    write(server, "proc/cmdline", "root=/dev/sda2 overcommit.entry=overcommit-0123 ro\n")
    assert restore(server) == []


def test_a_server_that_was_not_provisioned_is_told_to_be_none(server: Path) -> None:
    done = run(server, "restore-before.sh", KEY)
    assert done.returncode == 1
    assert "was not provisioned, or it was taken off already" in done.stderr
    assert tree(server)["etc/motd"] == "hello\n"


def test_a_group_with_volumes_of_others_stays_and_is_named(server: Path) -> None:
    programs = {
        "lvs": """case "$*" in *lv_tags*) ;; *) echo '  /dev/guests/mail' ;; esac""",
        "vgs": "echo '  guests'",
        **{name: f'echo "{name} $*" >> {server}/log' for name in ("vgremove", "pvremove")},
    }
    replace_programs(server, programs)
    record(server, "before")
    assert restore(server) == ["left: the volume group guests has volumes of others"]
    assert "remove" not in (server / "log").read_text()


def test_guests_of_others_are_not_ended(server: Path) -> None:
    listed = "printf 'Name ID\\nDomain-0 0\\nguest1 3\\nrouter 4\\n'"
    replace_programs(server, {"xl": f'echo "$*" >> ROOT/log\n{listed}'})
    record(server, "before")
    provision(server, "bridge-utils")
    before = tree(server)
    done = run(server, "restore-before.sh", KEY)
    assert done.returncode == 1
    assert "guests of others run here: router" in done.stderr
    assert tree(server) == before
    assert "destroy" not in (server / "log").read_text()


def test_what_others_mark_as_wanted_stays_so(server: Path) -> None:
    tells = '[ "$1" != showmanual ] || cat ROOT/manual'
    replace_programs(server, {"apt-mark": f'echo "apt-mark $*" >> ROOT/log\n{tells}'})
    write(server, "manual", "base\n")
    record(server, "before")
    provision(server, "xen-utils")
    record(server, "added")
    write(server, "packages", f"{(server / 'packages').read_text()}htop\n")
    write(server, "manual", "base\nhtop\nmail\n")
    assert restore(server) == ["left: the package htop is there, and was not"]
    # mail was there before, and was not asked for then; htop is somebody's since.
    assert "apt-mark auto mail\n" in (server / "log").read_text()


def test_nobody_else_reads_what_is_recorded(server: Path) -> None:
    record(server, "before")
    folder = server / "var/lib/overcommit"
    assert folder.stat().st_mode & 0o777 == 0o755
    kept = [folder / "before", *(folder / "before").iterdir()]
    assert [path for path in kept if path.stat().st_mode & 0o077] == []
