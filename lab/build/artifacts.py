"""The artifact store: what was built, found by the content of its recipe, and written whole or not
at all.

An artifact is a folder artifacts/NAME-KEY16/ with its outputs and manifest.json. It is built in
tmp/ and renamed when complete, so a build that is killed leaves a folder in tmp/ only, which the
next build removes: whether its owner lives is asked of a lock, not of a process number. Folders are
never changed after the rename.

manifest.json (schema 1): name, key, built_at (UTC), duration_seconds, inputs {name: {version,
sha256, note}}, outputs {file: {sha256, size_bytes}}, packages {name: version} where the artifact
holds a Debian system, recipe (what the key is the digest of).
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import subprocess
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from common import files
from common.errors import BuildError
from lab import paths
from lab.build.orphans import end_processes_of

SCHEMA = 1
MANIFEST = "manifest.json"
PACKAGES = "packages.tsv"
"""Left by a role beside its outputs: one `name<TAB>version` a line, as dpkg-query prints them."""


@dataclass(frozen=True)
class Input:
    """Something an artifact is made from: a source archive or another artifact. sha256 is the
    archive's, or the artifact's key.

    note: how the version came to be chosen, where that needs saying.
    """

    name: str
    version: str
    sha256: str
    note: str = ""


@dataclass(frozen=True)
class Artifact:
    """Something that was built. outputs and versions by name; key is the recipe's SHA-256 (64
    hexadecimal digits).
    """

    name: str
    key: str
    path: Path
    outputs: Mapping[str, Path]
    versions: Mapping[str, str]
    manifest: Path

    def details(self) -> dict[str, Any]:
        """The manifest."""
        loaded: dict[str, Any] = json.loads(self.manifest.read_text())
        return loaded


def folder_name(name: str, key: str) -> str:
    return f"{name}-{key[:16]}"


def recipe_key(recipe: Mapping[str, object]) -> str:
    """SHA-256 of a recipe in canonical JSON."""
    return hashlib.sha256(json.dumps(recipe, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def tree_digest(roots: Iterable[Path], base: Path) -> dict[str, str]:
    """SHA-256 of every file below the roots (a root may be a file), by its path relative to base.

    Hidden files, compiled Python and build products (*.o, *.ko, *.cmd, *.mod ...) are left out:
    they come and go without a change of content. So are what a role says of its arguments, and
    guides (*.md), which make no artifact another one.
    """
    skip = {".md", ".o", ".ko", ".cmd", ".mod", ".a", ".pyc", ".symvers", ".order"}
    found: dict[str, str] = {}
    for root in roots:
        found_in = [root] if root.is_file() else sorted(path for path in root.rglob("*") if path.is_file())
        for path in found_in:
            relative = path.relative_to(base)
            hidden = any(part.startswith(".") or part == "__pycache__" for part in relative.parts)
            told = path.name == "argument_specs.yml"
            if path.suffix in skip or path.name.endswith(".mod.c") or hidden or told:
                continue
            mode = "x" if os.access(path, os.X_OK) else "-"
            found[str(relative)] = f"{mode}{files.digest(path)}"
    return found


def find(name: str, key: str) -> Artifact | None:
    """The artifact with this key, or None. One whose manifest cannot be read or whose outputs are
    gone counts as missing.
    """
    folder = paths.artifacts() / folder_name(name, key)
    try:
        return _load(folder)
    except (OSError, ValueError, KeyError):
        return None


def use(artifact: Artifact) -> bool:
    """Note that an artifact is used now, in the time of its folder, and keep it from ./inv
    build.prune until this process ends. False when it has just been removed.
    """
    with contextlib.suppress(OSError):  # of another user: it is used all the same
        os.utime(artifact.path)
    return files.keep(artifact.manifest)


def _load(folder: Path) -> Artifact:
    manifest = folder / MANIFEST
    data = json.loads(manifest.read_text())
    if data["schema"] != SCHEMA:
        raise ValueError(f"manifest of schema {data['schema']}")
    outputs = {name: folder / name for name in data["outputs"]}
    for name, path in outputs.items():
        if path.stat().st_size != data["outputs"][name]["size_bytes"]:
            raise ValueError(f"{path} has another size than its manifest says")
    versions = {name: entry["version"] for name, entry in data["inputs"].items()}
    return Artifact(data["name"], data["key"], folder, outputs, versions, manifest)


@contextlib.contextmanager
def workspace(name: str) -> Iterator[Path]:
    """A folder for one build, removed at the end whatever happens. publish() takes its `out` folder
    away before that.
    """
    folder = paths.tmp() / f"build-{name}-{uuid.uuid4().hex[:8]}"
    lock_path = folder.with_name(folder.name + ".lock")
    with files.lock(lock_path):
        (folder / "out").mkdir(parents=True)
        (folder / "work").mkdir()
        try:
            yield folder
        finally:
            end_processes_of(folder)
            remove_tree(folder)
            lock_path.unlink(missing_ok=True)


def remove_stale() -> list[str]:
    """Remove the workspaces of builds that no longer run. Returns their names."""
    removed = []
    for lock_path in sorted(paths.tmp().glob("build-*.lock")):
        try:
            lock = files.lock(lock_path, wait=False)
        except OSError:
            continue
        with lock:
            end_processes_of(lock_path.with_suffix(""))
            remove_tree(lock_path.with_suffix(""))
            lock_path.unlink(missing_ok=True)
            removed.append(lock_path.stem)
    return removed


def remove_tree(folder: Path) -> None:
    """Remove a folder that may hold root's files. Never crosses into another file system, should
    something be mounted below it.
    """
    if not folder.exists():
        return
    command = ["rm", "-rf", "--one-file-system", str(folder)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if folder.exists() and os.geteuid() != 0:
        result = subprocess.run(["sudo", "-n", *command], capture_output=True, text=True, check=False)
    if folder.exists():
        raise BuildError(
            "a folder of the cache cannot be removed",
            where=str(folder),
            why=result.stderr.strip(),
            remedy="Remove it as root: builds as root left files of root's there.",
        )


def publish(
    name: str,
    recipe: Mapping[str, object],
    out: Path,
    *,
    outputs: Iterable[str],
    inputs: Iterable[Input],
    duration: float,
) -> Artifact:
    """Write the manifest into `out` and rename it to its place. BuildError when an output is
    missing or empty.
    """
    described: dict[str, dict[str, object]] = {}
    for output in outputs:
        path = out / output
        if not path.is_file() or path.stat().st_size == 0:
            raise BuildError(
                f"the build of {name} left no {output}",
                where=f"playbooks/roles/{name}",
                remedy="The role has to write it to build_out.",
            )
        described[output] = {"sha256": files.digest(path), "size_bytes": path.stat().st_size}
    key = recipe_key(recipe)
    manifest = {
        "schema": SCHEMA,
        "name": name,
        "key": key,
        "built_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "duration_seconds": round(duration, 1),
        "inputs": {
            item.name: {"version": item.version, "sha256": item.sha256, "note": item.note or None} for item in inputs
        },
        "outputs": described,
        "packages": _packages(out / PACKAGES),
        "recipe": recipe,
    }
    text = json.dumps(manifest, indent=1, sort_keys=True) + "\n"
    (out / MANIFEST).write_text(text)
    for file in (*described, MANIFEST):
        files.sync(out / file)
    files.sync(out)
    target = paths.artifacts() / folder_name(name, key)
    if target.exists():  # damaged, or find() would have found it
        damaged = target.with_name(f".damaged-{uuid.uuid4().hex[:8]}")
        target.rename(damaged)
        remove_tree(damaged)
    out.rename(target)
    return _load(target)


def _packages(path: Path) -> dict[str, str] | None:
    """Package versions from the file that a role left, or None where there is none."""
    if not path.exists():
        return None
    rows = (line.split("\t") for line in path.read_text().splitlines() if line.strip())
    return {row[0]: row[1] for row in rows}


@contextlib.contextmanager
def build_lock(waiting: Callable[[int | None], None] | None) -> Iterator[None]:
    """Only one process builds at a time. waiting: called with the number of the process that does,
    before it is waited for. BuildError when another one does and there is none to call.
    """
    try:
        lock = files.lock(paths.artifacts() / ".lock", wait=waiting is not None, waiting=waiting)
    except files.LockedError:
        raise BuildError(
            "another build is running",
            where=str(paths.artifacts()),
            remedy="Wait for it to end, then run this again.",
        ) from None
    with lock:
        yield
