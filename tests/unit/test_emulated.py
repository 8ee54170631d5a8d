"""The emulated host between QEMU and its machines: what it makes of a machine that does not come
up. QEMU is made up here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from lab.api import GuestSizing, HostSizing
from lab.emulator import accelerator, monitor
from lab.emulator.process import BrokenError, Emulator, GoneError, Images, Process
from lab.hosts import emulated
from lab.hosts.emulated import EmulatedHost, NotBootedError
from lab.inventory import Emulated

HOST = HostSizing(guest_memory_mib=480, dom0_memory_mib=384, vcpus=2)
GUESTS = GuestSizing(count=2, vcpus=1, memory_max_mib=256, memory_start_mib=160, swap_mib=64)
SUBERROR = "KVM internal error. Suberror: 1"


def images() -> Images:
    some = Path("/nonexistent")
    return Images(some, some, some, some, some, some, {"xen": "1"}, {"vmlinuz": some})


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: list[str]) -> EmulatedHost:
    """A host on a machine whose KVM runs the tiny payload, and whose QEMU runs when asked."""
    monkeypatch.setenv("OVERCOMMIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(accelerator, "runs", lambda *_: (True, "a tiny payload ran"))
    monkeypatch.setattr(accelerator, "_kvm_problem", lambda: None)
    monkeypatch.setattr(emulated, "qemu_version", lambda: "QEMU emulator version 7.2")
    made = EmulatedHost("test", "xen1", Emulated(kind="emulated"), images, said.append)
    monkeypatch.setattr(made, "stop", lambda: None)
    monkeypatch.setattr(made, "_is_reset", lambda *_: None)
    return made


def status(monkeypatch: pytest.MonkeyPatch, word: str) -> None:
    """QEMU runs, and says that its machine is in this state."""
    process = Process(1, 1, "boot", 22, "machine", [], 0.0)
    monkeypatch.setattr(Emulator, "recorded", lambda _self: process)
    monkeypatch.setattr(monitor, "execute", lambda *_args, **_more: {"status": word})


def test_a_machine_that_qemu_has_stopped_for_good_is_broken(
    host: EmulatedHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    status(monkeypatch, "internal-error")
    host.emulator.log.write_text(f"{SUBERROR}\n")
    assert host.emulator.condition() == "broken"
    with pytest.raises(BrokenError, match="internal error") as raised:
        host.emulator.require_running()
    assert SUBERROR in raised.value.why


def test_a_boot_ends_at_once_when_qemu_has_stopped_for_good(
    host: EmulatedHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It took three minutes to notice: the bound of the whole boot."""
    status(monkeypatch, "internal-error")
    host.emulator.log.write_text(f"{SUBERROR}\n")
    monkeypatch.setattr(emulated.time, "sleep", lambda _s: pytest.fail("waits for a machine that has stopped for good"))
    with pytest.raises(NotBootedError) as raised:
        host._wait_for_dom0(emulated.time.monotonic())
    assert SUBERROR in raised.value.why


class Ended:
    """A child that has ended with this code."""

    def __init__(self, code: int) -> None:
        self.poll = lambda: code


@pytest.mark.parametrize(
    ("code", "error"),
    [
        (0, NotBootedError),  # a triple fault: the machine resets, and QEMU ends without a word
        (-9, GoneError),
    ],
)
def test_a_machine_that_resets_itself_while_it_boots_is_none_that_was_killed(
    host: EmulatedHost, monkeypatch: pytest.MonkeyPatch, code: int, error: type[Exception]
) -> None:
    monkeypatch.setattr(Emulator, "recorded", lambda _self: None)
    host.emulator.log.write_text("")
    monkeypatch.setattr(host.emulator, "_child", Ended(code))
    with pytest.raises(error):
        host._wait_for_dom0(emulated.time.monotonic())


Load = Callable[..., Mapping[str, Any]]


