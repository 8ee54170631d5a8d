"""What the testbed says about itself."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

import pytest

from campaigns import provenance


def _git(checkout: Path, *arguments: str) -> None:
    identity = ["-c", "user.name=Test", "-c", "user.email=test@example.org"]
    subprocess.run(["git", "-C", str(checkout), *identity, *arguments], check=True, capture_output=True)


def test_commit_and_whether_the_checkout_differs_from_it(tmp_path: Path) -> None:
    assert provenance.commit(tmp_path) == (None, None)
    _git(tmp_path, "init")
    assert provenance.commit(tmp_path) == (None, None)
    (tmp_path / "file").write_text("1")
    _git(tmp_path, "add", "file")
    _git(tmp_path, "commit", "-m", "x")
    head, dirty = provenance.commit(tmp_path)
    assert head is not None
    assert len(head) == 40
    assert dirty is False
    (tmp_path / "results").write_text("untracked files are no change of the testbed")
    assert provenance.commit(tmp_path) == (head, False)
    (tmp_path / "file").write_text("2")
    assert provenance.commit(tmp_path) == (head, True)


def test_what_was_unpacked_inside_another_repository_has_no_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _git(tmp_path, "init")
    (tmp_path / "paper.tex").write_text("1")
    _git(tmp_path, "add", "paper.tex")
    _git(tmp_path, "commit", "-m", "x")
    (tmp_path / "testbed").mkdir()
    assert provenance.commit(tmp_path)[0] is not None
    assert provenance.commit(tmp_path / "testbed") == (None, None)
    (tmp_path / "campaigns").mkdir()
    (tmp_path / "campaigns/provenance.py").write_text("")  # unpacked beside paper.tex itself
    monkeypatch.setattr(provenance, "__file__", str(tmp_path / "campaigns/provenance.py"))
    assert provenance.commit(tmp_path) == (None, None)


def test_a_repository_that_the_environment_names_is_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hook of git has GIT_DIR set, and what it ran was given that repository's commit."""
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    heads = {}
    for checkout in (ours, theirs):
        checkout.mkdir()
        _git(checkout, "init")
        (checkout / "file").write_text(checkout.name)
        _git(checkout, "add", "file")
        _git(checkout, "commit", "-m", checkout.name)
        heads[checkout] = provenance.commit(checkout)[0]
    assert len(set(heads.values())) == 2
    monkeypatch.setenv("GIT_DIR", str(theirs / ".git"))
    monkeypatch.setenv("GIT_WORK_TREE", str(ours))
    assert provenance.commit(ours) == (heads[ours], False)


def test_the_lock_files_hash(tmp_path: Path) -> None:
    assert provenance.lock_sha256(tmp_path) is None
    (tmp_path / "requirements.lock").write_bytes(b"x")
    assert provenance.lock_sha256(tmp_path) == hashlib.sha256(b"x").hexdigest()


def test_versions_are_those_that_are_installed() -> None:
    assert {"python", "pydantic", "plumbum"} <= provenance.versions().keys()
