"""Are stored results what was written, and do they fit their plan? Offline: needs the campaign's directory and nothing else.

Checked: the sums of every file and that no file was added; the schema of every record; that each cell is the one that its plan and its directory
say; that status, gates, metrics and failure agree; that metrics have the declared units; the samples' columns; that the order of the plan is
the one that its seed gives; that no planned cell is missing.
"""

from __future__ import annotations

import csv
import itertools
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from campaigns import records, store
from campaigns.experiment import fingerprint
from campaigns.plan import block_order, cell_id
from campaigns.records import CampaignRecord, CellRecord
from common.errors import ResultsError

Level = Literal["damage", "incomplete", "note"]


@dataclass(frozen=True)
class Finding:
    """damage: what is stored is not what was written. incomplete: a planned cell has no usable figures. note: worth knowing, no fault.

    path: relative to the campaign's directory.
    """

    level: Level
    path: str
    message: str


@dataclass(frozen=True)
class Verification:
    """The verdict on a campaign. files: how many were compared with their sums."""

    directory: Path
    campaign: str
    cells: int
    planned: int
    files: int
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
        verdict = "damaged" if self.damaged else "sound, but incomplete" if self.incomplete else "sound and complete"
        return [*shown, f"{self.campaign}: {verdict} ({self.cells} of {self.planned} cells, {self.files} files)"]

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


def verify(directory: Path) -> Verification:
    """Check a campaign's directory. ResultsError only when there is no campaign at all; everything else is a finding."""
    if not (directory / records.CAMPAIGN_FILE).is_file():
        raise ResultsError(
            "there is no campaign here",
            where=str(directory / records.CAMPAIGN_FILE),
            why="the file is missing",
            remedy="get the files again from where they came from",
        )
    verifier = _Verifier(directory)
    verifier.run()
    findings = tuple(sorted(verifier.findings, key=lambda f: (("damage", "incomplete", "note").index(f.level), f.path)))
    planned = len(verifier.campaign.cells) if verifier.campaign else 0
    return Verification(directory, directory.name, verifier.cells, planned, verifier.files, findings)


