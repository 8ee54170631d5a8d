"""When does a policy pay? The sectors that guests read under it, over those of guests of fixed
sizes, at every share of memory, fallow share of the host and phase that an experiment varies; and
beside it what the model of analysis/predicted.py says.

The model is given the control's cells alone, so what it says of another policy is a prediction,
whenever that policy was measured. Where the control's cells do not say enough, it has no value.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

from analysis import accounting, predicted, rates, regime_noise, statistics, totals
from analysis.load import Results, levels_text
from analysis.predicted import Curve, Load, Setup
from analysis.regime_noise import READ, Repeat
from analysis.totals import Quantity
from campaigns.records import CellRecord
from common.units import KIB_PER_MIB, PAGE_BYTES, parse_duration, parse_size

VARIED = ("guests.memory_start", "host.guest_memory", "overcommit_ratio", "workload.phase")
"""Factors that move a point of the map. Whatever else varies makes it another question."""

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
    """A policy in a regime, beside another one, `over`: the control, or the policy without its
    parts, as selfballoon is for selfballoon+tmem.

    measured: sectors read over the other's; own: the same of the cells of this regime alone, with
    its interval where cells were repeated; predicted: as the model has it; even: as the control's
    curve has it for guests among whom the host is handed out. None where there is none. relative:
    the share over the working set. spread: of the control's readings at this share, the largest
    over the least; None of a single one. noise: between readings of one treatment, the largest
    factor anywhere in the map (regime_noise.py). lost: why nothing was measured, "" where something
    was. alike: the other levels whose readings of the control `measured` has, too.

    base: the policy without its parts, where that is neither this one nor the other; alone: what it
    read over the other; beside: what this one read over it. explained: of what was read less than
    under the other, what the pages that tmem returned stand for (8 sectors each). idle: whether
    tmem stored no page; None where there is none, or it was not counted. starved: whether a cell's
    host was. again: the other levels at which the policy is the same treatment.
    """

    policy: str
    over: str
    levels: str
    setup: Setup
    relative: float | None
    predicted: float | None
    even: float | None
    measured: float | None
    own: statistics.Ratio
    spread: float | None
    noise: float | None
    lost: str
    alike: tuple[str, ...] = ()
    base: str = ""
    alone: float | None = None
    beside: float | None = None
    explained: float | None = None
    idle: bool | None = None
    starved: bool = False
    again: tuple[str, ...] = ()

    @property
    def error(self) -> float | None:
        """Of the prediction, relative to what was measured."""
        return None if self.predicted is None or not self.measured else self.predicted / self.measured - 1

    @property
    def credit(self) -> float | None:
        """What tmem's hits explain of a difference that is more than noise."""
        return self.explained if self.differs else None

    @property
    def differs(self) -> bool | None:
        """Whether it is farther from 1 than readings of one treatment are from each other."""
        if self.measured is None or self.noise is None:
            return None
        return not 1 / self.noise <= self.measured <= self.noise


@dataclass(frozen=True)
class Map:
    """All points of a campaign, the curve from which they were predicted, and what was measured
    more than once.
    """

    control: str
    curve: Curve
    points: tuple[Point, ...]
    repeats: tuple[Repeat, ...]
    setups: Mapping[str, Setup]

    @property
    def against(self) -> list[Point]:
        """The points beside the control: what a policy is worth as a whole."""
        return [point for point in self.points if point.over == self.control]

    @property
    def parts(self) -> list[Point]:
        """The others: what its parts are worth."""
        return [point for point in self.points if point.over != self.control]


@lru_cache(maxsize=2)
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
    seen = _Seen(results, control, setups, curve_of(results, control, setups))
    points = []
    for policy in results.policies:
        for over in dict.fromkeys((control, policy.partition("+")[0])):
            for levels in setups:
                pair = {(policy, levels), (over, levels)}
                if policy not in (control, over) and pair <= set(results.planned):
                    points.append(seen.point(policy, over, levels))
    return Map(control, seen.curve, tuple(points), tuple(seen.repeats), setups)


