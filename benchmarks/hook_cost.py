#!/usr/bin/env python3
"""What the driver's hooks cost on a kernel that Debian ships while tmem is empty: instructions of a
kernel build in a guest, with the driver by those without it.

    .venv/bin/python benchmarks/hook_cost.py [--inventory inventory/instructions.yml]
    [--kernel debian-6.12] [--rounds 5] [--json FILE]

One guest, which has memory for all that the build reads. Each round compiles the same objects, once
with all files in memory, where hooks see little but what the build itself removes, and once with
none, where each read of the disk asks tmem first, in vain: Xen refuses every page. (tmem is frozen,
so that a page that is refused is flushed, too: two hypercalls, where lack of memory takes one.) All
rounds without the driver come first, since it cannot be taken away again; the first of each kind
does not count. What is counted is the processor time of the guest as Xen has it, hypercalls
included and waiting left out: on the lab of inventory/instructions.yml a nanosecond of it is an
instruction.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from common.errors import LabError, UserError  # noqa: E402  (found by the line above)
from common.needs import Needs  # noqa: E402
from lab import kernels, lifecycle  # noqa: E402
from lab.api import GuestSizing, HostSizing, TmemSettings  # noqa: E402
from lab.build import builder  # noqa: E402
from lab.hosts.host import XenHost  # noqa: E402
from policies import apply  # noqa: E402
from policies import registry as policies  # noqa: E402

GUEST, MEMORY_MIB = "guest1", 320
SECONDS = 1800
"""Bound for one build."""

MOST = 0.02
"""What hooks may cost, by the build without them."""

KINDS = {"warm": "", "cold": "sync; echo 3 > /proc/sys/vm/drop_caches"}
"""Whether files are in memory -> what is done before a build."""

BUILD = """\
set -e
cd /var/lib/overcommit/build
make -s -C /usr/src/linux O=$PWD {objects} > /dev/null
ls {objects}
"""
OBJECTS = ("kernel/exit.o", "lib/radix-tree.o")


class Builds(Protocol):
    """A guest that builds."""

    def prepare(self, before: str) -> None:
        """Run sh before a build, which is not counted."""

    def build(self) -> None:
        """Build once."""

    def used(self) -> int:
        """Its processor time so far, in nanoseconds."""


@dataclass(frozen=True)
class Cost:
    """Medians of one kind of build, in nanoseconds of the guest's processor. spread: the most by
    which rounds of the same differ, by their median.
    """

    kind: str
    without: float
    loaded: float
    spread: float

    @property
    def share(self) -> float:
        """What the hooks cost, by the build without them."""
        return self.loaded / self.without - 1


class Guest:
    """The guest of a host."""

    def __init__(self, host: XenHost) -> None:
        self._host = host
        host.agents.start([])

    def prepare(self, before: str) -> None:
        script = f"set -e; cd /var/lib/overcommit/build; rm -f {' '.join(OBJECTS)}\n{before}"
        self._host.run(GUEST, script, timeout=SECONDS, step="preparing a build")

    def build(self) -> None:
        """Fails when an object was not made."""
        script = BUILD.format(objects=" ".join(OBJECTS))
        self._host.run(GUEST, script, timeout=SECONDS, step="building")

    def used(self) -> int:
        """As Xen counts it."""
        (line,) = self._host.agents.ask({"dom0": "once"})["dom0"]
        found = [each["cpu_ns"] for each in json.loads(line)["domains"] if each["name"] == GUEST]
        if len(found) != 1:
            raise LabError(f"Xen knows no {GUEST}", where=self._host.name)
        return int(found[0])


def measure(guest: Builds, rounds: int) -> dict[str, list[int]]:
    """Kind of build -> nanoseconds of each round."""
    found: dict[str, list[int]] = {}
    for kind, before in KINDS.items():
        for number in range(rounds + 1):
            guest.prepare(before)
            began = guest.used()
            guest.build()
            if number:
                found.setdefault(kind, []).append(guest.used() - began)
    return found


def costs(without: Mapping[str, Sequence[int]], loaded: Mapping[str, Sequence[int]]) -> list[Cost]:
    """What the rounds say."""
    found = []
    for kind, plain in without.items():
        sides = (plain, loaded[kind])
        spread = max((max(each) - min(each)) / statistics.median(each) for each in sides)
        found.append(Cost(kind, statistics.median(plain), statistics.median(loaded[kind]), spread))
    return found


def report(found: Sequence[Cost], kernel: str, unit: str) -> str:
    """Markdown."""
    lines = [
        f"Builds of {', '.join(OBJECTS)} in a guest with {kernel}, medians in millions of {unit}",
        "",
        f"| files | without the driver | with it, tmem empty | cost | rounds differ by | below {100 * MOST:g} % |",
        "|---|---|---|---|---|---|",
    ]
    for each in found:
        within = "yes" if each.share < MOST else "no"
        lines.append(
            f"| {each.kind} | {each.without / 1e6:.1f} | {each.loaded / 1e6:.1f} | {100 * each.share:+.2f} % "
            f"| {100 * each.spread:.2f} % | {within} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Measure and print."""
    stock = [name for name, each in kernels.KERNELS.items() if not each.own_hooks]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inventory", type=Path, default=ROOT / "inventory" / "instructions.yml")
    parser.add_argument("--kernel", choices=stock, default=stock[0])
    parser.add_argument("--rounds", type=int, default=5, help="builds of each kind (default: 5)")
    parser.add_argument("--json", type=Path, help="write the figures to this file, too")
    options = parser.parse_args()
    began = time.monotonic()

    def tell(text: str) -> None:
        print(f"[{time.monotonic() - began:5.0f} s] {text}", file=sys.stderr, flush=True)

    needs = Needs(kernels=(options.kernel,))
    builder.ensure(lifecycle.artifacts_for(options.inventory, needs), needs=needs)
    images = partial(lifecycle.artifact_images, needs=needs)
    sizing = GuestSizing(1, 1, MEMORY_MIB, MEMORY_MIB, 64, boots=options.kernel)
    with lifecycle.open_lab(options.inventory, progress=tell, images=images) as lab:
        host = lab.hosts[0]
        host.reset(HostSizing(MEMORY_MIB + 64, 384, 2), sizing)
        guest = Guest(host)
        tell("builds without the driver")
        without = measure(guest, max(options.rounds, 1))
        host.set_tmem(TmemSettings(frozen=True))
        host.load_driver(apply.parameters(apply.suited(policies.parse("static+tmem"), options.kernel)), {})
        tell("builds with it")
        found = costs(without, measure(guest, max(options.rounds, 1)))
        icount = getattr(getattr(host, "settings", None), "icount", False)
        unit = "instructions" if icount else "nanoseconds of the guest's processor"
        print(report(found, options.kernel, unit))
        if options.json:
            document = {"schema": 1, "kernel": options.kernel, "unit": unit, "provenance": host.provenance()}
            options.json.write_text(json.dumps(document | {"costs": [asdict(each) for each in found]}, indent=1) + "\n")


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)
