"""Provisioning several servers, and taking the testbed off them, without a server."""

from __future__ import annotations

import concurrent.futures
import threading
import time
from collections.abc import Callable, Mapping
from functools import partialmethod
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from invoke.context import Context
from invoke.exceptions import Exit

import tasks.lab
from common.errors import LabError, UsageError
from lab import inventory, lifecycle, paths, servers
from lab.build import ansible, builder
from lab.build.changes import Change
from lab.hosts.server_boot import Entry, ServerBoot, State
from lab.remote.ssh import Connections, UnreachableError

DATA = Path(__file__).resolve().parents[1] / "data" / "servers"

LAB = """\
xen_hosts:
  vars: {lab_kind: physical, lab_dom0_memory: 1 GiB, lab_guest_disks: [{root: /dev/vg0/guest1-root, swap: /dev/sdb}]}
  hosts:
    good: {ansible_host: 192.0.2.7, ansible_ssh_common_args: -o ProxyJump=gate}
    full: {ansible_host: 192.0.2.8}
    gone: {ansible_host: 192.0.2.9}
"""
OLD = State("b1", None, "0", None, None, None, None)


class Lab:
    """What is done to three servers, of which one is full and one does not answer."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.playbooks: list[Mapping[str, Any]] = []
        self.scripts: list[tuple[str, str]] = []
        self.entered: list[Entry] = []
        self.changed = 3
        self.lost = 0
        self.left = "left: Files /etc/motd and /etc/motd differ\n"
        self.after: State | None = OLD
        self.newest = "6.12.9"
        self._lock = threading.Lock()

    def open(self, connections: Connections, _machine: str) -> None:
        if "192.0.2.9" in connections.config.read_text():
            raise UnreachableError("dom0 cannot be reached by SSH", why="Connection refused")

    def run(self, connections: Connections, machine: str, script: str, **_options: object) -> str:
        self.open(connections, machine)
        text = connections.config.read_text()
        name = next(name for name, at in (("good", "192.0.2.7"), ("full", "192.0.2.8")) if at in text)
        title = script.splitlines()[0].removeprefix("# ")
        with self._lock:
            self.scripts.append((name, title))
        facts = (DATA / "metal.txt").read_text()
        told = {
            "check-server.sh": facts.replace("/boot 401234", "/boot 1") if name == "full" else facts,
            "restore-before.sh": self.left,
            "server-boot.sh": f"boot: b1\nentry: \nnewest: {self.newest}\n",
        }
        return told.get(title, "")

    def playbook(self, name: str, **options: Any) -> ansible.RunResult:
        assert name == "provision.yml"
        self.playbooks.append(options)
        if self.lost:
            self.lost -= 1
            raise options["unreachable"]("playbook provision.yml: could not reach good", why="Broken pipe")
        changes = (Change("Write the menu", "42_overcommit", ("+ours",)),) if self.changed else ()
        return ansible.RunResult(name, 30, self.changed, 1.0, changes)

    def enter(self, _boot: ServerBoot, entry: Entry) -> bool:
        self.entered.append(entry)
        return self.changed > 0


def _passed(self: object, act: Callable[..., Any], *words: object, **options: object) -> Any:
    return act(self, *words, **options)


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lab:
    monkeypatch.setenv("OVERCOMMIT_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "mine.yml"
    path.write_text(LAB)
    made = Lab(path)
    built = tmp_path / "built"
    built.write_bytes(b"built")
    outputs = dict.fromkeys(("xen.gz", "tmemctl", "vmlinuz", "guest.qcow2"), built)
    monkeypatch.setattr(builder, "artifact", lambda _name, _needs: SimpleNamespace(outputs=outputs))
    monkeypatch.setattr(servers, "packed", lambda image, _tell: image.with_name("packed.qcow2"))
    monkeypatch.setattr(ansible, "run", made.playbook)
    for kind, name in ((Connections, "open"), (Connections, "run"), (ServerBoot, "enter")):
        act = getattr(made, name)
        monkeypatch.setattr(kind, name, partialmethod(_passed, act))
    monkeypatch.setattr(ServerBoot, "returned", lambda *_words: made.after)
    return made


def test_one_servers_failure_does_not_stop_the_others(lab: Lab) -> None:
    told: list[str] = []
    good, full, gone = servers.provision(lab.path, told.append)
    assert good.line() == "good: provisioned (3 changes, and booted)"
    assert full.error is not None
    assert full.error.what == "0 MiB are free in /boot"
    assert gone.error is not None
    assert "Connection refused" in gone.error.why
    assert gone.line().startswith("gone: failed. dom0 cannot be reached by SSH")
    assert {"good: looking at it (about 6 min 40 s left)", "full: failed: 0 MiB are free in /boot"} <= set(told)


def test_a_server_with_something_in_the_way_is_not_touched(lab: Lab) -> None:
    servers.provision(lab.path)
    assert [each["limit"] for each in lab.playbooks] == ["good"]
    assert {title for name, title in lab.scripts if name == "full"} == {"check-server.sh"}


def test_what_was_before_is_recorded_before_anything_is_changed(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    def playbook(*_words: str, **_options: Any) -> ansible.RunResult:
        assert ("good", "record-before.sh") in lab.scripts
        raise LabError("a task failed")

    monkeypatch.setattr(ansible, "run", playbook)
    good, *_ = servers.provision(lab.path)
    assert good.error is not None
    assert good.error.what == "a task failed"
    assert good.error.remedy == servers.AGAIN
    assert lab.entered == []  # nothing is booted that was not made whole
    # What it installed is recorded: what others install until the next run is theirs.
    assert [title for name, title in lab.scripts if name == "good"].count("record-before.sh") == 2


def test_without_a_kernel_for_dom0_nothing_is_booted(lab: Lab) -> None:
    lab.newest = ""
    good, *_ = servers.provision(lab.path)
    assert good.error is not None
    assert good.error.what == "good has no kernel that can be dom0's"
    assert lab.entered == []


def test_a_lost_connection_in_the_middle_is_waited_for(lab: Lab) -> None:
    lab.lost = 2
    told: list[str] = []
    assert servers.provision(lab.path, told.append)[0].line() == "good: provisioned (3 changes, and booted)"
    assert len(lab.playbooks) == 3
    assert sum("the connection was lost: Broken pipe" in line for line in told) == 2
    assert lab.entered


def test_a_connection_that_is_lost_again_and_again_is_told(lab: Lab) -> None:
    lab.lost = 9
    good, *_ = servers.provision(lab.path)
    assert isinstance(good.error, UnreachableError)
    assert len(lab.playbooks) == servers.PLAYBOOKS
    assert lab.entered == []


def test_an_interruption_ends_what_runs_before_it_is_waited_for(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    began = threading.Event()

    def playbook(name: str, *, cancel: threading.Event, **_options: Any) -> ansible.RunResult:
        began.set()
        assert cancel.wait(20), "nobody said that it was interrupted"
        raise LabError("cancelled")

    def wait(_futures: object) -> None:
        assert began.wait(20)
        raise KeyboardInterrupt

    monkeypatch.setattr(ansible, "run", playbook)
    monkeypatch.setattr(concurrent.futures, "wait", wait)
    began_at = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        servers.provision(lab.path)
    assert time.monotonic() - began_at < 15


def test_what_would_be_changed_is_told_and_nothing_is(lab: Lab) -> None:
    good, full, _ = servers.provision(lab.path, only_look=True)
    (options,) = lab.playbooks
    assert options["check"]
    # What later tasks ask for is not there yet.
    assert (options["extravars"]["xen_host_running"], options["extravars"]["provision_packages"]) == (False, False)
    assert {title for name, title in lab.scripts if name == "good"} == {"check-server.sh", "server-boot.sh"}
    assert lab.entered == []
    first, *lines = good.lines()
    assert first == "good: would be changed"
    assert lines[0] == "    install bridge-utils, sysstat, xen-utils-4.20, xen-utils-common, qemu-utils"
    assert lines[-3:-1] == ["    Write the menu: 42_overcommit", "        +ours"]
    assert lines[-1].startswith("    start it into overcommit-")
    assert full.error is not None


def test_the_packages_that_are_told_are_those_that_are_installed() -> None:
    plays = yaml.safe_load((paths.PLAYBOOKS / "guests.yml").read_text())
    named = [task["ansible.builtin.apt"]["name"] for task in plays[0]["tasks"] if "ansible.builtin.apt" in task]
    assert tuple(named) == servers.GUESTS_PACKAGES


def test_a_playbook_runs_for_one_server_with_its_entry_and_checks_its_host_key(lab: Lab) -> None:
    servers.provision(lab.path)
    (options,) = lab.playbooks
    variables = options["extravars"]
    (entry,) = lab.entered
    assert (variables["xen_server_entry"], variables["xen_server_options"]) == (entry.hypervisor, entry.options)
    assert entry.name == f"{entry.hypervisor}+6.12.9"
    assert variables["provision_guest_image"].endswith("packed.qcow2")
    assert "console=com2,vga com2=115200,8n1" in entry.options
    learned = paths.host_dir("mine", "good") / "known_hosts"
    known = f"'UserKnownHostsFile=\"{learned}\" ~/.ssh/known_hosts'"
    alive = "-o ServerAliveInterval=20 -o ServerAliveCountMax=6"
    expected = f"-o StrictHostKeyChecking=accept-new -o {known} -o ProxyJump=gate {alive}"
    assert variables["ansible_ssh_common_args"] == expected
    inventory.known_hosts(lab.path).touch()
    servers.provision(lab.path)
    assert lab.playbooks[1]["extravars"]["ansible_ssh_common_args"].startswith("-o StrictHostKeyChecking=yes ")


def test_the_playbook_is_told_of_the_guests_disks(lab: Lab) -> None:
    servers.provision(lab.path)
    told = lab.playbooks[0]["extravars"]
    assert told["provision_guest_disks"] == [{"root": "/dev/vg0/guest1-root", "swap": "/dev/sdb"}]
    assert "guest_storage_group" not in told
    storage = {"guests": 1, "swap": "1 GiB", "volume_group": "vg1", "device": "/dev/sdb"}
    declared = inventory.Physical(kind="physical", guest_storage=storage, dom0_memory="1 GiB")  # type: ignore[arg-type]
    assert servers.storage_variables(declared) == {
        "provision_guest_disks": [
            {"root": "/dev/vg1/overcommit_guest1_root", "swap": "/dev/vg1/overcommit_guest1_swap"}
        ],
        "guest_storage_group": "vg1",
        "guest_storage_folder": "",
        "guest_storage_device": "/dev/sdb",
        "guest_storage_erase": False,
        "guest_storage_volumes": [
            {"name": "overcommit_guest1_root", "mib": 4096},
            {"name": "overcommit_guest1_swap", "mib": 1024},
        ],
    }


def test_a_second_time_says_that_nothing_had_to_be_changed(lab: Lab) -> None:
    lab.changed = 0
    assert servers.provision(lab.path)[0].line() == "good: nothing had to be changed"


def test_a_server_in_use_is_left_alone(lab: Lab) -> None:
    with lifecycle.locked("mine", "good"):
        good, *_ = servers.provision(lab.path)
    assert good.error is not None
    assert good.error.what == "the host good of lab mine is in use"
    assert lab.playbooks == []


def test_a_failure_is_the_tasks_exit_code(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks.lab, "build_for", lambda *_words: None)
    with pytest.raises(Exit) as raised:
        tasks.lab.provision(Context(), inventory=str(lab.path))
    assert raised.value.code == 6


def test_what_would_be_changed_is_shown_and_what_to_do_then(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lab.path.write_text("\n".join(line for line in LAB.splitlines() if "full:" not in line and "gone:" not in line))
    monkeypatch.setattr(tasks.lab, "build_for", lambda *_words: None)
    tasks.lab.provision(Context(), inventory=str(lab.path), check=True)
    said = capsys.readouterr().out
    assert "good: would be changed\n    install bridge-utils, sysstat" in said
    assert "        +ours\n" in said
    assert f"next: ./inv lab.provision --inventory {lab.path}" in said
    assert lab.entered == []


def test_the_testbed_is_taken_off_and_what_is_left_is_named(lab: Lab) -> None:
    good, _, gone = servers.unprovision(lab.path)
    assert list(good.lines()) == [
        "good: is as it was before, but for",
        "    Files /etc/motd and /etc/motd differ",
    ]
    assert gone.error is not None
    lab.left = ""
    assert list(servers.unprovision(lab.path)[0].lines()) == ["good: is as it was before"]


def test_a_server_that_does_not_come_back_with_its_old_system_is_told(lab: Lab) -> None:
    lab.after = None
    good, *_ = servers.unprovision(lab.path)
    assert good.error is not None
    assert good.error.what == "good did not come back with its old system"
    assert "off and on" in good.error.remedy


@pytest.mark.parametrize("act", [servers.provision, servers.unprovision])
def test_emulated_hosts_are_not_provisioned(act: Any) -> None:
    with pytest.raises(UsageError, match="no physical hosts"):
        act(paths.INVENTORY / "emulated.yml")
