"""What each artifact is made of, declared: adding an artifact is adding a Recipe here and a role
playbooks/roles/NAME.

playbooks/build.yml runs the role's tasks/main.yml on the controller, then the roles of `inside` in
the image tree that it left in build_root (through a chroot connection), then its tasks/pack.yml if
it has one. The role writes its outputs to build_out; what it leaves there beside them (a tree,
packages.tsv) is kept too.
"""

from __future__ import annotations

from dataclasses import dataclass

from common.needs import Needs
from lab.kernels import asked


@dataclass(frozen=True)
class Recipe:
    """One artifact. Everything named here goes into its key, so that a change of any of it builds
    it anew.

    name: also its role's. outputs: files of build_out. seconds: a cold build on two idle cores, for
    plans and remaining time.
    sources: archives ("xen", "xen_4_17", "xen_newest", "linux", "linux_6_1"). requires: artifacts.
    trees: folders and files of the checkout. inside: roles, or role:tasks, applied in the image.
    roles: other roles that its own includes. lab_key: the image is opened by the lab's key pair.
    packages: has the Debian packages that were asked for, so there is one for each set of them.
    known_as: artifact of `requires` -> the name by which the role knows it.
    """

    name: str
    outputs: tuple[str, ...]
    seconds: float
    sources: tuple[str, ...] = ()
    requires: tuple[str, ...] = ()
    trees: tuple[str, ...] = ()
    inside: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()
    lab_key: bool = False
    packages: bool = False
    known_as: tuple[tuple[str, str], ...] = ()


_XEN = ("xen.elf32", "xen.gz", "xen.config")
_TMEM = ("tmem/xen/files", "tmem/xen/patches")
_HOST_IMAGE = ("host.qcow2", "vmlinuz", "initrd.img")
_STOCK = ("vmlinuz", "initrd.img", "beside.tar", "config", "tmem.ko", "release")

