"""Raw outputs of a workload, of a cell or of any other machine, read again by the workload's own
reader.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

import workloads
from campaigns import document
from campaigns.evaluate import BARRIER_LOG
from common import yaml_once
from common.errors import CampaignError, InvalidFileError, OutputsError, UsageError, WorkloadError
from common.machines import Machine, this_machine
from common.metrics import Metric
from workloads import run as running
from workloads.base import ParameterError, Workload

MARKS = ("timings", "*.out", "*.err")
"""What a folder of raw outputs has."""


@dataclass(frozen=True)
class Read:
    """What one machine's outputs say. machine: the guest's name, or None for a folder that is no
    cell's; error: why there are no metrics.
    """

    machine: str | None
    parameters: Mapping[str, Any]
    metrics: tuple[Metric, ...]
    checksums: Mapping[str, str]
    error: WorkloadError | None

    def rows(self) -> list[tuple[str, str, str]]:
        """Metric, value and unit; a value that is missing is a dash."""
        return [(each.name, "–" if each.value is None else f"{each.value:.12g}", each.unit) for each in self.metrics]

    def json(self) -> dict[str, object]:
        """For machines."""
        error = self.error and {"what": self.error.what, "where": self.error.where, "why": self.error.why}
        metrics = [{"name": each.name, "unit": each.unit, "value": each.value} for each in self.metrics]
        return {
            "machine": self.machine,
            "parameters": self.parameters,
            "metrics": metrics,
            "checksums": dict(self.checksums),
            "error": error,
        }


def parsed(
    workload: Workload[Any], known: Mapping[str, object], given: Mapping[str, object], assignments: Sequence[str] = ()
) -> Any:  # noqa: ANN401
    """Parameters, of which the given ones win. ParameterError; UsageError when the first bad one is
    of the assignments, and so of the command line.
    """
    try:
        return workload.parse({**known, **given})
    except ParameterError as error:
        if error.key.partition(".")[0] in {each.partition("=")[0] for each in assignments}:
            raise UsageError(error.what, why=error.why, remedy=error.remedy) from None
        raise


def read(name: str, raw: Path, given: Mapping[str, object], assignments: Sequence[str] = ()) -> list[Read]:
    """Read a folder of raw outputs, or those of every guest below raw/ of a cell.

    Parameters: the given ones, else those of the cell's campaign, else what the outputs tell, else
    the defaults. What cannot be read is in Read.error; InvalidFileError when there are no outputs
    at all, ParameterError (one too) for parameters that the workload does not take, UsageError for
    those of the assignments.
    """
    workload = workloads.get(name)
    return [_read(workload, machine, folder, given, assignments) for machine, folder in _folders(raw)]


def require_good(found: Sequence[Read]) -> None:
    """CampaignError (7) when outputs say that a run failed or lost a part of it, InvalidFileError
    (4) when they cannot be read. All of them are shown.
    """
    errors = [each.error for each in found if each.error is not None]
    if not errors:
        return
    first, others = errors[0], errors[1:]
    failed = any(not isinstance(error, OutputsError) for error in errors)
    kind: type[CampaignError | InvalidFileError] = CampaignError if failed else InvalidFileError
    why = "\n".join([*([first.why] if first.why else []), *(f"also: {error.what} ({error.where})" for error in others)])
    raise kind(first.what, where=first.where, why=why, remedy=first.remedy)


def parameters(file: str | None, assignments: Sequence[str]) -> dict[str, object]:
    """Parameters from a YAML file and from `key=value`, the latter winning; values are YAML.
    UsageError, InvalidFileError.
    """
    found: dict[str, object] = dict(document.read(Path(file)).content) if file else {}
    for number, assignment in enumerate(assignments):
        key, equals, value = assignment.partition("=")
        if not equals or not key:
            raise UsageError(f"--set takes key=value, not {assignment!r}", remedy="--set rounds=2 --set 'size=64 MiB'")
        if key in {each.partition("=")[0] for each in assignments[:number]}:
            raise UsageError(f"--set gives {key!r} twice", remedy="keep one of the two")
        try:
            found[key] = yaml_once.load(value)
        except (yaml.YAMLError, ValueError) as error:
            raise UsageError(f"the value of --set {assignment!r} is no YAML", why=str(error)) from None
    return found


def _folders(raw: Path) -> list[tuple[str | None, Path]]:
    if not raw.is_dir():
        raise InvalidFileError("there is no such folder of raw outputs", where=str(raw))
    if _holds_outputs(raw):
        return [(None, raw)]
    if (raw / "raw").is_dir():
        return _folders(raw / "raw")
    there = {each.name for each in raw.iterdir() if each.is_dir() and _holds_outputs(each)}
    folders = [(name, raw / name) for name in sorted(there | _released(raw))]
    if not folders:
        wanted = "timings, LABEL.out and LABEL.err, in it or in a folder for each guest"
        raise InvalidFileError("the folder has no raw outputs", where=str(raw), why=f"there should be {wanted}")
    return list(folders)


def _released(raw: Path) -> set[str]:
    """The guests that a cell's barrier released: one that left nothing is missing."""
    path = raw / BARRIER_LOG
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else []
    return {words[0] for line in lines if len(words := line.split()) == 3 and "/" not in words[0]}


