"""The sampler, built for this machine with a made-up Xen (fake_xen.c) in the place of the real
one, and trees for it to read.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

SOURCE = Path(__file__).parents[2] / "lab/remote/sampler"
FAKE = Path(__file__).parent / "fake_xen.c"
OURS = ("main.c", "text.c", "linux.c", "report.c", "domains.c", "disks.c")
FLAGS = ("-std=gnu11", "-D_GNU_SOURCE", "-O1", "-Wall", "-Wextra", "-Werror", "-fsanitize=address,undefined")

VMSTAT = {"nr_free_pages": 17, "pgfault": 2**53 + 1, "pgmajfault": 12, "pgmajfault_late": 9, "oom_kill": 0, "pgpgin": 5}
MEMINFO = {"MemTotal": 163840, "MemFree": 4096, "Active": 20, "Active(anon)": 7, "HugePages_Total": 0}


def build(folder: Path, *, sanitized: bool = True) -> Path:
    """The program, made in the folder."""
    program = folder / "sampler"
    flags = FLAGS if sanitized else FLAGS[:-1]
    sources = [*(SOURCE / name for name in OURS), FAKE]
    subprocess.run(["cc", *flags, f"-I{SOURCE}", "-o", program, *sources, "-lm"], check=True)
    return program


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def linux_tree(root: Path) -> None:
    """/proc and /sys of a guest that has cleancache and no frontswap."""
    # longer than what the kernel gives at once
    many = "".join(f"nr_of_something_{number} {number}\n" for number in range(400))
    write(root / "proc/vmstat", many + "".join(f"{name} {value}\n" for name, value in VMSTAT.items()))
    write(root / "proc/meminfo", "".join(f"{name + ':':<16}{value:>8} kB\n" for name, value in MEMINFO.items()))
    some = "avg10=0.00 avg60=1.50 avg300=0.12"
    write(root / "proc/pressure/memory", f"some {some} total=123456\nfull {some} total=99\n")
    write(root / "proc/pressure/cpu", f"some {some} total=7\n")
    write(root / "sys/kernel/debug/cleancache/succ_gets", "41\n")
    write(root / "sys/kernel/debug/cleancache/puts", "1000\n")
    write(root / "sys/kernel/debug/zswap/stored_pages", "12\n")
    write(root / "sys/block/zram0/mm_stat", "   40960     5000    16384        0    20480        3        0        1\n")
    write(root / "sys/block/zram0/stat", "       7        0       56        0       10        0       80\n")
    swaps = "Filename\t\t\t\tType\t\tSize\tUsed\tPriority\n"
    swaps += "/dev/xvdb                              partition\t262140\t512\t-2\n"
    swaps += "/dev/ram0                              partition\t32764\t1024\t100\n"
    write(root / "proc/swaps", swaps)


def disk(root: Path, domid: int, number: int, **statistics: int) -> None:
    for name, value in statistics.items():
        write(root / f"sys/bus/xen-backend/devices/vbd-{domid}-{number}/statistics/{name}", f"{value}\n")


def xen_tree(root: Path, tmem: str | None) -> None:
    """dom0 of a host with three guests, of which one has no disk."""
    write(
        root / "xen",
        "free 1234\n0 2500000000 98304 Domain-0\n1 1000000 40960 "
        "guest1\n2 2000000 40961 guest2\n7 3 4 guest3\n9 1 2 -\n",
    )
    if tmem is not None:
        write(root / "tmem.json", tmem + "\n")
    disk(root, 2, 51712, rd_req=1, wr_req=1, rd_sect=8)
    disk(root, 1, 51728, rd_req=1, wr_req=0, rd_sect=16, wr_sect=0)
    disk(root, 1, 51712, rd_req=10, wr_req=1, rd_sect=80, wr_sect=2**40)
    write(root / "sys/bus/xen-backend/devices/vif-1-0/statistics/rd_req", "1\n")
