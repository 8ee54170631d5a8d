"""What the cells of an experiment run under, resolved: sizes, settings and loads at one combination
of levels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from campaigns.schedule import Start
from campaigns.schema import GatesSection, TimeoutsSection
from common.metrics import whole
from lab.api import GuestSizing, HostSizing
from policies import more_ram
from policies.base import Policy, Tuning
from workloads.base import Workload


@dataclass(frozen=True)
class Load:
    """What a guest runs. parameters: an instance of the workload's Parameters. phase_s: between the
    start of one guest's load and that of the next one of its group.
    """

    workload: Workload[Any]
    parameters: Any
    phase_s: float = 0.0

    def script(self) -> str:
        """The timed part, as sh."""
        return self.workload.script(self.parameters)


@dataclass(frozen=True)
class Group:
    """Guests with the same size and load. name: empty where all guests are alike. after: the group
    whose loads have to have ended before those of this one start, if any.
    """

    name: str
    count: int
    load: Load
    after: str | None = None


@dataclass(frozen=True)
class Conditions:
    """Everything that a cell needs but its policy: one combination of levels, resolved.

    groups: the guests, in the order of their numbers. settle_s, interval_s: seconds. more_ram_mib:
    what the host has beside, under policies that ask for it; see `under`. traced: what guests ask
    of tmem is recorded.
    """

    host: HostSizing
    guests: GuestSizing
    tuning: Tuning
    groups: tuple[Group, ...]
    settle_s: float
    interval_s: float
    timeouts: TimeoutsSection
    gates: GatesSection
    more_ram_mib: int = 0
    traced: bool = False

    def under(self, policy: Policy) -> Conditions:
        """The conditions of a policy's cells, which may have more memory (policies/more_ram.py)."""
        host, guests = more_ram.sizes(policy, self.host, self.guests, self.more_ram_mib)
        gates, asked = self.gates, self.gates.overcommit_ratio
        if asked is not None:
            lowered = asked * self.host.guest_memory_mib / host.guest_memory_mib
            gates = gates.model_copy(update={"overcommit_ratio": lowered})
        return replace(self, host=host, guests=guests, gates=gates)

    @property
    def wanted_mib(self) -> int:
        """Sum of the guests' maximum memory."""
        return whole(each.memory_max_mib for each in self.guests.every)

    @property
    def overcommit_ratio(self) -> float:
        """That ÷ memory the host has for guests, as it comes out after rounding."""
        return self.wanted_mib / self.host.guest_memory_mib

    @property
    def staggered(self) -> bool:
        """Whether some loads start later than others."""
        return any(group.load.phase_s or group.after for group in self.groups)

    def members(self, guests: Sequence[str]) -> dict[str, Group]:
        """Guest, in the order of their numbers -> its group. ValueError when they are not as many
        as there are.
        """
        groups = [group for group in self.groups for _ in range(group.count)]
        return dict(zip(guests, groups, strict=True))

    def group_names(self, guests: Sequence[str]) -> dict[str, str]:
        """Guest -> its group's name; empty where all guests are alike."""
        return {guest: group.name for guest, group in self.members(guests).items() if group.name}

    def starts(self, guests: Sequence[str]) -> dict[str, Start]:
        """Guest, in the order of their numbers -> when its load starts."""
        members = self.members(guests)
        found: dict[str, Start] = {}
        for group in self.groups:
            mine = [guest for guest, each in members.items() if each is group]
            others = tuple(guest for guest, each in members.items() if group.after and each.name == group.after)
            found |= {guest: Start(number * group.load.phase_s, others) for number, guest in enumerate(mine)}
        return {guest: found[guest] for guest in guests}
