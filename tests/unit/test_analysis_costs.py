"""What tmem and sampling cost, what became of the pages put, how sure the account is, and what a
ratio used; older cells like new ones.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import analysis_campaign as made_up
import pytest

from analysis import accounting, cost, derived, fates, load, report, sections, totals
from campaigns import records
from campaigns.records import CellRecord
from common.metrics import Metric


def _samples(directory: Path, cell: str, rows: list[str]) -> None:
    path = directory / records.CELLS_DIR / cell / records.SAMPLES_FILE
    header, *there = path.read_text().splitlines()
    path.write_text("\n".join([header, *_in_order([*there, *rows])]) + "\n")


def _in_order(rows: list[str]) -> list[str]:
    """Readings before the run first, and those after it last, as a cell's file has them."""
    return sorted(rows, key=lambda row: float(row.partition(",")[0]))


def _raw(directory: Path, cell: str, dom0: float, guest: float) -> None:
    raw = directory / records.CELLS_DIR / cell / records.RAW_DIR
    raw.mkdir()
    spent = {"cpu_seconds": dom0, "wall_seconds": 70, "readings": 9}
    (raw / "dom0.samples.jsonl").write_text('{"time": 1}\n' + json.dumps({"cost": spent}) + "\n")
    for name in made_up.GUESTS:
        (raw / f"{name}.samples.txt").write_text(f"1.0 a=1\ncost {guest} 70.0 9\n")


def test_sampling_is_a_sum_of_its_own_and_no_cost_of_the_policy(tmp_path: Path) -> None:
    """A third of what was told as dom0's processor time was the reading of the counters."""
    directory = made_up.write_campaign(tmp_path, repetitions=1)
    gross = load.load(directory)
    dom0 = totals.QUANTITIES["dom0_vcpu_seconds"]
    before = totals.values(gross, dom0, "static", "")["static.r1"]
    assert "What sampling took in all was not recorded" in cost.sampling(gross)
    for policy in made_up.POLICIES:
        _raw(directory, f"{policy}.r1", 6.0, 0.5)
    net = load.load(directory)
    after = totals.values(net, dom0, "static", "")["static.r1"]
    assert before is not None
    assert after == pytest.approx(before - 6.0)
    whole = totals.QUANTITIES["total_vcpu_seconds"]
    assert totals.values(net, whole, "static", "")["static.r1"] == pytest.approx(
        (totals.values(gross, whole, "static", "")["static.r1"] or 0) - 7.5
    )
    assert totals.values(net, totals.QUANTITIES["sampling_seconds"], "static", "")["static.r1"] == 7.5
    text = report.markdown(net, (), ())
    assert "Sampling took 7.5 s of processor time a cell, 6 s of it in dom0" in text
    assert "taken out of the vCPU seconds" in text


def test_sampling_that_is_out_of_a_cell_s_metrics_is_not_taken_out_again(tmp_path: Path) -> None:
    """Cells of a sampler that tells its own processor time with every reading."""

    def net(record: CellRecord) -> CellRecord:
        took = [Metric("sampling_cpu_seconds", "s", 0.25, name) for name in (None, *made_up.GUESTS)]
        return dataclasses.replace(record, metrics=(*record.metrics, *took))

    directory = made_up.write_campaign(tmp_path, repetitions=1, change=net)
    plain = load.load(made_up.write_campaign(tmp_path / "plain", repetitions=1))
    for policy in made_up.POLICIES:
        _raw(directory, f"{policy}.r1", 6.0, 0.5)
    results = load.load(directory)
    for name in ("dom0_vcpu_seconds", "total_vcpu_seconds", "vcpu_seconds"):
        quantity = totals.QUANTITIES[name]
        assert totals.values(results, quantity, "static", "") == totals.values(plain, quantity, "static", "")
    sampling = totals.values(results, totals.QUANTITIES["sampling_cpu_seconds"], "static", "")
    assert sampling["static.r1"] == 0.25 * (1 + len(made_up.GUESTS))
    text = cost.sampling(results)
    assert (
        f"Sampling took {0.25 * (1 + len(made_up.GUESTS)):.3g} s of processor time a cell, 0.25 s of it in dom0" in text
    )
    assert "taken out of the vCPU seconds" in text


def test_a_cell_whose_sampling_is_not_known_has_no_net_figure(tmp_path: Path) -> None:
    directory = made_up.write_campaign(tmp_path, repetitions=1)
    _raw(directory, "static.r1", 6.0, 0.5)
    results = load.load(directory)
    dom0 = totals.QUANTITIES["dom0_vcpu_seconds"]
    assert totals.values(results, dom0, "static", "")["static.r1"] is not None
    assert totals.values(results, dom0, "selfballoon", "")["selfballoon.r1"] is None


