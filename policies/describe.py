"""Memory policies for people: what each does, in its guests, in tmem and in dom0, and what of it
can be set.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pydantic import BaseModel

from policies import apply, registry
from policies.base import Policy

_SWAPS = {"ramdisk": "a RAM disk", "zswap": "zswap", "zram": "zram"}


@dataclass(frozen=True)
class Entry:
    """A policy or a part of one, in a line."""

    name: str
    kind: str
    summary: str


def entries() -> list[Entry]:
    """Every policy, every control, and every part that can be added to one."""
    bases = [Entry(policy.name, "policy", policy.summary) for policy in registry.BASES.values()]
    bases += [Entry(name, "control", f"a control: {meant}") for name, meant in registry.CONTROLS.items()]
    return bases + [Entry(f"+{part.name}", "part", part.summary) for part in registry.PARTS.values()]


def _then(policy: Policy) -> str:
    """What a guest may have after the release."""
    if policy.moves:
        return "up to guests.memory_max from then on"
    swapped = "; with what it swaps to tmem, up to guests.memory_max" if policy.holds_swapped else ""
    return f"and keeps it{swapped}"


def lines(policy: Policy) -> list[str]:
    """What a policy does, place by place; a place where it does nothing is left out."""
    start = {"share": "an even share of the host's memory", "configured": "what guests.memory_start says"}
    said = policy.name if policy.name not in registry.CONTROLS else f"{policy.name} ({registry.CONTROLS[policy.name]})"
    found = [f"{said}: {policy.summary}", f"    each guest has {start[policy.start]} at the release, {_then(policy)}"]
    if policy.module:
        said = " ".join(f"{name}={int(on)}" for name, on in apply.parameters(policy).items())
        found.append(f"    in each guest: modprobe tmem {said}")
    if policy.at_release:
        said = ", ".join(f"{name} = {value}" for name, value in policy.at_release.items())
        found.append(f"    at the release: {said}")
    found += [f"    in each guest: {name} = {value}" for name, value in policy.sysctl.items()]
    if policy.kernel:
        found.append(f"    on the kernel's command line: {' '.join(policy.kernel)}")
    for name, on in (("compress", policy.tmem.compress), ("dedup", policy.tmem.dedup)):
        if on is not None:
            found.append(f"    in Xen: tmemctl set --{name} {int(on)}")
    if policy.tmem.frozen:
        found.append("    in Xen: tmemctl freeze, so every put is refused")
    if policy.swap:
        found.append(f"    in each guest, at the release: swaps to {_SWAPS[policy.swap]}, then to its swap disk")
    if policy.more_ram:
        found.append(
            "    the host: has more_ram of the experiment beside its memory, and each guest its even part of it"
        )
    if policy.manager:
        found.append(f"    in dom0: the manager {policy.manager}")
    if policy.guest_manager:
        found.append(f"    in each guest, from the release on: {policy.guest_manager} moves the guest's memory")
    found.append(f"    a run counts only if these gates pass, beside those of every policy: {', '.join(policy.gates)}")
    for key, section in policy.parameters.items():
        found += [f"    {line}" for line in _settings(key, section)]
    return found


def _settings(key: str, section: type[BaseModel]) -> Iterator[str]:
    yield f"settings of an experiment, below `{key}:`"
    for name, field in section.model_fields.items():
        yield f"    {name}: {field.description}"
