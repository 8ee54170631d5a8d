"""How many repetitions a claim needs: against simulated campaigns, and at the variance that one has
shown.
"""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import analysis_campaign as made_up
import numpy as np
import pytest
from scipy import stats

from analysis import claims, load, power, statistics
from analysis.claims import Verdict
from campaigns.records import CellRecord, Claim, Comparison, Expectation

PUBLISHED = Path(__file__).resolve().parents[2] / "results"


@pytest.mark.parametrize(
    ("ratio", "spread", "n", "alpha"), [(0.9, 0.1, 5, 0.05), (0.66, 0.2, 3, 0.05), (1.2, 0.15, 8, 0.0125)]
)
def test_the_power_is_what_simulated_campaigns_have(ratio: float, spread: float, n: int, alpha: float) -> None:
    random = np.random.default_rng(2009)
    logs = random.normal(math.log(ratio), spread, size=(40_000, n))
    t = logs.mean(axis=1) / (logs.std(axis=1, ddof=1) / math.sqrt(n))
    right = np.sign(t) == np.sign(math.log(ratio))
    found = float(np.mean(right & (2 * stats.t.sf(np.abs(t), n - 1) < alpha)))
    assert power.power(ratio, spread, n, alpha) == pytest.approx(found, abs=0.012)


def test_the_simulated_test_is_the_one_that_verdicts_use() -> None:
    logs = np.random.default_rng(1).normal(-0.1, 0.1, size=6)
    made = statistics.paired_ratio([float(100_000 * math.exp(each)) for each in logs], [100_000.0] * 6)
    t = logs.mean() / (logs.std(ddof=1) / math.sqrt(6))
    assert made.p == pytest.approx(2 * stats.t.sf(abs(t), 5), rel=1e-6)
    assert made.error is not None
    assert made.error * math.sqrt(6) == pytest.approx(logs.std(ddof=1), rel=1e-6)


def test_the_fewest_repetitions_are_those_that_reach_the_power() -> None:
    for ratio, spread in ((0.9, 0.1), (0.66, 0.05), (1.05, 0.03)):
        needed = power.repetitions(ratio, spread, 0.05)
        assert needed is not None
        assert power.power(ratio, spread, needed, 0.05) >= power.WANTED
        assert power.power(ratio, spread, needed - 1, 0.05) < power.WANTED
    assert power.repetitions(0.999, 0.5, 0.05) is None
    assert power.power(0.5, 0.1, 1, 0.05) == 0


def _judged(tmp_path: Path, claim: Claim, logs: list[float], *, boots: int | None = None) -> list[Verdict]:
    def change(record: CellRecord) -> CellRecord:
        factor = math.exp(logs[record.repetition - 1]) if record.policy == "selfballoon+tmem" else 1.0
        metrics = tuple(
            dataclasses.replace(metric, value=1e8 * factor) if metric.name == "sectors_read" else metric
            for metric in record.metrics
        )
        return dataclasses.replace(record, metrics=metrics)

    directory = made_up.write_campaign(
        tmp_path, repetitions=len(logs), claims=[claim], change=change, samples=False, guests=("guest1",), boots=boots
    )
    return claims.judge(load.load(directory))


def _claim(direction: str = "decrease", **options: object) -> Claim:
    compare = Comparison("selfballoon+tmem", "selfballoon")
    return Claim("c", "s", "src", "quoted", "sectors_read", "sum", compare, Expectation(direction, **options))  # type: ignore[arg-type]


def test_the_spread_is_that_of_the_campaigns_pairs(tmp_path: Path) -> None:
    logs = [-0.1, -0.2, -0.15, -0.3]
    published, seen = power.needs(_judged(tmp_path, _claim(ratio_best=0.48), logs))
    assert (published.source, published.ratio) == ("published", 0.48)
    assert seen.ratio == pytest.approx(math.exp(sum(logs) / 4))
    spread = float(np.std(logs, ddof=1))
    assert seen.spread == pytest.approx(spread, rel=1e-3)
    assert seen.cautious == pytest.approx(spread * math.sqrt(3 / stats.chi2.ppf(0.2, 3)), rel=1e-3)
    assert seen.needed == power.repetitions(math.exp(sum(logs) / 4), spread, 0.05)
    assert published.needed is not None
    assert seen.needed is not None
    assert seen.needed_cautious is not None
    assert published.needed <= seen.needed <= seen.needed_cautious


def test_the_cautious_spread_is_above_the_true_one_as_often_as_it_says() -> None:
    random = np.random.default_rng(7)
    spreads = random.normal(0, 1, size=(20_000, 3)).std(axis=1, ddof=1)
    limits = spreads * math.sqrt(2 / stats.chi2.ppf(1 - power.CAUTION, 2))
    assert float(np.mean(limits > 1)) == pytest.approx(power.CAUTION, abs=0.01)


def test_where_boots_were_repeated_boots_are_counted(tmp_path: Path) -> None:
    found = power.needs(_judged(tmp_path, _claim(), [-0.1, -0.2, -0.3, -0.1, -0.2, -0.3], boots=3))
    assert [(each.n, each.repeated) for each in found] == [(3, "boot")]
    shown = power.lines(found, "made-up", 3, 2)
    assert "planned are 3 boots of 2 runs each" in " ".join(line.strip() for line in shown)
    assert max(map(len, shown)) <= 80
    assert not any("another boot may add" in line for line in shown)


def test_one_repetition_says_that_it_knows_no_variance(tmp_path: Path) -> None:
    found = power.needs(_judged(tmp_path, _claim(), [-0.1]))
    assert [(each.needed, each.why) for each in found] == [(None, "one repetition: no interval")]
    assert any("one repetition: no interval" in line for line in power.lines(found, "made-up", 1, 1))


def test_runs_of_one_boot_say_nothing_of_another(tmp_path: Path) -> None:
    found = power.needs(_judged(tmp_path, _claim(), [-0.1, -0.2]))
    assert "another boot may add to it" in "".join(power.lines(found, "made-up", 1, 2)[-2:])


def test_the_published_campaign_tells_how_many_boots_its_claims_need() -> None:
    found = power.needs(claims.judge(load.load(PUBLISHED / "reference-repeated")))
    saved = next(each for each in found if each.claim == "e1-saved-io" and each.source == "seen")
    shown = power.lines(found, "reference-repeated", 1, 1)
    assert max(map(len, shown)) <= 80
    at = next(i for i, line in enumerate(shown) if line.startswith("e1-saved-io: 3 boots seen, spread of ln ratio 0."))
    assert shown[at + 1].startswith(f"    ratio {saved.ratio:.3g} (seen): {saved.needed} boots, cautious ")
    assert saved.repeated == "boot"
    assert saved.needed is not None
    assert 2 <= saved.needed <= 4
