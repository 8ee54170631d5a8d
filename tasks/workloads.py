"""Tasks about workloads."""

from __future__ import annotations

from invoke.context import Context
from invoke.tasks import task

from common.console import Reporter


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
