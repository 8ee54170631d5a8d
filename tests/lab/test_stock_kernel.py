"""The guest driver on the kernel that Debian ships, nothing patched and nothing rebuilt: dom0 of
the emulated host runs it, and dom0 is a guest of Xen like any other.

Builds the artifact stock_driver when it is not there, which takes minutes; no lab needs it. What
is done in dom0 is stock.py.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import programs
import pytest

from common.needs import NOTHING
from lab.build import builder, kernel_check
from lab.emulator.process import UNLIMITED
from lab.hosts.emulated import EmulatedHost
from lab.hosts.guests import destroy_script
from lab.lifecycle import DEFAULT_GUESTS, DEFAULT_HOST, OpenLab
from lab.remote.ssh import DOM0, CommandError

pytestmark = [pytest.mark.lab, pytest.mark.long]

MODULE, ANOTHER = "/run/tmem.ko", "/run/another.ko"
NAME_BYTES = 56
"""A module's name in its own record: MODULE_NAME_LEN of 64-bit kernels."""
FILE_MIB = 300
"""More than dom0 has memory for files, and less than Xen has free without guests."""

MOUNT = "; ".join(
    f"mountpoint -q /sys/kernel/{folder} || mount -t {kind} {kind} /sys/kernel/{folder}"
    for folder, kind in (("debug", "debugfs"), ("tracing", "tracefs"))
)
"""An emulated host's dom0 mounts neither by itself: it would take a second of its boot."""

BALLOON = "/sys/devices/system/xen_memory/xen_memory0"
LESS_KIB = 300 << 10
"""What dom0 gives itself of its 384 MiB."""

HOOKED = ("__filemap_remove_folio", "read_pages", "zswap_store")

LOOKED_FOR = "zswap_swapoff"
"""One of the functions that it replaces, which it does not call by name."""
PROTOTYPE = "void (swp_entry_t)"
"""Of zswap_invalidate()."""

OTHER = "tmen"
"""What a second one is called. Its device and its directory in sysfs are others, too."""


def dom0(host: EmulatedHost, script: str, timeout: float = 60) -> str:
    return host.run(DOM0, script, timeout=timeout)


def trial(host: EmulatedHost, *words: object, timeout: float = 240) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(dom0(host, f"python3 /run/stock.py {' '.join(map(str, words))}", timeout))
    return found


@pytest.fixture(scope="module")
def machine(lab: OpenLab) -> Iterator[EmulatedHost]:
    """The host without guests, so that their memory is tmem's; the module is there, not loaded."""
    driver = builder.ensure(["stock_driver"])["stock_driver"].outputs
    host = lab.hosts[0]
    assert isinstance(host, EmulatedHost)
    host.reset(DEFAULT_HOST, DEFAULT_GUESTS)
    host.limit_disks(UNLIMITED)
    dom0(host, destroy_script(), 180)
    assert dom0(host, "uname -r").strip() == driver["release"].read_text().strip()
    host.run(DOM0, f"cat > {MODULE}", stdin=driver["tmem.ko"].read_bytes())
    dom0(host, MOUNT)
    host.run(DOM0, "cat > /run/stock.py", stdin=Path(__file__).with_name("stock.py").read_bytes())
    yield host
    host.stop()  # the module cannot be taken back


def refused(host: EmulatedHost, before: str, *parameters: str, module: str = MODULE) -> str:
    """What the kernel says of a module that will not load, and that has left nothing."""
    with pytest.raises(CommandError):
        dom0(host, f"{before} insmod {module} {' '.join(parameters)}")
    assert "tmem" not in dom0(host, "cut -d ' ' -f 1 /proc/modules").split()
    # systemd's own are there; none of those that the driver wants
    traced = {line.split()[0] for line in dom0(host, "cat /sys/kernel/tracing/enabled_functions").splitlines() if line}
    assert not traced & kernel_check.wanted().hooks.keys()
    return dom0(host, "dmesg | tail -n 5")


def test_it_refuses_a_file_system_that_nothing_is_known_of(machine: EmulatedHost) -> None:
    assert 'nothing is known of "ntfs"' in refused(machine, "", "filesystems=ext4,ntfs")


def test_it_refuses_where_functions_cannot_be_replaced(machine: EmulatedHost) -> None:
    switch = "/proc/sys/kernel/ftrace_enabled"
    said = refused(machine, f"echo 0 > {switch}; trap 'echo 1 > {switch}' EXIT;")
    assert "generic_shutdown_super() is replaced by somebody else already, or tracing is off" in said


def another(host: EmulatedHost, *changes: tuple[bytes, bytes]) -> str:
    """Where the host has the module with other texts in it, each as long as before: the driver as
    it would be on a kernel that lacks what it looks for.
    """
    content = builder.artifact("stock_driver", NOTHING).outputs["tmem.ko"].read_bytes()
    for old, new in changes:
        assert len(old) == len(new)
        assert old in content
        content = content.replace(old, new)
    host.run(DOM0, f"cat > {ANOTHER}", stdin=content)
    return ANOTHER


def test_it_refuses_a_kernel_that_has_not_all_functions(machine: EmulatedHost) -> None:
    gone = f"{LOOKED_FOR[:-1]}X"
    module = another(machine, (f"{LOOKED_FOR}\0".encode(), f"{gone}\0".encode()))
    assert f"this kernel has no {gone}(), or it is in line everywhere" in refused(machine, "", module=module)


