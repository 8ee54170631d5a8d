"""Campaigns on several hosts at once: who gets which cell, and what is left when a host is lost."""

from __future__ import annotations

import multiprocessing
import signal
import subprocess
import sys
import textwrap
import time
from collections import Counter
from pathlib import Path

import pytest
from campaign_fakes import EXPERIMENT, FakePlace, find, leftovers, write_experiment

from campaigns import launch, sharing
from campaigns.crew import Joined
from campaigns.experiment import Experiment
from campaigns.hands import Hand, Hands
from campaigns.records import CellRecord, PlannedCell
from campaigns.run import Outcome, run_with
from campaigns.sharing import Shares, share_of
from campaigns.verify import verify
from common.errors import LabError
from workloads import registry

SMALL = EXPERIMENT.replace("count: 3", "count: 2").replace("480", "320")
HOSTS = ("xen1", "xen2")


@pytest.fixture(autouse=True)
def _fake_load(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry._CLASSES, "fake", "campaign_fakes:FakeLoad")


@pytest.fixture(autouse=True)
def _quick_children(monkeypatch: pytest.MonkeyPatch) -> None:
    """Children are copies of one that has imported everything: that takes each of them a second of
    a processor. Those of a controller with a process of its own begin with an interpreter.
    """
    quick = multiprocessing.get_context("forkserver")
    quick.set_forkserver_preload(["campaigns.hands", "campaigns.run"])
    monkeypatch.setattr(multiprocessing, "get_context", lambda _method: quick)


@pytest.fixture
def wanted(tmp_path: Path) -> Experiment:
    return write_experiment(tmp_path, SMALL)


def places(tmp_path: Path, **unlike: dict[str, object]) -> list[FakePlace]:
    for each in tmp_path.glob("*.open"):
        each.unlink()
    return [FakePlace(tmp_path, name, beside=HOSTS, **unlike.get(name, {})) for name in HOSTS]  # type: ignore[arg-type]


def together(wanted: Experiment, tmp_path: Path, said: list[str] | None = None, **unlike: dict[str, object]) -> Outcome:
    """The campaign on both hosts."""
    with Hands(places(tmp_path, **unlike)) as hands:
        return run_with(
            wanted,
            hands,
            lab="both",
            hosts=HOSTS,
            results=tmp_path / "results",
            tell=(said if said is not None else []).append,
        )


def by_share(cells: dict[str, CellRecord], planned: tuple[PlannedCell, ...]) -> dict[sharing.Key, set[str]]:
    """Share -> the hosts that its cells ran on."""
    found: dict[sharing.Key, set[str]] = {}
    for each in planned:
        if each.cell in cells:
            found.setdefault(share_of(each), set()).add(cells[each.cell].host)
    return found


def test_a_child_that_was_told_to_end_closes_its_host_whatever_interrupts_it(tmp_path: Path) -> None:
    hand = Hand(FakePlace(tmp_path, "xen1", closing_s=0.5))
    while not isinstance(hand.hear(), Joined):
        pass
    hand.send(None)
    deadline = time.monotonic() + 60
    while not (tmp_path / "xen1.closing").exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    hand.interrupt()
    hand.end(time.monotonic() + 60)
    assert (tmp_path / "xen1.closed").exists()
    assert not (tmp_path / "xen1.recovered").exists()


def test_two_hosts_run_the_cells_of_one_campaign_at_once_and_pairs_stay_together(
    wanted: Experiment, tmp_path: Path
) -> None:
    slow = {"delay_s": 0.5}
    outcome = together(wanted, tmp_path, xen1=slow, xen2=slow)
    outcome.check()
    stored = find(tmp_path / "results")
    cells = stored.cells()
    assert Counter(cell.host for cell in cells.values()) == {"xen1": 3, "xen2": 3}
    assert all(len(hosts) == 1 for hosts in by_share(cells, stored.record().cells).values())
    spans = {
        name: (
            min(c.started_at for c in cells.values() if c.host == name),
            max(c.finished_at for c in cells.values() if c.host == name),
        )
        for name in HOSTS
    }
    assert spans["xen1"][0] < spans["xen2"][1]
    assert spans["xen2"][0] < spans["xen1"][1], "they worked at the same time"
    assert leftovers(tmp_path / "results") == []
    assert all((tmp_path / f"{name}.closed").exists() for name in HOSTS)
    verify(stored.directory).check()


