"""Self-ballooning and self-shrinking: every setting in sysfs, changed while the driver runs, and
what it changes.

A step of the balloon is seen by its target: the settings are written while steps are a quarter of
an hour apart, then the interval is made one second until the target moves. Steps are compared with
each other, since the goal itself depends on what the guest's processes have committed.
"""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from shells import run

from common.errors import LabError
from lab.emulator.process import UNLIMITED
from lab.hosts.emulated import EmulatedHost
from lab.lifecycle import DEFAULT_GUESTS, DEFAULT_HOST, OpenLab

pytestmark = pytest.mark.lab

GUEST = "guest1"
DEVICE = "/sys/devices/system/xen_memory/xen_memory0"
SETTINGS = f"{DEVICE}/selfballoon"
START_MIB = 160
MAX_MIB = DEFAULT_GUESTS.memory_max_mib
SECONDS = 200
NEVER = 1000
"""An interval, in seconds, in which no test ends."""


@pytest.fixture(scope="module")
def balloon(lab: OpenLab) -> EmulatedHost:
    """A host whose first guest may grow to its maximum, and has the driver with all but
    self-shrinking and self-ballooning switched on.
    """
    host = lab.hosts[0]
    assert isinstance(host, EmulatedHost), "the tests reset the host to a snapshot"
    host.reset(DEFAULT_HOST, DEFAULT_GUESTS)
    host.limit_disks(UNLIMITED)
    run(host, "dom0", f"xl destroy guest3; xl mem-set {GUEST} {START_MIB}m; xl mem-max {GUEST} {MAX_MIB}", timeout=120)
    run(host, GUEST, "modprobe tmem selfballooning=0 selfshrinking=0")
    source = (Path(__file__).parent / "pattern.c").read_bytes()
    host.run(GUEST, "cat > /root/pattern.c && gcc -O2 -o /root/pattern /root/pattern.c", timeout=SECONDS, stdin=source)
    return host


@pytest.fixture(autouse=True)
def at_rest(balloon: EmulatedHost) -> None:
    """No pattern of an earlier test: what it has committed is part of the balloon's goal."""
    run(balloon, GUEST, "pkill -x pattern; rm -f /run/pattern; true")


def read(host: EmulatedHost, name: str) -> int:
    return int(run(host, GUEST, f"cat {SETTINGS}/{name}"))


def start_from(host: EmulatedHost, mib: int) -> None:
    """The defaults, but nothing on, and a balloon that has come to rest at a size."""
    values = {
        "selfballooning": 0,
        "frontswap_selfshrinking": 0,
        "selfballoon_interval": NEVER,
        "selfballoon_downhysteresis": 8,
        "selfballoon_uphysteresis": 1,
        "selfballoon_min_usable_mb": 32,
        "selfballoon_reserved_mb": 20,
        "frontswap_hysteresis": 20,
        "frontswap_inertia": 3,
    }
    writes = "; ".join(f"echo {value} > {name}" for name, value in values.items())
    run(
        host,
        GUEST,
        f"set -e; cd {SETTINGS}; {writes}; echo {mib * 1024} > ../target_kb; "
        f"while [ $(cat ../info/current_kb) -ne {mib * 1024} ]; do sleep 0.2; done",
        timeout=SECONDS,
    )


def step(host: EmulatedHost, **settings: int) -> float:
    """How far one step moves the target, in MiB, with these settings."""
    writes = "; ".join(f"echo {value} > {name}" for name, value in settings.items())
    moved = run(
        host,
        GUEST,
        f"set -e; cd {SETTINGS}; {writes}; before=$(cat ../target_kb); now=$before; echo 1 > selfballooning; "
        f"echo {NEVER} > selfballoon_interval; echo 1 > selfballoon_interval; "
        "while [ $now -eq $before ]; do sleep 0.1; now=$(cat ../target_kb); done; "
        f"echo {NEVER} > selfballoon_interval; echo 0 > selfballooning; echo $((now - before))",
        timeout=SECONDS,
    )
    return int(moved) / 1024


def stays(host: EmulatedHost, seconds: int = 3) -> bool:
    """Whether the balloon's target is still the same after some seconds."""
    first, last = run(host, GUEST, f"cat {DEVICE}/target_kb; sleep {seconds}; cat {DEVICE}/target_kb").split()
    return first == last


@pytest.mark.parametrize(
    "name",
    [
        "selfballoon_interval",
        "selfballoon_downhysteresis",
        "selfballoon_uphysteresis",
        "frontswap_hysteresis",
        "frontswap_inertia",
    ],
)
def test_zero_is_refused(balloon: EmulatedHost, name: str) -> None:
    before = read(balloon, name)
    with pytest.raises(LabError, match="failed"):
        run(balloon, GUEST, f"echo 0 > {SETTINGS}/{name}")
    assert read(balloon, name) == before > 0
    run(balloon, GUEST, f"echo {before + 1} > {SETTINGS}/{name}")
    assert read(balloon, name) == before + 1


