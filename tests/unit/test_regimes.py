"""When a policy pays: what the model predicts from a curve, where a campaign's points stand, and
how far predictions are from what was measured.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import analysis_campaign as made_up
import numpy as np
import pytest
from matplotlib.collections import LineCollection
from matplotlib.transforms import Bbox

from analysis import (
    evidence,
    figures,
    load,
    predicted,
    regime_figure,
    regime_map,
    regime_words,
    report,
    sections,
    style,
    tables,
    totals,
)
from analysis.predicted import Curve, Load, Setup
from campaigns.records import CellRecord
from common.metrics import Metric

CURVE = Curve(((100.0, 400.0), (150.0, 200.0), (200.0, 100.0), (210.0, 100.0)))
LOAD = Load(committed=90.0, kept=20.0, seconds=30.0)
SETUP = Setup(guests=2, host=300.0, share=100.0, most=220.0)

# --- The model ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mib", "expected"),
    [(99.0, None), (100.0, 400.0), (125.0, 80000**0.5), (175.0, 20000**0.5), (200.0, 100.0), (900.0, 100.0)],
)
def test_a_curve_is_known_between_its_ends_and_flat_beyond(mib: float, expected: float | None) -> None:
    assert CURVE.at(mib) == (None if expected is None else pytest.approx(expected))


def test_the_working_set_is_where_the_curve_becomes_flat() -> None:
    # 1.1 times the least is 110: nine tenths of the way from 200 sectors to 100
    assert CURVE.working_set == pytest.approx(195.0)
    assert CURVE.bracket == (150.0, 200.0)


def test_a_curve_says_how_far_it_may_be_off_itself() -> None:
    # 150 from 100 and 200: the root of 400 × 100; 200 from 150 and 210, 10 of 60 MiB before its end
    assert CURVE.left_out() == pytest.approx([200 / 200, 200 ** (1 / 6) * 100 ** (5 / 6) / 100])
    assert Curve(((100.0, 9.0), (150.0, 0.0), (200.0, 0.0))).left_out() == []  # nothing to divide by


@pytest.mark.parametrize(
    "points",
    [
        (),
        ((100.0, 50.0),),
        ((100.0, 50.0), (150.0, 49.0)),
        ((100.0, 90.0), (150.0, 50.0), (200.0, 80.0)),
        ((100.0, 90.0), (150.0, 50.0), (200.0, 40.0)),  # with 250 it might read less still
    ],
)
def test_a_curve_without_a_knee_tells_no_working_set(points: tuple[tuple[float, float], ...]) -> None:
    assert Curve(points).working_set is None


def mean_way(start: float, goal: float) -> float:
    """In 30 s are six intervals; after each, an eighth of what is left is gone."""
    return goal + (start - goal) * sum((7 / 8) ** step for step in range(6)) / 6


@pytest.mark.parametrize(
    ("policy", "setup", "expected"),
    [
        ("fixed", {}, 100),
        ("static", {}, 150),  # the whole host, evenly
        ("fixed+tmem", {}, 150),  # 100 MiB fallow, half for each
        ("fixed+cleancache", {}, 150),
        ("fixed+tmem+compress", {}, 100 + 1.8 * 50),
        ("fixed+tmem+compress+dedup", {}, 200),  # what both put is kept once
        ("fixed+tmem", {"host": 200.0}, 100),  # nothing fallow
        # at 30 s apart and 30 s long, 2 × 30 s of runs in 60 s: one at a time, with the whole pool
        ("fixed+tmem", {"phase": 30.0}, 200),
        ("fixed+tmem+dedup", {"phase": 30.0}, 200),  # nobody to share with
        # from its half of the host, 150, to 98: 90 committed, and a tenth of 100 - 20
        ("selfballoon", {}, mean_way(150, 98)),
        ("selfballoon", {"down": 1.0, "interval": 10.0}, (150 + 98 + 98) / 3),
        ("selfballoon", {"reserved": 30.0}, mean_way(150, 120)),
        ("selfballoon", {"least": 96.0}, mean_way(150, 116)),  # and the kernel's own 20
        ("selfballoon", {"least": 250.0, "host": 600.0}, 220),  # no more than it may have
        ("selfballoon", {"least": 96.0, "host": 200.0}, 100),  # no more than there is
        ("selfballoon", {"host": 180.0, "reserved": 0.0}, 90),  # from below it goes the whole way at once
        # the second one has six intervals before, in which it is on its way to its least, 77
        ("selfballoon", {"phase": 30.0}, (mean_way(150, 98) + mean_way(77 + 73 * (7 / 8) ** 6, 98)) / 2),
        ("selfballoon+tmem", {}, 150),  # its own, and half of what the host has beside both
        # what is its own; of 300 the other one keeps its least: 20 and 40 + (200 - 64) / 8
        ("selfballoon+tmem", {"phase": 30.0}, 300 - (20 + 57)),
    ],
)
def test_the_memory_that_works_for_a_guest(policy: str, setup: Mapping[str, Any], expected: float) -> None:
    assert predicted.working_memory(LOAD, dataclasses.replace(SETUP, **setup), policy) == pytest.approx(expected)


@pytest.mark.parametrize("policy", ["qmemman", "fixed+zswap", "fixed+frontswap", "fixed+dedup", "fixed+tmem+refusing"])
def test_of_what_the_model_has_no_word_for_nothing_is_said(policy: str) -> None:
    assert predicted.working_memory(LOAD, SETUP, policy) is None


def test_what_was_not_measured_makes_no_prediction() -> None:
    blind = Load(None, None, None)
    assert predicted.sectors(CURVE, blind, SETUP, "fixed+tmem") == 200
    assert predicted.sectors(CURVE, blind, SETUP, "selfballoon") is None
    assert predicted.sectors(CURVE, blind, dataclasses.replace(SETUP, phase=1.0), "fixed+tmem") is None
    assert predicted.sectors(CURVE, dataclasses.replace(LOAD, seconds=None), SETUP, "selfballoon") is None
    small = dataclasses.replace(SETUP, host=190.0)
    assert predicted.sectors(CURVE, LOAD, small, "selfballoon") is None  # at most 95 MiB is below the curve


def test_the_drivers_least_memory_is_the_drivers() -> None:
    found = [predicted._by_size(mib) for mib in (8, 16, 40, 64, 200, 512, 1024)]
    assert found == [8, 16, 28, 40, 57, 99, 115]


PUBLISHED = Path(__file__).resolve().parents[2] / "results" / "policies"


@pytest.mark.parametrize(
    ("policy", "control", "off"),
    [
        ("static+tmem", "static", 0.02),
        ("fixed+tmem", "fixed", -0.078),
        ("selfballoon+tmem", "static", -0.064),
        ("selfballoon", "static", -0.425),  # which swaps, and the model does not
    ],
)
def test_what_it_predicts_of_the_published_campaign(policy: str, control: str, off: float) -> None:
    """Its guests of fixed sizes are a curve of three points, of 96, 112 and 128 MiB."""
    results = load.load(PUBLISHED)

    def read(of: str) -> float:
        mean = totals.centre_of(results, regime_map.READ, of, "").mean
        assert mean is not None
        return mean

    curve = Curve(((96.0, read("fixed")), (112.0, read("static")), (128.0, read("more-ram"))))
    assert curve.working_set is None  # it still falls where it ends
    share = 96.0 if control == "fixed" else 112.0
    setup = Setup(guests=2, host=224.0, share=share, most=160.0, phase=20.0, least=64.0)
    shown = regime_map.load_of(results, results.at(control, ""))
    expected = predicted.sectors(curve, shown, setup, policy)
    assert expected is not None
    assert expected / read(policy) - 1 == pytest.approx(off, abs=0.005)


@pytest.mark.parametrize(("mib", "off"), [(80, -0.45), (96, -0.38), (112, -0.24), (128, -0.20), (208, 0.01)])
def test_what_it_predicts_where_most_of_the_host_is_fallow(mib: int, off: float) -> None:
    """One guest, far too small at first: the model takes a page in tmem for one of the guest's."""
    results = load.load(PUBLISHED.with_name("safe_minimum"))
    sizes = (80, 96, 112, 128, 208)

    def read(of: str, at: int) -> float:
        mean = totals.centre_of(results, regime_map.READ, of, f"guests.memory_start={at} MiB").mean
        assert mean is not None
        return mean

    curve = Curve(tuple((float(size), read("fixed", size)) for size in sizes))
    setup = Setup(guests=1, host=256.0, share=float(mib), most=224.0)
    expected = predicted.sectors(curve, Load(None, None, None), setup, "fixed+tmem")
    assert expected is not None
    assert expected / read("fixed+tmem", mib) - 1 == pytest.approx(off, abs=0.005)


