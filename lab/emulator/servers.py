"""Servers for the acceptance of what prepares servers: emulated PCs with Debian 13 on their own
disks, which know nothing of Xen. One starts by BIOS, one by UEFI.

The project treats them as it does real ones: it reaches them by SSH alone, and what it may do from
outside is to cycle their power. So nothing here reads or writes what is on their disks. Their tests
alone take them back to a state that they were in.
"""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from common import files
from common.console import Tell
from common.errors import LabError, MissingError, UsageError
from common.processes import start_time
from lab import paths
from lab.build.artifacts import Artifact
from lab.emulator import accelerator, monitor
from lab.emulator.process import end_process, port_is_free

INVENTORY = paths.INVENTORY / "servers-emulated.yml"
KEY = Path("~/.cache/xen-overcommit/key/id_ed25519")
MEMORY_MIB = 2048
CPUS = 2
DISKS = {"root1": "4G", "swap1": "512M", "root2": "4G", "swap2": "512M", "spare": "16G"}
"""Drives beside the system's own, empty at first: /dev/vdb and so on. What is not written takes no
space.
"""

BOOT_SECONDS = 240.0
"""Until SSH answers: half a minute on two idle cores, and the first boot writes its boot menu."""

PANIC = ("Kernel panic - not syncing", "Oops: int3")
"""What the console says when QEMU's emulation broke a stock kernel's patching of itself: once in
seven boots of QEMU 7.2.
"""

STARTS = 3
MONITOR = "monitor.qmp"
SAVE_SECONDS = 180.0


@dataclass(frozen=True)
class Server:
    """One of them. port: of 127.0.0.1, where its SSH server answers."""

    name: str
    firmware: Literal["bios", "uefi"]
    port: int


SERVERS = {each.name: each for each in (Server("bios1", "bios", 2231), Server("uefi1", "uefi", 2232))}


@dataclass(frozen=True)
class _Running:
    pid: int
    start_time: int
    boot_id: str


def named(name: str) -> Server:
    """UsageError for one that there is not."""
    if name not in SERVERS:
        raise UsageError(f"there is no emulated server {name!r}", remedy=f"There are {', '.join(SERVERS)}.")
    return SERVERS[name]


def up(image: Artifact, progress: Tell) -> None:
    """Start those that do not run, and wait until SSH answers. Disks of another image are made
    anew.
    """
    if paths.lab_key() != KEY.expanduser():
        raise UsageError(
            "the emulated servers let in another key than their inventory names",
            where=str(INVENTORY),
            why=f"it names {KEY}, and this cache has {paths.lab_key()}",
            remedy="Run without OVERCOMMIT_CACHE and XDG_CACHE_HOME, or change the inventory.",
        )
    with ThreadPoolExecutor(len(SERVERS)) as pool:
        for future in [pool.submit(_up, each, image, progress) for each in SERVERS.values()]:
            future.result()


def _up(server: Server, image: Artifact, progress: Tell) -> None:
    folder = _folder(server)
    with files.lock(folder / "lock"):
        made = _read(folder / "made.json").get("key")
        if made != image.key:
            _end(server)
            _make(folder, image)
            progress(f"{server.name}: new disks")
    if _running(server) is None:
        start(server)
    wait(server, progress)


def start(server: Server, snapshot: str | None = None) -> None:
    """Switch it on; snapshot: in this state of save(). LabError when QEMU does not come up."""
    folder = _folder(server)
    if not port_is_free(server.port):
        raise MissingError(
            f"port {server.port} of 127.0.0.1 is occupied",
            where=f"{INVENTORY.name}: {server.name}",
            remedy="End what uses it: emulated servers have fixed ports.",
        )
    (folder / "serial.log").unlink(missing_ok=True)
    with (folder / "qemu.log").open("wb") as log:
        try:
            words = [*command(server), *(["-loadvm", snapshot] if snapshot else [])]
            child = subprocess.Popen(
                words, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, cwd=folder
            )
        except FileNotFoundError:
            raise MissingError(
                f"{accelerator.QEMU} is missing", remedy="Install qemu-system-x86, or run ./inv setup."
            ) from None
    running = _Running(child.pid, start_time(child.pid) or 0, accelerator.boot_id())
    files.replace(folder / "qemu.json", json.dumps(asdict(running)))
    time.sleep(0.5)
    if child.poll() is not None:
        raise LabError(
            f"QEMU of {server.name} did not start",
            where=str(folder / "qemu.log"),
            why=(folder / "qemu.log").read_text(),
        )


def command(server: Server) -> list[str]:
    """QEMU's command line; names are relative to the server's folder."""
    chosen = accelerator.choose().accelerator
    words = [accelerator.QEMU, "-name", f"overcommit-{server.name}", "-machine", "q35"]
    words += ["-accel", "kvm" if chosen == "kvm" else "tcg,thread=multi,tb-size=256"]
    words += ["-cpu", "host" if chosen == "kvm" else "qemu64", "-smp", str(CPUS), "-m", str(MEMORY_MIB)]
    words += ["-display", "none", "-nodefaults", "-no-user-config", "-rtc", "base=utc", "-serial", "file:serial.log"]
    words += ["-qmp", f"unix:{MONITOR},server=on,wait=off"]
    # What is saved goes to the first of its drives: not to the firmware's.
    for number, name in enumerate(["system", *DISKS]):
        # What a server has flushed is in this machine's page cache, which a power cycle leaves
        # alone.
        kept = "format=qcow2,cache=writeback,cache.no-flush=on,discard=unmap"
        words += ["-drive", f"if=none,id={name},file={name}.qcow2,{kept}"]
        words += ["-device", f"virtio-blk-pci,drive={name},addr={0x10 + number:#x},bootindex={number + 1}"]
    if server.firmware == "uefi":
        words += ["-drive", "if=pflash,format=raw,unit=0,readonly=on,file=ovmf-code.fd"]
        words += ["-drive", "if=pflash,format=qcow2,unit=1,file=ovmf-vars.qcow2"]
    words += ["-netdev", f"user,id=net0,hostfwd=tcp:127.0.0.1:{server.port}-:22"]
    # The slot gives the card its name in the server, which its installer has written down.
    return [*words, "-device", "virtio-net-pci,netdev=net0,addr=0x3,romfile="]


