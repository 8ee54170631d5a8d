"""Inventories: the Ansible YAML files that say what a lab is, read and checked before anything is
touched.

Ansible itself reads the same files, so its own structure (groups, hosts, vars, children) and its
`ansible_*` variables are as usual. What the lab needs are `lab_*` variables of the hosts in the
group `xen_hosts`; an unknown one is refused with a suggestion, because a misspelt throttle would
otherwise silently be none.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from common.errors import InvalidFileError
from common.text import shortened, suggestion
from common.units import parse_size
from lab.build.recipes import HYPERVISORS

GROUP = "xen_hosts"
EXAMPLE = "inventory/emulated.yml and inventory/physical.example.yml show how"
AnsibleValue = Any

_ANSIBLE = {"emulated": re.compile(r"(ansible|xen_host|build)_\w+"), "physical": re.compile(r"ansible_\w+")}
"""Variables that are not the lab's: Ansible's own, and those of the roles that make an image. A
server's bridge is known to more than its role.
"""


NAME = re.compile(r"[a-z0-9][a-z0-9_.-]*")
"""A lab's name: its file's, without the suffix."""

HOST = re.compile(r"[a-z0-9][a-z0-9-]{0,30}")


def _bytes(value: object) -> object:
    """Bytes of a quantity such as `4 MiB`; None for `none`."""
    return None if value in ("none", None) else parse_size(value)


def _count(value: object) -> object:
    return None if value == "none" else value


def _port(value: object) -> object:
    return None if value == "auto" else value


def _hypervisor(value: str) -> str:
    if value not in HYPERVISORS:
        raise ValueError(f"there is no such hypervisor; there are {', '.join(HYPERVISORS)}")
    return value


Size = Annotated[int, BeforeValidator(_bytes)]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Emulated(_Model):
    """An emulated host as declared. disk_iops: requests per second of each drive; disk_bandwidth:
    bytes per second; None is no limit.

    hypervisor: which of recipes.HYPERVISORS it boots. icount: its clocks advance by a nanosecond
    for each instruction, whatever that one costs; its processors take turns.
    """

    kind: Literal["emulated"]
    hypervisor: Annotated[str, AfterValidator(_hypervisor)] = "xen"
    accelerator: Literal["auto", "kvm", "tcg"] = "auto"
    icount: bool = False
    cpu_model: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.,=+-]+$")] | None = None
    disk_iops: Annotated[Annotated[int, Field(ge=10, le=1_000_000)] | None, BeforeValidator(_count)] = 200
    disk_bandwidth: Annotated[Annotated[int, Field(ge=65536)] | None, BeforeValidator(_bytes)] = 4 * 2**20
    ssh_port: Annotated[Annotated[int, Field(ge=1024, le=65535)] | None, BeforeValidator(_port)] = None

    @field_validator("icount")
    @classmethod
    def _only_emulated(cls, value: bool, info: ValidationInfo) -> bool:
        if value and info.data.get("accelerator") != "tcg":
            raise ValueError("instructions are counted by software emulation only: say lab_accelerator: tcg, too")
        return value


EXAMPLES = {
    "hypervisor": "xen",
    "accelerator": "auto",
    "icount": "true",
    "cpu_model": "qemu64",
    "disk_iops": "200` or `lab_disk_iops: none",
    "disk_bandwidth": "4 MiB` or `lab_disk_bandwidth: none",
    "ssh_port": "2222` or `lab_ssh_port: auto",
    "dom0_memory": "1 GiB",
    "memory": "3 GiB",
    "dom0_vcpus": "2",
    "guest_storage": "{guests: 3, swap: 1 GiB, volume_group: vg0}",
    "power_hook": "ipmitool -H $OVERCOMMIT_SERVER-bmc chassis power cycle",
}
"""Key of a host, without `lab_` -> values that it can have."""


class GuestDisks(_Model):
    """Block devices of a physical host that one guest may use. erase: whatever is on them when they
    are first provisioned.
    """

    root: Annotated[str, Field(pattern=r"^/dev/\S+$")]
    swap: Annotated[str, Field(pattern=r"^/dev/\S+$")]
    erase: bool = False


FILES = "/dev/overcommit"
"""Where guests' disks that are files have the names of block devices (playbooks/roles/
guest_storage).
"""

IMAGE_VOLUME = "overcommit_image"
"""The volume that root volumes are snapshots of (lab/remote/reset-volumes.sh)."""

SNAPSHOT_MORE_MIB = 80
"""What a snapshot of a root volume takes beside the volume's size, extents included."""


