"""What the parts of a campaign say about each other, whatever their sums: files that no testbed
writes, records that contradict what lies beside them, times and numbers that cannot be.

For campaigns.verify, of campaigns whose layout is 2 or newer; older ones do not tell enough.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from pathlib import Path

from campaigns import evaluate, managed, plan, records, reproduce, starved
from campaigns.experiment import Experiment
from campaigns.plan import block_order
from campaigns.records import CampaignRecord, CellRecord
from common import packed
from lab.counters import kept
from lab.counters.parse import DOM0, HYPERVISOR

IN_CELL = (records.CELL_FILE, records.ENV_FILE, records.SUMS_FILE, "samples", records.RAW_DIR)
IN_RAW = (evaluate.BEFORE, evaluate.AFTER, evaluate.BARRIER_LOG, evaluate.KERNEL_LOG, starved.FILE, managed.FILE)
TOLD = {"host": "name", "host_kind": "kind", "accelerator": "accelerator"}
"""Key of cell.json -> key of `host` in env.json."""


def of_campaign(campaign: CampaignRecord) -> Iterator[str]:
    """What campaign.json says of itself that cannot be."""
    if campaign.layout > records.LAYOUT:
        yield f"layout {campaign.layout} is not known: this testbed writes {records.LAYOUT}"
    if (campaign.layout >= 2) != bool(campaign.gates):
        has = "a" if campaign.gates else "no"
        yield f"layout {campaign.layout} has {has} list of gates: one of the two was changed"
    if _time(campaign.created_at) is None:
        yield f"created_at is {campaign.created_at!r}, no time"


def against(campaign: CampaignRecord, experiment: Experiment) -> Iterator[str]:
    """What campaign.json says otherwise than its experiment."""
    if campaign.seed != experiment.seed:
        yield f"the seed is {campaign.seed}, and {experiment.seed} in the experiment"
    if campaign.claims != experiment.claims:
        yield "the claims are not the experiment's"
    if campaign.until != experiment.until:
        yield "when its repetitions end is not the experiment's"
    specs = {spec.name: (spec.unit, spec.better) for spec in experiment.metrics}
    for spec in campaign.metrics:
        if specs.get(spec.name, (spec.unit, spec.better)) != (spec.unit, spec.better):
            yield f"metric {spec.name} is not declared as the testbed has it"
    wanted, planned = ([cell.cell for cell in cells] for cells in (plan.plan(experiment), campaign.cells))
    if set(planned) != set(wanted):
        yield "the plan's cells are not those of the experiment"
    elif campaign.layout >= 2 and planned != wanted:
        yield f"the order of the plan is not the one that seed {campaign.seed} gives"
    for block, members in itertools.groupby(campaign.cells, key=lambda cell: cell.block):
        named = [cell.cell for cell in members]
        if campaign.layout < 2 and named != block_order(campaign.seed, block, named):
            yield f"the order of block {block} is not the one that seed {campaign.seed} gives"


def of_cell(
    path: Path, cell: CellRecord, env: Mapping[str, object], campaign: CampaignRecord
) -> Iterator[tuple[str, str]]:
    """File of a cell that ran to its end -> what is wrong with it."""
    guests = list(cell.barrier.starts) if cell.barrier else []
    conditions = env.get("conditions")
    traced = isinstance(conditions, Mapping) and bool(conditions.get("traced"))
    for name in _strangers(path, [*guests, *([evaluate.TRACE] if traced else [])]):
        yield name, "was added: no testbed writes it"
    if traced and not (path / records.RAW_DIR / evaluate.TRACE).is_file():
        yield f"{records.RAW_DIR}/{evaluate.TRACE}", "is missing: the experiment asks for it"
    for source in (HYPERVISOR, DOM0, *guests):
        if not (path / records.RAW_DIR / evaluate.KERNEL_LOG / f"{source}.txt").is_file():
            yield f"{records.RAW_DIR}/{evaluate.KERNEL_LOG}/{source}.txt", "is missing: every source has a kernel log"
    told = packed.found(path / reproduce.FILE)
    script = _head(told)
    if script and f"for cell {cell.cell} of campaign {cell.campaign}," not in script:
        yield told.name, "is of another cell"
    for key in ("identity", "conditions", "host"):
        if not isinstance(env.get(key), Mapping):
            yield records.ENV_FILE, f"{key} is missing"
    host = env.get("host")
    for key, name in TOLD.items():
        if isinstance(host, Mapping) and name in host and host[name] != getattr(cell, key):
            yield records.CELL_FILE, f"{key} is {getattr(cell, key)!r}, and {host[name]!r} in {records.ENV_FILE}"
    if (path / records.RAW_DIR / starved.FILE).is_file() and cell.host_kind != "emulated":
        yield records.CELL_FILE, f"a {cell.host_kind} host has no {records.RAW_DIR}/{starved.FILE}"
    for message in _times(cell, campaign):
        yield records.CELL_FILE, message


def of_attempts(names: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Directory of an attempt -> what is wrong with its number: they are counted from 1, and none
    is ever removed.
    """
    found: dict[str, list[int]] = {}
    for name in names:
        cell, number = records.attempt_number(name)
        found.setdefault(cell, []).append(number)
    for cell, numbers in found.items():
        if max(numbers) != len(numbers):
            yield f"{cell}.{max(numbers)}", f"there are {len(numbers)} attempts, so others before it were taken away"


