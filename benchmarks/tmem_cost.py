#!/usr/bin/env python3
"""What tmem's operations cost inside a guest: cycles of puts, gets and flushes, beside a plain 4
KiB copy and an empty hypercall of the same run.

    .venv/bin/python benchmarks/tmem_cost.py [--inventory inventory/emulated.yml] [--samples 2000]
    [--held 10000,100000] [--json FILE]

(`./inv --list` makes .venv, `./inv lab.up` builds what the lab needs.) Boots the first host of the
inventory with two guests, which takes minutes the first time, and loads tmem_test.ko with
mode=bench in one of them: medians over many interleaved batches, see tmem/linux/test/bench.c. Then
it repeats that with compression, of pages that look like source text, and without it while so many
pages are held, reads in dom0 what records these need, and lets one guest, then both, work for some
seconds (mode=load).

--held sizes the host: 10,000 pages are 40 MiB, a million are 4 GiB. The cycles are those that a
guest reads: Xen emulates the counter for it, so on the emulated host they are nanoseconds of an
emulated processor. Only ratios within a run mean anything, and those of the load only while nothing
else runs on this machine: the load average is told with them. With --inventory
inventory/instructions.yml they are instructions, blind to caches; two guests at once are not
measured, since the processors take turns.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from common.errors import LabError, UserError  # noqa: E402  (found by the line above)
from lab import lifecycle  # noqa: E402
from lab.api import Guest, GuestSizing, Host, HostSizing  # noqa: E402
from lab.hosts.emulated import EmulatedHost  # noqa: E402

RESULTS = "/sys/kernel/debug/tmem_test/results"
GUESTS = GuestSizing(count=2, vcpus=1, memory_max_mib=256, memory_start_mib=160, swap_mib=64)
SECONDS = 1800
"""Bound for one run of the module."""

FLAT = 1.2
"""Cost with most pages held, by that with fewest, at most."""
COMPRESSED_PUT = 25.0
"""A put of a page that is compressed, by a copy of 4 KiB, at most (tmem in Xen 4.12: 35 to 49)."""
SCALING = 1.8
"""Operations of two guests at once, by those of one alone, at least."""
OVERHEAD = 0.02
"""Memory of the records, by that of the pages, at most."""
SHOWN = ("put_new", "put_duplicate", "get_hit", "flush_page")
"""Operations that compression changes."""


@dataclass(frozen=True)
class Timing:
    """Cycles of one operation over many batches."""

    median: int
    p10: int
    p90: int
    samples: int


@dataclass(frozen=True)
class Target:
    """An operation's median is at most `factor` times the sum of the medians of `of`. upstream:
    the factor of tmem in Xen 4.12.
    """

    name: str
    of: tuple[str, ...]
    factor: float
    upstream: str


@dataclass(frozen=True)
class Each:
    """Cycles of puts of new pages, each timed by itself, into a pool that grows."""

    median: int
    p90: int
    p99: int
    most: int
    samples: int


EACH = 3.0
"""The 99th percentile of a put of a new page, by the median, at most."""

COPY, EMPTY = "copy_4096", "empty_hypercall"
TARGETS = (
    Target("put_new", (COPY, EMPTY), 1.5, "2.2–2.5"),
    Target("put_duplicate", (COPY, EMPTY), 1.5, "2.2–2.5"),
    Target("get_hit", (COPY, EMPTY), 1.5, "2.2–2.5"),
    Target("get_miss", (EMPTY,), 1.4, "1.65"),
    Target("flush_page", (EMPTY,), 3.0, "4.2"),
)

Timings = Mapping[str, Timing]
Bench = Mapping[tuple[str, str, int], Timings]
"""(kind of pool, what the pages contain, pages held meanwhile) -> operation -> timing."""
NOISE, TEXT = "noise", "text"


@dataclass(frozen=True)
class Load:
    """Operations per second of the guests that worked at the same time, and the machine's load
    average before.
    """

    operations: tuple[float, ...]
    load_average: float

    @property
    def total(self) -> float:
        return sum(self.operations)


def parse_bench(text: str) -> Bench:
    """What mode=bench reports. LabError when an operation did not answer as it should, or
    nothing was reported.
    """
    if error := re.search(r"^# bench .*error=.*$", text, re.MULTILINE):
        raise LabError("the benchmark stopped", where=RESULTS, why=error[0])
    found: dict[tuple[str, str, int], dict[str, Timing]] = {}
    line = (
        r"^# bench name=(\w+) kind=(\w+) content=(\w+) held=(\d+) "
        r"median=(\d+) p10=(\d+) p90=(\d+) samples=(\d+) unit=cycles$"
    )
    for name, kind, content, held, *numbers in re.findall(line, text, re.MULTILINE):
        found.setdefault((kind, content, int(held)), {})[name] = Timing(*map(int, numbers))
    if not found:
        raise LabError("the benchmark reported nothing", where=RESULTS, why=text[-500:])
    return found


def parse_each(text: str) -> dict[str, Each]:
    """What mode=bench reports of puts timed one by one: kind of pool -> cycles; empty when pages
    were held.
    """
    line = r"^# each name=put_new kind=(\w+) median=(\d+) p90=(\d+) p99=(\d+) most=(\d+) samples=(\d+) unit=cycles$"
    return {kind: Each(*map(int, numbers)) for kind, *numbers in re.findall(line, text, re.MULTILINE)}


def parse_load(text: str) -> float:
    """Operations per second that mode=load reports."""
    found = re.search(r"^# load operations=(\d+) seconds=(\d+) late_ms=0$", text, re.MULTILINE)
    if found is None:
        raise LabError("the guest did not work, or began late", where=RESULTS, why=text[-500:])
    return int(found[1]) / int(found[2])


def ratio(timings: Timings, target: Target) -> float:
    """An operation's median by what it is compared with."""
    return timings[target.name].median / sum(timings[name].median for name in target.of)


