"""The report as one page, `report.html`: everything that report.md says and more, with the figures
in it, each number leading to the cells that it is of and each cell to its files.

It needs nothing but itself: no script, style, picture or font is fetched, which its own
Content-Security-Policy forbids besides. What it leads to are files beside it. The same results give
the same bytes. Numbers come from the functions that report.md and the tables are made of.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
from markupsafe import Markup, escape

from analysis import chart, evidence, figure_data, figures, regime, report, sections, style, tables, unlike
from analysis.evidence import Folder, Grid, Link
from analysis.load import Results, load
from campaigns import records
from common import files
from common.text import harmless, one_line

PAGE_FILE = "report.html"
TEMPLATES = Path(__file__).parent / "templates"

_NO_SETTING = {"title", "question", "claims", "schema"}
_FIRST = ("host", "guests", "policies", "workload", "factors", "repetitions")
"""Of the experiment: what is told before the rest."""


@dataclass(frozen=True)
class Figure:
    """A figure with what the page has of it. wide, narrow: its SVG over two columns and over one.
    data: its rows as CSV, in the link itself. drawn: its files for print.
    """

    name: str
    caption: str
    wide: Markup
    narrow: Markup
    data: tuple[Link, ...]
    drawn: tuple[Link, ...]


@dataclass(frozen=True)
class Group:
    """The cells of a policy at factor levels."""

    anchor: str
    policy: str
    levels: str
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Cell:
    """A planned cell, and what became of it. facts: name -> text."""

    anchor: str
    name: str
    status: str
    facts: Mapping[str, str]
    folders: tuple[Folder, ...]


@dataclass(frozen=True)
class Gate:
    """A gate and what each cell showed of it."""

    name: str
    reason: str
    passed: int
    of: int
    grid: Grid


@dataclass(frozen=True)
class Part:
    """What stands below a heading: a sentence, or a table."""

    text: str | Markup = ""
    strong: bool = False
    grid: Grid | None = None


@dataclass(frozen=True)
class Claimed:
    """A claim and its verdict. facts: what else the report's table has of it."""

    id: str
    statement: str
    direction: str
    magnitude: str
    words: str
    facts: Mapping[str, str]
    cells: tuple[Link, ...]


def make(
    campaign_dir: Path | str, *, into: Path | None = None, unverified: bool = False
) -> tuple[report.Summary, Path]:
    """Write tables, figures, report.md and the page of a campaign; what `report.summarise` returns,
    and the page's path. ResultsError when the campaign cannot be read.
    """
    results = load(campaign_dir)
    if unverified:
        results = replace(results, unverified=True)
    summary = report.summarised(results, into)
    return summary, write(results, summary, into)


def write(results: Results, summary: report.Summary, into: Path | None = None) -> Path:
    """Write the page of results whose tables and figures are written; its path."""
    path = (into or results.directory) / PAGE_FILE
    tables.replace(path, html(results, summary).encode())
    return path


