"""Tasks about artifacts."""

from __future__ import annotations

from invoke.context import Context
from invoke.tasks import task

from common.console import Reporter
from tasks.shared import build_artifacts


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
