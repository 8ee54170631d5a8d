"""Whether a control felt what a treatment is said to relieve it of: without that, no treatment
could have relieved it.

Felt is what the guests' kernels counted: pages they reclaimed, of these the ones that were wanted
again (refaults), and the share of the guests' time in which some task waited for memory (PSI). The
experiment says how much is enough (`gates.relief`); one of the three suffices, and every cell of
the control that enters a ratio has to reach it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from analysis import totals
from analysis.load import Results
from campaigns.records import CellRecord, Claim, Relief

_FIGURES = ("pages_reclaimed", "refaults", "memory_stall")


@dataclass(frozen=True)
class Felt:
    """What the control's cells felt, each figure that of the cell that felt least of it; None where
    it was not measured in all.

    pages_reclaimed, refaults: pages, all guests together, or those of the claim's group.
    memory_stall: share of these guests' time. enough: in every cell.
    """

    control: str
    cells: int
    pages_reclaimed: float | None
    refaults: float | None
    memory_stall: float | None
    required: Relief
    enough: bool

    @property
    def text(self) -> str:
        """`0 pages reclaimed, 0 refaults, 0 % of the time waiting for memory, in the least of 5
        cells`.
        """
        shown = _figures(self.pages_reclaimed, self.refaults, self.memory_stall, "not measured")
        return f"{', '.join(shown)}, in {'its one cell' if self.cells == 1 else f'the least of {self.cells} cells'}"

    @property
    def demanded(self) -> str:
        """What any one of would have been enough: `1,024 pages reclaimed or 256 refaults`."""
        wanted = self.required
        return " or ".join(_figures(wanted.pages_reclaimed, wanted.refaults, wanted.memory_stall, None))


def _figures(reclaimed: float | None, refaults: float | None, stall: float | None, missing: str | None) -> list[str]:
    texts = [
        None if reclaimed is None else f"{reclaimed:,.0f} pages reclaimed",
        None if refaults is None else f"{refaults:,.0f} refaults",
        None if stall is None else f"{100 * stall:.2g} % of the time waiting for memory",
    ]
    names = ("pages reclaimed", "refaults", "time waiting for memory")
    filled = [
        f"{name} {missing}" if text is None and missing else text for text, name in zip(texts, names, strict=True)
    ]
    return [text for text in filled if text is not None]


def required(results: Results) -> Relief:
    """What the experiment demands of a control. Experiments from before they said it get the
    defaults.
    """
    gates = results.campaign.experiment.get("gates")
    relief = gates.get("relief") if isinstance(gates, Mapping) else None
    if not isinstance(relief, Mapping):
        return Relief()
    return Relief(**{name: relief.get(name) for name in _FIGURES})


def is_relief(results: Results, claim: Claim) -> bool:
    """Whether a claim is that something gets better than under its control. What is better is
    the metric's to say.
    """
    if claim.relief is not None:
        return claim.relief
    spec = results.campaign.spec(claim.metric)
    better = {"lower": "decrease", "higher": "increase"}.get(spec.better) if spec else None
    return claim.expectation.direction == better


def of_cell(results: Results, cell: CellRecord, group: str | None = None) -> dict[str, float | None]:
    """What the guests of a cell, or those of a group, felt, by the names of `Felt`. Stalls are
    counted from the release to the last guest's end, so the share is of that time, in every guest.
    """
    reclaimed, refaults, stalled = (
        totals.cell_value(results, cell, name, "sum", group)
        for name in ("pages_reclaimed", "refaults", "memory_stall_seconds")
    )
    seconds = totals.run_seconds(results, cell)
    guests = len(totals.guests_of(results, cell, "memory_stall_seconds", group))
    share = stalled / (guests * seconds) if stalled is not None and seconds and guests else None
    return {"pages_reclaimed": reclaimed, "refaults": refaults, "memory_stall": share}


def felt(results: Results, control: str, cells: Sequence[CellRecord], group: str | None = None) -> Felt:
    """What these cells of a control felt, or a group of their guests: what a group reads is not
    relieved by what another lacks. Cells without any figure felt nothing that is known.
    """
    wanted = required(results)
    each = [of_cell(results, cell, group) for cell in cells]
    enough = bool(each) and all(
        any(
            (least := getattr(wanted, name)) is not None and (value := figures[name]) is not None and value >= least
            for name in _FIGURES
        )
        for figures in each
    )
    least = {name: _least([figures[name] for figures in each]) for name in _FIGURES}
    return Felt(control, len(each), least["pages_reclaimed"], least["refaults"], least["memory_stall"], wanted, enough)


def _least(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return min(known) if known and len(known) == len(values) else None
