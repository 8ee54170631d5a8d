"""What a host was when a cell ran: the parts of env.json that only the host can tell. An
allow-list: no environment, no keys, no addresses.

Everything comes from one command per machine, in sections, and is parsed here; a figure that a
machine does not have is None.
"""

from __future__ import annotations

import hashlib
import math
import platform
import re
import time
from collections.abc import Mapping
from pathlib import Path

from lab.remote import scripts

_SECTION = "== "

DOM0_FIXED = scripts.command("provenance.sh", "dom0", "fixed")
GUEST_FIXED = scripts.command("provenance.sh", "guest", "fixed")
"""What does not change between two resets: asked once per known state."""

DOM0_CHANGING = scripts.command("provenance.sh", "dom0", "changing")
GUEST_CHANGING = scripts.command("provenance.sh", "guest", "changing")
"""What a policy or a workload may have changed: asked for every cell."""

HASHED_MIB, HASHED_TIMES = 16, 5
"""A tenth of a second or two in all."""

_XEN_KEYS = [
    "nr_cpus",
    "cores_per_socket",
    "threads_per_core",
    "cpu_mhz",
    "hw_caps",
    "virt_caps",
    "total_memory",
    "free_memory",
    "xen_major",
    "xen_minor",
    "xen_extra",
    "xen_version",
    "xen_caps",
    "xen_scheduler",
    "xen_pagesize",
    "xen_changeset",
    "xen_commandline",
    "cc_compiler",
    "cc_compile_date",
    "build_id",
]


def _sections(text: str) -> dict[str, str]:
    parts = re.split(rf"^{_SECTION}(.+)$", text, flags=re.MULTILINE)
    return {title: body.strip("\n") for title, body in zip(parts[1::2], parts[2::2], strict=True)}


def _table(text: str, separator: str) -> dict[str, str]:
    rows = (line.partition(separator) for line in text.splitlines())
    return {key.strip(): value.strip() for key, found, value in rows if found}


def _machine(sections: Mapping[str, str]) -> dict[str, object]:
    """What is fixed of dom0 and guests alike."""
    cpu = _table(sections.get("cpu", ""), ":")
    digest = sections.get("config", "").split()
    return {
        "kernel": sections.get("uname") or None,
        "kernel_command_line": sections.get("cmdline") or None,
        "kernel_config_sha256": digest[0] if digest else None,
        "memory": _table(sections.get("meminfo", ""), ":"),
        "cpu": {"model": cpu.get("model name"), "microcode": cpu.get("microcode")},
        "disks": sections.get("disks", "").splitlines(),
    }


def parse_dom0_fixed(text: str) -> dict[str, object]:
    """What DOM0_FIXED printed: a machine, its packages, and `xen`."""
    sections = _sections(text)
    info = _table(sections.get("xen", ""), ":")
    xen = {
        # dom0's, which Xen boots with itself: cells that tell the same ran on one boot of the host.
        "boot_id": sections.get("boot") or None,
        "info": {key: info.get(key) for key in _XEN_KEYS},
        "log_head": sections.get("xen log", "").splitlines(),
    }
    return _machine(sections) | {"packages": _table(sections.get("packages", ""), " "), "xen": xen}


def parse_guest_fixed(text: str) -> dict[str, object]:
    """What GUEST_FIXED printed."""
    return _machine(_sections(text))


def parse_changing(text: str) -> dict[str, object]:
    """What DOM0_CHANGING or GUEST_CHANGING printed.

    clock_offset_s: the machine's clock less the controller's, in seconds; an emulated host's clock
    goes on from its snapshot.
    driver: its parameters as the kernel shows them, {} when it is not loaded.
    """
    sections = _sections(text)
    clock = sections.get("clock", "")
    sysctl = _table(sections.get("sysctl", ""), ":")
    found: dict[str, object] = {
        "clock_offset_s": round(float(clock) - time.time(), 3) if clock else None,
        "sysctl": {key.replace("/", "."): value for key, value in sysctl.items()},
    }
    if "domains" in sections:
        return found | {"domains": sections["domains"].splitlines()}
    driver = _table(sections.get("driver", ""), ":")
    return found | {
        "swaps": sections.get("swaps", "").splitlines(),
        "driver": {Path(key).name: value for key, value in driver.items()},
        "selfballoon": _table(sections.get("selfballoon", ""), ":"),
    }


def controller() -> dict[str, object]:
    """The machine that the testbed runs on; for an emulated host it is the hardware."""
    cpuinfo = _table(_read("/proc/cpuinfo").split("\n\n")[0], ":")
    vulnerabilities = Path("/sys/devices/system/cpu/vulnerabilities")
    found = sorted(vulnerabilities.iterdir()) if vulnerabilities.is_dir() else []
    governor = _read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor").strip()
    memory = _table(_read("/proc/meminfo"), ":")
    return {
        "kernel": platform.release(),
        "distribution": _table(_read("/etc/os-release"), "=").get("PRETTY_NAME", "").strip('"') or None,
        "cpu_model": cpuinfo.get("model name"),
        "microcode": cpuinfo.get("microcode"),
        "cpus": _read("/proc/cpuinfo").count("processor\t:"),
        "governor": governor or None,
        "memory_total": memory.get("MemTotal"),
        "vulnerabilities": {each.name: _read(str(each)).strip() for each in found},
        "load": _read("/proc/loadavg").split()[:3],
        "hash_mib_per_s": round(speed(), 1),
    }


def speed() -> float:
    """MiB of zeros that this machine hashes in a second, by SHA-256: the best of a few times, so
    that other work beside it does not count. What it tells is whether the machine itself is faster
    or slower than in another cell.
    """
    piece, best = bytes(HASHED_MIB << 20), math.inf
    for _ in range(HASHED_TIMES):
        began = time.perf_counter()
        hashlib.sha256(piece).digest()
        best = min(best, time.perf_counter() - began)
    return HASHED_MIB / best


def _read(path: str) -> str:
    try:
        return Path(path).read_text(errors="replace")
    except OSError:
        return ""
