"""What the testbed itself is, for campaign.json and env.json. An allow-list: nothing is stored
that is not named here.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Mapping
from dataclasses import asdict, replace
from importlib import metadata
from pathlib import Path

from campaigns.conditions import Conditions, Group
from campaigns.records import SCHEMA, CampaignRecord
from common import files
from policies.base import Policy

CHECKOUT = Path(__file__).resolve().parent.parent

LIBRARIES = ("ansible-core", "ansible-runner", "plumbum", "pydantic", "PyYAML")
"""Those that decide what is run and how its results are read."""


def versions() -> dict[str, str]:
    """Name -> version of the testbed, Python and the libraries that a campaign stands on."""
    found = {"python": platform.python_version()}
    for library in LIBRARIES:
        try:
            found[library] = metadata.version(library)
        except metadata.PackageNotFoundError:
            continue
    return found


def commit(checkout: Path = CHECKOUT) -> tuple[str | None, bool | None]:
    """The checkout's commit, and whether tracked files differ from it; None and None outside git.

    A testbed that was unpacked inside somebody else's repository is outside: that repository's
    commit says nothing about it.
    """
    top, head = _git(checkout, "rev-parse", "--show-toplevel"), _git(checkout, "rev-parse", "HEAD")
    if not top or not head or Path(top).resolve() != checkout.resolve():
        return None, None
    ours = Path(__file__).resolve()
    if ours.is_relative_to(checkout.resolve()) and not _git(checkout, "ls-files", "--", str(ours)):
        return None, None
    changes = _git(checkout, "status", "--porcelain", "--untracked-files=no")
    return head, None if changes is None else bool(changes)


def lock_sha256(checkout: Path = CHECKOUT) -> str | None:
    """SHA-256 of requirements.lock; None when it is not there."""
    lock = checkout / "requirements.lock"
    return files.digest(lock) if lock.is_file() else None


def environment(
    policy: Policy,
    conditions: Conditions,
    host: Mapping[str, object] | None,
    campaign: CampaignRecord,
    cell: str,
    *,
    alone: bool = False,
) -> dict[str, object]:
    """env.json: how the testbed was called, what the cell was given, and what the host says it is
    (lab.api.Host.provenance).

    alone: whether it may be out of the plan's order: just this cell was asked for, or it was
    missing when later ones were there already.
    """
    head, dirty = commit()
    return {
        "schema": SCHEMA,
        "identity": {
            "campaign": campaign.campaign,
            "cell": cell,
            "experiment_sha256": campaign.experiment_sha256,
            "alone": alone,
        },
        "testbed": {
            "versions": versions(),
            "commit": head,
            "dirty": dirty,
            "lock_sha256": lock_sha256(),
            "arguments": campaign.arguments,
        },
        "conditions": given(policy, conditions),
        "host": host,
    }


def _told(policy: Policy) -> dict[str, object]:
    """All of a policy but the form of its settings: what they were set to stands with the
    experiment.
    """
    return {name: value for name, value in asdict(replace(policy, parameters={})).items() if name != "parameters"}


def given(policy: Policy, conditions: Conditions) -> dict[str, object]:
    """What a cell was given, as JSON: verification works it out again from the experiment."""
    given: dict[str, object] = json.loads(
        json.dumps({"policy": _told(policy), "host": asdict(conditions.host), "guests": conditions.guests.document()})
    )
    groups = {group.name: _load(group) for group in conditions.groups}
    return given | {
        **(groups.get("") or {"groups": groups}),
        "overcommit_ratio": conditions.overcommit_ratio,
        "sampling_interval_s": conditions.interval_s,
        **({"traced": True} if conditions.traced else {}),
    }


def _load(group: Group) -> dict[str, object]:
    load = group.load
    told = {
        "workload": load.workload.name,
        "parameters": load.parameters.model_dump(mode="json"),
        "phase_s": load.phase_s,
    }
    return told | ({"count": group.count, "after": group.after} if group.name else {})


def _git(checkout: Path, *arguments: str) -> str | None:
    # as a hook of somebody's repository runs us, GIT_DIR names that one, wherever we are
    ours = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    try:
        done = subprocess.run(
            ["git", "-C", str(checkout), *arguments], capture_output=True, text=True, timeout=30, check=False, env=ours
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
