"""The kernels that guests may boot, and as what: an experiment's `guests.kernel` and `guests.type`.

Linux 5.10 is the kernel of the published work: it has the hooks of cleancache and frontswap. The
others are Debian's own, unchanged; the driver gets into them by itself (tmem/linux/hook.c), and
what they need to find their disk comes in an initial RAM disk.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

KernelName = Literal["fidelity", "debian-6.12", "debian-7"]

FIDELITY: KernelName = "fidelity"

GuestType = Literal["pv", "pvh"]
"""How Xen runs a guest: paravirtual, with page tables that Xen has checked, on every processor; or
in a virtual machine of the processor's (PVH), where the guest's frames are numbered by themselves.
"""

PV: GuestType = "pv"
PVH: GuestType = "pvh"


@dataclass(frozen=True)
class Kernel:
    """artifact: has vmlinuz, and initrd.img where `initrd` says so. own_hooks: it has cleancache
    and frontswap by itself, with all that comes with them: frontswap's own counts, pages that
    come back from it (self-shrinking), and hot-plug in small sections, since it is built here.
    reclaims: who asks it to gets memory freed (memory.reclaim, since Linux 5.19). types: as what it
    was built to boot. takes_mib: how much less of a guest's 192 MiB is available at the start than
    under Linux 5.10 as it is built here (MemAvailable; README.md, "Kernels").
    """

    name: KernelName
    artifact: str
    initrd: bool = True
    own_hooks: bool = False
    reclaims: bool = True
    types: tuple[GuestType, ...] = (PV, PVH)
    takes_mib: int = 0

    @property
    def files(self) -> dict[str, str]:
        """The artifact's outputs that a guest boots -> their names in dom0."""
        if not self.initrd:
            return {"vmlinuz": "vmlinuz"}
        return {"vmlinuz": f"vmlinuz-{self.name}", "initrd.img": f"initrd-{self.name}"}


KERNELS: dict[str, Kernel] = {
    each.name: each
    for each in (
        Kernel("fidelity", "guest_kernel", initrd=False, own_hooks=True, reclaims=False, types=(PV,)),
        Kernel("debian-6.12", "guest_kernel_debian_6_12", takes_mib=45),
        Kernel("debian-7", "guest_kernel_debian_7", takes_mib=57),
    )
}


def asked(names: Sequence[str]) -> tuple[Kernel, ...]:
    """The kernels of these names; where none is asked for, that of the published work."""
    return tuple(KERNELS[name] for name in names or (FIDELITY,))
