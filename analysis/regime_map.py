"""When does a policy pay? The sectors that guests read under it, over those of guests of fixed
sizes, at every share of memory, fallow share of the host and phase that an experiment varies; and
beside it what the model of analysis/predicted.py says.

The model is given the control's cells alone, so what it says of another policy is a prediction,
whenever that policy was measured. Where the control's cells do not say enough, it has no value.
"""

from __future__ import annotations

import math
import statistics as middle
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from analysis import panels, predicted, rates, sections, statistics, totals
from analysis.load import Results, levels_text
from analysis.predicted import Curve, Load, Setup
from analysis.sections import Source
from analysis.totals import Quantity
from campaigns.records import CellRecord
from common.units import KIB_PER_MIB, PAGE_BYTES, parse_duration, parse_size

VARIED = ("guests.memory_start", "host.guest_memory", "overcommit_ratio", "workload.phase")
"""Factors that move a point of the map. Whatever else varies makes it another question."""

READ = Quantity("", ("sectors_read",), "mean", "sectors", "sectors read")
"""Of a guest."""
_SECONDS = Quantity("", ("wall_seconds",), "mean", "s", "time of a guest")
_MIB_PER_PAGE = PAGE_BYTES / 2**20


@dataclass(frozen=True)
class Published:
    """A set-up of the literature. fallow: share of the host's memory that its guests did not have.
    Its working set is in no text, so it is a line over all shares, and no point.
    """

    name: str
    fallow: float
    basis: str


PUBLISHED = (
    Published("E2", 0.14, "E2 (2010, recalled): four guests of 384 MB on 2 GB, of which dom0 has 256 MB"),
    Published("E1", 0.25, "E1 (2009): eight guests of 384 MB on 4 GB, dom0's part unsaid, so 25 % at most"),
)


@dataclass(frozen=True)
class Point:
    """A policy in a regime. ratio: of sectors read to the control's, as measured; predicted: the
    same as the model has it; None where there is none. relative: the share over the working set.
    """

    policy: str
    levels: str
    setup: Setup
    relative: float | None
    predicted: float | None
    ratio: statistics.Ratio

    @property
    def error(self) -> float | None:
        """Of the prediction, relative to what was measured."""
        measured = self.ratio.estimate
        return None if self.predicted is None or not measured else self.predicted / measured - 1

    @property
    def side(self) -> bool | None:
        """Whether both are on the same side of 1."""
        measured = self.ratio.estimate
        return None if self.predicted is None or measured is None else (self.predicted < 1) == (measured < 1)


@dataclass(frozen=True)
class Map:
    """All points of a campaign, and the curve from which they were predicted."""

    control: str
    curve: Curve
    points: tuple[Point, ...]

    def errors(self) -> list[float]:
        """Of all predictions that were measured, without their signs."""
        return [abs(error) for error in statistics.present(point.error for point in self.points)]


def found(results: Results) -> Map | None:
    """The map of a campaign. None where its factors are no regime's, guests are unlike, or its
    first policy moves memory.
    """
    control = totals.control_of(results)
    setups = _setups(results, control)
    if setups is None or control not in predicted.OWN:
        return None
    if len({setup.share for setup in setups.values()}) < 2 or len(results.policies) < 2:
        return None
    curve = curve_of(results, control, setups)
    loads = {levels: _load(results, control, setups, levels) for levels in setups}
    least = curve.working_set
    points = []
    for policy in results.policies:
        for levels, setup in setups.items():
            if policy == control or (policy, levels) not in results.planned:
                continue
            ratio = totals.ratio_of_quantity(results, READ, treatment=policy, control=control, levels=levels)
            relative = None if least is None else setup.share / least
            expected = _expected(curve, loads[levels], setup, policy, control)
            points.append(Point(policy, levels, setup, relative, expected, ratio))
    return Map(control, curve, tuple(points))


def _expected(curve: Curve, load: Load, setup: Setup, policy: str, control: str) -> float | None:
    above, below = (predicted.sectors(curve, load, setup, each) for each in (policy, control))
    return None if above is None or not below else above / below


# --- What the control's cells show --------------------------------------------------------------


def curve_of(results: Results, control: str, setups: Mapping[str, Setup]) -> Curve:
    """Sectors that a guest read with so much memory: means over the control's cells at the least
    phase. Its guests keep what they have, so what is fallow beside them is nothing to them.
    """
    by_share: dict[float, list[float]] = {}
    for levels in _unstaggered(setups):
        mean = totals.centre_of(results, READ, control, levels).mean
        if mean is not None:
            by_share.setdefault(setups[levels].share, []).append(mean)
    return Curve(tuple((share, statistics.mean(each)) for share, each in sorted(by_share.items())))


def _unstaggered(setups: Mapping[str, Setup]) -> list[str]:
    least = min(setup.phase for setup in setups.values())
    return [levels for levels, setup in setups.items() if setup.phase == least]


def _load(results: Results, control: str, setups: Mapping[str, Setup], levels: str) -> Load:
    """What a guest with this share showed under the control."""
    alike = [each for each in _unstaggered(setups) if setups[each].share == setups[levels].share]
    return load_of(results, [cell for each in alike for cell in results.at(control, each)])


def load_of(results: Results, cells: Sequence[CellRecord]) -> Load:
    """What a guest showed in these cells, means over all of theirs."""
    guests = [(cell, guest) for cell in cells for guest in rates.guests(results, levels_text(cell.levels))]
    return Load(
        statistics.mean_of_all([_committed(results, cell, guest) for cell, guest in guests]),
        statistics.mean_of_all([_kept(results, cell, guest) for cell, guest in guests]),
        statistics.mean_of_all([totals.value(results, cell, _SECONDS) for cell in cells]),
    )


