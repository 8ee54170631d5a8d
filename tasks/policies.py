"""Tasks about memory policies and their managers."""

from __future__ import annotations

from invoke.context import Context
from invoke.tasks import task

from common.console import Reporter
from common.errors import UsageError


@task(
    help={
        "manager": "the manager that decides, such as qmemman",
        "state": "JSON: one state or a list of them; a file, or - for standard input",
    }
)
def decide(_c: Context, manager: str | None = None, state: str | None = None) -> None:
    """Print what a manager decides on recorded states, as a JSON list. Touches no lab.

    policies/README.md shows a state; exit code 4 says which state and key cannot be used.
    """
    from policies import decide as deciding

    if manager is None or state is None:
        missing = "--manager" if manager is None else "--state"
        raise UsageError(f"{missing} is missing", remedy="./inv policies.decide --manager qmemman --state FILE")
    Reporter().json(deciding.decisions(manager, state))


@task(name="list", help={"json": "machine-readable"})
def list_policies(_c: Context, json: bool = False) -> None:
    """List the memory policies, and the parts that can be added to one, as in selfballoon+tmem."""
    from dataclasses import asdict

    from policies import describe as describing

    report = Reporter()
    found = describing.entries()
    if json:
        report.json([asdict(each) for each in found])
        return
    for each in found:
        report.plain(f"{each.name:<14}{each.summary}")
    report.plain()
    report.plain(
        "BASE[+PART...] is a policy of an experiment; ./inv policies.describe NAME says what it does, and where."
    )


@task(positional=["name"], help={"name": "a policy, with its parts, such as selfballoon+tmem"})
def describe(_c: Context, name: str) -> None:
    """Say what a memory policy does in guests, in tmem and in dom0, and what can be set."""
    from policies import describe as describing
    from policies import registry

    report = Reporter()
    for line in describing.lines(registry.parse(name)):
        report.plain(line)
