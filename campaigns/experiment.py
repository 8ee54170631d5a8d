"""experiments/NAME.yml to an Experiment that can be planned and run, or an InvalidFileError that
names every mistake.

A factor is a dotted key path of the file with a list of levels; every combination of levels is
validated as if it had been written into the file. The path `overcommit_ratio` sets the memory that
the host has for guests (guests' count × memory_max ÷ ratio, rounded down to MiB), so that the
guests, and with them the load, are the same at every level.
"""

from __future__ import annotations

import copy
import hashlib
import itertools
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from campaigns import document, feasible, metrics
from campaigns.conditions import Conditions
from campaigns.document import Document, KeyPath, Problem, dotted
from campaigns.records import Claim, find_spec
from campaigns.schema import IDENTIFIER, LEVELS, MANAGERS, NUMBER, ExperimentFile, key_names
from common.errors import InvalidFileError, UserError
from common.metrics import MetricSpec
from common.text import hint, one_line, shortened
from lab.api import GuestSizing, HostSizing
from policies import apply, memory_swap
from policies import registry as policies
from policies.base import Policy, Tuning
from workloads import registry
from workloads.base import Workload

EXPERIMENTS = Path(__file__).resolve().parent.parent / "experiments"

FACTOR_ROOTS = (
    "overcommit_ratio",
    "host",
    "guests",
    "selfballoon",
    "tmem",
    "ramdisk_swap",
    "zswap",
    "zram",
    "more_ram",
    "manager",
    *MANAGERS,
    "workload.parameters",
    "workload.phase",
    "settle",
    "sampling",
)
"""What may vary within an experiment; anything else would make cells that cannot be compared."""

SYSCTLS = "guests.sysctl."
"""What follows is one key, dots and all: the name of a kernel setting, whether the file gives it
a value or not.
"""

UNWRITTEN = (("workload", "phase"),)
"""Keys that came late: where they are not given, or say nothing, the resolved experiment lacks
them, so that its fingerprint is that of before.
"""

MOST_CELLS = 10_000

Levels = Mapping[str, object]


@dataclass(frozen=True)
class Experiment:
    """A validated experiment. document: the file with every default filled in, as JSON; it can
    be read again with `from_document`.
    """

    name: str
    document: Mapping[str, Any]
    policies: tuple[Policy, ...]
    factors: Mapping[str, tuple[object, ...]]
    boots: int
    runs: int
    seed: int
    claims: tuple[Claim, ...]
    metrics: tuple[MetricSpec, ...]

    @property
    def title(self) -> str:
        """One line."""
        return one_line(str(self.document["title"]))

    @property
    def sha256(self) -> str:
        """Of the canonical JSON of the document: what a resume compares."""
        return fingerprint(self.document)

    @property
    def repetitions(self) -> int:
        """How often each point is run in all."""
        return self.boots * self.runs

    def combinations(self) -> Iterator[dict[str, object]]:
        """Every combination of levels, the last factor fastest; one empty combination without
        factors.
        """
        for levels in itertools.product(*self.factors.values()):
            yield dict(zip(self.factors, levels, strict=True))

    def at(self, levels: Levels) -> Conditions:
        """The conditions at a combination of levels."""
        return _conditions(ExperimentFile.model_validate(_at_levels(self.document, levels)))

    def with_seed(self, seed: int) -> Experiment:
        """The same experiment with another seed for its order."""
        return from_document(self.name, {**self.document, "seed": seed})


def load(name: str) -> Experiment:
    """An experiment by its name in experiments/ or by its path. InvalidFileError when there is
    none or it is not valid.
    """
    path = Path(name) if "/" in name or name.endswith((".yml", ".yaml")) else EXPERIMENTS / f"{name}.yml"
    if not path.is_file():
        known = [file.stem for file in EXPERIMENTS.glob("*.yml")]
        raise InvalidFileError(f"there is no experiment {name!r}", where=str(path), remedy=hint(path.stem, known))
    if not re.fullmatch(IDENTIFIER, path.stem):
        raise InvalidFileError(
            "the file's name is the experiment's, and cannot be one",
            where=str(path),
            remedy="use letters, digits, _ . and -",
        )
    return _build(path.stem, document.read(path))


def from_document(name: str, content: Mapping[str, Any], where: str = "the resolved experiment") -> Experiment:
    """An experiment from its resolved document, such as campaign.json holds."""
    return _build(name, Document(Path(where), dict(content), {}))


def boots_and_runs(file: ExperimentFile) -> tuple[int, int]:
    """Boots of the host, and runs from each; a plain number is runs of one boot."""
    asked = file.repetitions
    return (1, asked) if isinstance(asked, int) else (asked.boots, asked.runs)


