"""The minimal kernel's benchmark: it compiles, and what it prints is read."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import tmem_minimal as minimal
from common.errors import LabError

PRINTED = """\
(XEN) TSC only partially writable\r
minimal: kind=ephemeral name=copy_4096 median=519 p90=519 p99=520\r
minimal: kind=ephemeral name=put_new median=1038 p90=1300 p99=1400\r
minimal: trace records=131072 lost=9\r
minimal: done\r
"""


def test_costs_are_read() -> None:
    assert minimal.parse(PRINTED) == {
        ("ephemeral", "copy_4096"): minimal.Cost(519, 519, 520),
        ("ephemeral", "put_new"): minimal.Cost(1038, 1300, 1400),
    }


def test_a_run_that_did_not_end_is_no_figure() -> None:
    with pytest.raises(LabError, match="its end"):
        minimal.parse(PRINTED.replace("minimal: done", ""))
    with pytest.raises(LabError, match="did not read its trace"):
        minimal.parse(PRINTED.replace("minimal: trace", "minimal:"))
    with pytest.raises(LabError, match="error=-12 of put"):
        minimal.parse(PRINTED + "minimal: error=-12 of put\r\n")


def test_the_kernel_compiles(tmp_path: Path) -> None:
    assert minimal.compile_kernel(tmp_path).read_bytes()[:4] == b"\x7fELF"


def test_instructions_are_counted_where_asked() -> None:
    assert "-icount" in minimal.command(Path("xen"), Path("kernel"), instructions=True)
    assert "-icount" not in minimal.command(Path("xen"), Path("kernel"), instructions=False)


def test_what_recording_adds_is_told() -> None:
    traced = PRINTED.replace("ephemeral", "ephemeral_traced").replace("1038", "1059")
    costs = minimal.parse(PRINTED + traced)
    assert minimal.tracing(costs) == {("ephemeral", "put_new"): pytest.approx(21 / 1038)}
