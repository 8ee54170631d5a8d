"""The physical servers of a lab as people prepare them: looked at before anything is changed, then
made Xen hosts of the testbed.

All of a lab at the same time, and what goes wrong with one does not stop the others.
"""

from __future__ import annotations

import concurrent.futures
import shlex
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any, TypeVar

from common.console import Tell
from common.errors import LabError, UsageError, UserError
from common.needs import NOTHING, Needs
from lab import inventory, paths
from lab.build import ansible, builder
from lab.build.packing import packed
from lab.build.recipes import guest_image
from lab.hosts import server_boot, server_facts, server_findings
from lab.hosts.guests import ROOT_DISK_MIB
from lab.hosts.physical import dom0_endpoint
from lab.hosts.server_boot import Entry, ServerBoot
from lab.hosts.server_course import Course
from lab.hosts.server_facts import Facts
from lab.hosts.server_finding import Finding, Intent
from lab.inventory import HostEntry, Physical
from lab.lifecycle import locked, provisioned
from lab.remote import scripts
from lab.remote.ssh import ALIVE, DOM0, Connections, UnreachableError, socket_folder

LOOK_SECONDS = 180.0
"""A look takes a second; of an emulated server with other work beside it, more than a minute."""
RESTORE_SECONDS = 900.0
PLAYBOOK_SECONDS = 3600.0
MOST_AT_ONCE = 20

PLAYBOOKS = 3
"""How often a server is configured whose connection was lost meanwhile."""

AGAIN_SECONDS = 300.0
"""Time that a server gets to answer again."""

GUESTS_PACKAGES = ("qemu-utils",)
"""Packages that playbooks/guests.yml installs."""

AGAIN = "Mend that, and run the same command again: it goes on from where it was."
"""What to do after an error that names no command: all that is done to a server can be repeated."""

T = TypeVar("T")


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


@dataclass(frozen=True)
class Provisioned:
    """What provisioning a server did. changed: tasks that changed something; booted: it was started
    into another entry, or one was confirmed. error: why it ended early.

    plan: nothing was done, and these lines are what would be; None when it was done.
    """

    host: str
    changed: int = 0
    booted: bool = False
    error: UserError | None = None
    plan: tuple[str, ...] | None = None

    def line(self) -> str:
        if self.error is not None:
            return f"{self.host}: failed. {self.error}"
        if self.plan is not None:
            return f"{self.host}: {'would be changed' if self.plan else 'nothing would be changed'}"
        if self.changed or self.booted:
            return f"{self.host}: provisioned ({self.changed} changes{', and booted' if self.booted else ''})"
        return f"{self.host}: nothing had to be changed"

    def lines(self) -> Iterator[str]:
        yield self.line()
        yield from (f"    {each}" for each in self.plan or ())


@dataclass(frozen=True)
class Restored:
    """A server that the testbed was taken off. left: what is not as it was recorded."""

    host: str
    left: tuple[str, ...] = ()
    error: UserError | None = None

    def lines(self) -> Iterator[str]:
        if self.error is not None:
            yield f"{self.host}: failed. {self.error}"
        else:
            yield f"{self.host}: is as it was before{', but for' if self.left else ''}"
            yield from (f"    {each}" for each in self.left)


D = TypeVar("D", Provisioned, Restored)


def check(path: Path, progress: Tell | None = None) -> list[Checked]:
    """Look at every physical server of a lab, and change nothing. progress: one line for each that
    has been looked at.

    UsageError when the lab has none; InvalidFileError for the inventory.
    """

    def look(entry: HostEntry, connections: Connections) -> Checked:
        found = _look(entry, connections)
        if progress is not None:
            progress(f"{entry.name}: {'could not be asked' if found.facts is None else 'looked at'}")
        return found

    return _each(path, "check", look)


