"""What emulated and physical hosts have in common: guests, memory policies, counters, kernel logs,
provenance.

How a host comes to its known state is what they differ in: lab/hosts/emulated.py and
lab/hosts/physical.py.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from common.errors import LabError
from common.machines import Machine
from lab.api import Activity, GuestSizing, HostSizing, LastLook, Manager, MemorySwap, Sample, TmemSettings
from lab.counters import observe
from lab.counters.names import ASKED
from lab.emulator.share import Reading
from lab.hosts import boots, kernel_logs, provenance
from lab.hosts.guests import SELFBALLOON, check_hardware, names
from lab.kernels import PVH
from lab.remote import scripts
from lab.remote.agents import Agents
from lab.remote.managers import Managed
from lab.remote.ssh import DOM0, Connections, UnreachableError
from lab.remote.traces import Recording

BALLOON_SECONDS = 120
"""Time that a guest gets to reach its memory target."""

LATER_SECONDS = 5
"""Between two looks at guests: who runs or reads has done something in that time."""


@dataclass(frozen=True)
class XenGuest:
    """A guest that is up. Its connection is made at first use."""

    name: str
    connections: Connections

    @property
    def machine(self) -> Machine:
        return self.connections.machine(self.name)


class XenHost(ABC):
    """A Xen server that can be reached. See lab.api.Host for what each method promises."""

    kind: Literal["emulated", "physical"]

    def __init__(self, name: str, connections: Connections) -> None:
        self.name = name
        self.connections = connections
        self.agents = Agents(connections, ASKED)
        self._guests: dict[str, XenGuest] = {}
        self._sizing: tuple[HostSizing, GuestSizing] | None = None
        self._driver: Mapping[str, bool] | None = None
        self._logs_before: dict[str, str] = {}
        self._fixed: dict[str, Mapping[str, object]] = {}
        self._managed: Managed | None = None

    @property
    def accelerator(self) -> str | None:
        return None

    @property
    def dom0(self) -> Machine:
        return self.connections.machine(DOM0)

    @property
    def guests(self) -> Mapping[str, XenGuest]:
        return dict(self._guests)

    @abstractmethod
    def reset(self, host: HostSizing, guests: GuestSizing, *, boot: str | None = None) -> None:
        """Bring the host to its known state: these guests booted, idle, and no policy applied."""

    def _begin_reset(self) -> None:
        """Forget the known state: what an attempt that fails tells is of none before it."""
        self._sizing = self._driver = None
        self._guests, self._fixed, self._logs_before = {}, {}, {}

    def _is_reset(
        self,
        host: HostSizing,
        guests: GuestSizing,
        logs_before: Mapping[str, str],
        fixed: Mapping[str, Mapping[str, object]],
    ) -> None:
        """Remember what the known state is.

        logs_before: source -> its kernel log as it was then, which belongs to the time before.
        fixed: machine -> what of its provenance cannot change until the next reset.
        """
        self._sizing = (host, guests)
        self._guests = {name: XenGuest(name, self.connections) for name in names(guests.count)}
        self._driver = None
        self._end_manager()
        self._logs_before = dict(logs_before)
        self._fixed = dict(fixed)

    def _check_type(self, guests: GuestSizing) -> None:
        """LabError when the host cannot run guests of their type."""
        if guests.type == PVH:
            check_hardware(self.name, self.run(DOM0, "xl info"))

    def _require_sizing(self) -> tuple[HostSizing, GuestSizing]:
        if self._sizing is None:
            raise LabError("the host has no guests yet", where=self.name, remedy="Reset it to a sizing first.")
        return self._sizing

    def set_memory(self, targets_mib: Mapping[str, int], limits_mib: Mapping[str, int]) -> None:
        """Give guests memory, and let them hold more up to their limits."""
        self._require_sizing()
        self.run(
            DOM0,
            memory_script(targets_mib, limits_mib),
            timeout=BALLOON_SECONDS + 60,
            step="giving the guests their memory",
        )

    def set_sysctls(self, settings: Mapping[str, int]) -> None:
        """Write settings of every guest's kernel."""
        self._require_sizing()
        if settings:
            self._all(dict.fromkeys(self._guests, sysctl_script(settings)), step="writing sysctls")

    def load_driver(self, parameters: Mapping[str, bool], settings: Mapping[str, int]) -> None:
        """Load the driver in every guest, once per reset."""
        self._require_sizing()
        if self._driver is not None:
            raise LabError(
                f"the driver is loaded already ({_words(self._driver)})",
                where=self.name,
                why="neither back end of the driver can be taken away again",
                remedy="Reset the host first.",
            )
        self._all(dict.fromkeys(self._guests, driver_script(parameters, settings)), step="loading the driver")
        self._driver = dict(parameters)

    def set_tmem(self, settings: TmemSettings) -> None:
        """Tell Xen how tmem keeps the guests' pages."""
        self._require_sizing()
        if script := tmem_script(settings, list(self._guests)):
            self.run(DOM0, script, step="telling tmem its settings")

    def prepare_swap(self, swap: MemorySwap) -> None:
        """Make swap in every guest's own memory, without using it yet."""
        self._require_sizing()
        self._all(dict.fromkeys(self._guests, swap_script("prepare", swap)), timeout=120, step=f"preparing {swap.kind}")

    def start_manager(self, manager: Manager) -> None:
        """Make a manager ready in dom0, and have the guests report to it."""
        self._require_sizing()
        if self._managed is not None:
            raise LabError(f"the manager {self._managed.name} runs already", where=self.name, remedy="Stop it first.")
        try:
            self._managed = Managed(self.connections, manager)
        except UnreachableError as error:
            raise self._explained(error) from error

    def release_manager(self) -> None:
        """From now on, the manager sets the guests' targets."""
        if self._managed is not None:
            try:
                self._managed.release()
            except UnreachableError as error:
                raise self._explained(error) from error

    def stop_manager(self) -> Sequence[str]:
        """End the manager and the reports, if there are any."""
        managed, self._managed = self._managed, None
        if managed is None:
            return ()
        try:
            return managed.stop()
        except UnreachableError as error:
            raise self._explained(error) from error

    def read_counters(self, raw_dir: Path | None = None) -> list[Sample]:
        """One reading of everything. raw_dir: where to keep what was read, unparsed."""
        try:
            return observe.read_once(self.agents, list(self._guests), raw_dir)
        except UnreachableError as error:
            raise self._explained(error) from error

    def observe(self, interval_s: float) -> observe.HostObservation:
        """An observation that samples every interval_s seconds once started."""
        return observe.HostObservation(self.agents, list(self._guests), interval_s)

    def trace(self, file: Path) -> Recording:
        """Record what guests ask of tmem from now on, into a new file."""
        try:
            return Recording(self.connections, file)
        except UnreachableError as error:
            raise self._explained(error) from error

    def kernel_log(self) -> dict[str, str]:
        """Source -> kernel messages since the last reset, of the machines that answer; after
        lab.hosts.kernel_logs.LOST where some may be missing.
        """
        return self._new(_logs(self._answers(_log_scripts(self._guests))))

    def evidence(self, guests: int) -> dict[str, str]:
        """File -> what tells why so many guests could not be reached, as far as it can be had: what
        they did and said last by Xen, twice, and whether dom0's network knows them.
        """
        asked = {
            "guests.txt": boots.look_script(names(guests)),
            "network.txt": "ip neigh; cat /proc/net/tcp",
            "guests-later.txt": f"sleep {LATER_SECONDS}; {boots.look_script(names(guests))}",
        }
        found = {}
        for file, script in asked.items():
            with suppress(LabError):
                found[file] = self._all({DOM0: script})[DOM0]
        return found

    def _new(self, logs: Mapping[str, str]) -> dict[str, str]:
        return {
            source: kernel_logs.new_since(self._logs_before.get(source, ""), text).marked()
            for source, text in logs.items()
        }

    def last_look(self) -> LastLook:
        """provenance() and kernel_log(), with one session for each machine."""
        logs, changing = _log_scripts(self._guests), self._changing_scripts()
        # A log that cannot be read ends it: an empty one would look like one without complaints.
        both = {name: f"{{\n{logs[name]}\n}} || exit\necho '{_END_OF_LOGS}'\n{changing[name]}" for name in logs}
        parts = {name: text.partition(f"{_END_OF_LOGS}\n") for name, text in self._all(both).items()}
        logged = _logs({name: log for name, (log, _, _) in parts.items()})
        return LastLook(self._provenance({name: told for name, (_, _, told) in parts.items()}), self._new(logged))

    def activity(self) -> dict[str, Activity]:
        """Guest -> what it has done so far."""
        text = self.run(DOM0, scripts.command("guest-activity.sh", *self._guests), step="looking at what the guests do")
        rows = (line.split() for line in text.splitlines())
        return {name: Activity(float(seconds), int(sectors)) for name, seconds, sectors in rows}

    def lost(self) -> dict[str, str]:
        """Guest -> what became of it and what it said last."""
        domains = self._look(list(self._guests))
        return {name: f"{name} is {each.state}: {each.shown}" for name, each in domains.items() if each.lost}

    def given(self) -> Reading | None:
        """Nothing is known of what a server of its own lacks."""
        return None

    def provenance(self) -> dict[str, object]:
        """What the host is and runs, by the machines that answer. Allow-listed: see
        lab/hosts/provenance.py.
        """
        return self._provenance(self._answers(self._changing_scripts()))

    def _changing_scripts(self) -> dict[str, str]:
        return {DOM0: provenance.DOM0_CHANGING, **dict.fromkeys(self._guests, provenance.GUEST_CHANGING)}

    def _provenance(self, texts: Mapping[str, str]) -> dict[str, object]:
        """From what the scripts for what changes have printed."""
        found: dict[str, object] = {"name": self.name, "kind": self.kind, "accelerator": self.accelerator}
        if self._sizing is not None:
            found["sizing"] = {"host": asdict(self._sizing[0]), "guests": self._sizing[1].document()}
        found["driver"] = dict(self._driver) if self._driver is not None else None
        machines = {
            name: {**self._fixed.get(name, {}), **provenance.parse_changing(text)} for name, text in texts.items()
        }
        dom0 = machines.pop(DOM0, {})
        found["xen"] = dom0.pop("xen", None)
        found["dom0"] = dom0
        found["guests"] = machines
        found["controller"] = provenance.controller()
        return found

    # --- for the kinds of hosts -------------------------------------------------------------------

    def disconnect(self) -> None:
        """End every session with the host's machines."""
        self._end_manager()
        self.agents.close()
        self.connections.drop()

    def _end_manager(self) -> None:
        """One that an interrupted run left goes without a word."""
        if self._managed is not None:
            self._managed.close()
            self._managed = None

    def run(
        self, machine: str, script: str, *, timeout: float = 60.0, stdin: bytes | None = None, step: str = ""
    ) -> str:
        """Run sh on a machine, with an error that says what became of the host when it cannot be
        reached. step: what it does.
        """
        try:
            return self.connections.run(machine, script, timeout=timeout, stdin=stdin, step=step)
        except UnreachableError as error:
            raise self._explained(error) from error

    def _answers(self, scripts: Mapping[str, str]) -> dict[str, str]:
        """What these print, of the machines that answer: one that is lost hides no other. LabError
        when none answers.
        """
        errors = []

        def ask(name: str, text: str) -> str | None:
            try:
                return self._all({name: text})[name]
            except LabError as error:
                errors.append(error)
                return None

        told = self.connections.in_parallel({name: partial(ask, name, text) for name, text in scripts.items()})
        if len(errors) == len(scripts) > 0:
            raise errors[0]
        return {name: text for name, text in told.items() if text is not None}

    def _all(self, scripts: Mapping[str, str], *, timeout: float = 60.0, step: str = "") -> dict[str, str]:
        try:
            return self.connections.run_all(scripts, timeout=timeout, step=step)
        except UnreachableError as error:
            raise self._explained(error) from error

    def _wait_for_guests(self, names: Sequence[str], seconds: float, alive: Callable[[], None] = lambda: None) -> None:
        """Until guests that were created let us in. GuestBootError, with its console's last lines,
        for one that will not.
        """
        watch = boots.BootWatch(self.name, self._look)

        def check(name: str) -> None:
            alive()
            watch.check(name)

        for name in names:
            while True:
                try:
                    self.connections.wait(name, seconds, alive=partial(check, name))
                    break
                except UnreachableError:
                    alive()
                    if not watch.moved(name, seconds):
                        raise watch.late(name, seconds) from None

    def _look(self, names: Collection[str]) -> dict[str, boots.Domain]:
        return boots.parse_look(self.run(DOM0, boots.look_script(names), step="looking at the guests' domains"))

    def _explained(self, error: LabError) -> LabError:
        """A better error than `error`, if the host knows one."""
        return error

    def _read_logs(self, guests: Sequence[str]) -> dict[str, str]:
        """Source -> all that its kernel log holds by now."""
        return _logs(self._all(_log_scripts(guests)))

    def _ask_fixed(self, guests: Sequence[str]) -> dict[str, dict[str, object]]:
        """Machine -> what of its provenance cannot change until the next reset."""
        asked = {DOM0: provenance.DOM0_FIXED, **dict.fromkeys(guests, provenance.GUEST_FIXED)}
        texts = self._all(asked, timeout=120)
        found = {DOM0: provenance.parse_dom0_fixed(texts.pop(DOM0))}
        return found | {name: provenance.parse_guest_fixed(text) for name, text in texts.items()}


