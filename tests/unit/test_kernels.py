"""The guests' kernel as a factor: what an experiment says, what is built and booted for it, and
which policies it can have.
"""

from __future__ import annotations

import hashlib
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from campaigns import experiment, feasible
from campaigns.experiment import Experiment, Levels
from common.errors import InvalidFileError, LabError
from common.needs import Needs, together
from lab import kernels, lifecycle
from lab.api import GuestSizing, HostSizing
from lab.build import recipes
from lab.build.artifacts import Artifact
from lab.hosts import guests, provenance
from lab.hosts.emulated import guests_tag, memory_mib
from lab.hosts.guests import Disks
from lab.inventory import Emulated
from lab.paths import REPO
from policies import apply
from policies import registry as policies

SIZING = GuestSizing(count=1, vcpus=1, memory_max_mib=256, memory_start_mib=192, swap_mib=256)
STOCK = replace(SIZING, boots="debian-6.12")
STOCK_FILES = {"vmlinuz-debian-6.12", "initrd-debian-6.12"}

TEXT = """
schema: 1
title: Kernels
question: Which?
host: {guest_memory: 480 MiB}
guests: {count: 3, memory_max: 256 MiB}
policies: [static, selfballoon+tmem]
workload: {name: kernel_build}
"""


def written(folder: Path, text: str) -> Experiment:
    path = folder / "kernels.yml"
    path.write_text(text)
    return experiment.load(str(path))


def test_what_a_kernel_takes_can_be_added_so_that_as_much_is_left(tmp_path: Path) -> None:
    added = TEXT.replace("count: 3", "kernel: debian-6.12, kernel_memory: added, count: 3")
    made = written(tmp_path, added + "gates: {overcommit_ratio: 1.5}\n")
    (levels,) = made.combinations()
    conditions = made.at(levels)
    takes = kernels.KERNELS["debian-6.12"].takes_mib
    assert takes > 0
    assert conditions.host.guest_memory_mib == 480 + 3 * takes
    assert (conditions.guests.memory_max_mib, conditions.guests.memory_start_mib) == (256 + takes, 160 + takes)
    assert conditions.guests.swap_mib == 256
    assert conditions.gates.overcommit_ratio == pytest.approx(1.5 * conditions.overcommit_ratio / 1.6)
    plain = written(tmp_path, added.replace("debian-6.12", "fidelity"))
    assert plain.at({}).host.guest_memory_mib == 480
    own = written(tmp_path, added.replace("kernel_memory: added, ", ""))
    assert own.at({}).host.guest_memory_mib == 480


def test_every_kernel_is_an_artifact_that_has_what_a_guest_boots() -> None:
    assert kernels.KERNELS[kernels.FIDELITY].artifact in recipes.PUBLISHED
    names = [name for each in kernels.KERNELS.values() for name in each.files.values()]
    assert len(set(names)) == len(names), "two kernels have one name in dom0"
    for each in kernels.KERNELS.values():
        assert set(each.files) <= set(recipes.RECIPES[each.artifact].outputs)


def test_an_experiment_that_names_no_kernel_is_what_it_was(tmp_path: Path) -> None:
    plain = written(tmp_path, TEXT)
    assert "kernel" not in plain.document["guests"]
    assert plain.needs == Needs(kernels=("fidelity",))
    said = written(tmp_path, TEXT.replace("count: 3", "kernel: fidelity, count: 3"))
    assert said.sha256 == plain.sha256
    assert "boots" not in plain.at({}).guests.document()


def test_a_kernel_can_be_a_factor(tmp_path: Path) -> None:
    found = written(tmp_path, TEXT + "factors: {guests.kernel: [fidelity, debian-6.12]}\n")
    assert found.needs == Needs(kernels=("debian-6.12", "fidelity"))
    levels: list[Levels] = list(found.combinations())
    assert [found.at(each).guests.boots for each in levels] == ["fidelity", "debian-6.12"]
    assert found.at(levels[1]).guests.document()["boots"] == "debian-6.12"
    assert experiment.from_document("kernels", found.document).sha256 == found.sha256


def test_groups_boot_one_kernel(tmp_path: Path) -> None:
    text = TEXT.replace("{count: 3, memory_max: 256 MiB}", "{kernel: debian-7, groups: {a: {memory_max: 256 MiB}}}")
    assert written(tmp_path, text).at({}).guests.boots == "debian-7"


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("count: 3", "kernel: debian-5, count: 3", ["kernel"]),
        ("static,", "hotplug,", ["hotplug", "sections of 16 MiB"]),
        ("static,", "zswap,", ["zswap", "counted by frontswap"]),
        ("policies:", "selfballoon: {frontswap_inertia: 2}\npolicies:", ["frontswap_inertia", "self-shrinking"]),
        ("480 MiB", "360 MiB", ["cannot boot debian-6.12 with 120 MiB"]),
    ],
)
def test_what_a_stock_kernel_cannot_do_is_refused_with_its_key(
    old: str, new: str, words: list[str], tmp_path: Path
) -> None:
    text = TEXT if "kernel: " in new else TEXT.replace("count: 3", "kernel: debian-6.12, count: 3")
    with pytest.raises(InvalidFileError) as raised:
        written(tmp_path, text.replace(old, new))
    assert all(word in str(raised.value) for word in words)
    if "kernel: " not in new:
        written(tmp_path, TEXT.replace(old, new))  # it is the kernel that cannot