def provision(
    path: Path,
    progress: Tell | None = None,
    *,
    needs: Needs = NOTHING,
    come_back: float = server_boot.COME_BACK_SECONDS,
    only_look: bool = False,
) -> list[Provisioned]:
    """Make every physical server of a lab a Xen host of the testbed, which runs its hypervisor;
    what is so already is left alone.

    progress: lines; what is done on a server begins with its name. needs: of the workloads that its
    guests run.
    come_back: seconds until one that restarts has to answer. only_look: change nothing, and tell
    what would be.

    UsageError when the lab has none; InvalidFileError for the inventory; BuildError for a missing
    artifact.
    """
    require_physical(path)
    images = {name: builder.artifact(name, needs).outputs for name in provisioned(needs)}
    guests = packed(images[guest_image(needs)]["guest.qcow2"], progress or (lambda _text: None))
    work = _Work(path, images, guests, threading.Event(), come_back, only_look)
    return _each_alone(path, progress, partial(_provision, work), Provisioned, cancel=work.cancel)


@dataclass(frozen=True)
class _Work:
    """What provisioning any server of a lab needs. images: artifact -> its outputs; guest_image:
    what is sent of the guests'.
    """

    path: Path
    images: Mapping[str, Mapping[str, Path]]
    guest_image: Path
    cancel: threading.Event
    come_back: float
    only_look: bool


def _provision(work: _Work, entry: HostEntry, connections: Connections, say: Tell) -> Provisioned:
    settings = _physical(entry)
    course = Course(say, paths.host_dir(entry.lab, entry.name) / "course.json")
    course.tell("looking at it")
    connections.open(DOM0)
    facts = _ask(entry, connections)
    for finding in server_findings.examine(facts, settings, intent()):
        if finding.severity == "blocks":
            raise LabError(finding.what, where=finding.where, why=finding.why, remedy=finding.remedy)
    boot = ServerBoot(entry.name, connections, course.tell, power_hook=settings.power_hook, come_back=work.come_back)
    state = boot.state()
    wanted = server_boot.entry_for(settings, work.images["xen"]["xen.gz"], facts.kernel_options, state.options)
    if work.only_look:
        return Provisioned(entry.name, plan=tuple(_plan(work, entry, facts, boot, wanted)))
    course.begin("configure")
    connections.run(DOM0, scripts.command("record-before.sh", "before"), timeout=120, step="recording what was before")
    added = scripts.command("record-before.sh", "added")
    try:
        done = _configure(work, entry, boot, wanted, course.tell)
    except LabError:
        # What others install until the next run is theirs.
        with suppress(LabError):
            connections.run(DOM0, added, step="recording what was installed")
        raise
    connections.run(DOM0, added, step="recording what was installed")
    course.begin("boot")
    booted = boot.enter(replace(wanted, kernel=_kernel(entry, boot)))
    if booted:
        course.finish()
    return Provisioned(entry.name, done.changed, booted)


def _kernel(entry: HostEntry, boot: ServerBoot) -> str:
    """The newest of a server that can be dom0's. LabError when there is none."""
    if newest := boot.state().newest:
        return newest
    raise LabError(
        f"{entry.name} has no kernel that can be dom0's",
        where="/boot",
        why="none there has CONFIG_XEN_DOM0 in its configuration, and an initial RAM disk",
        remedy="apt-get install linux-image-amd64; update-initramfs -c -k all",
    )


def _configure(work: _Work, entry: HostEntry, boot: ServerBoot, wanted: Entry, tell: Tell) -> ansible.RunResult:
    """Run the playbook for one server. What was going on there when a connection was lost goes on;
    the next playbook does the rest.
    """
    for again in reversed(range(PLAYBOOKS)):
        try:
            return _playbook(work, entry, wanted, tell)
        except UnreachableError as error:
            if not again:
                raise
            tell(f"the connection was lost: {error.why.partition(chr(10))[0]}; waiting for it")
            if boot.returned("", AGAIN_SECONDS) is None:
                raise
    raise AssertionError("the last try returns or raises")


