"""Artifacts: which ones there should be, which are missing, and building those. What each is made
of is in lab/build/recipes.py.

An artifact's key is the SHA-256 of its recipe: its role's files, the parts of the checkout it is
built from, its source archives by version and SHA-256, the keys of the artifacts it needs. So
nothing that matters can change without a rebuild, and a rebuild of what is there already never
happens. The machinery itself (playbooks/build.yml, this module) is not part of the recipe.
"""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from common import files
from common.errors import BuildError, MissingError, UsageError
from common.needs import NOTHING, Needs
from common.units import format_duration
from lab import paths
from lab.build import artifacts, packages, sources
from lab.build.ansible import needs_sudo
from lab.build.artifacts import Artifact, Input
from lab.build.recipes import PUBLISHED, RECIPES, Recipe
from lab.build.variables import Variables, read_variables

WORKERS = 3
"""Artifacts built at once: most steps keep one processor busy, or none."""

INDEXED = {
    "xen": "suite",
    "xen_4_17": "xen_4_17_suite",
    "xen_newest": "xen_newest_suite",
    "linux_6_1": "linux_6_1_suite",
}
"""Sources whose version is the newest that a release's index names -> the variable that names the
release.

A source's name begins with its package's, before the first underscore.
"""

SPACE_MIB = 12 * 1024
"""Free space of the cache below which a cold build of all that is published is not begun; for other
builds, their share of its time.
"""


@dataclass(frozen=True)
class BuildEvent:
    """Something began, moved on or ended. remaining: seconds that all outstanding work should still
    take.
    """

    kind: Literal["plan", "fetch", "start", "step", "done", "note"]
    artifact: str
    text: str
    remaining: float | None = None


Listener = Callable[[BuildEvent], None]


class Plan:
    """What every artifact is to be made of now. Reads the checkout and asks for Xen's version;
    builds and fetches no archive.

    needs: what the guests' workloads need, for the artifacts that have the packages of those.
    """

    def __init__(self, variables: Variables | None = None, needs: Needs = NOTHING) -> None:
        self.variables = variables or read_variables()
        self.needs = needs
        self._recipes: dict[str, dict[str, object]] = {}
        self._resolved: dict[str, sources.Resolved] = {}

    @cached_property
    def mirror(self) -> sources.Mirror:
        return sources.mirror(self.variables.debian_mirror or None, self.variables.security_mirror or None)

    def _indexed(self, name: str) -> sources.Resolved:
        """What the release of one of INDEXED names; asked once."""
        if name not in self._resolved:
            values = asdict(self.variables)
            package = name.partition("_")[0]
            fallback = sources.pinned(
                package,
                values[f"{name}_version"],
                values[f"{name}_sha256"],
                self.mirror,
                "the version pinned in inventory/group_vars/all.yml",
            )
            suite = values[INDEXED[name]]
            self._resolved[name] = sources.resolve(package, suite, self.mirror, fallback=fallback)
        return self._resolved[name]

    @cached_property
    def _pinned(self) -> Mapping[str, sources.Source]:
        try:
            at = self.mirror
        except MissingError:  # a pinned source needs no mirror to be named, only to be fetched
            at = sources.Mirror("(no Debian mirror configured)")
        return {"linux": sources.pinned("linux", self.variables.linux_version, self.variables.linux_sha256, at)}

    def source(self, name: str) -> sources.Source:
        return self._indexed(name).choice() if name in INDEXED else self._pinned[name]

    def candidates(self, name: str) -> list[sources.Source]:
        """The source that source() is, and the pinned one that there is for lack of another."""
        pinned = self._indexed(name).candidates if name in INDEXED else ()
        return [self.source(name), *(each for each in pinned if each.pinned)]

    def unanswered(self, name: str) -> bool:
        """Whether the version of one of INDEXED had to be chosen without an answer of the
        mirror.
        """
        return self._indexed(name).unanswered > 0

    def fetch(self, name: str) -> Path:
        """A source archive in downloads/. May settle on an older version than the index names; then
        recipes are made anew.
        """
        if name not in INDEXED:
            return sources.fetch(self.source(name))
        self._resolved[name], path = sources.fetch_newest(self._indexed(name))
        self._recipes.clear()
        return path

    def recipe(self, name: str) -> dict[str, object]:
        """What the artifact's key is the digest of."""
        if name not in self._recipes:
            self._recipes[name] = self._make_recipe(RECIPES[name])
        return self._recipes[name]

    def _make_recipe(self, recipe: Recipe) -> dict[str, object]:
        roles = {recipe.name, *recipe.roles, *(step.partition(":")[0] for step in recipe.inside)}
        roots = [paths.PLAYBOOKS / "roles" / role for role in sorted(roles)]
        if not (roots_missing := [root for root in roots if not root.is_dir()]):
            roots += [paths.REPO / tree for tree in recipe.trees]
            roots_missing = [root for root in roots if not root.exists()]
        if roots_missing:
            raise BuildError(
                f"{recipe.name} cannot be built: a part of the checkout is missing",
                where=str(roots_missing[0]),
                remedy="Restore it with git.",
            )
        made: dict[str, object] = {
            "artifact": recipe.name,
            "schema": artifacts.SCHEMA,
            "suite": self.variables.suite,
            "files": artifacts.tree_digest(roots, paths.REPO),
            "sources": {name: self.source(name).sha256 for name in recipe.sources},
            "requires": {name: self.key(name) for name in recipe.requires},
            "inside": list(recipe.inside),
        }
        if recipe.packages:
            made["packages"] = list(self.needs.packages)
        if recipe.lab_key:
            made["lab_key"] = files.digest(paths.lab_key().with_suffix(".pub"))
        return made

    def key(self, name: str) -> str:
        return artifacts.recipe_key(self.recipe(name))

    def find(self, name: str) -> Artifact | None:
        return artifacts.find(name, self.key(name))

    def inputs(self, name: str) -> list[Input]:
        recipe = RECIPES[name]
        found = [self.source(source) for source in recipe.sources]
        archives = [Input(each.name, each.version, each.sha256, each.note) for each in found]
        return archives + [Input(each, self.key(each)[:16], self.key(each)) for each in recipe.requires]

    def missing(self, names: Iterable[str]) -> list[str]:
        """What has to be built so that `names` are there, in an order that works. An artifact that
        is there needs nothing.
        """
        wanted: list[str] = []

        def add(name: str) -> None:
            if name not in wanted and self.find(name) is None:
                for each in RECIPES[name].requires:
                    add(each)
                wanted.append(name)

        for name in RECIPES:  # the order of the declaration, whatever was asked for first
            if name in set(names):
                add(name)
        return wanted


