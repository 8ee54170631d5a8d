"""Tasks about campaigns: planned, run, looked at."""

from __future__ import annotations

from typing import TYPE_CHECKING

from invoke.context import Context
from invoke.tasks import task

from common.console import Reporter
from common.units import rough_duration
from tasks.shared import (
    INVENTORY_HELP,
    SCALE_HELP,
    build_for,
    checked_address,
    inventory_path,
    needs_of,
    number,
    run_campaign,
)

LOOPBACK = "127.0.0.1:8786"

if TYPE_CHECKING:
    from analysis.power import Need
    from campaigns.experiment import Experiment


@task(
    positional=["name"],
    help={
        "name": "experiment: experiments/NAME.yml",
        "seed": "another seed than the experiment's",
        "inventory": INVENTORY_HELP,
        "scale": SCALE_HELP,
        "power": "campaign: results/POWER; how many repetitions the claims need at the variance seen there",
        "json": "machine-readable",
    },
)
def plan(
    _c: Context,
    name: str,
    seed: str | None = None,
    inventory: str | None = None,
    scale: str | None = None,
    power: str | None = None,
    json: bool = False,
) -> None:
    """Show the cells of an experiment, in the order of a campaign. Touches no lab.

    Then how often each policy stands in which place: equally often, when there are as many
    repetitions as policies, or a multiple. With --power, then for each claim how many repetitions
    it needs, to be told from no effect four times of five.
    """
    from dataclasses import asdict

    from campaigns import describe, experiment, feasible, plan
    from lab import inventory as inventories

    report = Reporter()
    made = experiment.load(name, scale)
    if seed is not None:
        made = made.with_seed(number("seed", seed, 0))
    kind = inventories.load(inventory_path(inventory)).hosts[0].settings.kind
    too_large = feasible.too_large(feasible.on_host(made, kind))
    accelerator = "tcg" if kind == "emulated" else None
    cells = plan.plan(made, accelerator)
    needs = [] if power is None else _needs(made, power)
    if json:
        told = [asdict(cell) for cell in cells]
        report.json(told if power is None else {"cells": told, "needs": [asdict(need) for need in needs]})
        return
    for line in describe.plan_lines(made, cells):
        report.plain(line)
    without = "" if accelerator is None else " without KVM"
    report.plain(f"about {rough_duration(sum(cell.expected_seconds for cell in cells))}{without}")
    for line in [*plan.warnings(made, accelerator), *([too_large] if too_large else [])]:
        report.warning(line)
    if power is not None:
        from analysis import power as analysis_power

        report.plain()
        for line in analysis_power.lines(needs, power, made.boots, made.runs):
            report.plain(line)
    if seed is not None:
        report.plain(f"to run the cells in this order, write it into the experiment: seed: {made.seed}")


def _needs(made: Experiment, campaign: str) -> list[Need]:
    """What the claims of an experiment need, by what a campaign has seen of them."""
    from dataclasses import replace

    from analysis import claims, load, power
    from campaigns import store, verify

    directory = store.directory(store.RESULTS, campaign)
    verify.verify(directory).refuse(allowed=False)
    results = load.load(directory)
    return power.needs(claims.judge(replace(results, campaign=replace(results.campaign, claims=made.claims))))


@task(
    positional=["name"],
    help={
        "name": "experiment: experiments/NAME.yml",
        "inventory": INVENTORY_HELP,
        "campaign": "name of the campaign (default: the experiment's); an existing one goes on",
        "cell": "run just this cell",
        "scale": SCALE_HELP,
        "scheduler": "address of a Dask scheduler, whose workers have the hosts (campaign.scheduler, campaign.worker)",
    },
)
def run(
    _c: Context,
    name: str,
    inventory: str | None = None,
    campaign: str | None = None,
    cell: str | None = None,
    scale: str | None = None,
    scheduler: str | None = None,
) -> None:
    """Run a campaign, or what is left of it. Exit code 7 when cells failed or were invalid."""
    from campaigns import launch
    from campaigns.plan import warnings as plan_warnings

    report = Reporter()
    address = checked_address(scheduler) if scheduler is not None else None
    request = launch.ask(name, inventory_path(inventory), campaign, cell, scale=scale, scheduler=address)
    for line in plan_warnings(request.experiment, None):
        report.warning(line)
    again = f"./inv campaign.run {name}" + (f" --scale {scale}" if scale else "")
    again += f" --scheduler {scheduler}" if scheduler else ""
    directory = run_campaign(report, request, again)
    if cell is not None:
        report.say(f"complete: {cell} of {directory}; the others: {again} --campaign {directory.name}")
    else:
        report.say(f"complete: {directory}; next: ./inv figures {directory.name}")


