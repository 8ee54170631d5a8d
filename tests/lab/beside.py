"""A host beside the lab's, whose guests have an image or a kernel that the demo's have not."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from common.needs import Needs
from lab import lifecycle
from lab.build import builder
from lab.hosts.emulated import EmulatedHost
from lab.lifecycle import OpenLab


@contextmanager
def host_beside(lab: OpenLab, inventory_path: Path, needs: Needs, suffix: str) -> Iterator[EmulatedHost]:
    """Made of what the needs build, and destroyed at the end. The lab's own is stopped: one at a
    time. It has a folder of its own, since a folder keeps the snapshots of one image only.
    """
    plain = lab.hosts[0]
    assert isinstance(plain, EmulatedHost)
    plain.stop()
    builder.ensure(lifecycle.artifacts_for(inventory_path, needs), needs=needs)
    images = partial(lifecycle.artifact_images, plain.settings, needs)
    host = EmulatedHost(lab.name, f"{plain.name}-{suffix}", plain.settings, images, partial(print, file=sys.stderr))
    try:
        yield host
    finally:
        host.destroy()
