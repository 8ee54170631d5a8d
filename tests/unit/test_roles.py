"""Every role says what its arguments are (meta/argument_specs.yml), so that Ansible refuses what
it was not given.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROLES = Path(__file__).resolve().parents[2] / "playbooks" / "roles"
NAMES = sorted(path.name for path in ROLES.iterdir() if path.is_dir())


def specs(role: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((ROLES / role / "meta" / "argument_specs.yml").read_text())
    return dict(found["argument_specs"])


def texts(role: str) -> Iterator[str]:
    """Tasks, handlers and templates of a role, without comments."""
    for folder in ("tasks", "handlers", "templates"):
        for path in sorted((ROLES / role / folder).glob("*")):
            yield re.sub(r"(^|\s)#.*", "", path.read_text(), flags=re.MULTILINE)


def own(role: str) -> set[str]:
    """What a role makes itself: registered results, facts, variables of its tasks and of vars/."""
    found = set[str]()
    for text in texts(role):
        found |= set(re.findall(r"\b(?:register|name|loop_var): (\w+)$", text, re.MULTILINE))
    for path in (ROLES / role / "tasks").glob("*.yml"):
        for task in yaml.safe_load(path.read_text()) or []:
            found |= {*task.get("vars", {}), *task.get("ansible.builtin.set_fact", {})}
    for path in (ROLES / role / "vars").glob("*.yml"):
        found |= set(yaml.safe_load(path.read_text()))
    return found


@pytest.mark.parametrize("role", NAMES)
def test_every_role_declares_what_its_tasks_use(role: str) -> None:
    declared = {name for entry in specs(role).values() for name in entry["options"]}
    used = {name for text in texts(role) for name in re.findall(rf"(?<![.\w/-])({role}_\w+|build_\w+)", text)}
    assert used - own(role) <= declared
    path = ROLES / role / "defaults" / "main.yml"
    assert set(yaml.safe_load(path.read_text()) if path.exists() else {}) <= declared


@pytest.mark.parametrize("role", NAMES)
def test_what_is_declared_is_described_and_belongs_to_a_file_of_tasks(role: str) -> None:
    for entry, spec in specs(role).items():
        assert (ROLES / role / "tasks" / f"{entry}.yml").exists()
        assert spec["short_description"]
        for name, option in spec["options"].items():
            assert option["description"].endswith("."), name
            assert option["type"], name


@pytest.mark.parametrize("role", NAMES)
def test_what_has_no_default_is_required(role: str) -> None:
    path = ROLES / role / "defaults" / "main.yml"
    defaults = set(yaml.safe_load(path.read_text())) if path.exists() else set()
    for spec in specs(role).values():
        for name, option in spec["options"].items():
            assert option.get("required", False) == (name not in defaults), name


@pytest.mark.parametrize("role", NAMES)
def test_a_role_has_no_part_that_nothing_uses(role: str) -> None:
    """Its tasks are imported or begin a play's work, its files are installed, its handlers are
    notified.
    """
    files = [path for path in (ROLES / role).rglob("*") if path.is_file()]
    text = "\n".join(path.read_text() for path in files)
    for path in files:
        if path.parent.name == "tasks":
            assert path.stem in specs(role) or f"tasks: {path.name}" in text, path
        elif path.parent.name in {"files", "templates"}:
            assert path.name.removesuffix(".j2") in text.replace(path.read_text(), ""), path
    for path in (ROLES / role / "handlers").glob("*.yml"):
        for handler in yaml.safe_load(path.read_text()):
            assert text.count(handler["name"]) > 1, handler["name"]


@pytest.mark.parametrize("role", NAMES)
def test_what_is_empty_by_default_is_given_by_somebody(role: str) -> None:
    """What waits for an argument that nobody gives is dead."""
    path = ROLES / role / "defaults" / "main.yml"
    defaults = yaml.safe_load(path.read_text()) if path.exists() else {}
    others = (path for path in ROLES.rglob("*.yml") if ROLES / role not in path.parents)
    outside = [*ROLES.parent.glob("*.yml"), *others, *(ROLES.parents[1] / "lab").rglob("*.py")]
    text = "\n".join(path.read_text() for path in outside)
    assert [name for name, value in defaults.items() if value in ("", []) and name not in text] == []