def _known(names: Iterable[str] | None) -> list[str]:
    chosen = list(names) if names is not None else list(PUBLISHED)
    for name in chosen:
        if name not in RECIPES:
            raise UsageError(f"there is no artifact {name!r}", remedy=f"Artifacts are: {', '.join(RECIPES)}.")
    return chosen


def _estimate(names: Iterable[str]) -> float:
    """Seconds to build these, not less than the longest chain of needs. Two at once save little,
    since both want the processors.
    """
    remaining = list(names)
    total = sum(RECIPES[name].seconds for name in remaining)

    def chain(name: str) -> float:
        return RECIPES[name].seconds + max(
            (chain(each) for each in RECIPES[name].requires if each in remaining), default=0.0
        )

    return max([0.75 * total, *(chain(name) for name in remaining)])


def artifact(name: str, needs: Needs = NOTHING) -> Artifact:
    """A built artifact. BuildError when it is missing or no longer what the checkout describes."""
    _known([name])
    found = Plan(needs=needs).find(name)
    if found is None or not artifacts.use(found):
        raise BuildError(
            f"the artifact {name} is not built, or not from the present sources", remedy="Run: ./inv build"
        )
    return found


def current(package_sets: Iterable[Sequence[str]]) -> tuple[set[str], set[str]]:
    """What this checkout is built from and to, in all its variants: the names of the folders of its
    artifacts, and of its source archives. package_sets: Debian packages of workloads, since there
    is an image for each set of them.
    """
    plans = [Plan(needs=Needs(tuple(packages))) for packages in {(), *map(tuple, package_sets)}]
    folders = {artifacts.folder_name(name, making.key(name)) for making in plans for name in RECIPES}
    names = {source for recipe in RECIPES.values() for source in recipe.sources}
    return folders, {source.file for name in names for source in plans[0].candidates(name)}


