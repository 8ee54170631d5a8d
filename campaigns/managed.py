"""What a manager in dom0 did during a run: raw/manager.jsonl as samples, metrics, and decisions
that anybody can make again.

Its lines are policies/daemon/main.py's, and more with what reporting cost the guests, and with what
became of sections of their memory (lab/remote/managers.py). A run of a policy without a manager has
no such file.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from common.errors import UserError
from common.metrics import Metric, MetricSpec, total
from lab.api import Sample
from lab.counters.names import TARGET
from policies import decide
from policies.base import Policy, Tuning

FILE = "manager.jsonl"

CPU = MetricSpec(
    "manager_cpu",
    "fraction",
    "lower",
    "share of one of dom0's processors that the manager took while the guests ran, with the tools that it ran",
)
DECISIONS = MetricSpec("manager_decisions", "count", "neither", "decisions that the manager made while the guests ran")
TARGETS = MetricSpec("manager_targets", "count", "neither", "targets that it set, of all guests")
FAILED = MetricSpec("manager_failures", "count", "lower", "targets that could not be set, or not as decided")
REPORTING_CPU = MetricSpec(
    "reporting_cpu", "fraction", "lower", "share of one of a guest's processors that reporting to the manager took"
)
SECTIONS = {
    "given": MetricSpec("sections_given", "sections", "neither", "sections of memory that a guest emptied and gave"),
    "taken": MetricSpec("sections_taken", "sections", "neither", "sections of memory that came to a guest"),
    "failed": MetricSpec(
        "sections_failed", "sections", "lower", "sections that a guest was to give and could not empty, at each try"
    ),
    "refused": MetricSpec(
        "sections_refused", "sections", "lower", "sections that a guest was to get and for which Xen had no memory"
    ),
}
"""What lab/remote/sections.sh counts."""

SPECS = (CPU, DECISIONS, TARGETS, FAILED, REPORTING_CPU, *SECTIONS.values())


@dataclass(frozen=True)
class Managed:
    """What a manager left. decisions: a record for each; errors: what failed as a whole; cost: the
    daemon's own account; reporters: guest -> its reporter's; sections: guest -> what became of its.
    """

    decisions: Sequence[Mapping[str, Any]]
    errors: Sequence[str]
    cost: Mapping[str, float]
    reporters: Mapping[str, Mapping[str, float]]
    sections: Mapping[str, Mapping[str, int]] = field(default_factory=dict)

    @property
    def samples(self) -> list[Sample]:
        """The targets that were set, when they were, by time."""
        found = [
            Sample(record["time"] + after, record["names"][str(domain)], TARGET.name, TARGET.unit, TARGET.value(target))
            for record in self.decisions
            for domain, target, after in record["set"]
            if str(domain) in record["names"]
        ]
        return sorted(found, key=lambda sample: sample.time)

    @property
    def metrics(self) -> list[Metric]:
        """What the manager cost and did. Nothing is counted in a log that was full before."""
        whole = not self.cost.get("dropped")
        counted = {
            CPU: _share(self.cost),
            DECISIONS: self.cost.get("decisions"),
            TARGETS: total([len(record["set"]) for record in self.decisions]) if whole else None,
            FAILED: total([len(record["failed"]) for record in self.decisions]) if whole else None,
        }
        return [
            *(Metric(spec.name, spec.unit, value) for spec, value in counted.items()),
            *(
                Metric(REPORTING_CPU.name, REPORTING_CPU.unit, _share(each), name)
                for name, each in self.reporters.items()
            ),
            *(
                Metric(spec.name, spec.unit, each.get(key), name)
                for name, each in self.sections.items()
                for key, spec in SECTIONS.items()
            ),
        ]


def parse(lines: Sequence[str]) -> Managed:
    """What the lines say. ValueError, KeyError or TypeError when they are none of a manager's."""
    decisions, errors = [], []
    cost: Mapping[str, float] = {}
    reporters: Mapping[str, Mapping[str, float]] = {}
    sections: Mapping[str, Mapping[str, int]] = {}
    for line in lines:
        record = _object(json.loads(line))
        if "decision" in record:
            decisions.append(_checked(record))
        elif "error" in record:
            errors.append(str(record["error"]))
        elif "cost" in record:
            cost = _object(record["cost"])
        elif "sections" in record:
            sections = {name: _counts(each) for name, each in _object(record["sections"]).items()}
        else:
            reporters = {name: _object(each) for name, each in _object(record["reporters"]).items()}
    return Managed(decisions, errors, cost, reporters, sections)


_DECISION: Mapping[str, type | tuple[type, ...]] = {
    "time": (int, float),
    "names": dict,
    "state": dict,
    "decision": dict,
    "set": list,
    "failed": list,
}
"""What is read of a decision's record."""


def _checked(record: Mapping[str, Any]) -> Mapping[str, Any]:
    """The record of a decision, which may have been changed since."""
    for key, wanted in _DECISION.items():
        if not isinstance(record[key], wanted):
            raise TypeError(f"{key} of a manager's decision is {str(record[key])[:80]!r}")
    for domain, target, after in record["set"]:
        if not all(isinstance(each, int | float) for each in (domain, target, after)):
            raise TypeError(f"a manager set a target of {target!r} for {domain!r} after {after!r} s")
    return record


def _counts(value: object) -> Mapping[str, int]:
    found = _object(value)
    if not all(isinstance(each, int) for each in found.values()):
        raise TypeError(f"{str(value)[:80]!r} stands where a guest counts its sections")
    return found


def _object(value: object) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise TypeError(f"{str(value)[:80]!r} stands where a manager writes an object")
    return value


def save(raw: Path, lines: Sequence[str]) -> None:
    """Keep what a manager said; nothing where there was none."""
    if lines:
        (raw / FILE).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def load(raw: Path) -> Managed | None:
    """What `save` kept."""
    path = raw / FILE
    return parse(path.read_text(encoding="utf-8").splitlines()) if path.is_file() else None


def differences(managed: Managed | None, policy: Policy, tuning: Tuning) -> Iterator[str]:
    """The decisions that the manager would not make again of the same states."""
    if managed is None:
        return
    if policy.manager is None:
        yield f"the policy {policy.name} has no manager"
        return
    for number, record in enumerate(managed.decisions, 1):
        try:
            again = decide.again(policy.manager, record["state"], tuning.managers.get(policy.manager, {}))
        except UserError as error:
            yield f"decision {number} has no state that can be decided: {error.what}"
            return
        if again != record["decision"]:
            yield f"decision {number} is {record['decision']}; made again, it is {again}"
            return


def _share(cost: Mapping[str, float]) -> float | None:
    cpu, wall = cost.get("cpu_seconds"), cost.get("wall_seconds")
    return None if cpu is None or not wall else cpu / wall
