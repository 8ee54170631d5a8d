"""Did every cell compute the same? Checksums of the workload's outputs, between guests and
policies.

A page that tmem corrupted would show here: the same build must give the same objects under every
policy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from analysis.load import Results, levels_text
from campaigns.records import CellRecord

LACKING = "nothing"
"""Stands for the digest of an output that a guest lacks and others have."""

MOST_PLACES = 6


@dataclass(frozen=True)
class Said:
    """A sentence on outputs. differ: whether it says that some are not the same."""

    text: str
    differ: bool = False


def compare(results: Results) -> list[str]:
    """Sentences on the checksums of the complete cells, per factor levels."""
    return [each.text for each in said(results)]


def brief(results: Results) -> list[str]:
    """As compare, in one sentence where all levels have outputs and nowhere two differ."""
    recorded = {levels_text(cell.levels) for cell in results.complete if any(cell.checksums.values())}
    if all_differing(results) or recorded != {levels_text(cell.levels) for cell in results.complete}:
        return compare(results)
    return [f"At each of the {len(recorded)} combinations of levels outputs are identical in every guest that has any."]


def said(results: Results) -> list[Said]:
    """What is said of the checksums of the complete cells, per factor levels. Different levels may
    compute different things.
    """
    return [each for levels in results.levels for each in _at(results, levels)]


def all_differing(results: Results) -> tuple[str, ...]:
    """The outputs that are not the same everywhere, at any factor levels."""
    return tuple(dict.fromkeys(name for levels in results.levels for name in differing(results, levels)))


def differing(results: Results, levels: str) -> dict[str, dict[str, list[str]]]:
    """Output name -> digest -> `cell/guest` that have it, of the outputs that are not the same
    everywhere.

    A guest that lacks an output which others of its group have differs from them. Cells without any
    checksum say nothing.
    """
    cells = [cell for cell in _cells(results, levels) if any(cell.checksums.values())]
    found: dict[str, dict[str, list[str]]] = {}
    for group in results.groups or (None,):
        guests = sorted({guest for cell in cells for guest in cell.checksums if cell.groups.get(guest) == group})
        for name in sorted({name for cell in cells for guest in guests for name in cell.checksums.get(guest, {})}):
            places = found.setdefault(f"{name} of {group}" if group else name, {})
            for cell in cells:
                for guest in guests:
                    digest = cell.checksums.get(guest, {}).get(name, LACKING)
                    places.setdefault(digest, []).append(f"{cell.cell}/{guest}")
    return {name: digests for name, digests in found.items() if len(digests) > 1}


def _cells(results: Results, levels: str) -> list[CellRecord]:
    return [cell for cell in results.complete if levels_text(cell.levels) == levels]


def _names(cells: Sequence[CellRecord]) -> list[str]:
    return sorted({name for cell in cells for digests in cell.checksums.values() for name in digests})


def _at(results: Results, levels: str) -> list[Said]:
    where = f" at {levels}" if levels else ""
    cells = _cells(results, levels)
    if not cells:
        return []
    without = [cell.cell for cell in cells if not any(cell.checksums.values())]
    if len(without) == len(cells):
        return [Said(f"No checksums of the outputs were recorded{where}, so nothing is known about corruption.")]
    lines = [Said(f"No checksums were recorded in {', '.join(without)}.")] if without else []
    if differences := differing(results, levels):
        for name, digests in differences.items():
            groups = "; ".join(f"{digest[:12]} in {_few(places)}" for digest, places in sorted(digests.items()))
            text = (
                f"DIFFERENT{where}: {name} ({groups}). Either the workload is not reproducible or data was corrupted."
            )
            lines.append(Said(text, differ=True))
        return lines
    names = _names(cells)
    counted = f"{len(names)} output" + ("" if len(names) == 1 else "s")
    whole = len(cells) - len(without)
    every = "every guest of its group in" if results.groups else "every guest of"
    lines.append(Said(f"{counted} identical in {every} {whole} complete cells{where}, under every policy."))
    return lines


def _few(places: Sequence[str]) -> str:
    rest = len(places) - MOST_PLACES
    return ", ".join(places[:MOST_PLACES]) + (f" and {rest} more" if rest > 0 else "")