def run_module(guest: Guest, parameters: str) -> str:
    """Load the module, which works while it is loaded, and read its report."""
    script = f"modprobe tmem_test {parameters} && cat {RESULTS}; status=$?; rmmod tmem_test 2>/dev/null; exit $status"
    return str(guest.machine["sh"]("-c", script, timeout=SECONDS))


class Overhead:
    """Reads in dom0, while the benchmark holds pages, how much memory the index needs for them."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self.pages = 0
        self.share: float | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._end.wait(2.0):
            reading: dict[str, Any] = json.loads(self._host.dom0["tmemctl"]("list", "-l", "--json"))["global"]
            if reading["Pc"] > self.pages:
                self.pages = reading["Pc"]
                self.share = reading["Nc"] / reading["Pc"]


def measure_load(guests: Sequence[Guest], seconds: int) -> Load:
    """Let these guests work at the same time."""
    average = os.getloadavg()[0]
    texts: dict[str, str] = {}
    # Emulated, it takes a second or two until a module is loaded.
    start = int(float(guests[0].machine["date"]("+%s"))) + 15

    def work(guest: Guest) -> None:
        texts[guest.name] = run_module(guest, f"mode=load seconds={seconds} start_at={start}")

    threads = [threading.Thread(target=work, args=(guest,)) for guest in guests]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return Load(tuple(parse_load(texts[guest.name]) for guest in guests if guest.name in texts), average)


def host_sizing(held: int) -> HostSizing:
    """A host that has room for so many pages beside the guests; Xen keeps up to 64 MiB back."""
    pages_mib = held * 4096 * (1 + 1.5 * OVERHEAD) / 2**20
    return HostSizing(
        guest_memory_mib=round(GUESTS.count * GUESTS.memory_start_mib + pages_mib + 128), dom0_memory_mib=384, vcpus=2
    )


def say(reached: bool) -> str:
    return "yes" if reached else "no"


def print_each(each: Mapping[str, Each]) -> None:
    """Puts of new pages one by one."""
    for kind, put in each.items():
        worst = put.p99 / put.median
        print(
            f"A put of a new page, each of {put.samples} by itself, {kind} pool: "
            f"median {put.median}, 90 % {put.p90}, 99 % {put.p99}, longest {put.most}; "
            f"99 % by the median {worst:.2f}, target {EACH:g}: {say(worst <= EACH)}"
        )
    print()


def print_compressed(compressed: Bench) -> None:
    """The operations with compression: of pages that are compressed, and of those with which it
    is tried in vain.
    """
    for (kind, content, _held), timings in compressed.items():
        copies = {name: timing.median / timings[COPY].median for name, timing in timings.items()}
        print(
            f"Compression on, {kind} pool, {content}: "
            + ", ".join(f"{name} {copies[name]:.1f} copies" for name in SHOWN)
        )
        if content == TEXT:
            print(
                f"A compressed put: {copies['put_new']:.1f} copies, target "
                f"{COMPRESSED_PUT:g}: {say(copies['put_new'] <= COMPRESSED_PUT)}"
            )
    print()


@dataclass(frozen=True)
class Measured:
    """All of one run. pages, share: the most pages that were held, and what the index took of
    their memory; None: none were.
    """

    bench: Bench
    each: Mapping[str, Each]
    compressed: Bench
    pages: int
    share: float | None
    loads: Sequence[Load]


def unit_of(host: Host) -> str:
    """What the guests' counter counts."""
    return "instructions" if isinstance(host, EmulatedHost) and host.settings.icount else "cycles"


