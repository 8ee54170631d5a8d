"""Figures and report: the same bytes in every process, every kind of gap drawn as a gap, and the
host's kind on all of it.
"""

from __future__ import annotations

import hashlib
import itertools
import math
import os
import re
import subprocess
import sys
import time
import warnings
from dataclasses import replace
from pathlib import Path

import analysis_campaign as made_up
import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.figure import Figure

from analysis import figures, load, panels, report, style, totals
from campaigns.records import CellRecord
from common.errors import ResultsError

ROOT = Path(__file__).resolve().parents[2]
NAMES = {"overview", "sectors", "requests", "time", "memory", "hit_rates"}
BOTH = {f"{name}{layout.suffix}" for name in NAMES for layout in style.LAYOUTS}


@pytest.fixture
def one_format(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where only what is drawn matters, write it once."""
    monkeypatch.setattr(style, "FORMATS", ("png",))
    monkeypatch.setattr(style, "DPI", 50)


def _stems(paths: list[Path] | tuple[Path, ...]) -> set[str]:
    return {path.name.removesuffix(path.suffix) for path in paths}


def _figure(results: load.Results, name: str, layout: style.Layout = style.TWO_COLUMNS) -> Figure:
    figure = figures.FIGURES[name].draw(results, results.levels[0], layout)
    assert figure is not None
    return figure


def _texts(results: load.Results, name: str) -> str:
    """All texts of one figure, as drawn, and its caption."""
    with style.styled():
        drawn = " ".join(text.get_text() for text in _figure(results, name).findobj(mpl.text.Text))
    caption = figures.caption(results, name, results.levels[0], style.TWO_COLUMNS)
    return " ".join([drawn, *caption]).replace("\n", " ")


@pytest.fixture(scope="module")
def summary(tmp_path_factory: pytest.TempPathFactory) -> report.Summary:
    """Of a campaign with all that is made of it, in all formats, without a warning."""
    directory = made_up.write_campaign(tmp_path_factory.mktemp("results"), repetitions=3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return report.summarise(directory)


def _sums(directory: Path) -> dict[str, str]:
    files = [path for path in directory.rglob("*") if path.is_file() and "cells" not in path.parts]
    return {str(path.relative_to(directory)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_another_process_writes_the_same_bytes(summary: report.Summary, tmp_path: Path) -> None:
    """Elsewhere, and with another order of sets, another time zone, and a user's own settings."""
    directory = made_up.write_campaign(tmp_path, repetitions=3)
    code = "import sys; from analysis import report; report.summarise(sys.argv[1])"
    (tmp_path / "matplotlibrc").write_text("font.size: 20\nsavefig.dpi: 20\n")
    seed = "2" if os.environ.get("PYTHONHASHSEED") == "1" else "1"
    zone = "Asia/Tokyo" if time.localtime().tm_gmtoff == 0 else "UTC"
    environment = os.environ | {"PYTHONHASHSEED": seed, "TZ": zone, "MATPLOTLIBRC": str(tmp_path / "matplotlibrc")}
    subprocess.run([sys.executable, "-c", code, str(directory)], check=True, cwd=ROOT, env=environment)
    made = _sums(directory)
    assert {Path(name).suffix for name in made} >= {".png", ".pdf", ".svg", ".parquet", ".csv", ".md"}
    assert made == _sums(summary.report.parent)


def test_last_digits_of_the_layout_change_no_byte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are the order of the solver's memory, and differ between two runs on one machine."""
    monkeypatch.setattr(style, "FORMATS", ("svg",))
    lay_out = Figure.draw_without_rendering

    def drawn(towards: float) -> bytes:
        def nudged(figure: Figure) -> None:
            lay_out(figure)
            for axes in figure.axes:
                axes.set_position([np.nextafter(value, towards) for value in axes.get_position(original=True).bounds])

        monkeypatch.setattr(Figure, "draw_without_rendering", nudged)
        with style.styled():
            figure = style.new_figure(3.3, 2)
            for axes in figure.subplots(2, 1):
                axes.plot([0, 1], [1, 3])
            return style.save(figure, tmp_path / f"towards-{towards:.0f}", ())[0].read_bytes()

    assert drawn(0) == drawn(1)


def test_all_figures_in_all_formats(summary: report.Summary) -> None:
    folder = summary.report.parent / "figures"
    paths = sorted(folder.iterdir())
    assert paths == sorted(summary.figures)
    assert _stems(paths) == BOTH
    assert {path.suffix for path in paths} == {".png", ".pdf", ".svg", ".txt"}
    assert len(paths) == 4 * len(BOTH)
    assert all(path.stat().st_size > 100 for path in paths)
    assert b"<dc:date>" not in (folder / "sectors.svg").read_bytes()
    assert b"CreationDate" not in (folder / "sectors.pdf").read_bytes()


@pytest.mark.usefixtures("one_format")
def test_figures_can_be_drawn_elsewhere_and_leave_matplotlibs_settings_alone(tmp_path: Path) -> None:
    directory = made_up.write_campaign(tmp_path, repetitions=1)
    before = dict(mpl.rcParams)
    paths = figures.draw(directory, tmp_path / "elsewhere")
    assert dict(mpl.rcParams) == before
    assert all(path.parent == tmp_path / "elsewhere" and path.is_file() for path in paths)
    assert _stems(paths) == BOTH
    assert not (directory / "figures").exists()


def test_every_cell_is_a_point_and_one_repetition_has_no_interval(tmp_path: Path) -> None:
    for repetitions, bars in ((1, 0), (3, 3)):
        results = load.load(made_up.write_campaign(tmp_path, repetitions=repetitions, name=f"n{repetitions}"))
        with style.styled():
            axes, ratios = _figure(results, "sectors").axes[:2]
            for each in (axes, ratios):  # three policies, and three comparisons of them
                points = sum(len(c.get_offsets()) for c in each.collections if type(c).__name__ == "PathCollection")
                assert points == 3 * repetitions, "every cell a point, every pair a ratio"
            assert len(axes.containers) - 3 == bars  # one bar each, and an interval where there is one
            assert len(ratios.containers) == bars
    assert "One repetition: no intervals" in _texts(load.load(tmp_path / "n1"), "sectors")
    assert "over runs; 3 runs of one boot of each policy" in _texts(load.load(tmp_path / "n3"), "sectors")


def test_ratios_are_drawn_with_their_intervals_in_figures(tmp_path: Path) -> None:
    results = load.load(made_up.write_campaign(tmp_path, repetitions=3, samples=False))
    ratio = totals.ratio_of(
        results, ("sectors_read",), "sum", treatment="selfballoon+tmem", control="selfballoon", levels=""
    )
    text = f"{ratio.estimate:.2f} [{ratio.low:.2f}, {ratio.high:.2f}]"
    for name in ("overview", "sectors"):
        assert text in _texts(results, name)
    pairs = totals.pair_ratios(
        results, totals.QUANTITIES["sectors_read"], treatment="selfballoon+tmem", control="selfballoon", levels=""
    )
    assert len(pairs) == 3


@pytest.mark.parametrize("layout", style.LAYOUTS, ids=lambda layout: layout.name)
@pytest.mark.parametrize("name", sorted(NAMES))
def test_text_is_7_to_9_pt_in_print_and_nothing_is_baked_in(tmp_path: Path, name: str, layout: style.Layout) -> None:
    results = load.load(made_up.write_campaign(tmp_path, repetitions=2))
    with style.styled():
        figure = _figure(results, name, layout)
        figure.draw_without_rendering()
        texts = [text for text in figure.findobj(mpl.text.Text) if text.get_text().strip() and text.get_visible()]
        sizes = {text.get_fontsize() for text in texts}
        assert sizes
        assert min(sizes) >= 7
        assert max(sizes) <= 9
        assert figure.get_figwidth() == {"one-column": 3.3, "two-column": 7.0}[layout.name]
        assert figure._suptitle is None  # type: ignore[attr-defined]
        said = " ".join(text.get_text() for text in texts)
        for baked in (results.campaign.campaign, "emulated host", "interval", "Points"):
            assert baked not in said
        box = figure.get_tightbbox(figure.canvas.get_renderer())  # type: ignore[attr-defined]
        assert box.x0 > -0.02
        assert box.x1 < layout.width + 0.02, "cut off, or wider than the column"


def test_captions_say_what_the_pictures_do_not(tmp_path: Path) -> None:
    directory = made_up.write_campaign(tmp_path, repetitions=2)
    results = load.load(directory)
    for name in NAMES:
        for layout in style.LAYOUTS:
            text = " ".join(figures.caption(results, name, "", layout))
            assert results.campaign.campaign in text
            assert "emulated host (tcg)" in text
            assert "2 runs of one boot of each policy" in text
    assert "at jobs=2." in figures.caption(results, "sectors", "jobs=2", style.ONE_COLUMN)[0]


def test_an_interval_is_hidden_by_no_point(long_names: load.Results) -> None:
    with style.styled():
        figure = _figure(long_names, "overview")
        figure.draw_without_rendering()
    panel = figure.axes[0]
    points = [each for each in panel.collections if isinstance(each, mpl.collections.PathCollection)]
    assert len(points) == len(LONG)
    bars = [each for each in panel.containers if isinstance(each, mpl.container.ErrorbarContainer)]
    assert len(bars) == len(LONG)
    per_row = panel.get_window_extent().height / len(LONG) * 72 / figure.dpi  # pt
    for drawn, bar in zip(points, bars, strict=True):
        line = float(bar[2][0].get_segments()[0][0][1])
        nearest = min(float(y) - line for _, y in drawn.get_offsets())
        assert nearest * per_row > (max(drawn.get_sizes()) ** 0.5) / 2, "by more than half of a point"


def test_only_captions_of_figures_with_intervals_speak_of_them(long_names: load.Results) -> None:
    for name in NAMES:
        caption = " ".join(figures.caption(long_names, name, "", style.TWO_COLUMNS))
        assert ("Intervals" in caption) == (name not in ("memory", "hit_rates")), name
        assert "2 runs of one boot of each policy." in caption


LONG = ("fixed", "selfballoon", "selfballoon+tmem", "selfballoon+tmem+dedup", "selfballoon+tmem+compress")


@pytest.fixture(scope="module")
def long_names(tmp_path_factory: pytest.TempPathFactory) -> load.Results:
    """Of policies whose names are as long as published ones."""
    directory = made_up.write_campaign(
        tmp_path_factory.mktemp("long"), claims=(), policies=LONG, repetitions=2, guests=("guest1", "guest2")
    )
    return load.load(directory)


@pytest.mark.parametrize("layout", style.LAYOUTS, ids=lambda layout: layout.name)
@pytest.mark.parametrize("name", sorted(NAMES))
def test_long_names_neither_overlap_nor_leave_the_figure(
    long_names: load.Results, name: str, layout: style.Layout
) -> None:
    with style.styled():
        figure = _figure(long_names, name, layout)
        figure.draw_without_rendering()
        renderer = figure.canvas.get_renderer()  # type: ignore[attr-defined]
        rows = [
            text
            for axes in figure.axes
            for text in ([axes.yaxis.label] if name == "memory" else axes.get_yticklabels())
            if text.get_text()
        ]
        assert rows
        boxes = [(text.get_text(), text.get_window_extent(renderer)) for text in rows]
        for (one, box), (other, beside) in itertools.combinations(boxes, 2):
            assert not box.overlaps(beside), (one, other)
        box, height = figure.get_tightbbox(renderer), figure.get_figheight()
        assert box.x0 > -0.02
        assert box.x1 < layout.width + 0.02
        assert box.y0 > -0.02
        assert box.y1 < height + 0.02


@pytest.mark.parametrize("low", [0.0004, 0.01, 0.06, 0.11, 0.24, 0.39, 0.55, 0.65, 0.72, 0.8])
@pytest.mark.parametrize("high", [1.25, 1.4, 1.7, 2.1, 2.9, 3.4, 4.6, 7.0, 9.9, 14.0, 90.0, 3000.0])
def test_a_scale_of_ratios_has_three_numbers_or_more_that_do_not_touch(low: float, high: float) -> None:
    ticks = panels.ratio_ticks(low, high)
    assert len(ticks) > 2
    assert 1 in ticks
    apart = [math.log(after / before) / math.log(high / low) for before, after in itertools.pairwise(ticks)]
    assert min(apart) > 0.11


def test_ratios_that_are_alike_look_alike(tmp_path: Path) -> None:
    def alike(record: CellRecord) -> CellRecord:
        value = 1000 if record.policy == "static" else 990
        metrics = [replace(each, value=value) if each.name == "sectors_read" else each for each in record.metrics]
        return replace(record, metrics=tuple(metrics))

    results = load.load(made_up.write_campaign(tmp_path, repetitions=1, samples=False, change=alike))
    with style.styled():
        axes = _figure(results, "sectors").axes[1]
    low, high = axes.get_xlim()
    assert math.log(1 / 0.95) / math.log(high / low) < 0.12, "five per cent is a small part of the scale"
    assert len(axes.get_xticks()) > 2


def test_names_are_broken_where_a_part_begins() -> None:
    assert style.wrapped("selfballoon+tmem") == "selfballoon+tmem"
    assert style.wrapped("selfballoon+tmem+compress+dedup") == "selfballoon+tmem\n+compress+dedup"
    assert style.wrapped("selfballoon+tmem", 13) == "selfballoon\n+tmem"
    for most in (5, 13, 18):
        assert style.wrapped("a+bb+ccc+dddd", most).replace("\n", "") == "a+bb+ccc+dddd"


MANY = ("static", *(f"p{number}" for number in range(figures._MOST_LINES)))


@pytest.mark.parametrize("policies", [made_up.POLICIES, MANY, ("selfballoon+tmem",)], ids=["few", "many", "one"])
@pytest.mark.parametrize("name", ["overview", "sectors", "requests", "time"])
def test_a_caption_names_the_panels_that_are_drawn_and_no_other(
    tmp_path: Path, name: str, policies: tuple[str, ...]
) -> None:
    results = load.load(made_up.write_campaign(tmp_path, claims=(), policies=policies, repetitions=2))
    with style.styled():
        drawn = [axes for axes in _figure(results, name).axes if axes.axison]
    title, *_, read = figures.caption(results, name, "", style.TWO_COLUMNS)
    assert re.findall(r"\(([a-z])\)", title) == [axes.get_title(loc="left")[1] for axes in drawn]
    for axes, said in zip(drawn, re.split(r"\([a-z]\) ", title)[1:], strict=True):
        over_time, compared = "over time" in said, "ratios" in said
        assert over_time == axes.get_xlabel().startswith("time since"), said
        assert compared == axes.get_xlabel().startswith("ratio"), said
        if name == "overview":
            assert (f"n ({axes.get_title(loc='left')[1]}) the first repetition" in read) == over_time


def test_text_in_svg_is_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(style, "FORMATS", ("svg",))
    results = load.load(made_up.write_campaign(tmp_path, repetitions=1, samples=False))
    with style.styled():
        (path, _) = style.save(_figure(results, "sectors"), tmp_path / "sectors", ["a caption"])
    drawn = path.read_text()
    assert ">selfballoon+tmem</text>" in drawn.replace("\n", "")
    assert "sectors read [thousand sectors]" in drawn


def test_policies_and_kinds_of_pages_are_told_apart_without_colours() -> None:
    looks = list(style.looks([*made_up.POLICIES, "zswap", "other"]).values())
    for attribute in ("hatch", "line", "marker"):
        assert len({str(getattr(look, attribute)) for look in looks}) == len(looks)
    shades = [_luminance(look.colour) for look in (style.EPHEMERAL, style.PERSISTENT)]
    assert abs(shades[0] - shades[1]) > 0.25
    assert style.EPHEMERAL.hatch != style.PERSISTENT.hatch


def _luminance(colour: str) -> float:
    red, green, blue = mpl.colors.to_rgb(colour)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_every_repetition_is_drawn_over_time(tmp_path: Path) -> None:
    results = load.load(made_up.write_campaign(tmp_path, repetitions=3))
    with style.styled():
        for name, panel in (("memory", 0), ("overview", 2)):
            axes = _figure(results, name).axes[panel]
            gaps = sum(int(np.isnan(np.asarray(line.get_ydata(), dtype=float)).sum()) for line in axes.lines)
            assert gaps >= 2, "the second and third repetition are one line with gaps"


def test_every_figure_names_the_kind_of_host(tmp_path: Path) -> None:
    emulated = load.load(made_up.write_campaign(tmp_path, repetitions=1))
    line = "emulated host (tcg): times are the emulated machine's; counters are real"
    assert figures.host_line(emulated) == line
    for name in ("memory", "sectors", "time", "overview"):
        assert line in _texts(emulated, name)
    physical = load.load(made_up.write_campaign(tmp_path, repetitions=1, host_kind="physical", name="server"))
    assert figures.host_line(physical) == "physical host"
    assert "emulated" not in report.paragraph(physical)
    cells = tuple(replace(cell, accelerator="QEMU PC") for cell in physical.complete)
    shared = replace(physical, complete=cells)
    assert figures.host_line(shared).startswith("physical host, a virtual machine (QEMU PC): its times")
    assert "A server was itself a virtual machine (QEMU PC)" in report.paragraph(shared)


def test_axes_name_their_units(tmp_path: Path) -> None:
    results = load.load(made_up.write_campaign(tmp_path, repetitions=1))
    assert "sectors read [thousand sectors]" in _texts(results, "sectors")
    assert "wall time, emulated [s]" in _texts(results, "time")
    assert "ratio of wall time, emulated" in _texts(results, "time")
    assert "time since the release, emulated [s]" in _texts(results, "overview")
    real = load.load(made_up.write_campaign(tmp_path / "real", repetitions=1, change=_of_a_server))
    assert "wall time [s]" in _texts(real, "time")
    assert "[MiB]" in _texts(results, "memory")


def _of_a_server(record: CellRecord) -> CellRecord:
    return replace(record, host_kind="physical")


def test_no_panel_is_drawn_empty_where_lines_would_be_too_many(tmp_path: Path) -> None:
    results = load.load(made_up.write_campaign(tmp_path, claims=(), policies=MANY, repetitions=1))
    with style.styled():
        figure = _figure(results, "overview", style.TWO_COLUMNS)
    assert [axes.get_title(loc="left") for axes in figure.axes if axes.axison] == ["(a)", "(b)"]
    assert "all guests [MiB]" not in _texts(results, "overview")


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


def test_factors_have_a_figure_per_level(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(style, "FORMATS", ())  # which there are is told by their captions
    levels = ({"jobs": 2}, {"jobs": 16})
    directory = made_up.write_campaign(tmp_path, repetitions=1, levels=levels)
    summary = report.summarise(directory)
    assert _stems(summary.figures) == {
        f"{name}.jobs-{jobs}{layout.suffix}" for name in NAMES for jobs in (2, 16) for layout in style.LAYOUTS
    }
    assert summary.columns[1] == "levels"
    assert len(summary.rows) == 6
    assert "At jobs=2:" in summary.paragraph


@pytest.mark.usefixtures("one_format")
def test_without_samples_the_other_figures_are_drawn(tmp_path: Path) -> None:
    directory = made_up.write_campaign(tmp_path, repetitions=1, samples=False)
    there = ("overview", "sectors", "requests", "time")
    assert _stems(figures.draw(directory)) == {f"{name}{layout.suffix}" for name in there for layout in style.LAYOUTS}
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
        for cell in results.complete
    )
    results = replace(results, complete=trimmed)
    for row in report.summary_table(results)[1]:
        assert report.MISSING not in row[3:7]
    assert "with 2 or 3 guests" in report.paragraph(results)


def test_summary_says_what_was_compared_what_came_out_and_where(summary: report.Summary) -> None:
    assert "static, selfballoon, selfballoon+tmem" in summary.paragraph
    assert "overcommit ratio 1.85" in summary.paragraph
    assert "9 of 9 cells are complete" in summary.paragraph
    assert "sectors read 46 % lower (ratio 0.54, 95 % interval" in summary.paragraph
    assert "explain 86 % of the" in summary.paragraph
    assert "The host was emulated (tcg)" in summary.paragraph
    text = summary.report.read_text()
    assert all(verdict.wording in text for verdict in summary.verdicts)
    assert "![overview](figures/overview.png)" in text
    caption = (summary.report.parent / "figures/overview.txt").read_text().strip()
    assert caption.replace("\n", " ") in text, "a caption below each"
    assert "overview.column.png" not in text
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


def test_many_policies_have_colours_of_their_own_and_are_told_apart_in_grey() -> None:
    bases = ("static", "fixed", "selfballoon", "balloon", "qmemman", "squeezed", "mom", "proxmox", "psi", "hotplug")
    pairs = [name for base in (*bases, "collaborative") for name in (base, f"{base}+tmem")]
    many = style.looks([*pairs, "smartmem+tmem", "tmem-refusing", "zswap", "more-ram"])
    assert len(many) == 26
    assert len({look.colour for look in many.values()}) == 26
    assert len({(str(look.marker), str(look.line)) for look in many.values()}) == 26
    markers = {name.split("+")[0]: str(look.marker) for name, look in many.items()}
    assert len(set(markers.values())) == len(markers) == 15
    for name, look in many.items():
        assert str(look.marker) == markers[name.split("+")[0]], "one for a policy and the same with tmem"
    few = style.policy_colours(made_up.POLICIES)
    assert few.items() <= {name: look.colour for name, look in many.items()}.items()


def test_policies_keep_their_colours_and_never_share_one() -> None:
    few, many = style.policy_colours(made_up.POLICIES), style.policy_colours([*made_up.POLICIES, "a", "b", "c", "d"])
    assert few.items() <= many.items()
    assert len(set(many.values())) == 7
