"""What a campaign says, for people: rows for the terminal, one paragraph in words, verdicts, and `report.md`.

Every figure in it comes from `load`, `totals`, `accounting` and `claims`; this module only finds the words. The report
holds no time of its own making: the same results give the same bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from analysis import accounting, claims, drift, figures, outputs, panels, rates, statistics, style, tables, totals
from analysis.accounting import Account
from analysis.claims import Verdict
from analysis.load import Results, experiment_text, load
from campaigns.records import aggregate
from common.errors import CampaignError
from common.units import parse_size

REPORT_FILE = "report.md"


@dataclass(frozen=True)
class Summary:
    """What a task prints. columns and rows: a table of texts, a row per policy (and factor levels); "–" is a missing value.

    differing: names of outputs that are not the same in every guest and under every policy.
    figures, tables: paths of what was written; figures is empty when no cell is complete. report: path of report.md.
    """

    campaign: str
    host: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    paragraph: str
    verdicts: tuple[Verdict, ...]
    differing: tuple[str, ...]
    figures: tuple[Path, ...]
    tables: tuple[Path, ...]
    report: Path

    def check(self) -> None:
        """CampaignError when outputs differ: no figure of such a campaign is to be trusted."""
        if self.differing:
            raise CampaignError(
                f"what the guests of campaign {self.campaign!r} made is not the same everywhere: {', '.join(self.differing)}",
                where=f"{self.report}, Outputs",
                why="either the workload is not reproducible, or data was corrupted",
                remedy="compare the outputs of the cells named there; use none of the figures until it is explained",
            )


MISSING = "–"

UNVERIFIED = "Unverified: these results are damaged or were changed, and ./inv results.verify does not accept them."

_SHOWN: Mapping[str, str] = {
    "sectors_read": "sectors read",
    "sectors_written": "sectors written",
    "wall_seconds": "wall time [s]",
    "vcpu_seconds": "vCPU seconds [s]",
    "major_faults": "major faults",
}


def summarise(campaign_dir: Path | str, *, into: Path | None = None, unverified: bool = False) -> Summary:
    """Write tables, figures and report.md of a campaign, and return what to print. ResultsError when it cannot be read.

    into: where to write them, by default the campaign's directory. unverified: say on each that the results were not verified, or did not pass.
    """
    results = load(campaign_dir)
    if unverified:
        results = replace(results, unverified=True)
    into = into or results.directory
    verdicts = tuple(claims.judge(results))
    columns, rows = summary_table(results)
    written = tables.write_all(results, into)
    drawn = figures.draw_all(results, into / figures.FIGURES_DIR) if results.records else []
    report = into / REPORT_FILE
    text = markdown(results, verdicts, [path.relative_to(into) for path in drawn])
    tables.replace(report, text.encode())
    return Summary(
        campaign=results.record.campaign,
        host=figures.host_line(results),
        columns=columns,
        rows=rows,
        paragraph=f"{UNVERIFIED} {paragraph(results)}" if results.unverified else paragraph(results),
        verdicts=verdicts,
        differing=outputs.all_differing(results),
        figures=tuple(drawn),
        tables=tuple(written),
        report=report,
    )


def summary_table(results: Results) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]:
    """Columns and rows of the summary: per policy the mean over its complete cells (statistics.Centre), and the ratio to the control."""
    control = totals.control_of(results)
    factors = len(results.levels) > 1 or bool(results.levels and results.levels[0])
    columns = ("policy", *(("levels",) if factors else ()), "cells", *_SHOWN.values(), "tmem hit rate")
    rows = []
    for levels in results.levels:
        for policy in results.policies:
            planned = sum(
                1
                for name, at in zip(results.cells["policy"], results.cells["levels"], strict=True)
                if (name, at) == (policy, levels)
            )
            row = [policy, *((levels,) if factors else ()), f"{len(results.at(policy, levels))} of {planned}"]
            row += [_value(results, name, policy, control, levels) for name in _SHOWN]
            rows.append((*row, _hit_rate(results, policy, levels)))
    return columns, tuple(rows)


def _value(results: Results, name: str, policy: str, control: str, levels: str) -> str:
    quantity = totals.QUANTITIES[name]
    centre = statistics.centre(totals.values(results, quantity, policy, levels).values())
    if centre.mean is None:
        return MISSING
    text = panels.number(centre.mean)
    if policy == control:
        return text
    ratio = _ratio(results, name, policy, control, levels)
    return f"{text} ({ratio.estimate:.2f}×)" if ratio.estimate is not None else text


def _hit_rate(results: Results, policy: str, levels: str) -> str:
    """Of all guests and cells together. A rate over fewer guests is another figure: one whose counters are missing makes it missing."""
    found = [r for r in rates.hit_rates(results) if (r.policy, r.levels) == (policy, levels)]
    texts = []
    for kind in accounting.KINDS:
        mine = [r for r in found if r.kind == kind]
        if all(r.gets is None and r.gets_tried is None for r in mine):
            continue
        gets, tried = (aggregate((getattr(r, name) for r in mine), "sum") for name in ("gets", "gets_tried"))
        if gets is None or tried is None:
            texts.append(f"{MISSING} {kind}")
        elif tried:
            texts.append(f"{style.percent(gets / tried)} {kind}")
    return ", ".join(texts) or MISSING


def paragraph(results: Results) -> str:
    """What was compared, what came out, how sure that is, and on what kind of machine. One paragraph."""
    counts = results.cells["status"].value_counts()
    sentences = [
        (
            f"Campaign {results.record.campaign} of experiment {results.record.name} compared {len(results.policies)} memory "
            f"{'policy' if len(results.policies) == 1 else 'policies'} ({', '.join(results.policies)})"
            f"{_sizing(results)}; {counts.get('complete', 0)} of {len(results.cells)} cells are complete."
        )
    ]
    if not results.records:
        return " ".join([*sentences, "Nothing can be said yet."])
    for levels in results.levels:
        said = [*_outcome(results, levels), *_accounted(results, levels)]
        if said and levels:
            said[0] = f"At {levels}: {said[0]}"
        sentences += said
    sentences += outputs.compare(results)
    if drifted := list(dict.fromkeys(each.what for each in drift.differences(results))):
        sentences.append(f"What the cells ran on was not the same for all: {', '.join(drifted)} (see the report).")
    if claims.emulated(results):
        accelerators = sorted(
            {cell.accelerator or "unknown" for cell in results.records if cell.host_kind == "emulated"}
        )
        sentences.append(
            f"The host was emulated ({', '.join(accelerators)}): the counters are real, but every time is the emulated "
            "machine's and says nothing about real hardware."
        )
    return " ".join(sentences)


def _sizing(results: Results) -> str:
    """How many guests of what size on how much memory, as far as the campaign says."""
    numbers = {len(rates.guests(results, levels)) for levels in results.levels} - {0}
    text = f" with {' or '.join(map(str, sorted(numbers)))} guests" if numbers else ""
    size = experiment_text(results, "guests", "memory_max")
    if text and size and not any(results.levels):
        text += f" of at most {size} each"
        if memory := experiment_text(results, "host", "guest_memory"):
            text += f", on a host with {memory} for guests"
            ratio = max(numbers) * parse_size(size) / parse_size(memory)
            text += f" (overcommit ratio {ratio:.2f})"
    return text


_SAID = ("sectors_read", "sectors_written", "wall_seconds")


def _outcome(results: Results, levels: str) -> list[str]:
    sentences = []
    for policy in results.policies:
        for control in totals.controls_of(results, policy):
            ratios = {name: _ratio(results, name, policy, control, levels) for name in _SAID}
            parts = [
                f"{totals.QUANTITIES[name].label} {change(ratio)}"
                for name, ratio in ratios.items()
                if ratio.estimate is not None
            ]
            if parts:
                sentences.append(f"Under {policy}, compared with {control}: {'; '.join(parts)}.")
    if sentences and min(len(results.at(policy, levels)) for policy in results.policies) < 2:
        sentences.append("Where there is one repetition, this was observed, not tested.")
    return sentences


def _ratio(results: Results, name: str, policy: str, control: str, levels: str) -> statistics.Ratio:
    quantity = totals.QUANTITIES[name]
    return totals.ratio_of(results, quantity.metrics, quantity.how, treatment=policy, control=control, levels=levels)


def change(ratio: statistics.Ratio) -> str:
    """A ratio in words: `39 % lower (ratio 0.61, 95 % interval 0.55 to 0.68, n = 5)`."""
    if ratio.estimate is None:
        return "not measured"
    percent = 100 * (ratio.estimate - 1)
    word = (
        f"{abs(percent):.0f} % {'lower' if percent < 0 else 'higher'}"
        if abs(percent) >= 0.5
        else "the same within 0.5 %"
    )
    interval = (
        f"{100 * statistics.LEVEL:.0f} % interval {ratio.low:.2f} to {ratio.high:.2f}, "
        if ratio.low is not None and ratio.high is not None
        else ""
    )
    chance = ", could be chance" if ratio.p is not None and ratio.p >= claims.ALPHA else ""
    return f"{word} (ratio {ratio.estimate:.2f}, {interval}n = {ratio.n}{chance})"


def _accounted(results: Results, levels: str) -> list[str]:
    return [
        f"The pages that tmem returned under {item.policy}, {panels.number(item.explained)} sectors' worth by the "
        f"hypervisor's count, explain {style.percent(item.agreement)} of the {panels.number(item.saved)} sectors that "
        f"were not read."
        for item in accounting.summary(results, levels)
        if item.agreement is not None and item.explained is not None and item.saved is not None
    ]


def markdown(results: Results, verdicts: Sequence[Verdict], drawn: Sequence[Path]) -> str:
    """The text of report.md. drawn: paths of the figures relative to the campaign."""
    columns, rows = summary_table(results)
    control = totals.control_of(results)
    parts = [
        f"# {results.record.campaign}",
        f"**{UNVERIFIED}**" if results.unverified else "",
        f"Host: {figures.host_line(results)}.",
        paragraph(results),
        "## By policy",
        _table(columns, rows),
        (
            f"Geometric means over complete cells (arithmetic ones where a value is 0); × is the ratio to {control}. Sectors, vCPU seconds "
            "(guests and dom0) and faults are summed over the guests; wall time is until the last guest finished. A dash is a value that was "
            'not measured. "Where the reads went" has arithmetic means, since sectors add up.'
        ),
        *(f"![{path.stem}]({path.as_posix()})" for path in drawn if path.suffix == ".png"),
        "## Claims",
        *_claims(verdicts),
        "## Where the reads went",
        *_accounts(results),
        "## Outputs",
        *(f"**{line}**" if line.startswith(outputs.SHOUT) else line for line in outputs.compare(results)),
        "## What differed between cells",
        *_drift(results),
        "## Cells that do not count",
        _left_out(results),
        "## How it was computed",
        (
            f"Intervals are Student's t at {100 * statistics.LEVEL:.0f} %, on the logarithms, of ratios paired by block where the "
            "plan has blocks, else Welch's. They are not corrected for many comparisons; the verdicts are, by Holm's method over "
            f"all claims, at {100 * claims.ALPHA:.0f} %. Only complete cells enter. {_sampling(results)} The same figures are in `tables/`, "
            "as Parquet and CSV."
        ),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _claims(verdicts: Sequence[Verdict]) -> list[str]:
    if not verdicts:
        return ["The experiment declares no claims."]
    rows = [
        (
            v.claim.id,
            v.claim.statement,
            f"{v.claim.source} ({v.claim.evidence})",
            v.levels or MISSING,
            v.verdict,
            v.wording,
        )
        for v in verdicts
    ]
    return [_table(("claim", "statement", "source (evidence)", "levels", "verdict", "in words"), rows)]


def _accounts(results: Results) -> list[str]:
    parts: list[str] = []
    for levels in results.levels:
        items = [a for a in accounting.accounts(results) if a.levels == levels and a.cell is None]
        if not items:
            continue
        parts += [f"At {levels}:"] if levels else []
        parts.append(_table(_ACCOUNT_COLUMNS, [_account_row(item) for item in items]))
        parts += [" ".join(accounting.explain(results, item)) for item in items if item.guest is None]
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


def _account_row(item: Account) -> tuple[str, ...]:
    figures_ = (
        item.sectors_control,
        item.sectors_policy,
        item.saved,
        item.ephemeral_hits,
        item.persistent_hits,
        item.explained,
    )
    shown = (MISSING if value is None else f"{value:,.0f}" for value in figures_)
    agreement = MISSING if item.agreement is None else style.percent(item.agreement)
    return (f"{item.policy} ÷ {item.control}", item.guest or "all", *shown, agreement)


def _drift(results: Results) -> list[str]:
    """What the complete cells ran on, as far as it was not the same for all."""
    untold = drift.untold(results)
    if not results.records or len(untold) == len(results.records):
        return ["Nothing is recorded of what the cells ran on."]
    parts = [f"Nothing is recorded of what {', '.join(untold)} ran on."] if untold else []
    if found := drift.differences(results):
        return [*parts, _table(("what", "was"), drift.rows(found))]
    same = (
        "Nothing that is recorded of testbed, host, hypervisor, kernels and settings differed between complete cells, but what the policies "
        "and factors set, and clocks, load and free memory."
    )
    return [*parts, same]


def _sampling(results: Results) -> str:
    """What reading the counters cost, at most, in any complete cell."""
    cost = aggregate((cell.value("sampling_cost", "max") for cell in results.records), "max")
    if cost is None:
        return "What sampling took was not measured in every cell."
    return f"Sampling took at most {style.percent(cost)} of one processor at any source."


def _left_out(results: Results) -> str:
    rest = results.cells[results.cells["status"] != "complete"].astype("object")
    rest = rest.where(rest.notna(), MISSING)
    rows = [(row["cell"], row["status"], row["reason"], row["rerun"]) for row in rest.to_dict("records")]
    if not rows:
        return "None: every planned cell is complete."
    return _table(("cell", "status", "reason", "rerun"), rows)


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(
        "| " + " | ".join(str(cell).replace("|", "\\|").replace("\n", " ") for cell in line) + " |" for line in lines
    )
