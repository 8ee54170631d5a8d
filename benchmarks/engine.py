#!/usr/bin/env python3
"""What a campaign's engine costs: the share of a campaign's time that is not workload, how long the
plan of a large one takes, and how much faster two hosts are than one.

    ./benchmarks/engine.py [--results NAME,NAME] [--seconds 3] [--cells 12] [--no-dask]

The share is read from the cells of campaigns that ran (by default those that are in git). Hosts are
made up, in processes of their own: a cell waits for so many seconds and is stored as any other, so
that what is measured is the engine, and no machine has to have processors for two emulated hosts.
Two hosts and one, two workers of a Dask scheduler and one, are measured in one run: quote the
ratios. 2 would be a perfect engine. Prints Markdown.
"""

from __future__ import annotations

import argparse
import contextlib
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from campaigns import plan, records  # noqa: E402
from campaigns.experiment import from_document  # noqa: E402
from common.errors import UserError  # noqa: E402

PUBLISHED = ("reference", "reference-repeated")
TESTS = ROOT / "tests" / "unit"

_HEAD = """
import sys
sys.path[:0] = [{root!r}, {tests!r}]
from pathlib import Path
from campaign_fakes import EXPERIMENT, FakePlace, write_experiment
base = Path({base!r})
"""

_CONTROLLER = (
    _HEAD
    + """
from workloads import registry
from campaigns.run import run_with
from common.needs import NOTHING
if __name__ == "__main__":
    registry._CLASSES["fake"] = "campaign_fakes:FakeLoad"
    text = EXPERIMENT.replace("count: 3", "count: 1").replace("480", "160").replace("static, ", "")
    wanted = write_experiment(base, text.replace("repetitions: 2", "repetitions: {repetitions}"))
    names = {names!r}
    if {address!r}:
        from campaigns.remote import Workers
        crew = Workers({address!r}, NOTHING)
    else:
        from campaigns.hands import Hands
        crew = Hands([FakePlace(base, name, delay_s={seconds}, beside=tuple(names)) for name in names])
    with crew:
        run_with(wanted, crew, hosts=None, results=base / "results").check()
"""
)

_WORKER = (
    _HEAD
    + """
from campaigns import worker
if __name__ == "__main__":
    place = FakePlace(base, {name!r}, delay_s={seconds}, beside={names!r})
    worker.serve({address!r}, {name!r}, lambda needs: place, print)
"""
)

_SCHEDULER = (
    "import sys; sys.path.insert(0, {root!r}); from campaigns import worker; worker.schedule({address!r}, print)"
)


def overhead(directory: Path) -> tuple[float, dict[str, float]]:
    """Share of the time of a campaign's cells that is not their workload, and each stage's share.
    What passed between two runs of the task is nobody's.
    """
    cells = records.read_cells(directory)
    spans = {cell.cell: (_time(cell.started_at), _time(cell.finished_at)) for cell in cells}
    whole = sum(end - begin for begin, end in spans.values())
    stages: dict[str, float] = {}
    for cell in cells:
        for stage, seconds in cell.timings.items():
            stages[stage] = stages.get(stage, 0.0) + seconds / whole
    return 1 - stages["run"], stages


def _time(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def planned() -> float:
    """Seconds for the plan of 10,000 cells."""
    template = records.read_campaign(ROOT / "results" / PUBLISHED[0])
    most = {"policies": ["selfballoon", "selfballoon+tmem"], "claims": [], "repetitions": 500}
    levels = {"factors": {"workload.parameters.jobs": [*range(1, 11)]}}
    made = from_document("large", {**template.experiment, **most, **levels})
    began = time.monotonic()
    assert len(plan.plan(made)) == 10_000
    return time.monotonic() - began


def took(names: Sequence[str], repetitions: int, seconds: float, *, dask: bool) -> float:
    """Seconds from the first cell's start to the last one's end, on so many hosts."""
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        common = {"root": str(ROOT), "tests": str(TESTS), "base": folder, "seconds": seconds}
        address = stack.enter_context(_cluster(names, common)) if dask else ""
        script = _CONTROLLER.format(**common, names=list(names), repetitions=repetitions, address=address)
        _script(Path(folder), "controller", script, wait=True)
        cells = records.read_cells(Path(folder) / "results" / "test")
        if len(cells) != 2 * repetitions or len({cell.host for cell in cells}) != len(names):
            raise SystemExit(
                f"{len(cells)} cells on {len({cell.host for cell in cells})} hosts: that is no measurement"
            )
        return max(_time(cell.finished_at) for cell in cells) - min(_time(cell.started_at) for cell in cells)


@contextlib.contextmanager
def _cluster(names: Sequence[str], common: dict[str, object]) -> Iterator[str]:
    """A scheduler with a worker for each host."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    folder = Path(str(common["base"]))
    started = [_script(folder, "scheduler", _SCHEDULER.format(root=str(ROOT), address=address))]
    try:
        time.sleep(5)  # for it to listen: a worker that comes before is turned away
        scripts = {name: _WORKER.format(**common, name=name, names=tuple(names), address=address) for name in names}
        started += [_script(folder, name, text) for name, text in scripts.items()]
        yield address
    finally:
        for process in reversed(started):
            process.terminate()
            process.wait()


def _script(folder: Path, name: str, text: str, *, wait: bool = False) -> subprocess.Popen[bytes]:
    """A process that runs a text; what it says is shown when it fails."""
    path = folder / f"{name}.py"
    path.write_text(text)
    with (folder / f"{name}.log").open("wb") as log:
        process = subprocess.Popen([sys.executable, str(path)], stdout=log, stderr=log)
    if wait and process.wait():
        raise SystemExit((folder / f"{name}.log").read_text())
    return process


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", default=",".join(PUBLISHED), help="campaigns whose share is told")
    parser.add_argument("--seconds", type=float, default=3.0, help="that a made-up cell waits")
    parser.add_argument("--cells", type=int, default=12, help="of a made-up campaign; an even number")
    parser.add_argument("--no-dask", action="store_true", help="leave out what needs ./inv setup --dask")
    options = parser.parse_args()
    print("| campaign | not workload | of it: " + " | ".join(plan.STAGES[:-1]) + " |")
    print("|---" * (2 + len(plan.STAGES[:-1])) + "|")
    for name in options.results.split(","):
        try:
            share, stages = overhead(ROOT / "results" / name)
        except UserError as error:
            raise SystemExit(str(error)) from None
        told = " | ".join(f"{100 * stages.get(stage, 0.0):.1f} %" for stage in plan.STAGES[:-1])
        print(f"| {name} | {100 * share:.1f} % | {told} |")
    print(f"\nplan of 10,000 cells: {planned():.2f} s\n")
    print(f"| {options.cells} cells of {options.seconds:g} s on | seconds | ratio |")
    print("|---|---|---|")
    for kind, dask in (("host", False), ("worker", True)):
        if dask and options.no_dask:
            continue
        one, two = (
            took(names, options.cells // 2, options.seconds, dask=dask) for names in (("xen1",), ("xen1", "xen2"))
        )
        print(f"| one {kind} | {one:.1f} | |")
        print(f"| two {kind}s | {two:.1f} | {one / two:.2f} |")


if __name__ == "__main__":
    main()