def html(results: Results, summary: report.Summary) -> str:
    """The page. summary: what was written of the same results, whose figures it takes."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_harmless,
    )
    told = report.told(results, summary.verdicts)
    over_time = chart.cells(results)
    made = environment.get_template("report.html").render(
        campaign=results.campaign,
        title=one_line(str(results.campaign.experiment.get("title") or results.campaign.name)),
        question=one_line(str(results.campaign.experiment.get("question") or "")),
        host=summary.host,
        unverified=report.UNVERIFIED if results.unverified else "",
        paragraph=report.paragraph(results),
        settings=_settings(results, first=True),
        more_settings=_settings(results, first=False),
        policies=_policies(results),
        regime=_parts(results, regime.said(results)),
        gates=_gates(results),
        before=_sections(results, told, before=True),
        figures=_figures(results, summary),
        after=_sections(results, told, before=False),
        claims=_claims(results, summary, told),
        claims_heading=report.CLAIMS,
        provenance=_provenance(results),
        ran_on=_ran_on(results),
        groups=_groups(results),
        tables=sorted(path.name for path in summary.tables if path.suffix == ".csv"),
        over_time=chart.embedded(over_time) if over_time else "",
        library=chart.library() if over_time else "",
        style=Markup((TEMPLATES / "report.css").read_text("utf-8")),
        script=_script("report.js"),
        draws=_script("chart.js") if over_time else "",
    )
    return made.lstrip() + "\n"


def _script(name: str) -> Markup:
    return Markup((TEMPLATES / name).read_text("utf-8").rstrip())


def _harmless(value: object) -> object:
    """Text that goes onto the page, its control characters shown."""
    return harmless(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _flat(value: object, path: str = "") -> Iterator[tuple[str, str]]:
    """(path, value) of everything in a document that says something."""
    if isinstance(value, Mapping):
        for key, each in value.items():
            yield from _flat(each, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list | tuple):
        if value:
            yield path, ", ".join(map(str, value))
    elif value is not None and value != "":
        yield path, str(value)


def _settings(results: Results, *, first: bool) -> list[tuple[str, str]]:
    """What the experiment declares, but its claims: what a reader asks first, or the rest."""
    return [
        (path, value)
        for path, value in _flat(results.campaign.experiment)
        for section in (path.partition(".")[0],)
        if section not in _NO_SETTING and (section in _FIRST) == first
    ]


def _policies(results: Results) -> list[tuple[str, str]]:
    """What each policy does, as its first complete cell was told."""
    found = []
    for policy in results.policies:
        cell = next((cell for levels in results.levels for cell in results.at(policy, levels)), None)
        conditions = _environment(results, cell.cell).get("conditions") if cell else None
        told = conditions.get("policy") if isinstance(conditions, Mapping) else None
        found.append((policy, _does(told) if isinstance(told, Mapping) else sections.MISSING))
    return found


def _does(policy: Mapping[str, Any]) -> str:
    """What a policy does, and what of the guest driver is on under it."""
    module = policy.get("module")
    parts = ", ".join(sorted(name for name, on in module.items() if on)) if isinstance(module, Mapping) else ""
    return f"{policy.get('summary', sections.MISSING)}{f'; in the guests: {parts}' if parts else ''}"


def _environment(results: Results, cell: str) -> Mapping[str, Any]:
    return records.read_env(results.directory / records.CELLS_DIR / cell) or {}


def _parts(results: Results, told: Sequence[str]) -> list[Part]:
    found, levels = [], ""
    for part in told:
        levels = evidence.levels_of(results, part) or levels
        if isinstance(part, sections.Table):
            found.append(Part(grid=evidence.grid(results, part, levels)))
        elif isinstance(part, sections.Markdown):
            found.append(Part(_code(part)))
        else:
            found.append(Part(str(part), strong=isinstance(part, sections.Strong)))
    return found


def _code(text: str) -> Markup:
    """Markdown of ours, whose one kind of markup is code."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(harmless(str(text))))))


def _sections(results: Results, told: Sequence[sections.Section], *, before: bool) -> list[tuple[str, str, list[Part]]]:
    """Anchor, heading and parts of the sections before the figures, or of those after them."""
    headings = [section.heading for section in told]
    compared = headings.index(report.COMPARED)
    chosen = told[:compared] if before else told[compared:]
    return [(anchor(each.heading), each.heading, _parts(results, each.parts)) for each in chosen]


def anchor(heading: str) -> str:
    """Where a page has a heading."""
    return re.sub(r"[^a-z]+", "-", heading.lower())


def _claims(results: Results, summary: report.Summary, told: Sequence[sections.Section]) -> list[Claimed]:
    table = next(
        (
            part
            for each in told
            if each.heading == report.CLAIMS
            for part in each.parts
            if isinstance(part, sections.Table)
        ),
        None,
    )
    found = []
    for verdict, row in zip(summary.verdicts, table.rows if table else (), strict=True):
        values = dict(zip(table.columns if table else (), row, strict=True))
        compared = verdict.claim.compare
        background = {"regime": verdict.claim.regime, "contradicted by": verdict.claim.contradicted_by}
        found.append(
            Claimed(
                values.pop("claim"),
                values.pop("statement"),
                values.pop("direction"),
                values.pop("magnitude"),
                values.pop("in words"),
                values | {name: text for name, text in background.items() if text},
                evidence.cell_links(results, (compared.treatment, compared.control), verdict.levels),
            )
        )
    return found


def _gates(results: Results) -> list[Gate]:
    found = []
    levels = ("levels",) if any(results.levels) else ()
    columns = ("cell", "policy", *levels, "observed", "required", "unit", "passed")
    for name, frame in results.gates.groupby("gate", sort=False):
        rows = [
            (
                *(row[column] for column in ("cell", "policy", *levels)),
                *(_figure(row[column]) for column in ("observed", "required")),
                row["unit"],
                "yes" if row["passed"] else "no",
            )
            for row in frame.to_dict("records")
        ]
        reason = str(frame["reason"].iloc[0])
        grid = evidence.grid(results, sections.table(columns, rows))
        found.append(Gate(str(name), reason, len(frame[frame["passed"].astype(bool)]), len(frame), grid))
    return found


def _figure(value: object) -> str:
    return sections.MISSING if pd.isna(value) else f"{value:,.6g}"  # type: ignore[call-overload]


# --- Figures ------------------------------------------------------------------------------------


