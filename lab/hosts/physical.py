"""A physical Xen server, reached over SSH and prepared by lab/servers.py.

Its known state: the testbed's hypervisor runs, what disturbs measurements is quieted, no guest is
there, the guests' disks are written anew from the image, and the guests are started afresh. Memory
is what the server has: a host sizing that it does not have is refused.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from common.console import Tell
from common.errors import InvalidFileError, LabError
from lab import paths
from lab.api import GuestSizing, HostSizing
from lab.hosts.guests import ROOT_DISK_MIB, START_SECONDS, STATE, Disks, address, create_script, destroy_script, names
from lab.hosts.host import XenHost
from lab.inventory import GuestStorage, HostEntry, Physical
from lab.remote import scripts
from lab.remote.ssh import DOM0, Connections, Endpoint, socket_folder

GUEST_BOOT_SECONDS = 180.0
IMAGE_SECONDS = 900.0
"""Bound for writing all guests' disks."""


QUIET = scripts.command("quiet.sh", "/sys")
"""Asked at every reset: a server may have restarted since the last."""


class PhysicalHost(XenHost):
    """One server of a lab."""

    kind: Literal["emulated", "physical"] = "physical"

    def __init__(self, lab: str, entry: HostEntry, progress: Tell) -> None:
        folder = paths.host_dir(lab, entry.name)
        super().__init__(entry.name, Connections(folder / "ssh_config", socket_folder(folder)))
        assert isinstance(entry.settings, Physical)
        self.settings = entry.settings
        self._entry = entry
        self._tell = progress
        self._known_hosts = folder / "known_hosts"
        self._quiet: Mapping[str, object] = {}

    def reset(self, host: HostSizing, guests: GuestSizing, *, boot: str | None = None) -> None:
        """End all guests, write their disks anew, start them. LabError when the server is not what
        the sizing asks for.
        """
        if boot is not None:
            raise InvalidFileError(
                "a server is not booted anew between cells",
                where="repetitions.boots of the experiment",
                why=f"{self.name} is a physical host, and {boot} was asked for",
                remedy="Use `repetitions: {runs: N}` on servers.",
            )
        if guests.count > len(self.settings.disks):
            raise InvalidFileError(
                f"{guests.count} guests need as many pairs of disks, and {self.name} has {len(self.settings.disks)}",
                where=f"lab_guest_disks or lab_guest_storage of {self.name} in the inventory",
            )
        self.disconnect()
        self.connections.configure(self._endpoints(guests.count))
        self.connections.wait(DOM0, 60)
        self._check(host)
        self._check_type(guests)
        self.run(DOM0, destroy_script(), timeout=180, step="ending the guests")
        self._quiet = parse_quiet(self.run(DOM0, QUIET, timeout=60, step="quieting the server"))
        disks = [Disks(each.root, each.swap) for each in self.settings.disks[: guests.count]]
        self._tell(f"writing the disks of {guests.count} guests on {self.name}")
        self.run(DOM0, self._disk_script(disks), timeout=IMAGE_SECONDS, step="writing the guests' disks")
        before = self._read_logs([])
        self.run(DOM0, create_script(guests, disks), timeout=START_SECONDS, step="creating the guests")
        self._wait_for_guests(names(guests.count), GUEST_BOOT_SECONDS)
        self._is_reset(host, guests, before, self._ask_fixed(names(guests.count)))

    def _provenance(self, texts: Mapping[str, str]) -> dict[str, object]:
        """As of any host, with what was quieted for its measurements."""
        return super()._provenance(texts) | {"quiet": self._quiet}

    def _disk_script(self, disks: list[Disks]) -> str:
        storage = self.settings.guest_storage
        if storage is None or storage.reset == "write":
            return disk_script(disks)
        return snapshot_script(storage, len(disks))

    def _check(self, host: HostSizing) -> None:
        info = dict(re.findall(r"^(\w+)\s*: (.*)$", self.run(DOM0, "xl info"), re.MULTILINE))
        if not re.search(r"(^|\s)tmem(=1|=on|=yes|=true)?(\s|$)", info.get("xen_commandline", "")):
            raise LabError(
                f"{self.name} does not run the testbed's hypervisor with tmem",
                where="xl info, xen_commandline",
                why=f"it says: {info.get('xen_commandline', '')}",
                remedy="Run ./inv lab.provision.",
            )
        total, wanted = int(info["total_memory"]), host.guest_memory_mib + host.dom0_memory_mib
        if total < wanted:
            raise LabError(
                f"{self.name} has {total} MiB, and the experiment's host sizing adds up to {wanted} MiB",
                where="host of the experiment",
            )

    def _endpoints(self, count: int) -> list[Endpoint]:
        beyond = [
            Endpoint(name, address(number), key=paths.lab_key(), jump=True)
            for number, name in enumerate(names(count), start=1)
        ]
        return [dom0_endpoint(self._entry, self._known_hosts), *beyond]


def dom0_endpoint(entry: HostEntry, learned: Path) -> Endpoint:
    """How a server is reached by SSH, as its inventory says. Its host key has to be the recorded
    one; where none was recorded, the first that it shows is taken, and kept in `learned`.
    """
    options: dict[str, Any] = dict(entry.connection)
    own_key = options.get("ansible_ssh_private_key_file")
    known = (
        (("StrictHostKeyChecking", "accept-new"), ("UserKnownHostsFile", f'"{learned}" ~/.ssh/known_hosts'))
        if entry.known_hosts is None
        else (
            ("StrictHostKeyChecking", "yes"),
            ("UserKnownHostsFile", f'"{entry.known_hosts}"'),
            ("GlobalKnownHostsFile", "/dev/null"),
        )
    )
    return Endpoint(
        DOM0,
        str(options.get("ansible_host", entry.name)),
        port=int(options.get("ansible_port", 22)),
        user=str(options.get("ansible_user", "root")),
        key=Path(own_key).expanduser() if own_key else None,
        check_host_key=True,
        options=known,
    )


def parse_quiet(text: str) -> dict[str, object]:
    """What quiet.sh told. governor, turbo, dom0_thp: as they are now; threads_per_core: 2 with
    hyper-threading; stopped: units that are started again by the next restart; busy: what else
    takes processor time in dom0. None: the server cannot tell.
    """
    told: dict[str, list[str]] = {}
    for line in text.splitlines():
        key, _, value = line.partition(": ")
        told.setdefault(key, []).append(value.strip())
    one = ("governor", "turbo", "threads_per_core", "dom0_thp", "load")
    found: dict[str, object] = {key: told[key][0] if key in told else None for key in one}
    return found | {key: told.get(key, []) for key in ("stopped", "busy")}


def disk_script(disks: list[Disks]) -> str:
    """Sh for dom0: write each guest's root disk from the image that provisioning left there, and
    blank its swap.
    """
    words = [word for each in disks for word in (each.root, each.swap)]
    return scripts.command("write-disks.sh", f"{STATE}/guest.qcow2", *words)


def snapshot_script(storage: GuestStorage, guests: int) -> str:
    """Sh for dom0: make each guest's root volume a snapshot of one that has the image, and blank
    its swap.
    """
    words = [word for pair in storage.volumes()[:guests] for word in pair]
    group = storage.volume_group or ""
    return scripts.command("reset-volumes.sh", f"{STATE}/guest.qcow2", group, ROOT_DISK_MIB, *words)
