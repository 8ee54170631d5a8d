"""Booting a server into a new hypervisor: whatever goes wrong, its old system stays the default."""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import pytest

from common.errors import LabError
from lab import paths
from lab.hosts import server_boot
from lab.hosts.server_boot import Entry, ServerBoot
from lab.inventory import GuestDisks, Physical
from lab.remote import scripts
from lab.remote.ssh import CommandError, Connections, UnreachableError

ENTRY = Entry("overcommit-0123456789ab", "dom0_mem=768M,max:768M dom0_max_vcpus=2 dom0_vcpus_pin tmem", "6.12.9+deb13")


@dataclass
class Server:
    """A server as its scripts see it. comes: what happens after `once`: the `new` entry, the `old`
    system, or `nothing` until its power is cycled. power: a file that a power hook makes. late:
    what is booted then. lost: how often the connection breaks while it is checked;
    vanishes: with the server. next: what is still to be booted one time.
    """

    comes: str = "new"
    well: bool = True
    options: str = ENTRY.options
    power: Path | None = None
    late: str | None = None
    boots: int = 0
    entry: str | None = None
    default: str = "0"
    confirmed: str = ""
    up: bool = True
    lost: int = 0
    dom0_mib: int = 768
    interrupted: bool = False
    kernel: str = ENTRY.kernel
    next: str = ""
    vanishes: bool = False
    done: list[str] = field(default_factory=list)

    def run(self, _name: str, script: str, *, timeout: float = 60, step: str = "") -> str:
        assert script.startswith("# server-boot.sh\nset -- ")
        action, *arguments = script.splitlines()[1].split()[2:]
        if not self.up and self.power is not None and self.power.exists():
            self._boot(self.late)
        if not self.up:
            raise UnreachableError("dom0 cannot be reached by SSH")
        if action != "state":
            self.done.append(action)
        if action == "once":
            self.up = self.comes != "nothing"
            self._boot(arguments[0] if self.comes == "new" else None, up=self.up)
        elif action == "check" and self.lost:
            self.lost -= 1
            self.up = not self.vanishes
            raise UnreachableError("dom0 cannot be reached by SSH", why="Broken pipe")
        elif action == "check" and not self.well:
            raise CommandError("a command on dom0 failed with code 1", where="dom0: check", why="no such ioctl")
        elif action == "keep":
            self.default = self.confirmed = arguments[0]
        elif action == "leave":
            self._boot(None if self.default == "0" else self.default)
        return self._state() if action == "state" else ""

    def _boot(self, entry: str | None, *, up: bool = True) -> None:
        self.boots += 1
        self.entry, self.up = entry, up

    def _state(self) -> str:
        xen = f"xen: 4.20.3\noptions: placeholder {self.options}\ndom0_mib: {self.dom0_mib}\n" if self.entry else ""
        told = f"boot: b{self.boots}\nentry: {self.entry or ''}\nconfirmed: {self.confirmed}\ndefault: {self.default}\n"
        told += f"next: {self.next}\nkernel: {self.kernel}\n"
        return told + xen

    def drop(self, _names: Sequence[str] | None = None) -> None:
        pass


def boot(server: Server, hook: str | None = None) -> ServerBoot:
    connections = cast(Connections, server)
    return ServerBoot(
        "xen1", connections, lambda _text: None, power_hook=hook, come_back=0.05, sleep=lambda _seconds: None
    )


def test_a_new_entry_becomes_the_default_when_the_server_is_back_and_well() -> None:
    server = Server()
    assert boot(server).enter(ENTRY)
    assert server.done == ["once", "check", "keep"]
    assert (server.entry, server.default, server.confirmed) == (ENTRY.name, ENTRY.name, ENTRY.name)


def test_a_second_time_changes_nothing() -> None:
    server = Server()
    boot(server).enter(ENTRY)
    server.done.clear()
    assert not boot(server).enter(ENTRY)
    assert server.done == []


