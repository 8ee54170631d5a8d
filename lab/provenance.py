"""What a host was when a cell ran: the parts of env.json that only the host can tell. An allow-list: no environment, no keys, no addresses.

Everything comes from one command per machine, in sections, and is parsed here; a figure that a machine does not have is None.
"""

from __future__ import annotations

import hashlib
import platform
import re
import time
from collections.abc import Mapping
from pathlib import Path

_SECTION = "== "

_COMMON = r"""
echo "== clock"; date +%s.%N
echo "== uname"; uname -srvm
echo "== cmdline"; cat /proc/cmdline
echo "== meminfo"; grep -E '^(MemTotal|SwapTotal|CommitLimit):' /proc/meminfo
echo "== sysctl"
cd /proc/sys && grep -s . vm/swappiness vm/overcommit_memory vm/overcommit_ratio vm/vfs_cache_pressure vm/dirty_ratio \
    vm/dirty_background_ratio vm/min_free_kbytes vm/watermark_scale_factor vm/page-cluster vm/zone_reclaim_mode \
    kernel/numa_balancing kernel/randomize_va_space
cd /
echo "== cpu"; grep -m 3 -E '^(model name|microcode|flags)' /proc/cpuinfo
echo "== disks"; for disk in /sys/block/*vd*; do [ -e "$disk" ] && echo "$(basename $disk) $(cat $disk/size) $(cat $disk/queue/scheduler 2> /dev/null)"; done
"""

DOM0_SCRIPT = (
    _COMMON
    + r"""
echo "== config"; sha256sum "/boot/config-$(uname -r)" 2> /dev/null
echo "== xen"; xl info
echo "== xen log"; xl dmesg | head -n 60
echo "== domains"; xl list
echo "== packages"; dpkg-query -W -f '${Package} ${Version}\n' 'xen-utils*' 'libxen*' linux-image-'*' systemd openssh-server sysstat 2> /dev/null | grep ' .'
true
"""
)

GUEST_SCRIPT = (
    _COMMON
    + r"""
echo "== config"; gunzip -c /proc/config.gz 2> /dev/null | sha256sum
echo "== swaps"; cat /proc/swaps
echo "== driver"; grep -s . /sys/module/tmem/parameters/*
echo "== selfballoon"; cd /sys/devices/system/xen_memory/xen_memory0/selfballoon 2> /dev/null && grep -s . *
true
"""
)

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
    """What is told of dom0 and guests alike."""
    cpu = _table(sections.get("cpu", ""), ":")
    digest = sections.get("config", "").split()
    clock = sections.get("clock", "")
    return {
        "kernel": sections.get("uname") or None,
        "kernel_command_line": sections.get("cmdline") or None,
        "kernel_config_sha256": digest[0] if digest else None,
        "memory": _table(sections.get("meminfo", ""), ":"),
        "sysctl": {key.replace("/", "."): value for key, value in _table(sections.get("sysctl", ""), ":").items()},
        "cpu": {"model": cpu.get("model name"), "microcode": cpu.get("microcode")},
        "disks": sections.get("disks", "").splitlines(),
        "clock_offset_s": round(float(clock) - time.time(), 3) if clock else None,
    }


def parse_dom0(text: str) -> dict[str, object]:
    """Keys `xen`, `dom0` of what DOM0_SCRIPT printed. clock_offset_s: dom0's clock less the controller's, in seconds."""
    sections = _sections(text)
    info = _table(sections.get("xen", ""), ":")
    log = sections.get("xen log", "")
    return {
        "xen": {
            "info": {key: info.get(key) for key in _XEN_KEYS},
            "log_head": log.splitlines(),
            "domains": sections.get("domains", "").splitlines(),
        },
        "dom0": _machine(sections) | {"packages": _table(sections.get("packages", ""), " ")},
    }


def parse_guest(text: str) -> dict[str, object]:
    """What GUEST_SCRIPT printed. driver: its parameters as the kernel shows them, {} when it is not loaded."""
    sections = _sections(text)
    driver = _table(sections.get("driver", ""), ":")
    return _machine(sections) | {
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
    }


def file_sha256(path: Path) -> str | None:
    """Digest of a file; None when it cannot be read."""
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError:
        return None


def _read(path: str) -> str:
    try:
        return Path(path).read_text(errors="replace")
    except OSError:
        return ""
