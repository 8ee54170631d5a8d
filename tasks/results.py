"""Tasks about stored results."""

from __future__ import annotations

from invoke.context import Context
from invoke.tasks import task

from common.console import Reporter


@task(positional=["name"], help={"name": "campaign: results/NAME"})
def verify(_c: Context, name: str) -> None:
    """Check a campaign offline, and recompute it from its raw outputs.

    Sums, schema and plan; that figures follow from raw outputs, tables and report from figures.

    Exit code 8 when something is damaged, was changed, or is missing.
    """
    from analysis import remade
    from campaigns import store, verify

    report = Reporter()
    found = verify.verify(store.directory(store.RESULTS, name), remade.differences)
    for line in found.lines():
        report.plain(line)
    found.check()
