"""Claims on disks with tmem against without, where Xen did not take what guests swapped."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import analysis_campaign as made_up
import pytest

from analysis import accounting, claims, load, magnitude
from campaigns import records
from campaigns.records import CellRecord, Claim, Comparison, Expectation
from common.metrics import Metric

CLAIM = Claim(
    "less-disk",
    "guests swap to the hypervisor instead of their disks",
    "Linux Symposium 2009",
    "quoted",
    "swap_sectors_read",
    "sum",
    Comparison("selfballoon+tmem", "selfballoon"),
    Expectation("decrease", ratio_best=0.48),
)

ALL = {"guest1": (1000, 1000), "guest2": (0, 0), "guest3": (100, 100)}
FEW = {"guest1": (3857, 253), "guest2": (0, 0), "guest3": (100, 100)}


def judged(
    tmp_path: Path,
    puts: Mapping[str, tuple[int, int | None]],
    claim: Claim = CLAIM,
    *,
    factor: float = 0.5,
    policies: tuple[str, ...] = made_up.POLICIES,
    groups: Mapping[str, str] | None = None,
) -> claims.Verdict:
    """A claim whose ratio is so much. puts: guest -> swapped pages offered and taken in each
    cell.
    """

    def change(record: CellRecord) -> CellRecord:
        tmem = record.policy == claim.compare.treatment
        kept = [each for each in record.metrics if each.name != claim.metric]
        read = 1000 * (1 + 0.01 * record.repetition) * (factor if tmem else 1)
        told = [Metric(claim.metric, "sectors", round(read), guest) for guest in made_up.GUESTS]
        return dataclasses.replace(record, metrics=(*kept, *told), groups=dict(groups or {}))

    directory = made_up.write_campaign(tmp_path, repetitions=3, claims=[claim], change=change, policies=policies)
    for repetition in (1, 2, 3):
        path = directory / records.CELLS_DIR / f"{claim.compare.treatment}.r{repetition}" / records.SAMPLES_FILE
        header, *there = path.read_text().splitlines()
        for guest, (tried, stored) in puts.items():
            for name, value in (("puts_tried", tried), ("puts", stored)):
                counter = f"{guest},tmem_persistent_{name},pages"
                there += [f"-2.000,{counter},7", f"100.000,{counter},{'' if value is None else 7 + value}"]
        there.sort(key=lambda row: float(row.partition(",")[0]))
        path.write_text("\n".join([header, *there]) + "\n")
    (verdict,) = claims.judge(load.load(directory))
    return verdict


@pytest.mark.parametrize("factor", [0.5, 1.5])
def test_where_xen_refused_most_swapped_pages_there_is_no_verdict_for_or_against_tmem(
    tmp_path: Path, factor: float
) -> None:
    """A spike whose guest swapped to its disk all the same was called not in line with it."""
    got = judged(tmp_path, FEW, factor=factor)
    assert (got.verdict, got.testable, got.p) == ("not testable here", False, None)
    assert isinstance(got.magnitude, magnitude.Magnitude)
    assert got.magnitude.word == "not testable here"
    assert got.reason.startswith("Xen stored 1,059 of the 11,871 pages that guests swapped under selfballoon+tmem")
    assert got.ratio.estimate == pytest.approx(factor, rel=0.01)  # the figure is told all the same
    row = claims.frame([got]).iloc[0]
    assert (row["swapped_pages_offered"], row["swapped_pages_stored"]) == (11_871, 1059)


def test_where_xen_took_them_the_verdict_stays_and_has_their_number(tmp_path: Path) -> None:
    got = judged(tmp_path, ALL)
    assert got.verdict == "supports"
    assert "Xen stored 3,300 of the 3,300 pages that guests swapped under selfballoon+tmem." in got.wording
    assert judged(tmp_path / "more", ALL, factor=1.5).verdict == "contradicts"


@pytest.mark.parametrize(("stored", "verdict"), [(500, "supports"), (499, "not testable here"), (None, "supports")])
def test_half_of_them_is_enough_and_what_was_not_counted_is_not_refused(
    tmp_path: Path, stored: int | None, verdict: str
) -> None:
    got = judged(tmp_path, dict.fromkeys(made_up.GUESTS, (1000, stored)))
    assert got.verdict == verdict
    assert ("Xen stored" in got.wording) == (stored is not None)


def test_who_swapped_nothing_was_refused_nothing(tmp_path: Path) -> None:
    got = judged(tmp_path, dict.fromkeys(made_up.GUESTS, (0, 0)))
    assert (got.verdict, "Xen stored" in got.wording) == ("supports", False)


def test_a_claim_of_a_group_asks_what_became_of_its_own_guests_pages(tmp_path: Path) -> None:
    groups = {"guest1": "spiker", "guest2": "builder", "guest3": "builder"}
    for group, verdict in (("spiker", "not testable here"), ("builder", "supports")):
        claim = dataclasses.replace(CLAIM, group=group)
        assert judged(tmp_path / group, FEW, claim, groups=groups).verdict == verdict


def test_between_two_that_use_tmem_being_refused_is_what_a_claim_may_be_about(tmp_path: Path) -> None:
    policies = ("selfballoon", "static+tmem", "selfballoon+tmem")
    claim = dataclasses.replace(CLAIM, compare=Comparison("selfballoon+tmem", "static+tmem"), relief=False)
    got = judged(tmp_path, FEW, claim, policies=policies)
    assert (got.verdict, got.offered) == ("supports", None)


def test_a_claim_about_something_else_than_disks_is_not_asked(tmp_path: Path) -> None:
    got = judged(tmp_path, FEW, dataclasses.replace(CLAIM, metric="major_faults"))
    assert (got.verdict, got.offered) == ("supports", None)


def _returned(tmp_path: Path, pages: int | None, direction: records.Direction, factor: float) -> claims.Verdict:
    expectation = Expectation(direction, tolerance=0.1 if direction in records.BOUNDED else None)
    claim = dataclasses.replace(CLAIM, metric="sectors_read", expectation=expectation, relief=False)

    def change(record: CellRecord) -> CellRecord:
        tmem = record.policy == claim.compare.treatment
        gone = {claim.metric, *(f"tmem_{kind}_hits" for kind in accounting.KINDS)}
        read = round(1000 * (1 + 0.01 * record.repetition) * (factor if tmem else 1))
        told = [Metric(claim.metric, "sectors", read, guest) for guest in made_up.GUESTS]
        if tmem:
            told += [Metric("tmem_ephemeral_hits", "pages", pages, guest) for guest in made_up.GUESTS]
            told += [Metric("tmem_persistent_hits", "pages", 0, guest) for guest in made_up.GUESTS]
        return dataclasses.replace(record, metrics=(*(each for each in record.metrics if each.name not in gone), *told))

    directory = made_up.write_campaign(tmp_path, repetitions=3, claims=[claim], change=change, samples=False)
    (verdict,) = claims.judge(load.load(directory))
    return verdict


@pytest.mark.parametrize("factor", [0.5, 1.5])
def test_where_tmem_returned_no_page_what_disks_did_is_none_of_its_doing(tmp_path: Path, factor: float) -> None:
    got = _returned(tmp_path, 0, "decrease", factor)
    assert (got.verdict, got.testable, got.p) == ("not testable here", False, None)
    assert got.reason == "tmem returned no page under selfballoon+tmem, so what disks did is none of its doing"


@pytest.mark.parametrize(
    ("pages", "direction", "verdict"),
    [(1, "decrease", "supports"), (None, "decrease", "supports"), (0, "increase", "contradicts")],
)
def test_a_page_that_came_back_one_not_counted_or_a_claim_of_more_leaves_the_verdict(
    tmp_path: Path, pages: int | None, direction: records.Direction, verdict: str
) -> None:
    assert _returned(tmp_path, pages, direction, 0.5).verdict == verdict


def test_the_published_manager_of_qubes_has_no_verdict_where_tmem_was_idle() -> None:
    results = load.load(Path(__file__).resolve().parents[2] / "results" / "policies")
    got = next(each for each in claims.judge(results) if each.claim.id == "qubes-file-cache")
    assert got.verdict == "not testable here"
    assert "tmem returned no page under qmemman+tmem" in got.wording


def test_the_published_spike_says_nothing_against_tmem() -> None:
    results = load.load(Path(__file__).resolve().parents[2] / "results" / "spike")
    got = next(each for each in claims.judge(results) if each.claim.id == "spike-less-disk")
    assert got.verdict == "not testable here"
    assert "Xen stored 253 of the 3,857 pages" in got.wording
