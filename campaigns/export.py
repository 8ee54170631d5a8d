"""A campaign as one archive for Zenodo, Software Heritage and whoever gets it: an RO-Crate with the
sum of every file, the same bytes from the same files.

    NAME/ro-crate-metadata.json   what is in it, in the words of RO-Crate 1.1
         SHA256SUMS               of every other file, as sha256sum(1) checks it
         README.md                how to read and check it
         .zenodo.json             title, creators and licence, as Zenodo takes them
         codemeta.json            the same for Software Heritage, with the testbed's commit
         CITATION.cff, LICENSE    the testbed's
         results/NAME/            the campaign, as it stands in a checkout

Creators and licence are those of CITATION.cff. The date is that of the last cell, since the archive
is of what was measured then.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml

from campaigns import records, store, verify
from campaigns.records import CampaignRecord
from common import files
from common.errors import InvalidFileError, MissingError, ResultsError
from common.text import one_line

METADATA = "ro-crate-metadata.json"
CITATION, LICENCE = "CITATION.cff", "LICENSE"
_CONTEXT = "https://w3id.org/ro/crate/1.1/context"
_CODEMETA = "https://doi.org/10.5063/schema/codemeta-2.0"
_SPDX = "https://spdx.org/licenses/"
_MOMENT = (1980, 1, 1, 0, 0, 0)
"""Of every file in the archive: the first that ZIP knows."""

_KINDS = {
    ".json": "application/json",
    ".jsonl": "application/jsonl",
    ".csv": "text/csv",
    ".gz": "application/gzip",
    ".md": "text/markdown",
    ".html": "text/html",
    ".txt": "text/plain",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".pdf": "application/pdf",
    ".parquet": "application/vnd.apache.parquet",
}


@dataclass(frozen=True)
class Exported:
    """What was written, or read back. files: in it, the crate's own too. size: bytes of the
    archive. sha256: its sum.
    """

    path: Path
    campaign: str
    files: int
    size: int
    sha256: str


def export(directory: Path, target: Path, checkout: Path) -> Exported:
    """Write a campaign's archive, whole or not at all, and read it back. The caller has verified
    the campaign. checkout: where CITATION.cff and LICENSE are. ResultsError when what was written
    is not what is read.
    """
    campaign = records.read_campaign(directory)
    content = dict(_content(directory, campaign, checkout))
    new = target.with_name(f".{target.name}.{os.getpid()}.new")
    with store.storing(target):
        try:
            with zipfile.ZipFile(new, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
                for name in sorted(content):
                    _add(archive, f"{directory.name}/{name}", content[name])
            files.sync(new)
            check(new)
            new.replace(target)
        finally:
            with suppress(FileNotFoundError):
                new.unlink()
    return Exported(target, directory.name, len(content), target.stat().st_size, files.digest(target))


def check(path: Path, derived: verify.Derived | None = None) -> Exported:
    """Read an archive: the sum of every file, that the crate is one and knows every file, and that
    the campaign in it is sound. derived: checks its tables, figures and report as well.
    ResultsError when anything is not.
    """
    with TemporaryDirectory(prefix="overcommit-") as scratch:
        root = _unpacked(path, Path(scratch))
        listed = store.read_sums(root / records.SUMS_FILE)
        there = set(store.files_of(root))
        _refuse(path, sorted(there ^ set(listed)), "is not what SHA256SUMS lists")
        wrong = sorted(name for name, value in listed.items() if files.digest(root / name) != value)
        _refuse(path, wrong, "has another sum than in SHA256SUMS")
        described = _described(path, root)
        ours = f"results/{root.name}/"
        _refuse(
            path, sorted({name for name in there if name.startswith(ours)} ^ described), f"is not what {METADATA} lists"
        )
        found = verify.verify(root / ours, derived)
        if found.damaged:
            found.check()
        return Exported(path, root.name, len(there) + 1, path.stat().st_size, files.digest(path))


def _unpacked(path: Path, scratch: Path) -> Path:
    try:
        with zipfile.ZipFile(path) as archive:
            archive.extractall(scratch)
    except (OSError, zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, ValueError) as error:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise MissingError(
                "there is no room to unpack an archive",
                where=str(scratch),
                why=str(error.strerror),
                remedy="Make room there, or name another folder in TMPDIR.",
            ) from None
        # a RuntimeError is of what is encrypted, or packed in a way that Python does not know
        raise ResultsError(
            "an archive cannot be read", where=str(path), why=str(error), remedy="get it again from where it came from"
        ) from None
    roots = list(scratch.iterdir())
    if len(roots) != 1 or not (roots[0] / records.SUMS_FILE).is_file():
        raise ResultsError(
            "an archive is not one of a campaign", where=str(path), why="it has no folder with SHA256SUMS"
        )
    return roots[0]


def _refuse(path: Path, names: list[str], what: str) -> None:
    if names:
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        raise ResultsError(
            f"an archive is damaged: {names[0]}{more} {what}",
            where=str(path),
            remedy="get it again from where it came from",
        )


def _described(path: Path, root: Path) -> set[str]:
    """The campaign's files that the crate knows, as the library for RO-Crates reads it."""
    from rocrate.rocrate import ROCrate

    try:
        crate = ROCrate(root)
        entities = {str(each.id): each for each in crate.data_entities}
        lacking = [
            key for key in ("name", "description", "datePublished", "license") if not crate.root_dataset.get(key)
        ]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ResultsError(f"{METADATA} is no RO-Crate", where=str(path), why=str(error)) from None
    _refuse(path, lacking, f"is missing from {METADATA}")
    wrong = sorted(
        name
        for name, each in entities.items()
        if each.type == "File"
        and each.get("sha256") != (files.digest(root / name) if (root / name).is_file() else None)
    )
    _refuse(path, wrong, f"has another sum than in {METADATA}")
    return {name for name, each in entities.items() if each.type == "File"}


