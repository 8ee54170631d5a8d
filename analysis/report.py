"""What a campaign says, for people: rows for the terminal, one paragraph in words, verdicts, and
`report.md`.

Every figure in it comes from `load`, `totals`, `accounting` and `claims`; this module only finds
the words. The report holds no time of its own making: the same results give the same bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from analysis import (
    accounting,
    claims,
    figures,
    footprint,
    outputs,
    panels,
    rates,
    regime_words,
    sections,
    statistics,
    style,
    tables,
    thresholds,
    totals,
    unlike,
)
from analysis.claims import Verdict
from analysis.load import Results, load, size
from analysis.sections import Section
from campaigns.records import aggregate
from common.errors import CampaignError
from common.text import markdown_paragraph
from common.units import format_size

REPORT_FILE = "report.md"


@dataclass(frozen=True)
class Summary:
    """What a task prints. columns and rows: a table of texts, a row per policy (and factor levels);
    "–" is a missing value.

    differing: names of outputs that are not the same in every guest and under every policy.
    figures, tables: paths of what was written; figures is empty when no cell is complete. report:
    path of report.md.
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
                f"what the guests of campaign {self.campaign!r} made is not the same everywhere: "
                f"{', '.join(self.differing)}",
                where=f"{self.report}, Outputs",
                why="either the workload is not reproducible, or data was corrupted",
                remedy="compare the outputs of the cells named there; use none of the figures until it is explained",
            )


MISSING = sections.MISSING

COMPARED, CLAIMS = "Compared", "Claims"
"""Headings that others look for."""

UNVERIFIED = "Unverified: these results are damaged or were changed, and ./inv results.verify does not accept them."

_SHOWN: Mapping[str, str] = {
    "sectors_read": "sectors read",
    "sectors_written": "sectors written",
    "wall_seconds": "wall time [s]",
    "total_vcpu_seconds": "vCPU seconds [s]",
    "major_faults": "major faults",
}


def summarise(campaign_dir: Path | str, *, into: Path | None = None, unverified: bool = False) -> Summary:
    """Write tables, figures and report.md of a campaign, and return what to print. ResultsError
    when it cannot be read.

    into: where to write them, by default the campaign's directory. unverified: say on each that the
    results were not verified, or did not pass.
    """
    results = load(campaign_dir)
    return summarised(replace(results, unverified=True) if unverified else results, into)


