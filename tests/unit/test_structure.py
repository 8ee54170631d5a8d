"""How the code is laid out: imports run one way, and what is there once is there once."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[2]

ABOVE = {
    "invoke_tasks": {"tasks", "common"},
    "tasks": {"campaigns", "analysis", "policies", "workloads", "lab", "common"},
    "campaigns": {"policies", "workloads", "lab", "common"},
    "analysis": {"common"},
    "policies": {"lab", "common"},
    "workloads": {"common"},
    "lab": {"common"},
    "common": set(),
    "benchmarks": {"campaigns", "policies", "lab", "common"},
}
"""Package -> the others that it may import. `workloads` knows machines, not labs; `tasks` are the
only ones who put `analysis` beside `campaigns`.
"""

RECORDS = {"campaigns.records", "campaigns.looks", "campaigns.former"}
"""What `analysis` may import of `campaigns`: the record types, and how older records are read."""

EXCEPTIONS = {
    ("tasks.tmem", "tests.lab"): "tmem.fuzz is a lab test that a person may run at any length",
}
"""(module, package) -> why this import may run against the direction."""

ONE_PLACE = {
    "difflib": {"common/text.py"},
    "fcntl": {"common/files.py"},
}
"""Modules of Python's that few files of ours wrap -> those files. (The launcher stands on the
standard library alone.)
"""


def modules() -> Iterator[tuple[str, Path]]:
    """Name and file of every module of ours, the tests aside."""
    for package in ABOVE:
        files = [REPO / f"{package}.py"] if package == "invoke_tasks" else (REPO / package).rglob("*.py")
        for path in files:
            yield ".".join(path.relative_to(REPO).with_suffix("").parts), path


@cache
def nodes(path: Path) -> tuple[ast.AST, ...]:
    """A file's syntax, node by node."""
    return tuple(ast.walk(ast.parse(path.read_text())))


def imported(path: Path) -> set[str]:
    """What a module imports anywhere, in functions and under TYPE_CHECKING as well; `from a
    import b` is a.b.
    """
    found = set[str]()
    for node in nodes(path):
        if isinstance(node, ast.Import):
            found |= {each.name for each in node.names}
        elif isinstance(node, ast.ImportFrom):
            at = (
                ".".join([*path.relative_to(REPO).parts[: -node.level], node.module or ""])
                if node.level
                else node.module
            )
            found |= {f"{at}.{each.name}" for each in node.names}
    return found


def ours(names: set[str]) -> set[str]:
    return {name for name in names if name.partition(".")[0] in {*ABOVE, "tests"}}


def against(module: str, names: set[str]) -> set[str]:
    """Those of a module's imports that run against the direction, without the exceptions."""
    package = module.partition(".")[0]
    found = set[str]()
    for name in ours(names):
        other = name.partition(".")[0]
        allowed = other == package or other in ABOVE[package]
        if package == "analysis" and other == "campaigns":
            allowed = ".".join(name.split(".")[:2]) in RECORDS
        if not allowed and (module, ".".join(name.split(".")[:2])) not in EXCEPTIONS:
            found.add(name)
    return found


@pytest.mark.parametrize("package", ABOVE)
def test_imports_run_one_way(package: str) -> None:
    wrong = {
        module: bad
        for module, path in modules()
        if module.partition(".")[0] == package and (bad := against(module, imported(path)))
    }
    assert not wrong


def test_an_import_against_the_direction_is_noticed_wherever_it_stands(tmp_path: Path) -> None:
    path = tmp_path / "module.py"
    path.write_text("def later():\n    from campaigns import run\n    import analysis.report\n")
    assert against("lab.doctor", imported(path)) == {"campaigns.run", "analysis.report"}
    assert against("tasks.campaign", imported(path)) == set()
    assert against("analysis.report", imported(path)) == {"campaigns.run"}


def test_every_exception_is_still_needed() -> None:
    used = {(module, ".".join(name.split(".")[:2])) for module, path in modules() for name in ours(imported(path))}
    assert set(EXCEPTIONS) <= used


@pytest.mark.parametrize("wrapped", ONE_PLACE)
def test_what_one_file_wraps_is_imported_there_alone(wrapped: str) -> None:
    users = {
        str(path.relative_to(REPO))
        for _, path in modules()
        if any(name.partition(".")[0] == wrapped for name in imported(path))
    }
    assert users <= ONE_PLACE[wrapped]


CALLS = {"fsync": {"common/files.py"}, "file_digest": {"common/files.py"}, "flock": {"common/files.py"}}
"""Functions of Python's that few files of ours call -> those files."""


@pytest.mark.parametrize("call", CALLS)
def test_what_one_file_does_is_called_there_alone(call: str) -> None:
    callers = {
        str(path.relative_to(REPO))
        for _, path in modules()
        for node in nodes(path)
        if isinstance(node, ast.Attribute) and node.attr == call
    }
    assert callers == CALLS[call]


def test_modules_of_the_tests_have_names_of_their_own() -> None:
    # The tests' folders are no packages: a name that stands in two of them is one module to Python,
    # and collecting both fails, which a run of one folder alone does not show.
    names = Counter(path.name for path in (REPO / "tests").rglob("*.py") if path.name != "conftest.py")
    assert [name for name, times in names.items() if times > 1] == []
