"""Every memory policy and part by its name. A new policy is a new module and one line here.

Grammar of a name: BASE[+PART...], as in `selfballoon+tmem`. Without a part that needs it, the guest
driver is not loaded.
"""

from __future__ import annotations

import importlib
from dataclasses import replace

from common.errors import UsageError
from common.text import suggestion
from policies.base import Part, Policy
from policies.parts import PARTS as _PARTS

_MODULES = (
    "policies.static",
    "policies.fixed",
    "policies.selfballoon",
    "policies.balloon",
    "policies.qmemman",
    "policies.squeezed",
    "policies.mom",
    "policies.proxmox",
    "policies.psi",
    "policies.collaborative",
    "policies.smartmem",
)

BASES: dict[str, Policy] = {
    policy.name: policy for policy in (importlib.import_module(module).POLICY for module in _MODULES)
}
PARTS: dict[str, Part] = {part.name: part for part in _PARTS}

_TOGETHER = {"tmem": {"cleancache", "frontswap"}}
"""Parts that are others together."""


def parse(name: str) -> Policy:
    """The policy of a name such as `selfballoon+tmem`. UsageError, with a suggestion, for any
    other text.
    """
    base, *parts = name.split("+")
    if base not in BASES:
        raise _unknown(name, base, tuple(BASES), "begins with")
    for part in parts:
        if part not in PARTS:
            raise _unknown(name, part, tuple(PARTS), "may add")
    meant = [each for part in parts for each in sorted(_TOGETHER.get(part, {part}))]
    if len(set(meant)) != len(meant):
        raise UsageError(
            f"the memory policy {name!r} names a part twice", remedy="`tmem` is cleancache and frontswap together."
        )
    policy = BASES[base]
    if policy.needs and not set(policy.needs) & set(parts):
        raise UsageError(
            f"the memory policy {name!r} uses no tmem",
            why=f"{base} shares out what tmem holds",
            remedy=f"Add one of {', '.join(policy.needs)}: {base}+{policy.needs[0]}.",
        )
    for part in parts:
        needs = PARTS[part].needs
        if needs and not set(needs) & set(parts):
            raise UsageError(
                f"the memory policy {name!r} uses no tmem",
                why=f"{part} is how tmem keeps pages",
                remedy=f"Add one of {', '.join(needs)}.",
            )
        policy = PARTS[part].add(policy)
    return replace(policy, name=name)


def _unknown(name: str, word: str, known: tuple[str, ...], verb: str) -> UsageError:
    near = suggestion(word, known)
    meant = f"Did you mean {name.replace(word, near)!r}? " if near and word else ""
    return UsageError(
        f"there is no memory policy {name!r}",
        why=f"{word!r} is unknown",
        remedy=f"{meant}A policy {verb} {' or '.join(known)}.",
    )
