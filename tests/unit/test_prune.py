"""What ./inv build.prune removes of the cache, and what it leaves: what is needed, in use, or was
used lately; and that an interruption leaves nothing that could be taken for whole.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from invoke.context import Context

from common import files
from common.errors import BuildError
from lab import lifecycle, paths, prune
from lab.build import artifacts, builder
from lab.build.artifacts import Artifact, Input
from lab.emulator.accelerator import boot_id
from tasks import build

AHEAD_S = 30 * prune.DAY_S
"""How far the clock is ahead: all that a test makes was not used for so long, unless it says so."""

KEEP = "import sys; from pathlib import Path; from common import files\n"
KEEP += "print(files.keep(Path(sys.argv[1])), flush=True); sys.stdin.read()"


class Checkout:
    """What the checkout needs, and what it asked for the sets of packages that are built."""

    def __init__(self) -> None:
        self.folders: set[str] = set()
        self.archives: set[str] = set()
        self.asked: list[Sequence[str]] = []

    def current(self, package_sets: Iterable[Sequence[str]]) -> tuple[set[str], set[str]]:
        self.asked = list(package_sets)
        return self.folders, self.archives


@pytest.fixture(autouse=True)
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Checkout:
    monkeypatch.setenv("OVERCOMMIT_CACHE", str(tmp_path / "cache"))
    made = Checkout()
    monkeypatch.setattr(builder, "current", made.current)
    now = time.time
    monkeypatch.setattr(prune.time, "time", lambda: now() + AHEAD_S)
    return made


def artifact(name: str, text: str = "1", *, requires: Collection[Artifact] = (), size: int = 2**20) -> Artifact:
    recipe = {"artifact": name, "text": text, "requires": {each.name: each.key for each in requires}}
    with artifacts.workspace(name) as folder:
        (folder / "out" / "file").write_bytes(b"x" * size)
        return artifacts.publish(
            name, recipe, folder / "out", outputs=["file"], inputs=[Input("xen", "4", "0" * 64)], duration=1
        )


def drives(host: str, of: Collection[Artifact], *, boot: str | None = None, name: str = "machine-1") -> Path:
    """Drives of a host of lab `mine`, over these artifacts."""
    folder = paths.host_dir("mine", host) / name
    folder.mkdir()
    (folder / "dom0.qcow2").write_bytes(b"x" * 2**20)
    spec = {"images": {each.name: each.key for each in of}}
    text = json.dumps({"schema": 1, "controller": boot or boot_id(), "spec": spec, "snapshots": {"booted": {}}})
    (folder / "machine.json").write_text(text)
    return folder


def used(path: Path, days: float) -> None:
    """As if it had been used so long ago."""
    at = prune.time.time() - days * prune.DAY_S
    os.utime(path, (at, at))


@contextmanager
def process(words: Sequence[str], **options: Any) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, **options) as other:
        try:
            yield other
        finally:
            other.kill()
            other.wait()


@contextmanager
def keeping(path: Path) -> Iterator[None]:
    with process([sys.executable, "-c", KEEP, str(path)], cwd=paths.REPO) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"True\n"
        yield


def removed(days: float = prune.DAYS) -> set[Path]:
    return {each.path for each in prune.prune(days).removed}


def reasons(days: float = prune.DAYS) -> Mapping[Path, str]:
    return {each.path: each.stays for each in prune.prune(days).kept}


# --- what goes ------------------------------------------------------------------------------------


def test_what_no_key_names_goes_and_what_one_names_stays(checkout: Checkout) -> None:
    old, new = artifact("xen", "old"), artifact("xen", "new")
    checkout.folders, checkout.archives = {new.path.name}, {"xen_2.tar.xz"}
    for name in ("xen_1.tar.xz", "xen_2.tar.xz"):
        (paths.downloads() / name).write_bytes(b"x" * 2**20)
    done = prune.prune()
    assert {each.path.name for each in done.removed} == {old.path.name, "xen_1.tar.xz"}
    assert all(each.size >= 2**20 for each in done.removed)
    assert artifacts.find("xen", new.key) == new
    assert artifacts.find("xen", old.key) is None
    assert [each.name for each in paths.artifacts().iterdir() if each.name != ".lock"] == [new.path.name]
    assert [each.name for each in paths.downloads().iterdir()] == ["xen_2.tar.xz"]
    assert prune.prune() == prune.Pruned([], []), "a second run has nothing to do"


def test_a_dry_run_tells_the_same_and_removes_nothing(checkout: Checkout) -> None:
    old = artifact("xen")
    over = drives("xen1", [old])
    (paths.artifacts() / ".damaged-1").mkdir()
    before = set(paths.cache().rglob("*"))
    told = prune.prune(dry_run=True)
    assert before <= set(paths.cache().rglob("*"))
    assert {each.path for each in told.removed} == {old.path, over, paths.artifacts() / ".damaged-1"}
    assert {each.path for each in prune.prune().removed} == {each.path for each in told.removed}


def test_keys_are_asked_for_every_set_of_packages_that_is_built(checkout: Checkout) -> None:
    made = artifact("guest_root_loads")
    data = json.loads(made.manifest.read_text())
    data["recipe"]["packages"] = ["fio", "memcached"]
    made.manifest.write_text(json.dumps(data))
    prune.prune(dry_run=True)
    assert ("fio", "memcached") in map(tuple, checkout.asked)


@pytest.mark.parametrize("text", ["{", "[]", '{"recipe": 3}', '{"recipe": {"packages": 3, "requires": {"a": 1}}}'])
def test_a_manifest_of_another_form_is_no_obstacle(text: str) -> None:
    broken = artifact("xen")
    broken.manifest.write_text(text)
    assert removed() == {broken.path}


def test_drives_of_another_state_or_of_before_this_boot_go_and_current_ones_stay(checkout: Checkout) -> None:
    old, new = artifact("xen", "old"), artifact("xen", "new")
    checkout.folders = {new.path.name}
    stale = drives("xen1", [new], boot="another boot", name="machine-2")
    used(stale, 0)  # however lately: nobody goes back to its snapshots
    half = paths.host_dir("mine", "xen1") / "machine-3"
    half.mkdir()
    other, present = drives("xen1", [old], name="machine-4"), drives("xen1", [new], name="machine-5")
    assert removed() == {stale, half, other, old.path}
    assert present.exists()
    assert not list(present.parent.glob(".removed*"))


def test_packed_images_and_emulated_servers_go_with_their_artifacts(checkout: Checkout) -> None:
    old, new = artifact("server_image", "old"), artifact("server_image", "new")
    checkout.folders = {new.path.name}
    packed = [paths.cache() / "packed" / f"{each.path.name}.qcow2" for each in (old, new)]
    servers = [paths.cache() / "servers" / name for name in ("bios1", "uefi1")]
    packed[0].parent.mkdir()
    for path, server, each in zip(packed, servers, (old, new), strict=True):
        path.write_bytes(b"x")
        server.mkdir(parents=True)
        (server / "made.json").write_text(json.dumps({"key": each.key}))
    assert removed() == {old.path, packed[0], servers[0]}
    assert packed[1].exists()
    assert servers[1].exists()


def test_what_killed_processes_left_goes_however_young_it_is() -> None:
    artifact("xen")
    gone = subprocess.Popen(["true"])
    gone.wait()
    folders = [
        paths.tmp() / "build-xen-01234567",
        paths.tmp() / "ansible" / "run",
        paths.artifacts() / ".damaged-1",
        paths.artifacts() / ".removed-1",
        paths.host_dir("mine", "xen1") / ".removed-2",
    ]
    for folder in folders:
        folder.mkdir(parents=True)
        used(folder, 0)
    (paths.tmp() / "build-xen-01234567.lock").touch()
    (paths.tmp() / "ansible" / "run" / "lock").touch()
    parts = [paths.downloads() / f"xen.tar.xz.{pid}.part" for pid in (gone.pid, os.getpid())]
    for part in parts:
        part.touch()
    (paths.tmp() / "tmpabc").mkdir()
    used(paths.tmp() / "tmpabc", 0.5)  # of somebody who may be alive
    assert removed(days=1000) == {*folders, parts[0]}
    assert not any(folder.exists() for folder in folders)
    assert sorted(each.name for each in paths.tmp().iterdir()) == ["ansible", "tmpabc"]
    assert parts[1].exists()


# --- what stays -----------------------------------------------------------------------------------


def test_what_was_used_lately_stays_with_all_that_it_is_made_of() -> None:
    base = artifact("toolchain")
    kernel = artifact("linux", requires=[base])
    image = artifact("guest_image", requires=[kernel])
    old = artifact("sampler", requires=[base])
    used(image.path, 13.9)
    used(old.path, 14.1)
    found = reasons()
    assert set(found) == {image.path, kernel.path, base.path}
    assert found[image.path] == "used 13.9 days ago"
    assert found[base.path].endswith("is made of it")
    assert not old.path.exists()
    assert removed(days=0) == {image.path, kernel.path, base.path}


def test_using_an_artifact_is_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    built = artifact("xen")
    used(built.path, 100)
    assert artifacts.use(built)
    assert built.path.stat().st_mtime > time.time() - AHEAD_S - 60


def test_an_artifact_that_a_process_uses_stays_until_that_has_ended() -> None:
    built = artifact("xen")
    with keeping(built.manifest), keeping(built.manifest):
        assert reasons(days=0) == {built.path: "a process uses it"}
    assert removed(days=0) == {built.path}
    assert not artifacts.use(built), "who comes too late is told"


def test_an_artifact_is_not_used_while_it_is_removed() -> None:
    built = artifact("xen")
    with files.alone(built.manifest):
        assert not artifacts.use(built)
    assert artifacts.use(built)


def test_an_artifact_that_a_program_has_open_stays() -> None:
    built = artifact("guest_image")
    with built.outputs["file"].open() as stream, process(["cat"], pass_fds=[stream.fileno()]) as other:
        assert reasons(days=0) == {built.path: f"process {other.pid} works there"}


def test_the_drives_of_a_lab_that_is_up_stay_with_their_artifacts() -> None:
    image = artifact("guest_image")
    folder = drives("xen1", [image])
    with process(["sleep", "60"], cwd=folder) as qemu:
        found = reasons(days=0)
        assert found == {folder: f"process {qemu.pid} works there", image.path: f"{folder.name} lies over it"}
    assert removed(days=0) == {folder, image.path}


def test_the_drives_of_a_host_that_a_process_has_stay_even_of_before_this_boot() -> None:
    image = artifact("guest_image")
    folder = drives("xen1", [image], boot="another boot")
    with lifecycle.locked("mine", "xen1"):
        assert reasons(days=0)[folder] == f"process {os.getpid()} has the host xen1 of lab mine"
        assert image.path.exists()


def test_a_host_that_is_taken_meanwhile_keeps_its_drives_and_their_artifacts(monkeypatch: pytest.MonkeyPatch) -> None:
    image = artifact("guest_image")
    folder = drives("xen1", [image])
    real, taken = artifacts.remove_stale, []

    def then() -> list[str]:  # between the look and the removal
        taken.append(lifecycle.locked("mine", "xen1"))
        taken[0].__enter__()
        return real()

    monkeypatch.setattr(artifacts, "remove_stale", then)
    try:
        found = reasons(days=0)
    finally:
        taken[0].__exit__(None, None, None)
    assert found == {folder: "a process has begun to use it", image.path: f"{folder.name} lies over it"}
    assert folder.exists()
    assert image.path.exists()


def test_nothing_is_removed_while_a_build_runs() -> None:
    built = artifact("xen")
    with artifacts.build_lock(None), pytest.raises(BuildError, match="another build is running"):
        prune.prune(0)
    assert built.path.exists()


def test_the_workspace_of_a_build_that_runs_is_not_told_of() -> None:
    with artifacts.workspace("xen") as folder:
        assert prune.prune(dry_run=True).removed == []
        assert folder.exists()


# --- interrupted, and failing ---------------------------------------------------------------------


def test_what_is_interrupted_is_taken_for_whole_by_nobody_and_goes_with_the_next_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    built = artifact("xen")
    folder = drives("xen1", [built])

    def interrupted(_folder: Path) -> None:
        raise KeyboardInterrupt

    real = artifacts.remove_tree
    for path in (folder, built.path):
        monkeypatch.setattr(artifacts, "remove_tree", interrupted)
        with pytest.raises(KeyboardInterrupt):
            prune.prune()
        assert not path.exists()
        monkeypatch.setattr(artifacts, "remove_tree", real)
        if path == folder:
            (left,) = folder.parent.glob(".removed-*")
            real(left)
    assert artifacts.find("xen", built.key) is None
    (entry,) = prune.prune().removed
    assert (entry.kind, entry.why) == ("leftover", "its removal was interrupted")
    assert entry.size >= 2**20
    assert [each.name for each in paths.artifacts().iterdir()] == [".lock"]


def test_what_cannot_be_removed_is_told_and_the_rest_goes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = artifact("a"), artifact("b")
    real = artifacts.remove_tree

    def denied(folder: Path) -> None:
        if "first" not in asked:
            asked.append("first")
            raise BuildError("a folder of the cache cannot be removed", where=str(folder), why="Permission denied")
        real(folder)

    asked: list[str] = []
    monkeypatch.setattr(artifacts, "remove_tree", denied)
    with pytest.raises(BuildError, match="1 of what is not needed could not be removed") as error:
        build.prune.body(Context())
    assert "Permission denied" in error.value.why
    assert str(first.path) in error.value.where
    assert not second.path.exists()
    assert f"removed artifact artifacts/{second.path.name}" in capsys.readouterr().out


# --- the task -------------------------------------------------------------------------------------


def test_the_task_says_what_each_and_all_of_it_frees(capsys: pytest.CaptureFixture[str]) -> None:
    old, young = artifact("xen", size=3 * 2**20), artifact("sampler")
    used(young.path, 3)
    size = files.taken(old.path) / 2**20
    build.prune.body(Context(), dry_run=True)
    said = capsys.readouterr().out
    name = f"artifacts/{old.path.name}"
    assert f"would remove artifact {name} ({size:.1f} MiB): no key of this checkout\n" in said
    assert f"this would free {size:.1f} MiB in all" in said
    assert f"kept artifact artifacts/{young.path.name}" in said
    assert "used 3.0 days ago" in said
    assert "--days 0" in said
    build.prune.body(Context())
    assert f"freed {size:.1f} MiB in all" in capsys.readouterr().out
    build.prune.body(Context(), days="0")
    assert f"removed artifact artifacts/{young.path.name}" in capsys.readouterr().out
    build.prune.body(Context(), days="0")
    assert "there is nothing to remove" in capsys.readouterr().out
