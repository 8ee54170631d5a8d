"""Every task of the testbed: parse, call, print; no logic. Run through the launcher: `./inv --list`, `./inv TASK --help`.

Exit codes are those of common/errors.py. Imports of anything heavy are inside the tasks, so that `./inv --list` is quick.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from invoke.collection import Collection
from invoke.context import Context
from invoke.exceptions import Exit
from invoke.tasks import task

ROOT = Path(__file__).resolve().parent
sys.path.insert(0, str(ROOT))

from common.checks import check  # noqa: E402
from common.console import Reporter, upright  # noqa: E402
from common.errors import UsageError  # noqa: E402
from common.program import run  # noqa: E402
from tasks import policies  # noqa: E402

if TYPE_CHECKING:
    from campaigns.launch import Request

DEFAULT_INVENTORY = "inventory/emulated.yml"
INVENTORY_HELP = f"the lab: an inventory file (default: {DEFAULT_INVENTORY})"


def _number(option: str, text: str, least: int) -> int:
    if not text.isascii() or not text.isdigit() or int(text) < least:
        raise UsageError(f"--{option} takes a whole number, at least {least}, not {text!r}")
    return int(text)


def _inventory(path: str | None) -> Path:
    return Path(path) if path else ROOT / DEFAULT_INVENTORY


# --- the two commands of the README --------------------------------------------------------------------------------------------


@task(help={"inventory": INVENTORY_HELP, "campaign": "name of the campaign (default: demo); an existing one goes on"})
def demo(_c: Context, inventory: str | None = None, campaign: str = "demo") -> None:
    """Build everything, start the emulated host, run the demo campaign, and draw its figures.

    Goes on from what is complete, so it may be interrupted and called again. See README.md for how long it takes.
    """
    from campaigns import launch, plan

    report = Reporter()
    request = launch.ask("demo", _inventory(inventory), campaign)
    if request.ended is None:
        report.plain(
            f"{request.experiment.title}: {len(plan.plan(request.experiment))} cells, one for each policy and repetition, on an emulated host. What is\n"
            "missing is installed and built first: about 20 minutes from nothing on 2 cores without KVM, about 10 when all is built. Times will be\n"
            "the emulated machine's."
        )
        _setup(report)
    _summarise(report, _campaign(report, request, "./inv demo"))


@task(
    help={
        "unit": "only lint, types and unit tests: two minutes, no lab",
        "select": "only tests whose names match (pytest -k)",
        "inventory": f"{INVENTORY_HELP}; inventory/xen-debug.yml is one whose hypervisor checks itself",
        "long": "also tests that take minutes each, and those that build hypervisors and kernels which no lab needs by itself: roughly an hour more",
    }
)
def test(
    _c: Context, unit: bool = False, select: str | None = None, inventory: str | None = None, long: bool = False
) -> None:
    """Lint, type checks, unit tests, and lab tests on the emulated host."""
    report = Reporter()
    lab = _inventory(inventory or os.environ.get("OVERCOMMIT_TEST_INVENTORY")).absolute()
    checks = {
        "ruff check": "ruff check .",
        "ruff format": "ruff format --check .",
        "mypy": "mypy",
        "ansible-lint": "ansible-lint --profile production --offline playbooks",
    }
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}",
        "OVERCOMMIT_TEST_INVENTORY": str(lab),
    }
    if not select:
        report.say(", ".join(checks))
        if failed := check({name: line.split() for name, line in checks.items()}, ROOT, environment, report.plain):
            raise Exit(f"{' and '.join(failed)} failed; the messages are above", 1)
    _setup(report)
    if not unit:
        _build_for(report, str(lab))
    command = ["pytest", *(["tests/unit"] if unit else []), *(["-k", select] if select else [])]
    command += ["--durations=20", "--durations-min=5", *([] if long else ["-m", "not long"])]
    # Two processes: the lab's tests stay together in one (tests/conftest.py), the others fill the second processor.
    command += [] if select else ["-n", "2", "--dist", "loadscope"]
    report.say("pytest")
    code = subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode
    if code:
        raise Exit(f"tests failed, or none ran (pytest's exit code {code})", 1)


# --- what both stand on --------------------------------------------------------------------------------------------------------


def _setup(report: Reporter) -> None:
    from lab.build import packages

    if packages.missing():
        report.say("packages: installing what is missing")
        with report.live():
            installed = packages.install_missing(report.step)
        report.say(f"packages: installed {', '.join(installed)}")


def _build(report: Reporter, names: list[str] | None) -> dict[str, Any]:
    from lab.build import builder

    def show(event: builder.Event) -> None:
        show_line = report.step if event.kind == "step" else report.say
        show_line(f"build: {event.artifact + ': ' if event.artifact else ''}{event.text}", event.remaining)

    with report.live():
        return dict(builder.ensure(names, show))


def _build_for(report: Reporter, inventory: str | None) -> None:
    from lab import lifecycle

    _build(report, lifecycle.artifacts_for(_inventory(inventory)))


def _campaign(report: Reporter, request: Request, again: str) -> Path:
    """Run what is left of a campaign, or say that nothing is; its directory. again: the command that runs it anew."""
    from campaigns import launch, status
    from campaigns.progress import Event

    def show(event: Event) -> None:
        if line := status.line_of(event):
            report.say(line, event.left_s)

    if (outcome := request.ended) is None:
        _build_for(report, str(request.inventory))
        with report.live():
            outcome = launch.execute(request, ["./inv", *sys.argv[1:]], tell=report.say, listen=show)
    outcome.check()
    if request.ended is not None:
        report.plain(outcome.line(again))
    return outcome.directory


def _summarise(report: Reporter, directory: Path) -> None:
    from analysis import report as analysis_report

    summary = analysis_report.summarise(directory)
    report.plain()
    report.table(*upright(summary.columns, summary.rows), title=f"{summary.campaign}, {summary.host}")
    for path in (*summary.figures, summary.report):
        report.plain(str(path.relative_to(ROOT) if path.is_relative_to(ROOT) else path))
    report.plain()
    report.plain(summary.paragraph)
    summary.check()


@task
def setup(_c: Context) -> None:
    """Install the system packages that the testbed needs (Debian and Ubuntu; root or sudo)."""
    report = Reporter()
    _setup(report)
    report.say("all programs are there")


@task(help={"json": "machine-readable"})
def doctor(_c: Context, json: bool = False) -> None:
    """Say what this machine can do, what is missing, and what to do about it. Exit code 3 when something needed is missing."""
    from lab import doctor as examine

    report = Reporter()
    findings = examine.examine()
    if json:
        report.json([vars(finding) for finding in findings])
    else:
        for each in findings:
            report.plain(f"{each.state:<8}{each.check}: {each.found}")
            if each.remedy:
                report.plain(f"{'':<8}    do: {each.remedy}")
    if any(each.state == "missing" for each in findings):
        raise Exit(code=3)


# --- build ---------------------------------------------------------------------------------------------------------------------


@task(
    default=True,
    help={
        "names": "artifacts, separated by commas (default: all that the default lab needs; ./inv build.show lists all)"
    },
)
def build_all(_c: Context, names: str | None = None) -> None:
    """Build the artifacts that are missing: hypervisor, kernels, guest driver, images."""
    report = Reporter()
    for name, artifact in _build(report, names.split(",") if names else None).items():
        report.say(f"{name}: {artifact.path}")


@task(help={"json": "machine-readable"})
def build_show(_c: Context, json: bool = False) -> None:
    """List the artifacts with their paths, versions and hashes."""
    from lab.build import builder

    report = Reporter()
    rows = builder.show()
    if json:
        report.json(rows)
        return
    for row in rows:
        report.plain(f"{row['name']} {row['key'][:16]} {'' if row['built'] else 'not built'}")
        for each in row["inputs"] or ():
            report.plain(f"    from {each['name']} {each['version']}")
        for name, output in (row["outputs"] or {}).items():
            report.plain(f"    {name} sha256 {output['sha256'][:16]}… {output['path']}")


# --- lab -----------------------------------------------------------------------------------------------------------------------


@task(help={"inventory": INVENTORY_HELP})
def lab_up(_c: Context, inventory: str | None = None) -> None:
    """Start the lab's hosts: an emulated one from its snapshot, or by booting it when there is none yet."""
    from lab import lifecycle

    report = Reporter()
    _build_for(report, inventory)
    began = time.monotonic()
    with report.live():
        lifecycle.up(_inventory(inventory), progress=report.say)
    report.say(f"up after {time.monotonic() - began:.1f} s; next: ./inv lab.ssh, ./inv lab.status, ./inv lab.down")


