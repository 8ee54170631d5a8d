#!/usr/bin/env python3
"""How long a large campaign takes to verify, to look at and to draw, and how much memory: 1,000
cells with a million samples.

    ./benchmarks/results_scale.py [--cells 1000] [--readings 4] [--levels 1] [--keep DIRECTORY]

The campaign is made of the raw outputs of the published one (results/reference), with times moved
and counters scaled at random from a fixed seed; so everything in it follows from its raw outputs,
and verification has nothing to find. Each figure is a process of its own; its peak memory is the
kernel's count. Prints Markdown. Seconds depend on the machine and what else it does, so the time
per cell of a campaign a quarter as large is beside each: a ratio near 1 says that the work grows
with the cells, and not with their square.
"""

from __future__ import annotations

import argparse
import copy
import json
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from campaigns import evaluate, provenance, records, store  # noqa: E402
from campaigns.experiment import Experiment, from_document  # noqa: E402
from campaigns.records import CampaignRecord, CellRecord, PlannedCell  # noqa: E402
from campaigns.run import campaign_record  # noqa: E402
from common import files  # noqa: E402
from lab.counters import kept  # noqa: E402

TEMPLATE = ROOT / "results" / "reference"
POLICIES = ("selfballoon", "selfballoon+tmem")
SEED = 2009
START = 1_800_000_000

