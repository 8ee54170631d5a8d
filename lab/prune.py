"""What of the cache nobody needs, and removing it: artifacts, drives and snapshots, packed images
and source archives that no key of this checkout names, and what was left by who was killed.

Needed is what this checkout would build or fetch now, for every hypervisor, kernel and set of
workloads' packages. Of the rest, what a process uses stays, what was used lately, and what either
of these is made of. Nobody is waited for: locks say what is in use (builds, labs, artifacts), and
/proc does for what outlives its lock, such as the QEMU of a lab that is up.

A folder is renamed before it is removed, so that whatever interrupts this leaves none that could
be taken for whole; what it does leave has a name that the next run knows.
"""

from __future__ import annotations

import contextlib
import json
import re
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any, Literal

from common import files
from common.errors import LabError, UserError
from common.processes import start_time, users
from lab import lifecycle, paths
from lab.build import ansible, artifacts, builder
from lab.emulator.accelerator import boot_id

DAYS = 14
"""What was used within so many days stays, unless another number is asked for: another checkout may
have used it.
"""

REMOVED = ".removed-"
LEFT_OVER = (REMOVED, ".damaged-")
"""How the names of folders begin that were renamed to be removed, here and in artifacts.py."""

DAY_S = 24 * 3600.0

Kind = Literal["leftover", "drives", "server", "packed image", "artifact", "download"]

FIRST = frozenset[Kind]({"leftover", "drives", "server"})
"""What is removed before what it lies over."""


@dataclass(frozen=True)
class Entry:
    """Something that this checkout does not need. size: bytes of disk. why: it is not needed.
    stays: why it is kept all the same; empty when it is to go, or has gone. failed: it could not be
    removed, and stays says why.
    """

    kind: Kind
    path: Path
    size: int
    why: str
    stays: str = ""
    failed: bool = False


@dataclass(frozen=True)
class Pruned:
    """What was removed, or would be, and what stays though this checkout does not need it."""

    removed: list[Entry]
    kept: list[Entry]


def prune(days: float = DAYS, *, dry_run: bool = False) -> Pruned:
    """Remove what is not needed and was not used within so many days. dry_run: nothing, and tell
    what would be. BuildError while a build runs, but for a dry run.
    """
    if dry_run:
        return _sorted(survey(days))
    with artifacts.build_lock(None):
        found = [each for each in survey(days) if each.kind in FIRST]
        # They end what a killed build or run left working, before its folder goes.
        artifacts.remove_stale()
        ansible.remove_stale()
        ended = [each if each.stays else _removed(each) for each in found]
        # Looked at again: of drives that somebody has begun to use, the artifacts have to stay.
        found = [each for each in survey(days) if each.kind not in FIRST]
        return _sorted([*ended, *(each if each.stays else _removed(each) for each in found)])


def _sorted(entries: list[Entry]) -> Pruned:
    return Pruned([each for each in entries if not each.stays], [each for each in entries if each.stays])


def survey(days: float = DAYS) -> list[Entry]:
    """All that is not needed, whether it stays or not."""
    manifests = {path: _read(path / artifacts.MANIFEST) for path in _folders(paths.artifacts(), "*")}
    recipes = {path.name: _part(manifest, "recipe") for path, manifest in manifests.items()}
    needed, archives = builder.current(_texts(each.get("packages")) for each in recipes.values())
    recent = time.time() - days * DAY_S
    over = [*_drives(needed, recent), *_servers(needed, recent)]
    # What drives that stay lie over, and what artifacts that stay are made of.
    kept = {name: f"{each.path.name} lies over it" for each, names in over if each.stays for name in names}
    lasting = {path.name: _lasting(path, path / artifacts.MANIFEST, recent) for path in manifests}
    kept |= {name: why for name, why in lasting.items() if why and name not in needed}
    waiting = list(kept)
    while waiting:
        for part in _named(_part(recipes.get(name := waiting.pop(), {}), "requires")):
            if part not in kept:
                kept[part] = f"{name} is made of it"
                waiting.append(part)
    stale = [
        _entry("artifact", path, _OTHER_KEY, kept.get(path.name, "")) for path in manifests if path.name not in needed
    ]
    present = needed | kept.keys()
    unneeded = [each for each, _ in over if each.why]
    return [*_leftovers(), *unneeded, *_packed(present, recent), *stale, *_downloads(archives, recent)]