@task(help={"inventory": INVENTORY_HELP, "json": "machine-readable"})
def lab_status(_c: Context, inventory: str | None = None, json: bool = False) -> None:
    """Say which hosts are up, how to reach them, and what their snapshots take."""
    from lab import lifecycle

    report = Reporter()
    rows = lifecycle.status(_inventory(inventory))
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
def lab_ssh(
    _c: Context,
    inventory: str | None = None,
    machine: str = "dom0",
    host: str | None = None,
    command: str | None = None,
) -> None:
    """Open a shell on a machine of a lab that is up, or run a command there."""
    from lab import lifecycle

    words = [*lifecycle.ssh_command(_inventory(inventory), machine, host), *([command] if command else [])]
    raise Exit(code=subprocess.run(words, check=False).returncode)


@task(help={"inventory": INVENTORY_HELP})
def lab_down(_c: Context, inventory: str | None = None) -> None:
    """Stop the lab's emulated hosts. Their snapshots stay."""
    from lab import lifecycle

    stopped = lifecycle.down(_inventory(inventory))
    Reporter().say(f"stopped: {', '.join(stopped)}" if stopped else "nothing was running")


@task(help={"inventory": INVENTORY_HELP})
def lab_destroy(_c: Context, inventory: str | None = None) -> None:
    """Stop the lab's emulated hosts and remove their disks and snapshots."""
    from lab import lifecycle

    Reporter().say(f"removed: {', '.join(lifecycle.destroy(_inventory(inventory))) or 'nothing'}")


