"""A host that its machine starved: what it counted stays, what it measured in time goes.

raw/controller.json holds what the machine gave the emulated host before and after the run. A
physical host has no such file.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from campaigns.records import STARVED
from common import metrics
from common.metrics import Metric, MetricSpec
from lab.emulator import share
from lab.emulator.share import Given, Reading

FILE = "controller.json"

SHARE = MetricSpec(
    "controller_share",
    "fraction",
    "higher",
    "of the processor time that the emulated host asked its machine "
    f"for, what it got; below {share.ENOUGH:g} beside other programs its times have no value",
)

KEPT = frozenset({"barrier_skew"})
"""Times that say how well a run went, and of which a gate judges."""


def is_timed(metric: Metric) -> bool:
    """Whether a metric has no value where its host was starved."""
    return metric.name not in KEPT and metrics.is_timed(metric.unit)


def save(directory: Path, before: Reading | None, after: Reading | None) -> None:
    """Keep both readings; nothing where there is none."""
    if before is not None and after is not None:
        text = json.dumps({"before": vars(before), "after": vars(after)}, indent=1)
        (directory / FILE).write_text(text + "\n", encoding="utf-8")


def load(directory: Path) -> Given | None:
    """What the host was given, by raw/; None where nothing was kept. ValueError when it is no
    such file.
    """
    try:
        document = json.loads((directory / FILE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    if not isinstance(document, dict) or not {"before", "after"} <= document.keys():
        raise ValueError(f"{FILE} has no readings before and after")
    return share.between(share.parse(document["before"]), share.parse(document["after"]))


def judged(metrics: Iterable[Metric], given: Given | None) -> tuple[tuple[Metric, ...], list[str]]:
    """The metrics with the share that the host got, without times where it was starved; and a
    note that says so.
    """
    if given is None:
        return tuple(metrics), []
    told = (*metrics, Metric(SHARE.name, SHARE.unit, given.share))
    if not given.starved:
        return told, []
    note = (
        f"{STARVED}: its machine gave it {given.share:.0%} of the processor time that it asked for, and at least "
        f"{share.ENOUGH:.0%} are wanted, so times and rates have no value; counters do"
    )
    return tuple(replace(each, value=None) if is_timed(each) else each for each in told), [note]
