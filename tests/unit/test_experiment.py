"""Experiment files: what is accepted, what is refused, and what the refusal says."""

from __future__ import annotations

import re
import subprocess
import time
from pathlib import Path

import pytest
import yaml
from campaign_fakes import EXPERIMENT, write_experiment

from campaigns import experiment, feasible, launch, plan, schema
from campaigns.records import Relief
from common.errors import InvalidFileError, MissingError
from common.needs import Needs
from lab.hosts import guests
from policies import memory_swap
from workloads import registry


@pytest.fixture(autouse=True)
def _fake_load(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry._CLASSES, "fake", "campaign_fakes:FakeLoad")


def test_defaults_follow_from_the_sizing(tmp_path: Path) -> None:
    found = write_experiment(tmp_path)
    conditions = found.at({})
    assert conditions.host.guest_memory_mib == 480
    assert conditions.guests.memory_start_mib == 160  # the even share
    assert conditions.guests.swap_mib == 256
    assert conditions.overcommit_ratio == pytest.approx(1.6)
    assert [policy.name for policy in found.policies] == ["static", "selfballoon", "selfballoon+tmem"]
    assert found.document["workload"]["parameters"] == {"size": 3, "script": "echo made > {raw}/output"}


def test_the_resolved_document_is_an_experiment_again(tmp_path: Path) -> None:
    found = write_experiment(tmp_path)
    again = experiment.from_document(found.name, found.document)
    assert again == found
    assert again.sha256 == found.sha256
    assert again.document["host"]["guest_memory"] == "480 MiB"
    assert again.document["gates"]["barrier_skew"] == "2 s"


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (
            "memory_max: 256",
            "memry_max: 256",
            ["unknown key 'memry_max'", "did you mean 'memory_max'?", "line 4, guests.memry_max"],
        ),
        ("256 MiB", "256 MB", ["unknown unit 'MB'", "key guests.memory_max"]),
        ("256 MiB", "256", ["not a quantity with a unit", "key guests.memory_max"]),
        ("256 MiB", "256.5 MiB", ["not a whole number of MiB"]),
        ("count: 3", "count: 3.0", ["key guests.count", "integer"]),
        ("count: 3", "count: true", ["key guests.count"]),
        ("count: 3", "count: 0", ["key guests.count", "greater than or equal to 1"]),
        ("count: 3", "count: 10", ["10 guests have 48 MiB each, too little for one to boot", "at least 640 MiB"]),
        ("count: 3", "count: 3, memory_start: 200 MiB", ["3 guests cannot start with 200 MiB each", "at most 160 MiB"]),
        ("count: 3", "count: 1, memory_start: 300 MiB", ["less at most (256 MiB) than at start (300 MiB)"]),
        ("count: 3", "count: 3, memory_start: 32 MiB", ["cannot boot with 32 MiB"]),
        ("memory_max: 256 MiB", "memory_max: 0 MiB", ["key guests.memory_max", "cannot boot with 0 MiB"]),
        ("memory_max: 256 MiB", "memory_max: 32 MiB", ["key guests.memory_max", "cannot boot with 32 MiB"]),
        ("host: {guest_memory: 480 MiB}", "", ["either host.guest_memory or overcommit_ratio"]),
        ("seed: 7", "overcommit_ratio: 1.5", ["either host.guest_memory or overcommit_ratio"]),
        (
            "selfballoon+tmem]",
            "selfballoon+tmen]",
            ["there is no memory policy 'selfballoon+tmen'", "policies[2]", "selfballoon+tmem"],
        ),
        ("[static, selfballoon,", "[static, static,", ["policy 'static' is there twice", "policies[1]"]),
        ("name: fake", "name: fke", ["unknown workload 'fke'", "did you mean 'fake'?", "key workload.name"]),
        ("size: 3", "sise: 3", ["unknown key 'sise'", "did you mean 'size'?", "key workload.parameters.sise"]),
        ("size: 3", "size: 300", ["key workload.parameters.size", "less than or equal to 100"]),
        (
            "metric: sectors_read",
            "metric: sector_read",
            ["unknown metric 'sector_read'", "did you mean 'sectors_read'?", "key claims[0].metric"],
        ),
        (
            "control: selfballoon}",
            "control: baloon}",
            ["policy 'baloon' is not one of this experiment's", "key claims[0].compare.control"],
        ),
        ("control: selfballoon}", "control: selfballoon+tmem}", ["compared with itself"]),
        ("evidence: quoted", "evidence: heard", ["'heard' is not one of 'quoted', 'source', 'recalled' or 'ours'"]),
        ("direction: decrease", "direction: increase", ["0.48 is no increase"]),
        ("direction: decrease, ratio_low: 0.48", "direction: unchanged", ["`unchanged` needs a tolerance"]),
        ("direction: decrease, ratio_low: 0.48", "direction: at_most", ["`at_most` needs a tolerance"]),
        ("ratio_low: 0.48", "ratio_low: 0.48, ratio_best: 0.48", ["ratio_best is the figure of an `up to`"]),
        ("ratio_low: 0.48", "ratio_best: 1.2", ["1.2 is no decrease"]),
        ("ratio_low: 0.48", "tolerance: 0.1", ["a tolerance is of `unchanged` or of a published figure"]),
        (
            "direction: decrease, ratio_low: 0.48",
            "direction: unchanged, tolerance: 0.1, ratio_best: 1",
            ["`unchanged` has no best case"],
        ),
        ("evidence: quoted", "evidence: quoted\n    control_from: them", ["'them' is not one of 'source' or 'ours'"]),
        ("evidence: quoted", "evidence: quoted\n    relief: maybe", ["key claims[0].relief"]),
        ("{sectors_read: 100}", "{relief: {refault: 1}}", ["unknown key 'refault'", "did you mean 'refaults'?"]),
        ("{sectors_read: 100}", "{relief: {refaults: 0}}", ["key gates.relief.refaults"]),
        (
            "{sectors_read: 100}",
            "{relief: {pages_reclaimed: null, refaults: null, memory_stall: null}}",
            ["has to count"],
        ),
        ("seed: 7", "seed: 7\nseed: 8", ["given before, in line 9", "test.yml:10", "key seed"]),
        ("seed: 7", "seed: &a 7\nrepetitions: *a", ["aliases are not supported"]),
        ("seed: 7", "seed: -1", ["key seed"]),
        ("seed: 7", "on: 7", ["a key has to be a text", "quote it"]),
        ("seed: 7", "7: 7", ["a key has to be a text"]),
        ("seed: 7", "seed: [", ["the file is not YAML", "test.yml:"]),
        ("seed: 7", "schema: 2", ["key schema"]),
        ("seed: 7", "selfballoon: {min_usabel: 96 MiB}", ["unknown key 'min_usabel'", "did you mean 'min_usable'?"]),
        ("seed: 7", "selfballoon: {interval: 0 s}", ["key selfballoon.interval"]),
        ("seed: 7", "selfballoon: {interval: 1.5 s}", ["no whole number of seconds", "key selfballoon.interval"]),
        ("seed: 7", "selfballoon: {uphysteresis: 0}", ["key selfballoon.uphysteresis", "greater than or equal to 1"]),
        (
            "seed: 7",
            "factors: {selfballoon.downhysteresis: [1, 0]}",
            ["level 0", "key factors.selfballoon.downhysteresis"],
        ),
        ("count: 3", "count: 3, sysctl: {net.ipv4.ip_forward: 1}", ["key guests.sysctl"]),
        (
            "seed: 7",
            "factors: {guests.cout: [2, 3]}",
            ["no key 'guests.cout' can be a factor", "did you mean 'guests.count'?"],
        ),
        ("seed: 7", "factors: {seed: [2, 3]}", ["no key 'seed' can be a factor"]),
        ("seed: 7", "factors: {guests.count: [2, 2]}", ["a level is there twice"]),
        (
            "seed: 7",
            "factors: {settle: [1 s, 2 s, 1000 ms]}",
            ["a level is there twice: '1000 ms' is '1 s'", "key factors.settle"],
        ),
        (
            "seed: 7",
            "factors: {guests.memory_max: [1 GiB, 1024 MiB]}",
            ["a level is there twice: '1024 MiB' is '1 GiB'"],
        ),
        (
            "seed: 7",
            "factors: {guests.sysctl.net.ipv4: [1, 2]}",
            ["key factors.guests.sysctl.net.ipv4", "should match pattern"],
        ),
        (
            "seed: 7",
            "factors: {guests.sysctl.vm.swappiness: [1, x]}",
            ["key factors.guests.sysctl.vm.swappiness", "level 'x'"],
        ),
        ("guest_memory: 480 MiB", "guest_memory: 0 MiB", ["3 guests have 0 MiB each", "key host.guest_memory"]),
        (
            "guest_memory: 480 MiB",
            "guest_memory: 480 MiB, dom0_memory: 0 MiB",
            ["dom0 cannot start guests with 0 MiB", "key host.dom0_memory"],
        ),
        ("seed: 7", "timeouts: {run: 1 s}", ["fake takes about 3.0 s even on a fast host", "key timeouts.run"]),
        (
            "guest_memory: 480 MiB}",
            "guest_memory: 100 MiB}\nfactors: {workload.parameters.size: [1, 2]}",
            ["3 guests have 33 MiB each", "test.yml:3, key host.guest_memory"],
        ),
        ("seed: 7", "factors: {guests.count: []}", ["key factors.guests.count"]),
        ("seed: 7", "factors: {guests.count: [2, 30]}", ["guests.count = 30", "too little for one to boot"]),
        (
            "seed: 7",
            "factors: {guests.memory_max: [256 MiB, 1 MB]}",
            ["level '1 MB'", "unknown unit", "key factors.guests.memory_max"],
        ),
        (
            "seed: 7",
            "factors: {workload.parameters.size: [1, 0]}",
            ["level 0", "greater than or equal to 1", "key factors.workload.parameters.size"],
        ),
        ("repetitions: 2", "repetitions: 1000\nfactors: {workload.parameters.size: [1, 2, 3, 4]}", ["12,000 cells"]),
        ("title: A test", "title: '  '", ["it is blank", "key title"]),
        ("seed: 7", "schema: true", ["'True' is not one of 1", "key schema"]),
        (
            "seed: 7",
            "tmem: {weights: {guest4: 2}}",
            ["there is no guest4", "guest1 to guest3", "key tmem.weights.guest4"],
        ),
        ("seed: 7", "tmem: {caps: {guest9: 2}}", ["there is no guest9", "key tmem.caps.guest9"]),
        (
            "[static, selfballoon, selfballoon+tmem]",
            "[static, selfballoon, selfballoon+tmem, selfballoon+cleancache+frontswap]",
            ["'selfballoon+cleancache+frontswap' does the same as 'selfballoon+tmem'", "key policies[3]"],
        ),
        (
            "direction: decrease, ratio_low: 0.48",
            "direction: unchanged, tolerance: 0.1, ratio_high: 0.5",
            ["without 1 is not `unchanged`"],
        ),
        (
            "guests: {count: 3, memory_max: 256 MiB}",
            "guests: {count: 3, groups: {a: {memory_max: 256 MiB}}}",
            ["guests in groups have no count in common", "write it in each group", "key guests.count"],
        ),
        ("seed: 7", "retries: {lb: 1}", ["'lb' is not one of 'lab'", "key retries.lb"]),
        ("title: A test\n", "", ["the key 'title' is missing"]),
    ],
)
def test_a_mistake_is_named_with_its_place_and_a_remedy(
    tmp_path: Path, old: str, new: str, expected: list[str]
) -> None:
    assert old in EXPERIMENT
    with pytest.raises(InvalidFileError) as caught:
        write_experiment(tmp_path, EXPERIMENT.replace(old, new))
    assert caught.value.exit_code == 4
    assert ".[key]" not in str(caught.value)  # pydantic's word for a key that is wrong itself
    for text in (*expected, "test.yml"):
        assert text in str(caught.value)