def fingerprint(content: Mapping[str, Any]) -> str:
    """SHA-256 of canonical JSON: sorted keys, no spaces."""
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def changed_keys(old: object, new: object, path: KeyPath = ()) -> list[str]:
    """The dotted paths at which two documents differ."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        keys = [*old, *(key for key in new if key not in old)]
        return [found for key in keys for found in changed_keys(old.get(key), new.get(key), (*path, key))]
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        return [found for i, pair in enumerate(zip(old, new, strict=True)) for found in changed_keys(*pair, (*path, i))]
    return [] if old == new else [dotted(path)]


def _build(name: str, source: Document) -> Experiment:
    file = _validate(source, source.content)
    problems = [*_name_problems(file), *_factor_problems(file), *_unused_managers(file)]
    if problems:
        raise source.error(problems)
    resolved = _resolved(file)
    experiment = Experiment(
        name=name,
        document=resolved,
        policies=tuple(policies.parse(policy) for policy in file.policies),
        factors={path: tuple(levels) for path, levels in file.factors.items()},
        boots=boots_and_runs(file)[0],
        runs=boots_and_runs(file)[1],
        seed=file.seed,
        claims=tuple(claim.record() for claim in file.claims),
        metrics=_metric_specs(registry.get(file.workload.name)),
    )
    base = _problems(_at_levels(resolved, {}))
    for levels in experiment.combinations():
        if found := _problems(_at_levels(resolved, levels)):
            # what is wrong with the file itself is not a level's fault
            raise source.error([each if each in base else _at_factor(each, levels) for each in found])
    return experiment


def _problems(content: Mapping[str, Any]) -> list[Problem]:
    """Everything that is wrong with a document without factors."""
    try:
        return _resolve(ExperimentFile.model_validate(content))[1]
    except ValidationError as error:
        return [_problem(detail) for detail in error.errors(include_url=False)]


def _validate(source: Document, content: Mapping[str, Any]) -> ExperimentFile:
    try:
        return ExperimentFile.model_validate(content)
    except ValidationError as error:
        problems = [_problem(detail) for detail in error.errors(include_url=False)]
    raise source.error(problems)


def _at_factor(problem: Problem, levels: Levels | None) -> Problem:
    """A problem of a combination of levels, told at the factor that caused it."""
    for path, level in (levels or {}).items():
        if dotted(problem.path) == path or dotted(problem.path).startswith((f"{path}.", f"{path}[")):
            return Problem(("factors", path), f"level {shortened(level)}: {problem.message}", problem.remedy)
    if levels:
        shown = ", ".join(f"{path} = {level}" for path, level in levels.items())
        return Problem(("factors",), f"at {shown}: {dotted(problem.path)}: {problem.message}", problem.remedy)
    return problem


_BY_PYDANTIC = ("function-before", "function-after", NUMBER, LEVELS)
"""Parts of a path that no file has."""


def _problem(detail: Any, parameters: list[str] | None = None) -> Problem:  # noqa: ANN401
    path: KeyPath = tuple(part for part in detail["loc"] if part not in _BY_PYDANTIC)
    if detail["type"] == "extra_forbidden":
        return Problem(path, f"unknown key {path[-1]!r}", hint(str(path[-1]), parameters or key_names(path[:-1])))
    if detail["type"] == "missing":
        return Problem(path, f"the key {path[-1]!r} is missing")
    if detail["type"] == "literal_error":
        return Problem(path, f"{shortened(detail['input'])} is not one of {detail['ctx']['expected']}")
    if detail["type"] == "value_error":
        return Problem(path, str(detail["ctx"]["error"]))
    return Problem(path, f"{detail['msg'][0].lower()}{detail['msg'][1:]}, not {shortened(detail['input'])}")


def _resolved(file: ExperimentFile) -> dict[str, Any]:
    """The file with every default filled in, those of the workload's parameters included.
    Managers that no policy has are left out, and so are keys of UNWRITTEN with their default.
    """
    content = _dumped(file)
    for section, key in UNWRITTEN:
        if key not in getattr(file, section).model_fields_set or not getattr(getattr(file, section), key):
            del content[section][key]
    workload = registry.get(file.workload.name)
    content["workload"]["parameters"] = workload.Parameters.model_validate(file.workload.parameters).model_dump(
        mode="json"
    )
    return content


def _managers(file: ExperimentFile) -> set[str]:
    """The managers that the file's policies have, as far as there are such policies."""
    bases = (policies.BASES.get(name.partition("+")[0]) for name in file.policies)
    return {base.manager for base in bases if base is not None and base.manager is not None}


