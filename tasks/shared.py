"""What several tasks need: options read as text, packages and artifacts made ready, a campaign run
and shown.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.console import Reporter, upright
from common.errors import MissingError, UsageError
from common.needs import NOTHING, Needs

if TYPE_CHECKING:
    from campaigns.launch import Request

ROOT = Path(__file__).resolve().parent.parent
DEFAULT_INVENTORY = "inventory/emulated.yml"
INVENTORY_HELP = f"the lab: an inventory file (default: {DEFAULT_INVENTORY})"


SCALE_HELP = "a preset of the experiment, such as night (default: the file as it is)"

MOST_DIGITS = 18


def number(option: str, text: str, least: int) -> int:
    if len(text) > MOST_DIGITS:
        raise UsageError(
            f"--{option} takes a whole number of at most {MOST_DIGITS} digits, not one of {len(text)} characters"
        )
    if not text.isascii() or not text.isdigit() or int(text) < least:
        raise UsageError(f"--{option} takes a whole number, at least {least}, not {text!r}")
    return int(text)


def numbers(option: str, text: str, least: int) -> list[int]:
    """Several, with commas between."""
    return [number(option, each.strip(), least) for each in text.split(",")]


def new_file(what: str, text: str, *, folder: bool = False) -> Path:
    """A file (or folder) that a task is to write: the one that it is to be in has to be there.
    UsageError, before any work is done for it.
    """
    path = Path(text)
    if not text or (path.is_dir() and not folder):
        raise UsageError(f"{what} has to name a {'folder' if folder else 'file'}", where=text, remedy="add its name")
    if not path.parent.is_dir():
        raise UsageError(f"there is no folder for {what}", where=str(path.parent), remedy="make it first: mkdir -p")
    return path


def checked_address(text: str) -> str:
    host, _, port = text.removeprefix("tcp://").rpartition(":")
    if not host or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise UsageError(f"{text!r} is no address", remedy="give HOST:PORT, such as 127.0.0.1:8786")
    return f"{host}:{port}"


def inventory_path(path: str | None) -> Path:
    if path == "":  # as of a variable that is not set: another lab than the one that was meant
        raise UsageError("--inventory is empty", remedy=f"name a file, such as {DEFAULT_INVENTORY}, or leave it out")
    return ROOT / DEFAULT_INVENTORY if path is None else Path(path)


def needs_of(names: str | None) -> Needs:
    """What the workloads of these names, separated by commas, need with whatever parameters."""
    import workloads
    from common.needs import together

    chosen = [workloads.get(name) for name in (names or "").split(",") if name]
    return together(workload.most_needs() for workload in chosen)


def install_packages(report: Reporter, what: str | None = None) -> None:
    """Install what a lab needs, or what `what` names (lab.build.packages)."""
    from lab.build import packages

    what = what or packages.LAB
    if packages.missing(what):
        report.say("packages: installing what is missing")
        with report.live():
            installed = packages.install_missing(report.step, what)
        report.say(f"packages: installed {', '.join(installed)}")


def install_dask(report: Reporter) -> None:
    """Install requirements-dask.lock into this environment, unless all of it is there."""
    import subprocess

    lock = ROOT / "requirements-dask.lock"
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "-q", "--no-compile", "--no-deps"]
    command += ["--require-hashes", "--only-binary=:all:", "-r", str(lock)]
    report.say("Dask: installing what requirements-dask.lock names and is not there")
    if subprocess.run(command, check=False).returncode:
        raise MissingError(
            "pip could not install requirements-dask.lock",
            where=str(lock),
            why="its message is above",
            remedy="Without a network, give pip a mirror or a folder of wheels through its own configuration.",
        )
    report.say("Dask: all of it is there")


def build_for(report: Reporter, inventory: str | None, needs: Needs = NOTHING) -> None:
    """Build what a lab is made from. needs: those of the workloads that its guests are to run."""
    from lab import lifecycle

    build_artifacts(report, lifecycle.artifacts_for(inventory_path(inventory), needs), needs)


def build_artifacts(report: Reporter, names: list[str] | None, needs: Needs = NOTHING) -> dict[str, Any]:
    from lab.build import builder

    def show(event: builder.BuildEvent) -> None:
        show_line = report.step if event.kind == "step" else report.say
        show_line(f"build: {event.artifact + ': ' if event.artifact else ''}{event.text}", event.remaining)

    with report.live():
        return dict(builder.ensure(names, show, needs))


def run_campaign(report: Reporter, request: Request, again: str) -> Path:
    """Run what is left of a campaign, or say that nothing is; its directory. again: the command
    that runs it anew.
    """
    from campaigns import launch, status
    from campaigns.progress import Event

    def show(event: Event) -> None:
        if line := status.line_of(event):
            report.say(line, event.left_s)

    if (outcome := request.ended) is None:
        if request.scheduler is None:  # else what hosts are made from is their workers' affair
            build_for(report, str(request.inventory), request.experiment.needs)
        with report.live():
            outcome = launch.execute(request, ["./inv", *sys.argv[1:]], tell=report.say, listen=show)
    outcome.check()
    if request.ended is not None:
        report.plain(outcome.line(again))
    return outcome.directory


def summarise(
    report: Reporter, directory: Path, *, unverified: bool = False, page: bool = False, pdf: bool = False
) -> None:
    """Make and show what a campaign says. page, pdf: as a page, and for print, too. ResultsError
    when its results are damaged or were changed; unverified: mark them instead.
    """
    from analysis import page as analysis_page
    from analysis import report as analysis_report
    from campaigns import verify

    damaged = verify.verify(directory).refuse(allowed=unverified)
    if page:
        summary, path = analysis_page.make(directory, unverified=damaged)
        made = [path, *([_printed(report, path)] if pdf else [])]
    else:
        summary = analysis_report.summarise(directory, unverified=damaged)
        made = []
    report.plain()
    report.table(*upright(summary.columns, summary.rows), title=f"{summary.campaign}, {summary.host}")
    if summary.figures:
        names = ", ".join(dict.fromkeys(each.name.split(".")[0] for each in summary.figures))
        report.plain(f"{_shown(summary.figures[0].parent)}: {names} (PNG, PDF, SVG, and the caption in a .txt)")
    for each in (summary.report, *made):
        report.plain(_shown(each))
    report.plain()
    report.plain(summary.paragraph)
    summary.check()


def _shown(path: Path) -> str:
    return str(path.relative_to(ROOT) if path.is_relative_to(ROOT) else path)


def _printed(report: Reporter, page: Path) -> Path:
    from analysis import printed, tables

    if printed.lacking():
        from lab.build import packages

        install_packages(report, packages.PRINT)
    path = page.with_suffix(".pdf")
    tables.replace(path, printed.pdf(page.read_text("utf-8")))
    return path
