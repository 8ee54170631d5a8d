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
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from campaigns import document, exclusions, idle, metrics, mistakes, presets, repeating, resolve, thresholds
from campaigns.conditions import Conditions
from campaigns.document import Document, KeyPath, Problem, dotted
from campaigns.exclusions import Exclusion, excluded
from campaigns.looks import Until
from campaigns.records import Claim
from campaigns.schema import FIT, FIT_MIB, IDENTIFIER, MANAGERS, ExperimentFile, GuestsSection
from common.errors import InvalidFileError, UserError
from common.metrics import MetricSpec
from common.needs import Needs, together
from common.text import hint, one_line, shortened
from policies import registry as policies
from policies.base import Policy
from workloads import registry

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

UNWRITTEN: Mapping[tuple[str, ...], object] = {
    ("workload", "phase"): "0 s",
    ("workload",): None,
    ("claims", "*", "group"): None,
    ("claims", "*", "regime"): None,
    ("claims", "*", "contradicted_by"): None,
    ("guests", "kernel"): "fidelity",
    ("guests", "kernel_memory"): "own",
    ("guests", "type"): "pv",
    ("exclude",): [],
    ("retries",): {},
    ("repetitions", "until"): None,
    ("thresholds",): [],
    ("thresholds", "*", "group"): None,
}
"""Keys that came late, and what they say when they say nothing: the resolved experiment then lacks
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
    exclusions: tuple[Exclusion, ...] = ()
    retries: Mapping[str, int] = field(default_factory=dict)
    until: Until | None = None

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
        """How often each point is run in all, at most."""
        return self.boots * self.runs

    def combinations(self) -> Iterator[dict[str, object]]:
        """Every combination of levels at which any policy is run, the last factor fastest; one
        empty combination without factors.
        """
        for each in itertools.product(*self.factors.values()):
            levels = dict(zip(self.factors, each, strict=True))
            if self.policies_at(levels):
                yield levels

    def policies_at(self, levels: Levels) -> list[Policy]:
        """The policies that are run at a combination of levels."""
        return [policy for policy in self.policies if not excluded(self.exclusions, policy.name, levels)]

    def at(self, levels: Levels) -> Conditions:
        """The conditions at a combination of levels."""
        return resolve.conditions(ExperimentFile.model_validate(_at_levels(self.document, levels)))

    @property
    def needs(self) -> Needs:
        """What the guests' image has to have for its workloads, and what they boot, at all levels
        together.
        """
        conditions = [self.at(levels) for levels in self.combinations()]
        kernels = sorted({each.guests.boots for each in conditions})
        loads = [group.load for each in conditions for group in each.groups]
        return together([Needs(kernels=tuple(kernels)), *(each.workload.needs(each.parameters) for each in loads)])

    def with_seed(self, seed: int) -> Experiment:
        """The same experiment with another seed for its order."""
        return from_document(self.name, {**self.document, "seed": seed})


def load(name: str, scale: str | None = None) -> Experiment:
    """An experiment by its name in experiments/ or by its path. scale: with this preset of it.
    InvalidFileError when there is none or it is not valid.
    """
    path = _path(name)
    return _build(path.stem, presets.at_scale(document.read(path), scale))


def scales(name: str) -> list[str]:
    """The presets of an experiment."""
    return presets.names(document.read(_path(name)))


def _path(name: str) -> Path:
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
    return path


def from_document(name: str, content: Mapping[str, Any], where: str = "the resolved experiment") -> Experiment:
    """An experiment from its resolved document, such as campaign.json holds."""
    return _build(name, Document(Path(where), dict(content), {}))


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
    problems = [*_name_problems(file), *_factor_problems(file), *idle.managers(file), *idle.guests(file)]
    problems += exclusions.problems(file.exclude, file.policies, file.factors)
    if _loads_known(file):
        problems += thresholds.problems(file, _metric_specs(file))
    if problems:
        raise source.error(problems)
    resolved = _resolved(file)
    experiment = Experiment(
        name=name,
        document=resolved,
        policies=tuple(policies.parse(policy) for policy in file.policies),
        factors={path: tuple(levels) for path, levels in file.factors.items()},
        boots=repeating.boots_and_runs(file)[0],
        runs=repeating.boots_and_runs(file)[1],
        seed=file.seed,
        claims=tuple(claim.record() for claim in file.claims),
        metrics=_metric_specs(file),
        exclusions=tuple(file.exclude),
        retries={str(kind): times for kind, times in file.retries.items()},
        until=repeating.until(file),
    )
    if not any(True for _ in experiment.combinations()):
        raise source.error([Problem(("exclude",), "every cell is left out", "leave some")])
    met = [{policy.name for policy in experiment.policies_at(levels)} for levels in experiment.combinations()]
    if problems := list(idle.comparisons(experiment.claims, experiment.until, met)):
        raise source.error(problems)
    base = _problems(_at_levels(resolved, {}))
    for levels in experiment.combinations():
        if found := _problems(_at_levels(resolved, levels)):
            # what is wrong with the file itself is not a level's fault
            raise source.error([each if each in base else _at_factor(each, levels) for each in found])
    return experiment


def _problems(content: Mapping[str, Any]) -> list[Problem]:
    """Everything that is wrong with a document without factors."""
    try:
        return resolve.resolve(ExperimentFile.model_validate(content))[1]
    except ValidationError as error:
        return [mistakes.of_pydantic(detail) for detail in error.errors(include_url=False)]


def _validate(source: Document, content: Mapping[str, Any]) -> ExperimentFile:
    try:
        return ExperimentFile.model_validate(content)
    except ValidationError as error:
        problems = [mistakes.of_pydantic(detail) for detail in error.errors(include_url=False)]
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


def _resolved(file: ExperimentFile) -> dict[str, Any]:
    """The file with every default filled in, those of the workload's parameters included.
    Managers that no policy has are left out, and so are keys of UNWRITTEN that say nothing.
    """
    content = _dumped(file)
    for place, section in file.loads().items():
        parameters = registry.get(section.name).Parameters.model_validate(section.parameters)
        _at(content, place)["parameters"] = parameters.model_dump(mode="json")
    for path, unsaid in UNWRITTEN.items():
        *parents, last = path
        for at in _all_at(content, parents):
            if isinstance(at, dict) and at.get(last, _ABSENT) == unsaid:
                del at[last]
    return content


_ABSENT = object()


def _at(content: Any, path: Sequence[str | int]) -> Any:  # noqa: ANN401
    for part in path:
        content = content[part]
    return content


def _all_at(content: Any, path: Sequence[str]) -> list[dict[str, Any]]:  # noqa: ANN401
    """The mappings at a path, in which `*` is any item of a list; none where there is nothing."""
    found = [content]
    for part in path:
        inner = [each if part == "*" else [each.get(part)] for each in found]
        found = [item for items in inner for item in items if item is not None]
    return found


def _dumped(file: ExperimentFile) -> dict[str, Any]:
    """The file as JSON, without sections of managers that no policy has."""
    used = resolve.managers(file)
    unused = {*(MANAGERS.keys() - used), *(() if resolve.managers(file, in_dom0=True) else ("manager",))}
    content: dict[str, Any] = file.model_dump(mode="json", by_alias=True, exclude=unused)
    return content


def _name_problems(file: ExperimentFile) -> list[Problem]:
    """Names that mean nothing here: policies, the workload and its parameters, the claims'
    policies and metrics.
    """
    problems = [*_duplicates(file.policies, ("policies",), "policy"), *idle.policies(file.policies)]
    for index, policy in enumerate(file.policies):
        try:
            policies.parse(policy)
        except UserError as error:
            problems.append(Problem(("policies", index), error.what, error.remedy))
    problems.extend(_load_problems(file))
    problems.extend(_duplicates([claim.id for claim in file.claims], ("claims",), "claim id"))
    if not _loads_known(file):
        return problems
    specs = _metric_specs(file)
    for index, claim in enumerate(file.claims):
        here: KeyPath = ("claims", index)
        if claim.group is not None and claim.group not in file.groups:
            near = hint(claim.group, [name for name in file.groups if name])
            problems.append(Problem((*here, "group"), f"there is no group {claim.group!r} of guests", near))
        problems += repeating.compared(here, claim.metric, claim.compare, file.policies, specs)
    problems += repeating.problems(file, specs)
    return problems


def _loads_known(file: ExperimentFile) -> bool:
    return all(section.name in registry.names() for section in file.loads().values())


def _load_problems(file: ExperimentFile) -> Iterator[Problem]:
    """What is wrong with the workloads and their parameters, and with what groups wait for."""
    without = [name for name, group in file.groups.items() if group.workload is None]
    if file.workload is None and without:
        whose = f": {', '.join(without)} has none of its own" if any(without) else ""
        yield Problem(("workload",), f"the key 'workload' is missing{whose}")
    if file.workload is not None and not without:
        yield Problem(("workload",), "every group has a workload of its own, so this means nothing", "leave it out")
    for place, section in file.loads().items():
        if section.name not in registry.names():
            near = hint(section.name, registry.names())
            yield Problem((*place, "name"), f"unknown workload {section.name!r}", near)
        else:
            yield from resolve.parameter_problems(registry.get(section.name), section.parameters, place)
    for name, group in file.groups.items():
        where: KeyPath = ("guests", "groups", name, "after")
        if group.after is not None and group.after not in file.groups:
            yield Problem(where, f"there is no group {group.after!r} of guests", hint(group.after, list(file.groups)))
        elif group.after is not None and name in _before(file, name):
            yield Problem(where, f"{name} would wait for itself, so that it never starts")


def _before(file: ExperimentFile, name: str) -> list[str]:
    """The groups that have to have ended before one starts, its own included when they wait for it
    in turn.
    """
    found: list[str] = []
    following = file.groups[name].after
    while following in file.groups and following not in found:
        found.append(following)
        following = file.groups[following].after
    return found


def _duplicates(names: list[str], path: KeyPath, what: str) -> Iterator[Problem]:
    for index, name in enumerate(names):
        if name in names[:index]:
            yield Problem(
                (*path, index), f"{what} {name!r} is there twice", "keep one; repetitions are counted in `repetitions`"
            )


def _metric_specs(file: ExperimentFile) -> tuple[MetricSpec, ...]:
    theirs = [spec for section in file.loads().values() for spec in registry.get(section.name).metrics]
    return tuple({spec.name: spec for spec in (*metrics.SPECS, *theirs)}.values())


def _factor_problems(file: ExperimentFile) -> list[Problem]:
    if not _loads_known(file):
        return []
    if too_many := _too_many(file):
        return [too_many]  # what is wrong with each of a million levels takes hours to find, and nobody reads it
    problems = []
    known = _leaves(file)
    for path, levels in file.factors.items():
        if path not in known and not path.startswith(SYSCTLS):
            problems.append(Problem(("factors", path), f"no key {path!r} can be a factor", hint(path, known)))
        else:
            problems.extend(_equal_levels(file, path, levels))
    fits = isinstance(file.guests, GuestsSection) and file.guests.memory_max == FIT_MIB
    if "overcommit_ratio" in file.factors and "host.guest_memory" in file.factors and not fits:
        problems.append(Problem(("factors",), "overcommit_ratio decides host.guest_memory, so both cannot be factors"))
    return problems


def _too_many(file: ExperimentFile) -> Problem | None:
    """That there are more cells than a campaign may have, those that are left out included."""
    boots, runs = repeating.boots_and_runs(file)
    cells = boots * runs * len(file.policies) * math.prod(len(levels) for levels in file.factors.values())
    if cells <= MOST_CELLS:
        return None
    shown = f"{cells:,}" if cells < 10**12 else f"about 10^{math.log10(cells):.0f}"
    return Problem(("factors",), f"{shown} cells are more than the {MOST_CELLS:,} that a campaign may have")


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
    for place, section in file.loads().items():
        _at(content, place)["parameters"] = dict.fromkeys(registry.get(section.name).Parameters.model_fields)
    return [
        leaf
        for leaf in walk(content, ())
        if not leaf.endswith((".workload.name", ".after"))
        if leaf.startswith(tuple(f"{root}." for root in FACTOR_ROOTS)) or leaf in FACTOR_ROOTS
    ]


def _at_levels(content: Mapping[str, Any], levels: Levels) -> dict[str, Any]:
    """The document with the levels written into it, and no factors."""
    changed = copy.deepcopy(dict(content))
    changed |= {"factors": {}, "exclude": []}
    for path, level in levels.items():
        *parents, last = ["guests", "sysctl", path[len(SYSCTLS) :]] if path.startswith(SYSCTLS) else path.split(".")
        target = changed
        for parent in parents:
            target = target[parent]
        target[last] = level
        if path == "overcommit_ratio" and changed["guests"].get("memory_max") != FIT:
            changed["host"]["guest_memory"] = None
    return changed