def test_an_entry_that_runs_and_was_never_confirmed_is_checked_first() -> None:
    server = Server(entry=ENTRY.name)  # the controller was interrupted between the two
    assert boot(server).enter(ENTRY)
    assert server.done == ["check", "keep"]


def failed(server: Server, hook: str | None = None) -> LabError:
    with pytest.raises(LabError) as raised:
        boot(server, hook).enter(ENTRY)
    assert server.default == "0"
    assert server.confirmed == ""
    assert "keep" not in server.done
    assert raised.value.remedy
    return raised.value


def test_a_hypervisor_that_does_not_start_leaves_the_old_system() -> None:
    error = failed(Server(comes="old"))
    assert error.what == "xen1 did not come up with the new hypervisor, and is back in its old system"
    assert "Nothing is lost" in error.remedy


def test_without_a_power_hook_a_person_is_told_what_to_press() -> None:
    error = failed(Server(comes="nothing"))
    assert error.what.startswith("xen1 did not come back with the new hypervisor within")
    assert error.remedy.startswith("Switch xen1 off and on")


def test_the_power_hook_brings_the_old_system_back(tmp_path: Path) -> None:
    power = tmp_path / "power"
    server = Server(comes="nothing", power=power)
    error = failed(server, f'echo "$OVERCOMMIT_SERVER" > {power}')
    assert error.what.endswith("and is back in its old system")
    assert power.read_text() == "xen1\n"
    assert (server.entry, server.up) == (None, True)


def test_a_power_hook_that_does_not_help_is_named(tmp_path: Path) -> None:
    error = failed(Server(comes="nothing"), "true # nobody hears")
    assert "true # nobody hears" in error.why
    assert "Switched off and on it starts its old system" in error.remedy


@pytest.mark.parametrize(("hook", "why"), [("echo no such outlet >&2; exit 3", "it ended with 3: no such outlet")])
def test_a_power_hook_that_fails_is_told_with_its_words(hook: str, why: str) -> None:
    error = failed(Server(comes="nothing"), hook)
    assert error.what == "the power of xen1 could not be cycled"
    assert error.why == why


def test_a_server_that_is_not_well_is_sent_back() -> None:
    server = Server(well=False)
    error = failed(server)
    assert error.what == "xen1 came up with the new hypervisor, but is not well, and is back in its old system"
    assert "no such ioctl" in error.why
    assert server.done == ["once", "check", "leave"]
    assert server.entry is None


def test_other_options_than_the_entrys_are_not_well() -> None:
    error = failed(Server(options="dom0_mem=256M tmem"))
    assert "Xen does not run as its entry says" in error.why


def test_another_kernel_than_the_entrys_is_not_well() -> None:
    error = failed(Server(kernel="6.12.8"))
    assert error.why == "dom0 does not run the kernel of its entry\nit runs 6.12.8"


def test_a_restart_that_passes_by_the_boot_menu_is_told_and_nothing_waits_there() -> None:
    server = Server(comes="old", next=ENTRY.name)
    error = failed(server)
    assert error.what == "xen1 restarted without its boot menu, and is in its old system"
    assert server.done == ["once", "forget"]


def test_another_memory_than_dom0_was_to_have_is_not_well() -> None:
    error = failed(Server(dom0_mib=512))
    assert error.why == "dom0 has 512 MiB, and its entry says 768"
    assert boot(Server(dom0_mib=767)).enter(ENTRY)


def test_a_connection_that_is_lost_while_a_server_is_checked_is_waited_for() -> None:
    server = Server(lost=2)
    assert boot(server).enter(ENTRY)
    assert server.done == ["once", "check", "check", "check", "keep"]


def test_a_server_that_loses_its_connection_each_time_it_is_checked_is_not_well() -> None:
    server = Server(lost=9)
    error = failed(server)
    assert error.what.endswith("is not well, and is back in its old system")
    assert "Broken pipe" in error.why
    assert server.entry is None


def test_who_waits_for_a_server_can_be_interrupted() -> None:
    server = Server(comes="nothing", interrupted=True)
    began = time.monotonic()
    with pytest.raises(UnreachableError):
        ServerBoot("xen1", cast(Connections, server), lambda _text: None, sleep=lambda _seconds: None).enter(ENTRY)
    assert time.monotonic() - began < 10


