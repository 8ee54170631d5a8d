"""Combinations that a campaign leaves out: of a policy and levels of factors, `policy` being one of
the names in an exclusion.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from campaigns.document import KeyPath, Problem
from common.text import hint, shortened

POLICY = "policy"

Exclusion = Mapping[str, Sequence[object]]
"""`policy` or a factor's path -> what is left out of it. All of them have to be met."""


def same(one: object, other: object) -> bool:
    """Whether two levels are one, as YAML has them: `true` is not 1."""
    return isinstance(one, bool) == isinstance(other, bool) and one == other


def among(level: object, levels: Iterable[object]) -> bool:
    """Whether it is one of them."""
    return any(same(level, each) for each in levels)


def excluded(exclusions: Sequence[Exclusion], policy: str, levels: Mapping[str, object]) -> bool:
    """Whether a policy's cells at these levels are left out."""
    at = {**levels, POLICY: policy}
    return any(all(among(at[path], these) for path, these in each.items()) for each in exclusions)


def problems(
    exclusions: Sequence[Exclusion], policies: Sequence[str], factors: Mapping[str, Sequence[object]]
) -> Iterator[Problem]:
    """What in them means nothing here."""
    known = {POLICY: policies, **factors}
    for index, each in enumerate(exclusions):
        here: KeyPath = ("exclude", index)
        if not each:
            yield Problem(here, "it would leave out every cell", "name a policy or a factor's levels")
        for path, these in each.items():
            if path not in known:
                yield Problem((*here, path), f"{path!r} is neither `policy` nor a factor", hint(path, list(known)))
                continue
            if not these:
                yield Problem((*here, path), "it names no level, so it leaves out nothing", "name some")
            for level in these:
                if not among(level, known[path]):
                    near = hint(str(level), [str(other) for other in known[path]])
                    yield Problem((*here, path), f"{shortened(level)} is not one of its levels", near)
