"""Errors for users: their text, and an exit code for each class."""

from __future__ import annotations

import re

import pytest

from common import errors
from common.errors import LabError, UserError, WorkloadError


def subclasses(cls: type[UserError]) -> set[type[UserError]]:
    return {cls}.union(*(subclasses(sub) for sub in cls.__subclasses__()))


def test_only_what_is_known_is_shown() -> None:
    assert str(UserError("it broke")) == "it broke"
    text = str(UserError("it broke", where="a.yml:3", why="line one\nline two", remedy="mend it"))
    assert text == "it broke\n  where: a.yml:3\n  why:   line one\n         line two\n  do:    mend it"


@pytest.mark.parametrize("cls", sorted(subclasses(UserError) - {UserError}, key=str))
def test_every_class_has_an_exit_code_that_is_documented(cls: type[UserError]) -> None:
    documented = {int(code) for code in re.findall(r"\b(\d+) [a-z]", errors.__doc__ or "")}
    assert cls.exit_code in documented
    assert cls.exit_code not in {0, 1, 130}


def test_a_failed_workload_is_a_failed_lab_to_who_asks_no_more() -> None:
    assert issubclass(WorkloadError, LabError)
    assert WorkloadError.exit_code == 6


def test_an_error_survives_being_chained_and_keeps_its_parts() -> None:
    with pytest.raises(UserError) as caught:
        raise LabError("no answer", where="guest1", why="", remedy="") from OSError("x")
    assert (caught.value.what, caught.value.where) == ("no answer", "guest1")
