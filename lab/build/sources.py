"""Where sources come from: the machine's own Debian mirror, verified by apt, fetched by SHA-256.

The mirror is the one that the machine's apt is configured with, or `build_debian_mirror` of
inventory/group_vars/all.yml where apt serves no Debian. Xen's version is whatever the suite's
signed Sources index names (apt's private state below the cache, so that signatures are verified);
Linux is pinned. An index can name a version that its pool does not hold (seen on the day of a point
release): then the newest that can be fetched is taken, the last resort being a version that is
pinned too, and what was passed over is recorded.
"""

from __future__ import annotations

import contextlib
import functools
import glob
import json
import os
import re
import subprocess
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from urllib.parse import unquote

from common import files
from common.errors import BuildError, MissingError
from common.processes import start_time
from lab import paths

KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
APT_HELPER = "/usr/lib/apt/apt-helper"
RESOLVE_EVERY = 24 * 3600.0
"""Seconds for which a resolved version is used without asking the mirror again."""

ASK_AGAIN_AFTER = 600.0
"""Seconds for which a mirror that did not answer is left alone: a single command asks several
times, and each takes as long as the mirror is silent.
"""

NOT_ASKED = "the mirror could not be asked"
"""In the note of a version that was chosen without an answer, for people; Resolved.unanswered tells
the program.
"""


@dataclass(frozen=True)
class Mirror:
    """Base addresses of Debian's archives. security is None where the machine is configured with
    none.
    """

    main: str
    security: str | None = None


@dataclass(frozen=True)
class Source:
    """A source archive: uris are alternatives in order. note: what a reader of the manifest should
    know of the choice.

    pinned: declared in the checkout, not read from an index.
    """

    name: str
    version: str
    file: str
    uris: tuple[str, ...]
    sha256: str
    note: str = ""
    pinned: bool = False


@dataclass(frozen=True)
class Resolved:
    """What the suite named at `at` (epoch seconds): candidates, newest first. lacking: versions
    that the pool turned out not to hold.

    unanswered: when the mirror was last asked in vain; 0 when it was not, since `at`.
    """

    at: float
    suite: str
    mirror: str
    candidates: tuple[Source, ...] = field(default_factory=tuple)
    lacking: tuple[str, ...] = ()
    unanswered: float = 0.0

    def choice(self) -> Source:
        """The newest candidate that the pool is not known to lack."""
        for source in self.candidates:
            if source.version not in self.lacking:
                passed = ", ".join(self.lacking)
                more = f"the index names {passed}, which the mirror's pool lacks" if passed else ""
                return replace(source, note="; ".join(note for note in (source.note, more) if note))
        raise BuildError("no version of the source package can be had", where=self.mirror)


class NotFetchedError(BuildError):
    """An archive could not be fetched from any of its addresses. gone: the mirror answered that it
    has no such file.
    """

    def __init__(self, source: Source, why: str, *, gone: bool) -> None:
        super().__init__(
            f"the source archive {source.file} could not be fetched",
            where="\n".join(source.uris),
            why=why,
            remedy="Check the network and the machine's apt sources (build_debian_mirror overrides them), "
            "or put the file, of "
            f"SHA-256 {source.sha256}, into {paths.downloads()}.",
        )
        self.gone = gone


