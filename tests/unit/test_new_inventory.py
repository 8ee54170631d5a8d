"""New inventories of servers: from options, by asking, with host keys; nothing is overwritten."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from invoke.context import Context

from common.errors import LabError, UsageError
from lab import inventory, new_inventory, paths
from lab.inventory import GuestDisks, Physical
from lab.new_inventory import Server, Wanted
from tasks.lab import init

KEYSCAN = """\
#!/bin/sh
# ssh-keyscan -T SECONDS -p PORT ADDRESS
[ "$5" = silent ] && exit 0
[ "$5" = unknown ] && { echo "getaddrinfo unknown: Name or service not known" >&2; exit 1; }
echo "# $5:$4 SSH-2.0-OpenSSH_10.0" >&2
name=$5
[ "$4" = 22 ] || name="[$5]:$4"
echo "$name $(cut -d ' ' -f 1,2 KEY)"
"""
DISKS = "/dev/vg0/guest1-root,/dev/vg0/guest1-swap, /dev/sdb /dev/sdc"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to write to, and servers that show a key."""
    key = tmp_path / "host_key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    program = tmp_path / "bin" / "ssh-keyscan"
    program.parent.mkdir()
    program.write_text(KEYSCAN.replace("KEY", f"{key}.pub"))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    monkeypatch.setenv("OVERCOMMIT_CACHE", str(tmp_path / "cache"))
    return tmp_path


