"""A stored cell against what its raw outputs say: samples, barrier, metrics, gates and checksums
are made again, and compared.

Cells of campaigns of layout 1 (records.LAYOUT) do not have the readings before and after in raw/.
What can be recomputed from their samples is; that the first and the last readings there are those
that were taken, nothing else tells.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from campaigns import evaluate, former, gates, managed, plan, provenance, records, store
from campaigns.conditions import Conditions
from campaigns.evaluate import Figures, Run
from campaigns.experiment import Experiment
from campaigns.records import CampaignRecord, CellRecord, GateResult
from common import packed
from common.errors import UserError
from common.metrics import Metric, MetricSpec
from common.text import shortened
from lab.api import Sample
from lab.counters import kept, names

TOLERANCE = 1e-9
"""Relative: Python 3.12 sums floating point numbers more exactly than 3.11."""

_UNREADABLE = (
    ArithmeticError,
    AttributeError,
    LookupError,
    OSError,
    RecursionError,
    TypeError,
    UserError,
    ValueError,
)
"""What reading may raise of outputs that somebody has written: numbers of any size, any types."""

OLDER = (
    "cannot be recomputed from raw (older layout): the readings "
    "before and after the run are in samples/samples.csv only, "
    "and figures were compared with those"
)


@dataclass
class Recomputation:
    """Compares cells of one campaign. Conditions are worked out once for each combination of
    levels.
    """

    campaign: CampaignRecord
    experiment: Experiment
    _conditions: dict[str, Conditions] = field(default_factory=dict)

    def environment(self, cell: CellRecord, env: Mapping[str, object]) -> Iterator[str]:
        """What env.json says otherwise than the record and the experiment. Keys that only one of
        them knows are another version's.
        """
        identity = {"campaign": cell.campaign, "cell": cell.cell, "experiment_sha256": self.campaign.experiment_sha256}
        policy = next((policy for policy in self.experiment.policies if policy.name == cell.policy), None)
        told = {**identity, **(provenance.given(policy, self._at(cell).under(policy)) if policy else {})}
        parts = [env.get(name) for name in ("identity", "conditions")]
        stored = {key: value for part in parts if isinstance(part, Mapping) for key, value in part.items()}
        for key, was, wanted in _disagreements(stored, told):
            yield f"{key} is {was!r}, and {wanted!r} by the plan"

    def cell(self, path: Path, cell: CellRecord) -> Iterator[tuple[str, str]]:
        """File -> what is wrong with it. The cell ran to its end, and its place in the plan is
        right.
        """
        policy = next(policy for policy in self.experiment.policies if policy.name == cell.policy)
        conditions = self._at(cell).under(policy)
        if cell.barrier is None:
            return
        try:
            run = evaluate.from_raw(path / records.RAW_DIR, conditions) if is_whole(path, self.campaign) else None
            run = run or _from_samples(path, cell, conditions, self.campaign.layout)
            found = evaluate.figures(run, policy, conditions, self.campaign.claims)
        except FileNotFoundError as error:
            yield records.RAW_DIR, f"cannot be recomputed: {_below(error.filename, path)} is missing"
            return
        except _UNREADABLE as error:
            yield records.RAW_DIR, f"cannot be recomputed: {_brief(error)}"
            return
        if is_whole(path, self.campaign):
            yield from _samples(path, run, cell, self.campaign)
            if run.released != cell.barrier:
                yield records.CELL_FILE, f"the barrier is not that of {records.RAW_DIR}/{evaluate.BARRIER_LOG}"
        for message in managed.differences(run.managed, policy, conditions.tuning):
            yield f"{records.RAW_DIR}/{managed.FILE}", message
        for message in (
            *_metrics(cell, found, self.campaign.metrics),
            *self._gates(cell, found),
            *_others(
                cell, found, conditions.group_names(list(run.released.starts)), whole=is_whole(path, self.campaign)
            ),
        ):
            yield records.CELL_FILE, message

    def other_gates(self) -> str:
        """What is to be said when the campaign's gates are those of another version, which may ask
        otherwise, so that their verdicts cannot be made again; nothing when they are these. Whoever
        loosens a gate would also write another list.
        """
        there, here = set(self.campaign.gates), set(gates.names())
        if self.campaign.layout < 2 or gates.same_version(self.campaign.gates, self.experiment.policies):
            return ""
        differing = [
            f"{side} has {', '.join(sorted(names))}"
            for side, names in (("it", there - here), ("this testbed", here - there))
            if names
        ]
        which = "; ".join(differing) or "they stand in another order"
        begun = f" of commit {self.campaign.commit[:10]}" if self.campaign.commit else " that made them"
        return (
            f"the gates are not this testbed's ({which}), so no cell's verdicts on gates can be made again: "
            f"the list was changed, or these are results of another version; verify them with the testbed{begun}"
        )

    def _at(self, cell: CellRecord) -> Conditions:
        key = plan.level_key(cell.levels)
        if key not in self._conditions:
            self._conditions[key] = self.experiment.at(cell.levels)
        return self._conditions[key]

    def _gates(self, cell: CellRecord, found: Figures) -> Iterator[str]:
        stored = {gate.name: gate for gate in cell.gates}
        if len(stored) != len(cell.gates):
            yield "a gate is there twice"
        if self.other_gates():
            return
        for gate in found.gates:
            was = stored.pop(gate.name, None)
            if was is None:
                if self.campaign.layout >= 2:
                    yield f"gate {gate.name} is not there; recomputed, it {_verdict(gate)}"
            elif (was.passed, was.unit) != (gate.passed, gate.unit) or not (
                _same(was.observed, gate.observed) and _same(was.required, gate.required)
            ):
                yield f"gate {gate.name} {_verdict(was)}; recomputed, it {_verdict(gate)}"
        former = gates.FORMER if self.campaign.layout < 2 else ()
        for name in (name for name in stored if name not in former):
            yield f"gate {name} is none that applies"


def is_whole(path: Path, campaign: CampaignRecord) -> bool:
    """Whether raw/ holds, or has to hold, all that figures come from."""
    return campaign.layout >= 2 or (path / records.RAW_DIR / evaluate.BARRIER_LOG).is_file()


def _stored(path: Path, layout: int) -> str:
    """samples.csv of a cell, with the names that counters have now."""
    text = packed.text(path / records.SAMPLES_FILE)
    return text if layout >= records.LAYOUT else former.samples_text(text)


def _later(run: Run, campaign: CampaignRecord) -> Collection[str]:
    """The counters that came after a campaign. One that does not say which it had lacks at most
    those of which nothing was read.
    """
    if campaign.counters:
        return names.known().difference(campaign.counters)
    return names.known().difference(each.counter for each in run.readings if each.value is not None)


def _samples(path: Path, run: Run, cell: CellRecord, campaign: CampaignRecord) -> Iterator[tuple[str, str]]:
    assert cell.barrier is not None
    name = packed.found(path / records.SAMPLES_FILE).relative_to(path).as_posix()
    try:
        text = _stored(path, campaign.layout)
    except (OSError, ValueError) as error:
        yield name, f"cannot be read as a table of layout {campaign.layout}: {_brief(error)}"
        return
    unknown = {counter for counter in _later(run, campaign) if f",{counter}," not in text}
    readings = (sample for sample in run.readings if sample.counter not in unknown)
    wanted = store.samples_text(readings, cell.barrier.released_at)
    if text != wanted:
        lines = zip(text.splitlines(), wanted.splitlines(), strict=False)
        number, pair = next(((n, pair) for n, pair in enumerate(lines, 1) if pair[0] != pair[1]), (0, None))
        where = (
            f"line {number} is {pair[0]!r}, and {pair[1]!r} by raw/" if pair else "it is shorter or longer than raw/"
        )
        yield name, where


def _metrics(cell: CellRecord, found: Figures, declared: Sequence[MetricSpec]) -> Iterator[str]:
    stored, wanted = ({(each.name, each.guest): each for each in side} for side in (cell.metrics, found.metrics))
    for key in dict.fromkeys([*stored, *wanted]):
        was, is_ = stored.get(key), wanted.get(key)
        name = f"metric {key[0]} of {key[1] or 'the host'}"
        if was is None and records.find_spec(declared, key[0]) is None:
            continue  # a metric that came after the campaign
        if was is None:
            yield f"{name} is not there; recomputed, it is {_value(is_)}"
        elif is_ is None:
            yield f"{name} is {_value(was)}, and nothing in raw/ gives one"
        elif was.unit != is_.unit or not _same(was.value, is_.value):
            yield f"{name} is {_value(was)}; recomputed, it is {_value(is_)}"


def _others(cell: CellRecord, found: Figures, groups: Mapping[str, str], *, whole: bool) -> Iterator[str]:
    if cell.checksums != found.checksums:
        yield "the checksums are not those of the outputs in raw/"
    if cell.groups != groups:
        yield f"groups are {dict(cell.groups)!r}, and {dict(groups)!r} by the plan"
    for note in found.notes:
        if note not in cell.notes:
            yield f"a note is missing: {note}"
    for note in cell.notes if whole else ():
        if note not in found.notes:
            yield f"a note follows from nothing in raw/: {note}"


def _from_samples(path: Path, cell: CellRecord, conditions: Conditions, layout: int) -> Run:
    """The run of a cell of layout 1: the first reading of each counter is the one before, the
    last the one after.
    """
    assert cell.barrier is not None
    first: dict[tuple[str, str], Sample] = {}
    last: dict[tuple[str, str], Sample] = {}
    samples = []
    text = _stored(path, layout)
    for time, source, counter, unit, value in list(csv.reader(io.StringIO(text)))[1:]:
        sample = Sample(float(time) + cell.barrier.released_at, source, counter, unit, _number(value))
        first.setdefault((source, counter), sample)
        last[source, counter] = sample
        samples.append(sample)
    raw, guests = path / records.RAW_DIR, list(cell.barrier.starts)
    return Run(
        before=list(first.values()),
        after=list(last.values()),
        samples=samples,
        cost=kept.many_readings(kept.read(raw, guests, kept.SAMPLES), guests)[1],
        released=cell.barrier,
        results=evaluate.results(raw, guests, conditions),
        logs=evaluate.logs(raw),
    )


def _number(text: str) -> float | int | None:
    if not text:
        return None
    return int(text) if text.lstrip("-").isdigit() else float(text)


def _same(was: float | None, wanted: float | None) -> bool:
    if was is None or wanted is None:
        return was is wanted
    try:
        return was == wanted or math.isclose(was, wanted, rel_tol=TOLERANCE)
    except OverflowError:  # a whole number that no floating point number reaches
        return False


def _value(metric: Metric | None) -> str:
    return (
        "nothing" if metric is None else f"{'null' if metric.value is None else shortened(metric.value)} {metric.unit}"
    )


def _verdict(gate: GateResult) -> str:
    observed, required = ("nothing" if value is None else f"{value:.15g}" for value in (gate.observed, gate.required))
    return f"{'passed' if gate.passed else 'failed'} with {observed} where {required} {gate.unit} is required"


def _disagreements(stored: object, wanted: object, key: str = "") -> Iterator[tuple[str, object, object]]:
    if isinstance(stored, Mapping) and isinstance(wanted, Mapping):
        for name in wanted:
            if name in stored:
                yield from _disagreements(stored[name], wanted[name], f"{key}.{name}" if key else str(name))
    elif stored != wanted:
        yield key, stored, wanted


def _below(filename: object, path: Path) -> str:
    name = Path(str(filename))
    return name.relative_to(path).as_posix() if name.is_relative_to(path) else str(name)


def _brief(error: Exception) -> str:
    """An error in a line, with its notes before it: what was read."""
    notes = "".join(f"{note}: " for note in getattr(error, "__notes__", ()))
    if isinstance(error, UserError):
        return f"{notes}{error.what}: {error.why}"
    return f"{notes}{type(error).__name__}: {' '.join(str(error).split())}"