def test_a_server_that_had_not_gone_down_before_its_power_was_cycled_is_checked_when_it_is_up(tmp_path: Path) -> None:
    # the cycled power ended its shutdown, so its one boot into the new system was still to come
    server = Server(comes="nothing", power=tmp_path / "power", late=ENTRY.name)
    assert boot(server, f"touch {tmp_path}/power").enter(ENTRY)
    assert server.done == ["once", "check", "keep"]


def test_a_power_hook_that_did_nothing_is_told_when_the_new_system_is_up_again(tmp_path: Path) -> None:
    server = Server(power=tmp_path / "power", late=ENTRY.name, lost=1, vanishes=True)
    error = failed(server, f"touch {tmp_path}/power")
    assert error.what.endswith("and runs it now")
    assert "its power was not cycled, it seems" in error.why


# --- entries --------------------------------------------------------------------------------------


def settings(memory: str = "768 MiB", vcpus: int = 2) -> Physical:
    disks = [GuestDisks(root="/dev/a", swap="/dev/b")]
    declared = {"guest_disks": disks, "dom0_memory": memory, "dom0_vcpus": vcpus}
    return Physical(kind="physical", **declared)  # type: ignore[arg-type]


def test_an_entry_is_named_after_all_that_it_boots(tmp_path: Path) -> None:
    one, other = tmp_path / "one.gz", tmp_path / "other.gz"
    one.write_bytes(b"1")
    other.write_bytes(b"2")
    entry = server_boot.entry_for(settings(), one, ("console=ttyS1,57600n8",), None)
    assert entry.options == (
        "dom0_mem=768M,max:768M dom0_max_vcpus=2 dom0_vcpus_pin tmem loglvl=info guest_loglvl=none/warning "
        "conring_size=256k console=com2,vga com2=57600,8n1"
    )
    # In dom0, the serial line is Xen's: what it says stays, so that the entry is the same.
    assert server_boot.entry_for(settings(), one, ("console=hvc0",), entry.options) == entry
    names = {
        server_boot.entry_for(*each, (), None).hypervisor
        for each in ((settings(), one), (settings(), other), (settings("1 GiB"), one), (settings(vcpus=1), one))
    }
    assert len(names) == 4


@pytest.mark.parametrize(
    ("kernel", "said"),
    [
        ((), ["console=vga"]),
        (("console=tty0",), ["console=vga"]),
        (("console=ttyS0",), ["console=com1,vga", "com1=115200,8n1"]),
        (("console=ttyS0,9600", "console=ttyS1"), ["console=com2,vga", "com2=115200,8n1"]),
        (("console=ttyS4,9600",), ["console=vga"]),
    ],
)
def test_xen_takes_the_serial_line_over(kernel: tuple[str, ...], said: list[str]) -> None:
    assert server_boot.console(kernel) == said


ROOT = {"SOURCE": "/dev/sda2", "UUID": "5e1f", "FSROOT": "/", "FSTYPE": "ext4"}
NONE: dict[str, str] = {}


