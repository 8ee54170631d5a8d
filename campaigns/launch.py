"""A campaign by the names that a person gives: experiment, inventory, campaign, cell. What the
tasks call.

Every name is looked at before anything is installed, built or started: a mistake ends in seconds,
and so does a campaign that has nothing left.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from campaigns import experiment, feasible, remote, run, sharing, store
from campaigns.cell import DASK
from campaigns.crew import Alone, Crew
from campaigns.experiment import Experiment
from campaigns.hands import Hands
from campaigns.places import LabPlace
from campaigns.progress import Listener, silent
from campaigns.run import Outcome
from common.console import Tell
from common.errors import MissingError
from lab import inventory as inventories
from lab import lifecycle, paths


@dataclass(frozen=True)
class Request:
    """What is to be run, and where. ended: what the campaign has come to when nothing of it is
    left to run, else None. scheduler: the address of one, whose workers have the hosts; the
    inventory is then theirs.
    """

    experiment: Experiment
    inventory: Path
    campaign: str | None
    cell: str | None
    ended: Outcome | None
    scale: str | None = None
    scheduler: str | None = None


def ask(
    name: str,
    inventory: Path,
    campaign: str | None = None,
    cell: str | None = None,
    *,
    scale: str | None = None,
    scheduler: str | None = None,
    results: Path = store.RESULTS,
) -> Request:
    """A request whose names are all good. InvalidFileError for experiment and inventory,
    UsageError for campaign and cell, MissingError where this machine can never hold the host. A
    preset's campaign is by default NAME-SCALE, since cells of two scales are never mixed.
    """
    made = experiment.load(name, scale)
    if campaign is None and scale is not None:
        campaign = f"{made.name}-{scale}"
    lab, memory_mib = DASK, 0
    if scheduler is None:
        found = inventories.load(inventory)
        lab = found.name
        for kind in sorted({host.settings.kind for host in found.hosts}):
            memory_mib = max(memory_mib, feasible.on_host(made, kind))
    ended = run.ended(made, lab, results=results, campaign=campaign, cell=cell)
    if ended is None and (said := feasible.too_large(memory_mib)):
        raise MissingError(
            said,
            where=f"host.guest_memory and host.dom0_memory of {made.name}.yml",
            remedy="Ask for less there, or run it on a larger machine.",
        )
    return Request(made, inventory, campaign, cell, ended, scale, scheduler)


def execute(
    request: Request,
    arguments: Sequence[str],
    *,
    results: Path = store.RESULTS,
    tell: Tell | None = None,
    listen: Listener = silent,
) -> Outcome:
    """Open the lab, after who uses it now, and run what is left on its hosts: whichever is free
    gets the next cells. The lab's artifacts have to be built. arguments: the command, for the
    record.
    """
    tell = tell or (lambda _text: None)

    def run_on(crew: Crew, lab: str, hosts: Sequence[str] | None, inventory: str | None = None) -> Outcome:
        return run.run_with(
            request.experiment,
            crew,
            lab=lab,
            hosts=hosts,
            results=results,
            campaign=request.campaign,
            cell=request.cell,
            arguments=arguments,
            inventory=inventory,
            scale=request.scale,
            listen=listen,
            tell=tell,
        )

    if request.scheduler is not None:
        with remote.Workers(request.scheduler, request.experiment.needs) as workers:
            return run_on(workers, DASK, None)
    declared = inventories.load(request.inventory)
    names = [host.name for host in declared.hosts]
    chosen = names if request.cell is None else [_host_of(request, request.cell, names, results)]
    places = [LabPlace(request.inventory.absolute(), name, request.experiment.needs) for name in chosen]
    if len(places) == 1:
        with places[0].open(tell) as (host, basis):
            return run_on(Alone(host, basis), declared.name, names, _named(request.inventory))
    with Hands(places) as hands:
        return run_on(hands, declared.name, names, _named(request.inventory))


def _host_of(request: Request, cell: str, names: Sequence[str], results: Path) -> str:
    """The host for one cell: the one that ran those that it is compared with, else the first."""
    stored = store.find(results, request.campaign or request.experiment.name)
    if stored is None:
        return names[0]
    cells = stored.record().cells
    ran = sharing.begun(cells, {name: each.host for name, each in stored.cells().items()})
    owner = next((ran.get(sharing.share_of(each)) for each in cells if each.cell == cell), None)
    return owner if owner is not None and owner in names else names[0]


def _named(inventory: Path) -> str | None:
    """An inventory as a command in the checkout names it; None for the default one, which needs
    no name.
    """
    whole = inventory.absolute()
    if whole == lifecycle.DEFAULT_INVENTORY:
        return None
    return str(whole.relative_to(paths.REPO) if whole.is_relative_to(paths.REPO) else inventory)
