"""The hypervisors that are built from one tmem: that each builds, and that one set of hooks fits
their versions, also when a point release moves a neighbour.

Needs no lab, but the source archives and the toolchain, so it runs with what needs built artifacts.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from lab import paths
from lab.build import builder, sources
from lab.build.recipes import HYPERVISORS

pytestmark = pytest.mark.lab

HOOKS = sorted((paths.REPO / "tmem" / "xen" / "patches").glob("*.patch"))
DEFAULTS = paths.PLAYBOOKS / "roles" / "xen" / "defaults" / "main.yml"


CHANGED = " /* changed */"


@dataclass(frozen=True)
class Hunk:
    """before: the lines that it expects to find, context and what it takes away."""

    file: str
    before: tuple[str, ...]


def hunks(hooks: Sequence[Path] = HOOKS) -> list[Hunk]:
    found = []
    for hook in hooks:
        for part in re.split(r"^diff --git ", hook.read_text(), flags=re.MULTILINE)[1:]:
            file = re.findall(r"^\+\+\+ b/(\S+)$", part, re.MULTILINE)[0]
            for body in re.split(r"^@@ .*$\n", part, flags=re.MULTILINE)[1:]:
                lines = body.splitlines()
                found.append(Hunk(file, tuple(line[1:] for line in lines if line[:1] != "+")))
    return found


@pytest.fixture(params=sorted(name for name in builder.INDEXED if name.startswith("xen")))
def tree(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """The files that hooks change, from the archive that the artifact is built from."""
    making = builder.Plan()
    try:
        archive = making.fetch(request.param)
    except sources.NotFetchedError as error:
        pytest.skip(f"no archive of {request.param}: {error.why}")
    wanted = [f"*/{file}" for file in sorted({hunk.file for hunk in hunks()})]
    command = ["tar", "-xf", str(archive), "-C", str(tmp_path), "--strip-components=1", "--wildcards", *wanted]
    subprocess.run(command, check=True)
    return tmp_path


def apply(tree: Path, fuzz: int, hooks: Sequence[Path] = HOOKS) -> str:
    """What `patch` says. CalledProcessError when a hook does not fit."""
    said = ""
    for hook in hooks:
        command = [
            "patch",
            "--batch",
            "--forward",
            "--strip=1",
            f"--fuzz={fuzz}",
            f"--directory={tree}",
            f"--input={hook}",
        ]
        said += subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return said


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name == "xen" else pytest.mark.long) for name in sorted(HYPERVISORS)]
)
def test_every_hypervisor_is_built_from_this_checkout(name: str) -> None:
    """Minutes when it is not there yet; nothing after that."""
    built = builder.ensure([name])[name]
    assert built.outputs["xen.elf32"].read_bytes()[:5] == b"\x7fELF\x01"
    config = built.outputs["xen.config"].read_text().splitlines()
    assert "CONFIG_TMEM=y" in config
    assert ("CONFIG_DEBUG=y" in config) == (name == "xen_debug")
    assert built.versions["xen"].startswith("4.17." if name == "xen_4_17" else "4.")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name == "xen" else pytest.mark.long) for name in sorted(HYPERVISORS)]
)
def test_dom0_has_the_tools_of_its_hypervisor(name: str) -> None:
    """A hypervisor takes only the toolstack of its own version."""
    chosen = HYPERVISORS[name]
    built = builder.ensure([chosen.artifact, chosen.host_image])
    version = ".".join(built[chosen.artifact].versions["xen"].split(".")[:2])
    assert f"xen-utils-{version}" in built[chosen.host_image].details()["packages"]


def test_hooks_fit_without_fuzz(tree: Path) -> None:
    assert "fuzz" not in apply(tree, 0)


@pytest.mark.parametrize("side", ["before", "after"])
def test_hooks_fit_when_a_neighbour_has_changed(tree: Path, side: str) -> None:
    """A point release may change the outer line of every hook's context; the role then lets it
    differ.
    """
    fuzz = yaml.safe_load(DEFAULTS.read_text())["xen_patch_fuzz"]
    for hook in HOOKS:  # one after the other: a hook may stand beside one of an earlier patch
        changed = {}
        for hunk in hunks([hook]):
            path = tree / hunk.file
            text, old = path.read_text(), "\n".join(hunk.before) + "\n"
            assert text.count(old) == 1, f"{hunk.file} has not one place for the hook at {hunk.before[0]!r}"
            lines = list(hunk.before)
            lines[0 if side == "before" else -1] += CHANGED
            path.write_text(text.replace(old, "\n".join(lines) + "\n"))
            changed[path] = None
        assert apply(tree, fuzz, [hook]).count("fuzz") == len(hunks([hook]))
        for path in changed:
            path.write_text(path.read_text().replace(CHANGED, ""))
