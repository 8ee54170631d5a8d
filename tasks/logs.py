"""Tasks about kernel logs."""

from __future__ import annotations

from invoke.context import Context
from invoke.exceptions import Exit
from invoke.tasks import task

from common.console import Reporter
from common.errors import CampaignError, UsageError


@task(
    iterable=["file"],
    help={
        "file": (
            "a log: of dmesg, xl dmesg, a journal or syslog; - is standard input. Several may follow the task's name"
        ),
        "before": "an earlier reading of the same log: look only at what is new since",
        "json": "machine-readable",
    },
)
def check(_c: Context, file: list[str], before: str | None = None, json: bool = False) -> None:
    """Say which lines of kernel logs would invalidate a cell: ./inv logs.check FILE...

    Exit code 7 when there is one, 4 when a file cannot be read as text.
    """
    from campaigns import log_files

    if not file:
        raise UsageError("which file?", remedy="./inv logs.check FILE..., - for standard input")
    report = Reporter()
    checked = log_files.check(file, before)
    if json:
        report.json(log_files.as_json(checked))
    else:
        for line in (line for each in checked for line in each.text()):
            report.plain(line)
    if not all(each.valid for each in checked):
        raise Exit(code=CampaignError.exit_code)
