"""The guest driver on Debian 12's Linux 6.1, which has frontswap alone: it builds, from the same
source, and asks of the kernel what is there.

Builds the artifact guest_kernel_6_1 when it is not there, which takes minutes; no lab needs it.
"""

from __future__ import annotations

import subprocess
import tarfile
from pathlib import Path

import pytest

from lab.build import builder
from lab.build.artifacts import Artifact

pytestmark = [pytest.mark.lab, pytest.mark.long]


@pytest.fixture(scope="module")
def artifact() -> Artifact:
    return builder.ensure(["guest_kernel_6_1"])["guest_kernel_6_1"]


def test_the_kernel_has_frontswap_without_zswap(artifact: Artifact) -> None:
    options = artifact.outputs["config"].read_text().splitlines()
    assert "CONFIG_FRONTSWAP=y" in options
    assert "# CONFIG_ZSWAP is not set" in options
    assert {"CONFIG_XEN_PV=y", "CONFIG_XEN_BALLOON=y", "CONFIG_HIBERNATE_CALLBACKS=y"} <= set(options)
    assert not any("CLEANCACHE" in option for option in options)


def test_the_driver_is_built_for_it(artifact: Artifact, tmp_path: Path) -> None:
    with tarfile.open(artifact.outputs["modules.tar"]) as archive:
        names = [name for name in archive.getnames() if name.endswith("/extra/tmem.ko")]
        assert len(names) == 1
        assert "/6.1." in names[0]
        archive.extract(names[0], tmp_path, filter="data")
    symbols = subprocess.run(["nm", tmp_path / names[0]], capture_output=True, text=True, check=True).stdout
    wanted = {line.split()[-1] for line in symbols.splitlines() if " U " in line}
    assert {"frontswap_register_ops", "balloon_set_new_target", "shmem_read_mapping_page_gfp"} <= wanted
    assert not {name for name in wanted if "cleancache" in name or name == "frontswap_shrink"}
