"""What a workload is: validated parameters, declared metrics, and three steps on a machine:
prepare, script, collect.

Nothing here runs a command: workloads.machines does that, workloads.scripts holds the shell text
that all workloads share.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.fields import FieldInfo

from common import fields
from common.errors import InvalidFileError
from common.machines import Machine
from common.metrics import Metric, MetricSpec
from common.needs import NOTHING, Needs
from common.text import hint, shortened

Facts = Mapping[str, str]
"""What `prepare` found, for the provenance of a cell: versions, digests, what had to be done."""

Size = fields.Size
Duration = fields.Seconds


class WorkloadParameters(BaseModel):
    """Parameters of a workload. Values are refused, never converted: a size without a unit or a
    number in quotes is a mistake.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


def parameter(default: Any, doc: str, *, unit: str = "", **constraints: Any) -> Any:  # noqa: ANN401
    """A parameter's field: its default, what it means, its unit, and pydantic's constraints (ge,
    le, pattern, ...).
    """
    return Field(default, description=doc, json_schema_extra={"unit": unit}, validate_default=False, **constraints)


class ParameterError(InvalidFileError):
    """Parameters that a workload does not take. key: the first bad one, dotted, so that a caller
    can name file and line.
    """

    def __init__(self, what: str, *, key: str, where: str = "", why: str = "", remedy: str = "") -> None:
        super().__init__(what, where=where, why=why, remedy=remedy)
        self.key = key


@dataclass(frozen=True)
class ParameterSpec:
    """A parameter as it is documented. unit: empty for a choice or a name. default: as it is
    written in an experiment.
    """

    name: str
    unit: str
    default: str
    doc: str


@dataclass(frozen=True)
class Description:
    """A workload for people: tasks print it."""

    name: str
    doc: str
    parameters: tuple[ParameterSpec, ...]
    metrics: tuple[MetricSpec, ...]

    def lines(self) -> list[str]:
        """What it is, its parameters with unit and default, and its metrics with unit."""
        found = [f"{self.name}: {self.doc}"]
        for each in self.parameters:
            unit = f" [{each.unit}]" if each.unit else ""
            found.append(f"    {each.name}{unit} (default {each.default}) {each.doc}")
        found += [f"    -> {each.name} [{each.unit}] {each.doc}" for each in self.metrics]
        return found


@dataclass(frozen=True)
class WorkloadResult:
    """What one run of a workload gave on one machine.

    metrics: of the machine it ran on, without a guest's name. checksums: path of an output ->
    SHA-256, the same whatever the memory policy. facts: filled in by workloads.run.run; a campaign
    keeps what `prepare` returned itself.
    """

    metrics: tuple[Metric, ...]
    checksums: Mapping[str, str]
    facts: Facts = field(default_factory=dict)


P = TypeVar("P", bound=WorkloadParameters)


