"""Sources: which mirror, which version, and what happens when the mirror does not have it or is
not there.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from common.errors import BuildError, MissingError
from lab import paths
from lab.build import sources
from lab.build.sources import Mirror, Source

AT = Mirror("http://mirror.invalid/debian", "http://mirror.invalid/debian-security")
OLD, NEW = "4.20.3+127-gc4-0+deb13u1", "4.20.4+63-g7a-0+deb13u1"
CONTENT = {OLD: b"old xen", NEW: b"new xen"}


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def uri_line(version: str) -> str:
    upstream = version.rsplit("-", 1)[0]
    file = f"xen_{upstream}.orig.tar.xz"
    uri = f"{AT.main}/pool/main/x/xen/{file.replace('+', '%2b')}"
    dsc = f"'{AT.main}/pool/main/x/xen/xen_{version}.dsc' xen_{version}.dsc 4054 SHA256:{'0' * 64}"
    return f"Need to get 5109 kB of source archives.\n{dsc}\n'{uri}' {file} 4964620 SHA256:{sha(CONTENT[version])}\n"


@dataclass
class Apt:
    """Stands for apt and the network: what the index names, what the pool holds, whether the
    mirror answers.
    """

    names: list[str] = field(default_factory=lambda: [OLD, NEW])
    holds: list[str] = field(default_factory=lambda: [OLD, NEW])
    online: bool = True
    updates: bool = True
    commands: list[list[str]] = field(default_factory=list)

    def __call__(self, command: Sequence[str]) -> subprocess.CompletedProcess[str]:
        words = list(command)
        self.commands.append(words)
        code, out, err = self._answer(words)
        return subprocess.CompletedProcess(words, code, out, err)

    def _answer(self, words: list[str]) -> tuple[int, str, str]:
        if words[0] == sources.APT_HELPER:
            return self._download(words)
        if words[0] == "dpkg":
            return (0 if words[2] < words[4] else 1), "", ""
        if words[-1] == "update":
            listed = Path(next(w for w in words if w.startswith("Dir::Etc::sourcelist=")).split("=")[1]).read_text()
            fine = self.online and (self.updates or "-security" not in listed)
            return (0, "", "") if fine else (100, "", "Could not resolve 'mirror.invalid'")
        if "showsrc" in words:
            return 0, "".join(f"Package: xen\nVersion: {name}\n\n" for name in self.names), ""
        if "--print-uris" in words:
            return 0, uri_line(words[-1].removeprefix("xen=")), ""
        raise AssertionError(words)

    def _download(self, words: list[str]) -> tuple[int, str, str]:
        uri, target, _digest = words[-3:]
        if not self.online:
            return 100, "", "Could not resolve 'mirror.invalid'"
        for version in self.holds:
            if version.rsplit("-", 1)[0].replace("+", "%2b") in uri:
                Path(target).write_bytes(CONTENT[version])
                return 0, "", ""
        return 100, "", f"Err:1 {uri}\n  404  Not Found"


@pytest.fixture
def apt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Apt:
    monkeypatch.setenv("OVERCOMMIT_CACHE", str(tmp_path / "cache"))
    (tmp_path / "keyring").touch()
    monkeypatch.setattr(sources, "KEYRING", tmp_path / "keyring")
    fake = Apt()
    monkeypatch.setattr(sources, "_run", fake)
    return fake


TARGETS_DEBIAN = """\
http://mirror.invalid/debian|bookworm|Debian|Debian
http://mirror.invalid/debian|bookworm-updates|Debian|Debian
http://mirror.invalid/debian-security|bookworm-security|Debian|Debian-Security
http://other.invalid/nodesource|nodistro|. nodistro|. nodistro
"""


def test_the_mirror_is_the_one_that_apt_uses() -> None:
    assert sources.parse_targets(TARGETS_DEBIAN, running_debian=True) == AT
    assert sources.parse_targets(TARGETS_DEBIAN, running_debian=False) == AT


def test_a_mirror_is_recognised_before_the_first_update_on_debian_only() -> None:
    bare = "http://mirror.invalid/debian|trixie||\nhttp://mirror.invalid/debian-security|trixie-security||\n"
    assert sources.parse_targets(bare, running_debian=True) == AT
    assert sources.parse_targets(bare, running_debian=False) is None


def test_ubuntu_serves_no_debian(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = "http://mirror.invalid/ubuntu|noble|Ubuntu|Ubuntu\n"
    assert sources.parse_targets(rows, running_debian=False) is None
    monkeypatch.setattr(sources, "_run", lambda command: subprocess.CompletedProcess(command, 0, rows, ""))
    with pytest.raises(MissingError, match="no Debian mirror") as error:
        sources.mirror()
    assert "build_debian_mirror" in error.value.remedy


def test_a_given_mirror_is_used_without_asking_apt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "_run", lambda _command: pytest.fail("asked"))
    assert sources.mirror("http://mirror.invalid/debian/") == Mirror("http://mirror.invalid/debian")


def test_the_newest_version_of_the_suite_is_taken(apt: Apt) -> None:
    resolved = sources.resolve("xen", "trixie", AT)
    assert [each.version for each in resolved.candidates] == [NEW, OLD]
    chosen, path = sources.fetch_newest(resolved)
    source = chosen.choice()
    assert (source.version, source.file, source.note) == (NEW, "xen_4.20.4+63-g7a.orig.tar.xz", "")
    assert path.read_bytes() == CONTENT[NEW]


def test_the_mirror_is_asked_once_a_day(apt: Apt, monkeypatch: pytest.MonkeyPatch) -> None:
    first = sources.resolve("xen", "trixie", AT)
    asked = len(apt.commands)
    assert sources.resolve("xen", "trixie", AT) == first
    assert len(apt.commands) == asked
    monkeypatch.setattr(sources.time, "time", lambda: first.at + sources.RESOLVE_EVERY + 1)
    sources.resolve("xen", "trixie", AT)
    assert len(apt.commands) > asked


def test_a_version_that_the_pool_lacks_is_passed_over_recorded_and_not_asked_for_again(apt: Apt) -> None:
    apt.holds = [OLD]
    chosen, path = sources.fetch_newest(sources.resolve("xen", "trixie", AT))
    source = chosen.choice()
    assert source.version == OLD
    assert NEW in source.note
    assert path.read_bytes() == CONTENT[OLD]
    again = sources.resolve("xen", "trixie", AT).choice()
    assert again == source


FALLBACK = Source(
    "xen",
    "4.20.3+127-gc4",
    "xen_4.20.3+127-gc4.orig.tar.xz",
    (f"{AT.main}/xen_4.20.3%2b127-gc4.orig.tar.xz",),
    sha(CONTENT[OLD]),
    "pinned",
    pinned=True,
)


def test_the_pinned_version_is_the_last_resort_of_a_mirror_that_lacks_what_its_index_names(apt: Apt) -> None:
    apt.names, apt.holds = [NEW], [OLD]
    chosen, path = sources.fetch_newest(sources.resolve("xen", "trixie", AT, fallback=FALLBACK))
    source = chosen.choice()
    assert source.version == FALLBACK.version
    assert source.note.startswith("pinned; ")
    assert NEW in source.note
    assert path.read_bytes() == CONTENT[OLD]
    assert sources.resolve("xen", "trixie", AT, fallback=FALLBACK).choice() == source


def test_without_a_network_the_last_answer_stands_and_says_so(apt: Apt, monkeypatch: pytest.MonkeyPatch) -> None:
    known = sources.resolve("xen", "trixie", AT)
    sources.fetch_newest(known)
    apt.online = False
    monkeypatch.setattr(sources.time, "time", lambda: known.at + 3 * 86400)
    chosen, path = sources.fetch_newest(sources.resolve("xen", "trixie", AT))
    source = chosen.choice()
    assert source.version == NEW
    assert "3.0 days ago" in source.note
    assert path.exists()


def test_without_a_network_or_an_earlier_answer_the_pinned_version_is_all_there_is(apt: Apt) -> None:
    apt.online = False
    with pytest.raises(BuildError, match="could not be read"):
        sources.resolve("xen", "trixie", AT)
    resolved = sources.resolve("xen", "trixie", AT, fallback=FALLBACK)
    assert [each.sha256 for each in resolved.candidates] == [FALLBACK.sha256]
    assert "could not be asked" in resolved.choice().note
    with pytest.raises(sources.NotFetchedError, match="could not be fetched") as error:
        sources.fetch_newest(resolved)
    assert not error.value.gone


def test_a_mirror_that_does_not_answer_is_left_alone_for_some_minutes(
    apt: Apt, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With an earlier answer and without; another mirror is asked at once."""
    apt.online = False
    for later in (0.0, 3 * 86400.0):
        now = time.time() + later
        monkeypatch.setattr(sources.time, "time", lambda now=now: now)
        first = sources.resolve("xen", "trixie", AT, fallback=FALLBACK)
        assert sources.NOT_ASKED in first.choice().note
        asked = len(apt.commands)
        assert sources.resolve("xen", "trixie", AT, fallback=FALLBACK) == first
        assert len(apt.commands) == asked
        sources.resolve("xen", "trixie", replace(AT, main="http://other.invalid/debian"), fallback=FALLBACK)
        assert len(apt.commands) > asked
        monkeypatch.setattr(sources.time, "time", lambda now=now: now + sources.ASK_AGAIN_AFTER + 1)
        apt.online = True
        assert sources.resolve("xen", "trixie", AT, fallback=FALLBACK).choice().version == NEW
        apt.online = False


