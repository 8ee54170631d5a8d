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
