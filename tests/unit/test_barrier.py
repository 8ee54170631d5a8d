"""The barrier: guests start together, and the one that does not is named."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import pytest
from campaign_fakes import FakeMachine

from campaigns import barrier

NAMES = ("guest1", "guest2", "guest3")


def _machines(tmp_path: Path) -> dict[str, Any]:
    return {name: FakeMachine(tmp_path / name) for name in NAMES}


class _Broken(FakeMachine):
    """A guest that answers uploads, and whose barrier shell is another text."""

    def __init__(self, root: Path, shell: str) -> None:
        super().__init__(root)
        self.shell = shell

    def here(self, text: str) -> str:
        return super().here(self.shell if 'echo "READY' in text else text)


def test_guests_start_together_and_their_times_are_kept(tmp_path: Path) -> None:
    order: list[str] = []
    started = time.time()
    record = barrier.run(
        _machines(tmp_path),
        f"sleep 0.3\ncat > {barrier.DIRECTORY}/raw/input\n",
        ready_s=20,
        run_s=20,
        before_release=lambda: order.append("ready"),
    )
    assert order == ["ready"]
    assert started <= record.released_at <= time.time()
    assert record.starts.keys() == record.ends.keys() == set(NAMES)
    assert min(record.starts.values()) == 0
    assert record.skew_seconds == max(record.starts.values()) < 1
    assert all(0.3 <= record.ends[name] - record.starts[name] < 5 for name in NAMES)
    assert (tmp_path / "guest1" / "raw" / "input").read_text() == ""  # the script's input is empty, not the barrier's


FAKE_SSH = """\
#!/bin/sh
# As ssh and sshd do it: options and the host's name go, the rest is joined by spaces and read again by a shell.
while [ $# -gt 0 ]; do
    case $1 in -[BbcDEeFIiJLlmOopQRSWw]) shift 2;; -*) shift;; *) break;; esac
done
shift
if [ $# -eq 0 ]; then exec sh; else exec sh -c "$*"; fi
"""


def test_the_barrier_survives_the_quoting_of_ssh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from plumbum import SshMachine, local

    ssh = tmp_path / "ssh"
    ssh.write_text(FAKE_SSH)
    ssh.chmod(0o755)
    monkeypatch.setattr(barrier, "DIRECTORY", str(tmp_path / "run"))
    script = f"""echo 'single' "double $((1 + 1))" `echo back` \\$ '*' > {tmp_path}/said\n"""
    with SshMachine("guest1", ssh_command=local[str(ssh)]) as machine:
        record = barrier.run({"guest1": machine}, script, ready_s=20, run_s=20)
        assert (tmp_path / "said").read_text() == "single double 2 back $ *\n"
        assert record.skew_seconds == 0
        with pytest.raises(barrier.ScriptError, match="guest1 ended with status 4") as caught:
            barrier.run({"guest1": machine}, 'echo "it\'s over"; exit 4\n', ready_s=20, run_s=20)
    assert caught.value.why == "it's over"


def test_a_script_that_fails_is_told_with_its_guest_and_last_words(tmp_path: Path) -> None:
    script = f"case {barrier.DIRECTORY} in *guest2) echo 'no \"luck\" here' >&2; exit 3;; esac\nsleep 20\n"
    started = time.monotonic()
    with pytest.raises(barrier.ScriptError, match="guest2 ended with status 3") as caught:
        barrier.run(_machines(tmp_path), script, ready_s=20, run_s=50)
    assert caught.value.guest == "guest2"
    assert 'no "luck" here' in caught.value.why
    assert time.monotonic() - started < 15  # the others are not waited for


def test_a_script_that_takes_too_long_is_ended_and_named(tmp_path: Path) -> None:
    script = f"case {barrier.DIRECTORY} in *guest3) sleep 20;; esac\n"
    with pytest.raises(barrier.RunTimeoutError, match="guest3 did not end within 1 s") as caught:
        barrier.run(_machines(tmp_path), script, ready_s=20, run_s=1)
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
    ],
)
def test_a_guest_that_dies_or_stalls_is_named(
    tmp_path: Path, shell: str, error: type[Exception], expected: str
) -> None:
    machines = {**_machines(tmp_path), "guest2": _Broken(tmp_path / "guest2", shell)}
    with pytest.raises(error) as caught:
        barrier.run(machines, "true\n", ready_s=1 if "sleep" in shell else 20, run_s=5)
    assert expected in str(caught.value)


def test_a_guest_that_cannot_be_reached_is_named(tmp_path: Path) -> None:
    (tmp_path / "guest2").write_text("a file where a folder should be")
    with pytest.raises(barrier.GuestLostError, match="could not be given its script"):
        barrier.run(_machines(tmp_path), "true\n", ready_s=20, run_s=5)


def test_an_interruption_at_the_barrier_ends_every_shell(tmp_path: Path) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    pids = f"echo $$ > {barrier.DIRECTORY}/pid\nsleep 20\n"
    with pytest.raises(KeyboardInterrupt):
        barrier.run(_machines(tmp_path), pids, ready_s=20, run_s=50, before_release=interrupt)
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