_END_OF_LOG = "== end of a log =="
_END_OF_LOGS = "== end of the logs =="


def _log_scripts(guests: Collection[str]) -> dict[str, str]:
    """Machine -> sh that prints its kernel's log; dom0's prints the hypervisor's before it."""
    return {DOM0: scripts.command("read-logs.sh", _END_OF_LOG), **dict.fromkeys(guests, "dmesg")}


def _logs(texts: Mapping[str, str]) -> dict[str, str]:
    """Source -> its log, from what these printed."""
    if DOM0 not in texts:
        return dict(texts)
    hypervisor, _, dom0 = texts[DOM0].partition(f"{_END_OF_LOG}\n")
    return {**texts, "hypervisor": hypervisor, DOM0: dom0}


def _words(parameters: Mapping[str, bool]) -> str:
    return " ".join(f"{name}={int(on)}" for name, on in parameters.items())


def memory_script(targets_mib: Mapping[str, int], limits_mib: Mapping[str, int]) -> str:
    """Sh for dom0: give guests these targets and wait until they have them; then let each hold up
    to its limit.
    """
    words: list[str | int] = []
    for name, mib in targets_mib.items():
        words += [name, mib, limits_mib.get(name, mib)]
    return scripts.command("set-memory.sh", BALLOON_SECONDS, *words)