def test_what_is_written_is_what_other_tasks_read(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = folder / "mine.yml"
    key = folder / "host_key"
    init(
        Context(),
        file=str(file),
        host="xen1.example.org,192.0.2.7:2222, xen1.example.com",
        key=str(key),
        disks=DISKS,
        dom0_memory="1536 MiB",
    )
    found = inventory.load(file)
    assert [entry.name for entry in found.hosts] == ["xen1", "server1", "server2"]
    entry = found.hosts[1]
    assert isinstance(entry.settings, Physical)
    assert entry.settings.dom0_memory == 1536 * 2**20
    assert entry.settings.guest_disks == [
        GuestDisks(root="/dev/vg0/guest1-root", swap="/dev/vg0/guest1-swap"),
        GuestDisks(root="/dev/sdb", swap="/dev/sdc"),
    ]
    assert entry.connection == {
        "ansible_host": "192.0.2.7",
        "ansible_port": 2222,
        "ansible_user": "root",
        "ansible_ssh_private_key_file": str(key),
        "ansible_ssh_common_args": "-o StrictHostKeyChecking=yes "
        "-o 'UserKnownHostsFile=\"{{ inventory_dir }}/mine.known_hosts\"'",
    }
    assert entry.known_hosts == folder / "mine.known_hosts"
    # ssh itself finds the key of the second under the name that it has at its port.
    for address in ("xen1.example.org", "[192.0.2.7]:2222"):
        asked = ["ssh-keygen", "-F", address, "-f", str(entry.known_hosts)]
        assert subprocess.run(asked, check=False, capture_output=True).returncode == 0
    said = capsys.readouterr().out
    fingerprint = subprocess.run(
        ["ssh-keygen", "-lf", str(key)], capture_output=True, text=True, check=True
    ).stdout.split()
    assert said.count(f"ED25519 {fingerprint[1]}") == 3
    assert f"next: ./inv lab.check --inventory {file}" in said


def test_nothing_is_overwritten(folder: Path) -> None:
    wanted = Wanted(str(folder / "mine.yml"), "xen1", disks=DISKS)
    planned = new_inventory.complete(wanted, None)
    keys = new_inventory.scan(planned.servers)
    for name in ("mine.yml", "mine.known_hosts"):
        (folder / name).write_text("precious")
        with pytest.raises(UsageError, match="is there already"):
            new_inventory.complete(wanted, None)
        with pytest.raises(UsageError, match="cannot be written"):  # it came between
            new_inventory.write(planned, keys)
        assert (folder / name).read_text() == "precious"
        (folder / name).unlink()
        assert list(folder.glob("mine.*")) == []


@pytest.mark.parametrize(("host", "why"), [("silent", "nobody answered"), ("unknown", "Name or service not known")])
def test_a_server_that_shows_no_key_is_named_and_nothing_is_written(folder: Path, host: str, why: str) -> None:
    with pytest.raises(LabError, match=f"{host} shows no host key at port 22") as raised:
        init(Context(), file=str(folder / "mine.yml"), host=f"xen1,{host}", disks=DISKS)
    assert why in raised.value.why
    assert list(folder.glob("mine.*")) == []


MISTAKES = [
    (Wanted("Mine.yml", "a", disks=DISKS), "cannot be an inventory's file"),
    (Wanted("mine.yaml", "a", disks=DISKS), "cannot be an inventory's file"),
    (Wanted("nosuch/mine.yml", "a", disks=DISKS), "there is no folder nosuch"),
    (Wanted("mine.yml", disks=DISKS), "no server is named"),
    (Wanted("mine.yml", "root@a", disks=DISKS), "'root@a' is no server's address"),
    (Wanted("mine.yml", "a,a", disks=DISKS), "a is named twice"),
    (Wanted("mine.yml", "a", user="Root 1", disks=DISKS), "'Root 1' is no user's name"),
    (Wanted("mine.yml", "a", key="/nosuch", disks=DISKS), "there is no file /nosuch"),
    (Wanted("mine.yml", "a"), "0 disks are no pairs"),
    (Wanted("mine.yml", "a", disks="/dev/a,/dev/b,/dev/c"), "3 disks are no pairs"),
    (Wanted("mine.yml", "a", disks="/dev/a,b"), "'b' is no device's name"),
    (Wanted("mine.yml", "a", disks="/dev/a,/dev/a"), "/dev/a is named twice"),
    (Wanted("mine.yml", "a", storage="guests: 3, swap: 1 GiB"), "is nothing to make disks of"),
    (Wanted("mine.yml", "a", storage="guests: {"), "is nothing to make disks of"),
    (Wanted("mine.yml", "a", disks=DISKS, storage=new_inventory.STORAGE), "are named, and to be made, too"),
    (Wanted("mine.yml", "a", disks=DISKS, dom0_memory="1 GB"), "dom0's memory is no size"),
    (Wanted("mine.yml", "a", disks=DISKS, dom0_memory="1 KiB"), "is not a whole number of MiB"),
]


@pytest.mark.parametrize(("wanted", "said"), MISTAKES, ids=[said for _, said in MISTAKES])
def test_a_mistake_in_an_option_says_which_and_what_to_do(
    folder: Path, monkeypatch: pytest.MonkeyPatch, wanted: Wanted, said: str
) -> None:
    monkeypatch.chdir(folder)
    with pytest.raises(UsageError, match=said) as raised:
        new_inventory.complete(wanted, None)
    assert raised.value.where.startswith("--")
    assert raised.value.remedy


def test_what_no_option_says_is_asked_for_until_it_can_be_used(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    answers = iter(["own.yml", "xen 1!", "xen1", "", "/dev/sdb", "/dev/sdb, /dev/sdc", "2 GiB", ""])
    asked: list[str] = []

    def ask(question: str) -> str:
        asked.append(question)
        return next(answers)

    planned = new_inventory.complete(Wanted(user="root"), ask)
    assert planned.dom0_memory == 2 * 2**30
    assert list(answers) == []
    assert planned.servers == (Server("xen1", "xen1"),)
    assert planned.disks == (GuestDisks(root="/dev/sdb", swap="/dev/sdc"),)
    assert (planned.file, planned.key) == (Path("own.yml"), None)
    assert not any("who logs in" in each for each in asked)
    assert any(each.startswith("'1!' is no server's address") for each in asked)


def test_answers_that_end_early_write_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def ask(_question: str) -> str:
        raise EOFError

    with pytest.raises(UsageError, match="the answers ended"):
        new_inventory.complete(Wanted(), ask)


@pytest.mark.parametrize(("answer", "taken"), [("y", True), ("Yes ", True), ("", False), ("n", False)])
def test_host_keys_are_taken_only_when_a_person_says_so(answer: str, taken: bool) -> None:
    if taken:
        new_inventory.confirm(lambda _question: answer)
    else:
        with pytest.raises(UsageError, match="not accepted"):
            new_inventory.confirm(lambda _question: answer)


def test_ipv6_and_numbers_make_names_of_their_own(folder: Path) -> None:
    planned = new_inventory.complete(
        Wanted(str(folder / "m.yml"), "[2001:db8::7]:2222 10 server1.lan", disks=DISKS), None
    )
    assert planned.servers == (
        Server("server1", "2001:db8::7", 2222),
        Server("server2", "10"),
        Server("server3", "server1.lan"),
    )


def test_disks_that_are_to_be_made_and_a_power_hook_are_written(folder: Path) -> None:
    hook = 'curl "http://plug/$OVERCOMMIT_SERVER"'
    wanted = Wanted(str(folder / "m.yml"), "a", storage=new_inventory.STORAGE, power_hook=hook)
    planned = new_inventory.complete(wanted, None)
    file, _ = new_inventory.write(planned, new_inventory.scan(planned.servers))
    settings = inventory.load(file).hosts[0].settings
    assert isinstance(settings, Physical)
    assert settings.guest_storage is not None
    assert (settings.guest_storage.guests, settings.guest_storage.device) == (3, "/dev/sdb")
    assert (settings.guest_disks, settings.power_hook) == ([], hook)


def test_disks_to_be_made_are_asked_for_where_none_are_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    answers = iter(["own.yml", "xen1", "", "", "", "guests: 3", "guests: 2, swap: 1 GiB, folder: /srv", "", ""])
    planned = new_inventory.complete(Wanted(), lambda _question: next(answers))
    assert (planned.disks, planned.storage) == ((), "guests: 2, swap: 1 GiB, folder: /srv")
    assert list(answers) == []


def names_of(text: str) -> Iterator[str]:
    data = yaml.safe_load(text)
    yield from data[inventory.GROUP]["vars"]
    for host in data[inventory.GROUP]["hosts"].values():
        yield from host


def test_the_example_and_what_is_written_speak_of_the_same(folder: Path) -> None:
    planned = new_inventory.complete(Wanted(str(folder / "m.yml"), "a", disks=DISKS), None)
    written = set(names_of(new_inventory.inventory_text(planned)))
    example = set(names_of((paths.INVENTORY / "physical.example.yml").read_text()))
    # What else it shows has defaults.
    assert example - written == {"lab_dom0_vcpus", "lab_power_hook"}
