"""What differed between the cells of a campaign that should not: testbed, host, hypervisor,
kernels, settings, as each cell's env.json tells.

Everything that is recorded is compared but what changes by itself (clocks, load, free memory) and
what was asked for (policy, sizing): a cause that nobody thought of is to be seen, too.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from analysis import totals
from analysis.load import Results, levels_text
from campaigns import records
from campaigns.records import CellRecord

_CHANGES_BY_ITSELF = re.compile(
    r"identity|conditions|testbed\.arguments|host\.(policy|driver|sizing|controller\.(load|hash_mib_per_s)|emulator\.command)"
    r"|host\.xen\.(boot_id|log_head|info\.(cpu_mhz|free_memory))|host\.(dom0|guests\.[^.]+)\.(clock_offset_s|domains|swaps)"
)
"""Not compared. The emulator's command names a port that is free; the log's head and the
megahertz hold times of a boot; how fast the machine was is told by itself (speeds), and so is which
boot it was (booted_anew).
"""

_OF_POLICY = re.compile(r"host\.guests\.[^.]+\.(driver|selfballoon|sysctl\.vm\.min_free_kbytes)")
"""Compared between cells of one policy and the same factor levels. Linux sets min_free_kbytes anew
whenever memory is added, after how much there is then, which is what a policy decides.
"""

_OF_LEVELS = re.compile(
    r"workload_facts|host\.guests|host\.dom0\.(memory|disks|sysctl)|host\.emulator\.(memory_mib|snapshot)"
    r"|host\.xen\.info\.(nr_cpus|cores_per_socket|total_memory|xen_commandline)"
)
"""Compared between cells of the same factor levels, and of hosts of one size: a factor may be a
size, and `more-ram` is another host.
"""

_LARGER = "more-ram"
"""Policies with this part run on a larger host (policies/more_ram.py)."""

NOT_TOLD = "nothing"
MOST_CELLS = 4
LONGEST = 80


@dataclass(frozen=True)
class Difference:
    """Something that differed. what: its path in env.json, `*` for any guest. values: what it
    was -> the cells, in the order of the plan.
    """

    what: str
    values: Mapping[str, tuple[str, ...]]


def differences(results: Results) -> list[Difference]:
    """Between the complete cells. Cells without env.json are left out (see `untold`).
    ResultsError when one is damaged.
    """
    return list(_compared(results)[0])


def untold(results: Results) -> list[str]:
    """The complete cells of which it is not recorded what they ran on."""
    return list(_compared(results)[1])


@lru_cache(maxsize=2)
def _told(results: Results) -> tuple[tuple[CellRecord, Mapping[str, Any] | None], ...]:
    """The complete cells, and what they tell: every env.json is read once."""
    folder = results.directory / records.CELLS_DIR
    return tuple((cell, records.read_env(folder / cell.cell)) for cell in results.complete)


@lru_cache(maxsize=2)
def _compared(results: Results) -> tuple[tuple[Difference, ...], tuple[str, ...]]:
    """What differed, and the cells that tell nothing."""
    told, silent = [], []
    for cell, env in _told(results):
        if env is None:
            silent.append(cell.cell)
        else:
            told.append((cell, dict(flat(env))))
    return tuple(_between(told)), tuple(silent)


def _between(told: Sequence[tuple[CellRecord, Mapping[str, str]]]) -> list[Difference]:
    found: dict[tuple[str, str], Difference] = {}
    for path in dict.fromkeys(path for _, values in told for path in values):
        group = _grouping(path)
        groups: dict[tuple[str, ...], dict[str, list[str]]] = {}
        for cell, values in told:
            by_value = groups.setdefault(group(cell), {})
            by_value.setdefault(values.get(path, NOT_TOLD), []).append(cell.cell)
        for by_value in groups.values():
            if len(by_value) > 1:
                what = re.sub(r"^(host\.guests|workload_facts)\.[^.]+", r"\1.*", path)
                difference = Difference(what, {value: tuple(cells) for value, cells in by_value.items()})
                found.setdefault((what, str(difference.values)), difference)
    return list(found.values())


def booted_anew(results: Results) -> dict[int, int]:
    """Boot, as the plan numbers them -> how often the host of the same size was booted for its
    cells, where that is more than once: after an interruption, or for a cell that was run again.

    By dom0's boot id; in campaigns from before that, by the frequency that Xen measured, which two
    boots may share.
    """
    found: dict[tuple[int, str, bool], set[str]] = {}
    for cell, env in _told(results):
        if (boot := _boot(cell, env)) is not None:
            place = (totals.boot_of(cell), levels_text(cell.levels), _LARGER in cell.policy)
            found.setdefault(place, set()).add(f"{cell.host} {boot}")
    most: dict[int, int] = {}
    for (number, _, _), boots in found.items():
        most[number] = max(most.get(number, 1), len(boots))
    return {number: boots for number, boots in sorted(most.items()) if boots > 1}


def boots_told(results: Results) -> bool:
    """Whether each cell has the id of its boot, so that none is taken for another."""
    return all((xen := _xen(env)) is not None and xen.get("boot_id") for _, env in _told(results))


def _xen(env: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    host = (env or {}).get("host")
    xen = host.get("xen") if isinstance(host, Mapping) else None
    return xen if isinstance(xen, Mapping) else None


def _boot(cell: CellRecord, env: Mapping[str, Any] | None) -> str | None:
    if (xen := _xen(env)) is None:
        return None
    info = xen.get("info")
    measured = info.get("cpu_mhz") if isinstance(info, Mapping) and cell.host_kind == "emulated" else None
    boot = xen.get("boot_id") or measured
    return None if boot is None else str(boot)


def speeds(results: Results) -> dict[str, float]:
    """Cell -> how fast the machine below an emulated host was [MiB hashed per second], where it is
    recorded.
    """
    found = {}
    for cell, env in _told(results):
        controller = (env or {}).get("host", {}).get("controller", {})
        if cell.host_kind == "emulated" and controller.get("hash_mib_per_s"):
            found[cell.cell] = float(controller["hash_mib_per_s"])
    return found


def rows(found: list[Difference]) -> list[tuple[str, str]]:
    """Differences as rows of texts: what, and each value with its cells."""
    return [
        (each.what, "; ".join(f"{short(value)} in {_few(cells)}" for value, cells in each.values.items()))
        for each in found
    ]


def flat(value: object, path: str = "") -> Iterator[tuple[str, str]]:
    """(path, value as text) of everything that is compared. Lists are values."""
    if _CHANGES_BY_ITSELF.fullmatch(path):
        return
    if isinstance(value, Mapping) and value:
        for key, each in value.items():
            yield from flat(each, f"{path}.{key}" if path else str(key))
    else:
        yield path, value if isinstance(value, str) else json.dumps(value, sort_keys=True)


def _grouping(path: str) -> Callable[[CellRecord], tuple[str, ...]]:
    """Cell -> which cells have to agree with it in this."""
    if _OF_POLICY.match(path):
        return lambda cell: (cell.policy, levels_text(cell.levels))
    if not _OF_LEVELS.match(path):
        return lambda _: ()
    return lambda cell: (levels_text(cell.levels), str(_LARGER in cell.policy.split("+")))


def short(value: str) -> str:
    """A value cut to LONGEST."""
    return value if len(value) <= LONGEST else f"{value[:LONGEST]}…"


def _few(cells: tuple[str, ...]) -> str:
    rest = len(cells) - MOST_CELLS
    return ", ".join(cells[:MOST_CELLS]) + (f" and {rest} more" if rest > 0 else "")
