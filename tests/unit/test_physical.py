"""A server's known state, without a server: what it has to be before anything is written, and a
boot of its own.
"""

from __future__ import annotations

import os
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from common.errors import InvalidFileError, LabError
from lab.api import GuestSizing, HostSizing
from lab.hosts import physical
from lab.hosts.guests import Disks
from lab.hosts.physical import PhysicalHost
from lab.hosts.server_boot import ServerBoot, State
from lab.inventory import HostEntry, Physical
from lab.remote.ssh import Connections

SIZING = HostSizing(1024, 768, 2)
SETTINGS = Physical.model_validate(
    {"kind": "physical", "guest_disks": [{"root": "/dev/a", "swap": "/dev/b"}], "dom0_memory": "768 MiB"}
)
ENTRY = HostEntry("xen1", SETTINGS, {})


def write_disks(
    folder: Path, *, in_use: str = "", parts: int = 1, named: str = "", swap_mib: int = 256
) -> subprocess.CompletedProcess[str]:
    """Write two disks, of which the second is as said. named: those that may be."""
    disks = [folder / "root", folder / "swap"]
    answers = f'"NAME {disks[1]}") seq {parts} ;; "NAME "*) echo 1 ;; *{disks[1]}) echo "{in_use}" ;;'
    programs = {
        "lsblk": f'case "$2 $3" in {answers} esac',
        "qemu-img": f"echo image >> {folder}/log",
        "dd": f"echo blank >> {folder}/log",
        "mkswap": f'echo "swap $2" >> {folder}/log',
    }
    for name, body in programs.items():
        (folder / name).write_text(f"#!/bin/sh\n{body}\n")
        (folder / name).chmod(0o755)
    (folder / "disks").write_text(named or "".join(f"{disk}\n" for disk in disks))
    script = physical.disk_script([Disks(*map(str, disks))], swap_mib).replace("/var/lib/overcommit/", f"{folder}/")
    script = script.replace('[ -b "$disk" ]', "true")
    environment = {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}"}
    return subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=False, env=environment)


def test_disks_that_are_the_guests_are_written(tmp_path: Path) -> None:
    done = write_disks(tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "log").read_text() == "image\nblank\nswap 262144\n"


def test_guests_without_swap_get_none(tmp_path: Path) -> None:
    assert write_disks(tmp_path, swap_mib=0).returncode == 0
    assert (tmp_path / "log").read_text() == "image\nblank\n"


@pytest.mark.parametrize(
    ("how", "why"),
    [
        ({"in_use": "/srv"}, "swap is in use: /srv"),
        ({"in_use": "[SWAP]"}, "swap is in use: [SWAP]"),
        ({"parts": 3}, "swap has partitions, or something is made of it"),
        ({"named": "/dev/other\n"}, "root is none of those in"),
    ],
)
def test_another_disk_is_refused_before_anything_is_written(tmp_path: Path, how: dict[str, object], why: str) -> None:
    # as /dev/sdb may be after a restart
    done = write_disks(tmp_path, **how)  # type: ignore[arg-type]
    assert done.returncode == 1
    assert why in done.stderr
    assert not (tmp_path / "log").exists()


class Server:
    """What a server answers. free, dom0: MiB. boot: the campaign's boot that it is in."""

    def __init__(self, free: int = 1040, dom0: int = 768, boot: str = "") -> None:
        self.free, self.dom0, self.boot = free, dom0, boot
        self.restarts = 0
        self.back: State | None = State("b2", "overcommit-a+6.12", None, None, "4.20", "tmem", 768)

    def run(self, script: str) -> str:
        if script.startswith("xl info"):
            return f"xen_commandline        : dom0_mem=768M tmem\ntotal_memory : 2048\nfree_memory : {self.free}\n"
        if script.startswith("echo "):
            self.boot = script.split()[1]
        return f"{self.dom0}\n" if script.startswith("xl list") else self.boot

    def leave(self) -> State | None:
        self.restarts += 1
        return self.back


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PhysicalHost:
    monkeypatch.setenv("OVERCOMMIT_CACHE", str(tmp_path))
    return PhysicalHost("mine", ENTRY, lambda _text: None)


def answer(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PhysicalHost, "run", lambda _host, _machine, script, **_options: server.run(script))
    monkeypatch.setattr(ServerBoot, "leave", lambda _boot: server.leave())


def checked(host: PhysicalHost) -> None:
    host._check_dom0(SIZING)
    host._check_free(SIZING)


