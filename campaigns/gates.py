"""Validity gates: what a run has to show before its figures may be used.

A run whose guests never felt the pressure is invalid, not fast. Each gate has a name, what was
observed, what is required, a unit and a reason; a gate whose observation could not be read fails.
Which gates apply follows from the experiment and from the memory policy.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from campaigns import kernel_log
from campaigns.conditions import Conditions
from campaigns.managed import Managed
from campaigns.metrics import Readings, grown_by
from campaigns.records import BarrierRecord, Claim, GateResult, aggregate
from common.metrics import Metric
from common.units import PAGE_BYTES, SECTORS_PER_PAGE
from lab.api import Sample
from lab.counters.parse import HYPERVISOR
from policies.apply import start_mib
from policies.base import Policy

PAGES_PER_MIB = 2**20 // PAGE_BYTES

MOST_NOTES = 20
"""Lines of kernel logs that a record quotes; a broken kernel can say thousands."""

RATIO_SLACK = 0.9
"""Share of the declared overcommit ratio that has to be measured: Xen keeps some memory that a
sizing cannot foresee.
"""

START_SLACK_MIB = 2
"""libxl leaves a domain 1 MiB above its target, and a guest rounds to pages."""

SHARE_SLACK = 1.02
"""How far guests that are not overcommitted may exceed the host's memory for guests: rounding
and per-guest records.
"""

MOST_UNABLE = 0.5
"""Of a manager's decisions, what may be made without any report, or not be carried out."""

MORE_RAM_SLACK = 0.5
LEAST_SLACK_MIB = 16
HOST_SLACK = 0.03
"""How far a host with `more_ram` may be from its size: half of the addition, and no more than 16
MiB or 3 % of its memory. An emulated host of 480 MiB has 5 MiB more than was asked for.
"""


@dataclass(frozen=True)
class Measured:
    """What a run left behind for the gates. before, after: readings; samples: while it ran; logs:
    source -> kernel messages; managed: what a manager did, where one left something.

    apart_s: the most by which any counter of `before` was read before the release, or of `after`
    after the last guest's end; None: not all were read. late_s: the most by which any load started
    at another time than its own.
    """

    policy: Policy
    conditions: Conditions
    guests: Sequence[str]
    before: Readings
    after: Readings
    samples: Sequence[Sample]
    metrics: Sequence[Metric]
    checksums: Mapping[str, Mapping[str, str]]
    skew_seconds: float
    apart_s: float | None
    logs: Mapping[str, str]
    claims: Sequence[Claim]
    managed: Managed | None = None
    late_s: float = 0.0


Gate = Callable[[Measured], Iterable[GateResult]]


def check(measured: Measured) -> tuple[tuple[GateResult, ...], list[str]]:
    """Every gate's verdict, and notes with the details that do not fit into a verdict."""
    asked = [*GATES, *(POLICY_GATES[name] for name in measured.policy.gates)]
    results = tuple(result for gate in asked for result in gate(measured))
    found = kernel_log.findings(measured.logs)
    notes = [f"kernel log of {each.source}: {each.line} ({each.kind}: {each.reason})" for each in found[:MOST_NOTES]]
    if len(found) > MOST_NOTES:
        notes.append(f"kernel logs: {len(found) - MOST_NOTES} more lines like these; raw/kernel_log/ has them all")
    return results, notes


def _at_least(name: str, observed: float | None, required: float, unit: str, reason: str) -> GateResult:
    return GateResult(
        name, observed is not None and observed >= required, observed, required, unit, f"at least: {reason}"
    )


def _at_most(name: str, observed: float | None, required: float, unit: str, reason: str) -> GateResult:
    return GateResult(
        name, observed is not None and observed <= required, observed, required, unit, f"at most: {reason}"
    )


def _guests_alive(measured: Measured) -> Iterable[GateResult]:
    alive = sum(measured.after.get((guest, "vcpu_seconds")) is not None for guest in measured.guests)
    reason = "the hypervisor still counts every guest after the run; a guest that died left its memory to the others"
    yield _at_least("guests_alive", alive, measured.conditions.guests.count, "guests", reason)