# --- The map ------------------------------------------------------------------------------------

START, HOST, PHASE = "guests.memory_start", "host.guest_memory", "workload.phase"
LEVELS = [
    {START: f"{share} MiB", HOST: f"{host} MiB", PHASE: phase}
    for share, host in (
        *((100, 200), (100, 300), (150, 300), (150, 450), (200, 400), (200, 600), (210, 420), (210, 630)),
    )
    for phase in ("0 s", "30 s")
]
READ = {100: 400, 150: 200, 200: 100, 210: 100}
"""What a guest of a fixed size reads, at any phase and on any host."""
MEASURED = {(100, 200): 400, (100, 300): 250, (150, 300): 220, (150, 450): 100, (200, 400): 100, (200, 600): 100}
MEASURED |= {(210, 420): 100, (210, 630): 100}
"""What it reads with tmem, all at once; one after the other, half."""
DOCUMENT = {
    "guests": {"count": 2, "memory_max": "220 MiB", "memory_start": "100 MiB"},
    "host": {"guest_memory": "200 MiB"},
    "workload": {"name": "kernel_build", "phase": "0 s"},
    "factors": {START: [], HOST: [], PHASE: []},
}


@pytest.fixture
def _only_this_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figures, "FIGURES", {"regimes": figures.FIGURES["regimes"]})