@task(help={"address": "HOST:PORT to listen at; on another than the default, only in a network that is trusted"})
def scheduler(_c: Context, address: str = LOOPBACK) -> None:
    """Be a Dask scheduler for campaign.run --scheduler, until Ctrl-C (./inv setup --dask).

    Who reaches it may run code on its workers, without a password. It listens on this machine
    alone, unless another address is given.
    """
    from campaigns import worker

    worker.schedule(checked_address(address), Reporter().say)


@task(
    help={
        "scheduler": "its address, HOST:PORT",
        "inventory": INVENTORY_HELP,
        "host": "which host of the lab is this worker's (default: the first)",
        "loads": "build, for its guests, what these workloads need: names, separated by commas",
    },
)
def worker(
    _c: Context,
    scheduler: str = LOOPBACK,
    inventory: str | None = None,
    host: str | None = None,
    loads: str | None = None,
) -> None:
    """Run cells for a Dask scheduler on one host of a lab, until the scheduler or Ctrl-C ends it.

    Builds first what the host is made from. Every worker of a scheduler has a host with a name of
    its own.
    """
    from campaigns import worker as workers
    from campaigns.places import LabPlace
    from common.errors import UsageError
    from lab import inventory as inventories

    report = Reporter()
    workers.distributed()
    path = inventory_path(inventory).absolute()
    names = [each.name for each in inventories.load(path).hosts]
    if host is not None and host not in names:
        raise UsageError(f"the lab has no host {host!r}", remedy=f"Hosts are: {', '.join(names)}.")
    build_for(report, str(path), needs_of(loads))
    name = host or names[0]
    workers.serve(checked_address(scheduler), name, lambda needs: LabPlace(path, name, needs), report.say)


@task(positional=["name"], help={"name": "campaign: results/NAME", "json": "machine-readable"})
def status(_c: Context, name: str, json: bool = False) -> None:
    """Say how far a campaign is, why cells have no figures, and how to run one of them again."""
    from dataclasses import asdict

    from campaigns import status, store
    from common.units import format_duration

    report = Reporter()
    found = status.status(store.get(store.RESULTS, name))
    if json:
        report.json({"campaign": name, "counts": found.counts, "cells": [asdict(cell) for cell in found.cells]})
        found.check()
        return
    rows = [
        (each.planned.cell, each.state, str(each.attempts), format_duration(each.seconds) if each.seconds else "–")
        for each in found.cells
    ]
    report.table(("cell", "state", "attempts", "took"), rows, title=f"campaign {name}")
    for each in found.cells:
        if each.reason:
            again = "see" if each.state == "damaged" else "again"
            report.plain(f"{each.planned.cell}: {each.reason}\n    {again}: {each.rerun}")
    found.check()


@task(positional=["name"], help={"name": "campaign: results/NAME"})
def watch(_c: Context, name: str) -> None:
    """Watch a campaign that runs: cells, time left, and what its guests hold and do.

    Ends with the campaign, or with Ctrl-C. Without a terminal it prints how things stand, once.
    """
    from campaigns import store, watching

    stored = store.get(store.RESULTS, name)
    Reporter().show(watching.frames(stored), watching.EVERY_S)


@task(
    positional=["first", "second"],
    help={
        "first": "campaign: results/FIRST",
        "second": "campaign: results/SECOND",
        "unverified": "compare results that were damaged or changed all the same",
    },
)
def compare(_c: Context, first: str, second: str, unverified: bool = False) -> None:
    """Say what differs between two campaigns: in what they ran on, then in what they measured."""
    from analysis import between, load, unlike
    from campaigns import store, verify

    report = Reporter()
    directories = [store.directory(store.RESULTS, name) for name in (first, second)]
    for each in directories:
        verify.verify(each).refuse(allowed=unverified)
    one, other = (load.load(each) for each in directories)
    differences = between.provenance(one, other)
    for found in differences:
        report.plain(
            f"{found.what}\n    {first}: {unlike.short(found.first)}\n    {second}: {unlike.short(found.second)}"
        )
    if not differences:
        report.plain("nothing that is recorded differs in what was asked and what it ran on")
    report.plain(f"\nmeasured in complete cells; ratios are {second} ÷ {first}\n")
    for line in between.lines(between.measured(one, other), first, second):
        report.plain(line)
    for line in between.alone(one, other, (first, second)):
        report.plain(line)
    report.plain("cells of two campaigns are no pairs: an interval covers what was repeated in each, and no more")
