"""Labs without hosts: locks, states, and that looking at a lab changes nothing."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from common.errors import InvalidFileError, LabError
from lab import lifecycle, paths, provenance, recipes
from lab.artifacts import Artifact
from lab.emulator import Images
from lab.inventory import Emulated

TEXT = "xen_hosts:\n  hosts:\n    xen1: {lab_kind: emulated, lab_accelerator: tcg}\n"


@pytest.fixture
def inventory_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("OVERCOMMIT_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "mine.yml"
    path.write_text(TEXT)
    return path


def no_images(_settings: Emulated) -> Images:
    raise AssertionError("opening a lab asks for no artifacts")


def test_a_lab_is_opened_without_starting_anything(inventory_path: Path) -> None:
    with lifecycle.open_lab(inventory_path, images=no_images) as lab:
        assert lab.name == "mine"
        (host,) = lab.hosts
        assert (host.name, host.kind, host.accelerator) == ("xen1", "emulated", "tcg")
        assert dict(host.guests) == {}
        (row,) = lifecycle.status(inventory_path)
        assert row["state"] == "down"
        assert row["used_by"] == os.getpid()
    (row,) = lifecycle.status(inventory_path)
    assert row["used_by"] is None


def test_what_a_host_is_made_from_is_known_before_it_starts(inventory_path: Path, tmp_path: Path) -> None:
    asked: list[Emulated] = []

    def images(settings: Emulated) -> Images:
        asked.append(settings)
        return Images(*[tmp_path] * 6, tmemctl=None, keys={"xen": "a key"})

    inventory_path.write_text(TEXT.replace("tcg}", "tcg, lab_disk_iops: 100, lab_disk_bandwidth: none}"))
    with lifecycle.open_lab(inventory_path, images=images) as lab:
        (host,) = lab.hosts
        for _ in range(2):
            assert lab.basis(host) == {
                "name": "xen1",
                "kind": "emulated",
                "accelerator": "tcg",
                "artifacts": {"xen": "a key"},
                "emulator.disk_iops": 100,
                "emulator.disk_bytes_per_second": None,
            }
    assert len(asked) == 1


def test_a_lab_has_one_user_at_a_time(inventory_path: Path) -> None:
    with (
        lifecycle.open_lab(inventory_path, images=no_images),
        pytest.raises(LabError, match="the host xen1 of lab mine is in use") as raised,
        lifecycle.open_lab(inventory_path, images=no_images),
    ):
        raise AssertionError("two users")
    assert str(os.getpid()) in raised.value.why
    with lifecycle.open_lab(inventory_path, images=no_images):
        pass


def test_down_and_destroy_of_a_lab_that_is_down(inventory_path: Path) -> None:
    assert lifecycle.down(inventory_path) == []
    assert lifecycle.destroy(inventory_path) == ["xen1"]


def test_a_lab_is_made_of_what_its_inventory_names(tmp_path: Path) -> None:
    """The default lab needs what ./inv build makes, and no more; another hypervisor brings the dom0 that it takes."""
    assert set(lifecycle.artifacts_for()) == set(recipes.PUBLISHED)
    for name, chosen in recipes.HYPERVISORS.items():
        path = tmp_path / "mine.yml"
        path.write_text(TEXT.replace("tcg}", f"tcg, lab_hypervisor: {name}}}"))
        found = set(lifecycle.artifacts_for(path))
        assert found - {"guest_image", "guest_kernel", "tmemctl"} == {chosen.artifact, chosen.host_image}
    physical = paths.INVENTORY / "physical.example.yml"
    assert set(lifecycle.artifacts_for(physical)) == set(lifecycle.PROVISIONED)


def test_a_host_boots_the_hypervisor_of_its_inventory(
    inventory_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def built(name: str) -> Artifact:
        outputs = {each: tmp_path / name / each for each in recipes.RECIPES[name].outputs}
        return Artifact(name, f"key of {name}", tmp_path / name, outputs, {}, tmp_path / "manifest.json")

    monkeypatch.setattr(lifecycle.build, "artifact", built)
    images = lifecycle.artifact_images(Emulated(kind="emulated", hypervisor="xen_4_17"))
    assert images.hypervisor == tmp_path / "xen_4_17" / "xen.elf32"
    assert images.host_disk == tmp_path / "host_image_12" / "host.qcow2"
    assert images.keys["xen_4_17"] == "key of xen_4_17"
    assert "xen" not in images.keys


def test_a_wrong_inventory_is_refused_before_anything_else(tmp_path: Path) -> None:
    with pytest.raises(InvalidFileError):
        lifecycle.status(tmp_path / "nosuch.yml")


def test_provenance_of_a_guest_is_parsed_by_section() -> None:
    fixed = provenance.parse_guest_fixed(
        "== uname\nLinux 5.10.223 #1 x86_64\n== cmdline\nroot=/dev/xvda psi=1\n== meminfo\nMemTotal:  147000 kB\n"
        "== cpu\nmodel name\t: QEMU Virtual CPU\n== disks\nxvda 8388608 \n== config\nabc123  -\n"
    )
    assert fixed["kernel"] == "Linux 5.10.223 #1 x86_64"
    assert fixed["memory"] == {"MemTotal": "147000 kB"}
    assert fixed["cpu"] == {"model": "QEMU Virtual CPU", "microcode": None}
    assert fixed["kernel_config_sha256"] == "abc123"
    changing = provenance.parse_changing(
        "== clock\n1000.5\n== sysctl\nvm/swappiness:60\n== swaps\nFilename Type\n== driver\n"
        "/sys/module/tmem/parameters/cleancache:Y\n== selfballoon\nselfballoon_interval:5\n"
    )
    assert changing["sysctl"] == {"vm.swappiness": "60"}
    assert changing["driver"] == {"cleancache": "Y"}
    assert changing["selfballoon"] == {"selfballoon_interval": "5"}
    assert provenance.parse_changing("== clock\n== driver\n")["driver"] == {}


def test_provenance_holds_no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_TOKEN", "do-not-store")
    assert "do-not-store" not in str(provenance.controller())
    assert provenance.controller()["cpus"]
