"""Figures that a second process renders: the same bytes, all written at the end, also when that
process is killed.
"""

from __future__ import annotations

from pathlib import Path

import analysis_campaign as made_up
import pytest
from matplotlib.figure import Figure

from analysis import figures, rendering, report, style


@pytest.fixture(autouse=True)
def _few_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figures, "FIGURES", {name: figures.FIGURES[name] for name in ("overview", "memory")})


def _files(directory: Path) -> dict[str, bytes]:
    return {path.relative_to(directory).as_posix(): path.read_bytes() for path in directory.rglob("*.*")}


def test_a_second_process_renders_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results = made_up.write_campaign(tmp_path, repetitions=2)
    here = report.summarise(results, into=tmp_path / "here")
    monkeypatch.setattr(report, "MANY", 1)
    monkeypatch.setattr(Figure, "savefig", None)  # of this process
    beside = report.summarise(results, into=tmp_path / "beside")
    assert [path.name for path in beside.figures] == [path.name for path in here.figures]
    assert {Path(name).suffix for name in _files(tmp_path / "here")} >= {".png", ".pdf", ".svg", ".txt", ".csv", ".md"}
    assert _files(tmp_path / "beside") == _files(tmp_path / "here")


def test_what_a_killed_process_leaves_is_rendered_here() -> None:
    written: list[bytes] = []
    with style.styled(), rendering.renderer(beside=True) as renderer:
        renderer.render(style.new_figure(1, 1), ("svg",), lambda files: written.append(files["svg"]))
        assert renderer.beside is not None
        renderer.beside.process.kill()
        renderer.beside.process.wait()
        renderer.render(style.new_figure(1, 1), ("svg",), lambda files: written.append(files["svg"]))
    assert len(written) == 2
    assert written[0].startswith(b"<?xml")
    assert written[0] == written[1]