def _committed(results: Results, cell: CellRecord, guest: str) -> float | None:
    """Mean over the guest's own run [MiB]."""
    times, values = results.series.known(cell.cell, guest, "meminfo.Committed_AS")
    if cell.barrier is None or guest not in cell.barrier.ends:
        return None
    during = values[(times >= cell.barrier.starts[guest]) & (times <= cell.barrier.ends[guest])]
    return statistics.mean(during.tolist()) / KIB_PER_MIB if len(during) else None


def _kept(results: Results, cell: CellRecord, guest: str) -> float | None:
    """What a guest has beyond what its page allocator manages [MiB]."""
    _, memory = results.series.known(cell.cell, guest, "memory")
    _, managed = results.series.known(cell.cell, guest, "meminfo.MemTotal")
    if not len(memory) or not len(managed):
        return None
    return max(0.0, float(memory[0]) * _MIB_PER_PAGE - float(managed[0]) / KIB_PER_MIB)


# --- Where a point stands -----------------------------------------------------------------------


def _setups(results: Results, control: str) -> dict[str, Setup] | None:
    """Levels -> where guests run there. None where the experiment is of something else."""
    document: Any = results.campaign.experiment
    factors = document.get("factors") or {}
    if len(factors) < 2 or not set(factors) <= set(VARIED) or "groups" in (document.get("guests") or {}):
        return None
    every = {levels_text(cell.levels): cell.levels for cell in results.campaign.cells}
    return {levels: _setup(document, every[levels], control) for levels in results.levels}


def _setup(document: Mapping[str, Any], levels: Mapping[str, object], control: str) -> Setup:
    count = int(_told(document, levels, "guests.count"))
    host, ratio, most = (
        _told(document, levels, path) for path in ("host.guest_memory", "overcommit_ratio", "guests.memory_max")
    )
    if host is None:
        host = str(math.floor(count * _mib(most) / float(ratio))) + " MiB"
    limit = math.floor(_mib(host) * float(ratio or 1) / count) if most == "fit" else _mib(most)
    start = _told(document, levels, "guests.memory_start") if control == "fixed" else None
    phase = _told(document, levels, "workload.phase")
    driver = document.get("selfballoon") or {}
    least, reserved = (None if driver.get(key) is None else _mib(driver[key]) for key in ("min_usable", "reserved"))
    return Setup(
        count,
        _mib(host),
        _mib(host) // count if start is None else _mib(start),
        limit,
        parse_duration(phase) if phase else 0.0,
        least,
        reserved,
    )


def _told(document: Mapping[str, Any], levels: Mapping[str, object], path: str) -> Any:  # noqa: ANN401
    """A key of the experiment at factor levels; None where it says nothing."""
    if path in levels:
        return levels[path]
    found: Any = document
    for part in path.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found


def _mib(size: object) -> float:
    return parse_size(size) / 2**20


# --- The report ---------------------------------------------------------------------------------

GIVEN = ("share of a guest [MiB]", "share ÷ working set", "fallow", "phase [s]", "predicted")
"""Columns of what was declared, or follows from the control's cells at all levels."""
_COLUMNS = ("policy", *GIVEN, "measured", "error")


def said(results: Results) -> list[str]:
    """The section of report.md; empty where the campaign is no map."""
    if (made := found(results)) is None:
        return []
    rows = [
        (
            point.policy,
            f"{point.setup.share:g}",
            _number(point.relative),
            f"{100 * point.setup.fallow:.0f} %",
            f"{point.setup.phase:g}",
            _number(point.predicted),
            _number(point.ratio.estimate),
            sections.MISSING if point.error is None else f"{100 * point.error:+.0f} %",
        )
        for point in made.points
    ]
    sources = [Source((point.policy, made.control), point.levels) for point in made.points]
    return [
        f"Sectors read over those under {made.control}, at every regime: below 1, the policy pays. {curve_text(made)}",
        sections.table(_COLUMNS, rows, sources),
        (
            f"{agreement(made)} A prediction is made of the cells of {made.control} alone (analysis/predicted.py says "
            "how, and what it leaves out). A dash is what could not be predicted, or was not measured."
        ),
    ]


def curve_text(made: Map) -> str:
    """What the control's guests read, and the working set that follows."""
    if not made.curve.points:
        return f"No cell of {made.control} is complete, so nothing can be predicted."
    curve = ", ".join(f"{panels.number(read)} with {mib:g} MiB" for mib, read in made.curve.points)
    least = made.curve.working_set
    bound = f"reads at most {predicted.KNEE:g} times the least"
    known = (
        f"From {least:.0f} MiB on it {bound}: the working set."
        if least is not None
        else (
            f"The working set is not known: with the least of these memories it already {bound}, or only with the most."
        )
    )
    return f"A guest read on average {curve} (sectors). {known}"


def agreement(made: Map) -> str:
    """How far predictions are from what was measured."""
    errors = made.errors()
    if not errors:
        return "No prediction was measured yet."
    sides = [point.side for point in made.points if point.side is not None]
    right = [side for side in sides if side]
    return (
        f"Of {len(made.points)} points {len(errors)} were both predicted and measured: half of the predictions are "
        f"within {100 * middle.median(errors):.0f} %, the worst is {100 * max(errors):.0f} % off, and "
        f"{len(right)} of {len(sides)} are on the right side of 1."
    )


def _number(value: float | None) -> str:
    return sections.MISSING if value is None else f"{value:.2f}"
