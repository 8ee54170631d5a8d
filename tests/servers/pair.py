"""The pair of emulated servers that these tests share, and the states that they are taken back to:
bare, installed (all that provisioning does, but for the boot), provisioned.

States are made when they are first asked for, and kept on the servers' disks: a test takes them
back in seconds, also one of the next run, until what they were made by has changed. `./inv test
--servers` begins with new disks, and with --select goes on with what is there.
"""

from __future__ import annotations

import difflib
import json
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TypeVar

import pytest

from common.errors import LabError
from common.needs import NOTHING
from lab import inventory, new_inventory, paths, servers
from lab.build import artifacts, builder
from lab.emulator import servers as emulated
from lab.emulator.servers import INVENTORY, SERVERS
from lab.hosts.physical import dom0_endpoint
from lab.hosts.server_boot import Entry, ServerBoot
from lab.inventory import HostEntry
from lab.lifecycle import PROVISIONED
from lab.new_inventory import Server
from lab.remote.ssh import DOM0, Connections, socket_folder

COME_BACK_SECONDS = 900.0
"""A server restarts in 45 s on two idle cores; two together took up to six minutes."""

INV_SECONDS = 60.0
"""For a command to end that has said its last."""

NAMES = tuple(SERVERS)
T = TypeVar("T")


class Pair:
    """Both servers. folder: of this run, for inventories."""

    def __init__(self, folder: Path, tell: Callable[[str], None]) -> None:
        self._folder = folder
        self._tell = tell

    def at(self, state: str) -> None:
        """Take both back to a state; make it first, where it was not kept."""
        states = {"bare": self._bare, "installed": self._installed, "provisioned": self._provisioned}
        began = time.monotonic()
        made_by = self._made_by(state)
        kept = read_kept(self._kept)
        if kept.get(state) == made_by and all(state in emulated.saved(each) for each in SERVERS.values()):
            both(lambda name: emulated.restore(SERVERS[name], state))
            self._tell(f"back in the state {state} after {time.monotonic() - began:.0f} s")
            return
        states[state]()
        done = time.monotonic()
        both(lambda name: emulated.save(SERVERS[name], state))
        self._kept.write_text(json.dumps(read_kept(self._kept) | {state: made_by}))
        self._tell(f"made the state {state} in {done - began:.0f} s, and kept it in {time.monotonic() - done:.0f} s")

    @property
    def _kept(self) -> Path:
        """State -> what it was made by."""
        return paths.cache() / "servers" / "states.json"

    @staticmethod
    def _made_by(state: str) -> str:
        bare = builder.artifact("server_image", NOTHING).key
        if state == "bare":
            return bare
        made_of = {name: builder.artifact(name, NOTHING).key for name in PROVISIONED}
        code = artifacts.tree_digest([paths.PLAYBOOKS, paths.REPO / "lab"], paths.REPO)
        return artifacts.recipe_key({"bare": bare, "artifacts": made_of, "code": code})

    def lab(self, *changes: tuple[str, str], only: str | None = None) -> Path:
        """The inventory of both, or of one, with their host keys recorded. changes: text -> what
        stands in its place.
        """
        text = INVENTORY.read_text()
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        kept = [name for name in NAMES if only in (None, name)]
        lines = [line for line in text.splitlines() if not any(f"{name}:" in line for name in set(NAMES) - set(kept))]
        path = self._folder / f"{len(list(self._folder.iterdir()))}" / INVENTORY.name
        path.parent.mkdir()
        path.write_text("\n".join(lines) + "\n")
        keys = new_inventory.scan([Server(name, "127.0.0.1", SERVERS[name].port) for name in kept])
        inventory.known_hosts(path).write_text("".join(f"{line}\n" for each in keys for line in each.lines))
        return path

    def before(self, name: str) -> str:
        """Its listing when it was bare."""
        return self._listing(name).read_text()

    def _listing(self, name: str) -> Path:
        return paths.cache() / "servers" / name / "before.txt"

    def _bare(self) -> None:
        emulated.down(remove=True)
        emulated.up(builder.artifact("server_image", NOTHING), self._tell)
        for entry in inventory.load(self.lab()).hosts:
            with connected(entry) as connections:
                self._listing(entry.name).write_text(listing(connections))

    def _installed(self) -> None:
        self.at("bare")
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(ServerBoot, "enter", lambda *_words: False)
            done = servers.provision(self.lab(), self._tell, come_back=COME_BACK_SECONDS)
        assert [(each.host, str(each.error)) for each in done if each.error] == []
        assert all(each.changed for each in done)

    def _provisioned(self) -> None:
        self.at("installed")
        entries = {entry.name: entry for entry in inventory.load(self.lab()).hosts}

        def enter(name: str) -> None:
            with connected(entries[name]) as connections:
                told = partial(self._named, name)
                boot = ServerBoot(name, connections, told, come_back=COME_BACK_SECONDS)
                entry = installed_entry(connections)
                try:
                    assert boot.enter(entry)
                except LabError as error:  # QEMU's emulation breaks a kernel's patching of itself now and then
                    told(f"once more: {error.what}")
                    assert boot.enter(entry)

        both(enter)

    def _named(self, name: str, text: str) -> None:
        self._tell(f"{name}: {text}")


