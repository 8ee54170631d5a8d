"""The kernels that guests may boot: what an experiment names as `guests.kernel`.

Linux 5.10 is the kernel of the published work: it has the hooks of cleancache and frontswap. The
others are Debian's own, unchanged; the driver gets into them by itself (tmem/linux/hook.c), and
what they need to find their disk comes in an initial RAM disk.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

KernelName = Literal["fidelity", "debian-6.12", "debian-7"]

FIDELITY: KernelName = "fidelity"


@dataclass(frozen=True)
class Kernel:
    """artifact: has vmlinuz, and initrd.img where `initrd` says so. own_hooks: it has cleancache
    and frontswap by itself, with all that comes with them: frontswap's own counts, pages that
    come back from it (self-shrinking), and hot-plug in small sections, since it is built here.
    reclaims: who asks it to gets memory freed (memory.reclaim, since Linux 5.19).
    """

    name: KernelName
    artifact: str
    initrd: bool = True
    own_hooks: bool = False
    reclaims: bool = True

    @property
    def files(self) -> dict[str, str]:
        """The artifact's outputs that a guest boots -> their names in dom0."""
        if not self.initrd:
            return {"vmlinuz": "vmlinuz"}
        return {"vmlinuz": f"vmlinuz-{self.name}", "initrd.img": f"initrd-{self.name}"}


KERNELS: dict[str, Kernel] = {
    each.name: each
    for each in (
        Kernel("fidelity", "guest_kernel", initrd=False, own_hooks=True, reclaims=False),
        Kernel("debian-6.12", "guest_kernel_debian_6_12"),
        Kernel("debian-7", "guest_kernel_debian_7"),
    )
}
