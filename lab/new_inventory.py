"""A new inventory of servers: from options, or by asking; with the servers' host keys recorded
beside it, so that from then on nobody else is taken for them.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import yaml

from common import yaml_once
from common.errors import LabError, MissingError, UsageError
from common.units import format_size, parse_size
from lab import inventory, paths
from lab.inventory import GuestDisks, GuestStorage

SCAN_SECONDS = 10
DEFAULT_FILE = "inventory/mine.yml"

Ask = Callable[[str], str]
"""Asks a person, who answers with a line."""


@dataclass(frozen=True)
class Server:
    """One server: its name in the lab, and where it is."""

    name: str
    address: str
    port: int = 22


@dataclass(frozen=True)
class Wanted:
    """What a new inventory is to say, as text that options or answers gave; None is asked for.

    disks: ROOT,SWAP of one guest after the other, on every server alike; storage: what is to be
    made for guests instead, as lab_guest_storage says it, without its braces.
    """

    file: str | None = None
    hosts: str | None = None
    user: str | None = None
    key: str | None = None
    disks: str | None = None
    storage: str | None = None
    dom0_memory: str | None = None
    power_hook: str | None = None


STORAGE = "guests: 3, swap: 1 GiB, volume_group: vg1, device: /dev/sdb"
"""An example."""

QUESTIONS = {
    "file": ("file of the inventory", DEFAULT_FILE),
    "hosts": ("servers, as ADDRESS or ADDRESS:PORT, with commas between", None),
    "user": ("who logs in there", "root"),
    "key": ("file of the private key; empty: the one that ssh finds by itself", ""),
    "disks": (
        "disks of the guests, on every server: ROOT,SWAP of guest 1, ROOT,SWAP of guest 2, …; empty: to be made",
        "",
    ),
    "storage": (f"what to make for them, such as {STORAGE}", None),
    "dom0_memory": ("memory that dom0 keeps", "1 GiB"),
    "power_hook": ("a command here that switches the server $OVERCOMMIT_SERVER off and on; empty: none", ""),
}
"""Field of Wanted -> what is asked, and the answer that an empty line stands for; None: there is
none.
"""


@dataclass(frozen=True)
class Planned:
    """An inventory that can be written. key: None for the one that ssh finds. dom0_memory in
    bytes. disks: empty where storage says what to make.
    """

    file: Path
    servers: tuple[Server, ...]
    user: str
    key: str | None
    disks: tuple[GuestDisks, ...]
    dom0_memory: int
    storage: str | None = None
    power_hook: str | None = None


@dataclass(frozen=True)
class HostKeys:
    """What a server shows as its own. lines: for a known_hosts file; fingerprints: for people."""

    server: Server
    lines: tuple[str, ...]
    fingerprints: tuple[str, ...]


def complete(wanted: Wanted, ask: Ask | None) -> Planned:
    """What is missing asked for, everything checked. ask: None where nobody can be asked.

    UsageError for what cannot be used, or is missing; a person is asked again instead.
    """
    for field in QUESTIONS:
        if field == "storage" and wanted.storage is None and wanted.disks:
            continue
        if getattr(wanted, field) is not None or ask is None:
            wanted = _filled(wanted, field, None)
            _field(wanted, field)
            continue
        trouble = ""
        while True:
            answered = _filled(wanted, field, _answer(ask, f"{trouble}{_question(field)}"))
            try:
                _field(answered, field)
            except UsageError as error:
                trouble = f"{error}\n"
            else:
                wanted = answered
                break
    return Planned(
        _file(wanted.file or ""),
        _servers(wanted.hosts),
        wanted.user or "root",
        _key(wanted.key or "") or None,
        _disks(wanted.disks) if wanted.disks else (),
        _memory(wanted.dom0_memory or ""),
        wanted.storage or None,
        wanted.power_hook or None,
    )


def _question(field: str) -> str:
    question, default = QUESTIONS[field]
    return f"{question}{f' [{default}]' if default else ''}: "


def _answer(ask: Ask, question: str) -> str | None:
    try:
        return ask(question).strip() or None
    except EOFError:
        raise UsageError("the answers ended before the questions", remedy="Nothing was written.") from None


def _filled(wanted: Wanted, field: str, answer: str | None) -> Wanted:
    """With an answer, or else with the default, where the field is still empty."""
    if getattr(wanted, field) is not None:
        return wanted
    return replace(wanted, **{field: answer if answer is not None else QUESTIONS[field][1]})


def _field(wanted: Wanted, field: str) -> object:
    checks: dict[str, Callable[[], object]] = {
        "file": lambda: _file(wanted.file or ""),
        "hosts": lambda: _servers(wanted.hosts),
        "user": lambda: _user(wanted.user or ""),
        "key": lambda: _key(wanted.key or ""),
        "disks": lambda: _disks(wanted.disks) if wanted.disks else (),
        "storage": lambda: _storage(wanted),
        "power_hook": lambda: wanted.power_hook,
        "dom0_memory": lambda: _memory(wanted.dom0_memory or ""),
    }
    return checks[field]()


def _file(text: str) -> Path:
    path = Path(text)
    if path.suffix != ".yml" or not inventory.NAME.fullmatch(path.stem):
        raise UsageError(
            f"{text!r} cannot be an inventory's file",
            where="--file",
            remedy=f"It names the lab: small letters, digits, dots and hyphens, then .yml, such as {DEFAULT_FILE}.",
        )
    if not path.parent.is_dir():
        raise UsageError(f"there is no folder {path.parent}", where="--file", remedy="Make it, or name another.")
    for each in (path, inventory.known_hosts(path)):
        if each.exists():
            raise UsageError(
                f"{each} is there already",
                where="--file",
                why="nothing is overwritten",
                remedy="Name another file, or remove that one.",
            )
    return path


def _servers(text: str | None) -> tuple[Server, ...]:
    found: list[Server] = []
    for word in (text or "").replace(",", " ").split():
        match = re.fullmatch(
            r"(?:\[(?P<six>[0-9A-Fa-f:.]+)\]|(?P<host>[A-Za-z0-9._-]+))(?::(?P<port>[0-9]{1,5}))?", word
        )
        if match is None:
            raise UsageError(
                f"{word!r} is no server's address",
                where="--host",
                remedy="Say a name or an address, with a port where it is not 22: server1.example.org, 192.0.2.7:2222, "
                "[2001:db8::7].",
            )
        host, port = match["six"] or match["host"], int(match["port"] or 22)
        if (host, port) in [(each.address, each.port) for each in found]:
            raise UsageError(f"{word} is named twice", where="--host", remedy="Name each server once.")
        found.append(Server(_name(host, [each.name for each in found]), host, port))
    if not found:
        raise UsageError(
            "no server is named", where="--host", remedy="Say --host server1.example.org,server2.example.org."
        )
    return tuple(found)


def _name(address: str, taken: Sequence[str]) -> str:
    """The first part of a host's name; server1, server2, … for one that has none, or one that is
    taken.
    """
    first = address.partition(".")[0].lower()
    if inventory.HOST.fullmatch(first) and not first.isdigit() and ":" not in address and first not in taken:
        return first
    return next(name for number in range(1, len(taken) + 2) if (name := f"server{number}") not in taken)


def _user(text: str) -> str:
    if not re.fullmatch(r"[a-z_][a-z0-9_-]{0,31}", text):
        raise UsageError(f"{text!r} is no user's name", where="--user", remedy="root, for most.")
    return text


def _key(text: str) -> str:
    """From whatever folder ssh is run: Ansible runs it from that of its playbooks."""
    if text and not Path(text).expanduser().is_file():
        raise UsageError(
            f"there is no file {text}", where="--key", remedy="Name a private key, or make one: ssh-keygen."
        )
    return str(Path(text).expanduser().absolute()) if text else ""


def _disks(text: str | None) -> tuple[GuestDisks, ...]:
    names = (text or "").replace(",", " ").split()
    for each in names:
        if not re.fullmatch(r"/dev/\S+", each):
            raise UsageError(f"{each!r} is no device's name", where="--disks", remedy="It begins with /dev/.")
    if not names or len(names) % 2:
        raise UsageError(
            f"{len(names)} disks are no pairs",
            where="--disks",
            why="each guest has two, one for its root and one for its swap",
            remedy="Say --disks /dev/vg0/guest1-root,/dev/vg0/guest1-swap,/dev/vg0/guest2-root,/dev/vg0/guest2-swap; "
            "or --storage, to have them made.",
        )
    twice = sorted({each for each in names if names.count(each) > 1})
    if twice:
        raise UsageError(f"{twice[0]} is named twice", where="--disks", remedy="Each guest has disks of its own.")
    return tuple(GuestDisks(root=root, swap=swap) for root, swap in zip(names[::2], names[1::2], strict=True))


def _storage(wanted: Wanted) -> None:
    """As any inventory's; told by what --storage says."""
    if not wanted.storage:
        _disks(wanted.disks)  # with neither: how these are named
        return
    if wanted.disks:
        raise UsageError(
            "guests' disks are named, and to be made, too",
            where="--disks, --storage",
            remedy="Say one of the two.",
        )
    try:
        GuestStorage.model_validate(yaml_once.load(f"{{ {wanted.storage} }}"))
    except (ValueError, yaml.YAMLError) as error:
        raise UsageError(
            f"{wanted.storage!r} is nothing to make disks of",
            where="--storage",
            why="\n".join(line for line in str(error).splitlines() if "errors.pydantic.dev" not in line),
            remedy=f"Say --storage '{STORAGE}', or '... folder: /srv/guests'; see inventory/physical.example.yml.",
        ) from None