def test_the_type_of_guests_can_be_a_factor(tmp_path: Path) -> None:
    text = TEXT.replace("count: 3", "kernel: debian-6.12, count: 3")
    plain = written(tmp_path, text)
    found = written(tmp_path, text + "factors: {guests.type: [pv, pvh]}\n")
    assert [found.at(each).guests.type for each in found.combinations()] == ["pv", "pvh"]
    assert "type" not in plain.document["guests"]
    assert written(tmp_path, text.replace("count: 3", "type: pv, count: 3")).sha256 == plain.sha256
    assert "type" not in plain.at({}).guests.document()
    pvh = written(tmp_path, text.replace("count: 3", "type: pvh, count: 3"))
    assert pvh.at({}).guests.document()["type"] == "pvh"
    assert pvh.needs == plain.needs


@pytest.mark.parametrize(
    ("new", "words"),
    [
        ("type: hvm, count: 3", ["type", "pvh"]),
        ("type: pvh, count: 3", ["guests.type", "fidelity was built for paravirtual guests alone", "debian-6.12"]),
    ],
)
def test_a_type_that_cannot_be_is_refused_with_its_key(new: str, words: list[str], tmp_path: Path) -> None:
    with pytest.raises(InvalidFileError) as raised:
        written(tmp_path, TEXT.replace("count: 3", new))
    assert all(word in str(raised.value) for word in words)