@pytest.mark.parametrize("step", ["reset", "prepare", "counters", "provenance"])
def test_a_host_that_is_killed_gives_its_cell_back_and_the_campaign_goes_on(
    wanted: Experiment, tmp_path: Path, step: str
) -> None:
    said: list[str] = []
    outcome = together(wanted, tmp_path, said, xen2={"kill": (step, 2)})
    outcome.check()
    stored = find(tmp_path / "results")
    assert stored.attempts() == {}, "a cell that is given back is no failed one"
    assert Counter(cell.host for cell in stored.cells().values())["xen1"] >= 4
    assert leftovers(tmp_path / "results") == []
    assert (tmp_path / "xen2.recovered").exists()
    assert any("xen2 is lost, and another host gets its cell" in text and "SIGKILL" in text for text in said)
    verify(stored.directory).check()


def test_when_all_hosts_are_lost_the_next_run_goes_on(wanted: Experiment, tmp_path: Path) -> None:
    with pytest.raises(LabError, match="no host is left") as caught:
        together(wanted, tmp_path, xen1={"kill": ("reset", 2)}, xen2={"kill": ("reset", 2)})
    assert "xen2: its process ended by signal SIGKILL" in caught.value.why
    before = find(tmp_path / "results").cells()
    assert len(before) == 2
    together(wanted, tmp_path).check()
    after = find(tmp_path / "results")
    assert {name: after.cells()[name] for name in before} == before
    assert all(len(hosts) == 1 for hosts in by_share(after.cells(), after.record().cells).values()), "each goes on"


def test_a_host_that_cannot_be_reset_is_done_without(wanted: Experiment, tmp_path: Path) -> None:
    said: list[str] = []
    together(wanted, tmp_path, said, xen2={"failing": "reset"}, xen1={"delay_s": 0.3}).check()
    stored = find(tmp_path / "results")
    assert {cell.host for cell in stored.cells().values()} == {"xen1"}
    failed = [attempt for attempts in stored.attempts().values() for attempt in attempts]
    assert {attempt.host for attempt in failed} == {"xen2"}
    assert any("goes on without it: no reset on xen2" in text for text in said)
    verify(stored.directory).check()


def test_a_host_that_is_made_otherwise_is_not_used(wanted: Experiment, tmp_path: Path) -> None:
    said: list[str] = []
    together(
        wanted, tmp_path, said, xen1={"basis": {"accelerator": "tcg"}}, xen2={"basis": {"accelerator": "kvm"}}
    ).check()
    assert len({cell.host for cell in find(tmp_path / "results").cells().values()}) == 1
    (text,) = [text for text in said if "is not used" in text]
    assert "accelerator is, on xen" in text
    assert "kvm" in text
    assert "tcg" in text


def test_a_defect_in_a_cell_is_raised_here_with_its_traceback(wanted: Experiment, tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError) as caught:
        together(wanted, tmp_path, xen1={"defect": "policy"}, xen2={"defect": "policy"})
    assert "in set_memory" in "".join(caught.value.__notes__)
    assert leftovers(tmp_path / "results") == []
    assert find(tmp_path / "results").attempts() == {}


CONTROLLER = """
import sys
sys.path[:0] = [{root!r}, {tests!r}]
from pathlib import Path
from campaign_fakes import FakePlace, write_experiment
from campaigns.crew import Joined
from campaigns.experiment import Experiment
from campaigns.hands import Hand, Hands
from campaigns.run import run_with
from workloads import registry
if __name__ == "__main__":
    registry._CLASSES["fake"] = "campaign_fakes:FakeLoad"
    base = Path({base!r})
    wanted = write_experiment(base, {text!r})
    names = ("xen1", "xen2")
    with Hands([FakePlace(base, name, beside=names) for name in names]) as hands:
        run_with(wanted, hands, hosts=names, results=base / "results")
"""


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_when_the_controller_ends_its_hosts_end_in_order(tmp_path: Path, how: signal.Signals) -> None:
    text = SMALL.replace("{size: 3}", "{size: 3, script: 'touch " + str(tmp_path) + "/began; exec sleep 60'}")
    tests = Path(__file__).resolve().parent
    script = tmp_path / "controller.py"
    script.write_text(
        textwrap.dedent(CONTROLLER).format(root=str(tests.parents[1]), tests=str(tests), base=str(tmp_path), text=text)
    )
    controller = subprocess.Popen([sys.executable, str(script)], stderr=subprocess.PIPE)
    _until(tmp_path / "began")
    controller.send_signal(how)
    controller.communicate(timeout=120)
    for name in HOSTS:
        _until(tmp_path / f"{name}.closed")
    _until_no(tmp_path / "results")
    stored = find(tmp_path / "results")
    assert (stored.cells(), stored.attempts()) == ({}, {})