def campaign(
    tmp_path: Path,
    *,
    policies: tuple[str, ...] = ("fixed", "fixed+tmem"),
    document: Mapping[str, object] = DOCUMENT,
    lost: str = "",
    unread: str = "",
    uneven: float = 1.0,
) -> load.Results:
    """Two guests under fixed sizes and with tmem. lost: the policy without complete cells at 100
    MiB of 300; unread: the policy whose second guest has no figure there. uneven: so many times as
    much is read under the control beside fallow memory.
    """

    def change(record: CellRecord) -> CellRecord:
        share, host = (int(str(record.levels[path]).split()[0]) for path in (START, HOST))
        later = record.levels[PHASE] != "0 s"
        here = (share, host) == (100, 300)
        if record.policy == lost and here:
            return made_up.failed(record)
        read = READ[share] if record.policy == "fixed" else MEASURED[share, host] / (2 if later else 1)
        kept = {"sectors_read", "wall_seconds"}
        if record.policy == "fixed" and host > 2 * share:
            read *= uneven
        metrics = [each for each in record.metrics if each.name not in kept]
        for guest, part in (("guest1", 0.5), ("guest2", 1.5)):
            missing = guest == "guest2" and record.policy == unread and here
            metrics.append(Metric("sectors_read", "sectors", None if missing else read * part, guest))
            metrics.append(Metric("wall_seconds", "s", 30.0, guest))
        return dataclasses.replace(record, metrics=tuple(metrics))

    directory = made_up.write_campaign(
        tmp_path,
        repetitions=1,
        policies=policies,
        levels=LEVELS,
        guests=("guest1", "guest2"),
        claims=(),
        change=change,
        samples=False,
        experiment=document,
    )
    return load.load(directory)


def points(results: load.Results) -> dict[tuple[float, int, float], regime_map.Point]:
    """(share, fallow in per cent, phase) -> the point of the policy with tmem."""
    made = regime_map.found(results)
    assert made is not None
    return {(p.setup.share, round(100 * p.setup.fallow), p.setup.phase): p for p in made.points}