def show() -> list[dict[str, Any]]:
    """What `build.show` prints: every artifact with its state, paths, versions and hashes. Missing
    figures are None.
    """
    rows: list[dict[str, Any]] = []
    making = Plan()
    for name in RECIPES:
        found = making.find(name)
        details = found.details() if found else None
        rows.append(
            {
                "name": name,
                "published": name in PUBLISHED,
                "key": making.key(name),
                "built": found is not None,
                "path": str(found.path) if found else None,
                "built_at": details["built_at"] if details else None,
                "duration_seconds": details["duration_seconds"] if details else None,
                "inputs": details["inputs"] if details else None,
                "outputs": {
                    output: {"path": str(path), **details["outputs"][output]} for output, path in found.outputs.items()
                }
                if found and details
                else None,
            }
        )
    return rows


def ensure(
    names: Iterable[str] | None = None, progress: Listener | None = None, needs: Needs = NOTHING
) -> dict[str, Artifact]:
    """Build what is missing of `names` (all published artifacts by default) and return them. needs:
    as of Plan.

    Only one process builds at a time; a second one waits and then finds everything built.
    BuildError says which task failed.
    """
    chosen = _known(names)
    tell = progress or (lambda _event: None)
    making = Plan(needs=needs)
    for source in _indexed_sources(_with_needs(chosen)):
        if making.unanswered(source):
            version = making.source(source).version
            tell(BuildEvent("note", "", f"the mirror does not answer; using {source} {version}"))
    if not making.missing(chosen):
        return _collect(making, chosen)

    def waiting(holder: int | None) -> None:
        text = f"waiting for another build, process {holder or 'unknown'} (Ctrl-C ends the waiting)"
        tell(BuildEvent("note", "", text))

    with artifacts.build_lock(waiting):
        for name in artifacts.remove_stale():
            tell(BuildEvent("note", "", f"removed what a killed build left: {name}"))
        making = Plan(needs=needs)
        missing = making.missing(chosen)
        for source in _indexed_sources(missing):
            making.fetch(source)
            missing = making.missing(chosen)
        if missing:
            _check_machine(missing)
            sudo = needs_sudo()
            tell(BuildEvent("plan", "", f"to build: {', '.join(missing)}", _estimate(missing)))
            _Builder(making, missing, tell, sudo).run()
    return _collect(making, chosen)


def _collect(making: Plan, names: Iterable[str]) -> dict[str, Artifact]:
    built: dict[str, Artifact] = {}
    for name in names:
        found = making.find(name)
        if found is None or not artifacts.use(found):
            raise BuildError(f"{name} was built from files that changed meanwhile", remedy="Run this again.")
        built[name] = found
    return built


def _with_needs(names: Iterable[str]) -> set[str]:
    """Artifacts and all that they are made from."""
    return {each for name in names for each in (name, *_with_needs(RECIPES[name].requires))}


def _indexed_sources(names: Iterable[str]) -> list[str]:
    """Those of INDEXED that these artifacts are made from."""
    used = {source for name in names for source in RECIPES[name].sources}
    return [source for source in INDEXED if source in used]


def _check_machine(missing: list[str]) -> None:
    if lacking := packages.missing():
        raise MissingError(
            f"programs are missing: {', '.join(lacking)}",
            remedy=f"Install the packages {', '.join(sorted(set(lacking.values())))} (Debian's names), "
            "or run ./inv setup as root.",
        )
    free = shutil.disk_usage(paths.cache()).free // 2**20
    cold = sum(RECIPES[name].seconds for name in _with_needs(PUBLISHED))
    needed = SPACE_MIB * sum(RECIPES[name].seconds for name in missing) / cold
    if free < needed:
        raise MissingError(
            f"the cache has {free} MiB free, and the build needs about {needed:.0f} MiB",
            where=str(paths.cache()),
            remedy="Free space, or set OVERCOMMIT_CACHE to a folder on a larger disk.",
        )


