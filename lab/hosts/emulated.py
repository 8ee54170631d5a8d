"""The emulated host: a QEMU on this machine that boots Xen, and jumps back to a snapshot before
every cell.

There are two kinds of snapshots. `booted` has dom0 alone, with the guests' kernel and tmemctl in
place; `guests-HASH` has the guests of one sizing up and idle, without the driver. Each is made when
it is first needed and kept, so a host is in its known state within seconds.
"""

from __future__ import annotations

import errno
import hashlib
import json
import re
import shutil
import time
from collections.abc import Callable, Collection, Mapping
from functools import cache, partial
from pathlib import Path
from typing import Any, Literal

from common.console import Tell
from common.errors import InvalidFileError, LabError
from common.text import without_home
from lab import paths
from lab.api import GuestSizing, HostSizing
from lab.emulator import share
from lab.emulator.accelerator import Choice, brief, choose, distrust_kvm, qemu_version, ran_no_host
from lab.emulator.drives import Drives, no_space
from lab.emulator.monitor import MonitorError
from lab.emulator.process import (
    MOST_GUESTS,
    UNLIMITED,
    BrokenError,
    Emulator,
    GoneError,
    Images,
    Spec,
    Throttle,
    check_controller,
    device,
    last_words,
)
from lab.emulator.share import Reading
from lab.hosts import clocks, guests
from lab.hosts.boots import BootError, panic
from lab.hosts.host import XenHost
from lab.inventory import Emulated
from lab.remote import scripts
from lab.remote.ssh import DOM0, Connections, Endpoint, UnreachableError, socket_folder

BOOTED = "booted"
BOOT_SECONDS = {"kvm": 180.0, "tcg": 600.0}
"""Bounds for the silence of a booting host's console. A two-core machine boots in a minute under
tcg; a loaded one takes as long as it takes.
"""

LAST_RESORT_SECONDS = 3600.0
"""Bound for a boot whose console goes on talking."""

GUEST_BOOT_SECONDS = 300.0
"""Bound for a guest that neither says anything nor works (lab/hosts/boots.py)."""

ANSWER_SECONDS = 180.0
"""Bound for a machine of a restored host to let us in: a second or two, but other programs may keep
this machine's processors busy.
"""

SETTLE_SECONDS = 5.0
"""Between the last session and a snapshot: a guest still writes what its boot left dirty, and its
SSH server still ends its children.
"""

XEN_FIXED_MIB = 6
XEN_SHARE = 1 / 96
"""What Xen keeps for itself: MiB at least, and a share of the RAM (frame table 1/128,
machine-to-physical table 1/512). Measured; reset() compares the result with what Xen says is free.
"""

MEMORY_TOLERANCE_MIB = 16

MOST_PANICS = 2
"""Boots in a row that an emulator's fault may end before it is taken for one of what boots."""

MOST_MEMORY_MIB = 2**20
MOST_VCPUS = 255
"""What QEMU addresses with 40 bits, and what it and Xen number without x2APIC."""

LEAST_DOM0_MIB = 192
"""Of 384 MiB Debian's kernel keeps 107 for itself; of less than this it would leave dom0 too little
to start guests.
"""

DEFAULT_CPU = {"kvm": "host", "tcg": "qemu64"}
"""Under tcg, `max` has features on which dom0 dies, and named models are slower."""


def memory_mib(host: HostSizing, sizing: GuestSizing) -> int:
    """QEMU's RAM such that the host has host.guest_memory_mib for guests, in MiB."""
    wanted = host.dom0_memory_mib + host.guest_memory_mib + XEN_FIXED_MIB + guests.xen_mib(sizing)
    return round(wanted / (1 - XEN_SHARE))


