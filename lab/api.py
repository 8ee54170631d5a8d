"""What a lab offers to a campaign: records of what is asked and read, and protocols of hosts and guests.

Clocks: every time of one host is Xen's wall clock in epoch seconds, in dom0 and in the guests alike.
Errors: every method raises common.errors.LabError when the host or a guest does not do what was asked.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from common.machines import Machine


@dataclass(frozen=True)
class GuestSizing:
    """The guests of a cell, all alike. Memory and swap in MiB."""

    count: int
    vcpus: int
    memory_max_mib: int
    memory_start_mib: int
    swap_mib: int


@dataclass(frozen=True)
class HostSizing:
    """The host of a cell. guest_memory_mib: what the host has for guests, dom0 and Xen excluded."""

    guest_memory_mib: int
    dom0_memory_mib: int
    vcpus: int


@dataclass(frozen=True)
class Policy:
    """A memory policy. driver: whether the guest driver is loaded at all; the others are its parameters."""

    name: str
    driver: bool
    selfballooning: bool
    selfshrinking: bool
    cleancache: bool
    frontswap: bool


@dataclass(frozen=True)
class Tuning:
    """Settings of the guests that no policy fixes.

    sysctl: dotted name -> value, in force under every policy. selfballoon: name in sysfs -> value, in the driver's own units (seconds, MB, counts);
    for policies that load the driver. What is not named stays as the kernel or the driver has it.
    """

    sysctl: Mapping[str, int] = field(default_factory=dict)
    selfballoon: Mapping[str, int] = field(default_factory=dict)


UNTUNED = Tuning()


@dataclass(frozen=True)
class Sample:
    """A reading of a counter. time: host epoch seconds. source: "hypervisor", "dom0" or a guest's name. value None: not readable."""

    time: float
    source: str
    counter: str
    unit: str
    value: float | int | None


class Guest(Protocol):
    """A guest that is up and can be reached."""

    @property
    def name(self) -> str: ...
    @property
    def machine(self) -> Machine: ...


class Observation(Protocol):
    """Counters sampled while a cell runs."""

    def start(self) -> None: ...
    def stop(self, raw_dir: Path) -> list[Sample]:
        """Stop sampling; the readings, and what the samplers wrote, unparsed, below raw_dir."""

    @property
    def cost(self) -> Mapping[str, float]:
        """After stop: source -> share of one of its CPUs that the sampling took (a fraction)."""


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
    def reset(self, host: HostSizing, guests: GuestSizing) -> None:
        """Bring the host to its known state: these guests booted, idle, and no policy applied."""

    def apply_policy(self, policy: Policy, tuning: Tuning = UNTUNED) -> None:
        """Give the guests their memory targets, driver and settings."""

    def read_counters(self) -> list[Sample]:
        """One reading of everything."""

    def observe(self, interval_s: float) -> Observation:
        """An observation that samples every interval_s seconds once started."""

    def provenance(self) -> dict[str, object]:
        """What the host is and runs, for env.json: allow-listed, no secrets."""

    def kernel_log(self) -> dict[str, str]:
        """Source -> kernel messages since the last reset."""
