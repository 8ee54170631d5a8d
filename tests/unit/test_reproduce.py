"""reproduce.sh: what was run for a cell, as shell that can be read and run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from campaign_fakes import EXPERIMENT, FakeHost, find, write_experiment

from campaigns import experiment, plan, reproduce
from campaigns.records import PlannedCell
from campaigns.run import campaign_record, run
from campaigns.verify import verify
from policies import registry as policies
from workloads import registry

GUIDE = """\
title: t
question: q
host: {guest_memory: 400 MiB}
guests:
  sysctl: {vm.page-cluster: 0}
  groups:
    db: {memory_max: 256 MiB, workload: {name: fio, parameters: {size: 8 MiB}}}
    build: {count: 2, memory_max: 192 MiB, after: db}
policies: [selfballoon+tmem, static]
tmem: {compress: true}
workload: {name: kernel_build, parameters: {jobs: 3, targets: [kernel/exit.o]}, phase: 20 s}
settle: 2 s
"""


def written(tmp_path: Path, policy: str) -> str:
    made = write_experiment(tmp_path, GUIDE)
    record = campaign_record(made, "tcg", None, None, ())
    planned: PlannedCell = next(cell for cell in plan.plan(made) if cell.policy == policy)
    found = policies.parse(policy)
    return reproduce.text(record, planned, found, made.at({}).under(found), "./inv campaign.run t --cell c")


def ran(script: str, tmp_path: Path) -> list[tuple[str, str]]:
    """(machine, what it was given), in the order of the script, by a fake ssh."""
    ssh = tmp_path / "ssh"
    ssh.write_text(
        f'#!/bin/sh\nread -r n < "{tmp_path}/n"\necho $((n + 1)) > "{tmp_path}/n"\n'
        f'cat > "{tmp_path}/$(printf %03d $n).$1"\n'
    )
    ssh.chmod(0o755)
    (tmp_path / "n").write_text("0\n")
    quick = script.replace("sleep 20", ":").replace("sleep 2\n", ":\n").replace(") &", ")")
    subprocess.run(["sh"], input=quick, text=True, check=True, env={**os.environ, "SSH": str(ssh)}, timeout=60)
    return [(path.suffix[1:], path.read_text()) for path in sorted(tmp_path.glob("[0-9]*.*"))]


def test_it_runs_what_the_testbed_ran_in_its_order(tmp_path: Path) -> None:
    script = written(tmp_path, "selfballoon+tmem")
    assert "./inv campaign.run t --cell c" in script
    found = ran(script, tmp_path)
    texts = [text for _, text in found]
    place = {
        name: max(number for number, (machine, text) in enumerate(found) if machine == on and word in text)
        for name, on, word in (
            ("create", "dom0", "xl create -q"),
            ("memory", "dom0", "set-memory.sh"),
            ("sysctl", "guest1", "page-cluster"),
            ("tmem", "dom0", "--compress 1"),
            ("driver", "guest2", "cleancache=1"),
            ("fio", "guest1", "--size=8388608"),
            ("build", "guest3", "kernel/exit.o"),
        )
    }
    assert place["create"] < place["memory"] < place["sysctl"] < place["tmem"] < place["driver"] < place["fio"]
    assert any("maxmem = 256" in text and "maxmem = 192" in text for text in texts)
    loads = [machine for machine, text in found if "timed" in text and "READY" not in text][-3:]
    assert loads == ["guest1", "guest2", "guest3"]
    assert "sleep 20" in script  # guest3's phase
    assert script.count("while [ ! -e") == 2  # both builds wait for the database


def test_a_load_that_fails_is_told_and_nobody_waits_for_it(tmp_path: Path) -> None:
    """It ended with 0, and those that come after such a load waited for ever."""
    ssh = tmp_path / "ssh"
    ssh.write_text("#!/bin/sh\n! grep -q size=8388608 || exit 1\n")
    ssh.chmod(0o755)
    quick = written(tmp_path, "static").replace("sleep 20", ":").replace("sleep 2\n", ":\n")
    done = subprocess.run(["sh"], input=quick, text=True, check=False, env={**os.environ, "SSH": str(ssh)}, timeout=60)
    assert done.returncode == 1
    ssh.write_text("#!/bin/sh\ncat > /dev/null\n")
    done = subprocess.run(["sh"], input=quick, text=True, check=False, env={**os.environ, "SSH": str(ssh)}, timeout=60)
    assert done.returncode == 0


@pytest.mark.parametrize("policy", ["selfballoon+tmem", "static"])
def test_shellcheck_has_nothing_to_say(tmp_path: Path, policy: str) -> None:
    shellcheck = Path(sys.executable).with_name("shellcheck")
    done = subprocess.run(
        [shellcheck, "-s", "sh", "-"], input=written(tmp_path, policy), text=True, check=False, capture_output=True
    )
    assert done.stdout == ""
    assert done.returncode == 0


def test_it_names_no_policy_where_nothing_is_switched_on(tmp_path: Path) -> None:
    texts = "".join(text for _, text in ran(written(tmp_path, "static"), tmp_path))
    assert "cleancache=0" in texts or "modprobe" not in texts
    assert "--compress 1" in texts


def test_every_cell_has_one_and_it_is_no_stranger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry._CLASSES, "fake", "campaign_fakes:FakeLoad")
    made = write_experiment(tmp_path, EXPERIMENT)
    run(made, FakeHost(tmp_path / "host"), results=tmp_path / "results", cell="static.r1")
    stored = find(tmp_path / "results")
    path = stored.directory / "cells" / "static.r1" / reproduce.FILE
    subprocess.run(["sh", "-n", str(path)], check=True)
    assert "echo made" in path.read_text()
    assert "damaged" not in verify(stored.directory).lines()[-1]


def test_the_demo_has_scripts_that_sh_can_read() -> None:
    made = experiment.load("demo")
    record = campaign_record(made, "tcg", None, None, ())
    for cell in plan.plan(made):
        policy = policies.parse(cell.policy)
        script = reproduce.text(record, cell, policy, made.at({}).under(policy), "./inv demo")
        subprocess.run(["sh", "-n"], input=script, text=True, check=True)
