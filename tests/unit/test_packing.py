"""The guests' image as it is sent to servers."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from common.errors import BuildError
from lab import paths
from lab.build.packing import packed

pytestmark = pytest.mark.skipif(shutil.which("qemu-img") is None, reason="needs QEMU")


@pytest.fixture
def image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A disk of which a half is the same word again and again."""
    monkeypatch.setenv("OVERCOMMIT_CACHE", str(tmp_path / "cache"))
    raw, made = tmp_path / "raw", tmp_path / "guest_image-1" / "guest.qcow2"
    raw.write_bytes(b"overcommit" * 200000 + bytes(2000000))
    made.parent.mkdir()
    subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", str(raw), str(made)], check=True)
    return made


def test_a_packed_image_is_the_same_disk_and_smaller(image: Path) -> None:
    made = packed(image, lambda _text: None)
    subprocess.run(["qemu-img", "compare", "-q", str(image), str(made)], check=True)
    assert made.stat().st_size < image.stat().st_size / 2


def test_an_image_is_packed_once_and_another_takes_its_place(image: Path) -> None:
    told: list[str] = []
    first = packed(image, told.append)
    at = first.stat().st_mtime_ns
    assert packed(image, told.append) == first
    assert (first.stat().st_mtime_ns, told) == (at, ["packing guest.qcow2, once"])
    other = image.parents[1] / "guest_image-2" / image.name
    other.parent.mkdir()
    shutil.copy(image, other)
    second = packed(other, told.append)
    assert sorted(path.name for path in (paths.cache() / "packed").glob("*.qcow2*")) == [second.name]


def test_an_image_that_cannot_be_read_is_told_and_leaves_nothing(image: Path) -> None:
    image.write_bytes(b"no image")
    with pytest.raises(BuildError) as raised:
        packed(image, lambda _text: None)
    assert raised.value.why
    image.unlink()
    assert [path.name for path in (paths.cache() / "packed").glob("*.qcow2")] == []