def _playbook(
    work: _Work, entry: HostEntry, wanted: Entry, tell: Tell | None, *, check: Mapping[str, object] | None = None
) -> ansible.RunResult:
    """check: variables of a run that changes nothing."""
    images, settings = work.images, _physical(entry)
    return ansible.run(
        "provision.yml",
        inventory=work.path,
        limit=entry.name,
        extravars={
            "ansible_ssh_common_args": ssh_arguments(entry),
            "xen_server_hypervisor": str(images["xen"]["xen.gz"]),
            "xen_server_options": wanted.options,
            "xen_server_entry": wanted.hypervisor,
            "xen_host_tmemctl": str(images["tmemctl"]["tmemctl"]),
            "xen_host_authorized_keys": [],  # it is reached as its inventory says
            **storage_variables(settings),
            "provision_guest_kernel": str(images["guest_kernel"]["vmlinuz"]),
            "provision_guest_image": str(work.guest_image),
            "provision_guest_mib": ROOT_DISK_MIB,
            "provision_packages": True,
            **(check or {}),
        },
        progress=tell,
        timeout=PLAYBOOK_SECONDS,
        cancel=work.cancel,
        check=check is not None,
        error=LabError,
        unreachable=UnreachableError,
    )


def _plan(work: _Work, entry: HostEntry, facts: Facts, boot: ServerBoot, wanted: Entry) -> Iterator[str]:
    """What provisioning would do, as lines. On a server that was never provisioned, packages and
    units are not there yet that later tasks ask for: what these would do is told from what is known
    of the server.
    """
    steps = server_findings.steps(facts, _physical(entry), intent())
    whole = all(each in facts.packages for each in intent().packages) and set(server_findings.WRITTEN) <= facts.files
    bare = {"xen_host_running": False, "xen_host_install_packages": False, "xen_host_trim_boot": False}
    done = _playbook(work, entry, wanted, None, check={} if whole else {**bare, "provision_packages": False})
    yield from steps
    yield from (line for change in done.changes for line in change.lines())
    if not boot.runs(replace(wanted, kernel=boot.state().newest or "")):
        yield f"start it into {wanted.hypervisor}, and make that its default when it is well"


def storage_variables(settings: Physical) -> dict[str, object]:
    """What the playbook is told of the guests' disks."""
    told: dict[str, object] = {"provision_guest_disks": [each.model_dump(exclude={"erase"}) for each in settings.disks]}
    storage = settings.guest_storage
    if storage is None:
        return told
    return told | {
        "guest_storage_group": storage.volume_group or "",
        "guest_storage_folder": storage.folder or "",
        "guest_storage_device": storage.device or "",
        "guest_storage_erase": storage.erase,
        "guest_storage_volumes": [{"name": name, "mib": mib} for name, mib in storage.sizes(ROOT_DISK_MIB).items()],
    }


def ssh_arguments(entry: HostEntry) -> str:
    """How Ansible's ssh is to check a server's host key: as ours does; then what its inventory
    says. A network that is silently gone is noticed, as by ours.
    """
    endpoint = dom0_endpoint(entry, paths.host_dir(entry.lab, entry.name) / "known_hosts")
    return " ".join(f"-o {shlex.quote(f'{key}={value}')}" for key, value in (*endpoint.options, *ALIVE))


def unprovision(
    path: Path, progress: Tell | None = None, *, come_back: float = server_boot.COME_BACK_SECONDS
) -> list[Restored]:
    """Take the testbed off every physical server of a lab: what was recorded before is so again,
    and the old system runs. Arguments and errors as of provision.
    """
    return _each_alone(path, progress, partial(_unprovision, come_back), Restored)


def _unprovision(come_back: float, entry: HostEntry, connections: Connections, say: Tell) -> Restored:
    hook = _physical(entry).power_hook
    boot = ServerBoot(entry.name, connections, say, power_hook=hook, come_back=come_back)
    say("putting back what was before")
    key = paths.lab_key().with_suffix(".pub").read_text().strip()
    script = scripts.command("restore-before.sh", key)
    told = connections.run(DOM0, script, timeout=RESTORE_SECONDS, step="putting back what was before")
    say("restarting it")
    after = boot.leave()
    if after is None or after.entry is not None:
        raise LabError(
            f"{entry.name} did not come back with its old system",
            where="after its files were put back",
            why="it does not answer" if after is None else f"it booted {after.entry}",
            remedy=f"Switch {entry.name} off and on, then ./inv lab.check.",
        )
    return Restored(entry.name, tuple(line.removeprefix("left: ") for line in told.splitlines()))


