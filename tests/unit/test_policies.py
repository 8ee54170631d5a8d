"""The grammar of memory policies."""

from __future__ import annotations

from dataclasses import asdict

import pytest

from common.errors import UsageError
from lab import policies


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("static", set()),
        ("static+tmem", {"driver", "cleancache", "frontswap"}),
        ("selfballoon", {"driver", "selfballooning"}),
        ("selfballoon+tmem", {"driver", "selfballooning", "selfshrinking", "cleancache", "frontswap"}),
        ("selfballoon+cleancache", {"driver", "selfballooning", "cleancache"}),
        ("selfballoon+frontswap", {"driver", "selfballooning", "selfshrinking", "frontswap"}),
        (
            "selfballoon+cleancache+frontswap",
            {"driver", "selfballooning", "selfshrinking", "cleancache", "frontswap"},
        ),
    ],
)
def test_names_mean(name: str, parts: set[str]) -> None:
    on = {part for part, value in asdict(policies.parse(name)).items() if value is True}
    assert on == parts
    assert policies.parse(name).name == name


@pytest.mark.parametrize(
    ("name", "suggestion"),
    [
        ("selfballon", "'selfballoon'"),
        ("selfballoon+tmen", "'selfballoon+tmem'"),
        ("", "static or selfballoon"),
        ("tmem", "static or selfballoon"),
        ("static+", "tmem or cleancache or frontswap"),
        ("static+tmem+cleancache", "together"),
        ("static+tmem+tmem", "twice"),
    ],
)
def test_other_names_are_refused_with_a_suggestion(name: str, suggestion: str) -> None:
    with pytest.raises(UsageError) as raised:
        policies.parse(name)
    assert suggestion in str(raised.value)


def test_the_driver_is_told_every_parameter() -> None:
    assert policies.module_parameters(policies.parse("selfballoon+cleancache")) == [
        "cleancache=1",
        "frontswap=0",
        "selfballooning=1",
        "selfshrinking=0",
    ]
