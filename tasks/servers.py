"""Tasks about the emulated servers that know nothing of Xen, for tests of what prepares servers."""

from __future__ import annotations

import time

from invoke.context import Context
from invoke.tasks import task

from common.console import Reporter
from tasks.shared import build_artifacts


@task
def up(_c: Context) -> None:
    """Start two plain Debian servers, emulated, one with BIOS and one with UEFI.

    They are the lab of inventory/servers-emulated.yml: for trying what prepares servers.
    """
    from lab.emulator import servers

    report = Reporter()
    image = build_artifacts(report, ["server_image"])["server_image"]
    began = time.monotonic()
    with report.live():
        servers.up(image, report.say)
    report.say(f"up after {time.monotonic() - began:.1f} s; next: ./inv lab.check --inventory {servers.INVENTORY}")


@task(help={"remove": "their disks as well: the next start is a bare server's"})
def down(_c: Context, remove: bool = False) -> None:
    """Switch the emulated plain servers off."""
    from lab.emulator import servers

    stopped = servers.down(remove=remove)
    Reporter().say(f"stopped: {', '.join(stopped)}" if stopped else "nothing was running")


@task(help={"server": "which, as in inventory/servers-emulated.yml"})
def cycle(_c: Context, server: str) -> None:
    """Cycle the power of an emulated plain server: off, and on again."""
    from lab.emulator import servers

    servers.cycle(servers.named(server))
    Reporter().say(f"{server} is on again")
