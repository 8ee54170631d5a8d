"""The agent in dom0: reads Xen's, dom0's and the guests' counters. Started through SSH; obeys lines
on its standard input, ends with it.

    once              one reading now
    start INTERVAL    a reading at once and every INTERVAL seconds, kept in memory
    stop              the readings since start, then the cost

Every answer ends with a line `== end`. A reading is one line of JSON: {"time": epoch seconds,
"free": pages, "domains": [{"id", "name", "cpu_ns", "pages"}], "vbd": {domid: {device number: {file:
count}}}, "tmem": what `tmemctl list -l --json` prints, or null, and then "tmem_error" says why}.
Sources: Xen's physinfo and domain list through libxenstat, and /sys/bus/xen-backend for disks. The
cost is {"cost": {"cpu_seconds", "wall_seconds", "readings"}} of this process and its children. It
is resident because starting Python takes an emulated CPU seconds.
"""

# ruff: noqa: PTH119, PTH123, PTH207
# (loading pathlib takes an emulated CPU a quarter of a second)
from __future__ import annotations

import ctypes
import glob
import json
import os
import select
import subprocess
import time

PAGE = 4096
STATISTICS = ("rd_req", "wr_req", "rd_sect", "wr_sect")


class Xenstat:
    """The few calls of libxenstat that are needed. It is found by name, since its version is
    Xen's.
    """

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
    for device in glob.glob("/sys/bus/xen-backend/devices/vbd-*"):
        _, domain, number = os.path.basename(device).split("-")
        values = {}
        for name in STATISTICS:
            try:
                with open(f"{device}/statistics/{name}") as stream:
                    values[name] = int(stream.read())
            except (OSError, ValueError):
                continue
        found.setdefault(domain, {})[number] = values
    return found


def read_tmem() -> tuple[object, str]:
    """What tmemctl prints, and "" - or None and why there is nothing."""
    try:
        done = subprocess.run(
            ["tmemctl", "list", "-l", "--json"],
            capture_output=True,
            timeout=30,
            check=False,
            stdin=subprocess.DEVNULL,
            close_fds=False,  # lets Python start it by vfork
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return None, str(error)
    if done.returncode:
        return None, done.stderr.decode(errors="replace").strip()[-300:] or f"tmemctl ended with {done.returncode}"
    try:
        return json.loads(done.stdout), ""
    except ValueError as error:
        return None, f"tmemctl printed no JSON: {error}"


def reading(xenstat: Xenstat) -> str:
    tmem, why = read_tmem()
    free, domains = xenstat.read()
    made: dict[str, object] = {"time": time.time(), "free": free, "domains": domains, "vbd": read_vbds(), "tmem": tmem}
    if why:
        made["tmem_error"] = why
    return json.dumps(made, separators=(",", ":"))


def cpu_seconds() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def answer(*lines: str) -> None:
    os.write(1, "".join(f"{line}\n" for line in (*lines, "== end")).encode())


class Sampling:
    """Readings on a beat: a late one does not shift those after it."""

    def __init__(self, xenstat: Xenstat, interval: float) -> None:
        self.xenstat = xenstat
        self.interval = interval
        self.spent = cpu_seconds()
        self.began = time.monotonic()
        self.lines: list[str] = []
        self.sample()

    def sample(self) -> None:
        self.lines.append(reading(self.xenstat))
        self.due = max(self.due_after(), time.monotonic())

    def due_after(self) -> float:
        return self.began + len(self.lines) * self.interval

    def finish(self) -> list[str]:
        wall = time.monotonic() - self.began
        cost = {"cpu_seconds": cpu_seconds() - self.spent, "wall_seconds": wall, "readings": len(self.lines)}
        return [*self.lines, json.dumps({"cost": cost})]


def serve() -> None:
    """Obey until standard input ends."""
    xenstat = Xenstat()
    answer("ready")
    sampling: Sampling | None = None
    pending = b""
    while True:
        wait = max(0.0, sampling.due - time.monotonic()) if sampling else None
        readable, _, _ = select.select([0], [], [], wait)
        if not readable:
            assert sampling is not None
            sampling.sample()
            continue
        chunk = os.read(0, 4096)
        if not chunk:
            return
        *lines, pending = (pending + chunk).split(b"\n")
        for line in lines:
            word, _, rest = line.decode().partition(" ")
            if word == "once":
                answer(reading(xenstat))
            elif word == "start":
                sampling = Sampling(xenstat, float(rest))
                answer("started")
            elif word == "stop":
                found = sampling.finish() if sampling else []
                sampling = None
                answer(*found)


if __name__ == "__main__":
    serve()
