"""The barrier: guests start together, and the one that does not is named."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from campaign_fakes import FakeMachine
from plumbum import local
from ssh_fakes import fake_ssh

from campaigns import barrier, schedule
from campaigns.barrier import Part
from campaigns.records import BarrierRecord
from campaigns.schedule import Start
from common import bounded
from lab.remote.ssh import Programs

NAMES = ("guest1", "guest2", "guest3")


def _machines(tmp_path: Path) -> dict[str, Any]:
    return {name: FakeMachine(tmp_path / name) for name in NAMES}


def _run(machines: dict[str, Any], script: str, **options: Any) -> BarrierRecord:
    return barrier.run(machines, dict.fromkeys(machines, Part(script)), **options)


class _Broken(FakeMachine):
    """A guest that answers uploads, and whose barrier shell is another text."""

    def __init__(self, root: Path, shell: str, asked: str = 'echo "READY') -> None:
        super().__init__(root)
        self.shell, self.asked = shell, asked

    def here(self, text: str) -> str:
        return super().here(self.shell if self.asked in text else text)


def test_guests_start_together_and_their_times_are_kept(tmp_path: Path) -> None:
    order: list[str] = []
    started = time.time()
    record = _run(
        _machines(tmp_path),
        f"sleep 0.3\ncat > {barrier.DIRECTORY}/raw/input\n",
        ready_s=20,
        run_s=20,
        before_release=lambda: order.append("ready"),
    )
    assert order == ["ready"]
    assert started <= record.released_at <= time.time()
    assert record.starts.keys() == record.ends.keys() == set(NAMES)
    assert min(record.releases.values()) == 0
    assert record.skew_seconds == max(record.releases.values()) < 1
    assert all(record.starts[name] >= record.releases[name] for name in NAMES)
    assert all(0.3 <= record.ends[name] - record.starts[name] < 5 for name in NAMES)
    assert (tmp_path / "guest1" / "raw" / "input").read_text() == ""  # the script's input is empty, not the barrier's


def test_the_barrier_survives_the_quoting_of_ssh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(barrier, "DIRECTORY", str(tmp_path / "run"))
    script = f"""echo 'single' "double $((1 + 1))" `echo back` \\$ '*' ümlaut > {tmp_path}/said\n"""
    with local.env(PATH=f"{fake_ssh(tmp_path)}:{os.environ['PATH']}"):
        machine = Programs("guest1", tmp_path / "ssh_config")
        record = _run({"guest1": machine}, script, ready_s=20, run_s=20)
        assert (tmp_path / "said").read_text() == "single double 2 back $ * ümlaut\n"
        assert record.skew_seconds == 0
        with pytest.raises(barrier.ScriptError, match="guest1 ended with status 4") as caught:
            _run({"guest1": machine}, 'echo "it\'s over"; exit 4\n', ready_s=20, run_s=20)
    assert caught.value.why == "it's over"
    # each costs an emulated guest a part of a second: the scripts, and the shell that runs them
    assert len((tmp_path / "sessions").read_text().splitlines()) == 4


def test_a_script_that_fails_is_told_with_its_guest_and_last_words(tmp_path: Path) -> None:
    script = f"case {barrier.DIRECTORY} in *guest2) echo 'no \"luck\" here' >&2; exit 3;; esac\nsleep 20\n"
    started = time.monotonic()
    with pytest.raises(barrier.ScriptError, match="guest2 ended with status 3") as caught:
        _run(_machines(tmp_path), script, ready_s=20, run_s=50)
    assert caught.value.guest == "guest2"
    assert 'no "luck" here' in caught.value.why
    assert time.monotonic() - started < 15  # the others are not waited for


def test_a_script_that_takes_too_long_is_ended_and_named(tmp_path: Path) -> None:
    script = f"case {barrier.DIRECTORY} in *guest3) sleep 20;; esac\n"
    with pytest.raises(barrier.RunTimeoutError, match="guest3 did not end within 1 s") as caught:
        _run(_machines(tmp_path), script, ready_s=20, run_s=1)
    assert "timeouts.run" in caught.value.remedy


@pytest.mark.parametrize(
    ("shell", "error", "expected"),
    [
        ("exit 7", barrier.GuestLostError, "guest2 was lost before it said READY"),
        ("echo 'Connection reset' >&2; exit 255", barrier.GuestLostError, "Connection reset"),
        ("sleep 30", barrier.NotReadyError, "guest2 did not get ready within 1 s"),
        ("echo READY 1; exit 0", barrier.GuestLostError, "guest2 was lost"),
        (
            "echo READY 1; read -r line; echo GO 2; kill -9 $$",
            barrier.GuestLostError,
            "guest2 was lost before it said DONE",
        ),
        ("echo READY soon; sleep 30", barrier.GuestLostError, "guest2 said what no barrier says"),
        ("echo READY 1; read -r line; echo GO 2; echo DONE  0; sleep 30", barrier.GuestLostError, "no barrier says"),
        ("echo READY 1; echo DONE 2 0; sleep 30", barrier.GuestLostError, "guest2 said what no barrier says"),
        ("echo READY 1; read -r line; echo GO 2; echo DONE 3 0; sleep 30", barrier.GuestLostError, "no barrier says"),
        (
            "echo READY 1; read -r line; echo GO 5; echo START 6; echo DONE 4 0; sleep 30",
            barrier.GuestLostError,
            "no barrier says",
        ),
        ("echo READY 1; read -r line; echo GO 2; echo GO 3; sleep 30", barrier.GuestLostError, "no barrier says"),
        ("echo READY ²; sleep 30", barrier.GuestLostError, "guest2 said what no barrier says"),
        (
            "while :; do echo SAID more; done",
            barrier.GuestLostError,
            "guest2 said more at the barrier than is listened",
        ),
        ("exec tr '\\0' x < /dev/zero", barrier.GuestLostError, "said what no barrier says"),
        ("echo READY 1; read -r line; echo GO 2; exec yes", barrier.GuestLostError, "said what no barrier says"),
        (
            "tr '\\0' x < /dev/zero | head -c 9000000 >&2; exit 9",
            barrier.GuestLostError,
            "was lost before it said READY",
        ),
    ],
)
def test_a_guest_that_dies_or_stalls_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shell: str, error: type[Exception], expected: str
) -> None:
    machines = {**_machines(tmp_path), "guest2": _Broken(tmp_path / "guest2", shell)}
    monkeypatch.setattr(barrier, "OVERDUE_S", 0.5)
    with pytest.raises(error) as caught:
        _run(machines, "true\n", ready_s=1 if "sleep" in shell else 20, run_s=5)
    assert expected in str(caught.value)


def test_what_a_lost_guest_complained_of_is_short(tmp_path: Path) -> None:
    shell = "tr '\\0' x < /dev/zero | head -c 9000000 >&2; echo it is over >&2; exit 9"
    machines = {**_machines(tmp_path), "guest2": _Broken(tmp_path / "guest2", shell)}
    with pytest.raises(barrier.GuestLostError) as caught:
        _run(machines, "true\n", ready_s=20, run_s=5)
    assert caught.value.why.endswith("it is over")
    assert len(caught.value.why) < 10_000


def test_a_load_that_fails_with_one_long_line_has_failed(tmp_path: Path) -> None:
    script = "tr '\\0' x < /dev/zero | head -c 9000000; echo; echo no luck; exit 3\n"
    with pytest.raises(barrier.ScriptError, match="ended with status 3") as caught:
        _run(_machines(tmp_path), script, ready_s=20, run_s=50)
    assert caught.value.why.endswith("no luck")
    assert len(caught.value.why) < 10_000


def test_a_guest_that_answers_its_script_with_more_and_more_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bounded, "MOST_SAID", 1 << 20)
    machines = {**_machines(tmp_path), "guest2": _Broken(tmp_path / "guest2", "yes", asked="mkdir")}
    with pytest.raises(barrier.GuestLostError, match="could not be given its script") as caught:
        _run(machines, "true\n", ready_s=60, run_s=5)
    assert "1 MiB are read" in caught.value.why


def test_a_guest_that_cannot_be_reached_is_named(tmp_path: Path) -> None:
    (tmp_path / "guest2").write_text("a file where a folder should be")
    with pytest.raises(barrier.GuestLostError, match="could not be given its script"):
        _run(_machines(tmp_path), "true\n", ready_s=20, run_s=5)


def test_an_interruption_at_the_barrier_ends_every_shell(tmp_path: Path) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    pids = f"echo $$ > {barrier.DIRECTORY}/pid\nsleep 20\n"
    with pytest.raises(KeyboardInterrupt):
        _run(_machines(tmp_path), pids, ready_s=20, run_s=50, before_release=interrupt)
    assert not (tmp_path / "guest1" / "pid").exists()  # never released


def test_parallel_work_reports_the_first_error_by_guest_and_the_late(tmp_path: Path) -> None:
    def work(name: str, _machine: Any) -> str:
        if name == "guest1":
            time.sleep(0.2)
            raise ValueError("one")
        if name == "guest2":
            raise ValueError("two")
        return name

    with pytest.raises(ValueError, match="one"):
        barrier.in_parallel(_machines(tmp_path), work, limit_s=20)
    with pytest.raises(barrier.RunTimeoutError, match="guest1, guest2, guest3 did not finish within 0 s"):
        barrier.in_parallel(_machines(tmp_path), lambda _n, _m: time.sleep(5), limit_s=0.1)
    assert barrier.in_parallel(_machines(tmp_path), lambda name, _m: name, limit_s=20) == {name: name for name in NAMES}


def test_results_are_in_the_order_of_the_guests_whichever_ended_first(tmp_path: Path) -> None:
    """On a busy machine the metrics of a cell came in another order each time."""
    last = threading.Event()

    def work(name: str, _machine: Any) -> str:
        if name == "guest3":
            last.set()
        else:
            assert last.wait(60)
        return name

    assert list(barrier.in_parallel(_machines(tmp_path), work, limit_s=60)) == list(NAMES)


def test_a_load_starts_its_time_after_the_release_and_the_policy_at_the_release(tmp_path: Path) -> None:
    machines = _machines(tmp_path)
    release = f"date +%s%N > {barrier.DIRECTORY}/released\n"
    parts = {name: Part("sleep 0.2\n", release, start=Start(0.7 * number)) for number, name in enumerate(NAMES)}
    record = barrier.run(machines, parts, ready_s=20, run_s=20)
    for number, name in enumerate(NAMES):
        assert record.starts[name] - record.releases[name] >= 0.7 * number
        assert record.ends[name] - record.starts[name] >= 0.2
        took_effect = int((tmp_path / name / "released").read_text()) / 1e9 - record.released_at
        assert record.releases[name] <= took_effect <= record.starts[name]
    assert record.skew_seconds == max(record.releases.values()) < record.starts["guest3"]  # released together


def test_the_limit_of_a_load_counts_from_its_own_start(tmp_path: Path) -> None:
    parts = dict.fromkeys(NAMES, Part("sleep 0.1\n")) | {"guest3": Part("sleep 0.1\n", start=Start(5.5))}
    assert barrier.run(_machines(tmp_path), parts, ready_s=20, run_s=5).ends["guest3"] > 5.5
    parts["guest3"] = Part("sleep 60\n", start=Start(1.5))
    with pytest.raises(barrier.RunTimeoutError, match="guest3 did not end within 5 s"):
        barrier.run(_machines(tmp_path), parts, ready_s=20, run_s=5)


def test_a_load_starts_when_those_that_it_waits_for_have_ended(tmp_path: Path) -> None:
    working: list[list[str]] = []
    parts = {
        "guest1": Part("sleep 0.8\n"),
        "guest2": Part("sleep 0.4\n", start=Start(0.1, ["guest1", "guest3"])),
        "guest3": Part("sleep 0.2\n"),
    }
    record = barrier.run(_machines(tmp_path), parts, ready_s=20, run_s=20, watch=working.append, watch_s=0.1)
    assert record.releases["guest2"] < record.ends["guest1"]
    assert record.starts["guest2"] >= max(record.ends["guest1"], record.ends["guest3"]) + 0.1
    assert ["guest2"] in working
    assert not any({"guest1", "guest2"} <= set(names) for names in working)  # who waits is not at work
    with pytest.raises(ValueError, match="guest1, guest2 wait for one another"):
        schedule.ends({"guest1": Start(after=["guest2"]), "guest2": Start(after=["guest1"])}, dict.fromkeys(NAMES, 1))


def test_a_policy_that_does_not_take_effect_ends_the_run_before_the_load(tmp_path: Path) -> None:
    parts = dict.fromkeys(NAMES, Part(f"touch {barrier.DIRECTORY}/ran\n", "echo refused >&2; exit 96\n", Start(0.1)))
    with pytest.raises(barrier.ScriptError, match="ended with status 96") as caught:
        barrier.run(_machines(tmp_path), parts, ready_s=20, run_s=20)
    assert caught.value.why == "refused"
    assert not list(tmp_path.glob("*/ran"))


def test_logs_from_before_starts_were_told_are_read_as_they_were() -> None:
    record = barrier.read_log(["guest1 GO 1000000000", "guest1 DONE 3000000000"])
    assert record == BarrierRecord(0.0, 1.0, {"guest1": 0.0}, {"guest1": 2.0})