def test_it_refuses_a_name_that_is_there_twice(machine: EmulatedHost) -> None:
    listed = dom0(machine, "awk '$2 ~ /[tT]/ && NF == 3 { print $3 }' /proc/kallsyms | sort | uniq -d")
    twice = next(name for name in listed.split() if len(name) == len(LOOKED_FOR) and name.isidentifier())
    module = another(machine, (f"{LOOKED_FOR}\0".encode(), f"{twice}\0".encode()))
    assert re.search(
        rf"\b{twice}\(\) is there \d+ times, and cannot be told apart", refused(machine, "", module=module)
    )


def test_it_refuses_a_function_that_takes_something_else(machine: EmulatedHost) -> None:
    wanted = PROTOTYPE.replace("entry", "enter")
    module = another(machine, (f"{PROTOTYPE}\0".encode(), f"{wanted}\0".encode()))
    said = refused(machine, "", module=module)
    assert f"zswap_invalidate() is {PROTOTYPE} in this kernel, not {wanted}" in said


def test_it_refuses_a_function_that_was_compiled_in_parts(machine: EmulatedHost) -> None:
    """Of what a compiler takes out of a function, this kernel has what hardly runs (.cold)."""
    module = another(machine, (b".part.0\0", b".cold\0\0\0"))
    said = refused(machine, "", module=module)
    assert "was compiled in parts: this kernel has" in said
    assert ".cold()" in said


def test_it_loads_and_says_what_it_has_replaced(machine: EmulatedHost) -> None:
    dom0(machine, f"insmod {MODULE}")
    replaced = dom0(machine, "cat /sys/kernel/tracing/enabled_functions")
    assert all(f"{name} (1)" in replaced for name in HOOKED)
    with pytest.raises(CommandError):
        dom0(machine, "rmmod tmem")


def test_dom0_is_neither_sized_nor_asked_before_it_is_suspended(machine: EmulatedHost) -> None:
    """Unless that is asked for; and XenStore, which would be told, is frozen with dom0."""
    assert "self-ballooning off" in dom0(machine, "dmesg | grep -F tmem: | tail -n 1")
    assert "xen-tmem" not in dom0(machine, "ls /sys/bus/platform/devices").split()


def test_it_refuses_functions_that_somebody_else_replaces(machine: EmulatedHost) -> None:
    """A second one, under another name, finds the first; which goes on, as the tests below show."""
    names = (b"tmem".ljust(NAME_BYTES, b"\0"), OTHER.encode().ljust(NAME_BYTES, b"\0"))
    module = another(machine, names, (b"\0selfballoon\0", b"\0selfballoom\0"), (b"\0xen-tmem\0", b"\0xen-tmen\0"))
    replaced = "cat /sys/kernel/tracing/enabled_functions"
    before = dom0(machine, replaced)
    with pytest.raises(CommandError):
        dom0(machine, f"insmod {module} selfballooning=0")
    assert "() is replaced by somebody else already, or tracing is off" in dom0(machine, "dmesg | tail -n 5")
    assert OTHER not in dom0(machine, "cut -d ' ' -f 1 /proc/modules").split()
    assert dom0(machine, replaced) == before
    assert dom0(machine, f"ls {BALLOON}").split().count("selfballoon") == 1
    assert "selfballoom" not in dom0(machine, f"ls {BALLOON}")


def test_a_file_that_is_larger_than_memory_is_read_again_without_its_disk(machine: EmulatedHost) -> None:
    found = trial(machine, "files", FILE_MIB, "/root")
    first, second, third = found["passes"]
    assert [each["same"] for each in (first, second, third)] == [True] * 3
    pages = FILE_MIB * 256
    for each in (second, third):
        assert each["hits"] > 0.9 * pages
        assert each["sectors"] < 0.02 * 8 * pages  # what else dom0 reads meanwhile
    assert found["counters"]["ephemeral.put.failed"] == found["counters"]["ephemeral.get.failed"] == 0


def test_nobody_reads_what_a_direct_write_has_replaced(machine: EmulatedHost) -> None:
    before = trial(machine, "counters")["ephemeral.get.done"]
    found = json.loads(dom0(machine, f"{programs.hand_over(machine, DOM0, 'race')} /root/raced 20"))
    assert found["stale"] == 0
    assert found["reads"] > 1000
    assert found["writes"] > 100
    assert trial(machine, "counters")["ephemeral.get.done"] - before > 1000  # else nothing was tried


def test_swapped_pages_come_back_and_leave_nothing(machine: EmulatedHost) -> None:
    # a persistent page counts as the domain's own, so it has to have less than it may; xl mem-set
    # would lower that as well
    dom0(
        machine,
        f"cd {BALLOON}; echo {LESS_KIB} > target_kb; until [ $(cat info/current_kb) -le {LESS_KIB} ]; do sleep 1; done",
    )
    dom0(machine, "mkswap -f /dev/vdc && swapon /dev/vdc")
    found = trial(machine, "swap", 240)
    assert found["wrong"] == 0
    assert found["persistent.put.done"] > 1000
    assert found["persistent.get.done"] > 1000
    dom0(machine, "swapoff /dev/vdc", 240)
    assert not [
        line for line in dom0(machine, "tmemctl list -l").splitlines() if ",PT:P" in line and ",Pc:0" not in line
    ]


def test_the_kernel_has_nothing_to_say(machine: EmulatedHost) -> None:
    said = dom0(machine, "dmesg")
    assert not [line for line in said.splitlines() if "BUG" in line or "WARNING" in line or "Oops" in line]