def _holds_outputs(folder: Path) -> bool:
    return any(path.is_file() for mark in MARKS for path in folder.glob(mark))


def _read(
    workload: Workload[Any],
    machine: str | None,
    folder: Path,
    given: Mapping[str, object],
    assignments: Sequence[str],
) -> Read:
    known = _of_campaign(workload.name, folder) or workload.told(folder)
    params = parsed(workload, known, given, assignments)
    written = params.model_dump(mode="json")
    try:
        result = workload.read(params, folder)
    except WorkloadError as error:
        return Read(machine, written, (), {}, error)
    except OSError as error:
        return Read(
            machine, written, (), {}, OutputsError("raw outputs cannot be read", where=str(folder), why=str(error))
        )
    return Read(machine, written, result.metrics, result.checksums, None)


def _of_campaign(name: str, folder: Path) -> dict[str, object]:
    """The workload's parameters of the cell that a folder is in; empty when it is in none, or when
    the cell ran another workload.
    """
    for cell in folder.resolve().parents:
        campaign = cell.parent.parent / "campaign.json"
        if (cell / "cell.json").is_file() and campaign.is_file():
            try:
                record = json.loads((cell / "cell.json").read_text(encoding="utf-8"))
                experiment = json.loads(campaign.read_text(encoding="utf-8"))["experiment"]
                levels, declared, prefix = record["levels"], experiment.get("workload"), "workload.parameters."
                group = record.get("groups", {}).get(folder.resolve().name)
                if group is not None and (own := experiment["guests"]["groups"][group]["workload"]) is not None:
                    declared, prefix = own, f"guests.groups.{group}.{prefix}"
                found = dict(declared["parameters"]) if declared["name"] == name else {}
            except (OSError, ValueError, KeyError, TypeError):
                return {}
            return found | {key.removeprefix(prefix): level for key, level in levels.items() if key.startswith(prefix)}
    return {}


def run(workload: Workload[Any], params: Any, machine: Machine | None, raw: Path | None) -> Read:  # noqa: ANN401
    """Run a workload once, on a machine or (None) on this one, and read what it left. WorkloadError
    when it fails.

    raw: where its outputs stay; UsageError when that is there already, so that none are lost.
    """
    if raw is not None and raw.exists():
        raise UsageError("raw outputs are never overwritten", where=str(raw), remedy="Name a folder that is not there.")
    with tempfile.TemporaryDirectory() as folder:
        into = raw or Path(folder)
        result = running.run(machine or this_machine(), workload, params, into)
    return Read(None, params.model_dump(mode="json"), result.metrics, result.checksums, None)
