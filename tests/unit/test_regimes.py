"""When a policy pays: what the model predicts from a curve, where a campaign's points stand, and
how far predictions are from what was measured.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import analysis_campaign as made_up
import pytest

from analysis import evidence, figures, load, predicted, regime_figure, regime_map, report, sections, tables, totals
from analysis.predicted import Curve, Load, Setup
from campaigns.records import CellRecord
from common.metrics import Metric

CURVE = Curve(((100.0, 400.0), (150.0, 200.0), (200.0, 100.0), (210.0, 100.0)))
LOAD = Load(committed=90.0, kept=20.0, seconds=30.0)
SETUP = Setup(guests=2, host=300.0, share=100.0, most=220.0)

# --- The model ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mib", "expected"), [(99.0, None), (100.0, 400.0), (125.0, 300.0), (175.0, 150.0), (200.0, 100.0), (900.0, 100.0)]
)
def test_a_curve_is_known_between_its_ends_and_flat_beyond(mib: float, expected: float | None) -> None:
    assert CURVE.at(mib) == expected


def test_the_working_set_is_where_the_curve_becomes_flat() -> None:
    # 1.1 times the least is 110: nine tenths of the way from 200 sectors to 100
    assert CURVE.working_set == pytest.approx(195.0)


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
        ("selfballoon", {}, 98),  # 90 committed, and a tenth of 100 - 20
        ("selfballoon", {"reserved": 30.0}, 120),
        ("selfballoon", {"least": 96.0}, 116),  # and the kernel's own 20
        ("selfballoon", {"least": 250.0, "host": 600.0}, 220),  # no more than it may have
        ("selfballoon", {"least": 96.0, "host": 200.0}, 100),  # no more than there is
        ("selfballoon+tmem", {}, 150),  # 98 of its own, half of 300 - 2 × 98
        # its own 98; of 300 the other one keeps its least: 20 and 40 + (200 - 64) / 8
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
    assert predicted.sectors(CURVE, LOAD, SETUP, "selfballoon") is None  # 98 MiB is below the curve
    assert predicted.sectors(CURVE, LOAD, dataclasses.replace(SETUP, least=96.0), "selfballoon") == pytest.approx(336)


def test_the_drivers_least_memory_is_the_drivers() -> None:
    found = [predicted._by_size(mib) for mib in (8, 16, 40, 64, 200, 512, 1024)]
    assert found == [8, 16, 28, 40, 57, 99, 115]


PUBLISHED = Path(__file__).resolve().parents[2] / "results" / "policies"


@pytest.mark.parametrize(
    ("policy", "control", "off"),
    [("static+tmem", "static", 0.02), ("fixed+tmem", "fixed", -0.075), ("selfballoon+tmem", "static", -0.064)],
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
    # 79 MiB of its own is less than any of the curve
    assert predicted.sectors(curve, shown, setup, "selfballoon") is None


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
) -> load.Results:
    """Two guests under fixed sizes and with tmem. lost: the policy without complete cells at 100
    MiB of 300; unread: the policy whose second guest has no figure there.
    """

    def change(record: CellRecord) -> CellRecord:
        share, host = (int(str(record.levels[path]).split()[0]) for path in (START, HOST))
        later = record.levels[PHASE] != "0 s"
        here = (share, host) == (100, 300)
        if record.policy == lost and here:
            return made_up.failed(record)
        read = READ[share] if record.policy == "fixed" else MEASURED[share, host] / (2 if later else 1)
        kept = {"sectors_read", "wall_seconds"}
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
    assert point.ratio.estimate == pytest.approx(250 / 400)
    assert point.error == pytest.approx(0.5 / 0.625 - 1)
    assert found[100, 33, 30].predicted == pytest.approx(0.25)  # the whole pool: 200 MiB
    assert found[100, 33, 30].error == pytest.approx(0.25 / (125 / 400) - 1)
    # errors: 0, -0.2, (1 ÷ 1.1) - 1, 0 (150 + 75 > 200: 0.5), 0, 0; apart 1 ÷ 0.5 - 1, ...
    assert found[150, 0, 0].error == pytest.approx(1 / 1.1 - 1)
    assert found[150, 33, 0].error == pytest.approx(0)
    assert found[100, 0, 30].error == pytest.approx(1)
    assert found[100, 0, 0].side is True
    assert found[100, 0, 30].side is False  # predicted 1, measured 0.5


def test_the_model_never_sees_the_policy_that_it_predicts(tmp_path: Path) -> None:
    with_all = points(campaign(tmp_path / "all"))
    without = points(campaign(tmp_path / "lost", lost="fixed+tmem"))
    assert {at: point.predicted for at, point in without.items()} == {at: p.predicted for at, p in with_all.items()}
    missing = without[100, 33, 0]
    assert (missing.ratio.estimate, missing.error, missing.side) == (None, None, None)


@pytest.mark.parametrize("how", ["lost", "unread"])
def test_a_curve_is_made_of_what_was_read_in_every_guest(tmp_path: Path, how: str) -> None:
    made = regime_map.found(campaign(tmp_path, **{how: "fixed"}))  # type: ignore[arg-type]
    assert made is not None
    assert made.curve == CURVE  # the same share on another host is the same to a guest
    point = next(p for p in made.points if (p.setup.share, p.setup.host, p.setup.phase) == (100, 300, 0))
    assert point.predicted == pytest.approx(0.5)
    assert point.error is None  # its control was not measured there


def test_one_more_factor_makes_it_another_question(tmp_path: Path) -> None:
    factors: dict[str, list[str]] = {START: [], HOST: [], "workload.parameters.jobs": []}
    assert regime_map.found(campaign(tmp_path, document={**DOCUMENT, "factors": factors})) is None
    assert regime_map.said(load.load(made_up.write_campaign(tmp_path / "plain", repetitions=1, samples=False))) == []


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
    assert "| fixed+tmem | 100 | 0.51 | 33 % | 0 | 0.50 | – | – |" in text
    assert "| fixed+tmem | 150 | 0.77 | 0 % | 0 | 1.00 | 1.10 | -9 % |" in text
    assert "400 with 100 MiB, 200 with 150 MiB, 100 with 200 MiB" in text
    assert "From 195 MiB on it reads at most 1.1 times the least: the working set." in text
    assert "Of 16 points 14 were both predicted and measured" in text
    names = {path.name for path in summary.figures}
    assert names == {f"regimes{layout}.{kind}" for layout in ("", ".column") for kind in ("png", "pdf", "svg", "txt")}
    drawn = (results.directory / "figures" / "regimes.svg").read_text()
    assert ">1.10<" in drawn  # svg keeps texts
    assert ">E2<" in drawn
    frame = regime_figure.frame(results, "")
    assert len(frame) == 16
    assert frame["error"].isna().sum() == 2
    assert b",,," in tables.csv_bytes(frame)  # what is missing is empty


def test_every_number_of_a_map_leads_to_its_cells(tmp_path: Path) -> None:
    results = campaign(tmp_path)
    table = next(part for part in regime_map.said(results) if isinstance(part, sections.Table))
    rows = evidence.grid(results, table).rows
    assert len(rows) == len(table.rows)
    for row, point in zip(rows, regime_map.found(results).points, strict=True):  # type: ignore[union-attr]
        own = f"#{evidence.group_anchor(results, point.policy, point.levels)}"
        leads = [link.href for link in row.shown]
        assert leads[:6] == [""] * 6  # what was declared, or predicted of the control's cells alone
        assert leads[6] == (own if point.ratio.estimate is not None else "")
        expected = [*results.at(point.policy, point.levels), *results.at("fixed", point.levels)]
        assert [link.text for link in row.cells] == [cell.cell for cell in expected]


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
    assert regime_map.agreement(made) == "No prediction was measured yet."
    assert figures.draw_all(results, tmp_path / "figures") == []
