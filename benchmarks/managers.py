#!/usr/bin/env python3
"""What managers cost, and how fast they are: processor time of the daemon in dom0 and of the
reporters in guests, at rest and while one guest eats memory and digests it; and how long it takes
until that guest got so much memory, and until it gave it back.

    .venv/bin/python benchmarks/managers.py [--inventory inventory/emulated.yml] [--seconds 30]
    [--mib 100] [--limit 60] [--json FILE] [MANAGER...]

With the constants below, which are the published ones at the scale of guests of 256 MiB. A time
that is missing: not within the limit, which may be right (squeezed does not look at what guests
do). Emulated, processor time and seconds are the emulated machine's; with
`--inventory inventory/instructions.yml` they are proportional to instructions.
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
from lab import lifecycle  # noqa: E402
from lab.emulator.process import UNLIMITED  # noqa: E402
from lab.hosts.emulated import EmulatedHost  # noqa: E402
from lab.hosts.host import XenHost  # noqa: E402
from lab.lifecycle import DEFAULT_GUESTS, DEFAULT_HOST  # noqa: E402
from lab.remote.ssh import DOM0  # noqa: E402
from policies import apply, managers  # noqa: E402
from policies import registry as policies  # noqa: E402
from policies.balloon import steps  # noqa: E402
from policies.base import ManagerTuning, Tuning  # noqa: E402

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

START_MIB = 96
EATER = "guest1"
DIGEST = "rm -f /dev/shm/eaten; echo 3 > /proc/sys/vm/drop_caches"


def eat(mib: int) -> str:
    """Sh for a guest: fill so much of a file system in memory, and read it again and again until it
    is digested: what was only written may lie on the swap disk, and be missed by nobody.
    """
    return (
        f"mount -o remount,size={2 * mib}m /dev/shm; dd if=/dev/zero of=/dev/shm/eaten bs=1M count={mib} 2> /dev/null; "
        "(while [ -e /dev/shm/eaten ]; do cat /dev/shm/eaten; done < /dev/null > /dev/null 2>&1 &)"
    )


def start(host: XenHost, name: str, constants: Mapping[str, Any], common: ManagerTuning = COMMON) -> None:
    """Make the manager of a policy ready."""
    policy = policies.parse(name)
    assert policy.manager is not None
    tuning = Tuning(manager=common, managers={policy.manager: constants})
    wanted = apply.manager(policy, tuning, DEFAULT_HOST, DEFAULT_GUESTS, list(host.guests))
    assert wanted is not None
    host.start_manager(wanted)


@dataclass(frozen=True)
class Cost:
    """A manager's: fractions of one CPU; got_s, gave_s: until the eater had so much more, and until
    it had given so much back.
    """

    manager: str
    idle: float
    busy: float
    reporting: float | None
    got_s: float | None
    gave_s: float | None
    decisions: int
    targets: int


def share(cost: Mapping[str, float]) -> float:
    return cost["cpu_seconds"] / cost["wall_seconds"]


def memory_mib(host: XenHost, name: str) -> int:
    """What Xen says a guest has."""
    return int(host.run(DOM0, f"xl list {name}").splitlines()[-1].split()[2])


def until(condition: Callable[[], bool], limit_s: float) -> float | None:
    """Seconds until something holds; None: not within the limit."""
    began = time.monotonic()
    while time.monotonic() - began < limit_s:
        if condition():
            return time.monotonic() - began
        time.sleep(0.5)
    return None


def measure(host: XenHost, name: str, seconds: float, mib: int, limit_s: float) -> Cost:
    """One manager, at rest and with something to do."""
    constants = dict(SCALED.get(name, {}))
    if name == "balloon":
        constants["schedule"] = steps(f"0 s {EATER} {START_MIB + mib} MiB, {limit_s:g} s {EATER} {START_MIB} MiB")
    manager = f"{name}+tmem" if name == "smartmem" else name
    for guest in host.guests:
        host.run(guest, DIGEST)
    most = dict.fromkeys(host.guests, DEFAULT_GUESTS.memory_max_mib)
    host.set_memory(dict.fromkeys(host.guests, START_MIB), most)
    # what it does at first, with memory to hand out, is not rest
    start(host, manager, {} if name == "balloon" else constants)
    host.release_manager()
    time.sleep(seconds / 2)
    host.stop_manager()
    start(host, manager, {} if name == "balloon" else constants)
    host.release_manager()
    time.sleep(seconds)
    idle = managed.parse(host.stop_manager())
    if not policies.parse(manager).sections:
        host.set_memory(dict.fromkeys(host.guests, START_MIB), {})
    start(host, manager, constants)
    host.release_manager()
    if name != "balloon":
        host.run(EATER, eat(mib + START_MIB // 2), timeout=10 * limit_s)
    got = until(lambda: memory_mib(host, EATER) >= START_MIB + mib - 1, limit_s)
    if name != "balloon":
        host.run(EATER, DIGEST)
    least = memory_mib(host, EATER) - mib + 1
    gave = until(lambda: memory_mib(host, EATER) <= max(least, 0), limit_s) if got is not None else None
    busy = managed.parse(host.stop_manager())
    reporting = [share(each) for each in busy.reporters.values()]
    targets = sum(len(record["set"]) for record in busy.decisions)
    return Cost(
        name, share(idle.cost), share(busy.cost), max(reporting, default=None), got, gave, len(busy.decisions), targets
    )


def show(costs: Sequence[Cost], mib: int) -> None:
    """A table."""
    print(
        f"{'manager':<15}{'at rest':>9}{'busy':>9}{'reporting':>11}{f'got {mib} MiB':>14}{'gave':>9}"
        f"{'decisions':>11}{'targets':>9}"
    )
    for each in costs:
        reporting = "–" if each.reporting is None else f"{100 * each.reporting:.2f} %"
        got, gave = ("–" if value is None else f"{value:.1f} s" for value in (each.got_s, each.gave_s))
        print(
            f"{each.manager:<15}{100 * each.idle:>7.2f} %{100 * each.busy:>7.2f} %{reporting:>11}{got:>14}{gave:>9}"
            f"{each.decisions:>11}{each.targets:>9}"
        )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("managers", nargs="*", metavar="MANAGER", default=list(managers.names()))
    parser.add_argument("--inventory", type=Path, default=lifecycle.DEFAULT_INVENTORY)
    parser.add_argument("--seconds", type=float, default=30.0, help="how long each is watched at rest")
    parser.add_argument("--mib", type=int, default=100)
    parser.add_argument("--limit", type=float, default=60.0, help="seconds that the eater may wait for memory")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with lifecycle.open_lab(options.inventory, progress=lambda text: print(text, file=sys.stderr)) as lab:
        host = lab.hosts[0]
        host.reset(DEFAULT_HOST, DEFAULT_GUESTS)
        if isinstance(host, EmulatedHost):
            host.limit_disks(UNLIMITED)
        costs = []
        kernel: tuple[str, ...] = ()
        for name in options.managers:
            if (wanted := policies.BASES[name].kernel) != kernel:
                kernel = wanted
                # who is to give whole sections has whole ones
                host.reset(DEFAULT_HOST, replace(DEFAULT_GUESTS, kernel=kernel, memory_start_mib=START_MIB))
            if name == "smartmem":
                host.load_driver(apply.parameters(policies.parse("smartmem+tmem")), {})
            costs.append(measure(host, name, options.seconds, options.mib, options.limit))
            show(costs[-1:], options.mib)
    print()
    show(costs, options.mib)
    if options.json:
        options.json.write_text(json.dumps([asdict(each) for each in costs], indent=1) + "\n")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except UserError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)