def check_sizing(host: HostSizing, sizing: GuestSizing) -> None:
    """InvalidFileError, with the experiment's key, for what no emulated host can be."""
    memory = memory_mib(host, sizing)
    for key, asked, fits, limit in (
        ("guests.count", f"{sizing.count}", sizing.count <= MOST_GUESTS, f"at most {MOST_GUESTS}"),
        ("host.vcpus", f"{host.vcpus}", host.vcpus <= MOST_VCPUS, f"at most {MOST_VCPUS}"),
        (
            "host.dom0_memory",
            f"{host.dom0_memory_mib} MiB",
            host.dom0_memory_mib >= LEAST_DOM0_MIB,
            f"at least {LEAST_DOM0_MIB} MiB",
        ),
        ("host.guest_memory", f"{memory} MiB with dom0's", memory <= MOST_MEMORY_MIB, f"at most {MOST_MEMORY_MIB} MiB"),
    ):
        if not fits:
            raise InvalidFileError(
                "the experiment does not fit an emulated host",
                where=f"{key} of the experiment",
                why=f"it is {asked}, and has to be {limit}",
                remedy="Change it, or run the experiment on a physical host.",
            )


class NotBootedError(BootError):
    """Xen or dom0 did not come up."""


class EmulatedHost(XenHost):
    """One emulated host of a lab. images: what it is made from, asked for when it is first
    started.
    """

    kind: Literal["emulated", "physical"] = "emulated"

    def __init__(self, lab: str, name: str, settings: Emulated, images: Callable[[], Images], progress: Tell) -> None:
        self.folder = paths.host_dir(lab, name)
        sockets = socket_folder(self.folder)
        super().__init__(name, Connections(self.folder / "ssh_config", sockets))
        self.settings = settings
        self.emulator = Emulator(self.folder, sockets)
        # Once: telling artifacts by their contents takes longer than starting QEMU, and what is run
        # is not to change within a campaign.
        self._images = cache(images)
        self._tell = progress
        self._spec: Spec | None = None
        self._loaded: tuple[str, str] | None = None
        self._snapshot: str | None = None
        self._choice: Choice | None = None
        self._panics: list[str] = []
        self._panicked: int | None = None

    @property
    def accelerator(self) -> str | None:
        return self._accelerator().accelerator

    @property
    def cpu_model(self) -> str:
        """Of QEMU's processors."""
        return self.settings.cpu_model or DEFAULT_CPU[self._accelerator().accelerator]

    def _accelerator(self) -> Choice:
        if self._choice is None:
            self._choice = choose(self.settings.accelerator)
        return self._choice

    # --- the known state --------------------------------------------------------------------------

    def reset(self, host: HostSizing, guests: GuestSizing, *, boot: str | None = None) -> None:
        """Jump to the snapshot of this sizing, making it first if there is none, or none of this
        boot. LabError when the host cannot be brought there.

        A QEMU that is gone before all machines have answered is replaced, once: nothing has been
        measured yet. Its logs are kept.
        """
        self._begin_reset()
        self._snapshot = None
        tag = guests_tag(guests)
        lost = False
        self._panics = []
        while True:
            spec = self._make_spec(host, guests)
            drives = Drives(self.folder / f"machine-{spec.digest()}", spec)
            try:
                notes = self._load(drives, tag, guests, boot)
                break
            except BootError as error:
                if isinstance(error, NotBootedError) and self._does_without_kvm(spec, error):
                    continue
                # QEMU's emulation breaks a kernel's run-time patching now and then ("Oops: int3"):
                # the next boot goes well.
                if not error.panicked or spec.accelerator != "tcg" or len(self._panics) >= MOST_PANICS:
                    raise
                self._panics.append(error.why)
                self.emulator.keep_logs()
                self._tell(f"{error.what}, so it is booted once more: {error.why}")
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise
                raise no_space(self.folder, str(error.strerror)) from error
            except (UnreachableError, MonitorError, GoneError) as error:
                explained = error if isinstance(error, GoneError) else self._explained(error)
                if (
                    isinstance(explained, BrokenError)
                    and tag not in drives.snapshots()
                    and self._does_without_kvm(spec, explained)
                ):
                    continue
                if lost or not isinstance(explained, GoneError):
                    raise explained from error
                lost = True
                self.emulator.keep_logs()
                self._tell(f"{explained.what}, so the host is started once more: {explained.why}")
        self._loaded = (drives.folder.name, tag)
        self._snapshot = tag
        self._is_reset(host, guests, notes["logs"], notes["fixed"])

    def _does_without_kvm(self, spec: Spec, error: LabError) -> bool:
        """Whether software emulation takes over from a KVM that could not run the host, which is
        then remembered. Not from one that has run it: what was measured so far is of that.
        """
        if spec.accelerator != "kvm" or self.settings.accelerator != "auto" or self._loaded is not None:
            return False
        self.stop()
        distrust_kvm(ran_no_host(error))
        self._choice = None
        self._tell(f"{error.what}, so software emulation takes over, and the time left is its own: {error.why}")
        return True

    def _load(self, drives: Drives, tag: str, sizing: GuestSizing, boot: str | None) -> dict[str, Any]:
        # Always a new QEMU: within one process QEMU never lets the time-stamp counter run
        # backwards, so after `loadvm` it would be ahead of every other clock of the PC, and
        # Xen would stand still until they have caught up.
        self.stop()
        if boot is not None and drives.snapshots().get(BOOTED, {}).get("boot") != boot:
            drives.remove()
        if tag not in drives.snapshots():
            self._make(drives, tag, sizing, boot)
            self.stop()  # the first cell begins like every other
        self._start(drives, tag)
        self._spec = drives.spec
        self.limit_disks(Throttle(self.settings.disk_iops, self.settings.disk_bandwidth))
        self._check_machines(sizing)
        snapshots = drives.snapshots()
        self._panicked = sum(snapshots.get(each, {}).get("panics", 0) for each in (BOOTED, tag))
        return snapshots[tag]

    def limit_disks(self, limit: Throttle) -> None:
        """Let each drive do so much per second until the next reset, instead of what the inventory
        declares.
        """
        if self._spec is None:
            raise LabError("the host has not been started", where=self.name, remedy="Reset it first.")
        self.emulator.throttle(self._spec, limit)

    def _make(self, drives: Drives, tag: str, sizing: GuestSizing, boot: str | None) -> None:
        """Make the snapshot of a sizing, and the one of the booted host before it if there is
        none.
        """
        if BOOTED not in drives.snapshots():
            drives.remove()
            self._boot(drives, boot)
        else:
            self._start(drives, BOOTED)
        self.emulator.throttle(drives.spec, UNLIMITED)
        self._check_type(sizing)
        self._tell(f"starting {sizing.count} guests for a snapshot")
        names = guests.names(sizing.count)
        self.create(sizing)
        self._guests = {}
        self._wait_for_guests(names, GUEST_BOOT_SECONDS, self.emulator.require_running)
        fixed = self._ask_fixed(names)
        left = clocks.synchronise(self.connections, names)
        self.connections.run_all(dict.fromkeys([DOM0, *names], "sync"), timeout=120)
        logs = self._read_logs(names)
        self.disconnect()
        time.sleep(SETTLE_SECONDS)
        self.emulator.require_running()
        took = drives.save(
            self.emulator,
            tag,
            {
                "clock_offsets_s": left,
                "fixed": fixed,
                "guests": sizing.document(),
                "logs": logs,
                "made_at": time.time(),
                "panics": len(self._panics),
            },
        )
        self._panics = []
        self._tell(f"snapshot {tag} taken in {took:.1f} s")

    def create(self, sizing: GuestSizing, only: Collection[int] | None = None) -> None:
        """Create the guests of a sizing, or those with these numbers. Returns before they have
        booted.
        """
        count = sizing.count
        disks = [guests.Disks(device(1 + i), device(1 + count + i)) for i in range(count)]
        script = guests.create_script(sizing, disks, native_tsc=True, only=only)
        self.run(DOM0, script, timeout=guests.START_SECONDS, step="creating the guests")

    def _boot(self, drives: Drives, name: str | None) -> None:
        """Boot Xen and dom0 from nothing, put the files of the guests in place, and take the
        snapshot `booted`.
        """
        spec = drives.spec
        began = time.monotonic()
        why = brief(self._accelerator().why)
        self._tell(f"booting Xen under {spec.accelerator} ({why})")
        self._start(drives, None)
        self._wait_for_dom0(began)
        booted = time.monotonic() - began
        for file, path in spec.images.kernels.items():
            self._put(path, f"{guests.STATE}/{file}", "644")
        if spec.images.tmemctl is not None:
            self._put(spec.images.tmemctl, "/usr/local/sbin/tmemctl", "755")
        free = self._free_mib()
        expected = int(self._expected_free(spec))
        if abs(free - expected) > MEMORY_TOLERANCE_MIB:
            raise LabError(
                f"Xen has {free} MiB free instead of {expected} MiB for guests",
                where=f"xl info on {self.name}",
                why=f"of {spec.memory_mib} MiB, dom0 has {spec.dom0_memory_mib} MiB",
                remedy="The figures XEN_* in lab/hosts/emulated.py no longer fit this Xen: measure them again.",
            )
        self.run(DOM0, "sync")
        self.disconnect()
        time.sleep(1.0)
        notes: dict[str, object] = {
            "boot": name,
            "free_mib": free,
            "boot_seconds": round(booted, 1),
            "made_at": time.time(),
            "panics": len(self._panics),
        }
        took = drives.save(self.emulator, BOOTED, notes)
        self._panics = []
        self._tell(f"booted in {booted:.0f} s; snapshot taken in {took:.1f} s; {free} MiB free for guests")

    def _put(self, source: Path, path: str, mode: str) -> None:
        """Copy a file of the controller into dom0."""
        self.run(DOM0, scripts.command("put-file.sh", path, mode), stdin=source.read_bytes())

    def _expected_free(self, spec: Spec) -> float:
        return spec.memory_mib * (1 - XEN_SHARE) - spec.dom0_memory_mib - XEN_FIXED_MIB

    def _free_mib(self) -> int:
        found = re.search(r"^free_memory\s*:\s*(\d+)", self.run(DOM0, "xl info"), re.MULTILINE)
        if found is None:
            raise LabError("xl info does not tell the free memory", where=self.name)
        return int(found[1])

    def _wait_for_dom0(self, began: float) -> None:
        """Until dom0 lets us in and its Xen daemons run. The console tells when it is worth asking:
        every question costs the booting CPU.
        """
        limit = BOOT_SECONDS[self._accelerator().accelerator]
        deadline = began + limit
        heard = ""
        while time.monotonic() < deadline:
            # One that was killed says nothing; one that cannot run what it boots does, and some
            # only stop for good.
            condition = self.emulator.condition()
            if condition == "broken":
                said = self.emulator.log.read_text(errors="replace").strip()
                raise NotBootedError(
                    "QEMU stopped with an internal error while Xen or dom0 booted",
                    where=str(self.emulator.log),
                    why=said,
                )
            if condition == "gone" and (said := self.emulator.ended_by_itself()):
                raise NotBootedError("QEMU ended while Xen or dom0 booted", where=str(self.emulator.log), why=said)
            self.emulator.require_running()
            console = self.emulator.serial.read_text(errors="replace") if self.emulator.serial.exists() else ""
            if console != heard:
                heard, deadline = console, min(began + LAST_RESORT_SECONDS, time.monotonic() + limit)
            if re.search(r"Reached target.*multi-user\.target|login:", console):
                break
            if fatal := panic(console):
                raise NotBootedError(
                    "Xen or dom0 died while booting", where=str(self.emulator.serial), why=fatal, panicked=True
                )
            time.sleep(0.5)
        else:
            raise NotBootedError(
                f"dom0 is not up {time.monotonic() - began:.0f} s after its start, "
                "and its console has ended or fallen silent",
                where=str(self.emulator.serial),
                why="\n".join(console.splitlines()[-5:]),
                remedy="The console's whole output is in that file.",
            )
        self._wait(DOM0, max(ANSWER_SECONDS, deadline - time.monotonic()))
        self.run(
            DOM0,
            "until xenstore-exists /local/domain/0/name 2> /dev/null && xl list > /dev/null 2>&1; do sleep 0.5; done",
            step="waiting for Xen's daemons",
        )

    def _start(self, drives: Drives, snapshot: str | None) -> None:
        check_controller(drives.spec.memory_mib, self.folder, drives.spec.accelerator, taken=drives.taken_mib())
        drives.ensure()
        if snapshot is not None and snapshot not in drives.snapshots():
            raise LabError("the host's drives were damaged and have been made anew", where=str(drives.folder))
        process = self.emulator.start(drives.spec, drives.folder, self.settings.ssh_port, snapshot)
        if snapshot is not None:
            self.emulator.resume()
        self.disconnect()
        self.connections.configure(self._endpoints(process.port, drives.spec.guests))

    def _endpoints(self, port: int, count: int) -> list[Endpoint]:
        key = paths.lab_key()
        beyond = [
            Endpoint(name, guests.address(i), key=key, jump=True) for i, name in enumerate(guests.names(count), 1)
        ]
        return [Endpoint(DOM0, "127.0.0.1", port=port, key=key), *beyond]

    def _check_machines(self, sizing: GuestSizing) -> None:
        """Every machine lets us in, all at once because each takes a second or two. That is all
        that is asked: connections are new, and a session in each would take as long again.
        """
        wait = partial(self._wait, seconds=ANSWER_SECONDS, connection=True)
        self.connections.in_parallel({name: partial(wait, name) for name in (DOM0, *guests.names(sizing.count))})

    def _wait(self, name: str, seconds: float, *, connection: bool = False) -> None:
        self.connections.wait(name, seconds, alive=self.emulator.require_running, connection=connection)

    def _make_spec(self, host: HostSizing, sizing: GuestSizing) -> Spec:
        check_sizing(host, sizing)
        accelerator = self._accelerator().accelerator
        images = self._images()
        guests.check_kernel(sizing, images.kernels)
        return Spec(
            images=images,
            accelerator=accelerator,
            cpu_model=self.cpu_model,
            vcpus=host.vcpus,
            memory_mib=memory_mib(host, sizing),
            dom0_memory_mib=host.dom0_memory_mib,
            guests=sizing.count,
            swap_mib=max(1, sizing.swap_mib),
            qemu=qemu_version(),
            icount=self.settings.icount,
        )

    # --- its life ---------------------------------------------------------------------------------

    def stop(self) -> None:
        """End QEMU and every connection. Drives and snapshots stay."""
        self.disconnect()
        self.emulator.stop()
        self._guests = {}

    def destroy(self) -> None:
        """End QEMU and remove everything of this host."""
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _explained(self, error: LabError) -> LabError:
        try:
            self.emulator.require_running()
        except LabError as better:
            return better
        return error

    def evidence(self, guests: int) -> dict[str, str]:
        """As of any host, with the last words of dom0's console and of QEMU."""
        said = {path.name: last_words(path) for path in (self.emulator.serial, self.emulator.log) if path.is_file()}
        return super().evidence(guests) | said

    def given(self) -> Reading | None:
        process = self.emulator.recorded()
        return share.read(process.pid, time.time()) if process is not None else None

    def _provenance(self, texts: Mapping[str, str]) -> dict[str, object]:
        found = super()._provenance(texts)
        process = self.emulator.process()
        if self._spec is None or process is None:
            return found
        images = self._spec.images
        found["emulator"] = {
            "qemu": self._spec.qemu,
            "command": [without_home(each) for each in process.command],
            "cpu_model": self._spec.cpu_model,
            "memory_mib": self._spec.memory_mib,
            "accelerator_why": self._accelerator().why,
            "panics": self._panicked,
            "snapshot": self._snapshot,
            "icount": self._spec.icount,
            "disk_iops": self.settings.disk_iops,
            "disk_bytes_per_second": self.settings.disk_bandwidth,
        }
        found["artifacts"] = dict(images.keys)
        return found


def guests_tag(sizing: GuestSizing) -> str:
    """Name of the snapshot of a sizing."""
    text = json.dumps(sizing.document(), sort_keys=True)
    return f"guests-{hashlib.sha256(text.encode()).hexdigest()[:12]}"
