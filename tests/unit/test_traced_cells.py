"""Cells whose experiment asks for a trace of tmem: it begins before the run and ends after it, and
none is left when something fails.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from campaign_fakes import EXPERIMENT, FakeHost, find, write_experiment

from analysis.trace import SUFFIX
from campaigns import evaluate
from campaigns.run import run
from campaigns.verify import verify
from common.errors import InvalidFileError, LabError
from lab.remote import traces
from workloads import registry

TRACED = EXPERIMENT.replace("repetitions: 2", "repetitions: 1") + "sampling: {interval: 2 s, trace: true}\n"
CELL = "selfballoon+tmem.r1"


@pytest.fixture(autouse=True)
def _fake_load(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry._CLASSES, "fake", "campaign_fakes:FakeLoad")


def told_of_trace(directory: Path) -> list[str]:
    """What verification says of traces."""
    return [line for line in verify(directory).lines() if evaluate.TRACE in line]


def test_a_cells_trace_is_among_its_raw_files(tmp_path: Path) -> None:
    host, steps = FakeHost(tmp_path / "host"), list[str]()
    host.hook = steps.append
    run(write_experiment(tmp_path, TRACED), host, results=tmp_path / "results", cell=CELL)
    stored = find(tmp_path / "results")
    assert (stored.directory / "cells" / CELL / "raw" / evaluate.TRACE).read_bytes() == b"a trace"
    assert host.tracing is not None
    # it has ended once, when both readings of counters had been taken
    assert (host.tracing.read, host.tracing.ended) == (2, 1)
    assert steps.index("trace") < steps.index("counters") < steps.index("trace_ends")
    assert stored.cells()[CELL].status == "complete"
    # the trace is no figure: what is recomputed does without it, and it has a sum as all files have
    assert told_of_trace(stored.directory) == []
    assert evaluate.TRACE in (stored.directory / "cells" / CELL / "SHA256SUMS").read_text()
    (stored.directory / "cells" / CELL / "raw" / evaluate.TRACE).unlink()
    assert any("missing: the experiment asks for it" in line for line in told_of_trace(stored.directory))


def test_without_being_asked_nothing_is_traced(tmp_path: Path) -> None:
    host = FakeHost(tmp_path / "host")
    made = write_experiment(tmp_path, TRACED.replace(", trace: true", ""))
    run(made, host, results=tmp_path / "results", cell=CELL)
    assert host.tracing is None
    stored = find(tmp_path / "results").directory
    assert not (stored / "cells" / CELL / "raw" / evaluate.TRACE).exists()
    (stored / "cells" / CELL / "raw" / evaluate.TRACE).touch()
    assert any("no testbed writes it" in line for line in told_of_trace(stored))


@pytest.mark.parametrize("at", ["counters", "trace_ends"])
def test_a_run_that_fails_leaves_no_trace_in_xen(tmp_path: Path, at: str) -> None:
    def hook(step: str) -> None:
        if step == at:
            raise LabError("dom0 does not answer")

    host = FakeHost(tmp_path / "host", hook=hook)
    made = write_experiment(tmp_path, TRACED + "retries: {lab: 0}\n")
    run(made, host, results=tmp_path / "results", cell=CELL)
    assert host.tracing is not None
    assert host.tracing.ended == 1
    assert len(find(tmp_path / "results").attempts()[CELL]) == 1


def test_whether_to_trace_is_yes_or_no(tmp_path: Path) -> None:
    with pytest.raises(InvalidFileError, match="trace"):
        write_experiment(tmp_path, TRACED.replace("trace: true", "trace: 1"))


def test_all_have_one_ending() -> None:
    assert evaluate.TRACE.endswith(SUFFIX)
    assert traces.SUFFIX == SUFFIX
