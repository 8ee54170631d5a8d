"""The Debian packages are of what a lab boots: where their build repeats something of the lab's,
both say the same.
"""

from __future__ import annotations

import re
from typing import Any

import yaml

from lab.paths import REPO

ROLES = REPO / "playbooks" / "roles"
RULES = (REPO / "tmem" / "xen" / "debian" / "rules").read_text()


def defaults(role: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((ROLES / role / "defaults" / "main.yml").read_text())
    return found


def command_with(role: str, text: str) -> str:
    """The one command of a role's tasks in which a text is."""
    tasks = yaml.safe_load((ROLES / role / "tasks" / "main.yml").read_text())
    commands = [str(each["ansible.builtin.shell"]["cmd"]) for each in tasks if "ansible.builtin.shell" in each]
    (found,) = (each for each in commands if text in each)
    return found


def test_both_hypervisors_have_the_same_lz4() -> None:
    assert command_with("debian_packages", "lz4_compress") == command_with("xen", "lz4_compress")


def test_both_hypervisors_are_patched_and_named_alike() -> None:
    assert f"--fuzz={defaults('xen')['xen_patch_fuzz']} " in RULES
    identity = re.findall(r"\b(XEN_[A-Z_]+)=(\S+)", (ROLES / "xen" / "files" / "build.sh").read_text())
    assert dict(identity) == dict(re.findall(r"^export (XEN_[A-Z_]+) = (\S+)$", RULES, re.MULTILINE))


def test_what_the_packages_ask_to_be_built_with_is_there() -> None:
    there = {*defaults("debian_packages")["debian_packages_build"], "debhelper-compat"}
    for control in ("xen/debian/control.in", "linux/debian/control"):
        (asked,) = re.findall(r"^Build-Depends: (.*)$", (REPO / "tmem" / control).read_text(), re.MULTILINE)
        assert {each.split()[0] for each in asked.split(",")} <= there
