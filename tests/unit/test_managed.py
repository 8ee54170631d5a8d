"""Policies with a manager in dom0: what an experiment says to them, what a host is asked for, and
what of it a cell keeps and verification makes again.
"""

from __future__ import annotations

import dataclasses
import json
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
from campaign_fakes import EXPERIMENT, FakeHost, find, write_experiment
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from campaigns import experiment, gates, managed, store
from campaigns.run import run
from campaigns.verify import verify
from common import files
from common.errors import InvalidFileError, LabError, UsageError
from lab.api import GuestSizing, HostSizing, MemorySwap
from lab.counters import names
from policies import apply, decide, describe, managers
from policies import registry as policies
from policies.balloon import steps
from policies.base import Tuning
from policies.managed import section
from policies.managers.base import MOST, Guest, Seen, TmemUse
from workloads import registry

MIB = 2**20
MANAGED = EXPERIMENT.replace("count: 3", "count: 2").replace("480", "320").replace("repetitions: 2", "repetitions: 1")
MANAGED = MANAGED.replace("[static, selfballoon, selfballoon+tmem]", "[qmemman, qmemman+tmem]")
MANAGED = MANAGED.partition("claims:")[0] + "qmemman: {cache_factor: 1.5, kept: 8 MiB}\nmanager: {look: 1 s}\n"
HOST, GUESTS = HostSizing(320, 384, 2), GuestSizing(2, 1, 256, 160, 256)
WITH_MANAGER = [name for name, policy in policies.BASES.items() if policy.manager]


@pytest.fixture(autouse=True)
def _fake_load(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry._CLASSES, "fake", "campaign_fakes:FakeLoad")


# --- Policies -----------------------------------------------------------------------------------


def test_every_manager_has_a_policy_of_its_name() -> None:
    assert set(WITH_MANAGER) == set(managers.names())
    for name in WITH_MANAGER:
        assert policies.BASES[name].manager == name
        assert "manager_decided" in policies.BASES[name].gates
        assert "memory_moved" not in policies.BASES[name].gates


@pytest.mark.parametrize("name", WITH_MANAGER)
def test_every_manager_composes_with_tmem_and_describes_its_settings(name: str) -> None:
    policy = policies.parse(f"{name}+tmem+compress")
    said = "\n".join(describe.lines(policy))
    assert f"in dom0: the manager {name}" in said
    for parameter in dataclasses.fields(managers.get(name).Parameters):
        assert f"    {parameter.name}: " in said


def test_smartmem_needs_tmem() -> None:
    with pytest.raises(UsageError, match="uses no tmem") as raised:
        policies.parse("smartmem")
    assert "smartmem+tmem" in str(raised.value)
    with pytest.raises(UsageError):
        policies.parse("smartmem+frontswap")
    assert policies.parse("smartmem+cleancache").manager == "smartmem"


@pytest.mark.parametrize("name", [name for name in WITH_MANAGER if name != "balloon"])
def test_settings_of_an_experiment_are_by_themselves_what_was_published(name: str) -> None:
    values = section(name)().values()
    assert managers.parameters(name, json.loads(json.dumps(values))) == managers.get(name).PUBLISHED


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("mom", "pressure"),
        ("proxmox", "host_share"),
        ("psi", "max_probe"),
        ("collaborative", "kept_clean"),
        ("smartmem", "inertia"),
        ("qmemman", "rounding"),
    ],
)
def test_a_setting_that_is_a_part_is_at_most_all(name: str, key: str) -> None:
    """A host that is to be in use 1.5 times was one."""
    assert section(name).model_validate({key: 1}).values()[key] == 1
    for value in (1.5, 10**30, -0.1):
        with pytest.raises(ValueError, match=r"less than or equal to 1|greater than or equal to 0"):
            section(name).model_validate({key: value})


