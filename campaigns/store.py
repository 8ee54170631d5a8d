"""Where campaigns are stored, so that nothing is ever lost or half there (layout:
campaigns/records.py).

A campaign and each of its cells are directories that are written whole or not at all: under a
temporary name on the same file system, every file and directory synced, then renamed. What has its
final name is never changed. An attempt that failed becomes `attempts/<cell>.<n>`; a cell that is
deliberately rerun moves there when its successor is ready. One runner at a time holds the
campaign's lock; what a runner that died left under a temporary name is removed by the next one.
"""

from __future__ import annotations

import csv
import errno
import io
import itertools
import os
import re
import shutil
import stat
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from campaigns import records
from campaigns.looks import Look
from campaigns.records import CampaignRecord, CellRecord
from common import files, processes
from common.errors import MissingError, ResultsError, UsageError
from common.text import hint
from lab.api import Sample

RESULTS = Path(__file__).resolve().parent.parent / "results"

_LOCK_FILE = ".lock"
_ATTEMPTS = itertools.count(1)
_TEMPORARY = re.compile(r"\.tmp-(\d+)-(\d+)-.+")


class CellWriter:
    """A cell being written: fill `raw` and call write_samples, then the store's commit or
    abandon.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.raw = directory / records.RAW_DIR

    def write_samples(self, samples: Iterable[Sample], released_at: float) -> None:
        """samples/samples.csv, times in seconds relative to the barrier's release."""
        path = self.directory / records.SAMPLES_FILE
        path.parent.mkdir(parents=True, exist_ok=True)
        with storing(path):
            path.write_text(samples_text(samples, released_at), encoding="utf-8")

    def set_aside(self, name: str) -> None:
        """Keep what lies in a folder of raw by now as `NAME.late`. Who writes there still, past a
        limit, writes to files that no path leads to any more, so that no sum is of half a file.
        """
        folder, gone = self.raw / name, self.directory / f".late-{name}"
        with storing(folder):
            if folder.is_dir():
                folder.rename(gone)
                shutil.copytree(gone, self.raw / f"{name}.late")
                shutil.rmtree(gone)

    def write_json(self, name: str, value: object) -> None:
        """A JSON file of the cell."""
        path = self.directory / name
        with storing(path):
            path.write_text(records.dumps(value), encoding="utf-8")


def samples_text(samples: Iterable[Sample], released_at: float) -> str:
    """samples.csv of readings, times in seconds relative to the barrier's release."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(records.SAMPLE_COLUMNS)
    writer.writerows(
        (f"{s.time - released_at:.3f}", s.source, s.counter, s.unit, "" if s.value is None else s.value)
        for s in samples
    )
    return file.getvalue()


class Sealer:
    """Writes cells of a campaign for the process that holds its lock, which gives them their names
    (CampaignStore.admit). In a directory on the same file system.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def begin(self, cell: str) -> CellWriter:
        """A temporary directory of this process for a cell."""
        return _begin(self.directory, cell)

    def commit(self, writer: CellWriter, record: CellRecord, env: Mapping[str, object]) -> Path:
        """Write the rest of a cell, durably; its directory."""
        seal(writer, record, env)
        return writer.directory

    def abandon(self, writer: CellWriter) -> None:
        """Forget a cell that is being written."""
        shutil.rmtree(writer.directory, ignore_errors=True)


def _begin(parent: Path, cell: str) -> CellWriter:
    # Each attempt has a folder of its own: a thread of the one before may still be writing.
    directory = unfinished(parent, f"{next(_ATTEMPTS)}-{cell}")
    with storing(directory):
        shutil.rmtree(directory, ignore_errors=True)
        (directory / records.RAW_DIR).mkdir(parents=True)
    return CellWriter(directory)


def seal(writer: CellWriter, record: CellRecord, env: Mapping[str, object]) -> None:
    """Write the rest of a cell, with its sums, durably: all that is left is to give it its name."""
    writer.write_json(records.CELL_FILE, record)
    writer.write_json(records.ENV_FILE, env)
    with storing(writer.directory):
        write_sums(writer.directory)
        sync_tree(writer.directory)


