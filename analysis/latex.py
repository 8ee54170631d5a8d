r"""A campaign for a paper: a macro for each number, tables for booktabs, figures at the width of a
column; `results/<campaign>/latex/`, the same bytes each time.

    numbers.tex         \newcommand{\<Campaign>...}: \input it once, in the preamble
    tables/NAME.tex     a tabular, to stand in a table of the paper's own
    figures/NAME.tex    a picture in one column with its caption's words as a comment; it needs
                        \overcommitResults, the path of the folder that holds the campaigns

A number that was not measured has no macro, so that a paper which uses it does not compile. Macros
are named after what they are of, in letters alone, since TeX takes no others.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from analysis import accounting, claims, figures, panels, report, sections, statistics, style, tables, totals
from analysis.claims import Verdict
from analysis.load import Results, load
from common.errors import ResultsError
from common.text import one_line

LATEX_DIR = "latex"
NUMBERS_FILE = "numbers.tex"

_DIGITS = ("Zero", "One", "Two", "Three", "Four", "Five", "Six", "Seven", "Eight", "Nine")
_SIGNS = {"+": "Plus", "=": "Is", "%": "Percent", ".": "Point"}

_SPECIAL = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "[": "{[}",
    "]": "{]}",
    '"': r"\textquotedbl{}",
    "–": "--",
    "—": "---",
    "÷": r"\ensuremath{\div}",
    "×": r"\ensuremath{\times}",
    "−": r"\ensuremath{-}",
    "·": r"\ensuremath{\cdot}",
    "²": r"\ensuremath{^2}",
    "…": r"\ldots{}",
    "’": "'",
    "“": "``",
    "”": "''",
}
_NARROW = ("claim", "control", "levels", "direction", "magnitude")
"""What a table of verdicts has room for: the words stand in the report."""


@dataclass(frozen=True)
class Macro:
    """A number with its name, and what it is, for who reads the file."""

    name: str
    value: str
    meaning: str

    @property
    def line(self) -> str:
        """Its definition."""
        meaning = one_line(self.meaning)
        return f"\\newcommand{{\\{self.name}}}{{{escaped(self.value)}}}% {meaning}"


def make(campaign_dir: Path | str, *, into: Path | None = None, unverified: bool = False) -> list[Path]:
    """Write all of it, and the tables and figures that it shows; the paths below latex/. into: the
    directory below which it goes, by default the campaign's. ResultsError when the campaign cannot
    be read.
    """
    results = load(campaign_dir)
    if unverified:
        results = replace(results, unverified=True)
    return write(results, report.summarised(results, into), into)


def write(results: Results, summary: report.Summary, into: Path | None = None) -> list[Path]:
    """As `make`, of results whose tables and figures are written."""
    drawn = {path.name for path in summary.figures}
    directory = (into or results.directory) / LATEX_DIR
    made = {directory / name: content for name, content in files(results, summary.verdicts, drawn).items()}
    for path, content in made.items():
        tables.replace(path, content.encode())
    return list(made)


def files(results: Results, verdicts: Sequence[Verdict], drawn: Collection[str]) -> Mapping[str, str]:
    """Path from latex/ -> content. drawn: the names of the figures' files."""
    if not results.complete:
        raise ResultsError(
            "there is no number for a paper: no cell of the campaign is complete",
            where=str(results.directory),
            remedy="./inv campaign.status shows why; ./inv campaign.run goes on with what is missing",
        )
    head = f"% Made of the campaign {one_line(results.campaign.campaign)} by ./inv results.latex; do not edit.\n"
    if results.unverified:
        head += f"% {report.UNVERIFIED}\n"
    found = {NUMBERS_FILE: head + "".join(f"{macro.line}\n" for macro in macros(results, verdicts))}
    for name, table in _tables(results, verdicts):
        found[f"tables/{name}.tex"] = head + tabular(table)
    for figure, levels in figures.each(results):
        stem = f"{figure}{figures.suffix(levels)}"
        if f"{stem}{style.ONE_COLUMN.suffix}.pdf" in drawn:
            found[f"figures/{stem}.tex"] = head + _picture(results, figure, levels, stem)
    return found


# --- Numbers ------------------------------------------------------------------------------------


def named(*parts: str) -> str:
    """A name for TeX, of letters alone, from words and numbers: `sectors_read`, `jobs=8` are
    SectorsReadJobsIsEight.
    """
    spelt = "".join(_SIGNS.get(sign, _DIGITS[int(sign)] if sign in "0123456789" else sign) for sign in _joined(parts))
    return "".join(word[0].upper() + word[1:] for word in re.findall(r"[A-Za-z]+", spelt))


def _joined(parts: Sequence[str]) -> str:
    return " ".join(re.sub(r"([0-9+=%.])", r" \1 ", part) for part in parts)


def macros(results: Results, verdicts: Sequence[Verdict]) -> list[Macro]:
    """Every number of the report, once. ResultsError where two would have one name."""
    found = [macro for macro in _every(results, verdicts) if macro.value != sections.MISSING]
    by_name: dict[str, Macro] = {}
    for macro in found:
        if macro.name in by_name:
            raise ResultsError(
                f"two numbers would have the name \\{macro.name} in TeX",
                where=str(results.directory),
                why=f"{by_name[macro.name].meaning}, and {macro.meaning}: their names differ in signs only",
                remedy="name policies or levels of the experiment so that their letters and digits differ",
            )
        by_name[macro.name] = macro
    return found


