#!/usr/bin/env python3
"""What managers cost, and how fast they are: processor time of the daemon in dom0 and of the
reporters in guests, at rest and while guests eat; and how long it takes until memory moved.

    .venv/bin/python benchmarks/managers.py [--inventory inventory/emulated.yml] [--seconds 20]
    [--mib 100] [--limit 45] [--json FILE] [MANAGER...]

Each manager, with the constants below, which are the published ones at the scale of guests of 256
MiB:

1. at rest: idle guests with an even share of the host's memory, after a while for it to settle;
2. gives: guests with less, and one of them swapping, since a program goes through more memory than
   it has, again and again. From the manager's release on: until that guest has so much more;
3. takes: the program ends, and all other guests run the same. From then on: until the first has
   given so much back.

Where it does not come to that within the limit, how much moved until then is told, and by `WHY`
why the rules of some do not have it. Seconds are dom0's: emulated, they are the emulated machine's;
with `--inventory inventory/instructions.yml` they are instructions, a thousand million each.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from campaigns import managed  # noqa: E402  (found by the line above)
from common.errors import UserError  # noqa: E402
from common.units import PAGE_BYTES  # noqa: E402
from lab import lifecycle  # noqa: E402
from lab.api import even_share_mib  # noqa: E402
from lab.emulator.process import UNLIMITED  # noqa: E402
from lab.hosts.emulated import EmulatedHost  # noqa: E402
from lab.hosts.host import XenHost  # noqa: E402
from lab.lifecycle import DEFAULT_GUESTS, DEFAULT_HOST  # noqa: E402
from lab.remote.ssh import DOM0  # noqa: E402
from policies import apply, managers  # noqa: E402
from policies import registry as policies  # noqa: E402
from policies.balloon import steps  # noqa: E402
from policies.base import ManagerTuning, Policy, Tuning  # noqa: E402

MIB = 2**20
COMMON = ManagerTuning(minimum_mib=64, look_s=0.5, moved_bytes=2 * MIB, stalled_us=10_000, patience_s=5.0)
SCALED: Mapping[str, Mapping[str, Any]] = {
    "qmemman": {"least_preference": 64 * MIB, "kept": 8 * MIB, "least_sum": 8 * MIB, "least_gain": 4 * MIB},
    "squeezed": {"kept": 8 * MIB},
    "mom": {"pressure": 0.03, "extreme": 0.01},
    "proxmox": {"host_share": 0.97, "least_goal": 4 * MIB},
    "psi": {},
    "hotplug": {"section": 16 * MIB},
    "collaborative": {},
    "balloon": {},
    "smartmem": {},
}
"""Manager -> its constants at the scale of the emulated host. Intervals are the published ones."""

STILL = ("squeezed", "smartmem")
"""Who does not look at what guests use: it is not waited for longer than two of their intervals."""
STILL_SECONDS = 12.0

WHY: Mapping[str, str] = {
    "squeezed": "looks at no guest: it gives each the same part of what the host has",
    "mom": "gives a guest 20 % of its memory every 10 s, and takes 5 % every 10 s while the host is short",
    "proxmox": "moves nothing while the host has the part of its memory in use that it should",
    "psi": "takes 1 % of a guest's memory every 6 s",
    "collaborative": "gives 5 to 25 % of a guest's memory every 2 s",
    "smartmem": "moves tmem's shares, and no memory",
}
"""Why a manager's rules do not have it at once, for those that were not done within the limit."""

START_MIB = 96
EATER = "guest1"
TURN_SECONDS = 10
"""After this the schedule of `balloon` takes back what it gave."""
REAL_SECONDS = 20
"""For each second of dom0's: the bound, by this machine's clock, for a host that is slower."""

GLANCE_SECONDS = 0.25
"""Between two looks, by this machine's clock."""

DIGEST = (
    "if [ -e /run/eater ]; then kill $(cat /run/eater) || :; "
    "while kill -0 $(cat /run/eater) 2> /dev/null; do sleep 0.1; done; rm /run/eater; fi; "
    "echo 3 > /proc/sys/vm/drop_caches"
)

AFRESH = f"{DIGEST}; swapoff /dev/xvdb && swapon /dev/xvdb"
"""And nothing is swapped any more, neither to the disk nor to tmem."""


def eat(mib: int) -> str:
    """Sh for a guest: a program that fills so much memory of its own, again and again, until it is
    digested. (Files in memory would not do: to Linux they are cache, which some managers ignore.)
    """
    return f"dd if=/dev/zero of=/dev/null bs={mib}M < /dev/null > /dev/null 2>&1 & echo $! > /run/eater"