def test_settings_have_units() -> None:
    given = section("psi").model_validate({"pressure": "5 ms", "interval": "3 s", "kept": "16 MiB", "every": "500 ms"})
    made = managers.parameters("psi", given.values())
    assert (made.pressure, made.interval, made.kept, made.every) == (5000, 3, 16 * MIB, 0.5)
    for wrong in ({"interval": "2500 ms"}, {"kept": 16}, {"pressure": 5000}, {"every": "0 s"}, {"max_probe": -0.1}):
        with pytest.raises(ValueError, match="1 validation error"):
            section("psi").model_validate(wrong)


def test_a_schedule_is_read_in_the_order_of_time() -> None:
    assert steps("60 s guest1 220 MiB, 0 s 120 MiB,1.5 min guest12 1 GiB") == [
        {"at": 0, "number": 0, "target": 120 * MIB},
        {"at": 60_000, "number": 1, "target": 220 * MIB},
        {"at": 90_000, "number": 12, "target": 1024 * MIB},
    ]
    assert steps("") == []
    for wrong in ("120 MiB", "0 s", "0 s guest0 1 MiB", "0 s host 1 MiB", "soon 1 MiB", "0 s 120 MB"):
        with pytest.raises(ValueError, match=r"is no step|unknown unit"):
            steps(wrong)


def test_what_a_host_is_asked_for() -> None:
    wanted = apply.manager(policies.parse("qmemman+tmem"), Tuning(), HOST, GUESTS, ["guest1", "guest2"])
    assert wanted is not None
    assert wanted.bounds_mib == {"guest1": (64, 256), "guest2": (64, 256)}
    assert wanted.counters["meminfo.MemFree"] == 30 * 1024
    assert (wanted.look_s, wanted.tmem, wanted.settings["limit_at_maximum"]) == (0.1, True, True)
    plain = apply.manager(policies.parse("psi"), Tuning(), HOST, GUESTS, ["guest1"])
    assert plain is not None
    assert plain.counters == {"psi.memory.some": 10_000}
    assert (plain.tmem, plain.settings["limit_at_maximum"]) == (False, False)
    refaults = apply.manager(policies.parse("collaborative"), Tuning(), HOST, GUESTS, ["guest1"])
    assert refaults is not None
    assert refaults.counters["vmstat.workingset_refault_file"] == 30 * 256
    assert apply.manager(policies.parse("static"), Tuning(), HOST, GUESTS, ["guest1"]) is None


def test_no_guest_is_shrunk_to_its_ram_disk() -> None:
    """Its memory is taken when it is made: a minimum of 64 MiB would leave 20 beside 44."""
    tuning = Tuning(swap={"ramdisk": MemorySwap("ramdisk", (44 * 1024,))})
    wanted = apply.manager(policies.parse("qmemman+ramdisk-swap"), tuning, HOST, GUESTS, ["guest1"])
    assert wanted is not None
    assert wanted.bounds_mib == {"guest1": (108, 256)}
    large = Tuning(swap={"ramdisk": MemorySwap("ramdisk", (120 * 1024,))})
    all_of_it = apply.manager(policies.parse("qmemman+ramdisk-swap"), large, HOST, GUESTS, ["guest1"])
    assert all_of_it is not None
    assert all_of_it.bounds_mib == {"guest1": (160, 256)}, "what it has at the release is never too little"
    without = apply.manager(policies.parse("qmemman+zram"), tuning, HOST, GUESTS, ["guest1"])
    assert without is not None
    assert without.bounds_mib == {"guest1": (64, 256)}


# --- Any guests ---------------------------------------------------------------------------------

ANY = st.integers(0, MOST) | st.integers(0, 2**31) | st.sampled_from([0, 1, MOST])
COUNTERS = sorted({name for each in managers.names() for name in managers.get(each).COUNTERS})
REPORTS = st.none() | st.dictionaries(st.sampled_from(COUNTERS), ANY)
USES = st.none() | st.builds(TmemUse, ANY, *[st.none() | ANY] * 4)


