"""Labs from inventories: open one for a campaign, bring it up for a person, look at it, take it
down.

One process at a time uses a lab's hosts (a lock per host). A host that `lab.up` started stays up
until `lab.down`; one that was started in passing is stopped when the lab is closed, since its
snapshot brings it back in seconds. A host whose controller was killed is found again, and then
belongs to whoever opens the lab next.
"""

from __future__ import annotations

import contextlib
import json
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

from common import files
from common.console import Tell
from common.errors import LabError, MissingError, UsageError
from common.machines import Machine
from common.needs import NOTHING, Needs
from lab import inventory, paths
from lab.api import GuestSizing, HostSizing
from lab.build import builder
from lab.build.recipes import HYPERVISORS, RECIPES, guest_image
from lab.emulator import accelerator
from lab.emulator.monitor import MonitorError
from lab.emulator.process import Emulator, Images
from lab.hosts.emulated import EmulatedHost
from lab.hosts.host import XenHost
from lab.hosts.physical import PhysicalHost
from lab.kernels import asked
from lab.remote.ssh import DOM0, Connections, configured, socket_folder

DEFAULT_INVENTORY = paths.INVENTORY / "emulated.yml"
DEFAULT_HOST = HostSizing(guest_memory_mib=480, dom0_memory_mib=384, vcpus=2)
DEFAULT_GUESTS = GuestSizing(count=3, vcpus=1, memory_max_mib=256, memory_start_mib=160, swap_mib=256)
"""What lab.up starts when nothing else is asked for: the sizing of experiments/kernel_build.yml,
1.6 times overcommitted.
"""

INTERRUPTIONS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

PROVISIONED = ("xen", "tmemctl", "guest_kernel", "guest_image")
"""Artifacts that lab/servers.py puts on a physical server."""


@dataclass(frozen=True)
class OpenLab:
    """A lab whose hosts are ours until it is closed. images: what an emulated host is made from;
    asked once, as its host does.
    """

    name: str
    hosts: list[XenHost]
    images: Callable[[inventory.Emulated], Images]

    def basis(self, host: XenHost) -> dict[str, object]:
        """What of a host may not change within a campaign, by its path in what the host's
        provenance() tells. Starts nothing.
        """
        found: dict[str, object] = {"name": host.name, "kind": host.kind}
        if isinstance(host, EmulatedHost):
            found |= {
                "accelerator": host.accelerator,
                "artifacts": dict(self.images(host.settings).keys),
                "emulator.disk_iops": host.settings.disk_iops,
                "emulator.disk_bytes_per_second": host.settings.disk_bandwidth,
                "emulator.cpu_model": host.cpu_model,
                "emulator.icount": host.settings.icount,
            }
        return found


def artifacts_for(path: Path = DEFAULT_INVENTORY, needs: Needs = NOTHING) -> list[str]:
    """The artifacts that a lab is made from, by name. needs: those of the workloads that its guests
    are to run. Raises InvalidFileError for the inventory.
    """
    names: set[str] = set()
    for entry in inventory.load(path).hosts:
        if isinstance(entry.settings, inventory.Emulated):
            names.update(_artifacts_of(entry.settings, needs))
        else:
            names.update(provisioned(needs))
        names.add("sampler")
    return [name for name in RECIPES if name in names]


def provisioned(needs: Needs) -> list[str]:
    """Of PROVISIONED, with the guests' image that has what is needed."""
    return [guest_image(needs) if name == "guest_image" else name for name in PROVISIONED]


def _artifacts_of(settings: inventory.Emulated, needs: Needs) -> list[str]:
    chosen = HYPERVISORS[settings.hypervisor]
    kernels = [kernel.artifact for kernel in asked(needs.kernels)]
    return [chosen.artifact, chosen.host_image, guest_image(needs), "tmemctl", *kernels]


