"""Reaching dom0 and the guests: one SSH configuration per host, connections that are shared, and
commands that end.

Each host has a folder with an `ssh_config` in which `dom0` and every guest have a name; guests are
reached through dom0. A handshake costs seconds of an emulated CPU, so all sessions with a machine
share one connection (ControlMaster). When a host jumps back in time, its connections are dead and
have to be dropped. Anyone can use the same file: `ssh -F ssh_config guest1`.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import hashlib
import os
import re
import shlex
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any, TypeVar, cast

from common import bounded, files
from common.errors import LabError, MissingError
from common.machines import Command, Machine, Process, tail
from common.text import reasons

T = TypeVar("T")

SOCKET_PATH_LIMIT = 108
"""Bytes of a Unix socket's path on Linux, its terminating zero included."""

LONGEST_SOCKET_NAME = 48
"""ssh appends a dot and 16 characters to a control path while it makes it; names of machines are
short.
"""

SHORT = f"/tmp/overcommit-{os.geteuid()}"
"""Folder of the sockets whose own folder has too long a path."""

CONNECT_SECONDS = 30
ALIVE = (("ServerAliveInterval", "20"), ("ServerAliveCountMax", "6"))
"""How a connection whose other end is silently gone is noticed, after two minutes."""

CHEAP = ("KexAlgorithms curve25519-sha256", "Ciphers chacha20-poly1305@openssh.com,aes128-ctr")
"""The cheapest that are sound, for emulated hosts and for guests: these may have no AES
instructions, and the way to them is this machine's own or dom0's bridge.
"""

LONGEST_COMMAND = 8000
"""Bytes. dropbear, the SSH server of guests and emulated hosts, takes no command of more than 9000;
what is longer goes through a file.
"""

_KEPT = re.compile(r"[\w./+-]{1,200}", re.ASCII)
"""A file's name as mktemp makes it. A guest may answer anything, and this is run."""

_KEEP = "file=$(mktemp -t command.XXXXXX) && cat > $file && echo $file"

KILL_AFTER_SECONDS = 5
TIMED_OUT, KILLED = 124, 137
"""Statuses of `timeout` when its command had to be ended, and when something was killed."""
_BROKEN = "the connection broke, or the command was killed together with who had started it"
SHOWN_LINES = 15
ASK_SECONDS = 2.0
"""For a process of this machine to take a connection."""

DOM0 = "dom0"


class UnreachableError(LabError):
    """A machine did not let us in, or the connection broke."""


class CommandError(LabError):
    """A command on a machine failed or did not end in time."""


def socket_folder(folder: Path) -> Path:
    """Where sockets of a host go: its own folder, or a short private one in its place when the path
    is too long for a socket, or has characters to which ssh or QEMU give a meaning.
    """
    plain = re.fullmatch(r"[A-Za-z0-9_./+-]+", str(folder)) is not None
    if plain and len(os.fsencode(folder)) + LONGEST_SOCKET_NAME < SOCKET_PATH_LIMIT:
        short = folder / "run"
    else:
        digest = hashlib.sha256(os.fsencode(folder)).hexdigest()[:12]
        short = Path(SHORT) / digest
    folder.mkdir(parents=True, exist_ok=True)
    for each in (short.parent, short):
        each.mkdir(
            exist_ok=True, mode=0o700
        )  # with parents=True the mode would be the last one's only, and the rest the umask's
    for each in (short, short.parent) if short.name != "run" else (short,):
        status = each.stat()
        if status.st_uid != os.geteuid() or status.st_mode & 0o022:
            raise MissingError(
                "a folder for sockets is not ours alone", where=str(each), remedy="Remove it, then run this again."
            )
    return short


@dataclass(frozen=True)
class Endpoint:
    """How a machine is reached: address, port, user, private key (None: the user's own), and
    whether it is beyond dom0.
    """

    name: str
    address: str
    port: int = 22
    user: str = "root"
    key: Path | None = None
    jump: bool = False
    check_host_key: bool = False
    options: tuple[tuple[str, str], ...] = ()


