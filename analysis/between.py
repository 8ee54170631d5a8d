"""Two campaigns beside each other: what differs in what they asked and ran on, then in what they
measured.

Cells of two campaigns are no pairs, so ratios are of independent groups (Welch), at the level that
was repeated: over boots where there are several, else over runs, and then what differs between two
boots is not covered.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from analysis import statistics, totals, unlike
from analysis.load import Results, levels_text
from analysis.totals import Quantity
from campaigns import records
from common.console import aligned

_GUEST = re.compile(r"^(host\.guests|workload_facts)\.[^.]+")
_NOT_COMPARED = ("testbed.commit", "testbed.dirty")
"""Of env.json: told of the campaigns themselves."""


@dataclass(frozen=True)
class Unlike:
    """Something that the two do not have in common: its path, and what each has."""

    what: str
    first: str
    second: str


@dataclass(frozen=True)
class Measured:
    """A quantity under a policy at factor levels in both. ratio: second ÷ first."""

    policy: str
    levels: str
    quantity: Quantity
    ratio: statistics.Ratio


def provenance(first: Results, second: Results) -> list[Unlike]:
    """What differs in the experiments, the testbed, and what complete cells ran on."""
    sides = [{**_asked(each), **_ran_on(each)} for each in (first, second)]
    paths = dict.fromkeys(path for side in sides for path in side)
    return [
        Unlike(path, *(side.get(path, unlike.NOT_TOLD) for side in sides))
        for path in paths
        if sides[0].get(path) != sides[1].get(path)
    ]


def measured(first: Results, second: Results) -> list[Measured]:
    """Every quantity of the policies and levels that both have, where both have measured it."""
    known = [_quantities(each) for each in (first, second)]
    return [
        Measured(policy, levels, quantity, ratio)
        for levels in first.levels
        if levels in second.levels
        for policy in first.policies
        if policy in second.policies
        for name, quantity in known[0].items()
        if name in known[1]
        for ratio in (_ratio(first, second, quantity, policy, levels),)
        if ratio.treatment is not None and ratio.control is not None
    ]


def lines(found: list[Measured], first: str, second: str) -> list[str]:
    """What was measured, policy by policy: the two means, their ratio, its interval, and how many
    cells (or boots) each has at least.
    """
    columns = ["quantity", first, second, "ratio", f"{100 * statistics.LEVEL:.0f} % interval", "n"]
    shown: list[str] = []
    for heading in dict.fromkeys(_heading(each) for each in found):
        rows = [_row(each) for each in found if _heading(each) == heading]
        shown += [heading, *(f"    {line}" for line in aligned([columns, *rows])), ""]
    return shown


def alone(first: Results, second: Results, names: tuple[str, str]) -> list[str]:
    """What only one of the two has complete cells of, so that it is compared with nothing."""
    sides = [
        dict.fromkeys((cell.policy, levels_text(cell.levels)) for cell in each.complete) for each in (first, second)
    ]
    if not any(point in sides[1] for point in sides[0]):
        return ["nothing is compared: the two have no policy at the same levels in complete cells"]
    return [
        f"only {name} has {', '.join(_at(*point) for point in mine if point not in theirs)}"
        for name, mine, theirs in ((names[0], sides[0], sides[1]), (names[1], sides[1], sides[0]))
        if any(point not in theirs for point in mine)
    ]


def _heading(each: Measured) -> str:
    return _at(each.policy, each.levels)


def _at(policy: str, levels: str) -> str:
    return f"{policy} at {levels}" if levels else policy


def _row(each: Measured) -> list[str]:
    ratio = each.ratio
    end = "…" if ratio.high is None else f"{ratio.high:.3g}"
    return [
        f"{each.quantity.label} [{each.quantity.unit}]",
        *(f"{value:.4g}" for value in (ratio.control or 0.0, ratio.treatment or 0.0)),
        "–" if ratio.estimate is None else f"{ratio.estimate:.3g}",
        "–" if ratio.low is None else f"{ratio.low:.3g} to {end}",
        str(ratio.n),
    ]


def _quantities(results: Results) -> dict[str, Quantity]:
    """Those of the tables, and the metrics of claims, that any complete cell has measured."""
    asked = [
        Quantity(claim.metric, (claim.metric,), claim.aggregate, spec.unit, claim.metric)
        for claim in results.campaign.claims
        if (spec := results.campaign.spec(claim.metric)) is not None
    ]
    found = {each.name: each for each in (*asked, *totals.QUANTITIES.values())}
    return {name: each for name, each in found.items() if results.known.issuperset(each.metrics)}


def _ratio(first: Results, second: Results, quantity: Quantity, policy: str, levels: str) -> statistics.Ratio:
    sides: list[dict[tuple[int, str], float | None]] = []
    boots: dict[tuple[int, str], int] = {}
    for number, results in enumerate((second, first)):
        side = {(number, cell.cell): totals.value(results, cell, quantity) for cell in results.at(policy, levels)}
        boots |= {(number, cell.cell): totals.boot_of(cell) for cell in results.at(policy, levels)}
        sides.append(side)
    looks = max(totals.looks_of(each) for each in (first, second))
    return statistics.ratio(sides[0], sides[1], blocked=False, boots=boots, looks=looks)


def _asked(results: Results) -> dict[str, str]:
    campaign = results.campaign
    told = {"commit": campaign.commit, "changed files": campaign.dirty, "lab": campaign.lab, "scale": campaign.scale}
    return {
        **{key: "none" if value is None else str(value) for key, value in told.items()},
        **dict(_leaves(campaign.experiment, "experiment")),
    }


def _leaves(value: object, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping) and value:
        for key, each in value.items():
            yield from _leaves(each, f"{path}.{key}")
    else:
        yield path, value if isinstance(value, str) else json.dumps(value, sort_keys=True)


def _ran_on(results: Results) -> dict[str, str]:
    """Path in env.json, `*` for any guest -> its values in the complete cells."""
    found: dict[str, list[str]] = {}
    for cell in results.complete:
        env = records.read_env(results.directory / records.CELLS_DIR / cell.cell) or {}
        for path, value in unlike.flat(env):
            if path not in _NOT_COMPARED:
                found.setdefault(_GUEST.sub(r"\1.*", path), []).append(value)
    return {path: " or ".join(sorted(set(values))) for path, values in found.items()}
