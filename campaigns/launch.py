"""A campaign by the names that a person gives: experiment, inventory, campaign, cell. What the
tasks call.

Every name is looked at before anything is installed, built or started: a mistake ends in seconds,
and so does a campaign that has nothing left.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from campaigns import experiment, feasible, run, store
from campaigns.experiment import Experiment
from campaigns.progress import Listener, silent
from campaigns.run import Outcome
from common.console import Tell
from lab import inventory as inventories
from lab import lifecycle, paths


@dataclass(frozen=True)
class Request:
    """What is to be run, and where. ended: what the campaign has come to when nothing of it is
    left to run, else None.
    """

    experiment: Experiment
    inventory: Path
    campaign: str | None
    cell: str | None
    ended: Outcome | None
    scale: str | None = None


def ask(
    name: str,
    inventory: Path,
    campaign: str | None = None,
    cell: str | None = None,
    *,
    scale: str | None = None,
    results: Path = store.RESULTS,
) -> Request:
    """A request whose names are all good. InvalidFileError for experiment and inventory,
    UsageError for campaign and cell. A preset's campaign is by default NAME-SCALE, since cells of
    two scales are never mixed.
    """
    made = experiment.load(name, scale)
    if campaign is None and scale is not None:
        campaign = f"{made.name}-{scale}"
    found = inventories.load(inventory)
    lab = found.name
    feasible.on_host(made, found.hosts[0].settings.kind)
    ended = run.ended(made, lab, results=results, campaign=campaign, cell=cell)
    return Request(made, inventory, campaign, cell, ended, scale)


def execute(
    request: Request,
    arguments: Sequence[str],
    *,
    results: Path = store.RESULTS,
    tell: Tell | None = None,
    listen: Listener = silent,
) -> Outcome:
    """Open the lab, after who uses it now, and run what is left on its first host. The lab's
    artifacts have to be built. arguments: the command, for the record.
    """
    images = partial(lifecycle.artifact_images, needs=request.experiment.needs)
    with lifecycle.open_lab(request.inventory, progress=tell, wait=True, images=images) as lab:
        host, *others = lab.hosts
        if others and tell is not None:
            tell(f"lab {lab.name} has {len(lab.hosts)} hosts; the campaign runs on the first, {host.name}")
        return run.run(
            request.experiment,
            host,
            lab=lab.name,
            basis=lab.basis(host),
            results=results,
            campaign=request.campaign,
            cell=request.cell,
            arguments=arguments,
            inventory=_named(request.inventory),
            scale=request.scale,
            listen=listen,
        )


def _named(inventory: Path) -> str | None:
    """An inventory as a command in the checkout names it; None for the default one, which needs
    no name.
    """
    whole = inventory.absolute()
    if whole == lifecycle.DEFAULT_INVENTORY:
        return None
    return str(whole.relative_to(paths.REPO) if whole.is_relative_to(paths.REPO) else inventory)
