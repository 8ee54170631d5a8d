"""Controls: what their names mean, what they do to hosts and guests, and the gates that they can
fail.
"""

from __future__ import annotations

import stat
import subprocess
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from campaign_fakes import EXPERIMENT, FakeHost, find, write_experiment

from analysis import unlike
from campaigns import gates, metrics
from campaigns.experiment import Experiment
from campaigns.gates import Measured
from campaigns.run import run
from campaigns.verify import verify
from common.errors import InvalidFileError, UsageError
from lab.api import GuestSizing, HostSizing, MemorySwap, TmemSettings
from lab.hosts.host import swap_script, tmem_script
from policies import apply, describe, more_ram
from policies import registry as policies
from policies.base import Tuning
from workloads import registry

HOST, GUESTS = HostSizing(480, 384, 2), GuestSizing(3, 1, 256, 110, 256)
PAGES = 256
NO_TUNING = Tuning()


@pytest.fixture(autouse=True)
def _fake_load(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry._CLASSES, "fake", "campaign_fakes:FakeLoad")


# --- names ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("tmem-unused", "static+unused"),
        ("tmem-refusing", "static+tmem+refusing"),
        ("ramdisk-swap", "static+ramdisk-swap"),
        ("zswap", "static+zswap"),
        ("zram", "static+zram"),
        ("more-ram", "static+more-ram"),
        ("zram+tmem", "static+zram+tmem"),
    ],
)
def test_a_controls_name_is_a_policy_by_itself(name: str, meant: str) -> None:
    policy = policies.parse(name)
    assert policy == replace(policies.parse(meant), name=name)
    assert name.partition("+")[0] in {entry.name for entry in describe.entries()}


MEMORY_CONTROLS = [
    ("ramdisk-swap", "ramdisk_used"),
    ("zswap", "zswap_used"),
    ("zram", "zram_used"),
    ("more-ram", "more_ram"),
]


@pytest.mark.parametrize("base", [name for name, policy in policies.BASES.items() if not policy.needs])
@pytest.mark.parametrize(
    ("part", "gate"), [("unused", "tmem_unused"), ("tmem+refusing", "tmem_refused"), *MEMORY_CONTROLS]
)
def test_a_control_goes_with_every_base_and_has_a_gate_of_its_own(base: str, part: str, gate: str) -> None:
    policy, plain = policies.parse(f"{base}+{part}"), policies.BASES[base]
    assert [name for name in policy.gates if name not in plain.gates] == [gate]
    assert gate in gates.POLICY_GATES
    assert (policy.start, policy.moves, policy.at_release.get("selfballooning")) == (
        plain.start,
        plain.moves,
        plain.at_release.get("selfballooning"),
    )


