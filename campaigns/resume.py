"""Whether a campaign may go on, and with which cell: under one name there is one experiment, one
lab, and one kind of host.

Cells of two experiments, or of two hosts, cannot be compared, so they are never mixed. What can be
known without a lab is asked before anything is built (`begun`); what the host is made from, before
its first cell of a run (`refuse_another_host`).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from campaigns import plan, records, store
from campaigns.experiment import Experiment, changed_keys, from_document
from campaigns.records import CampaignRecord, PlannedCell
from campaigns.schema import IDENTIFIER
from campaigns.store import CampaignStore
from common.errors import UsageError

Basis = Mapping[str, object]
"""What of a host may not change within a campaign (lab.lifecycle.OpenLab.basis): path in
env.json's `host` -> value.
"""

_UNTOLD = object()
_NEVER_MIXED = "cells of two {} cannot be compared, so they are never mixed"


def begun(
    experiment: Experiment,
    lab: str | None,
    *,
    results: Path = store.RESULTS,
    campaign: str | None = None,
    cell: str | None = None,
) -> CampaignStore | None:
    """The campaign of that name, None when there is none yet. Touches no lab.

    UsageError when the name cannot be one, when the campaign was begun with another experiment or
    on another lab, and when the cell is none of its cells or is complete.
    """
    name = experiment.name if campaign is None else campaign  # an empty one is a variable that is not set
    if not re.fullmatch(IDENTIFIER, name):
        raise UsageError(
            f"{name!r} cannot be a campaign's name",
            remedy="use letters, digits, _ . and -, beginning with a letter or digit",
        )
    found = store.find(results, name)
    if found is not None:
        record = found.record()
        _refuse_another_experiment(record, experiment, found.directory)
        _refuse_another_lab(record, lab, found.directory)
    if cell is not None:
        planned = _planned(name, plan.plan(experiment) if found is None else found.record().cells, cell)
        if found is not None:
            _refuse_complete(found, planned)
    return found


def refuse_another_host(stored: CampaignStore, basis: Basis, known: Collection[str] | None = ()) -> None:
    """UsageError when the cells that are there ran on a host that was made from something else.
    What a cell does not tell is not compared. known: the hosts that the campaign may have beside
    this one, which have other names; None: any.
    """
    ended = sorted(stored.cells().values(), key=lambda cell: cell.finished_at)
    if not ended:
        return
    name = basis.get("name")
    cell = next((each for each in ended if each.host == name), ended[0])
    directory = stored.directory / records.CELLS_DIR / cell.cell
    told = (records.read_env(directory) or {}).get("host")
    other = cell.host != name and (known is None or cell.host in known)
    differences = [
        line
        for path, value in basis.items()
        if not (other and path == "name")
        for line in _differences(path, _at(told, path.split(".")), value)
    ]
    if differences:
        raise UsageError(
            f"campaign {stored.name!r} was begun on a host that differs from this one",
            where=str(directory / records.ENV_FILE),
            why="\n".join([*differences, _NEVER_MIXED.format("hosts")]),
            remedy="give the new campaign a name of its own with --campaign NAME, or undo the change",
        )


def refuse_unlike(one: str, its: Basis, other: str, others: Basis) -> None:
    """UsageError when two hosts are not made alike but for their names."""
    differing = [path for path in its.keys() & others.keys() - {"name"} if its[path] != others[path]]
    if differing:
        raise UsageError(
            f"{one} is not made as {other}",
            why="\n".join(
                line.replace(" was ", f" is, on {other}, ", 1).replace(", is ", f", and on {one}, ", 1)
                for path in sorted(differing)
                for line in _differences(path, others[path], its[path])
            ),
            remedy="a campaign's hosts have to be alike",
        )


def _differences(path: str, then: object, now: object) -> list[str]:
    if then is _UNTOLD or then == now:
        return []
    if isinstance(then, Mapping) and isinstance(now, Mapping):
        names = sorted({*then, *now})
        return [
            f"{path}.{name} was {_shown(then.get(name))}, is {_shown(now.get(name))}"
            for name in names
            if then.get(name) != now.get(name)
        ]
    return [f"{path} was {_shown(then)}, is {_shown(now)}"]


def _shown(value: object) -> str:
    """A value, digests cut short."""
    return "none" if value is None else re.sub(r"\b([0-9a-f]{12})[0-9a-f]{52}\b", r"\1…", str(value))


def _at(value: object, path: list[str]) -> object:
    for key in path:
        value = value.get(key, _UNTOLD) if isinstance(value, Mapping) else _UNTOLD
    return value


def _decided(document: Mapping[str, Any]) -> dict[str, Any]:
    """An experiment without the words of its claims that are for readers alone."""
    words = {"regime", "contradicted_by"}
    claims = [{key: value for key, value in claim.items() if key not in words} for claim in document.get("claims", [])]
    return {**document, "claims": claims}


def _refuse_another_experiment(record: CampaignRecord, experiment: Experiment, directory: Path) -> None:
    if record.experiment_sha256 == experiment.sha256 and record.name == experiment.name:
        return
    begun = from_document(record.name, record.experiment, where=str(directory / records.CAMPAIGN_FILE))
    changed = changed_keys(_decided(begun.document), _decided(experiment.document))
    if not changed and record.name == experiment.name:
        return  # of an older checkout: keys that have come since have the default that was in force
    raise UsageError(
        f"campaign {record.campaign!r} was begun with another experiment: {', '.join(changed or ['its name'])} changed",
        where=str(directory),
        why=_NEVER_MIXED.format("experiments"),
        remedy="give the new campaign a name of its own with --campaign NAME, or undo the change",
    )


def _refuse_another_lab(record: CampaignRecord, lab: str | None, directory: Path) -> None:
    """Campaigns of older checkouts do not tell their lab; their cells tell the host."""
    if lab is None or record.lab is None or record.lab == lab:
        return
    raise UsageError(
        f"campaign {record.campaign!r} was begun on the lab {record.lab}, not on {lab}",
        where=str(directory),
        why=_NEVER_MIXED.format("labs"),
        remedy=(
            "give the new campaign a name of its own with --campaign "
            f"NAME, or name the inventory of {record.lab} with --inventory"
        ),
    )


def _planned(campaign: str, cells: tuple[PlannedCell, ...], cell: str) -> PlannedCell:
    for planned in cells:
        if planned.cell == cell:
            return planned
    known = ", ".join(planned.cell for planned in cells)
    raise UsageError(f"campaign {campaign!r} has no cell {cell!r}", why=f"its cells are {known}")


def _refuse_complete(stored: CampaignStore, planned: PlannedCell) -> None:
    found = stored.cells().get(planned.cell)
    if found is not None and found.status == "complete" and not found.starved:
        raise UsageError(
            f"cell {planned.cell!r} is complete, and results are never overwritten",
            where=str(stored.directory / records.CELLS_DIR / planned.cell),
            remedy="run the experiment again under another name with --campaign NAME",
        )
