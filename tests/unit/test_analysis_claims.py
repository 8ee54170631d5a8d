"""Verdicts, the account of reads, hit rates and checksums, on made-up campaigns whose answer is
known.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import analysis_campaign as made_up
import pytest

from analysis import accounting, claims, figures, load, outputs, rates, report, sections, totals
from campaigns import records
from campaigns.records import CellRecord, Claim, Comparison, Expectation
from common.errors import CampaignError
from common.metrics import Metric


def _scaled(metric: str, factors: dict[str, float]) -> made_up.Change:
    """Give a metric of one guest exact values: 1000 × the policy's factor × a little that
    differs by repetition.
    """

    def change(record: CellRecord) -> CellRecord:
        noise = 0.01 * (-1) ** record.repetition if "tmem" in record.policy else 0.0
        spread = 1 + 0.01 * record.repetition + noise
        value = 1000 * factors[record.policy] * spread
        return dataclasses.replace(record, metrics=(Metric(metric, "s", value, "guest1"),))

    return change


def _claim(direction: str, **options: object) -> Claim:
    base = Claim(
        "c", "s", "src", "quoted", "x", "sum", Comparison("selfballoon+tmem", "selfballoon"), Expectation("decrease")
    )
    expectation = Expectation(direction, *(options.get(k) for k in ("low", "high", "tolerance")))  # type: ignore[arg-type]
    return dataclasses.replace(base, expectation=expectation, evidence=options.get("evidence", "quoted"))  # type: ignore[arg-type]


def _judge(tmp_path: Path, factor: float, claim: Claim, repetitions: int = 5) -> claims.Verdict:
    factors = {"static": 1.0, "selfballoon": 1.0, "selfballoon+tmem": factor}
    change = _scaled("x", factors)
    directory = made_up.write_campaign(tmp_path, repetitions=repetitions, claims=[claim], change=change, samples=False)
    (verdict,) = claims.judge(load.load(directory))
    return verdict


@pytest.mark.parametrize(
    ("factor", "direction", "tolerance", "verdict"),
    [
        (0.6, "decrease", None, "supports"),
        (1.7, "decrease", None, "contradicts"),
        (1.7, "increase", None, "supports"),
        (0.6, "increase", None, "contradicts"),
        (1.0, "decrease", None, "leaves open"),
        (1.0, "unchanged", 0.1, "supports"),
        (0.6, "unchanged", 0.1, "contradicts"),
        (1.6, "unchanged", 0.1, "contradicts"),
        (1.1, "unchanged", 0.1, "leaves open"),
        (1.0, "unchanged", None, "leaves open"),
        (1.0, "at_most", 0.1, "supports"),
        (0.6, "at_most", 0.1, "supports"),  # it cost less than nothing
        (1.6, "at_most", 0.1, "contradicts"),
        (1.1, "at_most", 0.1, "leaves open"),
        (0.6, "at_least", 0.1, "contradicts"),
        (1.6, "at_least", 0.1, "supports"),
        (1.0, "at_most", None, "leaves open"),
    ],
)
def test_verdicts(tmp_path: Path, factor: float, direction: str, tolerance: float | None, verdict: str) -> None:
    got = _judge(tmp_path, factor, _claim(direction, tolerance=tolerance))
    assert got.verdict == verdict
    assert got.reason
    assert got.ratio.n == 5


def test_one_repetition_is_observed_and_not_tested(tmp_path: Path) -> None:
    got = _judge(tmp_path, 0.6, _claim("decrease"), repetitions=1)
    assert (got.verdict, got.p, got.ratio.low, got.ratio.n) == ("leaves open", None, None, 1)
    assert got.wording.startswith("Observed, not tested: in line with the claim.")
    assert "one repetition" in got.reason
    other = _judge(tmp_path / "b", 1.6, _claim("decrease"), repetitions=1)
    assert other.wording.startswith("Observed, not tested: not in line with the claim.")


def test_nothing_is_reproduced_against_a_recalled_figure(tmp_path: Path) -> None:
    for evidence in ("recalled", "quoted", "source"):
        got = _judge(tmp_path / evidence, 0.6, _claim("decrease", low=0.5, high=0.7, evidence=evidence))
        assert got.verdict == "supports"
        assert ("reproduced" in got.wording.lower()) == (evidence != "recalled")
        assert evidence in got.wording


def test_nothing_is_reproduced_outside_the_published_range(tmp_path: Path) -> None:
    got = _judge(tmp_path, 0.6, _claim("decrease", low=0.9, high=0.95))
    assert got.verdict == "supports"
    assert "reproduced" not in got.wording.lower()


def test_what_nobody_published_is_called_ours(tmp_path: Path) -> None:
    got = _judge(tmp_path, 0.6, _claim("decrease", evidence="ours"))
    assert "Nobody published it: the expectation is ours." in got.wording
    assert "recalled" not in got.wording


def test_what_is_ours_is_called_so_in_campaigns_from_before_that_word(tmp_path: Path) -> None:
    """Reports said "our expectation (recalled)" beside "the expectation is ours"."""
    old = dataclasses.replace(
        _claim("decrease", low=0.5, evidence="recalled"), source="our expectation, after a README"
    )
    got = _judge(tmp_path, 0.6, old)
    assert claims.frame([got]).iloc[0]["evidence"] == "ours"
    text = sections.verdicts([got])[0]
    assert "our expectation, after a README (ours)" in text
    assert "Expected: 0.5" in text
    assert "(recalled)" not in text
    assert claims.evidence(_claim("decrease", evidence="recalled")) == "recalled"


@pytest.mark.parametrize(("kind", "verdict"), [("emulated", "not testable here"), ("physical", "supports")])
def test_times_of_an_emulated_machine_decide_nothing(tmp_path: Path, kind: str, verdict: str) -> None:
    claim = dataclasses.replace(_claim("decrease"), metric="wall_seconds", aggregate="mean", relief=False)

    def change(record: CellRecord) -> CellRecord:
        fast = record.policy == "selfballoon+tmem"
        kept = [each for each in record.metrics if each.name != "wall_seconds"]
        # runs differ by something, or nothing is tested
        times = [
            Metric("wall_seconds", "s", (50.0 if fast else 100.0) + record.repetition / 7, f"guest{number}")
            for number in (1, 2, 3)
        ]
        return dataclasses.replace(record, metrics=(*kept, *times))

    directory = made_up.write_campaign(
        tmp_path, repetitions=5, claims=[claim], change=change, samples=False, host_kind=kind
    )
    (got,) = claims.judge(load.load(directory))
    assert got.verdict == verdict
    assert ("times are the emulated machine's" in got.wording) is (kind == "emulated")


@pytest.mark.parametrize(
    ("measured", "times", "verdict", "said"),
    [
        (("read_latency_p99", "us"), 1.0, "not testable here", "times are the emulated machine's"),
        (("reads_per_second", "1/s"), 1.0, "not testable here", "times are the emulated machine's"),
        (("footprint", "GiB·min"), 1.2, "not testable here", "selfballoon+tmem took 1.2 times as long as selfballoon"),
        (("footprint", "GiB·min"), None, "not testable here", "times are the emulated machine's"),
        (("footprint", "GiB·min"), 1.02, "supports", "Supported in direction"),
    ],
)
def test_what_is_a_time_by_its_unit_decides_nothing_either(
    tmp_path: Path, measured: tuple[str, str], times: float | None, verdict: str, said: str
) -> None:
    """GiB·min do where both ran as long: then they are memory alone."""
    metric, unit = measured
    claim = dataclasses.replace(_claim("decrease"), metric=metric, relief=False)

    def change(record: CellRecord) -> CellRecord:
        tmem = record.policy == "selfballoon+tmem"
        value = (50.0 if tmem else 100.0) + record.repetition / 7
        metrics = [Metric(metric, unit, value, None if unit == "GiB·min" else "guest1")]
        if times is not None:
            metrics.append(Metric("run_seconds", "s", 100.0 * (times if tmem else 1), None))
        return dataclasses.replace(record, metrics=tuple(metrics))

    directory = made_up.write_campaign(tmp_path, repetitions=5, claims=[claim], change=change, samples=False)
    document = json.loads((directory / "campaign.json").read_text())
    document["metrics"] = [each for each in document["metrics"] if each["name"] != metric]
    document["metrics"].append({"name": metric, "unit": unit, "better": "lower", "doc": "made up"})
    (directory / "campaign.json").write_text(json.dumps(document))
    (got,) = claims.judge(load.load(directory))
    assert got.verdict == verdict
    assert said in got.wording
    # whose time it is, beside tables that have the guests' own
    assert (times == 1.2) == ("from the release to the last guest's end selfballoon+tmem took" in got.wording)


def test_a_group_is_not_relieved_of_what_another_felt(tmp_path: Path) -> None:
    claim = dataclasses.replace(_claim("decrease"), metric="sectors_read")
    felt = {"guest1": 0, "guest2": 50_000}

    def change(record: CellRecord) -> CellRecord:
        sectors = (1000 if "tmem" in record.policy else 2000) + record.repetition
        metrics = [Metric("sectors_read", "sectors", sectors, guest) for guest in felt]
        metrics += [Metric("pages_reclaimed", "pages", pages, guest) for guest, pages in felt.items()]
        groups = {"guest1": "build", "guest2": "reads"}
        return dataclasses.replace(record, metrics=tuple(metrics), groups=groups)

    for group, verdict in (("build", "not testable here"), ("reads", "supports")):
        asked = dataclasses.replace(claim, group=group)
        directory = made_up.write_campaign(
            tmp_path / group, repetitions=5, claims=[asked], change=change, samples=False, guests=tuple(felt)
        )
        (got,) = claims.judge(load.load(directory))
        assert got.verdict == verdict, got.wording
        assert got.felt is not None
        assert got.felt.pages_reclaimed == felt["guest1" if group == "build" else "guest2"]


def test_a_time_that_a_starved_host_has_not_is_not_testable_in_words_too(tmp_path: Path) -> None:
    claim = dataclasses.replace(_claim("decrease"), metric="wall_seconds", aggregate="mean", relief=False)

    def change(record: CellRecord) -> CellRecord:
        metrics = (replace_value(each) if each.name == "wall_seconds" else each for each in record.metrics)
        return dataclasses.replace(record, metrics=tuple(metrics))

    def replace_value(metric: Metric) -> Metric:
        return dataclasses.replace(metric, value=None)

    directory = made_up.write_campaign(tmp_path, repetitions=1, claims=[claim], change=change, samples=False)
    (got,) = claims.judge(load.load(directory))
    assert (got.verdict, got.ratio.estimate) == ("not testable here", None)
    assert got.wording.startswith("Not testable here: times are the emulated machine's")


def test_claims_are_corrected_as_one_family(tmp_path: Path) -> None:
    factors = {"static": 1.0, "selfballoon": 1.0, "selfballoon+tmem": 0.6}
    family = [dataclasses.replace(_claim("decrease"), id=f"c{number}") for number in range(3)]
    directory = made_up.write_campaign(tmp_path, claims=family, change=_scaled("x", factors), samples=False)
    verdicts = claims.judge(load.load(directory))
    assert verdicts[0].p is not None
    assert verdicts[0].p_adjusted == pytest.approx(3 * verdicts[0].p)


def test_a_claim_on_what_was_not_measured_is_left_open(tmp_path: Path) -> None:
    unknown = dataclasses.replace(_claim("decrease"), metric="never measured")
    elsewhere = dataclasses.replace(_claim("decrease"), compare=Comparison("selfballoon+tmem", "ramster"))
    directory = made_up.write_campaign(tmp_path, claims=[unknown, elsewhere])
    first, second = claims.judge(load.load(directory))
    assert (first.verdict, first.ratio.estimate) == ("leaves open", None)
    assert "no complete cell of ramster, and the plan leaves out ramster there" in second.wording


def test_pairs_are_blocks_and_incomplete_blocks_are_left_out(tmp_path: Path) -> None:
    def spoil(record: CellRecord) -> CellRecord:
        return made_up.invalid(record) if record.cell == "selfballoon.r2" else record

    results = load.load(made_up.write_campaign(tmp_path, repetitions=4, change=spoil))
    ratio = totals.ratio_of(
        results, ("sectors_read",), "sum", treatment="selfballoon+tmem", control="selfballoon", levels=""
    )
    assert (ratio.method, ratio.n) == ("paired t", 3)


def test_without_blocks_the_groups_are_independent(tmp_path: Path) -> None:
    results = load.load(made_up.write_campaign(tmp_path, repetitions=3))
    cells = tuple(dataclasses.replace(cell, block=0) for cell in results.campaign.cells)
    unblocked = dataclasses.replace(results, campaign=dataclasses.replace(results.campaign, cells=cells))
    ratio = totals.ratio_of(
        unblocked, ("sectors_read",), "sum", treatment="selfballoon+tmem", control="selfballoon", levels=""
    )
    assert (ratio.method, ratio.n) == ("Welch t", 3)


def test_the_account_by_hand(tmp_path: Path) -> None:
    def exact(record: CellRecord) -> CellRecord:
        tmem = record.policy.endswith("+tmem")
        metrics = []
        for guest, share in (("guest1", 1), ("guest2", 2)):
            metrics.append(Metric("sectors_read", "sectors", share * (1200 if tmem else 2000), guest))
            metrics.append(Metric("swap_sectors_read", "sectors", share * (100 if tmem else 300), guest))
            for name, value in (("ephemeral", 70), ("persistent", 20)):
                metrics.append(Metric(f"tmem_{name}_hits", "pages", share * value if tmem else None, guest))
        return dataclasses.replace(record, metrics=tuple(metrics))

    directory = made_up.write_campaign(tmp_path, repetitions=2, change=exact, samples=False)
    results = load.load(directory)
    (total,) = accounting.summary(results, "")
    assert (total.saved, total.explained, total.left) == (2400, 2160, 240)
    assert total.agreement == pytest.approx(0.9)
    assert (total.file_saved, total.swap_saved) == (1800, 600)
    guest2 = [a for a in accounting.accounts(results) if a.guest == "guest2" and a.cell is None]
    assert [(a.saved, a.explained) for a in guest2] == [(1600, 1440)]
    text = " ".join(accounting.explain(results, total))
    assert "90 % of the sectors saved" in text
    assert "read-ahead" in text
    stored = accounting.frame(accounting.accounts(results))
    assert len(stored) == 2 * 3 + 3


def test_the_account_is_missing_where_hits_are_missing(tmp_path: Path) -> None:
    def lose(record: CellRecord) -> CellRecord:
        return made_up.without_value(record, "tmem_ephemeral_hits", "guest1")

    directory = made_up.write_campaign(tmp_path, repetitions=1, change=lose, samples=False)
    results = load.load(directory)
    assert accounting.summary(results, "") == []
    of_pair = [a for a in accounting.accounts(results) if a.guest is None]
    assert [(a.explained, a.agreement) for a in of_pair] == [(None, None)]
    assert "explain" not in report.paragraph(results)


def test_no_agreement_when_nothing_was_saved(tmp_path: Path) -> None:
    def worse(record: CellRecord) -> CellRecord:
        metrics = tuple(
            dataclasses.replace(m, value=10**6) if m.name == "sectors_read" and "tmem" in record.policy else m
            for m in record.metrics
        )
        return dataclasses.replace(record, metrics=metrics)

    results = load.load(made_up.write_campaign(tmp_path, repetitions=1, change=worse))
    (total,) = accounting.summary(results, "")
    assert total.agreement is None
    assert "sectors more than selfballoon" in accounting.explain(results, total)[0]


@pytest.mark.parametrize(("hits", "said"), [(0, "which returned no page"), (1, "which returned pages worth 8 sectors")])
@pytest.mark.parametrize("read", [900, 1100])
def test_what_tmem_returned_nothing_of_is_not_put_down_to_pages_that_came_back(
    tmp_path: Path, hits: int, said: str, read: int
) -> None:
    """Twice, reports named pages that are put and got several times where none ever was."""

    def idle(record: CellRecord) -> CellRecord:
        tmem = record.policy.endswith("+tmem")
        metrics = [Metric("sectors_read", "sectors", read if tmem else 1000, "guest1")]
        for name, value in (("ephemeral", hits), ("persistent", 0)):
            metrics.append(Metric(f"tmem_{name}_hits", "pages", value if tmem else None, "guest1"))
        return dataclasses.replace(record, metrics=tuple(metrics))

    results = load.load(made_up.write_campaign(tmp_path, repetitions=1, change=idle, samples=False))
    (total,) = accounting.summary(results, "")
    assert total.idle
    text = " ".join(accounting.explain(results, total))
    assert f"That difference is not tmem's, {said}" in text
    assert "A cause that is known" not in text
    assert "whatever the hits spared" not in text


def test_a_tenth_that_hits_stand_for_may_have_been_more_for_its_neighbours() -> None:
    account = accounting.Account("", "a", "b", None, None, None, 2000, 1000, 13, 0, None, None, None)
    assert (account.idle, dataclasses.replace(account, tmem_ephemeral_hits=12).idle) == (False, True)
    assert not dataclasses.replace(account, tmem_ephemeral_hits=None).idle  # not measured is not none


def test_a_policy_is_accounted_against_the_same_policy_without_tmem(tmp_path: Path) -> None:
    policies = ("static", "selfballoon", "selfballoon+tmem", "zswap+tmem")
    results = load.load(made_up.write_campaign(tmp_path, repetitions=1, policies=policies))
    assert totals.base_policy(results, "selfballoon+tmem") == "selfballoon"
    assert totals.base_policy(results, "zswap+tmem") is None
    assert totals.base_policy(results, "static") is None


def test_hit_rates_are_of_the_run_alone_and_missing_without_gets(tmp_path: Path) -> None:
    results = load.load(made_up.write_campaign(tmp_path, repetitions=1))
    found = {(r.policy, r.guest, r.kind): r for r in rates.hit_rates(results)}
    one = found["selfballoon+tmem", "guest1", "ephemeral"]
    assert one.rate == pytest.approx(1 / 1.9, abs=0.001)
    assert found["selfballoon+tmem", "guest2", "persistent"].rate == 1
    assert found["static", "guest1", "ephemeral"].rate is None
    assert dataclasses.replace(one, hits=0.0, gets_tried=0.0).rate is None


@pytest.mark.parametrize("counter", ["hits", "gets_tried"])
def test_a_guest_whose_counters_are_missing_is_not_left_out_of_a_hit_rate(tmp_path: Path, counter: str) -> None:
    directory = made_up.write_campaign(tmp_path, repetitions=1)
    assert report.summary_table(load.load(directory))[1][2][-1] == "47 % ephemeral, 100 % persistent"
    samples = directory / records.CELLS_DIR / "selfballoon+tmem.r1" / records.SAMPLES_FILE
    lines = samples.read_text().splitlines()
    gone = f"guest2,tmem_ephemeral_{counter},"
    samples.write_text("\n".join(line for line in lines if gone not in line) + "\n")
    rows = report.summary_table(load.load(directory))[1]
    assert [row[-1] for row in rows] == ["–", "–", "– ephemeral, 100 % persistent"]


def test_the_report_says_which_means_it_has_and_what_sampling_took(tmp_path: Path) -> None:
    text = report.markdown(load.load(made_up.write_campaign(tmp_path, repetitions=3, samples=False)), (), ())
    assert "Geometric means over complete cells" in text
    assert "arithmetic means, since sectors add up" in text
    assert "Sampling took at most 3 % of one processor at any source." in text

    def lose(record: CellRecord) -> CellRecord:
        return made_up.without_value(record, "sampling_cost", None) if record.cell == "static.r1" else record

    lost = made_up.write_campaign(tmp_path, repetitions=1, samples=False, change=lose, name="lost")
    assert "What sampling took was not measured in every cell." in report.markdown(load.load(lost), (), ())


def test_guests_are_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    names = [f"guest{number}" for number in range(1, 12)]
    results = load.load(made_up.write_campaign(tmp_path, repetitions=1, guests=names, samples=False))
    assert rates.guests(results, "") == names


def test_a_differing_output_is_shouted(tmp_path: Path) -> None:
    def corrupt(record: CellRecord) -> CellRecord:
        if record.cell != "selfballoon+tmem.r1":
            return record
        return dataclasses.replace(record, checksums={**record.checksums, "guest2": {"vmlinux.o": "b" * 64}})

    same = load.load(made_up.write_campaign(tmp_path, repetitions=1, name="same"))
    assert outputs.compare(same) == ["1 output identical in every guest of 3 complete cells, under every policy."]
    differs = load.load(made_up.write_campaign(tmp_path, repetitions=1, name="differs", change=corrupt))
    (line,) = outputs.compare(differs)
    assert line.startswith("DIFFERENT: vmlinux.o")
    assert "selfballoon+tmem.r1/guest2" in line
    assert line in report.paragraph(differs)
    assert f"**{line}**" in report.markdown(differs, (), ())
    assert outputs.compare(same)[0] in report.paragraph(same)
    assert [said.differ for said in outputs.said(differs)] == [True]
    assert [said.differ for said in outputs.said(same)] == [False]
    assert f"**{line}**" in report.markdown(differs, [], [])
    nothing = load.load(
        made_up.write_campaign(
            tmp_path, repetitions=1, name="none", change=lambda c: dataclasses.replace(c, checksums={})
        )
    )
    assert "nothing is known about corruption" in outputs.compare(nothing)[0]


@pytest.mark.parametrize("checksums", [{"guest2": {"vmlinux.o": "b" * 64}}, {"guest2": {}}])
def test_outputs_that_differ_end_in_an_error_after_all_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, checksums: dict[str, dict[str, str]]
) -> None:
    """The same wrong output in every guest of a cell passes that cell's own gate."""
    monkeypatch.setattr(figures, "draw_all", lambda _results, _into: [])

    def spoil(record: CellRecord) -> CellRecord:
        if record.cell != "selfballoon+tmem.r1":
            return record
        return dataclasses.replace(record, checksums={**record.checksums, **checksums})

    summary = report.summarise(made_up.write_campaign(tmp_path, repetitions=1, change=spoil))
    assert summary.report.is_file()
    with pytest.raises(CampaignError, match=r"vmlinux\.o"):
        summary.check()
    report.summarise(made_up.write_campaign(tmp_path, repetitions=1, name="same")).check()


def test_an_output_that_one_cell_lacks_is_a_difference(tmp_path: Path) -> None:
    def add(record: CellRecord) -> CellRecord:
        if record.cell == "static.r1":
            return record
        return dataclasses.replace(
            record, checksums={name: {**each, "a.o": "c" * 64} for name, each in record.checksums.items()}
        )

    results = load.load(made_up.write_campaign(tmp_path, repetitions=1, change=add))
    assert outputs.all_differing(results) == ("a.o",)
    (line,) = outputs.compare(results)
    assert "nothing in static.r1/guest1, static.r1/guest2, static.r1/guest3" in line


def test_every_policy_is_compared_with_its_base_and_with_the_first(tmp_path: Path) -> None:
    results = load.load(made_up.write_campaign(tmp_path, repetitions=1, samples=False))
    assert [totals.controls_of(results, policy) for policy in results.policies] == [
        [],
        ["static"],
        ["selfballoon", "static"],
    ]
    compared = {(item.policy, item.control) for item in totals.compare_all(results)}
    assert compared == {
        ("selfballoon", "static"),
        ("selfballoon+tmem", "selfballoon"),
        ("selfballoon+tmem", "static"),
    }
