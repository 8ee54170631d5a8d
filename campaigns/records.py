"""The records of a campaign, as results/ holds them, and how they are read. Schema version 1.

    results/<campaign>/campaign.json              CampaignRecord, written once, when the campaign is
    created results/<campaign>/SHA256SUMS                 of campaign.json and of the SHA256SUMS of
    every cell and attempt results/<campaign>/cells/<cell>/cell.json     CellRecord of a cell that
    ran to its end: `complete`, or `invalid` (a gate failed)
                                    env.json      provenance: JSON object samples/samples.csv
                                    SAMPLE_COLUMNS; time_s is relative to the barrier's release (the
                                    first reading is before it) raw/...       every tool's own
                                    output SHA256SUMS    of all the files above, as sha256sum(1)
                                    writes and checks it
    results/<campaign>/attempts/<cell>.<n>/       the same files, of attempts that do not count:
    `failed`, or superseded by a rerun
    results/<campaign>/looks/<n>.json             Look, where the data chooses the sample size

`analysis` imports this module and none of the others. A figure that could not be read is None here
and null in the file, never 0. Times of day are ISO 8601 in UTC; durations are seconds; sizes say
their unit in the key.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import TypeAdapter, ValidationError
from pydantic_core import to_jsonable_python

from campaigns import looks
from campaigns.looks import Look, Until
from common.errors import ResultsError
from common.metrics import STRICT, Metric, MetricSpec, total
from common.text import each_key_once, whole_number

SCHEMA = 1

LAYOUT = 3
"""What new campaigns hold. 1: the root's sums know campaign.json only, and raw/ lacks the
readings before and after. 2: both are there. 3: counters in samples.csv have the names of metrics;
of older ones, campaigns/former.py knows what they are called now.
"""

CAMPAIGN_FILE = "campaign.json"
CELLS_DIR = "cells"
ATTEMPTS_DIR = "attempts"
LOOKS_DIR = "looks"
CELL_FILE = "cell.json"
ENV_FILE = "env.json"
SAMPLES_FILE = "samples/samples.csv"
RAW_DIR = "raw"
SUMS_FILE = "SHA256SUMS"
STARVED = "the host was starved"
"""How the note of a cell begins whose host its machine starved (campaigns/starved.py)."""

SAMPLE_COLUMNS = ("time_s", "source", "counter", "unit", "value")

Status = Literal["complete", "invalid", "failed"]
Evidence = Literal["quoted", "source", "recalled", "ours"]
Direction = Literal["decrease", "increase", "unchanged", "at_most", "at_least"]
BOUNDED: frozenset[Direction] = frozenset({"unchanged", "at_most", "at_least"})
"""Those that claim no effect, within a tolerance, instead of one."""
Aggregate = Literal["sum", "mean", "min", "max"]
ControlFrom = Literal["source", "ours"]

T = TypeVar("T")


class Record:
    """What every record is: read strictly. An unknown, missing or ill-typed key is an error that
    names it.
    """

    __pydantic_config__ = STRICT


@dataclass(frozen=True)
class Comparison(Record):
    """Which policy is compared with which: the ratio is treatment ÷ control."""

    treatment: str
    control: str


@dataclass(frozen=True)
class Expectation(Record):
    """What the literature lets one expect of the ratio treatment ÷ control.

    ratio_low, ratio_high: the published range of the ratio (52 % fewer is 0.48); either may be None
    when not published. ratio_best: the published best case, of "up to 52 % fewer": a figure that
    one case reached and that others need not. tolerance: for `unchanged`, the largest deviation of
    the ratio from 1 that still counts as unchanged (0.05 is 5 %), and of one side only for
    `at_most` (costs nothing) and `at_least`; with a published figure, the relative deviation from
    it that still counts as reaching it.
    """

    direction: Direction
    ratio_low: float | None = None
    ratio_high: float | None = None
    tolerance: float | None = None
    ratio_best: float | None = None

    @property
    def bounds(self) -> tuple[float, float]:
        """Between which ratios a claim of no effect lies: from 0 or to infinity where it is of one
        side.
        """
        tolerance = self.tolerance or 0.0
        return (
            0.0 if self.direction == "at_most" else 1 - tolerance,
            math.inf if self.direction == "at_least" else 1 + tolerance,
        )

    @property
    def best(self) -> float | None:
        """The best case. A range that reaches to no effect is one, too: that is how older
        experiments wrote "up to".
        """
        if self.ratio_best is not None:
            return self.ratio_best
        if self.direction == "decrease" and self.ratio_high in (None, 1):
            return self.ratio_low
        return self.ratio_high if self.direction == "increase" and self.ratio_low in (None, 1) else None


@dataclass(frozen=True)
class Relief:
    """What a control has to have felt for a claim of relief to be testable: any one of the three,
    in every cell, all guests together.

    pages_reclaimed, refaults: pages. memory_stall: share of the guests' time in which some task
    waited for memory. None: does not count.
    """

    pages_reclaimed: float | None = 1024
    refaults: float | None = 256
    memory_stall: float | None = 0.01


@dataclass(frozen=True)
class Claim(Record):
    """A statement of the literature in a form that a campaign can support, contradict or leave
    open.

    metric: a name of CampaignRecord.metrics. aggregate: how the guests' values become the cell's
    one value. control_from: whose choice the control is: the published source's, or ours because it
    names none. relief: whether the claim is that something gets better than under the control,
    which then has to have suffered; None: it is when the metric's better side is claimed. group:
    whose guests it is of; None: of all. regime: in which it was made, and how that of the
    experiment differs; contradicted_by: what would; both None where nobody wrote them down.
    """

    id: str
    statement: str
    source: str
    evidence: Evidence
    metric: str
    aggregate: Aggregate
    compare: Comparison
    expectation: Expectation
    control_from: ControlFrom = "ours"
    relief: bool | None = None
    group: str | None = None
    regime: str | None = None
    contradicted_by: str | None = None


@dataclass(frozen=True)
class PlannedCell(Record):
    """A point of the plan. order: position in the campaign, from 0. block: the repetition block
    within which the order is random.

    levels: factor path -> level, as the experiment file writes it; empty without factors.
    repetition counts from 1. expected_seconds: what the cell should take on the kind of host the
    plan was made for. boot, run: from 1, where boots of the host are repeated, and runs within
    each; None in plans whose cells all start from one boot.
    """

    cell: str
    policy: str
    levels: Mapping[str, object]
    repetition: int
    block: int
    order: int
    expected_seconds: float
    boot: int | None = None
    run: int | None = None


@dataclass(frozen=True)
class CampaignRecord(Record):
    """What was asked: everything that fixes a campaign before its first cell.

    experiment: the resolved experiment, every default filled in. experiment_sha256: of its
    canonical JSON; a resume compares it. cells: the plan, in order. metrics: what cells yield, with
    units and meaning. versions: of the testbed, Python and libraries. commit: of the testbed, None
    outside git; dirty: whether the checkout differed from it. lock_sha256: of requirements.lock.
    arguments: the command that created the campaign. lab: the name of the lab it was begun on; None
    in campaigns from before it was recorded. layout: LAYOUT of the testbed that created it. gates:
    those that a cell had to pass then (campaigns.gates.GATES); empty in layout 1. inventory: the
    lab's file, as it was named; None for the default lab, and in campaigns from before it was
    recorded. counters: those that were sampled, single disks' aside; empty before layout 3. scale:
    the preset of the experiment, if any. until: where the data chooses how many of the plan's
    repetitions there are. hosts: of the lab, where there are several, which run shares in no order.
    """

    schema: int
    campaign: str
    name: str
    experiment: Mapping[str, object]
    experiment_sha256: str
    seed: int
    cells: tuple[PlannedCell, ...]
    claims: tuple[Claim, ...]
    metrics: tuple[MetricSpec, ...]
    versions: Mapping[str, str]
    commit: str | None
    dirty: bool | None
    lock_sha256: str | None
    arguments: tuple[str, ...]
    created_at: str
    lab: str | None = None
    layout: int = 1
    gates: tuple[str, ...] = ()
    inventory: str | None = None
    counters: tuple[str, ...] = ()
    scale: str | None = None
    until: Until | None = None
    hosts: tuple[str, ...] = ()

    def spec(self, metric: str) -> MetricSpec | None:
        """The declaration of a metric of this campaign's cells; None for an unknown name."""
        return find_spec(self.metrics, metric)


