"""The choice of the accelerator: by running something, and remembered for this boot only."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
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
    problems = iter(["/dev/kvm may not be opened by this user", None, None, None, None])
    words = [f"{accelerator.LATE} 15 s", "ioctl failed: Device or resource busy", "Cannot allocate memory"]
    seen = iter([*((False, each) for each in words), (True, "it ran")])
    monkeypatch.setattr(accelerator, "_kvm_problem", lambda: next(problems))
    monkeypatch.setattr(accelerator, "runs", lambda _accelerator: next(seen))
    assert [accelerator.choose().accelerator for _ in range(5)] == ["tcg", "tcg", "tcg", "tcg", "kvm"]


MSRS = "../../target/i386/kvm/kvm.c:3183: kvm_buf_set_msrs: Assertion `ret == cpu->kvm_msr_buf->nmsrs' failed."
WARNING = f"{accelerator.QEMU}: warning: this feature cannot be had"
DENIED = "Could not access KVM kernel module: Permission denied"


@pytest.mark.parametrize(
    ("words", "clause", "evidence"),
    [
        (f"{WARNING}\n{accelerator.QEMU}: {MSRS}\n", "it lacks a part of the processor that QEMU sets up", MSRS),
        (
            "KVM internal error. Suberror: 1\nemulation failure\nEAX=00000000 EBX=00000000\nCode=<ff> ff\n",
            "it stops on the first instructions",
            "KVM internal error. Suberror: 1",
        ),
        ("KVM: entry failed, hardware error 0x7\nEAX=0\n", "it stops on the first", "KVM: entry failed, hardware"),
        (f"{DENIED}\n{accelerator.QEMU}: failed to initialize kvm: Permission denied\n", "this user may not", DENIED),
        (
            "ioctl(KVM_CREATE_VM) failed: 16 Device or resource busy\n",
            "another hypervisor has the processor's virtualisation",
            "16 Device or resource busy",
        ),
        ("Could not access KVM kernel module: No such device\n", "no KVM behind it", "No such device"),
        ("", "does not run a tiny payload", "nothing, and ended with 7"),
    ],
)
def test_why_kvm_is_not_taken_is_a_sentence_of_ours_with_what_qemu_said(
    words: str, clause: str, evidence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(*_: object, **__: object) -> subprocess.CompletedProcess[bytes]:
        return subprocess.CompletedProcess([], 7, b"", words.encode())

    monkeypatch.setattr(accelerator, "_kvm_problem", lambda: None)
    monkeypatch.setattr(subprocess, "run", run)
    choice = accelerator.choose()
    assert choice.accelerator == "tcg"
    before, _, after = choice.why.partition("; QEMU said: ")
    assert clause in before
    assert accelerator.brief(choice.why) == before
    assert after.startswith(evidence) or evidence in after
    assert "\n" not in choice.why
    assert accelerator.QEMU not in choice.why


def test_a_device_that_is_not_there_or_cannot_be_opened_is_told_apart(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(accelerator, "DEVICE", tmp_path / "kvm")
    assert accelerator.choose() == Choice("tcg", f"this machine offers no KVM: there is no {tmp_path / 'kvm'}")

    def opened(number: int) -> str:
        def fail(*_: object) -> int:
            raise OSError(number, os.strerror(number))

        with monkeypatch.context() as patched:
            patched.setattr(os, "open", fail)
            return str(accelerator._kvm_problem())

    assert opened(errno.EACCES).startswith("KVM is there, but this user may not use it")
    assert opened(errno.EPERM).endswith("(Operation not permitted)")
    assert "no KVM behind it" in opened(errno.ENODEV)
    (tmp_path / "kvm").touch()
    assert accelerator._kvm_problem() is None


def test_a_reason_in_qemus_words_alone_is_not_gone_by(monkeypatch: pytest.MonkeyPatch) -> None:
    """An older checkout has left it in the same cache."""
    identity = {key: value for key, value in accelerator._identity().items() if key != "words"}
    choice = {"accelerator": "tcg", "why": f"under KVM, a tiny payload did not run: {MSRS}"}
    (paths.cache() / "accelerator.json").write_text(json.dumps({"identity": identity, "choice": choice}))
    monkeypatch.setattr(accelerator, "_kvm_problem", lambda: None)
    monkeypatch.setattr(accelerator, "runs", lambda *_: (False, MSRS))
    assert accelerator.choose().why.startswith("KVM is there, but broken: it lacks a part of the processor")


def test_the_payload_runs_wherever_the_cache_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """QEMU gives commas and blanks in the path of a drive a meaning."""
    monkeypatch.setattr(paths, "tmp", lambda: tmp_path / "a, b")
    (tmp_path / "a, b").mkdir()
    assert accelerator.runs("tcg") == (True, "a tiny payload ran")


def test_a_damaged_memory_is_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accelerator, "_kvm_problem", lambda: None)
    monkeypatch.setattr(accelerator, "runs", lambda *_: (False, "it did not run"))
    (paths.cache() / "accelerator.json").write_text('{"identity": ')
    why = "KVM is there, but does not run a tiny payload; QEMU said: it did not run"
    assert accelerator.choose() == Choice("tcg", why)
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
