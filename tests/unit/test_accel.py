"""The choice of the accelerator: by running something, and remembered for this boot only."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from common.errors import MissingError
from lab import paths
from lab.emulator import accelerator
from lab.emulator.accelerator import Choice


@pytest.fixture(autouse=True)
def _cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("OVERCOMMIT_CACHE", str(tmp_path / "cache"))


@pytest.mark.skipif(shutil.which(accelerator.QEMU) is None, reason="needs QEMU")
def test_the_payload_really_runs() -> None:
    works, seen = accelerator.runs("tcg")
    assert works, seen


@pytest.mark.skipif(shutil.which(accelerator.QEMU) is None, reason="needs QEMU")
def test_a_payload_that_does_not_end_counts_as_not_running(monkeypatch: pytest.MonkeyPatch) -> None:
    endless = bytes([0xFA, 0xEB, 0xFE]).ljust(510, b"\x00") + b"\x55\xaa"  # cli; jump to itself
    monkeypatch.setattr(accelerator, "boot_sector", lambda: endless)
    works, seen = accelerator.runs("tcg", seconds=2.0)
    assert not works
    assert "within 2 s" in seen


def test_the_payload_is_a_boot_sector() -> None:
    sector = accelerator.boot_sector()
    assert len(sector) == 512
    assert sector.endswith(b"\x55\xaa")


def test_a_choice_is_remembered_until_the_next_boot(monkeypatch: pytest.MonkeyPatch) -> None:
    probes: list[str] = []

    def runs(accelerator: accelerator.Accelerator) -> tuple[bool, str]:
        probes.append(accelerator)
        return True, "it ran"

    monkeypatch.setattr(accelerator, "runs", runs)
    monkeypatch.setattr(accelerator, "_kvm_problem", lambda: None)
    assert accelerator.choose().accelerator == "kvm"
    assert accelerator.choose().accelerator == "kvm"
    assert probes == ["kvm"]
    monkeypatch.setattr(accelerator, "boot_id", lambda: "another boot")
    assert accelerator.choose().accelerator == "kvm"
    assert probes == ["kvm", "kvm"]


def test_what_may_be_mended_or_was_only_late_is_not_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    problems = iter(["/dev/kvm may not be opened by this user", None, None])
    seen = iter([(False, f"{accelerator.LATE} 15 s"), (True, "it ran")])
    monkeypatch.setattr(accelerator, "_kvm_problem", lambda: next(problems))
    monkeypatch.setattr(accelerator, "runs", lambda _accelerator: next(seen))
    assert [accelerator.choose().accelerator for _ in range(3)] == ["tcg", "tcg", "kvm"]


def test_the_payload_runs_wherever_the_cache_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """QEMU gives commas and blanks in the path of a drive a meaning."""
    monkeypatch.setattr(paths, "tmp", lambda: tmp_path / "a, b")
    (tmp_path / "a, b").mkdir()
    assert accelerator.runs("tcg") == (True, "a tiny payload ran")


def test_a_damaged_memory_is_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accelerator, "_kvm_problem", lambda: None)
    monkeypatch.setattr(accelerator, "runs", lambda *_: (False, "it did not run"))
    (paths.cache() / "accelerator.json").write_text('{"identity": ')
    assert accelerator.choose() == Choice("tcg", "under KVM, it did not run")
    assert json.loads((paths.cache() / "accelerator.json").read_text())["choice"]["accelerator"] == "tcg"


def test_kvm_that_ran_no_host_is_distrusted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accelerator, "runs", lambda *_: (True, "it ran"))
    monkeypatch.setattr(accelerator, "_kvm_problem", lambda: None)
    accelerator.choose()
    accelerator.distrust_kvm("Xen did not boot under it")
    choice = accelerator.choose()
    assert choice.accelerator == "tcg"
    assert choice.why.startswith("Xen did not boot under it (seen on ")


def test_distrust_outlasts_a_boot_and_ends_with_another_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accelerator, "runs", lambda *_: (True, "it ran"))
    monkeypatch.setattr(accelerator, "_kvm_problem", lambda: None)
    accelerator.distrust_kvm("QEMU stopped with an internal error")
    monkeypatch.setattr(accelerator, "boot_id", lambda: "another boot")
    assert accelerator.choose().accelerator == "tcg"
    with pytest.raises(MissingError, match="KVM does not work") as raised:
        accelerator.choose("kvm")
    assert str(paths.cache() / "kvm-distrusted.json") in raised.value.remedy
    monkeypatch.setattr(accelerator.platform, "release", lambda: "99.1")
    assert accelerator.choose().accelerator == "kvm"
    assert accelerator.try_again() == ""


def test_a_damaged_distrust_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accelerator, "runs", lambda *_: (True, "it ran"))
    monkeypatch.setattr(accelerator, "_kvm_problem", lambda: None)
    (paths.cache() / "kvm-distrusted.json").write_text("[]")
    assert accelerator.choose().accelerator == "kvm"


def test_kvm_can_be_demanded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accelerator, "_kvm_problem", lambda: "there is no /dev/kvm")
    with pytest.raises(MissingError, match="KVM does not work") as raised:
        accelerator.choose("kvm")
    assert "there is no /dev/kvm" in raised.value.why
    assert accelerator.choose("tcg").accelerator == "tcg"
