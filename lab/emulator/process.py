"""The emulated host's PC: a QEMU process that boots Xen, and that no controller can lose.

What a PC is made of (images, memory, drives, accelerator) is a `Spec`; its digest names the folder
of its drives, so that snapshots are only ever used by the PC that made them. The process is found
again by its number together with its start time, or by its monitor's path on its command line: a
number alone may long be another program's.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

from common import files
from common.errors import LabError, MissingError
from common.processes import start_time as start_time_of
from lab.emulator import monitor
from lab.emulator.accelerator import QEMU, Accelerator, boot_id

QUIT_SECONDS = 10.0
ENDING_SECONDS = 5.0
LAST_LINES = 5

CONDITIONS = {"running": "running", "io-error": "no space", "internal-error": "broken"}
"""QEMU's run states (QMP query-status) that mean something to us; others are kinds of a pause."""

MOST_GUESTS = 12
"""Guests of one emulated host at most: each has two drives, and PCI slots are 32."""

BLACKLIST = "ahci,libata,iTCO_wdt,i2c_i801,lpc_ich,pcspkr,vga16fb,vsock,vsock_loopback,evdev,button,serio_raw"
"""Modules of dom0 that find something in QEMU and are of no use there; loading them costs seconds.
"""


@dataclass(frozen=True)
class Images:
    """What a PC is made from. keys: artifact -> its key. kernels: name in dom0 -> file."""

    hypervisor: Path
    dom0_kernel: Path
    dom0_initrd: Path
    host_disk: Path
    guest_disk: Path
    tmemctl: Path | None
    keys: Mapping[str, str]
    kernels: Mapping[str, Path] = field(default_factory=dict)


@dataclass(frozen=True)
class Spec:
    """A PC as QEMU emulates it. memory_mib: QEMU's RAM; swap_mib: size of each guest's swap drive;
    qemu: its version.

    icount: virtual time is instructions, one a nanosecond; under tcg only.
    """

    images: Images
    accelerator: Accelerator
    cpu_model: str
    vcpus: int
    memory_mib: int
    dom0_memory_mib: int
    guests: int
    swap_mib: int
    qemu: str
    icount: bool = False

    def digest(self) -> str:
        """Identifies PCs that are alike, to the point that one's snapshot is the other's."""
        fields = {key: value for key, value in asdict(self).items() if key != "images"}
        # Those as well of what is copied into dom0 before the first snapshot.
        fields |= {"keys": dict(self.images.keys), "xen": self.xen_options(), "linux": DOM0_OPTIONS, "layout": 3}
        return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()[:16]

    def xen_options(self) -> str:
        memory = f"{self.dom0_memory_mib}M"
        return (
            # Guests' own mistakes are logged at a limited rate, with assertions as without: a guest
            # that probes foreign frames would fill Xen's log.
            f"console=com1 com1=115200 dom0_mem={memory},max:{memory} dom0_max_vcpus={self.vcpus} tmem loglvl=info"
            # Xen keeps 16 KiB of its messages on two processors, and a booted host has written 10
            # of them.
            f" conring_size={CONSOLE_RING}"
            " guest_loglvl=none/warning"
        )

    def drives(self) -> dict[str, str | None]:
        """Drive -> the link to the image that it lies over, None for an empty one; in the order in
        which dom0 sees them: /dev/vda, /dev/vdb, ...
        """
        numbers = range(1, self.guests + 1)
        guests: dict[str, str | None] = {f"guest{i}": "guest-image" for i in numbers}
        return {"dom0": "host-image", **guests, **{f"swap{i}": None for i in numbers}}


CONSOLE_RING = "256k"
"""What Xen keeps of its messages: more than a run writes, so that what a run wrote is all there."""

DOM0_OPTIONS = (
    f"root=/dev/vda ro console=hvc0 net.ifnames=0 systemd.show_status=1 log_buf_len=512K module_blacklist={BLACKLIST}"
)


def device(index: int) -> str:
    """What dom0 calls the drive with this index: 0 -> /dev/vda."""
    return f"/dev/vd{chr(ord('a') + index)}"


@dataclass(frozen=True)
class Throttle:
    """What each drive may do per second; None is no limit."""

    iops: int | None
    bytes_per_second: int | None


class GoneError(LabError):
    """QEMU has ended by itself, or was killed."""


class BrokenError(GoneError):
    """QEMU has stopped the PC for good: its accelerator cannot run what the PC does."""