@dataclass(frozen=True)
class _Seen:
    """What the control's cells show, for the points of a map."""

    results: Results
    control: str
    setups: Mapping[str, Setup]
    curve: Curve

    @cached_property
    def repeats(self) -> list[Repeat]:
        return regime_noise.repeats(self.results, self.control, self.setups)

    @cached_property
    def noise(self) -> float | None:
        """Between the readings of one treatment, the largest factor."""
        most = regime_noise.largest(self.repeats)
        return None if most is None else most.factor

    def point(self, policy: str, over: str, levels: str) -> Point:
        setup, least = self.setups[levels], self.curve.working_set
        load = _load(self.results, self.control, self.setups, levels)
        expected, other = (predicted.sectors(self.curve, load, setup, each) for each in (policy, over))
        even, below = (self.curve.at(mib) if over == self.control else None for mib in (setup.even, setup.share))
        own, readings, measured = self.measured(policy, over, levels)
        together = own.low is None and any(readings)
        base = policy.partition("+")[0]
        base = base if base in self.results.policies and base not in (policy, over) else ""
        alone, beside = (self.measured(*pair, levels)[2] if base else None for pair in ((base, over), (policy, base)))
        stored = regime_noise.stored(self.results, policy, levels)
        return Point(
            policy,
            over,
            levels,
            setup,
            relative=None if least is None else setup.share / least,
            predicted=None if expected is None or not other else expected / other,
            even=None if even is None or not below else even / below,
            measured=measured,
            own=own,
            spread=_spread(readings),
            noise=self.noise,
            lost="" if measured is not None else _lost(self.results, (policy, over), levels),
            alike=tuple(each for each in _alike(self.setups, setup) if each != levels) if together else (),
            base=base,
            alone=alone,
            beside=beside,
            explained=_explained(self.results, policy, levels, measured),
            idle=None if stored is None else stored == 0,
            starved=any(cell.starved for each in (policy, over) for cell in self.results.at(each, levels)),
            again=_again(self.setups, policy, self.control, levels),
        )

    def measured(self, policy: str, over: str, levels: str) -> tuple[statistics.Ratio, Sequence[float], float | None]:
        """Sectors read over another policy's: of this regime's cells alone, the readings of the
        control with this share, and the ratio to all of these, where cells were not repeated.
        """
        own = totals.ratio_of_quantity(self.results, READ, treatment=policy, control=over, levels=levels)
        if over != self.control:
            return own, [], own.estimate
        readings = _readings(self.results, over, self.setups, self.setups[levels])
        if own.low is not None or not any(readings):
            return own, readings, own.estimate
        mean = totals.centre_of(self.results, READ, policy, levels).mean
        return own, readings, None if mean is None else mean / statistics.mean(readings)


def _explained(results: Results, policy: str, levels: str, measured: float | None) -> float | None:
    """Of what was read less than under the other policy, by this ratio, what the pages that tmem
    returned stand for. None where no less was read.
    """
    told = {account.policy: account for account in accounting.summary(results, levels)}
    if (account := told.get(policy)) is None or not measured or measured >= 1:
        return None
    if account.explained is None or not account.sectors_policy:
        return None
    return account.explained / (account.sectors_policy / measured - account.sectors_policy)


def _again(setups: Mapping[str, Setup], policy: str, control: str, levels: str) -> tuple[str, ...]:
    """The other levels at which a policy is the same treatment."""
    mine = [group for group in regime_noise.groups(setups, policy, control) if levels in group]
    return tuple(other for group in mine for other in group if other != levels)


def _spread(readings: Sequence[float]) -> float | None:
    return max(readings) / min(readings) if len(readings) > 1 and min(readings) else None


def _readings(results: Results, control: str, setups: Mapping[str, Setup], at: Setup) -> list[float]:
    """What a guest of this share read under the control in each regime with this phase. What is
    fallow beside it is nothing to a guest that keeps what it has, so these are repetitions.
    """
    means = (totals.centre_of(results, READ, control, levels).mean for levels in _alike(setups, at))
    return [mean for mean in means if mean is not None]


def _alike(setups: Mapping[str, Setup], at: Setup) -> list[str]:
    return [levels for levels, each in setups.items() if (each.share, each.phase) == (at.share, at.phase)]


def _lost(results: Results, policies: Sequence[str], levels: str) -> str:
    """Why there is no ratio: what became of the cells, policy by policy."""
    said = []
    for policy in policies:
        cells = results.cells[(results.cells["policy"] == policy) & (results.cells["levels"] == levels)]
        bad = sorted({str(status) for status in cells["status"]} - {"complete"})
        said += [f"{policy}: {', '.join(bad)}"] if bad else []
    return "; ".join(said) or "no guest's reading is whole"


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
    interval, down, up = (driver.get(key) for key in ("interval", "downhysteresis", "uphysteresis"))
    return Setup(
        count,
        _mib(host),
        _mib(host) // count if start is None else _mib(start),
        limit,
        parse_duration(phase) if phase else 0.0,
        least,
        reserved,
        Setup.interval if interval is None else parse_duration(interval),
        float(down or Setup.down),
        float(up or Setup.up),
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
