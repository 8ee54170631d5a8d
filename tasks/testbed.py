"""Tasks without a namespace: the two commands of the README, and what prepares their work."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from invoke.context import Context
from invoke.exceptions import Exit
from invoke.tasks import task

from common.checks import check, shell_scripts
from common.console import Reporter
from tasks.shared import (
    INVENTORY_HELP,
    ROOT,
    build_artifacts,
    build_for,
    install_dask,
    install_packages,
    inventory_path,
    run_campaign,
    summarise,
)


@task(help={"inventory": INVENTORY_HELP, "campaign": "name of the campaign (default: demo); an existing one goes on"})
def demo(_c: Context, inventory: str | None = None, campaign: str = "demo") -> None:
    """Build everything, start the emulated host, run the demo campaign, and draw its figures.

    Goes on from what is complete, so it may be interrupted and called again. See README.md for how
    long it takes.
    """
    from campaigns import launch, plan

    report = Reporter()
    request = launch.ask("demo", inventory_path(inventory), campaign)
    if request.ended is None:
        report.plain(
            f"{request.experiment.title}: {len(plan.plan(request.experiment))} cells, "
            "one for each policy\nand repetition, on an emulated host. What is missing is installed and built "
            "first: about 14 minutes\nfrom nothing on 2 cores without KVM, about 8 when all is built. Times will be "
            "the emulated machine's."
        )
        install_packages(report)
    summarise(report, run_campaign(report, request, "./inv demo"))


@task(
    help={
        "unit": "only lint, types and unit tests: five minutes, no lab",
        "select": "only tests whose names match (pytest -k)",
        "inventory": f"{INVENTORY_HELP}; inventory/xen-debug.yml is one whose hypervisor checks itself",
        "long": (
            "also tests that take minutes each, and those that build hypervisors "
            "and kernels which no lab needs by itself: roughly two hours more"
        ),
        "servers": (
            "only the tests of what prepares servers, on two emulated ones, which this makes, starts and ends; "
            "with --select, their disks stay for the next time"
        ),
    }
)
def test(
    _c: Context,
    unit: bool = False,
    select: str | None = None,
    inventory: str | None = None,
    long: bool = False,
    servers: bool = False,
) -> None:
    """Lint, type checks, unit tests, and lab tests on the emulated host."""
    report = Reporter()
    if servers:
        _test_servers(report, select)
        return
    lab = inventory_path(inventory or os.environ.get("OVERCOMMIT_TEST_INVENTORY")).absolute()
    checks = {
        "ruff check": "ruff check .",
        "ruff format": "ruff format --check .",
        "mypy": "mypy",
        "ansible-lint": "ansible-lint --profile production --offline playbooks",
        "shellcheck": f"shellcheck {' '.join(shell_scripts(ROOT))}",
    }
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}",
        "OVERCOMMIT_TEST_INVENTORY": str(lab),
        "NO_COLOR": "1",  # what they say is shown as text
    }
    if not select:
        report.say(", ".join(checks))
        if failed := check({name: line.split() for name, line in checks.items()}, ROOT, environment, report.plain):
            raise Exit(f"{' and '.join(failed)} failed; the messages are above", 1)
    install_packages(report)
    if long:
        install_dask(report)
    if not unit:
        build_for(report, str(lab))
    command = ["pytest", *(["tests/unit"] if unit else []), *(["-k", select] if select else [])]
    command += ["--durations=20", "--durations-min=5", *([] if long else ["-m", "not long"])]
    # Two processes: the lab's tests stay together in one, the others take what processor time these
    # leave (tests/conftest.py).
    command += [] if select else ["-n", "2", "--dist", "loadscope"]
    report.say("pytest")
    code = subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode
    if code:
        raise Exit(f"tests failed, or none ran (pytest's exit code {code})", 1)


def _test_servers(report: Reporter, select: str | None) -> None:
    """On bare servers, whose disks are made anew before and removed after. Of selected tests, the
    next ones go on with the states that these have made (tests/servers/pair.py).
    """
    from lab import lifecycle
    from lab.emulator import servers

    install_packages(report)
    build_artifacts(report, [*lifecycle.artifacts_for(servers.INVENTORY), "server_image"])
    anew = select is None
    servers.down(remove=anew)
    try:
        report.say("pytest")
        command = [sys.executable, "-m", "pytest", "tests/servers", "--durations=0", "--durations-min=1", "-v"]
        code = subprocess.run([*command, *(["-k", select] if select else [])], cwd=ROOT, check=False).returncode
    finally:
        servers.down(remove=anew)
    if code:
        raise Exit(f"tests failed, or none ran (pytest's exit code {code})", 1)


@task(help={"dask": "instead, the library that campaign.run --scheduler needs, into .venv"})
def setup(_c: Context, dask: bool = False) -> None:
    """Install the system packages that the testbed needs (Debian and Ubuntu; root or sudo)."""
    report = Reporter()
    if dask:
        install_dask(report)
        return
    install_packages(report)
    report.say("all programs are there")


@task(help={"json": "machine-readable"})
def doctor(_c: Context, json: bool = False) -> None:
    """Say what this machine can do, what is missing, and what to do about it.

    Exit code 3 when something needed is missing.
    """
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


@task(
    positional=["name"],
    help={
        "name": "campaign: results/NAME",
        "unverified": "also of results that are damaged or were changed; every figure then says so",
    },
)
def figures(_c: Context, name: str, unverified: bool = False) -> None:
    """Make tables, figures and the report of a campaign from its cells.

    Same results in, same bytes out. Exit code 8 when the results are damaged or were changed.
    """
    from campaigns import store

    summarise(Reporter(), store.get(store.RESULTS, name).directory, unverified=unverified)


@task(
    positional=["name"],
    help={
        "name": "campaign: results/NAME",
        "pdf": "also as report.pdf, for print",
        "unverified": "also of results that are damaged or were changed; the page and every figure then say so",
    },
)
def report(_c: Context, name: str, pdf: bool = False, unverified: bool = False) -> None:
    """Make a campaign's report as one page: figures, verdicts, the raw files behind each number.

    results/NAME/report.html needs no network and no other file to be read; what its numbers lead to
    are the files beside it. Tables, figures and report.md are made as by ./inv figures. Same
    results in, same bytes out. Exit code 8 when the results are damaged or were changed.
    """
    from campaigns import store

    summarise(Reporter(), store.get(store.RESULTS, name).directory, unverified=unverified, page=True, pdf=pdf)