@st.composite
def guests(draw: st.DrawFn, domain: int) -> Guest:
    least, most = sorted((draw(st.integers(0, 2**40)), draw(st.integers(0, 2**40))))
    return Guest(
        domain=domain,
        name=draw(st.sampled_from(["guest1", "guest99999999999", "", "dom"])),
        actual=draw(st.integers(0, 2**40)),
        target=draw(st.integers(0, 2**40)),
        minimum=least,
        maximum=most,
        report=draw(REPORTS),
        decided=draw(REPORTS),
        changed=draw(REPORTS),
        since_change=draw(st.floats(0, 1e9)),
        follows=draw(st.booleans()),
        tmem=draw(USES),
        tmem_decided=draw(USES),
    )


@pytest.mark.parametrize("name", managers.names())
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_whatever_guests_say_there_is_a_state_that_can_be_decided_again(name: str, data: st.DataObject) -> None:
    number = data.draw(st.integers(0, 4))
    seen = Seen(
        total=data.draw(st.integers(1, 2**40)),
        free=data.draw(st.integers(-(2**30), 2**40)),
        elapsed=data.draw(st.floats(0, 1e9)),
        guests=tuple(data.draw(guests(domain)) for domain in range(number)),
        tmem_pages=data.draw(st.integers(0, 2**40)),
    )
    manager = managers.get(name)
    state = manager.state(seen, manager.PUBLISHED)
    decision = managers.written(manager.decide(state, manager.PUBLISHED))
    recorded = json.loads(json.dumps({"state": dataclasses.asdict(state), "decision": decision}))
    assert decide.again(name, recorded["state"], {}) == recorded["decision"]


# --- Experiments --------------------------------------------------------------------------------


def test_settings_of_managers_are_part_of_an_experiment_that_has_them(tmp_path: Path) -> None:
    wanted = write_experiment(tmp_path, MANAGED)
    assert wanted.document["qmemman"]["cache_factor"] == 1.5
    assert wanted.document["qmemman"]["kept"] == "8 MiB"
    assert "mom" not in wanted.document
    tuning = wanted.at({}).tuning
    assert tuning.managers["qmemman"]["kept"] == 8 * MIB
    assert tuning.manager is not None
    assert tuning.manager.look_s == 1
    again = experiment.from_document("test", wanted.document)
    assert again.sha256 == wanted.sha256


def test_an_experiment_without_a_manager_is_what_it_was(tmp_path: Path) -> None:
    document = write_experiment(tmp_path).document
    assert not {"manager", *managers.names()} & document.keys()


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("mom: {pressure: 0.1}\n", "no policy has this manager"),
        ("qmemman: {cache_faktor: 1}\n", "cache_factor"),
        ("manager: {minimum: 300 MiB}\n", "guests cannot keep at least 300 MiB where they start with"),
        ("manager: {minimum: 161 MiB}\n", "guests cannot keep at least 161 MiB where they start with 160"),
        ("manager: {look: 10 ms}\n", "greater than or equal to 0.1"),
        ("factors: {mom.pressure: [0.1]}\n", "no key 'mom.pressure' can be a factor"),
    ],
)
def test_mistakes_are_told(tmp_path: Path, line: str, said: str) -> None:
    text = MANAGED.partition("qmemman: {")[0] if line.partition(":")[0] in MANAGED else MANAGED
    with pytest.raises(InvalidFileError) as raised:
        write_experiment(tmp_path, text + line)
    assert said in str(raised.value)


def test_a_managers_settings_and_a_schedule_may_be_factors(tmp_path: Path) -> None:
    text = MANAGED.replace("[qmemman, qmemman+tmem]", "[qmemman, balloon]")
    schedules = "['0 s 100 MiB', '0 s 90 MiB, 5 s guest1 99 MiB']"
    text += f"factors: {{qmemman.cache_factor: [1.1, 1.3], balloon.schedule: {schedules}}}\n"
    wanted = write_experiment(tmp_path, text)
    tunings = [wanted.at(levels).tuning.managers for levels in wanted.combinations()]
    assert [each["qmemman"]["cache_factor"] for each in tunings] == [1.1, 1.1, 1.3, 1.3]
    assert [len(each["balloon"]["schedule"]) for each in tunings] == [1, 2, 1, 2]


# --- Cells --------------------------------------------------------------------------------------


def campaign(tmp_path: Path, host: FakeHost) -> Path:
    run(write_experiment(tmp_path, MANAGED), host, results=tmp_path / "results")
    return find(tmp_path / "results").directory


