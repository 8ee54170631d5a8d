"""Which host gets which cell, where a campaign has several. Nothing here runs.

Cells that are compared with one another stay on one host, or they were no pairs: those of one block
(with repeated boots: of one boot) at the same levels, under all policies. Such a share goes to the
host that is free first, in the order of the plan, and its cells follow one another there in that
order. A share that a host has begun waits for it, also after an interruption. Of a host that is
lost, what is left of its shares goes to the others: the campaign is whole then, and its report says
which pairs were split.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from campaigns.plan import level_key
from campaigns.records import PlannedCell

Key = tuple[int, str]


def share_of(cell: PlannedCell) -> Key:
    """What the cells of a share have in common."""
    return (cell.block if cell.boot is None else cell.boot, level_key(cell.levels))


@dataclass
class Shares:
    """The cells that are to be run, in the order of the plan. owners: share -> the host that has
    run a part of it.
    """

    cells: Sequence[PlannedCell]
    owners: dict[Key, str] = field(default_factory=dict)
    _out: dict[str, str] = field(default_factory=dict)
    _refused: dict[str, set[str]] = field(default_factory=dict)
    _todo: dict[str, PlannedCell] = field(init=False)

    def __post_init__(self) -> None:
        self._todo = {cell.cell: cell for cell in sorted(self.cells, key=lambda cell: cell.order)}

    @property
    def left(self) -> list[str]:
        """The cells that have not ended, in the order of the plan."""
        return list(self._todo)

    def next(self, host: str, others: Collection[str] = ()) -> PlannedCell | None:
        """A cell for a host that is free, None when there is none for it now. others: the hosts
        that are there beside it, for whom what they have begun is left.
        """
        found: PlannedCell | None = None
        for cell in self._todo.values():
            if cell.cell in self._out or host in self._refused.get(cell.cell, ()):
                continue
            owner = self.owners.get(share_of(cell))
            if owner == host:
                found = cell
                break
            if found is None and (owner is None or owner not in others):
                found = cell
        if found is not None:
            self._out[found.cell] = host
            self.owners[share_of(found)] = host
        return found

    def end(self, cell: str) -> None:
        """A cell has ended, whatever came of it."""
        self._out.pop(cell, None)
        self._todo.pop(cell, None)

    def refuse(self, cell: str, hosts: Collection[str]) -> bool:
        """The host that has a cell could not begin it: whether another of these may try it. If
        not, the cell has ended.
        """
        host = self._out.pop(cell)
        refused = self._refused.setdefault(cell, set())
        refused.add(host)
        if set(hosts) - refused:
            self.owners.pop(share_of(self._todo[cell]), None)
            return True
        self.end(cell)
        return False

    def lose(self, host: str) -> str | None:
        """A host is gone: what it had begun is anybody's. The cell that it had."""
        for key in [key for key, owner in self.owners.items() if owner == host]:
            del self.owners[key]
        for cell in [cell for cell, owner in self._out.items() if owner == host]:
            del self._out[cell]
            return cell
        return None


def begun(cells: Collection[PlannedCell], ran: Mapping[str, str]) -> dict[Key, str]:
    """Share -> the host that ran the last of its cells. ran: cell -> host."""
    return {share_of(cell): ran[cell.cell] for cell in cells if cell.cell in ran}
