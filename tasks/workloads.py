"""Tasks about workloads."""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from invoke.context import Context
from invoke.tasks import task

from common.console import Reporter
from common.errors import UsageError
from tasks.shared import INVENTORY_HELP, inventory_path, new_file

if TYPE_CHECKING:
    from common.machines import Machine


@task(name="list", help={"json": "machine-readable"})
def list_workloads(_c: Context, json: bool = False) -> None:
    """List the workloads with their parameters and metrics."""
    from dataclasses import asdict

    import workloads

    report = Reporter()
    described = [workloads.get(name).describe() for name in workloads.names()]
    if json:
        report.json([asdict(each) for each in described])
        return
    for each in described:
        for line in each.lines():
            report.plain(line)


def _on_stderr(text: str) -> None:
    """Beside what --json prints."""
    print(text, file=sys.stderr)


@task(
    name="run",
    positional=["name"],
    iterable=["set_"],
    help={
        "name": "the workload",
        "on": "`local` for this machine, or a guest's name of a lab that is up (default: guest1)",
        "set_": "one parameter: key=value; may be given several times",
        "parameters": "YAML file with parameters",
        "raw": "folder for the raw outputs; it must not exist (default: none are kept)",
        "inventory": INVENTORY_HELP,
        "json": "machine-readable",
    },
)
def run_workload(
    _c: Context,
    name: str,
    set_: list[str],
    on: str = "guest1",
    parameters: str | None = None,
    raw: str | None = None,
    inventory: str | None = None,
    json: bool = False,
) -> None:
    """Run a workload once on one machine, without a campaign, and print its metrics.

    A guest's host is this command's alone meanwhile: a campaign that runs there is waited for.
    """
    import workloads
    from campaigns import raw_outputs
    from lab import lifecycle

    report = Reporter()
    workload = workloads.get(name)
    params = raw_outputs.parsed(workload, {}, raw_outputs.parameters(parameters, set_), set_)
    kept = None if raw is None else new_file("--raw", raw, folder=True)
    if on == "local" and getattr(params, "reset_memory", False) and not json:
        report.plain(
            "This will empty the swap space and drop the file caches of THIS machine before the clock starts\n"
            "(as root; --set reset_memory=false leaves them). Ctrl-C now, if that is not wanted."
        )
        report.pause(5)
    where: AbstractContextManager[Machine | None]
    where = nullcontext() if on == "local" else lifecycle.machine(inventory_path(inventory), on, _on_stderr)
    with where as machine:
        result = raw_outputs.run(workload, params, machine, kept)
    if json:
        report.json({"workload": name, "machine": on, **result.json()})
        return
    report.table(("metric", "value", "unit"), result.rows(), title=f"{name} on {on}")


@task(
    name="read",
    positional=["name"],
    iterable=["set_"],
    help={
        "name": "the workload whose outputs they are",
        "raw": "folder of raw outputs (fio.out, fio.err, timings ...), or raw/ of a cell with a folder for each guest",
        "parameters": (
            "YAML file with the parameters of that run (default: "
            "those of the cell's campaign, or what the outputs tell)"
        ),
        "set_": "one parameter: key=value; may be given several times",
        "json": "machine-readable",
    },
)
def read_outputs(
    _c: Context,
    name: str,
    set_: list[str],
    raw: str | None = None,
    parameters: str | None = None,
    json: bool = False,
) -> None:
    """Read a workload's raw outputs with its own reader, and print the metrics.

    Exit code 7 when they say that the run failed or lost a part of it, 4 when they cannot be read.
    """
    from campaigns import raw_outputs

    if raw is None:
        raise UsageError("--raw is missing", remedy=f"./inv workloads.read {name} --raw DIR")
    report = Reporter()
    found = raw_outputs.read(name, Path(raw), raw_outputs.parameters(parameters, set_), set_)
    if json:
        report.json({"workload": name, "machines": [each.json() for each in found]})
    else:
        for each in found:
            if each.metrics:
                report.table(("metric", "value", "unit"), each.rows(), title=each.machine or name)
    raw_outputs.require_good(found)