def under(load: Mapping[str, Exception | None]) -> tuple[list[str], Load]:
    """The accelerators of the loads that were tried, and a load that ends so under each."""
    tried: list[str] = []

    def _load(drives: Any, _tag: str, _sizing: GuestSizing, _boot: str | None) -> Mapping[str, Any]:
        tried.append(drives.spec.accelerator)
        if (error := load.get(drives.spec.accelerator)) is not None:
            raise error
        return {"logs": {}, "fixed": {}}

    return tried, _load


@pytest.mark.parametrize(
    "error", [NotBootedError("QEMU stopped"), BrokenError("QEMU stopped", why=f"{SUBERROR}\nRAX=0")]
)
def test_software_emulation_takes_over_from_kvm_that_runs_no_host(
    error: Exception, host: EmulatedHost, monkeypatch: pytest.MonkeyPatch, said: list[str]
) -> None:
    tried, load = under({"kvm": error})
    monkeypatch.setattr(host, "_load", load)
    assert host.accelerator == "kvm"
    host.reset(HOST, GUESTS)
    assert tried == ["kvm", "tcg"]
    assert host.accelerator == "tcg"
    assert "software emulation takes over" in said[0]
    another = EmulatedHost("test", "xen2", Emulated(kind="emulated"), images, said.append)
    assert another.accelerator == "tcg"  # it is remembered
    why = another._accelerator().why
    assert why.startswith("KVM is there, but cannot run Xen and guests in it: QEMU stopped")
    assert (f"({SUBERROR})" in why, "RAX" in why) == (isinstance(error, BrokenError), False)


def test_kvm_that_has_run_the_host_is_not_left_for_software_emulation(
    host: EmulatedHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A campaign's cells would be of two kinds."""
    monkeypatch.setattr(host, "_load", under({})[1])
    host.reset(HOST, GUESTS)
    tried, load = under({"kvm": NotBootedError("QEMU stopped")})
    monkeypatch.setattr(host, "_load", load)
    with pytest.raises(NotBootedError):
        host.reset(HOST, GUESTS)
    assert set(tried) == {"kvm"}


def test_a_host_that_stays_broken_is_an_error(host: EmulatedHost, monkeypatch: pytest.MonkeyPatch) -> None:
    tried, load = under({"kvm": NotBootedError("x"), "tcg": GoneError("QEMU is gone")})
    monkeypatch.setattr(host, "_load", load)
    with pytest.raises(GoneError):
        host.reset(HOST, GUESTS)
    assert tried == ["kvm", "tcg", "tcg"]


def test_a_kernel_that_panics_by_the_emulators_fault_is_booted_again_and_counted(
    host: EmulatedHost, monkeypatch: pytest.MonkeyPatch, said: list[str]
) -> None:
    fates = iter([NotBootedError("dom0 died", why="Oops: int3", panicked=True), None])

    def load(*_: object) -> Mapping[str, Any]:
        if error := next(fates):
            raise error
        host._panicked = len(host._panics)
        return {"logs": {}, "fixed": {}}

    monkeypatch.setattr(host, "_load", load)
    object.__setattr__(host.settings, "accelerator", "tcg")
    host.reset(HOST, GUESTS)
    assert host._panicked == 1
    assert "Oops: int3" in said[0]


def test_a_kernel_that_panics_every_time_is_an_error(host: EmulatedHost, monkeypatch: pytest.MonkeyPatch) -> None:
    object.__setattr__(host.settings, "accelerator", "tcg")
    tried, load = under({"tcg": NotBootedError("dom0 died", why="Kernel panic", panicked=True)})
    monkeypatch.setattr(host, "_load", load)
    with pytest.raises(NotBootedError):
        host.reset(HOST, GUESTS)
    assert len(tried) == 1 + emulated.MOST_PANICS


def test_a_panic_on_the_serial_console_ends_the_boot(host: EmulatedHost, monkeypatch: pytest.MonkeyPatch) -> None:
    status(monkeypatch, "running")
    line = "[    2.1] Oops: int3: 0000 [#1] PREEMPT SMP NOPTI"
    host.emulator.serial.write_text(f"(XEN) fine\n{line}\n")
    with pytest.raises(NotBootedError) as raised:
        host._wait_for_dom0(emulated.time.monotonic())
    assert (raised.value.why, raised.value.panicked) == (line, True)