@task(help={"inventory": "the lab of physical servers, made from inventory/physical.example.yml"})
def lab_provision(_c: Context, inventory: str | None = None) -> None:
    """Make Xen hosts with tmem of a lab's physical servers. A second run changes nothing."""
    from lab import lifecycle

    report = Reporter()
    lifecycle.require_physical(_inventory(inventory))
    _build_for(report, inventory)
    with report.live():
        lifecycle.provision(_inventory(inventory), progress=report.step)
    report.say("provisioned; next: ./inv campaign.run NAME --inventory ...")


@task(help={"inventory": "the lab of physical servers"})
def lab_teardown(_c: Context, inventory: str | None = None) -> None:
    """Take the testbed off a lab's physical servers again: guests, hypervisor, configuration."""
    from lab import lifecycle

    report = Reporter()
    with report.live():
        lifecycle.teardown(_inventory(inventory), progress=report.step)
    report.say("done")


@task(help={"minutes": "how long, at least (default: 10)", "seed": "the first seed (default: 1)"})
def tmem_soak(_c: Context, minutes: str | None = None, seed: str | None = None) -> None:
    """Run tmem's hypervisor side as a program, with sanitizers, against its model and racing itself, with ever new seeds."""
    from lab import paths
    from lab.build import harness

    report = Reporter()
    with report.live():
        ran = harness.soak(
            paths.cache() / "tmp" / "tmem-harness",
            _number("minutes", minutes or "10", 1),
            _number("seed", seed or "1", 1),
            report.step,
        )
    report.say(f"{ran} runs, no failure")


@task(
    help={
        "operations": "how many hostile operations, half of them with compression and deduplication (default: 2000000)",
        "seed": "of the random operations (default: 2009)",
        "inventory": INVENTORY_HELP,
    }
)
def tmem_fuzz(
    _c: Context, operations: str | None = None, seed: str | None = None, inventory: str | None = None
) -> None:
    """Let a hostile guest of the lab make any number of wrong operations, and see that nobody is harmed. Half a minute for two million when all is built."""
    from tests.lab import fuzz

    report = Reporter()
    wanted = _number("operations", operations or str(fuzz.OPERATIONS), 1)
    chosen = _number("seed", seed or "2009", 0)
    _build_for(report, inventory)
    found = fuzz.fuzz(wanted, chosen, _inventory(inventory))
    for each in found:
        report.say(f"{each.setting}: {each.hypercalls} hypercalls, and the accounts agree: {each.accounts}")
    report.say(f"{sum(each.hypercalls for each in found)} hypercalls in all, no failure")


@task(help={"only": "only mutants whose \"mechanism: name\" this regular expression matches, as in '^weights|^caps'"})
def tmem_mutants(_c: Context, only: str | None = None) -> None:
    """Show that every mechanism of tmem has a lab test that fails without it. About forty minutes: one build, then some tests for each."""
    command = [sys.executable, "-m", "tests.mutants.prove", *([only] if only else [])]
    if code := subprocess.run(command, cwd=ROOT, check=False).returncode:
        raise Exit(
            "not every mutant was noticed, or the tests do not pass without one; see above" if code == 1 else "", code
        )


# --- workloads, experiments, campaigns, results --------------------------------------------------------------------------------


@task(help={"json": "machine-readable"})
def workloads_list(_c: Context, json: bool = False) -> None:
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


