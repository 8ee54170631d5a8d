"""`senpai`: every guest takes memory from itself until its tasks wait for it, and gets it back when
they do.

After senpai (Meta), by the rule of policies/managers/psi.py and with its constants, but in the
guest, beside what it manages: nobody is asked, no report is late, and what is to be given is freed
first, by the kernel's proactive reclaim (`memory.reclaim` of the root of cgroups), which nobody's
task waits for. Only what is free then goes to the balloon, so that inflating it takes no page by
force. A guest grows at once, up to what Xen has: a guest cannot know how much that is, asks again
as long as its tasks wait, and Xen refuses what it has not. Hence the differences from `psi`: no
share of what is free, no `kept`, and time and waiting are counted anew at each step, also of one
that changes nothing, as senpai does.

It needs the pressure (PSI) and the `memory.reclaim` of current kernels: `guests.kernel:
debian-6.12` or `debian-7`. What a guest did is in its /run/overcommit/senpai.log, the process in
senpai.pid.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field

from common.fields import Mebibytes
from common.units import KIB_PER_MIB
from lab.remote import scripts
from policies.base import Policy
from policies.managed import section
from policies.managers.psi import Parameters

NAME = "senpai"
MILLION = 1_000_000

SETTINGS = section(
    "psi",
    without=("kept",),
    minimum=(
        Annotated[Mebibytes, Field(ge=1)],
        Field(default=96, description="the least that a guest leaves itself; 96 MiB by itself"),
    ),
)


def script(values: Mapping[str, Any]) -> str:
    """Sh that a guest runs at the release: what it starts goes on. values: of SETTINGS."""
    given = {**SETTINGS().values(), **values}
    minimum_mib = given.pop("minimum")
    rule = Parameters(**given)
    return scripts.command(
        "senpai.sh",
        f"{rule.every:g}",
        rule.interval,
        rule.pressure,
        round(rule.pressure / max(rule.coeff_probe, 1.0)),
        max(round(rule.pressure * rule.coeff_backoff), 1),
        round(rule.max_probe * MILLION),
        round(rule.max_backoff * MILLION),
        minimum_mib * KIB_PER_MIB,
    )


POLICY = Policy(
    NAME,
    "every guest gives memory until its tasks wait for it, and takes it back (senpai, in the guests)",
    start="share",
    moves=True,
    guest_manager=NAME,
    gates=("overcommitted", "memory_moved"),
    parameters={NAME: SETTINGS},
)