def wait(server: Server, progress: Tell, seconds: float = BOOT_SECONDS) -> None:
    """Until SSH answers; a kernel that the emulation broke is started again. LabError with the end
    of its console when it does not come.
    """
    serial = _folder(server) / "serial.log"
    for attempt in range(1, STARTS + 1):
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if answers(server.port):
                return
            if _running(server) is None:
                raise LabError(f"QEMU of {server.name} is gone", where=str(_folder(server) / "qemu.log"))
            said = serial.read_text(errors="replace") if serial.exists() else ""
            if any(words in said for words in PANIC) and attempt < STARTS:
                progress(f"{server.name}: its kernel panicked under emulation; starting it again")
                cycle(server)
                break
            time.sleep(2)
        else:
            tail = "\n".join(said.splitlines()[-10:])
            raise LabError(f"{server.name} does not answer by SSH after {seconds:.0f} s", where=str(serial), why=tail)


def answers(port: int) -> bool:
    """Whether an SSH server says what it is; QEMU itself takes every connection."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as stream:
            return stream.recv(4) == b"SSH-"
    except OSError:
        return False


def cycle(server: Server) -> None:
    """Off and on again: what a power switch does, whatever the server is doing."""
    _end(server)
    start(server)


def save(server: Server, name: str) -> None:
    """Keep the state of one that runs, memory and disks. LabError when it cannot be kept."""
    said = monitor.human(_folder(server) / MONITOR, f"savevm {name}", timeout=SAVE_SECONDS)
    if said.strip():
        raise LabError(f"the state of {server.name} could not be kept", where=f"savevm {name}", why=said.strip())


def restore(server: Server, name: str) -> None:
    """Go back to a state of save(), from whatever it is doing, and wait until SSH answers."""
    _end(server)
    start(server, name)
    wait(server, lambda _text: None)


def saved(server: Server) -> list[str]:
    """Names of the states that were kept of it."""
    disk = _folder(server) / "system.qcow2"
    if not disk.exists():
        return []
    done = subprocess.run(
        ["qemu-img", "info", "--force-share", "--output=json", str(disk)], capture_output=True, text=True, check=True
    )
    return [str(each["name"]) for each in json.loads(done.stdout).get("snapshots", [])]


def down(*, remove: bool = False) -> list[str]:
    """Switch all off: the names of those that ran. remove: their disks, too."""
    stopped = [each.name for each in SERVERS.values() if _end(each)]
    if remove:
        shutil.rmtree(_base(), ignore_errors=True)
    return stopped


def _make(folder: Path, image: Artifact) -> None:
    (folder / "made.json").unlink(missing_ok=True)
    outputs = image.outputs
    new = ["create", "-q", "-f", "qcow2", "-o", "cluster_size=65536"]
    commands = {"system.qcow2": [*new, "-F", "qcow2", "-b", str(outputs["server.qcow2"]), "system.qcow2"]}
    commands |= {f"{name}.qcow2": [*new, f"{name}.qcow2", size] for name, size in DISKS.items()}
    # A drive of this format can be saved with the others.
    variables = ["convert", "-f", "raw", "-O", "qcow2", str(outputs["ovmf-vars.fd"]), "ovmf-vars.qcow2"]
    commands["ovmf-vars.qcow2"] = variables
    for name, words in commands.items():
        (folder / name).unlink(missing_ok=True)
        try:
            subprocess.run(["qemu-img", *words], cwd=folder, check=True, capture_output=True, text=True)
        except FileNotFoundError:
            raise MissingError("qemu-img is missing", remedy="Install qemu-utils, or run ./inv setup.") from None
        except subprocess.CalledProcessError as error:
            raise LabError("a drive could not be made", where=str(folder), why=str(error.stderr).strip()) from None
    shutil.copyfile(outputs["ovmf-code.fd"], folder / "ovmf-code.fd")
    # It has a host key of its own again.
    (paths.host_dir(INVENTORY.stem, folder.name) / "known_hosts").unlink(missing_ok=True)
    files.replace(folder / "made.json", json.dumps({"key": image.key}))


def _end(server: Server) -> bool:
    """Switch it off; whether it ran."""
    running = _running(server)
    if running is None:
        return False
    end_process(running.pid)
    return True


def _running(server: Server) -> _Running | None:
    record = _read(_base() / server.name / "qemu.json")
    try:
        running = _Running(**record)
    except TypeError:
        return None
    same = running.boot_id == accelerator.boot_id() and start_time(running.pid) == running.start_time
    return running if same else None


def _read(path: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return found


def _base() -> Path:
    return paths.cache() / "servers"


def _folder(server: Server) -> Path:
    folder = _base() / server.name
    folder.mkdir(parents=True, exist_ok=True)
    return folder