# --- What is in it ------------------------------------------------------------------------------


def _add(archive: zipfile.ZipFile, name: str, content: bytes | Path) -> None:
    information = zipfile.ZipInfo(name, _MOMENT)
    information.create_system = 3  # Unix, on whatever it is made
    information.external_attr = 0o100644 << 16
    information.compress_type = zipfile.ZIP_DEFLATED
    archive.writestr(information, content if isinstance(content, bytes) else content.read_bytes())


def _content(directory: Path, campaign: CampaignRecord, checkout: Path) -> Iterator[tuple[str, bytes | Path]]:
    """Path in the archive -> content, or the file that has it."""
    cited = _citation(checkout / CITATION)
    ours = {
        f"results/{directory.name}/{name}": directory / name
        for name in [*store.files_of(directory), records.SUMS_FILE]
        if not name.startswith(".")
    }
    sums = {name: files.digest(path) for name, path in ours.items()}
    facts = _facts(directory, campaign, cited)
    made: dict[str, bytes] = {
        METADATA: _json(_crate(facts, ours, sums)),
        ".zenodo.json": _json(_zenodo(facts)),
        "codemeta.json": _json(_codemeta(facts, campaign)),
        "README.md": _readme(facts, directory.name).encode(),
        CITATION: (checkout / CITATION).read_bytes(),
        LICENCE: (checkout / LICENCE).read_bytes(),
    }
    sums |= {name: hashlib.sha256(content).hexdigest() for name, content in made.items()}
    made[records.SUMS_FILE] = "".join(f"{sums[name]}  {name}\n" for name in sorted(sums)).encode()
    yield from made.items()
    yield from ours.items()


def _json(value: object) -> bytes:
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()


