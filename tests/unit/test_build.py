"""Plans and builds, with Ansible and the network replaced: what is rebuilt when, in which order,
and what a failure leaves.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from invoke.context import Context

from common import files
from common.errors import BuildError, InvalidFileError, MissingError, UsageError
from common.needs import Needs
from lab import paths
from lab.build import ansible, artifacts, builder, packages, recipes, sources
from lab.build.recipes import Recipe
from lab.build.sources import Mirror, Resolved, Source
from lab.build.variables import read_variables
from tasks import build

RECIPES = {
    recipe.name: recipe
    for recipe in (
        Recipe("base", ("base.tar",), 10),
        Recipe("kernel", ("vmlinuz",), 100, ("linux",), ("base",), ("src/driver",)),
        Recipe("hyper", ("hyper.elf",), 50, ("xen",), ("base",)),
        Recipe("image", ("image.qcow2",), 20, requires=("kernel",), roles=("shared",), lab_key=True),
        Recipe("older", ("hyper.elf",), 50, ("xen_4_17",), ("base",), roles=("hyper",)),
        Recipe("newest", ("hyper.elf",), 50, ("xen_newest",), ("base",), roles=("hyper",)),
        Recipe("more", ("base.tar",), 10, requires=("base",), packages=True),
        Recipe("image_more", ("image.qcow2",), 20, requires=("more",), known_as=(("more", "base"),)),
    )
}

XEN = (
    Source("xen", "4.20.4", "xen_4.20.4.tar.xz", (), "4" * 64),
    Source("xen", "4.20.3", "xen_4.20.3.tar.xz", (), "3" * 64),
)
NEWEST = (Source("xen", "4.22.0", "xen_4.22.0.tar.xz", (), "2" * 64),)
OLDER = (Source("xen", "4.17.5", "xen_4.17.5.tar.xz", (), "5" * 64),)


class World:
    """The seams: which roles ran with which variables, which of them fail, which sources the
    mirror holds.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.ran: list[str] = []
        self.variables: dict[str, Mapping[str, object]] = {}
        self.failing: set[str] = set()
        self.gone: set[str] = set()
        self.asked: list[str] = []
        self.seconds = 0.0
        self.most_at_once = 0
        self._running = 0
        self._lock = threading.Lock()

    def run(
        self, playbook: str, *, extravars: Mapping[str, Any], progress: Any, cancel: threading.Event, **_: Any
    ) -> None:
        assert playbook == "build.yml"
        name = extravars["build_artifact"]
        with self._lock:
            self.ran.append(name)
            self.variables[name] = extravars
            self._running += 1
            self.most_at_once = max(self.most_at_once, self._running)
        try:
            progress("working")
            time.sleep(self.seconds)
            if name in self.failing:
                raise BuildError(f"{name} failed")
            for output in RECIPES[name].outputs:
                (Path(extravars["build_out"]) / output).write_text(f"{name}/{output}")
        finally:
            with self._lock:
                self._running -= 1

    def ask(self, name: str, suite: str, _at: Mirror) -> tuple[Source, ...]:
        assert name == "xen"
        self.asked.append(suite)
        return {"trixie": XEN, "bookworm": OLDER, "sid": NEWEST}[suite]

    def fetch(self, source: Source) -> Path:
        if source.version in self.gone:
            raise sources.NotFetchedError(source, "404", gone=True)
        path = paths.downloads() / source.file
        path.write_text(source.version)
        return path

    def edit(self, path: str, text: str) -> None:
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setenv("OVERCOMMIT_CACHE", str(tmp_path / "cache"))
    fake = World(tmp_path / "checkout")
    for role in (*RECIPES, "shared"):
        fake.edit(f"playbooks/roles/{role}/tasks/main.yml", f"# {role}\n")
    fake.edit("src/driver/a.c", "int a;\n")
    variables = yaml.safe_load(paths.BUILD_VARIABLES.read_text())
    fake.edit("inventory/group_vars/all.yml", yaml.safe_dump(variables))
    monkeypatch.setattr(paths, "REPO", fake.root)
    monkeypatch.setattr(paths, "PLAYBOOKS", fake.root / "playbooks")
    monkeypatch.setattr(paths, "BUILD_VARIABLES", fake.root / "inventory/group_vars/all.yml")
    monkeypatch.setattr(builder, "RECIPES", RECIPES)
    monkeypatch.setattr(builder, "PUBLISHED", ("hyper", "image"))
    monkeypatch.setattr(packages, "missing", dict)
    monkeypatch.setattr(builder, "SPACE_MIB", 1)
    monkeypatch.setattr(ansible, "run", fake.run)
    monkeypatch.setattr(sources, "mirror", lambda *_: Mirror("http://mirror.invalid/debian"))
    monkeypatch.setattr(sources, "_load", lambda _record: None)
    monkeypatch.setattr(sources, "_ask", fake.ask)
    monkeypatch.setattr(sources, "fetch", fake.fetch)
    return fake