def ssh_config(endpoints: Iterable[Endpoint], sockets: Path) -> str:
    """Text of an ssh_config for these machines. Host keys of emulated machines are not checked: we
    started them on 127.0.0.1 ourselves. Those of servers are, by the servers' addresses, as in
    everybody's known_hosts.
    """
    blocks = ["# Written by the testbed at every start of the host; use it with: ssh -F THIS_FILE MACHINE\n"]
    for each in endpoints:
        lines = [f"HostName {each.address}", f"Port {each.port}", f"User {each.user}"]
        if each.key is not None:
            lines += [f'IdentityFile "{each.key}"', "IdentitiesOnly yes"]
        if each.jump:
            lines.append(f"ProxyJump {DOM0}")
        if not each.check_host_key:
            lines += [f"HostKeyAlias {each.name}", "StrictHostKeyChecking no", "UserKnownHostsFile /dev/null", *CHEAP]
        lines += [f"{key} {value}" for key, value in each.options]
        blocks.append(f"Host {each.name}\n" + "".join(f"    {line}\n" for line in lines))
    shared = [
        "BatchMode yes",
        "ControlMaster auto",
        f'ControlPath "{sockets}/%n"',
        "ControlPersist 600",
        f"ConnectTimeout {CONNECT_SECONDS}",
        *(f"{key} {value}" for key, value in ALIVE),
        "LogLevel ERROR",
        "ForwardAgent no",
        "ForwardX11 no",
        "GSSAPIAuthentication no",
    ]
    blocks.append("Host *\n" + "".join(f"    {line}\n" for line in shared))
    return "\n".join(blocks)


def configured(config: Path) -> list[str]:
    """Names of the machines in an ssh_config of ours."""
    return re.findall(r"^Host ([^\s*]+)$", config.read_text(), re.MULTILINE)


