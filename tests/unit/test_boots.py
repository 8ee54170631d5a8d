"""Guests that do not boot: what their domains do, and what they said on their consoles."""

from __future__ import annotations

import stat
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

import pytest

from lab.hosts import boots
from lab.hosts.boots import BootWatch, Domain, GuestBootError
from lab.hosts.host import _END_OF_LOG, XenGuest, XenHost
from lab.remote.ssh import CommandError, Connections, UnreachableError

XL = """#!/bin/sh
echo "Name ID Mem VCPUs State Time(s)"
echo "Domain-0 0 384 2 r----- 120.0"
echo "guest1 1 160 1 -b---- 3.0"
echo "guest2 2 160 1 ---sc- 1.0"
echo "guest33 3 160 1 r----- 1.0"
"""
PANIC = "[    0.9] Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(202,0)"


@pytest.fixture
def dom0(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, connections: Connections) -> Connections:
    """A dom0 with three guests, one of which crashed, and their consoles' logs."""
    xl = tmp_path / "bin" / "xl"
    xl.write_text(XL)
    xl.chmod(xl.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setattr(boots, "CONSOLES", str(tmp_path))
    (tmp_path / "guest-guest1.log").write_text("".join(f"line {number}\n" for number in range(40)))
    (tmp_path / "guest-guest2.log").write_text(f"== this is a line of the console\n{PANIC}\n")
    return connections


def test_domains_are_told_with_the_last_lines_of_their_consoles(dom0: Connections) -> None:
    text = dom0.run("dom0", boots.look_script(["guest1", "guest2", "guest3"]))
    found = boots.parse_look(text)
    assert {name: domain.state for name, domain in found.items()} == {
        "guest1": "blocked",
        "guest2": "crashed",
        "guest3": "gone",
    }
    assert found["guest1"].shown.splitlines() == [f"line {number}" for number in range(28, 40)]
    assert found["guest2"].said.splitlines()[-1] == PANIC
    assert [name for name, domain in found.items() if domain.lost] == ["guest2", "guest3"]


def test_a_guest_says_nothing_about_another_one(dom0: Connections, tmp_path: Path) -> None:
    forged = "== guest2 --c--- 0\n== a b 1.2.3\n"
    for log in tmp_path.rglob("guest-guest1.log"):
        log.write_text(forged)
    found = boots.parse_look(dom0.run("dom0", boots.look_script(["guest1"])))
    assert list(found) == ["guest1"]
    assert found["guest1"].said == forged.strip()


@pytest.mark.parametrize(
    ("said", "lost"),
    [
        ("[    1.2] Oops: int3: 0000 [#1] PREEMPT SMP\nmore", True),
        (PANIC, True),
        ("Welcome to Debian", False),
        ("", False),
    ],
)
def test_a_panic_on_the_console_is_an_end_whatever_the_domain_does(said: str, lost: bool) -> None:
    assert Domain("guest1", "-b----", said).lost is lost


def watch(domain: Domain, monkeypatch: pytest.MonkeyPatch) -> tuple[BootWatch, list[Collection[str]]]:
    """A watch that may look at once, and the looks it took."""
    monkeypatch.setattr(boots, "LOOK_SECONDS", 0.0)
    looks: list[Collection[str]] = []

    def look(names: Collection[str]) -> dict[str, Domain]:
        looks.append(names)
        return {domain.name: domain}

    return BootWatch("xen1", look), looks


def test_a_guest_that_crashed_ends_the_wait_with_what_it_said(monkeypatch: pytest.MonkeyPatch) -> None:
    made, _ = watch(Domain("guest2", "---sc-", PANIC), monkeypatch)
    with pytest.raises(GuestBootError, match="guest2 panicked while it booted") as raised:
        made.check("guest2")
    assert not raised.value.panicked  # as it would be at every boot
    assert raised.value.where == "booting guest2 on xen1"
    assert PANIC in raised.value.why


def test_a_guest_that_is_late_is_told_with_its_domains_state(monkeypatch: pytest.MonkeyPatch) -> None:
    made, _ = watch(Domain("guest1", "-b----", "Starting sshd"), monkeypatch)
    made.check("guest1")
    error = made.late("guest1", 600)
    assert error.what == "guest1 did not let us in within 600 s, and its domain is blocked"
    assert "Starting sshd" in error.why
    assert not error.panicked


class OneHost(XenHost):
    """A host of which only the waiting is tried."""

    kind = "physical"

    def reset(self, host: object, guests: object) -> None:
        raise NotImplementedError


def test_waiting_for_guests_ends_when_one_has_crashed(dom0: Connections, monkeypatch: pytest.MonkeyPatch) -> None:
    """It took the whole bound, twice, to say that the guest cannot be reached by SSH."""
    monkeypatch.setattr(boots, "LOOK_SECONDS", 0.0)
    tries: Iterator[None] = iter([None])

    def wait(name: str, _seconds: float, *, alive: Callable[[], None]) -> None:
        if name == "guest2":
            next(tries)
            alive()
            raise AssertionError("waits for a guest that crashed")

    monkeypatch.setattr(dom0, "wait", wait)
    with pytest.raises(GuestBootError, match="guest2 panicked") as raised:
        OneHost("xen1", dom0)._wait_for_guests(["guest1", "guest2"], 600)
    assert PANIC in raised.value.why


def test_a_guest_that_never_answers_is_told_by_its_domain(dom0: Connections, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []

    def wait(_name: str, seconds: float, *, alive: Callable[[], None]) -> None:
        waits.append(seconds)
        raise UnreachableError("guest1 cannot be reached by SSH")

    monkeypatch.setattr(dom0, "wait", wait)
    with pytest.raises(GuestBootError, match="its domain is blocked") as raised:
        OneHost("xen1", dom0)._wait_for_guests(["guest1"], 600)
    assert "line 39" in raised.value.why
    assert waits == [600, 600]  # it had said something by the first time, and no more by the second


@pytest.mark.parametrize(
    ("seen", "moves"),
    [
        ([("a", 3.0), ("a b", 3.1)], [True, True]),  # says something
        ([("a", 3.0), ("a", 90.0)], [True, True]),  # works
        ([("a", 3.0), ("a", 4.0)], [True, False]),  # idles
        ([("", 3.0)], [False]),
    ],
)
def test_a_boot_on_a_busy_machine_takes_as_long_as_it_takes(seen: list[tuple[str, float]], moves: list[bool]) -> None:
    rows = iter(seen)

    def look(_names: Collection[str]) -> dict[str, Domain]:
        said, seconds = next(rows)
        return {"guest1": Domain("guest1", "-b----", said, seconds)}

    made = BootWatch("xen1", look)
    assert [made.moved("guest1", 300) for _ in seen] == moves


@pytest.mark.parametrize(
    ("script", "step", "where"),
    [
        ("set -e\nfalse", "giving the guests their memory", "dom0: giving the guests their memory"),
        ("set -e\nfalse", "", "dom0: false"),
        ("# put-file.sh\nset -- a\nfalse", "", "dom0: put-file.sh"),
    ],
)
def test_where_names_the_step(script: str, step: str, where: str, connections: Connections) -> None:
    with pytest.raises(CommandError) as raised:
        connections.run("dom0", script, step=step)
    assert raised.value.where == where


def test_a_host_tells_which_guests_are_lost(dom0: Connections) -> None:
    host = OneHost("xen1", dom0)
    host._guests = {name: XenGuest(name, dom0) for name in ("guest1", "guest2")}
    (lost,) = host.lost().values()
    assert lost.startswith("guest2 is crashed: ")
    assert PANIC in lost


def test_of_a_host_with_a_lost_machine_the_others_are_kept(dom0: Connections, monkeypatch: pytest.MonkeyPatch) -> None:
    host = OneHost("xen1", dom0)
    host._guests = {name: XenGuest(name, dom0) for name in ("guest1", "guest2")}

    def answered(name: str, _script: str, **_: object) -> str:
        if name == "guest2":
            raise UnreachableError("guest2 cannot be reached by SSH")
        return f"(XEN) fine\n{_END_OF_LOG}\nfine\n" if name == "dom0" else "fine\n"

    monkeypatch.setattr(dom0, "run", answered)
    assert host.kernel_log() == {"hypervisor": "(XEN) fine\n", "dom0": "fine\n", "guest1": "fine\n"}
    assert set(host.evidence(2)) == {"guests.txt", "network.txt", "guests-later.txt"}
    host._begin_reset()
    assert (host.guests, host._sizing, host._driver) == ({}, None, None)


def test_a_panic_by_the_emulators_fault_is_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    said = "\n".join(["[    1.2] Oops: int3: 0000 [#1]", *(f"RIP {number}" for number in range(40)), PANIC])
    made, _ = watch(Domain("guest2", "---sc-", said), monkeypatch)
    with pytest.raises(GuestBootError) as raised:
        made.check("guest2")
    assert raised.value.panicked
    assert len(raised.value.why.splitlines()) == 1 + boots.SHOWN_LINES