def test_a_pvh_guest_is_configured_as_such_and_xen_has_room_for_its_page_tables() -> None:
    disks = Disks("/dev/vdb", "/dev/vdc")
    assert 'type = "pv"' in guests.configuration(1, STOCK, disks).splitlines()
    pvh = replace(STOCK, type="pvh", count=3, vcpus=2)
    assert 'type = "pvh"' in guests.configuration(1, pvh, disks).splitlines()
    assert guests_tag(pvh) != guests_tag(replace(pvh, type="pv"))
    assert guests.xen_mib(replace(pvh, type="pv")) == 3
    assert guests.xen_mib(pvh) == 3 + 3 * (2 + 256 // 128)
    room = f"{guests.STATE}/guests {guests.ROOM_MIB + 4} "
    assert room in guests.create_script(pvh, [disks] * 3).replace("'", "")
    assert room not in guests.create_script(replace(pvh, type="pv"), [disks] * 3).replace("'", "")
    host = HostSizing(768, 384, 2)
    assert memory_mib(host, pvh) >= memory_mib(host, replace(pvh, type="pv")) + 12


@pytest.mark.parametrize("told", ["virt_caps              : pv shadow\n", "virt_caps              :\n", ""])
def test_a_host_without_hardware_virtualisation_says_that_it_runs_no_pvh_guests(told: str) -> None:
    guests.check_hardware("xen1", "xen_caps : xen-3.0-x86_64 hvm-3.0-x86_64\nvirt_caps : pv hvm shadow gnttab-v1\n")
    with pytest.raises(LabError, match="xen1 cannot run PVH guests") as raised:
        guests.check_hardware("xen1", told)
    assert "virt_caps" in raised.value.where
    assert "paravirtual guests run anywhere" in raised.value.remedy


def test_servers_have_one_kernel(tmp_path: Path) -> None:
    text = TEXT.replace("guest_memory:", "dom0_memory: 1 GiB, guest_memory:")
    feasible.on_host(written(tmp_path, text), "physical")
    stock = written(tmp_path, text.replace("count: 3", "kernel: debian-7, count: 3"))
    with pytest.raises(InvalidFileError, match="servers have no debian-7"):
        feasible.on_host(stock, "physical")


def test_a_stock_kernel_brings_its_initial_ram_disk() -> None:
    disks = Disks("/dev/vdb", "/dev/vdc")
    plain = guests.configuration(1, SIZING, disks).splitlines()
    assert f'kernel = "{guests.STATE}/vmlinuz"' in plain
    assert not any("ramdisk" in line for line in plain)
    stock = guests.configuration(1, STOCK, disks).splitlines()
    assert f'kernel = "{guests.STATE}/vmlinuz-debian-6.12"' in stock
    assert f'ramdisk = "{guests.STATE}/initrd-debian-6.12"' in stock
    assert guests_tag(STOCK) != guests_tag(SIZING)


def test_a_lab_that_was_opened_without_the_kernel_says_so() -> None:
    guests.check_kernel(SIZING, ["vmlinuz"])
    with pytest.raises(LabError, match="without the guests' kernel fidelity"):
        guests.check_kernel(SIZING, STOCK_FILES)
    guests.check_kernel(STOCK, STOCK_FILES)
    with pytest.raises(LabError, match=r"without the guests' kernel debian-6\.12"):
        guests.check_kernel(STOCK, ["vmlinuz-debian-6.12"])


def test_what_is_built_for_a_kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    needs = Needs(kernels=("debian-6.12",))
    without = {*recipes.PUBLISHED, "guest_image_stock", "guest_kernel_debian_6_12"} - {"guest_image", "guest_kernel"}
    assert set(lifecycle.artifacts_for(needs=needs)) == without
    both = Needs(kernels=("debian-6.12", "fidelity"))
    assert set(lifecycle.artifacts_for(needs=both)) == {*recipes.PUBLISHED, "guest_kernel_debian_6_12"}

    def built(name: str, _needs: Needs) -> Artifact:
        outputs = {each: tmp_path / name / each for each in recipes.RECIPES[name].outputs}
        return Artifact(name, f"key of {name}", tmp_path / name, outputs, {}, tmp_path / "manifest.json")

    monkeypatch.setattr(lifecycle.builder, "artifact", built)
    images = lifecycle.artifact_images(Emulated(kind="emulated"), needs)
    assert images.kernels == {
        "vmlinuz-debian-6.12": tmp_path / "guest_kernel_debian_6_12" / "vmlinuz",
        "initrd-debian-6.12": tmp_path / "guest_kernel_debian_6_12" / "initrd.img",
    }
    assert images.keys["guest_kernel_debian_6_12"] == "key of guest_kernel_debian_6_12"
    assert images.guest_disk == tmp_path / "guest_image_stock" / "guest.qcow2"
    plain = lifecycle.artifact_images(Emulated(kind="emulated"))
    assert plain.kernels == {"vmlinuz": tmp_path / "guest_kernel" / "vmlinuz"}
    assert "guest_kernel_debian_6_12" not in plain.keys


def test_a_kernel_that_does_not_tell_its_configuration_has_it_beside_its_modules(tmp_path: Path) -> None:
    beside = tmp_path / "config"
    script = provenance.GUEST_FIXED.replace("/proc/config.gz", str(tmp_path / "none"))
    script = script.replace("/lib/modules/$(uname -r)/config", str(beside))
    assert str(beside) in script

    def told() -> object:
        done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=False)
        return provenance.parse_guest_fixed(done.stdout)["kernel_config_sha256"]

    assert told() is None
    beside.write_text("CONFIG_XEN=y\n")
    assert told() == hashlib.sha256(beside.read_bytes()).hexdigest()


def test_needs_of_kernels_come_together() -> None:
    found = together([Needs(kernels=("debian-7",)), Needs(("wrk",)), Needs(kernels=("debian-6.12", "debian-7"))])
    assert found == Needs(("wrk",), (), ("debian-6.12", "debian-7"))
    assert found.of_image
    assert not Needs(kernels=("debian-7",)).of_image


def test_nothing_comes_back_from_frontswap_by_itself_on_a_stock_kernel() -> None:
    policy = policies.parse("selfballoon+tmem")
    assert apply.suited(policy, kernels.FIDELITY) == policy
    suited = apply.suited(policy, "debian-6.12")
    assert apply.parameters(policy)["selfshrinking"]
    assert apply.parameters(suited) == {**apply.parameters(policy), "selfshrinking": False}
    assert suited.at_release == {"selfballooning": 1}
    assert "frontswap_selfshrinking" in apply.release_script(policy)
    assert "frontswap_selfshrinking" not in apply.release_script(policy, "debian-6.12")


@pytest.mark.parametrize(
    ("role", "packages", "default"),
    [
        ("stock_driver_backports", "stock_driver_packages", "stock_driver"),
        ("guest_kernel_debian_7", "guest_kernel_debian_6_12_packages", "guest_kernel_debian_6_12"),
    ],
)
def test_headers_of_backports_come_without_an_assembler(role: str, packages: str, default: str) -> None:
    # seen of 7.3.4: "cannot execute 'as'"
    roles = REPO / "playbooks" / "roles"
    (task,) = yaml.safe_load((roles / role / "tasks" / "main.yml").read_text())
    usual = yaml.safe_load((roles / default / "defaults" / "main.yml").read_text())[packages]
    assert set(task["vars"][packages]) == {*usual, "binutils"}
