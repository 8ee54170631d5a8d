"""The claims that the repository's experiments can decide: how many there are, whose they are, and
that each says what a reader needs to judge it.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from pathlib import Path

import analysis_campaign as made_up
import pytest
from campaign_fakes import EXPERIMENT, write_experiment

from analysis import figures, page
from campaigns import experiment
from campaigns.records import Claim
from workloads import registry

AUTHORS = ("Magenheimer", "Linux Symposium 2009", "Oracle Linux blog")
"""Of the published work: their claims are not a third party's."""
OURS = "our expectation"


def shipped() -> list[tuple[str, Claim]]:
    """Experiment -> claim, of all that the repository has."""
    names = sorted(path.stem for path in experiment.EXPERIMENTS.glob("*.yml"))
    return [(name, claim) for name in names for claim in experiment.load(name).claims]


def party(claim: Claim) -> str:
    """Who claims it."""
    if any(author in claim.source for author in AUTHORS):
        return "authors"
    return "ours" if OURS in claim.source else "others"


def test_at_least_twenty_claims_can_be_decided_and_eight_are_third_parties() -> None:
    distinct = {claim.id: claim for _, claim in shipped()}
    kinds = Counter(map(party, distinct.values()))
    assert len(distinct) >= 20
    assert kinds["others"] >= 8
    assert kinds["authors"] >= 8
    sources = {
        claim.source.partition(",")[0].partition(":")[0] for claim in distinct.values() if party(claim) == "others"
    }
    assert {"Qubes OS", "HyperAlloc", "senpai", "S. Jennings", "SmarTmem", "Ginkgo"} <= sources


def test_claims_of_every_kind_are_there() -> None:
    found = {claim.id: claim for _, claim in shipped()}.values()
    assert {claim.expectation.direction for claim in found} == {"decrease", "increase", "unchanged", "at_most"}
    assert {claim.evidence for claim in found} == {"quoted", "source", "recalled", "ours"}
    assert {claim.control_from for claim in found} == {"source", "ours"}
    assert any(claim.expectation.ratio_best for claim in found)
    assert any(claim.expectation.ratio_low for claim in found)


def test_the_same_claim_is_the_same_in_every_experiment() -> None:
    """Its control may be another policy: what fixed guests are called depends on the regime."""
    stated: dict[str, set[tuple[str, str, str]]] = {}
    for _, claim in shipped():
        stated.setdefault(claim.id, set()).add((claim.statement, claim.source, claim.evidence))
    assert {name: texts for name, texts in stated.items() if len(texts) > 1} == {}


def test_each_says_its_regime_and_what_would_contradict_it() -> None:
    assert [(name, claim.id) for name, claim in shipped() if not (claim.regime and claim.contradicted_by)] == []


def test_what_we_expect_ourselves_is_called_published_by_nobody() -> None:
    for name, claim in shipped():
        assert (party(claim) == "ours") == (claim.evidence == "ours"), (name, claim.id)
        if party(claim) == "ours":
            expected = claim.expectation
            assert (expected.ratio_low, expected.ratio_high, expected.ratio_best) == (None, None, None), claim.id


TOLD = EXPERIMENT + "    regime: large guests.\n    contradicted_by: more is read\n"


def test_an_experiment_keeps_what_a_claim_says_of_itself_and_its_fingerprint_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(registry._CLASSES, "fake", "campaign_fakes:FakeLoad")
    told = write_experiment(tmp_path, TOLD)
    assert (told.claims[0].regime, told.claims[0].contradicted_by) == ("large guests.", "more is read")
    assert experiment.from_document("x", told.document).claims == told.claims
    plain = write_experiment(tmp_path)
    assert {"regime", "contradicted_by"} & set(plain.document["claims"][0]) == set()


def test_report_and_page_say_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figures, "FIGURES", {"sectors": figures.FIGURES["sectors"]})
    claim = dataclasses.replace(made_up.CLAIMS[0], regime="large guests.", contradicted_by="more is read")
    directory = made_up.write_campaign(tmp_path, claims=(claim, *made_up.CLAIMS[1:]), samples=False)
    summary, path = page.make(directory)
    said = "fewer-sectors: Regime: large guests. Contradicted by: more is read."
    assert summary.report.read_text().count(said) == 1
    text = path.read_text()
    assert text.count("<dt>contradicted by</dt><dd>more is read</dd>") == 1
    assert text.count("<dt>regime</dt><dd>large guests.</dd>") == 1
