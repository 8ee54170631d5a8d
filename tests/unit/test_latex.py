"""A campaign for a paper: macros, tables and figures for TeX, and the sample paper that is made of
them alone.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import analysis_campaign as made_up
import debian
import pytest

from analysis import claims, latex, load, panels, sections, style, totals
from common.errors import ResultsError

REPO = Path(__file__).resolve().parents[2]
PAPER = REPO / "docs" / "paper" / "paper.tex"


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> load.Results:
    directory = made_up.write_campaign(tmp_path_factory.mktemp("results"), repetitions=3, name="made-up")
    return load.load(directory)


def _numbers(results: load.Results) -> dict[str, str]:
    return {macro.name: macro.value for macro in latex.macros(results, claims.judge(results))}


def test_every_mean_ratio_and_verdict_is_a_macro_with_the_reports_value(results: load.Results) -> None:
    found = _numbers(results)
    quantity = totals.QUANTITIES["sectors_read"]
    for policy, name in (("static", "Static"), ("selfballoon+tmem", "SelfballoonPlusTmem")):
        mean = totals.centre_of(results, quantity, policy, "").mean
        assert mean is not None
        assert found[f"MadeUpSectorsRead{name}"] == panels.number(mean)
    ratio = totals.ratio_of_quantity(results, quantity, treatment="selfballoon+tmem", control="selfballoon", levels="")
    name = "MadeUpSectorsReadSelfballoonPlusTmemOverSelfballoon"
    assert found[name] == f"{ratio.estimate:.2f}"
    assert (found[f"{name}Low"], found[f"{name}High"]) == (f"{ratio.low:.2f}", f"{ratio.high:.2f}")
    assert found[f"{name}Over"] == "3 runs of one boot"
    verdict = claims.judge(results)[0]
    assert found["MadeUpClaimFewerSectorsDirection"] == verdict.verdict
    assert found["MadeUpClaimFewerSectorsPublished"] == "0.48 at best"


def test_names_are_letters_alone_and_each_is_there_once(results: load.Results) -> None:
    names = [macro.name for macro in latex.macros(results, claims.judge(results))]
    assert all(re.fullmatch(r"[A-Z][A-Za-z]+", name) for name in names)
    assert len(names) == len(set(names))
    assert latex.named("a-1", "jobs=16, x=0.5") == "AOneJobsIsOneSixXIsZeroPointFive"


def test_two_numbers_of_one_name_are_refused(tmp_path: Path) -> None:
    levels = ({"jobs": "a b"}, {"jobs": "a-b"})
    directory = made_up.write_campaign(tmp_path, repetitions=1, levels=levels, samples=False)
    with pytest.raises(ResultsError, match="two numbers would have the name"):
        _numbers(load.load(directory))


def test_what_was_not_measured_has_no_macro(tmp_path: Path) -> None:
    directory = made_up.write_campaign(
        tmp_path, repetitions=1, change=lambda cell: made_up.without_value(cell, "sectors_read", "guest1")
    )
    found = _numbers(load.load(directory))
    assert "MadeUpSectorsReadStatic" not in found
    assert "MadeUpSectorsWrittenStatic" in found


def test_words_are_shown_and_not_obeyed() -> None:
    assert latex.escaped(r"\input{x} 50 % & $y_1^2$ #~ <[a]> ÷ – 漢") == (
        r"\textbackslash{}input\{x\} 50 \% \& \$y\_1\textasciicircum{}2\$ \#\textasciitilde{} "
        r"\textless{}{[}a{]}\textgreater{} \ensuremath{\div} -- ?"
    )


def test_a_table_has_its_rules_and_numbers_to_the_right() -> None:
    table = sections.table(("policy", "ratio"), [("a_b", "1.0"), ("c", "–")])
    assert latex.tabular(table).splitlines() == [
        r"\begin{tabular}{@{}lr@{}}",
        r"\toprule",
        r"policy & ratio \\",
        r"\midrule",
        r"a\_b & 1.0 \\",
        r"c & -- \\",
        r"\bottomrule",
        r"\end{tabular}",
    ]


def test_files_are_the_same_each_time_and_columns_of_nothing_are_left_out(results: load.Results) -> None:
    verdicts = claims.judge(results)
    made = latex.files(results, verdicts, {"overview.column.pdf"})
    assert dict(made) == dict(latex.files(results, verdicts, {"overview.column.pdf"}))
    assert "levels" not in made["tables/compared.tex"]
    assert "ratio" in made["tables/compared.tex"]
    assert [name for name in made if name.startswith("figures/")] == ["figures/overview.tex"]
    path = r"{\overcommitResults/made-up/figures/overview.column.pdf}"
    assert path in made["figures/overview.tex"]


def test_a_campaign_without_a_complete_cell_is_refused(tmp_path: Path) -> None:
    directory = made_up.write_campaign(tmp_path, repetitions=1, change=made_up.invalid)
    with pytest.raises(ResultsError, match="no cell of the campaign is complete"):
        latex.make(directory)


def test_every_number_of_the_sample_paper_is_one_of_the_published_results() -> None:
    published = load.load(REPO / "results" / "reference-repeated")
    text = re.sub(r"(?m)^%.*$", "", PAPER.read_text())
    used = set(re.findall(r"\\(ReferenceRepeated[A-Za-z]+)", text))
    assert len(used) > 8
    assert used - set(_numbers(published)) == set()
    body = re.sub(r"\\[A-Za-z]+|\[[^]]*\]|\{[^}]*\}", "", text.partition(r"\maketitle")[2])
    assert re.findall(r"\d+", body) == ["95"]  # the level of the intervals


@pytest.fixture
def copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(style, "FORMATS", ("pdf",))
    target = tmp_path / "results" / "reference-repeated"
    shutil.copytree(REPO / "results" / "reference-repeated", target)
    latex.make(target)
    return tmp_path


@pytest.mark.long
def test_the_sample_paper_is_made_of_results_alone(copied: Path) -> None:
    debian.need("latexmk", "latexmk", "texlive-latex-recommended", "texlive-fonts-recommended")
    (copied / "docs" / "paper").mkdir(parents=True)
    shutil.copy(PAPER, copied / "docs" / "paper")
    done = subprocess.run(
        ["latexmk", "-pdf", "-cd", "-interaction=nonstopmode", "-halt-on-error", "docs/paper/paper.tex"],
        cwd=copied,
        check=False,
        capture_output=True,
        text=True,
        errors="replace",
    )
    log = (copied / "docs/paper/paper.log").read_text(errors="replace")
    assert done.returncode == 0, log[-3000:]
    assert (copied / "docs/paper/paper.pdf").stat().st_size > 20_000
    assert "undefined" not in log
    too_wide = [float(points) for points in re.findall(r"Overfull \\hbox \(([0-9.]+)pt", log)]
    assert max(too_wide, default=0) < 5
