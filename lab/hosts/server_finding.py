"""What looking at a server finds: one record for each thing, whoever finds it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from lab.hosts.server_facts import Facts
from lab.inventory import Physical

Severity = Literal["blocks", "warns", "notes"]
SEVERITIES: tuple[Severity, ...] = ("blocks", "warns", "notes")

MIB = 2**20


@dataclass(frozen=True)
class Finding:
    """One thing about a server. blocks: provisioning would fail, or harm; warns: it works, but see;
    notes: for your information.

    what: in one clause; where: on the server, or in the inventory; remedy: what to do about it.
    """

    severity: Severity
    what: str
    where: str = ""
    why: str = ""
    remedy: str = ""


@dataclass(frozen=True)
class Intent:
    """What provisioning would make: the packages that it installs, the guests' bridge and dom0's
    address on it.
    """

    packages: tuple[str, ...]
    bridge: str
    address: str


Check = Callable[[Facts, Physical, Intent], Iterator[Finding]]