def read_kept(path: Path) -> dict[str, str]:
    """What a file keeps; nothing where there is none."""
    found: dict[str, str] = json.loads(path.read_text()) if path.exists() else {}
    return found


def both(act: Callable[[str], T]) -> Mapping[str, T]:
    """Do this with both servers at the same time."""
    with ThreadPoolExecutor(len(NAMES)) as pool:
        return dict(zip(NAMES, pool.map(act, NAMES), strict=True))


@contextmanager
def connected(entry: HostEntry) -> Iterator[Connections]:
    """A server, reached as everything here is."""
    folder = paths.host_dir(entry.lab, entry.name) / "test"
    connections = Connections(folder / "ssh_config", socket_folder(folder))
    connections.configure([dom0_endpoint(entry, folder / "known_hosts")])
    try:
        yield connections
    finally:
        connections.drop()


def installed_entry(connections: Connections) -> Entry:
    """The boot entry that is there, with its newest kernel."""
    options = connections.run(DOM0, "cat /boot/overcommit-*.options").strip()
    (name,) = connections.run(DOM0, "cd /boot; ls overcommit-*.gz").split()
    kernel = connections.run(DOM0, "/usr/local/sbin/overcommit-kernels | head -n 1").strip()
    return Entry(name.removesuffix(".gz"), options, kernel)


def listing(connections: Connections) -> str:
    """What unprovision has to leave as it was: packages and their marks, the boot's default, files
    of /etc and /boot with their digests.
    """
    return connections.run(
        DOM0,
        "dpkg-query -W -f '${db:Status-Abbrev} ${Package}\\n'; apt-mark showmanual; grub-editenv list; "
        "cat /root/.ssh/authorized_keys; vgs --noheadings; "
        "find /etc /boot -xdev ! -path /boot/grub/grub.cfg -printf '%p %m %l\\n' | sort; "
        "find /etc -xdev -type f -exec sha256sum {} + | sort -k 2; grep menuentry /boot/grub/grub.cfg",
        timeout=120,
    )


def difference(before: str, after: str) -> list[str]:
    """Lines that came, or went."""
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), lineterm="", n=0)
    return [line for line in lines if not line.startswith(("---", "+++", "@@"))]


class Told:
    """Lines that were told, from any thread, with when."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        self.lines: list[str] = []
        self._tell = tell
        self._lock = threading.Lock()

    def __call__(self, text: str) -> None:
        with self._lock:
            self.lines.append(text)
        self._tell(text)

    def says(self, words: str) -> bool:
        return any(words in line for line in self.lines)


def inv(told: Told, *words: str) -> str:
    """What a command of the README prints; it has to end well."""
    lines = []
    command = ["./inv", *words]
    with subprocess.Popen(command, cwd=paths.REPO, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as run:
        assert run.stdout is not None
        for line in run.stdout:
            told(line.rstrip())
            lines.append(line)
        assert run.wait(INV_SECONDS) == 0, "".join(lines[-40:])
    return "".join(lines)