def test_every_mistake_is_shown_at_once_in_the_order_of_the_file(tmp_path: Path) -> None:
    text = (
        EXPERIMENT.replace("count: 3", "count: no")
        .replace("size: 3", "sise: 3")
        .replace("title: A test", "titel: A test")
    )
    with pytest.raises(InvalidFileError, match="3 mistakes") as caught:
        write_experiment(tmp_path, text)
    lines = caught.value.why.splitlines()
    assert [line.split(",")[0] for line in lines] == sorted(line.split(",")[0] for line in lines)


def test_a_schedule_by_hand_names_guests_that_are_there(tmp_path: Path) -> None:
    text = EXPERIMENT.replace("[static,", "[static, balloon,")
    write_experiment(tmp_path, text + "balloon: {schedule: 0 s guest3 120 MiB}\n")
    write_experiment(tmp_path, text + "factors: {guests.count: [2, 4]}\nballoon: {schedule: 0 s guest4 120 MiB}\n")
    with pytest.raises(InvalidFileError, match="there is no guest4") as caught:
        write_experiment(tmp_path, text + "balloon: {schedule: 0 s guest4 120 MiB}\n")
    assert "key balloon.schedule" in str(caught.value)


def test_of_thousands_of_mistakes_the_first_are_told(tmp_path: Path) -> None:
    with pytest.raises(InvalidFileError, match="500 mistakes") as caught:
        write_experiment(tmp_path, EXPERIMENT + "".join(f"key{number}: 1\n" for number in range(500)))
    lines = caught.value.why.splitlines()
    assert (len(lines), lines[-1]) == (21, "480 more")


