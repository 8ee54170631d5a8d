"""What a lab offers to a campaign: records of what is asked and read, and protocols of hosts and
guests.

Clocks: every time of one host is Xen's wall clock in epoch seconds, in dom0 and in the guests
alike.
Errors: every method raises common.errors.LabError when the host or a guest does not do what was
asked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from common.machines import Machine
from lab.emulator.share import Reading
from lab.kernels import FIDELITY, PV, GuestType, KernelName


@dataclass(frozen=True)
class OwnSizing:
    """What a guest has that is unlike others. Memory in MiB."""

    vcpus: int
    memory_max_mib: int
    memory_start_mib: int


@dataclass(frozen=True)
class GuestSizing:
    """The guests of a cell. Memory and swap in MiB. kernel: words on their kernels' command line.
    unlike: guest by guest what each has, where they are not alike; vcpus and memory are then the
    most that any has. boots: which kernel. type: as what.
    """

    count: int
    vcpus: int
    memory_max_mib: int
    memory_start_mib: int
    swap_mib: int
    kernel: tuple[str, ...] = ()
    unlike: tuple[OwnSizing, ...] = ()
    boots: KernelName = FIDELITY
    type: GuestType = PV

    def own(self, number: int) -> OwnSizing:
        """What the guest with this number has, counted from 1."""
        if self.unlike:
            return self.unlike[number - 1]
        return OwnSizing(self.vcpus, self.memory_max_mib, self.memory_start_mib)

    @property
    def every(self) -> tuple[OwnSizing, ...]:
        """What each guest has, by number."""
        return tuple(self.own(number) for number in range(1, self.count + 1))

    def document(self) -> dict[str, object]:
        """As JSON has it. What came late is told only where it says something, so that guests are
        told as they were before.
        """
        told = asdict(self)
        if not self.unlike:
            del told["unlike"]
        if self.boots == FIDELITY:
            del told["boots"]
        if self.type == PV:
            del told["type"]
        return told


@dataclass(frozen=True)
class HostSizing:
    """The host of a cell. guest_memory_mib: what the host has for guests, dom0 and Xen excluded."""

    guest_memory_mib: int
    dom0_memory_mib: int
    vcpus: int


@dataclass(frozen=True)
class TmemSettings:
    """What Xen's tmem is told about the guests, as `tmemctl set` takes it. None, and guests that
    are missing: left as it is.

    compress, dedup: for all guests. weights: guest -> weight (a number without unit). caps: guest
    -> most ephemeral pages. frozen: each guest's puts are refused, whatever it asks.
    """

    compress: bool | None = None
    dedup: bool | None = None
    weights: Mapping[str, int] = field(default_factory=dict)
    caps: Mapping[str, int] = field(default_factory=dict)
    frozen: bool = False


@dataclass(frozen=True)
class MemorySwap:
    """A device or cache for swapped pages in a guest's own memory, before its swap disk.

    kind: `ramdisk`, `zswap` or `zram`. options: what lab/remote/memory-swap.sh takes for it, in its
    order: sizes in KiB, names of algorithms, percentages.
    """

    kind: str
    options: tuple[str | int, ...] = ()


@dataclass(frozen=True)
class Manager:
    """A manager to run in dom0, and what its guests are to report.

    program: a program for dom0's Python, which obeys lines as agents do (lab/remote/agents.py);
    settings: what it is told, as JSON; its guests' bounds and its reader are added. bounds_mib:
    guest -> the least and the most that it may have. counters: what guests report -> by how much
    it has to move for that, in its own unit; empty: they report nothing. node: where in their part
    of xenstore. look_s: how often they look. alive_s: how long they are silent at most. tmem:
    whether tmem's counters are read. sections: guests give and get memory by hot-plug, else by
    their balloons.
    """

    name: str
    program: bytes
    settings: Mapping[str, object]
    bounds_mib: Mapping[str, tuple[int, int]]
    counters: Mapping[str, int]
    node: str
    look_s: float
    alive_s: int
    tmem: bool = False
    sections: bool = False


@dataclass(frozen=True)
class Sample:
    """A reading of a counter. time: host epoch seconds. source: "hypervisor", "dom0" or a guest's
    name. value None: not readable.
    """

    time: float
    source: str
    counter: str
    unit: str
    value: float | int | None


@dataclass(frozen=True)
class Activity:
    """What a guest has done since it was created, as dom0 sees it. sectors: that its disks read and
    wrote.
    """

    cpu_seconds: float
    sectors: int


def even_share_mib(host: HostSizing, guests: GuestSizing, number: int = 1) -> int:
    """What a guest can have when nothing is overcommitted, in MiB: its share of the host's memory,
    or its maximum if that is less. Guests that are not alike share in proportion to their maxima.
    """
    most = guests.own(number).memory_max_mib
    return min(host.guest_memory_mib * most // sum(each.memory_max_mib for each in guests.every), most)


class Guest(Protocol):
    """A guest that is up and can be reached."""

    @property
    def name(self) -> str: ...
    @property
    def machine(self) -> Machine: ...


class Observation(Protocol):
    """Counters sampled while a cell runs."""

    def start(self) -> None: ...
    def last(self) -> list[Sample]:
        """The newest reading of dom0's agent: nothing is read for it, and it stays kept."""

    def stop(self, raw_dir: Path) -> list[Sample]:
        """Stop sampling; the readings, and what the samplers wrote, unparsed, below raw_dir."""

    @property
    def cost(self) -> Mapping[str, float]:
        """After stop: source -> share of one of its CPUs that the sampling took (a fraction)."""