_MEASURE = """
import resource, sys, time
sys.path.insert(0, {root!r})
from pathlib import Path
directory = Path({directory!r})
began = time.monotonic()
{code}
print(time.monotonic() - began, time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""

TASKS = {
    "plan of 10,000": "from campaigns import experiment, plan, records\n"
    "c = records.read_campaign(directory)\n"
    "most = {'repetitions': 500, 'factors': {'workload.parameters.jobs': [*range(1, 11)]}}\n"
    "assert len(plan.plan(experiment.from_document(c.name, {**c.experiment, **most}))) == 10_000",
    "status": "from campaigns import status, store\nstatus.status(store.CampaignStore(directory))",
    "verify": "from campaigns import verify\nverify.verify(directory).check()",
    "figures": "from analysis import report\nreport.summarise(directory)",
}
"""What is measured; a campaign may not have more cells than that plan."""


def make(directory: Path, cells: int, readings: int, levels: int) -> Path:
    """Write a campaign below a directory; its own."""
    files.sync = lambda _path: None  # type: ignore[assignment]  # a benchmark's files need not survive a power cut
    template = records.read_campaign(TEMPLATE)
    content: dict[str, Any] = copy.deepcopy(dict(template.experiment))
    content["policies"] = list(POLICIES)
    content["claims"] = [claim for claim in content["claims"] if claim["compare"]["control"] in POLICIES]
    content["repetitions"] = max(1, cells // len(POLICIES) // levels)
    content["factors"] = {"workload.parameters.jobs": list(range(1, levels + 1))} if levels > 1 else {}
    experiment = from_document("scale", content)
    campaign = campaign_record(experiment, "tcg", f"scale-{cells}", None, ("benchmarks/results_scale.py",))
    stored = store.create(directory, campaign)
    for planned in campaign.cells:
        _write(stored, campaign, experiment, planned, readings)
    return stored.directory


def _write(
    stored: store.CampaignStore,
    campaign: CampaignRecord,
    experiment: Experiment,
    planned: PlannedCell,
    readings: int,
) -> None:
    chance = random.Random(f"{SEED}:{planned.cell}")
    policy = next(policy for policy in experiment.policies if policy.name == planned.policy)
    conditions = experiment.at(planned.levels)
    source = TEMPLATE / records.CELLS_DIR / f"{planned.policy}.r1"
    guests = sorted(path.name for path in (source / records.RAW_DIR).glob("guest*") if path.is_dir())
    writer = stored.begin(planned.cell)
    for name in (*guests, evaluate.KERNEL_LOG):
        shutil.copytree(source / records.RAW_DIR / name, writer.raw / name)
    released = START + 1000 * planned.order
    said = _said(kept.read(source / records.RAW_DIR, guests, kept.SAMPLES), readings, released, chance)
    kept.keep({name: lines[:1] for name, lines in said.items()}, writer.raw / evaluate.BEFORE, kept.READING)
    kept.keep({name: lines[-1:] for name, lines in said.items()}, writer.raw / evaluate.AFTER, kept.READING)
    kept.keep({name: lines[1:-1] for name, lines in said.items()}, writer.raw, kept.SAMPLES)
    marks = [f"{name} {mark} {(released + at) * 10**9}\n" for name in guests for mark, at in (("GO", 0), ("DONE", 140))]
    (writer.raw / evaluate.BARRIER_LOG).write_text("".join(marks))
    run = evaluate.from_raw(writer.raw, conditions)
    writer.write_samples(run.readings, run.released.released_at)
    found = evaluate.figures(run, policy, conditions, campaign.claims)
    record = CellRecord(
        schema=records.SCHEMA,
        campaign=campaign.campaign,
        cell=planned.cell,
        experiment=campaign.name,
        policy=planned.policy,
        levels=planned.levels,
        repetition=planned.repetition,
        block=planned.block,
        order=planned.order,
        status="complete" if all(gate.passed for gate in found.gates) else "invalid",
        host="xen1",
        host_kind="emulated",
        accelerator="tcg",
        metrics=found.metrics,
        gates=found.gates,
        timings={"run": 140.0},
        barrier=run.released,
        checksums=found.checksums,
        notes=found.notes,
        failure=None,
        started_at=f"2027-01-01T00:00:00.{planned.order:06}Z",
        finished_at=f"2027-01-01T00:02:20.{planned.order:06}Z",
    )
    host = (records.read_env(source) or {}).get("host")
    stored.commit(writer, record, provenance.environment(policy, conditions, host, campaign, planned.cell))


def _said(
    answers: Mapping[str, Sequence[str]], readings: int, released: int, chance: random.Random
) -> dict[str, list[str]]:
    """That many of the template's readings, the first and the last among them, moved to this
    cell's time; sectors vary by some per cent.
    """
    scale = chance.uniform(0.95, 1.05)
    found: dict[str, list[str]] = {}
    for name, lines in answers.items():
        told = [line for line in lines if not line.startswith(('{"cost', "cost"))]
        chosen = [told[round(place * (len(told) - 1) / (readings - 1))] for place in range(readings)]
        times = [released - 1 if place == 0 else released + 141 * place / (readings - 1) for place in range(readings)]
        moved = _moved_host if name == "dom0" else _moved_guest
        found[name] = [moved(line, time, scale) for line, time in zip(chosen, times, strict=True)]
    return found


def _moved_host(line: str, time: float, scale: float) -> str:
    reading: dict[str, Any] = json.loads(line)
    reading["time"] = time
    for devices in reading["vbd"].values():
        for device in devices.values():
            device["rd_sect"] = round(device["rd_sect"] * scale)
    return json.dumps(reading)


def _moved_guest(line: str, time: float, _scale: float) -> str:
    return f"{time:.3f} {line.partition(' ')[2]}"


def measure(task: str, directory: Path) -> tuple[float, float, float]:
    """Seconds by the clock, seconds of a processor, and MiB of a task in a process of its own."""
    script = _MEASURE.format(root=str(ROOT), directory=str(directory), code=TASKS[task])
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    seconds, spent, mebibytes = done.stdout.split()[-3:]
    return float(seconds), float(spent), float(mebibytes)


def main() -> None:
    """Make both campaigns, measure, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--cells", type=int, default=1000)
    parser.add_argument("--readings", type=int, default=4, help="of every counter in a cell; 4 make a million samples")
    parser.add_argument("--levels", type=int, default=1, help="of a factor")
    parser.add_argument("--keep", type=Path, help="an empty directory for the campaigns, not removed at the end")
    options = parser.parse_args()
    place = options.keep or Path(tempfile.mkdtemp(prefix="results-scale-"))
    place.mkdir(parents=True, exist_ok=True)
    try:
        small, large = (
            make(place, cells, options.readings, options.levels) for cells in (options.cells // 4, options.cells)
        )
        samples = sum(len(path.read_text().splitlines()) - 1 for path in large.glob("cells/*/samples/samples.csv"))
        count = len(list(records.cell_directories(large)))
        print(f"{count} cells, {samples:,} samples; {options.levels} level(s)\n")
        print(
            "| task | seconds | of a processor | MiB at most | "
            "processor time per cell ÷ that of a quarter of the cells |"
        )
        print("|---|---|---|---|---|")
        for task in TASKS:
            (_, few, _), (seconds, spent, mebibytes) = (measure(task, directory) for directory in (small, large))
            growth = "–" if task.startswith("plan") else f"{spent / few / 4:.2f}"
            print(f"| {task} | {seconds:.1f} | {spent:.1f} | {mebibytes:.0f} | {growth} |", flush=True)
    finally:
        if options.keep is None:
            shutil.rmtree(place)


if __name__ == "__main__":
    main()