def test_more_cells_than_there_can_be_are_refused_before_any_level_is_looked_at(tmp_path: Path) -> None:
    """Fifty factors of a hundred levels took a minute and a half."""
    factors = "".join(f"  guests.sysctl.vm.key{number}: {list(range(100))}\n" for number in range(50))
    began = time.process_time()
    with pytest.raises(InvalidFileError, match=r"about 10\^101 cells are more than the 10,000"):
        write_experiment(tmp_path, EXPERIMENT + f"factors:\n{factors}")
    assert time.process_time() - began < 5


def test_a_file_that_is_not_there_is_met_with_a_suggestion(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(experiment, "EXPERIMENTS", tmp_path)
    write_experiment(tmp_path, name="demo")
    with pytest.raises(InvalidFileError, match="no experiment 'dmo'") as caught:
        experiment.load("dmo")
    assert "did you mean 'demo'?" in str(caught.value)


@pytest.mark.parametrize("text", ["", "- a\n- b\n", "just text\n"])
def test_a_file_without_keys_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(InvalidFileError, match="keys and values"):
        write_experiment(tmp_path, text)


def test_the_overcommit_ratio_as_a_factor_sets_the_hosts_memory_and_leaves_the_guests_alone(tmp_path: Path) -> None:
    found = write_experiment(tmp_path, EXPERIMENT.replace("seed: 7", "factors: {overcommit_ratio: [1.0, 1.5, 2.0]}"))
    conditions = [found.at(levels) for levels in found.combinations()]
    assert [c.host.guest_memory_mib for c in conditions] == [768, 512, 384]
    assert [c.guests.memory_start_mib for c in conditions] == [256, 170, 128]
    assert {c.guests.memory_max_mib for c in conditions} == {256}
    assert len(plan.plan(found)) == 3 * 3 * 2


def test_settings_of_the_guests_reach_them_in_their_own_units(tmp_path: Path) -> None:
    text = EXPERIMENT.replace("count: 3", "count: 3, sysctl: {vm.page-cluster: 0}")
    text = text.replace(
        "seed: 7", "selfballoon: {min_usable: 96 MiB, interval: 2 s}\nfactors: {selfballoon.interval: [1 s, 1 min]}"
    )
    found = write_experiment(tmp_path, text)
    tunings = [found.at(levels).tuning for levels in found.combinations()]
    assert [tuning.selfballoon for tuning in tunings] == [
        {"selfballoon_interval": 1, "selfballoon_min_usable_mb": 96},
        {"selfballoon_interval": 60, "selfballoon_min_usable_mb": 96},
    ]
    assert tunings[0].sysctl == {"vm.page-cluster": 0}


def test_settings_of_a_driver_that_no_policy_loads_are_refused(tmp_path: Path) -> None:
    text = EXPERIMENT.split("claims:")[0].replace("[static, selfballoon, selfballoon+tmem]", "[static]")
    with pytest.raises(InvalidFileError, match="no policy loads the guest driver"):
        write_experiment(tmp_path, text.replace("seed: 7", "selfballoon: {reserved: 8 MiB}"))


def test_factors_of_the_workload_reach_its_parameters(tmp_path: Path) -> None:
    found = write_experiment(
        tmp_path, EXPERIMENT.replace("seed: 7", "factors: {workload.parameters.size: [1, 2], settle: [0 s, 5 s]}")
    )
    seen = [(c.groups[0].load.parameters.size, c.settle_s) for c in map(found.at, found.combinations())]
    assert seen == [(1, 0.0), (1, 5.0), (2, 0.0), (2, 5.0)]


@pytest.mark.parametrize("name", registry.names())
def test_every_workload_can_be_planned_and_writes_a_script_that_sh_can_read(tmp_path: Path, name: str) -> None:
    text = EXPERIMENT.replace("name: fake", f"name: {name}").replace("{size: 3}", "{}")
    found = write_experiment(tmp_path, text)
    conditions = found.at({})
    assert plan.expected_stages(conditions, "tcg")["run"] > 0
    script = conditions.groups[0].load.script()
    subprocess.run(["sh", "-n"], input=script, text=True, check=True)


def test_what_its_workload_needs_is_asked_of_the_image_and_the_demo_waits_for_no_kernel(
    tmp_path: Path,
) -> None:
    text = EXPERIMENT.replace("name: fake", "name: spike").replace("{size: 3}", "{}")
    assert write_experiment(tmp_path, text).needs == Needs(programs=("memload",), kernels=("fidelity",))
    assert experiment.load("demo").needs == Needs(kernels=("debian-6.12",))


def test_the_experiments_of_the_repository_are_valid() -> None:
    names = sorted(path.stem for path in experiment.EXPERIMENTS.glob("*.yml"))
    assert "demo" in names
    for name in names:
        found = experiment.load(name)
        assert plan.plan(found)


def test_the_demo_asks_for_what_the_mission_does() -> None:
    demo = experiment.load("demo")
    conditions = demo.at({})
    assert conditions.guests.count >= 3
    assert conditions.overcommit_ratio >= 1.1
    assert [policy.name for policy in demo.policies] == ["fixed", "selfballoon", "selfballoon+tmem"]
    assert {claim.id for claim in demo.claims if claim.evidence != "quoted"} == {"e2-balloon-alone"}


def test_what_changed_is_named_by_its_path() -> None:
    old = {"a": 1, "b": {"c": [1, 2], "d": 1}}
    assert experiment.changed_keys(old, {"a": 1, "b": {"c": [1, 3], "d": 1}}) == ["b.c[1]"]
    assert experiment.changed_keys(old, {"a": 1, "b": {"c": [1], "e": 1}}) == ["b.c", "b.d", "b.e"]
    assert experiment.changed_keys(old, old) == []


def test_a_kernel_setting_can_be_a_factor(tmp_path: Path) -> None:
    """Its name has dots, which are no levels of the file."""
    text = EXPERIMENT.replace(
        "seed: 7", "factors: {guests.sysctl.vm.swappiness: [10, 60], selfballoon.interval: [1 s, 5 s]}"
    )
    found = write_experiment(tmp_path, text)
    seen = [found.at(levels).tuning for levels in found.combinations()]
    assert [tuning.sysctl for tuning in seen] == [{"vm.swappiness": 10}] * 2 + [{"vm.swappiness": 60}] * 2
    again = experiment.from_document("test", found.document)
    assert again.sha256 == found.sha256


def test_a_file_that_fits_no_disk_is_refused_before_anything_is_built(tmp_path: Path) -> None:
    workload = "workload:\n  name: fio\n  parameters: {size: 500 GiB}\n"
    start, end = EXPERIMENT.index("workload:"), EXPERIMENT.index("seed:")
    with pytest.raises(InvalidFileError, match="wants 512,000 MiB of a guest's disk, which has 4096 MiB in all"):
        write_experiment(tmp_path, EXPERIMENT[:start] + workload + EXPERIMENT[end:])


def test_the_disk_is_as_large_as_the_image_is_made() -> None:
    defaults = Path(__file__).resolve().parents[2] / "playbooks/roles/guest_image/defaults/main.yml"
    assert f"guest_image_size: {guests.ROOT_DISK_MIB // 1024}G" in defaults.read_text()


def test_a_claim_says_whose_choice_its_control_is_and_what_the_control_has_to_have_felt(tmp_path: Path) -> None:
    found = write_experiment(tmp_path)
    (claim,) = found.claims
    assert (claim.control_from, claim.relief) == ("ours", None), "nobody is quoted who did not say it"
    assert claim.expectation.best == 0.48, "a range that is open towards no effect is an `up to`"
    assert found.at({}).gates.relief.record() == Relief()
    text = EXPERIMENT.replace(
        "evidence: quoted", "evidence: quoted\n    control_from: source\n    relief: false"
    ).replace("{sectors_read: 100}", "{relief: {refaults: 99, memory_stall: null}}")
    other = write_experiment(tmp_path, text.replace("ratio_low: 0.48", "ratio_low: 0.48, ratio_high: 0.69"))
    assert (other.claims[0].control_from, other.claims[0].relief, other.claims[0].expectation.best) == (
        "source",
        False,
        None,
    )
    assert other.at({}).gates.relief.record() == Relief(1024, 99, None)
    assert experiment.from_document(other.name, other.document) == other


@pytest.mark.parametrize("name", [path.stem for path in sorted(experiment.EXPERIMENTS.glob("*.yml"))])
def test_what_is_shipped_is_an_experiment_at_every_scale(name: str) -> None:
    for scale in experiment.scales(name):
        assert experiment.load(name, scale).name == name


@pytest.mark.parametrize("name", [path.stem for path in sorted(experiment.EXPERIMENTS.glob("*.yml"))])
def test_shipped_experiments_judge_operations_on_requests_and_best_cases_as_such(name: str) -> None:
    content = (experiment.EXPERIMENTS / f"{name}.yml").read_text()
    found = experiment.load(name)
    for claim in found.claims:
        assert content.count("control_from:") >= len(found.claims), "said in the file, not left to a default"
        if "operations" in claim.statement or "IO/sec" in claim.statement:
            assert claim.metric.endswith("_requests")
        if "up to" in claim.statement:
            assert claim.expectation.ratio_best is not None


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        ("count: 3, memory_max: 256 MiB", "count: 30, memory_max: 256 MiB", "guests.count of test.yml"),
        ("guest_memory: 480 MiB", "guest_memory: 2 GiB, vcpus: 1024", "host.vcpus of test.yml"),
        ("guest_memory: 480 MiB", "guest_memory: 2 GiB, dom0_memory: 130 MiB", "host.dom0_memory of test.yml"),
        ("guest_memory: 480 MiB", "guest_memory: 1024 TiB", "host.guest_memory of test.yml"),
    ],
)
def test_what_no_emulated_host_can_be_is_refused_before_anything_is_built(
    tmp_path: Path, old: str, new: str, key: str
) -> None:
    text = EXPERIMENT.replace("480 MiB", "4 GiB") if "count: 30" in new else EXPERIMENT
    found = write_experiment(tmp_path, text.replace(old, new))
    with pytest.raises(InvalidFileError) as caught:
        feasible.on_host(found, "emulated")
    assert caught.value.where == key


