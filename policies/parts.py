"""What of tmem a policy uses: `+cleancache`, `+frontswap`, `+tmem` (both), and how tmem keeps it:
`+compress`, `+dedup`.

Self-shrinking returns what frontswap holds once memory is plentiful again; the original driver had
it on whenever both self-ballooning and frontswap were.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

from pydantic import Field

from common.fields import Count, Section
from lab.api import TmemSettings
from policies.base import Part, Policy, with_module

GUEST = r"^guest[1-9][0-9]*$"


Switch = Annotated[bool, Field(strict=True)]


class TmemSection(Section):
    """tmem's settings for the guests, as `tmemctl set` takes them. None and names that are missing:
    as Xen has it.

    weights: guest -> its weight against others' when pages have to go. caps: guest -> most
    ephemeral pages. docs/tmem.md.
    """

    compress: Switch | None = None
    dedup: Switch | None = None
    weights: dict[Annotated[str, Field(pattern=GUEST)], Annotated[Count, Field(ge=0)]] = Field(default_factory=dict)
    caps: dict[Annotated[str, Field(pattern=GUEST)], Annotated[Count, Field(ge=0)]] = Field(default_factory=dict)

    def settings(self) -> TmemSettings:
        """As a host takes them."""
        return TmemSettings(self.compress, self.dedup, dict(self.weights), dict(self.caps))


def _cleancache(policy: Policy) -> Policy:
    return with_module(policy, cleancache=True)


def _frontswap(policy: Policy) -> Policy:
    added = with_module(policy, frontswap=True)
    if not policy.module.get("selfballooning"):
        return added
    shrinking = {"selfshrinking": True}
    at_release = {**policy.at_release, "frontswap_selfshrinking": 1}
    return replace(added, module={**added.module, **shrinking}, at_release=at_release)


def _tmem(policy: Policy) -> Policy:
    return _frontswap(_cleancache(policy))


def _compress(policy: Policy) -> Policy:
    return replace(policy, tmem=replace(policy.tmem, compress=True))


def _dedup(policy: Policy) -> Policy:
    return replace(policy, tmem=replace(policy.tmem, dedup=True))


USERS = ("tmem", "cleancache", "frontswap")
"""Parts that make guests ask tmem."""

PARTS = (
    Part("tmem", "clean pages and swapped pages go to tmem: cleancache and frontswap together", _tmem),
    Part(
        "cleancache", "clean pages that the kernel evicts go to tmem, and are asked of it before the disk", _cleancache
    ),
    Part("frontswap", "pages that the kernel swaps out go to tmem while it takes them, else to the disk", _frontswap),
    Part("compress", "tmem compresses what it keeps", _compress, needs=USERS),
    Part("dedup", "tmem keeps equal clean pages once", _dedup, needs=USERS),
)