def artifact_images(settings: inventory.Emulated, needs: Needs = NOTHING) -> Images:
    """What an emulated host is made from: the built artifacts. BuildError names the one that is
    missing.
    """
    built = {name: builder.artifact(name, needs) for name in _artifacts_of(settings, needs)}
    chosen = HYPERVISORS[settings.hypervisor]
    host_image = built[chosen.host_image].outputs
    return Images(
        hypervisor=built[chosen.artifact].outputs["xen.elf32"],
        dom0_kernel=host_image["vmlinuz"],
        dom0_initrd=host_image["initrd.img"],
        host_disk=host_image["host.qcow2"],
        guest_disk=built[guest_image(needs)].outputs["guest.qcow2"],
        tmemctl=built["tmemctl"].outputs["tmemctl"],
        keys={name: artifact.key for name, artifact in built.items()},
        kernels={
            name: built[kernel.artifact].outputs[output]
            for kernel in asked(needs.kernels)
            for output, name in kernel.files.items()
        },
    )


@contextlib.contextmanager
def open_lab(
    path: Path = DEFAULT_INVENTORY,
    *,
    progress: Tell | None = None,
    images: Callable[[inventory.Emulated], Images] = artifact_images,
    wait: bool = False,
    only: str | None = None,
) -> Iterator[OpenLab]:
    """The hosts of an inventory, or one of them, locked. A host that this starts is stopped at the
    end, unless lab.up had brought it up before.

    wait: while another process uses the lab, wait for its end, and say so. Raises InvalidFileError
    for the inventory; without wait, LabError when another process uses the lab.
    """
    declared = inventory.load(path)
    tell = progress or (lambda _text: None)
    images = cache(images)
    with contextlib.ExitStack() as stack:
        hosts: list[XenHost] = []
        for entry in declared.hosts:
            if only is not None and entry.name != only:
                continue
            stack.enter_context(locked(declared.name, entry.name, tell if wait else None))
            host = _make(declared, entry, images, tell)
            stack.callback(_close, host)
            hosts.append(host)
        yield OpenLab(declared.name, hosts, images)


def _make(
    declared: inventory.Inventory,
    entry: inventory.HostEntry,
    images: Callable[[inventory.Emulated], Images],
    tell: Tell,
) -> XenHost:
    if isinstance(entry.settings, inventory.Emulated):
        return _emulated(declared, entry.name, entry.settings, images, tell)
    return PhysicalHost(declared.name, entry, tell)


