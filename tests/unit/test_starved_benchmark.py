"""The threshold below which a host counts as starved, as its benchmark finds it."""

from __future__ import annotations

import subprocess

import pytest

from benchmarks import starved

MEASURED = [
    (0, 0.0, 20.0, 0.99, True),
    (1, 0.25, 21.0, 0.93, True),
    (1, 0.5, 22.0, 0.88, True),
    (1, 1.0, 27.0, 0.74, True),
    (2, 1.0, 21.5, 0.60, True),  # by chance: a larger share took longer
    (0, 0.0, 20.4, 0.98, True),
]


def test_the_threshold_is_where_the_first_round_takes_too_long() -> None:
    rounds = starved.finished(MEASURED)
    assert [round(each.ratio, 2) for each in rounds] == [0.99, 1.04, 1.09, 1.34, 1.06, 1.01]
    assert starved.threshold(rounds, 0.1) == 0.88
    assert starved.threshold(rounds, 0.05) == 0.93
    assert "shares from 0.88 on keep times within 10%" in starved.report(rounds, 0.1)
    assert "not quiet" not in starved.report(rounds, 0.1)


def test_a_machine_that_was_not_quiet_is_told() -> None:
    rounds = starved.finished([(0, 0.0, 20.0, 0.99, True), (0, 0.0, 30.0, 0.70, True)])
    said = starved.report(rounds, 0.1)
    assert "This machine was not quiet: alone, the same work differed by 40%." in said
    late = starved.finished([(0, 0.0, 20.0, 0.7, True), (1, 1.0, 40.0, 0.9, True)])
    assert starved.threshold(late, 0.1) is None


def test_a_round_that_did_not_end_is_a_row_and_too_long() -> None:
    rounds = starved.finished([(0, 0.0, 20.0, 0.9, True), (1, 1.0, 160.0, 0.5, False)])
    assert "| 1 | 100% | over 160.0 | over 8.00 | 0.500 |" in starved.report(rounds, 0.1)
    assert starved.threshold(rounds, 0.1) == 0.9


def test_programs_beside_it_end_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[subprocess.Popen[bytes]] = []
    real = subprocess.Popen

    def popen(command: list[str]) -> subprocess.Popen[bytes]:
        started.append(real(command))
        return started[-1]

    monkeypatch.setattr(starved.subprocess, "Popen", popen)
    with starved.beside(2, 0.01):
        assert [each.poll() for each in started] == [None, None]
    assert [each.poll() for each in started] == [-9, -9]
