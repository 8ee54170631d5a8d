"""The sections of a report: tables and sentences, from figures that the other modules of `analysis`
have made. report.md shows them as Markdown, report.html as a page.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from analysis import accounting, claims, cost, fates, panels, statistics, style, totals, unlike
from analysis.accounting import Account
from analysis.claims import Verdict
from analysis.load import Results, levels_text
from campaigns import records
from campaigns.looks import Look
from campaigns.records import Claim, aggregate
from common.text import markdown, markdown_paragraph

MISSING = "–"


class Markdown(str):
    """Text that is Markdown already."""

    __slots__ = ()


@dataclass(frozen=True)
class Source:
    """What a row's numbers are of: cells of these policies, the control last, at factor levels, and
    of others: (policy, levels) each.
    """

    policies: tuple[str, ...]
    levels: str
    others: tuple[tuple[str, str], ...] = ()


class Table(Markdown):
    """A table, as Markdown. columns, rows: what its cells show, as it was given. sources: of each
    row, where its own columns do not name policy and levels; else empty.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    sources: tuple[Source, ...]


class Strong(str):
    """A sentence that nobody must miss."""

    __slots__ = ()


@dataclass(frozen=True)
class Section:
    """A heading and what stands below it: sentences, and tables."""

    heading: str
    parts: tuple[str, ...]


def table(columns: Sequence[str], rows: Sequence[Sequence[str]], sources: Sequence[Source] = ()) -> Table:
    """A table whose cells show what they are given; what would end a cell or a line in it is
    escaped. sources: of each row, or none.
    """
    shown = [[markdown(str(cell)).replace("|", "\\|") for cell in line] for line in (columns, *rows)]
    made = Table("\n".join(f"| {' | '.join(line)} |" for line in (shown[0], ["---"] * len(columns), *shown[1:])))
    made.columns = tuple(map(str, columns))
    made.rows = tuple(tuple(map(str, row)) for row in rows)
    made.sources = tuple(sources)
    return made


def prose(parts: Sequence[str]) -> list[str]:
    """Tables as they are, and sentences as Markdown that shows them."""
    return [_markdown(part) for part in parts]


def _markdown(part: str) -> str:
    if isinstance(part, Markdown):
        return part
    return f"**{markdown_paragraph(part)}**" if isinstance(part, Strong) else markdown_paragraph(part)


def repetition(results: Results) -> str:
    """Which level was repeated, and so what an interval covers and what it does not."""
    ran = {totals.boot_of(cell) for cell in results.complete}
    counts = [len(results.at(policy, levels)) for levels in results.levels for policy in results.policies]
    if max(counts, default=0) < 2:
        return "One run of each policy on one boot of one build: there are no intervals."
    most = statistics.repetitions(len(ran), max(counts))
    anew = unlike.booted_anew(results)
    least = "" if unlike.boots_told(results) else "at least "
    if len(ran) > 1:
        said = "".join(
            f" The host was booted {least}{times} times for the cells of boot {number}, which was interrupted or run "
            "again in part: among its runs is what differs between boots, too."
            for number, times in anew.items()
        )
        return (
            f"Intervals cover what differs between boots ({most} of each "
            "policy; runs of one boot are averaged first); another build is not "
            f"in them.{_single(len(ran), max(counts))}{said}"
        )
    if anew:
        return (
            f"Intervals cover what differs between runs ({most} of each policy), and something of what differs between "
            f"boots of the host, which was booted {least}{anew[1]} times for them; another build is not in them."
        )
    return (
        f"Intervals cover what differs between runs ({most} of each "
        "policy); neither another boot of the host nor another build is in "
        "them, and between those the figures may differ by more."
    )


def _single(boots: int, runs: int) -> str:
    """What single runs are told for, beside an interval over few boots."""
    if boots > totals.FEW_BOOTS or runs <= boots:
        return ""
    return (
        f" Means of {boots} boots may be alike by luck, and an interval then narrower than it should be, so the range "
        "of single runs, pairs of one block each, is told beside it."
    )


def chosen(results: Results) -> list[str]:
    """That the data chose the sample size, and how, where it did."""
    if (until := results.campaign.until) is None:
        return []
    taken = records.read_looks(results.directory)
    units = f"{until.unit}s"
    seen = [f"after {each.size} {units} {_widest(each)}" for each in taken]
    found = "; ".join(seen) or "no look has been taken yet"
    ended = (
        f"It ended at {taken[-1].size}."
        if taken and taken[-1].enough
        else "It has not ended: what is said here is preliminary."
    )
    text = (
        f"The sample size was chosen by the data: {units} were added, from {until.sizes[0]} up to {until.sizes[-1]} at "
        f"most, until half the interval of {until.metric}, {until.treatment} ÷ {until.control}, was at most "
        f"{100 * until.half_width:g} % of it at all levels ({found}). {ended} Looks were planned at "
        f"{', '.join(map(str, until.sizes))}, before the first cell; for having looked {len(until.sizes)} times, every "
        f"interval is drawn at {100 * until.level:.4g} % and every p is multiplied by {len(until.sizes)} (Bonferroni), "
        f"so that {100 * statistics.LEVEL:.0f} % hold for all looks together."
    )
    return [text]


