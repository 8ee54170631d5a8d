"""What the daemon sees: guests by their domains, with bounds, targets and reports, put together of
what Xen and xenstore say.

A report counts while it is a report (reports.py) and not too old: a guest that still lives says so
by one now and then. One that changes all the time is looked at once a second.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from policies.managers.base import KIB, PAGE, Guest, Report, Seen, TmemUse

from . import reports
from .xenstore import RefusedError, Store, StoreError

MIB = 2**20
NEAR = 2 * MIB
"""A guest this near has reached its target: libxl leaves it 1 MiB more, and pages are whole."""

PROGRESS = 1 * MIB
"""Less than this in the time that a guest is given is no progress."""

MOST_EVENTS = 20
FLOOD_SECONDS = 1.0
"""So many events of a guest in this time are a flood, and it is not listened to for as long."""

RESERVE_SHARE, MOST_RESERVE = 256, 64 * MIB
"""What Xen keeps back from guests where it has tmem (tmem/README.md): a part of its memory."""


@dataclass
class Known:
    """A domain that is managed. Times are monotonic."""

    domain: int
    name: str
    minimum: int
    maximum: int
    actual: int
    target: int
    changed_at: float
    moved_at: float
    moved_actual: int
    report: Report | None = None
    report_at: float = 0.0
    trouble: str | None = "none"
    decided: Report | None = None
    changed: Report | None = None
    tmem: TmemUse | None = None
    tmem_decided: TmemUse | None = None
    cap: int | None = None
    unread: bool = False
    counted: int = 0
    counted_since: float = 0.0
    deaf_until: float | None = None

    @property
    def token(self) -> str:
        """Of its watch."""
        return str(self.domain)

    @property
    def node(self) -> str:
        """Where its report is."""
        return f"/local/domain/{self.domain}/{reports.NODE}"


class View:
    """The guests and their reports.

    bounds: name of a guest -> the least and the most that it may have. counters: what a report may
    hold. patience: seconds without progress after which a guest does not follow. stale: seconds
    after which a report is none any more.
    """

    def __init__(
        self, bounds: Mapping[str, tuple[int, int]], counters: tuple[str, ...], patience: float, stale: float
    ) -> None:
        self._bounds = bounds
        self._counters = frozenset(counters)
        self._patience = patience
        self._stale = stale
        self.known: dict[int, Known] = {}
        self.total = self.free = self.tmem_pages = 0
        self.began = 0.0

    # --- Xen --------------------------------------------------------------------------------------

    def take(self, reading: Mapping[str, Any], store: Store | None, now: float) -> None:
        """A reading of Xen's memory (reader.py): who is there, and with how much."""
        self.total = reading["total"] * PAGE
        freeable = reading["freeable"]
        self.tmem_pages = reading["free"] + (freeable or 0)
        self.free = self.tmem_pages * PAGE
        if freeable is not None:  # there is a tmem, whether guests use it or not
            self.free -= min(self.total // RESERVE_SHARE, MOST_RESERVE)
        tmem = reading.get("tmem")
        clients = {client["CI"]: client for client in tmem["clients"]} if tmem else {}
        there = set()
        for domain in reading["domains"]:
            if domain["name"] in self._bounds and not domain["dying"]:
                there.add(domain["id"])
                self._see(domain, clients.get(domain["id"]), store, now)
        for number in self.known.keys() - there:
            self._forget(number, store)

    def _see(
        self, domain: Mapping[str, Any], client: Mapping[str, Any] | None, store: Store | None, now: float
    ) -> None:
        pools = client.get("pools", []) if client else []
        # Xen counts what a guest keeps in persistent pools as the guest's own.
        kept = sum(pool["Pc"] for pool in pools if pool["PT"].startswith("P"))
        actual = max(domain["pages"] - kept, 0) * PAGE
        each = self.known.get(domain["id"])
        if each is None:
            least, most = self._bounds[domain["name"]]
            each = Known(domain["id"], domain["name"], least, most, actual, actual, now, now, actual)
            self.known[each.domain] = each
            self.listen(each, store)
            each.target = _target(each, store)
        each.actual = actual
        if client is not None:
            each.tmem = _use(client, pools)
        if abs(actual - each.moved_actual) >= PROGRESS or abs(actual - each.target) <= NEAR:
            each.moved_at, each.moved_actual = now, actual

    def _forget(self, number: int, store: Store | None) -> None:
        each = self.known.pop(number)
        if store is not None and each.deaf_until is None:
            try:
                store.unwatch(each.node, each.token)
            except StoreError:
                return  # it is connected anew, without this watch

    # --- Xenstore ---------------------------------------------------------------------------------

    def listen(self, each: Known, store: Store | None) -> None:
        """Watch a guest's report; what is there is looked at."""
        each.deaf_until = None
        if store is not None and self._counters:
            store.watch(each.node, each.token)
            each.unread = True

    def listen_anew(self, store: Store) -> None:
        """After xenstore was gone."""
        for each in self.known.values():
            self.listen(each, store)

    def events(self, store: Store, now: float) -> tuple[bool, bool]:
        """Look at what xenstore says has changed, and at who was not listened to. Whether there is
        a report, and whether one says something else than before.
        """
        for token, number in store.events().items():
            each = self.known.get(int(token)) if token.isdecimal() else None
            if each is not None:
                each.unread = True
                self._count(each, number, store, now)
        heard = news = False
        for each in self.known.values():
            if each.deaf_until is not None and now >= each.deaf_until:
                self.listen(each, store)
            if each.unread:
                each.unread = False
                before = None if self._aged(each, now) else each.report
                self._read(each, store, now)
                heard |= each.report is not None
                news |= each.report != before
        return heard, news

    def wakes_at(self) -> float | None:
        """When somebody is to be listened to again."""
        return min((each.deaf_until for each in self.known.values() if each.deaf_until is not None), default=None)

    def _count(self, each: Known, number: int, store: Store, now: float) -> None:
        if now - each.counted_since > FLOOD_SECONDS:
            each.counted, each.counted_since = 0, now
        each.counted += number
        if each.counted > MOST_EVENTS and each.deaf_until is None:
            store.unwatch(each.node, each.token)
            each.deaf_until = now + FLOOD_SECONDS

    def _read(self, each: Known, store: Store, now: float) -> None:
        try:
            content = store.read(each.node)
        except RefusedError:
            content = None
        each.report_at = now
        if content is None:
            each.report, each.trouble = None, "none"
            return
        each.report = reports.parse(content, self._counters)
        each.trouble = None if each.report is not None else "absurd"
        if each.report is not None:
            # who has said nothing so far begins to be counted now
            each.changed = each.changed or each.report

    @property
    def moving(self) -> bool:
        """Whether some guest is not where it was told to be."""
        return any(abs(each.actual - each.target) > NEAR for each in self.known.values())

    # --- Managers ---------------------------------------------------------------------------------

    def begin(self, now: float) -> None:
        """What was before does not count."""
        self.began = now
        for each in self.known.values():
            each.changed_at = each.moved_at = now
            each.decided = each.changed = each.report
            each.tmem_decided = each.tmem

    def seen(self, now: float) -> Seen:
        """All that managers may look at."""
        guests = tuple(self._guest(each, now) for each in self.known.values())
        return Seen(self.total, self.free, now - self.began, guests, self.tmem_pages)

    def troubles(self, now: float) -> dict[str, str]:
        """Guest -> why it has no report: none, absurd, or stale."""
        if not self._counters:
            return {}
        found = {each.name: each.trouble or self._aged(each, now) for each in self.known.values()}
        return {name: trouble for name, trouble in found.items() if trouble}

    def decided(self) -> None:
        """A decision was made of what is seen now."""
        for each in self.known.values():
            each.decided = each.report
            each.tmem_decided = each.tmem

    def told(self, each: Known, target: int, now: float) -> None:
        """A guest was given a target."""
        each.target = target
        each.changed_at = each.moved_at = now
        each.moved_actual = each.actual
        each.changed = each.report

    def follows(self, each: Known, now: float) -> bool:
        """Whether a guest is where it should be, or on its way; one that is to grow may lack memory
        of the host's.
        """
        behind = each.target - each.actual
        if abs(behind) <= NEAR or now - each.moved_at <= self._patience:
            return True
        return behind > 0 and self.free < behind

    def _aged(self, each: Known, now: float) -> str | None:
        return "stale" if now - each.report_at > self._stale else None

    def _guest(self, each: Known, now: float) -> Guest:
        return Guest(
            domain=each.domain,
            name=each.name,
            actual=each.actual,
            target=each.target,
            minimum=each.minimum,
            maximum=each.maximum,
            report=None if self._aged(each, now) else each.report,
            decided=each.decided,
            changed=each.changed,
            since_change=now - max(each.changed_at, self.began),
            follows=self.follows(each, now),
            tmem=each.tmem,
            tmem_decided=each.tmem_decided,
        )


def _target(each: Known, store: Store | None) -> int:
    """What a guest was told before the daemon began; what it has, where nobody says."""
    try:
        content = store.read(f"/local/domain/{each.domain}/memory/target") if store is not None else None
    except StoreError:
        content = None
    return int(content) * KIB if content is not None and content.isascii() and content.isdigit() else each.actual


def _use(client: Mapping[str, Any], pools: list[Mapping[str, Any]]) -> TmemUse:
    """A client of `tmemctl list -l --json`. Lost: what it could put, less what it got back (a hit
    takes the page), flushed and still has, and what was refused.
    """
    ephemeral = [pool for pool in pools if pool["PT"].startswith("E")]
    if not ephemeral:
        return TmemUse(client["ww"])
    puts, tried, refused, gets, asked, pages, flushed, replaced = (
        sum(pool[tag] for pool in ephemeral) for tag in ("ps", "pt", "px", "gs", "gt", "Pc", "fs", "pr")
    )
    evicted = max(puts - replaced - gets - flushed - pages, 0)
    return TmemUse(client["ww"], puts=tried, hits=gets, misses=asked - gets, lost=evicted + refused)