def find_spec(specs: Iterable[MetricSpec], metric: str) -> MetricSpec | None:
    """The declaration of a metric by name. `<n>` in a declared name stands for a number from 1."""
    for spec in specs:
        if re.fullmatch(re.escape(spec.name).replace("<n>", "[1-9][0-9]*"), metric):
            return spec
    return None


@dataclass(frozen=True)
class GateResult(Record):
    """The verdict of a validity gate. observed and required are in `unit`; observed None when it
    could not be read (the gate then fails).

    reason: in words what the gate demands and why a run without it says nothing.
    """

    name: str
    passed: bool
    observed: float | int | None
    required: float | int | None
    unit: str
    reason: str


@dataclass(frozen=True)
class BarrierRecord(Record):
    """The moment the guests were released. skew_seconds: latest minus earliest release.
    released_at: host epoch seconds of the earliest.

    starts, ends: guest -> seconds from the release to the start and the end of its workload, which
    may start later than its guest is released. releases: guest -> seconds from the earliest release
    to its own; empty in campaigns of before it was recorded, whose workloads started then.
    """

    skew_seconds: float
    released_at: float
    starts: Mapping[str, float]
    ends: Mapping[str, float]
    releases: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Failure(Record):
    """Why an attempt failed. kind: a class of campaigns.failures; stage: where; rerun: the
    command that reruns just this cell.
    """

    kind: str
    stage: str
    message: str
    rerun: str