def _widest(look: Look) -> str:
    """The widest of a look's intervals."""
    widths = [each.half_width for each in look.points]
    known = [width for width in widths if width is not None]
    return style.percent(max(known)) if known and len(known) == len(widths) else "unknown"


def hosts(results: Results) -> list[str]:
    """Which hosts the cells ran on, where there were several, and whether pairs stayed on one."""
    counts = Counter(cell.host for cell in results.complete)
    if len(counts) < 2:
        return []
    shares: dict[object, set[str]] = {}
    for cell in results.complete:
        shares.setdefault((totals.pair_key(cell), levels_text(cell.levels)), set()).add(cell.host)
    split = sum(len(names) > 1 for names in shares.values())
    each = ", ".join(f"{name}: {number}" for name, number in sorted(counts.items()))
    kept = "the cells of each block at the same levels ran on one host, so what differs between hosts is in no pair"
    lost = (
        f"the cells of {split} of {len(shares)} blocks at the same levels ran on more than one, because a host was "
        "lost: what differs between hosts is in their ratios"
    )
    return [f"Cells ran on {len(counts)} hosts ({each}); {lost if split else kept}."]


def starved(results: Results) -> list[str]:
    """In how many cells the host's machine had other work to do, and what that leaves of their
    figures.
    """
    found = [cell for cell in results.complete if cell.starved]
    if not found:
        return []
    shares = [share for cell in found if (share := cell.value("controller_share")) is not None]
    least = (
        f" (of the processor time that it asked for, it got as little as {style.percent(min(shares))})"
        if shares
        else ""
    )
    text = (
        f"In {len(found)} of {len(results.complete)} cells the machine "
        f"below starved the host{least}: their counters count, and their "
        "times and rates have no value, so that nothing is said of time where none is left."
    )
    return [text]


UNEVEN = 1.2
"""Between the slowest and the fastest cell's machine; runs of one cell differ by a few per cent."""


def uneven(results: Results) -> list[str]:
    """Whether the machine below was faster in some cells than in others, which no share of its time
    tells.
    """
    found = unlike.speeds(results)
    if not found or (factor := max(found.values()) / min(found.values())) < UNEVEN:
        return []
    slowest, fastest = min(found, key=found.__getitem__), max(found, key=found.__getitem__)
    text = (
        f"The machine below was {factor:.2g} times as fast in {fastest} as in {slowest}: times, and memory held over "
        "time, do not compare between such cells, nor do reads where guests start by a clock."
    )
    return [text]


_COMPARED = ("sectors_read", "sectors_written", "read_requests", "disk_requests", "wall_seconds", "total_vcpu_seconds")


def compared(results: Results) -> list[str]:
    """Every ratio with its interval, and the means that it divides: those of the cells that it
    used, and of no others.
    """
    rows: list[tuple[str, ...]] = []
    for item in totals.compare_all(results):
        if item.quantity not in _COMPARED or item.ratio.n == 0:
            continue
        ratio = item.ratio
        means = (MISSING if value is None else panels.number(value) for value in (ratio.treatment, ratio.control))
        interval = claims.interval(ratio).removeprefix(f"{100 * statistics.LEVEL:.0f} % interval ") or MISSING
        rows.append(
            (
                f"{item.policy} ÷ {item.control}",
                item.levels or MISSING,
                f"{totals.QUANTITIES[item.quantity].label} [{item.unit}]",
                *means,
                MISSING if ratio.estimate is None else f"{ratio.estimate:.3f}",
                interval,
                claims.single(ratio).removeprefix("single runs ") or MISSING,
                f"{statistics.repetitions(ratio.boots, ratio.runs)}{_left_out_of(results, item)}",
            )
        )
    columns: tuple[str, ...] = (
        "policy ÷ control",
        "levels",
        "quantity",
        "mean, policy",
        "mean, control",
        "ratio",
        "95 % interval",
        "single runs",
        "over",
    )
    if all(row[-2] == MISSING for row in rows):
        columns, rows = (*columns[:-2], columns[-1]), [(*row[:-2], row[-1]) for row in rows]
    return [table(columns, rows)] if rows else ["Nothing was measured under two policies."]


def _left_out_of(results: Results, item: totals.Compared) -> str:
    """How many complete cells a ratio could not use, because their pair is missing or has no
    value.
    """
    there = [len(results.at(policy, item.levels)) for policy in (item.policy, item.control)]
    unused = there[0] + there[1] - len(item.ratio.used[0]) - len(item.ratio.used[1])
    return f"; {unused} complete cell{' has' if unused == 1 else 's have'} no pair" if unused else ""