class Workload(ABC, Generic[P]):
    """One load. Stateless: one instance serves every machine, at the same time if need be.

    Order on each machine: prepare, then script's text under `sh`, then collect. All errors are
    common.errors.WorkloadError.
    """

    name: ClassVar[str]
    Parameters: type[P]
    metrics: ClassVar[tuple[MetricSpec, ...]]
    """Every metric that collect can return. `<n>` in a name stands for a number from 1."""

    @abstractmethod
    def prepare(self, machine: Machine, params: P) -> dict[str, str]:
        """Everything that belongs before the clock. Facts for the provenance."""

    @abstractmethod
    def script(self, params: P) -> str:
        """The timed part: POSIX sh that leaves its raw outputs in scripts.RAW, and its exit
        status is the workload's.
        """

    @abstractmethod
    def collect(self, machine: Machine, params: P, raw_dir: Path) -> WorkloadResult:
        """Copy the raw outputs into raw_dir, which exists, and read them. After a script that
        failed: the WorkloadError that says why.
        """

    @abstractmethod
    def read(self, params: P, raw_dir: Path) -> WorkloadResult:
        """What raw outputs say that `collect` has copied, whenever and wherever that was: needs no
        machine.

        WorkloadError when they say that the run failed, or lost a part of it; OutputsError, which
        is one, when they are not all there or not what the workload writes. A figure that they do
        not have is None.
        """

    @abstractmethod
    def expected_seconds(self, params: P, slowdown: float) -> float:
        """Rough seconds of the script on one CPU that is `slowdown` times slower than a current
        server's (1.0). For progress and time limits.
        """

    def needs(self, params: P) -> Needs:  # noqa: ARG002 - most loads need the same whatever they do
        """What its machine has to have that the demo's image has not; a guest's image is built of
        it.
        """
        return NOTHING

    def most_needs(self) -> Needs:
        """With whatever parameters: for a guest in which it is tried out."""
        return self.needs(self.parse({}))

    def disk_bytes(self, params: P) -> int:  # noqa: ARG002 - a load that fills no disk has no use for it
        """Bytes of the root disk that a run fills because its parameters say so; 0 for a load
        whose files are small.
        """
        return 0

    def told(self, raw_dir: Path) -> dict[str, object]:  # noqa: ARG002
        """Parameters, as an experiment writes them, that raw outputs tell by themselves: for
        reading those of an unknown run.
        """
        return {}

    def parse(self, values: Mapping[str, object]) -> P:
        """Parameters as an experiment writes them. ParameterError, with every mistake and a
        suggestion for unknown keys.
        """
        try:
            return self.Parameters.model_validate(values)
        except ValidationError as error:
            mistakes = [self._mistake(dict(detail)) for detail in error.errors(include_url=False)]
        (key, what, remedy), *others = mistakes
        why = "\n".join(f"{key}: {what}" + (f" ({remedy})" if remedy else "") for key, what, remedy in others)
        raise ParameterError(
            f"workload {self.name}, parameter {key}: {what}",
            key=key,
            why=f"more mistakes:\n{why}" if why else "",
            remedy=remedy or "./inv workloads.list explains the parameters",
        )

    def _mistake(self, detail: Mapping[str, Any]) -> tuple[str, str, str]:
        """Key, what is wrong with it, what to do about it."""
        key = ".".join(str(part) for part in detail["loc"]) or "(all)"
        if detail["type"] == "extra_forbidden":
            return key, "no such parameter", hint(key, self.Parameters.model_fields)
        if detail["type"] == "value_error":
            return key, str(detail["ctx"]["error"]), ""
        return key, f"{detail['msg'][0].lower()}{detail['msg'][1:]}, not {shortened(detail['input'])}", ""

    def spec(self, metric: str) -> MetricSpec:
        """The declaration of a metric that collect returned. KeyError when there is none, which
        is a defect of the workload.
        """
        for candidate in self.metrics:
            if re.fullmatch(re.escape(candidate.name).replace("<n>", "[1-9][0-9]*"), metric):
                return candidate
        raise KeyError(metric)

    def measured(self, values: Mapping[str, float | int | None]) -> tuple[Metric, ...]:
        """Metrics with the units that were declared for them."""
        return tuple(Metric(name, self.spec(name).unit, value) for name, value in values.items())

    def describe(self) -> Description:
        """Name, purpose, parameters and metrics, as documented in the module."""
        written = self.Parameters().model_dump(mode="json")
        parameters = tuple(
            ParameterSpec(name, _unit(info), _text(written[name]), info.description or "")
            for name, info in self.Parameters.model_fields.items()
        )
        doc = " ".join((type(self).__doc__ or "").strip().partition("\n\n")[0].split())
        return Description(self.name, doc, parameters, self.metrics)


def _unit(info: FieldInfo) -> str:
    extra = info.json_schema_extra
    return str(extra.get("unit", "")) if isinstance(extra, dict) else ""


def _text(value: object) -> str:
    if value is None or value == []:
        return "-"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return ", ".join(str(item) for item in value)
    return str(value)