def _citation(path: Path) -> Mapping[str, Any]:
    """CITATION.cff. InvalidFileError when it lacks what an archive has to say."""
    try:
        cited = yaml.safe_load(path.read_text("utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise InvalidFileError("the citation cannot be read", where=str(path), why=str(error)) from None
    lacking = [key for key in ("authors", "license", "title", "version") if not (cited or {}).get(key)]
    if lacking:
        raise InvalidFileError(
            f"the citation lacks {', '.join(lacking)}", where=str(path), remedy="an archive has to name them: add them"
        )
    found: Mapping[str, Any] = cited
    return found


@dataclass(frozen=True)
class _Facts:
    title: str
    description: str
    date: str
    licence: str
    version: str
    creators: tuple[str, ...]
    people: bool


def _facts(directory: Path, campaign: CampaignRecord, cited: Mapping[str, Any]) -> _Facts:
    cells = records.read_cells(directory)
    complete = sum(cell.status == "complete" for cell in cells)
    title = one_line(str(campaign.experiment.get("title") or campaign.name))
    question = one_line(str(campaign.experiment.get("question") or ""))
    description = (
        f"{question} Campaign {directory.name} of the experiment {campaign.name} on the {cited['title']}: "
        f"{complete} of {len(campaign.cells)} cells are complete, each with raw outputs, samples, metrics, gates and "
        "what it ran on."
    ).strip()
    authors = cited["authors"]
    return _Facts(
        f"{title} (campaign {directory.name})",
        description,
        max((cell.finished_at for cell in cells), default=campaign.created_at)[:10],
        str(cited["license"]),
        str(cited["version"]),
        tuple(_name(author) for author in authors),
        all("family-names" in author for author in authors),
    )


def _name(author: Mapping[str, Any]) -> str:
    if "family-names" not in author:
        return str(author["name"])
    return ", ".join(str(author[key]) for key in ("family-names", "given-names") if key in author)


def _crate(facts: _Facts, ours: Mapping[str, Path], sums: Mapping[str, str]) -> Mapping[str, Any]:
    creators = [
        {"@id": f"#creator-{number}", "@type": "Person" if facts.people else "Organization", "name": name}
        for number, name in enumerate(facts.creators, 1)
    ]
    entities = [
        {
            "@id": name,
            "@type": "File",
            "contentSize": str(path.stat().st_size),
            "encodingFormat": _KINDS.get(path.suffix, "application/octet-stream"),
            "sha256": sums[name],
        }
        for name, path in sorted(ours.items())
    ]
    root = {
        "@id": "./",
        "@type": "Dataset",
        "name": facts.title,
        "description": facts.description,
        "datePublished": facts.date,
        "license": {"@id": f"{_SPDX}{facts.licence}"},
        "version": facts.version,
        "creator": [{"@id": each["@id"]} for each in creators],
        "author": [{"@id": each["@id"]} for each in creators],
        "hasPart": [{"@id": each["@id"]} for each in entities],
    }
    licence = {"@id": f"{_SPDX}{facts.licence}", "@type": "CreativeWork", "name": facts.licence}
    about = {
        "@id": METADATA,
        "@type": "CreativeWork",
        "about": {"@id": "./"},
        "conformsTo": {"@id": "https://w3id.org/ro/crate/1.1"},
    }
    return {"@context": _CONTEXT, "@graph": [about, root, licence, *creators, *entities]}


def _zenodo(facts: _Facts) -> Mapping[str, Any]:
    return {
        "title": facts.title,
        "upload_type": "dataset",
        "description": facts.description,
        "creators": [{"name": name} for name in facts.creators],
        "license": facts.licence,
        "publication_date": facts.date,
        "version": facts.version,
        "keywords": ["memory overcommitment", "transcendent memory", "Xen", "ballooning"],
        "access_right": "open",
    }


def _codemeta(facts: _Facts, campaign: CampaignRecord) -> Mapping[str, Any]:
    """A commit's number is, with its prefix, the name that Software Heritage has for it."""
    made_by = {"isBasedOn": f"swh:1:rev:{campaign.commit}"} if campaign.commit and not campaign.dirty else {}
    return {
        "@context": _CODEMETA,
        "@type": "Dataset",
        "name": facts.title,
        "description": facts.description,
        "license": f"{_SPDX}{facts.licence}",
        "version": facts.version,
        "dateCreated": facts.date,
        "author": [{"@type": "Person" if facts.people else "Organization", "name": name} for name in facts.creators],
        **made_by,
    }


def _readme(facts: _Facts, name: str) -> str:
    return f"""# {facts.title}

{facts.description}

- `sha256sum -c SHA256SUMS` compares every file with its sum.
- `results/{name}/report.md` says what came out; `report.html`, where it is there, says more.
- `results/{name}/cells/` has each cell, and in `raw/` what its tools and kernels said.
- In a checkout of the testbed, put `results/{name}` below `results/`: `./inv results.verify {name}` makes every number
  again from the raw files, and needs no network.

Licence: {facts.licence}. How to cite: CITATION.cff.
"""
