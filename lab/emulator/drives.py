"""Drives of an emulated host and the snapshots in them.

A PC's folder, labs/LAB/HOST/machine-DIGEST/, holds overlays over the images (so images are
never written), links to what QEMU boots, and machine.json, written last: a folder without it was
being made when its controller died, and is made again. Snapshots are QEMU's internal ones: the
PC's memory and the state of every drive, in the drives. Going back to one drops what was
written since, so drives grow by one cell's writes at most.

machine.json (schema 1): spec (what the PC is made of), snapshots {tag: what is known of it}.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from common import files
from common.errors import LabError, MissingError
from lab.emulator import monitor
from lab.emulator.accelerator import boot_id
from lab.emulator.process import Emulator, Spec

SCHEMA = 1
KEPT_PCS = 4
"""PCs of one host whose drives and snapshots are kept; the one used longest ago goes first."""

SNAPSHOT_SECONDS = 300.0

LEAST_FREE = 16 * 2**20
"""Bytes of free space below which a failure is put down to it."""


def no_space(folder: Path, why: str) -> MissingError:
    return MissingError(
        "there is no space for the emulated host's drives and snapshots",
        where=str(folder),
        why=why,
        remedy="Free space, or set OVERCOMMIT_CACHE to a folder on a larger disk; then run this again.",
    )


@dataclass(frozen=True)
class Drives:
    """The folder of one PC's drives. On disk a PC is called as QEMU calls it, a machine."""

    folder: Path
    spec: Spec

    @property
    def _manifest(self) -> Path:
        return self.folder / "machine.json"

    def ensure(self) -> None:
        """Make the drives when they are not there or not whole. QEMU must not run."""
        if self._read() is not None and self._sound():
            os.utime(self.folder)
            return
        shutil.rmtree(self.folder, ignore_errors=True)
        _forget_old(self.folder, self.spec)
        self.folder.mkdir(parents=True)
        images = self.spec.images
        links = {
            "hypervisor": images.hypervisor,
            "dom0-kernel": images.dom0_kernel,
            "dom0-initrd": images.dom0_initrd,
            "host-image": images.host_disk,
            "guest-image": images.guest_disk,
        }
        for name, target in links.items():
            (self.folder / name).symlink_to(target)
        for name, backing in self.spec.drives().items():
            options = ["-b", backing, "-F", "qcow2"] if backing else []
            size = [] if backing else [f"{self.spec.swap_mib}M"]
            _qemu_img(["create", "-q", "-f", "qcow2", *options, f"{name}.qcow2", *size], self.folder)
        self._write({})

    def snapshots(self) -> dict[str, dict[str, Any]]:
        """Tag -> what was noted when the snapshot was made. Those of before this machine was booted
        are not to be relied on: QEMU does not wait for the disk, and the power may have failed.
        """
        data = self._read()
        if data is None or data.get("controller") != boot_id():
            return {}
        return dict(data["snapshots"])

    def save(self, emulator: Emulator, tag: str, notes: dict[str, object]) -> float:
        """Take a snapshot of the running PC. Returns the seconds it took. LabError with QEMU's
        words when it fails.
        """
        began = time.monotonic()
        self._write({key: value for key, value in self.snapshots().items() if key != tag})
        said = monitor.human(emulator.monitor, f"savevm {tag}", timeout=SNAPSHOT_SECONDS).strip()
        if said:
            monitor.human(emulator.monitor, f"delvm {tag}")
            emulator.require_running()
            # QEMU itself only says that there was an input or output error.
            if "space" in said.lower() or shutil.disk_usage(self.folder).free < LEAST_FREE:
                raise no_space(self.folder, said)
            raise LabError("QEMU could not take a snapshot", where=f"savevm {tag}", why=said)
        self._write(self.snapshots() | {tag: notes})
        return time.monotonic() - began

    def taken_mib(self) -> int:
        """What they take on the disk."""
        return files.taken(self.folder) // 2**20

    def remove(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    def _read(self) -> dict[str, Any] | None:
        try:
            data = json.loads(self._manifest.read_text())
        except (OSError, ValueError):
            return None
        if not isinstance(data, dict):
            return None
        return data if data.get("schema") == SCHEMA and isinstance(data.get("snapshots"), dict) else None

    def _write(self, snapshots: dict[str, dict[str, Any]]) -> None:
        described = asdict(self.spec) | {"images": dict(self.spec.images.keys)}
        text = json.dumps(
            {"schema": SCHEMA, "controller": boot_id(), "spec": described, "snapshots": snapshots}, indent=1
        )
        files.replace(self._manifest, text, durable=True)

    def _sound(self) -> bool:
        """Whether all drives are there, and whole: a QEMU that was killed may leave leaks
        (harmless), not errors.
        """
        for name in self.spec.drives():
            path = self.folder / f"{name}.qcow2"
            if not path.exists():
                return False
            done = subprocess.run(["qemu-img", "check", "-q", str(path)], capture_output=True, check=False)
            if done.returncode not in {0, 3}:
                return False
        return True


def _forget_old(new: Path, spec: Spec) -> None:
    """Remove PCs made of other images, and those used longest ago, to make room for a new
    one.
    """
    others = sorted(new.parent.glob("machine-*"), key=lambda each: each.stat().st_mtime, reverse=True)
    kept = 0
    for folder in others:
        try:
            keys = json.loads((folder / "machine.json").read_text())["spec"]["images"]
        except (OSError, ValueError, KeyError, TypeError):
            keys = None
        if keys == dict(spec.images.keys) and kept < KEPT_PCS - 1:
            kept += 1
        else:
            shutil.rmtree(folder, ignore_errors=True)


def _qemu_img(arguments: list[str], folder: Path) -> None:
    try:
        done = subprocess.run(["qemu-img", *arguments], cwd=folder, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise MissingError("qemu-img is missing", remedy="Install qemu-utils, or run ./inv setup.") from None
    if done.returncode:
        raise LabError(
            "a drive could not be made", where=f"{folder}: qemu-img {' '.join(arguments)}", why=done.stderr.strip()
        )
