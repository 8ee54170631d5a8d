"""QEMU as the lab runs it, with a payload of a few bytes in Xen's place: found again, replaced,
stopped, saved and restored.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from common.errors import LabError, MissingError
from lab.emulator import accelerator, monitor
from lab.emulator.drives import Drives
from lab.emulator.process import Emulator, GoneError, Images, Spec, Throttle, device
from lab.remote.ssh import socket_folder

needs_qemu = pytest.mark.skipif(
    shutil.which(accelerator.QEMU) is None or shutil.which("qemu-img") is None, reason="needs QEMU"
)


def payload() -> bytes:
    """A multiboot kernel that does nothing: header with load addresses (flag 16), then `cli;
    hlt; jmp` back to hlt.
    """
    flags, base = 1 << 16, 0x100000
    header = struct.pack("<IIiIIIII", 0x1BADB002, flags, -(0x1BADB002 + flags), base, base, 0, 0, base + 32)
    return header + bytes([0xFA, 0xF4, 0xEB, 0xFD])


@pytest.fixture
def spec(tmp_path: Path) -> Spec:
    folder = tmp_path / "images"
    folder.mkdir()
    files = {name: folder / name for name in ("hypervisor", "kernel", "initrd", "host.qcow2", "guest.qcow2", "tmemctl")}
    for name in ("kernel", "initrd", "tmemctl"):
        files[name].write_bytes(b"\0" * 512)
    files["hypervisor"].write_bytes(payload())
    if shutil.which("qemu-img"):
        for name in ("host.qcow2", "guest.qcow2"):
            subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", str(files[name]), "16M"], check=True)
    images = Images(
        hypervisor=files["hypervisor"],
        dom0_kernel=files["kernel"],
        dom0_initrd=files["initrd"],
        host_disk=files["host.qcow2"],
        guest_disk=files["guest.qcow2"],
        tmemctl=files["tmemctl"],
        keys={"xen": "1"},
        kernels={"vmlinuz": files["kernel"]},
    )
    return Spec(images, "tcg", "qemu64", 1, 64, 32, 2, 8, "QEMU emulator version 7.2")


@pytest.fixture
def emulator(tmp_path: Path) -> Iterator[Emulator]:
    folder = tmp_path / "xen1"
    folder.mkdir()
    made = Emulator(folder, socket_folder(folder))
    yield made
    made.stop()


@pytest.fixture
def drives(emulator: Emulator, spec: Spec) -> Drives:
    made = Drives(emulator.folder / f"machine-{spec.digest()}", spec)
    made.ensure()
    return made


def test_a_machine_is_known_by_what_it_is_made_of(spec: Spec) -> None:
    assert replace(spec).digest() == spec.digest()
    others = [
        replace(spec, memory_mib=65),
        replace(spec, guests=1),
        replace(spec, qemu="another"),
        replace(spec, icount=True),
        replace(spec, images=replace(spec.images, keys={"xen": "2"})),
    ]
    assert len({spec.digest(), *(each.digest() for each in others)}) == 6


def test_drives_are_in_the_order_of_dom0(spec: Spec) -> None:
    names = spec.drives()
    assert list(names) == ["dom0", "guest1", "guest2", "swap1", "swap2"]
    assert names == {"dom0": "host-image"} | dict.fromkeys(["guest1", "guest2"], "guest-image") | dict.fromkeys(
        ["swap1", "swap2"]
    )
    assert [device(index) for index, _ in enumerate(names)] == [f"/dev/vd{letter}" for letter in "abcde"]


@needs_qemu
def test_instructions_are_counted_where_they_are_to_be(emulator: Emulator, spec: Spec, drives: Drives) -> None:
    assert "-icount" not in emulator.start(spec, drives.folder, None, None).command
    emulator.stop()
    started = emulator.start(replace(spec, icount=True), drives.folder, None, None)
    assert {"-icount", "tcg,thread=single,tb-size=512"} <= set(started.command)


@needs_qemu
def test_qemu_is_found_again_by_another_controller(emulator: Emulator, spec: Spec, drives: Drives) -> None:
    started = emulator.start(spec, drives.folder, None, None)
    other = Emulator(emulator.folder, emulator.monitor.parent)
    assert other.process() == started
    assert other.condition() == "running"
    other.pause()
    assert emulator.condition() == "paused"
    other.stop()
    assert emulator.process() is None
    assert emulator.condition() == "gone"
    with pytest.raises(LabError, match="QEMU is gone"):
        emulator.require_running()


@needs_qemu
def test_a_qemu_without_a_record_is_ended(emulator: Emulator, spec: Spec, drives: Drives) -> None:
    started = emulator.start(spec, drives.folder, None, None)
    (emulator.folder / "qemu.json").unlink()
    assert emulator.recorded() is None
    assert emulator.condition() == "gone"
    assert runs(started.pid), "its controller may be about to write the record: who only looks ends nothing"
    assert emulator.process() is None
    assert not runs(started.pid)


@needs_qemu
def test_how_a_qemu_ended_is_told(emulator: Emulator, spec: Spec, drives: Drives) -> None:
    started = emulator.start(spec, drives.folder, None, None)
    emulator.serial.write_text("one\nPanic on CPU 0\n")
    os.kill(started.pid, signal.SIGKILL)
    while runs(started.pid):
        time.sleep(0.01)
    with pytest.raises(GoneError) as raised:
        emulator.require_running()
    assert raised.value.why == "it was ended by SIGKILL\nXen's console: one\nXen's console: Panic on CPU 0"
    emulator.keep_logs()
    assert emulator.serial.with_suffix(".lost").read_text() == "one\nPanic on CPU 0\n"


@needs_qemu
def test_a_qemu_that_hangs_up_is_gone_when_it_ends_soon(
    emulator: Emulator, spec: Spec, drives: Drives, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the signal and the end of the process its monitor hangs up: for a while it looks
    like one that runs and does not answer.
    """
    started = emulator.start(spec, drives.folder, None, None)
    ending = threading.Timer(0.3, os.kill, (started.pid, signal.SIGKILL))

    def hang_up(*_: object, **__: object) -> None:
        if not ending.is_alive():
            ending.start()
        raise monitor.MonitorError("QEMU's monitor refused")

    monkeypatch.setattr(monitor, "execute", hang_up)
    with pytest.raises(GoneError) as raised:
        emulator.require_running()
    assert raised.value.why == "it was ended by SIGKILL"


