"""The emulated plain servers, without starting one."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest
from invoke.context import Context

from common.errors import LabError, MissingError, UsageError
from lab import inventory, paths
from lab.build.artifacts import Artifact
from lab.build.recipes import RECIPES
from lab.emulator import accelerator, monitor, servers
from lab.emulator.accelerator import Choice
from lab.inventory import Physical
from tasks import testbed

BIOS, UEFI = servers.SERVERS.values()


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OVERCOMMIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(accelerator, "choose", lambda *_: Choice("tcg", "a test says so"))


def test_the_inventory_names_the_servers_that_are_started() -> None:
    declared = inventory.load(servers.INVENTORY)
    ports = {entry.name: entry.connection["ansible_port"] for entry in declared.hosts}
    assert ports == {server.name: server.port for server in servers.SERVERS.values()}
    entry = declared.hosts[0]
    assert entry.connection["ansible_ssh_private_key_file"] == str(servers.KEY)
    assert isinstance(entry.settings, Physical)
    named = [name for each in entry.settings.guest_disks for name in (each.root, each.swap)]
    order = [f"/dev/vd{chr(ord('b') + number)}" for number in range(len(servers.DISKS))]
    assert named == [device for device, drive in zip(order, servers.DISKS, strict=True) if drive != "spare"]


def test_a_server_starts_from_its_own_disk_by_its_own_firmware() -> None:
    bios, uefi = " ".join(servers.command(BIOS)), " ".join(servers.command(UEFI))
    for line in (bios, uefi):
        assert "file=system.qcow2" in line
        assert "-kernel" not in line
        assert "-no-reboot" not in line
    assert "pflash" not in bios
    assert "readonly=on,file=ovmf-code.fd" in uefi
    assert "format=qcow2,unit=1,file=ovmf-vars.qcow2" in uefi
    assert "hostfwd=tcp:127.0.0.1:2231-:22" in bios


def test_the_image_has_what_a_server_is_made_from() -> None:
    assert set(RECIPES["server_image"].outputs) == {"server.qcow2", "ovmf-code.fd", "ovmf-vars.fd"}


def test_another_cache_than_the_inventorys_is_refused() -> None:
    image = Artifact("server_image", "key", Path("/nosuch"), {}, {}, Path("/nosuch"))
    with pytest.raises(UsageError, match="another key than their inventory names"):
        servers.up(image, lambda _text: None)


@pytest.mark.parametrize(("select", "removed"), [(None, True), ("bare", False)])
def test_their_tests_end_them_however_they_end(
    monkeypatch: pytest.MonkeyPatch, select: str | None, removed: bool
) -> None:
    """Selected tests leave their disks to the next ones."""
    done: list[object] = []

    def run(command: Sequence[str], **_options: object) -> None:
        done.append([*command][5:] if select else "pytest")
        raise KeyboardInterrupt

    monkeypatch.setattr(testbed.subprocess, "run", run)
    monkeypatch.setattr(servers, "down", lambda *, remove: done.append(f"down, remove={remove}"))
    monkeypatch.setattr(testbed, "install_packages", lambda _report: None)
    monkeypatch.setattr(testbed, "build_artifacts", lambda _report, names: dict.fromkeys(names))
    with pytest.raises(KeyboardInterrupt):
        testbed.test(Context(), servers=True, select=select)
    ran = ["--durations-min=1", "-v", "-k", "bare"] if select else "pytest"
    assert done == [f"down, remove={removed}", ran, f"down, remove={removed}"]


def test_an_unknown_server_is_refused() -> None:
    with pytest.raises(UsageError, match="no emulated server 'bios2'") as raised:
        servers.named("bios2")
    assert "bios1, uefi1" in raised.value.remedy


def listen(greeting: bytes) -> int:
    """Port of a server that greets the first who comes."""
    server = socket.create_server(("127.0.0.1", 0))

    def greet() -> None:
        stream, _ = server.accept()
        stream.sendall(greeting)
        stream.close()
        server.close()

    threading.Thread(target=greet, daemon=True).start()
    return int(server.getsockname()[1])


def test_a_server_answers_when_its_ssh_server_says_so() -> None:
    assert servers.answers(listen(b"SSH-2.0-OpenSSH_10.0\r\n"))
    assert not servers.answers(listen(b""))  # QEMU takes the connection, and nobody is there


def test_a_port_that_is_taken_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        server = servers.Server("bios1", "bios", taken.getsockname()[1])
        with pytest.raises(MissingError, match="is occupied"):
            servers.start(server)


def test_a_qemu_that_ends_at_once_is_told_with_its_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servers, "command", lambda _server: ["sh", "-c", "echo no such machine; exit 1"])
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    with pytest.raises(LabError, match="did not start") as raised:
        servers.start(servers.Server("bios1", "bios", port))
    assert "no such machine" in raised.value.why
    assert servers.down() == []


def test_what_was_started_is_ended_and_what_is_not_ours_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servers, "command", lambda _server: [sys.executable, "-c", "import time; time.sleep(60)"])
    monkeypatch.setattr(servers, "port_is_free", lambda _port: True)
    servers.start(BIOS)
    running = servers._running(BIOS)
    assert running is not None
    assert servers.down() == ["bios1"]
    assert servers.down() == []
    with subprocess.Popen(["sleep", "60"]) as other:  # has the number, and began at another time
        record = paths.cache() / "servers" / "bios1" / "qemu.json"
        record.write_text(record.read_text().replace(str(running.pid), str(other.pid)))
        assert servers.down(remove=True) == []
        assert other.poll() is None
        other.kill()
    assert not (paths.cache() / "servers").exists()


def test_a_kernel_that_the_emulation_broke_is_started_again(monkeypatch: pytest.MonkeyPatch) -> None:
    folder = paths.cache() / "servers" / "bios1"
    folder.mkdir(parents=True)
    serial = folder / "serial.log"
    serial.write_text("[    1.0] Oops: int3: 0000 [#1]\n")
    answered = iter([False, True])
    cycled: list[str] = []
    told: list[str] = []

    def cycle(server: servers.Server) -> None:
        cycled.append(server.name)
        serial.unlink()

    monkeypatch.setattr(servers, "answers", lambda _port: next(answered))
    monkeypatch.setattr(servers, "_running", lambda _server: servers._Running(1, 1, ""))
    monkeypatch.setattr(servers, "cycle", cycle)
    servers.wait(BIOS, told.append, seconds=5)
    assert cycled == ["bios1"]
    assert told == ["bios1: its kernel panicked under emulation; starting it again"]


def test_a_server_that_does_not_come_is_told_with_its_console(monkeypatch: pytest.MonkeyPatch) -> None:
    folder = paths.cache() / "servers" / "bios1"
    folder.mkdir(parents=True)
    (folder / "serial.log").write_text("GRUB loading.\nerror: no such partition.\n")
    monkeypatch.setattr(servers, "answers", lambda _port: False)
    monkeypatch.setattr(servers, "_running", lambda _server: servers._Running(1, 1, ""))
    with pytest.raises(LabError, match="does not answer by SSH") as raised:
        servers.wait(BIOS, lambda _text: None, seconds=0.1)
    assert "no such partition" in raised.value.why


def test_disks_are_made_anew_and_the_old_host_key_is_forgotten(tmp_path: Path) -> None:
    for name in ("server.qcow2", "ovmf-code.fd", "ovmf-vars.fd"):
        (tmp_path / name).write_bytes(bytes(65536))
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", str(tmp_path / "server.qcow2"), "1M"], check=True)
    outputs = {name: tmp_path / name for name in ("server.qcow2", "ovmf-code.fd", "ovmf-vars.fd")}
    image = Artifact("server_image", "key", tmp_path, outputs, {}, tmp_path)
    learned = paths.host_dir("servers-emulated", "uefi1") / "known_hosts"
    learned.write_text("[127.0.0.1]:2232 ssh-ed25519 AAAA\n")
    folder = servers._folder(UEFI)
    servers._make(folder, image)
    assert not learned.exists()
    made = {path.name for path in folder.glob("*.qcow2")}
    assert made == {"system.qcow2", "ovmf-vars.qcow2", *(f"{name}.qcow2" for name in servers.DISKS)}
    assert servers.saved(UEFI) == []
    subprocess.run(["qemu-img", "snapshot", "-c", "bare", str(folder / "system.qcow2")], check=True)
    assert servers.saved(UEFI) == ["bare"]


def test_a_state_that_cannot_be_kept_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(monitor, "human", lambda *_words, **_options: "Error: no block device can store it\r\n")
    with pytest.raises(LabError, match="could not be kept") as raised:
        servers.save(BIOS, "bare")
    assert raised.value.why == "Error: no block device can store it"
