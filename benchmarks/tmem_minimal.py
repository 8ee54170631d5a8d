#!/usr/bin/env python3
"""What tmem's operations cost where no kernel but a minimal one is in the way: a paravirtual kernel
that does nothing else, in copies of 4 KiB of the same run.

    .venv/bin/python benchmarks/tmem_minimal.py [--hypervisor xen] [--instructions] [--json FILE]

Compiles benchmarks/minimal (gcc; ./inv setup installs it), boots it under QEMU's software emulation
as the first domain of the hypervisor that the testbed builds, and reads what it prints: cycles of
the emulated processor, or with --instructions how many instructions each takes, which is the same
every time. It takes seconds, and no image but the hypervisor. `put_each` are puts of new pages,
each timed by itself, into a pool that grows: the 99th percentile of those is what medians of
batches hide. All of it is done twice, the second time while Xen records every operation
(docs/trace.md): what that adds. Then the records are read, and the last of them have to be what
was done last.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from common.errors import BuildError, LabError, MissingError, UserError  # noqa: E402  (found by the line above)
from lab.build import builder  # noqa: E402
from lab.emulator.accelerator import QEMU  # noqa: E402

SOURCES = ROOT / "benchmarks" / "minimal"
VIRT_BASE = "0xffffffff80000000"
FLAGS = (
    f"-DVIRT_BASE={VIRT_BASE} -O2 -std=gnu11 -Wall -Wextra -Werror "
    "-ffreestanding -fno-pic -mcmodel=kernel -mno-red-zone -mno-sse -mno-mmx "
    "-fno-stack-protector -fno-asynchronous-unwind-tables -fcf-protection=none "
    "-fno-tree-loop-distribute-patterns -nostdlib -static -no-pie "
    "-Wl,-Ttext-segment=0xffffffff80100000,-z,max-page-size=4096,--build-id=none,-e,start"
).split()
XEN_OPTIONS = "tmem console=com1 com1=115200,8n1 dom0_mem=128M loglvl=warning"
SECONDS = 600
"""Bound for a run: seconds of work where the machine is idle."""

COPY = "copy_4096"
TARGET = 2.0
"""A put, or a get, by a copy, at most (tmem in Xen 4.12: 3.4, 3.0)."""
WITHIN = ("put_new", "put_duplicate", "get_hit")
EACH = "put_each"
WORST = 3.0
"""The 99th percentile of single puts by their median, at most."""
TRACED = "_traced"
"""Ends the name of a kind of pool whose operations were recorded."""
TRACING = 0.05
"""What recording may add to an operation, by what it takes without."""
OPERATIONS = ("put_new", "put_duplicate", "get_hit", "get_miss", "flush_page")


@dataclass(frozen=True)
class Cost:
    """One operation: percentiles, in cycles, or in instructions."""

    median: int
    p90: int
    p99: int


Costs = Mapping[tuple[str, str], Cost]
"""(kind of pool, operation) -> cost."""


def compile_kernel(folder: Path) -> Path:
    """The minimal kernel, compiled into a folder. MissingError without gcc; BuildError with what
    it says.
    """
    kernel = folder / "minimal.elf"
    sources = [str(SOURCES / name) for name in ("start.S", "minimal.c")]
    try:
        done = subprocess.run(["gcc", *FLAGS, "-o", str(kernel), *sources], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise MissingError("there is no C compiler (gcc)", remedy="./inv setup") from None
    if done.returncode:
        raise BuildError("the minimal kernel does not compile", where=str(SOURCES), why=done.stderr.strip()[-1000:])
    return kernel


def command(hypervisor: Path, kernel: Path, *, instructions: bool) -> list[str]:
    """QEMU's command line. Ends by itself when the kernel is done."""
    counting = ["-icount", "shift=0,sleep=off"] if instructions else []
    machine = ["-machine", "q35", "-cpu", "max,-la57", "-accel", "tcg", "-m", "1024", "-smp", "1"]
    output = ["-display", "none", "-serial", "stdio", "-monitor", "none", "-no-reboot"]
    boot = ["-kernel", str(hypervisor), "-initrd", str(kernel), "-append", XEN_OPTIONS]
    return [QEMU, *machine, *counting, *output, *boot]


