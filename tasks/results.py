"""Tasks about stored results."""

from __future__ import annotations

from invoke.context import Context
from invoke.tasks import task

from common.console import Reporter


@task(positional=["name"], help={"name": "campaign: results/NAME"})
def verify(_c: Context, name: str) -> None:
    """Check a campaign's files, offline: checksums, schema, plan. Exit code 8 when something is damaged or missing."""
    from campaigns import store, verify

    report = Reporter()
    found = verify.verify(store.directory(store.RESULTS, name))
    for line in found.lines():
        report.plain(line)
    found.check()