_OTHER_KEY = "no key of this checkout"


# --- what there is --------------------------------------------------------------------------------


def _drives(needed: set[str], recent: float) -> Iterator[tuple[Entry, list[str]]]:
    """Drives of emulated hosts with their snapshots, and the artifacts that they lie over. Needed
    ones have no `why`.
    """
    for folder in _folders(paths.cache() / "labs", "*/*/machine-*"):
        host = folder.parent
        data = _read(folder / "machine.json")
        names = _named(_part(_part(data, "spec"), "images"))
        of_use = False
        if not (folder / "machine.json").exists():
            why = "they were never whole"
        elif data.get("controller") not in {None, boot_id()}:
            why = "their snapshots are of before this machine was started, and nobody goes back to such"
        else:
            why = "" if names and needed.issuperset(names) else _OTHER_KEY
            of_use = True
        stays = "" if why else "needed"
        if (holder := lifecycle.holder(host.parent.name, host.name)) is not None:
            stays = stays or f"{_process(holder)} has the host {host.name} of lab {host.parent.name}"
        yield _entry("drives", folder, why, stays or _lasting(folder, None, recent if of_use else None)), names


def _servers(needed: set[str], recent: float) -> Iterator[tuple[Entry, list[str]]]:
    """The same of emulated servers."""
    for folder in _folders(paths.cache() / "servers", "*"):
        key = _read(folder / "made.json").get("key")
        name = artifacts.folder_name("server_image", key) if isinstance(key, str) else ""
        why = "" if name in needed else _OTHER_KEY if name else "its disks were never whole"
        stays = "" if why else "needed"
        if (holder := files.lock_holder(folder / "lock")) is not None:
            stays = stays or f"{_process(holder)} makes it"
        yield _entry("server", folder, why, stays or _lasting(folder, None, recent)), [name] if name else []


def _packed(present: set[str], recent: float) -> Iterator[Entry]:
    """Images that were packed for servers."""
    for path in sorted((paths.cache() / "packed").glob("*.qcow2")):
        if path.stem not in present:
            yield _entry("packed image", path, "its artifact is not needed", _lasting(path, None, recent))


def _downloads(archives: set[str], recent: float) -> Iterator[Entry]:
    for path in sorted(paths.downloads().iterdir()):
        if part := re.search(r"\.(\d+)\.part", path.name):
            if start_time(int(part[1])) is None:
                yield _entry("leftover", path, "its download was killed")
        elif path.name not in archives:
            yield _entry("download", path, "nothing is built from it", _lasting(path, None, recent))


def _leftovers() -> Iterator[Entry]:
    """What was left by who was killed, however lately."""
    for folder, pattern in (
        (paths.artifacts(), "{}*"),
        (paths.cache() / "labs", "*/*/{}*"),
        (paths.cache() / "servers", "{}*"),
    ):
        for path in (each for name in LEFT_OVER for each in sorted(folder.glob(pattern.format(name)))):
            yield _entry("leftover", path, "its removal was interrupted")
    tmp = paths.tmp()
    for lock in (*sorted(tmp.glob("build-*.lock")), *sorted((tmp / "ansible").glob("*/lock"))):
        if files.lock_holder(lock) is None:
            path = lock.parent if lock.name == "lock" else lock.with_suffix("")
            yield _entry("leftover", path, "its owner was killed")
    for path in _folders(tmp, "tmp*"):  # as tempfile names them: they live for seconds
        if stays := _lasting(path, None, time.time() - DAY_S):
            continue
        yield _entry("leftover", path, "its owner was killed", stays)


