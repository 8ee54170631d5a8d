"""Loading a campaign and writing its tables: what is missing stays missing, what does not count
is kept apart.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import analysis_campaign as made_up
import pandas as pd
import pytest

from analysis import figures, load, report, tables, totals
from campaigns import records
from campaigns.records import CellRecord
from common.errors import MissingError, ResultsError


def _hashes(directory: Path) -> dict[str, str]:
    return {
        path.relative_to(directory).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(directory.rglob("*"))
        if path.is_file()
    }


def test_tables_are_tidy_and_in_the_order_of_the_plan(tmp_path: Path) -> None:
    results = load.load(made_up.write_campaign(tmp_path, repetitions=2))
    assert list(results.cells["order"]) == list(range(6))
    assert results.policies == made_up.POLICIES
    assert results.levels == ("",)
    one = results.metrics[(results.metrics["metric"] == "sectors_read") & (results.metrics["cell"] == "static.r1")]
    assert list(one["guest"]) == ["guest1", "guest2", "guest3"]
    assert set(one["unit"]) == {"sectors"}
    host = results.metrics[results.metrics["metric"] == "dom0_vcpu_seconds"]
    assert host["guest"].isna().all()
    assert list(results.samples.columns)[-5:] == list(records.SAMPLE_COLUMNS)
    assert set(results.timings["stage"]) == {"reset", "run"}
    assert results.gates["passed"].all()


def test_a_missing_metric_is_never_zero(tmp_path: Path) -> None:
    """PerfKitBenchmarker's bug: a metric that was not there became 0.0, and the mean with it."""

    def lose(record: CellRecord) -> CellRecord:
        lost = record.cell == "selfballoon.r1"
        return made_up.without_value(record, "sectors_read", "guest2") if lost else record

    directory = made_up.write_campaign(tmp_path, repetitions=2, change=lose)
    results = load.load(directory)
    row = results.metrics.query("cell == 'selfballoon.r1' and metric == 'sectors_read' and guest == 'guest2'")
    assert row["value"].isna().all()
    found = totals.values(results, totals.QUANTITIES["sectors_read"], "selfballoon", "")
    assert found["selfballoon.r1"] is None, "a sum over fewer guests is not the guests' sum"
    assert found["selfballoon.r2"] is not None
    tables.write(directory)
    for stored in (
        pd.read_parquet(directory / "tables/metrics.parquet"),
        pd.read_csv(directory / "tables/metrics.csv"),
    ):
        again = stored[
            (stored["cell"] == "selfballoon.r1") & (stored["metric"] == "sectors_read") & (stored["guest"] == "guest2")
        ]
        assert len(again) == 1
        assert again["value"].isna().all()


def test_a_metric_that_one_guest_lacks_altogether_is_missing_in_the_total(tmp_path: Path) -> None:
    def drop(record: CellRecord) -> CellRecord:
        if record.cell != "static.r1":
            return record
        kept = tuple(m for m in record.metrics if (m.name, m.guest) != ("wall_seconds", "guest3"))
        return CellRecord(**{**record.__dict__, "metrics": kept})

    results = load.load(made_up.write_campaign(tmp_path, repetitions=2, change=drop))
    found = totals.values(results, totals.QUANTITIES["wall_seconds"], "static", "")
    assert found["static.r1"] is None
    assert found["static.r2"] is not None


def test_an_empty_sample_is_missing_and_never_zero(tmp_path: Path) -> None:
    results = load.load(made_up.write_campaign(tmp_path, repetitions=1))
    chosen = results.samples.query("cell == 'static.r1' and counter == 'tmem_ephemeral_hits'")
    assert len(chosen) > 0
    assert chosen["value"].isna().all()
    assert results.delta("static.r1", "guest1", "tmem_ephemeral_hits") is None
    assert results.delta("static.r1", "guest9", "no such counter") is None


