"""The page for artifact committees: what it says is published is what lies in results/."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from campaigns import experiment

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "artifact.md").read_text()


def rows(letter: str) -> list[list[str]]:
    """The rows of claims whose names begin with a letter, as cells."""
    found = [line.strip("| ").split(" | ") for line in PAGE.splitlines() if re.match(rf"\| {letter}\d\.", line)]
    assert found
    return found


def report(name: str) -> str:
    return (ROOT / "results" / name / "report.md").read_text()


def test_the_sums_are_those_of_the_shipped_campaigns() -> None:
    printed = dict(re.findall(r"^\| `([\w-]+)` \|[^|]*\| `([0-9a-f]{64})` \|$", PAGE, re.MULTILINE))
    shipped = {path.parent.name: path for path in (ROOT / "results").glob("*/SHA256SUMS")}
    assert set(printed) == {
        "reference",
        "reference-repeated",
        "policies",
        "spike",
        "footprint",
        "safe_minimum",
        "kernels",
        "starving",
        "e1-evening",
        "e2-evening",
        "eviction",
        "regimes",
    }
    assert printed == {name: hashlib.sha256(shipped[name].read_bytes()).hexdigest() for name in printed}


def test_every_published_figure_is_in_the_report_that_it_is_of() -> None:
    for letter, name, least in (
        ("C", "reference-repeated", 12),
        ("E", "starving", 10),
        ("F", "e2-evening", 10),
        ("H", "e1-evening", 6),
    ):
        text = report(name)
        published = [number for row in rows(letter) for number in re.findall(r"\d+\.\d+|\d+(?= %)", row[2])]
        assert len(published) >= least
        assert [number for number in published if not re.search(rf"(?<![\d.]){re.escape(number)}(?!\d)", text)] == []
    text = report("policies")
    seen = [number for row in rows("D") for number in re.findall(r"\d\.\d\d", row[2])]
    assert len(seen) >= 10
    assert [number for number in seen if f"(ratio {number}," not in text] == []


def test_what_was_not_run_are_experiments_and_every_other_one_was() -> None:
    listed = PAGE.partition("## What was not run")[2].splitlines()
    named = {name for line in listed if line.startswith("| `") for name in re.findall(r"`(\w+)`", line.split("|")[1])}
    there = {path.stem for path in experiment.EXPERIMENTS.glob("*.yml")}
    assert named <= there
    assert there - named == {
        "demo",
        "kernel_build",
        "policies",
        "servers",
        "spike",
        "footprint",
        "safe_minimum",
        "kernels",
        "e1",
        "e2",
        "eviction",
    }
