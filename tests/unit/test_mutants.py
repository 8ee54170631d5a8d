"""The mutants stay in line with the sources and the tests; whether each is noticed, `./inv
tmem.mutants` shows.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from common.errors import InvalidFileError, UsageError
from tests.mutants import prove

REPORT = """\
<testsuites><testsuite>
<testcase classname="tests.lab.test_a" name="test_one[x]"/>
<testcase classname="tests.lab.test_a" name="test_one[y]"><failure message="no"/></testcase>
<testcase classname="tests.lab.test_a" name="test_onerous"><error message="no lab"/></testcase>
<testcase classname="tests.lab.test_a" name="test_two"/>
<testcase classname="tests.lab.test_a" name="test_skipped"><skipped message="no lab"/></testcase>
</testsuite></testsuites>
"""


def test_every_mutant_still_fits_the_sources(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    shutil.copytree(prove.ROOT, tree, ignore=shutil.ignore_patterns(*prove.LEFT_OUT))
    mutants = prove.load()
    prove.mutate(tree, mutants)
    for mutant in mutants:
        for name, _old, _new in mutant.edits:
            text = (tree / name).read_text()
            assert prove.choice(mutant.number, Path(name).suffix) in text
            assert not re.search(r"\bMUTANT\b", text)


def test_every_test_that_has_to_fail_exists() -> None:
    for mutant in prove.load():
        for test in mutant.tests:
            path, name = test.split("::")
            source = (prove.ROOT / path).read_text()
            assert re.search(rf"^def {name.partition('[')[0]}\(", source, re.MULTILINE), f"{mutant.name}: {test}"


def test_a_text_that_is_gone_is_told() -> None:
    with pytest.raises(InvalidFileError, match="0 times in file"):
        prove.change("text", "other", "", "file.c")
    with pytest.raises(InvalidFileError, match="2 times in file"):
        prove.change("text", "t", "", "file.c")


def test_outcomes_tell_failures_from_what_they_stand_on(tmp_path: Path) -> None:
    report = tmp_path / "report.xml"
    report.write_text(REPORT)
    wanted = {
        "tests/lab/test_a.py::test_one": "failed",
        "tests/lab/test_a.py::test_one[x]": "passed",
        "tests/lab/test_a.py::test_onerous": "error",
        "tests/lab/test_a.py::test_two": "passed",
        "tests/lab/test_a.py::test_skipped": "skipped",
        "tests/lab/test_a.py::test_three": "missing",
    }
    assert prove.outcomes(report, wanted) == wanted


def test_a_pattern_chooses_mutants() -> None:
    mutants = prove.load()
    assert prove.chosen(mutants, "") == mutants
    assert {each.mechanism for each in prove.chosen(mutants, "wrong way|^caps")} == {"weights", "caps"}
    assert len({each.name for each in mutants}) == len(mutants)
    with pytest.raises(UsageError, match="no mutant matches"):
        prove.chosen(mutants, "no such thing")
    with pytest.raises(UsageError, match="no regular expression"):
        prove.chosen(mutants, "(")


def test_tests_run_in_the_order_of_their_files() -> None:
    last = "tests/lab/test_tmem_shared.py::test_a_sharer_that_dies_leaves_the_pool_to_the_others"
    first = "tests/lab/test_tmem_shared.py::test_what_one_puts_the_other_gets_again_and_again"
    before = "tests/lab/test_conformance.py::test_tmem_keeps_its_abi[pool_limit]"
    assert prove.in_order([last, before, first, last]) == [before, first, last]