def _dumped(file: ExperimentFile) -> dict[str, Any]:
    """The file as JSON, without sections of managers that no policy has."""
    used = _managers(file)
    unused = {*(MANAGERS.keys() - used), *(() if used else ("manager",))}
    content: dict[str, Any] = file.model_dump(mode="json", by_alias=True, exclude=unused)
    return content


def _unused_managers(file: ExperimentFile) -> Iterator[Problem]:
    """Settings of a manager that no policy has would change nothing."""
    used = _managers(file)
    for key in [*MANAGERS, "manager"]:
        idle = key not in used if key in MANAGERS else not used
        if idle and key in file.model_fields_set and getattr(file, key).model_fields_set:
            yield Problem((key,), "no policy has this manager, so its settings mean nothing", "leave them out")


def _name_problems(file: ExperimentFile) -> list[Problem]:
    """Names that mean nothing here: policies, the workload and its parameters, the claims'
    policies and metrics.
    """
    problems = list(_duplicates(file.policies, ("policies",), "policy"))
    for index, policy in enumerate(file.policies):
        try:
            policies.parse(policy)
        except UserError as error:
            problems.append(Problem(("policies", index), error.what, error.remedy))
    if file.workload.name not in registry.names():
        problems.append(
            Problem(
                ("workload", "name"),
                f"unknown workload {file.workload.name!r}",
                hint(file.workload.name, registry.names()),
            )
        )
        return problems
    workload = registry.get(file.workload.name)
    problems.extend(_parameter_problems(workload, file.workload.parameters))
    problems.extend(_duplicates([claim.id for claim in file.claims], ("claims",), "claim id"))
    specs = _metric_specs(workload)
    for index, claim in enumerate(file.claims):
        here: KeyPath = ("claims", index)
        if find_spec(specs, claim.metric) is None:
            near = hint(claim.metric, [spec.name for spec in specs])
            problems.append(Problem((*here, "metric"), f"unknown metric {claim.metric!r}", near))
        for side in ("treatment", "control"):
            policy = getattr(claim.compare, side)
            if policy not in file.policies:
                problems.append(
                    Problem(
                        (*here, "compare", side),
                        f"policy {policy!r} is not one of this experiment's",
                        hint(policy, file.policies),
                    )
                )
        if claim.compare.treatment == claim.compare.control:
            problems.append(Problem((*here, "compare"), "a policy cannot be compared with itself"))
    return problems


def _duplicates(names: list[str], path: KeyPath, what: str) -> Iterator[Problem]:
    for index, name in enumerate(names):
        if name in names[:index]:
            yield Problem(
                (*path, index), f"{what} {name!r} is there twice", "keep one; repetitions are counted in `repetitions`"
            )


def _parameter_problems(workload: Workload[Any], given: Mapping[str, Any]) -> list[Problem]:
    try:
        workload.Parameters.model_validate(given)
    except ValidationError as error:
        found = [_problem(detail, list(workload.Parameters.model_fields)) for detail in error.errors(include_url=False)]
        return [
            Problem(("workload", "parameters", *problem.path), problem.message, problem.remedy) for problem in found
        ]
    return []


def _metric_specs(workload: Workload[Any]) -> tuple[MetricSpec, ...]:
    return tuple({spec.name: spec for spec in (*metrics.SPECS, *workload.metrics)}.values())


def _factor_problems(file: ExperimentFile) -> list[Problem]:
    if file.workload.name not in registry.names():
        return []
    problems = []
    known = _leaves(file)
    for path, levels in file.factors.items():
        if path not in known and not path.startswith(SYSCTLS):
            problems.append(Problem(("factors", path), f"no key {path!r} can be a factor", hint(path, known)))
        else:
            problems.extend(_equal_levels(file, path, levels))
    if "overcommit_ratio" in file.factors and "host.guest_memory" in file.factors:
        problems.append(Problem(("factors",), "overcommit_ratio decides host.guest_memory, so both cannot be factors"))
    boots, runs = boots_and_runs(file)
    cells = boots * runs * len(file.policies)
    for levels in file.factors.values():
        cells *= len(levels)
    if cells > MOST_CELLS:
        problems.append(Problem(("factors",), f"{cells} cells are more than the {MOST_CELLS} that a campaign may have"))
    return problems


def _equal_levels(file: ExperimentFile, path: str, levels: Sequence[object]) -> Iterator[Problem]:
    """Levels that mean the same, however they are written: `1 s` and `1000 ms`."""
    content = _dumped(file)
    seen: dict[str, object] = {}
    for level in levels:
        try:
            meant = _resolved(ExperimentFile.model_validate(_at_levels(content, {path: level})))
        except ValidationError:
            continue  # told where the combination is checked
        key = fingerprint(meant)
        if key in seen:
            same = repr(level) if level == seen[key] else f"{level!r} is {seen[key]!r}"
            yield Problem(
                ("factors", path),
                f"a level is there twice: {same}",
                "keep one; repetitions are counted in `repetitions`",
            )
        seen.setdefault(key, level)