def test_everything_is_built_once_in_an_order_that_works(world: World) -> None:
    built = builder.ensure()
    assert set(built) == {"hyper", "image"}
    assert sorted(world.ran) == ["base", "hyper", "image", "kernel"]
    assert world.ran[0] == "base"
    assert world.ran.index("kernel") < world.ran.index("image")
    assert built["image"].outputs["image.qcow2"].read_text() == "image/image.qcow2"
    assert builder.ensure() == built
    assert len(world.ran) == 4


def test_a_role_gets_its_sources_and_the_artifacts_it_needs(world: World) -> None:
    builder.ensure(["image"])
    variables = world.variables["kernel"]
    assert Path(variables["build_inputs"]["linux"]).name.startswith("linux_5.10.")  # type: ignore[index]
    assert variables["build_requires"] == {"base": str(builder.artifact("base").path)}
    assert variables["build_pack"] is False
    assert "hyper" not in world.ran


@pytest.mark.parametrize(
    ("path", "rebuilt"),
    [
        ("src/driver/a.c", ["kernel", "image"]),
        ("playbooks/roles/shared/tasks/main.yml", ["image"]),
        ("playbooks/roles/hyper/tasks/main.yml", ["hyper"]),
        ("playbooks/roles/base/tasks/main.yml", ["base", "kernel", "hyper", "image"]),
        ("src/elsewhere.c", []),
    ],
)
def test_a_change_rebuilds_what_is_made_of_it_and_nothing_else(world: World, path: str, rebuilt: list[str]) -> None:
    builder.ensure()
    world.ran.clear()
    world.edit(path, "changed\n")
    assert sorted(builder.Plan().missing(builder.PUBLISHED)) == sorted(rebuilt)
    builder.ensure()
    assert sorted(world.ran) == sorted(rebuilt)


def test_going_back_to_an_earlier_state_needs_no_build(world: World) -> None:
    first = builder.ensure(["image"])
    world.edit("src/driver/a.c", "int b;\n")
    assert builder.ensure(["image"]) != first
    world.ran.clear()
    world.edit("src/driver/a.c", "int a;\n")
    assert builder.ensure(["image"]) == first
    assert world.ran == []


def test_each_set_of_packages_has_an_image_of_its_own_and_the_others_stay(world: World) -> None:
    plain = builder.ensure()
    asked = Needs(("memcached",))
    built = builder.ensure(["image_more"], needs=asked)["image_more"]
    assert world.variables["more"]["build_packages"] == ["memcached"]
    assert world.variables["image_more"]["build_packages"] == []
    other = builder.ensure(["image_more"], needs=Needs(("memcached", "valkey-server")))["image_more"]
    assert other.key != built.key
    world.ran.clear()
    assert builder.ensure(["image_more"], needs=asked)["image_more"] == built
    assert builder.artifact("image_more", asked) == built
    assert builder.ensure(needs=asked) == plain, "what has no packages is the same for every load"
    assert world.ran == []


def test_a_role_knows_what_it_is_made_of_by_the_name_it_uses(world: World) -> None:
    builder.ensure(["image_more"], needs=Needs(("memcached",)))
    found = builder.artifact("more", Needs(("memcached",)))
    assert world.variables["image_more"]["build_requires"] == {"base": str(found.path)}


def test_a_new_key_pair_rebuilds_the_images_that_it_opens(world: World) -> None:
    builder.ensure()
    world.ran.clear()
    paths.lab_key().unlink()
    paths.lab_key().with_suffix(".pub").unlink(missing_ok=True)
    builder.ensure()
    assert world.ran == ["image"]


def test_a_failure_keeps_what_is_complete_and_the_next_run_goes_on_from_there(world: World) -> None:
    world.failing = {"kernel"}
    events: list[builder.BuildEvent] = []
    with pytest.raises(BuildError, match="kernel failed"):
        builder.ensure(progress=events.append)
    assert "image" not in world.ran
    assert builder.artifact("hyper").name == "hyper"
    assert not list(paths.tmp().glob("build-*"))
    world.failing, world.ran = set(), []
    builder.ensure()
    assert sorted(world.ran) == ["image", "kernel"]


def test_three_artifacts_are_built_at_once_but_no_more(world: World) -> None:
    world.seconds = 0.5  # for all to be at work, however busy the machine is
    builder.ensure(["kernel", "hyper", "older", "newest"])
    assert world.most_at_once == builder.WORKERS