def _overcommitted(measured: Measured) -> Iterable[GateResult]:
    """Guests whose memory moves want more than the host has, as measured before the barrier,
    where the experiment says so.
    """
    declared = measured.conditions.overcommit_ratio
    if declared <= 1:
        return
    held = aggregate([measured.before.get((guest, "memory")) for guest in measured.guests], "sum")
    free = measured.before.get((HYPERVISOR, "free_memory"))
    wanted = measured.conditions.wanted_mib * PAGES_PER_MIB
    pages = aggregate([held, free, _tmem_pages(measured)], "sum")
    required = measured.conditions.gates.overcommit_ratio or max(1.0, RATIO_SLACK * declared)
    reason = (
        "the guests' maximum memory ÷ what guests and nobody hold; "
        "with more memory on the host, nobody would have to give any"
    )
    yield _at_least("overcommitted", wanted / pages if pages else None, required, "ratio", reason)


def _fits(measured: Measured) -> Iterable[GateResult]:
    """Guests that keep what they are given have to fit into the host's memory."""
    held = aggregate([measured.before.get((guest, "memory")) for guest in measured.guests], "sum")
    share = measured.conditions.host.guest_memory_mib * PAGES_PER_MIB
    reason = "the guests' memory ÷ the host's memory for guests; what is given is kept"
    yield _at_most("fits", held / share if held is not None else None, SHARE_SLACK, "ratio", reason)


def _equal_start(measured: Measured) -> Iterable[GateResult]:
    """A policy takes effect at the release: until then, every guest has what the plan gives it."""
    starts = _starts(measured)
    seen = {guest: measured.before.get((guest, "memory")) for guest in measured.guests}
    off = [abs(value - starts[guest]) / PAGES_PER_MIB for guest, value in seen.items() if value is not None]
    reason = (
        "how far a guest's memory was from what it is to have at the "
        "release; a policy that had begun before compares another start"
    )
    yield _at_most("equal_start", max(off) if off and len(off) == len(seen) else None, START_SLACK_MIB, "MiB", reason)


def _starts(measured: Measured) -> dict[str, int]:
    """Guest -> pages that the plan gives it at the release."""
    host, guests = measured.conditions.host, measured.conditions.guests
    return {
        guest: start_mib(measured.policy, host, guests, number) * PAGES_PER_MIB
        for number, guest in enumerate(measured.guests, 1)
    }


def _tmem_pages(measured: Measured) -> float | None:
    """Pages that tmem holds in nobody's name: ephemeral ones and its own free list.

    Xen may have no tmem, and then there is nothing to read; under a policy that uses tmem, what
    cannot be read is not known.
    """
    counters = ("tmem_ephemeral_pages", "tmem_free_pages")
    pages = [measured.before.get((HYPERVISOR, counter)) for counter in counters]
    return aggregate(pages if measured.policy.pools else [each or 0 for each in pages], "sum")


def _memory_moved(measured: Measured) -> Iterable[GateResult]:
    """Every guest that follows its need gave memory back, or took some, at some time: seen from
    the hypervisor, not claimed by the guest.
    """
    moved: list[float | None] = []
    for guest, start in _starts(measured).items():
        seen = [sample.value for sample in measured.samples if sample.source == guest and sample.counter == "memory"]
        seen += [measured.before.get((guest, "memory")), measured.after.get((guest, "memory"))]
        known = [value for value in seen if value is not None]
        moved.append(max(abs(value / start - 1) for value in known) if known else None)
    reason = (
        "the least that any guest's memory moved, up or down, as a share of what "
        "it had at the release; one that never moved was never self-ballooning"
    )
    yield _at_least("memory_moved", aggregate(moved, "min"), measured.conditions.gates.memory_given, "fraction", reason)


def _tmem_used(measured: Measured) -> Iterable[GateResult]:
    """Pages really went to tmem. One counter that cannot be read fails the gate: the sum of the
    others is another figure.
    """
    counters = [(guest, f"tmem_{pool}_puts") for guest in measured.guests for pool in measured.policy.pools]
    puts = aggregate([_growth(measured, guest, counter) for guest, counter in counters], "sum")
    reason = "successful puts of all guests; without any, the policy was never in force"
    yield _at_least("tmem_puts", puts, measured.conditions.gates.tmem_puts, "pages", reason)