def _every(results: Results, verdicts: Sequence[Verdict]) -> Iterator[Macro]:
    campaign = results.campaign.campaign
    counts = results.cells["status"].value_counts()
    yield Macro(named(campaign, "cells"), str(len(results.cells)), "planned cells")
    yield Macro(named(campaign, "complete"), str(counts.get("complete", 0)), "complete cells")
    for levels in results.levels:
        yield from _means(results, campaign, levels)
    for item in totals.compare_all(results):
        name = named(campaign, item.quantity, item.policy, "over", item.control, item.levels)
        yield from _ratio(name, item.ratio, f"{item.quantity}, {item.policy} over {item.control}{_at(item.levels)}")
    for levels in results.levels:
        yield from _explained(results, campaign, levels)
    for verdict in verdicts:
        yield from _judged(campaign, verdict)


def _at(levels: str) -> str:
    return f" at {levels}" if levels else ""


def _means(results: Results, campaign: str, levels: str) -> Iterator[Macro]:
    for policy in results.policies:
        for quantity in totals.QUANTITIES.values():
            mean = totals.centre_of(results, quantity, policy, levels).mean
            if mean is not None:
                name = named(campaign, quantity.name, policy, levels)
                yield Macro(name, panels.number(mean), f"{quantity.label} [{quantity.unit}], {policy}{_at(levels)}")


def _explained(results: Results, campaign: str, levels: str) -> Iterator[Macro]:
    for account in accounting.summary(results, levels):
        name = named(campaign, "explained", account.policy, "over", account.control, levels)
        share = accounting.agreement(results, account)
        meaning = f"of the sectors that {account.policy} spared against {account.control}, hits stand for"
        for end, value in (("", account.agreement), ("Low", share.low), ("High", share.high)):
            if value is not None:
                yield Macro(f"{name}{end}", style.percent(value), f"{meaning} {end.lower()}".strip())


def _judged(campaign: str, verdict: Verdict) -> Iterator[Macro]:
    id_ = verdict.claim.id
    name = named(campaign, "claim", id_, verdict.levels)
    yield Macro(f"{name}Direction", verdict.verdict, f"verdict on {id_}")
    if verdict.magnitude is not None:
        yield Macro(f"{name}Magnitude", verdict.magnitude.word, f"how large the effect of {id_} is")
    if published := claims.published(verdict.claim):
        yield Macro(f"{name}Published", published, f"published ratio of {id_}")
    yield from _ratio(f"{name}Ratio", verdict.ratio, f"ratio of {id_}")


def _ratio(name: str, ratio: statistics.Ratio, meaning: str) -> Iterator[Macro]:
    if ratio.estimate is None:
        return
    yield Macro(name, f"{ratio.estimate:.2f}", meaning)
    yield Macro(f"{name}Change", f"{abs(100 * (ratio.estimate - 1)):.0f} %", f"{meaning}, change without its sign")
    yield Macro(f"{name}Over", statistics.repetitions(ratio.boots, ratio.runs), f"{meaning}, repetitions")
    for end, value in (("Low", ratio.low), ("High", ratio.high)):
        if value is not None:
            yield Macro(f"{name}{end}", f"{value:.2f}", f"{meaning}, {end.lower()} end of the 95 % interval")
    if ratio.p is not None:
        yield Macro(f"{name}P", claims.format_p(ratio.p), f"{meaning}, against a ratio of 1")


# --- Tables and figures -------------------------------------------------------------------------


def escaped(text: str) -> str:
    """Text as TeX that shows it. What pdfTeX's fonts lack becomes a question mark."""
    return "".join(_SPECIAL.get(sign, sign if sign.isascii() or "À" <= sign <= "ÿ" else "?") for sign in one_line(text))


def _tables(results: Results, verdicts: Sequence[Verdict]) -> Iterator[tuple[str, sections.Table]]:
    for section in report.told(results, verdicts):
        found = [part for part in section.parts if isinstance(part, sections.Table)]
        for number, table in enumerate(found, 1):
            name = re.sub(r"[^a-z]+", "-", section.heading.lower())
            chosen = _columns(table, _NARROW) if section.heading == report.CLAIMS else table
            yield name if len(found) == 1 else f"{name}-{number}", _without_empty(chosen)


def _columns(table: sections.Table, names: Sequence[str]) -> sections.Table:
    places = [table.columns.index(name) for name in names if name in table.columns]
    return sections.table(
        [table.columns[place] for place in places], [[row[place] for place in places] for row in table.rows]
    )


def _without_empty(table: sections.Table) -> sections.Table:
    """Without the columns that say nothing in any row, as `levels` does without factors."""
    return _columns(
        table,
        [
            name
            for name, *cells in zip(table.columns, *table.rows, strict=True)
            if not cells or any(cell != sections.MISSING for cell in cells)
        ],
    )


def tabular(table: sections.Table) -> str:
    """A table for booktabs: numbers to the right, words to the left."""
    body = list(zip(*table.rows, strict=True))
    kinds = ["r" if all(re.match(r"[-−]?\d|–$", cell) for cell in column) else "l" for column in body]
    lines = [
        f"\\begin{{tabular}}{{@{{}}{''.join(kinds or ['l'] * len(table.columns))}@{{}}}}",
        "\\toprule",
        f"{' & '.join(map(escaped, table.columns))} \\\\",
        "\\midrule",
        *(f"{' & '.join(map(escaped, row))} \\\\" for row in table.rows),
        "\\bottomrule",
        "\\end{tabular}",
    ]
    return "\n".join(lines) + "\n"


def _picture(results: Results, figure: str, levels: str, stem: str) -> str:
    words = figures.caption(results, figure, levels, style.ONE_COLUMN)
    path = f"\\overcommitResults/{results.directory.name}/{figures.FIGURES_DIR}/{stem}{style.ONE_COLUMN.suffix}"
    comments = "".join(f"% {one_line(line)}\n" for line in words)
    return f"{comments}\\includegraphics[width=\\columnwidth]{{{path}.pdf}}%\n"
