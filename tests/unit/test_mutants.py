"""The mutants stay in line with the sources and the tests; whether each is noticed, `./inv tmem.mutants` shows."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from common.errors import InvalidFileError
from tests.mutants import prove

REPORT = """\
<testsuites><testsuite>
<testcase classname="tests.lab.test_a" name="test_one[x]"/>
<testcase classname="tests.lab.test_a" name="test_one[y]"><failure message="no"/></testcase>
<testcase classname="tests.lab.test_a" name="test_onerous"><error message="no lab"/></testcase>
<testcase classname="tests.lab.test_a" name="test_two"/>
</testsuite></testsuites>
"""


def test_every_mutant_still_fits_the_sources(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    shutil.copytree(prove.ROOT, tree, ignore=shutil.ignore_patterns(*prove.LEFT_OUT))
    mutants = prove.load()
    prove.mutate(tree, mutants)
    for mutant in mutants:
        assert prove.choice(mutant.number, Path(mutant.file).suffix) in (tree / mutant.file).read_text()
        assert not re.search(r"\bMUTANT\b", (tree / mutant.file).read_text())


def test_every_test_that_has_to_fail_exists() -> None:
    for mutant in prove.load():
        for test in mutant.tests:
            path, name = test.split("::")
            source = (prove.ROOT / path).read_text()
            assert re.search(rf"^def {name.partition('[')[0]}\(", source, re.MULTILINE), f"{mutant.name}: {test}"


def test_a_text_that_is_gone_is_told() -> None:
    with pytest.raises(InvalidFileError, match="0 times in file"):
        prove.change("text", [("other", "")], "file.c")
    with pytest.raises(InvalidFileError, match="2 times in file"):
        prove.change("text", [("t", "")], "file.c")


def test_outcomes_tell_failures_from_what_they_stand_on(tmp_path: Path) -> None:
    report = tmp_path / "report.xml"
    report.write_text(REPORT)
    wanted = {
        "tests/lab/test_a.py::test_one": "failed",
        "tests/lab/test_a.py::test_one[x]": "passed",
        "tests/lab/test_a.py::test_onerous": "error",
        "tests/lab/test_a.py::test_two": "passed",
        "tests/lab/test_a.py::test_three": "missing",
    }
    assert prove.outcomes(report, wanted) == wanted


def test_words_choose_mutants() -> None:
    mutants = prove.load()
    assert prove.chosen(mutants, []) == mutants
    assert {each.mechanism for each in prove.chosen(mutants, ["weights", "wrong way"])} == {"weights"}
    assert len({each.name for each in mutants}) == len(mutants)