def swaps(mib: int) -> str:
    """Sh for a guest: until so much of its memory is on its swap disk."""
    lines = "while read -r name kib _; do case $name in SwapTotal:) all=$kib ;; SwapFree:) free=$kib ;; esac; done"
    looks = f"{lines} < /proc/meminfo; [ $((all - free)) -lt {mib * 1024} ] || exit 0; sleep 0.2"
    return f"for look in $(seq 300); do {looks}; done; echo 'it does not swap' >&2; exit 1"


def start(host: XenHost, name: str, constants: Mapping[str, Any], common: ManagerTuning = COMMON) -> None:
    """Make the manager of a policy ready."""
    policy = policies.parse(name)
    assert policy.manager is not None
    tuning = Tuning(manager=common, managers={policy.manager: constants})
    wanted = apply.manager(policy, tuning, DEFAULT_HOST, DEFAULT_GUESTS, list(host.guests))
    assert wanted is not None
    host.start_manager(wanted)


def asked(name: str) -> Policy:
    """The policy with this manager: with tmem where it does nothing else than to share that out."""
    return policies.parse(f"{name}+tmem" if name == "smartmem" else name)


@dataclass(frozen=True)
class Cost:
    """A manager's. At rest: part of one CPU, decisions, targets, and processor time for a decision
    and what it led to. Busy: likewise, and the largest part that a reporter took of a guest's CPU.
    library: whether libxl's told the guests. got_mib, gave_mib: what the eater got, and gave back
    when it had digested; got_s, gave_s: until that was so much as it should be.
    """

    manager: str
    idle: float
    idle_decisions: int
    idle_targets: int
    idle_ms: float | None
    busy: float
    decisions: int
    targets: int
    reporting: float | None
    library: bool
    got_s: float | None
    got_mib: int
    gave_s: float | None
    gave_mib: int


def share(cost: Mapping[str, float]) -> float:
    return cost["cpu_seconds"] / cost["wall_seconds"]


def look(host: XenHost, name: str) -> tuple[float, int]:
    """Dom0's time, and what Xen says a guest has [MiB]. Starts no process there."""
    host.agents.start([])
    (line,) = host.agents.ask({DOM0: "once"})[DOM0]
    reading = json.loads(line)
    (pages,) = (each["pages"] for each in reading["domains"] if each["name"] == name)
    return reading["time"], round(pages * PAGE_BYTES / MIB)


def rest_s(host: XenHost, seconds: float) -> float:
    """How long to rest here, of so long. With instructions for a clock an idle host's time goes by
    thirty times faster than this machine's, and what it did meanwhile would be missed: not at all.
    """
    return 0 if isinstance(host, EmulatedHost) and host.settings.icount else seconds


def waits(host: XenHost, seconds: float) -> None:
    """Let so much of dom0's time go by."""
    began, _ = look(host, EATER)
    deadline = time.monotonic() + REAL_SECONDS * seconds
    left = seconds
    while left > 0 and time.monotonic() < deadline:
        time.sleep(rest_s(host, left))
        left = seconds - (look(host, EATER)[0] - began)


def until(
    looks: Callable[[], tuple[float, int]], there: Callable[[int], bool], limit_s: float, glance_s: float
) -> tuple[float | None, list[int]]:
    """Seconds until a guest has what it should, and what it had meanwhile [MiB]. None: not within
    the limit. glance_s: of this machine's, between two looks.
    """
    deadline = time.monotonic() + REAL_SECONDS * limit_s
    began, mib = looks()
    found = [mib]
    now = began
    while not there(mib):
        if now - began > limit_s or time.monotonic() > deadline:
            return None, found
        time.sleep(glance_s)
        now, mib = looks()
        found.append(mib)
    return now - began, found


def at_rest(host: XenHost, manager: str, constants: Mapping[str, Any], seconds: float) -> managed.Managed:
    """What a manager does while its guests do nothing. What it does at first, with memory to hand
    out, is not rest.
    """
    for each in (seconds / 2, seconds):
        start(host, manager, constants)
        host.release_manager()
        waits(host, each)
        found = managed.parse(host.stop_manager())
    return found