def test_a_server_with_the_memory_of_the_experiment_is_taken(
    host: PhysicalHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    for free in (1040, 1060, 1091):
        answer(Server(free=free), monkeypatch)
        checked(host)


@pytest.mark.parametrize(
    ("server", "what", "remedy"),
    [
        (Server(free=64016), "xen1 has 64000 MiB for guests, and the experiment says 1024", "Say `lab_memory: "),
        (Server(free=716), "xen1 has 700 MiB for guests, and the experiment says 1024", "Say `guest_memory: 700 MiB`"),
        (Server(dom0=1024), "dom0 of xen1 has 1024 MiB, and the experiment says 768", "Make them agree"),
    ],
)
def test_another_memory_than_the_experiments_is_refused(
    server: Server, what: str, remedy: str, host: PhysicalHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer(server, monkeypatch)
    with pytest.raises(LabError) as raised:
        checked(host)
    assert raised.value.what == what
    assert raised.value.remedy.startswith(remedy)


def test_what_is_to_be_shown_of_a_large_server_leaves_what_the_experiment_says(
    host: PhysicalHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    # 2048 MiB in all, of which dom0 has 768 and Xen keeps 30
    answer(Server(free=1250), monkeypatch)
    with pytest.raises(LabError, match="lab_memory: 1838 MiB"):
        checked(host)


def test_one_that_is_shown_too_little_is_shown_so_much_more(
    host: PhysicalHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    # `mem=` is an address, so holes below it take of what is shown
    answer(Server(free=340), monkeypatch)
    host.settings = host.settings.model_copy(update={"memory": 4096 * 2**20})
    with pytest.raises(LabError, match="lab_memory: 4796 MiB"):
        checked(host)


@pytest.mark.parametrize(("told", "fits"), [(f"{512 * 2**20}\n", True), ("\n", True), (f"{511 * 2**20}\n", False)])
def test_a_swap_disk_that_is_smaller_than_the_experiments_is_refused(
    told: str, fits: bool, host: PhysicalHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PhysicalHost, "run", lambda *_words: told)
    if fits:
        host._check_swap(512, [Disks("/dev/a", "/dev/b")])
        return
    with pytest.raises(LabError) as raised:
        host._check_swap(512, [Disks("/dev/a", "/dev/b")])
    assert raised.value.what == "/dev/b of xen1 has 511 MiB, and the experiment says 512"
    assert "./inv lab.provision" in raised.value.remedy


@pytest.mark.parametrize(
    ("told", "why"),
    [("", "no Xen runs there"), ("xen_commandline        : dom0_mem=768M\n", "it says: dom0_mem=768M")],
)
def test_a_server_that_is_not_the_testbeds_is_left_as_it_is(
    told: str, why: str, host: PhysicalHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    monkeypatch.setattr(PhysicalHost, "run", lambda _host, _machine, script, **_options: asked.append(script) or told)
    monkeypatch.setattr(Connections, "wait", lambda *_words: None)
    with pytest.raises(LabError, match="does not run the testbed's hypervisor") as raised:
        host.reset(SIZING, GuestSizing(1, 1, 512, 512, 256), boot="one")
    assert raised.value.why == why
    assert [script.split()[:2] for script in asked] == [["xl", "info"]]


def test_a_server_restarts_once_for_each_boot_of_a_campaign(
    host: PhysicalHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = Server()
    answer(server, monkeypatch)
    for boot in ("one", "one", "two"):
        host._be_in(boot)
    assert (server.restarts, server.boot) == (2, "two")


@pytest.mark.parametrize("back", [None, State("b2", None, "0", None, None, None, None)])
def test_a_server_that_does_not_come_back_between_cells_is_told(
    back: State | None, host: PhysicalHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = Server()
    server.back = back
    answer(server, monkeypatch)
    with pytest.raises(LabError, match="did not come back with the testbed's hypervisor") as raised:
        host._be_in("one")
    assert "it goes on" in raised.value.remedy


@pytest.mark.parametrize(
    ("said", "options"),
    [
        ("", ()),
        ("-o ProxyJump=gate", (("ProxyJump", "gate"),)),
        ("-oPort=7 -J gate", (("Port", "7"), ("ProxyJump", "gate"))),
        ("-o 'ProxyCommand=ssh gate -W %h:%p'", (("ProxyCommand", "ssh gate -W %h:%p"),)),
    ],
)
def test_what_ansible_is_told_of_ssh_holds_for_every_connection(
    said: str, options: tuple[tuple[str, str], ...]
) -> None:
    entry = replace(ENTRY, connection={"ansible_ssh_common_args": said})
    assert physical.ssh_options(entry) == options
    endpoint = physical.dom0_endpoint(entry, Path("/learned"))
    assert endpoint.options[len(endpoint.options) - len(options) :] == options


@pytest.mark.parametrize("said", ["-C", "-o Port", "-o", "gate", "-o 'ProxyJump=gate"])
def test_what_only_ansible_would_take_is_refused(said: str) -> None:
    with pytest.raises(InvalidFileError) as raised:
        physical.ssh_options(replace(ENTRY, connection={"ansible_ssh_extra_args": said}))
    assert "ProxyJump" in raised.value.remedy or "quote" in raised.value.remedy


def test_host_keys_that_were_recorded_and_are_gone_are_not_taken_anew() -> None:
    said = "-o StrictHostKeyChecking=yes -o 'UserKnownHostsFile=\"{{ inventory_dir }}/mine.known_hosts\"'"
    entry = replace(ENTRY, connection={"ansible_ssh_common_args": said}, lab="mine")
    with pytest.raises(InvalidFileError, match="no recorded host keys of xen1"):
        physical.dom0_endpoint(entry, Path("/learned"))
    assert physical.dom0_endpoint(replace(entry, known_hosts=Path("/mine.known_hosts")), Path("/learned"))


def test_where_no_keys_are_recorded_what_the_inventory_says_of_them_holds() -> None:
    said = "-o StrictHostKeyChecking=yes -o UserKnownHostsFile=/srv/keys"
    own = physical.dom0_endpoint(replace(ENTRY, connection={"ansible_ssh_common_args": said}), Path("/learned"))
    assert own.options == (("StrictHostKeyChecking", "yes"), ("UserKnownHostsFile", "/srv/keys"))
    assert physical.dom0_endpoint(ENTRY, Path("/learned")).options[0] == ("StrictHostKeyChecking", "accept-new")
