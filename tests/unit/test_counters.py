"""Counters: names, units, sums, and that nothing missing becomes a number. The readings are
shortened real ones.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from campaigns import metrics
from common.errors import LabError
from lab.api import Sample
from lab.counters import names, parse
from workloads import registry

POOL = {"PI": 0, "PT": "EP", "U0": "0", "U1": "0", "Pc": 7, "Pm": 9, "ps": 20, "pt": 24, "px": 4, "pd": 1, "pr": 2}
POOL |= {"gs": 11, "gt": 30, "fs": 5, "ft": 6, "Oc": 1, "Om": 1, "Nc": 1, "Nm": 1, "os": 0, "ot": 0}
TMEM: dict[str, Any] = {
    "version": 1,
    "enabled": True,
    "global": {"Tt": 100, "Te": 3, "Et": 8, "Ea": 10, "Ec": 7, "Ta": 2},
    "clients": [
        {"CI": 1, "ww": 0, "Tc": 5000, "Ge": 11, "pools": [POOL, {**POOL, "PI": 1, "Pc": 1, "gs": 1}]},
        {"CI": 2, "ww": 0, "Tc": 1, "pools": [{**POOL, "PT": "PP", "Pc": 40}]},
    ],
}


def reading(tmem: object = TMEM) -> dict[str, Any]:
    return {
        "time": 1000.5,
        "free": 1234,
        "domains": [
            {"id": 0, "name": "Domain-0", "cpu_ns": 2_500_000_000, "pages": 98304},
            {"id": 1, "name": "guest1", "cpu_ns": 1_000_000, "pages": 40960},
            {"id": 2, "name": "guest2", "cpu_ns": 1_000_000, "pages": 40960},
            {"id": 3, "name": "guest3", "cpu_ns": 1_000_000, "pages": 40960},
        ],
        "vbd": {
            "1": {
                "51712": {"rd_req": 10, "wr_req": 1, "rd_sect": 80, "wr_sect": 8},
                "51728": {"rd_req": 1, "wr_req": 0, "rd_sect": 16, "wr_sect": 0},
            },
            "2": {"51712": {"rd_req": 1, "wr_req": 1, "rd_sect": 8}},
        },
        "tmem": tmem,
    }


def by_name(samples: list[Sample]) -> dict[tuple[str, str], Sample]:
    return {(sample.source, sample.counter): sample for sample in samples}


def test_a_reading_has_units_and_one_time() -> None:
    found = by_name(parse.parse_reading(reading(), ["guest1", "guest2"]))
    assert found["hypervisor", "free_memory"] == Sample(1000.5, "hypervisor", "free_memory", "pages", 1234)
    assert found["dom0", "vcpu_seconds"] == Sample(1000.5, "dom0", "vcpu_seconds", "s", 2.5)
    assert found["guest1", "memory"] == Sample(1000.5, "guest1", "memory", "pages", 40960)
    assert {sample.time for sample in found.values()} == {1000.5}


def test_disks_are_summed_and_told_apart() -> None:
    found = by_name(parse.parse_reading(reading(), ["guest1"]))
    assert found["guest1", "sectors_read"].value == 96
    assert found["guest1", "xvda_sectors_read"].value == 80
    assert found["guest1", "swap_sectors_read"].value == 16
    assert found["guest1", "read_requests"].unit == "requests"


def test_a_sum_with_a_part_missing_is_missing() -> None:
    found = by_name(parse.parse_reading(reading(), ["guest2"]))
    assert found["guest2", "sectors_read"].value == 8
    assert found["guest2", "sectors_written"].value is None
    assert found["guest2", "xvda_sectors_written"].value is None


def test_pools_of_one_kind_are_summed() -> None:
    found = by_name(parse.parse_reading(reading(), ["guest1", "guest2"]))
    assert found["guest1", "tmem_ephemeral_pages"].value == 8
    assert found["guest1", "tmem_ephemeral_hits"].value == 12
    assert found["guest1", "tmem_ephemeral_puts_refused"].value == 8
    assert found["guest1", "tmem_persistent_hits"].value == 0
    assert found["guest2", "tmem_persistent_pages"].value == 40
    assert found["guest1", "tmem_cycles"].value == 5000
    assert found["hypervisor", "tmem_persistent_pages"].value == 40
    assert found["hypervisor", "tmem_evictions"].value == 8


def test_a_guest_that_tmem_does_not_know_has_used_none() -> None:
    found = by_name(parse.parse_reading(reading(), ["guest3"]))
    assert found["guest3", "tmem_cycles"].value == 0
    assert found["guest3", "tmem_ephemeral_hits"].value == 0


def test_without_tmem_its_counters_are_missing_and_never_zero() -> None:
    samples = parse.parse_reading(reading(tmem=None), ["guest1"])
    values = {sample.value for sample in samples if sample.counter.startswith("tmem_")}
    assert values == {None}
    told = {(sample.source, sample.counter) for sample in samples}
    assert told == {(s.source, s.counter) for s in parse.parse_reading(reading(), ["guest1"])}


def test_a_guest_that_is_gone_has_none_everywhere() -> None:
    samples = [each for each in parse.parse_reading(reading(), ["guest9"]) if each.source == "guest9"]
    assert samples
    assert {sample.value for sample in samples} == {None}


def test_host_lines_end_with_the_cost() -> None:
    lines = [json.dumps(reading()), json.dumps({"cost": {"cpu_seconds": 0.5, "wall_seconds": 10, "readings": 1}})]
    samples, cost = parse.parse_host(lines, [])
    assert cost == 0.05
    assert samples
    with pytest.raises(LabError, match="cannot be understood"):
        parse.parse_host(["Traceback"], [])


def test_guest_lines() -> None:
    lines = [
        "1795429165.250000 vmstat.pgmajfault=3 meminfo.MemFree=1000 psi.memory.some=7 cleancache.succ_gets=2",
        "cost 0.20 10.000 1",
    ]
    samples, cost = parse.parse_guest("guest1", lines)
    found = by_name(samples)
    assert cost == 0.02
    assert found["guest1", "major_faults"] == Sample(1795429165.25, "guest1", "major_faults", "count", 3)
    assert found["guest1", "meminfo.MemFree"].unit == "KiB"
    assert found["guest1", "memory_stall_seconds"] == Sample(1795429165.25, "guest1", "memory_stall_seconds", "s", 7e-6)
    assert found["guest1", "frontswap_loads"].value is None
    assert {counter for _, counter in found} == {counter.name for counter in names.LINUX.values()}
    with pytest.raises(LabError, match="cannot be understood"):
        parse.parse_guest("guest1", ["Can't locate strict.pm"])


@pytest.mark.parametrize(
    "line",
    [
        "nan vmstat.pgmajfault=3",
        "inf vmstat.pgmajfault=3",
        "1.0 vmstat.pgmajfault=99999999999999999999999",
        "1.0 vmstat.pgmajfault=18446744073709551616",
        "1.0 vmstat.pgmajfault=-1",
        "cost nan 1.0",
        "cost 1.0 inf",
    ],
)
def test_what_no_kernel_counts_is_no_reading(line: str) -> None:
    """It was stored, and the record could not be read again."""
    with pytest.raises(LabError, match="cannot be understood") as caught:
        parse.parse_guest("guest1", [line])
    assert caught.value.where == "guest1"
    parse.parse_guest("guest1", ["1.0 vmstat.pgmajfault=18446744073709551615"])


def test_a_disk_is_named_as_the_guest_names_it_and_the_second_is_swapped_to() -> None:
    found = [names.disk(number, "rd_sect").name for number in (51712, 51728, 51744)]
    assert found == ["xvda_sectors_read", "swap_sectors_read", "xvdc_sectors_read"]


def test_a_counter_has_one_name_from_the_reading_to_the_metric() -> None:
    """Whatever a metric is the growth of is read under that name and in that unit."""
    read = {sample.counter: sample.unit for sample in parse.parse_reading(reading(), ["guest1"])}
    told = " ".join(f"{word}=1" for word in (names.SAMPLER_CPU, *names.IN_MEMORY))
    read |= {sample.counter: sample.unit for sample in parse.parse_guest("guest1", [f"1.0 {told}"])[0]}
    growing = [*metrics.GUEST_COUNTERS, *metrics.HYPERVISOR_COUNTERS]
    alone = [metric for metric in growing if len(metric.counters) == 1]
    assert len(alone) >= 20
    for metric in alone:
        assert metric.counters == (metric.spec.name,)
        assert read[metric.spec.name] == metric.spec.unit
    assert {counter for metric in growing for counter in metric.counters} <= set(read)
    assert read[metrics.SAMPLING_CPU.name] == metrics.SAMPLING_CPU.unit


def test_no_two_counters_of_a_machine_have_the_same_name() -> None:
    samples = parse.parse_reading(reading(), ["guest1", "guest2"]) + parse.parse_guest("guest1", ["1.0"])[0]
    seen = [(sample.source, sample.counter) for sample in samples]
    assert len(seen) == len(set(seen))


def test_no_load_gives_its_own_figure_the_name_of_one_of_the_host() -> None:
    """The host's and each guest's would be added to one another."""
    of_guests = {metrics.WALL.name, metrics.SAMPLING_CPU.name, *(each.spec.name for each in metrics.GUEST_COUNTERS)}
    of_host = {spec.name for spec in metrics.SPECS} - of_guests
    for name in registry.names():
        assert of_host.isdisjoint(spec.name for spec in registry.get(name).metrics), name
