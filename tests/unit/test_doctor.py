"""What the doctor finds, on this machine and on poorer ones."""

from __future__ import annotations

import platform
import shutil
from pathlib import Path

import pytest

from common import files
from common.errors import MissingError
from lab import doctor, paths
from lab.build import ansible, packages
from lab.emulator import accelerator
from lab.emulator.accelerator import Choice


@pytest.fixture(autouse=True)
def _machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("OVERCOMMIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(accelerator, "choose", lambda *_: Choice("tcg", "there is no /dev/kvm"))


def finding(check: str) -> doctor.Diagnosis:
    return next(each for each in doctor.examine() if each.check == check)


def test_every_finding_that_is_not_ok_says_what_to_do() -> None:
    found = doctor.examine()
    assert {each.check for each in found} >= {"system", "programs", "privileges", "memory", "space for cache"}
    assert [each for each in found if each.state != "ok" and not each.remedy] == []


def test_missing_programs_are_named_with_their_packages(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("shutil.which", lambda program, path=None: None)
    assert packages.missing()["mmdebstrap"] == "mmdebstrap"
    found = finding("programs")
    assert found.state == "missing"
    assert "mmdebstrap" in found.remedy


def test_packages_cannot_be_installed_without_apt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda program, path=None: None)
    with pytest.raises(MissingError, match="programs are missing") as raised:
        packages.install_missing()
    assert "mmdebstrap" in raised.value.remedy


def test_a_failed_installation_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def failed(*_: object, **__: object) -> None:
        raise MissingError("playbook controller.yml: a task failed", why="Could not resolve", remedy="The log is X.")

    monkeypatch.setattr(packages, "missing", lambda *_: {"qemu-img": "qemu-utils"})
    monkeypatch.setattr("shutil.which", lambda program, path=None: program)
    monkeypatch.setattr(ansible, "needs_sudo", lambda: False)
    monkeypatch.setattr(ansible, "run", failed)
    with pytest.raises(MissingError, match="playbook controller") as raised:
        packages.install_missing()
    assert raised.value.why == "Could not resolve"
    for said in ("network", "qemu-utils", "The log is X."):
        assert said in raised.value.remedy


def test_nothing_is_installed_where_nothing_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "missing", lambda *_: {})
    assert packages.install_missing() == []


def test_what_prints_is_installed_only_when_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    lacking = [{"libpangoft2": "libpangoft2-1.0-0"}, {}]
    asked: list[object] = []
    monkeypatch.setattr(packages, "missing", lambda _what: lacking.pop(0))
    monkeypatch.setattr("shutil.which", lambda program, path=None: program)
    monkeypatch.setattr(ansible, "needs_sudo", lambda: False)
    monkeypatch.setattr(ansible, "run", lambda _name, extravars, **_: asked.append(extravars[packages.LAB]))
    assert packages.install_missing(what=packages.PRINT) == ["libpangoft2-1.0-0"]
    wanted = packages.needed(packages.PRINT)
    assert asked == [[{"program": program, "package": package} for program, package in wanted.items()]]
    assert not set(wanted) & set(packages.needed())


def test_a_full_disk_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "CACHE_MIB", 2**40)
    found = finding("space for cache")
    assert found.state == "missing"
    assert "OVERCOMMIT_CACHE" in found.remedy
    assert str(paths.cache()) in found.found


def test_what_the_cache_holds_already_needs_no_more_space(monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole cache: after a demo most of it is labs, not artifacts. A drive counts as what it
    takes.
    """
    free = shutil.disk_usage(paths.cache()).free // 2**20
    (paths.host_dir("emulated", "xen1") / "dom0.qcow2").write_bytes(b"x" * 2**22)
    with (paths.host_dir("emulated", "xen1") / "swap1.qcow2").open("wb") as stream:
        stream.truncate(2**40)
    assert 4 <= files.taken(paths.cache()) >> 20 < 8
    monkeypatch.setattr(shutil, "disk_usage", lambda _folder: shutil._ntuple_diskusage(0, 0, free * 2**20))
    monkeypatch.setattr(doctor, "CACHE_MIB", free + 4)
    assert finding("space for cache").state == "ok"
    monkeypatch.setattr(doctor, "CACHE_MIB", free + 8)
    assert finding("space for cache").state == "missing"


def test_another_processor_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    found = finding("processor")
    assert (found.state, found.found) == ("missing", "aarch64")


def test_the_accelerator_is_told_with_its_reason() -> None:
    found = finding("accelerator")
    assert found.state == "note"
    assert "there is no /dev/kvm" in found.found


def test_kvm_that_ran_no_host_is_told_with_how_to_try_it_again() -> None:
    accelerator.distrust_kvm("QEMU stopped with an internal error")
    assert str(paths.cache() / "kvm-distrusted.json") in finding("accelerator").remedy


@pytest.mark.parametrize("name", ["a b", "100%", "x:y"])
def test_a_cache_that_programs_would_trip_over_is_refused(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OVERCOMMIT_CACHE", str(tmp_path / name))
    with pytest.raises(MissingError, match="the cache cannot be there"):
        paths.cache()
    assert not (tmp_path / name).exists()