@pytest.mark.parametrize(
    "text", ["", "cost\n", "cost x 1 1\n", "1.0 a=1\n", '{"cost": {}}\n', '{"cost": 3}\n', "cost -1 1 1\n"]
)
def test_an_agent_that_does_not_say_what_it_took_took_something_unknown(tmp_path: Path, text: str) -> None:
    path = tmp_path / "guest1.samples.txt"
    assert derived._spent(path) is None
    path.write_text(text)
    assert derived._spent(path) is None


def test_older_cells_get_their_requests_and_pressure_from_the_samples(tmp_path: Path) -> None:
    lost = {"read_requests", "disk_requests", "pages_reclaimed", "refaults", "memory_stall_seconds"}

    def old(record: CellRecord) -> CellRecord:
        return dataclasses.replace(record, metrics=tuple(m for m in record.metrics if m.name not in lost))

    directory = made_up.write_campaign(tmp_path, repetitions=1, change=old, guests=("guest1",))
    campaign = directory / records.CAMPAIGN_FILE
    campaign.write_text(json.dumps({**json.loads(campaign.read_text()), "layout": 1}))
    rows = []
    for time, step in ((-5.0, 0), (-1.0, 1), (30.0, 2), (80.0, 3)):
        for counter, size in (("read_requests", 100), ("write_requests", 10), ("memory_stall_seconds", 1)):
            rows.append(f"{time},guest1,{counter},count,{step * size}")
        rows += [f"{time},guest1,vmstat.pgsteal_{by},count,{step * 500}" for by in ("kswapd", "direct")]
    rows += ["-1.0,guest1,vmstat.workingset_refault_file,count,4", "80.0,guest1,vmstat.workingset_refault_file,count,"]
    rows += [f"{time},guest1,vmstat.workingset_refault_anon,count,4" for time in (-1.0, 80.0)]
    _samples(directory, "static.r1", rows)
    results = load.load(directory)
    (cell,) = results.at("static", "")
    values = {m.name: m.value for m in cell.metrics}
    assert (values["read_requests"], values["disk_requests"]) == (200, 220), "from the last reading before the release"
    assert (values["pages_reclaimed"], values["memory_stall_seconds"]) == (2000, pytest.approx(2.0))
    assert values["refaults"] is None, "a final reading that is missing is not the last one there was"
    (other,) = results.at("selfballoon", "")
    assert "read_requests" not in {m.name for m in other.metrics}, "never sampled, so not a metric of this cell"


def test_what_tmem_cost_has_an_interval_over_boots_and_keeps_cells_of_no_cycles(tmp_path: Path) -> None:
    """Three boots of three runs are three, and a run that did not need tmem is one of them."""

    def change(record: CellRecord) -> CellRecord:
        if record.policy != "selfballoon+tmem":
            return record
        boot, run = (record.repetition - 1) % 3 + 1, (record.repetition - 1) // 3
        cycles = 0.0 if record.repetition == 9 else 1e9 * (boot + 0.01 * run)
        kept = [each for each in record.metrics if each.name != "tmem_cycles"]
        told = [Metric("tmem_cycles", "cycles", cycles, guest) for guest in made_up.GUESTS]
        return dataclasses.replace(record, metrics=(*kept, *told))

    directory = made_up.write_campaign(tmp_path, repetitions=9, boots=3, samples=False, change=change)
    for cell in records.cell_directories(directory):
        (cell / records.ENV_FILE).write_text(json.dumps({"host": {"xen": {"info": {"cpu_mhz": "2500.0"}}}}))
    results = load.load(directory)
    costs = cost.tmem(results)
    mine = {each.cell: each.of_one_cpu for each in costs if each.cell and each.policy == "selfballoon+tmem"}
    assert len(mine) == 9
    wanted = totals.centre(results, mine)
    assert (wanted.n, wanted.repeated) == (3, "boot")
    assert wanted.mean is not None
    assert wanted.low is not None
    (text,) = cost.explain(results, costs, "")
    assert f"{100 * wanted.mean:.2g} % of one processor over the run, 95 % interval {100 * wanted.low:.2g}" in text


def _starved(record: CellRecord) -> CellRecord:
    """A cell as a starved host leaves it: no times, and no cycles."""
    timed = {"s", "cycles"}
    kept = [dataclasses.replace(each, value=None) if each.unit in timed else each for each in record.metrics]
    return dataclasses.replace(record, metrics=tuple(kept), notes=(f"{records.STARVED}: 69 %",))


