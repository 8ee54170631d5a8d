#!/usr/bin/env python3
"""Reads Xen's, dom0's and the guests' counters in dom0 and prints one JSON line per reading. Runs in dom0, as root.

    sampler.py once                     one reading
    sampler.py INTERVAL FILE            a reading every INTERVAL seconds appended to FILE until SIGTERM; the last line is the cost

It stays resident and starts one small process per reading (tmemctl), because starting Python costs an emulated CPU a second.

A reading: {"time": epoch seconds, "free": pages, "domains": [{"id", "name", "cpu_ns", "pages"}], "vbd": {domid: {device number: {file: count}}},
"tmem": what `tmemctl list -l --json` prints, or null, and then "tmem_error" says why}. Sources: Xen's physinfo and domain info through libxenstat;
/sys/bus/xen-backend for disks. The cost: {"cost": {"cpu_seconds", "wall_seconds", "readings"}}, this process and its children.
"""

# ruff: noqa: PTH119, PTH123, PTH207
# (loading pathlib takes an emulated CPU a quarter of a second)
from __future__ import annotations

import ctypes
import ctypes.util
import glob
import json
import os
import signal
import subprocess
import sys
import time

PAGE = 4096
STATISTICS = ("rd_req", "wr_req", "rd_sect", "wr_sect", "f_req", "oo_req")


class Xenstat:
    """The few calls of libxenstat that are needed. It is found by name, since its version is Xen's."""

    def __init__(self) -> None:
        found = sorted(glob.glob("/usr/lib/*/libxenstat.so*"))
        if not found:
            raise OSError("libxenstat is not installed")
        lib = ctypes.CDLL(found[0])
        pointer, number, text = ctypes.c_void_p, ctypes.c_ulonglong, ctypes.c_char_p
        signatures = {
            "xenstat_init": (pointer, []),
            "xenstat_get_node": (pointer, [pointer, ctypes.c_uint]),
            "xenstat_free_node": (None, [pointer]),
            "xenstat_node_free_mem": (number, [pointer]),
            "xenstat_node_num_domains": (ctypes.c_uint, [pointer]),
            "xenstat_node_domain_by_index": (pointer, [pointer, ctypes.c_uint]),
            "xenstat_domain_id": (ctypes.c_uint, [pointer]),
            "xenstat_domain_name": (text, [pointer]),
            "xenstat_domain_cpu_ns": (number, [pointer]),
            "xenstat_domain_cur_mem": (number, [pointer]),
        }
        for name, (result, arguments) in signatures.items():
            function = getattr(lib, name)
            function.restype = result
            function.argtypes = arguments
        self.lib = lib
        self.handle = lib.xenstat_init()
        if not self.handle:
            raise OSError("libxenstat cannot talk to Xen: is this dom0?")

    def read(self) -> tuple[int, list[dict[str, object]]]:
        """Free pages of the host, and the domains."""
        lib = self.lib
        node = lib.xenstat_get_node(self.handle, 0)
        if not node:
            raise OSError("libxenstat has no answer from Xen")
        try:
            domains = []
            for index in range(lib.xenstat_node_num_domains(node)):
                domain = lib.xenstat_node_domain_by_index(node, index)
                name = lib.xenstat_domain_name(domain)
                domains.append(
                    {
                        "id": lib.xenstat_domain_id(domain),
                        "name": name.decode() if name else "",
                        "cpu_ns": lib.xenstat_domain_cpu_ns(domain),
                        "pages": lib.xenstat_domain_cur_mem(domain) // PAGE,
                    }
                )
            return lib.xenstat_node_free_mem(node) // PAGE, domains
        finally:
            lib.xenstat_free_node(node)


def read_vbds() -> dict[str, dict[str, dict[str, int]]]:
    """Domain id -> device number -> statistics of its back end."""
    found: dict[str, dict[str, dict[str, int]]] = {}
    for folder in glob.glob("/sys/bus/xen-backend/devices/vbd-*"):
        _, domain, device = os.path.basename(folder).split("-")
        values = {}
        for name in STATISTICS:
            try:
                with open(f"{folder}/statistics/{name}") as stream:
                    values[name] = int(stream.read())
            except (OSError, ValueError):
                continue
        found.setdefault(domain, {})[device] = values
    return found


def read_tmem() -> tuple[object, str]:
    """What tmemctl prints, and "" - or None and why there is nothing."""
    try:
        done = subprocess.run(
            ["tmemctl", "list", "-l", "--json"], capture_output=True, timeout=30, check=False, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return None, str(error)
    if done.returncode:
        return None, done.stderr.decode(errors="replace").strip()[-300:] or f"tmemctl ended with {done.returncode}"
    try:
        return json.loads(done.stdout), ""
    except ValueError as error:
        return None, f"tmemctl printed no JSON: {error}"


def reading(xenstat: Xenstat) -> dict[str, object]:
    tmem, why = read_tmem()
    free, domains = xenstat.read()
    made: dict[str, object] = {"time": time.time(), "free": free, "domains": domains, "vbd": read_vbds(), "tmem": tmem}
    if why:
        made["tmem_error"] = why
    return made


def cpu_seconds() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def stop(_number: int, _frame: object) -> None:
    raise SystemExit(0)


def sample(interval: float, path: str) -> None:
    """Read until SIGTERM. Readings keep to the beat: a late one does not shift those after it."""
    signal.signal(signal.SIGTERM, stop)
    xenstat = Xenstat()
    spent, began, count = cpu_seconds(), time.monotonic(), 0
    with open(path, "w") as out:
        try:
            while True:
                json.dump(reading(xenstat), out, separators=(",", ":"))
                out.write("\n")
                out.flush()
                count += 1
                pause = began + count * interval - time.monotonic()
                if pause > 0:
                    time.sleep(pause)
        finally:
            wall = time.monotonic() - began
            cost = {"cpu_seconds": cpu_seconds() - spent, "wall_seconds": wall, "readings": count}
            out.write("\n" + json.dumps({"cost": cost}) + "\n")


def main() -> None:
    if sys.argv[1:] == ["once"]:
        print(json.dumps(reading(Xenstat())))
    elif len(sys.argv) == 3:
        sample(float(sys.argv[1]), sys.argv[2])
    else:
        raise SystemExit(f"usage: {sys.argv[0]} once | INTERVAL FILE")


if __name__ == "__main__":
    main()
