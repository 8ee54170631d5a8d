"""Are stored results what was written, and do they follow from what was measured? Offline: needs
the campaign's directory and nothing else.

Checked: the sums of every file, and that nothing was added anywhere; the schema of every record;
that plan, claims, seed and metrics are the experiment's; that each cell is the one that its plan,
its directory and its env.json say, and ran in the plan's order. Recomputed from raw/
(campaigns/recompute.py): samples, barrier, metrics, gates, checksums. With `derived`
(analysis.derived.differences), from the cells: tables, figures, report. So what was changed is
found even when all sums were written anew.

What no sums can show without a signature: a change of raw/ itself with everything that follows from
it, in all files alike; and of what nothing else repeats: the experiment, where all follows from
another one, versions, the commit, times of stages, reproduce.sh, which is made of the scripts that
the testbed had then. Against that helps a copy of
the campaign's own sum (`Verification.seal`) in a place that the forger cannot reach, such as the
paper.
"""

from __future__ import annotations

import csv
import io
import json
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from campaigns import consistency, narrowing, plan, records, store
from campaigns.cell import DASK
from campaigns.experiment import fingerprint, from_document
from campaigns.plan import cell_id
from campaigns.recompute import OLDER, Recomputation, is_whole
from campaigns.records import CampaignRecord, CellRecord, PlannedCell
from campaigns.sharing import share_of
from common import files, packed
from common.errors import ResultsError, UserError
from common.metrics import MetricSpec
from common.text import each_key_once, whole_number

Level = Literal["damage", "incomplete", "note"]

Derived = Callable[[Path], Iterable[tuple[str, str]]]
"""Compares what was derived from the cells of a campaign's directory with what is derived now:
(path, what is wrong with it).
"""

KEPT = (
    records.CAMPAIGN_FILE,
    records.SUMS_FILE,
    ".lock",
    records.CELLS_DIR,
    records.ATTEMPTS_DIR,
    records.LOOKS_DIR,
)
DERIVED = ("tables", "figures", "report.md", "report.html", "report.pdf", "latex")
"""What may be in a campaign's directory, beside what is being written."""


@dataclass(frozen=True)
class Finding:
    """damage: what is stored is not what was written. incomplete: a planned cell has no usable
    figures. note: worth knowing, no fault.

    path: relative to the campaign's directory.
    """

    level: Level
    path: str
    message: str


MOST_SHOWN = 5
"""Findings that an error quotes."""

SEAL = (
    "not seen without a signature: raw outputs forged together with all that follows from them, and what only "
    "records tell (the experiment, versions, times of stages, reproduce.sh). "
    "Compare the sum of SHA256SUMS with one published elsewhere"
)


@dataclass(frozen=True)
class Verification:
    """The verdict on a campaign. files: how many were compared with their sums. seal: SHA-256 of
    the campaign's sums, which stands for all of it.
    """

    directory: Path
    campaign: str
    cells: int
    planned: int
    files: int
    seal: str | None
    findings: tuple[Finding, ...]

    @property
    def damaged(self) -> bool:
        """Whether anything is not what was written."""
        return any(finding.level == "damage" for finding in self.findings)

    @property
    def incomplete(self) -> bool:
        """Whether planned cells have no usable figures."""
        return any(finding.level == "incomplete" for finding in self.findings)

    def lines(self) -> list[str]:
        """For people: one line per finding, then the verdict."""
        shown = [f"{finding.level}: {finding.path}: {finding.message}" for finding in self.findings]
        whole = "sound and complete" if self.cells == self.planned else "sound, as far as it was asked for"
        verdict = "damaged" if self.damaged else "sound, but incomplete" if self.incomplete else whole
        ended = f"{self.campaign}: {verdict} ({self.cells} of {self.planned} cells, {self.files} files)"
        seal = [f"{SEAL}: {self.seal}"] if self.seal and not self.damaged else []
        return [*shown, *seal, ended]

    def refuse(self, *, allowed: bool) -> bool:
        """Whether anything is damaged. ResultsError (exit code 8) then, unless that is allowed:
        nothing may be drawn of it unmarked.
        """
        if self.damaged and not allowed:
            shown = [f"{each.path}: {each.message}" for each in self.findings if each.level == "damage"]
            rest = [f"{len(shown) - MOST_SHOWN} more"] if len(shown) > MOST_SHOWN else []
            raise ResultsError(
                f"the results of campaign {self.campaign!r} are damaged or were changed, so nothing is drawn of them",
                where=str(self.directory),
                why="\n".join([*shown[:MOST_SHOWN], *rest]),
                remedy="get the files again from where they came from; ./inv results.verify shows all, "
                "and --unverified draws them with a mark on every figure",
            )
        return self.damaged

    def check(self) -> None:
        """ResultsError (exit code 8) when anything is damaged or incomplete."""
        if self.damaged or self.incomplete:
            first = next(finding for finding in self.findings if finding.level != "note")
            raise ResultsError(
                self.lines()[-1],
                where=str(self.directory / first.path),
                why=first.message,
                remedy="get the files again from where they came from"
                if self.damaged
                else f"run what is left: ./inv campaign.status {self.campaign} lists the commands",
            )


