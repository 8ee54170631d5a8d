"""Hosts of a lab, told so that another process can open them (campaigns/hands.py)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from campaigns.resume import Basis
from common.console import Tell
from common.needs import Needs
from lab import lifecycle
from lab.api import Host


@dataclass(frozen=True)
class LabPlace:
    """A host of an inventory. needs: what its guests' image has to have."""

    inventory: Path
    name: str
    needs: Needs

    @contextmanager
    def open(self, tell: Tell) -> Iterator[tuple[Host, Basis]]:
        """The host, after who uses it now, and what it is made from."""
        images = partial(lifecycle.artifact_images, needs=self.needs)
        with lifecycle.open_lab(self.inventory, progress=tell, wait=True, images=images, only=self.name) as lab:
            (host,) = lab.hosts
            yield host, lab.basis(host)

    def recover(self) -> None:
        """End the host's QEMU, where a killed process has left it."""
        lifecycle.recover(self.inventory, self.name)
