"""What this machine can do, what is missing, and what to do about it."""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from common import files
from common.errors import MissingError, UserError
from lab import paths
from lab.build import packages, sources
from lab.build.variables import read_variables
from lab.emulator import accelerator

CACHE_MIB = 14 * 1024
"""Space of the cache: a full build with its leftovers, and an emulated host with its snapshots."""

RESULTS_MIB = 512
MEMORY_MIB = 4 * 1024
"""Memory of the demo's emulated host with QEMU's own, beside a browser."""

State = Literal["ok", "note", "missing"]


@dataclass(frozen=True)
class Diagnosis:
    """One thing looked at. state `missing`: the demo cannot run; `note`: it can, but not as well as
    it might.
    """

    check: str
    state: State
    found: str
    remedy: str = ""


def examine() -> list[Diagnosis]:
    """Every check, in the order in which a user would mend things. Changes nothing but a remembered
    choice of accelerator.
    """
    found: list[Diagnosis] = []
    for check in (_system, _programs, _privileges, _memory, _space, _accelerator, _mirror):
        try:
            found.extend(check())
        except UserError as error:
            found.append(Diagnosis(check.__name__.strip("_"), "missing", error.what, error.remedy))
    return found


def _system() -> Iterator[Diagnosis]:
    try:
        release = platform.freedesktop_os_release()
    except OSError:
        release = {}
    name = release.get("PRETTY_NAME", platform.system())
    like = {release.get("ID", ""), *release.get("ID_LIKE", "").split()}
    if platform.machine() != "x86_64":
        yield Diagnosis(
            "processor", "missing", platform.machine(), "Xen's PV guests and the images are x86-64: use such a machine."
        )
    state: State = "ok" if "debian" in like else "note"
    yield Diagnosis(
        "system",
        state,
        name,
        "" if state == "ok" else "Packages are installed on Debian and Ubuntu only; here, by hand.",
    )
    yield Diagnosis("processors", "ok", str(os.cpu_count()))


def _programs() -> Iterator[Diagnosis]:
    lacking = packages.missing()
    if lacking:
        names = ", ".join(sorted(set(lacking.values())))
        yield Diagnosis("programs", "missing", f"without {', '.join(lacking)}", f"./inv setup, or install {names}")
    else:
        yield Diagnosis("programs", "ok", f"all {len(packages.needed())}")


def _privileges() -> Iterator[Diagnosis]:
    from lab.build import ansible

    try:
        yield Diagnosis("privileges", "ok", "sudo" if ansible.needs_sudo() else "root")
    except MissingError as error:
        yield Diagnosis("privileges", "missing", error.what, error.remedy)


def _memory() -> Iterator[Diagnosis]:
    lines = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
    available = int(lines["MemAvailable"].split()[0]) // 1024
    enough = available >= MEMORY_MIB
    yield Diagnosis(
        "memory",
        "ok" if enough else "note",
        f"{available} MiB available",
        "" if enough else f"The demo wants {MEMORY_MIB} MiB.",
    )


def _space() -> Iterator[Diagnosis]:
    for name, folder, wanted in (("cache", paths.cache(), CACHE_MIB), ("results", paths.REPO, RESULTS_MIB)):
        free = shutil.disk_usage(folder).free // 2**20
        used = files.taken(folder) >> 20 if name == "cache" else 0  # what is there already needs no more space
        enough = free + used >= wanted
        remedy = "Free space" + (", or set OVERCOMMIT_CACHE to a folder on a larger disk." if name == "cache" else ".")
        yield Diagnosis(
            f"space for {name}",
            "ok" if enough else "missing",
            f"{free} MiB free at {folder}" + (f", {used} MiB used" if used else ""),
            "" if enough else f"{wanted} MiB are needed. {remedy}",
        )


def _accelerator() -> Iterator[Diagnosis]:
    if shutil.which(accelerator.QEMU) is None:
        return
    choice = accelerator.choose()
    works = choice.accelerator == "kvm"
    remedy = (
        ""
        if works
        else "Software emulation works, 16 to 30 times slower; for KVM, run on hardware that lends it to this user. "
        + accelerator.try_again()
    ).strip()
    yield Diagnosis("accelerator", "ok" if works else "note", f"{choice.accelerator}: {choice.why}", remedy)


def _mirror() -> Iterator[Diagnosis]:
    variables = read_variables()
    sources.mirror(variables.debian_mirror or None, variables.security_mirror or None)
    yield Diagnosis("Debian mirror", "ok", "configured" if variables.debian_mirror else "from apt's configuration")
