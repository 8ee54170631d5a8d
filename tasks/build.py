"""Tasks about artifacts."""

from __future__ import annotations

from invoke.context import Context
from invoke.tasks import task

from common.console import Reporter
from tasks.shared import build_artifacts, number


@task(
    name="all",
    default=True,
    help={
        "names": "artifacts, separated by commas (default: all that the default lab needs; ./inv build.show lists all)"
    },
)
def build_everything(_c: Context, names: str | None = None) -> None:
    """Build the artifacts that are missing: hypervisor, kernels, guest driver, images."""
    report = Reporter()
    for name, artifact in build_artifacts(report, names.split(",") if names is not None else None).items():
        report.say(f"{name}: {artifact.path}")


@task(help={"json": "machine-readable"})
def show(_c: Context, json: bool = False) -> None:
    """List the artifacts with their paths, versions and hashes."""
    from lab.build import builder

    report = Reporter()
    rows = builder.show()
    if json:
        report.json(rows)
        return
    for row in rows:
        report.plain(f"{row['name']} {row['key'][:16]} {'' if row['built'] else 'not built'}")
        for name, source in (row["inputs"] or {}).items():
            report.plain(f"    from {name} {source['version']}")
        for name, output in (row["outputs"] or {}).items():
            report.plain(f"    {name} sha256 {output['sha256'][:16]}… {output['path']}")


@task(
    help={
        "days": "keep what was used within so many days (default: 14); 0 keeps only what a process uses now",
        "dry-run": "remove nothing, and say what would be removed",
    }
)
def prune(_c: Context, days: str | None = None, dry_run: bool = False) -> None:
    """Remove from the cache what this checkout does not need, and say how much space that frees.

    What goes: artifacts, source archives, drives with their snapshots, packed images and emulated
    servers that were made from another state of the checkout, snapshots of before this machine was
    started, and what killed builds left. What stays: all that this checkout builds now, for all
    inventories, kernels and workloads; what a process uses, or used within --days; keys, logs, and
    Python environments. What goes and is needed again is fetched and built again.

    Another checkout may share the cache (as all of one user do by default). What it alone needs is
    removed, too, once it has not been used for --days.

    May be interrupted, and called again. Exit code 5 while a build runs, or when something could
    not be removed; the rest is then removed all the same.
    """
    from common.errors import BuildError
    from lab import paths
    from lab import prune as pruning

    report = Reporter()
    kept_days = number("days", days, 0) if days is not None else pruning.DAYS
    done = pruning.prune(kept_days, dry_run=dry_run)
    cache = paths.cache()
    for verb, entries in (("would remove" if dry_run else "removed", done.removed), ("kept", done.kept)):
        for each in entries:
            said = f"{each.why}; {each.stays}" if each.stays else each.why
            report.plain(f"{verb} {each.kind} {each.path.relative_to(cache)} ({_mib(each.size)}): {said}")
    freed = _mib(sum(each.size for each in done.removed))
    if done.removed:
        report.say(f"{'this would free' if dry_run else 'freed'} {freed} in all")
    else:
        report.say("there is nothing to remove")
    if done.kept:
        more = "; --days 0 keeps only what is in use" if kept_days else ""
        report.say(f"kept {_mib(sum(each.size for each in done.kept))} that this checkout does not need{more}")
    if failed := [each for each in done.kept if each.failed]:
        raise BuildError(
            f"{len(failed)} of what is not needed could not be removed",
            where="\n".join(str(each.path) for each in failed),
            why=failed[0].stays,
            remedy="Mend that, or remove them as root; then run this again.",
        )


def _mib(size: int) -> str:
    return f"{size / 2**20:.1f} MiB"
