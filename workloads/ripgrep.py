"""ripgrep, ten times for one word over a tree: with a tree larger than memory, each search reads
again what the one before has pushed out, unless something keeps it.

The guests' image has Linux's source, 175 MB in 13,000 files; natively a search of it takes 0.3 s.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Annotated

from pydantic import Field

from common.errors import OutputsError
from common.machines import Machine
from common.metrics import MetricSpec, whole
from common.needs import Needs
from workloads import complaints, machines, scripts
from workloads.base import Workload, WorkloadParameters, WorkloadResult, parameter

_STATS = re.compile(
    r"(?P<matches>\d{1,18}) matches\n\d{1,18} matched lines\n(?P<with>\d{1,18}) files contained matches\n"
    r"(?P<files>\d{1,18}) files searched\n\d{1,18} bytes printed\n(?P<bytes>\d{1,18}) bytes searched\n"
    r"\d{1,9}\.\d{6} seconds spent searching\n\d{1,9}\.\d{6} seconds\s*"
)


class RipgrepParameters(WorkloadParameters):
    """What is searched, for what, and how often."""

    tree: Annotated[str, Field(pattern=r"^/[\w./+-]+$")] = parameter("/usr/src/linux", "folder that is searched")
    word: Annotated[str, Field(min_length=1, max_length=200)] = parameter(
        "cleancache", "what is searched for, as it stands"
    )
    searches: int = parameter(10, "searches, one after the other", unit="count", ge=1, le=1000)
    threads: int = parameter(1, "threads that search", unit="threads", ge=1, le=1024)
    reset_memory: bool = parameter(True, scripts.RESET_MEMORY_DOC)


class Ripgrep(Workload[RipgrepParameters]):
    """Search a tree for a word, ten times: page cache that hurts when it is missing."""

    name = "ripgrep"
    Parameters = RipgrepParameters
    metrics = (
        MetricSpec("wall_seconds", "s", "lower", "wall clock of all searches"),
        MetricSpec("wall_seconds.search<n>", "s", "lower", "wall clock of one search; the first reads everything"),
        MetricSpec("user_seconds", "s", "lower", "user time of all searches"),
        MetricSpec("system_seconds", "s", "lower", "system time of all searches"),
        MetricSpec("matches", "count", "neither", "how often the word stands in the tree"),
        MetricSpec("files_searched", "count", "neither", "files of the tree"),
        MetricSpec("bytes_searched", "B", "neither", "bytes that a search looked at, of binary files not all"),
    )

    def needs(self, params: RipgrepParameters) -> Needs:  # noqa: ARG002  (the same for all)
        """The program; the tree is in every image."""
        return Needs(("ripgrep",))

    def prepare(self, machine: Machine, params: RipgrepParameters) -> dict[str, str]:
        """Memory alone. Facts: ripgrep (version)."""
        body = scripts.text("ripgrep-prepare.sh", params.tree)
        script = scripts.prepare(body, reset_memory=params.reset_memory)
        return machines.key_values(machines.check_script(machine, script, what="prepare ripgrep", timeout_s=600))

    def script(self, params: RipgrepParameters) -> str:
        """The searches; searchN.out has the files with their counts."""
        words = (params.searches, params.threads, params.word, params.tree)
        return scripts.timed(scripts.text("ripgrep-rounds.sh", *words))

    def collect(self, machine: Machine, params: RipgrepParameters, raw_dir: Path) -> WorkloadResult:
        """Times and counts."""
        machines.fetch_raw(machine, raw_dir)
        return self.read(params, raw_dir)

    def read(self, params: RipgrepParameters, raw_dir: Path) -> WorkloadResult:
        """The times; and the counts, which have to be the same in every search: another was made
        of damaged pages, or of a tree that changed.
        """
        labels = [f"search{number}" for number in range(1, params.searches + 1)]
        timings = scripts.read_rungs(raw_dir, labels, "ripgrep")
        values: dict[str, float | int | None] = {}
        for name in ("wall_seconds", "user_seconds", "system_seconds"):
            each = [getattr(timing, name) for timing in timings]
            values[name] = None if None in each else round(whole(each), 2)
        values |= {f"wall_seconds.{timing.label}": timing.wall_seconds for timing in timings}
        found = []
        for label in labels:
            complaints.require_none(raw_dir / f"{label}.err", "ripgrep")
            found.append(_counts(machines.raw_text(raw_dir, f"{label}.out"), raw_dir / f"{label}.out"))
        if other := [label for label, each in zip(labels, found, strict=True) if each != found[0]]:
            raise OutputsError(
                "searches of the same tree found different things", where=str(raw_dir), why=f"search1 and {other[0]}"
            )
        listing, counts = found[0]
        digest = hashlib.sha256(listing.encode()).hexdigest()
        return WorkloadResult(self.measured(values | counts), {f"{params.word} in {params.tree}": digest})

    def told(self, raw_dir: Path) -> dict[str, object]:
        """How many searches there were."""
        found = scripts.labels(raw_dir, r"search\d{1,4}")
        return {"searches": len(found)} if found else {}

    def expected_seconds(self, params: RipgrepParameters, slowdown: float) -> float:
        """Of Linux's source in the guests' image."""
        return 0.4 * params.searches * slowdown


def _counts(text: str, where: Path) -> tuple[str, dict[str, int]]:
    """The files that have the word, with how often, in order; and what was searched."""
    lines = text.splitlines(keepends=True)
    parted = next((index for index, line in enumerate(lines) if not line.strip()), 0)
    listing, stats = sorted(lines[:parted]), "".join(lines[parted:]).strip() + "\n"
    match = _STATS.fullmatch(stats)
    counted = [re.fullmatch(r"/.*:(\d{1,18})\n", line) for line in listing]
    matches = [int(each[1]) for each in counted if each is not None]
    if match is None or len(matches) != len(listing):
        raise _refused(where, stats[:500] or "it is empty")
    if whole(matches) != int(match["matches"]) or len(matches) != int(match["with"]) or not int(match["files"]):
        raise _refused(where, f"{whole(matches)} matches in {len(matches)} files are listed, others counted")
    counts = {"matches": whole(matches), "files_searched": int(match["files"]), "bytes_searched": int(match["bytes"])}
    return "".join(listing), counts


def _refused(where: Path, why: str) -> OutputsError:
    return OutputsError("ripgrep's output has another form than expected", where=str(where), why=why)
