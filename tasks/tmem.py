"""Tasks that try tmem itself: its harness, a hostile guest, its mutants."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from functools import partial

from invoke.context import Context
from invoke.exceptions import Exit
from invoke.tasks import task

from common.console import Reporter
from common.errors import UsageError
from tasks.shared import INVENTORY_HELP, ROOT, build_artifacts, build_for, inventory_path, number, numbers


@task(help={"minutes": "how long, at least (default: 10)", "seed": "the first seed (default: 1)"})
def soak(_c: Context, minutes: str | None = None, seed: str | None = None) -> None:
    """Run tmem's hypervisor side as a program: with sanitizers, against its model, in races.

    Every run has a new seed.
    """
    from lab import paths
    from lab.build import harness

    report = Reporter()
    with report.live():
        ran = harness.soak(
            paths.cache() / "tmp" / "tmem-harness",
            number("minutes", minutes or "10", 1),
            number("seed", seed or "1", 1),
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
def fuzz(_c: Context, operations: str | None = None, seed: str | None = None, inventory: str | None = None) -> None:
    """Let a hostile guest make any number of wrong operations, and see that nobody is harmed.

    Half a minute for two million when all is built.
    """
    from tests.lab import fuzz

    report = Reporter()
    wanted = number("operations", operations or str(fuzz.OPERATIONS), 1)
    chosen = number("seed", seed or "2009", 0)
    build_for(report, inventory)
    found = fuzz.fuzz(wanted, chosen, inventory_path(inventory))
    for each in found:
        report.say(f"{each.setting}: {each.hypercalls} hypercalls, and the accounts agree: {each.accounts}")
    report.say(f"{sum(each.hypercalls for each in found)} hypercalls in all, no failure")


@task(
    name="soak-guests",
    help={
        "minutes": "how long each guest works, at least (default: 60)",
        "kernel": "debian-6.12 or debian-7 (default: both, one after the other)",
        "seed": "of what the guests do (default: 2009)",
        "inventory": INVENTORY_HELP,
    },
)
def soak_guests(
    _c: Context,
    minutes: str | None = None,
    kernel: str | None = None,
    seed: str | None = None,
    inventory: str | None = None,
) -> None:
    """Let guests with Debian's own kernels lack memory for an hour, and compare all that they read.

    stress-ng and a file that changes in every way; kernels and Xen may not complain.
    """
    from tests.lab import soak

    report = Reporter()
    wanted = number("minutes", minutes or f"{soak.MINUTES:g}", 1)
    chosen = number("seed", seed or "2009", 0)
    kernels = [kernel] if kernel else soak.STOCK
    soak.check(wanted, kernels)
    build_for(report, inventory)
    for each in soak.soak(wanted, kernels, chosen, inventory_path(inventory)):
        did = ", ".join(f"{name} {count}" for name, count in each.worked.items())
        report.say(
            f"{each.kernel}: {each.minutes:g} minutes, nothing lost: {each.files} files, "
            f"{each.swapped} pages swapped to Xen, {each.hits} read from it; stress-ng did {did}"
        )


@task(help={"only": "only mutants whose \"mechanism: name\" this regular expression matches, as in '^weights|^caps'"})
def mutants(_c: Context, only: str | None = None) -> None:
    """Show that every mechanism of tmem has a lab test that fails without it.

    Hours for all: one build, then some tests for each; --only takes some.
    """
    command = [sys.executable, "-m", "tests.mutants.prove", *([only] if only else [])]
    if code := subprocess.run(command, cwd=ROOT, check=False).returncode:
        raise Exit(
            "not every mutant was noticed, or the tests do not pass without one; see above" if code == 1 else "", code
        )


@task(
    name="check-kernel",
    iterable=["file"],
    help={
        "file": "a kernel's Debian package (.deb) or its image (vmlinuz); the option may be left out",
        "running": "look at the kernel that runs here; needs root",
        "table": "print rows of a Markdown table instead",
    },
)
def check_kernel(_c: Context, file: list[str], running: bool = False, table: bool = False) -> None:
    """Say whether the guest driver will load on kernels, and why not.

    Exit code 6 when it will not on one of them. Needs Debian's packages dwarves and zstd.
    """
    from pathlib import Path

    from lab.build import kernel_check

    if not file and not running:
        raise UsageError("name a kernel", remedy="./inv tmem.check-kernel PACKAGE.deb, or --running.")
    report = Reporter()
    needs, refused = kernel_check.wanted(), False
    looks: list[Callable[[], kernel_check.Kernel]] = [kernel_check.of_running] if running else []
    looks += [partial(kernel_check.of_package, Path(each)) for each in file]
    for look in looks:
        verdict = kernel_check.judge(look(), needs)
        refused = refused or not verdict.loads
        if table:
            report.plain(verdict.row)
            continue
        report.say(f"{verdict.kernel}: the driver {'loads' if verdict.loads else 'will not load'}")
        for line in (*verdict.problems, *(f"note: {note}" for note in verdict.notes)):
            report.say(f"    {line}")
    if refused:
        raise Exit("", 6)


@task
def package(_c: Context) -> None:
    """Make Debian packages, with their sources: the hypervisor, tmemctl, the guest driver (DKMS).

    They are in a folder that apt can use as a repository.
    """
    report = Reporter()
    folder = build_artifacts(report, ["debian_packages"])["debian_packages"].path
    for path in sorted(folder.glob("*.deb")):
        report.say(path.name)
    report.say(f"for apt: deb [trusted=yes] file:{folder} ./")


@task(
    positional=["file"],
    help={
        "file": "a trace: what lab.trace has written, or raw/tmem.trace.zst of a cell",
        "pages": "how much room the policies get, in pages, with commas between (default: parts of what tmem held)",
        "json": "machine-readable",
    },
)
def replay(_c: Context, file: str, pages: str | None = None, json: bool = False) -> None:
    """Replay a trace against other orders of eviction, and say what each would have hit.

    libCacheSim is installed, in an environment of its own, when it is first needed. Exit code 8
    when the replay does not have the hypervisor's own hits within 1 %.
    """
    from pathlib import Path

    from analysis import eviction, trace
    from common import environments
    from common.errors import ResultsError
    from lab import paths

    report = Reporter()
    wanted = [] if pages is None else numbers("pages", pages, 1)
    recorded = trace.load(Path(file))
    with report.live():
        report.step("libCacheSim's environment")
        python = environments.interpreter(ROOT / "requirements-replay.lock", paths.cache() / "environments")
        report.step("replaying")
        found = eviction.compare(recorded, python, wanted)
    if json:
        report.json(found.record())
    else:
        for line in found.lines():
            report.plain(line)
        report.table(*found.table())
    if found.agrees is False:
        raise Exit("the replay does not have the hypervisor's hits", ResultsError.exit_code)
