"""Memory against time: a point for each policy, whose names can be read; what was not measured is
left out and said.
"""

from __future__ import annotations

import dataclasses
import itertools
import zlib
from pathlib import Path

import analysis_campaign as made_up
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Annotation, Text

from analysis import figures, footprint, load, report, style
from campaigns.records import CellRecord
from common.metrics import Metric

BASES = ("static", "fixed", "selfballoon", "balloon", "hotplug", "qmemman", "squeezed", "mom", "proxmox", "psi")
POLICIES = (*(name for base in BASES for name in (base, f"{base}+tmem")), "smartmem+tmem", "zswap", "more-ram")


def measured(record: CellRecord) -> CellRecord:
    """The cell with a footprint, and with its policy's own time and reads: crowded, as managers
    that hand out all there is are.
    """
    noise = [(zlib.crc32(f"{record.policy}{part}".encode()) % 1000) / 1000 for part in "abc"]
    tmem = record.policy.endswith("+tmem")
    held = 0.30 + 0.08 * noise[0] + 0.02 * tmem
    changed = {
        "wall_seconds": 50 + 30 * noise[1] * (0.7 if tmem else 1.0),
        "sectors_read": round(60_000 + 120_000 * noise[2] * (0.6 if tmem else 1.0)),
    }
    metrics = [
        dataclasses.replace(each, value=changed[each.name]) if each.name in changed else each for each in record.metrics
    ]
    return dataclasses.replace(record, metrics=(*metrics, Metric("footprint", "GiB·min", held, None)))


def without(name: str, policy: str, record: CellRecord) -> CellRecord:
    """As measured, but one policy lacks a value."""
    if record.policy != policy:
        return measured(record)
    metrics = [
        dataclasses.replace(each, value=None) if each.name == name else each for each in measured(record).metrics
    ]
    return dataclasses.replace(record, metrics=tuple(metrics))


def campaign(tmp_path: Path, **more: object) -> load.Results:
    options = {"change": measured, "policies": POLICIES, "repetitions": 1, "guests": ("guest1", "guest2")}
    return load.load(made_up.write_campaign(tmp_path, claims=(), samples=False, **{**options, **more}))  # type: ignore[arg-type]


def drawn(results: load.Results, layout: style.Layout) -> Figure:
    with style.styled():
        figure = footprint.draw(results, "", layout)
        assert figure is not None
        figure.draw_without_rendering()
    return figure


def names_in(figure: Figure, panel: int) -> list[Annotation]:
    return [each for each in figure.axes[panel].texts if isinstance(each, Annotation)]


def test_every_policy_has_a_point_and_pairs_have_one_name(tmp_path: Path) -> None:
    figure = drawn(campaign(tmp_path), style.TWO_COLUMNS)
    for panel in (0, 1):
        markers = [line for line in figure.axes[panel].lines if line.get_marker() not in ("None", "")]
        assert len(markers) == len(POLICIES)
        lines = [line for line in figure.axes[panel].lines if line.get_marker() in ("None", "")]
        assert len(lines) == len(BASES), "a line for each pair"
        alone = {"smartmem+tmem", "zswap", "more-ram"}
        assert {each.get_text() for each in names_in(figure, panel)} == {*BASES, *alone}


def test_points_have_the_looks_that_their_policies_have_elsewhere(tmp_path: Path) -> None:
    few = campaign(tmp_path, policies=POLICIES[:6], name="few")
    for results in (few, campaign(tmp_path)):
        looks = style.looks(results.policies)
        drawn_as = {
            (each.get_markeredgecolor(), str(each.get_marker()))
            for each in drawn(results, style.TWO_COLUMNS).axes[0].lines
            if each.get_marker() not in ("None", "")
        }
        assert {colour for colour, _ in drawn_as} == {look.colour for look in looks.values()}
        if results is not few:
            assert drawn_as == {(look.colour, str(look.marker)) for look in looks.values()}


@pytest.mark.parametrize("layout", style.LAYOUTS, ids=lambda layout: layout.name)
def test_no_name_lies_on_another_or_outside(tmp_path: Path, layout: style.Layout) -> None:
    figure = drawn(campaign(tmp_path), layout)
    renderer = figure.canvas.get_renderer()  # type: ignore[attr-defined]
    for panel in (0, 1):
        frame = figure.axes[panel].get_window_extent(renderer)
        boxes = {each.get_text(): Text.get_window_extent(each, renderer) for each in names_in(figure, panel)}
        on_another = [pair for pair in itertools.combinations(boxes, 2) if boxes[pair[0]].overlaps(boxes[pair[1]])]
        assert on_another == []
        outside = [name for name, box in boxes.items() if box.x0 < frame.x0 - 1 or box.x1 > frame.x1 + 1]
        assert outside == []


