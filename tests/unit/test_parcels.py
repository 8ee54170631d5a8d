"""A cell's files on their way from a worker to the store."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import pytest

from campaigns import parcels, store
from common.errors import ResultsError


def _cell(folder: Path) -> Path:
    directory = folder / "cell"
    (directory / "raw" / "guest1").mkdir(parents=True)
    (directory / "cell.json").write_text("{}")
    (directory / "raw" / "guest1" / "output").write_bytes(bytes(range(256)))
    store.write_sums(directory)
    return directory


def test_files_arrive_as_they_were(tmp_path: Path) -> None:
    directory = _cell(tmp_path)
    parcels.unpack(parcels.pack(directory), tmp_path / "there")
    for name in [*store.files_of(directory), "SHA256SUMS"]:
        assert (tmp_path / "there" / name).read_bytes() == (directory / name).read_bytes()


def test_a_parcel_that_was_changed_is_refused(tmp_path: Path) -> None:
    directory = _cell(tmp_path)
    (directory / "cell.json").write_text("[]")
    with pytest.raises(ResultsError, match="not what its worker has packed") as caught:
        parcels.unpack(parcels.pack(directory), tmp_path / "there")
    assert caught.value.where == "cell.json"


@pytest.mark.parametrize("name", ["../out", "/out"])
def test_no_name_leads_out_of_the_cell(tmp_path: Path, name: str) -> None:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr(name, "x")
    with pytest.raises(ResultsError, match="leads out"):
        parcels.unpack(made.getvalue(), tmp_path / "there")
    assert not (tmp_path / "out").exists()