def test_a_starved_cell_takes_no_policy_out_of_what_tmem_cost(tmp_path: Path) -> None:
    """A policy of nine cells was not in the table, because one of them had no times."""
    cell = "selfballoon+tmem.r2"
    directory = made_up.write_campaign(
        tmp_path, repetitions=3, change=lambda record: _starved(record) if record.cell == cell else record
    )
    results = load.load(directory)
    quantity = totals.QUANTITIES["tmem_cycles"]
    known = [value for value in totals.values(results, quantity, "selfballoon+tmem", "").values() if value is not None]
    assert len(known) == 2
    costs = cost.tmem(results)
    (mean,) = [each for each in costs if each.cell is None]
    assert mean.tmem_cycles == pytest.approx(sum(known) / 2)
    assert [each.tmem_cycles for each in costs if each.cell == cell] == [None]
    (text,) = cost.explain(results, costs, "")
    assert "(mean of 2 of 3 cells; the host was starved in 1, whose times have no value)" in text


def test_a_policy_whose_cells_are_all_starved_is_said_to_have_no_value(tmp_path: Path) -> None:
    directory = made_up.write_campaign(tmp_path, repetitions=1, change=_starved)
    for policy in ("selfballoon", "selfballoon+tmem"):
        asked = 4050 if "tmem" in policy else 50
        rows = ["-9,hypervisor,tmem_ops,count,50", f"900,hypervisor,tmem_ops,count,{asked}"]
        _samples(directory, f"{policy}.r1", rows)
    (text,) = sections.tmem_cost(load.load(directory))
    assert text == (
        "Under selfballoon+tmem guests asked tmem, and what it took has no value in any cell "
        "(the host was starved in 1, whose times have no value)."
    )


def test_sampling_of_starved_cells_is_not_called_unrecorded(tmp_path: Path) -> None:
    def net(record: CellRecord) -> CellRecord:
        took = [Metric("sampling_cpu_seconds", "s", 0.25, name) for name in (None, *made_up.GUESTS)]
        whole = dataclasses.replace(record, metrics=(*record.metrics, *took))
        return _starved(whole) if record.cell in starved else whole

    starved = {"static.r1"}
    text = cost.sampling(load.load(made_up.write_campaign(tmp_path, repetitions=1, change=net)))
    assert "Sampling took 1 s of processor time a cell, 0.25 s of it in dom0" in text
    assert "in 2 of 3 cells (the host was starved in 1, whose times have no value; vCPU seconds with dom0 are" in text
    assert "not recorded" not in text
    starved |= {"selfballoon.r1", "selfballoon+tmem.r1"}
    text = cost.sampling(load.load(made_up.write_campaign(tmp_path / "all", repetitions=1, change=net)))
    assert text.startswith("What sampling took has no value in any cell (the host was starved in 3")


def test_cycles_in_tmem_are_seconds_and_shares(tmp_path: Path) -> None:
    directory = made_up.write_campaign(tmp_path, repetitions=2)
    for repetition in (1, 2):
        cell = f"selfballoon+tmem.r{repetition}"
        env = {"host": {"xen": {"info": {"cpu_mhz": "2500.0"}}}}
        (directory / records.CELLS_DIR / cell / records.ENV_FILE).write_text(json.dumps(env))
        _samples(directory, cell, ["-9,hypervisor,tmem_ops,count,50", "900,hypervisor,tmem_ops,count,4050"])
    results = load.load(directory)
    costs = cost.tmem(results)
    assert {item.policy for item in costs} == {"selfballoon+tmem"}
    one = next(item for item in costs if item.cell == "selfballoon+tmem.r1")
    cycles = totals.values(results, totals.QUANTITIES["tmem_cycles"], "selfballoon+tmem", "")["selfballoon+tmem.r1"]
    assert cycles
    assert one.tmem_cycles == cycles
    assert one.seconds == pytest.approx(cycles / 2.5e9)
    wall = totals.values(results, totals.QUANTITIES["wall_seconds"], "selfballoon+tmem", "")["selfballoon+tmem.r1"]
    assert one.of_one_cpu == pytest.approx(cycles / 2.5e9 / (wall or 0))
    assert one.cycles_per_operation == pytest.approx(cycles / 4000)
    (text,) = sections.tmem_cost(results)
    assert "% of one processor over the run, 95 % interval" in text
    assert "## What tmem cost" in report.markdown(results, (), ())