@pytest.mark.parametrize("phase", [None, "20 s"])
def test_where_guests_begin_apart_the_table_says_of_which_time_a_footprint_is(
    tmp_path: Path, phase: str | None
) -> None:
    results = campaign(tmp_path, experiment={"workload": {"name": "kernel_build", "phase": phase}})
    text = " ".join(footprint.said(results))
    assert ("A footprint is of the whole run, from the release to the last guest's end" in text) == bool(phase)


def test_what_was_not_measured_is_left_out_and_said(tmp_path: Path) -> None:
    results = campaign(tmp_path, change=lambda record: without("footprint", "psi", record))
    assert "psi" not in [each.get_text() for each in names_in(drawn(results, style.TWO_COLUMNS), 0)]
    caption = " ".join(figures.caption(results, "footprint", "", style.TWO_COLUMNS))
    assert "Left out of (a), since not measured: psi." in caption
    assert "Left out of (b), since not measured: psi." in caption
    row = next(line for line in footprint.said(results)[0].splitlines() if line.startswith("| psi |"))
    assert row.split(" | ")[1] == "–"


def test_a_policy_without_times_is_in_the_other_panel(tmp_path: Path) -> None:
    results = campaign(tmp_path, change=lambda record: without("wall_seconds", "mom", record))
    figure = drawn(results, style.TWO_COLUMNS)
    assert "mom" not in [each.get_text() for each in names_in(figure, 0)]
    assert "mom" in [each.get_text() for each in names_in(figure, 1)]
    # what is left of the pair is a point by itself, with its own name
    assert "mom+tmem" in [each.get_text() for each in names_in(figure, 0)]


def test_times_say_that_they_are_emulated(tmp_path: Path) -> None:
    emulated = drawn(campaign(tmp_path), style.TWO_COLUMNS)
    assert emulated.axes[0].get_ylabel() == "time lost against the fastest, emulated [%]"
    assert "emulated" in emulated.axes[1].get_xlabel()
    assert "emulated" not in emulated.axes[1].get_ylabel()
    physical = drawn(campaign(tmp_path, host_kind="physical", name="server"), style.TWO_COLUMNS)
    assert physical.axes[0].get_ylabel() == "time lost against the fastest [%]"


def test_the_fastest_lost_nothing_and_the_others_more(tmp_path: Path) -> None:
    found = {each.policy: each for each in footprint.points(campaign(tmp_path), "")}
    fastest = min(found.values(), key=lambda each: each.seconds or 0)
    assert fastest.lost == 0
    for each in found.values():
        assert each.lost == pytest.approx(each.seconds / fastest.seconds - 1)  # type: ignore[operator]
    assert found["qmemman+tmem"].beside == "qmemman"
    assert found["smartmem+tmem"].beside is None


def test_a_campaign_without_footprints_has_neither_figure_nor_table(tmp_path: Path) -> None:
    results = load.load(made_up.write_campaign(tmp_path, repetitions=1))
    assert footprint.draw(results, "", style.TWO_COLUMNS) is None
    assert "Memory against time" not in report.markdown(results, (), [])


def test_the_report_has_the_table(tmp_path: Path) -> None:
    text = report.markdown(campaign(tmp_path), (), [])
    section = text.partition("## Memory against time")[2].partition("\n## ")[0]
    for policy in POLICIES:
        assert f"\n| {policy.replace('+', '+')} | " in section
    assert "emulated machine's clock" in section


def test_lines_of_many_policies_are_named_in_their_colours_and_leave_room(tmp_path: Path) -> None:
    policies = POLICIES[: figures._MOST_LINES]
    results = load.load(made_up.write_campaign(tmp_path, claims=(), policies=policies, repetitions=1))
    with style.styled():
        figure = figures.FIGURES["overview"].draw(results, "", style.TWO_COLUMNS)
        assert figure is not None
        figure.draw_without_rendering()
    panel = figure.axes[2]
    key = panel.get_legend()
    assert key is not None
    lines = {each.get_label(): each for each in panel.lines if not str(each.get_label()).startswith("_")}
    assert set(policies) < set(lines)
    named = {text.get_text(): line for text, line in zip(key.get_texts(), key.get_lines(), strict=False)}
    assert list(named) == list(lines), "all of them, in the order of the experiment"
    for name, line in lines.items():
        assert (named[str(name)].get_color(), named[str(name)].get_linestyle()) == (
            line.get_color(),
            line.get_linestyle(),
        )
    assert panel.get_window_extent().width > figure.bbox.width / 2 / 2, "half of its column"
    assert not key.get_window_extent().overlaps(panel.get_window_extent())