def _folders(folder: Path, pattern: str) -> list[Path]:
    """Those that match, without hidden ones."""
    return sorted(each for each in folder.glob(pattern) if each.is_dir() and not each.name.startswith("."))


def _entry(kind: Kind, path: Path, why: str, stays: str = "") -> Entry:
    return Entry(kind, path, files.taken(path), why, stays)


def _lasting(path: Path, kept_by: Path | None, recent: float | None) -> str:
    """Why something stays that is not needed: it is in use, or was lately. Empty when neither.

    kept_by: the file that whoever uses it keeps (common/files.py). recent: time before which it has
    to have been used last; None when no time of it counts.
    """
    if kept_by is not None:
        try:
            files.alone(kept_by).close()
        except files.LockedError:
            return "a process uses it"
        except OSError:  # it has none, so nobody takes it for whole
            pass
    if found := users(path):
        return f"{_process(found[0])} works there"
    try:
        status = path.stat()
    except OSError:
        return ""
    # What was fetched has the time of the server's file; when it came, the other time tells.
    used = max(status.st_mtime, status.st_ctime)
    if recent is not None and used >= recent:
        return f"used {max(0.0, time.time() - used) / DAY_S:.1f} days ago"
    return ""


def _process(pid: int) -> str:
    return f"process {pid}" if pid > 0 else "a process"


def _read(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return data if isinstance(data, dict) else {}


def _part(data: Mapping[str, Any], key: str) -> dict[str, Any]:
    part = data.get(key)
    return part if isinstance(part, dict) else {}


def _named(keys: Mapping[str, Any]) -> list[str]:
    """The folders of artifacts by their keys."""
    return [artifacts.folder_name(name, key) for name, key in keys.items() if isinstance(key, str)]


def _texts(value: object) -> tuple[str, ...]:
    return tuple(each for each in value if isinstance(each, str)) if isinstance(value, list) else ()


# --- its removal ----------------------------------------------------------------------------------


def _removed(entry: Entry) -> Entry:
    """Remove it: as it was, or with the reason why it stays."""
    path = entry.path
    try:
        with contextlib.ExitStack() as stack:
            if (lock := _LOCKS.get(entry.kind)) is not None:
                stack.enter_context(lock(path))
            if not path.exists():
                return entry  # with what its owner left working
            if found := users(path):  # since it was looked at
                return replace(entry, stays=f"{_process(found[0])} works there")
            if path.is_dir() and not path.name.startswith(LEFT_OVER):
                path = path.rename(path.with_name(f"{REMOVED}{uuid.uuid4().hex[:8]}"))
            if path.is_dir():
                artifacts.remove_tree(path)
            else:
                path.unlink(missing_ok=True)
    except (files.LockedError, LabError):
        return replace(entry, stays="a process has begun to use it")
    except (OSError, UserError) as error:
        why = " ".join(str(error).split())
        return replace(entry, stays=f"it could not be removed: {why}", failed=True)
    return entry


def _host_lock(folder: Path) -> contextlib.AbstractContextManager[object]:
    return lifecycle.locked(folder.parent.parent.name, folder.parent.name)


def _artifact_lock(folder: Path) -> contextlib.AbstractContextManager[object]:
    manifest = folder / artifacts.MANIFEST
    return files.alone(manifest) if manifest.exists() else contextlib.nullcontext()


def _lock_within(folder: Path) -> IO[str]:
    return files.lock(folder / "lock", wait=False)


def _lock_beside(path: Path) -> IO[str]:
    return files.lock(path.with_name("lock"), wait=False)


_LOCKS: dict[Kind, Callable[[Path], contextlib.AbstractContextManager[object]]] = {
    "drives": _host_lock,
    "server": _lock_within,
    "packed image": _lock_beside,
    "artifact": _artifact_lock,
}