def test_a_mirror_without_security_or_updates_still_serves(apt: Apt) -> None:
    apt.updates = False
    assert sources.resolve("xen", "trixie", AT).choice().version == NEW


def test_a_download_with_another_digest_is_refused(apt: Apt, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(CONTENT, NEW, b"new xen")
    source = sources.resolve("xen", "trixie", AT).choice()
    monkeypatch.setitem(CONTENT, NEW, b"tampered")
    with pytest.raises(sources.NotFetchedError, match="could not be fetched"):
        sources.fetch(source)
    assert sources.have(source) is None


def test_a_damaged_download_is_fetched_again(apt: Apt) -> None:
    chosen, path = sources.fetch_newest(sources.resolve("xen", "trixie", AT))
    source = chosen.choice()
    path.write_bytes(b"damaged")
    assert sources.have(source) is None
    assert sources.fetch(source).read_bytes() == CONTENT[NEW]


def test_what_is_there_needs_no_network(apt: Apt) -> None:
    chosen, path = sources.fetch_newest(sources.resolve("xen", "trixie", AT))
    source = chosen.choice()
    apt.online = False
    os.utime(path, (0, 0))
    assert sources.fetch(source) == path
    assert path.stat().st_mtime > 0, "that it was used is noted"


@pytest.mark.parametrize(
    "mangle",
    [lambda text: text.replace("SHA256", "MD5Sum"), lambda text: text.replace(".orig", ".debian"), lambda _text: ""],
)
def test_a_listing_without_a_verified_upstream_archive_names_no_source(mangle: Callable[[str], str]) -> None:
    assert sources.parse_uris("xen", NEW, mangle(uri_line(NEW))) is None
    assert sources.parse_uris("xen", NEW, uri_line(NEW)) is not None


def test_what_an_interrupted_download_left_is_removed(apt: Apt, monkeypatch: pytest.MonkeyPatch) -> None:
    resolved = sources.resolve("xen", "trixie", AT)
    source = resolved.choice()
    folder = paths.downloads()
    killed = folder / f"{source.file}.999999999.part"
    theirs = folder / f"{source.file}.{os.getppid()}.part"  # of a process that is still at it
    for each in (killed, theirs):
        each.write_bytes(b"half")

    def interrupted(words: Sequence[str]) -> subprocess.CompletedProcess[str]:
        Path(words[-2]).write_bytes(b"ha")
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(sources, "_run", interrupted)
        with pytest.raises(KeyboardInterrupt):
            sources.fetch(source)
    assert list(folder.glob("*.part*")) == [theirs]
    assert sources.fetch(source).read_bytes() == CONTENT[NEW]
