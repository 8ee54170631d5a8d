"""Controls that swap to the guest's own memory, without tmem: `+ramdisk-swap`, `+zswap`, `+zram`.

All three take from the guest what they hold, and share nothing with anybody: against them tmem has
to show that it is worth more to have one pool for all guests, in memory that no guest has. Swapped
pages alone profit; clean pages are dropped as under the base. Self-ballooning knows nothing of what
they hold: its goal has what was committed, swapped or not, and not what it takes to keep it
compressed. The swap disk is as under every policy, and stands behind. All are made before the
release, when nothing is swapped to them yet, and are in use from the release on; the memory that a
guest has, as Xen counts it, is the same as under the base all the time (gate `equal_start`).

`ramdisk-swap` (`static+ramdisk-swap`): a RAM disk (Linux's brd) in the guest is its first swap
device. All its memory is taken before the release: one that grew while the guest swaps would want a
page for each page that is to be freed. What it is good for: it is swap that costs no disk, and
gains no memory. A difference from the base is what a fixed part of the memory is worth as swap
instead of as memory, and what the kernel's swapping costs by itself. Frontswap has to beat it by
what differs: a pool that all share, and no block layer between. `zram` has to beat it by
compressing. By default it is a fifth of what a guest has at the release (of the least, where an
experiment's policies differ), as much as zswap takes at most. In force when pages went to it (gate
`ramdisk_used`). A manager leaves a guest its `manager.minimum` beside the RAM disk. Linux does not
count a RAM disk's requests: its pages are those of `swap_out` and `swap_in` less the swap disk's
sectors ÷ 8.

`zswap` (`static+zswap`): Linux's compressed cache in front of the swap disk, by frontswap's hooks;
so it does within a guest what frontswap and tmem do across guests, and is the published competitor
(Jennings, 2013). Settings are the kernel's own by default: lzo, zbud, 20 % of the guest's memory.
When that is full, zbud and z3fold write the oldest pages to the disk (`zswap_written_back`), and
zsmalloc, in this kernel, refuses new ones. Its stores and hits are those of frontswap
(`frontswap_stores`, `frontswap_loads`), comparable with tmem's; with `+tmem` or `+frontswap` beside
it the driver is asked first, and zswap gets what Xen refuses: subtract `tmem_persistent_hits`. Not
on Linux 6.1 as built here, whose frontswap zswap would take for itself. In force when it stored
pages (gate `zswap_used`).

`zram` (`static+zram`): a compressed block device in the guest's memory is its first swap device, as
distributions and phones have it. It holds as many pages as the swap disk, uncompressed, and takes
memory as pages come; nothing is ever written back, so cold pages stay in memory for good, which is
what sets it apart from zswap. The disk is used when zram is full. lzo-rle by default, as the
kernel's. What it is good for: the most that a guest can do by itself without any I/O. `zram_stores`
and `zram_hits` are comparable with frontswap's; swap's header is among the hits, a page or two. In
force when pages were written to it (gate `zram_used`).

One of the three at a time: zswap in front of the others would compress what is in memory already.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Annotated, Any, Literal

from pydantic import Field

from common.fields import Count, Mebibytes, Section
from common.units import KIB_PER_MIB
from lab.api import GuestSizing, MemorySwap
from policies.base import Part, Policy, Swap

RAMDISK_SHARE = 0.2
"""Of what a guest has at the release; what zswap takes of it at most, too."""


class RamdiskParameters(Section):
    """Of `+ramdisk-swap`."""

    size: Annotated[Mebibytes, Field(ge=1)] | None = Field(
        default=None, description="of each guest's memory; by itself a fifth of what it has at the release"
    )


class ZswapParameters(Section):
    """Of `+zswap`, named as in sysfs."""

    compressor: Literal["lzo", "lzo-rle", "lz4", "zstd"] = Field(default="lzo", description="how pages are compressed")
    zpool: Literal["zbud", "z3fold", "zsmalloc"] = Field(
        default="zbud", description="how they are kept: at most 2 or 3 in a page, or by size"
    )
    max_pool_percent: Annotated[Count, Field(ge=1, le=100)] = Field(
        default=20, description="of the guest's memory, the most that it takes"
    )


class ZramParameters(Section):
    """Of `+zram`."""

    size: Annotated[Mebibytes, Field(ge=1)] | None = Field(
        default=None, description="pages that it holds, uncompressed; by itself as many as the swap disk"
    )
    algorithm: Literal["lzo-rle", "lzo", "lz4", "zstd"] = Field(
        default="lzo-rle", description="how pages are compressed"
    )


KEYS: dict[Swap, str] = {"ramdisk": "ramdisk_swap", "zswap": "zswap", "zram": "zram"}
"""Kind -> key of an experiment with its settings."""


def ramdisk_mib(asked: RamdiskParameters, start_mib: int) -> int:
    """Size of each guest's RAM disk."""
    return asked.size if asked.size is not None else max(1, int(RAMDISK_SHARE * start_mib))


def devices(
    ramdisk: RamdiskParameters, zswap: ZswapParameters, zram: ZramParameters, guests: GuestSizing, start_mib: int
) -> dict[Swap, MemorySwap]:
    """How each kind is made in these guests. start_mib: what each has at the release."""
    zram_mib = zram.size or guests.swap_mib or guests.memory_max_mib
    return {
        "ramdisk": MemorySwap("ramdisk", (ramdisk_mib(ramdisk, start_mib) * KIB_PER_MIB,)),
        "zswap": MemorySwap("zswap", (zswap.compressor, zswap.zpool, zswap.max_pool_percent)),
        "zram": MemorySwap("zram", (zram_mib * KIB_PER_MIB, zram.algorithm)),
    }


def _with_swap(policy: Policy, kind: Swap, section: type[Section]) -> Policy:
    return replace(
        policy,
        swap=kind,
        gates=(*policy.gates, f"{kind}_used"),
        parameters={**policy.parameters, KEYS[kind]: section},
    )


_SWAPS: tuple[tuple[str, str, Swap, Any], ...] = (
    ("ramdisk-swap", "swapped pages go to a RAM disk in the guest, then to the disk", "ramdisk", RamdiskParameters),
    ("zswap", "swapped pages go to Linux's compressed cache in the guest, then to the disk", "zswap", ZswapParameters),
    ("zram", "swapped pages go to a compressed device in the guest, then to the disk", "zram", ZramParameters),
)

PARTS = tuple(
    Part(
        name,
        summary,
        partial(_with_swap, kind=kind, section=section),
        excludes=tuple(other for other, *_ in _SWAPS if other != name),
    )
    for name, summary, kind, section in _SWAPS
)

CONTROLS = {name: f"static+{name}" for name, *_ in _SWAPS}
"""Names that an experiment may give, and what they stand for."""
