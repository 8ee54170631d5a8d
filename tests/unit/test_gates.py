"""Each gate, and the kernel-log patterns, on runs that should pass and runs that should not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from campaign_fakes import write_experiment

from campaigns import gates, kernel_log
from campaigns.gates import Measured
from campaigns.records import BarrierRecord
from common.metrics import Metric
from lab.api import Sample
from policies import registry as policies
from workloads import registry

GUESTS = ("guest1", "guest2", "guest3")
START = 160 * 256
HOST = 480 * 256


@pytest.fixture
def measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Measured:
    monkeypatch.setitem(registry._CLASSES, "fake", "campaign_fakes:FakeLoad")
    found = write_experiment(tmp_path)
    before: dict[tuple[str, str], float | int | None] = {
        ("hypervisor", "free_memory"): HOST - 3 * START,
        ("hypervisor", "tmem_ephemeral_pages"): 0,
        ("hypervisor", "tmem_free_pages"): 0,
    }
    after = dict(before)
    for guest in GUESTS:
        before |= {(guest, "memory"): START, (guest, "vcpu_seconds"): 1.0}
        before |= {(guest, "tmem_ephemeral_puts"): 0, (guest, "tmem_persistent_puts"): 0}
        after |= {(guest, "memory"): 20_000, (guest, "vcpu_seconds"): 9.0}
        after |= {(guest, "tmem_ephemeral_puts"): 500, (guest, "tmem_persistent_puts"): 0}
    return Measured(
        policy=policies.parse("selfballoon+tmem"),
        conditions=found.at({}),
        guests=GUESTS,
        before=before,
        after=after,
        samples=[],
        metrics=[Metric("sectors_read", "sectors", 1000, guest) for guest in GUESTS],
        checksums={guest: {"vmscan.o": "abc"} for guest in GUESTS},
        skew_seconds=0.1,
        apart_s=0.4,
        logs={"dom0": "fine\n"},
        claims=found.claims,
    )


def _failed(measured: Measured) -> set[str]:
    return {result.name for result in gates.check(measured)[0] if not result.passed}


def _with(measured: Measured, side: str, values: Mapping[tuple[str, str], float | None]) -> Measured:
    return replace(measured, **{side: {**getattr(measured, side), **values}})


def test_a_good_run_passes_every_gate(measured: Measured) -> None:
    results, notes = gates.check(measured)
    assert _failed(measured) == set()
    assert notes == []
    assert {result.name: result.observed for result in results} == {
        "guests_alive": 3,
        "equal_start": 0,
        "overcommitted": pytest.approx(1.6),
        "memory_moved": pytest.approx(1 - 20_000 / START),
        "tmem_puts": 1500,
        "reads_happened": 3000,
        "same_output": 1,
        "barrier_skew": 0.1,
        "readings_close": 0.4,
        "kernel_logs": 0,
        "has_sectors_read": 3,
    }


@pytest.mark.parametrize(
    ("change", "gate"),
    [
        (lambda e: _with(e, "after", {("guest2", "vcpu_seconds"): None}), "guests_alive"),
        (lambda e: _with(e, "before", {("guest2", "memory"): START - 3 * 256}), "equal_start"),
        (lambda e: _with(e, "before", {("guest2", "memory"): None}), "equal_start"),
        (lambda e: _with(e, "before", {("hypervisor", "free_memory"): 10 * HOST}), "overcommitted"),
        (lambda e: _with(e, "before", {("hypervisor", "free_memory"): None}), "overcommitted"),
        (
            lambda e: _with(_with(e, "before", {("guest3", "memory"): START}), "after", {("guest3", "memory"): START}),
            "memory_moved",
        ),
        (lambda e: _with(e, "after", {(guest, "tmem_ephemeral_puts"): 0 for guest in GUESTS}), "tmem_puts"),
        (lambda e: _with(e, "after", {(guest, "tmem_ephemeral_puts"): None for guest in GUESTS}), "tmem_puts"),
        (lambda e: _with(e, "after", {("guest1", "tmem_ephemeral_puts"): None}), "tmem_puts"),
        (lambda e: _with(e, "before", {("guest1", "tmem_ephemeral_puts"): None}), "tmem_puts"),
        (lambda e: _with(e, "before", {("guest2", "tmem_persistent_puts"): None}), "tmem_puts"),
        (lambda e: _with(e, "before", {("guest1", "tmem_ephemeral_puts"): 501}), "tmem_puts"),
        (lambda e: _with(e, "before", {("hypervisor", "tmem_ephemeral_pages"): None}), "overcommitted"),
        (lambda e: _with(e, "before", {("hypervisor", "tmem_free_pages"): None}), "overcommitted"),
        (
            lambda e: replace(e, metrics=[Metric("sectors_read", "sectors", 10, guest) for guest in GUESTS]),
            "reads_happened",
        ),
        (lambda e: replace(e, checksums={**e.checksums, "guest2": {"vmscan.o": "abd"}}), "same_output"),
        (lambda e: replace(e, checksums={"guest1": {"vmscan.o": "abc"}}), "same_output"),
        (lambda e: replace(e, skew_seconds=5.0), "barrier_skew"),
        (lambda e: replace(e, apart_s=2.67), "readings_close"),
        (lambda e: replace(e, apart_s=None), "readings_close"),
        (
            lambda e: replace(e, logs={"guest1": "[1] INFO: task cc1:12 blocked for more than 120 seconds.\n"}),
            "kernel_logs",
        ),
        (
            lambda e: replace(e, metrics=[*e.metrics[:2], Metric("sectors_read", "sectors", None, "guest3")]),
            "has_sectors_read",
        ),
    ],
)
def test_each_gate_fails_for_its_own_reason(measured: Measured, change: Any, gate: str) -> None:
    assert gate in _failed(change(measured))


def test_readings_are_held_against_the_release_and_the_last_end() -> None:
    """One cell's first reading came 2.67 s before the release, and nothing said so."""
    ran = BarrierRecord(0.5, 1000.0, {"guest1": 0.0, "guest2": 0.5}, {"guest1": 60.0, "guest2": 70.0})

    def at(*times: float) -> list[Sample]:
        return [Sample(time, "dom0", "vcpu_seconds", "s", 1.0) for time in times]

    assert gates.apart(at(999.5, 999.75), at(1070.25), ran) == 0.5
    assert gates.apart(at(997.33, 999.75), at(1070.25), ran) == pytest.approx(2.67)
    assert gates.apart(at(999.75), at(1070.25, 1074.0), ran) == 4.0
    assert gates.apart(at(1003.0), at(1070.0), ran) == 3.0, "it was read within the run"
    assert gates.apart(at(1000.0), at(1060.0), ran) == 10.0, "another guest still ran"
    assert gates.apart([], at(1070.0), ran) is None
    assert gates.apart(at(1000.0), [], ran) is None