def verify(directory: Path, derived: Derived | None = None) -> Verification:
    """Check a campaign's directory. derived: checks tables, figures and report as well.
    ResultsError only when there is no campaign at all; everything else is a finding.
    """
    if not (directory / records.CAMPAIGN_FILE).is_file():
        raise ResultsError(
            "there is no campaign here",
            where=str(directory / records.CAMPAIGN_FILE),
            why="the file is missing",
            remedy="get the files again from where they came from",
        )
    verifier = _Verifier(directory)
    verifier.run()
    if derived is not None and not any(finding.level == "damage" for finding in verifier.findings):
        for name, message in derived(directory):
            verifier.add("damage", directory / name, message)
    sums = directory / records.SUMS_FILE
    seal = files.digest(sums) if sums.is_file() else None
    findings = tuple(sorted(verifier.findings, key=lambda f: (("damage", "incomplete", "note").index(f.level), f.path)))
    planned = len(verifier.campaign.cells) if verifier.campaign else 0
    return Verification(directory, directory.name, verifier.cells, planned, verifier.files, seal, findings)


class _Verifier:
    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.findings: list[Finding] = []
        self.campaign: CampaignRecord | None = None
        self.planned: Mapping[str, PlannedCell] = {}
        self.recomputation: Recomputation | None = None
        self.specs: dict[str, MetricSpec | None] = {}
        self.cells = 0
        self.files = 0
        self.older = False

    def run(self) -> None:
        try:
            whole = records.read_campaign(self.directory, whole=True)
            self.campaign = records.read_campaign(self.directory)
        except ResultsError as error:
            self.add("damage", self.directory / records.CAMPAIGN_FILE, _flat(error))
        else:
            self.planned = {cell.cell: cell for cell in self.campaign.cells}
            self._plan(whole)
        self._root()
        standing = {}
        for path in records.cell_directories(self.directory):
            if (cell := self._cell(path, path.name)) is not None:
                standing[cell.cell] = cell
        attempts: dict[str, CellRecord] = {}
        tried: list[str] = []
        kept: list[tuple[str, CellRecord]] = [(f"{records.CELLS_DIR}/{name}", cell) for name, cell in standing.items()]
        for path in sorted(_subdirectories(self.directory / records.ATTEMPTS_DIR)):
            try:
                name, _ = records.attempt_number(path.name)
            except ResultsError as error:
                self.add("damage", path, _flat(error))
                continue
            tried.append(path.name)
            if (cell := self._cell(path, name)) is not None:
                attempts[cell.cell] = cell
                kept.append((f"{records.ATTEMPTS_DIR}/{path.name}", cell))
        for name, message in (
            *((f"{records.ATTEMPTS_DIR}/{name}", message) for name, message in consistency.of_attempts(tried)),
            *consistency.copies(kept),
        ):
            self.add("damage", self.directory / name, message)
        self.cells = sum(cell.status == "complete" for cell in standing.values())
        if self.campaign is not None:
            for level, path, message in narrowing.checked(self.directory, self.campaign, standing):
                self.add(level, path, message)
        self._sequence(standing, attempts)
        self._completeness(standing, attempts)
        if self.older:
            self.add("note", self.directory / records.CELLS_DIR, OLDER)

    def _root(self) -> None:
        """The campaign's own sums, and that nothing is there that no testbed writes."""
        places = [records.CELLS_DIR, records.ATTEMPTS_DIR]
        present = [
            f"{place}/{path.name}/{records.SUMS_FILE}"
            for place in places
            for path in _subdirectories(self.directory / place)
        ]
        whole = self.campaign is None or self.campaign.layout >= 2
        listed = store.read_sums(self.directory / records.SUMS_FILE)
        if not whole and not any(name in listed for name in present):
            self.add("note", self.directory / records.SUMS_FILE, "does not know the cells (older layout)")
            present = []
        taken = self.directory / records.LOOKS_DIR
        seen = [f"{records.LOOKS_DIR}/{path.name}" for path in taken.iterdir()] if taken.is_dir() else []
        self._sums(self.directory, [records.CAMPAIGN_FILE, *present, *seen])
        for path in sorted(self.directory.iterdir()):
            if path.name.startswith(".tmp-"):
                self.add("note", path, "left by a run that was killed, or is being written; the next run removes it")
            elif path.name not in (*KEPT, *DERIVED):
                self.add("damage", path, "was added: no testbed writes it")
        for place in places:
            for path in (self.directory / place).iterdir() if (self.directory / place).is_dir() else ():
                if not path.is_dir() or path.name.startswith("."):
                    self.add("damage", path, "was added: no testbed writes it")

    def _plan(self, campaign: CampaignRecord) -> None:
        where = self.directory / records.CAMPAIGN_FILE
        if fingerprint(campaign.experiment) != campaign.experiment_sha256:
            self.add("damage", where, "experiment_sha256 is not that of the experiment")
        if campaign.campaign != self.directory.name:
            self.add(
                "note",
                where,
                f"the campaign was created as {campaign.campaign!r}, and its directory has been renamed since",
            )
        for message in consistency.of_campaign(campaign):
            self.add("damage", where, message)
        ids = [cell.cell for cell in campaign.cells]
        if len(set(ids)) != len(ids) or [cell.order for cell in campaign.cells] != list(range(len(ids))):
            self.add("damage", where, "the plan's cells are not unique, or not numbered in their order")
        for cell in campaign.cells:
            if cell.cell != cell_id(cell.policy, cell.levels, cell.repetition):
                self.add("damage", where, f"cell {cell.cell!r} is not named after its policy, levels and repetition")
        try:
            experiment = from_document(campaign.name, campaign.experiment, str(where))
        except UserError as error:
            self.add("damage", where, f"the experiment cannot be one, so nothing is recomputed: {_flat(error)}")
            return
        for message in consistency.against(campaign, experiment):
            self.add("damage", where, message)
        if set(ids) == {cell.cell for cell in plan.plan(experiment)}:
            self.recomputation = Recomputation(campaign, experiment)
            if said := self.recomputation.other_gates():
                self.add("damage", where, said)

    def _cell(self, path: Path, name: str) -> CellRecord | None:
        """Check one directory of a cell or an attempt; its record when it can be read."""
        self._sums(path)
        try:
            cell = records.read_cell(path)
        except ResultsError as error:
            self.add("damage", path / records.CELL_FILE, _flat(error))
            return None
        where = path / records.CELL_FILE
        wrong = list(self._identity(cell, name))
        for message in (*wrong, *_consistency(cell, path), *self._metrics(cell)):
            self.add("damage", where, message)
        env = self._environment(path / records.ENV_FILE)
        failed = cell.status == "failed"
        if self.campaign is None or failed or not is_whole(path, self.campaign):
            self._samples(path, required=not failed)
        if self.campaign is not None and self.campaign.layout >= 2 and not failed:
            for file, message in consistency.of_cell(path, cell, env, self.campaign):
                self.add("damage", path / file, message)
        if self.recomputation is not None and not wrong:
            for message in self.recomputation.environment(cell, env):
                self.add("damage", path / records.ENV_FILE, message)
            if not failed:
                self.older = self.older or not is_whole(path, self.recomputation.campaign)
                for file, message in self.recomputation.cell(path, cell):
                    self.add("damage", path / file, message)
        return cell

    def _identity(self, cell: CellRecord, name: str) -> Iterator[str]:
        if cell.cell != name:
            yield f"the record is of cell {cell.cell!r}"
        if self.campaign is None:
            return
        if (cell.campaign, cell.experiment) != (self.campaign.campaign, self.campaign.name):
            yield f"the record is of campaign {cell.campaign!r}, experiment {cell.experiment!r}"
        planned = self.planned.get(cell.cell)
        if planned is None:
            yield "the plan has no such cell"
            return
        for key in ("policy", "levels", "repetition", "block", "order", "boot", "run"):
            if getattr(cell, key) != getattr(planned, key):
                yield f"{key} is {getattr(cell, key)!r}, and {getattr(planned, key)!r} in the plan"

    def _sequence(self, standing: Mapping[str, CellRecord], attempts: Mapping[str, CellRecord]) -> None:
        """Cells run in the order of the plan; with several hosts, those of a share do on theirs
        (campaigns/sharing.py). One that was tried before, or run by its name, may have run later.
        """
        known = [standing[name] for name in self.planned if name in standing and name not in attempts]
        seen = {cell.host for cell in (*standing.values(), *attempts.values())}
        several = len(seen) > 1 or (self.campaign is not None and (self.campaign.hosts or self.campaign.lab == DASK))
        before: dict[object, CellRecord] = {}
        for cell in known:
            path = self.directory / records.CELLS_DIR / cell.cell
            if _alone(path):
                continue
            line = (cell.host, share_of(self.planned[cell.cell])) if several else None
            last = before.get(line)
            if last is not None and cell.started_at < last.started_at:
                self.add(
                    "damage",
                    path / records.CELL_FILE,
                    f"it started before {last.cell}, which the plan has first: the two may have been exchanged",
                )
            before[line] = cell

    def _metrics(self, cell: CellRecord) -> Iterator[str]:
        if self.campaign is None:
            return
        seen = set()
        for metric in cell.metrics:
            if metric.name not in self.specs:
                self.specs[metric.name] = self.campaign.spec(metric.name)
            spec = self.specs[metric.name]
            if spec is None or spec.unit != metric.unit:
                yield f"metric {metric.name!r} [{metric.unit}] is not declared in the campaign"
            if (metric.name, metric.guest) in seen:
                yield f"metric {metric.name!r} of {metric.guest or 'the host'} is there twice"
            seen.add((metric.name, metric.guest))

    def _environment(self, path: Path) -> Mapping[str, object]:
        try:
            text = path.read_text(encoding="utf-8")
            document = json.loads(text, object_pairs_hook=each_key_once, parse_int=whole_number)
        except FileNotFoundError:
            self.add("damage", path, "missing")
            return {}
        except (OSError, ValueError, RecursionError) as error:
            self.add("damage", path, f"no JSON: {error}")
            return {}
        if not isinstance(document, dict) or document.get("schema") != records.SCHEMA:
            self.add("damage", path, f"not an object of schema {records.SCHEMA}")
            return {}
        return document

    def _samples(self, cell: Path, *, required: bool) -> None:
        path = packed.found(cell / records.SAMPLES_FILE)
        if not path.is_file():
            if required:
                self.add("damage", path, "missing")
            return
        try:
            rows = csv.reader(io.StringIO(packed.text(path), newline=""))
            if tuple(next(rows, ())) != records.SAMPLE_COLUMNS:
                self.add("damage", path, f"the columns are not {', '.join(records.SAMPLE_COLUMNS)}")
                return
            for number, row in enumerate(rows, 2):
                if (
                    len(row) != len(records.SAMPLE_COLUMNS)
                    or not _is_number(row[0])
                    or not (row[4] == "" or _is_number(row[4]))
                ):
                    self.add("damage", path, f"line {number} is no sample")
                    return
        except (OSError, ValueError, csv.Error) as error:
            self.add("damage", path, str(error))

    def _completeness(self, standing: dict[str, CellRecord], failed: dict[str, CellRecord]) -> None:
        tried = [self.directory / records.CELLS_DIR / name for name in standing]
        tried += _subdirectories(self.directory / records.ATTEMPTS_DIR)
        by_name = bool(tried) and all(map(_alone, tried))
        for planned in self.campaign.cells if self.campaign else ():
            path = self.directory / records.CELLS_DIR / planned.cell
            cell = standing.get(planned.cell)
            if cell is not None and cell.status == "invalid":
                gates = ", ".join(gate.name for gate in cell.gates if not gate.passed)
                self.add("incomplete", path, f"invalid: {gates}")
            elif cell is None and planned.cell in failed:
                failure = failed[planned.cell].failure
                self.add(
                    "incomplete",
                    path,
                    f"failed in stage {failure.stage}" if failure else "only superseded attempts are there",
                )
            elif cell is None and not path.exists():
                if by_name:
                    self.add("note", path, "never asked for: all that ran was asked for by name (--cell)")
                else:
                    self.add("incomplete", path, "missing: never run to its end")

    def _sums(self, directory: Path, only: Iterable[str] | None = None) -> None:
        """Compare the files of a directory, or some of them by name, with its SHA256SUMS."""
        sums = directory / records.SUMS_FILE
        try:
            if not sums.is_file():
                self.add("damage", sums, "missing")
                return
            listed = store.read_sums(sums)
            present = set(store.files_of(directory) if only is None else only)
        except (OSError, ValueError, ResultsError) as error:
            self.add("damage", sums, str(error))
            return
        for name in sorted({*listed, *present}):
            path = f"{directory}/{name}"
            if name not in listed:
                self.add("damage", directory / name, "was added: the sums do not know it")
            elif name not in present or not os.path.isfile(path):  # noqa: PTH113 - as in files.digest
                self.add("damage", directory / name, "missing")
            elif files.digest(path) != listed[name]:
                self.add("damage", directory / name, "its content has changed: the sum differs")
            else:
                self.files += 1

    def add(self, level: Level, path: Path, message: str) -> None:
        """Note something about a file below the campaign's directory."""
        self.findings.append(Finding(level, path.relative_to(self.directory).as_posix(), message))


