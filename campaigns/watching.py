"""What somebody sees who watches a campaign: its cells, and what the guests of the running ones
hold and did. Text, of nothing but what is given.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence

from campaigns.experiment import from_document
from campaigns.live import State, Watcher
from campaigns.plan import level_key
from campaigns.records import ATTEMPTS_DIR, CELLS_DIR, CampaignRecord
from campaigns.status import CampaignStatus, status
from campaigns.store import CampaignStore
from common.console import aligned
from common.units import PAGE_BYTES, SECTOR_BYTES, rough_duration
from lab.counters.parse import HYPERVISOR

MIB = 2**20
BAR = 16
"""Characters of a full bar."""

EVERY_S = 2.0
"""Between frames."""

_HOLDS = (("memory", PAGE_BYTES), ("tmem_ephemeral_pages", PAGE_BYTES), ("tmem_persistent_pages", PAGE_BYTES))
_DID = (("sectors_read", SECTOR_BYTES), ("sectors_written", SECTOR_BYTES))
_HITS = ("tmem_ephemeral_hits", "tmem_persistent_hits")


def frames(stored: CampaignStore) -> Iterator[list[str]]:
    """How things stand, again and again, until nobody runs the campaign any more."""
    record = stored.record()
    most = _most_mib(record)
    folders = [stored.directory / name for name in (CELLS_DIR, ATTEMPTS_DIR)]
    seen: list[int] = []
    stands = status(stored)
    with Watcher(stored.directory) as watcher:
        while True:
            states = watcher.states()
            changed = [folder.stat().st_mtime_ns for folder in folders if folder.is_dir()]
            if changed != seen:  # thousands of records are not read every two seconds
                stands, seen = status(stored), changed
            yield frame(stands, states, most, time.time())
            if not states:
                return


def _most_mib(record: CampaignRecord) -> dict[str, dict[str, int]]:
    """Cell -> guest -> the most memory that it may have, in MiB."""
    made = from_document(record.name, record.experiment)
    found: dict[str, dict[str, int]] = {}
    by_levels: dict[str, dict[str, int]] = {}
    for cell in record.cells:
        key = level_key(cell.levels)
        if key not in by_levels:
            every = made.at(cell.levels).guests.every
            by_levels[key] = {f"guest{number}": each.memory_max_mib for number, each in enumerate(every, 1)}
        found[cell.cell] = by_levels[key]
    return found


def frame(
    found: CampaignStatus, states: Sequence[State], most_mib: Mapping[str, Mapping[str, int]], now: float
) -> list[str]:
    """Lines. states: of each host. most_mib: cell -> guest -> its maximum memory. now: epoch
    seconds.
    """
    counts = found.counts
    ended = counts["complete"] + counts["invalid"]
    head = f"{found.campaign.campaign}: {ended} of {len(found.cells)} cells"
    if not states:
        return [f"{head}; nobody runs it now", "", *_by_policy(found)]
    newest = max(states, key=lambda state: state.told_at)
    left = max(0.0, newest.left_s - (now - newest.told_at))
    lines = [f"{head}, about {rough_duration(left)} left", "", *_by_policy(found)]
    for state in states:
        lines += _host(state, most_mib.get(state.cell, {}), now, several=len(states) > 1)
    return lines


def _host(state: State, most_mib: Mapping[str, int], now: float, *, several: bool) -> list[str]:
    """What one host is at."""
    if not state.cell or not state.stage:
        return [""]
    spent = max(0.0, now - state.since)
    again = f", attempt {state.attempt}" if state.attempt > 1 else ""
    at = f" on {state.host}" if several else ""
    late = " longer than expected" if spent > state.stage_s else ""
    taken = f"{rough_duration(spent)} of about {rough_duration(state.stage_s)}"
    return [
        "",
        f"cell {state.order + 1}/{state.total} {state.cell}{at}{again}",
        f"{state.stage}: {taken}  [{_bar(spent, state.stage_s)}]{late}",
        *(_guests(state, most_mib) if state.last else []),
    ]


def _by_policy(found: CampaignStatus) -> list[str]:
    rows = [[policy, *(str(counts[each]) for each in found.states)] for policy, counts in found.by_policy.items()]
    return aligned([["policy", *found.states], *rows])


def _guests(state: State, most_mib: Mapping[str, int]) -> list[str]:
    """A line for each guest: what it has, and what it did since the first reading."""
    guests = [name for name in state.last if name in most_mib]
    columns = ["guest", "memory", "", "ephemeral", "persistent", "hits", "read", "written"]
    rows = [[*_row(state, name, most_mib[name])] for name in guests]
    at = time.strftime("%H:%M:%S", time.gmtime(state.last_at))
    over = rough_duration(max(0.0, state.last_at - state.first_at))
    free = _mib(state.last.get(HYPERVISOR, {}).get("free_memory"), PAGE_BYTES)
    return [
        "",
        *aligned([columns, *rows]),
        f"MiB by the reading of {at} UTC, and {free} MiB are nobody's;",
        f"hits [pages], read and written within {over}",
    ]


def _row(state: State, name: str, most_mib: int) -> Sequence[str]:
    now, first = state.last[name], state.first.get(name, {})
    memory, *tmem = (_mib(now.get(counter), size) for counter, size in _HOLDS)
    have = now.get("memory")
    bar = "?" if have is None else f"[{_bar(have * PAGE_BYTES / MIB, most_mib)}]"
    hits = [_grown(now, first, counter) for counter in _HITS]
    known = [each for each in hits if each is not None]
    return [
        name,
        memory,
        bar,
        *tmem,
        f"{math.fsum(known):.0f}" if known else "–",
        *(_mib(_grown(now, first, counter), size) for counter, size in _DID),
    ]


def _grown(now: Mapping[str, float | None], first: Mapping[str, float | None], counter: str) -> float | None:
    last, before = now.get(counter), first.get(counter)
    return None if last is None or before is None else last - before


def _mib(amount: float | None, size: int) -> str:
    return "–" if amount is None else f"{amount * size / MIB:.1f}"


def _bar(value: float, whole: float) -> str:
    filled = min(BAR, round(BAR * value / whole)) if whole > 0 else 0
    return "#" * filled + "-" * (BAR - filled)