class _Verifier:
    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.findings: list[Finding] = []
        self.campaign: CampaignRecord | None = None
        self.cells = 0
        self.files = 0

    def run(self) -> None:
        self._sums(self.directory, [self.directory / records.CAMPAIGN_FILE])
        try:
            self.campaign = records.read_campaign(self.directory)
        except ResultsError as error:
            self._add("damage", self.directory / records.CAMPAIGN_FILE, _flat(error))
        else:
            self._plan(self.campaign)
        standing = {}
        for path in records.cell_directories(self.directory):
            if (cell := self._cell(path, path.name)) is not None:
                standing[cell.cell] = cell
        failed: dict[str, CellRecord] = {}
        for path in sorted(_subdirectories(self.directory / records.ATTEMPTS_DIR)):
            try:
                name, _ = records.attempt_number(path.name)
            except ResultsError as error:
                self._add("damage", path, _flat(error))
                continue
            if (cell := self._cell(path, name)) is not None:
                failed[cell.cell] = cell
        self.cells = len(standing)
        self._completeness(standing, failed)
        for path in self.directory.iterdir():
            if path.name.startswith(".tmp-"):
                self._add("note", path, "left by a run that was killed, or is being written; the next run removes it")

    def _plan(self, campaign: CampaignRecord) -> None:
        where = self.directory / records.CAMPAIGN_FILE
        if fingerprint(campaign.experiment) != campaign.experiment_sha256:
            self._add("damage", where, "experiment_sha256 is not that of the experiment")
        if campaign.campaign != self.directory.name:
            self._add(
                "note",
                where,
                f"the campaign was created as {campaign.campaign!r}, and its directory has been renamed since",
            )
        ids = [cell.cell for cell in campaign.cells]
        if len(set(ids)) != len(ids) or [cell.order for cell in campaign.cells] != list(range(len(ids))):
            self._add("damage", where, "the plan's cells are not unique, or not numbered in their order")
        for block, members in itertools.groupby(campaign.cells, key=lambda cell: cell.block):
            named = [cell.cell for cell in members]
            if named != block_order(campaign.seed, block, named):
                self._add("damage", where, f"the order of block {block} is not the one that seed {campaign.seed} gives")
        for cell in campaign.cells:
            if cell.cell != cell_id(cell.policy, cell.levels, cell.repetition):
                self._add("damage", where, f"cell {cell.cell!r} is not named after its policy, levels and repetition")

    def _cell(self, path: Path, name: str) -> CellRecord | None:
        """Check one directory of a cell or an attempt; its record when it can be read."""
        self._sums(path)
        try:
            cell = records.read_cell(path)
        except ResultsError as error:
            self._add("damage", path / records.CELL_FILE, _flat(error))
            return None
        where = path / records.CELL_FILE
        for message in itertools.chain(self._identity(cell, name), _consistency(cell, path), self._metrics(cell)):
            self._add("damage", where, message)
        self._environment(path / records.ENV_FILE)
        self._samples(path / records.SAMPLES_FILE, required=cell.status != "failed")
        return cell

    def _identity(self, cell: CellRecord, name: str) -> Iterator[str]:
        if cell.cell != name:
            yield f"the record is of cell {cell.cell!r}"
        if self.campaign is None:
            return
        if (cell.campaign, cell.experiment) != (self.campaign.campaign, self.campaign.name):
            yield f"the record is of campaign {cell.campaign!r}, experiment {cell.experiment!r}"
        planned = next((planned for planned in self.campaign.cells if planned.cell == cell.cell), None)
        if planned is None:
            yield "the plan has no such cell"
            return
        for key in ("policy", "levels", "repetition", "block", "order"):
            if getattr(cell, key) != getattr(planned, key):
                yield f"{key} is {getattr(cell, key)!r}, and {getattr(planned, key)!r} in the plan"

    def _metrics(self, cell: CellRecord) -> Iterator[str]:
        if self.campaign is None:
            return
        seen = set()
        for metric in cell.metrics:
            spec = self.campaign.spec(metric.name)
            if spec is None or spec.unit != metric.unit:
                yield f"metric {metric.name!r} [{metric.unit}] is not declared in the campaign"
            if (metric.name, metric.guest) in seen:
                yield f"metric {metric.name!r} of {metric.guest or 'the host'} is there twice"
            seen.add((metric.name, metric.guest))

    def _environment(self, path: Path) -> None:
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            self._add("damage", path, "missing")
            return
        except (OSError, ValueError) as error:
            self._add("damage", path, f"no JSON: {error}")
            return
        if not isinstance(document, dict) or document.get("schema") != records.SCHEMA:
            self._add("damage", path, f"not an object of schema {records.SCHEMA}")

    def _samples(self, path: Path, *, required: bool) -> None:
        if not path.is_file():
            if required:
                self._add("damage", path, "missing")
            return
        try:
            with path.open(encoding="utf-8", newline="") as file:
                rows = csv.reader(file)
                if tuple(next(rows, ())) != records.SAMPLE_COLUMNS:
                    self._add("damage", path, f"the columns are not {', '.join(records.SAMPLE_COLUMNS)}")
                    return
                for number, row in enumerate(rows, 2):
                    if (
                        len(row) != len(records.SAMPLE_COLUMNS)
                        or not _is_number(row[0])
                        or not (row[4] == "" or _is_number(row[4]))
                    ):
                        self._add("damage", path, f"line {number} is no sample")
                        return
        except (OSError, ValueError, csv.Error) as error:
            self._add("damage", path, str(error))

    def _completeness(self, standing: dict[str, CellRecord], failed: dict[str, CellRecord]) -> None:
        for planned in self.campaign.cells if self.campaign else ():
            path = self.directory / records.CELLS_DIR / planned.cell
            cell = standing.get(planned.cell)
            if cell is not None and cell.status == "invalid":
                gates = ", ".join(gate.name for gate in cell.gates if not gate.passed)
                self._add("incomplete", path, f"invalid: {gates}")
            elif cell is None and planned.cell in failed:
                failure = failed[planned.cell].failure
                self._add(
                    "incomplete",
                    path,
                    f"failed in stage {failure.stage}" if failure else "only superseded attempts are there",
                )
            elif cell is None and not path.exists():
                self._add("incomplete", path, "missing: never run to its end")

    def _sums(self, directory: Path, only: list[Path] | None = None) -> None:
        """Compare the files of a directory, or some of them, with its SHA256SUMS."""
        sums = directory / records.SUMS_FILE
        try:
            listed = {}
            for line in sums.read_text(encoding="utf-8").splitlines():
                digest, _, name = line.partition("  ")
                listed[name] = digest
            present = {path.relative_to(directory).as_posix(): path for path in (only or store.files_of(directory))}
        except FileNotFoundError:
            self._add("damage", sums, "missing")
            return
        except (OSError, ValueError, ResultsError) as error:
            self._add("damage", sums, str(error))
            return
        for name in sorted({*listed, *present}):
            path = directory / name
            if name not in listed:
                self._add("damage", path, "was added: the sums do not know it")
            elif name not in present or not path.is_file():
                self._add("damage", path, "missing")
            elif store.digest(path) != listed[name]:
                self._add("damage", path, "its content has changed: the sum differs")
            else:
                self.files += 1

    def _add(self, level: Level, path: Path, message: str) -> None:
        self.findings.append(Finding(level, path.relative_to(self.directory).as_posix(), message))


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


def _flat(error: ResultsError) -> str:
    return ": ".join(part for part in (error.what, error.where, error.why) if part)
