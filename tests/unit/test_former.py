"""Samples of older layouts: their counters are called as they are now, in the units of now."""

from __future__ import annotations

from pathlib import Path

import pytest

from analysis import load
from campaigns import former, records
from lab.counters import names
from tests.unit import analysis_campaign as made_up

HEAD = "time_s,source,counter,unit,value\n"

OLD = {
    "guest1,vbd.sectors_read,sectors,8": "guest1,sectors_read,sectors,8",
    "guest1,vbd.xvda.read_requests,requests,8": "guest1,xvda_read_requests,requests,8",
    "guest1,vbd.xvdb.sectors_read,sectors,8": "guest1,swap_sectors_read,sectors,8",
    "guest1,tmem.ephemeral.gets,count,8": "guest1,tmem_ephemeral_hits,pages,8",
    "guest1,tmem.persistent.gets_tried,count,8": "guest1,tmem_persistent_gets_tried,pages,8",
    "guest1,tmem.ephemeral.object_flushes,count,8": "guest1,tmem_ephemeral_object_flushes,count,8",
    "hypervisor,tmem.evicted,pages,8": "hypervisor,tmem_evictions,pages,8",
    "hypervisor,tmem.bytes_after_compression,bytes,8": "hypervisor,tmem_bytes_after_compression,bytes,8",
    "guest1,vmstat.pswpin,count,8": "guest1,swap_in,pages,8",
    "guest1,vmstat.pgsteal_direct,count,8": "guest1,vmstat.pgsteal_direct,pages,8",
    "guest1,vmstat.pgfault,count,8": "guest1,vmstat.pgfault,count,8",
    "guest1,meminfo.Committed_AS,KiB,8": "guest1,meminfo.Committed_AS,KiB,8",
    "guest1,psi.memory.some,us,1500000": "guest1,memory_stall_seconds,s,1.5",
    "guest1,psi.io.full,us,": "guest1,psi.io.full,s,",
    "dom0,sampler.cpu,us,250000": "dom0,sampling_cpu_seconds,s,0.25",
    "guest1,frontswap.failed_stores,count,8": "guest1,frontswap_failed_stores,pages,8",
    "dom0,vcpu_seconds,s,8.5": "dom0,vcpu_seconds,s,8.5",
}


@pytest.mark.parametrize("row", OLD)
def test_a_counter_of_an_older_layout_has_the_name_and_the_unit_of_now(row: str) -> None:
    assert former.samples_text(f"{HEAD}-1.0,{row}\n") == f"{HEAD}-1.0,{OLD[row]}\n"


def test_every_word_of_linux_that_was_sampled_then_is_what_it_is_named_now() -> None:
    for word, counter in names.LINUX.items():
        now = former.today(word)
        assert (now.name, now.per) == (counter.name, counter.per)
        assert now.unit in (counter.unit, None)


def test_what_is_no_table_is_refused() -> None:
    with pytest.raises(ValueError, match="unpack"):
        former.samples_text(f"{HEAD}1.0,guest1\n")


@pytest.mark.parametrize(("layout", "expected"), [(2, "memory_stall_seconds"), (3, "psi.memory.some")])
def test_a_campaign_is_read_by_its_own_layout(tmp_path: Path, layout: int, expected: str) -> None:
    directory = made_up.write_campaign(tmp_path, repetitions=1)
    campaign = directory / records.CAMPAIGN_FILE
    campaign.write_text(campaign.read_text().replace(f'"layout": {records.LAYOUT}', f'"layout": {layout}'))
    samples = directory / records.CELLS_DIR / "static.r1" / records.SAMPLES_FILE
    samples.write_text(f"{HEAD}1.0,guest1,psi.memory.some,us,1500000\n")
    found = load.load(directory).samples
    assert expected in set(found["counter"])
