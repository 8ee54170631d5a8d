"""What the cells of an experiment run under, resolved: sizes, settings and load at one combination
of levels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from campaigns.schedule import Start
from campaigns.schema import GatesSection, TimeoutsSection
from lab.api import GuestSizing, HostSizing
from policies import more_ram
from policies.base import Policy, Tuning
from workloads.base import Workload


@dataclass(frozen=True)
class Conditions:
    """Everything that a cell needs but its policy: one combination of levels, resolved.

    parameters: an instance of the workload's Parameters. settle_s, interval_s: seconds.
    overcommit_ratio: as it comes out after rounding. more_ram_mib: what the host has beside, under
    policies that ask for it; see `under`. phase_s: between the starts of one guest's load and the
    next one's; see `starts`.
    """

    host: HostSizing
    guests: GuestSizing
    tuning: Tuning
    workload: Workload[Any]
    parameters: Any
    settle_s: float
    interval_s: float
    timeouts: TimeoutsSection
    gates: GatesSection
    more_ram_mib: int = 0
    phase_s: float = 0.0

    def starts(self, guests: Sequence[str]) -> dict[str, Start]:
        """Guest, in the order of their numbers -> when its load starts."""
        return {name: Start(number * self.phase_s) for number, name in enumerate(guests)}

    def under(self, policy: Policy) -> Conditions:
        """The conditions of a policy's cells, which may have more memory (policies/more_ram.py)."""
        host, guests = more_ram.sizes(policy, self.host, self.guests, self.more_ram_mib)
        gates, asked = self.gates, self.gates.overcommit_ratio
        if asked is not None:
            lowered = asked * self.host.guest_memory_mib / host.guest_memory_mib
            gates = gates.model_copy(update={"overcommit_ratio": lowered})
        return replace(self, host=host, guests=guests, gates=gates)

    @property
    def overcommit_ratio(self) -> float:
        """Sum of the guests' maximum memory ÷ memory the host has for guests."""
        return self.guests.count * self.guests.memory_max_mib / self.host.guest_memory_mib