def _memory(text: str) -> int:
    try:
        size = parse_size(text)
    except ValueError as error:
        raise UsageError(
            "dom0's memory is no size", where="--dom0-memory", why=str(error), remedy="Say 1 GiB."
        ) from None
    if size % 2**20:
        raise UsageError(f"{text} is not a whole number of MiB", where="--dom0-memory", remedy="Say 1 GiB.")
    return size


def scan(servers: Sequence[Server]) -> list[HostKeys]:
    """The keys that servers show now. LabError when one shows none, MissingError without
    ssh-keyscan.
    """
    with ThreadPoolExecutor(len(servers)) as pool:
        return list(pool.map(_scan, servers))


def _scan(server: Server) -> HostKeys:
    command = ["ssh-keyscan", "-T", str(SCAN_SECONDS), "-p", str(server.port), server.address]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        lines = sorted({line for line in done.stdout.splitlines() if line and not line.startswith("#")})
        shown = subprocess.run(
            ["ssh-keygen", "-lf", "-"], input="\n".join(lines), capture_output=True, text=True, check=False
        )
    except FileNotFoundError as error:
        raise MissingError(
            f"{error.filename} is missing", remedy="Install openssh-client, or run ./inv setup."
        ) from None
    if not lines:
        said = [line for line in done.stderr.splitlines() if not line.startswith("#")]
        raise LabError(
            f"{server.address} shows no host key at port {server.port}",
            where=" ".join(command),
            why="\n".join(said[-3:]) or "nobody answered",
            remedy="See that it is up, that its SSH server runs, and that the address is right. Nothing was written. "
            "One behind a gateway is not reached by ssh-keyscan: write its inventory after "
            "inventory/physical.example.yml, and log in there once by ssh, which records its key.",
        )
    prints = []
    for line in shown.stdout.splitlines():
        _, fingerprint, *_, kind = line.split()
        prints.append(f"{kind.strip('()'):<8}{fingerprint}")
    return HostKeys(server, tuple(lines), tuple(prints))


