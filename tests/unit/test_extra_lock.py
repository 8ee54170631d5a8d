"""The lock of the extra: pinned, with hashes, and of the same versions as the testbed's own."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def pins(name: str) -> dict[str, str]:
    """Package -> version."""
    return dict(re.findall(r"^([a-z0-9][a-z0-9._-]*)==(\S+)", (ROOT / name).read_text(), re.MULTILINE))


def test_every_package_is_pinned_with_hashes_and_no_index_is_named() -> None:
    text = (ROOT / "requirements-dask.lock").read_text()
    found = pins("requirements-dask.lock")
    assert {"dask", "distributed"} <= found.keys()
    for entry in re.split(r"\n(?=[a-z0-9])", text)[1:]:
        assert "--hash=sha256:" in entry, entry.splitlines()[0]
    assert "://" not in text
    assert "--index" not in text


def test_it_agrees_with_the_testbeds_own_lock() -> None:
    own, extra = pins("requirements.lock"), pins("requirements-dask.lock")
    assert own.keys() & extra.keys()
    assert {name: own[name] for name in own.keys() & extra.keys()} == {
        name: extra[name] for name in own.keys() & extra.keys()
    }