def test_without_a_frequency_there_are_cycles_and_no_seconds(tmp_path: Path) -> None:
    results = load.load(made_up.write_campaign(tmp_path, repetitions=1))
    (mean,) = [item for item in cost.tmem(results) if item.cell is None]
    assert mean.tmem_cycles
    assert (mean.seconds, mean.of_one_cpu, mean.cycles_per_operation) == (None, None, None)
    assert "cycles in tmem" in sections.tmem_cost(results)[0]


def _put(directory: Path, cell: str, guests: tuple[str, ...], *, objects: bool = True) -> None:
    """Of 1000 pages put, 400 came back, 30 were flushed one by one, 20 put again, 100 are there;
    Xen evicted 150 of all guests'.
    """
    rows = []
    counters = {"puts": 1000, "hits": 400, "gets_tried": 1500, "flushes": 30, "duplicates_replaced": 15}
    counters |= {"duplicates_flushed": 5, **({"object_flushes": 80} if objects else {})}
    for guest in guests:
        for name, value in counters.items():
            rows += [f"-3,{guest},tmem_ephemeral_{name},count,7", f"85,{guest},tmem_ephemeral_{name},count,{7 + value}"]
        rows += [f"85,{guest},tmem_ephemeral_pages,pages,100"]
        for name in ("pginodesteal", "kswapd_inodesteal"):
            rows += [f"-3,{guest},vmstat.{name},count,0", f"85,{guest},vmstat.{name},count,200"]
    rows += ["-3,hypervisor,tmem_evictions,pages,0", "85,hypervisor,tmem_evictions,pages,150"]
    path = directory / records.CELLS_DIR / cell / records.SAMPLES_FILE
    path.write_text("time_s,source,counter,unit,value\n" + "".join(f"{row}\n" for row in _in_order(rows)))


def test_what_became_of_the_pages_that_were_put(tmp_path: Path) -> None:
    directory = made_up.write_campaign(tmp_path, repetitions=1)
    _put(directory, "selfballoon+tmem.r1", made_up.GUESTS)
    results = load.load(directory)
    found = fates.fates(results)
    (mean,) = fates.summary(found, "")
    assert (
        mean.tmem_ephemeral_puts,
        mean.tmem_ephemeral_hits,
        mean.tmem_ephemeral_flushes,
        mean.replaced,
        mean.tmem_ephemeral_pages,
    ) == (3000, 1200, 90, 60, 300)
    assert (mean.tmem_evictions, mean.tmem_ephemeral_object_flushes, mean.inodes_pruned) == (150, 240, 1200)
    assert mean.with_objects == 3000 - 1200 - 90 - 60 - 300 - 150
    assert mean.missed == 3300
    assert mean.never_put == 3300 - (90 + 1200 + 150)
    text = "\n".join(sections.accounts(results))
    assert "1,200 (40 %) were flushed by the guests with their object" in text
    assert "flushed 240 objects, and their kernels pruned 1,200 inodes" in text
    assert "at least 1,860 of them asked for pages that had not been put" in text


def test_objects_that_nobody_counted_are_not_none(tmp_path: Path) -> None:
    directory = made_up.write_campaign(tmp_path, repetitions=1)
    _put(directory, "selfballoon+tmem.r1", made_up.GUESTS, objects=False)
    results = load.load(directory)
    (mean,) = fates.summary(fates.fates(results), "")
    assert mean.tmem_ephemeral_object_flushes is None
    assert "How many objects the guests flushed was not recorded." in fates.explain(results, fates.fates(results), mean)


def test_the_account_has_an_interval_and_says_whether_all_is_explained(tmp_path: Path) -> None:
    """110 % of what blocks of 94 to 120 % have cannot be told from all of it."""
    saved = {1: 1000, 2: 1000, 3: 1040, 4: 980}
    hits = {1: 118, 2: 150, 3: 140, 4: 142}

    def exact(record: CellRecord) -> CellRecord:
        tmem = record.policy.endswith("+tmem")
        metrics = [Metric("sectors_read", "sectors", 5000 - (saved[record.repetition] if tmem else 0), "guest1")]
        if tmem:
            metrics.append(Metric("tmem_ephemeral_hits", "pages", hits[record.repetition], "guest1"))
            metrics.append(Metric("tmem_persistent_hits", "pages", 0, "guest1"))
        return dataclasses.replace(record, metrics=tuple(metrics))

    results = load.load(made_up.write_campaign(tmp_path, repetitions=4, change=exact, samples=False))
    (total,) = accounting.summary(results, "")
    ratio = accounting.agreement(results, total)
    assert ratio.low is not None
    assert ratio.high is not None
    assert total.agreement == pytest.approx(ratio.estimate)
    assert ratio.low < 1 < ratio.high
    text = " ".join(accounting.explain(results, total))
    assert "pairs 94 to 120 %, 4 runs of one boot), which cannot be told from 100 %" in text
    assert "The rest may be chance." in text
    assert "A cause that is known" not in text
    assert f"({100 * ratio.low:.0f} to {100 * ratio.high:.0f} %)" in "\n".join(sections.accounts(results))