MOST = {
    "selfballoon_interval": 24 * 3600,
    "selfballoon_downhysteresis": 10**6,
    "selfballoon_uphysteresis": 10**6,
    "selfballoon_min_usable_mb": 2**24,
    "selfballoon_reserved_mb": 2**24,
    "frontswap_hysteresis": 10**6,
    "frontswap_inertia": 10**6,
}
"""The most that can be set (tmem/linux/README.md)."""


@pytest.mark.parametrize("name", list(MOST))
def test_more_than_the_most_is_refused(balloon: EmulatedHost, name: str) -> None:
    """2147483648 seconds were no time at all once: they wrapped as they became ticks, and steps
    followed each other without a pause.
    """
    before = read(balloon, name)
    for value in (MOST[name] + 1, 2**31, 2**32 - 1, 2**32):
        with pytest.raises(LabError, match="failed"):
            run(balloon, GUEST, f"echo {value} > {SETTINGS}/{name}")
    assert read(balloon, name) == before
    run(balloon, GUEST, f"echo {MOST[name]} > {SETTINGS}/{name}")
    assert read(balloon, name) == MOST[name]


def test_the_largest_settings_mean_what_they_say(balloon: EmulatedHost) -> None:
    start_from(balloon, START_MIB)
    run(
        balloon,
        GUEST,
        f"cd {SETTINGS}; echo {MOST['selfballoon_interval']} > selfballoon_interval; echo 1 > selfballooning",
    )
    assert stays(balloon), "the next step is a day away"
    # As much memory as nobody has is as much as there is.
    start_from(balloon, START_MIB)
    assert step(balloon, selfballoon_reserved_mb=MOST["selfballoon_reserved_mb"]) > 0
    start_from(balloon, START_MIB)
    assert step(balloon, selfballoon_min_usable_mb=MOST["selfballoon_min_usable_mb"]) > 0
    # A millionth of a difference of some MiB is nothing.
    start_from(balloon, START_MIB)
    run(
        balloon,
        GUEST,
        f"cd {SETTINGS}; echo {MOST['selfballoon_downhysteresis']} > "
        "selfballoon_downhysteresis; echo 1 > selfballooning; echo 1 > selfballoon_interval",
    )
    assert stays(balloon)


def test_selfballooning_is_switched_off_and_on(balloon: EmulatedHost) -> None:
    start_from(balloon, START_MIB)
    run(balloon, GUEST, f"echo 1 > {SETTINGS}/selfballoon_interval")
    assert stays(balloon)
    run(balloon, GUEST, f"echo 1 > {SETTINGS}/selfballooning")
    assert not stays(balloon)
    run(balloon, GUEST, f"echo 0 > {SETTINGS}/selfballooning")
    assert stays(balloon)


def test_the_interval_is_how_long_nothing_happens(balloon: EmulatedHost) -> None:
    start_from(balloon, START_MIB)
    run(balloon, GUEST, f"echo 1 > {SETTINGS}/selfballooning")
    assert stays(balloon), "the next step is a quarter of an hour away"
    run(balloon, GUEST, f"echo 1 > {SETTINGS}/selfballoon_interval")
    assert not stays(balloon), "a shorter interval does not wait for the longer one to end"


def test_downhysteresis_divides_a_step_down(balloon: EmulatedHost) -> None:
    start_from(balloon, START_MIB)
    small = step(balloon, selfballoon_downhysteresis=8)
    start_from(balloon, START_MIB)
    large = step(balloon, selfballoon_downhysteresis=2)
    assert small < 0
    assert large == pytest.approx(4 * small, rel=0.2)


def test_uphysteresis_divides_a_step_up(balloon: EmulatedHost) -> None:
    start_from(balloon, START_MIB - 40)
    whole = step(balloon, selfballoon_uphysteresis=1, selfballoon_reserved_mb=150)
    start_from(balloon, START_MIB - 40)
    part = step(balloon, selfballoon_uphysteresis=4, selfballoon_reserved_mb=150)
    assert part > 0
    assert whole == pytest.approx(4 * part, rel=0.2)


def test_the_least_usable_memory_is_the_floor(balloon: EmulatedHost) -> None:
    start_from(balloon, START_MIB)
    lower = step(balloon, selfballoon_downhysteresis=1, selfballoon_min_usable_mb=100, selfballoon_reserved_mb=0)
    start_from(balloon, START_MIB)
    higher = step(balloon, selfballoon_downhysteresis=1, selfballoon_min_usable_mb=120, selfballoon_reserved_mb=0)
    assert higher < 0
    assert higher - lower == pytest.approx(20, abs=1)


def test_what_is_reserved_is_added_to_the_goal(balloon: EmulatedHost) -> None:
    start_from(balloon, START_MIB - 40)
    less = step(balloon, selfballoon_reserved_mb=120)
    start_from(balloon, START_MIB - 40)
    more = step(balloon, selfballoon_reserved_mb=140)
    assert less > 0
    assert more - less == pytest.approx(20, abs=3)


