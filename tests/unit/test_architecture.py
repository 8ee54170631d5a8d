"""docs/architecture.md: the files that it leads through are there, and it stays a page."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[2]
PAGE = (REPO / "docs" / "architecture.md").read_text()

CHAINS = {
    "A policy, from the experiment to the guest": 6,
    "A manager, from the policy to the cell": 6,
    "A counter, from Xen to a figure": 8,
}
"""A chain -> the most files that it may take."""


def chain(title: str) -> list[str]:
    """The files of a chain: the first name in each of its numbered lines."""
    _, _, rest = PAGE.partition(f"**{title}**")
    assert rest
    steps = re.split(r"\n\*\*", rest)[0]
    return re.findall(r"^\d+\. `([^`]+)`", steps, re.MULTILINE)


@pytest.mark.parametrize("title", CHAINS)
def test_a_chain_is_short_and_its_files_are_there(title: str) -> None:
    files = chain(title)
    assert 3 < len(files) <= CHAINS[title]
    assert [file for file in files if not (REPO / file).is_file()] == []


def test_the_counter_of_the_chain_has_its_name_all_along() -> None:
    name = "tmem_ephemeral_hits"
    first, *_, drawn = chain("A counter, from Xen to a figure")
    assert first.startswith("tmem/xen/")
    assert name in (REPO / drawn).read_text()
    assert name in (REPO / "analysis/accounting.py").read_text()


def test_every_path_of_the_page_is_there() -> None:
    named = re.findall(r"`((?:[a-z_]+/)+(?:[a-z_-]+\.\w+)?)`", PAGE)
    made = {"raw/", "raw/manager.jsonl", "results/", "tables/"}
    assert len(named) > 20
    assert [path for path in named if path not in made and not (REPO / path).exists()] == []


def test_it_fits_a_page() -> None:
    lines = PAGE.splitlines()
    assert len(lines) <= 75
    assert max(len(line) for line in lines if not line.startswith("|")) <= 100