class _Builder:
    """Builds a list of missing artifacts, up to WORKERS at once, each as soon as what it needs is
    there.
    """

    def __init__(self, making: Plan, missing: list[str], tell: Listener, sudo: bool) -> None:
        self._making = making
        self._missing = missing
        self._tell_now = tell
        self._sudo = sudo
        self._telling = threading.Lock()
        self._cancel = threading.Event()
        self._done: set[str] = set()
        self._began: dict[str, float] = {}
        self._archives: dict[str, Future[Path]] = {}

    def run(self) -> None:
        """Returns when all is built. After a failure nothing more is begun, what runs is finished,
        and the failure is raised.

        KeyboardInterrupt ends what runs and is raised.
        """
        queue = list(self._missing)
        running: dict[Future[None], str] = {}
        failure: Exception | None = None
        with ThreadPoolExecutor(2) as fetchers, ThreadPoolExecutor(WORKERS) as workers:
            try:
                for source in {source for name in queue for source in RECIPES[name].sources}:
                    self._archives[source] = fetchers.submit(self._fetch, source)
                while running or (queue and failure is None):
                    ready = [] if failure else self._ready(queue)
                    for name in ready[: WORKERS - len(running)]:
                        queue.remove(name)
                        running[workers.submit(self._build, name)] = name
                    finished, _ = wait(running, timeout=1.0, return_when=FIRST_COMPLETED)
                    for future in finished:
                        name = running.pop(future)
                        if (error := future.exception()) is None:
                            continue
                        if not isinstance(error, Exception):
                            raise error
                        failure = failure or error
                        if running:
                            still = ", ".join(running.values())
                            self._tell("note", name, f"failed; {still} is finished first, so that it is not lost")
            except BaseException:
                self._cancel.set()
                raise
        if failure is not None:
            raise failure

    def _ready(self, queue: list[str]) -> list[str]:
        waiting = [name for name in self._missing if name not in self._done]
        return [name for name in queue if not any(each in waiting for each in RECIPES[name].requires)]

    def _tell(self, kind: Literal["fetch", "start", "step", "done", "note"], name: str, text: str) -> None:
        with self._telling:
            self._tell_now(BuildEvent(kind, name, text, self._remaining()))

    def _remaining(self) -> float:
        left = _estimate(name for name in self._missing if name not in self._done)
        running = [name for name in self._began if name not in self._done]
        spent = (min(time.monotonic() - self._began[name], RECIPES[name].seconds) for name in running)
        return max(0.0, left - 0.75 * sum(spent))

    def _fetch(self, source: str) -> Path:
        wanted = self._making.source(source)
        if sources.have(wanted) is None:
            self._tell("fetch", "", f"fetching {wanted.file}")
        return self._making.fetch(source)

    def _build(self, name: str) -> None:
        from lab.build import ansible

        making, recipe = self._making, RECIPES[name]
        inputs = {source: str(self._archives[source].result()) for source in recipe.sources}
        known_as = dict(recipe.known_as)
        requires = {known_as.get(each, each): str(self._need(each).path) for each in recipe.requires}
        # The recipe as of now: had a file changed since, publishing under the new key would be a
        # lie.
        made_of, described = making.recipe(name), making.inputs(name)
        self._began[name] = time.monotonic()
        self._tell("start", name, "building")
        with artifacts.workspace(name) as folder:
            ansible.run(
                "build.yml",
                extravars={
                    "build_artifact": name,
                    "build_out": str(folder / "out"),
                    "build_work": str(folder / "work"),
                    "build_root": str(folder / "work" / "root"),
                    "build_inputs": inputs,
                    "build_requires": requires,
                    "build_packages": list(making.needs.packages) if recipe.packages else [],
                    "build_inside": [_inside(step) for step in recipe.inside],
                    "build_pack": (paths.PLAYBOOKS / "roles" / name / "tasks" / "pack.yml").exists(),
                    "build_chroot_exec": str(paths.PLAYBOOKS / "files" / "chroot-exec"),
                    "build_repo": str(paths.REPO),
                    "build_jobs": os.cpu_count() or 1,
                    "build_become": self._sudo,
                    "build_mirror": making.mirror.main,
                    "build_suite": making.variables.suite,
                    "build_lab_public_key": str(paths.lab_key().with_suffix(".pub")),
                },
                progress=lambda text: self._tell("step", name, text),
                timeout=60 * 60,
                cancel=self._cancel,
                error=BuildError,
            )
            duration = time.monotonic() - self._began[name]
            artifacts.publish(
                name, made_of, folder / "out", outputs=recipe.outputs, inputs=described, duration=duration
            )
        self._done.add(name)
        self._tell("done", name, f"built in {format_duration(duration)}")

    def _need(self, name: str) -> Artifact:
        found = self._making.find(name)
        if found is None:
            raise BuildError(
                f"{name} vanished while it was needed", where=str(paths.artifacts()), remedy="Run this again."
            )
        return found


def _inside(step: str) -> dict[str, str]:
    role, _, tasks = step.partition(":")
    return {"role": role, "tasks": tasks or "main"}
