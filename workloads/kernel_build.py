"""Kernel build: compile a fixed list of Linux objects, the load of the published tmem experiments.

The tree is prepared before the clock (configuration, generated headers, host programs), so a round
is one `make` of the targets. Objects are deterministic: their SHA-256 is the same under every
memory policy, or a page was corrupted.

Whenever Linux's make starts, it asks the compiler some forty times which options it knows: of the
389 programs that a build of two objects starts, 320 are such probes, and 41 of 43 are compilers.
`probes: once` asks while preparing, which leaves the objects and their compilers as they are.

Native cost (2 cores, Linux 5.10.223, tinyconfig, gcc 14): the default targets 4.6 s user and 0.85 s
system, of which `make` itself 0.6 s and 0.25 s. They read 73 MiB of files (cc1 alone 33, other
programs and libraries 22, sources 9, the build folder 9), and a compiler process grows to 98 MiB:
that is what guests fight for.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from common.errors import OutputsError, WorkloadError
from common.machines import Machine, tail
from common.metrics import MetricSpec, total
from workloads import complaints, machines, scripts
from workloads.base import Workload, WorkloadParameters, WorkloadResult, parameter

STAMP = ".prepared-config"
"""In the build folder: the configuration it was prepared for. Whoever prepares a tree (the guest
image does) writes it last.
"""

VARIABLES = ".make-variables"
"""In the build folder: shell text with what make exports to its parts, the compiler's answers
among it. Written before the stamp.
"""

_TARGETS = ".targets.mk"

_NO_OBJECTS = "objects.err"
"""Among the raw outputs, when the objects could not be read: why."""

WHAT = "the kernel build"
"""What errors call it."""

_DIRECTORY_SECONDS = {"mm/": 26, "kernel/": 40, "lib/": 19, "fs/": 23}
_OTHER_DIRECTORY_SECONDS = 20
_VMLINUX_SECONDS = 150
_OBJECT_SECONDS = 0.55
_MAKE_SECONDS = {"each": 2.0, "once": 1.2}
"""Native seconds of one job on tinyconfig, for expected_seconds only."""

Target = Annotated[str, Field(pattern=r"^(vmlinux|[A-Za-z0-9_][A-Za-z0-9_-]*(/[A-Za-z0-9_][A-Za-z0-9_-]*)*(/|\.o))$")]
"""An object (`mm/vmscan.o`), a directory with everything below it (`mm/`), or the whole kernel
(`vmlinux`).
"""


class KernelBuildParameters(WorkloadParameters):
    """What is built, and how."""

    config: Annotated[str, Field(pattern=r"^[a-z0-9_]+config$")] = parameter(
        "tinyconfig",
        "make target that configures the tree; the guest image has "
        "tinyconfig prepared, others take minutes before the clock",
    )
    targets: Annotated[tuple[Target, ...], Field(strict=False, min_length=1)] = parameter(
        (
            "mm/vmscan.o",
            "kernel/fork.o",
            "fs/dcache.o",
            "lib/vsprintf.o",
            "mm/rmap.o",
            "kernel/exit.o",
            "fs/inode.o",
            "lib/radix-tree.o",
        ),
        "objects (mm/vmscan.o), directories (mm/), or vmlinux",
    )
    jobs: int = parameter(2, "compilers at the same time (make -j)", unit="processes", ge=1, le=1024)
    ladder: Annotated[tuple[Annotated[int, Field(ge=1, le=1024)], ...], Field(strict=False)] = parameter(
        (), "numbers of jobs, one after the other, each with all rounds, as kernbench does it; in place of jobs"
    )
    rounds: int = parameter(1, "builds in a row, each from clean", unit="count", ge=1, le=1000)
    warm_up: int = parameter(
        0, "builds before the first round that no metric counts, as kernbench does it", unit="count", ge=0, le=100
    )
    reset_each_round: bool = parameter(
        False,
        "before each round, inside the timed part but not in its figures: write dirty pages, empty the swap device, "
        "drop the file caches. With cleancache on, dropped pages go to tmem",
    )
    clean: Literal["objects", "tree"] = parameter(
        "objects",
        "what goes before each round. objects: exactly what the targets "
        "make. tree: every compiled file. `make clean` itself is not used: it "
        "reads every Makefile, and fails on Debian's source, which lacks some",
    )
    probes: Literal["each", "once"] = parameter(
        "each",
        "when make asks the compiler what it knows. each: in every build, "
        "as the published builds did. once: while preparing; a build then "
        "starts with what make had found",
    )
    reset_memory: bool = parameter(True, scripts.RESET_MEMORY_DOC)
    source: Annotated[str, Field(pattern=r"^/[\w./+-]+$")] = parameter("/usr/src/linux", "folder of the Linux source")
    build: Annotated[str, Field(pattern=r"^/[\w./+-]+$")] = parameter(
        "/var/lib/overcommit/build", "folder of the build (make O=)"
    )

    @model_validator(mode="after")
    def _consistent(self) -> KernelBuildParameters:
        folders = [target for target in self.targets if target.endswith("/")]
        for index, target in enumerate(self.targets):
            if target in self.targets[:index]:
                raise ValueError(f"target {target!r} is there twice")
            for folder in folders:
                if target != folder and target.startswith(folder):
                    raise ValueError(f"target {target!r} is part of target {folder!r}; leave one of them out")
        if len(set(self.ladder)) != len(self.ladder):
            raise ValueError("a number of jobs is in the ladder twice: its figures have its name")
        if "vmlinux" in self.targets and (len(self.targets) > 1 or self.clean != "tree"):
            raise ValueError("the target vmlinux stands alone, and needs clean: tree")
        if "vmlinux" in self.targets and self.probes == "once":
            raise ValueError(
                "the target vmlinux needs probes: each, since it is linked by what probes: once leaves out"
            )
        return self

    @property
    def rungs(self) -> tuple[int, ...]:
        """Numbers of jobs, in their order."""
        return self.ladder or (self.jobs,)

    @property
    def labels(self) -> list[str]:
        """Of all rounds, in their order: those of the first number of jobs come first."""
        return [f"round{number}" for number in range(1, len(self.rungs) * self.rounds + 1)]

    @property
    def warming(self) -> list[str]:
        """Labels of the builds that no metric counts."""
        return [f"warmup{number}" for number in range(1, self.warm_up + 1)]


class KernelBuild(Workload[KernelBuildParameters]):
    """Compile Linux objects with gcc: page cache for sources and compiler, anonymous memory for
    each compiler process.
    """

    name = "kernel_build"
    Parameters = KernelBuildParameters
    metrics = (
        MetricSpec(
            "wall_seconds",
            "s",
            "lower",
            "wall clock of all rounds' make, by the machine's clock; cleaning and the last sync left out",
        ),
        MetricSpec("wall_seconds.round<n>", "s", "lower", "wall clock of one round's make"),
        MetricSpec("user_seconds", "s", "lower", "user time of make and all that it started, all rounds"),
        MetricSpec("user_seconds.round<n>", "s", "lower", "user time of one round"),
        MetricSpec("system_seconds", "s", "lower", "system time of make and all that it started, all rounds"),
        MetricSpec("system_seconds.round<n>", "s", "lower", "system time of one round"),
        *(
            MetricSpec(f"{kind}_seconds.jobs<n>", "s", "lower", f"{kind} of a round, mean of those with so many jobs")
            for kind in ("wall", "user", "system")
        ),
        MetricSpec(
            "sync_seconds",
            "s",
            "lower",
            "wall clock of the sync that ends the run, so that every sector written is counted",
        ),
        MetricSpec("objects", "count", "neither", "object files that every round built"),
        MetricSpec("object_bytes", "B", "neither", "size of these object files together"),
    )

    def prepare(self, machine: Machine, params: KernelBuildParameters) -> dict[str, str]:
        """Check the tree, configure it if it was prepared for another configuration, remove the
        targets' objects, reset memory.

        Facts: linux_version (of the source tarball), config, config_sha256, prepared ("before" or
        "now"), compiler, make.
        """
        script = scripts.prepare(_preparation(params), reset_memory=params.reset_memory)
        return machines.key_values(
            machines.check_script(machine, script, what="prepare the kernel build", timeout_s=3600)
        )

    def script(self, params: KernelBuildParameters) -> str:
        """One `make` a round, all targets at once."""
        found = (VARIABLES, _TARGETS) if params.probes == "once" else ("", "")
        jobs = " ".join(map(str, params.rungs))
        how = (params.source, params.build, jobs, params.rounds, params.warm_up, params.clean)
        body = scripts.text("kernel-build-rounds.sh", *how, *found, *params.targets)
        before = scripts.reset_function() if params.reset_each_round else "reset_memory() { :; }\n"
        return scripts.timed(_shared() + before + body)

    def collect(self, machine: Machine, params: KernelBuildParameters, raw_dir: Path) -> WorkloadResult:
        """Times of the rounds, and size and SHA-256 of every object that the last round left."""
        machines.fetch_raw(machine, raw_dir, first=_list_objects(params), timeout_s=1800)
        _times(scripts.read_timings(raw_dir, WHAT), params, raw_dir)  # a build that failed leaves no objects
        if (complaint := raw_dir / _NO_OBJECTS).exists():
            why = tail(complaint.read_text(errors="replace"))
            raise WorkloadError("could not read the objects", where=machines.name_of(machine), why=why)
        return self.read(params, raw_dir)

    def read(self, params: KernelBuildParameters, raw_dir: Path) -> WorkloadResult:
        """The same from what was copied: `timings`, the log of each round, and `objects`, the
        sizes and digests.
        """
        values = _times(scripts.read_timings(raw_dir, WHAT), params, raw_dir)
        for label in (*params.warming, *params.labels, "sync"):
            for name in (f"{label}.err", f"{label}.out"):
                _require_no_complaints(raw_dir / name)
        sizes, checksums = read_objects(machines.raw_text(raw_dir, "objects"), params, raw_dir / "objects")
        values["objects"] = len(sizes)
        values["object_bytes"] = total(sizes)
        return WorkloadResult(self.measured(values), checksums)

    def told(self, raw_dir: Path) -> dict[str, object]:
        """Rounds and targets: as many rounds as were timed, and each object that was listed."""
        timings, objects = raw_dir / "timings", raw_dir / "objects"
        found: dict[str, object] = {}
        if timings.is_file() and (
            rounds := re.findall(r"^round\d+ ", timings.read_text(errors="replace"), re.MULTILINE)
        ):
            found["rounds"] = len(rounds)
            found["warm_up"] = len(re.findall(r"^warmup\d+ ", timings.read_text(errors="replace"), re.MULTILINE))
        if objects.is_file() and (
            paths := re.findall(r"^\d+ (\S+\.o)$", objects.read_text(errors="replace"), re.MULTILINE)
        ):
            found["targets"] = sorted(set(paths))
        return found

    def expected_seconds(self, params: KernelBuildParameters, slowdown: float) -> float:
        """From what single objects and whole directories cost on tinyconfig; other
        configurations build more and take longer.
        """
        seconds = _MAKE_SECONDS[params.probes]
        for target in params.targets:
            if target == "vmlinux":
                seconds += _VMLINUX_SECONDS
            elif target.endswith("/"):
                seconds += _DIRECTORY_SECONDS.get(target, _OTHER_DIRECTORY_SECONDS)
            else:
                seconds += _OBJECT_SECONDS
        return seconds * (params.rounds * len(params.rungs) + params.warm_up) * slowdown


def read_objects(listing: str, params: KernelBuildParameters, where: Path) -> tuple[list[int], dict[str, str]]:
    """Sizes and checksums from lines `size path` and `sha256  path`. WorkloadError when an
    object is missing, empty, or there twice.
    """
    sizes: dict[str, int] = {}
    checksums: dict[str, str] = {}
    for line in filter(str.strip, listing.splitlines()):
        match = re.fullmatch(r"(?:(?P<digest>[0-9a-f]{64})  |(?P<size>\d{1,18}) )(?P<path>\S+)", line)
        if match is None or match["path"] in (sizes if match["size"] else checksums):
            why = f"{'cut short' if match is None else 'there twice'}: {line[:200]}"
            raise OutputsError("a line of the list of objects cannot be understood", where=str(where), why=why)
        if match["size"]:
            sizes[match["path"]] = int(match["size"])
        else:
            checksums[match["path"]] = match["digest"]
    missing = [target for target in params.targets if target.endswith(".o") and not sizes.get(target)]
    missing += [path for path, size in sizes.items() if not size and path not in missing]
    missing += [f"the checksum of {path}" for path in sizes if path not in checksums and path not in missing]
    missing += [f"the size of {path}" for path in checksums if path not in sizes]
    if missing or not sizes:
        raise WorkloadError(
            "the build succeeded, but its objects are not all there",
            where=str(where),
            why=f"missing or empty: {', '.join(missing) or 'everything'}",
        )
    return [sizes[path] for path in sorted(sizes)], dict(sorted(checksums.items()))


def _require_no_complaints(path: Path) -> None:
    """A make that goes on after an error, or whose status was lost, says so in its log alone."""
    complaints.require_none(path, WHAT)
    if path.is_file():
        text = path.read_text(encoding="utf-8", errors="replace")
        if said := [
            line
            for line in text.splitlines()
            if re.match(
                r"(?:g?make(?:\[\d+\])?|ninja): (?:\*\*\*|.* not remade because|warning: jobserver unavailable|"
                r"warning:  ?Clock skew detected)",
                line,
            )
        ]:
            raise WorkloadError(f"{WHAT} failed", where=str(path), why=tail("\n".join(said)))


def _times(
    timings: Iterable[scripts.Timing], params: KernelBuildParameters, raw_dir: Path
) -> dict[str, float | int | None]:
    by_label = {timing.label: timing for timing in timings}
    wanted = params.labels
    if missing := [label for label in (*params.warming, *wanted, "sync") if label not in by_label]:
        raise OutputsError(
            "the kernel build did not run to its end",
            where=str(raw_dir / "timings"),
            why=f"not in its timings: {', '.join(missing)}",
        )
    if others := [label for label in by_label if label not in (*params.warming, *wanted, "sync")]:
        raise OutputsError(
            f"the timings are those of another build than one of {len(wanted)} rounds",
            where=str(raw_dir / "timings"),
            why=f"also in its timings: {', '.join(others)}",
            remedy="Say how many rounds there were.",
        )
    values: dict[str, float | int | None] = {}
    for name in ("wall_seconds", "user_seconds", "system_seconds"):
        each = [getattr(by_label[label], name) for label in wanted]
        values[name] = None if None in each else round(total(each), 2)
        values.update({f"{name}.{label}": value for label, value in zip(wanted, each, strict=True)})
        for index, jobs in enumerate(params.ladder):
            of = each[index * params.rounds : (index + 1) * params.rounds]
            values[f"{name}.jobs{jobs}"] = None if None in of else round(total(of) / params.rounds, 2)
    values["sync_seconds"] = by_label["sync"].wall_seconds
    return values


def _targets_makefile(params: KernelBuildParameters) -> str:
    """A makefile that builds each folder's targets by Linux's own scripts/Makefile.build, the
    folders side by side.
    """
    goals: dict[str, list[str]] = {}
    for target in params.targets:
        folder, _, name = target.rpartition("/")
        whole = ["need-builtin=1", "need-modorder=1"] if not name else []
        goals.setdefault(folder, []).extend(whole or [target])
    folders = " ".join(f"in/{folder}" for folder in goals)
    rules = "".join(
        f"in/{folder}:\n\t+$(MAKE) -f {params.source}/scripts/Makefile.build obj={folder} {' '.join(wanted)}\n"
        for folder, wanted in goals.items()
    )
    return f".PHONY: all {folders}\nall: {folders}\n{rules}"


def _shared() -> str:
    """Sh text that both scripts begin with."""
    return scripts.text("kernel-build-environment.sh") + scripts.text("kernel-build-clean.sh")


def _preparation(params: KernelBuildParameters) -> str:
    """Sh text: the tree configured, the compiler asked if that is to be once, no object left."""
    tree = (params.source, params.build)
    body = scripts.text("kernel-build-prepare.sh", *tree, params.config, params.jobs, STAMP, VARIABLES)
    if params.probes == "once":
        body += scripts.text("kernel-build-probe.sh", *tree, VARIABLES, _TARGETS, _targets_makefile(params))
    return _shared() + body + f"clean {shlex.join([params.build, params.clean, *params.targets])}\n"


def _list_objects(params: KernelBuildParameters) -> str:
    """Sh text that leaves `objects` among the raw outputs, or what spoke against it."""
    listing, complaint = f"{scripts.RAW}/objects", f"{scripts.RAW}/{_NO_OBJECTS}"
    made = f"sh -c {shlex.quote(objects_script(params))} > {listing} 2> {complaint}"
    return f"if {made}; then rm {complaint}; else rm {listing}; fi"


def objects_script(params: KernelBuildParameters) -> str:
    """Sh text that prints size and SHA-256 of every object of the targets, by path."""
    return scripts.text("kernel-build-objects.sh", params.build, *params.targets)