class Connections:
    """The machines of one host, by their names. `sockets` holds the control sockets, `config` is
    the ssh_config.
    """

    def __init__(self, config: Path, sockets: Path) -> None:
        self.config = config
        self.sockets = sockets
        self._machines: dict[str, Machine] = {}
        self._opening: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
        self._running: set[subprocess.Popen[bytes]] = set()
        self._interrupted = False

    def configure(self, endpoints: Iterable[Endpoint]) -> None:
        """Write the ssh_config anew."""
        files.replace(self.config, ssh_config(endpoints, self.sockets))

    def run(self, name: str, script: str, *, timeout: float = 60.0, stdin: bytes | None = None, step: str = "") -> str:
        """Run a POSIX sh script on a machine and return what it printed.

        timeout: seconds, enforced on the machine itself with its whole process group. step: what it
        does, for errors. CommandError with the command's own words when it fails; UnreachableError
        when the machine cannot be reached.
        """
        return self.run_bytes(name, script, timeout=timeout, stdin=stdin, step=step).decode(errors="replace")

    def run_bytes(
        self, name: str, script: str, *, timeout: float = 60.0, stdin: bytes | None = None, step: str = ""
    ) -> bytes:
        self.open(name)
        remote = f"timeout -k {KILL_AFTER_SECONDS} {timeout:g} sh -c {shlex.quote(script)}"
        ssh = ["ssh", "-F", str(self.config), name]
        limit = timeout + KILL_AFTER_SECONDS + 2 * CONNECT_SECONDS
        where = f"{name}: {step or _brief(script)}"
        code: int | None = 0
        began = time.monotonic()
        try:
            if len(remote.encode()) > LONGEST_COMMAND:
                code, out, err = self._communicate([*ssh, _KEEP], remote.encode(), limit)
                remote = _kept(name, out) if code == 0 else ""
            if code == 0:
                code, out, err = self._communicate([*ssh, remote], stdin, limit)
        except bounded.TooMuchError as error:
            what = f"a command on {name} said more than is read of it"
            raise CommandError(what, where=where, why=error.why, remedy=error.remedy) from None
        if code == 0:
            return out
        said = tail(err.decode(errors="replace"), SHOWN_LINES)
        if code is None or (code == 255):
            raise UnreachableError(
                f"{name} cannot be reached by SSH",
                where=f"ssh -F {self.config} {name}",
                why=said or (f"no answer within {limit:.0f} s" if code is None else _BROKEN),
            )
        if code == TIMED_OUT or (code == KILLED and time.monotonic() - began >= timeout):
            raise CommandError(f"a command on {name} did not end within {timeout:g} s", where=where, why=said)
        if code == KILLED:
            raise CommandError(
                f"a command on {name} was killed", where=where, why=said or "by SIGKILL, as for want of memory"
            )
        why = said or tail(out.decode(errors="replace"), SHOWN_LINES)
        raise CommandError(f"a command on {name} failed with code {code}", where=where, why=why)

    def open(self, name: str) -> None:
        """Make the shared connection of a machine, and of dom0 on the way to a guest, if there is
        none, or its process was killed.

        Done apart from commands, because the process that holds the connection keeps its standard
        error: a command that made the connection in passing would not end for whoever reads it.
        """
        if name != DOM0:
            self.open(DOM0)
        with self._opening[name]:
            if not _listens(self.sockets / name):
                # ssh shares no connection while the socket of one that was killed is in the way.
                (self.sockets / name).unlink(missing_ok=True)
                self._connect(name)

    def _connect(self, name: str) -> None:
        with tempfile.TemporaryFile() as said:
            command = ["ssh", "-F", str(self.config), "-f", "-N", "-o", "ControlMaster=yes", name]
            code = _wait(command, said, 3 * CONNECT_SECONDS, self._running)
            said.seek(0)
            text = said.read(bounded.LAST_WORDS).decode(errors="replace").strip()
        if code != 0 and not (self.sockets / name).exists():
            raise UnreachableError(
                f"{name} cannot be reached by SSH",
                where=f"ssh -F {self.config} {name}",
                why=text or ("no answer in time" if code is None else f"ssh ended with {code}"),
            )

    def run_all(self, scripts: Mapping[str, str], *, timeout: float = 60.0, step: str = "") -> dict[str, str]:
        """Run one script on each machine at the same time; the first error is raised when all have
        ended.
        """
        return self.in_parallel(
            {name: partial(self.run, name, text, timeout=timeout, step=step) for name, text in scripts.items()}
        )

    def in_parallel(self, tasks: Mapping[str, Callable[[], T]]) -> dict[str, T]:
        """Do these at the same time, in threads; the first error is raised when all have ended.

        Ctrl-C ends the commands that run on the machines first: threads cannot be interrupted, and
        the interpreter waits for them.
        """
        with ThreadPoolExecutor(max(1, len(tasks))) as pool:
            futures = {name: pool.submit(task) for name, task in tasks.items()}
            try:
                concurrent.futures.wait(futures.values())
            except BaseException:
                self.interrupt()
                raise
        return {name: future.result() for name, future in futures.items()}

    def interrupt(self) -> None:
        """End every command that runs on a machine now; waiting for machines ends, too.
        disconnecting makes this a thing of the past.
        """
        self._interrupted = True
        for process in list(self._running):
            kill_group(process)

    @property
    def interrupted(self) -> bool:
        """Whether whoever waits for a machine is to stop waiting."""
        return self._interrupted

    def started(self, process: subprocess.Popen[bytes]) -> None:
        """Have interrupt() and drop() end this process as well."""
        self._running.add(process)

    def wait(
        self,
        name: str,
        seconds: float,
        *,
        pause: float = 1.0,
        alive: Callable[[], None] = lambda: None,
        connection: bool = False,
    ) -> None:
        """Wait until a machine lets us in. UnreachableError when it has not within `seconds`.

        alive: called between attempts; whatever it raises ends the wait, since nobody will answer
        any more. connection: whether a new connection is enough to show it, and no session is made.
        """
        began = time.monotonic()
        deadline = began + seconds
        said: dict[str, list[float]] = {}
        while True:
            try:
                if connection:
                    self.open(name)
                else:
                    self.run(name, "true", timeout=20)
            except (UnreachableError, CommandError) as error:
                if self._interrupted:
                    raise
                said.setdefault(error.why, []).append(time.monotonic() - began)
                self.drop([name])
                alive()
                if time.monotonic() > deadline:
                    error.why = reasons(said)
                    raise
                time.sleep(pause)
            else:
                return

    def machine(self, name: str) -> Machine:
        """Its programs; made at first use, then kept until drop()."""
        if name not in self._machines:
            self.open(name)
            self._machines[name] = Programs(name, self.config)
        return self._machines[name]

    def drop(self, names: Sequence[str] | None = None) -> None:
        """End the shared connections of these machines (of all by default) and forget their
        programs.
        """
        if names is None:
            for process in list(self._running):
                kill_group(process)
                process.wait()
            self._running.clear()
            self._interrupted = False
        chosen = list(names) if names is not None else [each.name for each in self._sockets()]
        # Beyond dom0 first: their connections run through dom0's.
        for name in sorted(chosen, key=lambda each: each == DOM0):
            if (self.sockets / name).exists():
                self._communicate(["ssh", "-F", str(self.config), "-O", "exit", name], None, 10.0)
            (self.sockets / name).unlink(missing_ok=True)
        for name in list(self._machines) if names is None else chosen:
            self._machines.pop(name, None)

    def _communicate(self, command: list[str], stdin: bytes | None, limit: float) -> tuple[int | None, bytes, bytes]:
        """Exit code (None: killed after `limit` seconds), standard output and error of a local
        command. TooMuchError: it was killed because it said too much.
        """
        try:
            process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE if stdin is not None else subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,  # Ctrl-C on the terminal is for the controller, which ends things in order
            )
        except FileNotFoundError:
            raise MissingError("ssh is missing", remedy="Install openssh-client, or run ./inv setup.") from None
        self._running.add(process)
        try:
            out, err = bounded.communicate(cast("Process", process), stdin, seconds=limit)
        except subprocess.TimeoutExpired:
            abandon(process)
            return None, b"", b""
        except BaseException:
            abandon(process)
            raise
        finally:
            self._running.discard(process)
        return process.returncode, out, err

    def _sockets(self) -> list[Path]:
        return [each for each in self.sockets.iterdir() if each.is_socket() and each.suffix != ".qmp"]