def test_a_counter_that_fell_has_no_difference(tmp_path: Path) -> None:
    directory = made_up.write_campaign(tmp_path, repetitions=1)
    path = directory / "cells/static.r1" / records.SAMPLES_FILE
    path.write_text("time_s,source,counter,unit,value\n-1,guest1,c,count,90\n5,guest1,c,count,95\n9,guest1,c,count,3\n")
    assert load.load(directory).delta("static.r1", "guest1", "c") is None


@pytest.mark.parametrize(
    ("final", "expected"),
    [
        ("99,guest1,c,count,30\n", 20),
        ("99,guest1,c,count,\n", None),  # it could not be read
        ("", None),  # the last one there was is from before the end
    ],
)
def test_the_difference_is_from_before_the_release_to_after_the_end(
    tmp_path: Path, final: str, expected: float | None
) -> None:
    directory = made_up.write_campaign(tmp_path, repetitions=1)
    path = directory / "cells/static.r1" / records.SAMPLES_FILE
    campaign = directory / records.CAMPAIGN_FILE
    # since layout 2 the file's order says which readings were before and after
    campaign.write_text(json.dumps({**json.loads(campaign.read_text()), "layout": 1}))
    readings = "9,guest1,c,count,30\n-4,guest1,c,count,1\n-1,guest1,c,count,10\n"
    path.write_text(f"time_s,source,counter,unit,value\n{readings}{final}")
    assert load.load(directory).delta("static.r1", "guest1", "c") == expected


def test_each_cells_files_are_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work grows with the cells and not with their square."""
    read: list[Path] = []
    real = load._read_samples

    def counted(path: Path, layout: int) -> Any:
        read.append(path)
        return real(path, layout)

    monkeypatch.setattr(load, "_read_samples", counted)
    results = load.load(made_up.write_campaign(tmp_path, repetitions=2))
    tables.build(results)
    report.markdown(results, (), ())
    assert len(read) == len(set(read)) == len(results.complete)


def test_failed_and_invalid_cells_are_listed_with_their_reason_and_counted_nowhere(tmp_path: Path) -> None:
    def spoil(record: CellRecord) -> CellRecord:
        if record.cell == "static.r1":
            return made_up.invalid(record)
        return made_up.failed(record) if record.cell == "selfballoon.r2" else record

    directory = made_up.write_campaign(tmp_path, repetitions=2, change=spoil)
    results = load.load(directory)
    cells = results.cells.set_index("cell")
    assert cells.loc["static.r1", "status"] == "invalid"
    assert "pressure: 3 pages, required 100" in cells.loc["static.r1", "reason"]
    assert cells.loc["selfballoon.r2", "status"] == "failed"
    assert "GuestLost in run: guest2 did not answer" in cells.loc["selfballoon.r2", "reason"]
    assert "--cell selfballoon.r2" in cells.loc["selfballoon.r2", "rerun"]
    assert cells.loc["selfballoon.r2", "attempts"] == 1
    for frame in (results.metrics, results.samples):
        assert not set(frame["cell"]) & {"static.r1", "selfballoon.r2"}
    assert (results.metrics["value"].dropna() < 1e9).all()
    assert not results.gates.set_index("cell").loc["static.r1", "passed"]
    text = report.markdown(results, (), ())
    assert "| static.r1 | invalid | gate pressure" in text


def test_a_planned_cell_without_a_record_is_not_run(tmp_path: Path) -> None:
    directory = made_up.write_campaign(tmp_path, repetitions=1)
    cell = directory / "cells/static.r1"
    cell.rename(directory / "attempts/static.r1.1")  # superseded, and its successor was never stored
    results = load.load(directory)
    row = results.cells.set_index("cell").loc["static.r1"]
    assert (row["status"], row["attempts"]) == (load.NOT_RUN, 1)
    assert results.at("static", "") == []


def test_parameters_come_from_records_and_not_from_names(tmp_path: Path) -> None:
    """Kdevops' bug: parameters were parsed out of file names."""
    levels = ({"workload.parameters.jobs": 2}, {"workload.parameters.jobs": 16})
    directory = made_up.write_campaign(tmp_path, repetitions=1, levels=levels, opaque=True)
    results = load.load(directory.rename(tmp_path / "static.jobs-99.r7"))
    assert set(results.cells["policy"]) == set(made_up.POLICIES)
    assert results.levels == ("workload.parameters.jobs=2", "workload.parameters.jobs=16")
    assert set(results.cells["level.workload.parameters.jobs"]) == {"2", "16"}
    assert results.campaign.campaign == "made-up"


