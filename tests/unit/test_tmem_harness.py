"""tmem's hypervisor side, compiled as a program with sanitizers: random operations against a model,
failing allocations, racing threads, deaths.

Needs gcc with its sanitizers' libraries (`./inv setup` installs them); without them these tests
fail. A longer run: `./inv tmem.soak`.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from analysis import eviction, replay, trace
from analysis.requests import of_trace
from common.errors import BuildError
from lab.build import harness

SEEDS = {"random.c": (1, 2009), "claims.c": (1, 2009)}
"""Cases of other files do the same, or nearly, whatever the seed."""
RANDOM_CASES = [case.name for case in harness.cases() if case.source == "random.c" or case.name == "any_sequence"]
MANY_SEEDS = 200


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Mapping[harness.Build, Path]:
    folder = tmp_path_factory.mktemp("tmem-harness")
    return {build: harness.compile_program(folder / build, build) for build in harness.SANITIZERS}


@pytest.mark.parametrize(
    ("build", "case", "seed"),
    [
        pytest.param(build, case.name, seed, id=f"{build}-{case.name}-{seed}")
        for build in harness.SANITIZERS
        for case in harness.cases(build)
        for seed in SEEDS.get(case.source, (1,))
    ],
)
def test_tmem_does_what_its_model_says(
    programs: Mapping[harness.Build, Path], build: harness.Build, case: str, seed: int
) -> None:
    harness.run_case(programs[build], case, seed=seed)


@pytest.mark.long
def test_random_cases_pass_whatever_the_seed(tmp_path: Path) -> None:
    """Every case of random operations with each of 200 seeds, without sanitizers: that takes two
    processors a few minutes.
    """
    program = harness.compile_program(tmp_path, "plain")
    runs = [(case, seed) for seed in range(1, MANY_SEEDS + 1) for case in RANDOM_CASES]

    def outcome(run: tuple[str, int]) -> str | None:
        try:
            harness.run_case(program, run[0], seed=run[1])
        except harness.HarnessError as error:
            return str(error)
        return None

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        failures = [failure for failure in pool.map(outcome, runs) if failure]
    assert not failures, f"{len(failures)} of {len(runs)} runs:\n" + "\n".join(failures[:20])


@pytest.mark.parametrize("seed", [1, 2009])
def test_the_replay_takes_the_pages_that_the_hypervisor_took(
    programs: Mapping[harness.Build, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """Every one of them, where it is told whose; and without that it has the hypervisor's hits."""
    monkeypatch.setenv("TMEM_TRACE_FILE", str(tmp_path / "records"))
    harness.run_case(programs["memory"], "guests_under_pressure", seed=seed)
    records = np.fromfile(tmp_path / "records", trace.RECORD)
    requests = of_trace(trace.Trace(records, (), 0, 0, {}, {}))
    assert requests.left_out
    of_guest = replay.follow(requests, by_guest=True)
    assert of_guest.evictions > 1000
    assert of_guest.told > 1000
    assert (of_guest.hits, of_guest.same) == (of_guest.told, of_guest.evictions)
    of_all = replay.follow(requests)
    assert of_all.difference is not None
    assert abs(of_all.difference) <= eviction.CLOSE


def test_program_has_the_cases_that_are_tested(programs: Mapping[harness.Build, Path]) -> None:
    """A case that is in no group of main.c is not run by anything: asked for by name, it must be
    there.
    """
    main = (harness.TESTS / "main.c").read_text()
    for case in harness.cases():
        group = f"{(harness.TESTS / case.source).stem.removesuffix('s')}_cases"
        assert group in main, f"{case.name}: {case.source} is in no group"
    done = subprocess.run([programs["memory"], "no_such_case"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "1..0\n")


def test_failure_is_told_with_its_command(programs: Mapping[harness.Build, Path]) -> None:
    with pytest.raises(harness.HarnessError, match="no_such_case failed") as failure:
        harness.run_case(programs["memory"], "no_such_case", seed=7)
    assert "--seed 7 --scale 1 no_such_case" in failure.value.where


def test_source_that_does_not_compile_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tmem").mkdir()
    (tmp_path / "tmem" / "op.c").write_text("int broken(void) { return nothing; }\n")
    monkeypatch.setattr(harness, "CODE", tmp_path / "tmem")
    monkeypatch.setattr(harness, "TESTS", tmp_path / "test")
    monkeypatch.setattr(harness, "XEN", Path("/"))
    with pytest.raises(BuildError, match="does not compile") as failure:
        harness.compile_program(tmp_path / "out", "memory")
    assert "nothing" in failure.value.why
