"""Thresholds of an experiment: how far a factor can be taken before a metric gets too bad. Here is
what is wrong with how they are written; analysis/thresholds.py finds the levels.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from campaigns.document import KeyPath, Problem
from campaigns.exclusions import among
from campaigns.records import find_spec
from campaigns.schema import ExperimentFile, ThresholdSection
from common.metrics import MetricSpec
from common.text import hint, shortened


def problems(file: ExperimentFile, specs: Sequence[MetricSpec]) -> Iterator[Problem]:
    """Names that mean nothing here, and starts from which no way leads along the factor."""
    seen: list[str] = []
    for index, each in enumerate(file.thresholds):
        here: KeyPath = ("thresholds", index)
        if each.id in seen:
            yield Problem((*here, "id"), f"threshold id {each.id!r} is there twice", "give each its own")
        seen.append(each.id)
        yield from _levels(file, each, here)
        if (spec := find_spec(specs, each.metric)) is None:
            near = hint(each.metric, [spec.name for spec in specs])
            yield Problem((*here, "metric"), f"unknown metric {each.metric!r}", near)
        elif spec.better == ("higher" if each.at_most is not None else "lower"):
            wrong, right = ("at_most", "at_least") if each.at_most is not None else ("at_least", "at_most")
            yield Problem(
                (*here, wrong), f"{each.metric} is better {spec.better}, so this bounds its good side", f"use {right}"
            )
        if each.group is not None and each.group not in file.groups:
            near = hint(each.group, [name for name in file.groups if name])
            yield Problem((*here, "group"), f"there is no group {each.group!r} of guests", near)


def _levels(file: ExperimentFile, each: ThresholdSection, here: KeyPath) -> Iterator[Problem]:
    levels = file.factors.get(each.factor)
    if levels is None:
        yield Problem(
            (*here, "factor"), f"{each.factor!r} is no factor of this experiment", hint(each.factor, list(file.factors))
        )
    elif len(levels) < 2:
        yield Problem((*here, "factor"), f"{each.factor} has one level, so it leads nowhere", "give it more levels")
    elif not among(each.start, (levels[0], levels[-1])):
        yield Problem(
            (*here, "start"),
            f"{shortened(each.start)} is neither the first nor the last level of {each.factor}",
            f"start at {shortened(levels[0])} or {shortened(levels[-1])}; levels are taken in their order from there",
        )
