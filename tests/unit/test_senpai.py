"""senpai in guests: its script decides as the manager in dom0 does that has the same rule, gives
only what is free, and is refused where the kernel cannot do it.
"""

from __future__ import annotations

import random
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from campaigns import experiment
from common.errors import InvalidFileError
from policies import apply, describe, senpai
from policies import registry as policies
from policies.base import Tuning
from policies.managers import psi

KIB = 1024
PAGE_KIB = 4
BALLOON = "sys/devices/system/xen_memory/xen_memory0"
MOST_KIB, MINIMUM_KIB = 256 * KIB, 96 * KIB
RESERVE_KIB = 2000

SLEEP = """#!/bin/sh
# A look later: what was decided is kept, and the next state of the guest is put in place. Without a next one it ends.
cd "$(dirname "$0")" || exit
number=$(cat number)
cp {balloon}/target_kb said/$number
: > {balloon}/target_kb
number=$((number + 1))
echo $number > number
[ -d states/$number ] || exit 1
cp states/$number/current_kb {balloon}/info/current_kb
cp states/$number/memory proc/pressure/memory
cp states/$number/uptime states/$number/meminfo proc/
"""

TEXT = """
schema: 1
title: Senpai
question: Does it?
host: {guest_memory: 480 MiB}
guests: {count: 3, memory_max: 256 MiB, kernel: debian-6.12}
policies: [static, senpai]
workload: {name: kernel_build}
"""


@dataclass(frozen=True)
class Look:
    """What a guest sees. now: seconds since it began; waited: µs since then; memory in KiB."""

    now: int
    waited: int
    has: int
    free: int = 2**30


def written(folder: Path, text: str) -> experiment.Experiment:
    path = folder / "senpai.yml"
    path.write_text(text)
    return experiment.load(str(path))


def guest(root: Path, looks: Sequence[Look]) -> None:
    """A guest in files, which goes through these states."""
    for folder in (f"{BALLOON}/info", "proc/pressure", "proc/sys/vm", "proc/self", "run/overcommit/cgroup", "said"):
        (root / folder).mkdir(parents=True)
    for number, each in enumerate(looks):
        state = root / "states" / str(number)
        state.mkdir(parents=True)
        (state / "current_kb").write_text(f"{each.has}\n")
        (state / "memory").write_text(
            f"some avg10=0.00 avg60=0.00 avg300=0.00 total={each.waited}\n"
            f"full avg10=0.00 avg60=0.00 avg300=0.00 total={each.waited // 2}\n"
        )
        (state / "uptime").write_text(f"{each.now}.25 1.00\n")
        (state / "meminfo").write_text(f"MemTotal: {each.has} kB\nMemFree:  {each.free} kB\nMemAvailable: 1 kB\n")
    for name in ("uptime", "meminfo"):
        (root / "proc" / name).write_text((root / "states/0" / name).read_text())
    (root / "proc/pressure/memory").write_text((root / "states/0/memory").read_text())
    (root / "proc/sys/vm/min_free_kbytes").write_text(f"{RESERVE_KIB // 2}\n")
    (root / "number").write_text("0\n")
    for name in ("cgroup.procs", "memory.reclaim"):
        (root / "run/overcommit/cgroup" / name).touch()
    (root / BALLOON / "target_kb").touch()
    (root / BALLOON / "info/current_kb").write_text(f"{looks[0].has}\n")
    (root / BALLOON / "info/low_kb").write_text(f"{MOST_KIB - looks[0].has}\n")
    (root / BALLOON / "info/high_kb").write_text("0\n")
    (root / "sleep").write_text(SLEEP.format(balloon=BALLOON))
    (root / "sleep").chmod(0o755)


def released(root: Path, tuning: Tuning | None = None) -> subprocess.CompletedProcess[str]:
    """The release in that guest, until it has seen all of its states."""
    script = apply.release_script(policies.parse("senpai"), "debian-6.12", tuning)
    for folder in ("/sys/devices", "/proc/", "/run/overcommit"):
        script = script.replace(folder, f"{root}{folder}")
    return subprocess.run(
        ["sh", "-c", f"PATH={root}:$PATH\n{script}wait\n"], capture_output=True, text=True, check=False
    )


def followed(root: Path, looks: Sequence[Look], tuning: Tuning | None = None) -> list[int | None]:
    """What the guest set after each look but the first; None: nothing."""
    guest(root, looks)
    done = released(root, tuning)
    assert (done.returncode, done.stderr) == (0, "")
    said = [(root / "said" / str(number)).read_text() for number in range(1, len(looks))]
    return [int(text) if text else None for text in said]


