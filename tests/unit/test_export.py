"""A campaign as one archive: the same bytes each time, an RO-Crate for those who read such, and
nothing in it is believed without its sum.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from invoke.context import Context
from rocrate.rocrate import ROCrate

from campaigns import export, store
from common.errors import InvalidFileError, ResultsError
from tasks import results as results_tasks

REPO = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("export") / "reference.zip"
    export.export(REPO / "results" / "reference", target, REPO)
    return target


@pytest.fixture
def unpacked(archive: Path, tmp_path: Path) -> Path:
    with zipfile.ZipFile(archive) as opened:
        opened.extractall(tmp_path)
    return tmp_path / "reference"


def packed(folder: Path) -> Path:
    """An archive of a folder that somebody changed."""
    path = folder.with_suffix(".zip")
    with zipfile.ZipFile(path, "w") as opened:
        for each in sorted(folder.rglob("*")):
            if each.is_file():
                opened.write(each, each.relative_to(folder.parent))
    return path


def test_what_was_written_is_read_back(archive: Path) -> None:
    read = export.check(archive)
    assert read.campaign == "reference"
    assert read.files == len(zipfile.ZipFile(archive).namelist())
    assert not [path for path in archive.parent.iterdir() if path != archive]


def test_the_same_results_give_the_same_bytes(archive: Path, tmp_path: Path) -> None:
    again = tmp_path / "again.zip"
    copy = shutil.copytree(REPO / "results" / "reference", tmp_path / "reference", copy_function=shutil.copy)
    (copy / ".lock").write_text("1\n")  # of a run, and no result
    export.export(copy, again, REPO)
    assert again.read_bytes() == archive.read_bytes()


def test_it_is_a_crate_that_says_what_it_is_and_knows_each_file(unpacked: Path) -> None:
    crate = ROCrate(unpacked)
    assert crate.root_dataset["name"] == "Kernel builds in three overcommitted guests (campaign reference)"
    assert crate.root_dataset["license"].id == "https://spdx.org/licenses/GPL-2.0-only"
    assert [each["name"] for each in crate.root_dataset["creator"]] == ["The Xen Overcommit Testbed authors"]
    there = {each.relative_to(unpacked).as_posix() for each in (unpacked / "results").rglob("*") if each.is_file()}
    assert {each.id for each in crate.data_entities} == there
    stored = REPO / "results" / "reference"
    sums = store.read_sums(stored / "cells/static.r1/SHA256SUMS")
    entity = crate.dereference("results/reference/cells/static.r1/raw/barrier.txt")
    assert entity["sha256"] == sums["raw/barrier.txt"]


def test_sha256sum_accepts_every_file(unpacked: Path) -> None:
    done = subprocess.run(["sha256sum", "--quiet", "-c", "SHA256SUMS"], cwd=unpacked, check=False, capture_output=True)
    assert (done.returncode, done.stdout) == (0, b"")


def test_zenodo_and_software_heritage_find_what_they_ask_for(unpacked: Path) -> None:
    zenodo = json.loads((unpacked / ".zenodo.json").read_text())
    assert zenodo["upload_type"] == "dataset"
    assert zenodo["creators"] == [{"name": "The Xen Overcommit Testbed authors"}]
    assert zenodo["license"] == "GPL-2.0-only"
    codemeta = json.loads((unpacked / "codemeta.json").read_text())
    campaign = json.loads((unpacked / "results/reference/campaign.json").read_text())
    assert codemeta["isBasedOn"] == f"swh:1:rev:{campaign['commit']}"
    ended = [json.loads(path.read_text())["finished_at"] for path in unpacked.rglob("cell.json")]
    assert zenodo["publication_date"] == codemeta["dateCreated"] == max(ended)[:10]
    for name in (export.CITATION, export.LICENCE):
        assert (unpacked / name).read_bytes() == (REPO / name).read_bytes()


def _edit(root: Path) -> None:
    path = root / "results/reference/report.md"
    path.write_text(path.read_text().replace("lower", "higher"))


def _add(root: Path) -> None:
    (root / "results/reference/cells/more.txt").write_text("x")


def _lose(root: Path) -> None:
    (root / "results/reference/cells/static.r1/env.json").unlink()


def _forge(root: Path) -> None:
    _edit(root)
    store.write_sums(root)


def _lie(root: Path) -> None:
    path = root / export.METADATA
    crate = json.loads(path.read_text())
    crate["@graph"] = [each for each in crate["@graph"] if not each["@id"].endswith("static.r1/env.json")]
    path.write_text(json.dumps(crate))
    store.write_sums(root)


def _change_a_cell(root: Path) -> None:
    path = root / "results/reference/cells/static.r1/cell.json"
    path.write_text(path.read_text().replace('"complete"', '"invalid"'))
    crate = json.loads((root / export.METADATA).read_text())
    for each in crate["@graph"]:
        if each["@id"] == "results/reference/cells/static.r1/cell.json":
            each["sha256"] = export.files.digest(path)
    (root / export.METADATA).write_text(json.dumps(crate))
    store.write_sums(root)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_edit, "results/reference/report.md has another sum than in SHA256SUMS"),
        (_add, "more.txt is not what SHA256SUMS lists"),
        (_lose, "env.json is not what SHA256SUMS lists"),
        (_forge, "report.md has another sum than in ro-crate-metadata.json"),
        (_lie, "env.json is not what ro-crate-metadata.json lists"),
        (_change_a_cell, "reference: damaged"),
    ],
)
def test_a_changed_archive_is_refused(unpacked: Path, change: Callable[[Path], None], said: str) -> None:
    change(unpacked)
    with pytest.raises(ResultsError) as caught:
        export.check(packed(unpacked))
    assert said in caught.value.what
    assert caught.value.exit_code == 8


def test_a_file_that_is_no_archive_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.zip"
    path.write_bytes(b"PK")
    with pytest.raises(ResultsError, match="cannot be read"):
        export.check(path)
    with zipfile.ZipFile(path, "w") as opened:
        opened.writestr("a/b", "c")
    with pytest.raises(ResultsError, match="not one of a campaign"):
        export.check(path)


def test_an_archive_that_is_encrypted_or_holds_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w") as opened:
        opened.writestr("a/SHA256SUMS", b"\xff\xfe")
    with pytest.raises(ResultsError):
        export.check(path)
    content = bytearray(path.read_bytes())
    for mark, flags in ((b"PK\x01\x02", 8), (b"PK\x03\x04", 6)):
        content[content.index(mark) + flags] |= 1
    path.write_bytes(content)
    with pytest.raises(ResultsError, match="cannot be read") as caught:
        export.check(path)
    assert "encrypted" in caught.value.why


def test_what_an_archive_has_made_of_its_cells_is_made_again(unpacked: Path) -> None:
    def differing(_directory: Path) -> list[tuple[str, str]]:
        return [("report.md", "is not what its cells give")]

    export.check(packed(unpacked))
    with pytest.raises(ResultsError) as caught:
        export.check(packed(unpacked), differing)
    assert "report.md" in caught.value.where


def test_a_citation_without_authors_is_told(tmp_path: Path) -> None:
    (tmp_path / export.CITATION).write_text("title: x\nversion: 1\nlicense: MIT\n")
    (tmp_path / export.LICENCE).write_text("x")
    with pytest.raises(InvalidFileError, match="lacks authors"):
        export.export(REPO / "results" / "reference", tmp_path / "x.zip", tmp_path)
    assert not (tmp_path / "x.zip").exists()


def test_the_tasks_write_and_check_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], archive: Path
) -> None:
    monkeypatch.setattr(store, "RESULTS", tmp_path)
    directory = shutil.copytree(REPO / "results" / "reference", tmp_path / "reference")
    for name in ("figures", "report.md"):  # made anew they would be compared, which takes long
        shutil.rmtree(directory / name) if name == "figures" else (directory / name).unlink()
    results_tasks.export(Context(), "reference")
    results_tasks.verify(Context(), str(tmp_path / "reference.zip"))
    assert "sound (reference, " in capsys.readouterr().out
    path = directory / "cells/static.r1/cell.json"
    path.write_text(path.read_text().replace('"complete"', '"invalid"'))
    before = (tmp_path / "reference.zip").read_bytes()
    with pytest.raises(ResultsError):
        results_tasks.export(Context(), "reference")
    assert (tmp_path / "reference.zip").read_bytes() == before
    assert archive.stat().st_size > 100_000