_ALL = (
    Recipe("toolchain", ("root.tar",), 60),
    Recipe("linux", ("vmlinuz", "config", "System.map", "modules.tar", "headers.tar"), 250, ("linux",), ("toolchain",)),
    Recipe(
        "host_image",
        _HOST_IMAGE,
        120,
        inside=("xen_host", "host_image:configure"),
        roles=("ext4_image",),
        lab_key=True,
    ),
    Recipe("xen", _XEN, 90, ("xen", "linux"), ("toolchain",), _TMEM),
    Recipe("guest_root", ("root.tar",), 90, ("linux",), ("toolchain",)),
    Recipe("tmemctl", ("tmemctl",), 10, requires=("toolchain",), trees=("tmem/tmemctl", "tmem/xen/files/include")),
    Recipe(
        "sampler",
        ("sampler",),
        10,
        requires=("toolchain",),
        trees=("lab/remote/sampler", "tmem/tmemctl", "tmem/xen/files/include"),
    ),
    Recipe(
        "guest_kernel",
        ("vmlinuz", "config", "System.map", "modules.tar"),
        20,
        requires=("toolchain", "linux"),
        trees=("tmem/linux",),
    ),
    Recipe(
        "guest_image",
        ("guest.qcow2",),
        45,
        requires=("guest_root", "guest_kernel"),
        roles=("ext4_image",),
        lab_key=True,
    ),
    # for kernels that bring their modules themselves: without waiting for one to be compiled
    Recipe(
        "guest_image_stock",
        ("guest.qcow2",),
        45,
        requires=("guest_root",),
        roles=("guest_image", "ext4_image"),
        lab_key=True,
    ),
    Recipe(
        "guest_root_loads",
        ("root.tar",),
        60,
        requires=("guest_root",),
        trees=("workloads/programs", "workloads/shell/program-prepare.sh"),
        packages=True,
    ),
    Recipe(
        "guest_image_loads",
        ("guest.qcow2",),
        50,
        requires=("guest_root_loads", "guest_kernel"),
        roles=("guest_image", "ext4_image"),
        lab_key=True,
        known_as=(("guest_root_loads", "guest_root"),),
    ),
    Recipe(
        "guest_kernel_6_1",
        ("vmlinuz", "config", "System.map", "modules.tar"),
        320,
        ("linux_6_1",),
        ("toolchain",),
        ("tmem/linux",),
        roles=("linux",),
    ),
    # the driver for kernels that Debian ships, which have no hooks for it: tmem/linux/hook.c
    Recipe("stock_driver", ("tmem.ko", "release"), 90, trees=("tmem/linux",)),
    Recipe("stock_driver_backports", ("tmem.ko", "release"), 90, trees=("tmem/linux",), roles=("stock_driver",)),
    # what guests boot with such a kernel: lab/kernels.py
    Recipe("guest_kernel_debian_6_12", _STOCK, 110, trees=("tmem/linux",), roles=("stock_driver",)),
    Recipe(
        "guest_kernel_debian_7",
        _STOCK,
        110,
        trees=("tmem/linux",),
        roles=("stock_driver", "guest_kernel_debian_6_12"),
    ),
    Recipe("xen_debug", _XEN, 100, ("xen", "linux"), ("toolchain",), _TMEM, roles=("xen",)),
    Recipe(
        "host_image_12",
        _HOST_IMAGE,
        120,
        inside=("xen_host", "host_image:configure"),
        roles=("ext4_image", "host_image"),
        lab_key=True,
    ),
    # for people who use apt: a repository of packages, with their sources
    Recipe(
        "debian_packages",
        ("Packages", "Sources"),
        330,
        ("xen", "linux"),
        trees=(*_TMEM, "tmem/xen/debian", "tmem/tmemctl", "tmem/linux"),
        roles=("xen",),
    ),
    # A server that knows nothing of Xen, for tests of what makes Xen hosts of such.
    Recipe(
        "server_image",
        ("server.qcow2", "ovmf-code.fd", "ovmf-vars.fd"),
        90,
        inside=("server_image:configure",),
        lab_key=True,
    ),
    Recipe("xen_4_17", _XEN, 90, ("xen_4_17", "linux"), ("toolchain",), _TMEM, roles=("xen",)),
    Recipe("xen_newest", _XEN, 90, ("xen_newest", "linux"), ("toolchain",), _TMEM, roles=("xen",)),
)

RECIPES = {recipe.name: recipe for recipe in _ALL}
"""By name, in the order in which they are started when nothing else decides."""

PUBLISHED = ("xen", "guest_kernel", "tmemctl", "sampler", "guest_image", "host_image")
"""What a lab needs; the others are steps on the way, or variants for a lab that asks for one."""


def guest_image(needs: Needs) -> str:
    """The artifact with the guests' image: one that has what workloads need, or what every lab's
    guests have. Where none boots a kernel that is built here, one that waits for none.
    """
    if needs.of_image:
        return "guest_image_loads"
    compiled = any(kernel.artifact == "guest_kernel" for kernel in asked(needs.kernels))
    return "guest_image" if compiled else "guest_image_stock"


@dataclass(frozen=True)
class Hypervisor:
    """What `lab_hypervisor` of an inventory can name: a hypervisor and the dom0 that goes with it,
    as artifacts.
    """

    artifact: str
    host_image: str


HYPERVISORS = {
    each.artifact: each
    for each in (
        # Debian 13's Xen: what is measured
        Hypervisor("xen", "host_image"),
        # the same with assertions and lock checks: slower, and it stops at the first mistake
        Hypervisor("xen_debug", "host_image"),
        # Debian 12's Xen with Debian 12's dom0: whether tmem works on both
        Hypervisor("xen_4_17", "host_image_12"),
        # the newest that Debian carries, whether in a release or not
        Hypervisor("xen_newest", "host_image"),
    )
}
