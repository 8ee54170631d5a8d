"""What a playbook changed, or would change: Ansible's events as records for people."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from common import text

SKIPPED_COMMAND = "Command would have run"
"""What Ansible says, with -v, of a command that it leaves out in check mode."""


@dataclass(frozen=True)
class Change:
    """A task that changed something, or would. item: of its loop. difference: lines of a diff."""

    task: str
    item: str = ""
    difference: tuple[str, ...] = ()

    def lines(self) -> Iterator[str]:
        yield f"{self.task}: {self.item}" if self.item else self.task
        yield from (f"    {line}" for line in self.difference)


def of_event(event: Mapping[str, Any]) -> Change | None:
    """The change that an event of ansible-runner tells; None when it tells none, or an item of a
    loop told it before.
    """
    kind = event.get("event")
    data: Mapping[str, Any] = event.get("event_data") or {}
    result: Mapping[str, Any] = data.get("res") or {}
    changed = bool(result.get("changed"))
    if kind in {"runner_on_skipped", "runner_item_on_skipped"}:
        # ansible-runner keeps no result of these, only what was printed.
        changed = SKIPPED_COMMAND in str(event.get("stdout") or "")
    elif kind not in {"runner_on_ok", "runner_item_on_ok"}:
        return None
    if not changed or "results" in result:
        return None
    item = result.get("_ansible_item_label", result.get("item"))
    return Change(
        str(data.get("task") or data.get("name") or ""),
        "" if item is None else item if isinstance(item, str) else json.dumps(item, sort_keys=True, default=str),
        tuple(_difference(result.get("diff"))),
    )


def _difference(diff: object) -> Iterator[str]:
    if isinstance(diff, list):
        for each in diff:
            yield from _difference(each)
    elif isinstance(diff, Mapping):
        if diff.get("prepared"):
            yield from str(diff["prepared"]).splitlines()
        elif "before" in diff or "after" in diff:
            names = (str(diff.get("before_header") or "before"), str(diff.get("after_header") or "after"))
            yield from text.difference(_text(diff.get("before")), _text(diff.get("after")), names)


def _text(value: object) -> str:
    if isinstance(value, Mapping):
        return "\n".join(f"{key}: {value[key]}" for key in sorted(value))
    return str(value or "")