UNLIMITED = Throttle(None, None)
"""As fast as the emulation is: for set-up, and for tests of what Xen and the driver do, where
waiting for a slow disk proves nothing.
"""


@dataclass(frozen=True)
class Process:
    """A QEMU process as recorded. start_time: clock ticks since the controller's boot (field 22 of
    /proc/PID/stat). machine: the digest of its Spec.
    """

    pid: int
    start_time: int
    boot_id: str
    port: int
    machine: str
    command: list[str]
    started_at: float


class Emulator:
    """The QEMU of one emulated host. folder: labs/LAB/HOST; sockets: a folder with a path short
    enough for sockets.
    """

    def __init__(self, folder: Path, sockets: Path) -> None:
        self.folder = folder
        self.monitor = sockets / "monitor.qmp"
        self.serial = folder / "serial.log"
        self.log = folder / "qemu.log"
        self._record = folder / "qemu.json"
        self._child: subprocess.Popen[bytes] | None = None

    # --- the process ------------------------------------------------------------------------------

    def recorded(self) -> Process | None:
        """The running QEMU of this host, or None. Only looks, so whoever does not hold the host may
        ask.
        """
        recorded = self._read()
        if (
            recorded is not None
            and recorded.boot_id == boot_id()
            and start_time_of(recorded.pid) == recorded.start_time
        ):
            return recorded
        return None

    def process(self) -> Process | None:
        """As recorded(), for who holds the host: a record of one that is gone is removed, and one
        without a record is ended.
        """
        if (recorded := self.recorded()) is not None:
            return recorded
        if (stray := self._find()) is not None:
            # Its controller was killed before it wrote the record: nothing says what it runs, so it
            # cannot be used.
            end_process(stray)
        self._record.unlink(missing_ok=True)
        return None

    def start(self, spec: Spec, drives: Path, port: int | None, snapshot: str | None) -> Process:
        """Start QEMU, from a snapshot if one is named. MissingError for an occupied port, LabError
        when QEMU does not come up.
        """
        self.monitor.unlink(missing_ok=True)
        attempts = 1 if port is not None else 3
        for attempt in range(attempts):
            chosen = port if port is not None else self._choose_port(again=attempt > 0)
            if port is not None and not port_is_free(port):
                raise MissingError(
                    f"port {port} of 127.0.0.1 is occupied",
                    where="lab_ssh_port in the inventory",
                    remedy="Stop what uses it, or say lab_ssh_port: auto.",
                )
            command = self._command(spec, chosen, snapshot)
            process = self._launch(command, spec, drives, chosen)
            problem = self._wait_for_monitor(process)
            if problem is None:
                (self.folder / "port").write_text(str(chosen))
                return process
            if "host forwarding" in problem and attempt + 1 < attempts:
                continue
            raise LabError("QEMU did not start", where=str(self.log), why=problem, remedy=_remedy(problem))
        raise AssertionError("unreachable")

    def stop(self) -> None:
        """End QEMU: by its monitor, else by signals. Returns when it is gone; nothing is done when
        it does not run.
        """
        process = self.process()
        if process is None:
            return
        with contextlib.suppress(LabError):
            monitor.execute(self.monitor, "quit", timeout=QUIT_SECONDS)
        if not _wait_gone(process.pid, process.start_time, QUIT_SECONDS):
            end_process(process.pid)
        self._record.unlink(missing_ok=True)
        self.monitor.unlink(missing_ok=True)

    def condition(self) -> str:
        """`running`, `paused`, `gone`, `no space` when a drive could not be written because the
        controller's disk is full, or `broken` when QEMU has stopped the PC for good, as it
        does at once where KVM cannot run Xen.
        """
        process = self.recorded()
        if process is None:
            return "gone"
        try:
            status = str(monitor.execute(self.monitor, "query-status")["status"])
        except monitor.MonitorError:
            # One that is ending hangs up before it is gone, and frees its memory in between.
            if _wait_gone(process.pid, process.start_time, ENDING_SECONDS):
                return "gone"
            raise
        return CONDITIONS.get(status, "paused")

    def require_running(self) -> None:
        """LabError that says what became of QEMU, unless it runs."""
        condition = self.condition()
        if condition == "gone":
            raise GoneError(
                "the emulated host's QEMU is gone",
                where=str(self.log),
                why=self._last_words(),
                remedy="Run the command again: the host is made anew from its snapshot.",
            )
        if condition == "broken":
            raise BrokenError(
                "the emulated host's QEMU has stopped with an internal error",
                where=str(self.log),
                why=self._last_words(),
                remedy="Run the command again: the host is made anew from its snapshot. "
                "If it recurs: lab_accelerator: tcg.",
            )
        if condition == "no space":
            raise MissingError(
                "the emulated host stopped because the controller's disk is full",
                where=str(self.folder),
                remedy="Free space, or set OVERCOMMIT_CACHE to a folder on a larger disk; "
                "then ./inv lab.down and run this again.",
            )

    def keep_logs(self) -> None:
        """Put what QEMU and Xen said aside, as *.lost, before the next start begins both anew."""
        for path in (self.log, self.serial):
            with contextlib.suppress(FileNotFoundError):
                path.replace(path.with_suffix(".lost"))

    def ended_by_itself(self) -> str:
        """Why a QEMU that is gone has ended, as far as that was its own doing; empty when it was
        killed.
        """
        if self.log.exists() and (said := self.log.read_text(errors="replace").strip()):
            return said
        itself = self._child is not None and self._child.poll() == 0
        return "its machine stopped or reset itself, and QEMU said nothing" if itself else ""

    def _last_words(self) -> str:
        """How a QEMU that is gone ended, as far as it is known, and the end of its log and of Xen's
        console.
        """
        lines = []
        code = self._child.poll() if self._child is not None else None
        if code is not None and code < 0:
            lines.append(f"it was ended by {signal.Signals(-code).name}")
        elif code == 0:
            lines.append("it was told to end, or the host stopped or reset itself")
        for what, path in (("QEMU", self.log), ("Xen's console", self.serial)):
            if path.exists():
                said = path.read_text(errors="replace").splitlines()[-LAST_LINES:]
                lines += [f"{what}: {line}" for line in said if line.strip()]
        return "\n".join(lines) or "it was killed, or the machine ran out of memory"

    def throttle(self, spec: Spec, limit: Throttle) -> None:
        """Limit every drive, or lift the limits."""
        iops, rate = limit.iops or 0, limit.bytes_per_second or 0
        for name in spec.drives():
            arguments = {
                "device": name,
                "iops": iops,
                "iops_rd": 0,
                "iops_wr": 0,
                "bps": rate,
                "bps_rd": 0,
                "bps_wr": 0,
            }
            monitor.execute(self.monitor, "block_set_io_throttle", arguments)

    def resume(self) -> None:
        monitor.execute(self.monitor, "cont")

    def pause(self) -> None:
        monitor.execute(self.monitor, "stop")

    # --- its parts --------------------------------------------------------------------------------

    def _command(self, spec: Spec, port: int, snapshot: str | None) -> list[str]:
        threads = "single" if spec.icount else "multi"
        acceleration = f"tcg,thread={threads},tb-size=512" if spec.accelerator == "tcg" else "kvm"
        command = [
            QEMU,
            "-name",
            f"overcommit-{self.folder.name}",
            "-machine",
            "q35",
            "-accel",
            acceleration,
        ]
        command += ["-cpu", spec.cpu_model, "-smp", str(spec.vcpus), "-m", str(spec.memory_mib), "-rtc", "base=utc"]
        command += ["-icount", "shift=0,sleep=off"] if spec.icount else []
        command += ["-display", "none", "-nodefaults", "-no-user-config", "-no-reboot"]
        command += ["-qmp", f"unix:{self.monitor},server=on,wait=off", "-serial", "file:../serial.log"]
        # Names are relative to the folder of the drives (lab/emulator/drives.py), since QEMU gives
        # commas and blanks in paths a meaning.
        command += ["-kernel", "hypervisor", "-append", spec.xen_options()]
        # QEMU splits -initrd at commas, so one inside a module's options is doubled.
        options = DOM0_OPTIONS.replace(",", ",,")
        command += ["-initrd", f"dom0-kernel {options},dom0-initrd"]
        for name in spec.drives():
            source = f"if=none,id={name},file={name}.qcow2,format=qcow2,cache=writeback,cache.no-flush=on,aio=threads"
            command += ["-drive", source, "-device", f"virtio-blk-pci,drive={name}"]
        command += [
            "-netdev",
            f"user,id=net0,hostfwd=tcp:127.0.0.1:{port}-:22",
            "-device",
            "virtio-net-pci,netdev=net0,romfile=",
        ]
        return command + (["-loadvm", snapshot] if snapshot else [])

    def _launch(self, command: list[str], spec: Spec, drives: Path, port: int) -> Process:
        with self.log.open("wb") as log:
            try:
                child = subprocess.Popen(
                    command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, cwd=drives
                )
            except FileNotFoundError:
                raise MissingError(
                    f"{QEMU} is missing",
                    remedy="Install the package qemu-system-x86 (Debian's name), or run ./inv setup.",
                ) from None
        start_time = start_time_of(child.pid)
        process = Process(child.pid, start_time or 0, boot_id(), port, spec.digest(), command, time.time())
        files.replace(self._record, json.dumps(asdict(process), indent=1))
        self._child = child
        return process

    def _wait_for_monitor(self, process: Process, seconds: float = 60.0) -> str | None:
        """None when the monitor answers and the PC runs, else what QEMU said."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if start_time_of(process.pid) != process.start_time:
                return self.log.read_text(errors="replace").strip() or "it ended without a word"
            if self.monitor.exists():
                with contextlib.suppress(monitor.MonitorError):
                    monitor.execute(self.monitor, "query-status", timeout=seconds)
                    return None
            time.sleep(0.05)
        end_process(process.pid)
        return f"its monitor did not answer within {seconds:.0f} s"

    def _choose_port(self, *, again: bool) -> int:
        """A free port: the one of the last start if that is free, so that people's ssh commands
        keep working.
        """
        with contextlib.suppress(OSError, ValueError):
            last = int((self.folder / "port").read_text())
            if not again and port_is_free(last):
                return last
        return _free_port()

    def _read(self) -> Process | None:
        try:
            return Process(**json.loads(self._record.read_text()))
        except (OSError, ValueError, TypeError):
            return None

    def _find(self) -> int | None:
        """The number of a QEMU that has our monitor on its command line."""
        needle = f"unix:{self.monitor},".encode()
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                with contextlib.suppress(OSError):
                    if needle in (entry / "cmdline").read_bytes() and QEMU in (entry / "exe").readlink().name:
                        return int(entry.name)
        return None


def last_words(file: Path, most: int = 2**16) -> str:
    """The end of a log, of at most so many bytes."""
    with file.open("rb") as log:
        log.seek(max(0, file.stat().st_size - most))
        return log.read(most).decode(errors="replace")


LEAST_SPACE_MIB = 512
"""Free for what a run writes, where drives and snapshots are all there."""


def check_controller(memory_mib: int, folder: Path, accelerator: Literal["kvm", "tcg"], *, taken: int = 0) -> None:
    """MissingError when this machine cannot hold the emulated host: its memory, or the disk space
    of its drives and snapshots. taken: what these take already [MiB].
    """
    wanted = memory_mib + (768 if accelerator == "tcg" else 256)
    available = _available_mib()
    if available < wanted:
        raise MissingError(
            f"the emulated host needs {wanted} MiB of memory, and {available} MiB are available",
            where="host.guest_memory and host.dom0_memory of the experiment",
            remedy="Stop other programs, or ask for less in the experiment's host sizing.",
        )
    free = shutil.disk_usage(folder).free // 2**20
    more = max(LEAST_SPACE_MIB, 2 * memory_mib + 1024 - taken)
    if free < more:
        raise MissingError(
            f"the emulated host's drives and snapshots need about {more} MiB more, and {free} MiB are free",
            where=str(folder),
            remedy="Free space (./inv lab.destroy removes old hosts), "
            "or set OVERCOMMIT_CACHE to a folder on a larger disk.",
        )


def _available_mib() -> int:
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) // 1024
    return 0


def _wait_gone(pid: int, start_time: int, seconds: float) -> bool:
    """Does not ask a child how it ended, since that can be asked but once: see _last_words()."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if start_time_of(pid) != start_time:
            return True
        time.sleep(0.05)
    return False


def end_process(pid: int) -> None:
    """End a QEMU, by force if need be. LabError when it stays."""
    if (start_time := start_time_of(pid)) is None:
        return
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
        if _wait_gone(pid, start_time, QUIT_SECONDS):
            return
    raise LabError("QEMU could not be stopped", where=f"process {pid}", remedy="Kill it as its owner or as root.")


def port_is_free(port: int) -> bool:
    """Whether nothing listens there on 127.0.0.1."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return True
    return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _remedy(problem: str) -> str:
    if "No space left" in problem:
        return "Free space, or set OVERCOMMIT_CACHE to a folder on a larger disk."
    if "Cannot allocate memory" in problem or "cannot set up guest memory" in problem:
        return "Stop other programs, or ask for less in the experiment's host sizing."
    if "lock" in problem:
        return "Another QEMU uses the drives: end it, or run ./inv lab.down."
    return "./inv lab.destroy removes the host's drives; the next command makes them anew."