def _leaves(file: ExperimentFile) -> list[str]:
    """Every dotted path that may be a factor: the keys of the resolved file below FACTOR_ROOTS
    that are no mappings themselves.
    """

    def walk(value: object, path: KeyPath) -> Iterator[str]:
        if isinstance(value, Mapping):
            for key, item in value.items():
                yield from walk(item, (*path, key))
        else:
            yield dotted(path)

    content = _dumped(file)
    content["workload"]["parameters"] = dict.fromkeys(registry.get(file.workload.name).Parameters.model_fields)
    return [
        leaf
        for leaf in walk(content, ())
        if leaf.startswith(tuple(f"{root}." for root in FACTOR_ROOTS)) or leaf in FACTOR_ROOTS
    ]


def _at_levels(content: Mapping[str, Any], levels: Levels) -> dict[str, Any]:
    """The document with the levels written into it, and no factors."""
    changed = copy.deepcopy(dict(content))
    changed["factors"] = {}
    for path, level in levels.items():
        *parents, last = ["guests", "sysctl", path[len(SYSCTLS) :]] if path.startswith(SYSCTLS) else path.split(".")
        target = changed
        for parent in parents:
            target = target[parent]
        target[last] = level
        if path == "overcommit_ratio":
            changed["host"]["guest_memory"] = None
    return changed


def _conditions(file: ExperimentFile) -> Conditions:
    """Sizes that follow from others. InvalidFileError for what cannot be; of an experiment, all
    has been checked before.
    """
    conditions, problems = _resolve(file)
    if conditions is None or problems:
        raise Document(Path("experiment"), {}, {}).error(problems)
    return conditions


def _resolve(file: ExperimentFile) -> tuple[Conditions | None, list[Problem]]:
    """The conditions, when the workload's parameters can be understood, and everything that is
    wrong with them.
    """
    guests, problems = file.guests, []
    if (file.overcommit_ratio is None) == (file.host.guest_memory is None):
        problems.append(
            Problem(
                ("host", "guest_memory"),
                "either host.guest_memory or overcommit_ratio has to be given, and not both",
                "keep one of the two",
            )
        )
    available = file.host.guest_memory
    if available is None:
        available = int(guests.count * guests.memory_max / (file.overcommit_ratio or 1))
    start = guests.memory_start
    if start is None:
        start = min(guests.memory_max, available // guests.count)
    host = HostSizing(available, file.host.dom0_memory, file.host.vcpus)
    swap = guests.swap if guests.swap is not None else guests.memory_max
    sizing = GuestSizing(guests.count, guests.vcpus, guests.memory_max, start, swap)
    problems.extend(feasible.sizing(host, sizing))
    asked = [policies.parse(policy) for policy in file.policies]
    problems.extend(feasible.controls(file, asked, host, sizing))
    start_mib = min((apply.start_mib(policy, host, sizing) for policy in asked), default=start)
    used = _managers(file)
    tuning = Tuning(
        dict(guests.sysctl),
        file.selfballoon.settings(),
        file.tmem.settings(),
        memory_swap.devices(file.ramdisk_swap, file.zswap, file.zram, sizing, start_mib),
        file.manager.tuning() if used else None,
        {name: file.settings_of(name).values() for name in sorted(used)},
    )
    if used and file.manager.minimum > guests.memory_max:
        problems.append(
            Problem(
                ("manager", "minimum"),
                f"guests cannot keep at least {file.manager.minimum} MiB where they may have {guests.memory_max}",
                "lower it, or raise guests.memory_max",
            )
        )
    if tuning.selfballoon and not any(any(policy.module.values()) for policy in asked):
        problems.append(
            Problem(
                ("selfballoon",), "no policy loads the guest driver, so its settings mean nothing", "leave them out"
            )
        )
    workload = registry.get(file.workload.name)
    if wrong := _parameter_problems(workload, file.workload.parameters):
        return None, [*problems, *wrong]
    parameters = workload.Parameters.model_validate(file.workload.parameters)
    problems.extend(feasible.load(workload, parameters, file.timeouts))
    conditions = Conditions(
        host,
        sizing,
        tuning,
        workload,
        parameters,
        file.settle,
        file.sampling.interval,
        file.timeouts,
        file.gates,
        file.more_ram or 0,
        file.workload.phase,
    )
    return conditions, problems