class Tracing(Protocol):
    """What guests ask of tmem, recorded into a file here."""

    def stop(self) -> object:
        """End it. The file is there, whole, when this returns; else LabError."""

    def abandon(self) -> None:
        """End it, and keep nothing."""


@dataclass(frozen=True)
class LastLook:
    """What is read of a host at the end of a cell. kernel_log: by source."""

    provenance: dict[str, object]
    kernel_log: dict[str, str]


class Host(Protocol):
    """A Xen server."""

    @property
    def name(self) -> str: ...
    @property
    def kind(self) -> Literal["emulated", "physical"]: ...
    @property
    def accelerator(self) -> str | None: ...
    @property
    def dom0(self) -> Machine: ...
    @property
    def guests(self) -> Mapping[str, Guest]: ...
    def reset(self, host: HostSizing, guests: GuestSizing, *, boot: str | None = None) -> None:
        """Bring the host to its known state: these guests booted, idle, and no policy applied.

        boot: name of the boot that the state has to come from; the host boots anew, from drives
        made anew, where it comes from another. None: whatever boot it comes from.
        """

    def set_memory(self, targets_mib: Mapping[str, int], limits_mib: Mapping[str, int]) -> None:
        """Give guests memory: guest -> MiB it is to have now, and MiB it may hold at most. Returns
        when every guest has it.
        """

    def set_sysctls(self, settings: Mapping[str, int]) -> None:
        """Write settings of every guest's kernel: dotted name -> value."""

    def load_driver(self, parameters: Mapping[str, bool], settings: Mapping[str, int]) -> None:
        """Load the driver in every guest: its parameters, and settings in sysfs. Once per reset: it
        can't be taken away again.
        """

    def set_tmem(self, settings: TmemSettings) -> None:
        """Tell Xen how tmem keeps the guests' pages."""

    def prepare_swap(self, swap: MemorySwap) -> None:
        """Make it in every guest; nothing is swapped there yet. Once per reset."""

    def start_manager(self, manager: Manager) -> None:
        """Make a manager ready in dom0, and have guests report to it. It sets no targets yet."""

    def release_manager(self) -> None:
        """From now on, the manager sets the guests' targets; nothing where none is ready."""

    def stop_manager(self) -> Sequence[str]:
        """End the manager and the guests' reports, if there are any: what it saw and did, as lines
        of JSON. LabError when it had ended by itself, with what it said last.
        """

    def read_counters(self, raw_dir: Path | None = None) -> list[Sample]:
        """One reading of everything; what was read, unparsed, below raw_dir where one is given."""

    def observe(self, interval_s: float) -> Observation:
        """An observation that samples every interval_s seconds once started."""

    def trace(self, file: Path) -> Tracing:
        """Record what guests ask of tmem from now on, into a new file (docs/trace.md)."""

    def activity(self) -> Mapping[str, Activity]:
        """Guest -> what it has done so far; for now and then, since asking costs dom0 time."""

    def lost(self) -> Mapping[str, str]:
        """Guest -> what became of it and what it said last, where it will never answer again."""

    def given(self) -> Reading | None:
        """What the controller's processors have given an emulated host so far; None for a physical
        one.
        """

    def provenance(self) -> dict[str, object]:
        """What the host is and runs, for env.json: allow-listed, no secrets."""

    def kernel_log(self) -> dict[str, str]:
        """Source -> kernel messages since the last reset, of the machines that answer."""

    def evidence(self, guests: int) -> dict[str, str]:
        """File -> what may tell why an attempt failed: so many guests as Xen sees them, and what
        else is on hand. For people; nothing reads it.
        """

    def last_look(self) -> LastLook:
        """provenance() and kernel_log(), with one session for each machine instead of two: one
        costs an emulated CPU most of a second.
        """