def test_points_stand_where_their_levels_put_them_and_have_both_ratios(tmp_path: Path) -> None:
    results = campaign(tmp_path)
    made = regime_map.found(results)
    assert made is not None
    assert made.curve == CURVE
    found = points(results)
    assert set(found) == {(s, f, p) for s in (100, 150, 200, 210) for f in (0, 33) for p in (0, 30)}
    point = found[100, 33, 0]
    assert point.relative == pytest.approx(100 / 195)
    assert point.predicted == pytest.approx(0.5)  # 150 MiB instead of 100
    assert point.measured == pytest.approx(250 / 400)
    assert point.error == pytest.approx(0.5 / 0.625 - 1)
    assert found[100, 33, 30].predicted == pytest.approx(0.25)  # the whole pool: 200 MiB
    assert found[100, 33, 30].error == pytest.approx(0.25 / (125 / 400) - 1)
    # errors: 0, -0.2, (1 ÷ 1.1) - 1, 0 (150 + 75 > 200: 0.5), 0, 0; apart 1 ÷ 0.5 - 1, ...
    assert found[150, 0, 0].error == pytest.approx(1 / 1.1 - 1)
    assert found[150, 33, 0].error == pytest.approx(0)
    assert found[100, 0, 30].error == pytest.approx(1)
    assert found[100, 33, 0].even == pytest.approx(0.5)  # 300 MiB for two
    assert found[150, 33, 0].even == pytest.approx(0.5)  # not more than the curve's end
    assert (found[100, 0, 0].differs, found[100, 0, 30].differs) == (False, True)


def test_the_model_never_sees_the_policy_that_it_predicts(tmp_path: Path) -> None:
    with_all = points(campaign(tmp_path / "all"))
    without = points(campaign(tmp_path / "lost", lost="fixed+tmem"))
    assert {at: point.predicted for at, point in without.items()} == {at: p.predicted for at, p in with_all.items()}
    missing = without[100, 33, 0]
    assert (missing.measured, missing.error, missing.differs) == (None, None, None)
    assert missing.lost == "fixed+tmem: failed"


@pytest.mark.parametrize("how", ["lost", "unread"])
def test_a_curve_is_made_of_what_was_read_in_every_guest(tmp_path: Path, how: str) -> None:
    made = regime_map.found(campaign(tmp_path, **{how: "fixed"}))  # type: ignore[arg-type]
    assert made is not None
    assert made.curve == CURVE  # the same share on another host is the same to a guest
    point = next(p for p in made.points if (p.setup.share, p.setup.host, p.setup.phase) == (100, 300, 0))
    assert point.predicted == pytest.approx(0.5)
    assert point.own.estimate is None  # its control was not measured there
    assert point.measured == pytest.approx(250 / 400)  # but with the same share beside less
    assert point.spread is None


def test_what_its_parts_add_to_a_policy_is_told_beside_what_it_is_worth(tmp_path: Path) -> None:
    policies = ("fixed", "selfballoon", "selfballoon+tmem", "fixed+tmem")
    results = campaign(tmp_path, policies=policies, lost="selfballoon")
    made = regime_map.found(results)
    assert made is not None
    pairs = [("selfballoon", "fixed"), ("selfballoon+tmem", "fixed"), ("selfballoon+tmem", "selfballoon")]
    assert list(dict.fromkeys((p.policy, p.over) for p in made.points)) == [*pairs, ("fixed+tmem", "fixed")]
    assert {point.over for point in made.against} == {"fixed"}
    assert {(point.policy, point.over) for point in made.parts} == {pairs[2]}
    assert {point.measured for point in made.parts} == {1.0, None}  # all read the same here
    assert {point.lost for point in made.parts if point.measured is None} == {"selfballoon: failed"}
    assert {(point.spread, point.even) for point in made.parts} == {(None, None)}  # of the control alone
    both = [part for part in regime_words.said(results) if isinstance(part, sections.Table)]
    assert [table.columns[:2] for table in both] == [("policy", "share of a guest [MiB]"), ("policy", "over")]
    assert [len(table.rows) for table in both] == [48, 16]
    assert "Under selfballoon+tmem guests read 1.00 to 1.00 of what they read under selfballoon" in " ".join(
        regime_words.summary(results)
    )


