"""A physical Xen server, reached over SSH and prepared by lab/servers.py.

Its known state: the testbed's hypervisor runs, what disturbs measurements is quieted, no guest is
there, the guests' disks are written anew from the image, and the guests are started afresh; from a
boot of its own where the experiment repeats boots. Memory is what the server has, or is shown: a
host sizing that is another is refused.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from common.console import Tell
from common.errors import InvalidFileError, LabError
from lab import paths
from lab.api import GuestSizing, HostSizing
from lab.hosts.guests import ROOT_DISK_MIB, START_SECONDS, STATE, Disks, address, create_script, destroy_script, names
from lab.hosts.host import XenHost
from lab.hosts.server_boot import DOM0_SLACK_MIB, ServerBoot
from lab.hosts.server_facts import virtual_machine
from lab.inventory import GuestStorage, HostEntry, Physical
from lab.remote import scripts
from lab.remote.ssh import DOM0, Connections, Endpoint, socket_folder

GUEST_BOOT_SECONDS = 180.0
IMAGE_SECONDS = 600.0
"""Bound for writing a guest's disks, on a slow one that others are written to as well."""

BOOT = "/run/overcommit-boot"
"""Which of a campaign's boots a server is in; gone with the next."""

NOT_TO_HAVE_MIB = 16
"""Of what Xen calls free on a server, what guests cannot have. Seen: with 1255 MiB two guests of
625 were refused.
"""

GUESTS_SLACK = 0.05
"""By how much of it the memory that is free for guests may be more than what the experiment says:
Xen keeps some, and not always the same.
"""

