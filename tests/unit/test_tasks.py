"""The command line: complete help, exit codes, and one message without a traceback for each of a
user's mistakes.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from command import inv as quickly
from invoke.tasks import Task

from common.program import arguments
from invoke_tasks import namespace
from invoke_tasks import namespace as the_tasks

ROOT = Path(__file__).resolve().parents[2]


def tasks() -> Iterator[tuple[str, Task]]:  # type: ignore[type-arg]
    for name in sorted(namespace.task_names):
        yield name, namespace[name]


def inv(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "invoke_tasks.py", *words], cwd=ROOT, check=False, capture_output=True, text=True
    )


@pytest.mark.parametrize("name", [name for name, _ in tasks()])
def test_every_task_and_option_says_what_it_is(name: str) -> None:
    found = namespace[name]
    assert (found.__doc__ or "").strip()
    for each in found.get_arguments():
        assert (each.help or "").strip(), each.name


def test_every_task_can_be_named_first_or_last_to_get_its_help() -> None:
    assert arguments(["inv", "campaign.plan", "--help"]) == ["inv", "--help", "campaign.plan"]
    assert arguments(["inv", "--help", "campaign.plan"]) == ["inv", "--help", "campaign.plan"]
    assert arguments(["inv", "campaign.plan", "demo"]) == ["inv", "campaign.plan", "demo"]


def test_a_plan_shows_how_its_policies_are_balanced_over_places() -> None:
    shown = inv("campaign.plan", "kernel_build").stdout
    assert "how often each policy has which place" in shown
    assert re.search(r"^static +[12] +[12] +[12]$", shown, re.MULTILINE)


def test_a_plan_with_another_seed_says_how_to_run_it() -> None:
    assert "seed: 7" in inv("campaign.plan", "demo", "--seed", "7").stdout
    assert "write it into the experiment" not in inv("campaign.plan", "demo").stdout


MISTAKES = [
    ("demoo", 2, "./inv --list"),
    ("campaign.run demo --sed 1", 2, "--help"),
    ("campaign.plan", 2, "'name'"),
    ("campaign.plan demoo", 4, "demo"),
    ("campaign.plan demo --seed x", 2, "--seed takes a whole number"),
    ("campaign.plan demo --seed=-1", 2, "--seed takes a whole number, at least 0"),
    ("tmem.soak --minutes 0", 2, "--minutes takes a whole number, at least 1"),
    ("lab.trace some --seconds 0", 2, "--seconds takes a whole number, at least 1"),
    ("tmem.replay nosuch.trace.zst", 8, "cannot be read"),
    ("tmem.replay README.md", 8, "cannot be read"),
    ("tmem.replay README.md --pages 100,0", 2, "--pages takes a whole number, at least 1"),
    ("campaign.run demoo", 4, "demo"),
    ("campaign.run demo --campaign a/b", 2, "cannot be a campaign's name"),
    ("campaign.run demo --campaign=", 2, "'' cannot be a campaign's name"),
    ("demo --campaign=", 2, "'' cannot be a campaign's name"),
    ("results.verify .", 2, "no campaign '.'"),
    ("campaign.plan demo --power=", 2, "no campaign ''"),
    ("campaign.run demo --cell x", 2, "fixed.r1"),
    ("campaign.run demo --inventory nosuch.yml", 4, "inventory/emulated.yml"),
    ("campaign.run kernels --cell static.fb3ba027.r1", 2, "is complete"),
    ("demo --campaign a/b", 2, "cannot be a campaign's name"),
    ("demo --inventory nosuch.yml", 4, "inventory/emulated.yml"),
    ("lab.provision", 2, "inventory/physical.example.yml"),
    ("campaign.status referense", 2, "reference"),
    ("campaign.watch referense", 2, "reference"),
    ("campaign.compare reference", 2, "'second'"),
    ("campaign.compare reference referense", 2, "reference"),
    ("campaign.plan kernel_build --scale night", 4, "it has no presets"),
    ("campaign.plan demo --scale night", 4, "repeated"),
    ("experiments.check demoo", 4, "demo"),
    ("experiments.describe demoo", 4, "demo"),
    ("results.verify referense", 2, "reference"),
    ("figures referense", 2, "reference"),
    ("report referense", 2, "reference"),
    ("results.latex referense", 2, "reference"),
    ("results.export referense", 2, "reference"),
    ("campaign.plan demo --power referense", 2, "reference"),
    ("lab.up --loads memcache", 2, "did you mean 'memcached'?"),
    ("tmem.check-kernel", 2, "name a kernel"),
    ("tmem.check-kernel nosuch.deb", 4, "nosuch.deb"),
    ("tmem.check-kernel README.md LICENSE", 4, "README.md"),
    ("lab.up --type pvh", 2, "guests cannot boot fidelity as pvh"),
    ("lab.up --kernel debian-7 --type hvm", 2, "pv, or pvh with --kernel debian-6.12 or debian-7"),
    ("workloads.run memcache --on local", 2, "did you mean 'memcached'?"),
    ("workloads.read memcache --raw tests", 2, "did you mean 'memcached'?"),
    ("workloads.run sysbench_cpu --on local --set tim=1", 2, "did you mean 'time'?"),
    ("workloads.run sysbench_cpu --on local --raw nosuch/raw", 2, "there is no folder for --raw"),
    ("experiments.schema --to nosuch/schema.json", 2, "there is no folder for --to"),
    ("experiments.schema --to tests", 2, "--to has to name a file"),
    ("experiments.schema --to=", 2, "--to has to name a file"),
    ("results.export reference --into nosuch/a.zip", 2, "there is no folder for --into"),
    ("lab.trace nosuch/some", 2, "there is no folder for the trace"),
    ("campaign.plan demo --scale", 2, "--scale needs a value"),
    ("lab.status --inventory emulated.yml", 4, "inventory/emulated.yml"),
    ("build.all --names imgae", 2, "guest_image"),
    ("campaign.rnu demo", 2, "did you mean campaign.run"),
    ("--help campaign.rnu", 2, "did you mean campaign.run"),
    ("--list campain", 2, "no namespace 'campain'"),
    ("--nosuch", 2, "--nosuch"),
    ("campaign.plan --foo", 2, "campaign.plan has no option --foo"),
    ("campaign.run --sed 1 demo", 2, "campaign.run has no option --sed"),
    ("campaign.plan --sed 1 demo", 2, "did you mean --seed?"),
    ("campaign.plan demo extra", 2, "takes no 'extra'"),
    ("campaign.plan -x demo", 2, "no option -x"),
    ("lab.ssh -h xen9", 2, "xen9"),
    (f"campaign.plan demo --seed {'9' * 400}", 2, "at most 18 digits"),
    ("campaign.plan demo --inventory=", 2, "--inventory is empty"),
    ("build.all --names=", 2, "no artifact ''"),
    (f"campaign.plan {'x' * 300}", 2, "too long"),
    (f"campaign.status {'x' * 300}", 2, "too long"),
    (f"lab.status --inventory {'x' * 300}.yml", 4, "too long"),
]


@pytest.mark.parametrize(("line", "code", "said"), MISTAKES, ids=[line for line, _, _ in MISTAKES])
def test_a_mistake_ends_with_its_exit_code_and_what_to_do(line: str, code: int, said: str) -> None:
    done = quickly(*line.split())
    assert done.returncode == code, done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr + done.stdout
    assert done.stdout == ""  # nothing was announced, installed or built for it


@pytest.mark.parametrize(
    "namespace", sorted(name for name in namespace.collections if not namespace.collections[name].default)
)
def test_a_namespace_without_a_default_lists_its_tasks(namespace: str) -> None:
    assert arguments(["inv", namespace], the_tasks) == ["inv", "--list", namespace]


def test_a_namespace_with_a_default_runs_it() -> None:
    assert arguments(["inv", "build"], the_tasks) == ["inv", "build"]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("campaign.plan", "campaign.plan NAME [--options]"),
        ("logs.check", "logs.check FILE... [--options]"),
        ("tmem.check-kernel", "tmem.check-kernel FILE... [--options]"),
        ("setup", "setup [--options]"),
    ],
)
def test_usage_shows_the_words_that_a_task_takes(words: str, expected: str) -> None:
    done = inv(words, "--help")
    assert done.stdout.splitlines()[0] == f"Usage: ./inv {expected}"


def test_short_options_are_those_that_help_tells() -> None:
    done = inv("campaign.plan", "-n", "demo", "-s", "7")
    assert "seed: 7" in done.stdout, done.stderr
    assert '"order": 0' in inv("campaign.plan", "-js", "7", "demo").stdout
    assert re.search(r"-s STRING, --seed=STRING +another seed", inv("campaign.plan", "-h").stdout)


def test_a_reader_that_has_gone_is_no_error() -> None:
    done = subprocess.run(
        ["bash", "-c", f"{sys.executable} invoke_tasks.py --list | true; echo ${{PIPESTATUS[0]}}"],
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
    )
    assert (done.stdout, done.stderr) == ("141\n", "")


def test_files_that_are_nested_too_deeply_are_told(tmp_path: Path) -> None:
    path = tmp_path / "deep.yml"
    path.write_text("title: " + "{a: " * 1500 + "1" + "}" * 1500)
    for words in (("campaign.plan", str(path)), ("lab.status", "--inventory", str(path))):
        done = quickly(*words)
        assert done.returncode == 4
        assert "nested too deeply" in done.stderr
        assert str(path) in done.stderr
