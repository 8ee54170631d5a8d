"""What ./inv tmem.fuzz makes of its options, and of pytest's report; the fuzz itself is a lab
test.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from common.errors import LabError, UsageError
from tests.lab import fuzz

REPORT = """\
<testsuites><testsuite>
<testcase classname="tests.lab.test_tmem_fuzz" name="test_hostile_operations_harm_nobody[plain]">
<properties><property name="hypercalls" value="9999"/>
<property name="accounts" value="a -&gt; b"/></properties></testcase>
<testcase classname="tests.lab.test_tmem_fuzz" name="test_hostile_operations_harm_nobody[compressed]">
<properties><property name="hypercalls" value="9998"/><property name="accounts" value="a -&gt; c"/></properties>
<failure message="pages are missing"/></testcase>
<testcase classname="tests.lab.test_tmem_fuzz" name="test_the_others_answer"/>
</testsuite></testsuites>
"""


def test_only_fuzzes_that_passed_are_told(tmp_path: Path) -> None:
    report = tmp_path / "report.xml"
    report.write_text(REPORT)
    assert fuzz.runs(report) == [fuzz.Run("plain", 9999, "a -> b")]


@pytest.mark.parametrize(("operations", "seed"), [(0, 1), (fuzz.LEAST - 1, 1), (fuzz.MOST + 1, 1), (20000, -1)])
def test_what_cannot_be_made_is_refused(tmp_path: Path, operations: int, seed: int) -> None:
    with pytest.raises(UsageError):
        fuzz.fuzz(operations, seed, tmp_path / "lab.yml")


def test_a_fuzz_that_does_not_run_is_no_success(tmp_path: Path) -> None:
    with pytest.raises(LabError, match="0 of 2"):
        fuzz.fuzz(fuzz.LEAST, 1, tmp_path / "no-such-lab.yml")


def test_the_tests_that_it_runs_exist() -> None:
    for each in (fuzz.FUZZES, fuzz.LOG):
        path, name = each.split("::")
        assert f"def {name}(" in (fuzz.paths.REPO / path).read_text()
