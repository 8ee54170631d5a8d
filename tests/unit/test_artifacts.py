"""The artifact store: whole or not at all, and nothing that a killed build left behind is ever
used.
"""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import time
from pathlib import Path

import pytest

from common.errors import BuildError
from lab import paths
from lab.build import artifacts
from lab.build.artifacts import Input


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("OVERCOMMIT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


RECIPE: dict[str, object] = {"artifact": "thing", "files": {"a": "1"}}


def publish(text: str = "payload", *, packages: str | None = None) -> artifacts.Artifact:
    with artifacts.workspace("thing") as folder:
        (folder / "out" / "thing.bin").write_text(text)
        if packages is not None:
            (folder / "out" / artifacts.PACKAGES).write_text(packages)
        return artifacts.publish(
            "thing",
            RECIPE,
            folder / "out",
            outputs=["thing.bin"],
            inputs=[Input("xen", "4.20.3", "ab" * 32)],
            duration=1.23,
        )


def test_a_published_artifact_is_found_by_its_recipe() -> None:
    built = publish()
    found = artifacts.find("thing", artifacts.recipe_key(RECIPE))
    assert found == built
    assert found is not None
    assert found.outputs["thing.bin"].read_text() == "payload"
    assert found.versions == {"xen": "4.20.3"}
    assert artifacts.find("thing", artifacts.recipe_key({**RECIPE, "files": {"a": "2"}})) is None


def test_the_manifest_says_what_went_in_and_came_out() -> None:
    manifest = publish(packages="gcc\t14.2\nmake\t4.4\n").details()
    assert manifest["schema"] == artifacts.SCHEMA
    assert manifest["inputs"] == {"xen": {"version": "4.20.3", "sha256": "ab" * 32, "note": None}}
    digest = "239f59ed55e737c77147cf55ad0c1b030b6d7ee748a7426952f9b852d5a935e5"
    assert manifest["outputs"] == {"thing.bin": {"sha256": digest, "size_bytes": 7}}
    assert manifest["duration_seconds"] == 1.2
    assert manifest["packages"] == {"gcc": "14.2", "make": "4.4"}
    assert publish().details()["packages"] is None


def test_an_artifact_whose_output_was_cut_short_counts_as_missing_and_is_replaced() -> None:
    built = publish()
    built.outputs["thing.bin"].write_text("pay")
    assert artifacts.find("thing", built.key) is None
    assert publish().outputs["thing.bin"].read_text() == "payload"


@pytest.mark.parametrize("text", ["", "{", "{}", json.dumps({"schema": 99, "outputs": {}})])
def test_an_artifact_with_a_bad_manifest_counts_as_missing(text: str) -> None:
    built = publish()
    built.manifest.write_text(text)
    assert artifacts.find("thing", built.key) is None


def test_a_role_that_leaves_no_output_is_an_error_that_names_it() -> None:
    with artifacts.workspace("thing") as folder, pytest.raises(BuildError, match=r"left no thing\.bin"):
        artifacts.publish("thing", RECIPE, folder / "out", outputs=["thing.bin"], inputs=[], duration=1)
    assert artifacts.find("thing", artifacts.recipe_key(RECIPE)) is None


def test_a_failed_build_leaves_nothing_in_tmp() -> None:
    with pytest.raises(ZeroDivisionError), artifacts.workspace("thing") as folder:
        (folder / "work" / "half").write_text(str(1 / 0))
    assert list(paths.tmp().iterdir()) == []


def _stale(name: str = "build-thing-0123abcd") -> Path:
    folder = paths.tmp() / name
    (folder / "out").mkdir(parents=True)
    folder.with_name(name + ".lock").touch()
    return folder


def test_what_a_killed_build_left_is_removed() -> None:
    folder = _stale()
    assert artifacts.remove_stale() == [folder.name]
    assert list(paths.tmp().iterdir()) == []


def test_the_folder_of_a_build_that_runs_is_kept() -> None:
    folder = _stale()
    with folder.with_name(folder.name + ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert artifacts.remove_stale() == []
    assert folder.exists()


def test_a_process_that_a_killed_build_left_running_is_ended() -> None:
    folder = _stale()
    orphan = subprocess.Popen(["sleep", "60"], env={**os.environ, "CHROOT_BINDS": f"{folder}/work:mnt/build"})
    bystander = subprocess.Popen(["sleep", "60"])
    try:
        time.sleep(0.1)
        artifacts.remove_stale()
        assert orphan.wait(timeout=5) == -9
        assert bystander.poll() is None
    finally:
        for process in (orphan, bystander):
            process.kill()
            process.wait()


def test_a_second_build_that_does_not_wait_is_told() -> None:
    with artifacts.build_lock(None), pytest.raises(BuildError, match="another build"), artifacts.build_lock(None):
        pytest.fail("two builds at once")


def test_the_key_depends_on_content_and_mode_but_not_on_build_products_or_words(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "sub").mkdir(parents=True)
    source = tree / "sub" / "a.c"
    source.write_text("int a;")
    before = artifacts.tree_digest([tree], tmp_path)
    assert list(before) == ["tree/sub/a.c"]
    for product in ("a.o", "a.ko", ".a.o.cmd", "a.mod", "a.mod.c", "modules.order", "argument_specs.yml", "README.md"):
        (tree / "sub" / product).write_text("x")
    assert artifacts.tree_digest([tree], tmp_path) == before
    source.chmod(0o755)
    assert artifacts.tree_digest([tree], tmp_path) != before
    source.chmod(0o644)
    source.write_text("int b;")
    assert artifacts.tree_digest([tree], tmp_path) != before