def test_readings_of_the_control_at_one_share_are_taken_together(tmp_path: Path) -> None:
    results = campaign(tmp_path, uneven=1.5)
    made = regime_map.found(results)
    assert made is not None
    point = points(results)[100, 33, 0]
    assert point.own.estimate == pytest.approx(250 / 600)
    assert point.measured == pytest.approx(250 / 500)  # it read 400 beside nothing fallow
    assert point.spread == pytest.approx(1.5)
    assert point.differs is True
    assert points(results)[150, 0, 0].differs is False  # 220 ÷ 250
    assert made.curve.points[0] == (100.0, 500.0)


def test_one_more_factor_makes_it_another_question(tmp_path: Path) -> None:
    factors: dict[str, list[str]] = {START: [], HOST: [], "workload.parameters.jobs": []}
    assert regime_map.found(campaign(tmp_path, document={**DOCUMENT, "factors": factors})) is None
    assert regime_words.said(load.load(made_up.write_campaign(tmp_path / "plain", repetitions=1, samples=False))) == []


def test_a_control_that_moves_memory_is_no_curve(tmp_path: Path) -> None:
    assert regime_map.found(campaign(tmp_path, policies=("selfballoon", "fixed"))) is None


def test_static_guests_have_an_even_share_and_nothing_is_fallow() -> None:
    setup = regime_map._setup({**DOCUMENT, "selfballoon": {"min_usable": "64 MiB"}}, LEVELS[2], "static")
    assert (setup.share, setup.fallow, setup.least, setup.reserved) == (150, 0, 64, None)


def test_a_ratio_decides_the_hosts_memory() -> None:
    document = {"guests": {"count": 4, "memory_max": "100 MiB"}, "overcommit_ratio": 2.0, "host": {}}
    assert regime_map._setup(document, {}, "static").host == 200
    assert regime_map._setup(document, {"overcommit_ratio": 1.6}, "static").share == 62
    fit = {"guests": {"count": 4, "memory_max": "fit"}, "overcommit_ratio": 2.0, "host": {"guest_memory": "400 MiB"}}
    assert regime_map._setup(fit, {}, "static").most == 200


@pytest.mark.usefixtures("_only_this_figure")
def test_the_report_has_every_point_and_the_figure_its_data(tmp_path: Path) -> None:
    results = campaign(tmp_path, lost="fixed+tmem")
    summary = report.summarise(results.directory)
    text = summary.report.read_text()
    assert "## When it pays" in text
    assert "| fixed+tmem | 100 | 0.5 | 33 % | 0 | 0.50 | 0.50 | – | – |" in text
    assert "| fixed+tmem | 150 | 0.8 | 0 % | 0 | 1.00 | 1.00 | 1.10 | -9 % |" in text
    assert "400 with 100 MiB, 200 with 150 MiB, 100 with 200 MiB" in text
    assert "is between 150 and 200 MiB: 195 on the line between them" in text
    assert "Equal guests beside more or less fallow memory read, the most over the least, 1.00 with 100 MiB" in text
    assert "fixed+tmem, 14 points: the model is off by 1.41 and 2.00, “as under fixed” is off by 1.91 and 4.00" in text
    lost = "with 100 MiB each and 33 % of the host fallow (fixed+tmem: failed)"
    assert f"Not measured, and so not in any count here: fixed+tmem {lost}" in text
    assert "At guests.memory_start" not in text.split("##")[0]  # a map is told as one, not level by level
    names = {path.name for path in summary.figures}
    assert names == {f"regimes{layout}.{kind}" for layout in ("", ".column") for kind in ("png", "pdf", "svg", "txt")}
    drawn = (results.directory / "figures" / "regimes.svg").read_text()
    assert ">1.10<" in drawn  # svg keeps texts
    assert "E2</text>" in drawn
    assert "(1.00)" in drawn
    assert ">lost<" in drawn
    assert ">measured: fewer, or not<" in drawn
    frame = regime_figure.frame(results, "")
    assert len(frame) == 16
    assert frame["error"].isna().sum() == 2
    assert b",,," in tables.csv_bytes(frame)  # what is missing is empty


