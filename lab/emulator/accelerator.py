"""Which accelerator QEMU gets: KVM where it really runs something, else software emulation (tcg).

/dev/kvm may exist, open and create a machine, and still run nothing: nested set-ups hang or abort
on the first instructions. So a boot sector of a few bytes is run under KVM, below a firmware, with
a time limit; it has to end QEMU with a code of its own. The answer is kept for as long as the
machine stays up. KVM that ran the payload and then no host is remembered longer: for this machine,
kernel and QEMU.
"""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import subprocess
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from common import files
from common.errors import LabError, MissingError
from lab import paths

Accelerator = Literal["kvm", "tcg"]

QEMU = "qemu-system-x86_64"
DEVICE = Path("/dev/kvm")
PROBE_SECONDS = 15.0
LATE = "a tiny payload did not end within"

SIGNS = (
    (r"permission denied|not permitted", "KVM is there, but this user may not use it"),
    (r"no such (file|device)", "there is a /dev/kvm, but no KVM behind it"),
    (r"resource busy", "KVM is there, but another hypervisor has the processor's virtualisation"),
    (r"cannot allocate memory|cannot set up guest memory", "KVM is there, but there was no memory to try it"),
    (
        r"msr|cpuid|host doesn't support",
        "KVM is there, but broken: it lacks a part of the processor that QEMU sets up, as where KVM is nested",
    ),
    (
        r"internal error|emulation failure|entry failed|run failed",
        "KVM is there, but broken: it stops on the first instructions, as where KVM is nested",
    ),
)
"""What QEMU's words about KVM mean. (pattern, a clause for people), the first that is found."""

PASSING = r"resource busy|cannot allocate memory|cannot set up guest memory"
"""Of these, what the next try may not meet again."""

_TELLING = r"error|fail|assert|denied|busy|cannot|could not|not "

_SAID = "; QEMU said: "

_VALUE = 0x2A
_EXIT_PORT = 0xF4
_EXIT_CODE = (_VALUE << 1) | 1
"""What QEMU's isa-debug-exit turns the value into."""


@dataclass(frozen=True)
class Choice:
    """The accelerator chosen, and why, in a clause."""

    accelerator: Accelerator
    why: str


def boot_sector() -> bytes:
    """512 bytes that switch to protected mode and back to prove more than a firmware does, then
    write to the exit port.

    16-bit code at 0x7c00: cli; xor ax,ax; mov ds,ax; lgdt; set CR0.PE; clear CR0.PE; mov al,VALUE;
    out PORT,al; hlt.
    """
    gdt_pointer = 0x7C00 + 0x40
    code = bytes([0xFA, 0x31, 0xC0, 0x8E, 0xD8])
    code += bytes([0x0F, 0x01, 0x16]) + gdt_pointer.to_bytes(2, "little")  # lgdt [gdt_pointer]
    code += bytes([0x0F, 0x20, 0xC0, 0x66, 0x83, 0xC8, 0x01, 0x0F, 0x22, 0xC0])  # mov eax,cr0; or eax,1; mov cr0,eax
    code += bytes([0x66, 0x83, 0xE0, 0xFE, 0x0F, 0x22, 0xC0])  # and eax,~1; mov cr0,eax
    code += bytes([0xB0, _VALUE, 0xE6, _EXIT_PORT, 0xF4])  # mov al,VALUE; out PORT,al; hlt
    code = code.ljust(0x40, b"\x90")
    code += (7).to_bytes(2, "little") + (0x7C50).to_bytes(4, "little")  # GDT of a null entry, at 0x7c50
    return code.ljust(510, b"\x00") + b"\x55\xaa"


def runs(accelerator: Accelerator, seconds: float = PROBE_SECONDS) -> tuple[bool, str]:
    """Whether QEMU runs the boot sector with this accelerator within the time, and what was seen:
    where it ended otherwise, its own words.
    """
    cpu = "host" if accelerator == "kvm" else "qemu64"
    with tempfile.TemporaryDirectory(dir=paths.tmp()) as folder:
        image = Path(folder) / "boot.img"
        image.write_bytes(boot_sector())
        command = [
            QEMU,
            "-accel",
            accelerator,
            "-cpu",
            cpu,
            "-m",
            "16",
            "-nodefaults",
            "-display",
            "none",
            "-no-reboot",
        ]
        # By its name alone: QEMU gives commas of a path a meaning.
        command += ["-drive", f"file={image.name},format=raw,if=ide", "-boot", "c"]
        command += ["-device", f"isa-debug-exit,iobase={_EXIT_PORT:#x},iosize=0x1"]
        try:
            done = subprocess.run(
                command, capture_output=True, timeout=seconds, check=False, stdin=subprocess.DEVNULL, cwd=folder
            )
        except subprocess.TimeoutExpired:
            return False, f"{LATE} {seconds:.0f} s"
        except FileNotFoundError:
            raise MissingError(
                f"{QEMU} is missing", remedy="Install the package qemu-system-x86 (Debian's name), or run ./inv setup."
            ) from None
    if done.returncode == _EXIT_CODE:
        return True, "a tiny payload ran"
    return False, telling(done.stderr.decode(errors="replace")) or f"nothing, and ended with {done.returncode}"


