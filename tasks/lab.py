"""Tasks about labs: their hosts, up and down, looked at, provisioned."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time

from invoke.context import Context
from invoke.exceptions import Exit
from invoke.tasks import task

from common.console import Reporter
from common.errors import UsageError
from tasks.shared import INVENTORY_HELP, build_for, inventory_path, needs_of, new_file, number

LOADS_HELP = "workloads, separated by commas, that the guests are to have the programs of (default: the demo's)"


@task(
    help={
        "inventory": INVENTORY_HELP,
        "loads": LOADS_HELP,
        "kernel": "what the guests boot: fidelity (Linux 5.10, the default), debian-6.12, debian-7",
        "type": "as what: pv (the default), or pvh, which Debian's kernels can",
    }
)
def up(
    _c: Context,
    inventory: str | None = None,
    loads: str | None = None,
    kernel: str = "fidelity",
    type: str = "pv",  # noqa: A002 - it is what the option is called
) -> None:
    """Start the lab's hosts: an emulated one from its snapshot, or by booting it without one."""
    from dataclasses import replace
    from functools import partial

    from common.needs import Needs, together
    from lab import kernels, lifecycle

    report = Reporter()
    if (chosen := kernels.KERNELS.get(kernel)) is None:
        raise UsageError(f"there is no kernel {kernel!r} for guests", remedy=f"One of: {', '.join(kernels.KERNELS)}.")
    if (booted_as := next((each for each in chosen.types if each == type), None)) is None:
        able = " or ".join(name for name, each in kernels.KERNELS.items() if kernels.PVH in each.types)
        raise UsageError(f"guests cannot boot {kernel} as {type}", remedy=f"pv, or pvh with --kernel {able}.")
    needs = together([needs_of(loads), Needs(kernels=(chosen.name,))])
    build_for(report, inventory, needs)
    began = time.monotonic()
    images = partial(lifecycle.artifact_images, needs=needs)
    with report.live():
        guests = replace(lifecycle.DEFAULT_GUESTS, boots=chosen.name, type=booted_as)
        lifecycle.up(inventory_path(inventory), guests=guests, progress=report.say, images=images)
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


@task(
    positional=["name"],
    help={
        "name": "the trace goes to NAME.trace.zst",
        "seconds": "how long (default: until Ctrl-C)",
        "room": "records that Xen keeps until they are read, 4096 to 524288, a power of two (default: 131072)",
        "inventory": INVENTORY_HELP,
        "host": "the host's name, where several are up",
    },
)
def trace(
    _c: Context,
    name: str,
    seconds: str | None = None,
    room: str | None = None,
    inventory: str | None = None,
    host: str | None = None,
) -> None:
    """Record what the guests of a lab that is up ask of tmem, until Ctrl-C; see docs/trace.md.

    A campaign may be running there meanwhile. ./inv tmem.replay NAME.trace.zst replays it.
    """
    from lab import lifecycle
    from lab.remote.traces import SUFFIX, Recording

    report = Reporter()
    limit = None if seconds is None else number("seconds", seconds, 1)
    kept = None if room is None else number("room", room, 1)
    file = new_file("the trace", f"{name.removesuffix(SUFFIX)}{SUFFIX}")
    recording = Recording(lifecycle.connections(inventory_path(inventory), host), file, room=kept)
    report.say("recording" + ("; Ctrl-C ends it" if limit is None else f" for {limit} s"))
    began = time.monotonic()
    try:
        with contextlib.suppress(KeyboardInterrupt):
            while recording.alive() and (limit is None or time.monotonic() - began < limit):
                time.sleep(0.2)
        recorded = recording.stop()
    except BaseException:
        recording.abandon()
        raise
    report.say(f"{recorded.file}: {recorded.records} records, {recorded.lost} lost")


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
        "file": "the inventory to write; nothing is overwritten",
        "host": "the servers: ADDRESS or ADDRESS:PORT, with commas between",
        "user": "who logs in there (default: root)",
        "key": "file of the private key (default: what ssh finds by itself)",
        "disks": "the guests' disks on every server: ROOT,SWAP of guest 1, ROOT,SWAP of guest 2, …",
        "storage": "instead: what to make, such as 'guests: 3, swap: 1 GiB, volume_group: vg1, device: /dev/sdb'",
        "dom0-memory": "memory that dom0 keeps (default: 1 GiB)",
        "power-hook": "a command here that switches the server $OVERCOMMIT_SERVER off and on (default: none)",
    }
)
def init(
    _c: Context,
    file: str | None = None,
    host: str | None = None,
    user: str | None = None,
    key: str | None = None,
    disks: str | None = None,
    storage: str | None = None,
    dom0_memory: str | None = None,
    power_hook: str | None = None,
) -> None:
    """Write an inventory of servers, and record their host keys: from options, or by asking.

    At a terminal, what no option says is asked for, and the host keys are shown before they are
    taken. Elsewhere defaults hold, and the keys that the servers show now are taken.
    """
    from lab import new_inventory

    report = Reporter()
    at_terminal = sys.stdin.isatty() and sys.stdout.isatty()
    wanted = new_inventory.Wanted(file, host, user, key, disks, storage, dom0_memory, power_hook)
    planned = new_inventory.complete(wanted, input if at_terminal else None)
    keys = new_inventory.scan(planned.servers)
    for each in keys:
        report.plain(f"{each.server.name} ({each.server.address}, port {each.server.port}) shows these host keys:")
        for fingerprint in each.fingerprints:
            report.plain(f"    {fingerprint}")
    report.plain("On a server's console, ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub shows which it should be.")
    if at_terminal:
        new_inventory.confirm(input)
    written, recorded = new_inventory.write(planned, keys)
    report.say(f"wrote {written} and {recorded.name}; next: ./inv lab.check --inventory {written}")


