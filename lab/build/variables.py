"""The versions and hashes of what is built, as inventory/group_vars/all.yml gives them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from common.errors import InvalidFileError
from lab import paths


@dataclass(frozen=True)
class Variables:
    """The build's part of inventory/group_vars/all.yml."""

    suite: str
    xen_version: str
    xen_sha256: str
    xen_4_17_suite: str
    xen_4_17_version: str
    xen_4_17_sha256: str
    xen_newest_suite: str
    xen_newest_version: str
    xen_newest_sha256: str
    linux_version: str
    linux_sha256: str
    linux_6_1_suite: str
    linux_6_1_version: str
    linux_6_1_sha256: str
    debian_mirror: str
    security_mirror: str


def read_variables(path: Path | None = None) -> Variables:
    """The build's variables. InvalidFileError names the file and the key."""
    import yaml

    from common import yaml_once

    path = path or paths.BUILD_VARIABLES
    try:
        data = yaml_once.load(path.read_text())
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise InvalidFileError("the build's variables cannot be read", where=str(path), why=str(error)) from error
    rules = {
        "build_suite": r"[a-z]+",
        "build_xen_version": r"4\.\d+\.\d+\S*",
        "build_xen_sha256": r"[0-9a-f]{64}",
        "build_xen_4_17_suite": r"[a-z]+",
        "build_xen_4_17_version": r"4\.17\.\d+\S*",
        "build_xen_4_17_sha256": r"[0-9a-f]{64}",
        "build_xen_newest_suite": r"[a-z]+",
        "build_xen_newest_version": r"4\.\d+\.\d+\S*",
        "build_xen_newest_sha256": r"[0-9a-f]{64}",
        "build_linux_version": r"5\.\d+\.\d+",
        "build_linux_sha256": r"[0-9a-f]{64}",
        "build_linux_6_1_suite": r"[a-z]+",
        "build_linux_6_1_version": r"6\.1\.\d+",
        "build_linux_6_1_sha256": r"[0-9a-f]{64}",
        "build_debian_mirror": r"|(https?|ftp|file):\S+",
        "build_security_mirror": r"|(https?|ftp|file):\S+",
    }
    values: dict[str, str] = {}
    for key, rule in rules.items():
        value = data.get(key) if isinstance(data, dict) else None
        if not isinstance(value, str) or not re.fullmatch(rule, value):
            raise InvalidFileError(
                f"{key} is missing or is no text of the form {rule}", where=f"{path}, key {key}", why=f"it is {value!r}"
            )
        values[key.removeprefix("build_")] = value
    return Variables(**values)
