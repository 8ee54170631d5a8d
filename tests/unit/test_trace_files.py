"""Traces: what tmemctl writes is read, and a file that is not whole is none."""

from __future__ import annotations

import errno
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from invoke.context import Context
from made_traces import INCLUDES, TMEM, Made, build_tmemctl

from analysis import trace
from analysis.trace import Gap, Kind
from common.errors import LabError, ResultsError, UsageError
from lab import lifecycle
from lab.remote import traces
from lab.remote.ssh import Connections
from lab.remote.traces import SUFFIX, Recording
from tasks import lab as lab_tasks

CONTROL = (TMEM / "xen/files/include/public/tmem_control.h").read_text()
SUBOPS = {int(number): name for name, number in re.findall(r"#define TMEM_CONTROL_TRACE_(\w+)\s+(\d+)", CONTROL)}
ROWS = [(1, 1, 0x50, 1), (4, 1, 0x50, 1), (13, 2, 0x61, 9)]


@pytest.fixture(scope="module")
def tmemctl(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tmemctl(tmp_path_factory.mktemp("tmemctl"))


@pytest.fixture
def xen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What the made-up Xen was asked."""
    monkeypatch.setenv("TMEM_LOG", str(tmp_path / "asked"))
    monkeypatch.setenv("TMEM_RECORDS", "5000")
    return tmp_path / "asked"


def asked(log: Path) -> list[str]:
    """What it was asked about traces, without repetitions."""
    names = [SUBOPS[int(line)] for line in log.read_text().split() if int(line) in SUBOPS]
    return [name for at, name in enumerate(names) if not at or names[at - 1] != name]


# --- the format -----------------------------------------------------------------------------------


def test_a_trace_is_read_with_what_it_lost_and_where(tmp_path: Path) -> None:
    made = Made().begin().add(ROWS).add([]).add(ROWS[:1], lost=7).add(ROWS[1:], lost=2).end()
    found = trace.load(made.write(tmp_path / "some.trace.zst"))
    assert found.gaps == (Gap(3, 7), Gap(4, 2))
    assert found.lost == 9
    assert [int(kind) for kind in found.records["kind"]] == [1, 4, 13, 1, 4, 13]
    assert found.count(Kind.HIT) == 2
    assert (found.before["clients"][0]["Ge"], found.after["clients"][0]["Ge"]) == (10, 13)
    assert found.realtime_ns == 1_700_000_000 * 10**9


def test_its_table_has_names_and_seconds(tmp_path: Path) -> None:
    made = Made().begin().add([(1, 1, 0x53, 1)]).end()
    found = trace.load(made.write(tmp_path / "some.trace.zst"))
    times = found.records.copy()
    times["time"] = 960
    table = trace.Trace(times, (), 0, found.uptime_ns, found.before, found.after).table()
    row = table.iloc[0]
    assert (row["domain"], row["pool"], row["kind"], row["object"], row["index"]) == (1, 3, "put", 5, 1)
    assert row["seconds"] == pytest.approx(60 * 2**24 / 1e9)


def test_a_trace_of_nothing_is_whole(tmp_path: Path) -> None:
    assert len(trace.load(Made().begin().end().write(tmp_path / "none.trace.zst")).records) == 0


def test_a_file_that_is_cut_short_is_none() -> None:
    """Wherever it ends."""
    made = Made().begin().add(ROWS).end()
    assert len(trace.parse(made.data, "here").records) == 3
    for length in range(len(made.data)):
        with pytest.raises(ResultsError, match="damaged"):
            trace.parse(made.data[:length], "here")


DAMAGES: dict[str, Callable[[], Made]] = {
    "no magic": lambda: Made().begin(magic=b"SOMETHNG").add(ROWS).end(),
    "records with a gap that nobody tells": lambda: Made().begin().add(ROWS).block(1, b"", 9, 0).end(),
    "half a record": lambda: Made().begin().block(1, b"x" * 25, 1, 0).end(),
    "an unknown block": lambda: Made().begin().block(9, b"", 1, 0).end(),
    "an unknown kind": lambda: Made().begin().add([(14, 1, 0, 0)]).end(),
    "a kind of nothing": lambda: Made().begin().add([(0, 1, 0, 0)]).end(),
    "one reading of counters": lambda: Made().begin().add(ROWS).block(3, b"", 4, 0),
    "counters that are none": lambda: Made().begin().block(2, b"[]", 1, 0).block(3, b"", 1, 0),
    "counters that are no JSON": lambda: Made().begin().block(2, b"{", 1, 0).block(3, b"", 1, 0),
    "an end of other records": lambda: Made().begin().add(ROWS).counters().block(3, b"", 3, 0),
    "an end that lost others": lambda: Made().begin().add(ROWS).counters().block(3, b"", 4, 1),
    "something after the end": lambda: Made().begin().end().counters(),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_told(damage: str) -> None:
    with pytest.raises(ResultsError, match="damaged"):
        trace.parse(DAMAGES[damage]().data, "here")


def test_a_record_with_anothers_number_is_damage() -> None:
    made = Made().begin().add(ROWS)
    at = made.blocks[-1] + 32 + 24
    data = made.end().data
    assert len(trace.parse(data, "here").records) == 3
    with pytest.raises(ResultsError, match="do not have their numbers"):
        trace.parse(data[:at] + b"\x07" + data[at + 1 :], "here")


@pytest.mark.parametrize("other", [{"version": 2}, {"record_bytes": 32}])
def test_another_version_is_told(other: dict[str, int]) -> None:
    with pytest.raises(ResultsError, match="another version"):
        trace.parse(Made().begin(**other).end().data, "here")


def test_what_is_not_packed_is_no_trace(tmp_path: Path) -> None:
    path = tmp_path / "plain.trace.zst"
    path.write_bytes(Made().begin().end().data)
    with pytest.raises(ResultsError, match="cannot be read"):
        trace.load(path)
    with pytest.raises(ResultsError, match="cannot be read"):
        trace.load(tmp_path / "none")


def test_kinds_are_those_of_the_hypervisor() -> None:
    kinds = dict(re.findall(r"#define TMEM_TRACE_([A-Z_]+)\s+(\d+)(?: /\*.*)?$", CONTROL, re.MULTILINE))
    assert {name: int(number) for name, number in kinds.items()} == {kind.name: kind.value for kind in Kind}
    assert trace.RECORD.itemsize == 24
    assert "in 2^24 ns" in CONTROL
    assert trace.CLOCK_NS == 2**24


# --- tmemctl trace --------------------------------------------------------------------------------


def test_tmemctl_writes_what_is_read(tmemctl: Path, xen: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [tmemctl, "trace", tmp_path / "plain", "--seconds", "1"], capture_output=True, text=True, check=True
    )
    assert done.stderr == "tmemctl: 5000 records, 0 lost\n"
    found = trace.parse((tmp_path / "plain").read_bytes(), "here")
    numbers = np.arange(1, 5001)
    assert np.array_equal(found.records["object"], numbers << 4 | 3)
    assert np.array_equal(found.records["kind"], 1 + numbers % 13)
    assert found.gaps == ()
    assert found.uptime_ns == 900 << 24
    assert abs(found.realtime_ns / 1e9 - time.time()) < 60
    # hits grow by one at each reading of counters
    assert (found.before["clients"][0]["Ge"], found.after["clients"][0]["Ge"]) == (10, 11)
    assert asked(xen) == ["BEGIN", "READ", "END", "READ", "FREE"]


def test_what_xen_has_overwritten_is_in_the_file(
    tmemctl: Path, xen: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMEM_LOST", "321")
    done = subprocess.run(
        [tmemctl, "trace", "-", "--until-input-ends"], stdin=subprocess.DEVNULL, capture_output=True, check=True
    )
    assert done.stderr == b"tmemctl: 4679 records, 321 lost\n"
    found = trace.parse(done.stdout, "here")
    assert found.gaps == (Gap(1500, 321),)
    assert int(found.records["number"][1500]) == 1822


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupted_trace_is_whole_and_ends_in_xen(
    tmemctl: Path, xen: Path, tmp_path: Path, number: signal.Signals
) -> None:
    process = subprocess.Popen([tmemctl, "trace", tmp_path / "plain"], stderr=subprocess.PIPE)
    while not xen.exists() or "READ" not in asked(xen):
        time.sleep(0.02)
    process.send_signal(number)
    assert process.wait(20) == 0
    assert len(trace.parse((tmp_path / "plain").read_bytes(), "here").records) == 5000
    assert asked(xen)[-1] == "FREE"


def test_a_trace_that_cannot_be_written_ends_in_xen(tmemctl: Path, xen: Path) -> None:
    done = subprocess.run(
        [tmemctl, "trace", "/dev/full", "--seconds", "5"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "writing the trace: No space left on device" in done.stderr
    assert asked(xen)[-1] == "FREE"


REFUSALS = {
    errno.EBUSY: (1, "somebody traces already; `tmemctl trace-off` ends"),
    errno.ENODEV: (3, "tmem is off"),
    errno.EPERM: (1, "only the control domain may"),
}


@pytest.mark.parametrize("number", REFUSALS)
def test_refusals_are_told(tmemctl: Path, xen: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """And nobody's trace is ended by who could not begin one."""
    monkeypatch.setenv("TMEM_REFUSES", str(number))
    done = subprocess.run([tmemctl, "trace", "/dev/null"], capture_output=True, text=True, check=False)
    code, said = REFUSALS[number]
    assert done.returncode == code
    assert said in done.stderr
    assert asked(xen) == ["BEGIN"]


def test_a_left_trace_can_be_ended(tmemctl: Path, xen: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    subprocess.run([tmemctl, "trace-off"], check=True)
    assert asked(xen) == ["FREE"]
    monkeypatch.setenv("TMEM_REFUSES", str(errno.ENODATA))
    done = subprocess.run([tmemctl, "trace-off"], capture_output=True, text=True, check=False)
    assert (done.returncode, "nobody traces" in done.stderr) == (1, True)


@pytest.mark.parametrize(
    "options", [["--room", "5000"], ["--room", "2048"], ["--seconds"], ["--seconds", "-1"], ["--other"]]
)
def test_wrong_options_are_told(tmemctl: Path, xen: Path, options: list[str]) -> None:
    done = subprocess.run([tmemctl, "trace", "/dev/null", *options], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("tmemctl: ")
    assert not xen.exists()


def test_help_has_it(tmemctl: Path) -> None:
    said = subprocess.run([tmemctl, "--help"], capture_output=True, text=True, check=True).stdout
    assert "tmemctl trace FILE" in said
    assert "tmemctl trace-off" in said


def test_the_sampler_can_share_what_tmemctl_reads(tmp_path: Path) -> None:
    """It has functions of its own for what tmemctl does otherwise: ending with a message."""
    both = tmp_path / "both.c"
    both.write_text('#include "sampler.h"\n#include "tmemctl.h"\n')
    flags = ["-std=gnu11", "-Werror", "-D__XEN_TOOLS__", "-fsyntax-only", *INCLUDES]
    subprocess.run(["cc", *flags, f"-I{TMEM.parent}/lab/remote/sampler", both], check=True)


# --- a recording ----------------------------------------------------------------------------------


@pytest.fixture
def dom0(tmemctl: Path, xen: Path, connections: Connections, monkeypatch: pytest.MonkeyPatch) -> Connections:
    """Connections to a dom0 that has tmemctl."""
    monkeypatch.setenv("PATH", f"{tmemctl.parent}:{os.environ['PATH']}")
    return connections


def test_a_recording_is_a_packed_file_here(dom0: Connections, xen: Path, tmp_path: Path) -> None:
    recording = Recording(dom0, tmp_path / f"some{SUFFIX}")
    assert recording.alive()
    assert not recording.file.exists()
    done = recording.stop()
    assert (done.records, done.lost) == (5000, 0)
    assert len(trace.load(done.file).records) == 5000
    assert done.file.stat().st_size < 5000 * 24 / 2
    assert asked(xen)[-1] == "FREE"
    with pytest.raises(UsageError, match="a file of that name"):
        Recording(dom0, done.file)


def test_a_recording_that_cannot_begin_says_why(
    dom0: Connections, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMEM_REFUSES", str(errno.EBUSY))
    with pytest.raises(LabError, match="could not begin") as caught:
        Recording(dom0, tmp_path / f"some{SUFFIX}")
    assert "somebody traces already" in caught.value.why
    assert list(tmp_path.glob(f"*{SUFFIX}*")) == []


def test_a_session_that_breaks_leaves_no_file(dom0: Connections, tmp_path: Path) -> None:
    recording = Recording(dom0, tmp_path / f"some{SUFFIX}")
    recording._process.kill()
    with pytest.raises(LabError, match="not whole"):
        recording.stop()
    assert list(tmp_path.glob(f".*{SUFFIX}*")) + list(tmp_path.glob(f"*{SUFFIX}")) == []


def test_an_abandoned_recording_leaves_no_file_and_no_trace(dom0: Connections, xen: Path, tmp_path: Path) -> None:
    recording = Recording(dom0, tmp_path / f"some{SUFFIX}", room=1 << 17)
    recording.abandon()
    assert not recording.alive()
    assert list(tmp_path.glob(f".*{SUFFIX}*")) + list(tmp_path.glob(f"*{SUFFIX}")) == []


def test_a_trace_that_grows_beyond_its_bound_is_ended_and_removed(
    dom0: Connections, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(traces, "MOST_TRACED", 1000)
    with pytest.raises(LabError) as caught:
        Recording(dom0, tmp_path / f"some{SUFFIX}").stop()
    assert "bytes, and a trace may have 1000 bytes: trace a shorter time" in str(caught.value)
    assert list(tmp_path.glob(f"*{SUFFIX}*")) == []


def test_a_full_disk_is_told(dom0: Connections, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import pyarrow as pa

    def full(_path: str, **_: object) -> object:
        return Path("/dev/full").open("wb", buffering=0)

    monkeypatch.setattr(pa, "output_stream", full)
    with pytest.raises(LabError, match=r"not whole|could not begin"):
        Recording(dom0, tmp_path / f"some{SUFFIX}").stop()


# --- ./inv lab.trace ------------------------------------------------------------------------------


@pytest.fixture
def up(dom0: Connections, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A lab that is up, and the folder in which we are."""
    monkeypatch.setattr(lifecycle, "connections", lambda _inventory, _host: dom0)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_task_records_for_so_long(up: Path, xen: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lab_tasks.trace.body(Context(), name="some", seconds="1")
    assert "some.trace.zst: 5000 records, 0 lost" in capsys.readouterr().out
    assert len(trace.load(up / "some.trace.zst").records) == 5000


def test_ctrl_c_ends_the_task_with_a_whole_file(up: Path, xen: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(lab_tasks.time, "sleep", interrupted)
    lab_tasks.trace.body(Context(), name="some.trace.zst")
    assert len(trace.load(up / "some.trace.zst").records) == 5000
    assert asked(xen)[-1] == "FREE"


def test_a_host_that_goes_meanwhile_is_told(up: Path, xen: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken(Recording):
        def alive(self) -> bool:
            self._process.kill()
            return super().alive()

    monkeypatch.setattr(traces, "Recording", Broken)
    with pytest.raises(LabError, match="not whole"):
        lab_tasks.trace.body(Context(), name="some", seconds="30")
    assert not (up / "some.trace.zst").exists()
