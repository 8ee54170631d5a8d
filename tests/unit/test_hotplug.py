"""Memory in sections: who gets some, who gives, what the guests are told, and what became of it."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from dom0 import MIB, Dom0, Domain, records
from fake_store import FakeStore

from campaigns import managed
from lab.api import GuestSizing, HostSizing
from lab.remote import scripts
from lab.remote.managers import _moved
from policies import apply
from policies import registry as policies
from policies.base import Tuning
from policies.managers import hotplug
from policies.managers.base import Guest, Seen

HOST, GUESTS = HostSizing(224, 384, 2), GuestSizing(2, 1, 160, 96, 256)
SECTION = 16 * MIB
SMALL = hotplug.Parameters(section=SECTION)


def guest(domain: int, mib: int, used: int | None, *, told: int | None = None, stuck: bool = False) -> hotplug.Domain:
    target = mib if told is None else told
    return hotplug.Domain(
        domain, mib * MIB, target * MIB, 64 * MIB, 160 * MIB, None if used is None else used * MIB, stuck
    )


def decided(free: int, *guests: hotplug.Domain) -> dict[int, float]:
    """Domain -> MiB."""
    found = hotplug.decide(hotplug.State(free * MIB, guests), SMALL).targets
    return {domain: target / MIB for domain, target in found}


def test_who_did_not_get_a_section_keeps_what_it_has_and_is_asked_again() -> None:
    refused = guest(1, 112, 100, told=144, stuck=True)
    assert decided(100, refused) == {1: 112}
    assert decided(100, guest(1, 112, 100))[1] > 112


def test_nobody_gives_while_nobody_lacks_a_section() -> None:
    assert decided(0, guest(1, 112, 40), guest(2, 112, 60)) == {}


def test_a_guest_in_need_is_given_what_is_free_and_the_rest_is_asked_of_others() -> None:
    # 110 MiB in use and 30 % more are nine sections of 16 MiB
    assert decided(40, guest(1, 112, 110), guest(2, 112, 40)) == {1: 144}
    assert decided(20, guest(1, 112, 110), guest(2, 112, 40)) == {2: 96, 1: 128}
    assert decided(0, guest(1, 112, 110), guest(2, 112, 40)) == {2: 80}


def test_all_targets_are_whole_sections_within_whole_sections_of_the_bounds() -> None:
    bounded = hotplug.Domain(1, 112 * MIB, 112 * MIB, 70 * MIB, 155 * MIB, 200 * MIB, no_progress=False)
    needy = hotplug.decide(hotplug.State(1000 * MIB, (bounded,)), SMALL)
    assert needy.targets == ((1, 144 * MIB),), "155 MiB are nine sections and a part of one"
    idle = hotplug.Domain(1, 112 * MIB, 112 * MIB, 70 * MIB, 155 * MIB, 0, no_progress=False)
    asked = hotplug.decide(hotplug.State(0, (idle, guest(2, 112, 160))), SMALL)
    assert asked.targets == ((1, 80 * MIB),), "70 MiB are kept by five sections"


def test_who_could_not_empty_its_sections_keeps_them_and_others_are_asked() -> None:
    found = decided(0, guest(1, 112, 110), guest(2, 112, 30, told=80, stuck=True), guest(3, 112, 60))
    assert found == {2: 112, 3: 80}


def test_a_guest_that_says_nothing_is_left_alone() -> None:
    assert decided(100, guest(1, 64, None), guest(2, 112, 60)) == {}


def test_a_guest_with_no_whole_section_in_its_bounds_is_left_as_it_is() -> None:
    between = hotplug.Domain(2, 126 * MIB, 0, 10 * MIB, 15 * MIB, 0, no_progress=False)
    stuck = hotplug.Domain(3, 10 * MIB, 0, 9 * MIB, 160 * MIB, 0, no_progress=True)
    found = hotplug.decide(hotplug.State(0, (guest(1, 64, 150), between, stuck)), SMALL).targets
    assert found == ((3, 9 * MIB),)


def test_with_sections_of_x86_small_guests_have_no_way_to_move() -> None:
    small = hotplug.decide(hotplug.State(64 * MIB, (guest(1, 112, 150), guest(2, 112, 10))))
    assert small.targets == ()


def test_shared_memory_is_used_and_other_cache_is_not() -> None:
    told = {"MemTotal": 160, "MemFree": 10, "Buffers": 0, "Cached": 120, "Shmem": 90, "SwapTotal": 256, "SwapFree": 216}
    report = {f"meminfo.{name}": mib * 1024 for name, mib in told.items()}
    seen = Seen(512 * MIB, 8 * MIB, 1.0, (Guest(1, "guest1", 160 * MIB, 160 * MIB, 64 * MIB, 256 * MIB, report),))
    (found,) = hotplug.state(seen, SMALL).domains
    assert found.used == (160 - 10 - 120 + 90 + 40) * MIB


# --- The daemon ---------------------------------------------------------------------------------


@pytest.fixture
def dom0(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Dom0]:
    store = FakeStore(tmp_path)
    made = Dom0(tmp_path, store, monkeypatch, free=4)
    made.domains = {1: Domain("guest1", 112), 2: Domain("guest2", 112)}
    yield made
    store.end()


def test_guests_are_told_their_sections_and_their_balloons_nothing(dom0: Dom0) -> None:
    dom0.report(1, used=100, Shmem=0)
    dom0.report(2, used=40, Shmem=0)
    made = dom0.daemon("hotplug", bounds=(64, 160), parameters={"section": SECTION}, sections=True)
    dom0.run(made, 8)
    assert dom0.said()[0] == f"xenstore-write /local/domain/2/memory/sections {80 * 1024}"
    assert f"xenstore-write /local/domain/1/memory/sections {144 * 1024}" in dom0.said()
    assert not [line for line in dom0.said() if "mem-" in line]
    assert (dom0.domains[1].mib, dom0.domains[2].mib) == (144, 80)
    assert records(made)[-1]["cost"]["errors"] == 0


def test_one_that_fails_to_give_is_told_to_keep_what_it_has(dom0: Dom0) -> None:
    dom0.report(1, used=100, Shmem=0)
    dom0.report(2, used=40, Shmem=0)
    dom0.domains[2].follows = False
    made = dom0.daemon("hotplug", bounds=(64, 160), parameters={"section": SECTION}, sections=True)
    dom0.run(made, 12)
    told = [int(line.split()[2]) / 1024 for line in dom0.said() if "/domain/2/" in line]
    assert told[:2] == [80, 112]
    assert dom0.domains[1].mib == 112


# --- The guest ----------------------------------------------------------------------------------


@pytest.fixture
def memory(tmp_path: Path) -> Path:
    """A guest's /sys and /proc: ten sections of 16 MiB, two empty. What is written to a state is
    what it then is.
    """
    blocks = tmp_path / "memory"
    for number in range(10):
        (blocks / f"memory{number}").mkdir(parents=True)
        (blocks / f"memory{number}" / "state").write_text("online\n")
        (blocks / f"memory{number}" / "valid_zones").write_text(
            "Normal\n" if number < 4 or number in (6, 7) else "Movable\n"
        )
    (blocks / "block_size_bytes").write_text("1000000\n")
    (tmp_path / "module").mkdir()
    (tmp_path / "module" / "empty").write_text("6,7\n")
    os.mkfifo(tmp_path / "wanted")
    (tmp_path / "modprobe").write_text("#!/bin/sh\n")
    (tmp_path / "modprobe").chmod(0o700)
    return tmp_path


def run(memory: Path, *wanted_mib: int) -> tuple[dict[str, int], list[int]]:
    """What it counted, and which sections are online at the end."""
    said, _ = said_at_the_end(memory, *wanted_mib)
    assert said[-1] == "== end"
    online = [n for n in range(10) if (memory / "memory" / f"memory{n}" / "state").read_text().startswith("online")]
    return _moved(said[0]), online


def said_at_the_end(memory: Path, *wanted_mib: int, killed: bool = False) -> tuple[list[str], int]:
    """What it answers to `stop`, and its exit status. killed: what follows dom0 is, before."""
    script = scripts.command("sections.sh", 2, 4 * 16 * 1024)
    for real, made_up in (
        ("/sys/devices/system/memory", f"{memory}/memory"),
        ("/sys/module/sections/parameters", f"{memory}/module"),
        ("/proc/sections", f"{memory}/wanted"),
        ("/run/sections.", f"{memory}/counts."),
        ("echo online_movable >", "echo online >"),  # as the kernel then says
    ):
        assert real in script
        script = script.replace(real, made_up)
    environment = {"PATH": f"{memory}:{os.environ['PATH']}"}
    with subprocess.Popen(
        ["sh", "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "== end\n"
        with (memory / "wanted").open("w") as wanted:
            if killed:
                subprocess.run(["pkill", "-KILL", "-P", str(process.pid)], check=True)
            wanted.writelines(f"{mib * 1024}\n" for mib in wanted_mib)
        subprocess.run(["sh", "-c", f"while pgrep -r DRS -P {process.pid} > /dev/null; do sleep 0.1; done"], check=True)
        process.stdin.write("stop\n")
        process.stdin.close()
        said = process.stdout.read().splitlines()
    return said, process.returncode


def test_what_is_empty_goes_before_it_is_ready_and_is_no_gift(memory: Path) -> None:
    assert run(memory) == ({"given": 0, "taken": 0, "failed": 0, "refused": 0}, [0, 1, 2, 3, 4, 5, 8, 9])


def test_where_what_follows_was_killed_nothing_is_counted(memory: Path) -> None:
    """Four zeros would be said of a guest that gave nothing, too."""
    assert said_at_the_end(memory, killed=True) == ([], 1)


def test_sections_go_from_the_top_and_come_back_from_the_bottom(memory: Path) -> None:
    counted, online = run(memory, 96, 112)
    assert online == [0, 1, 2, 3, 4, 5, 6]
    assert counted == {"given": 2, "taken": 1, "failed": 0, "refused": 0}


def test_the_kernels_own_sections_are_never_tried(memory: Path) -> None:
    counted, online = run(memory, 16)
    assert online == [0, 1, 2, 3]
    assert counted["failed"] == 0


def test_a_section_that_cannot_be_emptied_is_counted_and_the_next_is_tried(memory: Path) -> None:
    (memory / "timeout").write_text('#!/bin/sh\ncase "$*" in *memory9/*) exit 1 ;; esac\nshift\nexec "$@"\n')
    (memory / "timeout").chmod(0o700)
    counted, online = run(memory, 96)
    assert counted == {"given": 2, "taken": 0, "failed": 1, "refused": 0}
    assert online == [0, 1, 2, 3, 4, 9]


def test_what_became_of_sections_is_metrics_of_the_cell() -> None:
    lines = [
        json.dumps({"sections": {"guest1": {"given": 3, "taken": 1, "failed": 2, "refused": 0}}}),
        json.dumps({"reporters": {}}),
    ]
    found = {(each.name, each.guest): each.value for each in managed.parse(lines).metrics}
    assert found["sections_failed", "guest1"] == 2
    assert found["sections_given", "guest1"] == 3
    with pytest.raises(TypeError):
        managed.parse([json.dumps({"sections": {"guest1": {"given": "three"}}})])


def test_the_policy_has_movable_memory_and_hot_plug_in_every_guest() -> None:
    policy = policies.parse("hotplug+tmem")
    assert policy.kernel == ("movable_node",)
    wanted = apply.manager(policy, Tuning(), HOST, GUESTS, ["guest1"])
    assert wanted is not None
    assert wanted.sections
    assert wanted.settings["sections"]
    other = apply.manager(policies.parse("qmemman"), Tuning(), HOST, GUESTS, ["guest1"])
    assert other is not None
    assert not other.sections