def summarised(results: Results, into: Path | None = None) -> Summary:
    """As `summarise`, for results that are already loaded."""
    into = into or results.directory
    verdicts = tuple(claims.judge(results))
    columns, rows = summary_table(results)
    written = tables.write_all(results, into)
    drawn = figures.draw_all(results, into / figures.FIGURES_DIR) if results.complete else []
    report = into / REPORT_FILE
    text = markdown(results, verdicts, [path.relative_to(into) for path in drawn])
    tables.replace(report, text.encode())
    return Summary(
        campaign=results.campaign.campaign,
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
    """Columns and rows of the summary: per policy the mean over its complete cells
    (statistics.Centre), and the ratio to the control.
    """
    control = totals.control_of(results)
    factors = len(results.levels) > 1 or bool(results.levels and results.levels[0])
    columns = ("policy", *(("levels",) if factors else ()), "cells", *_SHOWN.values(), "tmem hit rate")
    rows = []
    for levels in results.levels:
        for policy in results.policies:
            planned = len(results.cells[(results.cells["policy"] == policy) & (results.cells["levels"] == levels)])
            row = [policy, *((levels,) if factors else ()), f"{len(results.at(policy, levels))} of {planned}"]
            row += [_value(results, name, policy, control, levels) for name in _SHOWN]
            rows.append((*row, _hit_rate(results, policy, levels)))
    return columns, tuple(rows)


def _value(results: Results, name: str, policy: str, control: str, levels: str) -> str:
    quantity = totals.QUANTITIES[name]
    centre = totals.centre_of(results, quantity, policy, levels)
    if centre.mean is None:
        return MISSING
    text = panels.number(centre.mean)
    if policy == control:
        return text
    ratio = _ratio(results, name, policy, control, levels)
    if ratio.estimate is None:
        return text
    whole = all(
        len(used) == len(results.at(side, levels)) for used, side in zip(ratio.used, (policy, control), strict=True)
    )
    pairs = "" if whole else f" in {len(ratio.used[0])} pair{'' if len(ratio.used[0]) == 1 else 's'}"
    return f"{text} ({ratio.estimate:.2f}×{pairs})"


def _hit_rate(results: Results, policy: str, levels: str) -> str:
    """Of all guests and cells together. A rate over fewer guests is another figure: one whose
    counters are missing makes it missing.
    """
    found = [r for r in rates.hit_rates(results) if (r.policy, r.levels) == (policy, levels)]
    texts = []
    for kind in accounting.KINDS:
        mine = [r for r in found if r.kind == kind]
        if all(r.hits is None and r.gets_tried is None for r in mine):
            continue
        hits, tried = (aggregate((getattr(r, name) for r in mine), "sum") for name in ("hits", "gets_tried"))
        if hits is None or tried is None:
            texts.append(f"{MISSING} {kind}")
        elif tried:
            texts.append(f"{style.percent(hits / tried)} {kind}")
    return ", ".join(texts) or MISSING


def paragraph(results: Results) -> str:
    """What was compared, what came out, how sure that is, and on what kind of machine. One
    paragraph.
    """
    counts = results.cells["status"].value_counts()
    sentences = [
        (
            f"Campaign {results.campaign.campaign} of experiment {results.campaign.name} "
            f"compared {len(results.policies)} memory "
            f"{'policy' if len(results.policies) == 1 else 'policies'} ({', '.join(results.policies)})"
            f"{_sizing(results)}; {counts.get('complete', 0)} of {len(results.cells)} cells are complete."
        )
    ]
    if not results.complete:
        return " ".join([*sentences, "Nothing can be said yet."])
    mapped = regime_words.summary(results)
    for levels in [] if mapped else results.levels:
        said = [*_outcome(results, levels), *_accounted(results, levels)]
        if said and levels:
            said[0] = f"At {levels}: {said[0]}"
        sentences += said
    sentences += mapped
    if max(len(results.at(policy, levels)) for levels in results.levels for policy in results.policies) > 1:
        sentences.append(sections.repetition(results))
    sentences += [*sections.chosen(results), *sections.hosts(results)]
    sentences += outputs.brief(results) if mapped else outputs.compare(results)
    if drifted := list(dict.fromkeys(each.what for each in unlike.differences(results))):
        sentences.append(f"What the cells ran on was not the same for all: {', '.join(drifted)} (see the report).")
    sentences += [*sections.starved(results), *sections.uneven(results)]
    if claims.emulated(results):
        accelerators = sorted(
            {cell.accelerator or "unknown" for cell in results.complete if cell.host_kind == "emulated"}
        )
        sentences.append(
            f"The host was emulated ({', '.join(accelerators)}): the counters are real, but every time is the emulated "
            "machine's and says nothing about real hardware."
        )
    if shared := claims.virtual(results):
        sentences.append(
            f"A server was itself a virtual machine ({', '.join(shared)}): the counters are real, and its times those "
            "of a machine that shares what it runs on, or is emulated."
        )
    return " ".join(sentences)


def _sizing(results: Results) -> str:
    """How many guests of what size on how much memory, as far as the campaign says."""
    numbers = {len(rates.guests(results, levels)) for levels in results.levels} - {0}
    text = f" with {' or '.join(map(str, sorted(numbers)))} guest{'s' * (numbers != {1})}" if numbers else ""
    most = size(results, "guests", "memory_max")
    if text and most and not any(results.levels):
        text += f" of at most {format_size(most)} each"
        if memory := size(results, "host", "guest_memory"):
            text += f", on a host with {format_size(memory)} for guests"
            text += f" (overcommit ratio {max(numbers) * most / memory:.2f})"
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
    return totals.ratio_of_quantity(results, quantity, treatment=policy, control=control, levels=levels)


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
    interval = ""
    if ratio.low is not None:
        end = f"to {ratio.high:.2f}" if ratio.high is not None else "without an upper end"
        interval = f"{100 * statistics.LEVEL:.0f} % interval {ratio.low:.2f} {end}, "
        interval += f"single runs {ratio.single[0]:.2f} to {ratio.single[1]:.2f}, " if ratio.single else ""
    chance = ", could be chance" if ratio.p is not None and ratio.p >= claims.ALPHA else ""
    return f"{word} (ratio {ratio.estimate:.2f}, {interval}n = {ratio.n}{chance})"


def _sure(results: Results, item: accounting.Account) -> str:
    ratio = accounting.agreement(results, item)
    if ratio.low is None or ratio.high is None:
        return ""
    return f" ({100 * statistics.LEVEL:.0f} % interval {100 * ratio.low:.0f} to {100 * ratio.high:.0f} %)"


def _accounted(results: Results, levels: str) -> list[str]:
    return [
        f"The pages that tmem returned under {item.policy}, {panels.number(item.explained)} sectors' worth by the "
        f"hypervisor's count, explain {style.percent(item.agreement)} of the {panels.number(item.saved)} sectors that "
        f"were not read{_sure(results, item)}."
        for item in accounting.summary(results, levels)
        if item.agreement is not None and item.explained is not None and item.saved is not None
    ]


def told(results: Results, verdicts: Sequence[Verdict]) -> list[Section]:
    """Every section of the report but the figures, which stand before `Compared`."""
    columns, rows = summary_table(results)
    control = totals.control_of(results)
    means = (
        f"Geometric means over complete cells (arithmetic ones where a value is 0); × is the ratio to {control}. "
        "Sectors, vCPU seconds (guests and dom0, without sampling where that was measured) and faults are summed "
        f"over the guests. Wall time is what the barrier measured, {totals.wall_time(results)}; "
        "that is more than the build or the tool in it took. A dash is "
        'a value that was not measured. "Where the reads went" has arithmetic means, since sectors add up.'
    )
    computed = (
        f"Intervals are Student's t at {100 * statistics.LEVEL:.0f} %, on the logarithms, of ratios paired by "
        "block where the plan has blocks, else Welch's; where a value is 0, and for the share of saved sectors "
        "that hits explain, they are Fieller's, of arithmetic means. They are not corrected for many comparisons; "
        "the verdicts are, by Holm's method over all claims, directions and "
        f"magnitudes each, at {100 * claims.ALPHA:.0f} %. A direction is tested against a ratio of 1, a magnitude "
        'against the published figure, and "up to" as the best case that it is. A claim that something gets '
        "better is testable only where its control felt the "
        f"lack of memory. Only complete cells enter. {sections.sampling(results)} "
        "The same figures are in `tables/`, as Parquet and CSV."
    )
    held, far, pays = footprint.said(results), thresholds.said(results), regime_words.said(results)
    made = [sections.Strong(each.text) if each.differ else each.text for each in outputs.said(results)]
    return [
        Section("By policy", (sections.table(columns, rows), means)),
        *([Section("When it pays", tuple(pays))] if pays else []),
        *([Section("How far it goes", tuple(far))] if far else []),
        *([Section("Memory against time", tuple(held))] if held else []),
        Section(COMPARED, (sections.repetition(results), *sections.compared(results))),
        Section(CLAIMS, tuple(sections.verdicts(verdicts))),
        Section("Where the reads went", tuple(sections.accounts(results))),
        Section("What tmem cost", tuple(sections.tmem_cost(results))),
        Section("Outputs", tuple(made)),
        Section("What differed between cells", tuple(sections.drifted(results))),
        Section("Cells that do not count", (sections.left_out(results),)),
        Section("How it was computed", (sections.Markdown(computed),)),
    ]


def markdown(results: Results, verdicts: Sequence[Verdict], drawn: Sequence[Path]) -> str:
    """The text of report.md. drawn: paths of the figures relative to the campaign."""
    parts = [
        f"# {markdown_paragraph(results.campaign.campaign)}",
        f"**{UNVERIFIED}**" if results.unverified else "",
        f"Host: {figures.host_line(results)}.",
        markdown_paragraph(paragraph(results)),
    ]
    for section in told(results, verdicts):
        if section.heading == COMPARED:
            parts += figures.shown(results, drawn)
        parts += [f"## {section.heading}", *sections.prose(section.parts)]
    return "\n\n".join(part for part in parts if part) + "\n"