def print_report(host: Host, found: Measured) -> None:
    """Markdown."""
    emulated = "emulated" if host.kind == "emulated" else "a server's"
    print(
        f"\n{unit_of(host).capitalize()} as a guest reads them, {emulated} "
        f"({host.accelerator or 'no emulator'}), medians of one run\n"
    )
    for (kind, content, held), timings in found.bench.items():
        if held == 0 and content == NOISE:
            print(f"| {kind} | median | 10 % | 90 % |\n|---|---|---|---|")
            for name, timing in timings.items():
                print(f"| {name} | {timing.median} | {timing.p10} | {timing.p90} |")
            print(f"\n| {kind} | by | reached | target | Xen 4.12 | within |\n|---|---|---|---|---|---|")
            for target in TARGETS:
                value = ratio(timings, target)
                within = say(value <= target.factor)
                print(
                    f"| {target.name} | {' + '.join(target.of)} | {value:.2f} "
                    f"| {target.factor} | {target.upstream} | {within} |"
                )
            print()
    print_each(found.each)
    print_compressed(found.compressed)
    by_pages = sorted(
        (held, timings) for (kind, _content, held), timings in found.bench.items() if kind == "ephemeral" and held
    )
    if len(by_pages) > 1:
        print("| pages held | " + " | ".join(t.name for t in TARGETS) + " |\n" + "|---" * (1 + len(TARGETS)) + "|")
        for held, timings in by_pages:
            print(f"| {held} | " + " | ".join(f"{ratio(timings, target):.2f}" for target in TARGETS) + " |")
        growth = [ratio(by_pages[-1][1], target) / ratio(by_pages[0][1], target) for target in TARGETS]
        print("| growth | " + " | ".join(f"{value:.2f}" for value in growth) + " |")
        print(f"\nFlat within {FLAT}: {say(max(growth) <= FLAT)}")
    if found.share is not None:
        print(
            f"Records of {found.pages} pages: {100 * found.share:.2f} % of their "
            f"memory, target {100 * OVERHEAD:.0f} %: {say(found.share <= OVERHEAD)}"
        )
    if found.loads:
        alone, together = found.loads
        print(
            f"Two guests on two processors: {together.total / alone.total:.2f} times the operations of one "
            f"({alone.total:.0f}/s, {together.total:.0f}/s; load average {together.load_average:.1f} before), "
            f"target {SCALING}: {say(together.total / alone.total >= SCALING)}"
        )


def as_json(host: Host, found: Measured) -> dict[str, object]:
    """What --json writes; a figure that was not measured is null."""
    return {
        "schema": 1,
        "host_kind": host.kind,
        "accelerator": host.accelerator,
        "unit": unit_of(host),
        "provenance": host.provenance(),
        "bench": [
            {
                "kind": kind,
                "content": content,
                "compression": operations is found.compressed,
                "held": held,
                "cycles": {name: asdict(timing) for name, timing in timings.items()},
                "ratios": {target.name: round(ratio(timings, target), 3) for target in TARGETS},
            }
            for operations in (found.bench, found.compressed)
            for (kind, content, held), timings in operations.items()
        ],
        "each": {kind: asdict(put) for kind, put in found.each.items()},
        "overhead": {"pages": found.pages, "share": found.share},
        "load": [asdict(load) for load in found.loads],
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inventory", type=Path, default=lifecycle.DEFAULT_INVENTORY)
    parser.add_argument("--samples", type=int, default=2000, help="batches of each operation (default: 2000)")
    parser.add_argument(
        "--held", default="10000,100000", help="pages held meanwhile, separated by commas; empty: don't measure that"
    )
    parser.add_argument(
        "--seconds", type=int, default=20, help="for which the guests work (default: 20); 0: don't measure that"
    )
    parser.add_argument("--json", type=Path, help="write the figures to this file, too")
    options = parser.parse_args()
    held = [int(number) for number in options.held.split(",") if number]
    began = time.monotonic()

    def tell(text: str) -> None:
        print(f"[{time.monotonic() - began:5.0f} s] {text}", file=sys.stderr, flush=True)

    with lifecycle.open_lab(options.inventory, progress=tell) as lab:
        host = lab.hosts[0]
        host.reset(host_sizing(max(held, default=0)), GUESTS)
        guests = list(host.guests.values())
        # room below the limit, which persistent pages are charged to
        start, limit = GUESTS.memory_start_mib, GUESTS.memory_max_mib
        host.set_memory(dict.fromkeys(host.guests, start), dict.fromkeys(host.guests, limit))
        bench: dict[tuple[str, str, int], Timings] = {}
        each: dict[str, Each] = {}
        overhead = Overhead(host)
        with overhead:
            for pages in [0, *held]:
                tell(f"operations, {pages} pages held")
                text = run_module(guests[0], f"mode=bench samples={options.samples} held={pages}")
                found = parse_bench(text)
                bench |= found
                each |= parse_each(text)
                if ("ephemeral", NOISE, pages) not in found:
                    raise LabError(f"the host has no room for {pages} pages", where="--held", remedy="Hold fewer.")
        tell("operations, with compression")
        domain = host.dom0["xl"]("domid", guests[0].name).strip()
        host.dom0["tmemctl"]("set", domain, "--compress", "1")
        compressed = parse_bench(run_module(guests[0], f"mode=bench samples={options.samples}"))
        host.dom0["tmemctl"]("set", domain, "--compress", "0")
        loads = []
        if options.seconds and unit_of(host) == "cycles":
            for working in (guests[:1], guests):
                tell(f"load of {len(working)}")
                loads.append(measure_load(working, options.seconds))
        measured = Measured(bench, each, compressed, overhead.pages, overhead.share, loads)
        print_report(host, measured)
        if options.json:
            options.json.write_text(json.dumps(as_json(host, measured), indent=1) + "\n")


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        raise SystemExit(str(error)) from None