_TRIED = ("puts_tried", "gets_tried", "flushes_tried", "object_flushes_tried")


def _tmem_unused(measured: Measured) -> Iterable[GateResult]:
    """Xen has tmem, and no guest has ever asked it. Its counters have to be readable: where
    there are none, nobody could have asked.
    """
    asked = [
        measured.after.get((guest, f"tmem_{kind}_{tried}"))
        for guest in measured.guests
        for kind in ("ephemeral", "persistent")
        for tried in _TRIED
    ]
    reason = "operations that guests ever asked of tmem, as Xen counted them; with any, it was in use"
    yield _at_most("tmem_unused", aggregate(asked, "sum"), 0, "operations", reason)


def _tmem_refused(measured: Measured) -> Iterable[GateResult]:
    """Guests asked, and not one page was taken, from the time they could ask at all. Xen's own
    count of refused puts is of those for want of memory: those of a frozen guest are only tried.
    """
    pools = [(guest, f"tmem_{pool}") for guest in measured.guests for pool in measured.policy.pools]
    tried = aggregate([_growth(measured, guest, f"{pool}_puts_tried") for guest, pool in pools], "sum")
    taken = aggregate([measured.after.get((guest, f"{pool}_puts")) for guest, pool in pools], "sum")
    reason = "puts that guests tried; without any, the policy was never in force"
    yield _at_least("tmem_puts_refused", tried, measured.conditions.gates.tmem_puts, "pages", reason)
    reason = "successful puts of all guests; a page that was taken may have been returned"
    yield _at_most("tmem_puts_taken", taken, 0, "pages", reason)


def _ramdisk_stores(measured: Measured, guest: str) -> float | None:
    """Pages swapped out, and not to the disk: Linux does not count a RAM disk's requests."""
    if measured.after.get((guest, "ramdisk_held")) is None:
        return None
    return aggregate([_growth(measured, guest, "swap_out"), _negated(_disk_stores(measured, guest))], "sum")


def _zswap_stores(measured: Measured, guest: str) -> float | None:
    """What frontswap took, and tmem did not."""
    if measured.after.get((guest, "zswap_held")) is None:
        return None
    taken = _growth(measured, guest, "tmem_persistent_puts") if "persistent" in measured.policy.pools else 0
    return aggregate([_growth(measured, guest, "frontswap_stores"), _negated(taken)], "sum")


def _zram_stores(measured: Measured, guest: str) -> float | None:
    return _growth(measured, guest, "zram_stores")


def _negated(value: float | None) -> float | None:
    return None if value is None else -value


def _disk_stores(measured: Measured, guest: str) -> float | None:
    """Pages written to the swap disk; none where there is no disk."""
    if measured.conditions.guests.swap_mib == 0:
        return 0
    sectors = _growth(measured, guest, "swap_sectors_written")
    return None if sectors is None else sectors / SECTORS_PER_PAGE


def _memory_swap_used(kind: str, stores: Callable[[Measured, str], float | None]) -> Gate:
    """Pages went to swap in the guests' own memory, in each guest that swapped at all."""

    def gate(measured: Measured) -> Iterable[GateResult]:
        stored = {guest: stores(measured, guest) for guest in measured.guests}
        reason = f"pages that guests swapped to {kind} in their own memory; without any, the policy was never in force"
        required = measured.conditions.gates.swap_stores
        yield _at_least(f"{kind}_stores", aggregate(list(stored.values()), "sum"), required, "pages", reason)
        disk = {guest: _disk_stores(measured, guest) for guest in measured.guests}
        known = None not in (*stored.values(), *disk.values())
        past = len([guest for guest in measured.guests if disk[guest] and not stored[guest]]) if known else None
        reason = f"guests that swapped to their disks alone; {kind} stands before the disk"
        yield _at_most(f"{kind}_passed_by", past, 0, "guests", reason)

    gate.__name__ = f"_{kind}_used"
    return gate


