"""Memory policies by name: what the guests' memory does, and what of tmem is used.

Grammar: BASE[+PART...]. BASE is `static` (every guest keeps an even share) or `selfballoon` (it follows its own need, up to its maximum). PARTs:
`cleancache`, `frontswap`, or `tmem` for both. Without a part and with a static base the guest driver is not loaded.
Self-shrinking returns what frontswap holds once memory is plentiful again; the original driver had it on whenever both self-ballooning and
frontswap were.
"""

from __future__ import annotations

import difflib

from common.errors import UsageError
from lab.api import Policy

BASES = ("static", "selfballoon")
PARTS = ("tmem", "cleancache", "frontswap")


def parse(name: str) -> Policy:
    """The policy of a name such as `selfballoon+tmem`. UsageError, with a suggestion, for any other text."""
    base, *parts = name.split("+")
    if base not in BASES:
        raise _unknown(name, base, BASES, "begins with")
    for part in parts:
        if part not in PARTS:
            raise _unknown(name, part, PARTS, "may add")
    if len(set(parts)) != len(parts) or ("tmem" in parts and len(parts) > 1):
        raise UsageError(
            f"the memory policy {name!r} names a part twice", remedy="`tmem` is cleancache and frontswap together."
        )
    cleancache = "cleancache" in parts or "tmem" in parts
    frontswap = "frontswap" in parts or "tmem" in parts
    selfballooning = base == "selfballoon"
    return Policy(
        name=name,
        driver=selfballooning or cleancache or frontswap,
        selfballooning=selfballooning,
        selfshrinking=selfballooning and frontswap,
        cleancache=cleancache,
        frontswap=frontswap,
    )


def module_parameters(policy: Policy) -> list[str]:
    """Arguments of `modprobe tmem` for a policy; every one is stated, so that no default of the driver matters."""
    chosen = {
        "cleancache": policy.cleancache,
        "frontswap": policy.frontswap,
        "selfballooning": policy.selfballooning,
        "selfshrinking": policy.selfshrinking,
    }
    return [f"{parameter}={int(on)}" for parameter, on in chosen.items()]


def _unknown(name: str, word: str, known: tuple[str, ...], verb: str) -> UsageError:
    near = difflib.get_close_matches(word, known, n=1)
    suggestion = f"Did you mean {name.replace(word, near[0])!r}? " if near and word else ""
    return UsageError(
        f"there is no memory policy {name!r}",
        why=f"{word!r} is unknown",
        remedy=f"{suggestion}A policy {verb} {' or '.join(known)}.",
    )