def test_gates_that_came_later_for_other_policies_leave_a_campaign_comparable() -> None:
    asked = [policies.parse("static"), policies.parse("selfballoon")]
    now = gates.names()
    assert gates.same_version(now, asked)
    assert gates.same_version([name for name in now if name != "zram_used"], asked)
    assert not gates.same_version([name for name in now if name != "zram_used"], [policies.parse("zram")])
    assert not gates.same_version([name for name in now if name != "equal_start"], asked)
    assert not gates.same_version([*now, "one_that_is_gone"], asked)


def test_a_broken_kernel_does_not_flood_the_record(measured: Measured) -> None:
    results, notes = gates.check(replace(measured, logs={"guest1": "Out of memory: Killed process 1\n" * 1000}))
    assert next(result.observed for result in results if result.name == "kernel_logs") == 1000
    assert len(notes) == 21
    assert "980 more lines" in notes[-1]


def test_a_guest_that_gave_memory_only_for_a_while_is_seen_in_the_samples(measured: Measured) -> None:
    still = {(guest, "memory"): START for guest in GUESTS}
    flat = _with(_with(measured, "before", still), "after", still)
    assert "memory_moved" in _failed(flat)
    assert "memory_moved" not in _failed(
        replace(flat, samples=[Sample(1.0, guest, "memory", "pages", START // 2) for guest in GUESTS])
    )


def test_static_guests_have_to_fit_and_owe_no_ballooning_and_no_puts(measured: Measured) -> None:
    static = replace(measured, policy=policies.parse("static"))
    assert {result.name for result in gates.check(static)[0]}.isdisjoint({"overcommitted", "memory_moved", "tmem_puts"})
    assert _failed(static) == set()
    assert "fits" in _failed(_with(static, "before", {("guest1", "memory"): HOST}))


def test_tmem_under_static_memory_is_checked_too(measured: Measured) -> None:
    cached = replace(measured, policy=policies.parse("static+cleancache"))
    assert _failed(_with(cached, "after", {(guest, "tmem_ephemeral_puts"): None for guest in GUESTS})) == {"tmem_puts"}


def test_a_xen_without_tmem_has_no_pages_in_it(measured: Measured) -> None:
    without = {("hypervisor", f"tmem_{counter}"): None for counter in ("ephemeral_pages", "free_pages")}
    ballooning = replace(_with(measured, "before", without), policy=policies.parse("selfballoon"))
    assert "overcommitted" not in _failed(ballooning)


def test_memory_that_tmem_holds_counts_as_the_hosts(measured: Measured) -> None:
    freed = {("hypervisor", "free_memory"): HOST - 3 * START - 10_000, ("hypervisor", "tmem_ephemeral_pages"): 10_000}
    (gate,) = (result for result in gates.check(_with(measured, "before", freed))[0] if result.name == "overcommitted")
    assert gate.observed == pytest.approx(1.6)


@pytest.mark.parametrize(
    "line",
    [
        "Out of memory: Killed process 1234 (cc1) total-vm:80000kB",
        "cc1 invoked oom-killer: gfp_mask=0x100cca",
        "BUG: Bad page state in process cc1",
        "cc1[812]: segfault at 7f2 ip 00007f error 4 in cc1",
        "blk_update_request: I/O error, dev xvda, sector 2048",
        "Read-error on swap-device (202:16:1024)",
        "EXT4-fs error (device xvda): ext4_lookup:1700",
        "INFO: task kswapd0:30 blocked for more than 120 seconds.",
        "watchdog: BUG: soft lockup - CPU#0 stuck for 22s!",
        "rcu: INFO: rcu_sched self-detected stall on CPU",
        "WARNING: CPU: 0 PID: 12 at mm/page_alloc.c:4000",
        "cc1: page allocation failure: order:0",
        "(XEN) Assertion 'page' failed at tmem.c:120",
        "(XEN) domain_crash called from p2m.c:1",
        "Kernel panic - not syncing: Fatal exception",
    ],
)
def test_what_a_broken_kernel_says_is_found(line: str) -> None:
    (found,) = kernel_log.findings({"guest1": f"[    1.0] fine\n[   12.5] {line}\n"})
    assert found.source == "guest1"
    assert line in found.line
    assert found.reason


@pytest.mark.parametrize(
    "line",
    [
        "Linux version 5.10.223 (debian-kernel@lists.debian.org)",
        "Spectre V2 : WARNING: Unprivileged eBPF is enabled with eIBRS on",
        "Kernel command line: root=/dev/xvda panic=1 oom-kill",
        "rcu: \tRCU CPU stall warnings timeout set to 21",
        "tmem: self-ballooning enabled",
        "Adding 262140k swap on /dev/xvdb.  Priority:-2 extents:1 across:262140k SSFS",
        "(XEN) *** Serial input to DOM0 (type 'CTRL-a' three times to switch input)",
        "EXT4-fs (xvda): mounted filesystem with ordered data mode",
    ],
)
def test_what_a_healthy_kernel_says_is_not(line: str) -> None:
    assert kernel_log.findings({"guest1": line}) == []