def at_random(number: int) -> list[Look]:
    """A guest that feels all sorts of pressure, and does not do what it was told."""
    chance = random.Random(17)
    looks, now, waited = [], 100, 5_000_000
    for _ in range(number):
        looks.append(Look(now, waited, chance.randrange(MINIMUM_KIB // 4, MOST_KIB // 4 + 1) * PAGE_KIB))
        now += chance.choice((1, 1, 1, 2, 7))
        waited += round(10 ** chance.uniform(0, 5.7)) if chance.random() < 0.7 else 0
    return looks


def expected(looks: Sequence[Look], rule: psi.Parameters) -> list[int | None]:
    """The same by the manager in dom0, in KiB."""
    found: list[int | None] = []
    before = looks[0]
    for look in looks[1:]:
        stalled, seconds = look.waited - before.waited, look.now - before.now
        domain = psi.Domain(1, look.has * KIB, MINIMUM_KIB * KIB, MOST_KIB * KIB, stalled, seconds)
        targets = dict(psi.decide(psi.State(2**40, (domain,)), rule).targets)
        found.append(targets[1] // KIB if targets else None)
        if stalled > rule.pressure or seconds >= rule.interval:
            before = look
    return found


@pytest.mark.parametrize(
    "changed", [{}, {"pressure": 2000, "interval": 3, "max_probe": 0.05, "coeff_probe": 2.0, "coeff_backoff": 300.0}]
)
def test_a_guest_decides_as_the_manager_in_dom0_with_the_same_rule(changed: dict[str, float], tmp_path: Path) -> None:
    looks = at_random(300)
    found = followed(tmp_path, looks, Tuning(managers={"senpai": changed}))
    wanted = expected(looks, psi.Parameters(**changed))  # type: ignore[arg-type]
    assert [each is None for each in found] == [each is None for each in wanted]
    pairs = [(one, other) for one, other in zip(found, wanted, strict=True) if one is not None and other is not None]
    assert max(abs(one - other) for one, other in pairs) <= 2 * PAGE_KIB
    grew = sum(each > look.has for each, look in zip(found, looks[1:], strict=True) if each is not None)
    assert min(grew, len(pairs) - grew, len(found) - len(pairs)) > 20, "one of the three was hardly tried"


def test_it_gives_what_is_free_and_has_the_kernel_free_the_rest_first(tmp_path: Path) -> None:
    has, gives = 200 * KIB, 2048
    spare = 1000
    looks = [Look(10, 0, has), Look(16, 0, has, spare + RESERVE_KIB), Look(22, 0, has, 2**20), Look(28, 0, has, 100)]
    found = followed(tmp_path, looks)
    # what could not be freed is not given, and nothing is asked where enough is free
    assert found == [has - spare, has - gives - PAGE_KIB, None]
    asked = (tmp_path / "run/overcommit/cgroup/memory.reclaim").read_text()
    assert asked == f"{(gives + PAGE_KIB) * KIB}\n"
    log = (tmp_path / "run/overcommit/senpai.log").read_text().splitlines()
    assert log[0] == f"16 waited 0 us had {has} KiB has {has - spare} KiB"
    assert log[2:] == ["ended: sleep failed (1)"]


def test_it_grows_at_once_and_asks_again_as_long_as_its_tasks_wait(tmp_path: Path) -> None:
    has = 128 * KIB
    looks = [Look(10, 0, has), Look(11, 200_000, has), Look(12, 400_000, has), Look(13, 400_000, has)]
    assert followed(tmp_path, looks) == [MOST_KIB, MOST_KIB, None]


def test_it_leaves_itself_its_minimum(tmp_path: Path) -> None:
    has = 151 * KIB
    tuning = Tuning(managers={"senpai": {"minimum": 150}})
    assert followed(tmp_path, [Look(10, 0, has), Look(16, 0, has)], tuning) == [150 * KIB]


@pytest.mark.parametrize(
    ("missing", "said"),
    [("proc/pressure/memory", "memory pressure (PSI)"), ("run/overcommit/cgroup/memory.reclaim", "memory.reclaim")],
)
def test_a_kernel_that_lacks_something_ends_the_guest_at_the_barrier(missing: str, said: str, tmp_path: Path) -> None:
    guest(tmp_path, [Look(10, 0, 128 * KIB)])
    (tmp_path / missing).unlink()
    done = released(tmp_path)
    assert done.returncode == 96
    assert f"this guest's kernel has no {said}" in done.stderr
    assert not (tmp_path / "said/0").exists()


# --- Experiments --------------------------------------------------------------------------------


def test_an_experiment_sets_it_and_may_vary_it(tmp_path: Path) -> None:
    text = TEXT + "senpai: {minimum: 112 MiB, pressure: 5 ms}\nfactors: {senpai.interval: [3 s, 6 s]}\n"
    found = written(tmp_path, text)
    tunings = [found.at(levels).tuning for levels in found.combinations()]
    assert [each.managers["senpai"]["interval"] for each in tunings] == [3, 6]
    assert tunings[0].manager is None, "there is none in dom0"
    assert tunings[0].managers["senpai"]["minimum"] == 112
    script = apply.release_script(policies.parse("senpai"), "debian-6.12", tunings[0])
    assert "set -- 1 3 5000 500 100000 10000 1000000 114688\n" in script
    assert experiment.from_document("senpai", found.document).sha256 == found.sha256


def test_its_constants_are_those_of_the_manager_in_dom0(tmp_path: Path) -> None:
    given = {key: value for key, value in senpai.SETTINGS().values().items() if key != "minimum"}
    assert psi.Parameters(**given) == psi.PUBLISHED
    assert "senpai" not in written(tmp_path, TEXT.replace(", senpai", "")).document


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (", kernel: debian-6.12", "", ["senpai has the guests' kernels free memory", "boot one of debian-6.12"]),
        ("kernel: debian-6.12", "kernel: fidelity", ["memory.reclaim", "fidelity cannot"]),
        (", senpai", "", ["no policy has this manager"]),
    ],
)
def test_where_it_cannot_be_it_is_refused_by_the_plan(old: str, new: str, words: list[str], tmp_path: Path) -> None:
    text = TEXT + "senpai: {minimum: 112 MiB}\n"
    written(tmp_path, text)
    with pytest.raises(InvalidFileError) as raised:
        written(tmp_path, text.replace(old, new))
    assert all(word in str(raised.value) for word in words)


def test_it_composes_with_tmem_and_says_what_it_does() -> None:
    policy = policies.parse("senpai+tmem")
    assert policy.pools == ("ephemeral", "persistent")
    assert not apply.parameters(policy)["selfballooning"]
    said = "\n".join(describe.lines(policy))
    assert "in each guest, from the release on: senpai moves the guest's memory" in said
    assert "    minimum: the least that a guest leaves itself" in said
    assert "kept" not in said