@dataclass(frozen=True)
class CellRecord(Record):
    """What happened. A `failed` record has a failure and no metrics; an `invalid` one has its
    metrics, but no analysis may use them.

    timings: stage -> seconds. checksums: guest -> name -> digest of the workload's output,
    identical between guests and policies. notes: what a reader of the figures must know, such as a
    counter that went backwards. boot, run: as planned. groups: guest -> the group that it is of;
    empty where all guests are alike.
    """

    schema: int
    campaign: str
    cell: str
    experiment: str
    policy: str
    levels: Mapping[str, object]
    repetition: int
    block: int
    order: int
    status: Status
    host: str
    host_kind: str
    accelerator: str | None
    metrics: tuple[Metric, ...]
    gates: tuple[GateResult, ...]
    timings: Mapping[str, float]
    barrier: BarrierRecord | None
    checksums: Mapping[str, Mapping[str, str]]
    notes: tuple[str, ...]
    failure: Failure | None
    started_at: str
    finished_at: str
    boot: int | None = None
    run: int | None = None
    groups: Mapping[str, str] = field(default_factory=dict)

    @property
    def starved(self) -> bool:
        """Whether the host's machine gave it too little processor time, so that nothing that is
        measured in time has a value.
        """
        return any(note.startswith(STARVED) for note in self.notes)

    def value(self, metric: str, how: Aggregate = "sum") -> float | None:
        """One value of a metric, aggregated over the guests (a host's metric has one value).
        None when any guest's value is.
        """
        return aggregate([m.value for m in self.metrics if m.name == metric], how)


def aggregate(values: Iterable[float | int | None], how: Aggregate) -> float | None:
    """Sum, mean, min or max. None when there is no value or any is None: a sum over fewer guests
    is another figure, not a smaller one.
    """
    known: list[float | int] = []
    for value in values:
        if value is None:
            return None
        known.append(value)
    if not known:
        return None
    if how in ("min", "max"):
        return min(known) if how == "min" else max(known)
    return total(known) / (len(known) if how == "mean" else 1)


def read_campaign(directory: Path, *, whole: bool = False) -> CampaignRecord:
    """campaign.json of a campaign. ResultsError when it is not there, damaged, or of another
    schema.

    Where the data chooses the sample size, the cells are those that are wanted after the looks
    that were taken; whole: all that the plan holds.
    """
    record = read_record(CampaignRecord, directory / CAMPAIGN_FILE)
    if record.until is None or whole:
        return record
    size = looks.size_now(record.until, read_looks(directory))
    return replace(record, cells=looks.within(record.cells, record.until, size))


def read_looks(directory: Path) -> list[Look]:
    """The looks that were taken, in their order. ResultsError as of read_campaign."""
    found: list[Look] = []
    while (path := directory / LOOKS_DIR / f"{len(found) + 1}.json").is_file():
        found.append(read_record(Look, path))
    return found


def read_cell(directory: Path) -> CellRecord:
    """cell.json of a cell or an attempt. ResultsError when it is not there, damaged, or of
    another schema.
    """
    return read_record(CellRecord, directory / CELL_FILE)


def cell_directories(directory: Path) -> Iterator[Path]:
    """The directories of the cells that ran to their end, sorted by name; temporary ones are
    left out.
    """
    return _directories(directory / CELLS_DIR)