def test_a_manager_is_ready_before_the_release_and_acts_from_then_on(tmp_path: Path) -> None:
    seen: list[tuple[str, bool, bool]] = []
    host = FakeHost(tmp_path / "host")
    host.hook = lambda step: seen.append((step, host.manager is not None, host.acting))
    campaign(tmp_path, host)
    one = seen[: [step for step, *_ in seen].index("provenance")]
    assert ("policy", False, False) in one
    assert ("observe", True, False) in one
    assert ("manager", True, False) in one
    assert ("counters", True, True) in one, "those after the run"
    assert one[-1][1:] == (False, False)


def test_what_it_did_is_kept_measured_and_sampled(tmp_path: Path) -> None:
    directory = campaign(tmp_path, FakeHost(tmp_path / "host"))
    done = find(tmp_path / "results").cells()["qmemman.r1"]
    assert done.status == "complete"
    by_name = {(metric.name, metric.guest): metric.value for metric in done.metrics}
    assert by_name["manager_cpu", None] == 0.01
    assert by_name["manager_decisions", None] == 1
    assert by_name["reporting_cpu", "guest2"] == 0.005
    assert {gate.name for gate in done.gates if gate.passed} >= {"manager_decided", "manager_errors"}
    cell = directory / "cells/qmemman.r1"
    assert (cell / "raw/manager.jsonl").is_file()
    assert verify(directory).findings == ()


def _mend(directory: Path, change: Callable[[list[dict[str, Any]]], None]) -> str:
    """Change what the manager wrote, with all sums made anew; what verification then says."""
    path = directory / "cells/qmemman.r1/raw/manager.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    change(lines)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    for cell in directory.glob("*/*/cell.json"):
        store.write_sums(cell.parent)
    names = ["campaign.json", *(each.relative_to(directory).as_posix() for each in directory.glob("*/*/SHA256SUMS"))]
    store.replace_sums(directory, {name: files.digest(directory / name) for name in names})
    return "\n".join(f"{each.path}: {each.message}" for each in verify(directory).findings)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda lines: lines[0].update(decision={"targets": [[1, 7]]}), "made again, it is"),
        (lambda lines: lines[0].update(state={}), "has no state that can be decided"),
        (lambda lines: lines[0].pop("state"), "cannot be recomputed"),
        (lambda lines: lines[0].update(set=[[1, "7", 0.5]]), "cannot be recomputed"),
        (lambda lines: lines[1].update(cost=[3]), "cannot be recomputed"),
        (lambda lines: lines.insert(0, ["decision"]), "cannot be recomputed"),
        (lambda lines: lines[0].update(set=[[1, 7 * MIB, 0.5]]), "samples.csv: "),
        (lambda lines: lines[1]["cost"].update(cpu_seconds=3), "metric manager_cpu of the host is"),
        (lambda lines: lines.insert(0, {"time": 1, "error": "x"}), "gate manager_errors passed"),
    ],
)
def test_what_a_manager_did_not_decide_is_found(
    tmp_path: Path, change: Callable[[list[dict[str, Any]]], None], said: str
) -> None:
    directory = campaign(tmp_path, FakeHost(tmp_path / "host"))
    assert said in _mend(directory, change)


def test_what_a_manager_left_under_a_policy_without_one_is_found(tmp_path: Path) -> None:
    path = write_experiment(tmp_path, MANAGED.replace("[qmemman, qmemman+tmem]", "[qmemman, static]"))
    run(path, FakeHost(tmp_path / "host"), results=tmp_path / "results")
    cells = find(tmp_path / "results").directory / "cells"
    (cells / "static.r1/raw/manager.jsonl").write_bytes((cells / "qmemman.r1/raw/manager.jsonl").read_bytes())
    said = {f"{each.path}: {each.message}" for each in verify(cells.parent).findings}
    assert "cells/static.r1/raw/manager.jsonl: the policy static has no manager" in said


