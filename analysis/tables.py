"""The tables of a campaign as files: `results/<campaign>/tables/NAME.parquet` and `NAME.csv`, the
same bytes each time.

Parquet keeps types and missing values; CSV is for reviewers without tools (missing is empty, 15
significant digits). Everything here is derived and may be deleted and rebuilt.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from analysis import accounting, claims, cost, fates, rates, totals
from analysis.load import Results, levels_text, load
from campaigns.records import Aggregate
from common import files
from common.errors import MissingError

TABLES_DIR = "tables"

FLOAT_FORMAT = "%.15g"
"""Of the CSV files: keeps every count exact and hides the noise of binary fractions."""

_ROWS = 50_000
"""Of a table, written to CSV at a time."""


def build(results: Results) -> Mapping[str, pd.DataFrame]:
    """Every table by name: what was read, then what is derived from it."""
    found: dict[str, pd.DataFrame] = {
        "cells": results.cells,
        "metrics": results.metrics,
        "samples": results.samples,
        "gates": results.gates,
        "timings": results.timings,
        "totals": _totals(results),
        "comparisons": _comparisons(results),
        "hit_rates": rates.frame(rates.hit_rates(results)),
        "accounting": accounting.frame(accounting.accounts(results)),
        "fates": fates.frame(fates.fates(results)),
        "tmem_cost": cost.frame(cost.tmem(results)),
        "claims": claims.frame(claims.judge(results)),
    }
    if results.groups:
        found["groups"] = _groups(results)
    return found


def write(campaign_dir: Path | str) -> list[Path]:
    """Write all tables of a campaign; the paths. ResultsError when the results cannot be read."""
    return write_all(load(campaign_dir))


def write_all(results: Results, into: Path | None = None) -> list[Path]:
    """As `write`, for results that are already loaded. into: the directory below which they go,
    by default the campaign's.
    """
    directory = (into or results.directory) / TABLES_DIR
    paths = []
    for name, frame in build(results).items():
        parquet, csv = directory / f"{name}.parquet", directory / f"{name}.csv"
        replace(parquet, parquet_bytes(frame))
        replace(csv, csv_bytes(frame))
        paths += [parquet, csv]
    return paths


def csv_bytes(frame: pd.DataFrame) -> bytes:
    """A frame as CSV, a piece at a time: as texts, a million rows take half a gibibyte. pandas
    would look at each value once more, and hold all of them twice.
    """
    content = [_line(map(str, frame.columns))]
    for begin in range(0, len(frame), _ROWS):
        columns = [_texts(column) for _, column in frame.iloc[begin : begin + _ROWS].items()]
        content.append("".join([f"{','.join(row)}\n" for row in zip(*columns, strict=True)]))
    return "".join(content).encode()


def _texts(column: pd.Series[Any]) -> list[str]:
    """Values as they are written; empty for what is missing. Most values come again and again."""
    if pd.api.types.is_float_dtype(column.dtype):
        floats = column.to_numpy(dtype="float64", na_value=math.nan)
        codes, bits = pd.factorize(floats.view("int64"))  # as bits, so that 0 and -0 are two
        texts = [FLOAT_FORMAT % value if value == value else "" for value in bits.view("float64").tolist()]  # noqa: PLR0124 - NaN
    else:
        codes, values = pd.factorize(column)
        texts = [_line((str(value), "")).removesuffix(",\n") for value in values.tolist()]
    texts.append("")  # of code -1, which is what is missing
    return [texts[code] for code in codes.tolist()]


def _line(values: Iterable[str]) -> str:
    """With quotes where one of them needs some."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(values)
    return text.getvalue()


def parquet_bytes(frame: pd.DataFrame) -> bytes:
    """A frame as Parquet, without metadata that names a library's version."""
    columns = pa.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata(None)
    for place, field in enumerate(columns.schema):
        if pa.types.is_dictionary(field.type):  # a text in every table, however it is held in memory
            columns = columns.set_column(place, field.name, columns[place].cast(pa.string()))
    sink = pa.BufferOutputStream()
    pq.write_table(columns, sink, compression="zstd")
    content: bytes = sink.getvalue().to_pybytes()
    return content


def replace(path: Path, content: bytes) -> None:
    """Write a derived file, whole or not at all. MissingError when there is no space or no
    permission.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        files.replace(path, content)
    except OSError as error:
        raise MissingError(
            "a derived file cannot be written",
            where=str(path),
            why=error.strerror or str(error),
            remedy="free some space or mend the permissions, then run the same command again; no results are touched",
        ) from None


def _groups(results: Results) -> pd.DataFrame:
    """Every metric of a group's guests in a cell, by each way to make one value of them."""
    rows = [
        (cell.cell, cell.policy, levels_text(cell.levels), cell.repetition, group, metric, unit, *values)
        for cell in sorted(results.complete, key=lambda cell: cell.order)
        for group in results.groups
        for metric, unit in dict.fromkeys((each.name, each.unit) for each in cell.metrics if each.guest is not None)
        if results.guests_with[levels_text(cell.levels), metric] & results.members(levels_text(cell.levels), group)
        for values in ([totals.cell_value(results, cell, metric, how, group) for how in _AGGREGATES],)
    ]
    names = ("cell", "policy", "levels", "repetition", "group", "metric", "unit", *_AGGREGATES)
    kinds: dict[str, str] = {"repetition": "int64", **dict.fromkeys(map(str, _AGGREGATES), "Float64")}
    return pd.DataFrame(
        {
            name: pd.Series([row[index] for row in rows], dtype=kinds.get(name, "string"))
            for index, name in enumerate(names)
        }
    )


_AGGREGATES: tuple[Aggregate, ...] = ("sum", "mean", "min", "max")


def _totals(results: Results) -> pd.DataFrame:
    rows = [
        (cell.cell, cell.policy, levels, cell.repetition, quantity.name, quantity.unit, quantity.how, value)
        for levels in results.levels
        for quantity in totals.QUANTITIES.values()
        if quantity.applies(results)
        for policy in results.policies
        for cell in results.at(policy, levels)
        for value in (totals.value(results, cell, quantity),)
    ]
    names = ("cell", "policy", "levels", "repetition", "quantity", "unit", "aggregate", "value")
    kinds = {"repetition": "int64", "value": "Float64"}
    return pd.DataFrame(
        {
            name: pd.Series([row[index] for row in rows], dtype=kinds.get(name, "string"))
            for index, name in enumerate(names)
        }
    )


def _comparisons(results: Results) -> pd.DataFrame:
    compared = totals.compare_all(results)
    texts = {
        name: pd.Series([getattr(item, name) for item in compared], dtype="string")
        for name in ("levels", "quantity", "unit", "policy", "control")
    }
    figures = {
        "ratio": [item.ratio.estimate for item in compared],
        "low": [item.ratio.low for item in compared],
        "high": [item.ratio.high for item in compared],
        "single_low": [item.ratio.single[0] if item.ratio.single else None for item in compared],
        "single_high": [item.ratio.single[1] if item.ratio.single else None for item in compared],
        "p": [item.ratio.p for item in compared],
        "policy_mean": [item.ratio.treatment for item in compared],
        "control_mean": [item.ratio.control for item in compared],
    }
    counts = ("n", "boots", "runs")
    return pd.DataFrame(
        texts
        | {name: pd.Series(values, dtype="Float64") for name, values in figures.items()}
        | {name: pd.Series([getattr(item.ratio, name) for item in compared], dtype="int64") for name in counts}
        | {
            name: pd.Series([getattr(item.ratio, name) for item in compared], dtype="string")
            for name in ("repeated", "method", "note")
        }
    )