def _until(path: Path) -> None:
    deadline = time.monotonic() + 120
    while not path.exists():
        assert time.monotonic() < deadline, path
        time.sleep(0.05)


def _until_no(results: Path) -> None:
    """Until what is left is the killed controller's own, if anything."""
    deadline = time.monotonic() + 120
    while [each for each in leftovers(results) if not each.endswith("live.json")]:
        assert time.monotonic() < deadline, leftovers(results)
        time.sleep(0.05)


# --- who gets which cell


def cells(shares: int, policies: int = 2) -> list[PlannedCell]:
    return [
        PlannedCell(f"p{place}.r{block + 1}", f"p{place}", {}, block + 1, block, block * policies + place, 1.0)
        for block in range(shares)
        for place in range(policies)
    ]


def test_a_share_is_one_hosts_in_the_order_of_the_plan() -> None:
    shares = Shares(cells(3))
    first, second = shares.next("a", ["b"]), shares.next("b", ["a"])
    assert first is not None
    assert second is not None
    assert (first.cell, second.cell) == ("p0.r1", "p0.r2")
    shares.end("p0.r1")
    after = shares.next("a", ["b"])
    assert after is not None
    assert after.cell == "p1.r1", "not a new share"


def test_what_a_host_has_begun_waits_for_it_while_it_is_there() -> None:
    shares = Shares(cells(1))
    assert shares.next("a", ["b"]) is not None
    assert shares.next("b", ["a"]) is None
    assert shares.lose("a") == "p0.r1"
    again = shares.next("b", [])
    assert again is not None
    assert again.cell == "p0.r1"


def test_a_share_that_was_begun_before_an_interruption_goes_to_its_host() -> None:
    planned = cells(2)
    owners = sharing.begun(planned, {"p0.r1": "b"})
    shares = Shares(planned[1:], owners)
    for_a, for_b = shares.next("a", ["b"]), shares.next("b", ["a"])
    assert for_a is not None
    assert for_b is not None
    assert (for_a.cell, for_b.cell) == ("p0.r2", "p1.r1")
    alone = Shares(planned[1:], sharing.begun(planned, {"p0.r1": "b"})).next("a", [])
    assert alone is not None
    assert alone.cell == "p1.r1", "its host is not there any more"


def test_a_cell_that_no_host_can_begin_ends() -> None:
    shares = Shares(cells(1, 1))
    assert shares.next("a", ["b"]) is not None
    assert shares.refuse("p0.r1", ["a", "b"])
    assert shares.next("a", ["b"]) is None
    assert shares.next("b", ["a"]) is not None
    assert not shares.refuse("p0.r1", ["a", "b"])
    assert shares.left == []


def test_with_repeated_boots_a_share_is_a_boot() -> None:
    runs = [
        PlannedCell(f"p.r{n}", "p", {}, n, n - 1, n - 1, 1.0, boot=(n + 1) // 2, run=2 - n % 2) for n in (1, 2, 3, 4)
    ]
    assert len({share_of(cell) for cell in runs}) == 2


def test_one_cell_goes_to_the_host_that_ran_those_that_it_is_compared_with(wanted: Experiment, tmp_path: Path) -> None:
    with pytest.raises(LabError):
        together(wanted, tmp_path, xen1={"kill": ("reset", 2)}, xen2={"kill": ("reset", 2)})
    stored = find(tmp_path / "results")
    ran = {name: cell.host for name, cell in stored.cells().items()}
    owners = sharing.begun(stored.record().cells, ran)
    request = launch.Request(wanted, tmp_path / "both.yml", None, None, None)
    for planned in stored.record().cells:
        found = launch._host_of(request, planned.cell, HOSTS, tmp_path / "results")
        assert found == owners[share_of(planned)]
    assert set(owners.values()) == set(HOSTS)
