#!/usr/bin/env python3
"""What reading the counters costs: processor time of the sampler in dom0 and in each guest, as a
fraction of one CPU of its machine.

    .venv/bin/python benchmarks/sampling.py [--inventory inventory/emulated.yml] [--interval 2]
    [--seconds 60] [--against COMMIT] [--json FILE]

The guests idle, with tmem on. --against COMMIT: the agents that a commit before the sampler had
(lab/remote/dom0.py and linux.pl, from this checkout's history) are measured on the same machines
first, and the ratio is told. Emulated, processor time is the emulated machine's, and grows when
this machine has other work to do.
"""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from common.errors import UserError  # noqa: E402  (found by the line above)
from lab import lifecycle  # noqa: E402
from lab.counters import names, parse  # noqa: E402
from lab.hosts.host import XenHost  # noqa: E402
from lab.lifecycle import DEFAULT_GUESTS, DEFAULT_HOST  # noqa: E402
from lab.remote.agents import Agent, Program, hypervisor_reader, linux_reader  # noqa: E402
from lab.remote.ssh import DOM0  # noqa: E402

DRIVER = {"cleancache": True, "frontswap": True, "selfballooning": False, "selfshrinking": False}


@dataclass(frozen=True)
class Cost:
    """What sampling took on a machine: fraction of one CPU; milliseconds a reading."""

    agents: str
    machine: str
    readings: int
    of_one_cpu: float
    ms_a_reading: float


def former(commit: str) -> dict[str, Program]:
    """Dom0's and the guests' agents as a commit had them."""
    text = {
        name: subprocess.run(
            ["git", "-C", ROOT, "show", f"{commit}:lab/remote/{name}"], check=True, capture_output=True, text=True
        ).stdout
        for name in ("dom0.py", "linux.pl")
    }
    dom0 = Program(f"exec python3 -S -E -c {shlex.quote(text['dom0.py'])}")
    return {DOM0: dom0, "": Program(f"exec perl -e {shlex.quote(text['linux.pl'])}")}


def measure(
    host: XenHost, called: str, programs: Mapping[str, Program], interval_s: float, seconds: float
) -> list[Cost]:
    """Sample for some seconds with these programs ("": every guest's)."""
    machines = [DOM0, *host.guests]
    opened = host.connections.in_parallel(
        {name: partial(Agent, host.connections, name, programs.get(name, programs[""])) for name in machines}
    )
    try:
        host.connections.in_parallel(
            {name: partial(agent.ask, f"start {interval_s:g}") for name, agent in opened.items()}
        )
        time.sleep(seconds)
        lines = host.connections.in_parallel({name: partial(agent.ask, "stop") for name, agent in opened.items()})
    finally:
        for agent in opened.values():
            agent.close()
    return [cost_of(called, name, lines[name], list(host.guests)) for name in machines]


def cost_of(called: str, name: str, lines: list[str], guests: list[str]) -> Cost:
    """From the lines that an agent left: its readings, then its cost."""
    share = parse.parse_host(lines, guests)[1] if name == DOM0 else parse.parse_guest(name, lines)[1]
    last = json.loads(lines[-1])["cost"]["cpu_seconds"] if name == DOM0 else float(lines[-1].split()[1])
    readings = len(lines) - 1
    return Cost(called, name, readings, share or 0.0, 1000 * last / readings)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inventory", type=Path, default=lifecycle.DEFAULT_INVENTORY)
    parser.add_argument("--interval", type=float, default=2.0)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--against", metavar="COMMIT")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    kinds = {"sampler": {DOM0: hypervisor_reader(), "": linux_reader(names.ASKED)}}
    if options.against:
        kinds = {options.against: former(options.against), **kinds}
    with lifecycle.open_lab(options.inventory, progress=lambda text: print(text, file=sys.stderr)) as lab:
        host = lab.hosts[0]
        host.reset(DEFAULT_HOST, DEFAULT_GUESTS)
        host.load_driver(DRIVER, {})
        costs = [
            cost
            for called, programs in kinds.items()
            for cost in measure(host, called, programs, options.interval, options.seconds)
        ]
    before = {cost.machine: cost for cost in costs if cost.agents == options.against}
    print(f"a reading every {options.interval:g} s, for {options.seconds:g} s")
    print(f"{'agents':<12}{'machine':<10}{'readings':>8}{'of one CPU':>12}{'ms a reading':>14}{'less by':>9}")
    for cost in costs:
        less = before[cost.machine].ms_a_reading / cost.ms_a_reading if cost.machine in before else 1.0
        ratio = f"{less:.0f} x" if cost.agents == "sampler" and before else ""
        print(
            f"{cost.agents:<12}{cost.machine:<10}{cost.readings:>8}{100 * cost.of_one_cpu:>10.2f} "
            f"%{cost.ms_a_reading:>14.2f}{ratio:>9}"
        )
    if options.json:
        options.json.write_text(json.dumps([asdict(cost) for cost in costs], indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except UserError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)
