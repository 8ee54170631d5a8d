"""What helps people who write experiments: exclusions, presets, descriptions, the JSON Schema."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import command
import jsonschema
import pytest
import yaml
from campaign_fakes import EXPERIMENT, FakeHost, find, write_experiment

from campaigns import cell, describe, experiment, json_schema, launch, plan
from campaigns.run import run
from campaigns.verify import verify
from common.errors import InvalidFileError, LabError
from common.units import rough_duration
from workloads import registry

FACTORS = "factors: {workload.parameters.size: [1, 2], settle: [0 s, 1 s]}\nseed: 7"
EXCLUDE = """\
exclude:
  - {policy: static, workload.parameters.size: 2}
  - {policy: [selfballoon, selfballoon+tmem], settle: [1 s]}
"""
PRESETS = """\
presets:
  night: {repetitions: 5, guests: {count: 2}, workload: {parameters: {size: 9}}}
  physical: {host: {guest_memory: 8 GiB}, guests: {memory_max: 4 GiB}}
"""


@pytest.fixture(autouse=True)
def _fake_load(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry._CLASSES, "fake", "campaign_fakes:FakeLoad")


def excluding(tmp_path: Path, text: str = EXCLUDE) -> experiment.Experiment:
    return write_experiment(tmp_path, EXPERIMENT.replace("seed: 7", FACTORS) + text)


def test_combinations_that_are_left_out_have_no_cells(tmp_path: Path) -> None:
    made = excluding(tmp_path)
    seen = {(each.policy, each.levels["workload.parameters.size"], each.levels["settle"]) for each in plan.plan(made)}
    assert seen == {
        ("static", 1, "0 s"),
        ("static", 1, "1 s"),
        ("selfballoon", 1, "0 s"),
        ("selfballoon", 2, "0 s"),
        ("selfballoon+tmem", 1, "0 s"),
        ("selfballoon+tmem", 2, "0 s"),
    }
    assert len(list(made.combinations())) == 3  # nobody runs size 2 with a rest of 1 s
    assert experiment.from_document("test", made.document).document == made.document
    assert "exclude" not in write_experiment(tmp_path).document


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("exclude: [{polcy: static}]", ["'polcy' is neither `policy` nor a factor", "did you mean 'policy'?"]),
        ("exclude: [{policy: statc}]", ["'statc' is not one of its levels", "did you mean 'static'?"]),
        ("exclude: [{settle: 9 s}]", ["'9 s' is not one of its levels", "key exclude[0].settle"]),
        ("exclude: [{}]", ["it would leave out every cell"]),
        ("exclude: [{settle: [0 s, 1 s]}]", ["every cell is left out"]),
        ("exclude: [{policy: []}]", ["it names no level", "key exclude[0].policy"]),
        ("exclude: [{workload.parameters.size: [true]}]", ["True is not one of its levels"]),
        (
            "exclude: [{policy: selfballoon}]",
            ["selfballoon+tmem and selfballoon are never run at the same levels", "key claims[0].compare"],
        ),
        (
            "exclude: [{policy: selfballoon, settle: 0 s}, {policy: selfballoon+tmem, settle: 1 s}]",
            ["are never run at the same levels"],
        ),
    ],
)
def test_an_exclusion_that_means_nothing_is_refused(tmp_path: Path, text: str, expected: list[str]) -> None:
    with pytest.raises(InvalidFileError) as caught:
        excluding(tmp_path, text)
    for each in expected:
        assert each in str(caught.value)


def test_a_preset_is_the_experiment_at_another_scale(tmp_path: Path) -> None:
    path = tmp_path / "test.yml"
    plain = write_experiment(tmp_path, EXPERIMENT)
    path.write_text(EXPERIMENT + PRESETS)
    assert experiment.scales(str(path)) == ["night", "physical"]
    assert experiment.load(str(path)).document == plain.document  # the file as it is has none of them
    night = experiment.load(str(path), "night")
    assert (night.repetitions, night.at({}).guests.count) == (5, 2)
    assert night.at({}).groups[0].load.parameters.size == 9
    assert night.at({}).host == plain.at({}).host
    with pytest.raises(InvalidFileError, match="no preset 'nigt'") as caught:
        experiment.load(str(path), "nigt")
    assert "did you mean 'night'?" in str(caught.value)
    path.write_text(EXPERIMENT + PRESETS.replace("count: 2", "count: 0"))
    with pytest.raises(InvalidFileError) as caught:
        experiment.load(str(path), "night")
    line = (EXPERIMENT + PRESETS).splitlines().index("  night: " + PRESETS.splitlines()[1].partition("night: ")[2]) + 1
    assert f"test.yml:{line}, key guests.count" in str(caught.value)


@pytest.mark.parametrize("name", ["night/../x", "-x", "", "a b"])
def test_a_preset_that_cannot_be_part_of_a_campaigns_name_is_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / "test.yml"
    path.write_text(EXPERIMENT + f"presets: {{'{name}': {{repetitions: 3}}}}\n")
    with pytest.raises(InvalidFileError, match="a preset's name is part of a campaign's"):
        experiment.scales(str(path))


def test_the_campaign_of_a_preset_has_a_name_of_its_own_and_tells_its_scale(tmp_path: Path) -> None:
    path = tmp_path / "test.yml"
    path.write_text(EXPERIMENT + PRESETS.replace("repetitions: 5", "repetitions: 1"))
    request = launch.ask(str(path), launch.lifecycle.DEFAULT_INVENTORY, scale="night", results=tmp_path / "results")
    assert (request.campaign, request.scale) == ("test-night", "night")
    host = FakeHost(tmp_path / "host")
    results = tmp_path / "results"
    run(request.experiment, host, results=results, campaign=request.campaign, scale=request.scale, cell="static.r1")
    record = find(results, "test-night").record()
    assert cell.rerun_command(record, "static.r1") == "./inv campaign.run test --scale night --cell static.r1"
    assert "damaged" not in verify(results / "test-night").lines()[-1]


def test_a_plan_shows_levels_sizing_and_ratio_in_80_columns(tmp_path: Path) -> None:
    text = EXPERIMENT.replace("seed: 7", "factors: {overcommit_ratio: [1.0, 2.0], guests.count: [2, 3]}\nseed: 7")
    made = write_experiment(tmp_path, text)
    shown = describe.plan_lines(made, plan.plan(made))
    assert max(map(len, shown)) <= 80
    whole = "\n".join(shown)
    assert "L1: overcommit_ratio 1.0, guests.count 2" in whole
    assert "384 MiB for 3 guests, ratio 2.00" in whole
    assert "3 guests: 1 vCPU" not in whole  # the first levels have two
    assert "    at overcommit_ratio 1.0, guests.count 2, the first of their levels:" in shown
    assert shown[1] in describe.lines(made)
    plain = write_experiment(tmp_path, EXPERIMENT.replace("seed: 7", "factors: {settle: [1 s, 2 s]}\nseed: 7"))
    assert not any("levels:" in line for line in describe.lines(plain))
    assert "2 guests: 1 vCPU, 256 to 256 MiB, fake" in whole
    assert sum("selfballoon+tmem." in line for line in shown) == 2 * 4


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("gates:", "keys with their values have to follow, not None"),
        ("factors: {settle: []}", "it is empty, and at least 1 has to be there"),
    ],
)
def test_a_key_without_its_values_is_told_in_words_for_people(tmp_path: Path, key: str, said: str) -> None:
    with pytest.raises(InvalidFileError, match=re.escape(said)):
        write_experiment(tmp_path, EXPERIMENT.replace("gates: {sectors_read: 100}", "") + key + "\n")


def test_warnings_of_a_plan_fit_80_columns(tmp_path: Path) -> None:
    made = tmp_path / "roomy.yml"
    demo = (experiment.EXPERIMENTS / "demo.yml").read_text()
    made.write_text(demo.replace("guest_memory: 392 MiB", "guest_memory: 768 MiB"))
    for task in ("campaign.plan", "experiments.check"):
        done = command.inv(task, str(made))
        assert done.returncode == 0, done.stderr
        assert "warning: nothing is overcommitted" in done.stdout
        assert max(map(len, done.stdout.splitlines())) <= 80


def test_a_plan_tells_places_only_where_policies_have_several_and_within_80_columns(tmp_path: Path) -> None:
    def shown(text: str) -> list[str]:
        made = write_experiment(tmp_path, text)
        return describe.plan_lines(made, plan.plan(made))

    assert any("which place" in line for line in shown(EXPERIMENT))
    assert not any("which place" in line for line in shown(EXPERIMENT.replace("repetitions: 2", "repetitions: 1")))
    bases = ("static", "selfballoon", "fixed", "qmemman", "mom", "psi", "proxmox", "squeezed", "hotplug", "balloon")
    many = ", ".join(name for base in bases for name in (base, f"{base}+tmem"))
    wide = shown(EXPERIMENT.replace("static, selfballoon, selfballoon+tmem", many))
    assert max(map(len, wide)) <= 80
    assert "between 0 and 1 times" in " ".join(line.strip() for line in wide)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (8.24, "8.2 s"),
        (48.4, "48 s"),
        (99.7, "1.7 min"),
        (181, "3 min"),
        (362, "6 min"),
        (6000, "1.7 h"),
        (720_000, "200 h"),
    ],
)
def test_an_estimate_has_two_digits(seconds: float, text: str) -> None:
    assert rough_duration(seconds) == text


def test_every_experiment_of_the_repository_is_listed_and_described() -> None:
    entries = describe.entries()
    assert {"demo", "kernel_build"} <= {each.name for each in entries}
    for each in entries:
        shown = describe.lines(experiment.load(each.name))
        assert shown[0].startswith(f"{each.name}: ")
        assert max(map(len, shown)) <= 80


def test_the_schema_takes_the_repositorys_experiments_and_refuses_what_the_reader_does(tmp_path: Path) -> None:
    validator: Any = jsonschema.Draft202012Validator(json.loads(json.dumps(json_schema.schema())))
    validator.check_schema(validator.schema)
    files = list(experiment.EXPERIMENTS.glob("*.yml"))
    assert files
    for path in files:
        validator.validate(yaml.safe_load(path.read_text()))
    guide = (experiment.EXPERIMENTS / "README.md").read_text()
    printed = [block.partition("```")[0] for block in guide.split("```yaml\n")[1:] if block.startswith("schema: 1")]
    assert len(printed) >= 2
    given = yaml.safe_load((experiment.EXPERIMENTS / "kernel_build.yml").read_text())
    for text in printed:
        validator.validate(yaml.safe_load(text))
    for key, wrong in (
        ("guests", {"count": 3}),
        ("guests", {"count": 3, "memory_max": 256}),
        ("guests", {"groups": {"a": {"memory_max": "1 GiB", "cout": 3}}}),
        ("workload", {"name": "no_such"}),
        ("workload", {"name": "kernel_build", "parameters": {"jobz": 3}}),
        ("settel", "1 s"),
        ("sampling", {"interval": 2}),
        ("exclude", [3]),
        ("exclude", [{"policy": []}]),
        ("settle", "1 minute"),
        ("host", {"guest_memory": "480 MB"}),
        ("host", {"guest_memory": f"{'9' * 400} MiB"}),
        ("guests", {**given["guests"], "sysctl": {"swappiness": 1}}),
        ("guests", {"groups": {"1": {"memory_max": "1 GiB"}}}),
        ("tmem", {"weights": {"guest0": 2}}),
        ("tmem", {"compress": "yes"}),
        ("policies", ["static", "selfbaloon"]),
        ("policies", ["static", "static+tmme"]),
        ("presets", {"to night": {}}),
    ):
        assert not validator.is_valid({**given, key: wrong}), key
        made = tmp_path / "wrong.yml"
        made.write_text(yaml.safe_dump({**given, key: wrong}))
        with pytest.raises(InvalidFileError):
            assert [experiment.load(str(made), scale) for scale in (None, *experiment.scales(str(made)))]
    assert validator.is_valid({**given, "guests": {"count": 3, "memory_max": "fit"}, "presets": {"night": {"seed": 3}}})
    for key, right in (
        ("exclude", [{"policy": "static"}]),  # as the guide has it
        ("exclude", [{"policy": ["static"], "workload.parameters.jobs": 8}]),
        ("host", {"guest_memory": "480MiB"}),
        ("host", {"guest_memory": "0.5 GiB"}),
        ("settle", "1.5 s"),
        ("presets", None),
        ("policies", ["static", "zram", "selfballoon+tmem+compress+dedup"]),
    ):
        assert validator.is_valid({**given, key: right}), right
        made = tmp_path / "right.yml"
        made.write_text(
            yaml.safe_dump({**given, "factors": {"workload.parameters.jobs": [1, 8]}, "claims": [], key: right})
        )
        experiment.load(str(made))


@pytest.mark.parametrize(("retries", "attempts"), [("", 2), ("retries: {lab: 0}\n", 1), ("retries: {lab: 3}\n", 4)])
def test_how_often_a_failed_cell_is_tried_again_is_the_experiments_to_say(
    tmp_path: Path, retries: str, attempts: int
) -> None:
    def hook(step: str) -> None:
        if step == "counters":
            raise LabError("dom0 does not answer")

    host = FakeHost(tmp_path / "host", hook=hook)
    made = write_experiment(tmp_path, EXPERIMENT + retries)
    assert ("retries" in made.document) == bool(retries)
    run(made, host, results=tmp_path / "results", cell="static.r1")
    assert len(find(tmp_path / "results").attempts()["static.r1"]) == attempts