def _more_ram(measured: Measured) -> Iterable[GateResult]:
    """The host has what the experiment says, and so much more. What is allowed for Xen's own memory
    is less than what was added, so that a host without the addition never passes.
    """
    held = aggregate([measured.before.get((guest, "memory")) for guest in measured.guests], "sum")
    free = measured.before.get((HYPERVISOR, "free_memory"))
    there = aggregate([held, free, _tmem_pages(measured)], "sum")
    declared, more = measured.conditions.host.guest_memory_mib, measured.conditions.more_ram_mib
    off = None if there is None else abs(there / PAGES_PER_MIB - declared)
    slack = min(more * MORE_RAM_SLACK, max(LEAST_SLACK_MIB, HOST_SLACK * declared))
    reason = (
        "how far what guests and nobody held at the release was from what the host was declared to have, "
        "the addition included"
    )
    yield _at_most("more_ram", off, slack, "MiB", reason)


def _manager_decided(measured: Measured) -> Iterable[GateResult]:
    """A manager may rightly leave all as it is, but it has to have looked, and not failed at it. Of
    how often it was blind or unable is told only what speaks against a cell.
    """
    made = measured.managed.decisions if measured.managed else None
    decided = len(made) if made is not None else None
    yield _at_least("manager_decided", decided, 1, "decisions", "without any, the manager was never in force")
    failed = len(measured.managed.errors) if measured.managed else None
    yield _at_most(
        "manager_errors", failed, 0, "errors", "a manager that could not see or decide left the guests alone"
    )
    for name, told, reason in (
        ("manager_blind", _blind, "decisions for which no guest had reported; they left all guests alone"),
        ("manager_unable", _unable, "decisions of which a command failed; guests were not told what was decided"),
    ):
        share = len([record for record in made if told(record)]) / len(made) if made else 0.0
        if share > MOST_UNABLE:
            yield _at_most(name, share, MOST_UNABLE, "fraction", reason)


def _blind(decision: Mapping[str, Any]) -> bool:
    """Whether no guest had a report for a manager that goes by reports."""
    return len(decision.get("reports", {})) >= len(decision["names"]) > 0


def _unable(decision: Mapping[str, Any]) -> bool:
    """Whether a command failed. Memory that did not come free in time is no failure of one."""
    return any(not str(what).startswith("growing to") for _, what, _ in decision["failed"])


def _growth(measured: Measured, source: str, counter: str) -> float | None:
    """A counter's growth; None when it went backwards, or could not be read at both ends. A
    guest without a pool has 0 (lab/counters/parse.py).
    """
    return grown_by(measured.before, measured.after, source, counter)


def _reads_happened(measured: Measured) -> Iterable[GateResult]:
    required = measured.conditions.gates.sectors_read
    if required:
        read = aggregate([metric.value for metric in measured.metrics if metric.name == "sectors_read"], "sum")
        reason = "sectors read by all guests; fewer mean that caches were warm or the load did not run"
        yield _at_least("reads_happened", read, required, "sectors", reason)


def _same_output(measured: Measured) -> Iterable[GateResult]:
    """Guests of a group do the same work, so its output is the same in each: a difference is a
    corrupted page or a broken load.
    """
    members = measured.conditions.members(measured.guests)
    outputs: dict[str, set[tuple[tuple[str, str], ...]]] = {}
    for guest, group in members.items():
        outputs.setdefault(group.name, set()).add(tuple(sorted(measured.checksums.get(guest, {}).items())))
    found = [len(each) for each in outputs.values() if each != {()}]
    if not found:
        return  # workloads without output to compare
    yield _at_most(
        "same_output",
        max(found),
        1,
        "different outputs",
        "checksums of what the guests made; a difference is a corrupted page",
    )


def _together(measured: Measured) -> Iterable[GateResult]:
    reason = (
        "between the first and the last guest's release; alone at the "
        "beginning, a guest has memory that it should compete for"
    )
    yield _at_most("barrier_skew", measured.skew_seconds, measured.conditions.gates.barrier_skew, "s", reason)
    if measured.conditions.staggered:
        reason = "how far from its time a load started; another phase is another experiment"
        yield _at_most("starts_on_time", measured.late_s, measured.conditions.gates.barrier_skew, "s", reason)