@needs_qemu
def test_a_qemu_that_lives_and_does_not_answer_is_not_gone(
    emulator: Emulator, spec: Spec, drives: Drives, monkeypatch: pytest.MonkeyPatch
) -> None:
    emulator.start(spec, drives.folder, None, None)
    with monkeypatch.context() as patched:
        patched.setattr("lab.emulator.process.ENDING_SECONDS", 0.1)
        patched.setattr(emulator, "monitor", emulator.folder / "nowhere")
        with pytest.raises(monitor.MonitorError):
            emulator.condition()


def runs(pid: int) -> bool:
    """Whether a process is there and has not ended; one that its parent has not asked for yet
    has.
    """
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def test_a_stale_number_is_not_taken_for_qemu(emulator: Emulator) -> None:
    """The number of this test's own process, with another start time or from another boot."""
    record = {"port": 1, "machine": "m", "command": [], "started_at": 0.0, "pid": os.getpid()}
    start = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
    path = emulator.folder / "qemu.json"
    path.write_text(json.dumps({**record, "start_time": start, "boot_id": accelerator.boot_id()}))
    assert emulator.process() is not None, "number, start time and boot agree"
    for wrong in (
        {"start_time": start - 1, "boot_id": accelerator.boot_id()},
        {"start_time": start, "boot_id": "other"},
    ):
        path.write_text(json.dumps({**record, **wrong}))
        assert emulator.process() is None
        assert not path.exists()


