"""Numbers that nobody can mean: refused with one clear message, wherever they stand, before
anything is planned.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

from campaigns import experiment
from common.errors import InvalidFileError
from common.units import parse_duration, parse_size

BASE: dict[str, Any] = {
    "title": "t",
    "question": "q",
    "host": {"guest_memory": "480 MiB"},
    "guests": {"count": 3, "memory_max": "256 MiB"},
    "policies": ["static", "selfballoon+tmem"],
    "workload": {"name": "fio"},
}
DIGITS = "9" * 400
SIZES = (
    f"{DIGITS} MiB",
    f"1.{'0' * 400} MiB",
    f"0.{DIGITS} MiB",
    "1000000 TiB",
    "-1 MiB",
    "1e309 MiB",
    "NaN MiB",
    "inf",
)
COUNTS = (int(DIGITS), -int(DIGITS), 2**63, float("nan"), float("inf"), 1e308, 1e-320, True, "5")
DURATIONS = (f"{DIGITS} s", f"0.{DIGITS} s", "-1 s", "1e309 s", "nan s", "99999999 h", "0.0001 ms", 5)
KEYS: dict[str, tuple[Any, ...]] = {
    **dict.fromkeys(("host.guest_memory", "host.dom0_memory", "guests.memory_max", "guests.swap"), SIZES),
    **dict.fromkeys(("selfballoon.min_usable", "workload.parameters.size", "workload.parameters.bs"), SIZES),
    **dict.fromkeys(("guests.count", "guests.vcpus", "host.vcpus", "repetitions", "seed", "gates.tmem_puts"), COUNTS),
    **dict.fromkeys(("gates.sectors_read", "selfballoon.downhysteresis", "workload.parameters.seed"), COUNTS),
    **dict.fromkeys(("gates.relief.refaults", "workload.parameters.iodepth", "guests.sysctl.vm.swappiness"), COUNTS),
    **dict.fromkeys(("settle", "sampling.interval", "timeouts.run", "gates.barrier_skew"), DURATIONS),
    "overcommit_ratio": (int(DIGITS), float("nan"), float("inf"), 1e308, 1e-320, 0, -1),
    "gates.overcommit_ratio": (int(DIGITS), float("nan"), float("inf"), 1e308, 0),
}


def load(tmp_path: Path, key: str, value: object, *, factor: bool = False) -> None:
    content = copy.deepcopy(BASE)
    if key == "overcommit_ratio":
        content["host"] = {}
    if factor:
        content["factors"] = {key: [value]}
    else:
        *parents, last = ["guests", "sysctl", "vm.swappiness"] if "sysctl" in key else key.split(".")
        place = content
        for parent in parents:
            place = place.setdefault(parent, {})
        place[last] = value
    path = tmp_path / "x.yml"
    path.write_text(yaml.safe_dump(content))
    experiment.load(str(path))


@pytest.mark.parametrize("key", KEYS)
def test_a_number_that_nobody_can_mean_is_refused_in_a_line_that_one_can_read(tmp_path: Path, key: str) -> None:
    for value in KEYS[key]:
        with pytest.raises(InvalidFileError) as refused:
            load(tmp_path, key, value)
        assert len(refused.value.what) < 400, value
        assert refused.value.what != "2 mistakes", value
        assert key.rpartition(".")[2] in refused.value.where
        assert "constrained" not in str(refused.value)


@pytest.mark.parametrize("key", ["host.guest_memory", "guests.memory_max", "settle", "sampling.interval"])
def test_nor_is_it_a_level_of_a_factor(tmp_path: Path, key: str) -> None:
    for value in KEYS[key]:
        with pytest.raises(InvalidFileError) as refused:
            load(tmp_path, key, value, factor=True)
        assert len(refused.value.what) < 400, value


def test_what_is_large_and_possible_is_taken(tmp_path: Path) -> None:
    load(tmp_path, "host.guest_memory", "12 TiB")
    load(tmp_path, "repetitions", {"boots": 3, "runs": 2})
    load(tmp_path, "seed", 2**63 - 1)
    assert (parse_size("1024 TiB"), parse_duration("0.5 s"), parse_duration("1 ms")) == (2**50, 0.5, 0.001)


def test_a_wrong_number_of_boots_is_told_at_its_key(tmp_path: Path) -> None:
    with pytest.raises(InvalidFileError, match="greater than or equal to 1") as refused:
        load(tmp_path, "repetitions", {"boots": -1})
    assert refused.value.where.endswith("key repetitions.boots")
