"""Controls in force in guests: each is carried out as a campaign does it, guests want more memory
than they have, and the control's own gate judges what was counted.
"""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from dataclasses import replace

import pytest
from served import listing
from shells import run

from campaigns import experiment, gates, kernel_log
from campaigns.conditions import Conditions
from campaigns.gates import Measured
from campaigns.metrics import GUEST_COUNTERS, Readings, counter_metrics, readings
from lab.emulator.process import UNLIMITED
from lab.hosts.emulated import EmulatedHost
from lab.lifecycle import OpenLab
from policies import apply
from policies import registry as policies

pytestmark = [pytest.mark.lab, pytest.mark.long]

SECONDS = 300
MORE_MIB = 64
MORE_THAN_IS_LEFT_MIB = 120
"""A guest of 160 MiB has 130 for programs, and a RAM disk of 32 in it."""
MORE_THAN_ALL_MIB = 150

SWAPS = {"guest1": "zram", "guest2": "zswap", "guest3": "ramdisk-swap"}
KINDS = {"zram": "zram", "zswap": "zswap", "ramdisk-swap": "ramdisk"}


def text(mib: int) -> str:
    """Sh that prints so much text, which can be compressed, and no page of which is one word."""
    return f'yes "$(seq 1 400)" | head -c {mib}M'


def fill(mib: int) -> str:
    """Sh for a guest: put it in memory that can only be swapped, and read it back."""
    return f"mount -o remount,size=200M /dev/shm\n{text(mib)} > /dev/shm/data\ncksum < /dev/shm/data\n"


def made_here(mib: int) -> str:
    """What a guest has to have read."""
    return subprocess.run(["sh", "-c", f"{text(mib)} | cksum"], capture_output=True, text=True, check=True).stdout


def conditions(policy: str) -> Conditions:
    """Those of the demo's builds with even shares, under a policy."""
    found = replace(experiment.load("kernel_build").at({}), more_ram_mib=MORE_MIB)
    return found.under(policies.parse(policy))


def prepare(host: EmulatedHost, policy: str) -> None:
    given = conditions(policy)
    apply.prepare(policies.parse(policy), given.tuning, host, given.host, given.guests)


def verdicts(
    policy: str, before: Readings, after: Readings, guests: tuple[str, ...]
) -> dict[str, tuple[float | None, bool]]:
    """Gate -> what it saw, and whether it passed: those that the control asks for itself."""
    meant = policies.parse(policy)
    measured = Measured(
        policy=meant,
        conditions=conditions(policy),
        guests=guests,
        before=before,
        after=after,
        samples=[],
        metrics=[],
        checksums={},
        skew_seconds=0,
        apart_s=0,
        logs={},
        claims=(),
    )
    own = [name for name in meant.gates if name not in policies.BASES["static"].gates]
    assert len(own) == 1
    return {gate.name: (gate.observed, gate.passed) for gate in gates.POLICY_GATES[own[0]](measured)}


def failed(found: Mapping[str, tuple[float | None, bool]]) -> list[str]:
    return [name for name, (_, passed) in found.items() if not passed]


@pytest.fixture(scope="module")
def idle(host: EmulatedHost) -> tuple[EmulatedHost, Readings]:
    """The host with the driver loaded and off, and all three kinds of swap made and none used;
    what was counted then.
    """
    host.limit_disks(UNLIMITED)
    prepare(host, "tmem-unused")
    for policy in KINDS:
        prepare(host, policy)
    return host, readings(host.read_counters())


@pytest.fixture(scope="module")
def swapped(idle: tuple[EmulatedHost, Readings]) -> tuple[dict[str, str], Readings]:
    """Each guest released under its own control, and filled: what it read back, and counters."""
    host, _ = idle
    scripts = {
        guest: apply.release_script(policies.parse(policy)) + fill(MORE_THAN_IS_LEFT_MIB)
        for guest, policy in SWAPS.items()
    }
    said = host.connections.run_all(scripts, timeout=SECONDS)
    return said, readings(host.read_counters())


def test_an_unused_tmem_is_there_and_knows_no_pool(idle: tuple[EmulatedHost, Readings]) -> None:
    host, counted = idle
    assert run(host, "guest1", "cat /sys/module/tmem/parameters/cleancache").strip() == "N"
    assert [pool for client in listing(host)["clients"] for pool in client.get("pools", [])] == []
    assert verdicts("tmem-unused", counted, counted, tuple(SWAPS)) == {"tmem_unused": (0, True)}


def test_nothing_is_swapped_to_memory_before_the_release(idle: tuple[EmulatedHost, Readings]) -> None:
    host, counted = idle
    for guest in SWAPS:
        assert run(host, guest, "cat /sys/module/zswap/parameters/enabled").strip() == "N"
        assert "ram" not in run(host, guest, "cat /proc/swaps")
        assert counted[guest, "memory"] == pytest.approx(160 * gates.PAGES_PER_MIB, abs=2 * gates.PAGES_PER_MIB)
    for policy, kind in KINDS.items():
        assert f"{kind}_stores" in failed(verdicts(policy, counted, counted, tuple(SWAPS)))