class CampaignStore:
    """One campaign's directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    @property
    def name(self) -> str:
        """The campaign's name: its directory's."""
        return self.directory.name

    def record(self, *, whole: bool = False) -> CampaignRecord:
        """campaign.json, with the cells that are wanted now; whole: with all of the plan."""
        return records.read_campaign(self.directory, whole=whole)

    def looks(self) -> list[Look]:
        """The looks that were taken, where the data chooses the sample size."""
        return records.read_looks(self.directory)

    def cells(self) -> dict[str, CellRecord]:
        """Cell id -> record, of the cells that ran to their end (complete or invalid)."""
        return {cell.cell: cell for cell in records.read_cells(self.directory)}

    def legible(self) -> tuple[dict[str, CellRecord], dict[str, ResultsError]]:
        """The same of those whose records can be read, and what is wrong with the others."""
        found: dict[str, CellRecord] = {}
        damaged: dict[str, ResultsError] = {}
        for directory in records.cell_directories(self.directory):
            try:
                cell = records.read_cell(directory)
            except ResultsError as error:
                damaged[directory.name] = error
            else:
                found[cell.cell] = cell
        return found, damaged

    def attempts(self) -> dict[str, list[CellRecord]]:
        """Cell id -> records of the attempts that do not count, oldest first."""
        found: dict[str, list[CellRecord]] = {}
        for attempt in records.read_attempts(self.directory):
            found.setdefault(attempt.cell, []).append(attempt)
        return found

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Be the campaign's one runner; remove what dead runners left. UsageError when another
        runner lives.

        The lock is the kernel's (flock), so it ends with its process, however that ends.
        """
        try:
            with storing(self.directory):
                held = files.lock(self.directory / _LOCK_FILE, wait=False)
        except files.LockedError as error:
            raise UsageError(
                f"campaign {self.name!r} is already being run"
                + (f" by process {error.holder}" if error.holder else ""),
                where=str(self.directory),
                remedy="wait for it, stop it, or run under another name with --campaign NAME",
            ) from None
        with held:
            _remove_leftovers(self.directory)
            self._forget_unborn()
            yield

    def begin(self, cell: str) -> CellWriter:
        """A temporary directory for a cell. The caller holds the lock."""
        return _begin(self.directory, cell)

    def commit(self, writer: CellWriter, record: CellRecord, env: Mapping[str, object]) -> Path:
        """Store the cell under its final name, or the failed attempt in attempts/; the path. All or
        nothing, also when the disk is full.

        A cell that is already there and was rerun on purpose moves to attempts/ first: should the
        power fail between the two renames, the cell is missing and is run again, and the older
        record is still in attempts/.
        """
        try:
            seal(writer, record, env)
            return self.admit(writer.directory, record)
        except BaseException:
            self.abandon(writer)
            raise

    def admit(self, directory: Path, record: CellRecord) -> Path:
        """Give a sealed directory of this campaign its final name; the path. The caller holds the
        lock.
        """
        parent = self.directory / (records.ATTEMPTS_DIR if record.status == "failed" else records.CELLS_DIR)
        with storing(parent):
            parent.mkdir(exist_ok=True)
            target = parent / record.cell
            if record.status == "failed":
                target = self._next_attempt(record.cell)
            elif target.exists():
                self._retire(target)
            self._publish(directory, target)
        return target

    def abandon(self, writer: CellWriter) -> None:
        """Forget a cell that is being written."""
        shutil.rmtree(writer.directory, ignore_errors=True)

    def add_look(self, look: Look) -> None:
        """Store the next look. All or nothing, as of a cell. The caller holds the lock."""
        name = f"{records.LOOKS_DIR}/{len(self.looks()) + 1}.json"
        temporary = unfinished(self.directory, records.LOOKS_DIR)
        with storing(self.directory):
            (self.directory / records.LOOKS_DIR).mkdir(exist_ok=True)
            try:
                temporary.write_text(records.dumps(look), encoding="utf-8")
                files.sync(temporary)
                listed = read_sums(self.directory / records.SUMS_FILE)
                replace_sums(self.directory, listed | {name: files.digest(temporary)})
                temporary.rename(self.directory / name)
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise
            files.sync(self.directory / records.LOOKS_DIR)

    def tidy(self) -> None:
        """Remove what dead processes were writing. The caller holds the lock."""
        _remove_leftovers(self.directory)

    def _next_attempt(self, cell: str) -> Path:
        parent = self.directory / records.ATTEMPTS_DIR
        numbers = [number for name, number in map(records.attempt_number, _names(parent)) if name == cell]
        return parent / f"{cell}.{max(numbers, default=0) + 1}"

    def _retire(self, target: Path) -> None:
        (self.directory / records.ATTEMPTS_DIR).mkdir(exist_ok=True)
        self._publish(target, self._next_attempt(target.name))

    def _publish(self, source: Path, target: Path) -> None:
        """Enter a directory's sums into the campaign's, then give it its name: whoever dies in
        between leaves an entry without a directory.
        """
        listed = read_sums(self.directory / records.SUMS_FILE)
        listed[_sums_of(target, self.directory)] = files.digest(source / records.SUMS_FILE)
        replace_sums(self.directory, listed)
        publish(source, target)

    def _forget_unborn(self) -> None:
        """Remove entries of directories that never got their name, or have lost it. The caller
        holds the lock.
        """
        with storing(self.directory):
            listed = read_sums(self.directory / records.SUMS_FILE)
            kept = {name: value for name, value in listed.items() if (self.directory / name).is_file()}
            if kept != listed:
                replace_sums(self.directory, kept)