def _alone(path: Path) -> bool:
    """Whether a cell was run by its name, out of the plan's order. Older cells tell the
    arguments of the campaign's first run only.
    """
    try:
        env = records.read_env(path) or {}
    except ResultsError:
        return False  # told elsewhere
    identity, testbed = env.get("identity"), env.get("testbed")
    if isinstance(identity, dict):
        return identity.get("alone") is True
    arguments = testbed.get("arguments") if isinstance(testbed, dict) else None
    return isinstance(arguments, list) and any(str(word).startswith("--cell") for word in arguments)


def _consistency(cell: CellRecord, path: Path) -> Iterator[str]:
    """What the parts of a record say about each other."""
    attempt = path.parent.name == records.ATTEMPTS_DIR
    if cell.status == "failed":
        if cell.failure is None or cell.metrics:
            yield "a failed cell has a failure and no metrics"
        if not attempt:
            yield "a failed cell is an attempt, and does not stand among the cells"
        return
    if cell.failure is not None:
        yield f"a cell that is {cell.status} has no failure"
    if not cell.gates or not cell.metrics or cell.barrier is None:
        yield "a cell that ran to its end has gates, metrics and a barrier"
    passed = all(gate.passed for gate in cell.gates)
    if passed != (cell.status == "complete"):
        yield f"the cell is {cell.status}, but its gates {'all passed' if passed else 'did not all pass'}"


def _subdirectories(directory: Path) -> list[Path]:
    return [path for path in directory.iterdir() if path.is_dir()] if directory.is_dir() else []


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _flat(error: UserError) -> str:
    return ": ".join(part for part in (error.what, error.where, error.why) if part)