@needs_qemu
def test_snapshots_bring_back_drives_and_outlive_qemu(
    emulator: Emulator, spec: Spec, drives: Drives, monkeypatch: pytest.MonkeyPatch
) -> None:
    emulator.start(spec, drives.folder, None, None)
    monitor.human(emulator.monitor, 'qemu-io swap1 "write -P 1 0 64k"')
    drives.save(emulator, "first", {"note": 7})
    monitor.human(emulator.monitor, 'qemu-io swap1 "write -P 2 0 64k"')
    emulator.stop()
    assert Drives(drives.folder, spec).snapshots() == {"first": {"note": 7}}
    drives.ensure()
    emulator.start(spec, drives.folder, None, "first")
    said = monitor.human(emulator.monitor, 'qemu-io swap1 "read -P 1 0 64k"')
    assert "Pattern verification failed" not in said
    assert "read 65536/65536 bytes" in said or said == ""
    emulator.stop()
    check = subprocess.run(
        ["qemu-io", "-f", "qcow2", "-c", "read -P 1 0 64k", str(drives.folder / "swap1.qcow2")],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "Pattern verification failed" not in check.stdout
    # The power may have failed since, and QEMU does not wait for the disk.
    monkeypatch.setattr("lab.emulator.drives.boot_id", lambda: "another boot")
    assert Drives(drives.folder, spec).snapshots() == {}


@needs_qemu
def test_a_snapshot_that_fails_is_not_recorded(emulator: Emulator, spec: Spec, drives: Drives) -> None:
    emulator.start(spec, drives.folder, None, None)
    (emulator.folder / "raw.img").write_bytes(b"\0" * 65536)
    monitor.human(emulator.monitor, "drive_add 0 if=none,id=raw,format=raw,file=../raw.img")
    with pytest.raises(LabError, match="could not take a snapshot") as raised:
        drives.save(emulator, "first", {})
    assert "raw" in raised.value.why
    assert drives.snapshots() == {}


@needs_qemu
def test_a_missing_snapshot_ends_qemu_with_its_words(emulator: Emulator, spec: Spec, drives: Drives) -> None:
    with pytest.raises(LabError, match="QEMU did not start") as raised:
        emulator.start(spec, drives.folder, None, "nosuch")
    assert "nosuch" in raised.value.why
    assert emulator.process() is None


@needs_qemu
def test_limits_of_drives_can_be_set_and_lifted(emulator: Emulator, spec: Spec, drives: Drives) -> None:
    emulator.start(spec, drives.folder, None, None)
    emulator.throttle(spec, Throttle(200, 4 * 2**20))
    found = {each["device"]: each["inserted"] for each in monitor.execute(emulator.monitor, "query-block")}
    assert set(found) >= set(spec.drives())
    assert {(found[name]["iops"], found[name]["bps"]) for name in spec.drives()} == {(200, 4 * 2**20)}
    emulator.throttle(spec, Throttle(None, None))
    found = {each["device"]: each["inserted"] for each in monitor.execute(emulator.monitor, "query-block")}
    assert {(found[name]["iops"], found[name]["bps"]) for name in spec.drives()} == {(0, 0)}


def test_an_occupied_port_is_one_clear_message(emulator: Emulator, spec: Spec) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(MissingError, match=f"port {port} of 127.0.0.1 is occupied") as raised:
            emulator.start(spec, emulator.folder, port, None)
    assert "lab_ssh_port" in raised.value.where


@needs_qemu
def test_drives_that_are_damaged_or_half_made_are_made_anew(drives: Drives) -> None:
    disk = drives.folder / "guest1.qcow2"
    disk.write_bytes(b"not a disk")
    drives.ensure()
    assert disk.read_bytes().startswith(b"QFI\xfb")
    (drives.folder / "machine.json").unlink()
    marker = drives.folder / "left-behind"
    marker.touch()
    drives.ensure()
    assert not marker.exists()


@needs_qemu
def test_machines_of_other_images_make_room(drives: Drives, spec: Spec) -> None:
    other = replace(spec, images=replace(spec.images, keys={"xen": "2"}))
    Drives(drives.folder.with_name(f"machine-{other.digest()}"), other).ensure()
    assert not drives.folder.exists()
    third = replace(other, memory_mib=128)
    Drives(drives.folder.with_name(f"machine-{third.digest()}"), third).ensure()
    assert len(list(drives.folder.parent.glob("machine-*"))) == 2, "another sizing of the same images is kept"


def test_sockets_of_a_deep_or_odd_folder_go_elsewhere(tmp_path: Path) -> None:
    for name in ("x" * 90, "comma,blank "):
        folder = tmp_path / name
        folder.mkdir()
        chosen = socket_folder(folder)
        assert not chosen.is_relative_to(folder)
        assert len(str(chosen / "monitor.qmp")) < 60
        assert chosen.stat().st_mode & 0o777 == 0o700
        assert socket_folder(folder) == chosen
        shutil.rmtree(chosen)


@needs_qemu
@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a small file system")
def test_a_full_disk_is_said_so(tmp_path: Path, spec: Spec) -> None:
    folder = tmp_path / "small"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "small", str(folder)], check=False).returncode:
        pytest.skip("may not mount")
    emulator = Emulator(folder, socket_folder(tmp_path))
    try:
        drives = Drives(folder / "machine-1", spec)
        drives.ensure()
        emulator.start(spec, drives.folder, None, None)
        with (folder / "filler").open("wb") as filler:
            filler.write(b"\1" * (shutil.disk_usage(folder).free - 300_000))
        with pytest.raises(MissingError, match="no space for the emulated host"):
            drives.save(emulator, "first", {})
        assert drives.snapshots() == {}
    finally:
        emulator.stop()
        subprocess.run(["umount", "-l", str(folder)], check=True)