def _readings_close(measured: Measured) -> Iterable[GateResult]:
    reason = (
        "how far from the release, or from the last guest's end, a counter was read, in its machine's time; "
        "what was counted in between is not the run's"
    )
    yield _at_most("readings_close", measured.apart_s, measured.conditions.gates.readings_close, "s", reason)


def apart(before: Iterable[Sample], after: Iterable[Sample], released: BarrierRecord) -> float | None:
    """Seconds between the readings and the run that they enclose, at most, by the host's clock.
    None without readings.

    A reading within the run is too late before it, or too early after it, by as much.
    """
    ended_at = released.released_at + max(released.ends.values())
    times = [[abs(released.released_at - each.time) for each in before], [abs(each.time - ended_at) for each in after]]
    return max(map(max, times)) if all(times) else None


def late(released: BarrierRecord, conditions: Conditions) -> float:
    """Seconds by which any load started before or after its time, at most."""
    due = conditions.starts(list(released.starts))
    return max(
        abs(start - due[name].due_s(released.ends, released.releases.get(name, 0.0)))
        for name, start in released.starts.items()
    )


def _clean_logs(measured: Measured) -> Iterable[GateResult]:
    found = kernel_log.findings(measured.logs)
    reasons = "; ".join(sorted({finding.reason for finding in found}))
    yield _at_most("kernel_logs", len(found), 0, "lines", reasons or "no kernel complained")


def _claims_have_figures(measured: Measured) -> Iterable[GateResult]:
    """A claim is judged on its metric, so that has to be there for every guest."""
    policy = measured.policy.name
    groups = measured.conditions.group_names(measured.guests)
    asked = {
        (claim.metric, claim.group or "")
        for claim in measured.claims
        if policy in (claim.compare.treatment, claim.compare.control)
    }
    for name, group in sorted(asked):
        values = [
            metric.value
            for metric in measured.metrics
            if metric.name == name and (not group or groups.get(metric.guest or "") == group)
        ]
        known = sum(value is not None for value in values)
        gate = f"has_{name}" + (f"_of_{group}" if group else "")
        yield _at_least(gate, known, max(1, len(values)), "values", "a claim is judged on this metric")


GATES: tuple[Gate, ...] = (
    _guests_alive,
    _equal_start,
    _reads_happened,
    _same_output,
    _together,
    _readings_close,
    _clean_logs,
    _claims_have_figures,
)
"""Those for every policy, in the order of a cell's record."""

POLICY_GATES: Mapping[str, Gate] = {
    "overcommitted": _overcommitted,
    "fits": _fits,
    "memory_moved": _memory_moved,
    "manager_decided": _manager_decided,
    "tmem_used": _tmem_used,
    "tmem_unused": _tmem_unused,
    "tmem_refused": _tmem_refused,
    "ramdisk_used": _memory_swap_used("ramdisk", _ramdisk_stores),
    "zswap_used": _memory_swap_used("zswap", _zswap_stores),
    "zram_used": _memory_swap_used("zram", _zram_stores),
    "more_ram": _more_ram,
}
"""Those that a policy asks for by name (policies/base.py)."""

FORMER = ("memory_given",)
"""Names in cells that were made before a gate was another: memory_given counted what guests
gave, and not what they took.
"""


def names() -> tuple[str, ...]:
    """The gates of this testbed, for a campaign's record: verification demands that cells have
    what was in force.
    """
    return (*(gate.__name__.lstrip("_") for gate in GATES), *POLICY_GATES)


def same_version(then: Collection[str], policies: Iterable[Policy]) -> bool:
    """Whether a campaign of these policies, begun with those gates, is judged by the gates of this
    testbed. Gates that came later for other policies make no difference.
    """
    asked = {gate.__name__.lstrip("_") for gate in GATES} | {name for policy in policies for name in policy.gates}
    return asked <= set(then) <= set(names())
