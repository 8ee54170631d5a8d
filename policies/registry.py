"""Every memory policy and part by its name. A new policy is a new module and one line here.

Grammar of a name: BASE[+PART...], as in `selfballoon+tmem`. Without a part that needs it, the guest
driver is not loaded. A control may stand for BASE: `zram` is `static+zram`.
"""

from __future__ import annotations

import importlib
from dataclasses import replace

from common.errors import UsageError
from common.text import suggestion
from policies import memory_swap, more_ram, parts, tmem_controls
from policies.base import Part, Policy

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
    "policies.senpai",
    "policies.hotplug",
    "policies.collaborative",
    "policies.smartmem",
)

BASES: dict[str, Policy] = {
    policy.name: policy for policy in (importlib.import_module(module).POLICY for module in _MODULES)
}
PARTS: dict[str, Part] = {
    part.name: part for part in (*parts.PARTS, *tmem_controls.PARTS, *memory_swap.PARTS, *more_ram.PARTS)
}
CONTROLS: dict[str, str] = {**tmem_controls.CONTROLS, **memory_swap.CONTROLS, **more_ram.CONTROLS}
"""Control -> the policy that it stands for."""

_TOGETHER = {"tmem": {"cleancache", "frontswap"}}
"""Parts that are others together."""


def parse(name: str) -> Policy:
    """The policy of a name such as `selfballoon+tmem`. UsageError, with a suggestion, for any
    other text.
    """
    first, *added = name.split("+")
    base, *implied = CONTROLS.get(first, first).split("+")
    if base not in BASES:
        raise _unknown(name, base, (*BASES, *CONTROLS), "begins with")
    for part in added:
        if part not in PARTS:
            raise _unknown(name, part, tuple(PARTS), "may add")
    names = [*implied, *added]
    policy = BASES[base]
    _check(name, policy, names)
    for part in names:
        policy = PARTS[part].add(policy)
    return replace(policy, name=name)


def _check(name: str, base: Policy, names: list[str]) -> None:
    """UsageError for parts that are not for each other, or not what the base needs."""
    meant = [each for part in names for each in sorted(_TOGETHER.get(part, {part}))]
    if len(set(meant)) != len(meant):
        raise UsageError(
            f"the memory policy {name!r} names a part twice", remedy="`tmem` is cleancache and frontswap together."
        )
    if base.needs and not set(base.needs) & set(names):
        raise UsageError(
            f"the memory policy {name!r} uses no tmem",
            why=f"{base.name} shares out what tmem holds",
            remedy=f"Add one of {', '.join(base.needs)}: {base.name}+{base.needs[0]}.",
        )
    for part in names:
        needs = PARTS[part].needs
        if needs and not set(needs) & set(names):
            raise UsageError(
                f"the memory policy {name!r} uses no tmem",
                why=f"{part} is how tmem keeps pages",
                remedy=f"Add one of {', '.join(needs)}.",
            )
        if wrong := [each for each in PARTS[part].excludes if each in names]:
            raise UsageError(
                f"the memory policy {name!r} contradicts itself",
                why=f"{part} and {wrong[0]} exclude each other",
                remedy="Leave one of them out.",
            )


def _unknown(name: str, word: str, known: tuple[str, ...], verb: str) -> UsageError:
    near = suggestion(word, known)
    meant = f"Did you mean {name.replace(word, near)!r}? " if near and word else ""
    if (part := name.removeprefix("+")) in PARTS:
        meant = f"{part} is a part, to be added to a policy, as in static+{part}. "
    return UsageError(
        f"there is no memory policy {name!r}",
        why=f"{word!r} is unknown",
        remedy=f"{meant}A policy {verb} {' or '.join(known)}.",
    )
