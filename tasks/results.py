"""Tasks about stored results."""

from __future__ import annotations

from invoke.context import Context
from invoke.tasks import task

from common.console import Reporter


@task(positional=["name"], help={"name": "campaign: results/NAME, or an archive of one: FILE.zip"})
def verify(_c: Context, name: str) -> None:
    """Check a campaign offline, and recompute it from its raw outputs.

    Sums, schema and plan; that figures follow from raw outputs, tables and report from figures. Of
    an archive (results.export): the sum of every file, its metadata, and the campaign's cells.

    Exit code 8 when something is damaged, was changed, or is missing.
    """
    from pathlib import Path

    from analysis import remade
    from campaigns import export, store, verify

    report = Reporter()
    if name.endswith(".zip") and Path(name).is_file():
        read = export.check(Path(name), remade.differences)
        report.plain(f"{read.path}: sound ({read.campaign}, {read.files} files)\nSHA-256: {read.sha256}")
        return
    found = verify.verify(store.directory(store.RESULTS, name), remade.differences)
    for line in found.lines():
        report.plain(line)
    found.check()


@task
def verify_all(_c: Context) -> None:
    """Check and recompute every campaign of results/, as many at a time as there are processors.

    Exit code 8 when one of them is damaged or incomplete.
    """
    import multiprocessing
    import os
    import signal
    from concurrent.futures import ProcessPoolExecutor, as_completed

    from campaigns import store
    from common.errors import ResultsError

    report = Reporter()
    names = store.names(store.RESULTS)
    failed: list[str] = []
    deaf = (signal.SIGINT, signal.SIG_IGN)
    with ProcessPoolExecutor(os.cpu_count(), initializer=signal.signal, initargs=deaf) as pool:
        try:
            asked = {pool.submit(_verified, name): name for name in names}
            for done in as_completed(asked):
                said, passed = done.result()
                report.plain(said)
                if not passed:
                    failed.append(asked[done])
        except KeyboardInterrupt:
            pool.shutdown(wait=False, cancel_futures=True)
            for child in multiprocessing.active_children():  # nothing is written, so nothing is lost
                child.kill()
            raise
    if failed:
        raise ResultsError(
            f"{len(failed)} of {len(names)} campaigns did not pass",
            where="results/",
            why=", ".join(sorted(failed)),
            remedy="./inv results.verify NAME shows all of one.",
        )
    report.say(f"{len(names)} campaigns are what was measured, and all that is made of them follows")


def _verified(name: str) -> tuple[str, bool]:
    """What there is to say of a campaign, and whether it passes."""
    from analysis import remade
    from campaigns import store, verify
    from common.errors import ResultsError

    try:
        found = verify.verify(store.directory(store.RESULTS, name), remade.differences)
        found.check()
    except ResultsError as error:
        return f"{name}: {error}", False
    return found.lines()[-1], True


@task(
    positional=["name"],
    help={
        "name": "campaign: results/NAME",
        "unverified": "also of results that are damaged or were changed; the files then say so",
    },
)
def latex(_c: Context, name: str, unverified: bool = False) -> None:
    """Write a campaign for a paper: macros for each number, tables, figures at column width.

    results/NAME/latex/numbers.tex defines a macro for each number; tables/ are for booktabs;
    figures/ show the PDFs that are made beside them. docs/paper is a sample that is made of them.
    Exit code 8 when the results are damaged or were changed.
    """
    from analysis import latex as analysis_latex
    from campaigns import store, verify
    from tasks.shared import ROOT

    report = Reporter()
    directory = store.get(store.RESULTS, name).directory
    damaged = verify.verify(directory).refuse(allowed=unverified)
    for path in analysis_latex.make(directory, unverified=damaged):
        report.plain(str(path.relative_to(ROOT) if path.is_relative_to(ROOT) else path))


@task(positional=["name"], help={"name": "campaign: results/NAME", "into": "new folder"})
def publish(_c: Context, name: str, into: str) -> None:
    """Copy a campaign as it is published: what was measured, with its report and figures.

    Samples are packed by gzip, which all commands here read; what a command makes in seconds
    (tables, PDF, HTML) is left out. The copy is verified. Exit code 8 when the results are damaged,
    were changed or are incomplete.
    """
    from analysis import remade
    from campaigns import publishing, store, verify
    from common.errors import UsageError
    from tasks.shared import new_file

    report = Reporter()
    directory = store.get(store.RESULTS, name).directory
    if not (directory / publishing.REPORT).is_file():
        raise UsageError("there is no report to publish", where=str(directory), remedy=f"./inv figures {name}")
    verify.verify(directory, remade.differences).check()
    made = publishing.publish(directory, new_file("--into", into, folder=True))
    verify.verify(made.path, remade.differences).check()
    report.plain(
        f"{made.path}: {made.files} files, {made.size / 2**20:.1f} MiB\n"
        f"SHA-256 of its SHA256SUMS: {made.sum}; of those of what was measured, before samples were packed: {made.was}"
    )


@task(positional=["name"], help={"name": "campaign: results/NAME", "into": "file (default: results/NAME.zip)"})
def export(_c: Context, name: str, into: str | None = None) -> None:
    """Write a campaign as one archive, an RO-Crate, for Zenodo and Software Heritage.

    Everything of results/NAME with its sums, the metadata that both ask for, and licence and
    creators of CITATION.cff. Same results in, same bytes out; what is written is read back and
    checked. ./inv results.verify FILE.zip checks it anywhere. Exit code 8 when the results are
    damaged or were changed.
    """
    from analysis import remade
    from campaigns import export as campaigns_export
    from campaigns import store, verify
    from tasks.shared import ROOT, new_file

    report = Reporter()
    directory = store.get(store.RESULTS, name).directory
    target = store.RESULTS / f"{name}.zip" if into is None else new_file("--into", into)
    found = verify.verify(directory, remade.differences)
    if found.damaged:
        found.check()
    made = campaigns_export.export(directory, target, ROOT)
    report.plain(f"{made.path}: {made.files} files, {made.size / 2**20:.1f} MiB\nSHA-256: {made.sha256}")