def parse(text: str) -> Costs:
    """What the kernel prints. LabError when an operation did not answer as it should, or it did
    not come to its end.
    """
    if error := re.search(r"minimal: (error=.*)$", text, re.MULTILINE):
        raise LabError("the minimal kernel stopped", why=error[1])
    if not re.search(r"^minimal: done\r?$", text, re.MULTILINE):
        raise LabError("the minimal kernel did not come to its end", why=text[-1000:])
    if not re.search(r"^minimal: trace records=\d+ lost=\d+\r?$", text, re.MULTILINE):
        raise LabError("the minimal kernel did not read its trace", why=text[-1000:])
    line = r"^minimal: kind=(\w+) name=(\w+) median=(\d+) p90=(\d+) p99=(\d+)\r?$"
    return {(kind, name): Cost(*map(int, numbers)) for kind, name, *numbers in re.findall(line, text, re.MULTILINE)}


def run(hypervisor: Path, *, instructions: bool) -> Costs:
    """Boot it once."""
    with tempfile.TemporaryDirectory() as folder:
        kernel = compile_kernel(Path(folder))
        arguments = command(hypervisor, kernel, instructions=instructions)
        try:
            done = subprocess.run(
                arguments,
                capture_output=True,
                stdin=subprocess.DEVNULL,
                text=True,
                errors="replace",
                timeout=SECONDS,
                check=False,
            )
        except FileNotFoundError:
            raise MissingError(f"{QEMU} is missing", remedy="./inv setup") from None
        except subprocess.TimeoutExpired:
            raise LabError(f"the minimal kernel was not done after {SECONDS} s", where=" ".join(arguments)) from None
    return parse(done.stdout + done.stderr)


def print_report(costs: Costs, unit: str) -> None:
    """Markdown."""
    print(f"{unit.capitalize()}, emulated (tcg), one processor\n")
    print("| pool | operation | median | 90 % | 99 % | in copies | within |\n|---|---|---|---|---|---|---|")
    for (kind, name), cost in costs.items():
        copies = cost.median / costs[kind, COPY].median
        within = ""
        if name in WITHIN:
            within = f"{TARGET:g}: {'yes' if copies <= TARGET else 'no'}"
        elif name == EACH:
            worst = cost.p99 / cost.median
            within = f"99 % by median {worst:.2f}, {WORST:g}: {'yes' if worst <= WORST else 'no'}"
        print(f"| {kind} | {name} | {cost.median} | {cost.p90} | {cost.p99} | {copies:.2f} | {within} |")


def tracing(costs: Costs) -> dict[tuple[str, str], float]:
    """(kind of pool, operation) -> what recording it adds, by what it takes without."""
    return {
        (kind, name): costs[kind + TRACED, name].median / cost.median - 1
        for (kind, name), cost in costs.items()
        if name in OPERATIONS and (kind + TRACED, name) in costs
    }


def print_tracing(costs: Costs) -> None:
    """Markdown."""
    print(f"\n| pool | operation | recording adds | within {TRACING:.0%} |\n|---|---|---|---|")
    for (kind, name), added in tracing(costs).items():
        print(f"| {kind} | {name} | {100 * added:.1f} % | {'yes' if added <= TRACING else 'no'} |")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hypervisor", default="xen", help="artifact: xen, xen_debug or xen_4_17 (default: xen)")
    parser.add_argument("--instructions", action="store_true", help="count instructions in place of cycles")
    parser.add_argument("--json", type=Path, help="write the figures to this file, too")
    options = parser.parse_args()
    hypervisor = builder.ensure([options.hypervisor])[options.hypervisor].path / "xen.elf32"
    costs = run(hypervisor, instructions=options.instructions)
    unit = "instructions" if options.instructions else "cycles"
    print_report(costs, unit)
    print_tracing(costs)
    if options.json:
        figures = [{"kind": kind, "name": name, **asdict(cost)} for (kind, name), cost in costs.items()]
        options.json.write_text(json.dumps({"schema": 1, "unit": unit, "costs": figures}, indent=1) + "\n")


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        raise SystemExit(str(error)) from None