def require_physical(path: Path) -> list[HostEntry]:
    """The servers of a lab. UsageError when it has none; InvalidFileError for the inventory."""
    found = [entry for entry in inventory.load(path).hosts if isinstance(entry.settings, Physical)]
    if not found:
        raise UsageError(
            "this lab has no physical hosts",
            where=str(path),
            why="emulated hosts get their configuration with their image",
            remedy="./inv lab.init makes one of servers; or copy inventory/physical.example.yml, fill it in, "
            "and name it with --inventory.",
        )
    return found


def _each_alone(
    path: Path,
    progress: Tell | None,
    act: Callable[[HostEntry, Connections, Tell], D],
    kind: type[D],
    *,
    cancel: threading.Event | None = None,
) -> list[D]:
    """Change every server at the same time, each held alone: what goes wrong with one is its own
    result. progress: lines that begin with a server's name. cancel: as of _each.
    """

    def one(entry: HostEntry, connections: Connections) -> D:
        def say(text: str) -> None:
            if progress is not None:
                progress(f"{entry.name}: {text}")

        try:
            with locked(path.stem, entry.name):
                try:
                    return act(entry, connections, say)
                finally:
                    connections.drop()  # whoever is refused the lock has none: they are the holder's
        except UserError as error:
            say(f"failed: {error.what}")
            if "./inv" not in error.remedy:
                error.remedy = f"{error.remedy} {AGAIN}".strip()
            return kind(entry.name, error=error)

    return _each(path, "provision", one, cancel)


def _each(
    path: Path,
    purpose: str,
    act: Callable[[HostEntry, Connections], T],
    cancel: threading.Event | None = None,
) -> list[T]:
    """Do this with every server at the same time, in the inventory's order. Ctrl-C ends what runs
    on them first, and sets `cancel`.
    """
    entries = require_physical(path)
    connections = [_connections(entry, purpose) for entry in entries]
    with ThreadPoolExecutor(min(len(entries), MOST_AT_ONCE)) as pool:
        futures = [pool.submit(act, *each) for each in zip(entries, connections, strict=True)]
        try:
            concurrent.futures.wait(futures)
        except BaseException:
            # Before the pool waits for its threads.
            if cancel is not None:
                cancel.set()
            for future in futures:
                future.cancel()
            for each in connections:
                each.interrupt()
            raise
    return [future.result() for future in futures]


def _physical(entry: HostEntry) -> Physical:
    assert isinstance(entry.settings, Physical)
    return entry.settings


def _ask(entry: HostEntry, connections: Connections) -> Facts:
    settings = _physical(entry)
    disks = [name for each in settings.guest_disks for name in (each.root, each.swap)]
    storage = settings.guest_storage
    if storage is not None and storage.device is not None:
        disks = [storage.device]
    asked = time.time()
    script = server_facts.script(intent().packages, disks, storage.folder if storage is not None else None)
    told = connections.run(DOM0, script, timeout=LOOK_SECONDS, step="looking at the server")
    return server_facts.parse(told, asked=asked, answered=time.time())


def _connections(entry: HostEntry, purpose: str) -> Connections:
    """Connections apart from the host's own: a campaign may be using those now."""
    folder = paths.host_dir(entry.lab, entry.name)
    own = folder / purpose
    made = Connections(own / "ssh_config", socket_folder(own))
    made.configure([dom0_endpoint(entry, folder / "known_hosts")])
    return made


def _look(entry: HostEntry, connections: Connections) -> Checked:
    try:
        connections.open(DOM0)
        facts = _ask(entry, connections)
    except LabError as error:
        return Checked(entry.name, None, (_unreached(error),))
    finally:
        connections.drop()
    return Checked(entry.name, facts, tuple(server_findings.examine(facts, _physical(entry), intent())))


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
    packages = (*role["xen_host_packages"], *GUESTS_PACKAGES)
    return Intent(packages, role["xen_host_bridge"], role["xen_host_bridge_address"])