@pytest.mark.parametrize(
    ("more", "policies", "key", "remedy"),
    [
        ("host: {dom0_memory: 384 MiB, guest_memory: 480 MiB}", "static", "host.dom0_memory of test.yml", "512 MiB"),
        (
            "host: {dom0_memory: 1 GiB, guest_memory: 480 MiB}\nmore_ram: 64 MiB",
            "static, static+more-ram",
            "policies of test.yml",
            "Leave out the policies",
        ),
    ],
)
def test_memory_that_no_server_can_have_is_told_before_anything_is_built(
    tmp_path: Path, more: str, policies: str, key: str, remedy: str
) -> None:
    """It was told by each cell, one after the other."""
    text = EXPERIMENT.partition("claims:")[0].replace("host: {guest_memory: 480 MiB}", more)
    text = text.replace("[static, selfballoon, selfballoon+tmem]", f"[{policies}]")
    found = write_experiment(tmp_path, text)
    with pytest.raises(InvalidFileError) as caught:
        feasible.on_host(found, "physical")
    assert caught.value.where.endswith(key)
    assert remedy in caught.value.remedy


def test_a_host_that_this_machine_can_never_hold_is_told_before_anything_is_built(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was noticed when the host was started, after minutes of building."""
    made = write_experiment(tmp_path)
    memory_mib = feasible.on_host(made, "emulated")
    assert memory_mib > 480 + 512
    servers = write_experiment(tmp_path, EXPERIMENT.replace("480 MiB", "480 MiB, dom0_memory: 1 GiB"), "servers")
    assert feasible.on_host(servers, "physical") == 0
    pages = {"SC_PHYS_PAGES": 1000 * 256, "SC_PAGE_SIZE": 4096}
    monkeypatch.setattr(feasible.os, "sysconf", pages.__getitem__)
    path = str(tmp_path / "test.yml")
    with pytest.raises(MissingError, match=r"takes \d+ MiB of memory, and this machine has 1000 MiB"):
        launch.ask(path, launch.lifecycle.DEFAULT_INVENTORY, results=tmp_path / "results")
    pages["SC_PHYS_PAGES"] = 8000 * 256
    assert launch.ask(path, launch.lifecycle.DEFAULT_INVENTORY, results=tmp_path / "results").ended is None


def test_the_guides_experiment_is_one_as_it_is_printed(tmp_path: Path) -> None:
    guide = (experiment.EXPERIMENTS / "README.md").read_text()
    printed = re.search(r"`experiments/(\w+).yml`.*?```yaml\n(.*?)```", guide, re.DOTALL)
    assert printed
    path = tmp_path / f"{printed[1]}.yml"
    path.write_text(printed[2])
    found = experiment.load(str(path))
    cells = plan.plan(found)
    assert len(cells) == 3 * (3 * 2) * (3 * 2), "policies, levels, repetitions"
    assert {cell.levels["overcommit_ratio"] for cell in cells} == {1.0, 1.5, 2.0}
    assert {cell.boot for cell in cells} == {1, 2, 3}
    assert len({cell.cell for cell in cells}) == len(cells)


def test_the_guides_groups_are_an_experiment_as_they_are_printed(tmp_path: Path) -> None:
    guide = (experiment.EXPERIMENTS / "README.md").read_text()
    printed = re.search(r"\*\*Groups\*\* .*?```yaml\n(.*?)```", guide, re.DOTALL)
    assert printed
    path = tmp_path / "groups.yml"
    path.write_text(printed[1])
    found = experiment.load(str(path))
    feasible.on_host(found, "emulated")
    at = found.at({})
    assert [(group.name, group.count, group.load.workload.name) for group in at.groups] == [
        ("db", 1, "fio"),
        ("build", 2, "kernel_build"),
        ("late", 1, "kernel_build"),
    ]
    assert at.overcommit_ratio == 1.92


def examples() -> list[str]:
    """Every fragment `key: value` or `{...}` of the guide's tables and text, whose key is known."""
    guide = (experiment.EXPERIMENTS / "README.md").read_text()
    rows = re.findall(r"^\| `([\w.]+)`[^|]*\|([^\n]*)\|", guide, re.MULTILINE)
    found = []
    for key, text in rows:
        found += [f"{key}: {each}" for each in re.findall(r"`(\{[^`]*: [^`]*\})`", text)]
        for name, value in re.findall(r"`([\w.]+): (\{[^`]*\}|\[[^`]*\])`", text):
            whole = name in schema.key_names(()) and key != "factors"
            found.append(f"{name}: {value}" if whole else f"{key}: {{{name}: {value}}}")
    return found


@pytest.mark.parametrize("fragment", examples())
def test_every_fragment_of_the_guide_is_taken_and_planned(fragment: str, tmp_path: Path) -> None:
    key, _, value = fragment.partition(": ")
    document = yaml.safe_load((experiment.EXPERIMENTS / "kernel_build.yml").read_text())
    if key == "tmem" or "." not in key:
        document[key] = (
            {**(document.get(key) or {}), **yaml.safe_load(value)} if key == "tmem" else yaml.safe_load(value)
        )
    else:
        group, _, name = key.partition(".")
        document[group][name] = yaml.safe_load(value)
    if key in memory_swap.KEYS.values():
        document["policies"].append(key.replace("_", "-"))
    if key == "factors" and "overcommit_ratio" in value:
        document["host"].pop("guest_memory")
        document["overcommit_ratio"] = 1.6
    path = tmp_path / "fragment.yml"
    path.write_text(yaml.safe_dump(document))
    assert plan.plan(experiment.load(str(path)))


def test_the_guide_has_fragments() -> None:
    keys = {fragment.partition(":")[0] for fragment in examples()}
    assert {"tmem", "guests.sysctl", "factors", "repetitions", *memory_swap.KEYS.values()} <= keys