def _run(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """The one seam to programs. MissingError when the program is not there."""
    try:
        return subprocess.run(
            list(command), capture_output=True, text=True, check=False, env={**os.environ, "LC_ALL": "C.UTF-8"}
        )
    except FileNotFoundError:
        raise MissingError(
            f"the program {command[0]} is missing",
            remedy="Debian's and Ubuntu's apt is needed to read Debian's signed indexes.",
        ) from None


def mirror(main: str | None = None, security: str | None = None) -> Mirror:
    """The Debian mirror: the given addresses, else those of the machine's apt. MissingError when
    apt knows of no Debian.
    """
    if main:
        return Mirror(main.rstrip("/"), security.rstrip("/") if security else None)
    rows = _run(
        ["apt-get", "indextargets", "--format", "$(SITE)|$(RELEASE)|$(ORIGIN)|$(LABEL)", "Created-By: Packages"]
    ).stdout
    found = parse_targets(rows, running_debian=_running_debian())
    if found is None:
        raise MissingError(
            "this machine's apt is configured with no Debian mirror",
            where=str(paths.BUILD_VARIABLES),
            remedy="Set build_debian_mirror there to the address of a Debian mirror (…/debian).",
        )
    return found


def parse_targets(rows: str, *, running_debian: bool) -> Mirror | None:
    """The mirror from apt's index targets, one `site|release|origin|label` a line.

    Before the first `apt-get update` apt knows neither origin nor label; on Debian the release's
    name then has to do.
    """
    main = security = None
    for row in rows.splitlines():
        site, release, origin, label = [*row.split("|"), "", "", ""][:4]
        if not re.match(r"(https?|ftp|file):", site):
            continue
        known = origin == "Debian" or (not origin and running_debian and "backports" not in release)
        if not known:
            continue
        if label == "Debian-Security" or release.endswith("-security"):
            security = security or site.rstrip("/")
        elif label in {"Debian", ""}:
            main = main or site.rstrip("/")
    return Mirror(main, security) if main else None


def _running_debian() -> bool:
    try:
        return re.search(r"^ID=\"?debian\"?$", Path("/etc/os-release").read_text(), re.MULTILINE) is not None
    except OSError:
        return False


def pinned(name: str, version: str, sha256: str, at: Mirror, note: str = "") -> Source:
    """A source of a fixed version: in the main archive's pool, else in the security archive's."""
    file = f"{name}_{version}.orig.tar.xz"
    pool = f"{name[0]}/{name}"
    uris = [f"{at.main}/pool/main/{pool}/{file}"]
    if at.security:
        uris.append(f"{at.security}/pool/updates/main/{pool}/{file}")
    return Source(name, version, file, tuple(uris), sha256, note, pinned=True)


def resolve(name: str, suite: str, at: Mirror, *, fallback: Source | None = None) -> Resolved:
    """The versions of a source package in the suite and its updates, newest first; asked of the
    mirror at most once a day.

    fallback: a pinned version, the last candidate. With no network the last answer stands, however
    old, or the fallback alone.
    """
    last, now = _load(_record(name, suite)), time.time()
    if last and last.mirror == at.main:
        if 0 <= now - last.at < RESOLVE_EVERY:
            return _with_fallback(last, fallback)
        if 0 <= now - last.unanswered < ASK_AGAIN_AFTER and (last.candidates or fallback):
            return _unasked(last, fallback)
    try:
        resolved = Resolved(now, suite, at.main, _ask(name, suite, at))
    except BuildError:
        last = replace(last if last and last.candidates else Resolved(0.0, suite, at.main), unanswered=now)
        if not last.candidates and fallback is None:
            raise
        _save(name, last)
        return _unasked(last, fallback)
    _save(name, resolved)
    return _with_fallback(resolved, fallback)


def _unasked(last: Resolved, fallback: Source | None) -> Resolved:
    """The last answer, however old; where there is none the fallback alone."""
    if not last.candidates:
        return replace(
            last, candidates=tuple(replace(each, note=f"{each.note}; {NOT_ASKED}") for each in (fallback,) if each)
        )
    age = (time.time() - last.at) / 86400
    note = f"{NOT_ASKED}; this is what it named {age:.1f} days ago"
    noted = replace(last, candidates=tuple(replace(each, note=note) for each in last.candidates))
    return _with_fallback(noted, fallback)


def _with_fallback(resolved: Resolved, fallback: Source | None) -> Resolved:
    if fallback is None or any(each.sha256 == fallback.sha256 for each in resolved.candidates):
        return resolved
    return replace(resolved, candidates=(*resolved.candidates, fallback))


def _record(name: str, suite: str) -> Path:
    return paths.sources() / f"{name}-{suite}.json"


def _save(name: str, resolved: Resolved) -> None:
    """Remember what the index named. A pinned version is the checkout's to name, so it is left
    out.
    """
    record = _record(name, resolved.suite)
    resolved = replace(resolved, candidates=tuple(each for each in resolved.candidates if not each.pinned))
    files.replace(record, json.dumps(asdict(resolved), indent=1) + "\n")


def _load(record: Path) -> Resolved | None:
    try:
        data = json.loads(record.read_text())
        candidates = tuple(Source(**{**each, "uris": tuple(each["uris"])}) for each in data.pop("candidates"))
        return Resolved(**{**data, "lacking": tuple(data["lacking"])}, candidates=candidates)
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _ask(name: str, suite: str, at: Mirror) -> tuple[Source, ...]:
    """Read the signed indexes. Updates and security are optional archives: a mirror without them
    still serves.
    """
    if not KEYRING.exists():
        raise MissingError(f"{KEYRING} is missing", remedy="Install the package debian-archive-keyring.")
    main = [f"{at.main} {suite} main"]
    more = [f"{at.main} {suite}-updates main", *([f"{at.security} {suite}-security main"] if at.security else [])]
    state = paths.sources() / f"apt-{suite}"
    options = _private_apt(state)
    for lines in ([*main, *more], main):
        text = "".join(f"deb-src [signed-by={KEYRING}] {line}\n" for line in lines)
        (state / "sources.list").write_text(text)
        update = _run(["apt-get", *options, "-o", "APT::Update::Error-Mode=any", "update"])
        if update.returncode == 0:
            break
    else:
        raise BuildError(
            f"the suite's index of sources could not be read, and no earlier answer for {name} is known",
            where=f"{at.main} {suite}",
            why=update.stderr.strip(),
            remedy="Check the network and the machine's apt sources; build_debian_mirror overrides them.",
        )
    versions = re.findall(r"^Version: (\S+)$", _run(["apt-cache", *options, "showsrc", name]).stdout, re.MULTILINE)
    candidates: list[Source] = []
    for version in sorted(set(versions), key=functools.cmp_to_key(_compare), reverse=True):
        listed = _run(
            ["apt-get", *options, "-o", "Acquire::ForceHash=SHA256", "source", "--print-uris", f"{name}={version}"]
        )
        if (source := parse_uris(name, version, listed.stdout)) is not None:
            candidates.append(source)
    if not candidates:
        raise BuildError(f"the suite {suite} names no source package {name}", where=at.main)
    return tuple(candidates)


def _private_apt(state: Path) -> list[str]:
    """Options that keep apt's state below `state` and away from the machine's. The machine's
    proxies and credentials still count.
    """
    for folder in ("lists/partial", "cache/archives/partial"):
        (state / folder).mkdir(parents=True, exist_ok=True)
    (state / "status").touch()
    (state / "sources.list").touch()
    settings = {
        "Dir::Etc::sourcelist": state / "sources.list",
        "Dir::Etc::sourceparts": "-",
        "Dir::State": state,
        "Dir::State::status": state / "status",
        "Dir::Cache": state / "cache",
        "Acquire::Languages": "none",
        "Acquire::Retries": "2",
        "Acquire::http::Timeout": "10",
        "Acquire::https::Timeout": "10",
        "APT::Sandbox::User": "root",
    }
    return [word for name, value in settings.items() for word in ("-o", f"{name}={value}")]


def _compare(left: str, right: str) -> int:
    if left == right:
        return 0
    return -1 if _run(["dpkg", "--compare-versions", left, "lt", right]).returncode == 0 else 1


def parse_uris(name: str, version: str, text: str) -> Source | None:
    """The upstream archive among the lines of `apt-get source --print-uris`: 'uri' file size
    SHA256:digest.
    """
    for line in text.splitlines():
        match = re.fullmatch(r"'([^']+)' (\S+\.orig\.tar\.\w+) \d+ SHA256:([0-9a-f]{64})", line.strip())
        if match:
            return Source(name, version, unquote(match[2]), (match[1],), match[3])
    return None


def have(source: Source) -> Path | None:
    """The archive, if it was downloaded and is what it should be."""
    path = paths.downloads() / source.file
    return path if path.exists() and files.digest(path) == source.sha256 else None


def fetch(source: Source) -> Path:
    """The archive in downloads/, fetched and verified when it is not there. NotFetchedError when it
    cannot be had.
    """
    if (path := have(source)) is not None:
        with contextlib.suppress(OSError):  # of another user
            os.utime(path)  # for lab/prune.py: it is used
        return path
    target = paths.downloads() / source.file
    partial = target.with_name(f"{target.name}.{os.getpid()}.part")
    _remove_leftovers(target)
    why: list[str] = []
    gone = True
    try:
        for uri in source.uris:
            options = ["-o", "APT::Sandbox::User=root", "-o", "Acquire::Retries=2"]
            done = _run([APT_HELPER, *options, "download-file", uri, str(partial), f"SHA256:{source.sha256}"])
            if done.returncode == 0 and partial.exists() and files.digest(partial) == source.sha256:
                partial.replace(target)
                return target
            partial.unlink(missing_ok=True)
            message = (done.stdout + done.stderr).strip()
            gone = gone and re.search(r"\b404\b", message) is not None
            why.append("\n".join(message.splitlines()[-3:]) or "what came has another SHA-256")
    finally:
        partial.unlink(missing_ok=True)  # after an interruption, too
    raise NotFetchedError(source, "\n".join(why), gone=gone)


def _remove_leftovers(target: Path) -> None:
    """Parts of this archive whose downloads were killed: what nobody goes on with only takes
    space.
    """
    for part in target.parent.glob(f"{glob.escape(target.name)}.*.part*"):
        number = part.name.removeprefix(f"{target.name}.").partition(".")[0]
        if not number.isdigit() or start_time(int(number)) is None:
            part.unlink(missing_ok=True)


def fetch_newest(resolved: Resolved) -> tuple[Resolved, Path]:
    """The newest candidate that can be had: an answer that has it as its choice(), and its archive.

    What the index names but the pool does not hold is remembered until the index is read again, and
    goes into the source's note.
    """
    while True:
        source = resolved.choice()
        try:
            return resolved, fetch(source)
        except NotFetchedError as error:
            lacking = (*resolved.lacking, source.version)
            if not error.gone or len(lacking) == len(resolved.candidates):
                raise
            resolved = replace(resolved, lacking=lacking)
            if resolved.at:
                _save(source.name, resolved)