def test_a_xen_that_the_mirror_lacks_is_replaced_by_the_next_and_recorded(world: World) -> None:
    world.gone = {"4.20.4"}
    built = builder.ensure(["hyper"])["hyper"]
    assert built.versions["xen"] == "4.20.3"
    recorded = built.details()["inputs"]["xen"]
    assert recorded["sha256"] == "3" * 64
    assert "4.20.4" in recorded["note"]


def test_the_older_xen_is_its_releases_own(world: World) -> None:
    """One role builds both; each has its source, its place and its key."""
    older = builder.ensure(["older"])["older"]
    assert older.versions["xen"] == "4.17.5"
    assert older.details()["inputs"]["xen"]["sha256"] == "5" * 64
    assert world.variables["older"]["build_inputs"] == {"xen_4_17": str(paths.downloads() / "xen_4.17.5.tar.xz")}
    assert "playbooks/roles/hyper/tasks/main.yml" in older.details()["recipe"]["files"]
    world.gone = {"4.20.4"}
    newer = builder.ensure(["hyper", "older"])
    assert newer["hyper"].versions["xen"] == "4.20.3"
    assert newer["older"] == older
    assert builder.ensure(["newest"])["newest"].versions["xen"] == "4.22.0"


def test_a_mirror_that_does_not_answer_is_told(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def silent(*_: object) -> tuple[Source, ...]:
        raise BuildError("no answer")

    monkeypatch.setattr(sources, "_ask", silent)
    told: list[str] = []
    for _ in ("built", "there"):
        builder.ensure(["hyper"], lambda event: told.append(event.text))
    version = read_variables().xen_version
    assert told.count(f"the mirror does not answer; using xen {version}") == 2


def test_nothing_asks_for_a_release_that_is_not_built(world: World) -> None:
    builder.ensure()
    assert set(world.asked) == {"trixie"}
    world.asked.clear()
    builder.show()
    assert set(world.asked) == {"trixie", "bookworm", "sid"}


def test_progress_tells_what_is_built_and_how_long_is_left(world: World) -> None:
    events: list[builder.BuildEvent] = []
    builder.ensure(progress=events.append)
    assert events[0].kind == "plan"
    assert events[0].remaining == 180 * 0.75
    assert [e.artifact for e in events if e.kind == "done"][-1] in {"image", "hyper"}
    assert events[-1].remaining == 0


def test_an_estimate_is_no_shorter_than_the_longest_chain(world: World) -> None:
    events: list[builder.BuildEvent] = []
    builder.ensure(["image"], events.append)
    assert (events[0].text, events[0].remaining) == ("to build: base, kernel, image", 130)


def test_current_names_all_variants_and_every_set_of_packages(world: World) -> None:
    everything = list(RECIPES)
    asked = Needs(("memcached",))
    built = [*builder.ensure(everything).values(), *builder.ensure(everything, needs=asked).values()]
    folders, archives = builder.current([("memcached",)])
    assert folders == {each.path.name for each in built}
    assert folders > builder.current([])[0]
    assert archives >= {path.name for path in paths.downloads().iterdir()}
    pinned = read_variables()
    assert {f"linux_{pinned.linux_version}.orig.tar.xz", f"xen_{pinned.xen_version}.orig.tar.xz"} <= archives
    world.edit("src/driver/a.c", "int b;\n")
    changed = folders - builder.current([("memcached",)])[0]
    assert {name.rpartition("-")[0] for name in changed} == {"kernel", "image"}


def test_what_is_asked_for_is_kept_from_removal(world: World) -> None:
    built = builder.ensure(["hyper"])["hyper"]
    with pytest.raises(files.LockedError):
        files.alone(built.manifest)
    os.utime(built.path, (0, 0))
    assert builder.artifact("hyper").path.stat().st_mtime > time.time() - 3600
    base = builder.Plan().find("base")
    assert base is not None
    with files.alone(base.manifest), pytest.raises(BuildError, match="base is not built"):
        builder.artifact("base")


def test_show_says_what_is_built_and_what_is_not(world: World) -> None:
    builder.ensure(["hyper"])
    rows = {row["name"]: row for row in builder.show()}
    assert rows["hyper"]["built"] is True
    output = rows["hyper"]["outputs"]["hyper.elf"]
    assert output["sha256"] == files.digest(Path(output["path"]))
    assert (rows["image"]["built"], rows["image"]["path"], rows["image"]["outputs"]) == (False, None, None)
    assert rows["image"]["duration_seconds"] is None


def test_show_prints_what_each_was_made_from(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    builder.ensure(["hyper"])
    version = builder.show()[[row["name"] for row in builder.show()].index("hyper")]["inputs"]["xen"]["version"]
    build.show.body(Context())
    out = capsys.readouterr().out
    assert f"    from xen {version}" in out
    assert "hyper.elf sha256 " in out


def test_who_waits_for_another_build_says_so(world: World) -> None:
    notes: list[str] = []
    heard = threading.Event()

    def tell(event: builder.BuildEvent) -> None:
        notes.append(event.text)
        heard.set()

    thread = threading.Thread(target=builder.ensure, args=(["hyper"], tell))
    with artifacts.build_lock(None):
        thread.start()
        assert heard.wait(60)
        assert notes == [f"waiting for another build, process {os.getpid()} (Ctrl-C ends the waiting)"]
    thread.join(60)
    assert builder.artifact("hyper").path.is_dir()


def test_an_artifact_that_is_not_built_is_an_error_with_the_remedy(world: World) -> None:
    with pytest.raises(BuildError, match="not built") as error:
        builder.artifact("image")
    assert "./inv" in error.value.remedy
    with pytest.raises(UsageError, match="no artifact 'imgae'") as error:
        builder.ensure(["imgae"])
    assert "image" in error.value.remedy


def test_a_full_disk_is_told_before_anything_is_built(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(builder, "SPACE_MIB", 2**40)
    with pytest.raises(MissingError, match="MiB free"):
        builder.ensure()
    assert world.ran == []


def test_a_variant_asks_for_its_share_of_the_space(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """What else could be built does not count: base and older take 60 of the 180 seconds of what
    is published.
    """
    monkeypatch.setattr(builder, "SPACE_MIB", 3 * 2**40)
    with pytest.raises(MissingError, match=f"the build needs about {2**40} MiB"):
        builder.ensure(["older"])


def test_missing_programs_are_told_with_their_packages(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "missing", lambda: {"qemu-img": "qemu-utils"})
    with pytest.raises(MissingError, match="qemu-img") as error:
        builder.ensure()
    assert "qemu-utils" in error.value.remedy


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("build_linux_sha256", "abc"),
        ("build_linux_version", 5.10),
        ("build_suite", "../etc"),
        ("build_debian_mirror", "mirror"),
        ("build_xen_version", None),
        ("build_xen_4_17_version", "4.20.3"),
        ("build_xen_4_17_suite", ""),
        ("build_xen_newest_suite", None),
        ("build_linux_6_1_version", "6.6.1"),
    ],
)
def test_a_bad_variable_is_named_with_its_file(world: World, key: str, value: object) -> None:
    path = paths.BUILD_VARIABLES
    data = yaml.safe_load(path.read_text())
    world.edit("inventory/group_vars/all.yml", yaml.safe_dump({**data, key: value}))
    with pytest.raises(InvalidFileError) as error:
        read_variables(path)
    assert key in error.value.what
    assert str(path) in error.value.where


def test_the_declared_recipes_hold_together() -> None:
    order = list(recipes.RECIPES)
    for recipe in recipes.RECIPES.values():
        assert set(recipe.requires) <= set(order)
        assert set(recipe.sources) <= {*builder.INDEXED, "linux"}
        assert recipe.outputs
        folders = [recipe.name, *recipe.roles, *(step.partition(":")[0] for step in recipe.inside)]
        for folder in folders:
            assert (paths.REPO / "playbooks" / "roles" / folder / "tasks").is_dir()
    assert set(recipes.PUBLISHED) <= set(order)
    assert not any(recipes.RECIPES[name].packages for name in recipes.PUBLISHED), "the demo's has no more than it needs"
    for each in recipes.HYPERVISORS.values():
        assert "xen.elf32" in recipes.RECIPES[each.artifact].outputs
        assert {"host.qcow2", "vmlinuz", "initrd.img"} <= set(recipes.RECIPES[each.host_image].outputs)


def test_variants_of_the_hypervisor_are_made_of_the_same_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """A mistake that only one of them shows has to be a mistake of the source that all share."""
    monkeypatch.setattr(sources, "mirror", lambda *_: Mirror("http://mirror.invalid/debian"))
    monkeypatch.setattr(
        sources, "resolve", lambda _name, suite, at, *, fallback: Resolved(0.0, suite, at.main, (fallback,))
    )
    making = builder.Plan()
    files = {name: making.recipe(name)["files"] for name in recipes.HYPERVISORS}
    needs = {
        (frozenset(recipe.sources) - set(builder.INDEXED), recipe.requires, recipe.trees)
        for recipe in (recipes.RECIPES[name] for name in recipes.HYPERVISORS)
    }
    assert len(needs) == 1, "what one of them is made from beside Xen's own source, all are"
    shared = files["xen"]
    assert isinstance(shared, dict)
    assert any(path.startswith("tmem/xen/patches/") for path in shared)
    for each in files.values():
        assert isinstance(each, dict)
        assert shared.items() <= each.items()
