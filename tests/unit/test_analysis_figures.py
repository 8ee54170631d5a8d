"""Figures and report: the same bytes in every process, every kind of gap drawn as a gap, and the host's kind on all of it."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import warnings
from pathlib import Path

import analysis_campaign as made_up
import matplotlib as mpl
import pytest

from analysis import figures, load, panels, report, style
from campaigns.records import CellRecord
from common.errors import ResultsError

ROOT = Path(__file__).resolve().parents[2]
NAMES = {"overview", "sectors", "time", "memory", "hit_rates"}


@pytest.fixture
def one_format(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where only what is drawn matters, write it once."""
    monkeypatch.setattr(style, "FORMATS", ("png",))
    monkeypatch.setattr(style, "DPI", 50)


def _stems(paths: list[Path] | tuple[Path, ...]) -> set[str]:
    return {path.name.removesuffix(path.suffix) for path in paths}


def _texts(results: load.Results, name: str) -> str:
    """All texts of one figure, as drawn."""
    makers = {
        "memory": figures._memory,
        "sectors": figures._sectors,
        "time": figures._time,
        "overview": figures._overview,
    }
    with style.styled():
        figure = makers[name](results, results.levels[0])
        assert figure is not None
        return " ".join(text.get_text() for text in figure.findobj(mpl.text.Text)).replace("\n", " ")


def test_two_processes_write_the_same_bytes(tmp_path: Path) -> None:
    directory = made_up.write_campaign(tmp_path, repetitions=2)
    code = "import sys; from analysis import report; report.summarise(sys.argv[1])"
    seen = []
    for seed, zone in (("1", "UTC"), ("2", "Asia/Tokyo")):
        rc = tmp_path / f"matplotlibrc-{seed}"
        rc.write_text(f"font.size: {seed}0\nsavefig.dpi: {seed}0\n")  # a user's own settings have no say
        environment = os.environ | {"PYTHONHASHSEED": seed, "TZ": zone, "MATPLOTLIBRC": str(rc)}
        subprocess.run([sys.executable, "-c", code, str(directory)], check=True, cwd=ROOT, env=environment)
        files = [p for p in directory.rglob("*") if p.is_file() and "cells" not in p.parts]
        seen.append({str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(files)})
        assert {path.suffix for path in files} >= {".png", ".pdf", ".svg", ".parquet", ".csv", ".md"}
    assert seen[0] == seen[1]