@task(
    positional=["name"],
    help={
        "name": "experiment: experiments/NAME.yml",
        "seed": "another seed than the experiment's",
        "json": "machine-readable",
    },
)
def campaign_plan(_c: Context, name: str, seed: str | None = None, json: bool = False) -> None:
    """Show the cells of an experiment in the order in which a campaign would run them. Touches no lab."""
    from dataclasses import asdict

    from campaigns import experiment, plan
    from common.units import format_duration

    report = Reporter()
    made = experiment.load(name)
    if seed is not None:
        made = made.with_seed(_number("seed", seed, 0))
    cells = plan.plan(made)
    if json:
        report.json([asdict(cell) for cell in cells])
        return
    rows = [
        (str(cell.order), cell.cell, cell.policy, str(cell.repetition), format_duration(cell.expected_seconds))
        for cell in cells
    ]
    report.table(("order", "cell", "policy", "repetition", "expected"), rows, title=f"{made.title} (seed {made.seed})")
    report.plain(f"about {format_duration(sum(cell.expected_seconds for cell in cells))} without KVM")
    if seed is not None:
        report.plain(f"to run the cells in this order, write it into the experiment: seed: {made.seed}")


@task(
    positional=["name"],
    help={
        "name": "experiment: experiments/NAME.yml",
        "inventory": INVENTORY_HELP,
        "campaign": "name of the campaign (default: the experiment's); an existing one goes on",
        "cell": "run just this cell",
    },
)
def campaign_run(
    _c: Context, name: str, inventory: str | None = None, campaign: str | None = None, cell: str | None = None
) -> None:
    """Run a campaign, or what is left of it. Exit code 7 when cells failed or were invalid."""
    from campaigns import launch

    report = Reporter()
    request = launch.ask(name, _inventory(inventory), campaign, cell)
    directory = _campaign(report, request, f"./inv campaign.run {name}")
    if cell is not None:
        report.say(
            f"complete: {cell} of {directory}; the others: ./inv campaign.run {name} --campaign {directory.name}"
        )
    else:
        report.say(f"complete: {directory}; next: ./inv figures {directory.name}")


@task(positional=["name"], help={"name": "campaign: results/NAME", "json": "machine-readable"})
def campaign_status(_c: Context, name: str, json: bool = False) -> None:
    """Say how far a campaign is, why cells have no figures, and how to run one of them again."""
    from dataclasses import asdict

    from campaigns import status, store
    from common.units import format_duration

    report = Reporter()
    found = status.status(store.get(store.RESULTS, name))
    if json:
        report.json({"campaign": name, "counts": found.counts, "cells": [asdict(cell) for cell in found.cells]})
        return
    rows = [
        (each.planned.cell, each.state, str(each.attempts), format_duration(each.seconds) if each.seconds else "–")
        for each in found.cells
    ]
    report.table(("cell", "state", "attempts", "took"), rows, title=f"campaign {name}")
    for each in found.cells:
        if each.reason:
            report.plain(f"{each.planned.cell}: {each.reason}\n    again: {each.rerun}")


@task(positional=["name"], help={"name": "campaign: results/NAME"})
def results_verify(_c: Context, name: str) -> None:
    """Check a campaign's files, offline: checksums, schema, plan. Exit code 8 when something is damaged or missing."""
    from campaigns import store, verify

    report = Reporter()
    found = verify.verify(store.directory(store.RESULTS, name))
    for line in found.lines():
        report.plain(line)
    found.check()


@task(positional=["name"], help={"name": "campaign: results/NAME"})
def figures(_c: Context, name: str) -> None:
    """Make tables, figures and the report of a campaign from its cells. Same results in, same bytes out."""
    from campaigns import store

    _summarise(Reporter(), store.get(store.RESULTS, name).directory)


def _group(*tasks: Any) -> Collection:  # noqa: ANN401
    """Functions named lab_up, lab_down, ... as the tasks lab.up, lab.down, ...; one named ..._all is what the group's own name runs."""
    names = [each.__name__.partition("_") for each in tasks]
    group = Collection(names[0][0])
    for each, (_, _, name) in zip(tasks, names, strict=True):
        group.add_task(each, name=name, default=name == "all")
    return group


namespace = Collection(
    *(demo, test, setup, doctor, figures),
    _group(build_all, build_show),
    _group(lab_up, lab_status, lab_ssh, lab_down, lab_destroy, lab_provision, lab_teardown),
    _group(tmem_soak, tmem_fuzz, tmem_mutants),
    Collection.from_module(policies, "policies"),
    _group(workloads_list),
    _group(campaign_plan, campaign_run, campaign_status),
    _group(results_verify),
)


if __name__ == "__main__":
    run(namespace)
