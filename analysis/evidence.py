"""From a number in a table to the cells that it is of, and from a cell to its files: what makes of
the report's tables something to follow.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from analysis import regime_words, sections
from analysis.load import Results
from analysis.sections import Source
from campaigns import records

_NUMBER = re.compile(r"[-−]?\d")
_PAIR = " ÷ "
_NAMES = {"levels", "required", *regime_words.GIVEN, regime_words.ALONE}
"""Columns whose numbers no cell of the row's made."""


@dataclass(frozen=True)
class Link:
    """A text, and where it leads; nowhere: it is text alone."""

    text: str
    href: str = ""


@dataclass(frozen=True)
class Row:
    """A row of a table. cells: the cells of the campaign that its numbers are of."""

    shown: tuple[Link, ...]
    cells: tuple[Link, ...]


@dataclass(frozen=True)
class Grid:
    """A table whose numbers lead to where they are from."""

    columns: tuple[str, ...]
    rows: tuple[Row, ...]

    @property
    def traced(self) -> bool:
        """Whether any row knows its cells."""
        return any(row.cells for row in self.rows)


@dataclass(frozen=True)
class Folder:
    """The files of a cell or an attempt, each with its path from the campaign's directory."""

    name: str
    files: tuple[Link, ...]
    raw: tuple[Link, ...]


def group_anchor(results: Results, policy: str, levels: str) -> str:
    """Where a page has the cells of a policy at factor levels."""
    return f"at-{results.levels.index(levels)}-{results.policies.index(policy)}"


def cell_links(results: Results, policies: Sequence[str], levels: str) -> tuple[Link, ...]:
    """The complete cells of these policies."""
    return tuple(Link(cell.cell, f"#cell-{cell.order}") for policy in policies for cell in results.at(policy, levels))


def grid(results: Results, table: sections.Table, levels: str = "") -> Grid:
    """A table of the report. levels: those that were told before it, where it has no column for
    them.
    """
    cells = {cell.cell: f"#cell-{cell.order}" for cell in results.campaign.cells}
    rows = [dict(zip(table.columns, row, strict=True)) for row in table.rows]
    sources = table.sources or [_source(results, values, levels) for values in rows]
    return Grid(
        table.columns,
        tuple(_row(results, values, source, cells) for values, source in zip(rows, sources, strict=True)),
    )


def _row(results: Results, values: Mapping[str, str], source: Source, cells: Mapping[str, str]) -> Row:
    if own := cells.get(values.get("cell", "")):
        return Row(tuple(Link(text, own if _leads(name, text) else "") for name, text in values.items()), ())
    policies, levels = source.policies, source.levels
    if not policies or levels not in results.levels:  # a row across levels is of all of the policy's cells
        every = (link for at in results.levels for link in cell_links(results, policies, at))
        return Row(tuple(map(Link, values.values())), tuple(every))
    anchors = [f"#{group_anchor(results, policy, levels)}" for policy in policies]
    shown = tuple(
        Link(text, anchors[-1 if "control" in name else 0] if _leads(name, text) else "")
        for name, text in values.items()
    )
    others = (link for policy, at in source.others for link in cell_links(results, (policy,), at))
    return Row(shown, (*cell_links(results, policies, levels), *others))


def _leads(name: str, text: str) -> bool:
    """Whether a text is the name of a cell, or a number that cells made."""
    return name == "cell" or (name not in _NAMES and _NUMBER.match(text) is not None)


def _source(results: Results, values: Mapping[str, str], told: str) -> Source:
    """What a row is of, by its own columns; no policies where it names none of the campaign's."""
    levels = values.get("levels", told)
    named = tuple(values.get(f"policy{_PAIR}control", values.get("policy", "")).split(_PAIR))
    known = all(name in results.policies for name in named)
    return Source(named if known else (), "" if levels == sections.MISSING else levels)


def folders(results: Results) -> Mapping[str, Sequence[Folder]]:
    """Cell -> its own files, then those of its attempts that do not count."""
    found: dict[str, list[Folder]] = {cell.cell: [] for cell in results.campaign.cells}
    for path in records.cell_directories(results.directory):
        found.setdefault(path.name, []).append(_folder(results.directory, path))
    for path in records.attempt_directories(results.directory):
        found.setdefault(records.attempt_number(path.name)[0], []).append(_folder(results.directory, path))
    return found


def _folder(campaign: Path, path: Path) -> Folder:
    within = sorted(each.relative_to(path).as_posix() for each in path.rglob("*") if each.is_file())
    base = path.relative_to(campaign).as_posix()
    links = [Link(name, quote(f"{base}/{name}")) for name in within]
    raw = f"{records.RAW_DIR}/"
    return Folder(
        base,
        tuple(link for link in links if not link.text.startswith(raw)),
        tuple(link for link in links if link.text.startswith(raw)),
    )


def levels_of(results: Results, part: str) -> str | None:
    """The factor levels that a sentence announces for what follows; None where it does not."""
    return next((levels for levels in results.levels if levels and part == f"At {levels}:"), None)
