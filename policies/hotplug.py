"""`hotplug`: memory of the guests comes and goes in sections, by Linux's own memory hot-plug.

The rules are policies/managers/hotplug.py; how a guest carries them out is
tmem/linux/sections/sections.c, and lab/remote/sections.sh there.

What is as it was published: the guest's kernel takes a section offline (it isolates the section,
migrates all that lies in it, and fails where something cannot be moved), what fails is counted, and
a section that comes online is asked of the hypervisor first. Above its first 64 MiB a guest has
movable memory (`movable_node`, and sections online as movable), as everybody sets it up who wants
to take memory away again: the kernel keeps its own below. A section in which it has something at
that time stays, and can't be given.

What is not: page tables and struct pages of an offline section stay, 1.6 % of it, since Linux does
not remove boot memory from a paravirtual guest. And sections are of 16 MiB here, where x86 has 128:
a guest of 160 MiB could give none (playbooks/roles/linux/files/sections.patch; all guests have this
kernel, under every policy). `hotplug.section` may be any multiple.
"""

from __future__ import annotations

from policies.managed import policy

POLICY = policy(
    "hotplug",
    "guests give and get memory in whole sections, by memory hot-plug, when one lacks some",
    kernel=("movable_node",),
    sections=True,
)