def test_all_figures_in_all_formats_and_no_warning(tmp_path: Path) -> None:
    directory = made_up.write_campaign(tmp_path, repetitions=2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        paths = figures.draw(directory, tmp_path / "elsewhere")
    assert _stems(paths) == NAMES
    assert {path.suffix for path in paths} == {".png", ".pdf", ".svg"}
    assert all(path.parent == tmp_path / "elsewhere" and path.stat().st_size > 1000 for path in paths)
    assert not (directory / "figures").exists()
    assert b"<dc:date>" not in (tmp_path / "elsewhere/sectors.svg").read_bytes()
    assert b"CreationDate" not in (tmp_path / "elsewhere/sectors.pdf").read_bytes()


@pytest.mark.usefixtures("one_format")
def test_drawing_leaves_matplotlibs_settings_alone(tmp_path: Path) -> None:
    directory = made_up.write_campaign(tmp_path, repetitions=1)
    before = dict(mpl.rcParams)
    figures.draw(directory)
    assert dict(mpl.rcParams) == before


def test_every_cell_is_a_point_and_one_repetition_has_no_interval(tmp_path: Path) -> None:
    for repetitions, bars in ((1, 0), (3, 3)):
        results = load.load(made_up.write_campaign(tmp_path, repetitions=repetitions, name=f"n{repetitions}"))
        with style.styled():
            figure = figures._sectors(results, "")
            assert figure is not None
            axes = figure.axes[0]
            points = sum(len(c.get_offsets()) for c in axes.collections if type(c).__name__ == "PathCollection")
            assert points == 3 * repetitions
            assert len(axes.containers) - 3 == bars  # one bar each, and an interval where there is one
    assert "one repetition: no intervals" in _texts(load.load(tmp_path / "n1"), "sectors")


def test_every_figure_names_the_kind_of_host(tmp_path: Path) -> None:
    emulated = load.load(made_up.write_campaign(tmp_path, repetitions=1))
    line = "emulated host (tcg): times are the emulated machine's; counters are real"
    assert figures.host_line(emulated) == line
    for name in ("memory", "sectors", "time", "overview"):
        assert line in _texts(emulated, name)
    physical = load.load(made_up.write_campaign(tmp_path, repetitions=1, host_kind="physical", name="server"))
    assert figures.host_line(physical) == "physical host"
    assert "emulated" not in report.paragraph(physical)


def test_axes_name_their_units(tmp_path: Path) -> None:
    results = load.load(made_up.write_campaign(tmp_path, repetitions=1))
    assert "sectors read [thousand sectors]" in _texts(results, "sectors")
    assert "wall time [s]" in _texts(results, "time")
    assert "[MiB]" in _texts(results, "memory")


def test_a_policy_without_a_complete_cell_keeps_its_row_and_says_why(tmp_path: Path) -> None:
    def spoil(record: CellRecord) -> CellRecord:
        return made_up.invalid(record) if record.policy == "static" else record

    results = load.load(made_up.write_campaign(tmp_path, repetitions=2, change=spoil))
    for name in ("sectors", "time", "memory", "overview"):
        text = _texts(results, name)
        assert "static" in text
        if name != "overview" or "no complete cell" in text:
            assert "no complete cell (2 invalid)" in text
    assert report.summary_table(results)[1][0][:3] == ("static", "0 of 2", report.MISSING)


def test_a_value_that_was_not_measured_is_no_bar_of_zero(tmp_path: Path) -> None:
    def lose(record: CellRecord) -> CellRecord:
        return made_up.without_value(record, "sectors_read", "guest1") if record.policy == "static" else record

    results = load.load(made_up.write_campaign(tmp_path, repetitions=1, change=lose))
    assert "not measured" in _texts(results, "sectors")
    row = report.summary_table(results)[1][0]
    assert row[2] == report.MISSING


@pytest.mark.usefixtures("one_format")
def test_factors_have_a_figure_per_level(tmp_path: Path) -> None:
    levels = ({"jobs": 2}, {"jobs": 16})
    directory = made_up.write_campaign(tmp_path, repetitions=1, levels=levels)
    summary = report.summarise(directory)
    assert _stems(summary.figures) == {f"{name}.jobs-{jobs}" for name in NAMES for jobs in (2, 16)}
    assert summary.columns[1] == "levels"
    assert len(summary.rows) == 6
    assert "At jobs=2:" in summary.paragraph


@pytest.mark.usefixtures("one_format")
def test_without_samples_the_other_figures_are_drawn(tmp_path: Path) -> None:
    directory = made_up.write_campaign(tmp_path, repetitions=1, samples=False)
    assert _stems(figures.draw(directory)) == {"overview", "sectors", "time"}
    assert "no samples" in _texts(load.load(directory), "overview")


def test_no_complete_cell_is_an_error_for_figures_and_a_sentence_for_the_report(tmp_path: Path) -> None:
    directory = made_up.write_campaign(tmp_path, repetitions=1, change=made_up.invalid)
    with pytest.raises(ResultsError, match="no cell of the campaign is complete") as caught:
        figures.draw(directory)
    assert "3 invalid" in caught.value.why
    summary = report.summarise(directory)
    assert summary.figures == ()
    assert "Nothing can be said yet" in summary.paragraph


def test_guests_that_differ_in_number_between_levels(tmp_path: Path) -> None:
    """A guest that exists at one level only is not missing at the other."""
    directory = made_up.write_campaign(tmp_path, repetitions=1, levels=({"guests.count": 2}, {"guests.count": 3}))
    results = load.load(directory)
    trimmed = tuple(
        cell
        if cell.levels["guests.count"] == 3
        else CellRecord(**{**cell.__dict__, "metrics": tuple(m for m in cell.metrics if m.guest != "guest3")})
        for cell in results.records
    )
    results = load.Results(**{k: trimmed if k == "records" else v for k, v in results.__dict__.items()})
    for row in report.summary_table(results)[1]:
        assert report.MISSING not in row[3:7]
    assert "with 2 or 3 guests" in report.paragraph(results)


@pytest.mark.usefixtures("one_format")
def test_summary_says_what_was_compared_what_came_out_and_where(tmp_path: Path) -> None:
    summary = report.summarise(made_up.write_campaign(tmp_path, repetitions=3))
    assert "static, selfballoon, selfballoon+tmem" in summary.paragraph
    assert "overcommit ratio 1.85" in summary.paragraph
    assert "9 of 9 cells are complete" in summary.paragraph
    assert "sectors read 46 % lower (ratio 0.54, 95 % interval" in summary.paragraph
    assert "explain 86 % of the" in summary.paragraph
    assert "The host was emulated (tcg)" in summary.paragraph
    text = summary.report.read_text()
    assert all(verdict.wording in text for verdict in summary.verdicts)
    assert "![overview](figures/overview.png)" in text
    assert (summary.report.parent / "figures/overview.png").is_file()


def test_one_repetition_is_said_to_be_observed_only(tmp_path: Path) -> None:
    paragraph = report.paragraph(load.load(made_up.write_campaign(tmp_path, repetitions=1)))
    assert "observed, not tested" in paragraph
    assert "interval" not in paragraph


def test_points_never_hide_each_other_and_never_move() -> None:
    assert panels.offsets(1) == [0.0]
    assert panels.offsets(3) == pytest.approx([-0.18, 0.0, 0.18])
    assert len(set(panels.offsets(40))) == 40


def test_percentages_are_not_rounded_to_all_or_nothing() -> None:
    assert style.percent(1.0) == "100 %"
    assert style.percent(0.9991) == "99.9 %"
    assert style.percent(0.001) == "0.1 %"
    assert style.percent(0.0) == "0 %"


def test_policies_keep_their_colours_and_never_share_one() -> None:
    few, many = style.policy_colours(made_up.POLICIES), style.policy_colours([*made_up.POLICIES, "a", "b", "c", "d"])
    assert few.items() <= many.items()
    assert len(set(many.values())) == 7