@pytest.mark.parametrize(("part", "gate"), [("refusing", "tmem_refused"), *MEMORY_CONTROLS])
def test_a_control_goes_with_a_base_that_needs_tmem(part: str, gate: str) -> None:
    policy, plain = policies.parse(f"smartmem+tmem+{part}"), policies.parse("smartmem+tmem")
    assert [name for name in policy.gates if name not in plain.gates] == [gate]
    assert (policy.manager, policy.moves) == ("smartmem", False)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("static+tmem+unused", "unused and tmem exclude each other"),
        ("tmem-unused+frontswap", "unused and frontswap exclude each other"),
        ("static+zram+zswap", "zram and zswap exclude each other"),
        ("zram+ramdisk-swap", "zram and ramdisk-swap exclude each other"),
        ("static+refusing", "uses no tmem"),
        ("smartmem+unused", "uses no tmem"),
        ("smartmem+tmem+unused", "unused and tmem exclude each other"),
        ("zram+zram", "names a part twice"),
        ("zrm", "Did you mean 'zram'"),
    ],
)
def test_controls_that_contradict_each_other_are_refused(name: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        policies.parse(name)


def test_what_a_control_does_is_told_place_by_place() -> None:
    def said(name: str) -> str:
        return "\n".join(describe.lines(policies.parse(name)))

    assert "modprobe tmem cleancache=0 frontswap=0 selfballooning=0 selfshrinking=0" in said("tmem-unused")
    assert "tmemctl freeze" in said("tmem-refusing")
    assert "tmemctl freeze" not in said("static+tmem")
    assert "below `zswap:`" in said("zswap")
    assert "swaps to zram" in said("zram")
    assert "has more_ram" in said("fixed+more-ram")


# --- what is done ---------------------------------------------------------------------------------


class Recorder(FakeHost):
    """A host that notes what it is asked for, in order."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.asked: list[tuple[str, object]] = []

    def set_tmem(self, settings: TmemSettings) -> None:
        self.asked.append(("tmem", settings.frozen))

    def load_driver(self, parameters: Mapping[str, bool], settings: Mapping[str, int]) -> None:
        self.asked.append(("driver", (dict(parameters), dict(settings))))

    def prepare_swap(self, swap: MemorySwap) -> None:
        self.asked.append(("swap", swap))


def prepared(tmp_path: Path, name: str, tuning: Tuning = NO_TUNING) -> list[tuple[str, object]]:
    host = Recorder(tmp_path)
    apply.prepare(policies.parse(name), tuning, host, HOST, GUESTS)
    return host.asked


@pytest.mark.parametrize(
    ("name", "limit_mib"),
    [("fixed", 110), ("fixed+cleancache", 110), ("fixed+frontswap", 256), ("static+tmem", 256), ("selfballoon", 256)],
)
def test_who_swaps_to_tmem_has_room_for_that_below_its_limit(tmp_path: Path, name: str, limit_mib: int) -> None:
    """Xen counts swapped pages as the guest's: with its size for a limit, one of 96 MiB swapped
    1 MiB to tmem, was refused 4,400 pages, and its cell was complete.
    """
    sizes = {"fixed": 110, "static": 160, "selfballoon": 160}
    host = FakeHost(tmp_path)
    host.reset(HOST, GUESTS)
    apply.prepare(policies.parse(name), NO_TUNING, host, HOST, GUESTS)
    assert set(host.targets.values()) == {sizes[name.partition("+")[0]]}
    assert set(host.limits.values()) == {limit_mib}


def test_refusing_guests_are_frozen_before_they_can_ask(tmp_path: Path) -> None:
    asked = prepared(tmp_path, "tmem-refusing")
    assert asked[0] == ("tmem", True)
    assert [kind for kind, _ in asked] == ["tmem", "driver"]
    assert prepared(tmp_path, "static+tmem")[0] == ("tmem", False)


def test_an_unused_driver_is_loaded_without_settings_which_it_would_not_have(tmp_path: Path) -> None:
    tuning = Tuning(selfballoon={"selfballoon_interval": 3})
    off = dict.fromkeys(apply.PARAMETERS, False)
    assert dict(prepared(tmp_path, "tmem-unused", tuning))["driver"] == (off, {})
    parameters, settings = dict(prepared(tmp_path, "selfballoon+unused", tuning))["driver"]  # type: ignore[misc]
    assert parameters == {**off, "selfballooning": True}
    assert settings == {"selfballooning": 0, "selfballoon_interval": 3}


def test_swap_is_made_before_the_release_and_used_from_then_on(tmp_path: Path) -> None:
    device = MemorySwap("zram", (1024, "zstd"))
    assert ("swap", device) in prepared(tmp_path, "zram", Tuning(swap={"zram": device}))
    release = apply.release_script(policies.parse("selfballoon+zram"))
    assert release.index("selfballooning") < release.index("release zram")
    assert "swapon" in release
    assert apply.release_script(policies.parse("static")) == ""


def programs(folder: Path, *names: str) -> str:
    """Programs that note how they are called; a PATH that finds them first."""
    for name in names:
        path = folder / name
        path.write_text(f'#!/bin/sh\necho "{name} $*" >> {folder}/calls\n[ ! -e {folder}/{name}.fails ]\n')
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return f"{folder}:/usr/bin:/bin"


def sh(script: str, path: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=False, env={"PATH": path})


def test_dom0_freezes_guests_that_xen_knows(tmp_path: Path) -> None:
    path = programs(tmp_path, "tmemctl")
    (tmp_path / "xl").write_text('#!/bin/sh\necho "1${2#guest}"\n')
    (tmp_path / "xl").chmod(0o755)
    frozen = TmemSettings(frozen=True, caps={"guest2": 7})
    assert sh(tmem_script(frozen, ["guest1", "guest2"]), path).returncode == 0
    assert (tmp_path / "calls").read_text().splitlines() == [
        "tmemctl set 11 --weight 0",
        "tmemctl freeze 11",
        "tmemctl set 12 --cap 7",
        "tmemctl freeze 12",
    ]
    assert tmem_script(TmemSettings(), ["guest1"]) == ""


def in_guest(tmp_path: Path, script: str) -> subprocess.CompletedProcess[str]:
    """A script that finds /sys/ and its programs here."""
    path = programs(tmp_path, "modprobe", "mkswap", "swapon", "dd")
    return sh(script.replace("/sys/", f"{tmp_path}/sys/"), path)


def test_a_guest_makes_zram_and_swaps_to_it_first(tmp_path: Path) -> None:
    disk = tmp_path / "sys/block/zram0"
    disk.mkdir(parents=True)
    done = in_guest(tmp_path, swap_script("prepare", MemorySwap("zram", (2048, "lz4"))))
    assert (done.returncode, done.stderr) == (0, "")
    assert ((disk / "comp_algorithm").read_text(), (disk / "disksize").read_text()) == ("lz4\n", "2048K\n")
    assert (tmp_path / "calls").read_text() == "modprobe zram num_devices=1\nmkswap /dev/zram0\n"
    assert in_guest(tmp_path, swap_script("release", MemorySwap("zram", (2048, "lz4")))).returncode == 0
    assert (tmp_path / "calls").read_text().endswith("swapon -p 100 /dev/zram0\n")


def test_a_ram_disk_has_its_memory_before_the_release(tmp_path: Path) -> None:
    assert in_guest(tmp_path, swap_script("prepare", MemorySwap("ramdisk", (2048,)))).returncode == 0
    calls = (tmp_path / "calls").read_text().splitlines()
    assert [call.split()[0] for call in calls] == ["modprobe", "dd", "mkswap"]
    assert "rd_size=2048" in calls[0]
    assert "count=2048K" in calls[1]
    (tmp_path / "modprobe.fails").touch()
    done = in_guest(tmp_path, swap_script("prepare", MemorySwap("ramdisk", (2048,))))
    assert (done.returncode, done.stderr) == (1, "this guest's kernel has no RAM disks (brd)\n")


def test_zswap_is_off_until_the_release_and_a_setting_that_does_not_take_is_told(tmp_path: Path) -> None:
    prepare = swap_script("prepare", MemorySwap("zswap", ("lz4", "z3fold", 30)))
    done = in_guest(tmp_path, prepare)
    assert (done.returncode, done.stderr) == (1, "this guest's kernel has no zswap\n")
    settings = tmp_path / "sys/module/zswap/parameters"
    settings.mkdir(parents=True)
    assert in_guest(tmp_path, prepare).returncode == 0
    assert {path.name: path.read_text() for path in settings.iterdir()} == {
        "enabled": "N\n",
        "compressor": "lz4\n",
        "zpool": "z3fold\n",
        "max_pool_percent": "30\n",
    }
    release = apply.release_script(policies.parse("zswap"))
    assert in_guest(tmp_path, release).returncode == 0
    assert (settings / "enabled").read_text() == "Y\n"
    (settings / "enabled").unlink()
    (settings / "enabled").mkdir()  # as a kernel that refuses
    done = in_guest(tmp_path, release + "echo the workload runs\n")
    assert (done.returncode, done.stdout) == (96, "")
    assert done.stderr == f"{settings}/enabled does not take Y\n"


# --- more memory ----------------------------------------------------------------------------------


def experiment(tmp_path: Path, names: str, more: str = "", guests: str = "") -> Experiment:
    text = EXPERIMENT[: EXPERIMENT.index("claims:")]
    text = text.replace("[static, selfballoon, selfballoon+tmem]", f"[{names}]").replace("repetitions: 2\n", "")
    return write_experiment(tmp_path, text.replace("memory_max: 256 MiB", f"memory_max: 256 MiB{guests}") + more)


def test_more_ram_is_the_hosts_and_in_even_parts_the_guests(tmp_path: Path) -> None:
    found = experiment(tmp_path, "static, selfballoon+more-ram, fixed+more-ram", "more_ram: 64 MiB\n")
    conditions = found.at({})
    assert conditions.under(policies.parse("static")) == conditions
    for name, start in (("more-ram", 181), ("selfballoon+more-ram", 181), ("fixed+more-ram", 160 + 21)):
        policy = policies.parse(name)
        under = conditions.under(policy)
        assert under.host.guest_memory_mib == 480 + 64
        assert apply.start_mib(policy, under.host, under.guests) == start
    assert conditions.under(policies.parse("more-ram")).overcommit_ratio == pytest.approx(768 / 544)


def test_a_required_ratio_is_lowered_with_the_larger_host(tmp_path: Path) -> None:
    more = "more_ram: 120 MiB\ngates: {overcommit_ratio: 1.5}\n"
    text = EXPERIMENT.replace("gates: {sectors_read: 100}\n", "").replace("selfballoon+tmem]", "selfballoon+more-ram]")
    found = write_experiment(tmp_path, text[: text.index("claims:")] + more)
    under = found.at({}).under(policies.parse("selfballoon+more-ram"))
    assert under.gates.overcommit_ratio == pytest.approx(1.5 * 480 / 600)
    assert found.at({}).under(policies.parse("static")).gates.overcommit_ratio == 1.5


def test_more_ram_may_be_a_factor(tmp_path: Path) -> None:
    found = experiment(tmp_path, "static, more-ram", "factors: {more_ram: [32 MiB, 64 MiB]}\n")
    policy = policies.parse("more-ram")
    sizes = [found.at(levels).under(policy).host.guest_memory_mib for levels in found.combinations()]
    assert sizes == [512, 544]


@pytest.mark.parametrize(
    ("names", "more", "said"),
    [
        ("static, more-ram", "", "more-ram needs to know how much"),
        ("static, zram", "more_ram: 64 MiB\n", "no policy has `more-ram`"),
        ("more-ram", "more_ram: 8 MiB\n", "greater than or equal to 16"),
        ("more-ram", "more_ram: 320 MiB\n", "under more-ram each guest would have 266 MiB, and may have 256 MiB"),
        ("static, zswap", "zram: {size: 64 MiB}\n", "no policy swaps to it"),
        ("ramdisk-swap", "ramdisk_swap: {size: 100 MiB}\n", "a RAM disk of 100 MiB leaves 60 MiB to a guest"),
        ("tmem-unused", "selfballoon: {interval: 3 s}\n", "no policy loads the guest driver"),
        ("zswap", "zswap: {compressor: lz5}\n", "lz5"),
    ],
)
def test_settings_of_controls_are_checked(tmp_path: Path, names: str, more: str, said: str) -> None:
    with pytest.raises(InvalidFileError) as raised:
        experiment(tmp_path, names, more)
    assert said in str(raised.value)


def test_swap_has_the_experiments_settings_or_the_kernels(tmp_path: Path) -> None:
    swaps = experiment(tmp_path, "zram, zswap, ramdisk-swap").at({}).tuning.swap
    assert swaps["zram"] == MemorySwap("zram", (256 * 1024, "lzo-rle"))
    assert swaps["zswap"] == MemorySwap("zswap", ("lzo", "zbud", 20))
    assert swaps["ramdisk"] == MemorySwap("ramdisk", (32 * 1024,))
    more = "factors: {zram.size: [64 MiB], zswap.zpool: [z3fold], ramdisk_swap.size: [8 MiB]}\n"
    found = experiment(tmp_path, "zram, zswap, ramdisk-swap", more)
    (levels,) = found.combinations()
    swaps = found.at(levels).tuning.swap
    assert [swaps[kind].options[0] for kind in ("zram", "ramdisk")] == [64 * 1024, 8 * 1024]
    assert swaps["zswap"].options == ("lzo", "z3fold", 20)
    without = experiment(tmp_path, "zram", guests=", swap: 0 MiB").at({}).tuning.swap
    assert without["zram"].options[0] == 256 * 1024


def test_a_campaign_runs_more_ram_on_a_larger_host_and_verifies(tmp_path: Path) -> None:
    wanted = experiment(tmp_path, "fixed, fixed+more-ram", "more_ram: 64 MiB\n", ", memory_start: 110 MiB")
    seen: list[tuple[int, int]] = []
    host = FakeHost(tmp_path / "host")
    host.hook = lambda step: (
        seen.append((host.host.guest_memory_mib, host.targets["guest1"])) if step == "observe" else None
    )
    run(wanted, host, results=tmp_path / "results")
    stored = find(tmp_path / "results")
    cells = stored.cells()
    assert {cell.policy: cell.status for cell in cells.values()} == dict.fromkeys(
        ("fixed", "fixed+more-ram"), "complete"
    )
    assert sorted(seen) == [(480, 110), (544, 131)]
    assert verify(stored.directory).findings == ()


def test_cells_on_a_larger_host_are_compared_with_each_other() -> None:
    def group(policy: str) -> tuple[str, ...]:
        return unlike._grouping("host.xen.info.total_memory")(SimpleNamespace(policy=policy, levels={}))  # type: ignore[arg-type]

    assert group("static") == group("selfballoon+tmem") != group("more-ram") == group("fixed+more-ram")


# --- gates ----------------------------------------------------------------------------------------


def measured(tmp_path: Path, name: str, **changes: Mapping[tuple[str, str], float | None]) -> Measured:
    """A run of a policy that is in force, with some readings changed."""
    found = experiment(tmp_path, "static, more-ram", "more_ram: 64 MiB\n")
    policy = policies.parse(name)
    conditions = found.at({}).under(policy)
    guests = tuple(f"guest{number}" for number in range(1, 4))
    start = apply.start_mib(policy, conditions.host, conditions.guests) * PAGES
    before: dict[tuple[str, str], Any] = {
        ("hypervisor", "free_memory"): conditions.host.guest_memory_mib * PAGES - 3 * start,
        ("hypervisor", "tmem_ephemeral_pages"): 0,
        ("hypervisor", "tmem_free_pages"): 0,
    }
    for guest in guests:
        before |= {(guest, "memory"): start, (guest, "vcpu_seconds"): 1.0}
        before |= {
            (guest, f"tmem_{kind}_{counter}"): 0
            for kind in ("ephemeral", "persistent")
            for counter in ("puts", *gates._TRIED)
        }
        before |= dict.fromkeys(
            (
                (guest, name)
                for name in (
                    "swap_sectors_written",
                    "swap_out",
                    "frontswap_stores",
                    "zswap_held",
                    "zram_stores",
                    "ramdisk_held",
                )
            ),
            0,
        )
    after = dict(before)
    for guest in guests:
        after |= {(guest, "swap_out"): 150, (guest, "swap_sectors_written"): 400}
        after |= {(guest, "frontswap_stores"): 60, (guest, "zram_stores"): 100}
        if policy.pools:
            after |= {(guest, "tmem_ephemeral_puts_tried"): 10, (guest, "tmem_persistent_puts_tried"): 20}
    return Measured(
        policy=policy,
        conditions=conditions,
        guests=guests,
        before=before | dict(changes.get("before", {})),
        after=after | dict(changes.get("after", {})),
        samples=[],
        metrics=[],
        checksums={},
        skew_seconds=0.1,
        apart_s=0.1,
        logs={},
        claims=(),
    )


def verdicts(run: Measured) -> dict[str, tuple[float | None, bool]]:
    results, _ = gates.check(run)
    assert all(gate.reason for gate in results)
    return {gate.name: (gate.observed, gate.passed) for gate in results if gate.name != "reads_happened"}


def every(counter: str, value: float | None) -> dict[tuple[str, str], float | None]:
    return {(f"guest{number}", counter): value for number in range(1, 4)}


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("tmem-unused", {"tmem_unused": 0}),
        ("tmem-refusing", {"tmem_puts_refused": 90, "tmem_puts_taken": 0}),
        ("ramdisk-swap", {"ramdisk_stores": 300, "ramdisk_passed_by": 0}),
        ("zswap", {"zswap_stores": 180, "zswap_passed_by": 0}),
        ("zram", {"zram_stores": 300, "zram_passed_by": 0}),
        ("more-ram", {"more_ram": 0}),
    ],
)
def test_a_control_in_force_passes(tmp_path: Path, name: str, wanted: Mapping[str, float]) -> None:
    found = verdicts(measured(tmp_path, name))
    assert {gate: observed for gate, (observed, _) in found.items() if gate in wanted} == wanted
    assert [gate for gate, (_, passed) in found.items() if not passed] == []


@pytest.mark.parametrize(
    ("name", "gate", "changes"),
    [
        ("tmem-unused", "tmem_unused", {"after": {("guest2", "tmem_ephemeral_gets_tried"): 1}}),
        ("tmem-unused", "tmem_unused", {"after": {("guest2", "tmem_persistent_puts_tried"): None}}),
        ("tmem-refusing", "tmem_puts_taken", {"after": {("guest3", "tmem_ephemeral_puts"): 1}}),
        (
            "tmem-refusing",
            "tmem_puts_taken",
            {"before": {("guest3", "tmem_ephemeral_puts"): 1}, "after": {("guest3", "tmem_ephemeral_puts"): 1}},
        ),
        ("tmem-refusing", "tmem_puts_taken", {"after": {("guest3", "tmem_persistent_puts"): None}}),
        (
            "tmem-refusing",
            "tmem_puts_refused",
            {"after": every("tmem_ephemeral_puts_tried", 0) | every("tmem_persistent_puts_tried", 0)},
        ),
        ("ramdisk-swap", "ramdisk_stores", {"after": every("swap_out", 50)}),
        ("ramdisk-swap", "ramdisk_stores", {"after": every("ramdisk_held", None)}),
        ("ramdisk-swap", "ramdisk_passed_by", {"after": {("guest1", "swap_out"): 50}}),
        ("zswap", "zswap_stores", {"after": every("frontswap_stores", 0)}),
        ("zswap", "zswap_stores", {"after": every("zswap_held", None)}),
        ("zswap", "zswap_passed_by", {"after": {("guest1", "frontswap_stores"): 0}}),
        ("zswap+frontswap", "zswap_stores", {"after": every("tmem_persistent_puts", 60)}),
        ("zram", "zram_stores", {"after": every("zram_stores", 0)}),
        ("zram", "zram_stores", {"after": {("guest1", "zram_stores"): None}}),
        ("zram", "zram_passed_by", {"after": {("guest1", "zram_stores"): 0}}),
        ("zram", "zram_passed_by", {"after": {("guest1", "swap_sectors_written"): None}}),
        ("more-ram", "more_ram", {"before": {("hypervisor", "free_memory"): 0, ("guest1", "memory"): 117 * PAGES}}),
        ("more-ram", "more_ram", {"before": {("hypervisor", "free_memory"): 64 * PAGES}}),
        ("more-ram", "more_ram", {"before": {("hypervisor", "free_memory"): None}}),
        ("more-ram", "equal_start", {"before": every("memory", 160 * PAGES)}),
    ],
)
def test_a_control_that_was_not_in_force_fails(
    tmp_path: Path, name: str, gate: str, changes: Mapping[str, Mapping[tuple[str, str], float | None]]
) -> None:
    found = verdicts(measured(tmp_path, name, **changes))
    assert found[gate][1] is False


def test_a_host_of_the_declared_size_never_passes_for_one_with_the_least_addition(tmp_path: Path) -> None:
    """What Xen keeps, 5 MiB more or less, is less than what is allowed, and that is less than the
    addition.
    """
    policy = policies.parse("more-ram")
    base = measured(tmp_path, "more-ram")
    host = replace(base.conditions.host, guest_memory_mib=480 + more_ram.LEAST_MIB)
    conditions = replace(base.conditions, host=host, more_ram_mib=more_ram.LEAST_MIB)
    free = ("hypervisor", "free_memory")
    for there, passes in ((480, False), (480 + 5, False), (496, True), (496 + 5, True)):
        before = {**base.before, **every("memory", 160 * PAGES), free: (there - 480) * PAGES}
        (gate,) = gates.POLICY_GATES["more_ram"](replace(base, policy=policy, conditions=conditions, before=before))
        assert gate.passed is passes, there


def test_swap_in_memory_that_is_first_used_at_the_release_held_nothing_before() -> None:
    key = ("guest1", "ramdisk_held")

    def held(before: dict[tuple[str, str], float | None], after: dict[tuple[str, str], float | None]) -> float | None:
        found, _ = metrics.counter_metrics(before, after, ["guest1"])
        return next(metric.value for metric in found if metric.name == "ramdisk_held")

    assert held({}, {key: 256}) == 256
    assert held({key: 6}, {key: 256}) == 250
    assert held({key: None}, {key: 256}) is None
    assert held({}, {key: None}) is None
    assert held({}, {}) is None
