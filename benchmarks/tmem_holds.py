#!/usr/bin/env python3
"""How long tmem keeps a processor and a lock of the hypervisor at most, whatever a guest does to
it: microseconds, measured by the hypervisor itself.

    .venv/bin/python benchmarks/tmem_holds.py [--inventory inventory/emulated.yml] [--pages 262144]
    [--json FILE]

What takes long is done in steps of 64 pages, each under one lock, and other work of the processor
has its turn between them. The hypervisor times every step (tag S of `tmemctl list -l`, in cycles);
this script makes the three longest operations there are (a pool of a gigabyte destroyed, an object
of a gigabyte flushed, a guest killed with a gigabyte in tmem), and tells for each how many steps it
took, their mean and the longest. Emulated, a step's time includes what this machine did meanwhile.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from common.errors import LabError, UserError  # noqa: E402  (found by the line above)
from lab import lifecycle  # noqa: E402
from lab.api import Guest, GuestSizing, Host, HostSizing  # noqa: E402
from lab.remote.served import Answers, asking, parse_answers  # noqa: E402

GUESTS = GuestSizing(count=2, vcpus=1, memory_max_mib=256, memory_start_mib=160, swap_mib=64)
SECONDS = 1800
"""Bound for any single command."""


@dataclass(frozen=True)
class Steps:
    """What the hypervisor counted of one operation: steps, seconds that they and the whole
    operation took, and the longest step.

    longest_us: microseconds; of all operations up to this one, since the counter is never set back.
    """

    operation: str
    steps: int
    mean_us: float
    longest_us: float
    seconds: float


class Meter:
    """Reads the counter of steps in dom0."""

    def __init__(self, host: Host) -> None:
        self._host = host
        found = re.search(r"^cpu_mhz\s*: ([\d.]+)$", host.dom0["xl"]("info"), re.MULTILINE)
        if found is None:
            raise LabError("xl info tells no cpu_mhz", where="dom0: xl info")
        self._mhz = float(found[1])

    def read(self) -> tuple[int, int, int]:
        """Steps until now, their cycles, and those of the longest."""
        timing = json.loads(self._host.dom0["tmemctl"]("list", "-l", "--json"))["timings"]["S"]
        return timing["n"], timing["t"], timing["x"] or 0

    def measure(self, operation: str, act: Callable[[], object]) -> Steps:
        """Do something, and see what steps it took."""
        steps, cycles, _ = self.read()
        began = time.monotonic()
        act()
        seconds = time.monotonic() - began
        now, total, longest = self.read()
        if now == steps:
            raise LabError(f"{operation}: the hypervisor counted no step", where="tmemctl list -l, tag Sn")
        mean = (total - cycles) / (now - steps)
        return Steps(operation, now - steps, mean / self._mhz, longest / self._mhz, seconds)


def ask(guest: Guest, command: str) -> Answers:
    """Let the guest's kernel do something."""
    return parse_answers(guest.machine["sh"]("-c", asking(command), timeout=SECONDS))


def fill(guest: Guest, pages: int) -> int:
    """A new pool with one object of so many pages; its number."""
    (pool,) = ask(guest, "pool 0 0 0")
    answers = ask(guest, f"put {pool} 1 0 {pages} 0")
    if answers != {1: pages}:
        raise LabError(
            f"{guest.name} could not put {pages} pages", why=f"answers: {answers}", remedy="Take fewer --pages."
        )
    return pool


def kill(host: Host, guest: Guest) -> None:
    """Destroy the guest and wait until nothing is left of it."""
    host.dom0["sh"](
        "-c",
        f"domid=$(xl domid {guest.name}); xl destroy {guest.name}; while "
        'tmemctl list | grep -q "^C=CI:$domid,"; do sleep 0.2; done',
        timeout=SECONDS,
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inventory", type=Path, default=lifecycle.DEFAULT_INVENTORY)
    parser.add_argument(
        "--pages",
        type=int,
        default=262144,
        help="pages of 4 KiB in the pool, the object, the guest (default: a gigabyte)",
    )
    parser.add_argument(
        "--vcpus",
        type=int,
        default=2,
        help=(
            "processors of the host (default: 2). With one, and --inventory inventory/instructions.yml, "
            "nothing else is in a step's time: the processors of that lab take turns"
        ),
    )
    parser.add_argument("--json", type=Path, help="write the figures to this file, too")
    options = parser.parse_args()
    began = time.monotonic()

    def tell(text: str) -> None:
        print(f"[{time.monotonic() - began:5.0f} s] {text}", file=sys.stderr, flush=True)

    memory = round(GUESTS.count * GUESTS.memory_start_mib + options.pages * 4096 * 1.03 / 2**20 + 128)
    with lifecycle.open_lab(options.inventory, progress=tell) as lab:
        host = lab.hosts[0]
        host.reset(HostSizing(guest_memory_mib=memory, dom0_memory_mib=384, vcpus=options.vcpus), GUESTS)
        guest = host.guests["guest1"]
        guest.machine["modprobe"]("tmem_test", "mode=serve")
        meter = Meter(host)
        provenance = host.provenance()  # while every guest is there to answer
        load = os.getloadavg()[0]
        found: list[Steps] = []
        for operation, command in (("pool destroyed", "destroy {}"), ("object flushed", "flush_object {} 1")):
            tell(f"{operation}: putting {options.pages} pages")
            pool = fill(guest, options.pages)
            found.append(meter.measure(operation, partial(ask, guest, command.format(pool))))
        tell(f"guest killed: putting {options.pages} pages")
        fill(guest, options.pages)
        found.append(meter.measure("guest killed", lambda: kill(host, guest)))
        emulated = "emulated" if host.kind == "emulated" else "a server's"
        print(
            f"\n{options.pages} pages each; times are {emulated} "
            f"({host.accelerator or 'no emulator'}); load average {load:.1f} before\n"
        )
        print("| operation | steps | mean step, µs | longest so far, µs | whole, s |\n|---|---|---|---|---|")
        for each in found:
            print(
                f"| {each.operation} | {each.steps} | {each.mean_us:.0f} | {each.longest_us:.0f} | {each.seconds:.1f} |"
            )
        if options.json:
            record = {
                "schema": 1,
                "host_kind": host.kind,
                "accelerator": host.accelerator,
                "pages": options.pages,
                "load_average": load,
            }
            record |= {"provenance": provenance, "operations": [asdict(each) for each in found]}
            options.json.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        raise SystemExit(str(error)) from None
