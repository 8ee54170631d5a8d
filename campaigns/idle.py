"""What an experiment says that would change nothing, or that nothing could ever judge: settings of
a manager that no policy has, or of guests that are not there, one policy under two names,
comparisons of policies that never meet.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import replace

from campaigns import resolve
from campaigns.document import KeyPath, Problem
from campaigns.looks import Until
from campaigns.records import Claim
from campaigns.schema import MANAGERS, ExperimentFile
from common.errors import UserError
from common.metrics import whole
from policies import balloon, registry
from policies.base import Policy


def managers(file: ExperimentFile) -> Iterator[Problem]:
    """Settings of managers that no policy has."""
    used = resolve.managers(file)
    for key in [*MANAGERS, "manager"]:
        unused = key not in used if key in MANAGERS else not resolve.managers(file, in_dom0=True)
        if unused and key in file.model_fields_set and getattr(file, key).model_fields_set:
            yield Problem((key,), "no policy has this manager, so its settings mean nothing", "leave them out")


def policies(names: Sequence[str]) -> Iterator[Problem]:
    """Policies that do the same under two names: `zram` is `static+zram`."""
    seen: dict[str, Policy] = {}
    for index, name in enumerate(names):
        try:
            policy = replace(registry.parse(name), name="")
        except UserError:
            continue  # told elsewhere
        same = next((other for other, known in seen.items() if known == policy and other != name), None)
        if same is not None:
            what = f"policy {name!r} does the same as {same!r}"
            yield Problem(("policies", index), what, "keep one; repetitions are counted in `repetitions`")
        seen.setdefault(name, policy)


def guests(file: ExperimentFile) -> Iterator[Problem]:
    """Settings of single guests that are there at no level."""
    most = whole(
        max([group.count, *_counts(file, f"guests.groups.{name}.count" if name else "guests.count")])
        for name, group in file.groups.items()
    )
    told: list[tuple[KeyPath, int]] = [
        (("tmem", key, name), int(name.removeprefix("guest")))
        for key in ("weights", "caps")
        for name in getattr(file.tmem, key)
    ]
    settings = file.settings_of(balloon.POLICY.name)
    assert isinstance(settings, balloon.BalloonSettings)
    told += [(("balloon", "schedule"), step["number"]) for step in balloon.steps(settings.schedule)]
    for path, number in told:
        if number > most:
            remedy = "the only one is guest1" if most == 1 else f"they are guest1 to guest{most}"
            yield Problem(path, f"there is no guest{number}, so this would change nothing", remedy)


def _counts(file: ExperimentFile, path: str) -> list[int]:
    """Levels of a count; others than numbers are told elsewhere."""
    return [level for level in file.factors.get(path, ()) if isinstance(level, int)]


def comparisons(claims: Iterable[Claim], until: Until | None, met: Collection[Collection[str]]) -> Iterator[Problem]:
    """Comparisons of policies that are left out wherever the other is run. met: the policies that
    are run, at each combination of levels.
    """
    asked: list[tuple[KeyPath, str, str]] = [
        (("claims", index, "compare"), claim.compare.treatment, claim.compare.control)
        for index, claim in enumerate(claims)
    ]
    if until is not None:
        asked.append((("repetitions", "until", "compare"), until.treatment, until.control))
    for where, treatment, control in asked:
        if not any(treatment in names and control in names for names in met):
            what = f"{treatment} and {control} are never run at the same levels, so they cannot be compared"
            yield Problem(where, what, "leave out less in `exclude`, or remove this")