@pytest.mark.parametrize("layout", style.LAYOUTS, ids=lambda layout: layout.name)
def test_no_line_of_a_map_goes_through_a_figure(tmp_path: Path, layout: style.Layout) -> None:
    with style.styled():
        figure = regime_figure.draw(campaign(tmp_path), "", layout)
        assert figure is not None
        figure.draw_without_rendering()
        crossed, found = [], 0
        for axes in figure.axes[:-1]:
            assert not axes.lines, "only borders"
            for lines in axes.collections:
                assert isinstance(lines, LineCollection)
                for start, end in lines.get_segments():
                    found += 1
                    box = Bbox.from_extents(*lines.get_transform().transform([start, end]).ravel())
                    crossed += [text.get_text() for text in axes.texts if text.get_window_extent().overlaps(box)]
        assert found > 0
        # two phases beside each other in one column have cells narrower than their figures
        assert crossed == [] or layout is style.ONE_COLUMN
        note = " ".join(text.get_text() for text in figure.texts).replace("\n", " ")
        assert "In brackets: as predicted from fixed alone" in note
        inside = figure.get_tightbbox()
        assert inside.x0 > -0.02
        assert inside.x1 < layout.width + 0.02


def test_a_border_runs_between_points_on_both_sides_of_1_and_along_no_unknown_one() -> None:
    axes = style.new_figure(3, 3).subplots()
    values = np.array([[-0.5, -0.2, 0.0], [-0.1, math.nan, 0.3]])
    assert regime_figure._border(axes, values, "measured")
    (lines,) = axes.collections
    assert isinstance(lines, LineCollection)
    assert [segment.tolist() for segment in lines.get_segments()] == [[[1.5, -0.5], [1.5, 0.5]]]
    assert not regime_figure._border(axes, np.array([[0.0, 0.2], [0.1, math.nan]]), "predicted")
    assert len(axes.collections) == 1


def test_what_reads_as_1_is_not_fewer() -> None:
    assert regime_figure._printed(0.9991) == 0
    assert regime_figure._printed(0.99) < 0
    assert math.isnan(regime_figure._printed(None))


def test_every_number_of_a_map_leads_to_its_cells(tmp_path: Path) -> None:
    results = campaign(tmp_path)
    table = next(part for part in regime_words.said(results) if isinstance(part, sections.Table))
    rows = evidence.grid(results, table).rows
    assert len(rows) == len(table.rows)
    made = regime_map.found(results)
    assert made is not None
    for row, point in zip(rows, made.points, strict=True):
        own = f"#{evidence.group_anchor(results, point.policy, point.levels)}"
        leads = [link.href for link in row.shown]
        assert leads[:7] == [""] * 7  # what was declared, or predicted of the control's cells alone
        assert leads[7] == (own if point.measured is not None else "")
        # the readings of the control with this share, on either host, are one mean
        alike = [
            p.levels for p in made.points if (p.setup.share, p.setup.phase) == (point.setup.share, point.setup.phase)
        ]
        assert len(alike) == 2
        expected = [
            *results.at(point.policy, point.levels),
            *(cell for at in alike for cell in results.at("fixed", at)),
        ]
        assert sorted(link.text for link in row.cells) == sorted(cell.cell for cell in expected)


@pytest.mark.usefixtures("_only_this_figure")
def test_a_map_without_any_ratio_has_no_figure(tmp_path: Path) -> None:
    levels = [each for each in LEVELS if each[PHASE] == "0 s"]
    directory = made_up.write_campaign(
        tmp_path,
        repetitions=1,
        policies=("fixed", "fixed+tmem"),
        levels=levels,
        claims=(),
        samples=False,
        experiment=DOCUMENT,
        change=lambda record: record if record.policy == "fixed" else made_up.failed(record),
    )
    results = load.load(directory)
    made = regime_map.found(results)
    assert made is not None
    assert regime_words.agreement(made) == "No prediction was measured yet."
    assert figures.draw_all(results, tmp_path / "figures") == []