def test_with_a_missing_cell_the_tables_show_what_the_ratio_used(tmp_path: Path) -> None:
    def spoil(record: CellRecord) -> CellRecord:
        return made_up.invalid(record) if record.cell == "selfballoon.r2" else record

    results = load.load(made_up.write_campaign(tmp_path, repetitions=3, change=spoil, samples=False))
    item = next(
        each
        for each in totals.compare_all(results)
        if (each.quantity, each.policy, each.control) == ("sectors_read", "selfballoon+tmem", "selfballoon")
    )
    assert len(item.ratio.used[0]) == 2
    assert item.ratio.treatment is not None
    assert item.ratio.control is not None
    assert item.ratio.treatment / item.ratio.control == pytest.approx(item.ratio.estimate)
    mine = [
        totals.value(results, cell, totals.QUANTITIES["sectors_read"]) for cell in results.at("selfballoon+tmem", "")
    ]
    kept = [value for value, cell in zip(mine, results.at("selfballoon+tmem", ""), strict=True) if cell.repetition != 2]
    assert item.ratio.treatment == pytest.approx(((kept[0] or 0) * (kept[1] or 0)) ** 0.5)
    text = "\n".join(sections.compared(results))
    assert "2 runs of one boot; 1 complete cell has no pair" in text
    rows = report.summary_table(results)[1]
    assert "× in 2 pairs)" in rows[1][2]
    whole = load.load(made_up.write_campaign(tmp_path, repetitions=3, samples=False, name="whole"))
    assert "pairs" not in " ".join(report.summary_table(whole)[1][1])


def test_the_report_says_which_level_was_repeated(tmp_path: Path) -> None:
    runs = load.load(made_up.write_campaign(tmp_path, repetitions=5, samples=False))
    assert (
        "5 runs of one boot of each policy); neither another boot of the host nor another build"
        in sections.repetition(runs)
    )
    assert sections.repetition(runs) in report.paragraph(runs)
    boots = load.load(made_up.write_campaign(tmp_path, repetitions=6, boots=3, samples=False, name="boots"))
    assert "3 boots of 2 runs each of each policy; runs of one boot are averaged first" in sections.repetition(boots)
    assert list(boots.cells.query("policy == 'static'")["boot"]) == [1, 2, 3, 1, 2, 3]
    assert runs.cells[["boot", "run"]].isna().all(axis=None)
    one = load.load(made_up.write_campaign(tmp_path, repetitions=1, samples=False, name="one"))
    assert "there are no intervals" in sections.repetition(one)


def test_the_report_says_where_one_boot_of_the_plan_is_several_of_the_host(tmp_path: Path) -> None:
    """Boot 2's second run came after an interruption. Old records tell the frequency alone."""
    directory = made_up.write_campaign(tmp_path, repetitions=6, boots=3, samples=False)
    by_id, by_frequency = ({"boot_id": "b"}, {"boot_id": "c"}), ({"info": {"cpu_mhz": "1"}}, {"info": {"cpu_mhz": "2"}})
    for (xen, told), said in ((by_id, "booted 2 times"), (by_frequency, "booted at least 2 times")):
        for cell in records.cell_directories(directory):
            env = {"host": {"xen": told if cell.name.endswith("r5") else xen}}
            (cell / records.ENV_FILE).write_text(json.dumps(env))
        assert f"{said} for the cells of boot 2, which" in sections.repetition(load.load(directory))
    whole = {"host": {"xen": {"boot_id": "b"}}}
    for cell in records.cell_directories(directory):
        (cell / records.ENV_FILE).write_text(json.dumps(whole))
    assert "booted" not in sections.repetition(load.load(directory))


def test_wall_time_is_said_to_be_the_barriers(tmp_path: Path) -> None:
    text = report.markdown(load.load(made_up.write_campaign(tmp_path, repetitions=1, samples=False)), (), ())
    assert "Wall time is what the barrier measured" in text
    assert "until the last guest finished" not in text