@pytest.mark.parametrize(("guest", "policy"), SWAPS.items())
def test_a_guest_swaps_to_its_own_memory_and_reads_back_what_it_wrote(
    idle: tuple[EmulatedHost, Readings], swapped: tuple[dict[str, str], Readings], guest: str, policy: str
) -> None:
    _, before = idle
    said, after = swapped
    assert said[guest] == made_here(MORE_THAN_IS_LEFT_MIB)
    found = verdicts(policy, before, after, (guest,))
    assert failed(found) == []
    stored, _ = found[f"{KINDS[policy]}_stores"]
    assert stored is not None
    assert stored > 1000
    # what another guest has made and does not use is not in force
    others = tuple(other for other in SWAPS if other != guest)
    assert failed(verdicts(policy, before, after, others))


def test_kernels_do_not_complain_of_it(
    idle: tuple[EmulatedHost, Readings], swapped: tuple[dict[str, str], Readings]
) -> None:
    assert swapped[0]
    assert kernel_log.findings(idle[0].kernel_log()) == []


def test_what_swap_in_memory_holds_is_a_metric_and_null_where_there_is_none(
    idle: tuple[EmulatedHost, Readings], swapped: tuple[dict[str, str], Readings]
) -> None:
    metrics, _ = counter_metrics(idle[1], swapped[1], SWAPS)
    found = {(metric.guest, metric.name): metric.value for metric in metrics}
    held, memory = found["guest1", "zram_held"], found["guest1", "zram_memory"]
    assert held is not None
    assert memory is not None
    assert held > memory > 0, "it compresses"
    assert (found["guest1", "zram_hits"] or 0) > 1000
    assert (found["guest2", "zswap_held"] or 0) > (found["guest2", "zswap_memory"] or 0) > 0
    assert (found["guest2", "frontswap_loads"] or 0) > 0
    # a RAM disk, which does not compress, and is full before anything goes to the disk; what is
    # read back leaves its place there
    assert (found["guest3", "swap_sectors_written"] or 0) > 0
    assert 0.7 < (found["guest3", "ramdisk_held"] or 0) / (32 * gates.PAGES_PER_MIB) <= 1
    assert found["guest1", "ramdisk_held"] is None
    assert {"zram_held", "zswap_held", "ramdisk_held"} <= {metric.spec.name for metric in GUEST_COUNTERS}


def test_a_host_of_the_declared_size_does_not_pass_for_a_larger_one(idle: tuple[EmulatedHost, Readings]) -> None:
    (_, counted) = idle
    assert failed(verdicts("more-ram", counted, counted, tuple(SWAPS))) == ["more_ram"]


def test_guests_ask_and_tmem_refuses_every_page(host: EmulatedHost) -> None:
    given = conditions("tmem-refusing")
    host.reset(given.host, given.guests)
    host.limit_disks(UNLIMITED)
    prepare(host, "tmem-refusing")
    before = readings(host.read_counters())
    script = apply.release_script(policies.parse("tmem-refusing")) + fill(MORE_THAN_ALL_MIB)
    filled = host.run("guest1", script, timeout=SECONDS)
    # evicted by the filling, and asked for again
    host.run("guest1", "cat /usr/lib/gcc/*/*/cc1 | cksum", timeout=SECONDS)
    after = readings(host.read_counters())
    assert filled == made_here(MORE_THAN_ALL_MIB)
    assert failed(verdicts("tmem-refusing", before, after, ("guest1",))) == []
    for kind in ("ephemeral", "persistent"):
        assert (after["guest1", f"tmem_{kind}_puts_tried"] or 0) > 100, kind
        assert after["guest1", f"tmem_{kind}_pages"] == 0
        assert f"{kind}.put.frozen" in run(host, "guest1", "grep -v ' 0$' /sys/kernel/debug/tmem/counters")
    # what had not been refused would not pass
    assert "tmem_unused" in failed(verdicts("tmem-unused", before, after, ("guest1",)))


def test_more_ram_is_there_and_in_the_guests_hands(lab: OpenLab) -> None:
    given = conditions("more-ram")
    assert given.host.guest_memory_mib == 480 + MORE_MIB
    larger = lab.hosts[0]
    assert isinstance(larger, EmulatedHost)
    one = replace(given.guests, count=1)
    larger.reset(given.host, one)
    apply.prepare(policies.parse("more-ram"), given.tuning, larger, given.host, given.guests)
    counted = readings(larger.read_counters())
    assert counted["guest1", "memory"] == pytest.approx(181 * gates.PAGES_PER_MIB, abs=2 * gates.PAGES_PER_MIB)
    found = verdicts("more-ram", counted, counted, ("guest1",))
    assert failed(found) == []
    print(f"off by {found['more_ram'][0]:.1f} MiB")