def verdicts(found: Sequence[Verdict]) -> list[str]:
    """The claims and what is said of them."""
    if not found:
        return ["The experiment declares no claims."]
    rows = [
        (
            v.claim.id,
            v.claim.statement,
            f"{v.claim.source} ({claims.evidence(v.claim)})",
            (
                f"{v.claim.compare.control} "
                f"({'named by the source' if v.claim.control_from == 'source' else 'our choice'})"
            ),
            v.levels or MISSING,
            v.verdict,
            v.magnitude.word if v.magnitude else MISSING,
            v.wording,
        )
        for v in found
    ]
    columns = ("claim", "statement", "source (evidence)", "control", "levels", "direction", "magnitude", "in words")
    stated = {v.claim.id: v.claim for v in found}.values()
    return [table(columns, rows), *(text for claim in stated if (text := _background(claim)))]


def _background(claim: Claim) -> str:
    """In which regime a claim was made, and what would contradict it, as far as that is written
    down.
    """
    regime = f" Regime: {claim.regime.removesuffix('.')}." if claim.regime else ""
    against = f" Contradicted by: {claim.contradicted_by.removesuffix('.')}." if claim.contradicted_by else ""
    return f"{claim.id}:{regime}{against}" if regime or against else ""


def accounts(results: Results) -> list[str]:
    parts: list[str] = []
    for levels in results.levels:
        items = [a for a in accounting.accounts(results) if a.levels == levels and a.cell is None]
        if not items:
            continue
        parts += [f"At {levels}:"] if levels else []
        parts.append(table(_ACCOUNT_COLUMNS, [_account_row(results, item) for item in items]))
        parts += [" ".join(accounting.explain(results, item)) for item in items if item.guest is None]
        found = fates.fates(results)
        parts += [text for mean in fates.summary(found, levels) if (text := fates.explain(results, found, mean))]
    return parts or ["No pair of complete cells with and without tmem."]


_ACCOUNT_COLUMNS = (
    "policy ÷ control",
    "guest",
    "sectors read, control",
    "sectors read, policy",
    "saved",
    "ephemeral hits",
    "persistent hits",
    "hits × 8",
    "explained",
)


def _account_row(results: Results, item: Account) -> tuple[str, ...]:
    figures_ = (
        item.sectors_control,
        item.sectors_policy,
        item.saved,
        item.tmem_ephemeral_hits,
        item.tmem_persistent_hits,
        item.explained,
    )
    shown = (MISSING if value is None else f"{value:,.0f}" for value in figures_)
    agreement = MISSING if item.agreement is None else style.percent(item.agreement)
    ratio = accounting.agreement(results, item)
    if item.agreement is not None and ratio.low is not None and ratio.high is not None:
        agreement += f" ({100 * ratio.low:.0f} to {100 * ratio.high:.0f} %)"
    return (f"{item.policy} ÷ {item.control}", item.guest or "all", *shown, agreement)


def tmem_cost(results: Results) -> list[str]:
    """Processor time that Xen spent in tmem."""
    costs = cost.tmem(results)
    lines = []
    for levels in results.levels:
        said = cost.explain(results, costs, levels)
        if said and levels:
            said[0] = f"At {levels}: {said[0]}"
        lines += said
    return [" ".join(lines) or "No cycle was counted in tmem in any complete cell."]


def drifted(results: Results) -> list[str]:
    """What the complete cells ran on, as far as it was not the same for all."""
    untold = unlike.untold(results)
    if not results.complete or len(untold) == len(results.complete):
        return ["Nothing is recorded of what the cells ran on."]
    parts = [f"Nothing is recorded of what {', '.join(untold)} ran on."] if untold else []
    if found := unlike.differences(results):
        return [*parts, table(("what", "was"), unlike.rows(found))]
    same = (
        "Nothing that is recorded of testbed, host, hypervisor, kernels and "
        "settings differed between complete cells, but what the policies "
        "and factors set, and clocks, load and free memory."
    )
    return [*parts, same]


def sampling(results: Results) -> str:
    """What reading the counters cost, at most, in any complete cell."""
    share = aggregate((cell.value("sampling_cost", "max") for cell in results.complete), "max")
    if share is None:
        return f"What sampling took was not measured in every cell. {cost.sampling(results)}"
    return f"Sampling took at most {style.percent(share)} of one processor at any source. {cost.sampling(results)}"


def left_out(results: Results) -> str:
    rest = results.cells[results.cells["status"] != "complete"].astype("object")
    rest = rest.where(rest.notna(), MISSING)
    rows = [(row["cell"], row["status"], row["reason"], row["rerun"]) for row in rest.to_dict("records")]
    if not rows:
        return "None: every planned cell is complete."
    return table(("cell", "status", "reason", "rerun"), rows)
