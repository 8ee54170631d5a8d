"""Tasks about labs: their hosts, up and down, looked at, provisioned."""

from __future__ import annotations

import subprocess
import time

from invoke.context import Context
from invoke.exceptions import Exit
from invoke.tasks import task

from common.console import Reporter
from tasks.shared import INVENTORY_HELP, build_for, inventory_path, needs_of

LOADS_HELP = "workloads, separated by commas, that the guests are to have the programs of (default: the demo's)"


@task(help={"inventory": INVENTORY_HELP, "loads": LOADS_HELP})
def up(_c: Context, inventory: str | None = None, loads: str | None = None) -> None:
    """Start the lab's hosts: an emulated one from its snapshot, or by booting it without one."""
    from functools import partial

    from lab import lifecycle

    report = Reporter()
    needs = needs_of(loads)
    build_for(report, inventory, needs)
    began = time.monotonic()
    images = partial(lifecycle.artifact_images, needs=needs)
    with report.live():
        lifecycle.up(inventory_path(inventory), progress=report.say, images=images)
    report.say(f"up after {time.monotonic() - began:.1f} s; next: ./inv lab.ssh, ./inv lab.status, ./inv lab.down")


@task(help={"inventory": INVENTORY_HELP, "json": "machine-readable"})
def status(_c: Context, inventory: str | None = None, json: bool = False) -> None:
    """Say which hosts are up, how to reach them, and what their snapshots take."""
    from lab import lifecycle

    report = Reporter()
    rows = lifecycle.status(inventory_path(inventory))
    if json:
        report.json(rows)
        return
    for line in (line for row in rows for line in lifecycle.lines_of(row)):
        report.plain(line)


@task(
    help={
        "inventory": INVENTORY_HELP,
        "machine": "dom0, or a guest's name (default: dom0)",
        "host": "the host's name, where several are up",
        "command": "run this instead of a shell",
    }
)
def ssh(
    _c: Context,
    inventory: str | None = None,
    machine: str = "dom0",
    host: str | None = None,
    command: str | None = None,
) -> None:
    """Open a shell on a machine of a lab that is up, or run a command there."""
    from lab import lifecycle

    words = [*lifecycle.ssh_command(inventory_path(inventory), machine, host), *([command] if command else [])]
    raise Exit(code=subprocess.run(words, check=False).returncode)


@task(help={"inventory": INVENTORY_HELP})
def down(_c: Context, inventory: str | None = None) -> None:
    """Stop the lab's emulated hosts. Their snapshots stay."""
    from lab import lifecycle

    stopped = lifecycle.down(inventory_path(inventory))
    Reporter().say(f"stopped: {', '.join(stopped)}" if stopped else "nothing was running")


@task(help={"inventory": INVENTORY_HELP})
def destroy(_c: Context, inventory: str | None = None) -> None:
    """Stop the lab's emulated hosts and remove their disks and snapshots."""
    from lab import lifecycle

    report = Reporter()
    removed = lifecycle.destroy(inventory_path(inventory))
    for each in removed:
        report.plain(f"removed {each.path} ({each.size / 2**20:.1f} MiB)")
    report.say(
        f"removed: {sum(each.size for each in removed) >> 20} MiB in all" if removed else "there was nothing to remove"
    )


@task(
    help={
        "inventory": "the lab of physical servers, made from inventory/physical.example.yml",
        "loads": LOADS_HELP,
    }
)
def provision(_c: Context, inventory: str | None = None, loads: str | None = None) -> None:
    """Make Xen hosts with tmem of a lab's physical servers. A second run changes nothing."""
    from lab import lifecycle

    report = Reporter()
    lifecycle.require_physical(inventory_path(inventory))
    needs = needs_of(loads)
    build_for(report, inventory, needs)
    with report.live():
        lifecycle.provision(inventory_path(inventory), progress=report.step, needs=needs)
    report.say("provisioned; next: ./inv campaign.run NAME --inventory ...")


@task(help={"inventory": "the lab of physical servers"})
def teardown(_c: Context, inventory: str | None = None) -> None:
    """Take the testbed off a lab's physical servers again: guests, hypervisor, configuration."""
    from lab import lifecycle

    report = Reporter()
    with report.live():
        lifecycle.teardown(inventory_path(inventory), progress=report.step)
    report.say("done")