def copies(cells: Iterable[tuple[str, CellRecord]]) -> Iterator[tuple[str, str]]:
    """Directory -> the other one that it is a copy of: two runs of a host do not begin in the same
    millisecond.
    """
    seen: dict[tuple[str, str], str] = {}
    for name, cell in cells:
        other = seen.setdefault((cell.started_at, cell.host), name)
        if other != name:
            yield name, f"it started at the same time as {other}: one is a copy"


def _strangers(path: Path, guests: Iterable[str]) -> Iterator[str]:
    guests = list(guests)
    machines = (DOM0, *guests)
    for each in sorted(path.iterdir()):
        if each.name not in (*IN_CELL, packed.found(path / reproduce.FILE).name):
            yield each.name
    raw = path / records.RAW_DIR
    sampled = (packed.found(kept.file(raw, name, kept.SAMPLES)).name for name in machines)
    known = {*IN_RAW, *guests, *sampled}
    for each in sorted(raw.iterdir()) if raw.is_dir() else ():
        if each.name not in known:
            yield f"{records.RAW_DIR}/{each.name}"
    sources = {f"{name}.txt" for name in (HYPERVISOR, *machines)}
    readings = {f"{name}.{'jsonl' if name == DOM0 else 'txt'}" for name in machines}
    for folder, known in (
        (f"{records.RAW_DIR}/{evaluate.KERNEL_LOG}", sources),
        (f"{records.RAW_DIR}/{evaluate.BEFORE}", readings),
        (f"{records.RAW_DIR}/{evaluate.AFTER}", readings),
        ("samples", {packed.found(path / records.SAMPLES_FILE).name}),
    ):
        at = path / folder
        for each in sorted(at.iterdir()) if at.is_dir() else ():
            if each.name not in known:
                yield f"{folder}/{each.name}"


def _head(path: Path) -> str:
    """The beginning of a text; nothing of one that is not there, or cannot be read."""
    try:
        return packed.content(path)[:1000].decode(errors="replace")
    except (OSError, ValueError):
        return ""


def _times(cell: CellRecord, campaign: CampaignRecord) -> Iterator[str]:
    started, finished = _time(cell.started_at), _time(cell.finished_at)
    if started is None or finished is None:
        yield f"started_at is {cell.started_at!r} and finished_at {cell.finished_at!r}: not both are times"
        return
    if finished < started:
        yield f"it finished at {cell.finished_at}, before it started at {cell.started_at}"
    created = _time(campaign.created_at)
    if created is not None and started < created:
        yield f"it started at {cell.started_at}, before its campaign was created at {campaign.created_at}"


def _time(text: str) -> datetime | None:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return found if found.tzinfo is not None else None