def create(results: Path, record: CampaignRecord) -> CampaignStore:
    """Create the directory of a campaign with its campaign.json. ResultsError when a campaign of
    that name is there.
    """
    with storing(results):
        results.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(results)
    temporary = unfinished(results, record.campaign)
    target = results / record.campaign
    try:
        with storing(temporary):
            shutil.rmtree(temporary, ignore_errors=True)
            temporary.mkdir()
            for name in (records.CELLS_DIR, records.ATTEMPTS_DIR):
                (temporary / name).mkdir()
            (temporary / records.CAMPAIGN_FILE).write_text(records.dumps(record), encoding="utf-8")
            write_sums(temporary)
            sync_tree(temporary)
            publish(temporary, target)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    return CampaignStore(target)


def find(results: Path, campaign: str) -> CampaignStore | None:
    """The campaign of that name, None when there is none."""
    directory = results / campaign
    return CampaignStore(directory) if (directory / records.CAMPAIGN_FILE).is_file() else None


def names(results: Path) -> list[str]:
    """The campaigns that are there, by name."""
    return [path.name for path in sorted(results.iterdir()) if find(results, path.name)] if results.is_dir() else []


def get(results: Path, campaign: str) -> CampaignStore:
    """The campaign of that name. UsageError, with a suggestion, when there is none."""
    if (found := find(results, campaign)) is not None:
        return found
    raise _unknown(results, campaign)


def directory(results: Path, campaign: str) -> Path:
    """Where a campaign is, or what is left of one. UsageError, with a suggestion, when there is
    nothing of that name.
    """
    if campaign.strip("./") and (results / campaign).is_dir():
        return results / campaign
    raise _unknown(results, campaign)


def _unknown(results: Path, campaign: str) -> UsageError:
    known = names(results)
    remedy = hint(campaign, known) if known else "run one first: ./inv campaign.run demo"
    return UsageError(f"there is no campaign {campaign!r}", where=str(results), remedy=remedy)


def publish(source: Path, target: Path) -> None:
    """Rename a synced directory to a name that must be free, durably. ResultsError when it is
    not: results are never overwritten.
    """
    try:
        source.rename(target)  # an empty directory is no result, and rename(2) replaces it
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
            raise ResultsError(
                f"{target.name!r} is already there, and results are never overwritten",
                where=str(target),
                remedy="move it away, or choose another name (--campaign NAME)",
            ) from None
        raise
    files.sync(target.parent)
    if source.parent != target.parent and source.parent.is_dir():
        files.sync(source.parent)