def confirm(ask: Ask) -> None:
    """UsageError unless a person says that these are the servers."""
    if (_answer(ask, "Are these your servers' keys? [y/N] ") or "").lower() not in {"y", "yes"}:
        raise UsageError(
            "the host keys were not accepted",
            why="somebody else may answer in a server's place",
            remedy="Compare them with those on the servers' consoles, then run this again. Nothing was written.",
        )


def write(planned: Planned, keys: Sequence[HostKeys]) -> tuple[Path, Path]:
    """Write the host keys, then the inventory: their files. Neither may be there."""
    text = inventory_text(planned)
    _check(planned.file, text)
    recorded = inventory.known_hosts(planned.file)
    for path, content in (
        (recorded, "".join(f"{line}\n" for each in keys for line in each.lines)),
        (planned.file, text),
    ):
        try:
            with path.open("x", encoding="utf-8") as stream:
                stream.write(content)
        except OSError as error:
            if path == planned.file:
                recorded.unlink()
            raise UsageError(
                "the inventory cannot be written", where=str(path), why=str(error.strerror), remedy="Name another file."
            ) from None
    return planned.file, recorded


def _check(file: Path, text: str) -> None:
    """What was written has to be what every other task reads."""
    with TemporaryDirectory(dir=paths.tmp()) as folder:
        (Path(folder) / file.name).write_text(text)
        inventory.load(Path(folder) / file.name)


def inventory_text(planned: Planned) -> str:
    """The file."""
    lines = [
        "---",
        "# A lab of servers, written by ./inv lab.init; change it as you like. What can be said here is in",
        f"# inventory/physical.example.yml. The servers' host keys are in {inventory.known_hosts(planned.file).name}.",
        "# The guests' disks are written over before every cell.",
        f"{inventory.GROUP}:",
        "  vars:",
        "    lab_kind: physical",
        f"    lab_dom0_memory: {format_size(planned.dom0_memory)}",
        f"    ansible_user: {planned.user}",
        *([f"    ansible_ssh_private_key_file: {json.dumps(planned.key)}"] if planned.key else []),
        "    ansible_ssh_common_args: >-",
        "      -o StrictHostKeyChecking=yes",
        f"      -o 'UserKnownHostsFile=\"{{{{ inventory_dir }}}}/{inventory.known_hosts(planned.file).name}\"'",
        *([f"    lab_power_hook: {json.dumps(planned.power_hook)}"] if planned.power_hook else []),
        *([f"    lab_guest_storage: {{ {planned.storage} }}"] if planned.storage else ["    lab_guest_disks:"]),
        *[f"      - {{ root: {each.root}, swap: {each.swap} }}" for each in planned.disks],
        "  hosts:",
    ]
    for server in planned.servers:
        lines += [f"    {server.name}:", f"      ansible_host: {json.dumps(server.address)}"]
        lines += [f"      ansible_port: {server.port}"] if server.port != 22 else []
    return "\n".join(lines) + "\n"