def telling(words: str) -> str:
    """The line of QEMU's words that says why: the first of an error, else the last. Warnings are of
    what it goes on without.
    """
    lines = [line.strip().removeprefix(f"{QEMU}: ") for line in words.splitlines() if line.strip()]
    lines = [line for line in lines if not line.startswith("warning:")] or lines
    return next((line for line in lines if re.search(_TELLING, line, re.IGNORECASE)), lines[-1] if lines else "")


def meaning(seen: str) -> str:
    """Why KVM is not taken, in a clause for people, and what was seen of it."""
    if seen.startswith(LATE):
        return f"KVM is there, but it hangs, or this machine was too busy: {seen}"
    for pattern, clause in SIGNS:
        if re.search(pattern, seen, re.IGNORECASE):
            return f"{clause}{_SAID}{seen}"
    return f"KVM is there, but does not run a tiny payload{_SAID}{seen}"


def brief(why: str) -> str:
    """The same without QEMU's words, which `./inv doctor` has."""
    return why.partition(_SAID)[0]


def ran_no_host(error: LabError) -> str:
    """The same of KVM that ran the payload, and then no host."""
    said = telling(error.why)
    return f"KVM is there, but cannot run Xen and guests in it: {error.what}" + (f" ({said})" if said else "")


def choose(wanted: Literal["auto", "kvm", "tcg"] = "auto") -> Choice:
    """The accelerator to use. MissingError when KVM is demanded and does not work."""
    if wanted == "tcg":
        return Choice("tcg", "the inventory says so")
    problem = _kvm_problem()  # asked each time: it may have been mended
    choice = _distrusted() or (Choice("tcg", problem) if problem is not None else _kept() or _probe())
    if wanted == "kvm" and choice.accelerator != "kvm":
        raise MissingError(
            "KVM does not work on this machine",
            where="lab_accelerator: kvm",
            why=choice.why,
            remedy=f"Say lab_accelerator: auto in the inventory, or use a machine with KVM. {try_again()}".strip(),
        )
    return choice


def distrust_kvm(why: str) -> None:
    """Remember that KVM ran the payload but not a host: as long as machine, kernel and QEMU are
    these.
    """
    seen = {"machine": _machine(), "why": why, "on": time.strftime("%Y-%m-%d", time.gmtime())}
    files.replace(_distrust(), json.dumps(seen))


def try_again() -> str:
    """How to have KVM tried again after it was distrusted; empty when it was not."""
    return f"To have KVM tried again, remove {_distrust()}." if _distrusted() else ""


def qemu_version() -> str:
    """The first line of `qemu-system-x86_64 --version`."""
    try:
        done = subprocess.run([QEMU, "--version"], capture_output=True, text=True, check=True)
    except FileNotFoundError:
        raise MissingError(
            f"{QEMU} is missing", remedy="Install the package qemu-system-x86 (Debian's name), or run ./inv setup."
        ) from None
    return done.stdout.splitlines()[0]


def boot_id() -> str:
    """Identifies this boot of the controller."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def _kvm_problem() -> str | None:
    """Why KVM is out of the question without trying; None when it is worth a try."""
    try:
        os.close(os.open(DEVICE, os.O_RDWR | os.O_CLOEXEC))
    except FileNotFoundError:
        return f"this machine offers no KVM: there is no {DEVICE}"
    except PermissionError as error:
        return f"KVM is there, but this user may not use it: {DEVICE} cannot be opened ({error.strerror})"
    except OSError as error:  # a device without a driver, as in a container
        return f"there is a {DEVICE}, but no KVM behind it: it cannot be opened ({error.strerror})"
    return None


def _probe() -> Choice:
    works, seen = runs("kvm")
    choice = Choice("kvm", f"under KVM, {seen}") if works else Choice("tcg", meaning(seen))
    # A busy machine may have been late, and what was lacking may be there the next time.
    if works or not (seen.startswith(LATE) or re.search(PASSING, seen, re.IGNORECASE)):
        _keep(choice)
    return choice


def _state() -> Path:
    return paths.cache() / "accelerator.json"


def _distrust() -> Path:
    return paths.cache() / "kvm-distrusted.json"


def _distrusted() -> Choice | None:
    """The choice that a host which KVM could not run has left, if machine, kernel and QEMU are the
    same still.
    """
    try:
        seen = json.loads(_distrust().read_text())
        if seen["machine"] != _machine():
            return None
        return Choice("tcg", f"{seen['why']} (seen on {seen['on']}, and remembered for this machine, kernel and QEMU)")
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _machine() -> dict[str, str]:
    """What decides whether KVM can run a host: the processor, the kernel, QEMU. A cache may be
    shared between machines.
    """
    program = shutil.which(QEMU)
    changed = str(Path(program).stat().st_mtime_ns) if program else ""
    return {"node": platform.node(), "processor": _processor(), "kernel": platform.release(), "qemu": changed}


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")


def _identity() -> dict[str, str]:
    # words: a choice of before its reason was put into ours is made again
    return {"boot_id": boot_id(), "qemu": shutil.which(QEMU) or "", "user": str(os.geteuid()), "words": "ours"}


def _kept() -> Choice | None:
    try:
        data = json.loads(_state().read_text())
        return Choice(**data["choice"]) if data["identity"] == _identity() else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _keep(choice: Choice) -> None:
    files.replace(_state(), json.dumps({"identity": _identity(), "choice": asdict(choice)}))
