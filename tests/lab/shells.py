"""Commands on the machines of a host through shells that stay open.

A session of its own, as the lab gives to every command, takes more than a second of an emulated
processor, and some tests ask hundreds of times.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from typing import Any
from weakref import WeakKeyDictionary

from plumbum import SshMachine
from plumbum.machines.session import ShellSessionError, SSHCommsError

from lab.hosts.emulated import EmulatedHost
from lab.remote.ssh import CommandError, UnreachableError


class Shells:
    """One POSIX shell on each machine, begun when it is needed, and anew after the host was
    reset.
    """

    def __init__(self, host: EmulatedHost) -> None:
        self._host = host
        self._sessions: dict[str, tuple[Any, Any]] = {}
        self._locks: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)

    def run(self, machine: str, script: str, timeout: float) -> str:
        """What a script printed. CommandError when it fails or does not end in time,
        UnreachableError when the shell is gone.
        """
        with self._locks[machine]:
            session = self._session(machine)
            late = threading.Event()

            def end() -> None:
                late.set()
                session.close()

            timer = threading.Timer(timeout, end)
            timer.start()
            try:
                code, out, err = session.run(f"( {script}\n) < /dev/null", retcode=None)
            except (SSHCommsError, ShellSessionError, EOFError, OSError, ValueError) as error:
                del self._sessions[machine]
                where = f"{machine}: {script[:200]}"
                if late.is_set():
                    raise CommandError(
                        f"a command on {machine} did not end within {timeout:g} s", where=where
                    ) from error
                raise UnreachableError(f"the shell on {machine} ended", where=where, why=str(error)) from error
            finally:
                timer.cancel()
        if code:
            raise CommandError(
                f"a command on {machine} failed with code {code}",
                where=f"{machine}: {script[:200]}",
                why=str(err or out).strip(),
            )
        return str(out)

    def _session(self, machine: str) -> Any:
        remote = self._host.connections.machine(machine)  # a new one after each reset
        of, session = self._sessions.get(machine, (None, None))
        if of is not remote:
            self._host.connections.open(machine)
            session = SshMachine(machine, ssh_opts=("-F", str(self._host.connections.config))).session()
            self._sessions[machine] = (remote, session)
        return session


_SHELLS: WeakKeyDictionary[EmulatedHost, Shells] = WeakKeyDictionary()


def run(host: EmulatedHost, machine: str, script: str, *, timeout: float = 60.0) -> str:
    """As host.run(), in the shell of that machine."""
    if host not in _SHELLS:
        _SHELLS[host] = Shells(host)
    return _SHELLS[host].run(machine, script, timeout)