class GuestStorage(_Model):
    """Disks that provisioning makes for so many guests: logical volumes in a volume group, or
    sparse files in a folder. swap: size of each guest's, in bytes.

    Of volumes: device: what to make the group of where there is none of that name; erase: whatever
    is on it. reset: how root volumes are made anew before a cell: the image is written to them, or
    they are snapshots of one that has it.
    """

    guests: Annotated[int, Field(ge=1, le=32)]
    swap: Size
    volume_group: Annotated[str, Field(pattern=r"^[A-Za-z0-9_+][A-Za-z0-9_+.]*$")] | None = None
    folder: Annotated[str, Field(pattern=r"^(/[A-Za-z0-9_+.-]+)+$")] | None = None
    device: Annotated[str, Field(pattern=r"^/dev/\S+$")] | None = None
    erase: bool = False
    reset: Literal["write", "snapshot"] = "write"

    @model_validator(mode="after")
    def _of_one_kind(self) -> Self:
        if (self.volume_group is None) == (self.folder is None):
            raise ValueError("say volume_group or folder, and not both")
        if self.folder is not None and (self.device or self.erase or self.reset != "write"):
            raise ValueError("device, erase and reset: snapshot are for a volume_group")
        return self

    @property
    def place(self) -> str:
        """Folder of the block devices."""
        return f"/dev/{self.volume_group}" if self.folder is None else FILES

    @property
    def swap_mib(self) -> int:
        return -(-self.swap // 2**20)

    def volumes(self) -> list[tuple[str, str]]:
        """Names of each guest's root and swap."""
        numbers = range(1, self.guests + 1)
        return [(f"overcommit_guest{number}_root", f"overcommit_guest{number}_swap") for number in numbers]

    def sizes(self, root_mib: int) -> dict[str, int]:
        """What provisioning makes: volume -> its MiB. root_mib: of a guest's root."""
        return {name: mib for root, swap in self.volumes() for name, mib in ((root, root_mib), (swap, self.swap_mib))}

    def missing_mib(self, root_mib: int, there: Collection[str]) -> int:
        """What is still to be taken of the group, where these volumes are there. Snapshots take a
        little more than what they can change, and there is a volume with the image.
        """
        missing = {name: mib for name, mib in self.sizes(root_mib).items() if name not in there}
        if self.reset == "write":
            return sum(missing.values())
        roots = sum(root in missing or IMAGE_VOLUME not in there for root, _ in self.volumes())
        image = 0 if IMAGE_VOLUME in there else root_mib
        return sum(missing.values()) + image + roots * SNAPSHOT_MORE_MIB


class Physical(_Model):
    """A physical host as declared: guest_disks, or guest_storage of which they are made.
    dom0_memory, memory in bytes; memory: what the hypervisor is shown of the server's, None for all
    of it: an experiment's guests are short of memory only where the host is. dom0_vcpus: dom0 has
    so many, each pinned to a processor. power_hook: a command of the controller that cycles the
    server's power, with its name in $OVERCOMMIT_SERVER; None: only a person can.
    """

    kind: Literal["physical"]
    guest_storage: GuestStorage | None = None
    guest_disks: list[GuestDisks] = Field(default_factory=list, validate_default=True)
    dom0_memory: Size
    memory: Size | None = None
    dom0_vcpus: Annotated[int, Field(ge=1, le=64)] = 2
    power_hook: Annotated[str, Field(min_length=1)] | None = None

    @field_validator("guest_disks")
    @classmethod
    def _one_of_both(cls, value: list[GuestDisks], info: ValidationInfo) -> list[GuestDisks]:
        if bool(value) == (info.data.get("guest_storage") is not None):
            raise ValueError("it is required, or lab_guest_storage, and not both")
        return value

    @property
    def disks(self) -> list[GuestDisks]:
        """The guests' disks, whoever makes them."""
        if self.guest_storage is None:
            return self.guest_disks
        place = self.guest_storage.place
        return [
            GuestDisks(root=f"{place}/{root}", swap=f"{place}/{swap}") for root, swap in self.guest_storage.volumes()
        ]


@dataclass(frozen=True)
class HostEntry:
    """One host of an inventory. connection: its `ansible_*` variables, which say how a physical
    host is reached. known_hosts: the file with the servers' host keys, None where none was recorded
    (lab.init does). lab: the name of its lab.
    """

    name: str
    settings: Emulated | Physical
    connection: Mapping[str, AnsibleValue]
    known_hosts: Path | None = None
    lab: str = ""


@dataclass(frozen=True)
class Inventory:
    """A lab as declared. The lab's name is the file's, without its suffix."""

    name: str
    path: Path
    hosts: tuple[HostEntry, ...]


def load(path: Path) -> Inventory:
    """Read and check an inventory. InvalidFileError names file, key, and what was probably
    meant.
    """
    import yaml

    from common import yaml_once

    try:
        data = yaml_once.load(path.read_text())
    except FileNotFoundError:
        near = [*path.parent.glob("*.yml"), *Path("inventory").glob("*.yml")]
        remedy = f"Inventories: {', '.join(sorted({str(each) for each in near})) or 'none in that folder'}."
        raise InvalidFileError("there is no such inventory", where=str(path), remedy=remedy) from None
    except RecursionError:
        raise InvalidFileError("the inventory is nested too deeply", where=str(path)) from None
    except yaml_once.TwiceError as error:
        raise InvalidFileError(
            f"{error.key!r} is there twice",
            where=f"{path}:{error.line}",
            why=f"line {error.first} has it already, and only the last would count",
            remedy="Keep one, or give each a name of its own.",
        ) from None
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise InvalidFileError(
            "the inventory cannot be read",
            where=str(path),
            why=str(error),
            remedy="An inventory holds nothing secret: a power hook reads its password by itself, see docs/servers.md."
            if "!vault" in str(error)
            else "It has to be plain YAML, as inventory/physical.example.yml is.",
        ) from error
    if not NAME.fullmatch(path.stem):
        raise InvalidFileError(
            "the inventory's file name cannot name a lab",
            where=str(path),
            remedy="Use small letters, digits, dots and hyphens.",
        )
    hosts = _hosts(path, data)
    entries = tuple(_entry(path, name, variables) for name, variables in hosts.items())
    _unique_ports(path, entries)
    _unique_machines(path, entries)
    return Inventory(path.stem, path, entries)


def _hosts(path: Path, data: object) -> dict[str, dict[str, AnsibleValue]]:
    """Host name -> merged variables (group's, then host's) of the group xen_hosts, which may stand
    alone or below `all`.
    """
    if not isinstance(data, dict):
        raise InvalidFileError(
            "the inventory is not a mapping of groups", where=str(path), remedy=f"Begin with `{GROUP}:`."
        )
    shared: dict[str, AnsibleValue] = {}
    groups: dict[str, Any] = dict(data)
    if "all" in groups:
        everything = _mapping(path, "all", groups.pop("all"))
        _known(path, "all", everything, {"vars", "children", "hosts"})
        shared.update(_mapping(path, "all.vars", everything.get("vars")))
        groups.update(_mapping(path, "all.children", everything.get("children")))
    _known(path, "", groups, {GROUP, "all"})
    if GROUP not in groups:
        raise InvalidFileError(
            f"the inventory has no group {GROUP}", where=str(path), remedy=f"List its hosts below `{GROUP}: hosts:`."
        )
    group = _mapping(path, GROUP, groups[GROUP])
    _known(path, GROUP, group, {"hosts", "vars"})
    shared.update(_mapping(path, f"{GROUP}.vars", group.get("vars")))
    hosts = _mapping(path, f"{GROUP}.hosts", group.get("hosts"))
    if not hosts:
        raise InvalidFileError(
            f"the group {GROUP} has no hosts",
            where=f"{path}, key {GROUP}.hosts",
            remedy=f"List them there, as `xen1: {{lab_kind: emulated}}`; {EXAMPLE}.",
        )
    return {name: shared | _mapping(path, f"{GROUP}.hosts.{name}", variables) for name, variables in hosts.items()}


def _entry(path: Path, name: object, variables: Mapping[str, AnsibleValue]) -> HostEntry:
    where = f"{path}, key {GROUP}.hosts.{name}"
    if not isinstance(name, str) or not HOST.fullmatch(name):
        raise InvalidFileError(
            "a host's name must be small letters, digits and hyphens",
            where=where,
            why=f"it is {name!r}",
            remedy="Name it as xen1; one of digits alone needs quotes.",
        )
    kind = variables.get("lab_kind")
    models: dict[object, type[Emulated | Physical]] = {"emulated": Emulated, "physical": Physical}
    model = models.get(kind) if isinstance(kind, str) else None
    if model is None:
        every = {f"lab_{field}" for each in models.values() for field in each.model_fields}
        for key in variables:
            if str(key).startswith("lab_") and key not in every:
                raise _unknown(path, f"{GROUP}.hosts.{name}", str(key), every, "a host's")
        raise InvalidFileError(f"lab_kind is {kind!r}", where=f"{where}.lab_kind", remedy="Say emulated or physical.")
    known = {f"lab_{field}" for field in model.model_fields}
    ours: dict[str, AnsibleValue] = {}
    for key, value in variables.items():
        if key in known:
            ours[key.removeprefix("lab_")] = value
        elif not _ANSIBLE[str(kind)].fullmatch(str(key)):
            raise _unknown(
                path,
                f"{GROUP}.hosts.{name}",
                str(key),
                known,
                f"an {kind} host's" if kind == "emulated" else "a physical host's",
            )
    try:
        settings = model.model_validate(ours)
    except ValidationError as error:
        first = error.errors()[0]
        location = ".".join(str(part) for part in first["loc"])
        raise InvalidFileError(
            f"lab_{location} has no usable value",
            where=f"{where}.lab_{location}",
            why=f"{first['msg']}; it is {shortened(first.get('input'))}",
            remedy=f"For example `lab_{location}: {example}`."
            if (example := EXAMPLES.get(location))
            else f"{EXAMPLE}.",
        ) from None
    connection = {key: value for key, value in variables.items() if str(key).startswith("ansible_")}
    for key, (usable, example) in _REACHED.items():
        if key in connection and not re.fullmatch(usable, _word(connection[key])):
            raise InvalidFileError(
                f"{key} has no usable value",
                where=f"{where}.{key}",
                why=f"it is {shortened(connection[key])}",
                remedy=f"For example `{key}: {example}`; without it, the usual one is taken.",
            )
    recorded = known_hosts(path)
    return HostEntry(name, settings, connection, recorded if recorded.exists() else None, path.stem)


_REACHED = {
    "ansible_host": (r"[A-Za-z0-9_\[:][\w.:%\[\]-]{0,254}", "192.0.2.7"),
    "ansible_port": (r"[1-9]\d{0,3}|[1-5]\d{4}|6(?:[0-4]\d{3}|5(?:[0-4]\d\d|5(?:[0-2]\d|3[0-5])))", "2222"),
    "ansible_user": (r"[A-Za-z_][\w.@\\-]{0,254}", "root"),
    "ansible_ssh_private_key_file": (r"[^\0\n]{1,4000}", "~/.ssh/id_ed25519"),
}
"""How a server is reached: a variable -> what it can be, and an example."""


def _word(value: object) -> str:
    """A value of one word as it is written; of others nothing."""
    return str(value) if isinstance(value, str | int) and not isinstance(value, bool) else ""


def known_hosts(path: Path) -> Path:
    """Where the host keys of an inventory's servers are recorded: a file beside it."""
    return path.with_suffix(".known_hosts").absolute()


def _mapping(path: Path, key: str, value: object) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise InvalidFileError("this is no mapping", where=f"{path}, key {key}", why=f"it is {value!r}")
    return value


def _known(path: Path, key: str, data: Mapping[str, object], known: set[str]) -> None:
    for each in data:
        if each not in known:
            raise _unknown(path, key, str(each), known, key or "an inventory's")


def _unknown(path: Path, key: str, name: str, known: set[str], of: str) -> InvalidFileError:
    near = suggestion(name, known)
    return InvalidFileError(
        f"unknown key {name}",
        where=f"{path}, key {f'{key}.{name}' if key else name}",
        remedy=(f"Did you mean {near}? " if near else "") + f"Keys known here ({of}): {', '.join(sorted(known))}.",
    )


def _unique_ports(path: Path, entries: tuple[HostEntry, ...]) -> None:
    taken: dict[int, str] = {}
    for entry in entries:
        port = entry.settings.ssh_port if isinstance(entry.settings, Emulated) else None
        if port is not None and port in taken:
            raise InvalidFileError(
                f"two hosts have the SSH port {port}",
                where=f"{path}, keys {GROUP}.hosts.{taken[port]}.lab_ssh_port "
                f"and {GROUP}.hosts.{entry.name}.lab_ssh_port",
            )
        if port is not None:
            taken[port] = entry.name


def _unique_machines(path: Path, entries: tuple[HostEntry, ...]) -> None:
    """A server under two names would run two cells at once, and both would be wrong."""
    taken: dict[tuple[str, str], str] = {}
    for entry in entries:
        if isinstance(entry.settings, Emulated):
            continue
        address, port = entry.connection.get("ansible_host", entry.name), entry.connection.get("ansible_port", 22)
        other = taken.setdefault((str(address).lower(), str(port)), entry.name)
        if other != entry.name:
            raise InvalidFileError(
                f"two hosts are one machine, {shortened(address)}",
                where=f"{path}, keys {GROUP}.hosts.{other} and {GROUP}.hosts.{entry.name}",
                remedy="Keep one of the two, or correct ansible_host.",
            )
