"""Boots that do not succeed: what a guest's domain does, what it said on its console, and what a
panic looks like.

A guest that crashed will never answer, so whoever waits for it looks at its domain meanwhile, and
ends at once.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass

from common.errors import LabError
from lab.remote import scripts

CONSOLES = "/var/log/xen/console"
"""Folder of dom0 where the guests' consoles are logged (playbooks/roles/xen_host).

A guest may say 300 KiB/s there, which is what xenconsoled takes. On a server the logs are shortened
every minute, and keep their last words (playbooks/roles/xen_server). An emulated host loses them
with the next reset, and until then no more is written than its own disk has.
"""

SHOWN_LINES = 12
ASKED_LINES = 100
"""An oops and the panic after it are longer than what an error shows."""

LOOK_SECONDS = 10.0
"""Between looks at the domains of guests that boot: a look costs an emulated CPU half a second."""

LAST_RESORT_SECONDS = 3600.0
BUSY = 0.05
"""Share of a processor above which a guest's kernel is at work, and does not only idle."""

_PANIC = re.compile(r"^.*(Panic on CPU|Kernel panic|Domain 0 crashed|Oops: int3).*$", re.MULTILINE)


class BootError(LabError):
    """Xen, dom0 or a guest did not come up. panicked: a kernel ended itself, or Xen did; another
    boot may go well under an emulator.
    """

    def __init__(self, what: str, *, where: str = "", why: str = "", remedy: str = "", panicked: bool = False) -> None:
        super().__init__(what, where=where, why=why, remedy=remedy)
        self.panicked = panicked


class GuestBootError(BootError):
    """A guest did not come up."""


@dataclass(frozen=True)
class Domain:
    """A guest's domain. flags: as `xl list` has them, or `gone`; said: the last lines on its
    console; cpu_seconds: of its vCPUs.
    """

    name: str
    flags: str
    said: str
    cpu_seconds: float = 0.0

    @property
    def state(self) -> str:
        """In a word or two, for people."""
        if self.flags == "gone":
            return "gone"
        words = {"c": "crashed", "s": "shut down", "d": "dying", "p": "paused", "b": "blocked", "r": "running"}
        return next((word for flag, word in words.items() if flag in self.flags), "waiting for a processor")

    @property
    def shown(self) -> str:
        """The last of what it said, as much as an error shows."""
        return "\n".join(self.said.splitlines()[-SHOWN_LINES:])

    @property
    def lost(self) -> bool:
        """Whether it will never answer."""
        return self.state in {"gone", "crashed", "shut down", "dying"} or panic(self.said) is not None


def panic(console: str) -> str | None:
    """The first line of a console that tells of a panic; None without one."""
    found = _PANIC.search(console)
    return found[0].strip() if found else None


def look_script(names: Iterable[str]) -> str:
    """Sh for dom0: what these guests' domains do."""
    return scripts.command("guest-state.sh", CONSOLES, ASKED_LINES, *names)


def parse_look(text: str) -> dict[str, Domain]:
    """Guest -> its domain, from what the script printed."""
    found = {}
    for part in re.split(r"^== (?=\S+ \S+ \d+(?:\.\d+)?$)", text, flags=re.MULTILINE)[1:]:
        head, *lines = part.splitlines()
        name, flags, seconds = head.split()
        said = "\n".join(line.removeprefix("| ") for line in lines)
        found[name] = Domain(name, flags, said.strip(), float(seconds))
    return found


class BootWatch:
    """Looks at guests' domains while somebody waits for them. look: asks dom0."""

    def __init__(self, host: str, look: Callable[[Collection[str]], dict[str, Domain]]) -> None:
        self._host = host
        self._look = look
        self._next = time.monotonic() + LOOK_SECONDS
        self._began = time.monotonic()
        self._before: dict[str, Domain] = {}

    def moved(self, name: str, seconds: float) -> bool:
        """Whether a guest that has not let us in for these seconds gets on all the same: it says
        something, or its vCPUs work.

        On a busy machine a boot takes as long as it takes. Nothing is waited for beyond
        LAST_RESORT_SECONDS.
        """
        domain, before = self._look([name])[name], self._before.get(name)
        self._before[name] = domain
        if domain.lost or time.monotonic() - self._began > LAST_RESORT_SECONDS:
            return False
        cpu_before, said_before = (before.cpu_seconds, before.said) if before else (0.0, "")
        return domain.said != said_before or domain.cpu_seconds - cpu_before > BUSY * seconds

    def check(self, name: str) -> None:
        """GuestBootError when this guest will never answer. Looks every LOOK_SECONDS at most."""
        if time.monotonic() < self._next:
            return
        domain = self._look([name])[name]
        self._next = time.monotonic() + LOOK_SECONDS
        if domain.lost:
            raise self.error(domain, f"{name} {_became(domain)} while it booted")

    def late(self, name: str, seconds: float) -> GuestBootError:
        """The error for a guest that has not let us in within these seconds."""
        domain = self._look([name])[name]
        if domain.lost:
            return self.error(domain, f"{name} {_became(domain)} while it booted")
        waited = max(seconds, time.monotonic() - self._began)
        return self.error(domain, f"{name} did not let us in within {waited:.0f} s, and its domain is {domain.state}")

    def error(self, domain: Domain, what: str) -> GuestBootError:
        """The error for a guest's domain."""
        return GuestBootError(
            what,
            where=f"booting {domain.name} on {self._host}",
            why=f"its console ended with:\n{domain.shown}" if domain.said else "it said nothing on its console",
            remedy=f"What it said is in {CONSOLES}/guest-{domain.name}.log of dom0; xl console {domain.name} asks it.",
            panicked="Oops: int3" in domain.said,  # what no configuration brings about
        )


def _became(domain: Domain) -> str:
    if panic(domain.said):
        return "panicked"
    return {"gone": "was gone", "crashed": "crashed", "dying": "ended"}.get(domain.state, "shut down")
