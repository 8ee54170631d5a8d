"""Did every cell compute the same? Checksums of the workload's outputs, between guests and policies.

A page that tmem corrupted would show here: the same build must give the same objects under every policy.
"""

from __future__ import annotations

from analysis.load import Results, levels_text


def compare(results: Results) -> list[str]:
    """Sentences on the checksums of the complete cells, per factor levels. Different levels may compute different things."""
    return [line for levels in results.levels for line in _at(results, levels)]


def differing(results: Results, levels: str) -> dict[str, dict[str, list[str]]]:
    """Output name -> digest -> `cell/guest` that have it, of the outputs that are not the same everywhere."""
    found: dict[str, dict[str, list[str]]] = {}
    for cell in results.records:
        if levels_text(cell.levels) == levels:
            for guest, digests in cell.checksums.items():
                for name, digest in digests.items():
                    found.setdefault(name, {}).setdefault(digest, []).append(f"{cell.cell}/{guest}")
    return {name: digests for name, digests in sorted(found.items()) if len(digests) > 1}


def _at(results: Results, levels: str) -> list[str]:
    where = f" at {levels}" if levels else ""
    cells = [cell for cell in results.records if levels_text(cell.levels) == levels]
    if not cells:
        return []
    without = [cell.cell for cell in cells if not any(cell.checksums.values())]
    if len(without) == len(cells):
        return [f"No checksums of the outputs were recorded{where}, so nothing is known about corruption."]
    lines = [f"No checksums were recorded in {', '.join(without)}."] if without else []
    if differences := differing(results, levels):
        for name, digests in differences.items():
            groups = "; ".join(f"{digest[:12]} in {', '.join(places)}" for digest, places in sorted(digests.items()))
            lines.append(
                f"**DIFFERENT{where}: {name}** ({groups}). Either the workload is not reproducible or data was corrupted."
            )
        return lines
    outputs = {name for cell in cells for digests in cell.checksums.values() for name in digests}
    counted = f"{len(outputs)} output" + ("" if len(outputs) == 1 else "s")
    lines.append(
        f"{counted} identical in every guest of {len(cells) - len(without)} complete cells{where}, under every policy."
    )
    return lines
