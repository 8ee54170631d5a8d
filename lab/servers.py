"""The physical servers of a lab as people prepare them: looked at before anything is changed.

Servers are looked at at the same time, and what is wrong with one does not stop the others.
"""

from __future__ import annotations

import concurrent.futures
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

from common.console import Tell
from common.errors import LabError
from lab import inventory, paths
from lab.hosts import server_facts, server_findings
from lab.hosts.physical import dom0_endpoint
from lab.hosts.server_facts import Facts
from lab.hosts.server_findings import Finding, Intent
from lab.lifecycle import require_physical
from lab.remote.ssh import DOM0, Connections, UnreachableError, socket_folder

LOOK_SECONDS = 60.0


@dataclass(frozen=True)
class Checked:
    """A server that was looked at. facts: None when it could not be asked."""

    host: str
    facts: Facts | None
    findings: tuple[Finding, ...]

    @property
    def blocked(self) -> bool:
        return any(each.severity == "blocks" for each in self.findings)

    def record(self) -> dict[str, Any]:
        """For JSON."""
        facts = None if self.facts is None else asdict(self.facts)
        listed = facts and {
            key: sorted(value) if isinstance(value, frozenset) else value for key, value in facts.items()
        }
        return {
            "host": self.host,
            "blocked": self.blocked,
            "facts": listed,
            "findings": [asdict(each) for each in self.findings],
        }

    def lines(self) -> Iterator[str]:
        """For people."""
        facts = self.facts
        about = f"{facts.distribution} {facts.release}, Linux {facts.kernel}" if facts is not None else "not reached"
        yield f"{self.host}: {about}"
        for each in self.findings:
            yield f"  {each.severity:<8}{each.what}"
            for label, text in (("where", each.where), ("why", each.why), ("do", each.remedy)):
                yield from (f"  {'':<8}  {label + ':':<7}{line}" for line in text.splitlines()[:1])
                yield from (f"  {'':<8}  {'':<7}{line}" for line in text.splitlines()[1:])


def check(path: Path, progress: Tell | None = None) -> list[Checked]:
    """Look at every physical server of a lab, and change nothing. progress: one line for each that
    has been looked at.

    UsageError when the lab has none; InvalidFileError for the inventory.
    """
    require_physical(path)
    declared = inventory.load(path)
    entries = [entry for entry in declared.hosts if isinstance(entry.settings, inventory.Physical)]
    connections = {entry.name: _connections(declared.name, entry) for entry in entries}

    def look(entry: inventory.HostEntry) -> Checked:
        found = _look(entry, connections[entry.name])
        if progress is not None:
            progress(f"{entry.name}: {'could not be asked' if found.facts is None else 'looked at'}")
        return found

    with ThreadPoolExecutor(len(entries)) as pool:
        futures = [pool.submit(look, entry) for entry in entries]
        try:
            concurrent.futures.wait(futures)
        except BaseException:
            for each in connections.values():
                each.interrupt()
            raise
    return [future.result() for future in futures]


def _connections(lab: str, entry: inventory.HostEntry) -> Connections:
    """Connections apart from the host's own: a campaign may be using those now."""
    folder = paths.host_dir(lab, entry.name)
    own = folder / "check"
    made = Connections(own / "ssh_config", socket_folder(own))
    made.configure([dom0_endpoint(entry, folder / "known_hosts")])
    return made


def _look(entry: inventory.HostEntry, connections: Connections) -> Checked:
    assert isinstance(entry.settings, inventory.Physical)
    disks = [name for each in entry.settings.guest_disks for name in (each.root, each.swap)]
    try:
        connections.open(DOM0)
        asked = time.time()
        script = server_facts.script(intent().packages, disks)
        told = connections.run(DOM0, script, timeout=LOOK_SECONDS, step="looking at the server")
        answered = time.time()
    except LabError as error:
        return Checked(entry.name, None, (_unreached(error),))
    finally:
        connections.drop()
    facts = server_facts.parse(told, asked=asked, answered=answered)
    return Checked(entry.name, facts, tuple(server_findings.examine(facts, entry.settings, intent())))


def _unreached(error: LabError) -> Finding:
    changed = "REMOTE HOST IDENTIFICATION HAS CHANGED" in error.why or "Host key verification failed" in error.why
    if changed:
        remedy = "See on the server's console which key it has (ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub)."
        return Finding("blocks", "its host key is not the recorded one", error.where, error.why, remedy)
    if isinstance(error, UnreachableError):
        remedy = "See that it is up, and that root's key is let in: the command above, with -v, says more."
        return Finding("blocks", "it cannot be reached by SSH", error.where, error.why, remedy)
    return Finding("blocks", error.what, error.where, error.why, error.remedy or "Run it again.")


@cache
def intent() -> Intent:
    """What provisioning makes of a server, as the role xen_host declares it."""
    import yaml

    role = yaml.safe_load((paths.PLAYBOOKS / "roles" / "xen_host" / "defaults" / "main.yml").read_text())
    return Intent(tuple(role["xen_host_packages"]), role["xen_host_bridge"], role["xen_host_bridge_address"])