def test_nothing_but_derived_files_is_written_or_deleted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """hyperalloc-bench's bug: results were deleted before a run."""
    monkeypatch.setattr(figures, "FIGURES", {"sectors": figures.FIGURES["sectors"]})
    directory = made_up.write_campaign(tmp_path, repetitions=1)
    (directory / "cells/static.r1/raw").mkdir()
    (directory / "cells/static.r1/raw/build.log").write_text("kept\n")
    (directory / "figures").mkdir()
    (directory / "figures/mine.txt").write_text("a reader's own note\n")
    before = _hashes(directory)
    report.summarise(directory)
    after = _hashes(directory)
    assert {name: after[name] for name in before} == before
    new = {name.split("/")[0] for name in set(after) - set(before)}
    assert new == {"tables", "figures", "report.md"}


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("campaign.json", '{"schema": 7}', "schema version 7"),
        ("cells/static.r1/cell.json", '{"schema": 1, "campaign"', "cannot be read"),
        ("cells/static.r1/cell.json", '{"schema": 1}', "does not have the form"),
        ("cells/static.r1/samples/samples.csv", "when,what\n1,2\n", "samples of a cell"),
        ("cells/static.r1/samples/samples.csv", "time_s,source,counter,unit,value\n1,guest1,c,count,many\n", "samples"),
        ("cells/static.r1/samples/samples.csv", "time_s,source,counter,unit,value\n1,,c,count,4\n", "samples"),
    ],
)
def test_damage_names_the_file(tmp_path: Path, file: str, content: str, said: str) -> None:
    directory = made_up.write_campaign(tmp_path, repetitions=1)
    (directory / file).write_text(content)
    for call in (tables.write, figures.draw, report.summarise):
        with pytest.raises(ResultsError, match=said) as caught:
            call(directory)
        assert str(directory / file) in caught.value.where
        assert caught.value.exit_code == 8


def test_a_stranger_among_the_cells_is_refused(tmp_path: Path) -> None:
    directory = made_up.write_campaign(tmp_path, repetitions=1)
    document = json.loads((directory / "cells/static.r1/cell.json").read_text())
    (directory / "cells/static.r9").mkdir()
    (directory / "cells/static.r9/cell.json").write_text(json.dumps({**document, "cell": "static.r9"}))
    with pytest.raises(ResultsError, match=r"static\.r9.*not in the campaign's plan"):
        load.load(directory)


def test_no_campaign_at_all(tmp_path: Path) -> None:
    with pytest.raises(ResultsError, match="missing"):
        load.load(tmp_path / "nowhere")


def test_tables_have_the_same_bytes_each_time_and_agree(tmp_path: Path) -> None:
    directory = made_up.write_campaign(tmp_path, repetitions=2)
    paths = tables.write(directory)
    first = _hashes(directory / "tables")
    assert {path.suffix for path in paths} == {".parquet", ".csv"}
    assert not [name for name in first if name.startswith(".")]
    tables.write(directory)
    assert _hashes(directory / "tables") == first
    for name in ("cells", "metrics", "totals", "comparisons", "hit_rates", "accounting", "claims"):
        parquet, csv = (
            pd.read_parquet(directory / f"tables/{name}.parquet"),
            pd.read_csv(directory / f"tables/{name}.csv"),
        )
        assert list(parquet.columns) == list(csv.columns)
        assert len(parquet) == len(csv) > 0