def write_sums(directory: Path) -> None:
    """SHA256SUMS over every file of a directory, in the format of sha256sum(1)."""
    lines = [f"{files.digest(f'{directory}/{name}')}  {name}\n" for name in files_of(directory)]
    (directory / records.SUMS_FILE).write_text("".join(lines), encoding="utf-8")


def read_sums(path: Path) -> dict[str, str]:
    """Name -> SHA-256, from a file as sha256sum(1) writes it; nothing from one that is not
    there. What is no text in it names no file.
    """
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else []
    return {name: value for value, _, name in (line.partition("  ") for line in lines)}


def _sums_of(target: Path, campaign: Path) -> str:
    return (target / records.SUMS_FILE).relative_to(campaign).as_posix()


def replace_sums(directory: Path, listed: Mapping[str, str]) -> None:
    """Write a campaign's sums, whole or not at all, and durably."""
    temporary = unfinished(directory, records.SUMS_FILE)
    try:
        temporary.write_text("".join(f"{listed[name]}  {name}\n" for name in sorted(listed)), encoding="utf-8")
        files.sync(temporary)
        temporary.replace(directory / records.SUMS_FILE)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    files.sync(directory)


def files_of(directory: Path) -> list[str]:
    """Every file below a directory but its SHA256SUMS, by its path from there, sorted.
    ResultsError for links and names that the sums cannot hold.
    """
    found = []
    for folder, folders, plain in os.walk(directory):
        below = os.path.relpath(folder, directory)
        for name in (*folders, *plain):
            path = name if below == "." else f"{below}/{name}"
            mode = os.lstat(f"{directory}/{path}").st_mode
            if not (stat.S_ISDIR(mode) or stat.S_ISREG(mode)) or "\n" in name or "\\" in name:
                raise ResultsError("results hold plain files with plain names only", where=f"{directory}/{path}")
            if stat.S_ISREG(mode) and path != records.SUMS_FILE:
                found.append(path)
    return sorted(found, key=lambda path: path.split("/"))


def sync_tree(directory: Path) -> None:
    """Sync every file and directory of a tree, the directories last."""
    for path in sorted(directory.rglob("*"), key=lambda path: (path.is_dir(), -len(path.parts))):
        files.sync(path)
    files.sync(directory)


@contextmanager
def storing(where: Path) -> Iterator[None]:
    """Turn the errors of a full or read-only file system into one that says what to do; others
    pass.
    """
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            free = _free_space(where)
            raise MissingError(
                "no space left to store results",
                where=str(where),
                why=free,
                remedy=(
                    "free some space and run the same command again; it goes "
                    "on from what is complete, and nothing half-written is kept"
                ),
            ) from None
        if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
            raise MissingError(
                "results cannot be written here", where=str(where), why=error.strerror or str(error)
            ) from None
        raise


def _free_space(where: Path) -> str:
    for directory in (where, *where.parents):
        with suppress(OSError):
            return f"{shutil.disk_usage(directory).free / 2**20:.0f} MiB are free on the file system of {directory}"
    return ""


def _names(directory: Path) -> list[str]:
    return [path.name for path in directory.iterdir() if path.is_dir()] if directory.is_dir() else []


def unfinished(parent: Path, name: str) -> Path:
    """A path of this process in a campaign's directory, which the next run removes when the process
    is gone.
    """
    return parent / f".tmp-{os.getpid()}-{processes.start_time(os.getpid())}-{name}"


def living(directory: Path, name: str) -> list[Path]:
    """The paths of that name whose process is there."""
    found = [(path, _TEMPORARY.fullmatch(path.name)) for path in directory.glob(f".tmp-*-{name}")]
    return [path for path, match in found if match and processes.start_time(int(match[1])) == int(match[2])]


def remove_of(directory: Path, process: int) -> None:
    """Remove what a process of ours that has ended was writing."""
    for path in directory.glob(f".tmp-{process}-*"):
        _remove(path)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _remove_leftovers(directory: Path) -> None:
    """Remove what dead runners were writing; a number that another process has by now does not
    protect it.
    """
    for path in list(directory.iterdir()) if directory.is_dir() else ():
        match = _TEMPORARY.fullmatch(path.name)
        if match and processes.start_time(int(match[1])) != int(match[2]):
            _remove(path)