def attempt_directories(directory: Path) -> Iterator[Path]:
    """The directories of the attempts that do not count, by cell, then in the order they were
    made.
    """
    return iter(sorted(_directories(directory / ATTEMPTS_DIR), key=lambda path: attempt_number(path.name)))


def attempt_number(name: str) -> tuple[str, int]:
    """Cell and number of an attempt's directory name `<cell>.<n>`. ResultsError when it is not
    one.
    """
    if not (match := re.fullmatch(r"(.+)\.(\d+)", name)):
        raise ResultsError(f"{name!r} is not the name of an attempt", why="names in attempts/ are <cell>.<number>")
    return match[1], int(match[2])


def read_cells(directory: Path) -> list[CellRecord]:
    """Every cell that ran to its end, complete or invalid, in the order of the plan."""
    return sorted((read_cell(path) for path in cell_directories(directory)), key=lambda cell: cell.order)


def read_attempts(directory: Path) -> list[CellRecord]:
    """Every attempt that does not count: failed, or superseded by a rerun."""
    return [read_cell(path) for path in attempt_directories(directory)]


def read_env(directory: Path) -> Mapping[str, Any] | None:
    """env.json of a cell; None when it is not there. ResultsError when it is damaged."""
    path = directory / ENV_FILE
    try:
        document = json.loads(path.read_text(encoding="utf-8"), parse_int=whole_number)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise ResultsError(
            "a file of the results cannot be read", where=str(path), why=str(error), remedy="./inv results.verify"
        ) from None
    if not isinstance(document, dict):
        raise ResultsError("a record does not have the form of its schema", where=str(path), why="it is no object")
    return document


def dumps(record: object) -> str:
    """The JSON text of a record or JSON value, as every file of results/ holds it: indented, keys
    in declared order, newline at the end.

    ValueError for NaN and infinities: JSON has none, and a figure that could not be read is null.
    """
    value = to_jsonable_python(record, inf_nan_mode="constants")
    return json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def read_record(kind: type[T], path: Path) -> T:
    """A record from a JSON file. ResultsError, with file and key, when it cannot be."""
    try:
        text = path.read_text(encoding="utf-8")
        document = json.loads(text, object_pairs_hook=each_key_once, parse_int=whole_number)
    except FileNotFoundError:
        raise ResultsError(
            "a file is missing from the results", where=str(path), remedy="./inv results.verify"
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        raise ResultsError(
            "a file of the results cannot be read", where=str(path), why=str(error), remedy="./inv results.verify"
        ) from None
    found = document.get("schema") if isinstance(document, dict) else None
    if found != SCHEMA:
        raise ResultsError(
            f"schema version {found!r} is not known", where=str(path), why=f"this testbed reads version {SCHEMA}"
        )
    try:
        record = _adapter(kind).validate_json(text)
    except ValidationError as error:
        raise ResultsError(
            "a record does not have the form of its schema", where=f"{path}, key {_misfit(document, error)}"
        ) from None
    return record


_ADAPTERS: dict[type, TypeAdapter[Any]] = {}


def _adapter(kind: type[T]) -> TypeAdapter[T]:
    """Made when it is first wanted: what only plans a campaign reads none."""
    if kind not in _ADAPTERS:
        _ADAPTERS[kind] = TypeAdapter(kind)
    return _ADAPTERS[kind]


def _misfit(document: object, error: ValidationError) -> str:
    """The first key that does not fit, as people write it, and why."""
    detail = error.errors(include_url=False)[0]
    if detail["type"] == "unexpected_keyword_argument":
        why = "unknown key"
    elif detail["type"] in ("missing", "missing_argument"):
        why = "missing key"
    else:
        why = f"{detail['msg'][0].lower()}{detail['msg'][1:]}, not {json.dumps(detail['input'])[:80]}"
    return f"{_key_of(document, detail['loc'], missing=why == 'missing key')}: {why}"


def _key_of(value: Any, path: Sequence[str | int], *, missing: bool) -> str:  # noqa: ANN401
    """The path of an error without the names of types, which pydantic puts behind the key of a
    value of several.
    """
    text = ""
    for part in path:
        here = isinstance(value, list) if isinstance(part, int) else isinstance(value, dict) and part in value
        if not here and not (missing and part == path[-1]):
            break
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
        value = value[part] if here else None
    return text


def _directories(parent: Path) -> Iterator[Path]:
    if not parent.is_dir():
        return iter(())
    return iter(sorted(path for path in parent.iterdir() if path.is_dir() and not path.name.startswith(".")))