def test_large_counts_survive_the_csv_exactly(tmp_path: Path) -> None:
    frame = pd.DataFrame({"value": pd.Series([123_456_789_012_345, None, 0.1], dtype="Float64")})
    assert frame.to_csv(index=False, float_format=tables.FLOAT_FORMAT) == 'value\n123456789012345\n""\n0.1\n'


def test_a_table_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    directory = made_up.write_campaign(tmp_path, repetitions=1)
    (directory / "tables").write_text("a file where the directory should be\n")
    with pytest.raises(MissingError, match="cannot be written"):
        tables.write(directory)


def test_shipped_results_need_no_lab(tmp_path: Path) -> None:
    """The analysis imports the record types and the shared leaf, and neither labs nor workloads."""
    import subprocess
    import sys

    directory = made_up.write_campaign(tmp_path, repetitions=1)
    code = (
        "import sys; from analysis import figures, report, style; style.FORMATS = ('svg',);"
        "figures.FIGURES = {'overview': figures.FIGURES['overview']}; report.summarise(sys.argv[1]);"
        "bad = [m for m in sys.modules if m.split('.')[0] in {'lab', "
        "'workloads', 'plumbum', 'ansible_runner', 'invoke'}];"
        "ours = [m for m in sys.modules if m.startswith('campaigns.')];"
        "assert not bad, bad;"
        "assert set(ours) <= {f'campaigns.{each}' for each in ('records', 'looks', 'former')}, ours"
    )
    subprocess.run([sys.executable, "-c", code, str(directory)], check=True, cwd=Path(__file__).resolve().parents[2])


@pytest.mark.parametrize("rows", [50_000, 3, 4])
def test_csv_is_what_pandas_writes_and_quicker(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "_ROWS", rows)  # all at a time, or in pieces
    frame = pd.DataFrame(
        {
            "name": pd.Series(["a", None, 'with "quotes", commas', "", "a\nb"], dtype="string"),
            "kind": pd.Categorical(["x", "y", "x", "x,", "x"]),
            "count": pd.Series([1, 2, 3, 3, 3], dtype="int64"),
            "run": pd.Series([1, None, 3, 1, 1], dtype="Int64"),
            "value": pd.Series([0.1 + 0.2, None, 1e300, 0.0, 7], dtype="Float64"),
            "time_s": pd.Series([-1.5, 0.0, 3.0, -0.0, float("nan")], dtype="float64"),
            "passed": pd.Series([True, False, True, True, False], dtype="bool"),
        }
    )
    wanted = frame.to_csv(index=False, float_format=tables.FLOAT_FORMAT, lineterminator="\n")
    assert tables.csv_bytes(frame).decode() == wanted


def test_a_size_that_grows_with_the_kernel_is_told_as_the_cells_had_it(tmp_path: Path) -> None:
    guests = {"count": 3, "memory_max": "256 MiB", "kernel_memory": "added"}
    directory = made_up.write_campaign(tmp_path, repetitions=1, samples=False, experiment={"guests": guests})
    assert load.size(load.load(directory), "guests", "memory_max") is None, "nothing tells, and 256 would be wrong"
    assert "of at most" not in report.paragraph(load.load(directory))
    for place in records.cell_directories(directory):
        told = {"conditions": {"host": {"guest_memory_mib": 603}, "guests": {"memory_max_mib": 301}}}
        (place / records.ENV_FILE).write_text(json.dumps(told))
    results = load.load(directory)
    assert load.size(results, "host", "guest_memory") == 603 * 2**20
    assert "with 3 guests of at most 301 MiB each, on a host with 603 MiB" in report.paragraph(results)
    assert "(overcommit ratio 1.50)" in report.paragraph(results)