QUIET = scripts.command("quiet.sh", "/sys", "/run/overcommit-stopped")
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
        self._below: str | None = None

    @property
    def accelerator(self) -> str | None:
        """Of a server that is itself a virtual machine, what it says it is, once it has been reset:
        its times are those of a machine that it shares.
        """
        return self._below

    def sizing(self) -> HostSizing:
        """What the server has, without guests: those that run are ended. LabError when it is none
        of the testbed.
        """
        processors = int(self._reach(0)["nr_cpus"])
        self.run(DOM0, destroy_script(), timeout=180, step="ending the guests")
        return HostSizing(int(self._info()["free_memory"]) - NOT_TO_HAVE_MIB, self._dom0_mib(), processors)

    def reset(self, host: HostSizing, guests: GuestSizing, *, boot: str | None = None) -> None:
        """End all guests, write their disks anew, start them. LabError when the server is not what
        the sizing asks for.
        """
        if guests.count > len(self.settings.disks):
            raise InvalidFileError(
                f"{guests.count} guests need as many pairs of disks, and {self.name} has {len(self.settings.disks)}",
                where=f"lab_guest_disks or lab_guest_storage of {self.name} in the inventory",
                remedy="Name more there, and run ./inv lab.provision; or have fewer guests in the experiment.",
            )
        self._begin_reset()
        self._reach(guests.count)
        if boot is not None:
            self._be_in(boot)
        self._check_type(guests)
        self._check_dom0(host)
        disks = [Disks(each.root, each.swap) for each in self.settings.disks[: guests.count]]
        self._check_swap(guests.swap_mib, disks)
        self.run(DOM0, destroy_script(), timeout=180, step="ending the guests")
        self._check_free(host)
        self._quiet = parse_quiet(self.run(DOM0, QUIET, timeout=60, step="quieting the server"))
        self._below = virtual_machine(*(str(self._quiet[key] or "") for key in ("vendor", "product")))
        if busy := self._quiet["busy"]:
            self._tell(f"{self.name} has other work to do, as its cells will say: {busy}")
        self._tell(f"writing the disks of {guests.count} guests on {self.name}")
        limit = IMAGE_SECONDS * len(disks)
        self.run(DOM0, self._disk_script(disks, guests.swap_mib), timeout=limit, step="writing the guests' disks")
        before = self._read_logs([])
        self.run(DOM0, create_script(guests, disks), timeout=START_SECONDS, step="creating the guests")
        self._wait_for_guests(names(guests.count), GUEST_BOOT_SECONDS)
        self._is_reset(host, guests, before, self._ask_fixed(names(guests.count)))

    def _provenance(self, texts: Mapping[str, str]) -> dict[str, object]:
        """As of any host, with what was quieted for its measurements."""
        return super()._provenance(texts) | {"quiet": self._quiet}

    def _disk_script(self, disks: list[Disks], swap_mib: int) -> str:
        storage = self.settings.guest_storage
        if storage is None or storage.reset == "write":
            return disk_script(disks, swap_mib)
        return snapshot_script(storage, len(disks), swap_mib)

    def _be_in(self, boot: str) -> None:
        """Restart it, into what is its default, the testbed's entry, unless it is in this boot."""
        if self.run(DOM0, f"cat {BOOT} 2> /dev/null || true").strip() == boot:
            return
        self._tell(f"restarting {self.name}")
        after = ServerBoot(self.name, self.connections, self._tell, power_hook=self.settings.power_hook).leave()
        if after is None or after.entry is None:
            raise LabError(
                f"{self.name} did not come back with the testbed's hypervisor",
                where="a restart between cells",
                why="it does not answer" if after is None else "it booted another system",
                remedy=f"Look at its console, switch {self.name} off and on, then run ./inv lab.provision and the "
                "campaign again: it goes on.",
            )
        self.run(DOM0, f"echo {shlex.quote(boot)} > {BOOT}")

    def _info(self) -> dict[str, str]:
        """What Xen tells of the server; empty where there is no Xen."""
        told = self.run(DOM0, "xl info 2> /dev/null || true")
        return dict(re.findall(r"^(\w+)\s*: (.*)$", told, re.MULTILINE))

    def _dom0_mib(self) -> int:
        return int(self.run(DOM0, "xl list Domain-0 | awk 'NR == 2 { print $3 }'"))

    def _reach(self, guests: int) -> dict[str, str]:
        """Connect anew: what Xen tells, if it is the testbed's; asked before anything is ended or
        restarted on what may be somebody else's server. LabError if it is another, or none.
        """
        self.disconnect()
        self.connections.configure(self._endpoints(guests))
        self.connections.wait(DOM0, 60)
        info = self._info()
        if not re.search(r"(^|\s)tmem(=1|=on|=yes|=true)?(\s|$)", info.get("xen_commandline", "")):
            raise LabError(
                f"{self.name} does not run the testbed's hypervisor with tmem",
                where="xl info, xen_commandline",
                why=f"it says: {info['xen_commandline']}" if "xen_commandline" in info else "no Xen runs there",
                remedy="Run ./inv lab.provision with the same --inventory.",
            )
        return info

    def _check_dom0(self, host: HostSizing) -> None:
        """LabError when dom0 has other memory than the experiment says."""
        dom0 = self._dom0_mib()
        if abs(dom0 - host.dom0_memory_mib) > DOM0_SLACK_MIB:
            raise LabError(
                f"dom0 of {self.name} has {dom0} MiB, and the experiment says {host.dom0_memory_mib}",
                where="host.dom0_memory of the experiment, lab_dom0_memory of the inventory",
                remedy="Make them agree; where the inventory changes, run ./inv lab.provision.",
            )

    def _check_free(self, host: HostSizing) -> None:
        """Without guests, so that what is free is theirs. LabError when that is not what the
        experiment says.
        """
        info = self._info()
        free, wanted = int(info["free_memory"]) - NOT_TO_HAVE_MIB, host.guest_memory_mib
        if not wanted <= free <= (1 + GUESTS_SLACK) * wanted:
            # Of one that is shown a part, that part: there are holes below its highest address.
            now = int(info["total_memory"]) if self.settings.memory is None else self.settings.memory // 2**20
            shown = now + wanted - free
            raise LabError(
                f"{self.name} has {free} MiB for guests, and the experiment says {wanted}",
                where="host.guest_memory of the experiment",
                why="with more, no guest lacks what the experiment has it lack; with less, some do not start",
                remedy=f"Say `lab_memory: {shown} MiB` in the inventory, and run ./inv lab.provision."
                if free > wanted or self.settings.memory is not None
                else f"Say `guest_memory: {free} MiB` in the experiment, and guests that fit; or use another server.",
            )

    def _check_swap(self, swap_mib: int, disks: list[Disks]) -> None:
        """LabError when a guest's swap disk is smaller than what the experiment says."""
        ask = "; ".join(f"blockdev --getsize64 {shlex.quote(each.swap)} 2> /dev/null || echo" for each in disks)
        for each, told in zip(disks, self.run(DOM0, ask).splitlines(), strict=True):
            if told and int(told) < swap_mib * 2**20:  # one that is not there is named when disks are written
                raise LabError(
                    f"{each.swap} of {self.name} has {int(told) // 2**20} MiB, and the experiment says {swap_mib}",
                    where="guests.swap of the experiment; lab_guest_disks, or swap of lab_guest_storage",
                    why="guests would have less to swap to than the experiment says",
                    remedy="Say less in the experiment; or name larger disks in the inventory, and run "
                    "./inv lab.provision.",
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
    theirs = ssh_options(entry)
    said = {name.lower(): value for name, value in theirs}
    if entry.known_hosts is None and "{{" in said.get("userknownhostsfile", ""):
        raise InvalidFileError(
            f"there are no recorded host keys of {entry.name}",
            where=f"ansible_ssh_common_args of {entry.name} in the inventory, UserKnownHostsFile",
            why=f"they would be in {entry.lab}.known_hosts beside the inventory",
            remedy="Put that file there; or have ./inv lab.init write both anew.",
        )
    own_key = options.get("ansible_ssh_private_key_file")
    learning = (("StrictHostKeyChecking", "accept-new"), ("UserKnownHostsFile", f'"{learned}" ~/.ssh/known_hosts'))
    known = (
        tuple((name, value) for name, value in learning if name.lower() not in said)  # of several, the first counts
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
        options=(*known, *theirs),
    )


ARGUMENTS = ("ansible_ssh_common_args", "ansible_ssh_extra_args")


def ssh_options(entry: HostEntry) -> tuple[tuple[str, str], ...]:
    """What a server's inventory says of ssh beyond that: a bastion, for example. InvalidFileError
    where it is not in the form that Ansible's ssh and ours both take.
    """
    found = []
    for key in ARGUMENTS:
        try:
            words = shlex.split(str(entry.connection.get(key, "")))
        except ValueError as error:
            raise InvalidFileError(
                f"{key} has no usable value",
                where=f"{entry.name} in the inventory",
                why=str(error),
                remedy="Close what is quoted.",
            ) from None
        while words:
            word = words.pop(0)
            if word in {"-o", "-J"}:
                value = words.pop(0) if words else ""
            else:
                word, value = word[:2], word[2:]
            name, equals, rest = ("ProxyJump", "=", value) if word == "-J" else value.partition("=")
            if word not in {"-o", "-J"} or not equals or not name or not rest:
                raise InvalidFileError(
                    f"{key} has no usable value",
                    where=f"{entry.name} in the inventory",
                    why=f"{f'{word} {value}'.strip()} is no option in the form -o NAME=VALUE or -J HOST",
                    remedy=f"For example `{key}: -o ProxyJump=gate.example.org`.",
                )
            found.append((name.strip(), rest.strip()))
    return tuple(found)


def parse_quiet(text: str) -> dict[str, object]:
    """What quiet.sh told. governor, turbo, dom0_thp: as they are now; threads_per_core: 2 with
    hyper-threading; stopped: units that are started again by the next restart; busy: what else
    takes processor time in dom0; vendor, product: of the machine. None: the server cannot tell.
    """
    told: dict[str, list[str]] = {}
    for line in text.splitlines():
        key, _, value = line.partition(": ")
        told.setdefault(key, []).append(value.strip())
    one = ("vendor", "product", "governor", "turbo", "threads_per_core", "dom0_thp", "load")
    found: dict[str, object] = {key: told[key][0] if key in told else None for key in one}
    return found | {key: told.get(key, []) for key in ("stopped", "busy")}


def disk_script(disks: list[Disks], swap_mib: int) -> str:
    """Sh for dom0: write each guest's root disk from the image that provisioning left there, and
    make its swap anew, of this size.
    """
    words = [word for each in disks for word in (each.root, each.swap)]
    return scripts.command("write-disks.sh", f"{STATE}/guest.qcow2", f"{STATE}/disks", swap_mib, *words)


def snapshot_script(storage: GuestStorage, guests: int, swap_mib: int) -> str:
    """Sh for dom0: make each guest's root volume a snapshot of one that has the image, and its swap
    anew, of this size.
    """
    words = [word for pair in storage.volumes()[:guests] for word in pair]
    group = storage.volume_group or ""
    image, named = f"{STATE}/guest.qcow2", f"{STATE}/disks"
    return scripts.command("reset-volumes.sh", image, named, group, ROOT_DISK_MIB, swap_mib, *words)