def _emulated(
    declared: inventory.Inventory,
    name: str,
    settings: inventory.Emulated,
    images: Callable[[inventory.Emulated], Images],
    tell: Tell,
) -> EmulatedHost:
    return EmulatedHost(declared.name, name, settings, partial(images, settings), tell)


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """Ignore what interrupts (see common/program.py) for the seconds that it takes to end things in
    order: impatience must not leave a QEMU behind.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, signal.SIG_IGN) for number in INTERRUPTIONS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def recover(path: Path, name: str) -> None:
    """End what a process that was killed has left of a host, as if the process had closed it."""
    with open_lab(path, only=name):
        pass


def _close(host: XenHost) -> None:
    with uninterrupted():
        _end(host)


def _end(host: XenHost) -> None:
    if isinstance(host, EmulatedHost) and not _up_marker(host.folder).exists():
        host.stop()
    else:
        host.disconnect()


def up(
    path: Path = DEFAULT_INVENTORY,
    *,
    host: HostSizing = DEFAULT_HOST,
    guests: GuestSizing = DEFAULT_GUESTS,
    progress: Tell | None = None,
    images: Callable[[inventory.Emulated], Images] = artifact_images,
) -> list[dict[str, Any]]:
    """Bring every host of a lab to its known state and leave it running. host: of emulated ones; a
    server has what it has, and starts as many guests as it has disks for. Returns what status()
    does.
    """
    with open_lab(path, progress=progress, images=images) as opened:
        for each in opened.hosts:
            sized, started = host, guests
            if isinstance(each, PhysicalHost):
                sized, started = each.sizing(), replace(guests, count=min(guests.count, len(each.settings.disks)))
            folder = paths.host_dir(opened.name, each.name)
            _up_marker(folder).unlink(missing_ok=True)  # interrupted from here on, it is not up but half-way
            each.reset(sized, started)
            text = json.dumps({"host": asdict(sized), "guests": started.document(), "at": time.time()})
            _up_marker(folder).write_text(text)
    return status(path)


def down(path: Path = DEFAULT_INVENTORY) -> list[str]:
    """Stop the emulated hosts of a lab. Returns the names of those that ran. Physical hosts are
    left as they are.
    """
    stopped = []
    declared = inventory.load(path)
    for entry in declared.hosts:
        with locked(declared.name, entry.name):
            if isinstance(entry.settings, inventory.Emulated):
                host = _emulated(declared, entry.name, entry.settings, artifact_images, lambda _text: None)
                _up_marker(host.folder).unlink(missing_ok=True)
                if host.emulator.process() is not None:
                    stopped.append(entry.name)
                host.stop()
    return stopped


@dataclass(frozen=True)
class Removed:
    """A folder that was removed, and the space that it took, in bytes."""

    path: Path
    size: int


def destroy(path: Path = DEFAULT_INVENTORY) -> list[Removed]:
    """Stop the emulated hosts of a lab and remove their drives and snapshots. Returns what was
    removed.
    """
    removed = []
    declared = inventory.load(path)
    for entry in declared.hosts:
        if isinstance(entry.settings, inventory.Emulated):
            with locked(declared.name, entry.name):
                host = _emulated(declared, entry.name, entry.settings, artifact_images, lambda _text: None)
                parts = [Removed(each, files.taken(each)) for each in sorted(host.folder.iterdir())]
                host.destroy()
                removed += [each for each in parts if each.size]
    return removed


def status(path: Path = DEFAULT_INVENTORY) -> list[dict[str, Any]]:
    """What is known of each host without asking its machines: state, accelerator, port, ssh_config,
    disk use. Takes no lock.
    """
    declared = inventory.load(path)
    found: list[dict[str, Any]] = []
    for entry in declared.hosts:
        row: dict[str, Any] = {"lab": declared.name, "host": entry.name, "kind": entry.settings.kind}
        folder = paths.host_dir(declared.name, entry.name)
        config = folder / "ssh_config"
        row["ssh_config"] = str(config) if config.exists() else None
        row["used_by"] = holder(declared.name, entry.name)
        if isinstance(entry.settings, inventory.Emulated):
            emulator = Emulator(folder, socket_folder(folder))
            process = emulator.recorded()
            accelerator, accelerator_why = _accelerator(entry.settings)
            row |= {
                "ssh_config": row["ssh_config"] if process else None,
                "state": _state(emulator) if process else "down",
                "accelerator": accelerator,
                "accelerator_why": accelerator_why,
                "pid": process.pid if process else None,
                "ssh_port": process.port if process else None,
                "up_since": process.started_at if process else None,
                "stays_up": _up_marker(folder).exists(),
                "drives": _drives(folder),
            }
        found.append(row)
    return found


def _state(emulator: Emulator) -> str:
    """What became of a QEMU that has a record; `silent` where its monitor is not there yet, or does
    not answer: who asks what there is must not fail because a host is just starting.
    """
    try:
        return emulator.condition()
    except MonitorError:
        return "silent"


def lines_of(row: dict[str, Any]) -> Iterator[str]:
    """A row of status() for people."""
    yield f"{row['host']} ({row['kind']}): {row.get('state', 'physical')}"
    for key in ("accelerator", "accelerator_why", "pid", "ssh_port", "ssh_config", "stays_up", "used_by"):
        if row.get(key) is not None:
            yield f"    {key.replace('_', ' ')}: {row[key]}"
    for drives in row.get("drives", ()):
        snapshots = ", ".join(drives["snapshots"]) or "none"
        yield f"    drives for {drives['memory_mib']} MiB: {drives['disk_bytes'] >> 20} MiB; snapshots: {snapshots}"


def ssh_command(path: Path, machine: str, host: str | None = None) -> list[str]:
    """The ssh command that reaches a machine of a lab. host: which, where several are up.
    UsageError for what is not there, or not up.
    """
    return ["ssh", "-F", str(_config_of(path, machine, host)), machine]


@contextlib.contextmanager
def machine(path: Path, name: str, waiting: Tell) -> Iterator[Machine]:
    """A machine of a lab that is up, to run a load on, and its host for this process alone: a
    campaign that runs there is waited for, which is said by `waiting`. UsageError as of
    ssh_command.
    """
    host, _ = _reached(path, name, None)
    with locked(inventory.load(path).name, host, waiting):
        config = _config_of(path, name, host)  # who had it may have stopped it
        yield Connections(config, socket_folder(config.parent)).machine(name)


def connections(path: Path, host: str | None = None) -> Connections:
    """The machines of a lab that is up. Takes no lock: a campaign may be running. UsageError as of
    ssh_command.
    """
    config = _config_of(path, DOM0, host)
    return Connections(config, socket_folder(config.parent))


def _config_of(path: Path, machine: str, host: str | None) -> Path:
    """The ssh_config that knows a machine of a lab."""
    return _reached(path, machine, host)[1]


def _reached(path: Path, machine: str, host: str | None) -> tuple[str, Path]:
    """The host that a machine of a lab is on, and the ssh_config that knows it."""
    configs = {row["host"]: row["ssh_config"] for row in status(path)}
    if host is not None and host not in configs:
        raise UsageError(f"the lab has no host {host!r}", remedy=f"Hosts are: {', '.join(configs)}.")
    up = [name for name, config in configs.items() if config and host in (None, name)]
    if not up:
        same = "" if path == DEFAULT_INVENTORY else f" --inventory {path}"
        raise UsageError(
            "no host of this lab is up" if host is None else f"{host} is not up", remedy=f"./inv lab.up{same}"
        )
    if len(up) > 1:
        raise UsageError("several hosts of this lab are up", remedy=f"Name one with --host: {', '.join(up)}.")
    config = Path(configs[up[0]])
    if machine not in (known := configured(config)):
        # ssh would look for a machine of that name elsewhere.
        raise UsageError(f"{up[0]} has no machine {machine!r}", remedy=f"Machines are: {', '.join(known)}.")
    return up[0], config


def _accelerator(settings: inventory.Emulated) -> tuple[str | None, str]:
    """The accelerator of a host, or None where the one that its inventory demands does not work,
    and why.
    """
    try:
        choice = accelerator.choose(settings.accelerator)
    except MissingError as error:
        return None, f"{error.what}: {error.why}" if error.why else error.what
    return choice.accelerator, choice.why


def _drives(folder: Path) -> list[dict[str, Any]]:
    """Drives and snapshots that are kept, with the space they really take."""
    rows = []
    for each in sorted(folder.glob("machine-*")):
        try:
            data = json.loads((each / "machine.json").read_text())
        except (OSError, ValueError):
            continue
        used = sum(path.lstat().st_blocks * 512 for path in each.iterdir())
        try:
            memory, snapshots = data["spec"]["memory_mib"], data["snapshots"]
        except (KeyError, TypeError):
            continue  # of another version, or no longer whole: the next boot makes it anew
        rows.append({"folder": each.name, "memory_mib": memory, "disk_bytes": used, "snapshots": snapshots})
    return rows


def _up_marker(folder: Path) -> Path:
    return folder / "up.json"


def _lock_path(lab: str, host: str) -> Path:
    return paths.lab_dir(lab) / f"{host}.lock"


def holder(lab: str, host: str) -> int | None:
    """The process that has a host now, -1 when that is not known; None when nobody does."""
    return files.lock_holder(_lock_path(lab, host))


def _held(holder: int | None) -> str:
    return f"process {holder or 'unknown'} has it"


@contextlib.contextmanager
def locked(lab: str, host: str, waiting: Tell | None = None) -> Iterator[None]:
    """A host, for this process alone. waiting: where to say that another process has it, and that
    this one waits; None: it does not, and LabError says who has it.
    """
    path = _lock_path(lab, host)

    def say(holder: int | None) -> None:
        if waiting is not None:
            waiting(f"waiting for the host {host} of lab {lab}: {_held(holder)} (Ctrl-C ends the waiting)")

    try:
        lock = files.lock(path, wait=waiting is not None, waiting=say)
    except files.LockedError as error:
        raise LabError(
            f"the host {host} of lab {lab} is in use",
            where=str(path),
            why=_held(error.holder),
            remedy="Wait until it has ended, or end it.",
        ) from None
    with lock:
        yield