# --- self-shrinking: a guest with pages in frontswap, and room for them -------------------------


def persistent_pages(host: EmulatedHost) -> int:
    domain = int(run(host, "dom0", f"xl domid {GUEST}"))
    listing = json.loads(run(host, "dom0", "tmemctl list -l --json"))
    return sum(
        pool["Pc"]
        for client in listing["clients"]
        if client["CI"] == domain
        for pool in client["pools"]
        if pool["PT"] == "PP"
    )


def with_pages_in_frontswap(host: EmulatedHost) -> int:
    """Fill frontswap while memory is short, then give the guest more. Pages there now."""
    run(host, GUEST, "pkill -x pattern; rm -f /run/pattern; true")
    start_from(host, 96)
    run(
        host,
        GUEST,
        "(setsid /root/pattern 90 1 /run/pattern < /dev/null > "
        "/dev/null 2>&1 &); while [ ! -s /run/pattern ]; do sleep 1; done",
        timeout=SECONDS,
    )
    # What frontswap holds counts against the guest's maximum, too.
    start_from(host, 190)
    pages = persistent_pages(host)
    assert pages > 2000, "the pattern is to be in frontswap, for a good part"
    return pages


def shrink_step(host: EmulatedHost, **settings: int) -> int:
    """Pages that come back in one step of self-shrinking."""
    before = with_pages_in_frontswap(host)
    writes = "; ".join(f"echo {value} > {name}" for name, value in settings.items())
    run(
        host, GUEST, f"set -e; cd {SETTINGS}; {writes}; echo 1 > frontswap_selfshrinking; echo 2 > selfballoon_interval"
    )
    deadline = time.monotonic() + SECONDS
    while persistent_pages(host) == before:
        assert time.monotonic() < deadline, "nothing came back"
        time.sleep(0.2)
    run(host, GUEST, f"cd {SETTINGS}; echo {NEVER} > selfballoon_interval; echo 0 > frontswap_selfshrinking; sleep 2")
    return before - persistent_pages(host)


@pytest.mark.long
def test_selfshrinking_is_switched_on_and_off(balloon: EmulatedHost) -> None:
    before = with_pages_in_frontswap(balloon)
    run(balloon, GUEST, f"cd {SETTINGS}; echo 1 > frontswap_inertia; echo 1 > selfballoon_interval; sleep 4")
    assert persistent_pages(balloon) == before, "it is off"
    run(balloon, GUEST, f"echo 1 > {SETTINGS}/frontswap_selfshrinking; sleep 4")
    assert persistent_pages(balloon) < before, "it is on"
    run(balloon, GUEST, f"echo 0 > {SETTINGS}/frontswap_selfshrinking; sleep 3")
    rest = persistent_pages(balloon)
    run(balloon, GUEST, "sleep 3")
    assert persistent_pages(balloon) == rest, "it is off again"


@pytest.mark.long
def test_frontswap_hysteresis_divides_what_comes_back(balloon: EmulatedHost) -> None:
    twentieth = shrink_step(balloon, frontswap_hysteresis=20, frontswap_inertia=1)
    half = shrink_step(balloon, frontswap_hysteresis=2, frontswap_inertia=1)
    assert 0 < 4 * twentieth < half


@pytest.mark.long
def test_frontswap_inertia_is_how_long_pages_rest(balloon: EmulatedHost) -> None:
    before = with_pages_in_frontswap(balloon)
    script = "echo 1000 > frontswap_inertia; echo 1 > frontswap_selfshrinking; echo 1 > selfballoon_interval; sleep 4"
    run(balloon, GUEST, f"cd {SETTINGS}; {script}")
    assert persistent_pages(balloon) == before, "they have not rested for long enough"
    run(balloon, GUEST, f"echo 2 > {SETTINGS}/frontswap_inertia; sleep 6")
    assert persistent_pages(balloon) < before


@pytest.mark.long
def test_all_pages_can_come_back_at_once_and_the_search_for_more_ends(balloon: EmulatedHost) -> None:
    """The kernel's search has no end of its own: swap keeps slots that nobody uses, and their
    pages stay counted.
    """
    with_pages_in_frontswap(balloon)
    script = (
        "echo 1 > frontswap_hysteresis; echo 1 > frontswap_inertia; "
        "echo 1 > frontswap_selfshrinking; echo 1 > selfballoon_interval"
    )
    run(balloon, GUEST, f"cd {SETTINGS}; {script}")
    deadline = time.monotonic() + SECONDS
    while persistent_pages(balloon) > 128:
        assert time.monotonic() < deadline, "pages stay in frontswap"
        time.sleep(1)
    # Twice in a row at rest, seconds apart: then nothing searches any more.
    script = "grep -lx tmem_shrink /proc/[0-9]*/comm 2> /dev/null | wc -l"
    rested = 0
    while rested < 5:
        rested = rested + 1 if run(balloon, GUEST, script).strip() == "0" else 0
        assert time.monotonic() < deadline, "the search goes on"
        time.sleep(0.7)