def test_a_cell_whose_manager_left_nothing_is_invalid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FakeHost, "managed", lambda _self, _manager: [])
    campaign(tmp_path, FakeHost(tmp_path / "host"))
    done = find(tmp_path / "results").cells()["qmemman.r1"]
    assert done.status == "invalid"
    assert [gate.name for gate in done.gates if not gate.passed] == ["manager_decided", "manager_errors"]


def test_a_cell_whose_manager_crashed_has_no_figures(tmp_path: Path) -> None:
    def hook(step: str) -> None:
        if step == "manager_ends":
            raise LabError("the agent on dom0 ended", why="out of memory")

    host = FakeHost(tmp_path / "host", hook=hook)
    run(write_experiment(tmp_path, MANAGED), host, results=tmp_path / "results")
    failed = find(tmp_path / "results").attempts()["qmemman.r1"][-1]
    assert failed.status == "failed"
    assert failed.failure is not None
    assert "out of memory" in failed.failure.message
    assert not failed.metrics


@pytest.mark.parametrize("error", [LabError("lost"), KeyboardInterrupt()])
def test_a_manager_ends_with_its_run_however_that_ends(tmp_path: Path, error: BaseException) -> None:
    ended: list[str] = []

    def hook(step: str) -> None:
        if step == "manager":
            raise error
        if step == "manager_ends":
            ended.append(step)

    host = FakeHost(tmp_path / "host", hook=hook)
    try:
        run(write_experiment(tmp_path, MANAGED), host, results=tmp_path / "results")
    except KeyboardInterrupt:
        assert isinstance(error, KeyboardInterrupt)
    assert ended
    assert host.manager is None


def _told(reports: dict[str, str], failed: list[Any]) -> dict[str, Any]:
    return {
        "time": 1,
        "names": {"1": "guest1", "2": "guest2"},
        "state": {},
        "decision": {"targets": [[1, 7]]},
        "reports": reports,
        "set": [],
        "failed": failed,
    }


@pytest.mark.parametrize(
    ("good", "bad", "named"),
    [
        (2, _told({"guest1": "none", "guest2": "none"}, []), []),
        (1, _told({"guest1": "none", "guest2": "none"}, []), ["manager_blind"]),
        (1, _told({}, [[1, "xl mem-set 1 7k", "failed"]]), ["manager_unable"]),
        (1, _told({}, [[1, "growing to 7", "7 bytes did not come free"]]), []),
        (1, _told({"guest1": "none"}, []), []),
    ],
)
def test_a_manager_that_saw_nobody_or_could_tell_nobody_does_not_count(
    good: int, bad: dict[str, Any], named: list[str]
) -> None:
    lines = [json.dumps(each) for each in (*[_told({}, [])] * good, bad, bad)]
    measured = types.SimpleNamespace(managed=managed.parse([*lines, '{"cost": {"decisions": 3}}']))
    found = list(gates.POLICY_GATES["manager_decided"](cast("gates.Measured", measured)))
    assert [gate.name for gate in found if not gate.passed] == named


def test_of_a_log_that_was_full_nothing_is_counted() -> None:
    line = json.dumps(_told({}, []))
    for dropped, count in ((0, 0), (7, None)):
        found = managed.parse([line, json.dumps({"cost": {"decisions": 8, "dropped": dropped}})])
        values = {each.name: each.value for each in found.metrics}
        assert (values["manager_targets"], values["manager_failures"]) == (count, count)
        assert values["manager_decisions"] == 8


def test_targets_are_samples_of_their_guests() -> None:
    record = {"time": 100.0, "names": {"1": "guest1"}, "state": {}, "decision": {"targets": [[1, 7]]}, "failed": []}
    found = managed.parse(
        [json.dumps({**record, "set": [[1, 7, 2.5], [9, 1, 3]]}), '{"cost": {"cpu_seconds": 1, "wall_seconds": 0}}']
    )
    assert [(each.time, each.source, each.counter, each.value) for each in found.samples] == [
        (102.5, "guest1", "target", 7 / 4096)
    ]
    assert found.samples[0].counter in names.known()
    assert {metric.name: metric.value for metric in found.metrics}["manager_cpu"] is None