@task(help={"inventory": "the lab of physical servers", "json": "machine-readable"})
def check(_c: Context, inventory: str | None = None, json: bool = False) -> None:
    """Look at a lab's physical servers: what stands in the way, and what provisioning would change.

    Changes nothing. Exit code 6 when something stands in the way of one of them.
    """
    from common.errors import LabError
    from lab import servers

    report = Reporter()
    with report.live():
        found = servers.check(inventory_path(inventory), progress=report.step)
    if json:
        report.json([each.record() for each in found])
    else:
        for line in (line for each in found for line in each.lines()):
            report.plain(line)
    if any(each.blocked for each in found):
        raise Exit(code=LabError.exit_code)


@task(
    help={
        "inventory": "the lab of physical servers, made by lab.init",
        "loads": LOADS_HELP,
        "check": "change nothing, and say what would be changed, with differences of files",
    }
)
def provision(_c: Context, inventory: str | None = None, loads: str | None = None, check: bool = False) -> None:
    """Make Xen hosts with tmem of a lab's physical servers. A second run changes nothing.

    Each server is started into the new hypervisor once; it becomes the default when the server is
    back and well. Until then, once a server has gone through its boot menu, a power cycle starts
    its default: the old system, or the entry confirmed before. Exit code 6 when one failed.
    """
    from common.errors import LabError
    from lab import servers

    report = Reporter()
    servers.require_physical(inventory_path(inventory))
    needs = needs_of(loads)
    build_for(report, inventory, needs)
    with report.live():
        done = servers.provision(inventory_path(inventory), progress=report.say, needs=needs, only_look=check)
    for line in (line for each in done for line in each.lines()):
        report.plain(line)
    if any(each.error for each in done):
        raise Exit(code=LabError.exit_code)
    then = "lab.provision" if check else "campaign.run NAME"
    report.say(f"next: ./inv {then} --inventory {inventory_path(inventory)}")


@task(help={"inventory": "the lab of physical servers"})
def unprovision(_c: Context, inventory: str | None = None) -> None:
    """Take the testbed off a lab's physical servers: packages, files and boot default as before.

    What is not as it was recorded before provisioning is named. Exit code 6 when one failed.
    """
    from common.errors import LabError
    from lab import servers

    report = Reporter()
    with report.live():
        done = servers.unprovision(inventory_path(inventory), progress=report.say)
    for line in (line for each in done for line in each.lines()):
        report.plain(line)
    if any(each.error for each in done):
        raise Exit(code=LabError.exit_code)