def _figures(results: Results, summary: report.Summary) -> list[Figure]:
    drawn = {path.name: path for path in summary.figures}
    frames = tables.build(results)
    found: list[Figure] = []
    for name, levels in figures.each(results):
        stem = f"{name}{figures.suffix(levels)}"
        wide, narrow = (drawn.get(f"{stem}{layout.suffix}.svg") for layout in style.LAYOUTS)
        if wide is None or narrow is None:
            continue
        caption = figures.caption(results, name, levels, style.TWO_COLUMNS)
        data = figure_data.of(results, frames, name, levels)
        found.append(
            Figure(
                stem,
                " ".join(caption),
                inlined(wide.read_text("utf-8"), f"w{len(found)}", caption[0]),
                inlined(narrow.read_text("utf-8"), f"n{len(found)}", caption[0]),
                tuple(_download(table, frame) for table, frame in data.items()),
                tuple(
                    Link(kind.upper(), f"{figures.FIGURES_DIR}/{stem}.{kind}")
                    for kind in style.FORMATS
                    if f"{stem}.{kind}" in drawn
                ),
            )
        )
    return found


def inlined(svg: str, prefix: str, label: str) -> Markup:
    """A figure's SVG as a part of a page that has others: its names made its own, and nothing in
    it that only a file needs. label: what it shows, for who does not see it.
    """
    body = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", svg[svg.index("<svg") :], flags=re.DOTALL)
    body = re.sub(r"\n\s*", "\n", body)
    body = body.replace("xlink:href", "href").replace("'DejaVu Sans'", "'DejaVu Sans', Verdana")
    for mark in (' id="', "url(#", ' href="#'):
        body = body.replace(mark, f"{mark}{prefix}-")
    return Markup(body.replace("<svg ", f'<svg role="img" aria-label="{escape(harmless(label))}" ', 1))


def _download(table: str, frame: pd.DataFrame) -> Link:
    return Link(table, f"data:text/csv;base64,{base64.b64encode(tables.csv_bytes(frame)).decode()}")


# --- Provenance and cells -----------------------------------------------------------------------


def _provenance(results: Results) -> list[tuple[str, str]]:
    """What was asked of which testbed, and the sum that stands for everything."""
    campaign = results.campaign
    sums = results.directory / records.SUMS_FILE
    told = {
        "command": " ".join(campaign.arguments),
        "begun": campaign.created_at,
        "experiment": campaign.name,
        "scale": campaign.scale,
        "SHA-256 of the experiment": campaign.experiment_sha256,
        "seed": campaign.seed,
        "lab": campaign.lab,
        "inventory": campaign.inventory,
        "commit of the testbed": campaign.commit,
        "checkout differed from it": {True: "yes", False: "no", None: None}[campaign.dirty],
        "SHA-256 of requirements.lock": campaign.lock_sha256,
        "versions": dict(campaign.versions),
        "layout": campaign.layout,
        "SHA-256 of SHA256SUMS, which stands for all files": files.digest(sums) if sums.is_file() else None,
    }
    return list(_flat(told))


def _ran_on(results: Results) -> tuple[str, list[tuple[str, str]]]:
    """The first complete cell, and what is recorded of what it ran on."""
    if not results.complete:
        return "", []
    cell = results.complete[0].cell
    return cell, list(unlike.flat(dict(_environment(results, cell))))


def _groups(results: Results) -> list[Group]:
    folders = evidence.folders(results)
    rows: dict[str, Mapping[Any, Any]] = {row["cell"]: row for row in results.cells.astype("object").to_dict("records")}
    found = []
    for levels in results.levels:
        for policy in results.policies:
            planned = sorted(results.planned.get((policy, levels), ()), key=lambda cell: (cell.repetition, cell.order))
            cells = tuple(
                Cell(
                    f"cell-{cell.order}",
                    cell.cell,
                    str(rows[cell.cell]["status"]),
                    _facts(rows[cell.cell]),
                    tuple(folders[cell.cell]),
                )
                for cell in planned
            )
            found.append(Group(evidence.group_anchor(results, policy, levels), policy, levels, cells))
    return found


_FACTS = {
    "repetition": "repetition",
    "boot": "boot",
    "run": "run",
    "order": "place in the campaign",
    "started_at": "began",
    "finished_at": "ended",
    "host": "host",
    "accelerator": "accelerator",
    "skew_s": "guests released within [s]",
    "attempts": "attempts",
    "reason": "why it does not count",
    "notes": "notes",
    "rerun": "again",
}


def _facts(row: Mapping[Any, Any]) -> dict[str, str]:
    return {
        name: f"{value:g}" if isinstance(value, float) else str(value)
        for column, name in _FACTS.items()
        if not pd.isna(value := row[column])
    }