def menu(folder: Path, *, default: str = "0", root: Mapping[str, str] = NONE, **settings: str) -> str:
    """What the boot menu gets of two hypervisors and four kernels, of which two can be dom0's.
    root: what findmnt says of it.
    """
    files = paths.PLAYBOOKS / "roles" / "xen_server" / "files"
    script = (files / "grub-entries").read_text()
    for name in ("overcommit-a", "overcommit-b"):
        (folder / f"{name}.gz").touch()
        (folder / f"{name}.options").write_text(f"dom0_mem=1M {name}\n")
    for version, option in (("6.9.1", "y"), ("6.12.10", "y"), ("6.12.10-cloud", "n"), ("6.12.11", "y")):
        (folder / f"vmlinuz-{version}").touch()
        (folder / f"config-{version}").write_text(f"CONFIG_XEN=y\nCONFIG_XEN_DOM0={option}\n")
        if version != "6.12.11":  # an initial RAM disk is not made yet
            (folder / f"initrd.img-{version}").write_text("initrd")
    kernels = (files / "overcommit-kernels").read_text().replace("/boot/", f"{folder}/")
    (folder / "overcommit-kernels").write_text(kernels)
    (folder / "overcommit-kernels").chmod(0o755)
    tools = {
        "grub-mkrelpath": "/boot",
        "grub-probe": "77aa",
        "grub-editenv": f"saved_entry={default}",
    }
    for name, says in tools.items():
        (folder / name).write_text(f"#!/bin/sh\necho '{says}'\n")
        (folder / name).chmod(0o755)
    cases = "".join(f"    *{column}*) echo '{says}' ;;\n" for column, says in (ROOT | root).items())
    (folder / "findmnt").write_text(f'#!/bin/sh\ncase "$*" in\n{cases}esac\n')
    (folder / "findmnt").chmod(0o755)
    text = script.replace("/boot/", f"{folder}/").replace("/usr/local/sbin/", f"{folder}/")
    environment = {"PATH": f"{folder}:{os.environ['PATH']}", **settings}
    return subprocess.run(["sh", "-c", text], capture_output=True, text=True, check=True, env=environment).stdout


def test_the_menu_has_an_entry_for_each_hypervisor_and_none_is_the_default(tmp_path: Path) -> None:
    made = menu(tmp_path)
    assert made.count("menuentry ") == 4
    ids = re.findall(r"--unrestricted --id (\S+) {", made)
    assert ids == [f"overcommit-{name}+{version}" for version in ("6.12.10", "6.9.1") for name in "ab"]
    assert "overcommit.entry=overcommit-a+6.12.10\n" in made
    assert "multiboot2 /boot/overcommit-b.gz placeholder dom0_mem=1M overcommit-b\n" in made
    assert "module2 /boot/vmlinuz-6.12.10 placeholder root=UUID=5e1f ro console=hvc0" in made
    assert "set default" not in made


def test_dom0_is_told_what_the_old_system_was_but_for_its_console(tmp_path: Path) -> None:
    made = menu(
        tmp_path, GRUB_CMDLINE_LINUX="net.ifnames=0 console=ttyS0,115200", GRUB_CMDLINE_LINUX_DEFAULT="quiet nosmt"
    )
    assert "root=UUID=5e1f ro net.ifnames=0 nosmt console=hvc0 panic=10 " in made


@pytest.mark.parametrize(
    ("root", "told"),
    [
        ({"SOURCE": "/dev/mapper/vg0-root"}, "root=/dev/mapper/vg0-root ro console"),
        ({"FSTYPE": "btrfs", "FSROOT": "/@rootfs"}, "root=UUID=5e1f ro rootflags=subvol=@rootfs console"),
        ({"UUID": ""}, "root=/dev/sda2 ro console"),
    ],
)
def test_dom0_finds_its_root_as_the_old_system_does(tmp_path: Path, root: dict[str, str], told: str) -> None:
    assert told in menu(tmp_path, root=root)


@pytest.mark.parametrize(
    ("default", "then"), [("0", "0"), ("debian", "debian"), ("", "0"), ("more>debian", "0"), ("overcommit-a", "0")]
)
def test_grub_starts_the_old_system_where_it_cannot_load_the_new_one(tmp_path: Path, default: str, then: str) -> None:
    first = menu(tmp_path, default=default).splitlines()[0]
    assert first == f"if [ -z \"${{fallback}}\" ]; then set fallback='{then}'; fi"


