"""Made-up campaigns for the tests of the analysis: the shape of a kernel build in overcommitted
guests, figures invented.

Nothing here may reach results/: these are not measurements.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from campaigns import records
from campaigns.records import (
    BarrierRecord,
    CampaignRecord,
    CellRecord,
    Claim,
    Comparison,
    Expectation,
    Failure,
    GateResult,
    PlannedCell,
)
from common.metrics import Metric, MetricSpec

POLICIES = ("static", "selfballoon", "selfballoon+tmem")
GUESTS = ("guest1", "guest2", "guest3")
RELEASED = 1_790_000_000.0
MIB_PAGES = 256

CLAIMS = (
    Claim(
        "fewer-sectors",
        "tmem reads up to 52 % fewer sectors on a kernel compile workload",
        "Linux commit 5bc20fc59706",
        "quoted",
        "sectors_read",
        "sum",
        Comparison("selfballoon+tmem", "selfballoon"),
        Expectation("decrease", 0.48, 1.0),
    ),
    Claim(
        "faster",
        "tmem is 5 to 8 % faster",
        "Xen Summit 2010",
        "recalled",
        "wall_seconds",
        "max",
        Comparison("selfballoon+tmem", "selfballoon"),
        Expectation("decrease", 0.92, 0.95),
    ),
    Claim(
        "written",
        "sectors written are unchanged",
        "Xen Summit 2010",
        "recalled",
        "sectors_written",
        "sum",
        Comparison("selfballoon+tmem", "selfballoon"),
        Expectation("unchanged", tolerance=0.25),
    ),
)

_SPECS = (
    ("wall_seconds", "s", "lower"),
    ("sectors_read", "sectors", "lower"),
    ("sectors_written", "sectors", "lower"),
    ("vcpu_seconds", "s", "lower"),
    ("dom0_vcpu_seconds", "s", "lower"),
    ("major_faults", "count", "lower"),
    ("swap_in", "pages", "lower"),
    ("swap_out", "pages", "lower"),
    ("swap_sectors_read", "sectors", "lower"),
    ("cleancache_hits", "pages", "neither"),
    ("frontswap_loads", "pages", "neither"),
    ("tmem_ephemeral_hits", "pages", "neither"),
    ("tmem_persistent_hits", "pages", "neither"),
    ("tmem_cycles", "cycles", "lower"),
    ("read_requests", "requests", "lower"),
    ("disk_requests", "requests", "lower"),
    ("pages_reclaimed", "pages", "lower"),
    ("refaults", "pages", "lower"),
    ("memory_stall_seconds", "s", "lower"),
    ("sampling_cost", "fraction", "lower"),
)
METRICS = tuple(MetricSpec(name, unit, better, name) for name, unit, better in _SPECS)  # type: ignore[arg-type]

Change = Callable[[CellRecord], CellRecord]
"""What a test does to a cell before it is written."""


def write_campaign(
    results: Path,
    *,
    repetitions: int = 3,
    policies: Sequence[str] = POLICIES,
    levels: Sequence[Mapping[str, object]] = ({},),
    guests: Sequence[str] = GUESTS,
    claims: Sequence[Claim] = CLAIMS,
    change: Change | None = None,
    samples: bool = True,
    host_kind: str = "emulated",
    name: str = "made-up",
    opaque: bool = False,
    boots: int | None = None,
    gates: Mapping[str, object] | None = None,
    experiment: Mapping[str, object] | None = None,
) -> Path:
    """Write a campaign below `results`; its directory. opaque: cells whose names say nothing.
    boots: repetitions are so many runs of each. experiment: what else its document has.
    """
    random = np.random.default_rng(2009)
    plan: list[PlannedCell] = []
    for repetition in range(1, repetitions + 1):
        points = [(policy, level) for policy in policies for level in levels]
        for index in random.permutation(len(points)):
            policy, level = points[index]
            suffix = "".join(f".{key}-{value}" for key, value in level.items())
            cell = f"c{len(plan):03}" if opaque else f"{policy}{suffix}.r{repetition}"
            place = (None, None) if boots is None else ((repetition - 1) % boots + 1, (repetition - 1) // boots + 1)
            plan.append(PlannedCell(cell, policy, dict(level), repetition, repetition, len(plan), 100.0, *place))
    campaign = CampaignRecord(
        schema=records.SCHEMA,
        campaign=name,
        name="demo",
        experiment={
            "policies": list(policies),
            "guests": {"count": len(guests), "memory_max": "256 MiB"},
            "host": {"guest_memory": "416 MiB"},
            **({"gates": dict(gates)} if gates else {}),
            **(experiment or {}),
        },
        experiment_sha256="0" * 64,
        seed=1,
        cells=tuple(plan),
        claims=tuple(claims),
        metrics=METRICS,
        versions={"python": "3.11.7"},
        commit=None,
        dirty=None,
        lock_sha256=None,
        arguments=("campaign.run", "demo"),
        created_at="2026-11-23T10:00:00Z",
        layout=records.LAYOUT,
    )
    directory = results / name
    for folder in (records.CELLS_DIR, records.ATTEMPTS_DIR):
        (directory / folder).mkdir(parents=True)
    (directory / records.CAMPAIGN_FILE).write_text(records.dumps(campaign), encoding="utf-8")
    for planned in plan:
        effort = random.normal(1, 0.03)
        record = cell_record(name, planned, guests, float(effort), host_kind)
        record = change(record) if change else record
        write_cell(directory, record, guests, samples=samples)
    return directory


def cell_record(
    campaign: str, planned: PlannedCell, guests: Sequence[str], effort: float, host_kind: str = "emulated"
) -> CellRecord:
    """A complete cell with metrics that add up: with tmem about 95 % of the sectors saved are
    hits.
    """
    tmem, balloon = planned.policy.endswith("+tmem"), planned.policy != "static"
    metrics: list[Metric] = []
    ends = {}
    for index, guest in enumerate(guests):
        size = effort * (1 + 0.08 * index)
        without = round(size * (61_000 if balloon else 48_000))
        ephemeral, persistent = (round(size * 2_700), round(size * 450)) if tmem else (None, None)
        read = without - round(((ephemeral or 0) + (persistent or 0)) * 8 / 0.95)
        ends[guest] = size * (74.0 if balloon and not tmem else 68.5 if tmem else 70.0)
        for metric, unit, value in (
            ("wall_seconds", "s", ends[guest]),
            ("sectors_read", "sectors", read),
            ("sectors_written", "sectors", round(size * (21_000 if balloon else 19_500))),
            ("vcpu_seconds", "s", size * (49.0 + 1.2 * tmem)),
            ("major_faults", "count", round(size * (2300 if balloon else 1500))),
            ("swap_in", "pages", round(size * 800) if balloon else 0),
            ("swap_sectors_read", "sectors", round(read * 0.15) if balloon else 0),
            ("swap_out", "pages", round(size * 1100) if balloon else 0),
            ("cleancache_hits", "pages", ephemeral),
            ("frontswap_loads", "pages", persistent),
            ("tmem_ephemeral_hits", "pages", ephemeral),
            ("tmem_persistent_hits", "pages", persistent),
            ("tmem_cycles", "cycles", round(size * 9_000_000) if tmem else None),
            ("read_requests", "requests", round(read / 64)),
            ("disk_requests", "requests", round(read / 64) + round(size * 320)),
            ("pages_reclaimed", "pages", round(size * 9_000) if balloon else 0),
            ("refaults", "pages", round(size * 5_000) if balloon else 0),
            ("memory_stall_seconds", "s", size * 3.1 if balloon else 0.0),
        ):
            metrics.append(Metric(metric, unit, value, guest))
    metrics.append(Metric("dom0_vcpu_seconds", "s", 17.0 * effort, None))
    metrics.append(Metric("sampling_cost", "fraction", 0.01 * planned.repetition, None))
    return CellRecord(
        schema=records.SCHEMA,
        campaign=campaign,
        cell=planned.cell,
        experiment="demo",
        policy=planned.policy,
        levels=planned.levels,
        repetition=planned.repetition,
        block=planned.block,
        order=planned.order,
        status="complete",
        host="host1",
        host_kind=host_kind,
        accelerator="tcg" if host_kind == "emulated" else None,
        metrics=tuple(metrics),
        gates=(GateResult("pressure", True, 900, 100, "pages", "guests must have felt the pressure"),),
        timings={"reset": 9.5, "run": 75.0},
        barrier=BarrierRecord(0.021, RELEASED, dict.fromkeys(guests, 0.01), ends),
        checksums={guest: {"vmlinux.o": "a" * 64} for guest in guests},
        notes=(),
        failure=None,
        started_at="2026-11-23T10:00:00Z",
        finished_at="2026-11-23T10:02:00Z",
        boot=planned.boot,
        run=planned.run,
    )


def failed(record: CellRecord) -> CellRecord:
    """The same cell as a failed attempt."""
    failure = Failure(
        "GuestLost", "run", "guest2 did not answer for 60 s", f"./inv campaign.run demo --cell {record.cell}"
    )
    return dataclasses.replace(record, status="failed", metrics=(), gates=(), failure=failure, barrier=None)


def invalid(record: CellRecord) -> CellRecord:
    """The same cell, failing a gate, with figures that would be seen at once in any total."""
    gate = GateResult("pressure", False, 3, 100, "pages", "guests must have felt the pressure")
    metrics = tuple(dataclasses.replace(metric, value=1e9) for metric in record.metrics)
    return dataclasses.replace(record, status="invalid", gates=(gate,), metrics=metrics)


def without_value(record: CellRecord, metric: str, guest: str | None) -> CellRecord:
    """The same cell with one metric that could not be read."""
    metrics = tuple(
        dataclasses.replace(item, value=None) if (item.name, item.guest) == (metric, guest) else item
        for item in record.metrics
    )
    return dataclasses.replace(record, metrics=metrics)


def write_cell(directory: Path, record: CellRecord, guests: Sequence[str], *, samples: bool = True) -> Path:
    """Write a cell where the store would put it."""
    place = directory / records.CELLS_DIR / record.cell
    if record.status == "failed":
        place = directory / records.ATTEMPTS_DIR / f"{record.cell}.1"
    place.mkdir(parents=True)
    (place / records.CELL_FILE).write_text(records.dumps(record), encoding="utf-8")
    if samples and record.barrier:
        path = place / records.SAMPLES_FILE
        path.parent.mkdir()
        path.write_text(
            "\n".join([",".join(records.SAMPLE_COLUMNS), *_samples(record, guests)]) + "\n", encoding="utf-8"
        )
    return place


def _samples(record: CellRecord, guests: Sequence[str]) -> list[str]:
    tmem, balloon = record.policy.endswith("+tmem"), record.policy != "static"
    values = {(metric.name, metric.guest): metric.value for metric in record.metrics}
    lines = []
    for second in range(-2, 101, 2):
        for index, guest in enumerate(guests):
            done = min(1.0, max(0.0, second / 70))
            bump = math.exp(-(((second - 25 - 9 * index) / 16) ** 2))
            memory = 128.0 if not balloon else (74 - 9 * tmem) + 70 * bump + 4 * math.sin(second / 3 + index)
            rows: list[tuple[str, str, object]] = [("memory", "pages", round(memory * MIB_PAGES))]
            read = values["sectors_read", guest]
            swap = 0.15 if balloon else 0.0
            if read is not None:
                rows.append(("xvda_sectors_read", "sectors", round(read * done * (1 - swap))))
                rows.append(("swap_sectors_read", "sectors", round(read * done * swap)))
            for kind in ("ephemeral", "persistent"):
                hits = values[f"tmem_{kind}_hits", guest]
                pages = (38 - 30 * bump if kind == "ephemeral" else 14 * bump) * min(1.0, (second + 2) / 15)
                rows.append((f"tmem_{kind}_pages", "pages", round(pages * MIB_PAGES) if tmem else ""))
                rows.append((f"tmem_{kind}_hits", "count", "" if hits is None else round(hits * done)))
                tried = "" if hits is None else round(hits * done * (1.9 + 0.2 * index if kind == "ephemeral" else 1.0))
                rows.append((f"tmem_{kind}_gets_tried", "count", tried))
            lines += [f"{second:.3f},{guest},{counter},{unit},{value}" for counter, unit, value in rows]
        lines.append(f"{second:.3f},hypervisor,free_memory,pages,4096")
    return lines
