"""What a map of single runs has measured more than once, and what its points say of tmem."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import analysis_campaign as made_up
import pytest

from analysis import evidence, load, regime_figure, regime_map, regime_noise, regime_words, sections
from analysis.predicted import Setup
from campaigns import records
from campaigns.records import CellRecord
from common.metrics import Metric

START, HOST = "guests.memory_start", "host.guest_memory"
POLICIES = ("fixed", "selfballoon", "selfballoon+tmem")
REGIMES = ((100, 200), (100, 300), (150, 300))
READ = {
    "fixed": (400, 420, 200),
    "selfballoon": (500, 300, 330),
    "selfballoon+tmem": (600, 200, 210),
}
"""What each guest reads, regime by regime: the last two have one host."""
HITS = (0, 5, 5)
PUTS = (0, 50, 50)
DOCUMENT = {
    "guests": {"count": 2, "memory_max": "220 MiB", "memory_start": "100 MiB"},
    "host": {"guest_memory": "200 MiB"},
    "workload": {"name": "kernel_build"},
    "factors": {START: [], HOST: []},
}


def campaign(tmp_path: Path, *, counted: bool = True, starved: str = "") -> load.Results:
    """Two guests in three regimes. counted: whether the pages put were; starved: the cell whose
    host was.
    """

    def place(record: CellRecord) -> int:
        return REGIMES.index((int(str(record.levels[START]).split()[0]), int(str(record.levels[HOST]).split()[0])))

    def change(record: CellRecord) -> CellRecord:
        at = place(record)
        metrics = []
        for guest in ("guest1", "guest2"):
            metrics.append(Metric("sectors_read", "sectors", READ[record.policy][at], guest))
            metrics.append(Metric("wall_seconds", "s", 30.0, guest))
            if record.policy.endswith("+tmem"):
                metrics.append(Metric("tmem_ephemeral_hits", "pages", HITS[at], guest))
                metrics.append(Metric("tmem_persistent_hits", "pages", 0, guest))
        notes = (f"{records.STARVED}: 69 %",) if record.cell == starved else ()
        return dataclasses.replace(record, metrics=tuple(metrics), notes=notes)

    levels = [{START: f"{share} MiB", HOST: f"{host} MiB"} for share, host in REGIMES]
    options = {"repetitions": 1, "claims": (), "guests": ("guest1", "guest2"), "samples": False, "change": change}
    directory = made_up.write_campaign(
        tmp_path,
        policies=POLICIES,
        levels=levels,
        experiment=DOCUMENT,
        **options,  # type: ignore[arg-type]
    )
    for record in records.read_cells(directory) if counted else ():
        rows = [",".join(records.SAMPLE_COLUMNS)]
        for time, part in ((-2, 0), (100, 1)):
            for guest in ("guest1", "guest2"):
                puts = part * PUTS[place(record)] if record.policy.endswith("+tmem") else 0
                rows += [f"{time}.0,{guest},tmem_{kind}_puts,pages,{puts}" for kind in ("ephemeral", "persistent")]
        path = directory / records.CELLS_DIR / record.cell / records.SAMPLES_FILE
        path.parent.mkdir()
        path.write_text("\n".join(rows) + "\n")
    return load.load(directory)


def point(made: regime_map.Map, policy: str, over: str, at: int) -> regime_map.Point:
    share, host = REGIMES[at]
    (found,) = [
        p
        for p in made.points
        if (p.policy, p.over, p.setup.share, p.setup.host) == (policy, over, float(share), float(host))
    ]
    return found


def mapped(results: load.Results) -> regime_map.Map:
    made = regime_map.found(results)
    assert made is not None
    return made


def test_noise_is_of_all_that_was_measured_more_than_once(tmp_path: Path) -> None:
    """It was that of fixed guests alone, and "nothing else was repeated"."""
    made = mapped(campaign(tmp_path))
    found = {(each.kind, each.where): each.factor for each in made.repeats}
    assert found == {
        (regime_noise.BESIDE, "fixed with 100 MiB"): pytest.approx(1.05),
        (regime_noise.BOOTED, "selfballoon on 300 MiB, booted with 100 and 150 MiB each"): pytest.approx(1.1),
        (regime_noise.BOOTED, "selfballoon+tmem on 300 MiB, booted with 100 and 150 MiB each"): pytest.approx(1.05),
        (
            regime_noise.IDLE,
            "selfballoon+tmem and selfballoon with 100 MiB each and 0 % of the host fallow",
        ): pytest.approx(1.2),
    }
    assert [each.noise for each in made.points] == pytest.approx([1.2] * len(made.points))
    assert point(made, "selfballoon+tmem", "fixed", 1).differs is True
    assert point(made, "selfballoon+tmem", "fixed", 2).differs is False  # 1.05
    text = regime_words.noise_text(made)
    assert "The largest is 1.20 (selfballoon+tmem and selfballoon with 100 MiB each and 0 % of the host fallow)" in text
    assert "on hosts of one size, whose guests booted with other sizes, 2 times, by up to 1.10" in text


def test_where_puts_were_not_counted_nobody_says_that_tmem_was_idle(tmp_path: Path) -> None:
    made = mapped(campaign(tmp_path, counted=False))
    assert {each.idle for each in made.points} == {None}
    assert max(each.factor for each in made.repeats) == pytest.approx(1.1)


def test_where_tmem_stored_nothing_no_difference_is_its_doing(tmp_path: Path) -> None:
    made = mapped(campaign(tmp_path))
    assert [point(made, "selfballoon+tmem", "selfballoon", at).idle for at in range(3)] == [True, False, False]
    assert point(made, "selfballoon", "fixed", 0).idle is None
    text = " ".join(regime_words.summary(campaign(tmp_path / "again")))
    # against fixed: 200 of 410 is fewer, 210 of 200 is noise, and the third is not its own
    assert "Fewer than under fixed in 1 of 2 regimes and more in 0; in the others" in text
    assert (
        "In 1 regime tmem stored no page, so what was read there is none of its doing, and counts for neither" in text
    )


def test_one_treatment_that_was_measured_twice_is_no_two_findings(tmp_path: Path) -> None:
    made = mapped(campaign(tmp_path))
    first, second = (point(made, "selfballoon+tmem", "selfballoon", at) for at in (1, 2))
    assert (first.again, second.again) == ((second.levels,), (first.levels,))
    assert point(made, "selfballoon", "fixed", 0).again == ()
    text = " ".join(regime_words.summary(campaign(tmp_path / "again")))
    assert "Fewer than under selfballoon in 1 of 1 regimes and more in 0, each treatment counted once" in text
    assert "100 MiB, 33 % and 150 MiB, 0 %. So what such policies read there is one treatment" in text


def test_a_ratio_has_beside_it_what_was_done_without_tmem_and_what_its_hits_explain(tmp_path: Path) -> None:
    made = mapped(campaign(tmp_path))
    whole, part = (point(made, "selfballoon+tmem", over, 1) for over in ("fixed", "selfballoon"))
    assert (whole.base, whole.alone, whole.beside) == ("selfballoon", pytest.approx(300 / 410), pytest.approx(2 / 3))
    # 5 pages of 8 sectors, of 410 - 200, and of 300 - 200
    assert (whole.credit, part.credit) == (pytest.approx(40 / 210), pytest.approx(40 / 100))
    nothing = point(made, "selfballoon+tmem", "fixed", 2)
    assert nothing.credit is None  # of a difference that is none
    assert "(selfballoon alone 0.73, tmem's hits explain 19 %)" in " ".join(
        regime_words.summary(campaign(tmp_path / "again"))
    )
    table = next(each for each in regime_words.said(campaign(tmp_path / "said")) if isinstance(each, sections.Table))
    assert table.columns[-4:] == ("the same without its parts", "beside that", "explained by hits", "remarks")
    row = next(row for row in table.rows if row[:2] == ("selfballoon+tmem", "100") and "33 %" in row)
    assert row[-4:] == ("0.73", "0.67", "19 %", "one treatment with 150 MiB, 0 %")


def test_what_is_told_of_the_policy_alone_leads_to_its_cells(tmp_path: Path) -> None:
    results = campaign(tmp_path)
    table = next(each for each in regime_words.said(results) if isinstance(each, sections.Table))
    row = evidence.grid(results, table).rows[-2]
    assert [link.href for link in row.shown][-4:-2] == ["", f"#{group(results, 'selfballoon+tmem', 1)}"]
    assert {link.text.partition(".")[0] for link in row.cells} == set(POLICIES)


def group(results: load.Results, policy: str, at: int) -> str:
    return evidence.group_anchor(results, policy, results.levels[at])


def test_a_cell_whose_host_was_starved_is_marked_in_table_and_figure(tmp_path: Path) -> None:
    cell = f"selfballoon.{START}-100 MiB.{HOST}-200 MiB.r1"
    results = campaign(tmp_path, starved=cell)
    made = mapped(results)
    assert [p.starved for p in made.points if p.setup.host == 200] == [True, False, True]
    table = next(each for each in regime_words.said(results) if isinstance(each, sections.Table))
    assert [row[-1] for row in table.rows].count("a host was starved") == 1
    idle = point(made, "selfballoon+tmem", "selfballoon", 0)
    assert regime_figure._marks(idle) == "°*"
    said = " ".join(regime_figure.reading(results, "", regime_figure.style.TWO_COLUMNS))
    assert "*: a host was starved." in said
    frame = regime_figure.frame(results, "")
    assert (frame["starved"].sum(), frame["stored_nothing"].sum()) == (2, 2)


def test_what_lies_fallow_is_the_pool_of_fixed_guests_with_tmem() -> None:
    setups = {str(host): Setup(guests=2, host=host, share=100.0, most=220.0) for host in (200.0, 300.0)}
    assert regime_noise.groups(setups, "fixed", "fixed") == [["200.0", "300.0"]]
    assert regime_noise.groups(setups, "fixed+tmem", "fixed") == []
    assert regime_noise.groups(setups, "selfballoon", "fixed") == []
    assert regime_noise.groups(setups, "fixed", "static") == []  # what they have is not told there


def test_a_map_in_which_nothing_was_repeated_says_so() -> None:
    made = regime_map.Map("fixed", regime_map.Curve(()), (), (), {})
    assert "No treatment was measured twice" in regime_words.noise_text(made)
    assert regime_words.twice_text(made) == ""


def test_the_published_map_has_noise_of_more_than_a_tenth() -> None:
    made = mapped(load.load(Path(__file__).resolve().parents[2] / "results" / "regimes"))
    most = regime_noise.largest(made.repeats)
    assert most is not None
    assert (most.kind, round(most.factor, 3)) == (regime_noise.IDLE, 1.106)
    assert len([each for each in made.parts if each.idle]) == 8
