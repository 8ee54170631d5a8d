"""Tasks about experiments: what there is, what one comes to, whether a file is one."""

from __future__ import annotations

from invoke.context import Context
from invoke.tasks import task

from common.console import Reporter
from tasks.shared import SCALE_HELP, new_file


@task(name="list", help={"json": "machine-readable"})
def list_experiments(_c: Context, json: bool = False) -> None:
    """List the experiments of experiments/, with their questions."""
    from dataclasses import asdict

    from campaigns import describe

    report = Reporter()
    found = describe.entries()
    if json:
        report.json([asdict(each) for each in found])
        return
    for line in describe.listing(found):
        report.plain(line)
    report.plain()
    report.plain("./inv experiments.describe NAME says what one comes to; ./inv campaign.run NAME runs it.")


@task(positional=["name"], help={"name": "experiment: experiments/NAME.yml, or a file", "scale": SCALE_HELP})
def describe(_c: Context, name: str, scale: str | None = None) -> None:
    """Say what an experiment asks, on which guests, under which policies, with which loads."""
    from campaigns import describe, experiment

    report = Reporter()
    for line in describe.lines(experiment.load(name, scale)):
        report.plain(line)


@task(positional=["file"], help={"file": "an experiment's file, or the name of one in experiments/"})
def check(_c: Context, file: str) -> None:
    """Say whether a file is an experiment, at all its scales. Exit code 4 names every mistake."""
    from campaigns import experiment, plan

    report = Reporter()
    for scale in (None, *experiment.scales(file)):
        made = experiment.load(file, scale)
        at = f" at scale {scale}" if scale else ""
        cells = len(plan.plan(made))
        policies = "1 policy" if len(made.policies) == 1 else f"{len(made.policies)} policies"
        report.plain(f"{made.name}{at}: {cells} cell{'' if cells == 1 else 's'}, {policies}")
        for line in plan.warnings(made):
            report.warning(line)


@task(help={"to": "write it to this file (default: print it)"})
def schema(_c: Context, to: str | None = None) -> None:
    """Print the JSON Schema of experiment files, for editors: experiments/README.md says how."""
    import json

    from campaigns import json_schema
    from common import files

    target = None if to is None else new_file("--to", to)
    text = json.dumps(json_schema.schema(), indent=1, ensure_ascii=False) + "\n"
    if target is None:
        Reporter().plain(text.rstrip("\n"))
    else:
        files.replace(target, text.encode())
