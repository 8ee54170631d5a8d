"""How often an experiment's points are run: as its file says, or as the data will."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from campaigns import looks
from campaigns.document import KeyPath, Problem
from campaigns.looks import Until
from campaigns.records import find_spec
from campaigns.schema import BoundsSection, ComparisonSection, ExperimentFile, RepetitionsSection
from common.metrics import MetricSpec
from common.text import hint


def boots_and_runs(file: ExperimentFile) -> tuple[int, int]:
    """Boots of the host, and runs from each, at most; a plain number is runs of one boot."""
    asked = file.repetitions
    return (1, asked) if isinstance(asked, int) else (_most(asked.boots), _most(asked.runs))


def _most(asked: int | BoundsSection) -> int:
    return asked if isinstance(asked, int) else asked.at_most


def until(file: ExperimentFile) -> Until | None:
    """When repetitions end, where the data decides that."""
    asked = file.repetitions
    if not isinstance(asked, RepetitionsSection) or asked.until is None:
        return None
    bounds = next(each for each in (asked.boots, asked.runs) if isinstance(each, BoundsSection))
    return Until(
        metric=asked.until.metric,
        aggregate=asked.until.aggregate,
        treatment=asked.until.compare.treatment,
        control=asked.until.compare.control,
        half_width=asked.until.half_width,
        unit="boot" if bounds is asked.boots else "run",
        sizes=looks.sizes(bounds.at_least, bounds.at_most, asked.until.looks),
    )


def problems(file: ExperimentFile, specs: Sequence[MetricSpec]) -> Iterator[Problem]:
    """Names in `until` that mean nothing here."""
    asked = file.repetitions
    if isinstance(asked, RepetitionsSection) and asked.until is not None:
        yield from compared(("repetitions", "until"), asked.until.metric, asked.until.compare, file.policies, specs)


def compared(
    here: KeyPath, metric: str, compare: ComparisonSection, policies: Sequence[str], specs: Sequence[MetricSpec]
) -> Iterator[Problem]:
    """What is wrong with a metric under two policies."""
    if find_spec(specs, metric) is None:
        near = hint(metric, [spec.name for spec in specs])
        yield Problem((*here, "metric"), f"unknown metric {metric!r}", near)
    for side in ("treatment", "control"):
        policy = getattr(compare, side)
        if policy not in policies:
            what = f"policy {policy!r} is not one of this experiment's"
            yield Problem((*here, "compare", side), what, hint(policy, policies))
    if compare.treatment == compare.control:
        yield Problem((*here, "compare"), "a policy cannot be compared with itself")