class Programs:
    """The programs of a machine beyond ssh, as plumbum's commands: a Machine (common/machines.py).

    plumbum's own SshMachine keeps a shell there and asks it for its environment before anything is
    run, which costs an emulated guest a second of its processor. This one asks nothing: where a
    program is, the machine's own shell finds out, and ends with status 127 for one that is not
    there.
    """

    def __init__(self, host: str, config: Path) -> None:
        from plumbum import local

        self.host = host
        self.custom_encoding = "utf8"
        self._ssh = local["ssh"]["-F", str(config), host]

    def __str__(self) -> str:
        return f"ssh://{self.host}"

    def __getitem__(self, program: str) -> Command:
        from plumbum.machines.remote import RemoteCommand

        return cast("Command", RemoteCommand(cast("Any", self), cast("Any", program)))

    def popen(self, args: object, **options: Any) -> object:  # noqa: ANN401
        """For plumbum: start a command of this machine. args: the command, which ssh's shell gets
        in quotes.
        """
        words = cast("Any", args).formulate(1)
        if len(" ".join(words).encode()) > LONGEST_COMMAND:
            words = [_kept(self.host, self._keep(" ".join(words)))]
        return self._ssh[words].popen(**options)

    def _keep(self, command: str) -> bytes:
        """Put a command into a file of the machine; the file's name, as the machine tells it."""
        from plumbum.commands.processes import ProcessExecutionError, ProcessTimedOut

        argv = [str(self._ssh), _KEEP]
        process = cast("Process", (self._ssh[_KEEP] << command).popen())
        try:
            out, err = bounded.communicate(process, seconds=3 * CONNECT_SECONDS)
        except subprocess.TimeoutExpired:
            raise ProcessTimedOut(f"no answer within {3 * CONNECT_SECONDS} s", argv) from None
        if process.returncode:
            raise ProcessExecutionError(
                argv, process.returncode, out.decode(errors="replace"), err.decode(errors="replace")
            )
        return out


def _listens(control: Path) -> bool:
    """Whether a process has the shared connection of this socket: one that is killed leaves the
    socket, which says nothing of the machine.
    """
    with socket.socket(socket.AF_UNIX) as asking:
        asking.settimeout(ASK_SECONDS)
        try:
            asking.connect(str(control))
        except (FileNotFoundError, ConnectionRefusedError):
            return False
        except OSError:  # it is too busy to answer
            return True
    return True


def _kept(machine: str, told: bytes) -> str:
    """The command that is in a file of the machine, which goes with it. CommandError when what it
    told is no file's name.
    """
    file = told.decode(errors="replace").strip()
    if not _KEPT.fullmatch(file):
        raise CommandError(
            f"{machine} did not say where it keeps a command",
            where=f"{machine}: mktemp",
            why=f"it said {file[:200]!r}, which is no file's name",
            remedy=f"See that mktemp works there: ssh to {machine}, and run mktemp -t command.XXXXXX.",
        )
    return f"sh {file}; status=$?; rm -f {file}; exit $status"


def _brief(script: str) -> str:
    """The first line of a script that says what it does: the name of one of ours, else no setting
    of the shell and no comment.
    """
    lines = [line.strip() for line in script.splitlines() if line.strip()]
    if lines and lines[0].startswith("# "):
        return lines[0].removeprefix("# ")
    return next((line for line in lines if not line.startswith(("set -", "#"))), "")[:200]


def kill_group(process: subprocess.Popen[bytes]) -> None:
    """Kill a process that leads a session of its own, with all that it has started: a child that
    lives on would hold its pipes.
    """
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def abandon(process: subprocess.Popen[bytes]) -> None:
    """Kill a command on a machine and forget what it might still say. Its pipes are not read to
    their end: the shared connection has them, too, and to a dead guest it holds on for minutes.
    """
    kill_group(process)
    for stream in (process.stdin, process.stdout, process.stderr):
        if stream is not None:
            with contextlib.suppress(OSError):
                stream.close()
    process.wait()


def _wait(command: list[str], said: IO[bytes], limit: float, running: set[subprocess.Popen[bytes]]) -> int | None:
    """Exit code (None: killed after `limit` seconds) of a local command whose words go to a file.
    It is one of those that run, which an interruption ends.
    """
    try:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=said, stderr=said, start_new_session=True)
    except FileNotFoundError:
        raise MissingError("ssh is missing", remedy="Install openssh-client, or run ./inv setup.") from None
    running.add(process)
    try:
        return process.wait(limit)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return None
    finally:
        running.discard(process)