def measure(host: XenHost, name: str, seconds: float, mib: int, limit_s: float) -> Cost:
    """One manager, at rest and with something to do."""
    policy = asked(name)
    limit_s = STILL_SECONDS if name in STILL else limit_s
    constants = dict(SCALED[name])
    others = [guest for guest in host.guests if guest != EATER]
    for guest in host.guests:
        host.run(guest, AFRESH, timeout=120)
    most = dict.fromkeys(host.guests, DEFAULT_GUESTS.memory_max_mib)
    if not policy.sections:  # else it has its balloon as it was made
        host.set_memory(dict.fromkeys(host.guests, even_share_mib(DEFAULT_HOST, DEFAULT_GUESTS)), most)
    idle = at_rest(host, policy.name, constants, seconds)
    if not policy.sections:
        host.set_memory(dict.fromkeys(host.guests, START_MIB), most)
    eats = name != "balloon"
    if not eats:
        text = f"0 s {EATER} {START_MIB + mib} MiB, {TURN_SECONDS} s {EATER} {START_MIB} MiB"
        constants["schedule"] = steps(text)
    start(host, policy.name, constants)
    if eats:
        host.run(EATER, eat(mib + START_MIB // 2), timeout=120)
        host.run(EATER, swaps(mib // 4), timeout=120)
    glance = rest_s(host, GLANCE_SECONDS)
    _, had = look(host, EATER)
    host.release_manager()
    got_s, meanwhile = until(lambda: look(host, EATER), lambda now: now >= had + mib - 1, limit_s, glance)
    got_mib = max(had, *meanwhile) - had
    if eats:
        host.run(EATER, DIGEST, timeout=120)
        for guest in others:
            host.run(guest, eat(mib + START_MIB // 2), timeout=120)
    else:
        waits(host, max(TURN_SECONDS - (got_s or 0), 0))
    _, had = look(host, EATER)
    gave_s, meanwhile = until(lambda: look(host, EATER), lambda now: now <= had - mib + 1, limit_s, glance)
    busy = managed.parse(host.stop_manager())
    for guest in others:
        host.run(guest, DIGEST, timeout=120)
    reporting = [share(each) for each in busy.reporters.values()]
    return Cost(
        name,
        share(idle.cost),
        len(idle.decisions),
        sum(len(record["set"]) for record in idle.decisions),
        1000 * idle.cost["cpu_seconds"] / len(idle.decisions) if idle.decisions else None,
        share(busy.cost),
        len(busy.decisions),
        sum(len(record["set"]) for record in busy.decisions),
        max(reporting, default=None),
        bool(busy.cost["library"]),
        got_s,
        got_mib,
        gave_s,
        had - min(had, *meanwhile),
    )


def moved(seconds: float | None, mib: int) -> str:
    return f"{seconds:.1f} s" if seconds is not None else f"({mib} MiB)"


def show(costs: Sequence[Cost], mib: int) -> None:
    """A table, in markdown."""
    print(
        f"| manager | at rest | decisions, targets | for a decision | busy | decisions, targets | reporters "
        f"| gave {mib} MiB | took {mib} MiB |\n|---|---|---|---|---|---|---|---|---|"
    )
    for each in costs:
        reporting = "–" if each.reporting is None else f"{100 * each.reporting:.1f} %"
        each_ms = "–" if each.idle_ms is None else f"{each.idle_ms:.0f} ms"
        print(
            f"| `{each.manager}` | {100 * each.idle:.2f} % | {each.idle_decisions}, {each.idle_targets} | {each_ms} "
            f"| {100 * each.busy:.1f} % | {each.decisions}, {each.targets} | {reporting} "
            f"| {moved(each.got_s, each.got_mib)} | {moved(each.gave_s, each.gave_mib)} |"
        )
    for each in costs:
        if (each.got_s is None or each.gave_s is None) and each.manager in WHY:
            print(f"{each.manager} {WHY[each.manager]}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("managers", nargs="*", metavar="MANAGER", help=", ".join(managers.names()))
    parser.add_argument("--inventory", type=Path, default=lifecycle.DEFAULT_INVENTORY)
    parser.add_argument("--seconds", type=float, default=20.0, help="how long each is watched at rest")
    parser.add_argument("--mib", type=int, default=100, help="how much is to move")
    parser.add_argument("--limit", type=float, default=45.0, help="seconds within which it is to")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if unknown := set(options.managers) - set(managers.names()):
        parser.error(f"there is no manager {', '.join(sorted(unknown))}; there are {', '.join(managers.names())}")
    with lifecycle.open_lab(options.inventory, progress=lambda text: print(text, file=sys.stderr)) as lab:
        host = lab.hosts[0]
        costs: list[Cost] = []
        booted: Policy | None = None
        for name in options.managers or managers.names():
            policy = asked(name)
            if booted is None or (booted.kernel, booted.module) != (policy.kernel, policy.module):
                booted = policy
                # who is to give whole sections has whole ones
                guests = replace(DEFAULT_GUESTS, kernel=policy.kernel, memory_start_mib=START_MIB)
                host.reset(DEFAULT_HOST, guests if policy.sections else DEFAULT_GUESTS)
                if isinstance(host, EmulatedHost):
                    host.limit_disks(UNLIMITED)
                if policy.module:
                    host.load_driver(apply.parameters(policy), {})
            costs.append(measure(host, name, options.seconds, options.mib, options.limit))
            show(costs[-1:], options.mib)
            if options.json:
                options.json.write_text(json.dumps([asdict(each) for each in costs], indent=1) + "\n")
    print()
    show(costs, options.mib)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except UserError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)