@pytest.mark.parametrize(
    ("options", "confirmed", "goes"),
    [
        ("root=/dev/sda2 ro overcommit.entry=overcommit-b panic=10", "overcommit-a\n", True),
        ("root=/dev/sda2 ro overcommit.entry=overcommit-b", None, True),
        ("root=/dev/sda2 ro overcommit.entry=overcommit-b quiet", "overcommit-b\n", False),
        ("root=/dev/sda2 ro overcommit.entry=overcommit-b", "overcommit-c\novercommit-b\n", False),
        ("root=/dev/sda2 ro quiet", None, False),  # the old system
    ],
)
def test_a_server_that_nobody_confirmed_goes_back_by_itself(
    tmp_path: Path, options: str, confirmed: str | None, goes: bool
) -> None:
    (tmp_path / "cmdline").write_text(f"{options}\n")
    if confirmed is not None:
        (tmp_path / "confirmed").write_text(confirmed)
    script = (paths.PLAYBOOKS / "roles" / "xen_server" / "files" / "overcommit-return").read_text()
    script = script.replace("/proc/cmdline", f"{tmp_path}/cmdline")
    script = script.replace("/var/lib/overcommit/confirmed", f"{tmp_path}/confirmed")
    done = subprocess.run(
        ["sh", "-c", f"systemctl() {{ echo $*; }}\n{script}"], capture_output=True, text=True, check=False
    )
    assert done.stdout == ("reboot\n" if goes else "")


MENU = '  set default="${saved_entry}"\n'


def keep(folder: Path, menu: str, programs: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Have a server keep ENTRY. programs: what those do that are not to work, in sh."""
    stubs = {"grub-set-default": f"echo $1 > {folder}/default", "sync": "", "update-grub": f"touch {folder}/menu"}
    for name, body in {**stubs, **programs}.items():
        (folder / name).write_text(f"#!/bin/sh\n{body}\n")
        (folder / name).chmod(0o755)
    text = scripts.command("server-boot.sh", "keep", ENTRY.name)
    text = re.sub(r"PATH=\S+", f"PATH={folder}:{os.environ['PATH']}", text)
    text = text.replace("/var/lib/overcommit/confirmed", f"{folder}/confirmed").replace("/boot/", f"{folder}/")
    (folder / "grub").mkdir(exist_ok=True)
    (folder / "grub" / "grub.cfg").write_text(menu)
    return subprocess.run(["sh", "-c", text], capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("cut", "confirmed"),
    [
        ({"mv": "exit 1"}, ["former"]),
        ({"grub-set-default": "exit 1"}, [ENTRY.name, "former"]),
        ({"update-grub": "exit 1"}, [ENTRY.name, "former"]),
        ({}, [ENTRY.name]),
    ],
)
def test_wherever_a_change_of_entries_is_cut_off_the_default_is_confirmed(
    tmp_path: Path, cut: dict[str, str], confirmed: list[str]
) -> None:
    (tmp_path / "default").write_text("former\n")
    (tmp_path / "confirmed").write_text("former\n")
    done = keep(tmp_path, MENU, cut)
    assert (done.returncode == 0) == (not cut)
    now = (tmp_path / "confirmed").read_text().splitlines()
    assert now == confirmed
    assert (tmp_path / "default").read_text().strip() in now
    for name in cut:
        (tmp_path / name).unlink()
    assert keep(tmp_path, MENU, {}).returncode == 0
    assert (tmp_path / "confirmed").read_text() == f"{ENTRY.name}\n"


def test_a_change_of_entries_that_was_cut_off_is_done_again() -> None:
    server = Server(entry=ENTRY.name, default=ENTRY.name, confirmed=f"{ENTRY.name} former")
    assert boot(server).enter(ENTRY)
    assert server.done == ["check", "keep"]


@pytest.mark.parametrize(("menu", "asks"), [('  set default="${saved_entry}"\n', True), ('  set default="2"\n', False)])
def test_an_entry_is_confirmed_before_it_is_the_default(tmp_path: Path, menu: str, asks: bool) -> None:
    """Interrupted between the two, the server boots its old system, and does not restart again and
    again. Nothing is confirmed where the menu would not have it.
    """
    done = keep(tmp_path, menu, {"grub-set-default": "exit 1"})
    assert done.returncode == 1
    assert ("another file in /etc/default/grub.d sets GRUB_DEFAULT" in done.stderr) != asks
    assert (tmp_path / "confirmed").exists() == asks
    assert not (tmp_path / "menu").exists()