def tmem_script(settings: TmemSettings, guests: Collection[str]) -> str:
    """Sh for dom0: tell tmem how it keeps these guests' pages; empty where there is nothing to
    tell.
    """
    words = []
    for guest in guests:
        told = {
            "compress": settings.compress,
            "dedup": settings.dedup,
            "weight": settings.weights.get(guest),
            "cap": settings.caps.get(guest),
        }
        options = [f"--{name} {int(value)}" for name, value in told.items() if value is not None]
        if settings.frozen and not options:
            options = ["--weight 0"]  # what it has: Xen knows a guest from its first setting, and freezes no other
        if options:
            words += [guest, "freeze" if settings.frozen else "", " ".join(options)]
    return scripts.command("set-tmem.sh", *words) if words else ""


def sysctl_script(settings: Mapping[str, int]) -> str:
    """Sh for a guest: write these settings of its kernel."""
    return _settings_script({f"/proc/sys/{name.replace('.', '/')}": value for name, value in settings.items()})


def _settings_script(values: Mapping[str, int]) -> str:
    """Sh: write each value to its file, and check that it is what the kernel then has."""
    return scripts.command("write-settings.sh", *(word for pair in values.items() for word in pair))


def driver_script(parameters: Mapping[str, bool], settings: Mapping[str, int] | None = None) -> str:
    """Sh for a guest: load the driver, check that it took the parameters, and give it its settings
    in sysfs.
    """
    load = scripts.command("load-driver.sh", *(f"{name}={int(on)}" for name, on in parameters.items()))
    return load + _settings_script({f"{SELFBALLOON}/{name}": value for name, value in (settings or {}).items()})


def swap_script(step: Literal["prepare", "release"], swap: MemorySwap) -> str:
    """Sh for a guest: a step of swap in its own memory."""
    return scripts.command("memory-swap.sh", step, swap.kind, *(swap.options if step == "prepare" else ()))
